//! One load balancer for several Services: what a Service has on it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]

mod common;

use common::sharing::{ID, SHARE, SHARE_FIELD, TWO, annotated, front, of_front, reason, sharing, with};
use common::{FLOATING, Given, OUTSIDE, assert_wrong, entry, given, listener, names, other, pool};
use isthmus_sdk::prelude::*;
use isthmus_sdk::records::load_balancing::Timeouts;

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
    let named = |id: &str, namespaces: &str| {
        let found = format!(r#"{{"id": "{id}", "addresses": ["192.0.2.7"], "namespaces": {namespaces}}}"#);
        with(OUTSIDE, &format!(r#""loadBalancers": [{found}]"#))
    };
    let all = r#"["*"]"#;
    for name in [own, theirs] {
        assert_wrong(on(name).map(&named("another", all)), &field(name), "may be on");
        let others = named(ID, r#"["edge"]"#);
        assert_wrong(on(name).map(&others), &field(name), "may be on");
        for namespaces in [all, r#"["edge", "sh*"]"#] {
            let list = on(name).list(&named(ID, namespaces));
            assert_eq!(names(&list), ["pool-shared-v4-tcp-80", "listener-shared-v4-tcp-80"]);
            assert_eq!(listener(&list, "listener-shared-v4-tcp-80").load_balancer, existing(ID));
        }
    }
    let both = on(own).annotated(&format!("{SHARE}, {own}: {ID}"));
    assert_wrong(both.map(&named(ID, all)), &field(own), "one load balancer");
    let ours_first = sharing("type: LoadBalancer").annotated(&format!("{SHARE}, {theirs}: {ID}"));
    assert_eq!(ours_first.list(&named(ID, all)), sharing("type: LoadBalancer").list(OUTSIDE));
    let internal = on(own).annotated(&format!("{own}: {ID}, isthmus.dev/lb-internal: 'true'"));
    assert_wrong(internal.map(&named(ID, all)), &field("isthmus.dev/lb-internal"), "floating IP");
}

#[test]
fn a_config_that_names_no_load_balancer_is_refused() {
    let named = |balancer: &str| with(OUTSIDE, &format!(r#""loadBalancers": [{balancer}]"#));
    let given = given("type: LoadBalancer");
    let addresses = "config.sharing.loadBalancers.addresses";
    assert_wrong(
        given.map(&named(r#"{"id": "a", "addresses": [], "namespaces": ["*"]}"#)),
        addresses,
        "each IP family",
    );
    let two = r#"{"id": "a", "addresses": ["192.0.2.7", "192.0.2.8"], "namespaces": ["*"]}"#;
    assert_wrong(given.map(&named(two)), addresses, "each IP family");
    let unnamed = r#"{"id": "", "addresses": ["192.0.2.7"], "namespaces": ["*"]}"#;
    assert_wrong(given.map(&named(unnamed)), "config.sharing.loadBalancers.id", "the id");
    let nobody = with(OUTSIDE, r#""maxServices": 0"#);
    assert_wrong(given.map(&nobody), "config.sharing.maxServices", "at least 1");
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
