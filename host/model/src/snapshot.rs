//! The view of the cluster that a mapping reads, and the record of what it read.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::object::{Gvk, ObjectKey};
use crate::selector::Selector;

/// One consistent view of the cluster: what is read twice in one call is the same twice.
pub trait Snapshot {
    /// The projected JSON text of one object.
    fn get(&self, key: &ObjectKey) -> Option<Arc<str>>;
    /// The projected JSON texts of all objects of a kind that the selector chooses, in order of namespace and name.
    fn list(&self, kind: &Gvk, namespace: Option<&str>, selector: &Selector) -> Vec<Arc<str>>;
    /// What the cloud can do.
    fn cloud(&self) -> Arc<CloudFacts>;
}

/// What the cloud can do, as modules see it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CloudFacts {
    /// Aliases of Neutron's extensions, sorted.
    pub network_extensions: Vec<String>,
    /// Octavia's providers; empty where there is no Octavia.
    pub load_balancer_providers: Vec<Provider>,
    /// Whether there is a key manager (Barbican).
    pub has_key_manager: bool,
}

/// What a load-balancer provider can do: from a table by provider and version, since Octavia has no call that says so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Provider {
    /// Name in Octavia.
    pub name: String,
    /// Listener protocols.
    pub protocols: Vec<String>,
    /// Pool algorithms.
    pub algorithms: Vec<String>,
    /// Whether L7 policies work.
    pub l7: bool,
}

/// One read that a mapping made.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Read {
    /// `snapshot.get`, whether or not the object was there.
    Get(ObjectKey),
    /// `snapshot.list`.
    List {
        /// Kind that was listed.
        kind: Arc<Gvk>,
        /// Namespace it was narrowed to.
        namespace: Option<Arc<str>>,
        /// Labels it was narrowed to.
        selector: Selector,
    },
    /// `snapshot.cloud-facts`.
    Cloud,
}

impl Read {
    /// Whether it is answered differently by another snapshot.
    pub fn differs(&self, before: &dyn Snapshot, now: &dyn Snapshot) -> bool {
        match self {
            Self::Get(key) => before.get(key) != now.get(key),
            Self::List { kind, namespace, selector } => {
                let list = |of: &dyn Snapshot| of.list(kind, namespace.as_deref(), selector);
                list(before) != list(now)
            }
            Self::Cloud => before.cloud() != now.cloud(),
        }
    }
}

/// All reads of one mapping.
pub type ReadSet = BTreeSet<Read>;
