//! The smallest of what the properties found.

use std::collections::{BTreeMap, BTreeSet};

use isthmus_model::desired::{DesiredList, Entry};
use isthmus_model::kinds::Kind;
use isthmus_model::mark::Mark;
use isthmus_model::plan::{Act, External, Plan, Wait, applied_hash};
use isthmus_model::record::{Recorded, RecordedReference};
use isthmus_model::value::{Reference, Value};
use serde_json::json;

use super::reached;
use crate::world::{CLUSTER, SUBJECT, World, observed};

fn named(name: &str) -> Value {
    Value::Ref(Reference::Local(name.into()))
}

fn entry(name: &str, kind: Kind, fields: &[(&str, Value)]) -> Entry {
    Entry::new(name, kind, fields.iter().map(|(f, v)| ((*f).to_owned(), v.clone())).collect())
}

fn list(entries: &[Entry]) -> DesiredList {
    DesiredList::new(entries.to_vec()).unwrap()
}

/// Something of ours in the cloud, marked with this name.
fn have(world: &mut World, id: &str, kind: Kind, name: &str, fields: &[(&str, &str)]) {
    let mark = Mark { cluster: CLUSTER.into(), subject: SUBJECT.into(), name: name.into() };
    let fields = fields.iter().map(|(f, v)| ((*f).to_owned(), json!(v))).collect();
    world.cloud.insert(id.into(), observed(id, kind, Some(mark), fields, 1));
}

fn note(world: &mut World, name: &str, kind: Kind, id: &str, hash: String) {
    let (id, fields, references) = (Some(id.to_owned()), BTreeSet::new(), Vec::new());
    world.record.insert(name.into(), Recorded { kind, id, hash, fields, references, retain: false });
}

fn hash(world: &World, entry: &Entry) -> String {
    applied_hash(entry, &world.targets(&list(std::slice::from_ref(entry)))).unwrap()
}

/// One apply, after which nothing is left to do.
fn apply(world: &mut World, desired: &DesiredList) -> Plan {
    let plan = world.plan(desired);
    world.apply(desired, &plan, usize::MAX, false);
    reached(desired, world).unwrap();
    assert!(world.plan(desired).is_empty(), "{:?}\nafter {plan:?}", world.plan(desired));
    plan
}

fn acts(plan: &Plan) -> Vec<(&str, &Act)> {
    plan.operations.iter().map(|o| (o.name.as_str(), &o.act)).collect()
}

/// A rename that was marked and whose answer was lost, and then a list with both names: the resource is of the one that it is
/// marked for, and the other gets its own.
#[test]
fn a_resource_is_never_of_two_entries() {
    let both = list(&["new", "old"].map(|name| entry(name, Kind::Network, &[])));
    let mut world = World::default();
    have(&mut world, "n", Kind::Network, "new", &[]);
    note(&mut world, "old", Kind::Network, "n", String::new());
    let plan = apply(&mut world, &both);
    assert_eq!(acts(&plan), [("new", &Act::Adopt { id: "n".into() }), ("old", &Act::Create)]);

    // As it is when the adopted one is recorded and the old name is not forgotten.
    let mut world = World::default();
    have(&mut world, "n", Kind::Network, "new", &[]);
    note(&mut world, "new", Kind::Network, "n", String::new());
    note(&mut world, "old", Kind::Network, "n", String::new());
    assert_eq!(acts(&apply(&mut world, &both)), [("old", &Act::Create)]);
}

/// Another entry of equal content does not take what is an entry's own.
#[test]
fn a_rename_takes_nothing_that_has_an_entry() {
    let both = list(&["a", "b"].map(|name| entry(name, Kind::Network, &[])));
    let mut world = World::default();
    have(&mut world, "n", Kind::Network, "b", &[]);
    let applied = hash(&world, &entry("b", Kind::Network, &[]));
    note(&mut world, "b", Kind::Network, "n", applied.clone());
    note(&mut world, "gone", Kind::Network, "n", applied);
    assert_eq!(acts(&apply(&mut world, &both)), [("a", &Act::Create)]);
}

