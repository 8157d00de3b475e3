//! What is set inside a Pod's namespace: addresses and routes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use isthmus_cni::{Code, Error};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use rtnetlink::{AddressMessageBuilder, LinkUnspec, RouteMessageBuilder};

use super::direct::{Answer, get_link};
use super::links::{self, LinkFacts};
use super::netns::Connected;
use super::{EADDRINUSE, EEXIST, errno, failed, offload, unanswered};
use crate::vif::{Route, Vif, parse_mac};

/// Gives an interface that is there what its VIF has; the MAC address that it came with. Two sends: addresses and routes need its index.
///
/// # Errors
/// The kernel's, with the address or route.
pub fn configure(
    inside: &Connected,
    interface: &str,
    vif: &Vif,
    tx_checksum: bool,
) -> Result<Vec<u8>, Error> {
    if !tx_checksum {
        offload::no_tx_checksum(&inside.socket, interface).map_err(|e| {
            Error::new(
                Code::Other,
                format!("TX checksum offload of {interface} cannot be turned off"),
                e.to_string(),
            )
        })?;
    }
    let up = |name: &str| RouteNetlinkMessage::SetLink(LinkUnspec::new_with_name(name).up().build());
    let [found, lo_up, is_up] = inside
        .netlink
        .ask([get_link(interface), up("lo"), up(interface)])
        .map_err(unanswered(format!("setting {interface} up")))?;
    let link = there(found, interface)?;
    for (name, done) in [("lo", lo_up), (interface, is_up)] {
        done.map_err(|e| failed(format!("setting {name} up"), &e))?;
    }
    give(inside, &link, vif)?;
    Ok(link.mac)
}

/// Addresses and routes, in this order.
fn give(inside: &Connected, link: &LinkFacts, vif: &Vif) -> Result<(), Error> {
    let routes = vif.all_routes();
    let mut requests: Vec<_> = vif.addresses.iter().map(|address| new_address(link, address)).collect();
    for route in &routes {
        let direct = vif.addresses.iter().any(|a| a.contains(&route.next_hop));
        requests.push(RouteNetlinkMessage::NewRoute(message(link, route, !direct)?));
    }
    let answers = inside.netlink.ask_all(requests);
    let mut answers = answers.map_err(unanswered(format!("setting {} up", link.name)))?.into_iter();
    for (address, answer) in vif.addresses.iter().zip(answers.by_ref()) {
        given_address(link, address, answer)?;
    }
    for (route, answer) in routes.iter().zip(answers) {
        given_route(inside, link, route, answer)?;
    }
    Ok(())
}

/// Whether an interface has what its VIF has; more may be there.
///
/// # Errors
/// What is not as it should be.
pub fn check(inside: &Connected, interface: &str, vif: &Vif) -> Result<(), Error> {
    let asked = format!("looking for link {interface}");
    let [found] = inside.netlink.ask([get_link(interface)]).map_err(unanswered(asked))?;
    let link = there(found, interface)?;
    let wrong =
        |what: String| Err(Error::new(Code::Other, what, "something else has changed the Pod's network"));
    if !link.up {
        return wrong(format!("interface {interface} is down"));
    }
    if parse_mac(&vif.mac).is_none_or(|mac| mac != *link.mac) {
        return wrong(format!("interface {interface} no longer has the MAC address {}", vif.mac));
    }
    let all = RouteNetlinkMessage::GetAddress(AddressMessage::default());
    let found = inside.netlink.dump(all).map_err(|e| failed("reading addresses", &e))?;
    let has = |address: &IpNet| {
        found.iter().any(|object| {
            matches!(object, RouteNetlinkMessage::NewAddress(message)
                if message.header.index == link.index
                    && message.header.prefix_len == address.prefix_len()
                    && message.attributes.contains(&AddressAttribute::Address(address.addr())))
        })
    };
    if let Some(address) = vif.addresses.iter().find(|a| !has(a)) {
        return wrong(format!("interface {interface} no longer has the address {address}"));
    }
    for route in vif.all_routes() {
        if !has_route(inside, &link, &route)? {
            return wrong(format!("the route to {} through {interface} is gone", route.destination));
        }
    }
    Ok(())
}

/// The interface that was asked for.
fn there(found: Answer, interface: &str) -> Result<LinkFacts, Error> {
    links::found(found, interface)?
        .ok_or_else(|| Error::new(Code::Other, format!("the Pod has no interface {interface}"), ""))
}

fn new_address(link: &LinkFacts, address: &IpNet) -> RouteNetlinkMessage {
    let (index, length) = (link.index, address.prefix_len());
    RouteNetlinkMessage::NewAddress(match address.addr() {
        IpAddr::V4(address) => {
            AddressMessageBuilder::<Ipv4Addr>::new().index(index).address(address, length).build()
        }
        IpAddr::V6(address) => {
            let mut message =
                AddressMessageBuilder::<Ipv6Addr>::new().index(index).address(address, length).build();
            // The cloud gave it to nobody else; detection would hold it back for a second.
            message.header.flags |= AddressHeaderFlags::Nodad;
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
            message
        }
    })
}

fn given_address(link: &LinkFacts, address: &IpNet, answer: Answer) -> Result<(), Error> {
    match answer {
        Ok(_) => Ok(()),
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

fn given_route(inside: &Connected, link: &LinkFacts, route: &Route, answer: Answer) -> Result<(), Error> {
    match answer {
        Ok(_) => Ok(()),
        Err(e) if errno(&e) == Some(EEXIST) && has_route(inside, link, route)? => Ok(()),
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

fn has_route(inside: &Connected, link: &LinkFacts, route: &Route) -> Result<bool, Error> {
    let all = match route.destination {
        IpNet::V4(_) => RouteMessageBuilder::<Ipv4Addr>::new().build(),
        IpNet::V6(_) => RouteMessageBuilder::<Ipv6Addr>::new().build(),
    };
    let found = inside.netlink.dump(RouteNetlinkMessage::GetRoute(all));
    let found = found.map_err(|e| failed("reading routes", &e))?;
    let network = match route.destination.network() {
        IpAddr::V4(address) => RouteAddress::Inet(address),
        IpAddr::V6(address) => RouteAddress::Inet6(address),
    };
    let length = route.destination.prefix_len();
    Ok(found.iter().any(|object| {
        let RouteNetlinkMessage::NewRoute(message) = object else { return false };
        let has = |wanted: RouteAttribute| message.attributes.contains(&wanted);
        message.header.destination_prefix_length == length
            && has(RouteAttribute::Oif(link.index))
            && (length == 0 || has(RouteAttribute::Destination(network.clone())))
    }))
}
