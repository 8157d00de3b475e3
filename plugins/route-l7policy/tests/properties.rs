//! What holds for all Routes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]

mod common;

use common::{PLAIN, TLS, cluster, map_of, policy, route, route_kind};
use isthmus_sdk::prelude::*;
use isthmus_sdk::records::load_balancing::{L7Action, L7Compare, L7Field, L7Rule};
use proptest::prelude::*;
use regex::Regex;
use route_l7policy::RouteL7Policy;

/// What a load balancer does with a rule.
fn matches(rule: &L7Rule, host: &str, path: &str) -> bool {
    let text = match rule.field {
        // the only comparison that ignores case
        L7Field::HostName => host.to_ascii_lowercase(),
        L7Field::Path => path.to_owned(),
        other => panic!("{other:?}"),
    };
    let found = match rule.compare {
        L7Compare::EqualTo => text == rule.value,
        L7Compare::Regex => Regex::new(&rule.value).unwrap().is_match(&text),
        other => panic!("{other:?}"),
    };
    assert!(rule.value.len() <= 255);
    found != rule.invert
}

/// The same, element by element.
fn is_below(route: &str, request: &str) -> bool {
    let elements = |path: &str| path.split('/').map(str::to_owned).collect::<Vec<_>>();
    if route.trim_matches('/').is_empty() {
        return true;
    }
    let (mut of_route, of_request) = (elements(route), elements(request));
    if route.ends_with('/') {
        of_route.pop();
        return of_request.len() > of_route.len() && of_request.starts_with(&of_route);
    }
    of_request.starts_with(&of_route)
}

/// A few names, so that they meet often.
fn path() -> impl Strategy<Value = String> {
    let element = prop::sample::select(vec!["a", "b", "ab", "a.b", "aXb", "(a)", "a+", "*", "$", ""]);
    prop::collection::vec(element, 0..4).prop_map(|elements| format!("/{}", elements.join("/")))
}

fn host() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "a.example.com",
        "b.example.com",
        "a.b.example.com",
        "example.com",
        "aXexample.com",
    ])
}

#[derive(Clone, Debug)]
struct Wanted {
    host: &'static str,
    path: String,
    wildcard: bool,
    day: u8,
}

fn wanted() -> impl Strategy<Value = Wanted> {
    let fields = (host(), path(), any::<bool>(), 1u8..4);
    fields.prop_map(|(host, path, wildcard, day)| Wanted { host, path, wildcard, day })
}

/// Of hosts and paths that are mostly for one request.
fn close() -> impl Strategy<Value = Wanted> {
    let host = prop::sample::select(vec!["a.example.com", "a.example.com", "b.example.com"]);
    let path = prop::sample::select(vec!["/", "/", "/a", "/a/", "/a/b", "/a/b/", "/a/b/c", "/ab", "/b"]);
    let wildcard = prop::sample::select(vec![false, false, true]);
    (host, path, wildcard, 1u8..4).prop_map(|(host, path, wildcard, day)| Wanted {
        host,
        path: path.into(),
        wildcard,
        day,
    })
}

fn request() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["/a/b/c", "/a/b/c", "/a/b/x", "/a/b/", "/a/b", "/a", "/", "/ab"])
}

fn document(name: &str, wanted: &Wanted) -> String {
    let Wanted { host, path, wildcard, day } = wanted;
    let wildcard = if *wildcard { ", wildcardPolicy: Subdomain" } else { "" };
    let host = host.to_ascii_lowercase();
    route(name, *day, &format!("host: {host}, path: '{path}'{wildcard}, to: {{name: web}}"))
}

/// Each Route mapped as if it were alone.
fn found(wanted: &Wanted) -> L7Policy {
    policy(&map_of(&[document("shop/web", wanted)], "shop/web", PLAIN).unwrap(), "policy-http").clone()
}

fn all_match(policy: &L7Policy, host: &str, path: &str) -> bool {
    policy.rules.iter().all(|rule| matches(rule, host, path))
}

