//! One load balancer for several Services.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]

mod common;

use std::collections::BTreeSet;

use common::{
    FLOATING, Given, OUTSIDE, assert_wrong, entry, given, listener, names, other, pool, service_kind,
};
use isthmus_sdk::prelude::*;
use isthmus_sdk::records::load_balancing::Timeouts;
use isthmus_sdk::testing::Cluster;
use proptest::prelude::*;
use service_loadbalancer::ServiceLoadBalancer;

const SHARE: &str = "isthmus.dev/lb-share-with: front";
const SHARE_FIELD: &str = "metadata.annotations[\"isthmus.dev/lb-share-with\"]";
const TWO: &str =
    "type: LoadBalancer, clusterIP: 10.96.0.9, clusterIPs: [10.96.0.9, 'fd00::9'], ipFamilies: [IPv4, IPv6]";
/// Older than any that is made without a time.
const OLD: &str = "creationTimestamp: '2024-01-01T00:00:00Z'";
const ID: &str = "5b8ae9d4-7b6f-4a52-9c2f-0d1f2f5e6c54";

/// The Service `shop/front`, whose load balancer is shared: these ports, this beside.
fn front(ports: &str, metadata: &str, spec: &str) -> String {
    let spec = format!("type: LoadBalancer, clusterIP: 10.96.0.1, ports: [{ports}]{spec}");
    other("shop/front", metadata, &spec, "")
}

/// A Service that is to be on it, of this port.
fn sharer(key: &str, metadata: &str, port: u16) -> String {
    let metadata = format!("annotations: {{isthmus.dev/lb-share-with: shop/front}}, {metadata}");
    other(key, &metadata, &format!("type: LoadBalancer, clusterIP: 10.96.0.2, ports: [{{port: {port}}}]"), "")
}

/// `shop/web` of port 80 shares that of `shop/front` with 443.
fn sharing(spec: &str) -> Given {
    let slice = ("{addresses: [10.0.0.1]}", "{port: 8080}");
    given(spec).annotated(SHARE).slice(slice.0, slice.1).beside(front("{port: 443}", "", ""))
}

fn annotated(annotations: &str) -> Given {
    sharing("type: LoadBalancer").annotated(&format!("{SHARE}, {annotations}"))
}

fn of_front(name: &str) -> Reference {
    let (namespace, of) = (Some("shop".to_owned()), "front".to_owned());
    mapped(ObjectKey { kind: service_kind(), namespace, name: of }, name)
}

