//! What the ports of a Pod carry, and what all of them share.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]

mod common;

use common::{
    NAME, OPEN, assert_waits, assert_wrong, carried, carried_in, cloud, cluster, groups, lines, module_kind,
    pod, policy, refine_in, serving,
};
use isthmus_sdk::log::Level;
use isthmus_sdk::prelude::*;
use isthmus_sdk::testing::take_log;
use networkpolicy_securitygroup::NetworkPolicySecurityGroup;

const WEB: &str = "podSelector: {matchLabels: {app: web}}";

#[test]
fn a_pod_that_no_policy_selects_stays_as_it_is() {
    let objects = [
        pod("shop/a", "app: db", ""),
        policy("shop/web", WEB),
        // of another namespace
        policy("stock/all", "podSelector: {}"),
    ];
    assert_eq!(carried(&objects, "shop/a"), [OPEN]);
    assert_eq!(carried(&objects[..1], "shop/a"), [OPEN]);
}

/// The groups only allow: what is open in a direction must be carried only where no policy isolates the Pod in it.
#[test]
fn directions_that_no_policy_isolates_stay_open() {
    let (ingress, egress, both) =
        ("policyTypes: [Ingress]", "policyTypes: [Egress]", "policyTypes: [Ingress, Egress]");
    let table: &[(&[&str], &[&str])] = &[
        (&[ingress], &["p0/policy", "shared/egress-open"]),
        (&[egress], &["p0/policy", "shared/ingress-open"]),
        (&[both], &["p0/policy"]),
        (&[ingress, egress], &["p0/policy", "p1/policy"]),
        (&[egress, ingress], &["p0/policy", "p1/policy"]),
        (&[ingress, ingress], &["p0/policy", "p1/policy", "shared/egress-open"]),
        (&[egress, egress], &["p0/policy", "p1/policy", "shared/ingress-open"]),
        (&[both, ingress, egress], &["p0/policy", "p1/policy", "p2/policy"]),
    ];
    for (types, expected) in table {
        let policies = types
            .iter()
            .enumerate()
            .map(|(i, types)| policy(&format!("shop/p{i}"), &format!("{WEB}, {types}")));
        let mut objects: Vec<String> = policies.collect();
        objects.push(pod("shop/a", "app: web", ""));
        assert_eq!(carried(&objects, "shop/a"), *expected, "{types:?}");
    }
}

#[test]
fn a_pod_carries_the_groups_of_its_own_port_numbers() {
    let objects = [
        pod("shop/a", "app: web", &serving("http", 80)),
        pod("shop/b", "app: web", &serving("http", 8080)),
        pod("shop/c", "app: web", &serving("metrics", 80)),
        pod(
            "shop/d",
            "app: web",
            &format!(
                "{}, initContainers: [{{restartPolicy: Always, ports: [{{name: http, containerPort: 81}}]}}]",
                serving("http", 80)
            ),
        ),
        policy("shop/web", &format!("{WEB}, ingress: [{{ports: [{{port: http}}]}}]")),
        // a name of egress is of the peers
        policy("shop/out", &format!("{WEB}, egress: [{{ports: [{{port: metrics}}]}}]")),
    ];
    assert_eq!(carried(&objects, "shop/a"), ["out/policy", "web/policy", "web/ingress-tcp-http-80"]);
    assert_eq!(carried(&objects, "shop/b"), ["out/policy", "web/policy", "web/ingress-tcp-http-8080"]);
    assert_eq!(carried(&objects, "shop/c"), ["out/policy", "web/policy"]);
    // a name may stand for two numbers
    let both = ["out/policy", "web/policy", "web/ingress-tcp-http-80", "web/ingress-tcp-http-81"];
    assert_eq!(carried(&objects, "shop/d"), both);
}

#[test]
fn what_is_always_allowed_is_what_the_config_says() {
    let objects = [
        pod("shop/a", "app: web", ""),
        pod("shop/b", "app: out", ""),
        policy("shop/web", WEB),
        policy("shop/out", "podSelector: {matchLabels: {app: out}}, policyTypes: [Egress]"),
    ];
    let cluster = cluster(&objects);
    let shared = |config: &str| {
        lines(&cluster.map::<NetworkPolicySecurityGroup>(&module_kind(), NAME, config).unwrap())
    };
    let open = [
        "ingress-open: in v4 any all",
        "ingress-open: in v6 any all",
        "egress-open: out v4 any all",
        "egress-open: out v6 any all",
    ];
    assert_eq!(shared("{}"), open);

    let config = r#"{"allowFrom": ["10.9.0.0/24", "fd09::/64"], "allowFromGroups": ["nodes"], "keepGroups": ["base"]}"#;
    let allowed = [
        "always-allowed: in v4 any 10.9.0.0/24",
        "always-allowed: in v6 any fd09::/64",
        "always-allowed: in v4 any group nodes",
        "always-allowed: in v6 any group nodes",
    ];
    assert_eq!(shared(config), [&open[..], &allowed[..]].concat());
    let expected = ["web/policy", "base", "shared/always-allowed", "shared/egress-open"];
    assert_eq!(carried_in(&cluster, "shop/a", config), expected);
    assert_eq!(carried_in(&cluster, "shop/b", config), ["out/policy", "base", "shared/ingress-open"]);

    let config = r#"{"ingressOpenGroups": ["tenant"], "egressOpenGroups": []}"#;
    assert_eq!(shared(config), [""; 0]);
    assert_eq!(carried_in(&cluster, "shop/a", config), ["web/policy"]);
    assert_eq!(carried_in(&cluster, "shop/b", config), ["out/policy", "tenant"]);

    // What is always allowed is so too where something else than everything may come in.
    let config = r#"{"ingressOpenGroups": ["tenant"], "allowFrom": ["10.9.0.0/24"]}"#;
    assert_eq!(carried_in(&cluster, "shop/b", config), ["out/policy", "tenant", "shared/always-allowed"]);
}

