//! Upper links: in a Pod's namespace, on top of a link of the host. The host has nothing of them; they go with the namespace, or
//! with the link beneath.
//!
//! Each carries its [`super::host_name`] as alias: a path to a namespace may lead to another one later, an alias tells whose a
//! link is.

use isthmus_cni::{Code, Error};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{
    InfoData, InfoIpVlan, InfoKind, InfoMacVlan, InfoVlan, IpVlanMode, LinkAttribute, MacVlanMode, VlanFlags,
};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec};

use super::direct::get_link;
use super::links::{self, LinkFacts};
use super::netns::{Connected, Netns};
use super::{EADDRINUSE, EBUSY, EEXIST, ENODEV, EOPNOTSUPP, GROUP, errno, failed, unanswered};

/// What it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 802.1Q, with this id and MAC address.
    Vlan(u16, [u8; 6]),
    /// macvlan in mode `bridge`, with this MAC address.
    Macvlan([u8; 6]),
    /// ipvlan in mode `l2`; the MAC address is that of the link beneath.
    Ipvlan,
}

impl Kind {
    fn data(self) -> (InfoKind, InfoData) {
        match self {
            Self::Vlan(id, _) => {
                // Else it goes down with the link beneath and loses its IPv6 addresses and its routes for good.
                let loose = InfoVlan::Flags((VlanFlags::LooseBinding, VlanFlags::LooseBinding));
                (InfoKind::Vlan, InfoData::Vlan(vec![InfoVlan::Id(id), loose]))
            }
            Self::Macvlan(_) => {
                (InfoKind::MacVlan, InfoData::MacVlan(vec![InfoMacVlan::Mode(MacVlanMode::Bridge)]))
            }
            Self::Ipvlan => (InfoKind::IpVlan, InfoData::IpVlan(vec![InfoIpVlan::Mode(IpVlanMode::L2)])),
        }
    }

    /// Name of the kernel's module.
    fn module(self) -> &'static str {
        match self {
            Self::Vlan(..) => "8021q",
            Self::Macvlan(_) => "macvlan",
            Self::Ipvlan => "ipvlan",
        }
    }
}

/// An upper link to be made.
#[derive(Clone, Copy, Debug)]
pub struct Upper<'a> {
    /// What it is.
    pub kind: Kind,
    /// The host's link beneath.
    pub parent: &'a LinkFacts,
    /// Its alias, and its name until it has its own.
    pub alias: &'a str,
    /// Its name.
    pub interface: &'a str,
    /// MTU, in bytes; absent: that of the link beneath.
    pub mtu: Option<u32>,
}

/// Makes one in a Pod, and sets it up. What is left of an earlier try with its alias goes first; where this fails, nothing is left.
///
/// The name comes second: the kernel (before 6.14) refuses a name that the host has as well, and a host's interface is called
/// `eth0` like a Pod's.
///
/// # Errors
/// [`Code::InvalidEnvironment`] where the Pod has an interface of that name; [`Code::TryAgain`] where another link has its VLAN id
/// or MAC address; the kernel's.
pub async fn create(host: &Handle, netns: &Netns, inside: &Connected, upper: Upper<'_>) -> Result<(), Error> {
    remove_now(inside, upper.alias)?;
    let (kind, data) = upper.kind.data();
    let mut link = LinkMessageBuilder::<LinkUnspec>::new_with_info_kind(kind)
        .name(upper.alias)
        .link(upper.parent.index)
        .setns_by_fd(netns.raw())
        .link_group(GROUP)
        .append_extra_attribute(LinkAttribute::NumTxQueues(1))
        .append_extra_attribute(LinkAttribute::NumRxQueues(1))
        .set_info_data(data);
    if let Kind::Vlan(_, mac) | Kind::Macvlan(mac) = upper.kind {
        link = link.address(mac.to_vec());
    }
    if let Some(mtu) = upper.mtu {
        link = link.mtu(mtu);
    }
    host.link().add(link.build()).execute().await.map_err(|e| refused(&upper, netns, &e))?;
    let named = name(inside, netns, &upper);
    let Err(mut error) = named else { return Ok(()) };
    if let Err(more) = remove_now(inside, upper.alias) {
        error.details = format!("{}; and it is left: {more}", error.details);
    }
    Err(error)
}

/// What is left of a try, which is rare: the calling thread waits.
fn remove_now(inside: &Connected, alias: &str) -> Result<(), Error> {
    delete(inside, &list(inside, alias, |_| false)?)
}

