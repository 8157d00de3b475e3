//! Clusters and packets, in types of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::{Value, json};

use crate::text::is_in;

/// Labels of an object.
pub type Labels = BTreeMap<&'static str, &'static str>;

/// A cluster.
#[derive(Clone, Debug)]
pub struct World {
    /// Labels of namespaces `ns0`, `ns1` and so on.
    pub namespaces: Vec<Labels>,
    /// Pods `pod0` and so on.
    pub pods: Vec<Pod>,
    /// Their addresses.
    pub addresses: Vec<(Ipv4Addr, Ipv6Addr)>,
    /// NetworkPolicies `policy0` and so on.
    pub policies: Vec<Policy>,
    /// The module's config.
    pub allow_from: Vec<&'static str>,
}

/// A Pod.
#[derive(Clone, Debug)]
pub struct Pod {
    /// Number of its namespace.
    pub namespace: usize,
    /// Its labels.
    pub labels: Labels,
    /// Name, protocol, number.
    pub ports: Vec<(&'static str, &'static str, u16)>,
}

/// A NetworkPolicy.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Number of its namespace.
    pub namespace: usize,
    /// `podSelector`.
    pub selector: Selector,
    /// `policyTypes`.
    pub types: Option<Vec<&'static str>>,
    /// `ingress`.
    pub ingress: Option<Vec<Rule>>,
    /// `egress`.
    pub egress: Option<Vec<Rule>>,
}

/// A rule of one direction.
#[derive(Clone, Debug)]
pub struct Rule {
    /// `from` or `to`.
    pub peers: Option<Vec<Peer>>,
    /// `ports`.
    pub ports: Option<Vec<Port>>,
}

/// One end of a rule.
#[derive(Clone, Debug)]
pub enum Peer {
    /// At least one of them is there.
    Pods {
        /// `namespaceSelector`.
        namespaces: Option<Selector>,
        /// `podSelector`.
        pods: Option<Selector>,
    },
    /// `ipBlock`.
    Block {
        /// `cidr`.
        cidr: &'static str,
        /// `except`.
        except: Vec<&'static str>,
    },
}

/// A port of a rule.
#[derive(Clone, Debug)]
pub struct Port {
    /// `protocol`.
    pub protocol: Option<&'static str>,
    /// `port` and `endPort`.
    pub number: Number,
}

/// What a rule's port says.
#[derive(Clone, Debug)]
pub enum Number {
    /// Nothing.
    Absent,
    /// A number.
    One(u16),
    /// `port` and `endPort`.
    Range(u16, u16),
    /// A name.
    Named(&'static str),
}

/// A label selector.
#[derive(Clone, Debug)]
pub struct Selector {
    /// `matchLabels`.
    pub labels: Labels,
    /// Key, operator, values.
    pub expressions: Vec<(&'static str, &'static str, Vec<&'static str>)>,
}

/// The first packet of a connection.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Who sends it.
    pub from: End,
    /// Who is to receive it.
    pub to: End,
    /// Whether it is one of IPv6.
    pub v6: bool,
    /// `TCP`, `UDP`, `SCTP` or `ICMP`, which has no port.
    pub protocol: &'static str,
    /// The destination's.
    pub port: u16,
}

/// An end of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The Pod of this number, modulo how many there are.
    Pod(usize),
    /// One of [`OUTSIDE`].
    Outside(usize),
}

/// Addresses of no Pod, some of them between those of Pods.
pub const OUTSIDE: [(Ipv4Addr, Ipv6Addr); 4] = [
    (Ipv4Addr::new(192, 0, 2, 1), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
    (Ipv4Addr::new(192, 0, 2, 200), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0xc8)),
    (Ipv4Addr::new(10, 0, 0, 6), Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 6)),
    (Ipv4Addr::new(203, 0, 113, 9), Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 9)),
];

impl World {
    /// The Pod at this end, if it is one.
    pub fn pod(&self, end: End) -> Option<usize> {
        match end {
            End::Pod(i) => Some(i % self.pods.len()),
            End::Outside(_) => None,
        }
    }

    /// The address at this end.
    pub fn address(&self, end: End, v6: bool) -> IpAddr {
        let (four, six) = match (self.pod(end), end) {
            (Some(pod), _) => self.addresses[pod],
            (None, End::Outside(i)) => OUTSIDE[i % OUTSIDE.len()],
            (None, End::Pod(_)) => unreachable!(),
        };
        if v6 { six.into() } else { four.into() }
    }

    /// The objects, as the API server would have them.
    pub fn documents(&self) -> Vec<Value> {
        let namespace = |(i, labels): (usize, &Labels)| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": format!("ns{i}"), "labels": labels}});
        let namespaces = self.namespaces.iter().enumerate().map(namespace);
        let called = |namespace: usize| format!("ns{namespace}");
        let pods = self.pods.iter().enumerate().map(|(i, pod)| pod.document(i, &called(pod.namespace)));
        let policies = self.policies.iter().enumerate();
        let policies = policies.map(|(i, policy)| policy.document(i, &called(policy.namespace)));
        let module = json!({"apiVersion": "isthmus.dev/v1alpha1", "kind": "PolicyModule",
            "metadata": {"name": "networkpolicy-securitygroup"}});
        namespaces.chain(pods).chain(policies).chain([module]).collect()
    }
}

