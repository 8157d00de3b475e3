//! Properties of the planner, with a small cloud that does what operations say.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests fail by panics")]

mod any_state;
mod world;

use std::collections::{BTreeMap, BTreeSet};

use isthmus_model::desired::{DesiredList, Entry, MOST_ENTRIES};
use isthmus_model::kinds::Kind;
use isthmus_model::mark::Mark;
use isthmus_model::observed::Target;
use isthmus_model::plan::{Act, External, Plan, Targets, Wait, applied_hash, conclude};
use isthmus_model::record::{Record, Recorded};
use isthmus_model::value::{AddressSource, Fields, IpVersion, Reference, Value};
use proptest::collection::vec;
use proptest::prelude::*;
use world::{CLUSTER, SUBJECT, World, lists, observed, strangers};

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Through any sequence of lists, each apply reaches what is desired, the second plan is empty, and strangers stay.
    #[test]
    fn applying_reaches_desired(sequence in vec(lists(), 1..5)) {
        let mut world = World { cloud: strangers(), ..World::default() };
        for desired in &sequence {
            let first = world.plan(desired);
            prop_assert!(first.blocked.is_empty(), "{first:?}");
            world.apply(desired, &first, usize::MAX, false);
            let second = world.plan(desired);
            prop_assert!(second.is_empty(), "{second:?}\nafter {first:?}");
            let ours = world.cloud.values().filter(|o| !o.id.starts_with("stranger")).count();
            prop_assert_eq!(ours, desired.entries().len());
            for (id, stranger) in strangers() {
                prop_assert_eq!(world.cloud.get(&id), Some(&stranger));
            }
        }
    }

    /// A crash after any operation, its answer lost or not, the record lost or not: the same end state, no second one.
    #[test]
    fn a_crash_changes_nothing(
        sequence in vec((lists(), 0usize..6, any::<bool>(), any::<bool>()), 1..5),
        last in lists(),
    ) {
        let mut world = World { cloud: strangers(), ..World::default() };
        for (desired, steps, lost, forgotten) in &sequence {
            let first = world.plan(desired);
            world.apply(desired, &first, *steps, *lost);
            if *forgotten {
                world.record.clear();
            }
        }
        let mut rounds = 0;
        loop {
            let next = world.plan(&last);
            if next.is_empty() {
                break;
            }
            rounds += 1;
            prop_assert!(rounds < 4, "does not converge: {next:?}");
            world.apply(&last, &next, usize::MAX, false);
        }
        let ours = world.cloud.values().filter(|o| !o.id.starts_with("stranger")).count();
        prop_assert_eq!(ours, last.entries().len());
    }

    /// What was done before an apply was complete, or is not recorded any more, is as good as what was done by it: nothing is made
    /// anew or written again.
    #[test]
    fn a_lost_record_costs_no_write(desired in lists()) {
        let mut world = World::default();
        let first = world.plan(&desired);
        world.apply(&desired, &first, usize::MAX, false);
        world.record.values_mut().for_each(|recorded| recorded.hash.clear());
        prop_assert!(world.plan(&desired).is_empty());
        world.record.clear();
        let again = world.plan(&desired);
        let adopts = |plan: &Plan| plan.operations.iter().all(|o| matches!(o.act, Act::Adopt { .. }));
        prop_assert!(adopts(&again) && again.blocked.is_empty(), "{again:?}");
    }

    /// A resource that goes or is changed behind our back is made or changed again.
    #[test]
    fn drift_is_repaired(desired in lists(), pick in any::<prop::sample::Index>(), deleted in any::<bool>()) {
        let mut world = World::default();
        let first = world.plan(&desired);
        world.apply(&desired, &first, usize::MAX, false);
        // Somebody may delete only what nothing uses: ports.
        let used = |id: &str| {
            world.cloud.values().any(|o| o.fields.values().any(|v| v.to_string().contains(&format!("\"{id}\""))))
        };
        let ports = world.cloud.values().filter(|o| o.kind == Kind::Port && !used(&o.id));
        let ids: Vec<String> = ports.map(|o| o.id.clone()).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let id = pick.get(&ids).clone();
        if deleted {
            world.cloud.remove(&id);
        } else {
            world.cloud.get_mut(&id).unwrap().fields.insert("host".into(), "elsewhere".into());
        }
        let repair = world.plan(&desired);
        prop_assert_eq!(repair.operations.len(), 1, "{:?}", repair);
        world.apply(&desired, &repair, usize::MAX, false);
        prop_assert!(world.plan(&desired).is_empty());
    }
}

