//! What the rules of a policy become.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]

mod common;

use common::{
    assert_waits, assert_wrong, cloud, cluster, lines, map_among, pod, policy, policy_kind, rules, serving,
};
use isthmus_sdk::prelude::*;
use networkpolicy_securitygroup::NetworkPolicySecurityGroup;

/// Both IP versions of lines with `vN`.
fn both(lines: &[&str]) -> Vec<String> {
    lines.iter().flat_map(|line| ["v4", "v6"].map(|version| line.replace("vN", version))).collect()
}

#[test]
fn policy_types_and_empty_rules() {
    let (all_in, all_out) = ("policy: in vN any all", "policy: out vN any all");
    let table: &[(&str, &[&str])] = &[
        // deny by default; a direction that is not isolated is none of the policy's business
        ("podSelector: {}", &[]),
        ("podSelector: {}, policyTypes: [Ingress]", &[]),
        ("podSelector: {}, policyTypes: [Egress]", &[]),
        ("podSelector: {}, ingress: []", &[]),
        ("podSelector: {}, egress: []", &[]),
        ("podSelector: {}, ingress: [{}]", &[all_in]),
        ("podSelector: {}, ingress: [{from: [], ports: []}]", &[all_in]),
        ("podSelector: {}, ingress: [{}], policyTypes: []", &[all_in]),
        ("podSelector: {}, egress: [{}]", &[all_out]),
        ("podSelector: {}, ingress: [{}], egress: [{}]", &[all_in, all_out]),
        // policyTypes has the last word
        ("podSelector: {}, ingress: [{}], policyTypes: [Egress]", &[]),
        ("podSelector: {}, egress: [{}], policyTypes: [Ingress]", &[]),
        ("podSelector: {}, ingress: [{}], egress: [{}], policyTypes: [Egress]", &[all_out]),
        // twice the same is once
        ("podSelector: {}, ingress: [{}, {}]", &[all_in]),
    ];
    for (spec, expected) in table {
        assert_eq!(rules(spec), both(expected), "{spec}");
    }
}

#[test]
fn peers() {
    let table: &[(&str, &[&str])] = &[
        ("podSelector: {}", &["policy: in vN any [own: all]"]),
        ("podSelector: {matchLabels: {app: web}}", &["policy: in vN any [own: app in (web)]"]),
        ("namespaceSelector: {}", &["policy: in vN any [everywhere: all]"]),
        ("namespaceSelector: {matchLabels: {team: blue}}", &["policy: in vN any [in team in (blue): all]"]),
        (
            "namespaceSelector: {matchLabels: {team: blue}}, podSelector: {matchLabels: {app: web}}",
            &["policy: in vN any [in team in (blue): app in (web)]"],
        ),
        (
            "podSelector: {matchExpressions: [{key: a, operator: In, values: [w, v]}, {key: b, operator: NotIn, values: [z]}, {key: c, operator: Exists}, {key: d, operator: DoesNotExist}]}",
            &["policy: in vN any [own: a in (v,w),b notin (z),c,!d]"],
        ),
        ("podSelector: {matchLabels: {app: \"\"}}", &["policy: in vN any [own: app in ()]"]),
    ];
    for (peer, expected) in table {
        assert_eq!(rules(&format!("ingress: [{{from: [{{{peer}}}]}}]")), both(expected), "{peer}");
        let expected: Vec<String> =
            both(expected).iter().map(|line| line.replace(": in ", ": out ")).collect();
        assert_eq!(rules(&format!("egress: [{{to: [{{{peer}}}]}}]")), expected, "{peer}");
    }
}

#[test]
fn blocks() {
    let table: &[(&str, &[&str])] = &[
        ("{ipBlock: {cidr: 10.0.0.0/8}}", &["policy: in v4 any 10.0.0.0/8"]),
        ("{ipBlock: {cidr: 'FD00:0::/8'}}", &["policy: in v6 any fd00::/8"]),
        ("{ipBlock: {cidr: 0.0.0.0/0}}", &["policy: in v4 any all"]),
        (
            "{ipBlock: {cidr: '::/0'}}, {ipBlock: {cidr: 10.1.0.0/16}}",
            &["policy: in v4 any 10.1.0.0/16", "policy: in v6 any all"],
        ),
        // nothing is left, which is not everybody
        ("{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/8]}}", &[]),
        (
            "{ipBlock: {cidr: 10.0.0.0/24, except: [10.0.0.64/26, 10.0.0.0/26]}}",
            &["policy: in v4 any 10.0.0.128/25"],
        ),
        (
            "{ipBlock: {cidr: 10.0.0.0/24, except: [10.0.0.64/26]}}",
            &["policy: in v4 any [10.0.0.0/26 + 10.0.0.128/25]"],
        ),
        // of another peer, what one excepts may be allowed
        (
            "{ipBlock: {cidr: 10.0.0.0/24, except: [10.0.0.0/25]}}, {ipBlock: {cidr: 10.0.0.0/25}}",
            &["policy: in v4 any [10.0.0.0/25 + 10.0.0.128/25]"],
        ),
        // one set for all peers of a rule
        (
            "{podSelector: {}}, {namespaceSelector: {}}, {ipBlock: {cidr: 10.1.0.0/16}}",
            &[
                "policy: in v4 any [own: all + everywhere: all + 10.1.0.0/16]",
                "policy: in v6 any [own: all + everywhere: all + 10.1.0.0/16]",
            ],
        ),
    ];
    for (peers, expected) in table {
        assert_eq!(rules(&format!("ingress: [{{from: [{peers}]}}]")), *expected, "{peers}");
    }
}

