//! From references to ids.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::{Map, Value as Json};

use crate::desired::Entry;
use crate::hash;
use crate::observed::Target;
use crate::record::RecordedReference;
use crate::value::{AddressSource, IpVersion, Reference, Value};

/// What references that leave the list stand for, by the field that refers and the reference.
pub type External = BTreeMap<(String, Reference), Target>;

/// What references stand for.
#[derive(Clone, Debug, Default)]
pub struct Targets {
    /// Entries of the list that exist.
    pub local: BTreeMap<String, Target>,
    /// Entries of other mappings, and existing resources.
    pub external: External,
}

impl Targets {
    /// What this reference of a field of this name stands for.
    pub fn get(&self, field: &str, reference: &Reference) -> Option<&Target> {
        match reference {
            Reference::Local(name) => self.local.get(name),
            other => self.external.get(&(field.to_owned(), other.clone())),
        }
    }

    /// What the entry's references stand for, to be recorded with it. One that stands for nothing is left out.
    pub fn recorded(&self, entry: &Entry) -> Vec<RecordedReference> {
        let named = |(field, r): (&str, &Reference)| {
            Some(RecordedReference { reference: r.clone(), id: self.get(field, r)?.id.clone() })
        };
        let all: BTreeSet<_> = entry.references().into_iter().filter_map(named).collect();
        all.into_iter().collect()
    }
}

/// The value of a field with ids and addresses in place of references.
///
/// # Errors
/// The first reference that stands for nothing yet, or whose resource has no such address yet.
pub fn resolve(field: &str, value: &Value, targets: &Targets) -> Result<Json, Reference> {
    let target = |r: &Reference| targets.get(field, r).ok_or_else(|| r.clone());
    Ok(match value {
        Value::Bool(flag) => Json::from(*flag),
        Value::Int(number) => Json::from(*number),
        Value::Text(text) => Json::from(text.as_str()),
        Value::List(items) => {
            Json::Array(items.iter().map(|v| resolve(field, v, targets)).collect::<Result<_, _>>()?)
        }
        Value::Map(fields) => {
            let pairs = fields.iter().map(|(name, v)| Ok((name.clone(), resolve(name, v, targets)?)));
            Json::Object(pairs.collect::<Result<Map<_, _>, Reference>>()?)
        }
        Value::Ref(reference) => Json::from(target(reference)?.id.as_str()),
        Value::Late(AddressSource::AddressOf { of, version }) => {
            let fits = |a: &&IpAddr| a.is_ipv4() == (*version == IpVersion::V4);
            Json::from(target(of)?.addresses.iter().find(fits).ok_or_else(|| of.clone())?.to_string())
        }
        Value::Late(AddressSource::CidrOf(of)) => {
            Json::from(target(of)?.cidr.clone().ok_or_else(|| of.clone())?)
        }
        Value::Late(AddressSource::SourcesOf(of)) => {
            let addresses = &target(of)?.addresses;
            Json::Array(addresses.iter().map(|a| Json::from(a.to_string())).collect())
        }
        // The host keeps these sets beside the plan, entry by entry; the plan sees the name of the set only.
        Value::Late(AddressSource::AddressesOf(selection)) => {
            serde_json::to_value(selection).unwrap_or_default()
        }
    })
}

/// Hash of an entry as applied: its kind, name in the cloud, tags and resolved fields, without its local name (two entries
/// of one hash are a rename, also where they refer to themselves). `None` while a reference stands for nothing.
pub fn applied_hash(entry: &Entry, targets: &Targets) -> Option<String> {
    let own = Reference::Local(entry.name.clone());
    let refers_to_itself = entry.references().iter().any(|(_, r)| **r == own);
    if refers_to_itself && targets.local.get(&entry.name).is_none_or(|t| t.id != "self") {
        let mut with_self = targets.clone();
        let target = Target { id: "self".into(), addresses: Vec::new(), cidr: None };
        with_self.local.insert(entry.name.clone(), target);
        return applied_hash(entry, &with_self);
    }
    let fields: BTreeMap<&str, Json> = entry
        .fields
        .iter()
        .map(|(name, value)| Some((name.as_str(), resolve(name, value, targets).ok()?)))
        .collect::<Option<_>>()?;
    let tags: &BTreeSet<String> = &entry.tags;
    Some(hash::of(&(entry.kind, fields, tags, &entry.display_name, &entry.description, &entry.project)))
}
