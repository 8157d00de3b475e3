//! The mapper, natively, on the object of `deploy`.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use dns_name_port::DnsNamePort;
use isthmus_sdk::prelude::*;
use isthmus_sdk::snapshot::Cloud;
use isthmus_sdk::testing::Cluster;

fn kind() -> Kind {
    Kind::new("example.com", "v1", "ReservedPort")
}

fn map(object: &str, extension: &str) -> Result<Vec<Desired>, Outcome> {
    let cloud = Cloud {
        network_extensions: vec![extension.into()],
        load_balancer_providers: vec![],
        has_key_manager: false,
    };
    let cluster = Cluster::from_yaml(object).unwrap().with_cloud(cloud);
    cluster.map::<DnsNamePort>(&kind(), "default/printer", "{}")
}

#[test]
fn a_reserved_port_has_a_name() {
    let example = include_str!("../deploy/example.yaml");
    let expected = [Port::new(existing("pods")).dns_name("printer").named("port")];
    assert_eq!(map(example, "dns-integration").unwrap(), expected);
    assert_eq!(
        Cluster::from_yaml(example).unwrap().map::<DnsNamePort>(&kind(), "default/printer", "{}").unwrap(),
        expected
    );
    assert!(matches!(map(example, "qos"), Err(Outcome::Waiting(_))));
    let unnamed = example.replace(", dnsName: printer", "");
    assert!(matches!(map(&unnamed, "dns-integration"), Err(Outcome::Invalid(_))));
}