#[test]
fn ports() {
    let table: &[(&str, &[&str])] = &[
        ("{port: 80}", &["policy: in vN tcp 80-80 all"]),
        (
            "{port: 53, protocol: UDP}, {port: 53}",
            &["policy: in vN udp 53-53 all", "policy: in vN tcp 53-53 all"],
        ),
        ("{port: 3868, protocol: SCTP}", &["policy: in vN sctp 3868-3868 all"]),
        ("{protocol: UDP}", &["policy: in vN udp all"]),
        ("{}", &["policy: in vN tcp all"]),
        ("{port: 80, endPort: 90}", &["policy: in vN tcp 80-90 all"]),
        ("{port: 80, endPort: 80}", &["policy: in vN tcp 80-80 all"]),
        ("{port: 1, endPort: 65535}", &["policy: in vN tcp 1-65535 all"]),
        ("{port: 80}, {port: 80, protocol: TCP}", &["policy: in vN tcp 80-80 all"]),
    ];
    for (ports, expected) in table {
        assert_eq!(rules(&format!("ingress: [{{ports: [{ports}]}}]")), both(expected), "{ports}");
        let expected: Vec<String> =
            both(expected).iter().map(|line| line.replace(": in ", ": out ")).collect();
        assert_eq!(rules(&format!("egress: [{{ports: [{ports}]}}]")), expected, "{ports}");
    }
}

#[test]
fn a_named_port_of_ingress_is_a_group_for_each_number() {
    let pods = [
        pod("shop/a", "app: web", &serving("http", 80)),
        pod("shop/b", "app: web", &serving("http", 8080)),
        pod("shop/c", "app: db", &serving("http", 9999)),
        pod("other/d", "app: web", &serving("http", 9998)),
        pod("shop/e", "app: web", &format!("hostNetwork: true, {}", serving("http", 9997))),
    ];
    let spec = "podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{port: http}, {port: 22}]}]";
    let list = map_among(spec, &pods).unwrap();
    let expected = both(&[
        "policy: in vN tcp 22-22 all",
        "ingress-tcp-http-80: in vN tcp 80-80 all",
        "ingress-tcp-http-8080: in vN tcp 8080-8080 all",
    ]);
    assert_eq!(lines(&list), expected);
}

#[test]
fn a_named_port_of_egress_is_a_set_for_each_number() {
    let pods = [
        pod("shop/a", "app: db", &serving("http", 80)),
        pod("stock/b", "app: db", &serving("http", 81)),
        pod("other/c", "app: db", &serving("http", 82)),
        pod("stock/d", "", &serving("http", 83)),
    ];
    let peer = "{namespaceSelector: {matchLabels: {team: blue}}, podSelector: {matchLabels: {app: db}}}";
    let list = map_among(&format!("egress: [{{to: [{peer}], ports: [{{port: http}}]}}]"), &pods).unwrap();
    let expected = both(&[
        "policy: out vN tcp 80-80 [in team in (blue): app in (db) with TCP http=80]",
        "policy: out vN tcp 81-81 [in team in (blue): app in (db) with TCP http=81]",
    ]);
    assert_eq!(lines(&list), expected);

    let list = map_among("egress: [{ports: [{port: http}]}]", &pods[..1]).unwrap();
    assert_eq!(lines(&list), both(&["policy: out vN tcp 80-80 [everywhere: all with TCP http=80]"]));
    // an address has no names of ports
    let spec = "egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0}}], ports: [{port: http}]}]";
    assert_eq!(lines(&map_among(spec, &pods).unwrap()), [""; 0]);
}

#[test]
fn address_groups_are_named_after_what_they_hold() {
    let names = |spec: &str| {
        let list = map_among(spec, &[]).unwrap();
        list.iter().map(|entry| entry.name.clone()).filter(|name| name != "policy").collect::<Vec<_>>()
    };
    let a = "{from: [{podSelector: {matchLabels: {app: a}}}], ports: [{port: 1}]}";
    let b = "{from: [{podSelector: {matchLabels: {app: b}}}], ports: [{port: 2}]}";
    let (one, two) = (names(&format!("ingress: [{a}, {b}]")), names(&format!("ingress: [{b}, {a}]")));
    assert_eq!((one.len(), &one), (2, &two), "the order of rules changes no group");
    assert_eq!(names(&format!("ingress: [{a}, {a}]")).len(), 1, "rules share a group");
    // The name is of the cloud's resource: another one for the same content would make it anew, everywhere.
    assert_eq!(names(&format!("ingress: [{a}]")), ["peers-f9b735b950dd61d9"]);
}

