//! The address by which a Service is reached from outside: a floating IP on the VIP's port.
//!
//! It is an entry of its own, so that it stays when the load balancer is built anew, comes and goes with the Service's type, and
//! moves when another one is asked for.

use std::net::IpAddr;

use isthmus_sdk::objects::Service;
use isthmus_sdk::prelude::*;
use isthmus_sdk::records::networking::FloatingIpAssociation;

use crate::annotations::Wishes;
use crate::config::Config;
use crate::family::Family;
use crate::fronts::Front;

/// One that we make and release.
pub(crate) const FLOATING_IP: &str = "floating-ip";
/// Of one that the user has: made and undone, and never more.
pub(crate) const ASSOCIATION: &str = "floating-ip-association";

/// What points to the Service's IPv4 front, if anything does.
pub(crate) fn floating(
    service: &Service<'_>,
    wishes: &Wishes<'_>,
    config: &Config,
    fronts: &[Front],
) -> Result<Option<Desired>, Outcome> {
    if wishes.internal {
        return Ok(None);
    }
    let front = fronts.iter().find(|front| front.exposed && front.family == Family::V4);
    if let Some(text) = service.spec.load_balancer_ip.as_deref().filter(|text| !text.is_empty()) {
        let address: Option<IpAddr> = text.parse().ok();
        let address = address.filter(IpAddr::is_ipv4).or_invalid(
            "the address of a floating IP that is there: an IPv4 address (an internal load balancer may have others, see \
             isthmus.dev/lb-internal)",
            "spec.loadBalancerIP",
        )?;
        let message = "a floating IP is for IPv4, which the Service's load balancer does not have";
        let front = front.or_invalid(message, "spec.loadBalancerIP")?;
        let association = FloatingIpAssociation::new(existing(&address.to_string()), front.target());
        return Ok(Some(association.named(ASSOCIATION)));
    }
    let network = wishes.floating_network.or(config.floating_network.as_deref());
    let (Some(front), Some(network)) = (front, network) else { return Ok(None) };
    let mut floating_ip = FloatingIp::new(existing(network), front.target());
    // The config's subnet is one of the config's network.
    let of_config = config.floating_subnet.as_deref().filter(|_| wishes.floating_network.is_none());
    floating_ip.subnet = wishes.floating_subnet.or(of_config).map(existing);
    let entry = floating_ip.named(FLOATING_IP);
    Ok(Some(if wishes.keep_floating_ip { entry.retained() } else { entry }))
}
