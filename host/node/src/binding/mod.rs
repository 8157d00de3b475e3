//! Binding drivers: how a VIF gets from the node's network into a Pod.
//!
//! A new driver is one file with a [`Driver`], its options in [`DriverOptions`] and their lines in [`Drivers::new`].

mod bridge;
mod nested;
mod ovs;
mod sriov;
mod vhostuser;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use isthmus_cni::protocol::PodReference;
use isthmus_cni::{Code, Error};

use crate::attachments::Link;
use crate::netlink::links::{self, LinkFacts};
use crate::netlink::netns::{Connected, Netns};
use crate::netlink::reaper::Reaper;

pub use bridge::Bridge;
pub use nested::{Nested, NestedKind};
pub use ovs::Ovs;
pub use sriov::{Sriov, SriovOptions};
pub use vhostuser::Vhostuser;

/// What a driver gives back later.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// The host's side of the kernel.
#[derive(Clone)]
pub struct Host {
    /// Netlink in the host's namespace.
    pub netlink: rtnetlink::Handle,
    /// Deletes links.
    pub reaper: Reaper,
}

impl Host {
    /// In the network namespace of the calling thread; inside a tokio runtime.
    ///
    /// # Errors
    /// No netlink connection.
    pub fn new() -> Result<Self, Error> {
        let failed = |e: std::io::Error| Error::new(Code::Io, "no netlink connection", e.to_string());
        let (connection, netlink, _) = rtnetlink::new_connection().map_err(failed)?;
        tokio::spawn(connection);
        Ok(Self { netlink, reaper: Reaper::start().map_err(failed)? })
    }

    /// Has a link deleted soon.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn bury(&self, name: &str) -> Result<(), Error> {
        if links::bury(&self.netlink, name).await? {
            self.reaper.wake();
        }
        Ok(())
    }

    /// Makes a pair. Where a dead link still has its name, that one goes first.
    ///
    /// # Errors
    /// As [`links::create`].
    pub async fn pair(&self, netns: &Netns, pair: links::Pair<'_>) -> Result<(), Error> {
        match links::create(&self.netlink, netns, pair).await {
            Err(error) if error.code == Code::InvalidEnvironment => {
                links::bury(&self.netlink, pair.host).await?;
                self.reaper.delete_now().await?;
                links::create(&self.netlink, netns, pair).await
            }
            other => other,
        }
    }
}

/// Where a Pod's interfaces are made.
#[derive(Clone, Copy)]
pub struct Pod<'a> {
    /// Its network namespace.
    pub netns: &'a Netns,
    /// Netlink in there.
    pub inside: &'a Connected,
}

/// Binds one kind of VIF. Each call may be repeated.
pub trait Driver: Send + Sync {
    /// Completes what is to be bound, before any of it is stored or made: its [`Device`](crate::attachments::Device), where
    /// it has one. The Pod's uid is known. `taken`: PCI addresses of its other interfaces.
    fn plan<'a>(
        &'a self,
        _pod: &'a PodReference,
        _taken: &'a BTreeSet<String>,
        _link: &'a mut Link,
    ) -> Later<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    /// Makes the interface in the Pod, with its MAC address and MTU, and joins it to the node's network. Says whether TX
    /// checksum offload may stay on, and in the link's device what came of it. What it made before it failed it takes away. Without an interface of the kernel's
    /// ([`Link::is_in_kernel`]) nobody configures one.
    fn bind<'a>(&'a self, pod: Pod<'a>, link: &'a mut Link) -> Later<'a, TxChecksum>;

    /// Whether what it makes is in the Pod only, with [`Link::host`] as alias: an [upper link](crate::netlink::upper), which the caller
    /// deletes there, or what is to be [given back](Driver::give_back). It is stored before it is made.
    fn is_nested(&self) -> bool {
        false
    }

    /// Gives back the [`Device`](crate::attachments::Device) of an attachment, out of the Pod's namespace at this path, as far as it is
    /// there; `None`: there is none, its links are unhooked and deleted.
    fn give_back<'a>(&'a self, _netns: &'a str, _link: &'a Link) -> Option<Later<'a, ()>> {
        None
    }

    /// Waits until traffic flows.
    fn ready<'a>(&'a self, _link: &'a Link) -> Later<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    /// Takes a link of the host off what it was joined to outside of the kernel, as far as it is there, and its device with it; the link
    /// itself is deleted by the caller, and what the kernel joined it to goes with it.
    fn unhook<'a>(&'a self, _host: &'a str) -> Later<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    /// Whether the host's side is as [`Driver::bind`] made it. [`Code::Other`] says that it is not; any other error, that it
    /// could not be looked at.
    fn check<'a>(&'a self, link: &'a Link) -> Later<'a, ()>;

    /// Names of the links that [`Driver::unhook`] would take off, whoever they belong to now.
    fn hooked(&self) -> Later<'_, BTreeSet<String>> {
        Box::pin(async { Ok(BTreeSet::new()) })
    }

    /// Whether it could bind.
    fn usable(&self) -> Later<'_, ()>;
}

