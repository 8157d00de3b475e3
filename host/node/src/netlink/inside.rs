//! What is set inside a Pod's namespace: addresses and routes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures::TryStreamExt;
use ipnet::IpNet;
use isthmus_cni::{Code, Error};
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use rtnetlink::{LinkUnspec, RouteMessageBuilder};

use super::links::{self, LinkFacts};
use super::netns::Connected;
use super::{EADDRINUSE, EEXIST, errno, failed, offload};
use crate::vif::{Route, Vif, parse_mac};

/// Gives an interface that is there what its VIF has; the MAC address that it came with.
///
/// # Errors
/// The kernel's, with the address or route.
pub async fn configure(
    inside: &Connected,
    interface: &str,
    vif: &Vif,
    tx_checksum: bool,
) -> Result<Vec<u8>, Error> {
    let link = here(inside, interface).await?;
    if !tx_checksum {
        offload::no_tx_checksum(&inside.socket, interface).map_err(|e| {
            Error::new(
                Code::Other,
                format!("TX checksum offload of {interface} cannot be turned off"),
                e.to_string(),
            )
        })?;
    }
    for name in ["lo", interface] {
        let up = LinkUnspec::new_with_name(name).up().build();
        inside.handle.link().set(up).execute().await.map_err(|e| failed(format!("setting {name} up"), &e))?;
    }
    for address in &vif.addresses {
        add_address(inside, &link, address).await?;
    }
    for route in vif.all_routes() {
        let direct = vif.addresses.iter().any(|a| a.contains(&route.next_hop));
        add_route(inside, &link, &route, !direct).await?;
    }
    Ok(link.mac)
}

/// Whether an interface has what its VIF has; more may be there.
///
/// # Errors
/// What is not as it should be.
pub async fn check(inside: &Connected, interface: &str, vif: &Vif) -> Result<(), Error> {
    let link = here(inside, interface).await?;
    let wrong =
        |what: String| Err(Error::new(Code::Other, what, "something else has changed the Pod's network"));
    if !link.up {
        return wrong(format!("interface {interface} is down"));
    }
    if parse_mac(&vif.mac).is_none_or(|mac| mac != *link.mac) {
        return wrong(format!("interface {interface} no longer has the MAC address {}", vif.mac));
    }
    let found = inside.handle.address().get().set_link_index_filter(link.index).execute();
    let found: Vec<_> = found.try_collect().await.map_err(|e| failed("reading addresses", &e))?;
    let has = |address: &IpNet| {
        found.iter().any(|message| {
            message.header.prefix_len == address.prefix_len()
                && message.attributes.contains(&AddressAttribute::Address(address.addr()))
        })
    };
    if let Some(address) = vif.addresses.iter().find(|a| !has(a)) {
        return wrong(format!("interface {interface} no longer has the address {address}"));
    }
    for route in vif.all_routes() {
        if !has_route(inside, &link, &route).await? {
            return wrong(format!("the route to {} through {interface} is gone", route.destination));
        }
    }
    Ok(())
}

async fn here(inside: &Connected, interface: &str) -> Result<LinkFacts, Error> {
    links::find(&inside.handle, interface)
        .await?
        .ok_or_else(|| Error::new(Code::Other, format!("the Pod has no interface {interface}"), ""))
}

async fn add_address(inside: &Connected, link: &LinkFacts, address: &IpNet) -> Result<(), Error> {
    let mut request = inside.handle.address().add(link.index, address.addr(), address.prefix_len());
    if address.addr().is_ipv6() {
        // The cloud gave it to nobody else; detection would hold it back for a second.
        let message = request.message_mut();
        message.header.flags |= AddressHeaderFlags::Nodad;
        message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
    }
    match request.execute().await {
        Ok(()) => Ok(()),
        Err(e) if errno(&e) == Some(EEXIST) => Ok(()),
        // ipvlan: addresses are the link's beneath too.
        Err(e) if errno(&e) == Some(EADDRINUSE) => {
            let what = format!("address {address} cannot be given to {}", link.name);
            let why = "another Pod of this node has it: one that goes, or it is not ours";
            Err(Error::new(Code::TryAgain, what, why))
        }
        Err(e) => Err(failed(format!("address {address} cannot be given to {}", link.name), &e)),
    }
}

async fn add_route(inside: &Connected, link: &LinkFacts, route: &Route, onlink: bool) -> Result<(), Error> {
    match inside.handle.route().add(message(link, route, onlink)?).execute().await {
        Ok(()) => Ok(()),
        Err(e) if errno(&e) == Some(EEXIST) && has_route(inside, link, route).await? => Ok(()),
        Err(e) => {
            let what = format!("route to {} by {} cannot be set", route.destination, route.next_hop);
            if errno(&e) == Some(EEXIST) {
                let why = format!("the Pod has another, not through {}: only one can be", link.name);
                return Err(Error::new(Code::InvalidConfig, what, why));
            }
            Err(failed(what, &e))
        }
    }
}

fn message(link: &LinkFacts, route: &Route, onlink: bool) -> Result<RouteMessage, Error> {
    let length = route.destination.prefix_len();
    let mut message = match (route.destination.network(), route.next_hop) {
        (IpAddr::V4(to), IpAddr::V4(via)) => RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(to, length)
            .gateway(via)
            .output_interface(link.index)
            .build(),
        (IpAddr::V6(to), IpAddr::V6(via)) => RouteMessageBuilder::<Ipv6Addr>::new()
            .destination_prefix(to, length)
            .gateway(via)
            .output_interface(link.index)
            .build(),
        (IpAddr::V4(to), IpAddr::V6(via)) => RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(to, length)
            .via(via)
            .output_interface(link.index)
            .build(),
        (IpAddr::V6(_), IpAddr::V4(_)) => {
            let what = format!("route to {} by {} cannot be set", route.destination, route.next_hop);
            return Err(Error::new(Code::InvalidConfig, what, "an IPv6 route has an IPv6 next hop"));
        }
    };
    if onlink {
        message.header.flags |= rtnetlink::packet_route::route::RouteFlags::Onlink;
    }
    Ok(message)
}

async fn has_route(inside: &Connected, link: &LinkFacts, route: &Route) -> Result<bool, Error> {
    let all = match route.destination {
        IpNet::V4(_) => RouteMessageBuilder::<Ipv4Addr>::new().build(),
        IpNet::V6(_) => RouteMessageBuilder::<Ipv6Addr>::new().build(),
    };
    let found: Vec<RouteMessage> = inside
        .handle
        .route()
        .get(all)
        .execute()
        .try_collect()
        .await
        .map_err(|e| failed("reading routes", &e))?;
    let network = match route.destination.network() {
        IpAddr::V4(address) => RouteAddress::Inet(address),
        IpAddr::V6(address) => RouteAddress::Inet6(address),
    };
    let length = route.destination.prefix_len();
    Ok(found.iter().any(|message| {
        let has = |wanted: RouteAttribute| message.attributes.contains(&wanted);
        message.header.destination_prefix_length == length
            && has(RouteAttribute::Oif(link.index))
            && (length == 0 || has(RouteAttribute::Destination(network.clone())))
    }))
}
