//! How a Service is reached from outside: VIPs, floating IPs, source ranges.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]

mod common;

use common::{
    FLOATING, OUTSIDE, PLAIN, assert_wrong, association, balancer, entry, floating_ip, given, listener,
    names, own, port,
};
use isthmus_sdk::prelude::*;
use isthmus_sdk::records::load_balancing::Vip;
use isthmus_sdk::records::networking::{FloatingIpAssociation, FloatingTarget};
use isthmus_sdk::records::types::Removal;

fn vip_port() -> FloatingTarget {
    FloatingTarget::Port(local("vip-v4"))
}

#[test]
fn a_load_balancer_is_a_cluster_ip_with_a_floating_ip() {
    let inside = given("").list(FLOATING);
    let outside = given("type: LoadBalancer").list(FLOATING);
    assert_eq!(outside[..4], inside, "the cluster IP is served just as before");
    assert_eq!(outside[4..], [FloatingIp::new(existing("public"), vip_port()).named("floating-ip")]);
    let without = given("type: LoadBalancer").list(PLAIN);
    assert_eq!(without, given("").list(PLAIN), "without an external network there is none");
    assert_eq!(given("type: NodePort").list(FLOATING), inside);
}

#[test]
fn annotations_say_where_the_floating_ip_is_from() {
    let of = |annotations: &str, config: &str| {
        let list = given("type: LoadBalancer").annotated(annotations).list(config);
        let FloatingIp { network, subnet, .. } = floating_ip(&list, "floating-ip").clone();
        (network, subnet)
    };
    let with_subnet = FLOATING.replacen('{', r#"{"floatingSubnet": "ps", "#, 1);
    let table = [
        ("", FLOATING, "public", None),
        ("", &with_subnet, "public", Some("ps")),
        ("isthmus.dev/lb-floating-subnet: a", &with_subnet, "public", Some("a")),
        ("loadbalancer.openstack.org/floating-network-id: net", &with_subnet, "net", None),
        (
            "loadbalancer.openstack.org/floating-network-id: net, loadbalancer.openstack.org/floating-subnet-id: b",
            PLAIN,
            "net",
            Some("b"),
        ),
        (
            "isthmus.dev/lb-floating-network: net, loadbalancer.openstack.org/floating-subnet: c",
            PLAIN,
            "net",
            Some("c"),
        ),
    ];
    for (annotations, config, network, subnet) in table {
        assert_eq!(of(annotations, config), (existing(network), subnet.map(existing)), "{annotations}");
    }
}

#[test]
fn an_internal_load_balancer_has_no_floating_ip() {
    for annotation in
        ["isthmus.dev/lb-internal", "service.beta.kubernetes.io/openstack-internal-load-balancer"]
    {
        let list = given("type: LoadBalancer").annotated(&format!("{annotation}: 'true'")).list(FLOATING);
        assert_eq!(list, given("").list(FLOATING));
    }
}

#[test]
fn a_floating_ip_is_kept_when_so_wished() {
    let of = |annotations: &str| {
        let list = given("type: LoadBalancer").annotated(annotations).list(FLOATING);
        entry(&list, "floating-ip").on_removal
    };
    assert_eq!(of(""), Removal::Delete);
    assert_eq!(of("loadbalancer.openstack.org/keep-floatingip: 'true'"), Removal::Retain);
    assert_eq!(of("isthmus.dev/lb-keep-floating-ip: 'true'"), Removal::Retain);
}

#[test]
fn an_address_that_the_user_gives_is_associated_and_never_made_nor_released() {
    let list = given("type: LoadBalancer, loadBalancerIP: 203.0.113.9").list(FLOATING);
    let expected = FloatingIpAssociation::new(existing("203.0.113.9"), vip_port());
    assert_eq!(*association(&list, "floating-ip-association"), expected);
    assert!(!names(&list).contains(&"floating-ip"));
    // also where no external network is configured: the address has one
    assert_eq!(given("type: LoadBalancer, loadBalancerIP: 203.0.113.9").list(PLAIN).last(), list.last());

    let field = "spec.loadBalancerIP";
    assert_wrong(given("type: LoadBalancer, loadBalancerIP: x").map(FLOATING), field, "IPv4 address");
    assert_wrong(given("type: LoadBalancer, loadBalancerIP: 'fd00::1'").map(FLOATING), field, "IPv4 address");
    let six =
        given("type: LoadBalancer, loadBalancerIP: 203.0.113.9, clusterIP: 'fd00::9', ipFamilies: [IPv6]");
    assert_wrong(six.map(FLOATING), field, "for IPv4");
}

#[test]
fn of_two_families_the_fourth_has_the_floating_ip() {
    let spec = "type: LoadBalancer, clusterIP: 'fd00::9', clusterIPs: ['fd00::9', 10.96.0.9], ipFamilies: [IPv6, IPv4]";
    let list = given(spec).list(FLOATING);
    assert_eq!(floating_ip(&list, "floating-ip").target, vip_port());
    let six = given("type: LoadBalancer, clusterIP: 'fd00::9', ipFamilies: [IPv6]").list(FLOATING);
    assert_eq!(names(&six), ["vip-v6", "lb-v6", "pool-v6-tcp-80", "listener-v6-tcp-80"]);
}

#[test]
fn a_place_of_its_own_is_a_second_load_balancer() {
    let inside = given("").list(FLOATING);
    let of = |annotations: &str| given("type: LoadBalancer").annotated(annotations).list(FLOATING);
    let on_network =
        of("loadbalancer.openstack.org/network-id: dmz, loadbalancer.openstack.org/subnet-id: d4");
    assert_eq!(on_network[..4], inside);
    let expected = ["vip-public", "lb-public", "pool-public-tcp-80", "listener-public-tcp-80", "floating-ip"];
    assert_eq!(names(&on_network[4..]), expected);
    let vip = Port::new(existing("dmz")).fixed_ip(FixedIp::of(existing("d4")));
    assert_eq!(*port(&on_network, "vip-public"), vip);
    assert_eq!(balancer(&on_network, "lb-public").vip, own("vip-public"));
    let target = |list: &[Desired]| floating_ip(list, "floating-ip").target.clone();
    assert_eq!(target(&on_network), FloatingTarget::Port(local("vip-public")));

    let on_port = of("loadbalancer.openstack.org/port-id: p");
    assert_eq!(balancer(&on_port, "lb-public").vip, Vip::Port(existing("p")));
    assert_eq!(target(&on_port), FloatingTarget::Vip(local("lb-public")));
    assert!(!names(&on_port).contains(&"vip-public"), "it is somebody else's");

    let on_subnet = of("loadbalancer.openstack.org/subnet-id: d4");
    assert_eq!(balancer(&on_subnet, "lb-public").vip, Vip::FixedIp(FixedIp::of(existing("d4"))));
    assert_eq!(target(&on_subnet), FloatingTarget::Vip(local("lb-public")));

    // Only for who comes from outside: of a Service that is not, the annotation says nothing.
    assert_eq!(given("").annotated("isthmus.dev/lb-network: dmz").list(FLOATING), inside);
}

/// The names of Pods' ports are known to all: a floating IP on whatever port the annotation names would lead clients from outside to a
/// Pod of somebody else's, past its Service.
#[test]
fn nothing_leads_to_a_port_that_is_there_before_a_load_balancer_has_it() {
    let port = "isthmus.dev/lb-port: somebodys-pod";
    for spec in ["type: LoadBalancer", "type: LoadBalancer, loadBalancerIP: 203.0.113.9"] {
        for config in [FLOATING, OUTSIDE] {
            let list = given(spec).annotated(port).list(config);
            let target = list.iter().find_map(|entry| match &entry.resource {
                Resource::FloatingIp(found) => Some(&found.target),
                Resource::FloatingIpAssociation(found) => Some(&found.target),
                _ => None,
            });
            assert_eq!(target, Some(&FloatingTarget::Vip(local("lb-public"))), "{spec}");
        }
    }
}

#[test]
fn an_internal_load_balancer_may_ask_for_its_address() {
    let internal = "isthmus.dev/lb-internal: 'true'";
    let spec = "type: LoadBalancer, loadBalancerIP: 192.0.2.5";
    let address = |list: &[Desired], name: &str| {
        let fixed_ips = port(list, name).fixed_ips.clone().unwrap();
        fixed_ips[0].address.clone()
    };
    let list = given(spec).annotated(internal).list(FLOATING);
    assert_eq!(address(&list, "vip-v4").as_deref(), Some("10.96.0.9"));
    assert_eq!(address(&list, "vip-public").as_deref(), Some("192.0.2.5"));
    assert!(!names(&list).iter().any(|name| name.starts_with("floating-ip")));
    let list = given(spec).annotated(internal).list(OUTSIDE);
    assert_eq!(address(&list, "vip-v4").as_deref(), Some("192.0.2.5"));
    let wrong = given(&format!("{spec}, ipFamilies: [IPv6]")).annotated(internal).map(OUTSIDE);
    assert_wrong(wrong, "spec.loadBalancerIP", "family");
    let twice = format!("{internal}, isthmus.dev/lb-port: p");
    assert_wrong(given(spec).annotated(&twice).map(OUTSIDE), "spec.loadBalancerIP", "leave this out");
}

#[test]
fn where_kube_proxy_serves_cluster_ips_the_vip_is_any_address() {
    let list = given("type: LoadBalancer, clusterIP: ''").list(OUTSIDE);
    assert_eq!(*port(&list, "vip-v4"), Port::new(existing("front")));
    assert_eq!(floating_ip(&list, "floating-ip").target, vip_port());
    let both = given("type: LoadBalancer, ipFamilies: [IPv4, IPv6]").list(OUTSIDE);
    assert!(names(&both).contains(&"lb-v4") && names(&both).contains(&"lb-v6"));
    let placed = given("type: LoadBalancer").annotated("isthmus.dev/lb-network: dmz").list(OUTSIDE);
    assert_eq!(
        names(&placed),
        ["vip-public", "lb-public", "pool-public-tcp-80", "listener-public-tcp-80", "floating-ip"]
    );
}

#[test]
fn source_ranges_are_the_only_ones_that_may_come() {
    let allowed = |spec: &str, annotations: &str, name: &str| {
        let list = given(&format!("type: LoadBalancer, {spec}")).annotated(annotations).list(FLOATING);
        listener(&list, name).allowed_cidrs.clone()
    };
    let v4 = "listener-v4-tcp-80";
    // The VIP is the cluster IP, too: the cluster may come.
    let ranges = "loadBalancerSourceRanges: [192.0.2.77/24, 198.51.100.1/32, '2001:db8::/32']";
    assert_eq!(allowed(ranges, "", v4), ["10.0.0.0/8", "192.0.2.0/24", "198.51.100.1/32"]);
    let both = "clusterIP: 10.96.0.9, clusterIPs: [10.96.0.9, 'fd00::9'], ipFamilies: [IPv4, IPv6]";
    let both = format!("{both}, {ranges}");
    assert_eq!(allowed(&both, "", "listener-v6-tcp-80"), ["2001:db8::/32", "fd00::/8"]);
    // A VIP of its own is for nobody else.
    let own = "isthmus.dev/lb-network: dmz";
    assert_eq!(allowed(ranges, own, v4), [""; 0]);
    assert_eq!(allowed(ranges, own, "listener-public-tcp-80"), ["192.0.2.0/24", "198.51.100.1/32"]);
    // Everybody.
    assert_eq!(allowed("loadBalancerSourceRanges: [0.0.0.0/0, 192.0.2.0/24]", "", v4), [""; 0]);
    let annotation = "service.beta.kubernetes.io/load-balancer-source-ranges: '192.0.2.0/24, '";
    assert_eq!(allowed("externalName: a", annotation, v4), ["10.0.0.0/8", "192.0.2.0/24"]);
    assert_eq!(allowed(ranges, annotation, v4).len(), 3, "the field comes first");

    let inside = given("loadBalancerSourceRanges: [192.0.2.0/24]").list(FLOATING);
    assert_eq!(listener(&inside, v4).allowed_cidrs, [""; 0], "of a cluster IP they say nothing");
}

#[test]
fn ranges_of_another_family_do_not_open_this_one() {
    let spec = "type: LoadBalancer, loadBalancerSourceRanges: ['2001:db8::/32']";
    let list = given(spec).annotated("isthmus.dev/lb-network: dmz").list(FLOATING);
    // to Octavia an empty list is everybody
    assert!(!names(&list).contains(&"listener-public-tcp-80"), "nobody");
    assert!(names(&list).contains(&"pool-public-tcp-80") && names(&list).contains(&"listener-v4-tcp-80"));
}

#[test]
fn ranges_that_would_shut_the_cluster_out_are_refused() {
    let spec = "type: LoadBalancer, loadBalancerSourceRanges: [192.0.2.0/24]";
    assert_wrong(given(spec).map(PLAIN), "config.clusterCidrs", "cluster's own addresses");
    let six = r#"{"network": "services", "clusterCidrs": ["fd00::/8"]}"#;
    assert_wrong(given(spec).map(six), "config.clusterCidrs", "each IP version");
    assert!(given(spec).map(OUTSIDE).is_ok(), "its VIP is not the cluster IP");
    let wrong = given("type: LoadBalancer, loadBalancerSourceRanges: [192.0.2.0]").map(FLOATING);
    assert_wrong(wrong, "spec.loadBalancerSourceRanges[0]", "no CIDR");
}
