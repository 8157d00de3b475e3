//! What a Service's status says.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]

mod common;

use common::{FLOATING, Given, OUTSIDE, PLAIN, all_ready, given, other};
use isthmus_sdk::prelude::*;
use isthmus_sdk::records::types::State;
use serde_json::{Value, json};

fn exposed() -> Given {
    given("type: LoadBalancer").slice("{addresses: [10.0.0.1]}", "{port: 8080}")
}

/// The status, where all of it is ready but for what this changes.
fn status(given: &Given, config: &str, change: impl Fn(&mut Realized)) -> Value {
    let mut realized = all_ready(&given.list(config));
    realized.iter_mut().for_each(change);
    given.report(config, None, realized).unwrap()
}

fn nothing(_: &mut Realized) {}

fn condition<'a>(status: &'a Value, kind: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let all = status["conditions"].as_array().unwrap();
    let found = all.iter().find(|c| c["type"] == format!("isthmus.dev/{kind}"))?;
    let text = |name: &str| found[name].as_str().unwrap();
    Some((text("status"), text("reason"), text("message")))
}

fn balanced(status: &Value) -> (&str, &str, &str) {
    condition(status, "LoadBalanced").unwrap()
}

#[test]
fn a_floating_ip_is_said_when_members_answer() {
    let status = status(&exposed(), FLOATING, nothing);
    let condition = json!({"type": "isthmus.dev/LoadBalanced", "status": "True", "reason": "MembersAnswer", "message": ""});
    let expected = json!({"loadBalancer": {"ingress": [{"ip": "203.0.113.7"}]}, "conditions": [condition]});
    assert_eq!(status, expected);
}

#[test]
fn an_address_is_not_said_before() {
    let watched = r#"{"network": "services", "floatingNetwork": "public", "monitor": {"enabled": true}}"#;
    let pending = |name: &'static str| {
        move |entry: &mut Realized| {
            if entry.name == name {
                entry.state = State::Pending;
            }
        }
    };
    let operating = |seen: &'static str| {
        move |entry: &mut Realized| {
            if entry.name.starts_with("pool") {
                entry.operating = Some(seen.into());
            }
        }
    };
    let said = |status: Value| status.get("loadBalancer").is_some();
    for name in ["lb-v4", "listener-v4-tcp-80", "pool-v4-tcp-80", "floating-ip"] {
        assert!(!said(status(&exposed(), FLOATING, pending(name))), "{name}");
    }
    let empty = given("type: LoadBalancer");
    assert!(!said(status(&empty, FLOATING, nothing)), "ACTIVE, and nobody behind it");
    assert!(!said(status(&empty, FLOATING, operating("ONLINE"))), "so Octavia says of an empty pool");
    for (seen, answers) in
        [("ONLINE", true), ("DEGRADED", true), ("NO_MONITOR", true), ("ERROR", false), ("OFFLINE", false)]
    {
        assert_eq!(said(status(&exposed(), watched, operating(seen))), answers, "{seen}");
    }
    assert!(!said(status(&exposed(), watched, nothing)), "watched, and not known what is seen");
}

#[test]
fn what_was_said_stays_said_while_it_is_true() {
    let said = "loadBalancer: {ingress: [{ip: 203.0.113.7, ipMode: VIP}]}";
    let ingress = |status: &Value| status["loadBalancer"]["ingress"].clone();
    let scaled_down = given("type: LoadBalancer").said(said);
    let found = status(&scaled_down, FLOATING, nothing);
    assert_eq!(ingress(&found), json!([{"ip": "203.0.113.7"}]));
    assert_eq!(balanced(&found), ("False", "NoMemberAnswers", "no member answers behind: v4"));
    // another address than ours
    let other = given("type: LoadBalancer").said("loadBalancer: {ingress: [{ip: 198.51.100.1}]}");
    assert_eq!(ingress(&status(&other, FLOATING, nothing)), Value::Null);
    // An edit that is refused changes nothing in the cloud, and so nothing of what is said.
    let realized = all_ready(&exposed().list(FLOATING));
    let broken = given("type: LoadBalancer, loadBalancerIP: x").said(said);
    let outcome = broken.map(FLOATING).unwrap_err();
    let found = broken.report(FLOATING, Some(outcome), realized).unwrap();
    assert_eq!(ingress(&found), json!([{"ip": "203.0.113.7", "ipMode": "VIP"}]));
    assert_eq!(balanced(&found).1, "Refused");
    assert!(balanced(&found).2.starts_with("spec.loadBalancerIP: "), "{found}");
    // Nothing is there, so nothing is said.
    let outcome = broken.map(FLOATING).unwrap_err();
    assert_eq!(ingress(&broken.report(FLOATING, Some(outcome), vec![]).unwrap()), Value::Null);
}

