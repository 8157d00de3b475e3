//! What one entry says, and how that differs from what is there.

use std::collections::BTreeSet;

use crate::desired::{DESCRIPTION, DISPLAY_NAME, Entry, local};
use crate::kinds::{Change, Kind};
use crate::observed::Observed;
use crate::value::Value;

/// What a change of a field of an entry means.
pub(super) fn change_of(entry: &Entry, field: &str) -> Option<Change> {
    entry.kind.field(field).map(|spec| spec.change)
}

/// Local names that a field of an entry refers to.
pub(super) fn locals_of<'e>(entry: &'e Entry, field: &'e str) -> BTreeSet<&'e str> {
    let mut names = BTreeSet::new();
    if let Some(value) = entry.fields.get(field) {
        value.references(field, &mut |_, r| names.extend(local(r)));
    }
    names
}

/// What differs beside the fields: tags, name and description in the cloud.
pub(super) fn meta_differences(entry: &Entry, found: &Observed, exact: impl FnOnce() -> bool) -> Vec<String> {
    let tags_differ = entry.tags != found.tags && (exact() || !entry.tags.is_subset(&found.tags));
    let differs = [
        ("tags", tags_differ),
        (DISPLAY_NAME, entry.display_name.as_ref().is_some_and(|n| *n != found.display_name)),
        (DESCRIPTION, entry.description.as_ref().is_some_and(|d| *d != found.description)),
    ];
    differs.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name.to_owned()).collect()
}

/// Whether a value says nothing.
pub(super) fn is_empty(value: &serde_json::Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}

/// Whether the new one can't be made while the old one is there: a fixed address (of a port or a VIP), a MAC, a subnet's range, a
/// listener's port.
pub(super) fn collides(entry: &Entry, found: &Observed) -> bool {
    let keys: &[&str] = match entry.kind {
        Kind::Port => &["fixed_ips", "mac_address"],
        Kind::Subnet => &["prefix"],
        Kind::Listener => &["port"],
        Kind::FloatingIp => &["address"],
        // A port has one floating IP of a network, and a floating IP one port.
        Kind::FloatingIpAssociation => &["floating_ip", "target"],
        // Its record has room for one.
        Kind::AllowedAddresses => &["parent"],
        Kind::RouterInterface => &["subnet"],
        Kind::LoadBalancer => &["vip"],
        _ => &[],
    };
    keys.iter().any(|key| {
        let fixed = match entry.fields.get(*key) {
            None => false,
            Some(value) if ["fixed_ips", "vip"].contains(key) => names_an_address(value),
            Some(_) => true,
        };
        fixed && found.fields.contains_key(*key)
    })
}

fn names_an_address(value: &Value) -> bool {
    match value {
        Value::List(items) => items.iter().any(names_an_address),
        Value::Map(fields) => fields.contains_key("address") || fields.values().any(names_an_address),
        _ => false,
    }
}
