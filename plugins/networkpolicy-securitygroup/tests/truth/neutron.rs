//! What Neutron does with a packet: the groups that the module made, read as Neutron's API describes them.
//!
//! Sets of Pods are evaluated over the Pods of the cluster as the host has to: selectors by the host's own code.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use isthmus_judge::cluster::{End, Packet, World};
use isthmus_judge::text::is_in;
use isthmus_sdk::prelude::*;
use isthmus_sdk::records::networking::{Direction, PortMatch, PortRange, Remote};
use isthmus_sdk::records::values::{AddressSet, IpVersion, MappedReference, Selection};
use isthmus_sdk::snapshot::Cloud;
use isthmus_sdk::testing::Cluster;
use networkpolicy_securitygroup::NetworkPolicySecurityGroup as Module;
use serde_json::{Value, json};

pub(crate) struct Neutron<'a> {
    world: &'a World,
    cluster: Cluster,
    /// By subject (`KIND/NAME`) and name of the entry.
    resources: BTreeMap<(String, String), Resource>,
    /// What the port of each Pod carries.
    carried: Vec<Vec<Reference>>,
    chosen: RefCell<HashMap<String, Vec<usize>>>,
}

/// The group that Pods have without policies: everything passes.
const OPEN: &str = "open";

fn policy_kind() -> Kind {
    Kind::new("networking.k8s.io", "v1", "NetworkPolicy")
}

impl<'a> Neutron<'a> {
    /// With these objects beside those of the world.
    pub(crate) fn of(world: &'a World, others: &[Value]) -> Self {
        let mut cluster = Cluster::default().with_cloud(Cloud {
            network_extensions: vec!["address-group".into(), "security-groups-remote-address-group".into()],
            load_balancer_providers: vec![],
            has_key_manager: false,
        });
        let documents = world.documents().into_iter().chain(others.iter().cloned());
        documents.for_each(|document| cluster.add(document).unwrap());
        let config = json!({"allowFrom": world.allow_from}).to_string();

        let module = Kind::new("isthmus.dev", "v1alpha1", "PolicyModule");
        let name = "networkpolicy-securitygroup";
        let mut lists = vec![(format!("PolicyModule/{name}"), cluster.map::<Module>(&module, name, &config))];
        for (i, policy) in world.policies.iter().enumerate() {
            let name = format!("ns{}/policy{i}", policy.namespace);
            let list = cluster.map::<Module>(&policy_kind(), &name, &config);
            lists.push((format!("NetworkPolicy/ns{}/policy{i}", policy.namespace), list));
        }
        let mut resources = BTreeMap::new();
        for (subject, list) in lists {
            for entry in list.unwrap() {
                if let Resource::SecurityGroup(group) = &entry.resource {
                    neutron_takes(group);
                }
                assert_eq!(resources.insert((subject.clone(), entry.name), entry.resource), None);
            }
        }
        let carried = world.pods.iter().enumerate().map(|(i, pod)| {
            let port = Port::new(existing("pods")).security_group(existing(OPEN));
            let list = vec![port.named("port"), Vif::new("eth0", local("port")).named("eth0")];
            let name = format!("ns{}/pod{i}", pod.namespace);
            let list = cluster.refine::<Module>(&Kind::core("Pod"), &name, &config, list).unwrap();
            let Resource::Port(port) = &list[0].resource else { panic!("{list:?}") };
            port.security_groups.clone().unwrap()
        });
        let carried = carried.collect();
        Self { world, cluster, resources, carried, chosen: RefCell::default() }
    }

    /// Security groups are stateful: what matters is the first packet.
    pub(crate) fn passes(&self, packet: &Packet) -> bool {
        let (source, destination) = (self.world.pod(packet.from), self.world.pod(packet.to));
        // It never leaves the Pod.
        if source.is_some() && source == destination {
            return true;
        }
        source.is_none_or(|pod| self.lets(pod, Direction::Egress, packet, packet.to))
            && destination.is_none_or(|pod| self.lets(pod, Direction::Ingress, packet, packet.from))
    }

    /// Whether a Pod may send to this address because it is a Service's: by a set of such addresses.
    pub(crate) fn lets_to_service(
        &self,
        pod: usize,
        address: IpAddr,
        protocol: &'static str,
        port: u16,
    ) -> bool {
        let v6 = address.is_ipv6();
        let packet = Packet { from: End::Pod(pod), to: End::Outside(0), v6, protocol, port };
        self.rules_of(pod, Direction::Egress, &packet).any(|(subject, rule)| match &rule.remote {
            Remote::Addresses(Reference::Local(name)) if name.starts_with("services-") => {
                let found = &self.resources[&(subject, name.clone())];
                let Resource::AddressGroup(group) = found else { panic!("{found:?}") };
                let holds =
                    |set: &AddressSet| matches!(set, AddressSet::Literal(cidr) if is_in(address, cidr));
                group.addresses.iter().any(holds)
            }
            _ => false,
        })
    }

    /// Whether a rule of any group of the port lets it.
    fn lets(&self, pod: usize, direction: Direction, packet: &Packet, other: End) -> bool {
        self.carried[pod].iter().any(is_open)
            || self
                .rules_of(pod, direction, packet)
                .any(|(subject, rule)| self.is_other_end(rule, &subject, packet, other))
    }

