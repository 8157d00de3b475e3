//! `sriov`: a virtual function of a network card is the Pod's: its interface is moved into the Pod, or a driver of user space has it
//! (`vfio-pci`) and the Pod's application finds it by its PCI address. The card's switch tells Pods apart by what is set at the
//! physical function: MAC address, VLAN, and that nothing else is sent.
//!
//! Which one: the VIF names it by its PCI address, or by the resource of which a device plugin gave the Pod one.

mod allocated;
mod sysfs;

use std::collections::BTreeSet;
use std::path::PathBuf;

use isthmus_cni::protocol::PodReference;
use isthmus_cni::{Code, Error};
use rtnetlink::packet_route::link::VfInfo;

use super::bridge::mac_of;
use super::{Driver, Host, Later, Pod, TxChecksum};
use crate::attachments::{Device, Function, Link};
use crate::netlink::functions::{self, Moved, Netdev, Place, Settings};
use crate::netlink::links::{self, LinkFacts};
use crate::netlink::netns::Netns;
use crate::vif::format_mac;
use sysfs::Found;

/// Where a node's virtual functions are found.
#[derive(Clone, Debug)]
pub struct SriovOptions {
    /// Where sysfs is, usually `/sys`: of the host's network namespace.
    pub sysfs: PathBuf,
    /// Kubelet's socket of what device plugins gave to Pods, usually `/var/lib/kubelet/pod-resources/kubelet.sock`.
    pub pod_resources: PathBuf,
}

/// The driver.
pub struct Sriov {
    host: Host,
    options: SriovOptions,
}

impl Sriov {
    /// With the functions that these options lead to.
    pub fn new(host: Host, options: &SriovOptions) -> Self {
        Self { host, options: options.clone() }
    }

    /// The PCI address of what a VIF asks for.
    async fn address(
        &self,
        pod: &PodReference,
        taken: &BTreeSet<String>,
        link: &Link,
    ) -> Result<String, Error> {
        let port = &link.vif.port_id;
        let Some(device) = &link.vif.device else {
            let why = "the binding `sriov` needs a device in the CloudMapping: a PCI address, or a resource of the Pod's";
            return Err(Error::new(Code::InvalidConfig, format!("port {port} has no device"), why));
        };
        if sysfs::is_address(device) {
            return Ok(device.to_lowercase());
        }
        let given = allocated::devices(&self.options.pod_resources, pod, device).await?;
        let free = given.iter().find(|id| sysfs::is_address(id) && !taken.contains(*id));
        free.cloned().ok_or_else(|| {
            let what = format!("the Pod has no device of {device:?} for port {port}");
            let why =
                format!("kubelet gave it {given:?}: one is needed for each interface, by its PCI address");
            Error::new(Code::TryAgain, what, why)
        })
    }

    fn find(&self, address: &str) -> Result<Option<Found>, Error> {
        sysfs::find(&self.options.sysfs, address)
    }

    /// The function as it is before anything is done to it.
    async fn function(&self, address: String) -> Result<Function, Error> {
        let nothing =
            |why: &str| Error::new(Code::TryAgain, format!("PCI device {address} cannot be used"), why);
        let found = self.find(&address)?.ok_or_else(|| nothing("the node has none there"))?;
        let netdev = match &found.netdev {
            Some(name) => {
                let link = links::find(&self.host.netlink, name).await?;
                let link =
                    link.ok_or_else(|| nothing("its interface is not in the host's network namespace"))?;
                Some(Netdev { name: name.clone(), mac: format_mac(&link.mac), mtu: link.mtu })
            }
            None if found.is_in_user_space() => None,
            None => {
                return Err(nothing("it has neither an interface on the host nor a driver of user space"));
            }
        };
        let place = Place { parent: &found.parent, index: found.index };
        let before = functions::settings(&self.host.netlink, place).await?;
        Ok(Function { address, parent: found.parent, index: found.index, netdev, before })
    }

    /// The physical function, through which packets are to come.
    async fn parent(&self, function: &Function, link: &Link) -> Result<LinkFacts, Error> {
        let name = &function.parent;
        let try_again = |what: String, why: &str| Err(Error::new(Code::TryAgain, what, why));
        let parent = match links::find(&self.host.netlink, name).await? {
            Some(parent) if parent.up && parent.carrier => parent,
            Some(parent) if parent.up => {
                return try_again(format!("the card {name} has no carrier"), "is a cable plugged in?");
            }
            Some(_) => {
                return try_again(
                    format!("the card {name} is down"),
                    "set it up: its functions have no carrier else",
                );
            }
            None => return try_again(format!("the card {name} is gone"), "it had another name a moment ago"),
        };
        if let Some(mtu) = link.vif.mtu.filter(|mtu| *mtu > parent.mtu) {
            let what =
                format!("port {} has MTU {mtu}, and the card {name} has {}", link.vif.port_id, parent.mtu);
            let why = "larger packets would be lost: raise that one, or lower the network's";
            return Err(Error::new(Code::InvalidConfig, what, why));
        }
        Ok(parent)
    }

