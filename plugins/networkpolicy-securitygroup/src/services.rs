//! Services that lead to the peers of an egress rule and to nobody else: their addresses are opened with the peers'.
//!
//! Kubernetes' text is of Pods, and a Service is what Pods call Pods by. But a switch that balances (OVN) asks the sender's rules
//! before it does, and a load balancer of its own is an address like any other: what they see is the Service's address and port.
//!
//! Whom a Service chooses is told by its selector, not by the Pods that there are: it has to ask for all that a peer's selector asks
//! for. So no Pod that comes or goes calls the module, and none that joins a Service is reached without being a peer. A Service
//! without a selector leads to whatever its slices say, which only who writes them knows: it stays closed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use isthmus_sdk::objects::{Map, NumberOrName};
use isthmus_sdk::prelude::*;

use crate::objects::{Pod, Service, ServicePort};
use crate::peers::all_pods;
use crate::policy::{Number, Peers, Pods, Port, Protocol, Rule};
use crate::ports::{self, Numbers};

pub(crate) fn service_kind() -> Kind {
    Kind::core("Service")
}

/// What is read of a Service. External IPs are not: a user may claim any address by them.
pub(crate) const SERVICE_FIELDS: [&str; 8] = [
    "spec.type",
    "spec.clusterIP",
    "spec.clusterIPs",
    "spec.selector",
    "spec.ports[*].protocol",
    "spec.ports[*].port",
    "spec.ports[*].targetPort",
    "status.loadBalancer.ingress[*].ip",
];

/// The port at which addresses are open. `None`: all of them, as the rule has no ports and the address is the Service's alone.
pub(crate) type At = Option<(Protocol, u16)>;
/// Addresses by the port at which they are open.
pub(crate) type Addresses = BTreeMap<At, BTreeSet<IpNet>>;

/// The addresses of Services that lead to peers of this egress rule, at ports that it allows.
pub(crate) fn addresses(rule: &Rule, own: &str) -> Result<Addresses, Outcome> {
    let everybody = [all_pods()];
    let peers = match (&rule.peers, &rule.ports) {
        (Peers::Everybody, None) => return Ok(Addresses::new()),
        (Peers::Everybody, Some(_)) => everybody.as_slice(),
        (Peers::These { pods, .. }, _) => pods.as_slice(),
    };
    let mut found = Addresses::new();
    for pods in peers {
        for text in ports::list(&service_kind(), pods, own, "")? {
            let service: Service<'_> = parse_subject(&text)?;
            if let Some(selector) = leads_to(&service, pods) {
                add(&service, selector, rule, &mut found)?;
            }
        }
    }
    Ok(found)
}

/// The Service's selector, if it has an address and chooses none but these Pods in its namespace.
fn leads_to<'s, 'a>(service: &'s Service<'a>, pods: &Pods) -> Option<&'s Map<'a>> {
    let spec = &service.spec;
    let has_address =
        spec.kind.as_deref() != Some("ExternalName") && spec.cluster_ip.as_deref() != Some("None");
    let selector = spec.selector.as_ref().filter(|selector| has_address && !selector.is_empty())?;
    pods.selector.follows_from(selector).then_some(selector)
}

fn add(service: &Service<'_>, selector: &Map<'_>, rule: &Rule, found: &mut Addresses) -> Result<(), Outcome> {
    let spec = &service.spec;
    let first = spec.cluster_ip.iter().filter(|_| spec.cluster_ips.is_empty());
    let own = spec.cluster_ips.iter().chain(first);
    let own: Vec<IpNet> = own.filter_map(|text| whole(text)).collect();
    let ingress = service.status.load_balancer.ingress.iter().filter_map(|ingress| ingress.ip.as_deref());
    let outside: Vec<IpNet> = ingress.filter_map(whole).collect();
    if rule.ports.is_none() && !own.is_empty() {
        found.entry(None).or_default().extend(&own);
    }
    for port in &spec.ports {
        let Some(protocol) = Protocol::new(port.protocol.as_deref()) else { continue };
        let allowed = match &rule.ports {
            None => true,
            Some(ports) => {
                let of_protocol: Vec<&Number> = ports
                    .iter()
                    .filter(|p| p.protocol == protocol)
                    .map(|Port { number, .. }| number)
                    .collect();
                is_open(&of_protocol, protocol, port, service, selector)?
            }
        };
        if allowed {
            let here = own.iter().filter(|_| rule.ports.is_some()).chain(&outside).copied();
            found.entry(Some((protocol, port.port))).or_default().extend(here);
        }
    }
    found.retain(|_, addresses| !addresses.is_empty());
    Ok(())
}

/// An address as a block of its own.
fn whole(text: &str) -> Option<IpNet> {
    text.parse::<IpAddr>().ok().map(IpNet::from)
}

/// Whether all that is behind a Service's port is among the ports of a rule that are of its protocol. A name stands for a number of
/// each Pod's own: then the Pods are read.
fn is_open(
    allowed: &[&Number],
    protocol: Protocol,
    port: &ServicePort<'_>,
    service: &Service<'_>,
    selector: &Map<'_>,
) -> Result<bool, Outcome> {
    let has = |number: u16| {
        allowed.iter().any(|of| match of {
            Number::Any => true,
            Number::Range(first, last) => (*first..=*last).contains(&number),
            Number::Named(_) => false,
        })
    };
    let named = |name: &str| allowed.iter().any(|of| matches!(of, Number::Named(own) if own == name));
    let target = match &port.target_port {
        None => return Ok(has(port.port)),
        // Kubernetes' 0 is "not said".
        Some(NumberOrName::Number(0)) => return Ok(has(port.port)),
        Some(NumberOrName::Number(number)) => return Ok(u16::try_from(*number).is_ok_and(has)),
        Some(NumberOrName::Name(name)) => &**name,
    };
    if named(target) || allowed.iter().any(|of| matches!(of, Number::Any)) {
        return Ok(true);
    }
    if allowed.is_empty() {
        return Ok(false);
    }
    let name = (protocol, target.to_owned());
    let (names, mut numbers) = (BTreeSet::from([name.clone()]), Numbers::new());
    let equal = selector.iter().map(|(key, value)| format!("{}={}", &**key, &**value));
    let equal = equal.collect::<Vec<_>>().join(",");
    for text in snapshot::list(&Kind::core("Pod"), service.metadata.namespace.as_deref(), &equal) {
        let pod: Pod<'_> = parse_subject(&text)?;
        ports::of_pod(&pod, &names, &mut numbers);
    }
    Ok(numbers.get(&name).is_some_and(|numbers| numbers.iter().copied().all(has)))
}

/// The text of what makes a rule open addresses at a port: a set of them is named after it.
pub(crate) fn purpose(rule: &Rule, at: &At) -> String {
    let mut ports: Vec<String> = rule.ports.iter().flatten().map(told).collect();
    ports.sort();
    ports.dedup();
    let at = at.map(|(protocol, port)| format!("{} {port}", protocol.in_kubernetes()));
    format!("ports {}\nat {}\n", ports.join(","), at.unwrap_or_default())
}

fn told(port: &Port) -> String {
    let protocol = port.protocol.in_kubernetes();
    match &port.number {
        Number::Any => protocol.into(),
        Number::Range(first, last) => format!("{protocol} {first}-{last}"),
        Number::Named(name) => format!("{protocol} {name}"),
    }
}
