//! What the tests have in common: a cluster of two namespaces, and mappings as lines of text.
#![allow(dead_code, reason = "each test uses its part")]

use isthmus_sdk::prelude::*;
use isthmus_sdk::records::networking::{Direction, PortMatch, Remote};
use isthmus_sdk::records::types::Invalid;
use isthmus_sdk::records::values::{AddressSet, IpVersion};
use isthmus_sdk::snapshot::Cloud;
use isthmus_sdk::testing::Cluster;
use networkpolicy_securitygroup::NetworkPolicySecurityGroup;

pub(crate) const NAME: &str = "networkpolicy-securitygroup";

const OBJECTS: &str = "
{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {team: blue}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: stock, labels: {team: blue}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: other, labels: {team: red}}}
---
{apiVersion: isthmus.dev/v1alpha1, kind: PolicyModule, metadata: {name: networkpolicy-securitygroup}}
";

pub(crate) fn policy_kind() -> Kind {
    Kind::new("networking.k8s.io", "v1", "NetworkPolicy")
}

pub(crate) fn module_kind() -> Kind {
    Kind::new("isthmus.dev", "v1alpha1", "PolicyModule")
}

/// A NetworkPolicy's document: `NAMESPACE/NAME` and its spec.
pub(crate) fn policy(name: &str, spec: &str) -> String {
    let (namespace, name) = name.split_once('/').unwrap();
    let metadata = format!("{{name: {name}, namespace: {namespace}}}");
    format!(
        "{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {metadata}, spec: {{{spec}}}}}"
    )
}

/// A Pod's document: `NAMESPACE/NAME`, its labels, and its spec.
pub(crate) fn pod(name: &str, labels: &str, spec: &str) -> String {
    let (namespace, name) = name.split_once('/').unwrap();
    let metadata = format!("{{name: {name}, namespace: {namespace}, labels: {{{labels}}}}}");
    format!("{{apiVersion: v1, kind: Pod, metadata: {metadata}, spec: {{{spec}}}}}")
}

/// A container's port of this name, in the spec of a Pod.
pub(crate) fn serving(name: &str, number: u16) -> String {
    format!("containers: [{{name: c, ports: [{{name: {name}, containerPort: {number}}}]}}]")
}

pub(crate) fn cloud(extensions: &[&str]) -> Cloud {
    Cloud {
        network_extensions: extensions.iter().map(|alias| (*alias).to_owned()).collect(),
        load_balancer_providers: vec![],
        has_key_manager: false,
    }
}

/// The namespaces, these objects, and a cloud that has address groups.
pub(crate) fn cluster(objects: &[String]) -> Cluster {
    let text = [&[OBJECTS.to_owned()], objects].concat().join("\n---\n");
    let extensions = ["address-group", "security-groups-remote-address-group"];
    Cluster::from_yaml(&text).unwrap().with_cloud(cloud(&extensions))
}

/// Maps a policy `shop/web` of this spec among these objects.
pub(crate) fn map_among(spec: &str, objects: &[String]) -> Result<Vec<Desired>, Outcome> {
    let objects = [objects, &[policy("shop/web", spec)]].concat();
    cluster(&objects).map::<NetworkPolicySecurityGroup>(&policy_kind(), "shop/web", "{}")
}

/// The rules of such a policy as text; see [`lines`].
pub(crate) fn rules(spec: &str) -> Vec<String> {
    lines(&map_among(spec, &[]).unwrap())
}

/// What a Pod's port has without policies.
pub(crate) const OPEN: &str = "open";

/// Refines a Pod with two ports.
pub(crate) fn refine_in(cluster: &Cluster, pod: &str, config: &str) -> Result<Vec<Desired>, Outcome> {
    let port = |name: &str| Port::new(existing("pods")).security_group(existing(OPEN)).named(name);
    let vif = |interface: &str, port: &str| Vif::new(interface, local(port)).named(interface);
    let list = vec![port("port"), vif("eth0", "port"), port("second"), vif("eth1", "second")];
    cluster.refine::<NetworkPolicySecurityGroup>(&Kind::core("Pod"), pod, config, list)
}