/// What was renamed and changed behind our back is mended in the same plan.
#[test]
fn a_rename_mends_drift() {
    let group = |name: &str| entry(name, Kind::SecurityGroup, &[("rules", Value::List(vec!["rule".into()]))]);
    let mut world = World::default();
    have(&mut world, "g", Kind::SecurityGroup, "old", &[]);
    let applied = hash(&world, &group("old"));
    note(&mut world, "old", Kind::SecurityGroup, "g", applied);
    let plan = apply(&mut world, &list(&[group("new")]));
    let update = Act::Update { id: Some("g".into()), fields: BTreeSet::from(["rules".to_owned()]) };
    let rename = Act::Rename { id: "g".into(), from: "old".into() };
    assert_eq!(acts(&plan), [("new", &rename), ("new", &update)]);
}

/// A listener that is made with a pool that is renamed or adopted names it at the end of the same plan.
#[test]
fn what_is_made_names_what_is_renamed_or_adopted() {
    let balancer = entry("balancer", Kind::LoadBalancer, &[]);
    let pool = |name: &str| entry(name, Kind::Pool, &[("load_balancer", named("balancer"))]);
    let listener = |pool: &str| {
        let fields = [("load_balancer", named("balancer")), ("default_pool", named(pool))];
        entry("a", Kind::Listener, &fields)
    };
    let mut world = World::default();
    apply(&mut world, &list(&[balancer.clone(), pool("old")]));
    apply(&mut world, &list(&[balancer.clone(), listener("new"), pool("new")]));

    let mut world = World::default();
    apply(&mut world, &list(&[balancer.clone(), pool("pool")]));
    world.record.remove("pool");
    apply(&mut world, &list(&[balancer, listener("pool"), pool("pool")]));
}

/// An id that is recorded for another kind says nothing.
#[test]
fn a_record_of_another_kind_is_none() {
    let mut world = World::default();
    have(&mut world, "n", Kind::Network, "n", &[]);
    note(&mut world, "n", Kind::Port, "n", String::new());
    let plan = apply(&mut world, &list(&[entry("n", Kind::Network, &[])]));
    assert_eq!(acts(&plan), [("n", &Act::Adopt { id: "n".into() })]);
}

/// Of one resource there is no second one: a name whose recorded resource is gone keeps what is held or retained.
#[test]
fn one_alone_is_no_duplicate() {
    let mut world = World::default();
    have(&mut world, "n2", Kind::Network, "n", &[]);
    note(&mut world, "n", Kind::Network, "n1", String::new());
    let none = BTreeSet::new();
    let held = BTreeSet::from(["n2".to_owned()]);
    let plan = world.plan_with(&DesiredList::default(), &External::default(), &held, &none);
    assert_eq!(plan.blocked.iter().map(|b| &b.on).collect::<Vec<_>>(), [&Wait::InUse]);
    world.record.get_mut("n").unwrap().retain = true;
    assert_eq!(acts(&world.plan(&DesiredList::default())), [("n", &Act::Retain { id: "n2".into() })]);
}

/// A rename that was marked, and not recorded before a crash: what others refer to is held by what it is, and not by its name.
#[test]
fn what_is_held_is_so_by_whatever_name() {
    let mut world = World::default();
    have(&mut world, "g", Kind::Network, "new", &[]);
    note(&mut world, "old", Kind::Network, "g", String::new());
    let (none, held) = (BTreeSet::new(), BTreeSet::from(["g".to_owned()]));
    let plan = world.plan_with(&DesiredList::default(), &External::default(), &held, &none);
    assert_eq!(plan.blocked.iter().map(|b| &b.on).collect::<Vec<_>>(), [&Wait::InUse]);
    assert!(plan.operations.is_empty(), "{plan:?}");
}