fn port(name: &str, network: Reference) -> Entry {
    Entry::new(name, Kind::Port, Fields::from([("network".into(), network.into())]))
}

fn existing_net(id: &str) -> (Reference, External) {
    let reference = Reference::Existing("net".into());
    let target = Target::of(id);
    (reference.clone(), [(("network".to_owned(), reference), target)].into_iter().collect())
}

fn recorded_port() -> Recorded {
    let (hash, fields, references) = (String::new(), BTreeSet::new(), Vec::new());
    Recorded { kind: Kind::Port, id: None, hash, fields, references, retain: false }
}

#[test]
fn a_rename_is_not_a_replacement() {
    let (network, external) = existing_net("n1");
    let none = BTreeSet::new();
    let mut world = World::default();
    let before = DesiredList::new(vec![port("old", network.clone())]).unwrap();
    let first = world.plan_with(&before, &external, &none, &none);
    // The world's own bookkeeping knows local references only: record by hand.
    world.cloud.insert("p".into(), {
        let mark = Mark { cluster: CLUSTER.into(), subject: SUBJECT.into(), name: "old".into() };
        observed("p", Kind::Port, Some(mark), BTreeMap::from([("network".into(), "n1".into())]), 1)
    });
    let targets = Targets { external: external.clone(), ..Targets::default() };
    let hash = applied_hash(before.get("old").unwrap(), &targets).unwrap();
    let recorded = Recorded { id: Some("p".into()), hash, ..recorded_port() };
    world.record.insert("old".into(), recorded);
    assert_eq!(first.summary().added, 1);
    assert!(world.plan_with(&before, &external, &none, &none).is_empty());

    let after = DesiredList::new(vec![port("new", network)]).unwrap();
    let renamed = world.plan_with(&after, &external, &none, &none);
    assert_eq!(renamed.operations.len(), 1, "{renamed:?}");
    assert_eq!(renamed.operations[0].act, Act::Rename { id: "p".into(), from: "old".into() });
    assert_eq!((renamed.summary().deleted, renamed.summary().replaced), (0, 0));
}

#[test]
fn waits_where_it_must() {
    let (network, external) = existing_net("n2");
    let none = BTreeSet::new();
    let desired = DesiredList::new(vec![port("p", network.clone())]).unwrap();
    let mut world = World::default();

    let unknown = world.plan(&desired);
    assert!(unknown.operations.is_empty());
    assert_eq!(unknown.blocked[0].on, Wait::Reference(network));

    let mark = Mark { cluster: CLUSTER.into(), subject: SUBJECT.into(), name: "p".into() };
    world.cloud.insert(
        "p".into(),
        observed("p", Kind::Port, Some(mark), BTreeMap::from([("network".into(), "n1".into())]), 1),
    );
    let pinned = BTreeSet::from(["p".to_owned()]);
    let pending = world.plan_with(&desired, &external, &none, &pinned);
    // It is recorded as ours, and not touched.
    assert_eq!(pending.operations.len(), 1, "{pending:?}");
    assert_eq!(pending.operations[0].act, Act::Adopt { id: "p".into() });
    assert_eq!(pending.blocked[0].on, Wait::ReplacePending);
    assert_eq!(pending.summary().replaced, 1);

    let held = BTreeSet::from(["p".to_owned()]);
    let gone = world.plan_with(&DesiredList::default(), &external, &held, &none);
    assert!(gone.operations.is_empty());
    assert_eq!(gone.blocked[0].on, Wait::InUse);

    // Its entry is no more, and the pod runs on: an address is not given away under it. A swap is judged by it all the same.
    let attached = world.plan_with(&DesiredList::default(), &external, &none, &pinned);
    assert!(attached.operations.is_empty(), "{attached:?}");
    assert_eq!(attached.blocked[0].on, Wait::Attached);
    assert_eq!((attached.summary().deleted, attached.summary().replaced), (1, 0));
}

