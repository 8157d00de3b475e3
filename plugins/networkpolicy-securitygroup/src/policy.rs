//! A NetworkPolicy that was checked: what it says, with all defaults in place.

use ipnet::IpNet;
use isthmus_sdk::objects::NumberOrName;
use isthmus_sdk::prelude::*;

use crate::cidr;
use crate::objects::{self, Spec};
use crate::selector::Selector;

/// What a policy allows. A direction that is `None` is none of its business; one with an empty list is closed.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) ingress: Option<Vec<Rule>>,
    pub(crate) egress: Option<Vec<Rule>>,
}

#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) peers: Peers,
    /// `None`: of every protocol, every port.
    pub(crate) ports: Option<Vec<Port>>,
}

#[derive(Debug)]
pub(crate) enum Peers {
    Everybody,
    These { pods: Vec<Pods>, blocks: Vec<IpNet> },
}

/// Everybody, as far as they are Pods.
static ALL_PODS: [Pods; 1] = [Pods { namespaces: Some(Selector::ALL), selector: Selector::ALL }];

impl Peers {
    /// Those that are Pods.
    pub(crate) fn pods(&self) -> &[Pods] {
        match self {
            Self::Everybody => &ALL_PODS,
            Self::These { pods, .. } => pods,
        }
    }
}

/// Pods that selectors choose.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pods {
    /// `None`: in the policy's namespace.
    pub(crate) namespaces: Option<Selector>,
    pub(crate) selector: Selector,
}

#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) protocol: Protocol,
    pub(crate) number: Number,
}

#[derive(Debug)]
pub(crate) enum Number {
    /// Every port of the protocol.
    Any,
    /// Both ends included.
    Range(u16, u16),
    Named(String),
}

