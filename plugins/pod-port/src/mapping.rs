//! The mapping itself. One file: other crates build it as their own (`tests/modules`).

use std::fmt;

use isthmus_sdk::objects::{Map, any_fits};
use isthmus_sdk::prelude::*;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

const NETWORK: &str = "isthmus.dev/network";
const SUBNETS: &str = "isthmus.dev/subnets";
const MAKE_SUBNETS: &str = "isthmus.dev/make-subnets";
const SECURITY_GROUPS: &str = "isthmus.dev/security-groups";
/// Those that `namespace-network` makes.
const GROUPS: [&str; 3] = ["members", "ingress", "egress"];

/// Pod to port and VIF.
pub struct PodPort;

/// The module's config; its schema is `config.schema.json`.
#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Needed unless every namespace names its own.
    network: Option<NetworkChoice>,
    /// Ids or names: one address of each. None: one of each IP version that the network has.
    #[serde(default)]
    subnets: Vec<String>,
    /// Ids or names. None: the project's default group. An empty list: no group, so nothing passes.
    security_groups: Option<Vec<String>>,
    /// Neutron's VNIC type.
    vnic_type: Option<String>,
    /// Tags of the port.
    #[serde(default)]
    tags: Vec<String>,
}

/// Which network Pods are on.
#[derive(Debug)]
enum NetworkChoice {
    /// All on the one of this id or name.
    Named(String),
    /// Each on that of its namespace, which `namespace-network` makes.
    OfNamespace(OfNamespace),
}

#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OfNamespace {
    /// One address of each of these: those that `namespace-network` has a pool of.
    from_namespace: Vec<IpFamily>,
    /// Pods of namespaces that have no network of their own.
    except: Option<Except>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
enum IpFamily {
    IPv4,
    IPv6,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Except {
    /// Names, or beginnings of names with `*` behind: those that `namespace-network` excludes.
    namespaces: Vec<String>,
    /// Id or name of the network that they are on.
    network: String,
}

impl<'de> Deserialize<'de> for NetworkChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameOrChoice;
        impl<'de> Visitor<'de> for NameOrChoice {
            type Value = NetworkChoice;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string (id or name of the network) or {\"fromNamespace\": [...]}")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<NetworkChoice, E> {
                Ok(NetworkChoice::Named(text.into()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<NetworkChoice, A::Error> {
                Deserialize::deserialize(MapAccessDeserializer::new(map)).map(NetworkChoice::OfNamespace)
            }
        }
        deserializer.deserialize_any(NameOrChoice)
    }
}

impl Module for PodPort {
    type Config = Config;

