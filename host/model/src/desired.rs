//! What a mapping asks for: a list of entries, each one desired cloud resource.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use thiserror::Error;

use crate::kinds::Kind;
use crate::text::{first_few, quoted};
use crate::value::{Fields, Reference, Selection};
use crate::{order, rules, security_rule};

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

/// What the name in the cloud is called among the names of fields.
pub const DISPLAY_NAME: &str = "display_name";
/// What the description in the cloud is called among the names of fields.
pub const DESCRIPTION: &str = "description";

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

    /// Names of what is set, for the record: the fields, and of name and description in the cloud those that it has.
    pub fn set(&self) -> BTreeSet<String> {
        let name = self.display_name.as_ref().map(|_| DISPLAY_NAME);
        let description = self.description.as_ref().map(|_| DESCRIPTION);
        self.fields.keys().cloned().chain(name.into_iter().chain(description).map(Into::into)).collect()
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

/// Most entries of a list. A load balancer for every port of a large Service has some hundred.
pub const MOST_ENTRIES: usize = 2000;

/// Why a list cannot be planned: a contract error, which changes nothing in the cloud. Texts of the module are cut here.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ListError {
    /// More entries than [`MOST_ENTRIES`].
    #[error("the list has {0} entries; at most {MOST_ENTRIES} are allowed")]
    TooManyEntries(usize),
    /// Two entries of one name.
    #[error("two entries are named {0:?}: names must be unique in the list")]
    DuplicateName(String),
    /// A name that is no DNS label.
    #[error("entry name {0:?} is not a DNS label (a-z, 0-9 and -, at most 63 characters)")]
    BadName(String),
    /// Another project than the operator's own.
    #[error(
        "entry {0:?} names a project: resources in other projects are not supported in this version, leave `project` unset"
    )]
    Project(String),
    /// A resource that is to be made when something refers to it.
    #[error(
        "entry {0:?} has `create: when-referenced`, which is not supported in this version: leave it at `always`"
    )]
    WhenReferenced(String),
    /// A text that is longer than the cloud takes.
    #[error("entry {entry:?} has a {what} of {found} bytes; at most {limit} are allowed")]
    TooLong {
        /// The entry.
        entry: String,
        /// Which text.
        what: &'static str,
        /// Its bytes.
        found: usize,
        /// What is allowed.
        limit: usize,
    },
    /// A description that could be taken for a mark.
    #[error(
        "the description of entry {entry:?} holds {word:?}: words that begin with isthmus: are the host's own"
    )]
    MarkInDescription {
        /// The entry.
        entry: String,
        /// The word.
        word: String,
    },
    /// More tags than the cloud takes.
    #[error("entry {entry:?} has {found} tags; at most {limit} are allowed")]
    TooManyTags {
        /// The entry.
        entry: String,
        /// How many it has.
        found: usize,
        /// What is allowed.
        limit: usize,
    },
    /// A tag that the cloud does not take, or one of ours.
    #[error("entry {entry:?} has the tag {tag:?}: {why}")]
    BadTag {
        /// The entry.
        entry: String,
        /// The tag.
        tag: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A reference to what cannot be.
    #[error("entry {entry:?}, `{field}`: {why}")]
    BadReference {
        /// The entry that refers.
        entry: String,
        /// The field that does.
        field: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A set of addresses whose selectors can't be read.
    #[error("entry {entry:?}, `addresses-of`: {error}")]
    Selection {
        /// The entry that names the set.
        entry: String,
        /// What is wrong with it.
        error: String,
    },
    /// A VIF whose interface cannot be called so.
    #[error(
        "entry {entry:?}: {interface:?} is no name of an interface (1 to 15 bytes, without white space, / and :, not . and ..)"
    )]
    BadInterface {
        /// The entry.
        entry: String,
        /// The name.
        interface: String,
    },
    /// Two VIFs of one interface name.
    #[error("entries {first:?} and {second:?} are both the interface {interface:?} of the pod")]
    DuplicateInterface {
        /// The first entry.
        first: String,
        /// The second one.
        second: String,
        /// The name.
        interface: String,
    },
    /// Two VIFs with the default routes.
    #[error("entries {first:?} and {second:?} both have the default routes: one interface of a pod has them")]
    TwoDefaultRoutes {
        /// The first entry.
        first: String,
        /// The second one.
        second: String,
    },
    /// A reference to an entry that is not in the list.
    #[error("entry {entry:?} refers to {missing:?}, which is not in the list")]
    UnknownLocal {
        /// The entry that refers.
        entry: String,
        /// What it refers to.
        missing: String,
    },
    /// Entries that wait for each other.
    #[error("entries refer to each other in a circle: {}", first_few(.0, " -> "))]
    Cycle(Vec<String>),
}

