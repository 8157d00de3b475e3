//! `bridge`: a veth pair whose host's end is a port of a Linux bridge that is there already.

use isthmus_cni::{Code, Error};

use super::{Driver, Host, Later, Pod, TxChecksum, carried, fits};
use crate::attachments::Link;
use crate::netlink::links::{self, LinkFacts, Pair};
use crate::netlink::{GROUP, GROUP_DEAD};
use crate::vif::parse_mac;

/// The driver.
pub struct Bridge {
    host: Host,
    bridge: String,
}

impl Bridge {
    /// Ports go into `bridge`.
    pub fn new(host: Host, bridge: &str) -> Self {
        Self { host, bridge: bridge.into() }
    }

    async fn bridge(&self) -> Result<LinkFacts, Error> {
        links::find(&self.host.netlink, &self.bridge).await?.ok_or_else(|| {
            let what = format!("the node has no bridge {}", self.bridge);
            Error::new(Code::TryAgain, what, "the binding driver `bridge` puts Pods into one that is there")
        })
    }

    /// The bridge's own MTU is the least of its ports', Pods' included: only a way out that is narrower is in the way.
    async fn fits(&self, link: &Link, bridge: &LinkFacts) -> Result<(), Error> {
        if fits(link, bridge).is_ok() {
            return Ok(());
        }
        let all = links::list(&self.host.netlink).await?;
        let ways_out =
            all.iter().filter(|l| l.master == Some(bridge.index) && ![GROUP, GROUP_DEAD].contains(&l.group));
        ways_out.min_by_key(|l| l.mtu).map_or(Ok(()), |narrowest| fits(link, narrowest))
    }
}

impl Driver for Bridge {
    fn bind<'a>(&'a self, pod: Pod<'a>, link: &'a mut Link) -> Later<'a, TxChecksum> {
        Box::pin(async move {
            let bridge = self.bridge().await?;
            self.fits(link, &bridge).await?;
            let mac = mac_of(link)?;
            let (host, inside) = (&*link.host, &*link.interface);
            let pair = Pair { host, inside, mac, mtu: link.vif.mtu, bridge: Some(bridge.index) };
            self.host.pair(pod.netns, pair).await?;
            Ok(TxChecksum::Keep)
        })
    }

    fn check<'a>(&'a self, link: &'a Link) -> Later<'a, ()> {
        Box::pin(async move {
            let (bridge, port) = (self.bridge().await?, links::find(&self.host.netlink, &link.host).await?);
            match port {
                Some(port) if port.master == Some(bridge.index) && port.up => carried(&port),
                Some(_) => {
                    let what = format!("link {} is down, or no port of bridge {}", link.host, self.bridge);
                    Err(Error::new(Code::Other, what, ""))
                }
                None => Err(Error::new(Code::Other, format!("link {} is gone", link.host), "")),
            }
        })
    }

    fn usable(&self) -> Later<'_, ()> {
        Box::pin(async { self.bridge().await.map(|_| ()) })
    }
}

pub(super) fn mac_of(link: &Link) -> Result<[u8; 6], Error> {
    let mac = &link.vif.mac;
    parse_mac(mac)
        .ok_or_else(|| Error::new(Code::InvalidConfig, format!("MAC address {mac:?}"), "six bytes in hex"))
}
