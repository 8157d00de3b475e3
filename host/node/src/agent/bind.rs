//! From VIFs to links, and back.

use std::collections::BTreeSet;

use isthmus_cni::protocol::{Add, PodReference};
use isthmus_cni::result::{AddResult, Interface};
use isthmus_cni::{Code, Error};

use super::Agent;
use super::add::hold_all;
use crate::attachments::{Attachment, Device, Link};
use crate::binding::{Pod, TxChecksum};
use crate::locks::Held;
use crate::netlink::netns::Netns;
use crate::netlink::{host_name, inside};
use crate::source::VifSource;
use crate::vif::{Vif, format_mac};

impl<S: VifSource> Agent<S> {
    /// What is to be bound: the interface that the runtime asked for first.
    ///
    /// The VIF of that name is the one that is meant; without one, that with the default route, else the first: a module
    /// need not know the runtime's name for it.
    pub(super) fn links(&self, add: &Add, vifs: Vec<Vif>) -> Result<Vec<Link>, Error> {
        let asked = &add.attached.interface;
        let main = vifs.iter().position(|v| v.interface == *asked);
        let main = main.or_else(|| vifs.iter().position(|v| v.default_route)).unwrap_or(0);
        // A Pod has one default route of a family: through the interface that was asked for, where that may have it.
        let taken = vifs.get(main).is_some_and(|v| v.default_route);
        let mut links = Vec::new();
        for (at, mut vif) in vifs.into_iter().enumerate() {
            let interface = if at == main { asked.clone() } else { vif.interface.clone() };
            let (name, driver) = self.drivers.get(vif.binding.as_deref())?;
            let host = host_name(&add.attached.container, &interface);
            vif.default_route &= at == main || !taken;
            let (driver, nested, device) = (name.to_owned(), driver.is_nested(), None);
            let link = Link { driver, host, interface, nested, device, vif };
            links.push((at != main, link));
        }
        links.sort_by_key(|(other, _)| *other);
        Ok(links.into_iter().map(|(_, link)| link).collect())
    }

