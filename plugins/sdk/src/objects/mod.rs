//! Slim Kubernetes objects: the fields that mappings of Pods, Services and their endpoints ask for, borrowed from the JSON text where it has no escapes.
//!
//! For other kinds, write structs of your own from [`Text`] and [`ObjectMeta`]: a field that the manifest does not ask for is
//! never there.

mod endpoints;
mod services;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

pub use endpoints::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
pub use services::{
    ClientIpConfig, LoadBalancerIngress, LoadBalancerStatus, Service, ServiceCondition, ServicePort,
    ServiceSpec, ServiceStatus, SessionAffinityConfig,
};

/// Text that is borrowed where possible. (Of serde's own types, `Cow` in an `Option` or a map never borrows.)
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text<'a>(Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl From<Text<'_>> for String {
    fn from(text: Text<'_>) -> Self {
        text.0.into_owned()
    }
}

/// For look-ups in [`Map`] by `&str`.
impl std::borrow::Borrow<str> for Text<'_> {
    fn borrow(&self) -> &str {
        self
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyText;
        impl<'de> Visitor<'de> for AnyText {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.into())))
            }
        }
        deserializer.deserialize_str(AnyText)
    }
}

/// Labels or annotations.
pub type Map<'a> = BTreeMap<Text<'a>, Text<'a>>;

/// `metadata` of any object.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectMeta<'a> {
    /// Name.
    #[serde(borrow)]
    pub name: Text<'a>,
    /// Namespace; `None` for a cluster-scoped object.
    pub namespace: Option<Text<'a>>,
    /// Labels, if the manifest asks for them.
    #[serde(default)]
    pub labels: Map<'a>,
    /// Annotations, those that the manifest asks for.
    #[serde(default)]
    pub annotations: Map<'a>,
    /// When it was made, if the manifest asks for it: RFC 3339 in UTC, to the second, so that it compares as text.
    pub creation_timestamp: Option<Text<'a>>,
    /// Set while the object is being deleted.
    pub deletion_timestamp: Option<Text<'a>>,
}

/// What decides between objects of a kind that want the same: the smaller one, which is the older, is first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Age<'a> {
    /// When it was made. Without that (in a file) it is the youngest.
    pub created: &'a str,
    /// Namespace; of those of one second it decides first.
    pub namespace: &'a str,
    /// Name.
    pub name: &'a str,
}

impl<'a> Age<'a> {
    /// That of the object with this `metadata`; the manifest asks for `metadata.creationTimestamp`.
    pub fn of(metadata: &'a ObjectMeta<'_>) -> Self {
        Self {
            created: metadata.creation_timestamp.as_deref().unwrap_or("9999"),
            namespace: metadata.namespace.as_deref().unwrap_or_default(),
            name: &metadata.name,
        }
    }
}

/// Whether a namespace is one of these: names, or beginnings of names with `*` behind.
pub fn any_fits(patterns: &[String], namespace: &str) -> bool {
    patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(beginning) => namespace.starts_with(beginning),
        None => namespace == pattern,
    })
}

/// What tells the subjects of a module that maps several kinds apart.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
pub struct Head<'a> {
    /// `kind`.
    #[serde(borrow)]
    pub kind: Text<'a>,
    /// `metadata`.
    #[serde(borrow)]
    pub metadata: ObjectMeta<'a>,
}

/// An `IntOrString`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(untagged)]
pub enum NumberOrName<'a> {
    /// A number.
    Number(i64),
    /// A name, or a number as text.
    Name(#[serde(borrow)] Text<'a>),
}

impl NumberOrName<'_> {
    /// The port number, also of one that is written as text.
    pub fn number(&self) -> Option<u16> {
        match self {
            Self::Number(number) => u16::try_from(*number).ok(),
            Self::Name(name) => name.parse().ok(),
        }
    }

    /// Whether it is this name.
    pub fn is(&self, name: &str) -> bool {
        matches!(self, Self::Name(own) if **own == *name)
    }
}

/// A Pod.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
pub struct Pod<'a> {
    /// `metadata`.
    #[serde(borrow)]
    pub metadata: ObjectMeta<'a>,
    /// `spec`.
    #[serde(default)]
    pub spec: PodSpec<'a>,
    /// `status`.
    #[serde(default)]
    pub status: PodStatus<'a>,
}

/// `spec` of a Pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSpec<'a> {
    /// `None` until the Pod is scheduled.
    #[serde(borrow)]
    pub node_name: Option<Text<'a>>,
    /// Whether it uses the node's network.
    #[serde(default)]
    pub host_network: bool,
}

/// `status` of a Pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
pub struct PodStatus<'a> {
    /// `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.
    #[serde(borrow)]
    pub phase: Option<Text<'a>>,
}

impl Pod<'_> {
    /// Whether all containers have ended for good, so that the Pod needs no network any more.
    pub fn is_finished(&self) -> bool {
        matches!(self.status.phase.as_deref(), Some("Succeeded" | "Failed"))
    }
}

/// A Namespace.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
pub struct Namespace<'a> {
    /// `metadata`.
    #[serde(borrow)]
    pub metadata: ObjectMeta<'a>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn borrows_where_there_are_no_escapes() {
        let json = r#"{"metadata": {"name": "a", "annotations": {"k": "v\n"}}, "spec": {"nodeName": "n1"}}"#;
        let pod: Pod<'_> = serde_json::from_str(json).unwrap();
        assert!(matches!(pod.spec.node_name, Some(Text(Cow::Borrowed("n1")))));
        assert_eq!(pod.metadata.annotations.get("k").map(|v| v.as_ref()), Some("v\n"));
        assert!(!pod.spec.host_network && !pod.is_finished());
    }
}
