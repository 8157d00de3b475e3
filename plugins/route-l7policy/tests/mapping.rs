//! Plain Routes, natively, on the objects of `tests/data`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]

mod common;

use common::{
    EXISTING, PLAIN, TLS, assert_lost, assert_wrong, map, map_of, names, policy, pool, route, rule, shared,
};
use isthmus_sdk::prelude::*;
use isthmus_sdk::records::load_balancing::{L7Action, L7Compare, L7Field};
use isthmus_sdk::records::values::Address;

/// Address, port and weight of the members.
fn members(spec: &str) -> Vec<(String, u16, u16)> {
    let list = map(spec, PLAIN).unwrap();
    let told = |member: &Member| match &member.address {
        Address::Literal(address) => (address.clone(), member.port, member.weight.unwrap()),
        other => panic!("{other:?}"),
    };
    pool(&list).members.iter().map(told).collect()
}

/// Others would not see whose its host is.
#[test]
fn a_route_that_is_in_no_list_is_refused() {
    let long =
        |length: usize| format!("host: a.b, to: {{name: web}}, path: /, subdomain: {}", "x".repeat(length));
    assert!(map(&long(20_000), PLAIN).is_ok());
    assert_wrong(map(&long(33_000), PLAIN), "", "32 KiB");
}

#[test]
fn a_route_is_a_pool_and_a_policy() {
    let member = |address| Member::new(address, 8080).weight(256_u16);
    let list = map(
        "host: Shop.Example.com, path: /cart, to: {kind: Service, name: web}, port: {targetPort: http}",
        PLAIN,
    );
    let pool =
        Pool::new(shared("lb"), "HTTP", "ROUND_ROBIN").member(member("10.0.0.1")).member(member("10.0.0.2"));
    let policy =
        L7Policy::new(shared("http"), "0 994 2026-11-01T10:00:00Z shop web", L7Action::Pool(local("pool")))
            .rule(rule(L7Field::HostName, L7Compare::EqualTo, "shop.example.com"))
            .rule(rule(L7Field::Path, L7Compare::Regex, "^/cart(/|$)"));
    assert_eq!(list.unwrap(), [pool.named("pool"), policy.named("policy-http")]);
}