    async fn make(&self, pod: Pod<'_>, link: &Link, function: &Function) -> Result<(), Error> {
        let mac = mac_of(link)?;
        self.parent(function, link).await?;
        let wanted = wanted(link);
        let needed = |info: &VfInfo| match info {
            // An interface is given the address itself, and whoever sets VLANs and trust means it.
            VfInfo::Mac(_) => function.netdev.is_none(),
            VfInfo::Vlan(_) => wanted.vlan != 0,
            VfInfo::Trust(_) => wanted.trusted,
            _ => false,
        };
        functions::set(&self.host.netlink, place(function), &wanted, needed).await?;
        let Some(netdev) = &function.netdev else { return Ok(()) };
        let found = links::find(&self.host.netlink, &netdev.name).await?.ok_or_else(|| {
            let what =
                format!("interface {} of PCI device {} is not on the host", netdev.name, function.address);
            Error::new(Code::TryAgain, what, "it was a moment ago")
        })?;
        let to = Moved { alias: &link.host, interface: &link.interface, mac, mtu: link.vif.mtu };
        functions::give(&self.host.netlink, pod.netns, pod.inside, &found, to).await
    }

    /// Gives a function back, out of the Pod's namespace where there is one, as it was.
    async fn restore(&self, netns: &str, link: &Link, function: &Function) -> Result<(), Error> {
        if let (Some(_), Some(netns)) = (&function.netdev, Netns::open_if_there(netns)?) {
            functions::take(&netns.connect(false)?, &netns, &link.host)?;
        }
        if let Some(before) = &function.before
            && links::find(&self.host.netlink, &function.parent).await?.is_some()
        {
            functions::set(&self.host.netlink, place(function), before, |_| false).await?;
        }
        let Some(netdev) = &function.netdev else { return Ok(()) };
        if functions::restore(&self.host.netlink, &link.host, netdev).await? {
            return Ok(());
        }
        // A namespace that ends gives it back to the host in the background, unless it has gone, or been given to another driver.
        match self.find(&function.address) {
            Ok(Some(found)) if !found.is_in_user_space() && found.driver.is_some() => {
                let what =
                    format!("interface {} of PCI device {} is not back yet", netdev.name, function.address);
                Err(Error::new(Code::TryAgain, what, "the namespace that it was in is being taken down"))
            }
            _ => Ok(()),
        }
    }
}

fn place(function: &Function) -> Place<'_> {
    Place { parent: &function.parent, index: function.index }
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

/// The function that was planned.
fn function(link: &Link) -> Result<&Function, Error> {
    match &link.device {
        Some(Device::Function(function)) => Ok(function),
        _ => Err(Error::new(Code::Other, format!("{} has no virtual function", link.interface), "")),
    }
}

impl Driver for Sriov {
    fn plan<'a>(
        &'a self,
        pod: &'a PodReference,
        taken: &'a BTreeSet<String>,
        link: &'a mut Link,
    ) -> Later<'a, ()> {
        Box::pin(async move {
            let address = self.address(pod, taken, link).await?;
            link.device = Some(Device::Function(self.function(address).await?));
            Ok(())
        })
    }

    fn bind<'a>(&'a self, pod: Pod<'a>, link: &'a Link) -> Later<'a, TxChecksum> {
        Box::pin(async move {
            let function = function(link)?;
            let Err(mut error) = self.make(pod, link, function).await else { return Ok(TxChecksum::Keep) };
            if let Err(more) = self.restore(pod.netns.path(), link, function).await {
                error.details = format!("{}; and it is not as it was: {more}", error.details);
            }
            Err(error)
        })
    }

    fn is_nested(&self) -> bool {
        true
    }

    fn ready<'a>(&'a self, _: &'a Link) -> Later<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn give_back<'a>(&'a self, netns: &'a str, link: &'a Link) -> Option<Later<'a, ()>> {
        let function = function(link).ok()?;
        Some(Box::pin(self.restore(netns, link, function)))
    }

    fn check<'a>(&'a self, link: &'a Link) -> Later<'a, ()> {
        Box::pin(async move {
            let function = function(link)?;
            let Some(now) = functions::settings(&self.host.netlink, place(function)).await? else {
                return match function.before {
                    None => Ok(()),
                    Some(_) => {
                        let what = format!("PCI device {} is gone", function.address);
                        Err(Error::new(
                            Code::Other,
                            what,
                            format!("{} has no function {}", function.parent, function.index),
                        ))
                    }
                };
            };
            let wanted = wanted(link);
            if (&now.mac, now.vlan) != (&wanted.mac, wanted.vlan) {
                let what = format!(
                    "virtual function {} of {} has another MAC address or VLAN",
                    function.index, function.parent
                );
                return Err(Error::new(Code::Other, what, "something else has changed it"));
            }
            Ok(())
        })
    }

    fn usable(&self) -> Later<'_, ()> {
        Box::pin(async {
            let devices = self.options.sysfs.join("bus/pci/devices");
            std::fs::read_dir(&devices).map(drop).map_err(|e| {
                Error::new(Code::TryAgain, format!("{} cannot be read", devices.display()), e.to_string())
            })
        })
    }
}
