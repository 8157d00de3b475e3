//! What is asked of cards, sysfs and the Pods' namespaces. A card may take seconds for an answer.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use isthmus_cni::{Code, Error};
use parking_lot::Mutex;
use rtnetlink::Handle;
use rtnetlink::packet_route::link::VfInfo;

use super::super::bridge::mac_of;
use super::super::fits;
use super::sysfs::{self, Found};
use crate::attachments::{Function, Link};
use crate::netlink::functions::{self, Moved, Netdev, Place, Settings, Which};
use crate::netlink::links::{self, LinkFacts};
use crate::netlink::netns::Netns;
use crate::vif::format_mac;

/// Does it.
pub(super) struct Work {
    /// In the host's namespace, as the thread.
    pub(super) netlink: Handle,
    /// Where sysfs is.
    pub(super) sysfs: PathBuf,
    /// The driver's.
    pub(super) unguarded: Arc<Unguarded>,
}

/// Cards that were warned of, by the names of their interfaces: they do not check what a Pod sends.
#[derive(Default)]
pub(super) struct Unguarded(Mutex<BTreeSet<String>>);

impl Unguarded {
    /// Whether it is to be said, the first time, that a port's security does not hold. `left`: what the card does not know; `set`: what it
    /// tells afterwards.
    fn is_new(&self, card: &str, wanted: &Settings, left: &[VfInfo], set: Option<&Settings>) -> bool {
        let refused = left.iter().any(|info| matches!(info, VfInfo::SpoofCheck(_)));
        let checks = set.is_some_and(|set| set.spoof_check);
        wanted.spoof_check && refused && !checks && self.0.lock().insert(card.to_owned())
    }
}

impl Work {
    fn find(&self, address: &str) -> Result<Option<Found>, Error> {
        sysfs::find(&self.sysfs, address)
    }

    /// The function that has to be there.
    fn found(&self, address: &str) -> Result<Found, Error> {
        self.find(address)?.ok_or_else(|| unusable(address, "the node has none there"))
    }

    /// The function that was there once: `None` where it has gone, and what was set of it, or another device has its address.
    fn still_there(&self, address: &str) -> Result<Option<Found>, Error> {
        match self.find(address) {
            Err(error) if error.code == Code::InvalidConfig => Ok(None),
            other => other,
        }
    }

    /// The function as it is before anything is done to it.
    pub(super) async fn function(&self, address: String) -> Result<Function, Error> {
        let found = self.found(&address)?;
        let netdev = match &found.netdev {
            Some(name) => {
                let link = links::find(&self.netlink, name).await?.ok_or_else(|| {
                    unusable(&address, "its interface is not in the host's network namespace")
                })?;
                let told = link.device.as_ref() == Some(&address);
                Some(Netdev { name: name.clone(), mac: format_mac(&link.mac), mtu: link.mtu, told })
            }
            None if found.is_in_user_space() => None,
            None => {
                let why = "it has neither an interface on the host nor a driver of user space";
                return Err(unusable(&address, why));
            }
        };
        let before = functions::settings(&self.netlink, place(&found)).await?;
        Ok(Function { address, netdev, before, set: None })
    }

    /// Whether the card carries packets, and of that size.
    async fn carries(&self, card: &str, link: &Link) -> Result<(), Error> {
        let try_again = |what: String, why: &str| Err(Error::new(Code::TryAgain, what, why));
        match links::find(&self.netlink, card).await? {
            Some(parent) if parent.up && parent.carrier => fits(link, &parent),
            Some(parent) if parent.up => {
                try_again(format!("the card {card} has no carrier"), "is a cable plugged in?")
            }
            Some(_) => {
                try_again(format!("the card {card} is down"), "set it up: its functions have no carrier else")
            }
            None => try_again(format!("the card {card} is gone"), "it had another name a moment ago"),
        }
    }

    /// The function's interface, as far as it is on the host. Where the kernel does not say whose device's one is, sysfs does, or
    /// the alias that it went with.
    async fn interface(&self, link: &Link, address: &str, found: &Found) -> Result<Option<LinkFacts>, Error> {
        let all = links::list(&self.netlink).await?;
        Ok(all.into_iter().find(|there| match &there.device {
            Some(device) => device == address,
            None => there.alias == link.host || found.netdev.as_ref() == Some(&there.name),
        }))
    }

