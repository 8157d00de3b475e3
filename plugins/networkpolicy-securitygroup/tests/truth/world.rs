//! Clusters and packets of the truth test, in types of its own: nothing here is the module's.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::{Value, json};

pub(crate) type Labels = BTreeMap<&'static str, &'static str>;

#[derive(Clone, Debug)]
pub(crate) struct World {
    /// Labels of namespaces `ns0`, `ns1` and so on.
    pub(crate) namespaces: Vec<Labels>,
    /// Pods `pod0` and so on.
    pub(crate) pods: Vec<Pod>,
    pub(crate) policies: Vec<Policy>,
    /// The module's config.
    pub(crate) allow_from: Vec<&'static str>,
}

#[derive(Clone, Debug)]
pub(crate) struct Pod {
    pub(crate) namespace: usize,
    pub(crate) labels: Labels,
    /// Name, protocol, number.
    pub(crate) ports: Vec<(&'static str, &'static str, u16)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) namespace: usize,
    pub(crate) selector: Selector,
    pub(crate) types: Option<Vec<&'static str>>,
    pub(crate) ingress: Option<Vec<Rule>>,
    pub(crate) egress: Option<Vec<Rule>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) peers: Option<Vec<Peer>>,
    pub(crate) ports: Option<Vec<Port>>,
}

#[derive(Clone, Debug)]
pub(crate) enum Peer {
    /// At least one of them is there.
    Pods {
        namespaces: Option<Selector>,
        pods: Option<Selector>,
    },
    Block {
        cidr: &'static str,
        except: Vec<&'static str>,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct Port {
    pub(crate) protocol: Option<&'static str>,
    pub(crate) number: Number,
}

#[derive(Clone, Debug)]
pub(crate) enum Number {
    Absent,
    One(u16),
    /// `port` and `endPort`.
    Range(u16, u16),
    Named(&'static str),
}

#[derive(Clone, Debug)]
pub(crate) struct Selector {
    pub(crate) labels: Labels,
    /// Key, operator, values.
    pub(crate) expressions: Vec<(&'static str, &'static str, Vec<&'static str>)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) from: End,
    pub(crate) to: End,
    pub(crate) v6: bool,
    /// `TCP`, `UDP`, `SCTP` or `ICMP`, which has no port.
    pub(crate) protocol: &'static str,
    pub(crate) port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The Pod of this number, modulo how many there are.
    Pod(usize),
    /// One of [`OUTSIDE`].
    Outside(usize),
}

/// Addresses of no Pod, some of them between those of Pods.
pub(crate) const OUTSIDE: [(Ipv4Addr, Ipv6Addr); 4] = [
    (Ipv4Addr::new(192, 0, 2, 1), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
    (Ipv4Addr::new(192, 0, 2, 200), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0xc8)),
    (Ipv4Addr::new(10, 0, 0, 6), Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 6)),
    (Ipv4Addr::new(203, 0, 113, 9), Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 9)),
];

impl World {
    /// The Pod at this end, if it is one.
    pub(crate) fn pod(&self, end: End) -> Option<usize> {
        match end {
            End::Pod(i) => Some(i % self.pods.len()),
            End::Outside(_) => None,
        }
    }

    pub(crate) fn address(&self, end: End, v6: bool) -> IpAddr {
        let (four, six) = match (self.pod(end), end) {
            (Some(pod), _) => self.pod_addresses(pod),
            (None, End::Outside(i)) => OUTSIDE[i % OUTSIDE.len()],
            (None, End::Pod(_)) => unreachable!(),
        };
        if v6 { six.into() } else { four.into() }
    }

    /// Pods of several namespaces share a network, so that addresses say nothing of namespaces.
    pub(crate) fn pod_addresses(&self, pod: usize) -> (Ipv4Addr, Ipv6Addr) {
        let last = u8::try_from(pod + 1).unwrap();
        (
            Ipv4Addr::new(10, 0, last % 2, last),
            Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, u16::from(last % 2), last.into()),
        )
    }

    /// The objects, as the API server would have them.
    pub(crate) fn documents(&self) -> Vec<Value> {
        let namespace = |(i, labels): (usize, &Labels)| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": format!("ns{i}"), "labels": labels}});
        let namespaces = self.namespaces.iter().enumerate().map(namespace);
        let pods = self.pods.iter().enumerate().map(|(i, pod)| pod.document(i));
        let policies = self.policies.iter().enumerate().map(|(i, policy)| policy.document(i));
        let module = json!({"apiVersion": "isthmus.dev/v1alpha1", "kind": "PolicyModule",
            "metadata": {"name": "networkpolicy-securitygroup"}});
        namespaces.chain(pods).chain(policies).chain([module]).collect()
    }
}

impl Pod {
    fn document(&self, i: usize) -> Value {
        let ports = self.ports.iter().map(
            |(name, protocol, number)| json!({"name": name, "protocol": protocol, "containerPort": number}),
        );
        // every port in a container of its own: a name may be there twice
        let containers: Vec<Value> = ports.map(|port| json!({"name": "c", "ports": [port]})).collect();
        json!({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": containers},
            "metadata": {"name": format!("pod{i}"), "namespace": format!("ns{}", self.namespace), "labels": self.labels}})
    }
}

/// Sets a field that is there.
fn set(object: &mut Value, field: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        object[field] = value.into();
    }
}

impl Policy {
    fn document(&self, i: usize) -> Value {
        let rules = |rules: &Option<Vec<Rule>>, peers: &str| {
            rules.as_ref().map(|rules| rules.iter().map(|rule| rule.document(peers)).collect::<Vec<_>>())
        };
        let mut spec = json!({"podSelector": self.selector.document()});
        set(&mut spec, "policyTypes", self.types.clone());
        set(&mut spec, "ingress", rules(&self.ingress, "from"));
        set(&mut spec, "egress", rules(&self.egress, "to"));
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "spec": spec,
            "metadata": {"name": format!("policy{i}"), "namespace": format!("ns{}", self.namespace)}})
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
