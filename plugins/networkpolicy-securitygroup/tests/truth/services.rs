//! Whether an address of a Service leads to nobody whom Kubernetes forbids, and is open where it leads to peers alone: random Services
//! before random policies.

use std::cell::Cell;
use std::net::IpAddr;

use isthmus_judge::cluster::{End, Labels, Packet, Peer, Pod, Policy, Rule, World, pod_addresses};
use isthmus_judge::{random, text};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use serde_json::{Value, json};

use crate::neutron::Neutron;

/// What is behind a port.
#[derive(Clone, Debug)]
enum Target {
    Number(u16),
    Name(&'static str),
}

#[derive(Clone, Debug)]
struct Service {
    namespace: usize,
    selector: Labels,
    protocol: &'static str,
    port: u16,
    target: Target,
}

fn service() -> impl Strategy<Value = Service> {
    let target = prop_oneof![
        2 => select(vec![80, 81, 8080]).prop_map(Target::Number),
        1 => select(vec!["web", "dns"]).prop_map(Target::Name)
    ];
    (select(vec!["TCP", "UDP"]), select(vec![80_u16, 443]), target).prop_map(|(protocol, port, target)| {
        Service { namespace: 0, selector: Labels::new(), protocol, port, target }
    })
}

impl Service {
    fn addresses(i: usize) -> [IpAddr; 2] {
        [format!("172.30.0.{i}").parse().unwrap(), format!("fdaa::{i:x}").parse().unwrap()]
    }

    fn document(&self, i: usize) -> Value {
        let target = match self.target {
            Target::Number(number) => json!(number),
            Target::Name(name) => json!(name),
        };
        json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": format!("service{i}"), "namespace": format!("ns{}", self.namespace)},
            "spec": {"clusterIPs": Self::addresses(i), "selector": self.selector,
                "ports": [{"protocol": self.protocol, "port": self.port, "targetPort": target}]}})
    }

    /// Pods and ports that it leads to.
    fn endpoints(&self, world: &World) -> Vec<(usize, u16)> {
        let chosen = world.pods.iter().enumerate().filter(|(_, pod)| {
            let has = |(key, value)| pod.labels.get(key) == Some(value);
            pod.namespace == self.namespace && self.selector.iter().all(has)
        });
        let number = |pod: &isthmus_judge::cluster::Pod| match self.target {
            Target::Number(number) => Some(number),
            Target::Name(name) => {
                pod.ports.iter().find(|port| port.0 == name && port.1 == self.protocol).map(|port| port.2)
            }
        };
        chosen.filter_map(|(i, pod)| Some((i, number(pod)?))).collect()
    }
}

/// With the labels of some Pod as its selector, so that it leads to somebody.
fn before_a_pod(service: Service, world: &World, pod: usize) -> Service {
    let pod = &world.pods[pod % world.pods.len()];
    let labels = pod.labels.iter().take(1 + usize::from(service.port == 80));
    let selector = labels.map(|(key, value)| (*key, *value)).collect();
    Service { namespace: pod.namespace, selector, ..service }
}

/// The world as far as it is about what goes out.
fn egress(world: &World) -> World {
    let policies = world.policies.iter().filter(|policy| text::has_type(policy, text::Direction::Egress));
    let policies = policies.map(|policy| Policy { types: Some(vec!["Egress"]), ..policy.clone() }).collect();
    World { policies, ..world.clone() }
}

/// Each peer of each egress rule that is Pods, in a policy of its own, and in a world that has no other.
fn of_single_peers(world: &World) -> Vec<World> {
    let mut all = Vec::new();
    for policy in egress(world).policies {
        for rule in policy.egress.iter().flatten() {
            let is_pods = |peer: &&Peer| matches!(peer, Peer::Pods { .. });
            for peer in rule.peers.iter().flatten().filter(is_pods) {
                let rule = Rule { peers: Some(vec![peer.clone()]), ports: rule.ports.clone() };
                let policies = vec![Policy { egress: Some(vec![rule]), ..policy.clone() }];
                all.push(World { policies, ..world.clone() });
            }
        }
    }
    all
}

