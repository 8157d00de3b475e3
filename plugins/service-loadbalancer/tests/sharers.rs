//! One load balancer for several Services: which of them are on it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]

mod common;

use std::collections::BTreeSet;

use common::sharing::{ID, OLD, front, reason, remembering, sharer, sharing, with};
use common::{FLOATING, Given, OUTSIDE, given, names, other, service_kind};
use isthmus_sdk::prelude::*;
use isthmus_sdk::testing::Cluster;
use proptest::prelude::*;
use service_loadbalancer::ServiceLoadBalancer;

#[test]
fn of_two_services_for_one_port_the_older_is_on_it() {
    let many = with(OUTSIDE, r#""maxServices": 9, "across": [{"of": ["shop"], "by": ["edge"]}]"#);
    let web = |ports: &str| sharing(&format!("{ports}type: LoadBalancer"));
    let conflict = |result, port: &str, whose: &str| {
        let reason = reason(result);
        assert_eq!(reason, format!("no room on the shared load balancer: port {port} is Service {whose}'s"));
    };
    // The one whose load balancer it is comes first, whenever it was made.
    conflict(
        web("ports: [{port: 80, name: a}, {port: 443, name: b}], ").map(&many),
        "443 of TCP",
        "shop/front",
    );
    assert!(web("ports: [{port: 443, protocol: UDP}], ").map(&many).is_ok(), "another protocol");
    conflict(web("").beside(sharer("shop/a", OLD, 80)).map(&many), "80 of TCP", "shop/a");
    conflict(web("").beside(sharer("edge/a", OLD, 80)).map(&many), "80 of TCP", "edge/a");
    assert!(web("").beside(sharer("shop/a", OLD, 81)).map(&many).is_ok(), "another port");
    assert!(web("").beside(sharer("shop/zoo", "", 80)).map(&many).is_ok(), "it is younger");
    // who has lost himself takes nothing from others, and neither does who may not, or is on another one
    let lost = sharer("shop/b", OLD, 443).replace("ports: [", "ports: [{port: 80, name: x}, ");
    assert!(web("").beside(lost).map(&many).is_ok());
    assert!(web("").beside(sharer("edge/a", OLD, 80)).map(&with(OUTSIDE, r#""maxServices": 9"#)).is_ok());
    let elsewhere = sharer("shop/a", OLD, 80).replace("shop/front", "shop/back");
    assert!(web("").beside(elsewhere).map(&many).is_ok());
    let inside = sharer("shop/a", OLD, 80).replace("LoadBalancer", "ClusterIP");
    assert!(web("").beside(inside).map(&many).is_ok());
    // who is refused for what he says may be on it as he was
    let wrong =
        sharer("shop/a", OLD, 80).replace("annotations: {", "annotations: {isthmus.dev/lb-internal: what, ");
    conflict(web("").beside(wrong).map(&many), "80 of TCP", "shop/a");
    // whose it is to be is not clear any more, so it is where it was
    let known = sharing("type: LoadBalancer").shares(OUTSIDE, None).unwrap();
    let two = sharer("shop/a", OLD, 80)
        .replace("annotations: {", "annotations: {isthmus.dev/lb-load-balancer: another, ");
    assert!(web("").beside(two.clone()).map(&many).is_ok());
    conflict(web("").beside(remembering(&two, &known)).map(&many), "80 of TCP", "shop/a");
}

/// One that comes later takes nothing from it, however old it is.
#[test]
fn who_is_on_it_stays() {
    let at = |given: &Given, key: &str, config: &str| {
        reason(given.cluster().map::<ServiceLoadBalancer>(&service_kind(), key, config))
    };
    let known = sharing("type: LoadBalancer").shares(OUTSIDE, None).unwrap();
    let many = with(OUTSIDE, r#""maxServices": 9"#);
    let there = sharing("type: LoadBalancer").remembers(&known).beside(sharer("shop/a", OLD, 80));
    assert!(there.map(&many).is_ok());
    assert!(at(&there, "shop/a", &many).contains("port 80 of TCP is Service shop/web's"));
    assert!(there.map(OUTSIDE).is_ok(), "nor its place, where two share");
    assert!(at(&there, "shop/a", OUTSIDE).contains("2 Services are on it already"));

    let config = with(
        OUTSIDE,
        &format!(r#""loadBalancers": [{{"id": "{ID}", "addresses": ["192.0.2.7"], "namespaces": ["*"]}}]"#),
    );
    let on = format!("isthmus.dev/lb-load-balancer: {ID}");
    let web = given("type: LoadBalancer").annotated(&on);
    let known = web.shares(&config, None).unwrap();
    let older = sharer("shop/a", OLD, 80).replace("isthmus.dev/lb-share-with: shop/front", &on);
    let there = web.remembers(&known).beside(older);
    assert!(there.map(&config).is_ok());
    assert!(at(&there, "shop/a", &config).contains("port 80 of TCP is Service shop/web's"));
}

#[test]
fn only_so_many_share() {
    let more = |config: &str| {
        let given = sharing("type: LoadBalancer").beside(sharer("shop/a", OLD, 81));
        given.beside(sharer("shop/zoo", "", 82)).map(config)
    };
    assert!(reason(more(OUTSIDE)).contains("2 Services are on it"), "its own one, and the older");
    assert!(more(&with(OUTSIDE, r#""maxServices": 3"#)).is_ok());
    assert!(sharing("type: LoadBalancer").map(OUTSIDE).is_ok(), "two do");
    let nobody = sharing("type: LoadBalancer").map(&with(OUTSIDE, r#""maxServices": 1"#));
    assert!(reason(nobody).contains("1 Services"));
    // Of one that is there nobody's own is counted.
    let named = with(
        OUTSIDE,
        &format!(r#""loadBalancers": [{{"id": "{ID}", "addresses": ["192.0.2.7"], "namespaces": ["*"]}}]"#),
    );
    let on = |key: &str, port: u16| {
        let with = format!("isthmus.dev/lb-load-balancer: {ID}");
        sharer(key, OLD, port).replace("isthmus.dev/lb-share-with: shop/front", &with)
    };
    let web = given("type: LoadBalancer").annotated(&format!("isthmus.dev/lb-load-balancer: {ID}"));
    assert!(web.clone().beside(on("edge/a", 81)).map(&named).is_ok());
    assert!(web.clone().beside(on("edge/a", 81)).beside(on("edge/b", 82)).map(&named).is_err());
    assert!(reason(web.beside(on("edge/a", 80)).map(&named)).contains("port 80 of TCP is Service edge/a's"));
}

/// A load balancer is of Services of several namespaces: one that the others can't see would take their ports, and count for nobody.
#[test]
fn one_that_others_do_not_see_is_not_on_it() {
    let large = "x".repeat(isthmus_sdk::snapshot::LISTED);
    let large = |share: &str| {
        let annotations = format!("isthmus.dev/lb-hostname: {large}, isthmus.dev/lb-share-with: {share}");
        sharing("type: LoadBalancer").annotated(&annotations)
    };
    let open = with(OUTSIDE, r#""across": [{"of": ["shop"], "by": ["edge"]}]"#);
    assert!(reason(large("shop/front").map(&open)).contains("more than 32 KiB"));
    // in a list of one namespace it is
    assert!(large("front").map(&open).is_ok() && large("shop/front").map(OUTSIDE).is_ok());
}

/// However it names it: by its name alone, by namespace and name, in upper case too where another one is meant.
#[test]
fn who_shares_is_found_by_each_way_to_name_it() {
    let named = |share: &str| sharer("shop/a", OLD, 80).replace("shop/front", share);
    for (share, found) in [("front", true), ("shop/front", true), ("Front", false), ("fron", false)] {
        let crowded =
            sharing("type: LoadBalancer").beside(named(share)).map(&with(OUTSIDE, r#""maxServices": 9"#));
        assert_eq!(crowded.is_err(), found, "{share}");
    }
    let config = with(
        OUTSIDE,
        &format!(
            r#""maxServices": 2, "loadBalancers": [{{"id": "{ID}", "addresses": ["192.0.2.7"], "namespaces": ["*"]}}]"#
        ),
    );
    let both =
        format!("isthmus.dev/lb-load-balancer: {ID}, loadbalancer.openstack.org/load-balancer-id: {ID}");
    let on = sharer("shop/a", OLD, 81).replace("isthmus.dev/lb-share-with: shop/front", &both);
    let web = given("type: LoadBalancer").annotated(&both).beside(on);
    assert!(web.map(&config).is_ok(), "each is one, though it is named twice");
}

/// It is a load balancer that others were on, and is of its cluster IP still.
#[test]
fn the_ports_of_a_cluster_ip_stay_its_services() {
    let known = sharing("type: LoadBalancer").shares(FLOATING, None).unwrap();
    let mut inside = sharing("type: LoadBalancer").remembers(&known);
    let front =
        |port: u16| other("shop/front", "", &format!("clusterIP: 10.96.0.1, ports: [{{port: {port}}}]"), "");
    inside.beside = vec![front(80)];
    let shared = |given: &Given, config: &str| {
        given.map(config).is_ok_and(|list| names(&list).iter().any(|name| name.contains("shared")))
    };
    assert!(!shared(&inside, FLOATING), "both listeners would be at port 80");
    assert!(shared(&inside, OUTSIDE), "without cluster IPs it has none there");
    inside.beside = vec![front(443)];
    assert!(shared(&inside, FLOATING));
    // refused for what it says now, it is there as it was
    let wrong = "annotations: {isthmus.dev/lb-internal: x}";
    inside.beside =
        vec![other("shop/front", wrong, "type: LoadBalancer, clusterIP: 10.96.0.1, ports: [{port: 80}]", "")];
    assert!(!shared(&inside, FLOATING) && !shared(&inside, OUTSIDE));
}

#[test]
fn where_there_is_no_room_the_cluster_ip_is_served() {
    let own = given("").slice("{addresses: [10.0.0.1]}", "{port: 8080}").list(FLOATING);
    let crowded = sharing("type: LoadBalancer").beside(sharer("shop/a", OLD, 80));
    assert_eq!(crowded.list(FLOATING), own);
    // A list without what is shared would take it from who uses it: until the other one is there again all stays as it is.
    let mut alone = sharing("type: LoadBalancer");
    alone.beside.clear();
    assert_eq!(reason(alone.map(FLOATING)), "there is no Service shop/front");
}

/// The host keeps a load balancer as long as somebody is on it.
#[test]
fn when_the_other_service_is_gone_who_shares_goes_on_by_what_it_knew() {
    for config in [OUTSIDE, FLOATING] {
        for metadata in ["", "annotations: {isthmus.dev/lb-network: dmz}"] {
            let mut given = sharing("type: LoadBalancer");
            given.beside = vec![front("{port: 443}", metadata, "")];
            let (before, known) = (given.list(config), given.shares(config, None).unwrap());
            let knows = |known: &str| {
                let mut gone = given.clone().remembers(known);
                gone.beside.clear();
                gone
            };
            assert_eq!(knows(&known).list(config), before, "{known}");
            assert_eq!(knows(&known).shares(config, None).as_ref(), Some(&known));
            // while it waits it does not forget
            let outcome = Some(waiting("for something"));
            assert_eq!(knows(&known).shares(config, outcome).as_ref(), Some(&known));
            // it has a load balancer no more
            let mut inside = knows(&known);
            inside.beside = vec![other("shop/front", "", "clusterIP: 10.96.0.1, ports: [{port: 443}]", "")];
            assert_eq!(inside.list(config), before);
        }
    }
    let known = sharing("type: LoadBalancer").shares(OUTSIDE, None).unwrap();
    for wrong in ["x", &known.replace("shop/front", "shop/other"), &known.replace("lb-v4", "network")] {
        let mut gone = sharing("type: LoadBalancer").remembers(wrong);
        gone.beside.clear();
        assert_eq!(reason(gone.map(OUTSIDE)), "there is no Service shop/front", "{wrong}");
    }
    // Who comes when it is gone is not on it, and takes nothing from who is.
    let mut gone = sharing("type: LoadBalancer").remembers(&known);
    gone.beside = vec![sharer("shop/a", OLD, 80)];
    assert!(gone.map(OUTSIDE).is_ok());
    gone.beside = vec![remembering(&sharer("shop/a", OLD, 80), &known)];
    assert!(reason(gone.map(OUTSIDE)).contains("port 80 of TCP is Service shop/a's"));
    // Who shares no more says so no more.
    assert_eq!(given("type: LoadBalancer").shares(OUTSIDE, None), None);
}

/// Seconds of its age, its ports, and whether it is on the load balancer already.
type Sharer = (u8, BTreeSet<(u16, &'static str)>, bool);

fn ports() -> impl Strategy<Value = BTreeSet<(u16, &'static str)>> {
    prop::collection::btree_set((1u16..6, prop::sample::select(vec!["TCP", "UDP"])), 1..3)
}

/// The Services `shop/s0` and so on, beside `shop/front` with these ports.
fn cluster(own: &BTreeSet<(u16, &'static str)>, sharers: &[Sharer]) -> Cluster {
    let known = sharing("type: LoadBalancer").shares(OUTSIDE, None).unwrap();
    let spec = |ports: &BTreeSet<(u16, &'static str)>| {
        let ports = ports
            .iter()
            .zip(0..)
            .map(|((port, protocol), at)| format!("{{name: p{at}, port: {port}, protocol: {protocol}}}"));
        format!("type: LoadBalancer, ports: [{}]", ports.collect::<Vec<_>>().join(", "))
    };
    let of = |(at, (age, ports, is_there)): (usize, &Sharer)| {
        let metadata = format!(
            "annotations: {{isthmus.dev/lb-share-with: front}}, creationTimestamp: '2024-01-01T00:00:0{age}Z'"
        );
        let sharer = other(&format!("shop/s{at}"), &metadata, &spec(ports), "");
        if *is_there { remembering(&sharer, &known) } else { sharer }
    };
    let mut all = vec![other("shop/front", "", &spec(own), "")];
    all.extend(sharers.iter().enumerate().map(of));
    Cluster::from_yaml(&all.join("\n---\n")).unwrap()
}

proptest! {
    /// Each of them is asked alone, and by what all say no port is listened at twice, nobody is left out without need, and none
    /// that is there for one that is not.
    #[test]
    fn all_agree_on_who_is_on_a_load_balancer(
        own in ports(),
        sharers in prop::collection::vec((0u8..3, ports(), any::<bool>()), 1..5),
        most in 1usize..6,
    ) {
        let config = with(OUTSIDE, &format!("\"maxServices\": {most}"));
        let cluster = cluster(&own, &sharers);
        let (mut taken, all_there) = (own.clone(), 1 + sharers.iter().filter(|(.., is_there)| *is_there).count());
        let mut out = Vec::new();
        for (at, (_, ports, is_there)) in sharers.iter().enumerate() {
            let found = cluster.map::<ServiceLoadBalancer>(&service_kind(), &format!("shop/s{at}"), &config);
            match found {
                Ok(_) => ports.iter().for_each(|port| assert!(taken.insert(*port), "{port:?} twice: {sharers:#?}")),
                found => {
                    prop_assert!(reason(found).starts_with("no room on the shared load balancer"));
                    out.push((ports, *is_there));
                }
            }
        }
        let on = 1 + sharers.len() - out.len();
        prop_assert!(on <= most);
        for (ports, is_there) in out {
            prop_assert!(on == most || !ports.is_disjoint(&taken), "{ports:?} {taken:?} {sharers:#?}");
            let rivals = all_there > most || !ports.is_disjoint(&there_beside(&own, &sharers, ports));
            prop_assert!(!is_there || rivals, "{ports:?} was there: {sharers:#?}");
        }
    }
}

/// Ports of all that are there, once without these.
fn there_beside(
    own: &BTreeSet<(u16, &'static str)>,
    sharers: &[Sharer],
    ports: &BTreeSet<(u16, &'static str)>,
) -> BTreeSet<(u16, &'static str)> {
    let there = sharers.iter().filter(|(.., is_there)| *is_there);
    let mut skipped = false;
    let others =
        there.filter(|(_, theirs, _)| skipped || theirs != ports || std::mem::replace(&mut skipped, true));
    own.iter().copied().chain(others.flat_map(|(_, theirs, _)| theirs.iter().copied())).collect()
}
