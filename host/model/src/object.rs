//! Names of Kubernetes kinds and objects.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Group, version and kind; `group` is empty for the core group.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Gvk {
    /// API group, `""` for core.
    pub group: String,
    /// API version, as `v1`.
    pub version: String,
    /// Kind in CamelCase, as `Pod`.
    pub kind: String,
}

impl Gvk {
    /// A kind by its three parts.
    pub fn new(group: &str, version: &str, kind: &str) -> Self {
        Self { group: group.into(), version: version.into(), kind: kind.into() }
    }

    /// `v1` or `apps/v1`: what an object's `apiVersion` says.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The kind that an object with this `apiVersion` and `kind` is of.
    pub fn from_api_version(api_version: &str, kind: &str) -> Self {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        Self::new(group, version, kind)
    }
}

impl fmt::Display for Gvk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.api_version(), self.kind)
    }
}

/// `v1/Pod` or `apps/v1/Deployment`.
impl FromStr for Gvk {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        match s.split('/').collect::<Vec<_>>().as_slice() {
            [version, kind] => Ok(Self::new("", version, kind)),
            [group, version, kind] => Ok(Self::new(group, version, kind)),
            _ => Err(format!("{s:?} is not a kind: expected VERSION/KIND or GROUP/VERSION/KIND")),
        }
    }
}

/// One object by kind and name. `namespace` is `None` for a cluster-scoped one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectKey {
    /// Its kind.
    pub kind: Arc<Gvk>,
    /// Its namespace, `None` when the kind is cluster-scoped.
    pub namespace: Option<Arc<str>>,
    /// Its name.
    pub name: Arc<str>,
}

impl ObjectKey {
    /// A key from its parts.
    pub fn new(kind: impl Into<Arc<Gvk>>, namespace: Option<&str>, name: &str) -> Self {
        Self { kind: kind.into(), namespace: namespace.map(Into::into), name: name.into() }
    }

    /// Whether there can be such an object, as far as lengths tell: a name has 1 to 253 bytes, a namespace's 1 to 63.
    pub fn is_possible(&self) -> bool {
        let Gvk { group, version, kind } = &*self.kind;
        (1..=253).contains(&self.name.len())
            && self.namespace.as_deref().is_none_or(is_possible_namespace)
            && (group.len() <= 253 && version.len() <= 63 && kind.len() <= 63)
    }
}

/// Whether a namespace can be called so, as far as lengths tell.
pub fn is_possible_namespace(name: &str) -> bool {
    (1..=63).contains(&name.len())
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind.kind, self.name),
            None => write!(f, "{} {}", self.kind.kind, self.name),
        }
    }
}

/// The Kubernetes object being mapped: an object of one life. A new object under an old name is another subject.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Subject {
    /// Kind and name.
    pub key: ObjectKey,
    /// `metadata.uid`.
    pub uid: Arc<str>,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.key, self.uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_round_trip() {
        for (api_version, kind) in [("v1", "Pod"), ("apps/v1", "Deployment")] {
            let gvk = Gvk::from_api_version(api_version, kind);
            assert_eq!(gvk.api_version(), api_version);
            assert_eq!(gvk.to_string().parse::<Gvk>().unwrap(), gvk);
        }
        assert!("Pod".parse::<Gvk>().is_err());
    }
}