proptest! {
    #[test]
    fn a_path_is_for_its_elements(wanted in wanted(), request in path()) {
        let wanted = Wanted { wildcard: false, ..wanted };
        let rules = found(&wanted);
        let host = wanted.host.to_ascii_uppercase();
        prop_assert_eq!(all_match(&rules, &host, &request), is_below(&wanted.path, &request));
        let longer = format!("x{host}");
        prop_assert!(!all_match(&rules, &longer, &request));
    }

    #[test]
    fn a_wildcard_is_for_one_label(wanted in wanted(), request in host(), port in prop::sample::select(vec!["", ":80"])) {
        let wanted = Wanted { wildcard: true, path: "/".into(), ..wanted };
        let domain = |host: &str| host.to_ascii_lowercase().split_once('.').map(|(_, domain)| domain.to_owned());
        let rules = found(&wanted);
        let same = domain(wanted.host) == domain(request);
        let sent = format!("{request}{port}");
        prop_assert_eq!(all_match(&rules, &sent, "/"), same);
    }

    #[test]
    fn the_more_specific_route_is_first(one in close(), two in close(), path in request()) {
        let host = "a.example.com";
        let (a, b) = (found(&one), found(&two));
        let both = all_match(&a, host, path) && all_match(&b, host, path);
        let length = |w: &Wanted| if w.path.trim_matches('/').is_empty() { 0 } else { w.path.len() };
        // smaller is first; among equals the older
        let rank = |w: &Wanted| (w.wildcard, std::cmp::Reverse(length(w)), w.day);
        if both {
            prop_assert_eq!(a.precedence.cmp(&b.precedence), rank(&one).cmp(&rank(&two)));
        }
    }

    #[test]
    fn of_one_place_one_route_is_served(routes in prop::collection::vec((close(), 0usize..3), 1..6)) {
        let name = |at: usize, namespace: usize| format!("{}/r{at}", ["shop", "other", "third"][namespace]);
        let documents: Vec<String> =
            routes.iter().enumerate().map(|(at, (wanted, namespace))| document(&name(at, *namespace), wanted)).collect();
        // Names and days give the age; the oldest of a host says whose it is, the oldest of a path there is served.
        let place = |at: usize| {
            let wanted = &routes[at].0;
            let host = if wanted.wildcard { wanted.host.split_once('.').unwrap().1 } else { wanted.host };
            (host.to_ascii_lowercase(), wanted.wildcard)
        };
        let path = |at: usize| match routes[at].0.path.as_str() {
            path if path.trim_matches('/').is_empty() => "",
            path => path,
        };
        let age = |at: usize| (routes[at].0.day, name(at, routes[at].1));
        let oldest = |fits: &dyn Fn(usize) -> bool| (0..routes.len()).filter(|at| fits(*at)).min_by_key(|at| age(*at));
        let mut precedences = std::collections::BTreeSet::new();
        for (at, (_, namespace)) in routes.iter().enumerate() {
            let owner = routes[oldest(&|other| place(other) == place(at)).unwrap()].1;
            let same = |other: usize| {
                routes[other].1 == *namespace && place(other) == place(at) && path(other) == path(at)
            };
            let found = map_of(&documents, &name(at, *namespace), PLAIN);
            prop_assert_eq!(found.is_ok(), owner == *namespace && oldest(&same) == Some(at));
            // The order in which objects are known says nothing.
            let mut reversed = documents.clone();
            reversed.reverse();
            prop_assert_eq!(&found, &map_of(&reversed, &name(at, *namespace), PLAIN));
            if let Ok(list) = found {
                prop_assert!(precedences.insert(policy(&list, "policy-http").precedence.clone()));
            }
        }
    }

    #[test]
    fn a_request_goes_where_the_most_specific_route_says(
        routes in prop::collection::vec((close(), prop::sample::select(vec!["", "None", "Allow", "Redirect"])), 1..6),
        path in request(),
    ) {
        let host = "a.example.com";
        let document = |(at, (wanted, policy)): (usize, &(Wanted, &str))| {
            let tls = format!("tls: {{termination: edge, insecureEdgeTerminationPolicy: {policy}}}, to:");
            let plain = document(&format!("shop/r{at}"), wanted);
            if policy.is_empty() { plain } else { plain.replace("to:", &tls) }
        };
        let documents: Vec<String> = routes.iter().enumerate().map(document).collect();
        let mapped: Vec<(usize, Vec<Desired>)> = (0..routes.len())
            .filter_map(|at| Some((at, map_of(&documents, &format!("shop/r{at}"), TLS).ok()?)))
            .collect();
        // As haproxy: redirects before pools, whatever their order; then pools in theirs.
        let on_http = |(_, list): &(usize, Vec<Desired>)| list.iter().find_map(|entry| match &entry.resource {
            Resource::L7Policy(policy) if entry.name == "policy-http" => Some(policy.clone()),
            _ => None,
        });
        let matching = mapped.iter().filter_map(|one| Some((one.0, on_http(one)?)));
        let matching: Vec<(usize, L7Policy)> =
            matching.filter(|(_, policy)| all_match(policy, host, path)).collect();
        let redirects = |policy: &L7Policy| matches!(policy.action, L7Action::RedirectPrefix(_));
        let pools = matching.iter().filter(|(_, policy)| !redirects(policy));
        let found = match matching.iter().any(|(_, policy)| redirects(policy)) {
            true => Some(None),
            false => pools.min_by_key(|(_, policy)| &policy.precedence).map(|(at, _)| Some(*at)),
        };
        // What the Routes say: of those that are for it and say something about HTTP, the most specific one.
        let length = |w: &Wanted| if w.path.trim_matches('/').is_empty() { 0 } else { w.path.len() };
        let rank = |at: usize| (routes[at].0.wildcard, std::cmp::Reverse(length(&routes[at].0)));
        let is_for = |wanted: &Wanted| {
            let domain = |host: &str| host.to_ascii_lowercase().split_once('.').map(|(_, domain)| domain.to_owned());
            let same = match wanted.wildcard {
                true => domain(wanted.host) == domain(host),
                false => wanted.host.eq_ignore_ascii_case(host),
            };
            same && is_below(&wanted.path, path)
        };
        let wanted = mapped.iter().map(|(at, _)| *at).filter(|at| is_for(&routes[*at].0) && routes[*at].1 != "None");
        let wanted = wanted.min_by_key(|at| rank(*at)).map(|at| (routes[at].1 != "Redirect").then_some(at));
        prop_assert_eq!(found, wanted);
    }

    #[test]
    fn no_text_is_a_panic(host in ".{0,40}", path in ".{0,40}", service in ".{0,20}", timestamp in ".{0,20}") {
        let spec = serde_json::json!({"host": host, "path": path, "to": {"name": service}});
        let metadata = serde_json::json!({"name": "web", "namespace": "shop", "creationTimestamp": timestamp});
        let object = serde_json::json!({
            "apiVersion": "route.openshift.io/v1", "kind": "Route", "metadata": metadata, "spec": spec,
        });
        let mut cluster = cluster(&[]);
        cluster.add(object).unwrap();
        let result = cluster.map::<RouteL7Policy>(&route_kind(), "shop/web", PLAIN);
        prop_assert!(matches!(result, Ok(_) | Err(Outcome::Invalid(_) | Outcome::NotMapped(_))));
    }
}
