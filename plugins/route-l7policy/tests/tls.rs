//! Routes with TLS.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]

mod common;

use common::{
    EXISTING, PLAIN, TLS, assert_wrong, cloud, cluster, map, map_of, names, policy, pool, route, route_kind,
    rule, shared,
};
use isthmus_sdk::prelude::*;
use isthmus_sdk::records::load_balancing::{
    Certificate, CertificateFields, CertificateSource, L7Action, L7Compare, L7Field, ListenerCertificate,
    PoolTls, Redirect,
};
use route_l7policy::RouteL7Policy;

const EDGE: &str = "host: a.example.com, to: {name: web}, tls: {termination: edge";

fn resource<'a>(list: &'a [Desired], name: &str) -> &'a Resource {
    &list.iter().find(|entry| entry.name == name).unwrap().resource
}

fn of_route(certificate: &str, key: &str, chain: Option<&str>) -> Resource {
    let object = ObjectKey { kind: route_kind(), namespace: Some("shop".into()), name: "web".into() };
    let source = CertificateSource::FromObject(CertificateFields {
        object,
        certificate: certificate.into(),
        private_key: key.into(),
        chain: chain.map(Into::into),
    });
    Certificate { source }.into()
}

#[test]
fn the_policy_for_plain_http_decides_on_the_listeners() {
    let redirect = |to| Some(L7Action::RedirectPrefix(Redirect::new(to).code(302_u16)));
    let serve = Some(L7Action::Pool(local("pool")));
    let odd = r#"{"network": "n", "httpPort": 8080, "tls": {"secret": {"namespace": "i", "name": "d"}, "port": 8443}}"#;
    let table = [
        ("", TLS, None),
        (", insecureEdgeTerminationPolicy: ''", TLS, None),
        (", insecureEdgeTerminationPolicy: None", TLS, None),
        (", insecureEdgeTerminationPolicy: Allow", TLS, serve.clone()),
        (", insecureEdgeTerminationPolicy: Redirect", TLS, redirect("https://a.example.com")),
        (", insecureEdgeTerminationPolicy: Redirect", EXISTING, redirect("https://a.example.com")),
        (", insecureEdgeTerminationPolicy: Redirect", odd, redirect("https://a.example.com:8443")),
    ];
    for (rest, config, on_http) in table {
        let list = map(&format!("{EDGE}{rest}}}"), config).unwrap();
        let on_https = policy(&list, "policy-https");
        assert_eq!(Some(&on_https.action), serve.as_ref(), "{rest}");
        if config == TLS {
            assert_eq!(on_https.listener, shared("https"));
        }
        match on_http {
            None => assert_eq!(names(&list), ["pool", "policy-https"], "{rest}"),
            Some(action) => {
                assert_eq!(names(&list), ["pool", "policy-http", "policy-https"], "{rest}");
                let found = policy(&list, "policy-http");
                assert_eq!((&found.action, &found.rules), (&action, &on_https.rules), "{rest}");
                assert_eq!(found.precedence, on_https.precedence);
            }
        }
    }
}

#[test]
fn a_redirect_leaves_out_what_a_longer_path_serves() {
    let redirect = "tls: {termination: edge, insecureEdgeTerminationPolicy: Redirect}";
    let own =
        |path: &str| route("shop/web", 1, &format!("host: a.b, path: {path}, to: {{name: web}}, {redirect}"));
    let other = |name: &str, rest: &str| route(name, 2, &format!("host: a.b, to: {{name: web}}, {rest}"));
    let routes = [
        own("/foo"),
        other("shop/one", "path: /foo/api"),
        other("shop/again", "path: /foo/api"),
        other("shop/allowed", "path: /foo/, tls: {termination: edge, insecureEdgeTerminationPolicy: Allow}"),
        other("shop/redirects", &format!("path: /foo/x, {redirect}")),
        other("shop/https-only", "path: /foo/y, tls: {termination: edge}"),
        other("shop/passthrough", "path: /foo/z, tls: {termination: passthrough}"),
        other("shop/beside", "path: /foobar"),
        other("shop/above", "path: /"),
        other("other/refused", "path: /foo/mine"),
        // An older one has its path, and says nothing of HTTP.
        route("shop/older", 1, "host: a.b, path: /foo/older, to: {name: web}, tls: {termination: edge}"),
        other("shop/younger", "path: /foo/older"),
        route("shop/host", 2, "host: c.b, path: /foo/host, to: {name: web}"),
    ];
    let path = |value| rule(L7Field::Path, L7Compare::Regex, value);
    let list = map_of(&routes, "shop/web", TLS).unwrap();
    let expected = [
        rule(L7Field::HostName, L7Compare::EqualTo, "a.b"),
        path("^/foo(/|$)"),
        path("^/foo/api(/|$)").invert(),
        path("^/foo/").invert(),
    ];
    assert_eq!(policy(&list, "policy-http").rules, expected);
    assert_eq!(policy(&list, "policy-https").rules, expected[..2], "only redirects come before their turn");

    let below = |count: u8| (0..count).map(|n| other(&format!("shop/r{n}"), &format!("path: /foo/{n}")));
    let routes: Vec<String> = below(48).chain([own("/foo")]).collect();
    assert_eq!(policy(&map_of(&routes, "shop/web", TLS).unwrap(), "policy-http").rules.len(), 50);
    let routes: Vec<String> = below(49).chain([own("/foo")]).collect();
    assert_wrong(map_of(&routes, "shop/web", TLS), "spec.tls.insecureEdgeTerminationPolicy", "(49)");
}