#[test]
fn says_where_a_policy_is_wrong() {
    let table = [
        ("podSelector: {matchLabels: {'a b': x}}", r#"spec.podSelector.matchLabels["a b"]"#, "label key"),
        ("podSelector: {matchLabels: {a: 'x,b'}}", r#"spec.podSelector.matchLabels["a"]"#, "label value"),
        (
            "podSelector: {matchExpressions: [{key: a, operator: Gt, values: ['1']}]}",
            "spec.podSelector.matchExpressions[0].operator",
            "found \"Gt\"",
        ),
        (
            "podSelector: {matchExpressions: [{key: a, operator: In}]}",
            "spec.podSelector.matchExpressions[0].values",
            "need values",
        ),
        (
            "podSelector: {matchExpressions: [{key: a, operator: Exists, values: [x]}]}",
            "spec.podSelector.matchExpressions[0].values",
            "no values",
        ),
        ("policyTypes: [Ingress, Both]", "spec.policyTypes[1]", "Ingress or Egress"),
        ("ingress: [{from: [{}]}]", "spec.ingress[0].from[0]", "a peer needs"),
        (
            "egress: [{}, {to: [{ipBlock: {cidr: 10.0.0.0/8}, podSelector: {}}]}]",
            "spec.egress[1].to[0]",
            "not both",
        ),
        (
            "ingress: [{from: [{ipBlock: {cidr: 10.0.0.1}}]}]",
            "spec.ingress[0].from[0].ipBlock.cidr",
            "10.0.0.1",
        ),
        (
            "ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/9, x]}}]}]",
            "spec.ingress[0].from[0].ipBlock.except[1]",
            "\"x\"",
        ),
        (
            "ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: '', operator: Exists}]}}]}]",
            "spec.ingress[0].from[0].namespaceSelector.matchExpressions[0].key",
            "label key",
        ),
        ("ingress: [{ports: [{port: 0}]}]", "spec.ingress[0].ports[0].port", "1 to 65535"),
        ("ingress: [{ports: [{port: 65536}]}]", "spec.ingress[0].ports[0].port", "1 to 65535"),
        ("ingress: [{ports: [{port: '80'}]}]", "spec.ingress[0].ports[0].port", "and a letter"),
        ("ingress: [{ports: [{protocol: ICMP}]}]", "spec.ingress[0].ports[0].protocol", "TCP, UDP or SCTP"),
        ("ingress: [{ports: [{endPort: 80}]}]", "spec.ingress[0].ports[0].endPort", "needs a port"),
        ("ingress: [{ports: [{port: http, endPort: 80}]}]", "spec.ingress[0].ports[0].endPort", "a number"),
        ("egress: [{ports: [{port: 80, endPort: 79}]}]", "spec.egress[0].ports[0].endPort", "less than"),
        ("ingress: [{ports: 1}]", "spec.ingress", "invalid type"),
    ];
    for (spec, field, part) in table {
        let result = map_among(spec, &[]);
        if part == "invalid type" {
            // serde's own words, with its own path
            assert!(matches!(result, Err(Outcome::Invalid(_))), "{spec}");
            continue;
        }
        assert_wrong(result, field, part);
    }
}

#[test]
fn without_address_groups_pods_can_not_be_named() {
    let mapped =
        |spec: &str, extensions: &[&str]| {
            cluster(&[policy("shop/web", spec)])
                .with_cloud(cloud(extensions))
                .map::<NetworkPolicySecurityGroup>(&policy_kind(), "shop/web", "{}")
        };
    let needing = [
        "ingress: [{from: [{podSelector: {}}]}]",
        "egress: [{to: [{namespaceSelector: {}}]}]",
        "egress: [{ports: [{port: http}]}]",
    ];
    for spec in needing {
        assert_waits(
            mapped(spec, &[]),
            "lacks the extension address-group and security-groups-remote-address-group",
        );
        assert_waits(
            mapped(spec, &["address-group"]),
            "lacks the extension security-groups-remote-address-group:",
        );
    }
    // Networks need no set: each a rule of its own.
    let spec = "ingress: [{ports: [{port: http}], from: [{ipBlock: {cidr: 10.0.0.0/24, except: [10.0.0.64/26]}}]}, \
                {from: [{ipBlock: {cidr: 10.0.0.0/24, except: [10.0.0.64/26]}}]}], \
                egress: [{to: [{podSelector: {}}]}], policyTypes: [Ingress]";
    let list = mapped(spec, &[]).unwrap();
    assert_eq!(lines(&list), ["policy: in v4 any 10.0.0.0/26", "policy: in v4 any 10.0.0.128/25"]);
}
