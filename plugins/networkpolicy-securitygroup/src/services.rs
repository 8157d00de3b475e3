//! Services that lead to the peers of an egress rule and to nobody else: their addresses are opened with the peers'.
//!
//! Kubernetes' text is of Pods, and a Service is what Pods call Pods by. But a switch that balances (OVN) asks the sender's rules
//! before it does, and a load balancer of its own is an address like any other: what they see is the Service's address and port.
//!
//! Whom a Service chooses is told by its selector, not by the Pods that there are: it has to ask for all that a peer's selector asks
//! for. So none that joins a Service is reached without being a peer, and Pods are read only where a rule has the numbers of ports and
//! a Service's target port is a name. A Service without a selector leads to whatever its slices say, which only who writes them
//! knows: it stays closed.
//!
//! Services are other tenants' too. What they say is compared here and never asked of the host, which ends a call that asks too much.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::rc::Rc;

use ipnet::IpNet;
use isthmus_sdk::log;
use isthmus_sdk::objects::{Map, NumberOrName, Service, ServicePort};
use isthmus_sdk::prelude::*;

use crate::objects::Pod;
use crate::peers::Namespaces;
use crate::policy::{Number, Peers, Pods, Port, Protocol, Rule};
use crate::ports::{self, Name};
use crate::room::Found;

pub(crate) fn service_kind() -> Kind {
    Kind::core("Service")
}

/// What is read of a Service. External IPs are not: a user may claim any address by them.
pub(crate) const SERVICE_FIELDS: [&str; 7] = [
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
/// An address, and the port at which it is open.
pub(crate) type Open = (At, IpNet);

/// The texts of the Services that these egress rules may be about: of one namespace, or of all.
pub(crate) fn read(rules: &[Rule], own: &str) -> Vec<String> {
    let asked = rules.iter().filter(|rule| !opens_all(rule)).flat_map(|rule| rule.peers.pods());
    // The widest: whether of the namespace alone.
    match asked.map(|pods| pods.namespaces.is_none()).min() {
        None => Vec::new(),
        Some(alone) => snapshot::list(&service_kind(), alone.then_some(own), ""),
    }
}

/// Whether no address is closed.
fn opens_all(rule: &Rule) -> bool {
    matches!(rule.peers, Peers::Everybody) && rule.ports.is_none()
}

/// The Services that a policy may be about, and what the names of their target ports stand for.
pub(crate) struct Services<'a> {
    all: Vec<Service<'a>>,
    pods: NamedPorts,
}

impl<'a> Services<'a> {
    /// Of what [`read`] read.
    pub(crate) fn new(texts: &'a [String]) -> Self {
        Self { all: parse_others(texts).collect(), pods: NamedPorts::default() }
    }

    /// The addresses of Services that lead to peers of this egress rule, at ports that it allows. What it opens to everybody is open
    /// at a Service's address too.
    pub(crate) fn addresses(&mut self, rule: &Rule, namespaces: &mut Namespaces<'_>) -> Found<Open> {
        let mut found = Found::new();
        if opens_all(rule) {
            return found;
        }
        for service in &self.all {
            if let Some(selector) = leads_to(service, &rule.peers, namespaces) {
                add(service, selector, rule, &mut self.pods, &mut found);
            }
        }
        found
    }
}

/// The Service's selector, if it chooses none but Pods of one of these peers.
fn leads_to<'s, 'a>(
    service: &'s Service<'a>,
    peers: &Peers,
    namespaces: &mut Namespaces<'_>,
) -> Option<&'s Map<'a>> {
    let selector = service.spec.selector.as_ref().filter(|selector| !selector.is_empty())?;
    let leads = |pods: &Pods| pods.selector.follows_from(selector) && namespaces.hold(pods, place(service));
    peers.pods().iter().any(leads).then_some(selector)
}

fn place<'s>(service: &'s Service<'_>) -> &'s str {
    service.metadata.namespace.as_deref().unwrap_or_default()
}