    /// Gives it to a Pod, or leaves it as it was; with what is set of it.
    pub(super) async fn bind(
        &self,
        netns: &Netns,
        link: &Link,
        function: Function,
    ) -> Result<Function, Error> {
        let mut error = match self.make(netns, link, &function).await {
            Ok(set) => return Ok(Function { set, ..function }),
            Err(error) => error,
        };
        if let Err(more) = self.restore(netns.path(), link, &function).await {
            error.details = format!("{}; and it is not as it was: {more}", error.details);
        }
        Err(error)
    }

    /// What the card tells when all is made: it may not have set all, and not tell all that it has.
    async fn make(&self, netns: &Netns, link: &Link, function: &Function) -> Result<Option<Settings>, Error> {
        let mac = mac_of(link)?;
        let found = self.found(&function.address)?;
        self.carries(&found.parent, link).await?;
        let wanted = wanted(link);
        let needed = |info: &VfInfo| match info {
            // An interface is given the address itself, and whoever sets VLANs and trust means it.
            VfInfo::Mac(_) => function.netdev.is_none(),
            VfInfo::Vlan(_) => wanted.vlan != 0,
            VfInfo::Trust(_) => wanted.trusted,
            _ => false,
        };
        let left = functions::set(&self.netlink, place(&found), &wanted, needed).await?;
        if function.netdev.is_some() {
            let there = self.interface(link, &function.address, &found).await?.ok_or_else(|| {
                unusable(&function.address, "its interface was on the host a moment ago, and is not")
            })?;
            let to = Moved { alias: &link.host, interface: &link.interface, mac, mtu: link.vif.mtu };
            functions::give(&self.netlink, netns, &netns.connect(false)?, &there, to).await?;
        }
        let set = functions::settings(&self.netlink, place(&found)).await?;
        if self.unguarded.is_new(&found.parent, &wanted, &left, set.as_ref()) {
            let (card, port) = (&found.parent, &link.vif.port_id);
            tracing::warn!(
                card,
                port,
                "the card's driver knows no spoof check: in spite of their port security, Pods with its functions can send with any MAC address"
            );
        }
        Ok(set)
    }

    /// Gives a function back, out of the Pod's namespace where there is one, as it was.
    pub(super) async fn restore(&self, netns: &str, link: &Link, function: &Function) -> Result<(), Error> {
        let Some(found) = self.still_there(&function.address)? else { return Ok(()) };
        if let Some(was) = &function.netdev {
            self.bring_home(netns, link, &function.address, was, &found).await?;
        }
        // Not before: the Pod would have an interface that nothing holds to its port.
        if let Some(before) = &function.before {
            functions::reset(&self.netlink, place(&found), before).await;
        }
        Ok(())
    }

    /// Has the function's interface on the host, as it was.
    async fn bring_home(
        &self,
        netns: &str,
        link: &Link,
        address: &str,
        was: &Netdev,
        found: &Found,
    ) -> Result<(), Error> {
        if let Some(netns) = Netns::open_if_there(netns)? {
            let which = Which { address: address.into(), told: was.told, alias: link.host.clone() };
            functions::take(&netns.connect(false)?, &netns, &which)?;
        }
        if let Some(there) = self.interface(link, address, found).await? {
            return functions::restore(&self.netlink, &there, &link.host, was).await;
        }
        // It has none while it has no driver, or one of user space.
        if found.driver.is_none() || found.is_in_user_space() {
            return Ok(());
        }
        // A namespace that ends gives it back in the background.
        let what = format!("interface {} of PCI device {address} is not back yet", was.name);
        Err(Error::new(Code::TryAgain, what, "the namespace that it was in is being taken down"))
    }

