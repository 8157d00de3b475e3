//! Whether an address of a Service leads to nobody whom Kubernetes forbids: random Services before random policies.

use std::cell::Cell;
use std::net::IpAddr;

use isthmus_judge::cluster::{End, Labels, Packet, Policy, World};
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
    let isolates = |policy: &Policy| match policy.types.as_deref() {
        None | Some([]) => policy.egress.as_ref().is_some_and(|rules| !rules.is_empty()),
        Some(types) => types.contains(&"Egress"),
    };
    let policies = world.policies.iter().filter(|policy| isolates(policy));
    let policies = policies.map(|policy| Policy { types: Some(vec!["Egress"]), ..policy.clone() }).collect();
    World { policies, ..world.clone() }
}

#[test]
fn what_a_service_opens_leads_to_nobody_who_is_forbidden() {
    let config = Config { cases: 400, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]));
    let (opened, closed) = (Cell::new(0), Cell::new(0));
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
        Ok::<(), TestCaseError>(())
    });
    result.unwrap();
    assert!(opened.get() > 500 && closed.get() > 500, "{} open, {} closed", opened.get(), closed.get());
}
