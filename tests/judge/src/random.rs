//! Random clusters and packets: few names, few numbers, so that they meet often.

use proptest::collection::{SizeRange, btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::cluster::{
    End, Labels, Number, Packet, Peer, Pod, Policy, Port, Rule, Selector, World, pod_addresses,
};

/// Keys of labels.
pub const KEYS: [&str; 3] = ["app", "tier", "example.com/team"];
const VALUES: [&str; 3] = ["x", "y", ""];
const NAMES: [&str; 2] = ["web", "dns"];
const PROTOCOLS: [&str; 5] = ["TCP", "TCP", "TCP", "UDP", "SCTP"];
/// Those that Pods have are there more often.
const NUMBERS: [u16; 9] = [1, 79, 80, 80, 81, 81, 8080, 8080, 65535];
const OF_PODS: [u16; 3] = [80, 81, 8080];
const BLOCKS: [&str; 16] = [
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.0.0.0/23",
    "10.0.0.0/24",
    "10.0.0.0/29",
    "10.0.0.4/30",
    "10.0.0.2/32",
    "10.0.1.0/29",
    "192.0.2.0/24",
    "192.0.2.128/25",
    "::/0",
    "fd00::/16",
    "fd00::/125",
    "fd00::2/128",
    "fd00::1:0/112",
    "2001:db8::/32",
];

/// Blocks that hold Pods, and parts of them that may be excepted.
const WIDE: [&str; 4] = ["10.0.0.0/23", "0.0.0.0/0", "fd00::/16", "::/0"];
const NARROW: [&str; 7] = [
    "10.0.0.2/32",
    "10.0.0.4/30",
    "10.0.1.0/30",
    "10.0.1.5/32",
    "fd00::2/128",
    "fd00::4/126",
    "fd00::1:0/126",
];

/// One of these, which is always the same for a seed.
pub fn one<S: Strategy>(seed: u32, of: &S) -> S::Value {
    let bytes: Vec<u8> = seed.to_le_bytes().into_iter().cycle().take(32).collect();
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), random);
    of.new_tree(&mut runner).unwrap().current()
}

/// Labels of Pods and namespaces.
pub fn labels() -> impl Strategy<Value = Labels> {
    btree_map(select(&KEYS[..]), select(&VALUES[..2]), 0..=2)
}

fn selector() -> impl Strategy<Value = Selector> {
    let with_values = (select(vec!["In", "NotIn"]), subsequence(&VALUES[..], 1..=2));
    let without = (select(vec!["Exists", "DoesNotExist"]), Just(Vec::new()));
    let expression = (select(&KEYS[..]), prop_oneof![2 => with_values.boxed(), 1 => without.boxed()]);
    let expressions = vec(expression.prop_map(|(key, (operator, values))| (key, operator, values)), 0..=2);
    let some = (btree_map(select(&KEYS[..]), select(&VALUES[..2]), 0..=1), expressions)
        .prop_map(|(labels, expressions)| Selector { labels, expressions });
    let all = Just(Selector { labels: Labels::new(), expressions: Vec::new() });
    prop_oneof![1 => all, 1 => some]
}

fn peer() -> impl Strategy<Value = Peer> {
    let pods = (option::of(selector()), option::of(selector()))
        .prop_filter("a peer has a selector", |(namespaces, pods)| namespaces.is_some() || pods.is_some())
        .prop_map(|(namespaces, pods)| Peer::Pods { namespaces, pods });
    let any = (select(&BLOCKS[..]), vec(select(&BLOCKS[1..]), 0..=2));
    let several = (select(&WIDE[..]), vec(select(&NARROW[..]), 2..=4));
    let block = prop_oneof![any, several].prop_map(|(cidr, except)| Peer::Block { cidr, except });
    prop_oneof![2 => pods, 1 => block]
}

fn port() -> impl Strategy<Value = Port> {
    let range = (select(&NUMBERS[..]), select(&NUMBERS[..]));
    let number = prop_oneof![
        1 => Just(Number::Absent),
        2 => select(&NUMBERS[..]).prop_map(Number::One),
        1 => range.prop_map(|(a, b)| Number::Range(a.min(b), a.max(b))),
        3 => select(&NAMES[..]).prop_map(Number::Named),
    ];
    (option::of(select(&PROTOCOLS[..])), number).prop_map(|(protocol, number)| Port { protocol, number })
}

fn rules() -> impl Strategy<Value = Option<Vec<Rule>>> {
    let rule = (option::of(vec(peer(), 0..=3)), option::of(vec(port(), 0..=2)));
    option::of(vec(rule.prop_map(|(peers, ports)| Rule { peers, ports }), 0..=2))
}

/// NetworkPolicies of two namespaces.
pub fn policy() -> impl Strategy<Value = Policy> {
    let types = option::of(subsequence(vec!["Ingress", "Egress"], 0..=2));
    (0..2_usize, selector(), types, rules(), rules()).prop_map(
        |(namespace, selector, types, ingress, egress)| Policy {
            namespace,
            selector,
            types,
            ingress,
            egress,
        },
    )
}

/// Pods of three namespaces.
pub fn pod() -> impl Strategy<Value = Pod> {
    let port = (select(&NAMES[..]), select(&PROTOCOLS[..]), select(&OF_PODS[..]));
    (0..3_usize, labels(), vec(port, 0..=3)).prop_map(|(namespace, labels, ports)| Pod {
        namespace,
        labels,
        ports,
    })
}

/// Clusters.
pub fn world() -> impl Strategy<Value = World> {
    cluster(2..=7, 0..=7)
}

/// Clusters with so many Pods and policies.
pub fn cluster(pods: impl Into<SizeRange>, policies: impl Into<SizeRange>) -> impl Strategy<Value = World> {
    let allow_from = prop_oneof![3 => Just(Vec::new()), 1 => vec(select(&BLOCKS[1..]), 1..=2)];
    (vec(labels(), 3), vec(pod(), pods), vec(policy(), policies), allow_from).prop_map(
        |(namespaces, pods, policies, allow_from)| {
            let addresses = (0..pods.len()).map(pod_addresses).collect();
            World { namespaces, pods, addresses, policies, allow_from }
        },
    )
}

/// Packets between Pods of a cluster, and to and from elsewhere.
pub fn packet() -> impl Strategy<Value = Packet> {
    let end = || prop_oneof![3 => (0..7_usize).prop_map(End::Pod), 1 => (0..4_usize).prop_map(End::Outside)];
    let protocol = prop_oneof![3 => Just("TCP"), 1 => Just("UDP"), 1 => Just("SCTP"), 1 => Just("ICMP")];
    (end(), end(), any::<bool>(), protocol, select(&NUMBERS[..])).prop_map(
        |(from, to, v6, protocol, port)| {
            let port = if protocol == "ICMP" { 0 } else { port };
            Packet { from, to, v6, protocol, port }
        },
    )
}
