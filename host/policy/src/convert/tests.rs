//! Every field of the contract must be one that the model knows, and the other way round.

use std::collections::BTreeSet;

use isthmus_model::desired::DesiredList;
use isthmus_model::value::Value;

use super::*;
use crate::bindings::isthmus::mapping::{load_balancing as lb, networking as net, values as v};

fn reference() -> v::Reference {
    v::Reference::Existing("x".into())
}

fn fixed_ip() -> net::FixedIp {
    net::FixedIp { subnet: Some(reference()), address: Some("192.0.2.1".into()) }
}

/// One of each kind, with every field set.
fn one_of_each() -> Vec<types::Resource> {
    let text = || "x".to_owned();
    let object = v::ObjectKey {
        kind: v::Kind { group: String::new(), version: "v1".into(), kind: "Secret".into() },
        namespace: Some(text()),
        name: text(),
    };
    vec![
        types::Resource::Network(net::Network {
            mtu: Some(1),
            port_security: Some(true),
            dns_domain: Some(text()),
        }),
        types::Resource::Subnet(net::Subnet {
            network: reference(),
            ip_version: v::IpVersion::V6,
            prefix: net::Prefix::FromPool(net::PoolPrefix { subnet_pool: reference(), length: Some(64) }),
            gateway: net::Gateway::None,
            dhcp: true,
            allocation_pools: Some(vec![net::AllocationPool { first: text(), last: text() }]),
            ipv6_address_mode: Some(net::Ipv6Mode::Slaac),
            ipv6_ra_mode: Some(net::Ipv6Mode::Dhcpv6Stateless),
            dns_nameservers: vec![text()],
            host_routes: vec![net::Route { destination: text(), next_hop: text() }],
        }),
        types::Resource::RouterInterface(net::RouterInterface { router: reference(), subnet: reference() }),
        types::Resource::SecurityGroup(net::SecurityGroup {
            rules: vec![net::SecurityRule {
                direction: net::Direction::Ingress,
                ip_version: v::IpVersion::V4,
                protocol: Some("icmp".into()),
                ports: net::PortMatch::Icmp(net::IcmpMatch { type_: 8, code: Some(0) }),
                remote: net::Remote::Group(reference()),
            }],
            stateful: Some(true),
        }),
        types::Resource::AddressGroup(net::AddressGroup {
            addresses: vec![
                v::AddressSet::Literal("192.0.2.0/24".into()),
                v::AddressSet::CidrOf(reference()),
                v::AddressSet::AddressesOf(v::Selection {
                    kind: v::Kind { group: String::new(), version: "v1".into(), kind: "Pod".into() },
                    namespaces: None,
                    selector: "app=web".into(),
                    vif: None,
                    ip_version: Some(v::IpVersion::V4),
                    named_port: Some(v::NamedPort { name: text(), protocol: "TCP".into(), port: 80 }),
                }),
            ],
        }),
        types::Resource::Port(net::Port {
            network: reference(),
            fixed_ips: Some(vec![fixed_ip()]),
            security_groups: Some(vec![]),
            port_security: Some(true),
            mac_address: Some(text()),
            allowed_address_pairs: vec![net::AddressPair {
                address: v::Address::AddressOf(v::ResourceAddress {
                    of: reference(),
                    ip_version: v::IpVersion::V4,
                }),
                mac_address: None,
            }],
            qos_policy: Some(reference()),
            host: Some(text()),
            vnic_type: Some(text()),
            dns_name: Some(text()),
        }),
        types::Resource::Vif(net::Vif {
            interface: "eth0".into(),
            port: reference(),
            default_route: true,
            routes: vec![],
            binding: Some(text()),
            device: Some(text()),
        }),
        types::Resource::FloatingIp(net::FloatingIp {
            network: reference(),
            subnet: Some(reference()),
            address: Some(text()),
            target: net::FloatingTarget::Unattached,
        }),
        types::Resource::FloatingIpAssociation(net::FloatingIpAssociation {
            floating_ip: reference(),
            target: net::FloatingTarget::Vip(reference()),
        }),
        types::Resource::LoadBalancer(lb::LoadBalancer {
            vip: lb::Vip::FixedIp(fixed_ip()),
            vip_security_groups: vec![reference()],
            additional_vips: vec![],
            provider: Some(text()),
            flavor: Some(text()),
            availability_zone: Some(text()),
        }),
        types::Resource::Listener(lb::Listener {
            load_balancer: reference(),
            protocol: "TCP".into(),
            port: 80,
            default_pool: Some(reference()),
            connection_limit: Some(9),
            timeouts: lb::Timeouts {
                client_data_ms: Some(1),
                member_connect_ms: None,
                member_data_ms: None,
                tcp_inspect_ms: None,
            },
            allowed_cidrs: vec![],
            insert_headers: vec![lb::Header { name: text(), value: text() }],
            tls: Some(lb::ListenerTls {
                default: reference(),
                versions: vec![],
                ciphers: None,
                alpn: vec![],
                client_ca: Some(reference()),
                client_authentication: Some(lb::ClientAuthentication::Mandatory),
            }),
        }),
        types::Resource::Pool(lb::Pool {
            load_balancer: reference(),
            protocol: "TCP".into(),
            algorithm: "ROUND_ROBIN".into(),
            session_persistence: Some(lb::SessionPersistence {
                mode: text(),
                cookie_name: None,
                timeout_s: None,
            }),
            members: vec![lb::Member {
                name: None,
                address: v::Address::Literal("192.0.2.1".into()),
                port: 80,
                subnet: None,
                weight: Some(1),
                backup: false,
                monitor_port: None,
            }],
            monitor: Some(lb::HealthMonitor {
                type_: "TCP".into(),
                delay_s: 5,
                timeout_s: 2,
                max_retries: 1,
                max_retries_down: None,
                http_method: None,
                url_path: None,
                expected_codes: None,
                domain_name: None,
            }),
            tls: Some(lb::PoolTls { ca: Some(reference()), client: None, versions: vec![] }),
        }),
        types::Resource::L7Policy(lb::L7Policy {
            listener: reference(),
            precedence: text(),
            action: lb::L7Action::RedirectUrl(lb::Redirect { to: text(), code: Some(301) }),
            rules: vec![lb::L7Rule {
                field: lb::L7Field::HostName,
                compare: lb::L7Compare::EqualTo,
                key: None,
                value: text(),
                invert: false,
            }],
        }),
        types::Resource::Certificate(lb::Certificate {
            source: lb::CertificateSource::FromObject(lb::CertificateFields {
                object,
                certificate: text(),
                private_key: text(),
                chain: None,
            }),
        }),
        types::Resource::ListenerCertificate(lb::ListenerCertificate {
            listener: reference(),
            certificate: reference(),
        }),
    ]
}