fn reason(result: Result<Vec<Desired>, Outcome>) -> String {
    match result {
        Err(Outcome::NotMapped(reason) | Outcome::Waiting(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

/// The config, with this as `sharing`.
fn with(config: &str, sharing: &str) -> String {
    config.replacen('{', &format!("{{\"sharing\": {{{sharing}}}, "), 1)
}

#[test]
fn who_shares_has_listeners_and_pools_on_anothers_load_balancer() {
    let list = sharing("type: LoadBalancer").list(OUTSIDE);
    assert_eq!(names(&list), ["pool-shared-v4-tcp-80", "listener-shared-v4-tcp-80"]);
    assert_eq!(pool(&list, "pool-shared-v4-tcp-80").load_balancer, of_front("lb-v4"));
    assert_eq!(pool(&list, "pool-shared-v4-tcp-80").members, [Member::new("10.0.0.1", 8080)]);
    let found = listener(&list, "listener-shared-v4-tcp-80");
    assert_eq!(found.load_balancer, of_front("lb-v4"));
    assert_eq!(found.default_pool, Some(local("pool-shared-v4-tcp-80")));
    // so that the address stays with the load balancer
    assert_eq!(entry(&list, "listener-shared-v4-tcp-80").after, [of_front("floating-ip")]);
    assert!(entry(&list, "pool-shared-v4-tcp-80").after.is_empty());
}

/// Nobody else serves it, and it is another address.
#[test]
fn the_cluster_ip_has_its_own_load_balancer_all_the_same() {
    let own = given("").slice("{addresses: [10.0.0.1]}", "{port: 8080}").list(FLOATING);
    let list = sharing("type: LoadBalancer").list(FLOATING);
    assert_eq!(list[..4], own);
    assert_eq!(names(&list[4..]), ["pool-shared-v4-tcp-80", "listener-shared-v4-tcp-80"]);
    // of type ClusterIP nobody comes from outside
    assert_eq!(sharing("").list(FLOATING), own);
}

#[test]
fn it_is_the_load_balancer_by_which_the_other_service_is_reached_from_outside() {
    let table = [
        ("", "", vec![("lb-v4", Some("floating-ip"))]),
        ("isthmus.dev/lb-internal: 'true'", "", vec![("lb-v4", None)]),
        ("isthmus.dev/lb-network: dmz", "", vec![("lb-public", Some("floating-ip"))]),
        // the user's own, which is given back when the other Service goes
        ("", ", loadBalancerIP: 203.0.113.9", vec![("lb-v4", None)]),
        (
            "",
            ", clusterIPs: [10.96.0.1, 'fd00::1'], ipFamilies: [IPv4, IPv6]",
            vec![("lb-v4", Some("floating-ip")), ("lb-v6", None)],
        ),
    ];
    for (annotations, spec, expected) in table {
        let other = front("{port: 443}", &format!("annotations: {{{annotations}}}"), spec);
        for config in [FLOATING, OUTSIDE] {
            let list = given(TWO).annotated(SHARE).beside(other.clone()).list(config);
            let shared = list.iter().filter(|entry| entry.name.starts_with("listener-shared"));
            let found: Vec<_> =
                shared.map(|entry| (listener(&list, &entry.name), entry.after.clone())).collect();
            let expected = expected.iter().map(|(balancer, floating)| {
                (of_front(balancer), floating.iter().map(|name| of_front(name)).collect::<Vec<_>>())
            });
            let found = found.into_iter().map(|(listener, after)| (listener.load_balancer.clone(), after));
            assert!(found.eq(expected), "{annotations} {spec} {config}: {list:#?}");
        }
    }
}

#[test]
fn what_is_of_a_listener_is_as_for_other_services() {
    let list =
        annotated("isthmus.dev/lb-timeout-client-data: '5', isthmus.dev/lb-enable-health-monitor: 'true'")
            .list(OUTSIDE);
    let timeouts =
        Timeouts { client_data_ms: Some(5), ..listener(&list, "listener-shared-v4-tcp-80").timeouts };
    assert_eq!(listener(&list, "listener-shared-v4-tcp-80").timeouts, timeouts);
    assert!(pool(&list, "pool-shared-v4-tcp-80").monitor.is_some());
    let ranged = "type: LoadBalancer, loadBalancerSourceRanges: [192.0.2.0/24]";
    for config in [OUTSIDE, FLOATING] {
        let list = sharing(ranged).list(config);
        // who comes to a cluster IP does not come here
        assert_eq!(listener(&list, "listener-shared-v4-tcp-80").allowed_cidrs, ["192.0.2.0/24"]);
    }
}

/// It is not the module's default that says what can be done there.
#[test]
fn the_provider_is_the_load_balancers() {
    let of_ovn = |given: Given| {
        let metadata = "annotations: {isthmus.dev/lb-provider: ovn}";
        let mut given = given.over(&["amphora", "ovn"]);
        given.beside = vec![front("{port: 443}", metadata, "")];
        given
    };
    let config =
        OUTSIDE.replacen('{', r#"{"provider": "amphora", "flavor": "f", "subnets": {"ipv4": "s4"}, "#, 1);
    let plain = of_ovn(sharing("type: LoadBalancer"));
    assert_eq!(pool(&plain.list(&config), "pool-shared-v4-tcp-80").algorithm, "SOURCE_IP_PORT");
    let ranged = sharing("type: LoadBalancer, loadBalancerSourceRanges: [192.0.2.0/24]");
    assert_wrong(of_ovn(ranged.clone()).map(&config), "spec.loadBalancerSourceRanges", "provider ovn");
    assert!(ranged.over(&["amphora", "ovn"]).map(&config).is_ok());
    let proxy = annotated("isthmus.dev/lb-proxy-protocol: 'true'");
    assert_wrong(
        of_ovn(proxy).map(&config),
        "metadata.annotations[\"isthmus.dev/lb-proxy-protocol\"]",
        "ovn",
    );
}

#[test]
fn what_is_of_the_load_balancer_as_a_whole_is_refused() {
    let table = [
        ("isthmus.dev/lb-provider: ovn", "isthmus.dev/lb-provider"),
        ("loadbalancer.openstack.org/flavor-id: f", "loadbalancer.openstack.org/flavor-id"),
        ("isthmus.dev/lb-availability-zone: z", "isthmus.dev/lb-availability-zone"),
        ("isthmus.dev/lb-floating-network: there", "isthmus.dev/lb-floating-network"),
        ("loadbalancer.openstack.org/floating-subnet: there", "loadbalancer.openstack.org/floating-subnet"),
        ("isthmus.dev/lb-keep-floating-ip: 'true'", "isthmus.dev/lb-keep-floating-ip"),
        ("isthmus.dev/lb-network: there", "isthmus.dev/lb-network"),
        ("isthmus.dev/lb-subnet: there", "isthmus.dev/lb-subnet"),
        ("isthmus.dev/lb-port: there", "isthmus.dev/lb-port"),
        ("isthmus.dev/lb-internal: 'true'", "isthmus.dev/lb-internal"),
    ];
    for (annotation, field) in table {
        for config in [OUTSIDE, FLOATING] {
            let field = format!("metadata.annotations[\"{field}\"]");
            assert_wrong(annotated(annotation).map(config), &field, "the load balancer");
        }
    }
    let asked = sharing("type: LoadBalancer, loadBalancerIP: 203.0.113.9");
    assert_wrong(asked.map(OUTSIDE), "spec.loadBalancerIP", "as a whole");
    // The same that the other one says is no contradiction.
    let mut internal = annotated("isthmus.dev/lb-internal: 'true'");
    internal.beside = vec![front("{port: 443}", "annotations: {isthmus.dev/lb-internal: 'true'}", "")];
    assert!(internal.map(OUTSIDE).is_ok());
}

#[test]
fn only_who_may_shares() {
    let on = |share: &str, config: &str| {
        let elsewhere = "type: LoadBalancer, clusterIP: 10.96.0.3, ports: [{port: 443}]";
        let given = sharing("type: LoadBalancer").annotated(&format!("isthmus.dev/lb-share-with: '{share}'"));
        given.beside(other("edge/front", "", elsewhere, "")).map(config)
    };
    for (share, part) in [
        ("web", "itself"),
        ("shop/web", "itself"),
        ("/front", "NAMESPACE/NAME"),
        ("shop/", "NAMESPACE/NAME"),
        ("a/b/c", "NAMESPACE/NAME"),
        // others find who shares by this very text
        (" front", "NAMESPACE/NAME"),
        ("shop/front ", "NAMESPACE/NAME"),
        (" ", "NAMESPACE/NAME"),
        ("edge/front", "may not be on"),
        // whether it is there is nobody's business
        ("edge/none", "may not be on"),
    ] {
        assert_wrong(on(share, OUTSIDE), SHARE_FIELD, part);
    }
    let across =
        |of: &str, by: &str| with(OUTSIDE, &format!(r#""across": [{{"of": ["{of}"], "by": ["{by}"]}}]"#));
    for (of, by, may) in [
        ("edge", "shop", true),
        ("ed*", "*", true),
        ("edge", "other", false),
        ("shop", "edge", false),
        ("edge", "sho", false),
    ] {
        assert_eq!(on("edge/front", &across(of, by)).is_ok(), may, "{of} {by}");
    }
    assert!(on("shop/front", OUTSIDE).is_ok());
}

#[test]
fn a_load_balancer_that_is_there_is_shared_only_where_the_config_names_it() {
    let on = |annotation: &str| given("type: LoadBalancer").annotated(&format!("{annotation}: {ID}"));
    let (own, theirs) = ("isthmus.dev/lb-load-balancer", "loadbalancer.openstack.org/load-balancer-id");
    let field = |name: &str| format!("metadata.annotations[\"{name}\"]");
    assert_wrong(on(own).map(OUTSIDE), &field(own), "none that Services of namespace shop may be on");
    // The cloud provider writes it to what it served.
    assert_eq!(on(theirs).list(OUTSIDE), given("type: LoadBalancer").list(OUTSIDE));
    let named = |id: &str, more: &str| {
        with(OUTSIDE, &format!(r#""loadBalancers": [{{"id": "{id}", "addresses": ["192.0.2.7"]{more}}}]"#))
    };
    for name in [own, theirs] {
        assert_wrong(on(name).map(&named("another", "")), &field(name), "may be on");
        let others = named(ID, r#", "namespaces": ["edge"]"#);
        assert_wrong(on(name).map(&others), &field(name), "may be on");
        for more in ["", r#", "namespaces": ["edge", "sh*"]"#] {
            let list = on(name).list(&named(ID, more));
            assert_eq!(names(&list), ["pool-shared-v4-tcp-80", "listener-shared-v4-tcp-80"]);
            assert_eq!(listener(&list, "listener-shared-v4-tcp-80").load_balancer, existing(ID));
        }
    }
    let both = on(own).annotated(&format!("{SHARE}, {own}: {ID}"));
    assert_wrong(both.map(&named(ID, "")), &field(own), "one load balancer");
    let ours_first = sharing("type: LoadBalancer").annotated(&format!("{SHARE}, {theirs}: {ID}"));
    assert_eq!(ours_first.list(&named(ID, "")), sharing("type: LoadBalancer").list(OUTSIDE));
    let internal = on(own).annotated(&format!("{own}: {ID}, isthmus.dev/lb-internal: 'true'"));
    assert_wrong(internal.map(&named(ID, "")), &field("isthmus.dev/lb-internal"), "floating IP");
}

#[test]
fn a_config_that_names_no_load_balancer_is_refused() {
    let named = |balancer: &str| with(OUTSIDE, &format!(r#""loadBalancers": [{balancer}]"#));
    let given = given("type: LoadBalancer");
    let addresses = "config.sharing.loadBalancers.addresses";
    assert_wrong(given.map(&named(r#"{"id": "a", "addresses": []}"#)), addresses, "each IP family");
    let two = r#"{"id": "a", "addresses": ["192.0.2.7", "192.0.2.8"]}"#;
    assert_wrong(given.map(&named(two)), addresses, "each IP family");
    let unnamed = r#"{"id": "", "addresses": ["192.0.2.7"]}"#;
    assert_wrong(given.map(&named(unnamed)), "config.sharing.loadBalancers.id", "the id");
    let nobody = with(OUTSIDE, r#""maxServices": 0"#);
    assert_wrong(given.map(&nobody), "config.sharing.maxServices", "at least 1");
}

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
    let named = with(OUTSIDE, &format!(r#""loadBalancers": [{{"id": "{ID}", "addresses": ["192.0.2.7"]}}]"#));
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
        &format!(r#""maxServices": 2, "loadBalancers": [{{"id": "{ID}", "addresses": ["192.0.2.7"]}}]"#),
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
    let mut inside = annotated(&format!("isthmus.dev/lb-shares: '{known}'"));
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

#[test]
fn a_service_without_a_load_balancer_has_none_to_share() {
    let on = |other: String| {
        let mut given = sharing("type: LoadBalancer");
        given.beside = vec![other];
        reason(given.map(OUTSIDE))
    };
    let mut alone = sharing("type: LoadBalancer");
    alone.beside.clear();
    assert_eq!(reason(alone.map(OUTSIDE)), "there is no Service shop/front");
    let told = |spec: &str| on(other("shop/front", "", &format!("{spec}, ports: [{{port: 443}}]"), ""));
    assert!(told("type: ClusterIP, clusterIP: 10.96.0.1").contains("has no load balancer to share"));
    assert!(told("type: LoadBalancer, loadBalancerClass: x").contains("somebody else's"));
    assert!(
        on(front("{port: 443}", "annotations: {isthmus.dev/lb-internal: x}", "")).contains("true or false")
    );
    let chained = front("{port: 443}", "annotations: {isthmus.dev/lb-share-with: back}", "");
    assert!(on(chained).contains("it shares one itself"));
}

#[test]
fn a_family_that_the_load_balancer_lacks_is_not_served() {
    let six = sharing("type: LoadBalancer, clusterIP: 'fd00::9', ipFamilies: [IPv6]");
    assert_wrong(six.map(OUTSIDE), "spec.ipFamilies", "IPv4 alone");
    let list = sharing(TWO).list(OUTSIDE);
    assert_eq!(names(&list), ["pool-shared-v4-tcp-80", "listener-shared-v4-tcp-80"]);
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
                let mut gone = given.clone().annotated(&format!("{SHARE}, isthmus.dev/lb-shares: '{known}'"));
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
        let mut gone = annotated(&format!("isthmus.dev/lb-shares: '{wrong}'"));
        gone.beside.clear();
        assert_eq!(reason(gone.map(OUTSIDE)), "there is no Service shop/front", "{wrong}");
    }
    // Who comes when it is gone is not on it, and takes nothing from who is.
    let mut gone = annotated(&format!("isthmus.dev/lb-shares: '{known}'"));
    gone.beside = vec![sharer("shop/a", OLD, 80)];
    assert!(gone.map(OUTSIDE).is_ok());
    let memory = format!("annotations: {{isthmus.dev/lb-shares: '{known}', ");
    gone.beside = vec![sharer("shop/a", OLD, 80).replace("annotations: {", &memory)];
    assert!(reason(gone.map(OUTSIDE)).contains("port 80 of TCP is Service shop/a's"));
    // Who shares no more says so no more.
    assert_eq!(given("type: LoadBalancer").shares(OUTSIDE, None), None);
}

/// Seconds of its age, and its ports.
type Sharer = (u8, BTreeSet<(u16, &'static str)>);

fn ports() -> impl Strategy<Value = BTreeSet<(u16, &'static str)>> {
    prop::collection::btree_set((1u16..6, prop::sample::select(vec!["TCP", "UDP"])), 1..3)
}

proptest! {
    /// Each of them is asked alone, and by what all say no port is listened at twice, and nobody is left out without need.
    #[test]
    fn all_agree_on_who_is_on_a_load_balancer(
        own in ports(),
        sharers in prop::collection::vec((0u8..3, ports()), 1..5),
        most in 1usize..6,
    ) {
        let config = with(OUTSIDE, &format!("\"maxServices\": {most}"));
        let spec = |ports: &BTreeSet<(u16, &'static str)>| {
            let ports = ports.iter().zip(0..).map(|((port, protocol), at)| {
                format!("{{name: p{at}, port: {port}, protocol: {protocol}}}")
            });
            format!("type: LoadBalancer, ports: [{}]", ports.collect::<Vec<_>>().join(", "))
        };
        let of = |(at, (age, ports)): (usize, &Sharer)| {
            let metadata = format!(
                "annotations: {{isthmus.dev/lb-share-with: front}}, creationTimestamp: '2024-01-01T00:00:0{age}Z'"
            );
            other(&format!("shop/s{at}"), &metadata, &spec(ports), "")
        };
        let mut all = vec![other("shop/front", "", &spec(&own), "")];
        all.extend(sharers.iter().enumerate().map(of));
        let cluster = Cluster::from_yaml(&all.join("\n---\n")).unwrap();
        let mut taken = own.clone();
        let mut out = Vec::new();
        for (at, (_, ports)) in sharers.iter().enumerate() {
            let found = cluster.map::<ServiceLoadBalancer>(&service_kind(), &format!("shop/s{at}"), &config);
            match found {
                Ok(_) => ports.iter().for_each(|port| assert!(taken.insert(*port), "{port:?} twice: {all:#?}")),
                Err(_) => out.push(ports),
            }
        }
        let on = 1 + sharers.len() - out.len();
        prop_assert!(on <= most.max(1));
        let kept_out = |ports: &BTreeSet<_>| on == most || !ports.is_disjoint(&taken);
        prop_assert!(out.iter().all(|ports| kept_out(ports)), "{out:?} {taken:?} {all:#?}");
    }
}