/// A subnet with another range, which is deleted first, and what rested on it has others in its place at once: all of it is
/// done, although each waits for another.
#[test]
fn nothing_is_left_out_where_all_waits_for_each_other() {
    let subnet = |prefix: &str| {
        let network = entry("network", Kind::Network, &[]);
        [network, entry("subnet", Kind::Subnet, &[("network", named("network")), ("prefix", prefix.into())])]
    };
    let pools = |pool: &str, prefix: &str| {
        let member = [("subnet".to_owned(), named("subnet")), ("address".to_owned(), prefix.into())];
        let members = Value::List(vec![Value::Map(member.into())]);
        let within = ("load_balancer", named("balancer"));
        let [network, subnet] = subnet(prefix);
        list(&[
            network,
            subnet,
            entry("balancer", Kind::LoadBalancer, &[]),
            entry(pool, Kind::Pool, &[within.clone(), ("members", members)]),
            entry("listener", Kind::Listener, &[within, ("default_pool", named(pool))]),
        ])
    };
    let ports = |port: &str, prefix: &str| {
        let [network, subnet] = subnet(prefix);
        let fixed = Value::List(vec![Value::Map([("subnet".to_owned(), named("subnet"))].into())]);
        let fields = [("network", named("network")), ("fixed_ips", fixed), ("host", port.into())];
        let floating = entry("floating", Kind::FloatingIp, &[("target", named(port))]);
        list(&[network, subnet, entry(port, Kind::Port, &fields), floating])
    };
    for lists in [
        [pools("a", "10.0.0.0/24"), pools("b", "10.0.1.0/24")],
        [ports("a", "10.0.0.0/24"), ports("b", "10.0.1.0/24")],
    ] {
        let mut world = World::default();
        lists.iter().for_each(|desired| drop(apply(&mut world, desired)));
    }
}

/// What a port rests on that can't be replaced now stays: the cloud would not let it go.
#[test]
fn what_waits_keeps_what_it_rests_on() {
    let port = |network: &str| entry("port", Kind::Port, &[("network", named(network))]);
    let mut world = World::default();
    apply(&mut world, &list(&[entry("old", Kind::Network, &[]), port("old")]));
    let pinned: BTreeSet<String> =
        world.cloud.values().filter(|o| o.kind == Kind::Port).map(|o| o.id.clone()).collect();
    let desired = list(&[entry("new", Kind::Network, &[("mtu", 1400_i64.into())]), port("new")]);
    let plan = world.plan_with(&desired, &External::default(), &BTreeSet::new(), &pinned);
    assert_eq!(acts(&plan), [("new", &Act::Create)]);
    let blocked: BTreeMap<&str, &Wait> = plan.blocked.iter().map(|b| (b.name.as_str(), &b.on)).collect();
    assert_eq!(blocked, BTreeMap::from([("old", &Wait::InUse), ("port", &Wait::ReplacePending)]));
}

/// A load balancer goes after the listener on it that is deleted early, for another one to take its port.
#[test]
fn what_goes_waits_for_what_is_replaced_on_it() {
    let mut world = World::default();
    for (id, name) in [("l1", "balancer"), ("l2", "gone")] {
        have(&mut world, id, Kind::LoadBalancer, name, &[]);
    }
    have(&mut world, "listener", Kind::Listener, "listener", &[("load_balancer", "l2"), ("port", "80")]);
    have(&mut world, "policy", Kind::L7Policy, "policy", &[("listener", "listener")]);
    // That another one is recorded to refer to the policy makes it one of the last to go.
    have(&mut world, "group", Kind::SecurityGroup, "group", &[]);
    note(&mut world, "group", Kind::SecurityGroup, "group", String::new());
    let refers = RecordedReference { reference: Reference::Local("policy".into()), id: "policy".into() };
    world.record.get_mut("group").unwrap().references.push(refers);
    let listener = [("load_balancer", named("balancer")), ("port", "80".into())];
    let balancer = entry("balancer", Kind::LoadBalancer, &[]);
    apply(&mut world, &list(&[balancer, entry("listener", Kind::Listener, &listener)]));
}

