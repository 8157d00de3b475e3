//! What the cluster and the cloud are like for the length of a call. What is read here is what calls the module again.
//!
//! On other targets than Wasm it reads the [`crate::testing`] cluster of this thread.

#[cfg(target_arch = "wasm32")]
use crate::bindings::mapper::isthmus::mapping::snapshot as source;
#[cfg(not(target_arch = "wasm32"))]
use crate::testing as source;

pub use crate::records::snapshot::{Cloud, Provider};
use crate::records::values::{Kind, ObjectKey};

/// The JSON text of one object. `namespace`: `None` for a cluster-scoped kind. A kind that the manifest does not name is a
/// contract error (natively: a panic).
pub fn get(kind: Kind, namespace: Option<&str>, name: &str) -> Option<String> {
    source::get(&ObjectKey { kind, namespace: namespace.map(Into::into), name: name.into() })
}

/// Most bytes of an object in a list of all namespaces: longer ones are left out.
pub const LISTED: usize = 32 << 10;

/// The JSON texts of all objects of a kind that a label selector (as kubectl takes it, "" for all) chooses, in order of namespace
/// and name. `namespace`: `None` for all namespaces; objects of more than [`LISTED`] bytes are not among these.
pub fn list(kind: &Kind, namespace: Option<&str>, selector: &str) -> Vec<String> {
    source::list(kind, namespace, selector)
}

/// As [`list`], of the objects whose field, one of those that the manifest lists by, has this value, upper and lower case alike.
pub fn list_by(kind: &Kind, namespace: Option<&str>, field: &str, value: &str) -> Vec<String> {
    source::list_by(kind, namespace, field, value)
}

/// What the cloud can do.
pub fn cloud_facts() -> Cloud {
    source::cloud_facts()
}