    /// The rules of a port's groups for such a packet, whatever its other end, with the subject of each. (The open group has none.)
    fn rules_of(
        &self,
        pod: usize,
        direction: Direction,
        packet: &Packet,
    ) -> impl Iterator<Item = (String, &SecurityRule)> {
        let groups = self.carried[pod].iter().filter(|reference| !is_open(reference)).map(move |reference| {
            let Reference::Mapped(found) = reference else { panic!("a Pod carries {reference:?}") };
            let subject = subject(found);
            match self.resources.get(&(subject.clone(), found.name.clone())) {
                Some(Resource::SecurityGroup(group)) => (subject, group),
                _ => panic!("pod{pod} carries {found:?}, which no mapping has"),
            }
        });
        let rules =
            groups.flat_map(|(subject, group)| group.rules.iter().map(move |rule| (subject.clone(), rule)));
        rules.filter(move |(_, rule)| {
            rule.direction == direction
                && (rule.ip_version == IpVersion::V6) == packet.v6
                && of_protocol(rule, packet)
        })
    }

    fn is_other_end(&self, rule: &SecurityRule, subject: &str, packet: &Packet, other: End) -> bool {
        let address = self.world.address(other, packet.v6);
        match &rule.remote {
            Remote::Any => true,
            Remote::Cidr(cidr) => is_in(address, cidr),
            Remote::Addresses(Reference::Local(name)) => {
                let group = self.resources.get(&(subject.to_owned(), name.clone()));
                let Some(Resource::AddressGroup(group)) = group else { panic!("no address group {name}") };
                group.addresses.iter().any(|set| match set {
                    AddressSet::Literal(cidr) => is_in(address, cidr),
                    AddressSet::AddressesOf(selection) => {
                        let own = subject.split('/').nth(1).unwrap();
                        self.world.pod(other).is_some_and(|pod| self.chosen(selection, own).contains(&pod))
                    }
                    other => panic!("{other:?}"),
                })
            }
            other => panic!("{other:?}"),
        }
    }

    /// The Pods that a selection of a subject in this namespace chooses.
    fn chosen(&self, selection: &Selection, own: &str) -> Vec<usize> {
        let key = format!("{own} {selection:?}");
        if let Some(chosen) = self.chosen.borrow().get(&key) {
            return chosen.clone();
        }
        let chosen = self.choose(selection, own);
        self.chosen.borrow_mut().insert(key, chosen.clone());
        chosen
    }

    fn choose(&self, selection: &Selection, own: &str) -> Vec<usize> {
        assert_eq!(selection.kind, Kind::core("Pod"));
        let manifest = Manifest::new("host", "0.1.0", "")
            .reads(Kind::core("Pod"), [])
            .reads(Kind::core("Namespace"), []);
        let manifest = Manifest {
            reads: manifest
                .reads
                .into_iter()
                .map(|mut read| {
                    read.fields = vec!["metadata.name".into(), "metadata.namespace".into()];
                    read
                })
                .collect(),
            ..manifest
        };
        let _entered = self.cluster.enter(&manifest);
        let text = |json: &str, path: &str| {
            let value: Value = serde_json::from_str(json).unwrap();
            value.pointer(path).and_then(Value::as_str).unwrap().to_owned()
        };
        let namespaces = match &selection.namespaces {
            Some(selector) => {
                let found = snapshot::list(&Kind::core("Namespace"), None, selector);
                found.iter().map(|json| text(json, "/metadata/name")).collect()
            }
            None => vec![own.to_owned()],
        };
        let pods = snapshot::list(&Kind::core("Pod"), None, &selection.selector);
        let pods = pods.iter().filter(|json| namespaces.contains(&text(json, "/metadata/namespace")));
        let number =
            |json: &String| text(json, "/metadata/name").strip_prefix("pod").unwrap().parse().unwrap();
        let has_port = |pod: &usize| {
            selection.named_port.as_ref().is_none_or(|port| {
                self.world.pods[*pod].ports.contains(&(&*port.name, &*port.protocol, port.port))
            })
        };
        pods.map(number).filter(has_port).collect()
    }
}

fn is_open(group: &Reference) -> bool {
    matches!(group, Reference::Existing(name) if name == OPEN)
}

fn subject(found: &MappedReference) -> String {
    let key = &found.subject;
    let namespace = key.namespace.as_ref().map(|namespace| format!("{namespace}/")).unwrap_or_default();
    format!("{}/{namespace}{}", key.kind.kind, key.name)
}

fn of_protocol(rule: &SecurityRule, packet: &Packet) -> bool {
    let protocol = rule.protocol.as_deref().is_none_or(|p| p == packet.protocol.to_ascii_lowercase());
    protocol
        && match rule.ports {
            PortMatch::Any => true,
            PortMatch::Range(PortRange { first, last }) => first <= packet.port && packet.port <= last,
            PortMatch::Icmp(_) => panic!("{rule:?}"),
        }
}

/// What Neutron refuses: a rule twice, ports without a protocol or the wrong way round, a prefix of the other version.
fn neutron_takes(group: &SecurityGroup) {
    for (i, rule) in group.rules.iter().enumerate() {
        assert!(!group.rules[..i].contains(rule), "twice: {rule:?}");
        if let PortMatch::Range(PortRange { first, last }) = rule.ports {
            assert!(rule.protocol.is_some() && 0 < first && first <= last, "{rule:?}");
        }
        if let Remote::Cidr(cidr) = &rule.remote {
            assert_eq!(cidr.contains(':'), rule.ip_version == IpVersion::V6, "{rule:?}");
        }
    }
}
