//! From references to ids.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use crate::desired::Entry;
use crate::hash;
use crate::members::Members;
use crate::observed::Target;
use crate::record::RecordedReference;
use crate::value::{AddressSource, IpVersion, Reference, Selection, Value};

/// Case of a floating IP's target that is a load balancer, and the one that this stands for.
const VIP: &str = "vip";
const PORT: &str = "port";

/// What is outside of the list.
#[derive(Clone, Debug, Default)]
pub struct External {
    /// What references to other mappings and to existing resources stand for, by the field that refers and the reference.
    pub references: BTreeMap<(String, Reference), Target>,
    /// The addresses of named sets.
    pub sets: BTreeMap<Selection, Arc<Members>>,
}

impl FromIterator<((String, Reference), Target)> for External {
    fn from_iter<T: IntoIterator<Item = ((String, Reference), Target)>>(references: T) -> Self {
        Self { references: references.into_iter().collect(), sets: BTreeMap::new() }
    }
}

/// What references stand for.
#[derive(Clone, Debug, Default)]
pub struct Targets {
    /// Entries of the list that exist.
    pub local: BTreeMap<String, Target>,
    /// Entries of other mappings, existing resources, and named sets.
    pub external: External,
}

impl Targets {
    /// What this reference of a field of this name stands for.
    pub fn get(&self, field: &str, reference: &Reference) -> Option<&Target> {
        match reference {
            Reference::Local(name) => self.local.get(name),
            other => self.external.references.get(&(field.to_owned(), other.clone())),
        }
    }

    /// The set that a value is all of.
    pub(super) fn whole_set(&self, value: &Value) -> Option<&Members> {
        let Value::List(items) = value else { return None };
        let [Value::Late(AddressSource::AddressesOf(named))] = items.as_slice() else { return None };
        self.external.sets.get(named).map(Arc::as_ref)
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
    filled(field, value, targets, listed)
}

/// What stands for a set in a value: all that it holds.
fn listed(members: &Members) -> Json {
    texts(members.iter())
}

/// And in what is hashed.
fn hashed(members: &Members) -> Json {
    Json::from(members.hash())
}

fn texts<'a>(addresses: impl Iterator<Item = &'a IpAddr>) -> Json {
    addresses.map(|address| Json::from(address.to_string())).collect()
}

fn filled(
    field: &str,
    value: &Value,
    targets: &Targets,
    set: fn(&Members) -> Json,
) -> Result<Json, Reference> {
    let target = |field: &str, r: &Reference| targets.get(field, r).ok_or_else(|| r.clone());
    Ok(match value {
        Value::Bool(flag) => Json::from(*flag),
        Value::Int(number) => Json::from(*number),
        Value::Text(text) => Json::from(text.as_str()),
        Value::List(items) => Json::Array(elements(field, items, targets, set)?),
        Value::Map(fields) => {
            let pairs = fields.iter().map(|(name, v)| match v {
                // To the cloud a VIP is a port: where a floating IP leads to is compared as such.
                Value::Ref(of) if name == VIP => {
                    let port = target(name, of)?.vip_port.clone().ok_or_else(|| of.clone())?;
                    Ok((PORT.to_owned(), Json::from(port)))
                }
                v => Ok((name.clone(), filled(name, v, targets, set)?)),
            });
            Json::Object(pairs.collect::<Result<Map<_, _>, Reference>>()?)
        }
        Value::Ref(reference) => Json::from(target(field, reference)?.id.as_str()),
        Value::Late(source) => addresses(source, targets, set)?,
    })
}

/// The elements of a list. What stands for several addresses is as many of them.
fn elements(
    field: &str,
    items: &[Value],
    targets: &Targets,
    set: fn(&Members) -> Json,
) -> Result<Vec<Json>, Reference> {
    let mut all = Vec::with_capacity(items.len());
    for item in items {
        match (item, filled(field, item, targets, set)?) {
            (Value::Late(_), Json::Array(several)) => all.extend(several),
            (_, one) => all.push(one),
        }
    }
    Ok(all)
}

fn addresses(
    source: &AddressSource,
    targets: &Targets,
    set: fn(&Members) -> Json,
) -> Result<Json, Reference> {
    let target = match source.reference() {
        Some((field, of)) => Some((of, targets.get(field, of).ok_or_else(|| of.clone())?)),
        None => None,
    };
    Ok(match (source, target) {
        (AddressSource::AddressOf { version, .. }, Some((of, target))) => {
            let fits = |a: &&IpAddr| a.is_ipv4() == (*version == IpVersion::V4);
            Json::from(target.addresses.iter().find(fits).ok_or_else(|| of.clone())?.to_string())
        }
        (AddressSource::CidrOf(_), Some((of, target))) => {
            Json::from(target.cidr.clone().ok_or_else(|| of.clone())?)
        }
        (_, Some((_, target))) => texts(target.addresses.iter()),
        (AddressSource::AddressesOf(named), None) => match targets.external.sets.get(named) {
            Some(members) => set(members),
            // No driver takes the name of a set for an address.
            None => serde_json::to_value(named).unwrap_or_default(),
        },
        (_, None) => Json::Null,
    })
}

/// Hash of an entry as applied: its kind, name in the cloud, tags and resolved fields, without its local name (two entries
/// of one hash are a rename, also where they refer to themselves). `None` while a reference stands for nothing.
pub fn applied_hash(entry: &Entry, targets: &Targets) -> Option<String> {
    let own = Reference::Local(entry.name.clone());
    let refers_to_itself = entry.references().iter().any(|(_, r)| **r == own);
    if refers_to_itself && targets.local.get(&entry.name).is_none_or(|t| t.id != "self") {
        let mut with_self = targets.clone();
        with_self.local.insert(entry.name.clone(), Target::of("self"));
        return applied_hash(entry, &with_self);
    }
    let fields: BTreeMap<&str, Json> = entry
        .fields
        .iter()
        .map(|(name, value)| Some((name.as_str(), filled(name, value, targets, hashed).ok()?)))
        .collect::<Option<_>>()?;
    let tags: &BTreeSet<String> = &entry.tags;
    Some(hash::of(&(entry.kind, fields, tags, &entry.display_name, &entry.description, &entry.project)))
}