    /// Has the drivers complete what is to be bound. Until the locks are dropped nobody else is given the same devices.
    pub(super) async fn plan_all(
        &self,
        add: &Add,
        uid: &str,
        links: &mut [Link],
    ) -> Result<Vec<Held<'_>>, Error> {
        let pod = PodReference { uid: Some(uid.to_owned()), ..add.pod.clone() };
        // What a device is like may have been looked at before another Pod's was made good.
        let before = self.attachments.with_addresses();
        let mut taken: BTreeSet<String> = BTreeSet::new();
        for link in links.iter_mut() {
            let (_, driver) = self.drivers.get(Some(&link.driver))?;
            driver.plan(&pod, &taken, link).await?;
            taken.extend(link.address().map(Into::into));
        }
        let held = hold_all(&self.names, taken.iter().map(String::as_str)).await;
        let wanted: Vec<&str> = links.iter().filter_map(Link::address).collect();
        if wanted.len() > taken.len() {
            let what = format!("two interfaces of the Pod have one device: {}", wanted.join(", "));
            return Err(Error::new(Code::InvalidConfig, what, "each has one of its own"));
        }
        // Also of those that are not live: what was is restored, and the device with it.
        let now = self.attachments.with_addresses();
        for other in before.iter().chain(&now).filter(|other| other.attached != add.attached) {
            if let Some(address) = other.links.iter().filter_map(Link::address).find(|a| taken.contains(*a)) {
                let what = format!(
                    "PCI device {address} is in use by Pod {}/{}",
                    other.pod.namespace, other.pod.name
                );
                return Err(Error::new(Code::TryAgain, what, "a device is one Pod's"));
            }
        }
        Ok(held)
    }

    /// Binds all, or none. Their MAC addresses are then those that the interfaces have: ipvlan has none of its own.
    pub(super) async fn bind_all(&self, netns: &Netns, links: &mut [Link]) -> Result<(), Error> {
        let ipv6 = links.iter().flat_map(|l| &l.vif.addresses).any(|a| a.addr().is_ipv6());
        let inside = netns.connect(ipv6)?;
        let pod = Pod { netns, inside: &inside };
        let mut bound = Ok(());
        let mut made = 0;
        for (link, until_here) in links.iter_mut().zip(1..) {
            let (_, driver) = self.drivers.get(Some(&link.driver))?;
            bound = match driver.bind(pod, link).await {
                Ok(checksum) => {
                    made = until_here;
                    if !link.is_in_kernel() {
                        continue;
                    }
                    let keep = checksum == TxChecksum::Keep;
                    let configured = inside::configure(&inside, &link.interface, &link.vif, keep);
                    configured.map(|mac| link.vif.mac = format_mac(&mac))
                }
                Err(error) => Err(error),
            };
            if bound.is_err() {
                break;
            }
        }
        match bound {
            Ok(()) => Ok(()),
            Err(error) => Err(self.undo(netns.path(), links.get(..made).unwrap_or_default(), error).await),
        }
    }

    pub(super) async fn all_ready(&self, links: &[Link]) -> Result<(), Error> {
        for link in links {
            self.drivers.get(Some(&link.driver))?.1.ready(link).await?;
        }
        Ok(())
    }

    pub(super) fn not_ready(&self, links: &[Link]) -> Error {
        let ports: Vec<&str> = links.iter().map(|l| &*l.vif.port_id).collect();
        let what = format!("no traffic through port {} yet", ports.join(", "));
        let why = "it is bound on this node, but OVN has not said ovn-installed: is the port bound to this host in Neutron?";
        Error::new(Code::TryAgain, what, why)
    }

    /// Takes away what was made before an error; the error, with what could not be taken away.
    pub(super) async fn undo(&self, netns: &str, made: &[Link], mut error: Error) -> Error {
        for link in made.iter().rev() {
            let (unhooked, buried) = self.take_link(netns, link).await;
            if unhooked.is_err() && !link.nested {
                self.due.sweep(&link.host);
            }
            if let Err(more) = unhooked.and(buried) {
                error.details = format!("{}; and {} is left: {more}", error.details, link.host);
            }
        }
        error
    }

    /// Whether everything is as ADD made it.
    pub(super) async fn intact(&self, known: &Attachment) -> Result<(), Error> {
        let netns = Netns::open(&known.netns)?;
        let inside = netns.connect(false)?;
        for link in &known.links {
            self.drivers.get(Some(&link.driver))?.1.check(link).await?;
            if link.is_in_kernel() {
                inside::check(&inside, &link.interface, &link.vif)?;
            }
        }
        Ok(())
    }

    pub(super) fn result(netns: &Netns, links: &[Link]) -> AddResult {
        let mut result = AddResult::default();
        for link in links {
            if !link.nested && link.device.is_none() {
                result.interfaces.push(Interface { name: link.host.clone(), ..Interface::default() });
            }
            result.ips.extend(link.vif.ips(result.interfaces.len()));
            result.routes.extend(link.vif.result_routes());
            let socket_path = match &link.device {
                Some(Device::Socket(path)) => Some(path.display().to_string()),
                _ => None,
            };
            result.interfaces.push(Interface {
                name: link.interface.clone(),
                mac: Some(link.vif.mac.clone()),
                mtu: link.vif.mtu,
                sandbox: Some(netns.path().to_owned()),
                socket_path,
                pci_id: link.address().map(Into::into),
            });
        }
        result
    }
}

/// A port or an address that another Pod has.
pub(super) fn conflict<'a>(other: &Attachment, vifs: impl Iterator<Item = &'a Vif>) -> Result<(), Error> {
    for vif in vifs {
        for link in &other.links {
            let of = || format!("Pod {}/{}", other.pod.namespace, other.pod.name);
            if vif.port_id == link.vif.port_id {
                let what = format!("port {} is bound for {}", vif.port_id, of());
                return Err(Error::new(Code::TryAgain, what, "a port is one Pod's"));
            }
            let same = vif.addresses.iter().find(|a| link.vif.addresses.contains(a));
            if let Some(address) = same.filter(|_| one_network(vif, &link.vif)) {
                let what = format!("address {address} is used by {} on this node", of());
                return Err(Error::new(Code::TryAgain, what, "an address is one Pod's"));
            }
        }
    }
    Ok(())
}

/// The same address on two networks is no conflict. What an older agent stored has only the gateways to tell networks by.
fn one_network(a: &Vif, b: &Vif) -> bool {
    if a.network.is_empty() || b.network.is_empty() {
        return a.gateways == b.gateways;
    }
    a.network == b.network
}
