//! Trunks take one change at a time: those who want to put ports on one, or take ports off, do it together.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::{BoxFuture, FutureExt};
use isthmus_model::retry::RetryClass;
use isthmus_openstack::Neutron;
use isthmus_openstack::neutron::{SubPort, Trunk};

use super::turns::{Answered, Changes, Turns};
use crate::cloud::{CloudError, Result};
use crate::queue::Parking;

/// VLAN ids that a subport can have (802.1Q).
const IDS: std::ops::RangeInclusive<u16> = 1..=4094;
/// How often another VLAN id is tried where somebody else took the one that was free.
const TRIES: usize = 4;

/// What a service does with trunks.
pub(super) trait Calls: Send + Sync {
    fn get<'a>(&'a self, trunk: &'a str) -> BoxFuture<'a, Answered<Trunk>>;
    /// All of them, or none.
    fn add<'a>(&'a self, trunk: &'a str, subports: &'a [SubPort]) -> BoxFuture<'a, Answered<Trunk>>;
    /// As [`Calls::add`].
    fn remove<'a>(&'a self, trunk: &'a str, ports: &'a [&'a str]) -> BoxFuture<'a, Answered<Trunk>>;
}

impl Calls for Neutron {
    fn get<'a>(&'a self, trunk: &'a str) -> BoxFuture<'a, Answered<Trunk>> {
        Self::get(self, trunk).boxed()
    }
    fn add<'a>(&'a self, trunk: &'a str, subports: &'a [SubPort]) -> BoxFuture<'a, Answered<Trunk>> {
        self.add_subports(trunk, subports).boxed()
    }
    fn remove<'a>(&'a self, trunk: &'a str, ports: &'a [&'a str]) -> BoxFuture<'a, Answered<Trunk>> {
        self.remove_subports(trunk, ports).boxed()
    }
}

/// The trunks.
pub(super) struct Trunks(Turns<Subports>);

struct Subports(Box<dyn Calls>);

impl Trunks {
    pub(super) fn new(calls: Box<dyn Calls>, parking: Parking) -> Self {
        Self(Turns::new(Subports(calls), parking))
    }

    /// Puts a port on a trunk, and answers its VLAN id. One that is on it already keeps its own.
    pub(super) async fn put(&self, trunk: &str, port: &str) -> Result<u16> {
        let full = || CloudError::TrunkFull { trunk: trunk.to_owned(), ids: IDS.len() };
        self.0.put(trunk, port.to_owned()).await?.ok_or_else(full)
    }

    /// Takes a port off a trunk. That it is off already, or the trunk is gone, is success.
    pub(super) async fn take(&self, trunk: &str, port: &str) -> Result<()> {
        self.0.take(trunk, port.to_owned()).await
    }
}

impl Changes for Subports {
    const WHOLE: &'static str = "trunk";
    /// The id of a port.
    type Part = String;
    /// Its VLAN id.
    type Put = u16;

    fn put<'a>(
        &'a self,
        trunk: &'a str,
        ports: &'a BTreeSet<String>,
    ) -> BoxFuture<'a, Answered<BTreeMap<String, u16>>> {
        self.add(trunk, ports).boxed()
    }

    fn take<'a>(&'a self, trunk: &'a str, ports: &'a BTreeSet<String>) -> BoxFuture<'a, Answered<()>> {
        self.remove(trunk, ports).boxed()
    }
}

impl Subports {
    async fn add(&self, trunk: &str, ports: &BTreeSet<String>) -> Answered<BTreeMap<String, u16>> {
        let mut tries = 0;
        loop {
            let found = self.0.get(trunk).await?;
            let (mut ids, new) = chosen(&found.sub_ports, ports);
            if !new.is_empty() {
                tries += 1;
                match self.0.add(trunk, &new).await {
                    // Somebody else puts ports on it too.
                    Err(error) if error.fault() == Some("DuplicateSubPort") && tries < TRIES => continue,
                    answer => drop(answer?),
                }
            }
            ids.extend(new.into_iter().map(|new| (new.port_id, new.segmentation_id)));
            return Ok(ids);
        }
    }

    async fn remove(&self, trunk: &str, ports: &BTreeSet<String>) -> Answered<()> {
        let found = match self.0.get(trunk).await {
            Err(error) if error.class == RetryClass::NotFound => return Ok(()),
            answer => answer?,
        };
        let there = found.sub_ports.iter().map(|sub| sub.port_id.as_str());
        let there: Vec<&str> = there.filter(|port| ports.contains(*port)).collect();
        match there.is_empty() {
            true => Ok(()),
            false => self.0.remove(trunk, &there).await.map(drop),
        }
    }
}

/// The VLAN ids of those ports that are on the trunk, and the subports that the others become; those that no id is left for are in
/// neither.
///
/// A port has the id that its own id leads to, or the next free one: put on the trunk again, it is what a running Pod sends with.
fn chosen(held: &[SubPort], ports: &BTreeSet<String>) -> (BTreeMap<String, u16>, Vec<SubPort>) {
    let mut taken: BTreeSet<u16> = held.iter().map(|sub| sub.segmentation_id).collect();
    let on: BTreeMap<&str, u16> =
        held.iter().map(|sub| (sub.port_id.as_str(), sub.segmentation_id)).collect();
    let (mut ids, mut new) = (BTreeMap::new(), Vec::new());
    for port in ports {
        if let Some(id) = on.get(port.as_str()) {
            ids.insert(port.clone(), *id);
        } else if let Some(id) = free(&taken, port) {
            taken.insert(id);
            let (port_id, segmentation_type) = (port.clone(), "vlan".to_owned());
            new.push(SubPort { port_id, segmentation_type, segmentation_id: id });
        }
    }
    (ids, new)
}

/// The first id that is not taken, from the one on that the port's id leads to.
fn free(taken: &BTreeSet<u16>, port: &str) -> Option<u16> {
    let hash = port.bytes().fold(0u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)));
    let most = u32::from(*IDS.end());
    let from = u16::try_from(hash % most).unwrap_or_default() + IDS.start();
    (from..=*IDS.end()).chain(*IDS.start()..from).find(|id| !taken.contains(id))
}

#[cfg(test)]
#[path = "trunks_tests.rs"]
mod tests;