/// Without its Namespace's group a Pod was a stranger to neighbours that let in who carries it; and a policy for egress alone opened
/// an isolated Namespace's Pod to all tenants.
#[test]
fn a_pod_of_an_isolated_namespace_stays_of_it_and_isolated() {
    let of_namespace = |name: &str| {
        mapped(ObjectKey { kind: Kind::core("Namespace"), namespace: None, name: "shop".into() }, name)
    };
    let (members, ingress, egress) = ("shop/members", "shop/ingress", "shop/egress");
    let shared = "shared/always-allowed";
    let allowing = r#"{"allowFrom": ["10.9.0.0/24"]}"#;
    let named = r#"{"ingressOpenGroups": ["in"], "egressOpenGroups": []}"#;
    let table: [(&str, &str, &[&str]); 6] = [
        ("Ingress", "{}", &["web/policy", members, egress]),
        ("Egress", "{}", &["web/policy", members, ingress]),
        ("Ingress, Egress", "{}", &["web/policy", members]),
        ("Egress", allowing, &["web/policy", members, ingress, shared]),
        ("Ingress", allowing, &["web/policy", members, shared, egress]),
        ("Egress", named, &["web/policy", members, "in"]),
    ];
    for (types, config, expected) in table {
        let objects =
            [pod("shop/a", "app: web", ""), policy("shop/web", &format!("{WEB}, policyTypes: [{types}]"))];
        let mut port = Port::new(existing("pods"));
        port.security_groups = Some(["members", "ingress", "egress"].map(of_namespace).to_vec());
        let list = vec![port.security_group(existing("site")).named("port")];
        let list = cluster(&objects).refine::<NetworkPolicySecurityGroup>(
            &Kind::core("Pod"),
            "shop/a",
            config,
            list,
        );
        assert_eq!(groups(&list.unwrap()[0]), expected, "{types} {config}");
    }
}

#[test]
fn the_groups_that_are_shared_are_of_one_policy_module() {
    let mapped = |config: &str| cluster(&[]).map::<NetworkPolicySecurityGroup>(&module_kind(), NAME, config);
    assert!(matches!(mapped(r#"{"policyModule": "another"}"#), Err(Outcome::NotMapped(_))));
    let table = [
        (r#"{"policyModule": "A B"}"#, "config.policyModule", "no object of such a name"),
        (r#"{"allowFrom": ["10.0.0.0/8", "10.0.0.1"]}"#, "config.allowFrom[1]", "10.0.0.1"),
        (r#"{"keepGroups": [""]}"#, "config.keepGroups[0]", "1 to 255"),
        (r#"{"color": 1}"#, "config.color", "unknown field"),
    ];
    for (config, field, part) in table {
        assert_wrong(mapped(config), field, part);
    }
}

#[test]
fn a_policy_that_can_not_be_enforced_holds_its_pods_and_no_others() {
    let objects = [
        pod("shop/a", "app: web", ""),
        pod("shop/b", "app: db", ""),
        policy("shop/web", &format!("{WEB}, ingress: [{{ports: [{{port: 0}}]}}]")),
    ];
    let wrong = cluster(&objects);
    assert_waits(
        refine_in(&wrong, "shop/a", "{}"),
        "NetworkPolicy web of the Pod's namespace can't be enforced: spec.ingress[0].ports[0].port: ",
    );
    assert_eq!(carried_in(&wrong, "shop/b", "{}"), [OPEN]);

    let objects = [
        pod("shop/a", "app: web", ""),
        policy("shop/web", &format!("{WEB}, ingress: [{{from: [{{podSelector: {{}}}}]}}]")),
    ];
    let lacking = cluster(&objects).with_cloud(cloud(&[]));
    assert_waits(refine_in(&lacking, "shop/a", "{}"), "Neutron lacks the extension");
}

#[test]
fn a_port_without_port_security_can_not_be_isolated() {
    let cluster = cluster(&[pod("shop/a", "app: web", ""), policy("shop/web", WEB)]);
    let refined = |port: Port| {
        cluster.refine::<NetworkPolicySecurityGroup>(
            &Kind::core("Pod"),
            "shop/a",
            "{}",
            vec![port.named("port")],
        )
    };
    let result = refined(Port::new(existing("pods")).port_security(false));
    assert!(matches!(result, Err(Outcome::Invalid(_))), "{result:?}");
    assert!(refined(Port::new(existing("pods")).port_security(true)).is_ok());
    assert_eq!(take_log(), []);
    assert!(refined(Port::new(existing("pods")).vnic_type("direct")).is_ok());
    assert!(matches!(take_log().as_slice(), [(Level::Warn, text)] if text.contains("VNIC type direct")));
}

#[test]
fn pods_without_ports_are_left_alone() {
    let objects = [
        pod("shop/host", "app: web", "hostNetwork: true"),
        pod("shop/done", "app: web", ""),
        policy("shop/web", &format!("{WEB}, ingress: [{{ports: [{{port: 0}}]}}]")),
    ];
    let cluster = cluster(&objects);
    for name in ["shop/host", "shop/done"] {
        let refined = cluster.refine::<NetworkPolicySecurityGroup>(&Kind::core("Pod"), name, "{}", vec![]);
        assert_eq!(refined, Ok(vec![]), "{name}");
    }
}