#[test]
fn fields_are_those_of_the_model() {
    let mut seen = BTreeSet::new();
    for one in one_of_each() {
        let (kind, fields) = resource(one);
        let mut known: BTreeSet<&str> = kind.fields().iter().map(|f| f.name).collect();
        // The host's own: what stands in for a source that no module is given, and for the host of a port that is reached through
        // its node's.
        for own in ["content", "node"] {
            known.remove(own);
        }
        let found: BTreeSet<&str> = fields.keys().map(String::as_str).collect();
        assert_eq!(found, known, "{kind}");
        seen.insert(kind);
    }
    // What a port has of its node's is the host's own too.
    let all = Kind::ALL.into_iter().filter(|kind| !kind.is_nested());
    assert_eq!(seen, all.collect());
}

#[test]
fn values_follow_the_one_rule() {
    let rendered: Vec<serde_json::Value> = one_of_each()
        .into_iter()
        .map(|one| serde_json::to_value(Value::Map(resource(one).1)).unwrap())
        .collect();
    let at = |kind: usize, path: &str| rendered[kind].pointer(path).cloned().unwrap();
    assert_eq!(at(1, "/gateway"), serde_json::json!({"none": true}));
    assert_eq!(at(1, "/prefix/from_pool/length"), 64);
    assert_eq!(at(1, "/ip_version"), "v6");
    assert_eq!(at(3, "/rules/0/ports/icmp"), serde_json::json!({"type": 8, "code": 0}));
    assert_eq!(at(4, "/addresses/0"), "192.0.2.0/24");
    assert_eq!(at(5, "/network"), serde_json::json!({"$existing": "x"}));
    assert_eq!(at(5, "/security_groups"), serde_json::json!([]));
    assert_eq!(at(10, "/timeouts"), serde_json::json!({"client_data_ms": 1}));
    assert_eq!(at(10, "/tls/client_authentication"), "mandatory");
    assert_eq!(at(12, "/rules/0/field"), "host-name");
}

#[test]
fn late_addresses_are_references() {
    let port = one_of_each().remove(5);
    let desired = types::Desired {
        name: "port".into(),
        resource: port,
        after: vec![v::Reference::Local("port-2".into())],
        on_removal: types::Removal::Retain,
        create: types::Creation::WhenReferenced,
        display_name: None,
        description: None,
        project: None,
        tags: vec!["b".into(), "a".into(), "b".into()],
    };
    let entry = entry(desired);
    assert_eq!((entry.on_removal, entry.create), (Removal::Retain, Creation::WhenReferenced));
    assert_eq!(entry.tags.iter().collect::<Vec<_>>(), ["a", "b"]);
    assert!(DesiredList::new(vec![entry]).is_err(), "`after` refers to what is not there");
}
