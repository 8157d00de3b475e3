//! What the names of ports stand for: a number of each Pod's own.

use std::collections::{BTreeMap, BTreeSet};

use isthmus_sdk::prelude::*;

use crate::objects::{Container, Pod};
use crate::peers::Namespaces;
use crate::policy::{Number, Pods, Protocol, Rule};

/// The name of a port, with its protocol.
pub(crate) type Name = (Protocol, String);
/// The numbers that names stand for.
pub(crate) type Numbers = BTreeMap<Name, BTreeSet<u16>>;

/// The names that these rules use.
pub(crate) fn names(rules: &[Rule]) -> BTreeSet<Name> {
    let ports = rules.iter().filter_map(|rule| rule.ports.as_ref()).flatten();
    ports
        .filter_map(|port| match &port.number {
            Number::Named(name) => Some((port.protocol, name.clone())),
            _ => None,
        })
        .collect()
}

/// The names of a Pod's ports, with their numbers: ports of its containers and side-cars. None of a Pod on the node's network, which
/// has no port of its own.
pub(crate) fn of_pod(pod: &Pod<'_>) -> impl Iterator<Item = (Name, u16)> {
    let spec = Some(&pod.spec).filter(|spec| !spec.host_network);
    let is_side_car = |c: &&Container<'_>| c.restart_policy.as_deref() == Some("Always");
    let containers = spec
        .into_iter()
        .flat_map(move |s| s.containers.iter().chain(s.init_containers.iter().filter(is_side_car)));
    containers.flat_map(|container| &container.ports).filter_map(|port| {
        let name = (Protocol::new(port.protocol.as_deref())?, port.name.clone()?.into());
        Some((name, port.container_port))
    })
}

/// What these names stand for in Pods that are selected, with the namespace of each Pod. Read only where there are names.
pub(crate) fn of_pods(
    pods: &Pods,
    names: &BTreeSet<Name>,
    namespaces: &mut Namespaces<'_>,
    mut found: impl FnMut(&str, Name, u16),
) {
    if names.is_empty() {
        return;
    }
    let place = pods.namespaces.is_none().then_some(namespaces.own());
    let texts = snapshot::list(&Kind::core("Pod"), place, &pods.selector.to_string());
    for pod in parse_others::<Pod<'_>>(&texts) {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        if namespaces.hold(pods, namespace) {
            let named = of_pod(&pod).filter(|(name, _)| names.contains(name));
            named.for_each(|(name, number)| found(namespace, name, number));
        }
    }
}