#[test]
fn each_family_says_its_address() {
    let spec = "type: LoadBalancer, clusterIP: 10.96.0.9, clusterIPs: [10.96.0.9, 'fd00::9'], ipFamilies: [IPv4, IPv6]";
    let given = given(spec)
        .slice("{addresses: [10.0.0.1]}", "{port: 8080}")
        .slice("{addresses: ['fd00::1']}", "{port: 8080}");
    let ingress = |config: &str| status(&given, config, nothing)["loadBalancer"]["ingress"].clone();
    assert_eq!(ingress(FLOATING), json!([{"ip": "203.0.113.7"}, {"ip": "fd00::9"}]));
    assert_eq!(ingress(PLAIN), json!([{"ip": "10.96.0.9"}, {"ip": "fd00::9"}]));
}

#[test]
fn the_address_is_the_one_that_clients_use() {
    let ingress = |given: &Given| status(given, FLOATING, nothing)["loadBalancer"]["ingress"].clone();
    let slice = |given: Given| given.slice("{addresses: [10.0.0.1]}", "{port: 8080}");
    let asked = slice(given("type: LoadBalancer, loadBalancerIP: 203.0.113.9"));
    assert_eq!(ingress(&asked), json!([{"ip": "203.0.113.9"}]));
    let internal = exposed().annotated("isthmus.dev/lb-internal: 'true'");
    assert_eq!(ingress(&internal), json!([{"ip": "10.96.0.9"}]));
    let placed = "isthmus.dev/lb-internal: 'true', isthmus.dev/lb-network: dmz";
    assert_eq!(ingress(&exposed().annotated(placed)), json!([{"ip": "192.0.2.9"}]));
    let placed = "isthmus.dev/lb-internal: 'true', isthmus.dev/lb-port: p";
    assert_eq!(ingress(&exposed().annotated(placed)), json!([{"ip": "192.0.2.9"}]));
    let named = exposed().annotated("loadbalancer.openstack.org/hostname: a.example.com");
    assert_eq!(ingress(&named), json!([{"hostname": "a.example.com"}]));
    let proxy = exposed().annotated("loadbalancer.openstack.org/proxy-protocol: 'true'");
    assert_eq!(ingress(&proxy), json!([{"ip": "203.0.113.7", "ipMode": "Proxy"}]));
    assert_eq!(ingress(&slice(given(""))), Value::Null, "a cluster IP is not said there");
}

#[test]
fn the_condition_says_what_is_missing() {
    let of = |change: &dyn Fn(&mut Realized)| status(&exposed(), FLOATING, change);
    let failed = of(&|entry| {
        if entry.name == "lb-v4" {
            (entry.state, entry.message) = (State::Failed, Some("quota: 10 of 10".into()));
        }
    });
    assert_eq!(balanced(&failed), ("False", "CloudFailed", "lb-v4: quota: 10 of 10"));
    let missing = of(&|entry| {
        if entry.name == "lb-v4" {
            (entry.id, entry.state) = (String::new(), State::Pending);
        }
    });
    assert_eq!(balanced(&missing), ("Unknown", "Pending", "not made yet: lb-v4"));
    let nothing = exposed().report(FLOATING, None, vec![]).unwrap();
    assert_eq!(balanced(&nothing).1, "Pending");
    let waiting = given("").report(PLAIN, Some(waiting("not now")), vec![]).unwrap();
    assert_eq!(balanced(&waiting), ("Unknown", "Waiting", "not now"));
}