/// From the name by which it was made to its own.
fn name(inside: &Connected, netns: &Netns, upper: &Upper<'_>) -> Result<(), Error> {
    let asked = format!("looking for link {}", upper.alias);
    let [made] = inside.netlink.ask([get_link(upper.alias)]).map_err(unanswered(asked))?;
    let made = links::found(made, upper.alias)?.ok_or_else(|| {
        let what = format!("interface {} in {} went while it was made", upper.interface, netns.path());
        Error::new(Code::TryAgain, what, format!("as {} goes", upper.parent.name))
    })?;
    let message =
        LinkUnspec::new_with_index(made.index).name(upper.interface).alias(upper.alias).up().build();
    let set = [RouteNetlinkMessage::SetLink(message)];
    let [named] = inside.netlink.ask(set).map_err(unanswered(cannot(upper, netns)))?;
    named.map(drop).map_err(|e| match errno(&e) {
        Some(EEXIST) => Error::new(Code::InvalidEnvironment, cannot(upper, netns), "the name is taken there"),
        _ => refused(upper, netns, &e),
    })
}

fn cannot(upper: &Upper<'_>, netns: &Netns) -> String {
    format!("interface {} in {} cannot be made", upper.interface, netns.path())
}

/// What the kernel's refusal means.
fn refused(upper: &Upper<'_>, netns: &Netns, error: &rtnetlink::Error) -> Error {
    let parent = &upper.parent.name;
    let what = cannot(upper, netns);
    let (code, why) = match (errno(error), upper.kind) {
        (Some(EEXIST), Kind::Vlan(id, _)) => (
            Code::TryAgain,
            format!("VLAN {id} of {parent} has another interface: of a Pod that goes, or it is not ours"),
        ),
        (Some(EADDRINUSE), _) => (
            Code::TryAgain,
            format!("its MAC address is used on {parent}: by a Pod that goes, or by {parent} itself"),
        ),
        (Some(EBUSY), _) => {
            let why =
                "it is a bridge's port, or has links of another kind: macvlan and ipvlan exclude each other";
            (Code::InvalidConfig, format!("{parent} takes no {}: {why}", upper.kind.module()))
        }
        (Some(EOPNOTSUPP), _) => {
            let module = upper.kind.module();
            (Code::InvalidConfig, format!("the node's kernel lacks the module {module}: modprobe {module}"))
        }
        _ => return failed(what, error),
    };
    Error::new(code, what, why)
}

/// Those in a Pod whose alias, or name, begins so, as far as they are ours and of nobody that is known.
fn list(inside: &Connected, prefix: &str, known: impl Fn(&str) -> bool) -> Result<Vec<LinkFacts>, Error> {
    let ours =
        |l: &LinkFacts| l.group == GROUP && (l.alias.starts_with(prefix) || l.name.starts_with(prefix));
    Ok(links::inside(inside)?.into_iter().filter(|link| ours(link) && !known(&link.alias)).collect())
}

/// Deletes links as far as they are there; all are tried. Waits for RCU (12 ms and more) for each: whoever is told that a port is
/// free may use its VLAN id.
fn delete(inside: &Connected, links: &[LinkFacts]) -> Result<(), Error> {
    let gone =
        |link: &LinkFacts| RouteNetlinkMessage::DelLink(LinkUnspec::new_with_index(link.index).build());
    let answers = inside.netlink.ask_all(links.iter().map(gone).collect());
    let answers = answers.map_err(unanswered("deleting links of a Pod"))?;
    let refused = links.iter().zip(answers).find_map(|(link, answer)| match answer {
        Err(e) if errno(&e) != Some(ENODEV) => Some(failed(format!("deleting {} of a Pod", link.name), &e)),
        _ => None,
    });
    refused.map_or(Ok(()), Err)
}

/// Deletes the links whose alias, or name, begins so, as far as they are there and are of nobody that is known. The kernel is waited
/// for by another thread: the one that serves all has other calls meanwhile. A socket keeps its namespace, whatever thread has it.
///
/// # Errors
/// The kernel's.
pub async fn remove(inside: Connected, prefix: &str, known: impl Fn(&str) -> bool) -> Result<(), Error> {
    let found = list(&inside, prefix, known)?;
    if found.is_empty() {
        return Ok(());
    }
    let deleted = tokio::task::spawn_blocking(move || delete(&inside, &found)).await;
    deleted.unwrap_or_else(|e| Err(Error::new(Code::Io, "deleting links of a Pod", e.to_string())))
}