#[test]
fn hosts_and_paths_are_rules() {
    use L7Compare::{EqualTo, Regex};
    use L7Field::{HostName, Path};
    let host = |value| rule(HostName, EqualTo, value);
    let path = |value| rule(Path, Regex, value);
    let table = [
        ("host: a.example.com", vec![host("a.example.com")]),
        ("host: a.example.com, wildcardPolicy: None", vec![host("a.example.com")]),
        ("host: a.example.com, path: ''", vec![host("a.example.com")]),
        ("host: a.example.com, path: /", vec![host("a.example.com")]),
        ("host: a.example.com, path: //", vec![host("a.example.com")]),
        ("host: a.example.com, path: /foo", vec![host("a.example.com"), path("^/foo(/|$)")]),
        ("host: a.example.com, path: /foo/", vec![host("a.example.com"), path("^/foo/")]),
        (
            "host: a.example.com, path: '/v1.0/$a(b)*+'",
            vec![host("a.example.com"), path(r"^/v1\.0/\$a\(b\)\*\+(/|$)")],
        ),
        (
            "host: a.example.com, wildcardPolicy: Subdomain",
            vec![rule(HostName, Regex, r"^[^.]+\.example\.com(:[0-9]+)?$")],
        ),
    ];
    for (spec, rules) in table {
        let list = map(&format!("{spec}, to: {{name: web}}"), PLAIN).unwrap();
        assert_eq!(policy(&list, "policy-http").rules, rules, "{spec}");
    }
    let list = map("host: a.b, to: {name: web}", r#"{"network": "public", "httpPort": 8080}"#).unwrap();
    let found = &policy(&list, "policy-http").rules;
    assert_eq!(
        found,
        &[rule(HostName, Regex, r"^a\.b(:[0-9]+)?$")],
        "clients send an unusual port with the host"
    );
}

#[test]
fn what_no_request_can_match_is_refused() {
    let label = "a".repeat(64);
    let long = format!("{0}.{0}.{0}.{0}", "a".repeat(63));
    let dots = vec!["a"; 100].join(".");
    let deep = format!("/{}", "a".repeat(250));
    let table = [
        ("".to_owned(), "spec.host", "needs a host"),
        ("host: ''".to_owned(), "spec.host", "needs a host"),
        ("subdomain: shop".to_owned(), "spec.subdomain", "set spec.host"),
        ("host: a_b.example.com".to_owned(), "spec.host", "no DNS name"),
        ("host: a..b".to_owned(), "spec.host", "no DNS name"),
        ("host: a.b.".to_owned(), "spec.host", "no DNS name"),
        ("host: -a.b".to_owned(), "spec.host", "no DNS name"),
        ("host: '*.example.com'".to_owned(), "spec.host", "no DNS name"),
        ("host: 'a.b:80'".to_owned(), "spec.host", "no DNS name"),
        ("host: bücher.example".to_owned(), "spec.host", "no DNS name"),
        (format!("host: {label}.b"), "spec.host", "no DNS name"),
        (format!("host: {long}"), "spec.host", "no DNS name"),
        (format!("host: {dots}"), "spec.host", "too long"),
        ("host: localhost, wildcardPolicy: Subdomain".to_owned(), "spec.host", "two labels"),
        ("host: a.b, wildcardPolicy: All".to_owned(), "spec.wildcardPolicy", "None or Subdomain"),
        ("host: a.b, path: foo".to_owned(), "spec.path", "begins with a slash"),
        (r#"host: a.b, path: "/a\u0001""#.to_owned(), "spec.path", r"'\u{1}'"),
        (r#"host: a.b, path: "/a\nb""#.to_owned(), "spec.path", r"'\n'"),
        ("host: a.b, path: /a b".to_owned(), "spec.path", "' '"),
        ("host: a.b, path: '/a?b'".to_owned(), "spec.path", "'?'"),
        ("host: a.b, path: '/a#b'".to_owned(), "spec.path", "'#'"),
        (r#"host: a.b, path: "/a'b""#.to_owned(), "spec.path", r"'\''"),
        (r#"host: a.b, path: '/a"b'"#.to_owned(), "spec.path", "'\"'"),
        ("host: a.b, path: /ä".to_owned(), "spec.path", "percent-encoded"),
        (format!("host: a.b, path: {deep}"), "spec.path", "too long"),
    ];
    for (spec, field, part) in table {
        let comma = if spec.is_empty() { "" } else { ", " };
        assert_wrong(map(&format!("{spec}{comma}to: {{name: web}}"), PLAIN), field, part);
    }
}

#[test]
fn the_port_is_found_by_number_or_name() {
    let both = |port| vec![("10.0.0.1".to_owned(), port, 256), ("10.0.0.2".to_owned(), port, 256)];
    let table = [
        ("port: {targetPort: http}", both(8080)),
        ("port: {targetPort: web}", both(8080)),
        ("port: {targetPort: 8080}", both(8080)),
        ("port: {targetPort: '8080'}", both(8080)),
        ("port: {targetPort: metrics}", both(9100)),
        ("port: {targetPort: nothing}", vec![]),
        ("port: {targetPort: 80}", vec![]),
    ];
    for (port, expected) in table {
        assert_eq!(members(&format!("host: a.b, to: {{name: web}}, {port}")), expected, "{port}");
    }
    let all = [&both(8080)[..1], &both(9100)[..1], &both(8080)[1..], &both(9100)[1..]].concat();
    assert_eq!(members("host: a.b, to: {name: web}"), all, "without a choice it is for every port");
    assert_eq!(members("host: a.b, to: {name: six}"), [("fd00::2".to_owned(), 80, 256)]);
    let result = map("host: a.b, to: {name: web}, port: {targetPort: 70000}", PLAIN);
    assert_wrong(result, "spec.port.targetPort", "1 to 65535");
}

#[test]
fn weights_are_split_over_endpoints() {
    let at = |address: &str, port, weight| (address.to_owned(), port, weight);
    let table = [
        ("weight: 50", "{name: canary, weight: 50}", [128, 128, 256]),
        ("weight: 100", "{name: canary}", [128, 128, 256]),
        ("weight: 200", "{name: canary, weight: 100}", [256, 256, 256]),
        ("weight: 1", "{name: canary, weight: 0}", [256, 256, 0]),
        ("weight: 0", "{name: canary, weight: 0}", [0, 0, 0]),
        ("weight: 50", "{name: canary, weight: 25}, {name: canary, weight: 25}", [128, 128, 256]),
        ("weight: 5", "{name: canary, weight: 5}, {name: nobody, weight: 256}", [128, 128, 256]),
    ];
    for (weight, others, w) in table {
        let spec = format!(
            "host: a.b, to: {{name: web, {weight}}}, alternateBackends: [{others}], port: {{targetPort: http}}"
        );
        let expected = [at("10.0.0.1", 8080, w[0]), at("10.0.0.2", 8080, w[1]), at("10.0.1.1", 8081, w[2])];
        assert_eq!(members(&spec), expected, "{spec}");
    }
}

#[test]
fn without_endpoints_the_pool_is_empty() {
    assert_eq!(members("host: a.b, to: {name: not-there}"), []);
    let list = map("host: a.b, to: {name: not-there}", PLAIN).unwrap();
    assert_eq!(names(&list), ["pool", "policy-http"], "the Route is served: with 503");
}

#[test]
fn wrong_backends_are_named() {
    let table = [
        ("", "spec.to", "needs a Service"),
        (", to: {kind: Pod, name: web}", "spec.to.kind", "only Service"),
        (", to: {name: ''}", "spec.to.name", "name of a Service"),
        (", to: {name: 'a,b'}", "spec.to.name", "name of a Service"),
        (", to: {name: web, weight: 257}", "spec.to.weight", "0 to 256"),
        (", to: {name: web, weight: -1}", "spec.to.weight", "0 to 256"),
        (", to: {name: elsewhere}", "spec.to.name", "ExternalName"),
        (
            ", to: {name: web}, alternateBackends: [{name: canary}, {name: web, weight: 300}]",
            "spec.alternateBackends[1].weight",
            "0 to 256",
        ),
    ];
    for (rest, field, part) in table {
        assert_wrong(map(&format!("host: a.b{rest}"), PLAIN), field, part);
    }
}

#[test]
fn the_older_route_has_the_host() {
    let web = |name: &str, day, rest: &str| {
        route(name, day, &format!("host: a.example.com, to: {{name: web}}{rest}"))
    };
    // other Routes beside shop/web of the 5th, which has path /x; who wins (none: shop/web)
    let table = [
        (vec![], None),
        (vec![web("shop/old", 4, ", path: /x")], Some("shop/old has it")),
        (vec![web("shop/new", 6, ", path: /x")], None),
        (vec![web("shop/a", 5, ", path: /x")], Some("shop/a has it")),
        (vec![web("shop/z", 5, ", path: /x")], None),
        (vec![web("shop/old", 4, ", path: /y")], None),
        (vec![web("shop/old", 4, "")], None),
        (vec![web("shop/old", 4, ", path: /x/")], None),
        (vec![web("other/old", 4, ", path: /y")], Some("namespace other, whose Route old is the oldest")),
        (vec![web("other/new", 6, ", path: /x")], None),
        (vec![web("shop/old", 4, ", path: /x"), web("shop/older", 3, ", path: /x")], Some("shop/older")),
        (vec![web("other/old", 4, ", path: /x, tls: {termination: passthrough}")], None),
        // It may be served as it was before it said that.
        (
            vec![web("shop/old", 4, ", path: /x, alternateBackends: [{name: web, weight: 300}]")],
            Some("shop/old"),
        ),
        (vec![web("other/old", 4, ", path: x")], None),
        (vec![web("other/old", 4, ", wildcardPolicy: Subdomain")], None),
        (vec![route("shop/old", 4, "host: A.Example.COM, path: /x, to: {name: web}")], Some("shop/old")),
        (vec![route("shop/old", 4, "host: b.example.com, path: /x, to: {name: web}")], None),
    ];
    for (others, winner) in table {
        let routes = [others, vec![web("shop/web", 5, ", path: /x")]].concat();
        let result = map_of(&routes, "shop/web", PLAIN);
        match winner {
            None => assert!(result.is_ok(), "{result:?} {routes:?}"),
            Some(part) => assert_lost(result, part),
        }
    }
    let shared = r#"{"network": "public", "namespaceOwnership": "InterNamespaceAllowed"}"#;
    let other = |path| [web("other/old", 4, path), web("shop/web", 5, ", path: /x")];
    assert!(map_of(&other(", path: /y"), "shop/web", shared).is_ok());
    assert_lost(map_of(&other(", path: /x"), "shop/web", shared), "Route other/old has it");
}

#[test]
fn wildcards_claim_their_domain() {
    let wild = |name, day, host| {
        route(name, day, &format!("host: {host}, wildcardPolicy: Subdomain, to: {{name: web}}"))
    };
    let routes = [wild("shop/web", 5, "a.example.com"), wild("shop/old", 4, "b.example.com")];
    assert_lost(map_of(&routes, "shop/web", PLAIN), "shop/old");
    let routes = [wild("shop/web", 5, "a.example.com"), wild("shop/old", 4, "b.c.example.com")];
    assert!(map_of(&routes, "shop/web", PLAIN).is_ok());
}

#[test]
fn a_load_balancer_that_is_there_is_used() {
    let list = map(
        "host: a.b, to: {name: web}, tls: {termination: edge, insecureEdgeTerminationPolicy: Allow}",
        EXISTING,
    );
    let list = list.unwrap();
    assert_eq!(pool(&list).load_balancer, existing("front"));
    assert_eq!(policy(&list, "policy-http").listener, existing("h"));
    assert_eq!(policy(&list, "policy-https").listener, existing("s"));
    let half = r#"{"existingLoadBalancer": {"loadBalancer": "front"}}"#;
    assert_wrong(map("host: a.b, to: {name: web}", half), "spec.tls", "no HTTP listener");
    assert_wrong(
        map("host: a.b, to: {name: web}, tls: {termination: edge}", half),
        "spec.tls",
        "no HTTPS listener",
    );
}

#[test]
fn members_are_reached_by_their_subnet() {
    let config = r#"{"network": "public", "memberSubnet": "pods-v4"}"#;
    let list = map("host: a.b, to: {name: canary}", config).unwrap();
    assert_eq!(pool(&list).members[0].subnet, Some(existing("pods-v4")));
    let list = map("host: a.b, to: {name: canary}", TLS).unwrap();
    assert_eq!(pool(&list).members[0].subnet, None);
}

#[test]
fn members_are_watched_where_the_config_says_so() {
    let of = |spec: &str, config: &str| pool(&map(spec, config).unwrap()).monitor.clone();
    let plain = "host: a.b, to: {name: web}";
    assert_eq!(of(plain, PLAIN), None);
    let connected = of(plain, r#"{"network": "n", "monitor": {}}"#).unwrap();
    assert_eq!((&*connected.type_, connected.delay_s, connected.timeout_s), ("TCP", 5, 3));
    let config = r#"{"network": "n", "monitor": {"path": "/up", "expectedCodes": "200-204", "delay": 9},
        "tls": {"secret": {"namespace": "i", "name": "d"}}}"#;
    let asked = of(plain, config).unwrap();
    assert_eq!((&*asked.type_, asked.delay_s), ("HTTP", 9));
    assert_eq!((asked.url_path.as_deref(), asked.expected_codes.as_deref()), (Some("/up"), Some("200-204")));
    let tls = format!("{plain}, tls: {{termination: reencrypt, destinationCACertificate: x}}");
    assert_eq!(of(&tls, config).unwrap().type_, "HTTPS");
}
