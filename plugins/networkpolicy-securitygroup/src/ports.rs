//! What the names of ports stand for: a number of each Pod's own.

use std::collections::{BTreeMap, BTreeSet};

use isthmus_sdk::objects::Head;
use isthmus_sdk::prelude::*;

use crate::objects;
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

/// What these names stand for in a Pod: ports of its containers and side-cars. None of a Pod on the node's network, which has no
/// port of its own.
pub(crate) fn of_pod(pod: &objects::Pod<'_>, names: &BTreeSet<Name>, numbers: &mut Numbers) {
    if pod.spec.host_network {
        return;
    }
    let side_cars = pod.spec.init_containers.iter().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    for port in pod.spec.containers.iter().chain(side_cars).flat_map(|container| &container.ports) {
        let (Some(name), Some(protocol)) = (&port.name, Protocol::new(port.protocol.as_deref())) else {
            continue;
        };
        let name = (protocol, String::from(name.clone()));
        if names.contains(&name) {
            numbers.entry(name).or_default().insert(port.container_port);
        }
    }
}

/// What these names stand for in Pods that are selected, as seen from a namespace. Read only where there are names.
pub(crate) fn of_pods(pods: &Pods, own: &str, names: &BTreeSet<Name>) -> Result<Numbers, Outcome> {
    let mut numbers = Numbers::new();
    if names.is_empty() {
        return Ok(numbers);
    }
    for text in list(&Kind::core("Pod"), pods, own, &pods.selector.to_string())? {
        of_pod(&parse_subject(&text)?, names, &mut numbers);
    }
    Ok(numbers)
}

/// The objects of a kind that this selector chooses, in the namespaces of these Pods as seen from a namespace.
pub(crate) fn list(kind: &Kind, pods: &Pods, own: &str, selector: &str) -> Result<Vec<String>, Outcome> {
    let namespaces = match &pods.namespaces {
        Some(selector) if !selector.selects_all() => Some(namespaces(&selector.to_string())?),
        _ => None,
    };
    let place = pods.namespaces.is_none().then_some(own);
    let all = snapshot::list(kind, place, selector);
    let Some(namespaces) = namespaces else { return Ok(all) };
    let mut chosen = Vec::new();
    for text in all {
        let head: Head<'_> = parse_subject(&text)?;
        if namespaces.contains(head.metadata.namespace.as_deref().unwrap_or_default()) {
            chosen.push(text);
        }
    }
    Ok(chosen)
}

fn namespaces(selector: &str) -> Result<BTreeSet<String>, Outcome> {
    let texts = snapshot::list(&Kind::core("Namespace"), None, selector);
    let name = |text: &String| {
        let namespace: Namespace<'_> = parse_subject(text)?;
        Ok(namespace.metadata.name.into())
    };
    texts.iter().map(name).collect()
}
