//! Trunks take one change at a time: those who want to put ports on one, or take ports off, do it together. Who comes first does
//! it for all who wait by then.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt};
use isthmus_model::retry::RetryClass;
use isthmus_openstack::Neutron;
use isthmus_openstack::neutron::{SubPort, Trunk};
use parking_lot::Mutex;
use tokio::sync::oneshot;

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

type Answered<T> = Result<T, isthmus_openstack::Error>;

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

/// The trunks, each with those who wait for it.
pub(super) struct Trunks {
    calls: Box<dyn Calls>,
    parking: Parking,
    trunks: Mutex<HashMap<String, Arc<Turns>>>,
}

#[derive(Default)]
struct Turns {
    waiting: Mutex<Vec<Wish>>,
    turn: tokio::sync::Mutex<()>,
}

/// What is wanted of a trunk, and who waits for it.
struct Wish {
    port: String,
    /// On it, or off.
    on: bool,
    answer: oneshot::Sender<Answer>,
}

/// The port's VLAN id; `None`: it is off.
type Answer = Answered<Option<u16>>;

impl Trunks {
    pub(super) fn new(calls: Box<dyn Calls>, parking: Parking) -> Self {
        Self { calls, parking, trunks: Mutex::default() }
    }

    /// Puts a port on a trunk, and answers its VLAN id. One that is on it already keeps its own.
    pub(super) async fn put(&self, trunk: &str, port: &str) -> Result<u16> {
        let full = || CloudError::TrunkFull { trunk: trunk.to_owned(), ids: IDS.len() };
        self.wish(trunk, port, true).await?.ok_or_else(full)
    }

    /// Takes a port off a trunk. That it is off already, or the trunk is gone, is success.
    pub(super) async fn take(&self, trunk: &str, port: &str) -> Result<()> {
        self.wish(trunk, port, false).await.map(drop)
    }

    async fn wish(&self, trunk: &str, port: &str, on: bool) -> Result<Option<u16>> {
        let turns = self.trunks.lock().entry(trunk.to_owned()).or_default().clone();
        let (answer, mut answered) = oneshot::channel();
        turns.waiting.lock().push(Wish { port: port.to_owned(), on, answer });
        let _turn = self.parking.park(turns.turn.lock()).await;
        if let Ok(answer) = answered.try_recv() {
            return Ok(answer?);
        }
        // Also one whose wish was taken along by another that was given up: the others must not wait for it.
        let mut batch: Vec<Wish> = turns.waiting.lock().drain(..).collect();
        // Who gave up has been told nothing, and looks again.
        batch.retain(|wish| !wish.answer.is_closed());
        self.grant(trunk, batch).await;
        match answered.try_recv() {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(CloudError::GivenUp { what: format!("the change of trunk {trunk}") }),
        }
    }

    /// Does what is wished, in one call for those that come and one for those that go. What one of them spoils, each tries alone.
    async fn grant(&self, trunk: &str, batch: Vec<Wish>) {
        let (on, off): (Vec<Wish>, Vec<Wish>) = batch.into_iter().partition(|wish| wish.on);
        for (wishes, on) in [(off, false), (on, true)] {
            let ports: BTreeSet<&str> = wishes.iter().map(|wish| wish.port.as_str()).collect();
            let Some(answers) = self.together(trunk, &ports, on).await else { continue };
            let mut alone = BTreeMap::new();
            if answers.as_ref().is_err_and(one_spoils) && ports.len() > 1 {
                for port in &ports {
                    let one = self.together(trunk, &BTreeSet::from([*port]), on).await;
                    alone.extend(one.map(|answers| ((*port).to_owned(), answers)));
                }
            }
            for wish in wishes {
                let answers = alone.get(&wish.port).unwrap_or(&answers);
                let answer = answers.clone().map(|ids| ids.get(&wish.port).copied());
                // Who is not there any more wants no answer.
                let _ = wish.answer.send(answer);
            }
        }
    }

    /// `None`: nobody wishes anything.
    async fn together(
        &self,
        trunk: &str,
        ports: &BTreeSet<&str>,
        on: bool,
    ) -> Option<Answered<BTreeMap<String, u16>>> {
        match (ports.is_empty(), on) {
            (true, _) => None,
            (false, true) => Some(self.add(trunk, ports).await),
            (false, false) => Some(self.remove(trunk, ports).await.map(|()| BTreeMap::new())),
        }
    }

    async fn add(&self, trunk: &str, ports: &BTreeSet<&str>) -> Answered<BTreeMap<String, u16>> {
        let mut tries = 0;
        loop {
            let found = self.calls.get(trunk).await?;
            let (mut ids, new) = chosen(&found.sub_ports, ports);
            if !new.is_empty() {
                tries += 1;
                match self.calls.add(trunk, &new).await {
                    // Somebody else puts ports on it too.
                    Err(error) if error.fault() == Some("DuplicateSubPort") && tries < TRIES => continue,
                    answer => drop(answer?),
                }
            }
            ids.extend(new.into_iter().map(|new| (new.port_id, new.segmentation_id)));
            return Ok(ids);
        }
    }

    async fn remove(&self, trunk: &str, ports: &BTreeSet<&str>) -> Answered<()> {
        let found = match self.calls.get(trunk).await {
            Err(error) if error.class == RetryClass::NotFound => return Ok(()),
            answer => answer?,
        };
        let there = found.sub_ports.iter().map(|sub| sub.port_id.as_str());
        let there: Vec<&str> = there.filter(|port| ports.contains(port)).collect();
        match there.is_empty() {
            true => Ok(()),
            false => self.calls.remove(trunk, &there).await.map(drop),
        }
    }
}

/// Whether one of several may be what was refused; where the service is away, each alone would only wait as long.
fn one_spoils(error: &isthmus_openstack::Error) -> bool {
    use RetryClass::{Conflict, Invalid, NotFound, Quota};
    matches!(error.class, Conflict | Invalid | NotFound | Quota)
}

/// The VLAN ids of those ports that are on the trunk, and the subports that the others become; those that no id is left for are in
/// neither.
///
/// A port has the id that its own id leads to, or the next free one: put on the trunk again, it is what a running Pod sends with.
fn chosen(held: &[SubPort], ports: &BTreeSet<&str>) -> (BTreeMap<String, u16>, Vec<SubPort>) {
    let mut taken: BTreeSet<u16> = held.iter().map(|sub| sub.segmentation_id).collect();
    let on: BTreeMap<&str, u16> =
        held.iter().map(|sub| (sub.port_id.as_str(), sub.segmentation_id)).collect();
    let (mut ids, mut new) = (BTreeMap::new(), Vec::new());
    for port in ports {
        if let Some(id) = on.get(port) {
            ids.insert((*port).to_owned(), *id);
        } else if let Some(id) = free(&taken, port) {
            taken.insert(id);
            let (port_id, segmentation_type) = ((*port).to_owned(), "vlan".to_owned());
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