/// A load balancer makes room for the one in its place, and first of all what rests on something that goes with it: here a policy
/// that has its place on another listener.
#[test]
fn what_makes_room_waits_for_nothing_that_waits_for_it() {
    let mut world = World::default();
    have(&mut world, "l", Kind::LoadBalancer, "balancer", &[("vip", "somewhere")]);
    have(&mut world, "old", Kind::Listener, "gone", &[("load_balancer", "l")]);
    have(&mut world, "p", Kind::L7Policy, "policy", &[("listener", "old")]);
    let vip = Value::Map([("port".to_owned(), named("port"))].into());
    let entries = [
        entry("network", Kind::Network, &[]),
        entry("port", Kind::Port, &[("network", named("network"))]),
        entry("balancer", Kind::LoadBalancer, &[("vip", vip)]),
        entry("listener", Kind::Listener, &[("load_balancer", named("balancer"))]),
        entry("policy", Kind::L7Policy, &[("listener", named("listener"))]),
    ];
    apply(&mut world, &list(&entries));
}

/// All that is below a load balancer goes with it in one call, after what waits for it there; where something stays below it, each goes
/// by itself, and it stays too.
#[test]
fn a_load_balancer_goes_with_all_below_it() {
    let mut world = World::default();
    have(&mut world, "port", Kind::Port, "vip", &[]);
    have(&mut world, "lb", Kind::LoadBalancer, "lb", &[("vip", "port")]);
    have(&mut world, "pool", Kind::Pool, "pool", &[("load_balancer", "lb")]);
    have(&mut world, "http", Kind::Listener, "http", &[("load_balancer", "lb"), ("default_pool", "pool")]);
    have(&mut world, "policy", Kind::L7Policy, "policy", &[("listener", "http")]);
    have(&mut world, "other", Kind::Pool, "other", &[("load_balancer", "elsewhere")]);
    let told = |plan: &Plan| -> Vec<(String, Vec<String>)> {
        let ids = |act: &Act| match act {
            Act::Delete { below, .. } => below.iter().map(|part| part.id.clone()).collect(),
            other => panic!("{other:?}"),
        };
        plan.operations.iter().map(|o| (o.name.clone(), ids(&o.act))).collect()
    };
    let none = BTreeSet::new();
    let plan = world.plan(&list(&[]));
    let with = ["policy", "http", "pool"].map(String::from).to_vec();
    let expected =
        [("other".to_owned(), vec![]), ("lb".to_owned(), with.clone()), ("vip".to_owned(), vec![])];
    assert_eq!(BTreeMap::from_iter(told(&plan)), BTreeMap::from(expected));
    let lb = plan.operations.iter().find(|operation| operation.name == "lb").unwrap();
    assert_eq!(lb.with, with);
    assert_eq!(plan.summary().deleted, 6, "{plan:?}");

    let held = BTreeSet::from(["pool".to_owned()]);
    let plan = world.plan_with(&list(&[]), &External::default(), &held, &none);
    let told: Vec<String> = told(&plan).into_iter().map(|(name, _)| name).collect();
    assert_eq!(BTreeSet::from_iter(told), ["policy", "http", "other"].map(String::from).into());
    apply(&mut world, &list(&[]));
}

