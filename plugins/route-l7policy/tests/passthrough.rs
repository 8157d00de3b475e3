//! Routes that pass TLS on.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]

mod common;

use common::{PLAIN, assert_wrong, map, map_of, names, pool, route, shared};
use isthmus_sdk::prelude::*;

const PORTS: &str = r#"{"network": "public", "passthroughPorts": [{"first": 8443, "last": 8449}], "monitor": {"path": "/up"}}"#;
const ANNOTATION: &str = "metadata.annotations[\"isthmus.dev/passthrough-port\"]";
const THROUGH: &str = "host: a.b, to: {name: web}, tls: {termination: passthrough}";

/// A Route that asks for this port.
fn through(name: &str, day: u8, port: &str) -> String {
    let annotations = format!("annotations: {{isthmus.dev/passthrough-port: '{port}'}}");
    route(name, day, THROUGH).replacen("metadata: {", &format!("metadata: {{{annotations}, "), 1)
}

#[test]
fn it_has_a_listener_and_a_pool_of_its_own() {
    let list = map_of(&[through("shop/web", 1, "8443")], "shop/web", PORTS).unwrap();
    assert_eq!(names(&list), ["pool", "listener"]);
    let listener = Listener::new(shared("lb"), "TCP", 8443).default_pool(local("pool"));
    assert_eq!(list[1].resource, listener.into());
    let pool = pool(&list);
    assert_eq!((pool.protocol.as_str(), pool.members.len(), &pool.tls), ("TCP", 4, &None));
    let monitor = pool.monitor.as_ref().unwrap();
    assert_eq!(
        (monitor.type_.as_str(), &monitor.url_path),
        ("TCP", &None),
        "nobody but clients understands them"
    );
}

#[test]
fn of_two_for_one_port_the_older_has_it() {
    let edge = route("shop/edge", 1, "host: a.b, to: {name: web}, tls: {termination: edge}").replacen(
        "metadata: {",
        "metadata: {annotations: {isthmus.dev/passthrough-port: '8443'}, ",
        1,
    );
    let routes = [
        through("shop/web", 3, "8443"),
        through("other/old", 2, "8443").replace("a.b", "c.d"),
        edge,
        through("shop/else", 1, "8444"),
    ];
    let Err(Outcome::NotMapped(reason)) = map_of(&routes, "shop/web", PORTS) else { panic!() };
    assert_eq!(reason, "port already claimed: Route other/old has port 8443, and is older");
    assert!(map_of(&routes, "other/old", PORTS).is_ok() && map_of(&routes, "shop/else", PORTS).is_ok());
}

#[test]
fn ports_may_be_of_some_namespaces() {
    let config = r#"{"network": "n", "passthroughPorts": [{"first": 8443, "last": 8449, "namespaces": ["shop"]},
                     {"first": 9443, "last": 9449}]}"#;
    let at = |name: &str, port: &str| map_of(&[through(name, 1, port)], name, config);
    assert!(
        at("shop/web", "8443").is_ok() && at("shop/web", "9443").is_ok() && at("other/web", "9443").is_ok()
    );
    assert_wrong(at("other/web", "8443"), ANNOTATION, "one of 9443 to 9449");
    let both = [through("other/old", 1, "8443").replace("a.b", "c.d"), through("shop/web", 2, "8443")];
    assert!(map_of(&both, "shop/web", config).is_ok(), "who may not have it holds it for nobody");
    let wrong = config.replace("shop", "Shop!");
    assert_wrong(map_of(&both, "shop/web", &wrong), "config.passthroughPorts.namespaces", "no object");
    let theirs =
        r#"{"network": "n", "passthroughPorts": [{"first": 8443, "last": 8449, "namespaces": ["shop"]}]}"#;
    let refused = map_of(&[through("other/web", 1, "8443")], "other/web", theirs);
    assert_wrong(refused, "spec.tls.termination", "for this namespace");
}

#[test]
fn a_host_of_another_namespace_is_refused() {
    let owner = route("other/owner", 1, "host: a.b, to: {name: web}");
    let Err(Outcome::NotMapped(reason)) = map_of(&[owner, through("shop/web", 2, "8443")], "shop/web", PORTS)
    else {
        panic!()
    };
    assert!(reason.starts_with("host already claimed: it belongs to namespace other"), "{reason}");
    let own = route("shop/edge", 1, "host: a.b, to: {name: web}");
    assert!(
        map_of(&[own, through("shop/web", 2, "8443")], "shop/web", PORTS).is_ok(),
        "beside one of its own"
    );
    assert_wrong(
        map_of(&[through("shop/web", 1, "8443").replace("a.b", "a_b!")], "shop/web", PORTS),
        "spec.host",
        "host",
    );
}

#[test]
fn ports_of_a_load_balancer_that_is_there() {
    let config = |listener: &str, first: u16| {
        format!(
            r#"{{"existingLoadBalancer": {{"loadBalancer": "front", "{listener}": "l"}},
                    "passthroughPorts": [{{"first": {first}, "last": {first}}}]}}"#
        )
    };
    let plain = "host: a.b, to: {name: web}";
    assert_wrong(map(plain, &config("http", 80)), "config.passthroughPorts", "port 80");
    assert_wrong(map(plain, &config("https", 443)), "config.passthroughPorts", "port 443");
    assert!(map(plain, &config("http", 443)).is_ok());
}

#[test]
fn what_cannot_be_had_is_refused() {
    assert_wrong(map(THROUGH, PLAIN), "spec.tls.termination", "`passthroughPorts`");
    assert_wrong(map(THROUGH, PORTS), ANNOTATION, "one of 8443 to 8449");
    for port in ["443", "x", "84430", "", " 8443", "08443", "+8443"] {
        assert_wrong(map_of(&[through("shop/web", 1, port)], "shop/web", PORTS), ANNOTATION, "is no port");
    }
    for (more, field) in [
        ("certificate: PEM", "spec.tls.certificate"),
        ("caCertificate: PEM", "spec.tls.caCertificate"),
        ("destinationCACertificate: PEM", "spec.tls.destinationCACertificate"),
        ("externalCertificate: {name: own}", "spec.tls.externalCertificate"),
        ("insecureEdgeTerminationPolicy: Redirect", "spec.tls.insecureEdgeTerminationPolicy"),
        ("x: y}, path: /x, z: {", "spec.path"),
    ] {
        let with =
            through("shop/web", 1, "8443").replacen("passthrough}", &format!("passthrough, {more}}}"), 1);
        assert_wrong(map_of(&[with], "shop/web", PORTS), field, "with passthrough");
    }
    for (config, part) in [
        (r#"{"network": "n", "passthroughPorts": [{"first": 2, "last": 1}]}"#, "from a first one"),
        (r#"{"network": "n", "passthroughPorts": [{"first": 0, "last": 1}]}"#, "from a first one"),
        (r#"{"network": "n", "passthroughPorts": [{"first": 70, "last": 90}]}"#, "port 80 is among them"),
    ] {
        assert_wrong(map("host: a.b, to: {name: web}", config), "config.passthroughPorts", part);
    }
}