#[test]
fn a_certificate_of_the_route_is_shown_by_its_name() {
    let list = map(&format!("{EDGE}, certificate: PEM, key: PEM, caCertificate: PEM}}"), TLS).unwrap();
    assert_eq!(names(&list), ["pool", "certificate", "sni", "policy-https"]);
    let expected = of_route("spec.tls.certificate", "spec.tls.key", Some("spec.tls.caCertificate"));
    assert_eq!(*resource(&list, "certificate"), expected);
    let sni = ListenerCertificate::new(shared("https"), local("certificate"));
    assert_eq!(*resource(&list, "sni"), sni.into());

    let list = map(&format!("{EDGE}, certificate: PEM, key: PEM}}"), TLS).unwrap();
    assert_eq!(*resource(&list, "certificate"), of_route("spec.tls.certificate", "spec.tls.key", None));

    let list = map(&format!("{EDGE}, externalCertificate: {{name: own}}}}"), TLS).unwrap();
    let secret = ObjectKey { kind: Kind::core("Secret"), namespace: Some("shop".into()), name: "own".into() };
    assert_eq!(*resource(&list, "certificate"), Certificate::of_secret(secret).into());
    let both = map(&format!("{EDGE}, certificate: PEM, externalCertificate: {{name: own}}}}"), TLS);
    assert_wrong(both, "spec.tls.externalCertificate", "two certificates");
}

#[test]
fn no_private_key_is_read() {
    let manifest = RouteL7Policy::manifest();
    let of_routes = manifest.maps.iter().chain(&manifest.reads).filter(|p| p.kind == route_kind());
    let fields: Vec<&str> = of_routes.flat_map(|p| &p.fields).map(String::as_str).collect();
    assert!(!fields.iter().any(|field| ["spec", "spec.tls", "spec.tls.key"].contains(field)), "{fields:?}");
}

#[test]
fn reencrypt_checks_the_endpoints() {
    let spec = "host: a.b, to: {name: web}, tls: {termination: reencrypt, destinationCACertificate: PEM}";
    let list = map(spec, TLS).unwrap();
    assert_eq!(names(&list), ["pool", "destination-ca", "policy-https"]);
    // Octavia takes pools of protocol HTTP, and no others, behind a listener that ends TLS.
    assert_eq!(pool(&list).protocol, "HTTP");
    assert_eq!(pool(&list).tls, Some(PoolTls::new().ca(local("destination-ca"))));
    assert_eq!(*resource(&list, "destination-ca"), of_route("spec.tls.destinationCACertificate", "", None));

    let unchecked = map("host: a.b, to: {name: web}, tls: {termination: reencrypt}", TLS);
    assert_wrong(unchecked, "spec.tls.destinationCACertificate", "would not be checked");
}

#[test]
fn what_cannot_be_had_is_refused() {
    let table = [
        ("{termination: Edge}", TLS, "spec.tls.termination", "edge, reencrypt or passthrough"),
        ("{termination: edge}", PLAIN, "spec.tls", "no HTTPS listener"),
        (
            "{termination: edge, insecureEdgeTerminationPolicy: Drop}",
            TLS,
            "spec.tls.insecureEdgeTerminationPolicy",
            "None, Allow or Redirect",
        ),
        (
            "{termination: edge, insecureEdgeTerminationPolicy: Redirect}, wildcardPolicy: Subdomain",
            TLS,
            "spec.tls.insecureEdgeTerminationPolicy",
            "a wildcard",
        ),
    ];
    for (tls, config, field, part) in table {
        assert_wrong(map(&format!("host: a.b, to: {{name: web}}, tls: {tls}"), config), field, part);
    }
}

#[test]
fn certificates_need_a_key_manager() {
    let routes = |tls: &str| {
        [route("shop/web", 1, &format!("host: a.b, to: {{name: web}}, tls: {{termination: {tls}}}"))]
    };
    let map = |tls: &str, config: &str| {
        let cluster = cluster(&routes(tls)).with_cloud(cloud(&[("amphora", true)], false));
        cluster.map::<RouteL7Policy>(&route_kind(), "shop/web", config)
    };
    assert_wrong(map("edge", TLS), "spec.tls", "Barbican");
    assert_wrong(map("edge, certificate: PEM, key: PEM", EXISTING), "spec.tls", "Barbican");
    assert_wrong(map("reencrypt, destinationCACertificate: PEM", EXISTING), "spec.tls", "Barbican");
    assert!(map("edge", EXISTING).is_ok(), "that listener has its certificate already");
}
