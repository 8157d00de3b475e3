//! `sriov`: a virtual function of a network card is the Pod's: its interface is moved into the Pod, or a driver of user space has it
//! (`vfio-pci`) and the Pod's application finds it by its PCI address. The card's switch tells Pods apart by what is set at the
//! physical function: MAC address, VLAN, and that nothing else is sent.
//!
//! Which one: the VIF names it by its PCI address, or by the resource of which a device plugin gave the Pod one.

mod allocated;
mod sysfs;
mod work;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use isthmus_cni::protocol::PodReference;
use isthmus_cni::{Code, Error};
use tokio::sync::Mutex;

use super::{Driver, Later, Pod, TxChecksum};
use crate::attachments::{Device, Function, Link};
use crate::netlink::beside::beside;
use work::{Unguarded, Work};

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
    options: SriovOptions,
    /// Held by the work that is under way.
    turn: Arc<Mutex<()>>,
    unguarded: Arc<Unguarded>,
}

impl Sriov {
    /// With the functions that these options lead to.
    pub fn new(options: &SriovOptions) -> Self {
        Self { options: options.clone(), turn: Arc::default(), unguarded: Arc::default() }
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

    /// Has work done by another thread: the one that serves all has other calls meanwhile. One after the other, each to its end: what a
    /// DEL that has answered by now had begun is not met half-way.
    async fn have<T: Send + 'static>(
        &self,
        work: impl AsyncFnOnce(Work) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (turn, sysfs) = (Arc::clone(&self.turn).lock_owned().await, self.options.sysfs.clone());
        let unguarded = Arc::clone(&self.unguarded);
        beside("virtual functions", async move |netlink| {
            let _turn = turn;
            work(Work { netlink, sysfs, unguarded }).await
        })
        .await
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
            let function = self.have(async move |work| work.function(address).await).await?;
            link.device = Some(Device::Function(function));
            Ok(())
        })
    }

    fn bind<'a>(&'a self, pod: Pod<'a>, link: &'a mut Link) -> Later<'a, TxChecksum> {
        Box::pin(async move {
            let (netns, planned, function) = (pod.netns.clone(), link.clone(), function(link)?.clone());
            let bound = self.have(async move |work| work.bind(&netns, &planned, function).await).await?;
            link.device = Some(Device::Function(bound));
            Ok(TxChecksum::Keep)
        })
    }

    fn is_nested(&self) -> bool {
        true
    }

    fn give_back<'a>(&'a self, netns: &'a str, link: &'a Link) -> Option<Later<'a, ()>> {
        let (netns, link, function) = (netns.to_owned(), link.clone(), function(link).ok()?.clone());
        Some(Box::pin(self.have(async move |work| work.restore(&netns, &link, &function).await)))
    }

    fn check<'a>(&'a self, link: &'a Link) -> Later<'a, ()> {
        Box::pin(async move {
            let (link, function) = (link.clone(), function(link)?.clone());
            self.have(async move |work| work.check(&link, &function).await).await
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