/// A list of entries that keep the rules of the contract: among them that names are unique, and that local references exist and
/// form no circle.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct DesiredList {
    entries: Vec<Entry>,
    /// Where the entry of a name is.
    #[serde(skip)]
    at: BTreeMap<String, usize>,
}

impl DesiredList {
    /// Checks a list.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn new(mut entries: Vec<Entry>) -> Result<Self, ListError> {
        if entries.len() > MOST_ENTRIES {
            return Err(ListError::TooManyEntries(entries.len()));
        }
        entries.iter_mut().for_each(security_rule::in_one_form);
        let mut at = BTreeMap::new();
        for (position, entry) in entries.iter().enumerate() {
            rules::check(entry)?;
            if at.insert(entry.name.clone(), position).is_some() {
                return Err(ListError::DuplicateName(entry.name.clone()));
            }
        }
        rules::check_interfaces(&entries)?;
        for entry in &entries {
            let locals = entry.references().into_iter().filter_map(|(_, r)| local(r));
            if let Some(missing) = locals.into_iter().find(|name| !at.contains_key(*name)) {
                let entry = entry.name.clone();
                return Err(ListError::UnknownLocal { entry, missing: quoted(missing) });
            }
        }
        // Late fields (`kinds`) are written after creation, so they are never part of a circle.
        if let Err(circle) = order::by_needs(&entries) {
            return Err(ListError::Cycle(circle));
        }
        Ok(Self { entries, at })
    }

    /// The entries, in the module's order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The sets that entries name.
    pub fn selections(&self) -> BTreeSet<&Selection> {
        let mut all = BTreeSet::new();
        for value in self.entries.iter().flat_map(|entry| entry.fields.values()) {
            value.selections(&mut |selection| {
                all.insert(selection);
            });
        }
        all
    }

    /// The entry of this name.
    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.get(*self.at.get(name)?)
    }
}

/// The name that a local reference holds.
pub(crate) fn local(reference: &Reference) -> Option<&str> {
    match reference {
        Reference::Local(name) => Some(name),
        Reference::Mapped { .. } | Reference::Existing(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(length: usize, last: &str) -> Vec<Entry> {
        let name = |n: usize| if n == length { last.to_owned() } else { format!("n{n}") };
        let entry = |n: usize| {
            let mut entry = Entry::new(&name(n), Kind::Network, Fields::new());
            entry.after = vec![Reference::Local(name(n + 1))];
            entry
        };
        (0..length).map(entry).collect()
    }

    #[test]
    fn errors_are_short_whatever_a_list_holds() {
        let mut long = Entry::new("a", Kind::Network, Fields::new());
        long.after = vec![Reference::Local("x".repeat(1 << 20))];
        let table = [
            (chain(MOST_ENTRIES, "n0"), "n8 -> n9 -> … (1991 more)"),
            (chain(MOST_ENTRIES + 1, "n0"), "2001 entries; at most 2000"),
            (vec![long], "…\", which is not in the list"),
        ];
        for (entries, part) in table {
            let text = DesiredList::new(entries).unwrap_err().to_string();
            assert!(text.contains(part) && text.len() < 400, "{text}");
        }
    }

    #[test]
    fn a_list_is_its_entries() {
        let mut entries = chain(2, "n0");
        assert!(matches!(DesiredList::new(entries.clone()), Err(ListError::Cycle(_))));
        entries.iter_mut().for_each(|e| e.after.clear());
        let list = DesiredList::new(entries.clone()).unwrap();
        assert_eq!(list.get("n1"), entries.get(1));
        assert_eq!(list.get("n2"), None);
        assert_eq!(serde_json::to_value(&list).unwrap(), serde_json::to_value(&entries).unwrap());
    }
}