    /// Whether what is set of it is as [`Self::bind`] set it.
    pub(super) async fn check(&self, link: &Link, function: &Function) -> Result<(), Error> {
        let gone = |why: String| {
            let what = format!("PCI device {} is gone", function.address);
            Err(Error::new(Code::Other, what, why))
        };
        let Some(found) = self.still_there(&function.address)? else {
            return gone("the node has no virtual function there".into());
        };
        let Some(now) = functions::settings(&self.netlink, place(&found)).await? else {
            return match function.before {
                None => Ok(()),
                Some(_) => gone(format!("{} has no function {}", found.parent, found.index)),
            };
        };
        let changed = set(link, function, &now).changed(&now);
        if !changed.is_empty() {
            let what = format!(
                "virtual function {} of {} has another {}",
                found.index,
                found.parent,
                changed.join(", ")
            );
            return Err(Error::new(Code::Other, what, "something else has changed it"));
        }
        Ok(())
    }
}

fn place(found: &Found) -> Place<'_> {
    Place { parent: &found.parent, index: found.index }
}

fn unusable(address: &str, why: &str) -> Error {
    Error::new(Code::TryAgain, format!("PCI device {address} cannot be used"), why)
}

/// What is set of the function while the Pod has it.
fn wanted(link: &Link) -> Settings {
    let vif = &link.vif;
    Settings {
        mac: vif.mac.clone(),
        vlan: vif.segmentation_id.map_or(0, Into::into),
        qos: 0,
        spoof_check: !vif.unprotected,
        trusted: vif.trusted,
    }
}

/// What was set of the function, as far as is known: an older agent has stored nothing of it.
fn set(link: &Link, function: &Function, now: &Settings) -> Settings {
    let Settings { mac, vlan, .. } = wanted(link);
    function.set.clone().unwrap_or_else(|| Settings { mac, vlan, ..now.clone() })
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_route::link::{VfInfoSpoofCheck, VfInfoTrust};

    use super::*;

    fn settings() -> Settings {
        Settings { mac: "02:00:00:00:00:05".into(), vlan: 300, qos: 0, spoof_check: true, trusted: false }
    }

    #[test]
    fn a_card_that_checks_nothing_is_warned_of_once() {
        let (unguarded, wanted) = (Unguarded::default(), settings());
        let silent = Settings { spoof_check: false, ..settings() };
        let left = [VfInfo::SpoofCheck(VfInfoSpoofCheck::new(0, true))];
        let other = [VfInfo::Trust(VfInfoTrust::new(0, false))];
        assert!(!unguarded.is_new("p0", &silent, &left, None), "a port without port security");
        assert!(!unguarded.is_new("p0", &wanted, &other, None), "it is set");
        assert!(!unguarded.is_new("p0", &wanted, &left, Some(&wanted)), "it is always on");
        assert!(unguarded.is_new("p0", &wanted, &left, Some(&silent)));
        assert!(!unguarded.is_new("p0", &wanted, &left, None), "once");
        assert!(unguarded.is_new("p1", &wanted, &left, None), "another card");
    }

    #[test]
    fn what_is_set_is_compared_with_what_the_card_told() {
        let vif = serde_json::json!({"interface": "eth0", "port_id": "p", "mac": settings().mac, "addresses": [],
            "gateways": [], "mtu": null, "default_route": true, "routes": [], "binding": null, "segmentation_id": 300});
        let link: Link = serde_json::from_value(
            serde_json::json!({"driver": "sriov", "host": "im1", "interface": "eth0", "vif": vif}),
        )
        .unwrap();
        let stored = |set| Function { address: "0000:3b:02.1".into(), netdev: None, before: None, set };
        let differs =
            |set: Option<Settings>, now: &Settings| super::set(&link, &stored(set), now).changed(now);
        let unchecked = Settings { spoof_check: false, ..settings() };
        let other = Settings { mac: "02:00:00:00:00:06".into(), vlan: 0, trusted: true, ..unchecked.clone() };
        assert_eq!(differs(Some(settings()), &settings()), [""; 0]);
        assert_eq!(differs(Some(settings()), &unchecked), ["spoof check"]);
        assert_eq!(differs(Some(unchecked.clone()), &unchecked), [""; 0], "the card had refused it");
        assert_eq!(differs(Some(settings()), &other), ["MAC address", "VLAN", "spoof check", "trust"]);
        assert_eq!(differs(None, &unchecked), [""; 0], "an older agent has stored nothing");
        assert_eq!(differs(None, &other), ["MAC address", "VLAN"]);
    }
}
