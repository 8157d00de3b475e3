//! One projected watch a kind, into the shared store.
//!
//! # Guarantee
//! Every difference of a projected object between two moments at which this end was connected is told as a
//! [`WatchEvent::Changed`] after it is in the store, also one that happened while the watch was cut or after a 410: the
//! list that follows is compared with what is stored. An object that comes and goes while the watch is cut is not told.
//!
//! # Assumption
//! The receiver is read: the channel is bounded, and a full one holds the watches back, not memory.

mod crds;
mod kind;
mod one;
mod relist;
mod typed;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use isthmus_model::object::{Gvk, ObjectKey};
use isthmus_model::projection::Mask;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::client::Client;
use crate::discovery::Scope;
use crate::store::{Change, Store};

pub(crate) use kind::project;
pub(crate) use one::follow;
pub use typed::{Event, Named, mappings, module_sources, modules, nodes};

/// How many events may wait for the receiver.
const WAITING: usize = 1024;

/// What a watch has to say.
#[derive(Debug)]
pub enum WatchEvent {
    /// Objects changed, and the store has it.
    Changed(Vec<Change>),
    /// An object of those of [`Watches::heed`] may have changed, outside of what is kept of it.
    Touched(ObjectKey),
    /// All objects of a kind are in the store, by the mask that [`Watches::state`] names. Said after each list.
    Synced(Gvk),
    /// A kind cannot be listed: there is no such kind yet, or we may not read it. What is stored of it stays as it is. It
    /// is tried again, and soon after a CustomResourceDefinition changes.
    Unavailable {
        /// The kind.
        gvk: Gvk,
        /// Why, for people.
        reason: String,
    },
}

/// How far the watch of a kind is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It has not been listed with its present mask.
    Starting,
    /// All its objects are in the store.
    Synced,
    /// The API server says that it has no such kind: there is no object of it.
    Absent,
    /// It cannot be listed; why, for people.
    Unavailable(String),
}

/// The watch of one kind.
#[derive(Clone, Debug)]
pub struct WatchState {
    /// What is kept of its objects.
    pub mask: Arc<Mask>,
    /// How far it is.
    pub phase: Phase,
    /// Whether all its objects came into the store with this mask, at whatever time.
    pub listed: bool,
    /// Where its objects live; `None` before it was discovered.
    pub scope: Option<Scope>,
}

/// All projected watches. They end when this is dropped.
pub struct Watches {
    client: Client,
    store: Arc<RwLock<Store>>,
    events: mpsc::Sender<WatchEvent>,
    definitions: watch::Receiver<u64>,
    states: States,
    heeded: Heeded,
    /// A kind's task is kept for as long as the watches are: an old and a new one of a kind must never write by turns.
    kinds: Mutex<BTreeMap<Gvk, watch::Sender<Option<Arc<Mask>>>>>,
    tasks: Mutex<JoinSet<()>>,
}

type Heeded = Arc<RwLock<BTreeSet<ObjectKey>>>;
type States = Arc<RwLock<BTreeMap<Gvk, WatchState>>>;

impl WatchState {
    /// Whether what the store has of it is what there is, or was: an empty store of a kind that was never listed is neither.
    ///
    /// # Errors
    /// Why not, for people.
    pub fn known(&self) -> Result<(), &str> {
        match &self.phase {
            Phase::Synced | Phase::Absent => Ok(()),
            _ if self.listed => Ok(()),
            Phase::Starting => Err("it is being listed"),
            Phase::Unavailable(why) => Err(why),
        }
    }
}

impl Watches {
    /// Begins with no kind at all. Must be called inside a tokio runtime.
    pub fn start(client: Client, store: Arc<RwLock<Store>>) -> (Self, mpsc::Receiver<WatchEvent>) {
        let (events, receiver) = mpsc::channel(WAITING);
        let (changed, definitions) = watch::channel(0);
        let mut tasks = JoinSet::new();
        tasks.spawn(crds::watch(client.clone(), changed));
        let watches = Self {
            client,
            store,
            events,
            definitions,
            states: States::default(),
            heeded: Heeded::default(),
            kinds: Mutex::default(),
            tasks: Mutex::new(tasks),
        };
        (watches, receiver)
    }

    /// Makes these the watched kinds. One that is new is started. One whose mask no longer covers what is asked for is
    /// listed anew with the new mask; a mask that covers it stays, wider or not. One that is not named is stopped and its
    /// objects are forgotten, which is no [`Change`]: that nobody looks at an object does not mean that it is gone.
    pub fn ensure(&self, wanted: BTreeMap<Gvk, Mask>) {
        let mut kinds = self.kinds.lock();
        for (gvk, mask) in kinds.iter() {
            if !wanted.contains_key(gvk) {
                self.states.write().remove(gvk);
                mask.send_if_modified(|mask| mask.take().is_some());
            }
        }
        for (gvk, mask) in wanted {
            let mut states = self.states.write();
            if states.get(&gvk).is_some_and(|state| state.mask.covers(&mask)) {
                continue;
            }
            let mask = Arc::new(mask);
            let scope = states.get(&gvk).and_then(|state| state.scope);
            states.insert(
                gvk.clone(),
                WatchState { mask: mask.clone(), phase: Phase::Starting, listed: false, scope },
            );
            match kinds.get(&gvk) {
                Some(sender) => {
                    sender.send_replace(Some(mask));
                }
                None => {
                    let sender = self.spawn(&gvk, mask);
                    kinds.insert(gvk, sender);
                }
            }
        }
    }

    /// Makes these the objects of watched kinds of which every change is told, also one of what is not kept.
    pub fn heed(&self, keys: BTreeSet<ObjectKey>) {
        *self.heeded.write() = keys;
    }

    /// How far a kind is. `None`: it is not watched.
    pub fn state(&self, gvk: &Gvk) -> Option<WatchState> {
        self.states.read().get(gvk).cloned()
    }

    /// Where the objects of a watched kind live, once that is known.
    pub fn scope(&self, gvk: &Gvk) -> Option<Scope> {
        self.states.read().get(gvk).and_then(|state| state.scope)
    }

    /// The kinds that are watched.
    pub fn kinds(&self) -> Vec<Gvk> {
        self.states.read().keys().cloned().collect()
    }

    fn spawn(&self, gvk: &Gvk, mask: Arc<Mask>) -> watch::Sender<Option<Arc<Mask>>> {
        let (sender, masks) = watch::channel(Some(mask));
        let task = kind::KindWatch {
            client: self.client.clone(),
            gvk: Arc::new(gvk.clone()),
            store: self.store.clone(),
            states: self.states.clone(),
            heeded: self.heeded.clone(),
            events: self.events.clone(),
            definitions: self.definitions.clone(),
            masks,
        };
        self.tasks.lock().spawn(task.run());
        sender
    }
}