#[test]
fn of_two_with_one_mark_the_recorded_one_stays_else_the_oldest() {
    let (network, external) = existing_net("n1");
    let none = BTreeSet::new();
    let desired = DesiredList::new(vec![port("p", network)]).unwrap();
    let mut world = World::default();
    for (id, age) in [("a", 7), ("b", 3)] {
        let mark = Mark { cluster: CLUSTER.into(), subject: SUBJECT.into(), name: "p".into() };
        world.cloud.insert(
            id.into(),
            observed(id, Kind::Port, Some(mark), BTreeMap::from([("network".into(), "n1".into())]), age),
        );
    }
    let deleted = |plan: &Plan| -> Vec<String> {
        let ids = plan
            .operations
            .iter()
            .filter_map(|o| if let Act::Delete { id, .. } = &o.act { Some(id.clone()) } else { None });
        ids.collect()
    };
    assert_eq!(deleted(&world.plan_with(&desired, &external, &none, &none)), ["a"]);
    let recorded = Recorded { id: Some("a".into()), ..recorded_port() };
    world.record.insert("p".into(), recorded);
    assert_eq!(deleted(&world.plan_with(&desired, &external, &none, &none)), ["b"]);
}

/// An entry of which something is left to do is not recorded as if it were done: what it has to clear, and whom it holds,
/// would be forgotten.
#[test]
fn what_is_not_done_is_not_recorded_as_done() {
    let (network, external) = existing_net("n1");
    let desired = DesiredList::new(vec![port("done", network.clone()), port("undone", network)]).unwrap();
    let targets = Targets { external, ..Targets::default() };
    let made_with = Recorded {
        id: Some("1".into()),
        hash: "before".into(),
        fields: BTreeSet::from(["qos_policy".to_owned()]),
        ..recorded_port()
    };
    let record = Record::from([("done".into(), made_with.clone()), ("undone".into(), made_with.clone())]);
    let after = conclude(&desired, record, &targets, &BTreeSet::from(["undone".to_owned()]));
    assert_eq!(after["undone"], made_with);
    assert_eq!(after["done"].id, made_with.id);
    assert_eq!(after["done"].fields, BTreeSet::from(["network".to_owned()]));
    assert_ne!(after["done"].hash, "before");
    let none = conclude(&DesiredList::default(), after.clone(), &targets, &BTreeSet::new());
    assert_eq!(none, after, "what is in the cloud is recorded until it is gone");
}

/// The longest list there can be, as one chain: recursion along it would not fit on this stack, and looking at every pair of
/// pairs would take minutes.
#[test]
fn the_longest_list_is_planned_and_taken_down() {
    let name = |n: usize| format!("n{n:04}");
    let chained = move |n: usize| {
        let mut entry = Entry::new(&name(n), Kind::Network, Fields::new());
        entry.after = (n > 0).then(|| Reference::Local(name(n - 1))).into_iter().collect();
        entry
    };
    let run = move || {
        let desired = DesiredList::new((0..MOST_ENTRIES).rev().map(chained).collect()).unwrap();
        let mut world = World::default();
        let made = world.plan(&desired).operations;
        let order: Vec<String> = made.into_iter().map(|o| o.name).collect();
        assert_eq!(order, (0..MOST_ENTRIES).map(name).collect::<Vec<_>>());

        let mut targets = Targets::default();
        for entry in order.iter().filter_map(|name| desired.get(name)) {
            let mark = Mark { cluster: CLUSTER.into(), subject: SUBJECT.into(), name: entry.name.clone() };
            let found = observed(&entry.name, entry.kind, Some(mark), BTreeMap::new(), 1);
            targets.local.insert(entry.name.clone(), found.target());
            world.cloud.insert(entry.name.clone(), found);
            let (id, references) = (Some(entry.name.clone()), targets.recorded(entry));
            let recorded = Recorded { kind: entry.kind, id, references, ..recorded_port() };
            world.record.insert(entry.name.clone(), recorded);
        }
        let taken_down = world.plan(&DesiredList::default()).operations;
        let order: Vec<String> = taken_down.into_iter().map(|o| o.name).collect();
        assert_eq!(order, (0..MOST_ENTRIES).rev().map(name).collect::<Vec<_>>());
    };
    std::thread::Builder::new().stack_size(256 << 10).spawn(run).unwrap().join().unwrap();
}