impl Number {
    /// Whether it is among them. What a name stands for is not known here.
    pub(crate) fn holds(&self, number: u16) -> bool {
        match self {
            Self::Any => true,
            Self::Range(first, last) => (*first..=*last).contains(&number),
            Self::Named(_) => false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    /// As Kubernetes writes it; TCP where it is not said.
    pub(crate) fn new(text: Option<&str>) -> Option<Self> {
        match text {
            None | Some("TCP") => Some(Self::Tcp),
            Some("UDP") => Some(Self::Udp),
            Some("SCTP") => Some(Self::Sctp),
            _ => None,
        }
    }

    /// As Neutron writes it.
    pub(crate) fn in_neutron(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }

    /// As Kubernetes writes it.
    pub(crate) fn in_kubernetes(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }
}

/// The Pods of its namespace that a policy is for.
pub(crate) fn selected(spec: &Spec<'_>) -> Result<Selector, Outcome> {
    let all = objects::LabelSelector::default();
    Selector::new(spec.pod_selector.as_ref().unwrap_or(&all), "spec.podSelector")
}

impl Policy {
    /// The rules of a policy.
    ///
    /// # Errors
    /// `invalid` with the path of what Kubernetes would not have taken either. Everything is checked, also what `policyTypes`
    /// leaves out.
    pub(crate) fn new(spec: &Spec<'_>) -> Result<Self, Outcome> {
        let ingress = rules(spec.ingress.as_deref(), "spec.ingress", "from")?;
        let egress = rules(spec.egress.as_deref(), "spec.egress", "to")?;
        let (has_ingress, has_egress) = types(spec)?;
        Ok(Self { ingress: has_ingress.then_some(ingress), egress: has_egress.then_some(egress) })
    }
}

/// Whether a policy isolates for ingress, and for egress. Where it does not say, it does for ingress, and for egress if it has
/// rules of it.
fn types(spec: &Spec<'_>) -> Result<(bool, bool), Outcome> {
    let found = spec.policy_types.as_deref().unwrap_or_default();
    if found.is_empty() {
        return Ok((true, spec.egress.as_ref().is_some_and(|rules| !rules.is_empty())));
    }
    if let Some(i) = found.iter().position(|kind| !matches!(&**kind, "Ingress" | "Egress")) {
        return Err(invalid_field("expected Ingress or Egress", &format!("spec.policyTypes[{i}]")));
    }
    let has = |name: &str| found.iter().any(|kind| **kind == *name);
    Ok((has("Ingress"), has("Egress")))
}

fn rules(found: Option<&[objects::Rule<'_>]>, field: &str, peers: &str) -> Result<Vec<Rule>, Outcome> {
    let each = found.unwrap_or_default().iter().enumerate();
    each.map(|(i, found)| rule(found, &format!("{field}[{i}]"), peers)).collect()
}

fn rule(found: &objects::Rule<'_>, field: &str, peers_field: &str) -> Result<Rule, Outcome> {
    let ports = found.ports.as_deref().filter(|ports| !ports.is_empty()).map(|ports| {
        let each = ports.iter().enumerate();
        each.map(|(i, found)| port(found, &format!("{field}.ports[{i}]"))).collect()
    });
    let peers = peers(found.peers.as_deref().unwrap_or_default(), &format!("{field}.{peers_field}"))?;
    Ok(Rule { peers, ports: ports.transpose()? })
}

fn peers(found: &[objects::Peer<'_>], field: &str) -> Result<Peers, Outcome> {
    if found.is_empty() {
        return Ok(Peers::Everybody);
    }
    let (mut pods, mut blocks) = (Vec::new(), Vec::new());
    for (i, peer) in found.iter().enumerate() {
        let field = format!("{field}[{i}]");
        let selector = |found: &Option<_>, name: &str| {
            found.as_ref().map(|found| Selector::new(found, &format!("{field}.{name}"))).transpose()
        };
        let namespaces = selector(&peer.namespace_selector, "namespaceSelector")?;
        let labels = selector(&peer.pod_selector, "podSelector")?;
        match (&peer.ip_block, namespaces, labels) {
            (Some(block), None, None) => blocks.extend(ip_block(block, &format!("{field}.ipBlock"))?),
            (Some(_), ..) => {
                let message = "a peer is an ipBlock, or Pods by namespaceSelector and podSelector: not both";
                return Err(invalid_field(message, &field));
            }
            (None, None, None) => {
                let message = "a peer needs an ipBlock, a namespaceSelector or a podSelector";
                return Err(invalid_field(message, &field));
            }
            (None, namespaces, labels) => {
                pods.push(Pods { namespaces, selector: labels.unwrap_or_default() });
            }
        }
    }
    pods.sort();
    pods.dedup();
    blocks.sort();
    blocks.dedup();
    Ok(Peers::These { pods, blocks })
}

fn ip_block(found: &objects::IpBlock<'_>, field: &str) -> Result<Vec<IpNet>, Outcome> {
    let parsed = |text: &str, field: &str| {
        cidr::parse(text)
            .or_invalid(&format!("expected a CIDR as 10.0.0.0/8 or fd00::/8, found {text:?}"), field)
    };
    let block = parsed(&found.cidr, &format!("{field}.cidr"))?;
    let excepts = found.except.iter().flatten().enumerate();
    let excepts: Vec<IpNet> =
        excepts.map(|(i, text)| parsed(text, &format!("{field}.except[{i}]"))).collect::<Result<_, _>>()?;
    Ok(cidr::difference(block, &excepts))
}

fn port(found: &objects::Port<'_>, field: &str) -> Result<Port, Outcome> {
    let protocol = Protocol::new(found.protocol.as_deref())
        .or_invalid("expected TCP, UDP or SCTP", &format!("{field}.protocol"))?;
    let at_end = format!("{field}.endPort");
    let number = match (&found.port, found.end_port) {
        (None, None) => Number::Any,
        (None, Some(_)) => return Err(invalid_field("endPort needs a port", &at_end)),
        (Some(NumberOrName::Name(_)), Some(_)) => {
            return Err(invalid_field("endPort needs a port that is a number", &at_end));
        }
        (Some(NumberOrName::Name(name)), None) if is_port_name(name) => Number::Named((**name).into()),
        (Some(NumberOrName::Name(_)), None) => {
            let message =
                "the name of a port has 1 to 15 lower-case letters, digits and hyphens, and a letter";
            return Err(invalid_field(message, &format!("{field}.port")));
        }
        (Some(NumberOrName::Number(first)), last) => {
            let first = port_number(*first, &format!("{field}.port"))?;
            let last = last.map_or(Ok(first), |last| port_number(last, &at_end))?;
            if last < first {
                return Err(invalid_field("endPort is less than port", &at_end));
            }
            Number::Range(first, last)
        }
    };
    Ok(Port { protocol, number })
}

fn port_number(number: i64, field: &str) -> Result<u16, Outcome> {
    let number = u16::try_from(number).ok().filter(|number| *number > 0);
    number.or_invalid("a port is 1 to 65535", field)
}

/// `IANA_SVC_NAME`.
fn is_port_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=15).contains(&name.len())
        && name.chars().all(fits)
        && name.contains(|c: char| c.is_ascii_lowercase())
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--")
}
