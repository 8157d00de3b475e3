//! Slim Kubernetes objects: what this mapping reads of them.

use std::fmt;

use isthmus_sdk::objects::{NumberOrName, ObjectMeta, Text};
use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize};

/// A Route.
#[derive(Debug, Deserialize)]
pub(crate) struct Route<'a> {
    #[serde(borrow)]
    pub(crate) metadata: ObjectMeta<'a>,
    #[serde(borrow, default)]
    pub(crate) spec: RouteSpec<'a>,
}

impl Route<'_> {
    pub(crate) fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or_default()
    }
}

/// `spec` of a Route.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RouteSpec<'a> {
    #[serde(borrow)]
    pub(crate) host: Option<Text<'a>>,
    pub(crate) subdomain: Option<Text<'a>>,
    pub(crate) path: Option<Text<'a>>,
    pub(crate) wildcard_policy: Option<Text<'a>>,
    pub(crate) to: Option<Backend<'a>>,
    #[serde(default)]
    pub(crate) alternate_backends: Vec<Backend<'a>>,
    pub(crate) port: Option<RoutePort<'a>>,
    pub(crate) tls: Option<RouteTls<'a>>,
}

/// Where requests go.
#[derive(Debug, Deserialize)]
pub(crate) struct Backend<'a> {
    #[serde(borrow)]
    pub(crate) kind: Option<Text<'a>>,
    #[serde(default)]
    pub(crate) name: Text<'a>,
    pub(crate) weight: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RoutePort<'a> {
    #[serde(borrow)]
    pub(crate) target_port: NumberOrName<'a>,
}

/// `spec.tls`. Its private key is not read: the host takes it from the Route itself.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RouteTls<'a> {
    #[serde(borrow, default)]
    pub(crate) termination: Text<'a>,
    pub(crate) insecure_edge_termination_policy: Option<Text<'a>>,
    #[serde(default)]
    pub(crate) certificate: Present,
    #[serde(default, rename = "caCertificate")]
    pub(crate) ca_certificate: Present,
    #[serde(default, rename = "destinationCACertificate")]
    pub(crate) destination_ca_certificate: Present,
    pub(crate) external_certificate: Option<SecretReference<'a>>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct SecretReference<'a> {
    #[serde(borrow, default)]
    pub(crate) name: Text<'a>,
}

/// Whether there is a text: of a certificate no more matters here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Present(pub(crate) bool);

impl<'de> Deserialize<'de> for Present {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyText;
        impl Visitor<'_> for AnyText {
            type Value = Present;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Present, E> {
                Ok(Present(!text.trim().is_empty()))
            }
        }
        deserializer.deserialize_str(AnyText)
    }
}

/// The part of a Route's status that is this module's.
#[derive(Debug, Serialize)]
pub(crate) struct RouteStatus<'a> {
    pub(crate) ingress: [RouteIngress<'a>; 1],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RouteIngress<'a> {
    pub(crate) host: &'a str,
    pub(crate) router_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) router_canonical_hostname: Option<&'a str>,
    pub(crate) wildcard_policy: &'a str,
    pub(crate) conditions: [Condition<'a>; 1],
}

/// The host adds `lastTransitionTime`.
#[derive(Debug, Serialize)]
pub(crate) struct Condition<'a> {
    #[serde(rename = "type")]
    pub(crate) kind: &'a str,
    pub(crate) status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<String>,
}