/// What a policy refers to is there when it is made: the pool's members, written after it, do not count.
#[test]
fn a_reference_to_what_is_changed_later_costs_no_write_of_its_own() {
    let text = |pairs: &[(&str, Value)]| -> Fields {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    };
    let pool = text(&[("protocol", "HTTP".into()), ("members", Value::List(Vec::new()))]);
    let to_pool = Value::Map(text(&[("pool", Value::Ref(Reference::Local("pool".into())))]));
    let policy = text(&[("action", to_pool), ("rules", Value::List(Vec::new()))]);
    let entries = vec![Entry::new("pool", Kind::Pool, pool), Entry::new("policy", Kind::L7Policy, policy)];
    let desired = DesiredList::new(entries).unwrap();
    let mut plan: Vec<(String, Act)> =
        World::default().plan(&desired).operations.into_iter().map(|o| (o.name, o.act)).collect();
    plan.sort_by(|a, b| a.0.cmp(&b.0));
    let update = |field: &str| Act::Update { id: None, fields: BTreeSet::from([field.to_owned()]) };
    let expected = [
        ("policy".to_owned(), Act::Create),
        ("policy".to_owned(), update("rules")),
        ("pool".to_owned(), Act::Create),
        ("pool".to_owned(), update("members")),
    ];
    assert_eq!(plan, expected);
}

/// A load balancer that another mapping uses keeps its address.
#[test]
fn what_can_not_go_yet_keeps_what_it_refers_to() {
    let vip = Value::Map([("port".to_owned(), Value::Ref(Reference::Local("vip".into())))].into());
    let lb = Entry::new("lb", Kind::LoadBalancer, [("vip".to_owned(), vip)].into());
    let desired = DesiredList::new(vec![Entry::new("vip", Kind::Port, Fields::new()), lb]).unwrap();
    let mut world = World::default();
    let plan = world.plan(&desired);
    world.apply(&desired, &plan, plan.operations.len(), false);
    let (external, none) = (External::default(), BTreeSet::new());
    let held = BTreeSet::from([world.record["lb"].id.clone().unwrap()]);
    let plan = world.plan_with(&DesiredList::default(), &external, &held, &none);
    assert!(plan.operations.is_empty(), "{plan:?}");
    let blocked: Vec<_> = plan.blocked.iter().map(|b| (b.name.as_str(), &b.on)).collect();
    assert_eq!(blocked, [("lb", &Wait::InUse), ("vip", &Wait::InUse)]);
}

/// Two load balancers never have one address: the old one goes first, whether the new one's VIP is on a port or told by address.
#[test]
fn a_load_balancer_that_takes_an_address_over_comes_second() {
    let map = |fields: &[(&str, Value)]| {
        Value::Map(fields.iter().map(|(field, value)| ((*field).to_owned(), value.clone())).collect())
    };
    let on_port = DesiredList::new(vec![
        Entry::new(
            "vip",
            Kind::Port,
            [("fixed_ips".to_owned(), Value::List(vec![map(&[("address", "10.0.0.9".into())])]))].into(),
        ),
        Entry::new("lb", Kind::LoadBalancer, [("vip".to_owned(), map(&[("port", named("vip"))]))].into()),
    ])
    .unwrap();
    let by_address = DesiredList::new(vec![Entry::new(
        "lb",
        Kind::LoadBalancer,
        [("vip".to_owned(), map(&[("fixed_ip", map(&[("address", "10.0.0.9".into())]))]))].into(),
    )])
    .unwrap();
    for (before, after) in [(&on_port, &by_address), (&by_address, &on_port)] {
        let mut world = World::default();
        let plan = world.plan(before);
        world.apply(before, &plan, plan.operations.len(), false);
        let plan = world.plan(after);
        let at = |wanted: fn(&Act) -> bool| {
            plan.operations.iter().position(|o| o.kind == Kind::LoadBalancer && wanted(&o.act))
        };
        let (delete, create) = (at(|act| matches!(act, Act::Delete { .. })), at(|act| *act == Act::Create));
        let (Some(delete), Some(create)) = (delete, create) else { panic!("{plan:?}") };
        assert!(plan.operations[create].after.contains(&delete), "{plan:?}");
    }
}