/// The groups that both ports of a Pod carry, as `POLICY/ENTRY`, `shared/ENTRY` or the name of an existing one.
pub(crate) fn carried_in(cluster: &Cluster, pod: &str, config: &str) -> Vec<String> {
    let list = refine_in(cluster, pod, config).unwrap();
    let is_port = |entry: &&Desired| matches!(entry.resource, Resource::Port(_));
    let ports: Vec<_> = list.iter().filter(is_port).map(groups).collect();
    assert!(ports.len() == 2 && ports[0] == ports[1], "every port carries the same: {ports:?}");
    ports[0].clone()
}

/// The groups of a port: of mappings as `NAME/ENTRY`, of the module's own as `shared/ENTRY`.
pub(crate) fn groups(port: &Desired) -> Vec<String> {
    let Resource::Port(port) = &port.resource else { panic!("{port:?}") };
    let name = |reference: &Reference| match reference {
        Reference::Existing(name) => name.clone(),
        Reference::Mapped(found) if found.subject.kind == module_kind() => format!("shared/{}", found.name),
        Reference::Mapped(found) => format!("{}/{}", found.subject.name, found.name),
        Reference::Local(name) => panic!("{name}"),
    };
    port.security_groups.as_ref().unwrap().iter().map(name).collect()
}

pub(crate) fn carried(objects: &[String], pod: &str) -> Vec<String> {
    carried_in(&cluster(objects), pod, "{}")
}

/// Each rule of each group, as `GROUP: in v4 tcp 80-80 from [...]`, with what an address group holds in brackets.
pub(crate) fn lines(list: &[Desired]) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in list {
        let Resource::SecurityGroup(group) = &entry.resource else { continue };
        for rule in &group.rules {
            let direction = if rule.direction == Direction::Ingress { "in" } else { "out" };
            let version = if rule.ip_version == IpVersion::V4 { "v4" } else { "v6" };
            let protocol = rule.protocol.as_deref().unwrap_or("any");
            let ports = match &rule.ports {
                PortMatch::Any => String::new(),
                PortMatch::Range(range) => format!(" {}-{}", range.first, range.last),
                PortMatch::Icmp(_) => panic!("{rule:?}"),
            };
            let remote = remote(list, &rule.remote);
            lines.push(format!("{}: {direction} {version} {protocol}{ports} {remote}", entry.name));
        }
    }
    lines
}

fn remote(list: &[Desired], remote: &Remote) -> String {
    let name = match remote {
        Remote::Any => return "all".into(),
        Remote::Cidr(cidr) => return cidr.clone(),
        Remote::Group(Reference::Existing(name)) => return format!("group {name}"),
        Remote::Addresses(Reference::Local(name)) => name,
        other => panic!("{other:?}"),
    };
    match &list.iter().find(|entry| entry.name == *name).unwrap().resource {
        Resource::AddressGroup(group) => {
            format!("[{}]", group.addresses.iter().map(set).collect::<Vec<_>>().join(" + "))
        }
        other => panic!("{other:?}"),
    }
}

fn set(set: &AddressSet) -> String {
    match set {
        AddressSet::Literal(cidr) => cidr.clone(),
        AddressSet::AddressesOf(of) => {
            let place = match of.namespaces.as_deref() {
                None => "own".into(),
                Some("") => "everywhere".into(),
                Some(selector) => format!("in {selector}"),
            };
            let selector = if of.selector.is_empty() { "all" } else { &of.selector };
            let port = of.named_port.as_ref();
            let port = port.map(|p| format!(" with {} {}={}", p.protocol, p.name, p.port));
            format!("{place}: {selector}{}", port.unwrap_or_default())
        }
        other => panic!("{other:?}"),
    }
}

/// Asserts `invalid` with this field, and this in its message.
pub(crate) fn assert_wrong(result: Result<Vec<Desired>, Outcome>, field: &str, part: &str) {
    let Err(Outcome::Invalid(Invalid { message, field: at })) = result else { panic!("{result:?}") };
    assert_eq!(at.as_deref(), Some(field), "{message}");
    assert!(message.contains(part), "{message}");
}

/// Asserts `waiting` with this in its reason.
pub(crate) fn assert_waits(result: Result<Vec<Desired>, Outcome>, part: &str) {
    let Err(Outcome::Waiting(reason)) = result else { panic!("{result:?}") };
    assert!(reason.contains(part), "{reason}");
}