/// Two load balancers, each with a listener that sends to a pool of the other one: what one of them is made without is written
/// when the other is there.
#[test]
fn two_trees_that_name_each_other_are_made_whole() {
    let within = |balancer: &str| ("load_balancer", named(balancer));
    let listener = |name: &str, balancer: &str, pool: &str| {
        entry(name, Kind::Listener, &[within(balancer), ("default_pool", named(pool))])
    };
    let entries = [
        entry("a", Kind::LoadBalancer, &[]),
        entry("b", Kind::LoadBalancer, &[]),
        listener("b-listener", "b", "a-pool"),
        entry("a-pool", Kind::Pool, &[within("a")]),
        entry("b-pool", Kind::Pool, &[within("b")]),
        listener("a-listener", "a", "b-pool"),
    ];
    apply(&mut World::default(), &list(&entries));
}

/// Neutron gives every port an address of a SLAAC subnet: one that has it is no other port than was asked for, whatever else of it
/// changes or is not recorded.
#[test]
fn an_address_that_neutron_adds_replaces_no_port() {
    let subnet = |name: &str, fields: &[(&str, Value)]| {
        entry(name, Kind::Subnet, &[&[("network", named("network"))], fields].concat())
    };
    let desired = |host: &str| {
        let fixed = Value::List(vec![Value::Map([("subnet".to_owned(), named("v4"))].into())]);
        let port = [("network", named("network")), ("fixed_ips", fixed), ("host", host.into())];
        list(&[
            entry("network", Kind::Network, &[]),
            subnet("v4", &[("prefix", "10.0.0.0/24".into())]),
            subnet("v6", &[("prefix", "fd00::/64".into()), ("ipv6_address_mode", "slaac".into())]),
            entry("port", Kind::Port, &port),
        ])
    };
    let mut world = World::default();
    apply(&mut world, &desired("a"));
    let port = world.record["port"].id.clone().unwrap();
    assert_eq!(world.cloud[&port].fields["fixed_ips"].as_array().unwrap().len(), 2);
    let host = Act::Update { id: Some(port), fields: BTreeSet::from(["host".to_owned()]) };
    assert_eq!(acts(&apply(&mut world, &desired("b"))), [("port", &host)]);
    world.record.clear();
    assert!(acts(&apply(&mut world, &desired("b"))).iter().all(|(_, act)| matches!(act, Act::Adopt { .. })));
}

/// A port has an address of a subnet that goes, and its entry does not say the subnet: the port is replaced too, or the cloud would
/// not let the subnet go. One with a running pod keeps the subnet.
#[test]
fn a_port_does_not_outlive_its_subnet() {
    let on = |prefix: &str, fixed: &[(&str, Value)]| {
        let subnet = [("network", named("network")), ("prefix", prefix.into())];
        let port = [&[("network", named("network"))], fixed].concat();
        let (network, port) = (entry("network", Kind::Network, &[]), entry("port", Kind::Port, &port));
        let after = vec![Reference::Local("subnet".into())];
        [network, entry("subnet", Kind::Subnet, &subnet), Entry { after, ..port }]
    };
    let address = Value::Map([("address".to_owned(), "10.0.0.5".into())].into());
    let fixed = [("fixed_ips", Value::List(vec![address]))];
    let mut world = World::default();
    apply(&mut world, &list(&on("10.0.0.0/24", &fixed)));
    let summary = apply(&mut world, &list(&on("10.0.0.0/23", &fixed))).summary();
    assert_eq!((summary.replaced, summary.added, summary.deleted), (2, 0, 0));

    let [network, _, port] = on("10.0.0.0/23", &[]);
    let without = list(&[network, Entry { after: Vec::new(), ..port }]);
    let pinned = BTreeSet::from([world.record["port"].id.clone().unwrap()]);
    let plan = world.plan_with(&without, &External::default(), &BTreeSet::new(), &pinned);
    let blocked: BTreeMap<&str, &Wait> = plan.blocked.iter().map(|b| (b.name.as_str(), &b.on)).collect();
    assert_eq!(blocked, BTreeMap::from([("port", &Wait::ReplacePending), ("subnet", &Wait::InUse)]));
    let summary = apply(&mut world, &without).summary();
    assert_eq!((summary.replaced, summary.added, summary.deleted), (1, 0, 1));
}