    fn manifest() -> Manifest {
        let annotations = [NETWORK, SUBNETS, MAKE_SUBNETS, SECURITY_GROUPS]
            .map(|name| format!("metadata.annotations[\"{name}\"]"));
        Manifest::new("pod-port", env!("CARGO_PKG_VERSION"), "A Neutron port and an interface for every Pod")
            .maps(Kind::core("Pod"), ["spec.nodeName", "spec.hostNetwork", "status.phase"])
            .reads(Kind::core("Namespace"), annotations.iter().map(String::as_str))
            .config_schema(include_str!("../config.schema.json"))
    }
}

impl Mapper for PodPort {
    fn map(subject: &str, config: Config) -> Result<Vec<Desired>, Outcome> {
        let pod: Pod<'_> = parse_subject(subject)?;
        if pod.spec.host_network {
            return Err(not_mapped("the Pod is on the host's network"));
        }
        if pod.is_finished() {
            return Err(not_mapped("all containers of the Pod have ended"));
        }
        let node =
            pod.spec.node_name.filter(|n| !n.is_empty()).or_waiting("the Pod is not scheduled to a node")?;
        let namespace = pod.metadata.namespace.or_invalid("a Pod has a namespace", "metadata.namespace")?;
        let object = snapshot::get(Kind::core("Namespace"), None, &namespace);
        let object = object.or_waiting("the Pod's namespace is not known yet")?;
        let namespace: Namespace<'_> = parse_subject(&object)?;

        let mut port = placed(&config, &namespace.metadata)?.host(node);
        port.vnic_type = config.vnic_type;
        let mut port = port.named("port");
        port.tags = config.tags;
        Ok(vec![port, Vif::new("eth0", local("port")).default_route().named("eth0")])
    }
}

/// A port on the network, subnets and groups that config and namespace say. A namespace with a network of its own gets no
/// subnets of the config: they are subnets of the config's network.
fn placed(config: &Config, namespace: &ObjectMeta<'_>) -> Result<Port, Outcome> {
    let annotations = &namespace.annotations;
    let own_network = annotations.get(NETWORK).map(|text| text.trim()).filter(|text| !text.is_empty());
    let by_config = config.network_of(&namespace.name)?;
    let (network, subnets) = match (own_network, &by_config) {
        (Some(own), _) => (existing(own), Vec::new()),
        (None, Some(Place::Named(name))) => {
            (existing(name), config.subnets.iter().map(|s| existing(s)).collect())
        }
        (None, Some(Place::OfNamespace(families))) => {
            (of_namespace(&namespace.name, "network"), made(&namespace.name, families))
        }
        (None, None) => {
            let message = "no network: set `network` in the module's config, or annotate the namespace with \
                           isthmus.dev/network";
            return Err(invalid_field(message, "config.network"));
        }
    };
    let subnets = match (annotations.get(SUBNETS), &by_config) {
        (Some(text), _) => names(text).into_iter().map(existing).collect(),
        (None, Some(Place::OfNamespace(families))) if makes_subnets(annotations) => {
            made(&namespace.name, families)
        }
        (None, _) => subnets,
    };
    let mut port = subnets.into_iter().fold(Port::new(network), |p, s| p.fixed_ip(FixedIp::of(s)));
    port.security_groups = groups(config, &by_config, namespace);
    Ok(port)
}

fn groups(
    config: &Config,
    by_config: &Option<Place<'_>>,
    namespace: &ObjectMeta<'_>,
) -> Option<Vec<Reference>> {
    if let Some(text) = namespace.annotations.get(SECURITY_GROUPS) {
        return Some(names(text).into_iter().map(existing).collect());
    }
    let named = config.security_groups.as_ref().map(|groups| groups.iter().map(|g| existing(g)));
    match by_config {
        // The namespace's own, whatever network it is on.
        Some(Place::OfNamespace(_)) => Some(
            GROUPS
                .map(|entry| of_namespace(&namespace.name, entry))
                .into_iter()
                .chain(named.into_iter().flatten())
                .collect(),
        ),
        _ => named.map(Iterator::collect),
    }
}

/// Where Pods of a namespace are, as far as the config says.
enum Place<'a> {
    Named(&'a str),
    OfNamespace(&'a [IpFamily]),
}

impl Config {
    fn network_of(&self, namespace: &str) -> Result<Option<Place<'_>>, Outcome> {
        let of = match &self.network {
            None => return Ok(None),
            Some(NetworkChoice::Named(name)) => return Ok(Some(Place::Named(name))),
            Some(NetworkChoice::OfNamespace(of)) => of,
        };
        if of.from_namespace.is_empty() {
            let message = "which addresses do Pods get? [\"IPv4\"], [\"IPv6\"] or both";
            return Err(invalid_field(message, "config.network.fromNamespace"));
        }
        match &of.except {
            Some(except) if any_fits(&except.namespaces, namespace) => {
                Ok(Some(Place::Named(&except.network)))
            }
            _ => Ok(Some(Place::OfNamespace(&of.from_namespace))),
        }
    }
}

/// Whether `namespace-network` makes subnets on the network that the namespace names.
fn makes_subnets(annotations: &Map<'_>) -> bool {
    annotations.get(MAKE_SUBNETS).is_some_and(|text| text.trim() == "true")
}

/// The subnets that `namespace-network` makes.
fn made(namespace: &str, families: &[IpFamily]) -> Vec<Reference> {
    let wanted = [(IpFamily::IPv4, "subnet-v4"), (IpFamily::IPv6, "subnet-v6")];
    let wanted = wanted.into_iter().filter(|(family, _)| families.contains(family));
    wanted.map(|(_, entry)| of_namespace(namespace, entry)).collect()
}

/// An entry of the mapping of the namespace.
fn of_namespace(name: &str, entry: &str) -> Reference {
    mapped(ObjectKey { kind: Kind::core("Namespace"), namespace: None, name: name.into() }, entry)
}

/// The names of a comma-separated list.
fn names(text: &str) -> Vec<&str> {
    text.split(',').map(str::trim).filter(|name| !name.is_empty()).collect()
}