fn named(name: &str) -> Value {
    Value::Ref(Reference::Local(name.into()))
}

fn entry(name: &str, kind: Kind, fields: &[(&str, Value)]) -> Entry {
    Entry::new(name, kind, fields.iter().map(|(f, v)| ((*f).to_owned(), v.clone())).collect())
}

/// A load balancer with all below it is one call, after what any part of it needs; what has to wait for it waits.
#[test]
fn a_load_balancer_is_made_with_all_below_it() {
    let member = |address: Value| Value::List(vec![Value::Map([("address".to_owned(), address)].into())]);
    let vip = |of: &str| {
        let of = Reference::Local(of.into());
        Value::Late(AddressSource::AddressOf { of, version: IpVersion::V4 })
    };
    let entries = vec![
        entry("lb", Kind::LoadBalancer, &[("vip", Value::Map([("port".to_owned(), named("vip"))].into()))]),
        entry("http", Kind::Listener, &[("load_balancer", named("lb")), ("default_pool", named("pool"))]),
        entry(
            "https",
            Kind::Listener,
            &[
                ("load_balancer", named("lb")),
                ("tls", Value::Map([("default".to_owned(), named("cert"))].into())),
            ],
        ),
        entry("pool", Kind::Pool, &[("load_balancer", named("lb")), ("members", member("10.0.0.1".into()))]),
        entry("self", Kind::Pool, &[("load_balancer", named("lb")), ("members", member(vip("lb")))]),
        entry(
            "policy",
            Kind::L7Policy,
            &[
                ("listener", named("http")),
                ("action", Value::Map([("pool".to_owned(), named("pool"))].into())),
                ("rules", Value::List(vec!["a".into()])),
            ],
        ),
        entry("cert", Kind::Certificate, &[("source", "pem".into())]),
        entry("vip", Kind::Port, &[]),
    ];
    let plan = World::default().plan(&DesiredList::new(entries).unwrap());
    let told: Vec<(&str, &Act, &[String], Vec<usize>)> = plan
        .operations
        .iter()
        .map(|o| (o.name.as_str(), &o.act, o.with.as_slice(), o.after.iter().copied().collect()))
        .collect();
    let with: Vec<String> = ["http", "https", "pool", "policy", "self"].map(Into::into).to_vec();
    let members = Act::Update { id: None, fields: BTreeSet::from(["members".to_owned()]) };
    let mut sorted = with.clone();
    sorted.sort();
    assert_eq!(told.len(), 4, "{told:?}");
    let tree = told.iter().find(|(name, ..)| *name == "lb").unwrap();
    let mut in_tree = tree.2.to_vec();
    in_tree.sort();
    assert_eq!(in_tree, sorted);
    let needs: BTreeSet<&str> = tree.3.iter().map(|at| told[*at].0).collect();
    assert_eq!(needs, BTreeSet::from(["cert", "vip"]));
    let (name, act, _, after) = told.last().unwrap();
    assert_eq!((*name, *act, after.len()), ("self", &members, 1), "its address is known only then");
    assert_eq!(plan.summary().added, 8);
}

/// A port with a running pod gets its groups although it waits to be replaced.
#[test]
fn what_waits_to_be_replaced_changes_in_place_what_can() {
    let (network, external) = existing_net("n2");
    let mut entry = port("p", network);
    entry.fields.insert("host".into(), "node2".into());
    let desired = DesiredList::new(vec![entry]).unwrap();
    let mut world = World::default();
    let mark = Mark { cluster: CLUSTER.into(), subject: SUBJECT.into(), name: "p".into() };
    let fields = BTreeMap::from([("network".into(), "n1".into()), ("host".into(), "node1".into())]);
    world.cloud.insert("p".into(), observed("p", Kind::Port, Some(mark), fields, 1));
    world.record.insert("p".into(), Recorded { id: Some("p".into()), ..recorded_port() });
    let plan = world.plan_with(&desired, &external, &BTreeSet::new(), &BTreeSet::from(["p".to_owned()]));
    assert_eq!(plan.blocked[0].on, Wait::ReplacePending);
    let host = Act::Update { id: Some("p".into()), fields: BTreeSet::from(["host".to_owned()]) };
    assert_eq!(plan.operations.iter().map(|o| &o.act).collect::<Vec<_>>(), [&host]);
}
