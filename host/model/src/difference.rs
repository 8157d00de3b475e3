//! What one list has and another has not: how two versions of a module differ for a subject, told without a cloud.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::desired::{DesiredList, Entry};
use crate::kinds::{Change as How, Kind};

/// One entry that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// Local name: in the new list, where it is there.
    pub name: String,
    /// Its kind.
    pub kind: Kind,
    /// How it differs.
    #[serde(flatten)]
    pub what: What,
}

/// How an entry differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "what", content = "fields")]
pub enum What {
    /// It is new.
    Added,
    /// It is no longer there.
    Deleted,
    /// The same under another name: what is given is the old one.
    Renamed(String),
    /// These fields differ, and can be changed.
    Changed(BTreeSet<String>),
    /// These fields differ, and some only another resource can have.
    Replaced(BTreeSet<String>),
}

/// What differs, in the order of the new list; what is no longer there comes last.
pub fn differences(old: &DesiredList, new: &DesiredList) -> Vec<Difference> {
    let mut gone: Vec<&Entry> = old.entries().iter().filter(|e| new.get(&e.name).is_none()).collect();
    let mut found = Vec::new();
    for entry in new.entries() {
        let what = match old.get(&entry.name).filter(|before| before.kind == entry.kind) {
            Some(before) => changed(before, entry),
            None => match gone.iter().position(|before| same_content(before, entry)) {
                Some(at) => Some(What::Renamed(gone.remove(at).name.clone())),
                None => Some(What::Added),
            },
        };
        found.extend(what.map(|what| Difference { name: entry.name.clone(), kind: entry.kind, what }));
    }
    // Another kind under the name of an entry is another resource.
    let of_other_kind = old.entries().iter().filter(|e| new.get(&e.name).is_some_and(|n| n.kind != e.kind));
    let deleted = gone.into_iter().chain(of_other_kind);
    found.extend(deleted.map(|e| Difference { name: e.name.clone(), kind: e.kind, what: What::Deleted }));
    found
}

fn same_content(before: &Entry, entry: &Entry) -> bool {
    *before == Entry { name: before.name.clone(), ..entry.clone() }
}

fn changed(before: &Entry, entry: &Entry) -> Option<What> {
    let names: BTreeSet<&String> = before.fields.keys().chain(entry.fields.keys()).collect();
    let mut differing: BTreeSet<String> = names
        .into_iter()
        .filter(|name| before.fields.get(*name) != entry.fields.get(*name))
        .cloned()
        .collect();
    let replaces = |field: &String| {
        entry.fields.contains_key(field)
            && entry.kind.field(field).is_some_and(|spec| spec.change == How::Replace)
    };
    let replaced = differing.iter().any(replaces);
    let meta = [
        ("tags", before.tags != entry.tags),
        ("display-name", before.display_name != entry.display_name),
        ("description", before.description != entry.description),
    ];
    differing.extend(meta.iter().filter(|(_, differs)| *differs).map(|(name, _)| (*name).to_owned()));
    match (differing.is_empty(), replaced) {
        (true, _) => None,
        (false, true) => Some(What::Replaced(differing)),
        (false, false) => Some(What::Changed(differing)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{Fields, Value};

    fn port(name: &str, fields: &[(&str, &str)]) -> Entry {
        let fields: Fields = fields.iter().map(|(n, v)| ((*n).to_owned(), Value::from(*v))).collect();
        Entry::new(name, Kind::Port, fields)
    }

    fn list(entries: Vec<Entry>) -> DesiredList {
        DesiredList::new(entries).unwrap()
    }

    #[test]
    fn each_way_to_differ_is_told() {
        let old = list(vec![
            port("same", &[("host", "n1")]),
            port("moved", &[("host", "n1")]),
            port("anew", &[("mac_address", "a")]),
            port("renamed", &[("host", "n7")]),
            port("gone", &[("host", "n8")]),
            port("other", &[]),
        ]);
        let tagged = Entry { tags: ["x".to_owned()].into(), ..port("moved", &[("host", "n2")]) };
        let new = list(vec![
            port("same", &[("host", "n1")]),
            tagged,
            port("anew", &[("mac_address", "b")]),
            port("under-another-name", &[("host", "n7")]),
            Entry::new("other", Kind::SecurityGroup, Fields::new()),
        ]);
        let fields = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        let expected = [
            ("moved", What::Changed(fields(&["host", "tags"]))),
            ("anew", What::Replaced(fields(&["mac_address"]))),
            ("under-another-name", What::Renamed("renamed".into())),
            ("other", What::Added),
            ("gone", What::Deleted),
            ("other", What::Deleted),
        ];
        let found: Vec<(String, What)> =
            differences(&old, &new).into_iter().map(|d| (d.name, d.what)).collect();
        assert_eq!(found, expected.map(|(name, what)| (name.to_owned(), what)));
        assert!(differences(&old, &old).is_empty());
    }
}
