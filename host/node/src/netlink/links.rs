//! Links on the host.

use futures::{StreamExt, TryStreamExt};
use isthmus_cni::{Code, Error};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVeth};

use super::direct::Answer;
use super::netns::{Connected, Netns};
use super::{EEXIST, ENODEV, GROUP, GROUP_DEAD, errno, failed};

/// A pair of links, one end on the host and one in a Pod.
#[derive(Clone, Copy, Debug)]
pub struct Pair<'a> {
    /// Name of the host's end.
    pub host: &'a str,
    /// Name of the Pod's end.
    pub inside: &'a str,
    /// MAC address of the Pod's end.
    pub mac: [u8; 6],
    /// MTU of both, in bytes; absent: the kernel's.
    pub mtu: Option<u32>,
    /// Index of the bridge that the host's end is put into.
    pub bridge: Option<u32>,
}

/// What is known of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkFacts {
    /// Index.
    pub index: u32,
    /// Name.
    pub name: String,
    /// Link group.
    pub group: u32,
    /// Index of what it is a port of.
    pub master: Option<u32>,
    /// MTU, in bytes.
    pub mtu: u32,
    /// MAC address.
    pub mac: Vec<u8>,
    /// Alias; empty: none.
    pub alias: String,
    /// Its device on its bus, of a card a PCI address. Unlike name and alias nobody can set it. Linux says it since 5.14.
    pub device: Option<String>,
    /// Whether it is set up.
    pub up: bool,
    /// Whether there is something at its other end.
    pub carrier: bool,
}

/// Makes a pair, the host's end up: the kernel cannot open the other before both know each other. One queue each way at both ends: with more the kernel waits for RCU twice.
///
/// # Errors
/// [`Code::InvalidEnvironment`] where the Pod has an interface of that name; the kernel's.
pub async fn create(host: &Handle, netns: &Netns, pair: Pair<'_>) -> Result<(), Error> {
    let one_queue = |builder: LinkMessageBuilder<LinkUnspec>| {
        builder
            .append_extra_attribute(LinkAttribute::NumTxQueues(1))
            .append_extra_attribute(LinkAttribute::NumRxQueues(1))
    };
    let mut peer =
        one_queue(LinkUnspec::new_with_name(pair.inside)).address(pair.mac.to_vec()).setns_by_fd(netns.raw());
    let mut link = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
        .name(pair.host)
        .link_group(GROUP)
        .append_extra_attribute(LinkAttribute::NumTxQueues(1))
        .append_extra_attribute(LinkAttribute::NumRxQueues(1))
        .up();
    if let Some(mtu) = pair.mtu {
        (peer, link) = (peer.mtu(mtu), link.mtu(mtu));
    }
    if let Some(bridge) = pair.bridge {
        link = link.controller(bridge);
    }
    let message = link.set_info_data(InfoData::Veth(InfoVeth::Peer(peer.build()))).build();
    host.link().add(message).execute().await.map_err(|e| {
        let what = format!("interface {} in {}", pair.inside, netns.path());
        if errno(&e) == Some(EEXIST) {
            let why = format!("the name is taken, there or by {} on the host", pair.host);
            return Error::new(Code::InvalidEnvironment, format!("{what} cannot be made"), why);
        }
        failed(format!("{what} cannot be made"), &e)
    })
}

/// A link by name; `None` where there is none.
///
/// # Errors
/// The kernel's.
pub async fn find(handle: &Handle, name: &str) -> Result<Option<LinkFacts>, Error> {
    let mut links = std::pin::pin!(handle.link().get().match_name(name).execute());
    match links.next().await {
        Some(Ok(message)) => Ok(Some(facts(message))),
        Some(Err(e)) if errno(&e) == Some(ENODEV) => Ok(None),
        Some(Err(e)) => Err(failed(format!("looking for link {name}"), &e)),
        None => Ok(None),
    }
}

/// What an answer to a question for a link by name says.
pub(super) fn found(answer: Answer, name: &str) -> Result<Option<LinkFacts>, Error> {
    match answer {
        Ok(Some(RouteNetlinkMessage::NewLink(message))) => Ok(Some(facts(message))),
        Ok(_) => Ok(None),
        Err(e) if errno(&e) == Some(ENODEV) => Ok(None),
        Err(e) => Err(failed(format!("looking for link {name}"), &e)),
    }
}

/// All links.
///
/// # Errors
/// The kernel's.
pub async fn list(handle: &Handle) -> Result<Vec<LinkFacts>, Error> {
    let links: Vec<LinkMessage> =
        handle.link().get().execute().try_collect().await.map_err(|e| failed("listing links", &e))?;
    Ok(links.into_iter().map(facts).collect())
}

/// All links of a Pod.
pub(super) fn inside(inside: &Connected) -> Result<Vec<LinkFacts>, Error> {
    let all = inside.netlink.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()));
    let links = all.map_err(|e| failed("listing links", &e))?.into_iter().filter_map(|object| match object {
        RouteNetlinkMessage::NewLink(message) => Some(facts(message)),
        _ => None,
    });
    Ok(links.collect())
}

/// Marks a link for deletion. `false` where it is gone already. Setting it down, or taking it off its bridge, would wait for
/// RCU each time; its deletion does both.
///
/// # Errors
/// The kernel's.
pub async fn bury(host: &Handle, name: &str) -> Result<bool, Error> {
    let message = LinkUnspec::new_with_name(name).link_group(GROUP_DEAD).build();
    match host.link().set(message).execute().await {
        Ok(()) => Ok(true),
        Err(e) if errno(&e) == Some(ENODEV) => Ok(false),
        Err(e) => Err(failed(format!("marking link {name} for deletion"), &e)),
    }
}

/// Deletes all links that are marked for it. Takes 12 ms and more, however many there are.
///
/// # Errors
/// The kernel's.
pub async fn delete_dead(host: &Handle) -> Result<(), Error> {
    let mut request = host.link().del(0);
    request.message_mut().attributes.push(LinkAttribute::Group(GROUP_DEAD));
    match request.execute().await {
        Ok(()) => Ok(()),
        Err(e) if errno(&e) == Some(ENODEV) => Ok(()),
        Err(e) => Err(failed("deleting links", &e)),
    }
}

fn facts(message: LinkMessage) -> LinkFacts {
    let mut facts = LinkFacts {
        index: message.header.index,
        name: String::new(),
        group: 0,
        master: None,
        mtu: 0,
        mac: Vec::new(),
        alias: String::new(),
        device: None,
        up: message.header.flags.contains(LinkFlags::Up),
        carrier: message.header.flags.contains(LinkFlags::LowerUp),
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => facts.name = name,
            LinkAttribute::Group(group) => facts.group = group,
            LinkAttribute::Controller(index) => facts.master = Some(index),
            LinkAttribute::Mtu(mtu) => facts.mtu = mtu,
            LinkAttribute::Address(mac) => facts.mac = mac,
            LinkAttribute::IfAlias(alias) => facts.alias = alias,
            LinkAttribute::ParentDevName(device) => facts.device = Some(device),
            _ => {}
        }
    }
    facts
}