/// The world with all Pods that a Service may ever choose: beside the labels that it asks for they have any others, or none.
fn with_all_before(mut world: World, service: &Service) -> World {
    let mut all = vec![service.selector.clone()];
    for key in random::KEYS.into_iter().filter(|key| !service.selector.contains_key(key)) {
        let with = |labels: &Labels, value| labels.clone().into_iter().chain([(key, value)]).collect();
        let more: Vec<Labels> = ["x", "y", "", "z"]
            .into_iter()
            .flat_map(|value| all.iter().map(move |l| with(l, value)))
            .collect();
        all.extend(more);
    }
    let pod = |labels| Pod { namespace: service.namespace, labels, ports: Vec::new() };
    world.pods.extend(all.into_iter().map(pod));
    world.addresses = (0..world.pods.len()).map(pod_addresses).collect();
    world
}

/// A peer that may be no other than whom the Service chooses opens it. (Of a target port that is a number: what a name stands for is not
/// known of Pods that are not there.)
fn is_open_to_its_peers(
    world: &World,
    services: &[Service],
    neutron: &Neutron<'_>,
) -> Result<usize, TestCaseError> {
    let mut opened = 0;
    for alone in of_single_peers(world) {
        for (i, service) in services.iter().enumerate().filter(|(_, service)| !service.selector.is_empty()) {
            let Target::Number(port) = service.target else { continue };
            let all = with_all_before(alone.clone(), service);
            for from in 0..world.pods.len() {
                let packet = |to| Packet {
                    from: End::Pod(from),
                    to: End::Pod(to),
                    v6: false,
                    protocol: service.protocol,
                    port,
                };
                let mut possible = world.pods.len()..all.pods.len();
                if text::concerns_isolated(&all, &packet(from))
                    && possible.all(|to| text::allowed(&all, &packet(to)))
                {
                    for address in Service::addresses(i) {
                        let open = neutron.lets_to_service(from, address, service.protocol, service.port);
                        prop_assert!(open, "pod{from} may send to all of {service:?}");
                        opened += 1;
                    }
                }
            }
        }
    }
    Ok(opened)
}

#[test]
fn a_service_is_open_to_its_peers_and_leads_to_nobody_who_is_forbidden() {
    let config = Config { cases: 400, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]));
    let (opened, closed, expected) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let case = (random::world(), prop::collection::vec((service(), 0..20_usize), 10..=20));
    let result = runner.run(&case, |(world, services)| {
        let services = services.into_iter().map(|(service, pod)| before_a_pod(service, &world, pod));
        let services: Vec<Service> = services.collect();
        let documents: Vec<Value> = services.iter().enumerate().map(|(i, s)| s.document(i)).collect();
        let (neutron, of_egress) = (Neutron::of(&world, &documents), egress(&world));
        for (i, service) in services.iter().enumerate() {
            for (pod, address) in
                (0..world.pods.len()).flat_map(|pod| Service::addresses(i).map(|a| (pod, a)))
            {
                if !neutron.lets_to_service(pod, address, service.protocol, service.port) {
                    closed.set(closed.get() + 1);
                    continue;
                }
                for (to, port) in service.endpoints(&world) {
                    let (from, to) = (End::Pod(pod), End::Pod(to));
                    let packet = Packet { from, to, v6: address.is_ipv6(), protocol: service.protocol, port };
                    prop_assert!(text::allowed(&of_egress, &packet), "{service:?} leads to {packet:?}");
                    opened.set(opened.get() + 1);
                }
            }
        }
        expected.set(expected.get() + is_open_to_its_peers(&world, &services, &neutron)?);
        Ok::<(), TestCaseError>(())
    });
    result.unwrap();
    let (opened, closed, expected) = (opened.get(), closed.get(), expected.get());
    let all = format!("{opened} open, {closed} closed, {expected} that had to be open");
    assert!(opened > 500 && closed > 500 && expected > 500, "{all}");
}
