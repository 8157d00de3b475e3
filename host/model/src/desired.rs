//! What a mapping asks for: a list of entries, each one desired cloud resource.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use thiserror::Error;

use crate::kinds::Kind;
use crate::value::{Fields, Reference};

/// One desired resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Unique in the list and stable over time. A DNS label.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Its fields, named as in the contract with `_` for `-`.
    pub fields: Fields,
    /// Order beyond what references say.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<Reference>,
    /// What happens to it when the entry goes.
    #[serde(skip_serializing_if = "Removal::is_delete")]
    pub on_removal: Removal,
    /// When it is made.
    #[serde(skip_serializing_if = "Creation::is_always")]
    pub create: Creation,
    /// Name in the cloud; default: made from subject and local name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// Description in the cloud.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Owner project; default: the operator's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Tags beside the host's own marks.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub tags: BTreeSet<String>,
}

impl Entry {
    /// An entry with all defaults.
    pub fn new(name: &str, kind: Kind, fields: Fields) -> Self {
        Self {
            name: name.into(),
            kind,
            fields,
            after: Vec::new(),
            on_removal: Removal::Delete,
            create: Creation::Always,
            display_name: None,
            description: None,
            project: None,
            tags: BTreeSet::new(),
        }
    }

    /// Every resource that this one refers to, with the field that does, in a stable order. That of `after` is `after`.
    pub fn references(&self) -> BTreeSet<(&str, &Reference)> {
        let mut seen: BTreeSet<(&str, &Reference)> = self.after.iter().map(|r| ("after", r)).collect();
        for (name, value) in &self.fields {
            value.references(name, &mut |field, r| {
                seen.insert((field, r));
            });
        }
        seen
    }
}

/// What happens to a resource when its entry goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Removal {
    /// It is deleted.
    #[default]
    Delete,
    /// It stays in the cloud and loses our mark.
    Retain,
}

impl Removal {
    fn is_delete(&self) -> bool {
        *self == Self::Delete
    }
}

/// When a resource is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Creation {
    /// At once.
    #[default]
    Always,
    /// When the first mapping refers to it.
    WhenReferenced,
}

impl Creation {
    fn is_always(&self) -> bool {
        *self == Self::Always
    }
}

/// Why a list cannot be planned: a contract error, which changes nothing in the cloud.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ListError {
    /// Two entries of one name.
    #[error("two entries are named {0:?}: names must be unique in the list")]
    DuplicateName(String),
    /// A name that is no DNS label.
    #[error("entry name {0:?} is not a DNS label (a-z, 0-9 and -, at most 63 characters)")]
    BadName(String),
    /// A reference to an entry that is not in the list.
    #[error("entry {entry:?} refers to {missing:?}, which is not in the list")]
    UnknownLocal {
        /// The entry that refers.
        entry: String,
        /// What it refers to.
        missing: String,
    },
    /// Entries that wait for each other.
    #[error("entries refer to each other in a circle: {}", .0.join(" -> "))]
    Cycle(Vec<String>),
}

/// A list of entries whose names are unique and whose local references exist and form no circle.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct DesiredList(Vec<Entry>);

impl DesiredList {
    /// Checks a list.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn new(entries: Vec<Entry>) -> Result<Self, ListError> {
        let mut by_name = BTreeMap::new();
        for entry in &entries {
            if !is_dns_label(&entry.name) {
                return Err(ListError::BadName(entry.name.clone()));
            }
            if by_name.insert(entry.name.as_str(), entry).is_some() {
                return Err(ListError::DuplicateName(entry.name.clone()));
            }
        }
        for entry in &entries {
            for missing in entry.references().into_iter().filter_map(|(_, r)| local(r)) {
                if !by_name.contains_key(missing) {
                    return Err(ListError::UnknownLocal {
                        entry: entry.name.clone(),
                        missing: missing.into(),
                    });
                }
            }
        }
        let list = Self(entries);
        match list.cycle() {
            Some(circle) => Err(ListError::Cycle(circle)),
            None => Ok(list),
        }
    }

    /// The entries, in the module's order.
    pub fn entries(&self) -> &[Entry] {
        &self.0
    }

    /// The entry of this name.
    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.0.iter().find(|e| e.name == name)
    }

    /// The names along a circle of references that are needed for creation. Late fields ([`crate::kinds`]) are written
    /// afterwards, so they are never part of one.
    fn cycle(&self) -> Option<Vec<String>> {
        let needs: BTreeMap<&str, BTreeSet<&str>> =
            self.0.iter().map(|e| (e.name.as_str(), crate::kinds::needed_locals(e))).collect();
        let mut done = BTreeSet::new();
        for start in needs.keys() {
            let mut path = Vec::new();
            if let Some(circle) = walk(start, &needs, &mut path, &mut done) {
                return Some(circle);
            }
        }
        None
    }
}

fn walk<'a>(
    at: &'a str,
    needs: &BTreeMap<&'a str, BTreeSet<&'a str>>,
    path: &mut Vec<&'a str>,
    done: &mut BTreeSet<&'a str>,
) -> Option<Vec<String>> {
    if let Some(begin) = path.iter().position(|n| *n == at) {
        let circle = path.iter().skip(begin).chain([&at]);
        return Some(circle.map(|n| (*n).to_owned()).collect());
    }
    if done.contains(at) {
        return None;
    }
    path.push(at);
    let found = needs.get(at).into_iter().flatten().find_map(|next| walk(next, needs, path, done));
    path.pop();
    done.insert(at);
    found
}

/// The name that a local reference holds.
pub(crate) fn local(reference: &Reference) -> Option<&str> {
    match reference {
        Reference::Local(name) => Some(name),
        Reference::Mapped { .. } | Reference::Existing(_) => None,
    }
}

/// RFC 1123 label.
fn is_dns_label(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !name.is_empty()
        && name.len() <= 63
        && name.chars().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}