/// Whether TX checksum offload works with this datapath.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxChecksum {
    /// It does.
    Keep,
    /// Nobody would fill the checksum in.
    Off,
}

/// Which drivers a node has.
#[derive(Clone, Debug, Default)]
pub struct DriverOptions {
    /// Driver of VIFs that name none.
    pub default: String,
    /// `ovs`: the database's socket, and the integration bridge.
    pub ovs: Option<(PathBuf, String)>,
    /// `bridge`: name of the bridge.
    pub bridge: Option<String>,
    /// `vlan`, `macvlan`, `ipvlan`: name of the node's interface beneath.
    pub nested_parent: Option<String>,
    /// `vhostuser`: folder of the sockets. It needs `ovs`, whose bridge its ports are in.
    pub vhostuser: Option<PathBuf>,
    /// `sriov`: where virtual functions are found.
    pub sriov: Option<SriovOptions>,
}

/// The drivers of this node, by name.
#[derive(Clone)]
pub struct Drivers {
    default: String,
    all: BTreeMap<&'static str, Arc<dyn Driver>>,
}

impl Drivers {
    /// Those that the options have.
    ///
    /// # Errors
    /// The default one is not among them.
    pub fn new(options: &DriverOptions, host: &Host) -> Result<Self, Error> {
        let mut all: BTreeMap<&'static str, Arc<dyn Driver>> = BTreeMap::new();
        if let Some((socket, bridge)) = &options.ovs {
            let ovs = Arc::new(Ovs::new(host.clone(), socket, bridge));
            if let Some(folder) = &options.vhostuser {
                all.insert("vhostuser", Arc::new(Vhostuser::new(Arc::clone(&ovs), folder)));
            }
            all.insert("ovs", ovs);
        }
        if let Some(functions) = &options.sriov {
            all.insert("sriov", Arc::new(Sriov::new(functions)));
        }
        if let Some(bridge) = &options.bridge {
            all.insert("bridge", Arc::new(Bridge::new(host.clone(), bridge)));
        }
        if let Some(parent) = &options.nested_parent {
            for kind in NestedKind::ALL {
                all.insert(kind.name(), Arc::new(Nested::new(host.clone(), parent, kind)));
            }
        }
        let drivers = Self { default: options.default.clone(), all };
        drivers.get(None)?;
        Ok(drivers)
    }

    /// One by name, or the default one, with its name.
    ///
    /// # Errors
    /// [`Code::InvalidConfig`] where this node has none of that name.
    pub fn get(&self, name: Option<&str>) -> Result<(&str, &dyn Driver), Error> {
        let name = name.unwrap_or(&self.default);
        let Some((name, driver)) = self.all.get_key_value(name) else {
            let known: Vec<_> = self.all.keys().copied().collect();
            let why = match needs(name) {
                Some(option) => format!("it needs {option}"),
                None if known.is_empty() => "this node has none".to_owned(),
                None => format!("this node has {}", known.join(", ")),
            };
            return Err(Error::new(Code::InvalidConfig, format!("there is no binding driver {name:?}"), why));
        };
        Ok((name, driver.as_ref()))
    }

    /// Whether there are Pods whose links only their attachments tell of.
    pub fn has_nested(&self) -> bool {
        self.all.values().any(|driver| driver.is_nested())
    }

    /// All, with their names.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &dyn Driver)> {
        self.all.iter().map(|(name, driver)| (*name, driver.as_ref()))
    }
}

/// What does not fit through the link beneath is lost.
fn fits(link: &Link, beneath: &LinkFacts) -> Result<(), Error> {
    let Some(mtu) = link.vif.mtu.filter(|mtu| *mtu > beneath.mtu) else { return Ok(()) };
    let what = format!(
        "port {} has MTU {mtu}, and {} beneath it has {}",
        link.vif.port_id, beneath.name, beneath.mtu
    );
    let why = "larger packets would be lost: raise that one, or lower the network's";
    Err(Error::new(Code::InvalidConfig, what, why))
}

/// The host's end of a pair has a carrier while the Pod's is set up.
fn carried(port: &LinkFacts) -> Result<(), Error> {
    match port.carrier {
        true => Ok(()),
        false => {
            let what = format!("link {} has no carrier", port.name);
            Err(Error::new(Code::Other, what, "the Pod's end is down or gone"))
        }
    }
}

/// The option without which there is no such driver, where that is not plain.
fn needs(driver: &str) -> Option<&'static str> {
    match driver {
        _ if NestedKind::ALL.iter().any(|kind| kind.name() == driver) => {
            Some("--nested-parent, the interface that Pods are put on")
        }
        "sriov" => Some("--sriov"),
        "vhostuser" => Some("--vhostuser-dir, the folder of its sockets, and Open vSwitch's database"),
        _ => None,
    }
}
