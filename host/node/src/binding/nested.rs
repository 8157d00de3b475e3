//! `vlan`, `macvlan`, `ipvlan`: for Pods on a node that is a virtual machine of the cloud. The Pod's interface lies on the node's own
//! interface, whose port is the one that the cloud knows this node by.
//!
//! | driver | the cloud tells Pods apart by | the node's port needs |
//! |---|---|---|
//! | `vlan` | the VLAN id of a trunk's subport | a trunk |
//! | `macvlan` | the MAC address | the Pod's MAC and IP addresses among its allowed address pairs |
//! | `ipvlan` | the IP address: the MAC address is the node's | the Pod's IP addresses among its allowed address pairs |

use isthmus_cni::{Code, Error};

use super::bridge::mac_of;
use super::{Driver, Host, Later, Pod, TxChecksum, fits};
use crate::attachments::Link;
use crate::netlink::links::{self, LinkFacts};
use crate::netlink::upper::{self, Kind, Upper};

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NestedKind {
    /// 802.1Q
    Vlan,
    /// macvlan, mode `bridge`
    Macvlan,
    /// ipvlan, mode `l2`
    Ipvlan,
}

impl NestedKind {
    /// All.
    pub const ALL: [Self; 3] = [Self::Vlan, Self::Macvlan, Self::Ipvlan];

    /// The driver's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vlan => "vlan",
            Self::Macvlan => "macvlan",
            Self::Ipvlan => "ipvlan",
        }
    }

    /// With what a VIF has for it.
    fn of(self, link: &Link) -> Result<Kind, Error> {
        match self {
            Self::Vlan => match link.vif.segmentation_id {
                Some(id) => Ok(Kind::Vlan(id, mac_of(link)?)),
                None => {
                    let what = format!("port {} has no VLAN id", link.vif.port_id);
                    let why = "the binding `vlan` needs the segmentationId of a trunk's subport in the CloudMapping";
                    Err(Error::new(Code::TryAgain, what, why))
                }
            },
            Self::Macvlan => Ok(Kind::Macvlan(mac_of(link)?)),
            Self::Ipvlan => Ok(Kind::Ipvlan),
        }
    }
}

/// The driver.
pub struct Nested {
    host: Host,
    parent: String,
    kind: NestedKind,
}

impl Nested {
    /// Interfaces lie on the node's interface `parent`.
    pub fn new(host: Host, parent: &str, kind: NestedKind) -> Self {
        Self { host, parent: parent.into(), kind }
    }

    /// The link beneath, which is to be up.
    async fn parent(&self) -> Result<LinkFacts, Error> {
        let (driver, parent) = (self.kind.name(), &self.parent);
        let try_again = |what: String, why: String| Err(Error::new(Code::TryAgain, what, why));
        match links::find(&self.host.netlink, parent).await? {
            Some(link) if link.up => Ok(link),
            Some(_) => try_again(
                format!("the node's interface {parent} is down"),
                format!("set it up: what the binding driver `{driver}` makes lies on it"),
            ),
            None => try_again(
                format!("the node has no interface {parent}"),
                format!(
                    "the binding driver `{driver}` needs it: --nested-parent names the one on the cloud's network"
                ),
            ),
        }
    }
}

impl Driver for Nested {
    fn bind<'a>(&'a self, pod: Pod<'a>, link: &'a mut Link) -> Later<'a, TxChecksum> {
        Box::pin(async move {
            let kind = self.kind.of(link)?;
            let parent = self.parent().await?;
            fits(link, &parent)?;
            let (alias, interface) = (&*link.host, &*link.interface);
            let upper = Upper { kind, parent: &parent, alias, interface, mtu: link.vif.mtu };
            upper::create(&self.host.netlink, pod.netns, pod.inside, upper).await?;
            Ok(TxChecksum::Keep)
        })
    }

    fn is_nested(&self) -> bool {
        true
    }

    fn check<'a>(&'a self, _: &'a Link) -> Later<'a, ()> {
        self.usable()
    }

    fn usable(&self) -> Later<'_, ()> {
        Box::pin(async { self.parent().await.map(|_| ()) })
    }
}