#[test]
fn the_condition_does_not_flap_with_every_member() {
    let changing = |entry: &mut Realized| {
        if entry.name == "pool-v4-tcp-80" {
            entry.state = State::Pending;
        }
    };
    let found = |given: &Given| balanced(&status(given, FLOATING, changing)).0.to_owned();
    let before = |status: &str| {
        exposed().said(&format!("conditions: [{{type: isthmus.dev/LoadBalanced, status: '{status}'}}]"))
    };
    assert_eq!(found(&exposed()), "False", "it is being made");
    assert_eq!(found(&before("False")), "False");
    assert_eq!(found(&before("True")), "True", "it is there, and changed");
    let empty = given("type: LoadBalancer").said(&before("True").status);
    assert_eq!(found(&empty), "False", "nobody is left");
}

#[test]
fn what_is_only_partly_honoured_is_named() {
    let table: [(&str, &str, &[&'static str], Option<&str>); 14] = [
        ("", "", &[], None),
        ("internalTrafficPolicy: Cluster", "", &[], None),
        ("internalTrafficPolicy: Local", "", &[], Some("internalTrafficPolicy Local")),
        ("type: LoadBalancer, externalTrafficPolicy: Local", "", &[], Some("externalTrafficPolicy Local")),
        ("type: LoadBalancer, externalTrafficPolicy: Local", "", &["ovn"], None),
        ("type: LoadBalancer, externalTrafficPolicy: Local", "isthmus.dev/lb-proxy-protocol: v2", &[], None),
        ("sessionAffinity: ClientIP", "", &[], Some("sessionAffinityConfig")),
        ("sessionAffinity: ClientIP, ports: [{port: 1, protocol: UDP}]", "", &[], None),
        ("type: NodePort", "", &[], Some("NodePort")),
        ("externalIPs: [192.0.2.1]", "", &[], Some("externalIPs")),
        ("", "isthmus.dev/lb-timeout-client-data: '1'", &["ovn"], Some("no timeouts")),
        (
            "ports: [{port: 1, protocol: SCTP}]",
            "isthmus.dev/lb-enable-health-monitor: 'true'",
            &["ovn"],
            Some("SCTP"),
        ),
        ("type: LoadBalancer", "isthmus.dev/lb-subnet: s", &[], Some("without lb-network")),
        (
            "",
            "loadbalancer.openstack.org/default-tls-container-ref: x",
            &[],
            Some("default-tls-container-ref has no effect"),
        ),
    ];
    for (spec, annotations, providers, part) in table {
        let given = given(spec).annotated(annotations).over(providers);
        let status = status(&given, FLOATING, nothing);
        let found = condition(&status, "PartlyHonoured").map(|(.., message)| message);
        match (found, part) {
            (None, None) => {}
            (Some(found), Some(part)) => assert!(found.contains(part), "{spec} {annotations}: {found}"),
            other => panic!("{spec} {annotations}: {other:?}"),
        }
    }
    let without = status(&given("type: LoadBalancer"), PLAIN, nothing);
    assert!(condition(&without, "PartlyHonoured").unwrap().2.contains("no floating IP"));
    let closed = given("type: LoadBalancer, loadBalancerSourceRanges: ['2001:db8::/32']");
    let closed = closed.annotated("isthmus.dev/lb-network: dmz");
    assert!(
        condition(&status(&closed, FLOATING, nothing), "PartlyHonoured").unwrap().2.contains("one IP family")
    );
}

/// A Service of two families was served in one of them from outside, and said nothing of it.
#[test]
fn what_is_of_one_family_is_named_where_there_are_two() {
    let two = "type: LoadBalancer, clusterIP: 10.96.0.9, clusterIPs: [10.96.0.9, 'fd00::9'], ipFamilies: [IPv4, IPv6]";
    let internal = "isthmus.dev/lb-internal: 'true'";
    let asked = format!("{two}, loadBalancerIP: 10.9.9.9");
    let (vip, members) = (Some("there is none of the other one"), Some("members of both"));
    let table = [
        (two, "isthmus.dev/lb-network: dmz", vip),
        (two, "isthmus.dev/lb-network: dmz, isthmus.dev/lb-subnet: d4", vip),
        (two, "isthmus.dev/lb-port: p", vip),
        (&asked, internal, vip),
        (two, internal, None),
        (two, "", None),
        ("type: LoadBalancer", "isthmus.dev/lb-network: dmz", None),
        (two, "isthmus.dev/lb-member-subnet: m", members),
        (two, "isthmus.dev/lb-member-subnet: s4", None),
        ("type: LoadBalancer", "isthmus.dev/lb-member-subnet: m", None),
    ];
    for (spec, annotations, part) in table {
        let status = status(&given(spec).annotated(annotations), FLOATING, nothing);
        let found = condition(&status, "PartlyHonoured").map(|(.., message)| message);
        match (found, part) {
            (None, None) => {}
            (Some(found), Some(part)) => assert!(found.contains(part), "{spec} {annotations}: {found}"),
            other => panic!("{spec} {annotations}: {other:?}"),
        }
    }
}

const SHARE: &str = "isthmus.dev/lb-share-with: front";

/// `exposed`, on the load balancer of `shop/front`, of which this is so.
fn sharing(metadata: &str, spec: &str, status: &str) -> Given {
    let spec = format!("type: LoadBalancer, clusterIP: 10.96.0.1, ports: [{{port: 443}}]{spec}");
    exposed().annotated(SHARE).beside(other("shop/front", metadata, &spec, status))
}

#[test]
fn who_shares_says_the_addresses_of_the_other_one_when_its_own_members_answer() {
    let ingress = |given: &Given| status(given, FLOATING, nothing)["loadBalancer"]["ingress"].clone();
    assert_eq!(ingress(&sharing("", "", "")), json!([{"ip": "203.0.113.44"}]));
    let internal = "annotations: {isthmus.dev/lb-internal: 'true'}";
    assert_eq!(ingress(&sharing(internal, "", "")), json!([{"ip": "192.0.2.44"}]));
    // One that a user gave may lead elsewhere: until the other one says it, nobody does.
    let asked = ", loadBalancerIP: 203.0.113.9";
    assert_eq!(ingress(&sharing("", asked, "")), Value::Null);
    let said = "loadBalancer: {ingress: [{ip: 203.0.113.9}]}";
    assert_eq!(ingress(&sharing("", asked, said)), json!([{"ip": "203.0.113.9"}]));
    let empty = given("type: LoadBalancer").annotated(SHARE);
    let empty = Given { beside: sharing("", "", "").beside, ..empty };
    assert_eq!(ingress(&empty), Value::Null, "nobody is behind its own listener");
    let two = "type: LoadBalancer, clusterIP: 10.96.0.9, clusterIPs: [10.96.0.9, 'fd00::9'], ipFamilies: [IPv4, IPv6]";
    let both = ", clusterIPs: [10.96.0.1, 'fd00::1'], ipFamilies: [IPv4, IPv6]";
    let of_both = Given { beside: sharing("", both, "").beside, ..given(two).annotated(SHARE) };
    let of_both = of_both
        .slice("{addresses: [10.0.0.1]}", "{port: 8080}")
        .slice("{addresses: ['fd00::1']}", "{port: 8080}");
    assert_eq!(ingress(&of_both), json!([{"ip": "203.0.113.44"}, {"ip": "2001:db8::44"}]));
    let of_one = Given { beside: sharing("", "", "").beside, ..of_both };
    let found = status(&of_one, FLOATING, nothing);
    assert_eq!(found["loadBalancer"]["ingress"], json!([{"ip": "203.0.113.44"}]));
    assert!(condition(&found, "PartlyHonoured").unwrap().2.contains("of one IP family"));

    let named = OUTSIDE.replacen(
        '{',
        r#"{"sharing": {"loadBalancers": [{"id": "b", "addresses": ["192.0.2.7"], "namespaces": ["*"]}]}, "#,
        1,
    );
    let on = exposed().annotated("loadbalancer.openstack.org/load-balancer-id: b");
    let found = status(&on, &named, nothing);
    assert_eq!(found["loadBalancer"]["ingress"], json!([{"ip": "192.0.2.7"}]));
    assert_eq!(condition(&found, "PartlyHonoured"), None);
}

#[test]
fn who_has_no_room_says_so_and_no_address() {
    let said = "loadBalancer: {ingress: [{ip: 203.0.113.44}]}";
    let crowded = |port: &str| {
        let spec = format!("type: LoadBalancer, clusterIP: 10.96.0.1, ports: [{{port: {port}}}]");
        exposed().annotated(SHARE).said(said).beside(other("shop/front", "", &spec, ""))
    };
    let realized = all_ready(&crowded("443").list(OUTSIDE));
    let outcome = crowded("80").map(OUTSIDE).unwrap_err();
    let found = crowded("80").report(OUTSIDE, Some(outcome), realized).unwrap();
    let why = "no room on the shared load balancer: port 80 of TCP is Service shop/front's";
    assert_eq!(balanced(&found), ("False", "NoRoom", why));
    assert_eq!(found.get("loadBalancer"), None, "what was there goes");
    // The cluster IP is served, and that is not what was asked for.
    let found = status(&crowded("80"), FLOATING, nothing);
    assert_eq!(balanced(&found), ("False", "NoRoom", why));
    assert_eq!(found.get("loadBalancer"), None);
    let tuned =
        crowded("80").annotated(&format!("{SHARE}, isthmus.dev/lb-connection-limit: '5'")).over(&["ovn"]);
    let found = status(&tuned, FLOATING, nothing);
    let partly = condition(&found, "PartlyHonoured").unwrap().2;
    assert!(partly.contains("provider ovn has no timeouts"), "of the load balancer that it has: {partly}");
    let alone = Given { beside: vec![], ..crowded("443") };
    // It is frozen, and what was said is so still.
    for config in [FLOATING, OUTSIDE] {
        let realized = all_ready(&crowded("443").list(config));
        let outcome = alone.map(config).unwrap_err();
        let found = alone.report(config, Some(outcome), realized).unwrap();
        assert_eq!(balanced(&found), ("Unknown", "Waiting", "there is no Service shop/front"));
        assert_eq!(found["loadBalancer"]["ingress"], json!([{"ip": "203.0.113.44"}]));
    }
}

#[test]
fn who_shares_of_one_that_is_gone_says_so() {
    let there = sharing("", "", "");
    let known = there.shares(OUTSIDE, None).unwrap();
    let gone = exposed().annotated(SHARE).remembers(&known);
    let found = status(&gone, OUTSIDE, nothing);
    assert_eq!(balanced(&found).0, "True");
    assert_eq!(found["loadBalancer"]["ingress"], json!([{"ip": "203.0.113.44"}]));
    assert!(condition(&found, "PartlyHonoured").unwrap().2.starts_with("there is no Service shop/front: "));
    for (annotation, part) in [
        (SHARE, "lb-share-with is for Services of type LoadBalancer"),
        ("isthmus.dev/lb-load-balancer: b", "lb-load-balancer is for Services of type LoadBalancer"),
        ("loadbalancer.openstack.org/load-balancer-id: b", "load-balancer-id has no effect"),
    ] {
        let found = status(&given("").annotated(annotation), FLOATING, nothing);
        let told = condition(&found, "PartlyHonoured").map(|(.., message)| message);
        assert!(told.is_some_and(|told| told.contains(part)), "{annotation}: {told:?}");
    }
}
