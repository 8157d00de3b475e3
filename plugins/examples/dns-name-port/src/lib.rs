//! Example mapper: a `ReservedPort`, a custom resource of one's own, is a Neutron port with a DNS name. Its address is kept for
//! whoever is to have it: a virtual machine, an appliance.

use isthmus_sdk::objects::Text;
use isthmus_sdk::prelude::*;
use serde::Deserialize;

/// ReservedPort to port.
pub struct DnsNamePort;

#[derive(Deserialize)]
struct ReservedPort<'a> {
    #[serde(borrow)]
    spec: Spec<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec<'a> {
    #[serde(borrow)]
    network: Text<'a>,
    dns_name: Text<'a>,
}

impl Module for DnsNamePort {
    type Config = NoConfig;

    fn manifest() -> Manifest {
        Manifest::new(
            "dns-name-port",
            env!("CARGO_PKG_VERSION"),
            "A port with a DNS name for every ReservedPort",
        )
        .maps(Kind::new("example.com", "v1", "ReservedPort"), ["spec.network", "spec.dnsName"])
    }
}

impl Mapper for DnsNamePort {
    fn map(subject: &str, _: NoConfig) -> Result<Vec<Desired>, Outcome> {
        let ReservedPort { spec } = parse_subject(subject)?;
        let extensions = snapshot::cloud_facts().network_extensions;
        // None at all: nothing is known of the cloud, as in `isthmus render`.
        if !extensions.is_empty() && !extensions.iter().any(|alias| alias.starts_with("dns-integration")) {
            return Err(waiting("the cloud has no DNS names for ports (Neutron extension dns-integration)"));
        }
        Ok(vec![Port::new(existing(&spec.network)).dns_name(&*spec.dns_name).named("port")])
    }
}

isthmus_sdk::export_mapper!(DnsNamePort);