fn add(
    service: &Service<'_>,
    selector: &Map<'_>,
    rule: &Rule,
    pods: &mut NamedPorts,
    found: &mut Found<Open>,
) {
    let (spec, namespace) = (&service.spec, place(service));
    let own: Vec<IpNet> = spec.cluster_ips().filter_map(whole).collect();
    let ingress = service.status.load_balancer.ingress.iter().filter_map(|ingress| ingress.ip.as_deref());
    let outside: Vec<IpNet> = ingress.filter_map(whole).collect();
    if rule.ports.is_none() {
        own.iter().for_each(|address| found.add(namespace, (None, *address)));
    }
    for port in &spec.ports {
        let Some(protocol) = Protocol::new(port.protocol.as_deref()) else { continue };
        let allowed = match &rule.ports {
            None => true,
            Some(ports) => {
                let of_protocol = ports.iter().filter(|port| port.protocol == protocol);
                let numbers: Vec<&Number> = of_protocol.map(|port| &port.number).collect();
                let to_all = matches!(rule.peers, Peers::Everybody) && hold(&numbers, port.port);
                !to_all && is_open(&numbers, protocol, port, |name| pods.of(namespace, selector, name))
            }
        };
        if allowed {
            let here = own.iter().filter(|_| rule.ports.is_some()).chain(&outside);
            here.for_each(|address| found.add(namespace, (Some((protocol, port.port)), *address)));
        }
    }
}

/// An address as a block of its own.
fn whole(text: &str) -> Option<IpNet> {
    text.parse::<IpAddr>().ok().map(IpNet::from)
}

fn hold(numbers: &[&Number], number: u16) -> bool {
    numbers.iter().any(|of| of.holds(number))
}

/// Whether all that is behind a Service's port is among the ports of a rule that are of its protocol. A name stands for a number of
/// each Pod's own: then the Pods are read.
fn is_open(
    allowed: &[&Number],
    protocol: Protocol,
    port: &ServicePort<'_>,
    in_pods: impl FnOnce(&Name) -> BTreeSet<u16>,
) -> bool {
    let number = match &port.target_port {
        Some(NumberOrName::Name(name)) => return name_is_open(allowed, protocol, name, in_pods),
        // Kubernetes' 0 is "not said".
        None | Some(NumberOrName::Number(0)) => Some(port.port),
        Some(number) => number.number(),
    };
    number.is_some_and(|number| hold(allowed, number))
}

fn name_is_open(
    allowed: &[&Number],
    protocol: Protocol,
    name: &str,
    in_pods: impl FnOnce(&Name) -> BTreeSet<u16>,
) -> bool {
    let is_named = |of: &&Number| match of {
        Number::Any => true,
        Number::Named(own) => own == name,
        Number::Range(..) => false,
    };
    if allowed.iter().any(is_named) {
        return true;
    }
    if allowed.is_empty() {
        return false;
    }
    let numbers = in_pods(&(protocol, name.to_owned()));
    !numbers.is_empty() && numbers.iter().all(|number| hold(allowed, *number))
}

/// Most Pods of a namespace that are looked at for its Services' sake: many of both must not use up the time of a call.
const LOOKS: usize = 100_000;

/// The Pods that have names of ports, of the namespaces that were asked for: each is read once.
#[derive(Default)]
struct NamedPorts(BTreeMap<String, PodsOf>);

/// Those of a namespace.
struct PodsOf {
    by_name: BTreeMap<Name, Vec<(Rc<Labels>, u16)>>,
    /// How many are left; `None` once there were too few.
    looks: Option<usize>,
}

type Labels = BTreeMap<String, String>;

impl NamedPorts {
    /// What this name stands for in the Pods of a namespace that have these labels; nothing where it would take too long.
    fn of(&mut self, namespace: &str, selector: &Map<'_>, name: &Name) -> BTreeSet<u16> {
        let pods = self.0.entry(namespace.into()).or_insert_with(|| PodsOf::read(namespace));
        let named = pods.by_name.get(name).map(Vec::as_slice).unwrap_or_default();
        let Some(left) = pods.looks.and_then(|looks| looks.checked_sub(named.len())) else {
            if pods.looks.take().is_some() {
                log::warn(&format!(
                    "namespace {namespace} has too many Services and Pods with named ports: some of these Services stay closed"
                ));
            }
            return BTreeSet::new();
        };
        pods.looks = Some(left);
        let is_chosen = |labels: &Labels| {
            selector.iter().all(|(key, value)| labels.get(&**key).is_some_and(|own| **own == **value))
        };
        named.iter().filter(|(labels, _)| is_chosen(labels)).map(|(_, number)| *number).collect()
    }
}

impl PodsOf {
    fn read(namespace: &str) -> Self {
        let mut by_name = BTreeMap::<Name, Vec<(Rc<Labels>, u16)>>::new();
        let texts = snapshot::list(&Kind::core("Pod"), Some(namespace), "");
        for pod in parse_others::<Pod<'_>>(&texts) {
            let labels = pod.metadata.labels.iter().map(|(key, value)| (key.to_string(), value.to_string()));
            let labels = Rc::new(labels.collect());
            for (name, number) in ports::of_pod(&pod) {
                by_name.entry(name).or_default().push((Rc::clone(&labels), number));
            }
        }
        Self { by_name, looks: Some(LOOKS) }
    }
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