/// Addresses of Pods, unless a cloud gives them. Pods of several namespaces share a network, so that addresses say nothing of
/// namespaces.
pub fn pod_addresses(pod: usize) -> (Ipv4Addr, Ipv6Addr) {
    let last = u8::try_from(pod + 1).unwrap();
    (
        Ipv4Addr::new(10, 0, last % 2, last),
        Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, u16::from(last % 2), last.into()),
    )
}

impl Pod {
    /// The object, in a namespace of this name.
    pub fn document(&self, i: usize, namespace: &str) -> Value {
        let container = |(at, (name, protocol, number)): (usize, &(&str, &str, u16))| {
            let port = json!({"name": name, "protocol": protocol, "containerPort": number});
            json!({"name": format!("c{at}"), "image": "none", "ports": [port]})
        };
        // every port in a container of its own: a name may be there twice
        let ports = self.ports.iter().enumerate().map(container);
        let containers: Vec<Value> = ports.chain([json!({"name": "main", "image": "none"})]).collect();
        json!({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": containers},
            "metadata": {"name": format!("pod{i}"), "namespace": namespace, "labels": self.labels}})
    }
}

/// Sets a field that is there.
fn set(object: &mut Value, field: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        object[field] = value.into();
    }
}

impl Policy {
    /// The object, in a namespace of this name.
    pub fn document(&self, i: usize, namespace: &str) -> Value {
        let rules = |rules: &Option<Vec<Rule>>, peers: &str| {
            rules.as_ref().map(|rules| rules.iter().map(|rule| rule.document(peers)).collect::<Vec<_>>())
        };
        let mut spec = json!({"podSelector": self.selector.document()});
        set(&mut spec, "policyTypes", self.types.clone());
        set(&mut spec, "ingress", rules(&self.ingress, "from"));
        set(&mut spec, "egress", rules(&self.egress, "to"));
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "spec": spec,
            "metadata": {"name": format!("policy{i}"), "namespace": namespace}})
    }

    /// What its rules make use of, of what is easily done wrong.
    pub fn speaks_of(&self) -> BTreeSet<&'static str> {
        let rules = || self.ingress.iter().chain(&self.egress).flatten();
        let peers = rules().flat_map(|rule| rule.peers.iter().flatten()).filter_map(|peer| match peer {
            Peer::Pods { namespaces: Some(_), pods: Some(_) } => Some("namespaces and Pods"),
            Peer::Pods { namespaces: Some(_), pods: None } => Some("namespaces"),
            Peer::Block { except, .. } if except.len() > 1 => Some("several exceptions"),
            _ => None,
        });
        let ports =
            rules().flat_map(|rule| rule.ports.iter().flatten()).filter_map(|port| match port.number {
                Number::Absent => Some("a protocol alone"),
                Number::Range(first, last) if first < last => Some("a range"),
                Number::Named(_) => Some("a name"),
                _ => None,
            });
        peers.chain(ports).collect()
    }

    /// Leaves out what the API server refuses: an exception has to be a part of its block, and not all of it.
    #[must_use]
    pub fn valid(mut self) -> Self {
        let rules = self.ingress.iter_mut().chain(&mut self.egress).flatten();
        for peer in rules.flat_map(|rule| rule.peers.iter_mut().flatten()) {
            if let Peer::Block { cidr, except } = peer {
                let (_, length) = cidr.split_once('/').unwrap();
                let length: u8 = length.parse().unwrap();
                except.retain(|part| {
                    let (first, longer) = part.split_once('/').unwrap();
                    longer.parse::<u8>().unwrap() > length && is_in(first.parse().unwrap(), cidr)
                });
            }
        }
        self
    }
}

impl Rule {
    fn document(&self, peers: &str) -> Value {
        let mut rule = json!({});
        let each = |list: &Vec<Peer>| list.iter().map(Peer::document).collect::<Vec<_>>();
        set(&mut rule, peers, self.peers.as_ref().map(each));
        let each = |list: &Vec<Port>| list.iter().map(Port::document).collect::<Vec<_>>();
        set(&mut rule, "ports", self.ports.as_ref().map(each));
        rule
    }
}

impl Peer {
    fn document(&self) -> Value {
        let mut peer = json!({});
        match self {
            Self::Pods { namespaces, pods } => {
                set(&mut peer, "namespaceSelector", namespaces.as_ref().map(Selector::document));
                set(&mut peer, "podSelector", pods.as_ref().map(Selector::document));
            }
            Self::Block { cidr, except } => peer["ipBlock"] = json!({"cidr": cidr, "except": except}),
        }
        peer
    }
}

impl Port {
    fn document(&self) -> Value {
        let mut port = json!({});
        set(&mut port, "protocol", self.protocol);
        match self.number {
            Number::Absent => {}
            Number::One(number) => port["port"] = number.into(),
            Number::Range(first, last) => (port["port"], port["endPort"]) = (first.into(), last.into()),
            Number::Named(name) => port["port"] = name.into(),
        }
        port
    }
}

impl Selector {
    fn document(&self) -> Value {
        let expression = |(key, operator, values): &(&str, &str, Vec<&str>)| {
            let mut expression = json!({"key": key, "operator": operator});
            set(&mut expression, "values", (!values.is_empty()).then(|| values.clone()));
            expression
        };
        let expressions: Vec<Value> = self.expressions.iter().map(expression).collect();
        json!({"matchLabels": self.labels, "matchExpressions": expressions})
    }
}
