//! A CloudMapping as it is kept: there may be tens of thousands.

use std::sync::Arc;

use isthmus_kubernetes::crd::CloudMappingStatus;
use isthmus_model::condition::{LAST_GOOD, MAPPED};

use super::Known;
use crate::packed::Packed;

/// A [`Known`] as it is kept.
#[derive(Clone, Debug)]
pub(super) struct Slim {
    pub(super) namespace: Arc<str>,
    pub(super) name: Box<str>,
    pub(super) uid: Box<str>,
    pub(super) resource_version: Option<Box<str>>,
    pub(super) generation: Option<i64>,
    pub(super) deleting: bool,
    pub(super) released: bool,
    pub(super) on_node: bool,
    pub(super) mirror: bool,
    pub(super) node: Option<Box<str>>,
    /// It records what nothing else tells ([`isthmus_model::kinds::Kind::is_told_by_record`]).
    pub(super) attached: bool,
    pub(super) unwritten: bool,
    /// It was mapped by a version before the one that served.
    pub(super) fell_back: bool,
    /// Of what was mapped last ([`CloudMappingStatus::output_hash`]).
    pub(super) output_hash: Option<Box<str>>,
    status: Packed<CloudMappingStatus>,
}

impl Slim {
    pub(super) fn of(known: &Known) -> Self {
        Self {
            namespace: known.namespace.clone(),
            name: known.name.as_str().into(),
            uid: known.uid.as_str().into(),
            resource_version: known.resource_version.as_deref().map(Into::into),
            generation: known.generation,
            deleting: known.deleting,
            released: known.released,
            on_node: known.on_node,
            mirror: known.mirror,
            node: known.status.node.as_deref().map(Into::into),
            attached: known.status.resources.iter().any(|r| r.kind.is_told_by_record()),
            unwritten: known.unwritten,
            fell_back: known.status.conditions.iter().any(|c| c.type_ == MAPPED && c.reason == LAST_GOOD),
            output_hash: known.status.output_hash.as_deref().map(Into::into),
            status: Packed::new(&known.status),
        }
    }

    pub(super) fn whole(&self) -> Known {
        Known {
            namespace: self.namespace.clone(),
            name: self.name.to_string(),
            uid: self.uid.to_string(),
            resource_version: self.resource_version.as_deref().map(Into::into),
            generation: self.generation,
            deleting: self.deleting,
            released: self.released,
            on_node: self.on_node,
            mirror: self.mirror,
            unwritten: self.unwritten,
            status: Arc::new(self.status.get().unwrap_or_default()),
        }
    }
}

/// Whether `new` is a state from before `old`. Resource versions are comparable numbers (Kubernetes 1.35, KEP-5504); where
/// one is not, it is taken for newer.
pub(super) fn older(new: &Known, old: &Slim) -> bool {
    let number = |version: Option<&str>| version.and_then(|v| v.parse::<u64>().ok());
    match (number(new.resource_version.as_deref()), number(old.resource_version.as_deref())) {
        (Some(new), Some(old)) => new < old,
        _ => false,
    }
}

/// Whether it is the state that is known.
pub(super) fn same(new: &Known, old: &Slim) -> bool {
    *new.uid == *old.uid
        && new.resource_version.is_some()
        && new.resource_version.as_deref() == old.resource_version.as_deref()
}
