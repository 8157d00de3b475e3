//! One term of leadership: everything that a leader knows. It is built anew for each term, so that nothing stale is
//! carried over, and everything with our mark is listed before the first write (invariant 4).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use isthmus_kubernetes::events::Events;
use isthmus_kubernetes::lease::Leadership;
use isthmus_kubernetes::mapping::Mappings;
use isthmus_kubernetes::names::{ANNOTATION_CONFIG_MIRROR, ANNOTATION_PARENT_PORT};
use isthmus_kubernetes::report::{Reports, SharedList};
use isthmus_kubernetes::store::{Store, StoreSnapshot, Stored};
use isthmus_kubernetes::watch::{Phase, WatchState, Watches};
use isthmus_model::deps::DependencyIndex;
use isthmus_model::object::{Gvk, ObjectKey, Subject};
use isthmus_model::projection::Mask;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::certificates::Sources;
use crate::cloud::Cloud;
use crate::inventory::Inventory;
use crate::memo::Memos;
use crate::metrics::Metrics;
use crate::modules::{Lane, Pipelines};
use crate::queue::Queue;
use crate::records::Records;
use crate::sets::Sets;

/// Everything that reconciles share.
pub struct Session {
    /// Cluster id of our marks.
    pub cluster: String,
    /// Objects of Kubernetes.
    pub store: Arc<RwLock<Store>>,
    /// The watches that fill it.
    pub watches: Watches,
    /// What maps what now. Swapped whole: a call in flight ends on what it began with (invariant 8).
    pub pipelines: ArcSwap<Pipelines>,
    /// Who read what.
    pub deps: Mutex<DependencyIndex<Arc<Subject>>>,
    /// The CloudMappings.
    pub records: Mutex<Records>,
    /// What the cloud has with our mark.
    pub inventory: Mutex<Inventory>,
    /// The cloud.
    pub cloud: Cloud,
    /// Writes to CloudMappings.
    pub mappings: Mappings,
    /// Writes to subjects.
    pub reports: Reports,
    /// Events.
    pub events: Events,
    /// Subjects to be looked at.
    pub queue: Queue<Arc<Subject>>,
    /// Kinds that are not known, and for which subjects wait.
    pub awaited: Mutex<BTreeSet<Gvk>>,
    /// As [`crate::run::Options::agent_wait`].
    pub agent_wait: Duration,
    /// What certificates are made of.
    pub sources: Sources,
    /// Who waits for something of another mapping, by that mapping's subject.
    pub waiters: Mutex<BTreeMap<ObjectKey, BTreeSet<Arc<Subject>>>>,
    /// The named sets of addresses that mappings use.
    pub(crate) sets: Mutex<Sets>,
    /// What modules said of subjects that name sets.
    pub(crate) memos: Memos,
    /// What changed last of what a subject reads, by its uid, until it is mapped.
    pub causes: Mutex<HashMap<Arc<str>, String>>,
    /// Numbers.
    pub metrics: Arc<Metrics>,
    /// Whether we may write.
    pub leadership: watch::Receiver<Leadership>,
    /// An answer to a create was lost: the resync comes soon.
    pub answer_lost: tokio::sync::Notify,
    /// Uids of subjects whose CloudMappings were there at the start and record nothing: what the operator before was making for them
    /// may come through after everything was listed. Until the first resync.
    pub under_way: Mutex<BTreeSet<Arc<str>>>,
    /// Progress of subjects that are not done.
    pub progress: Mutex<HashMap<Arc<str>, Progress>>,
    /// Everything is taken down ([`crate::uninstall`]): whatever there is, no object counts, and nothing is mapped.
    pub drains: bool,
}

/// How far a subject is.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// When it was seen first, until it is ready for the first time.
    pub seen: Option<Instant>,
    /// Failures in a row.
    pub attempts: u32,
    /// Since when its object is gone.
    pub gone: Option<Instant>,
    /// How many stages of its way it has come to.
    pub stages: usize,
    /// How often what the cloud works on was looked at.
    pub polls: u32,
    /// Hash of what the subject says by us.
    pub said: Option<Box<str>>,
    /// The lists in it in which others have elements, too.
    pub shared: Vec<SharedList>,
    /// What the last failure was.
    pub why: Option<Box<str>>,
}

/// Whether a subject's object is there.
#[derive(Clone, Debug)]
pub enum Presence {
    /// It is, in this life.
    Live(Arc<Stored>),
    /// It is not, and that is certain.
    Gone,
    /// Its kind can't be listed now.
    Unknown,
}

/// Kind of namespaces.
pub fn namespace_kind() -> Gvk {
    Gvk::new("", "v1", "Namespace")
}

/// Kind of Pods.
fn pod_kind() -> Gvk {
    Gvk::new("", "v1", "Pod")
}

/// What the operator itself looks at in objects of a kind, whatever modules ask for: name and life, of a static Pod's mirror
/// the uid that its kubelet knows the Pod by, and of a node what it is in the cloud.
pub fn own_mask(kind: &Gvk) -> Mask {
    let annotation = |name: &str| format!("metadata.annotations[\"{name}\"]");
    let paths = match kind {
        kind if *kind == pod_kind() => vec![annotation(ANNOTATION_CONFIG_MIRROR)],
        kind if *kind == node_kind() => {
            vec![annotation(ANNOTATION_PARENT_PORT), "status.addresses".to_owned()]
        }
        _ => Vec::new(),
    };
    Mask::new(paths.iter().map(String::as_str)).unwrap_or_default()
}

/// Kind of nodes.
pub fn node_kind() -> Gvk {
    Gvk::new("", "v1", "Node")
}

impl Session {
    /// A consistent view of the cluster.
    pub fn snapshot(&self) -> StoreSnapshot {
        self.store.read().snapshot()
    }

    /// Whether work may begin. That no write is sent later than this allows is held by the gates of both clients.
    pub fn leads(&self) -> bool {
        self.leadership.borrow().leads()
    }

    /// Whether a kind's objects are all known.
    pub fn synced(&self, kind: &Gvk) -> bool {
        self.watches.state(kind).is_some_and(|state| state.phase == Phase::Synced)
    }

    /// Whether the API server says that it has no such kind.
    pub fn is_absent(&self, kind: &Gvk) -> bool {
        self.watches.state(kind).is_some_and(|state| state.phase == Phase::Absent)
    }

    /// Whether all of these kinds are known: a module that read an empty list of one that can't be listed would have
    /// everything deleted (design, section 10).
    ///
    /// # Errors
    /// The first that is not, and why, for people.
    pub fn all_known(&self, kinds: &BTreeSet<Gvk>) -> Result<(), String> {
        for kind in kinds {
            let state = self.watches.state(kind);
            let known = state.as_ref().map_or(Err("it is not watched yet"), WatchState::known);
            if let Err(why) = known {
                self.awaited.lock().insert(kind.clone());
                return Err(format!("{kind} could not be listed yet: {why}"));
            }
        }
        Ok(())
    }

    /// Queues those that waited for a kind to be known.
    pub fn known_now(&self, kind: &Gvk) {
        if !self.awaited.lock().remove(kind) {
            return;
        }
        let pipelines = self.pipelines.load_full();
        // The operator itself reads nodes, for any kind that names one.
        let own = *kind == node_kind();
        let reads = |lane: &Lane| matches!(lane, Lane::Serving(s) if own || s.reads.contains(kind));
        let waiting = pipelines.kinds().filter(|of| pipelines.lanes(of).any(reads));
        waiting.for_each(|of| self.enqueue_kind(&of));
    }

    /// Whether the subject's object is there. That it is not is believed only of a kind that is listed.
    pub fn presence(&self, subject: &Subject, snapshot: &StoreSnapshot) -> Presence {
        match snapshot.subject(&subject.key) {
            _ if self.drains => Presence::Gone,
            Some(stored) if stored.uid == subject.uid => Presence::Live(stored),
            _ if self.synced(&subject.key.kind) => Presence::Gone,
            _ => Presence::Unknown,
        }
    }

    /// Whether a subject may be one that we mapped: its kind is served, was served, or can be listed. A CloudMapping of any other
    /// kind is one that somebody made up.
    pub fn may_own(&self, subject: &Subject) -> bool {
        self.drains || self.pipelines.load().lane(&subject.key).is_some() || self.synced(&subject.key.kind)
    }

    /// Whether a namespace is being deleted.
    pub fn terminating(&self, namespace: &str, snapshot: &StoreSnapshot) -> bool {
        let key = ObjectKey::new(namespace_kind(), None, namespace);
        snapshot.subject(&key).is_some_and(|stored| stored.deleting)
    }

    /// Whether a node's object is there.
    pub fn has_node(&self, node: &str, snapshot: &StoreSnapshot) -> bool {
        snapshot.subject(&ObjectKey::new(node_kind(), None, node)).is_some()
    }

    /// Notes a failure, and why where that is known here; answers how many there were in a row.
    pub fn failed(&self, uid: &Arc<str>, why: Option<String>) -> u32 {
        let mut progress = self.progress.lock();
        let progress = progress.entry(uid.clone()).or_default();
        progress.attempts += 1;
        progress.why = why.map(Into::into);
        progress.attempts
    }

    /// Since when the subject has been gone, from now on if that is new.
    pub fn gone_since(&self, uid: &Arc<str>) -> Instant {
        *self.progress.lock().entry(uid.clone()).or_default().gone.get_or_insert_with(Instant::now)
    }

    /// Notes that a subject was seen, for the time that it takes.
    pub fn seen(&self, uid: &Arc<str>) {
        let mut progress = self.progress.lock();
        progress.entry(uid.clone()).or_insert(Progress { seen: Some(Instant::now()), ..Progress::default() });
    }

    /// Notes that a subject has come to a stage. Answers the time since it was seen, the first time that it comes so far.
    pub fn reached(&self, uid: &Arc<str>, stage: usize) -> Option<Duration> {
        let mut progress = self.progress.lock();
        let progress = progress.get_mut(uid).filter(|p| p.stages <= stage)?;
        progress.stages = stage + 1;
        progress.seen.map(|seen| seen.elapsed())
    }

    /// Notes that what the cloud works on is not ready; answers how often it was not before.
    pub fn polled(&self, uid: &Arc<str>) -> u32 {
        let mut progress = self.progress.lock();
        let progress = progress.entry(uid.clone()).or_default();
        progress.polls += 1;
        progress.polls - 1
    }

    /// Notes success. Of a subject that is ready nothing is kept but what it says.
    pub fn succeeded(&self, uid: &Arc<str>, ready: bool) {
        let mut all = self.progress.lock();
        let Some(progress) = all.get_mut(uid) else { return };
        *progress = match ready {
            true => {
                let progress = std::mem::take(progress);
                Progress { said: progress.said, shared: progress.shared, ..Progress::default() }
            }
            false => Progress { attempts: 0, why: None, ..std::mem::take(progress) },
        };
        if ready && progress.said.is_none() {
            all.remove(uid);
        }
    }

    /// Forgets a subject that is gone with all that it had.
    pub fn forget(&self, subject: &Arc<Subject>) {
        self.progress.lock().remove(&subject.uid);
        self.causes.lock().remove(&subject.uid);
        self.memos.drop(&subject.uid);
        self.waiters.lock().retain(|_, waiting| {
            waiting.remove(subject);
            !waiting.is_empty()
        });
        self.deps.lock().remove(subject);
        self.sets.lock().set(subject, BTreeSet::new());
        self.sources.forget(&self.watches, subject);
    }

    /// Queues everything that could have work: every live subject of a mapped kind, and every CloudMapping.
    pub fn enqueue_all(&self) {
        let snapshot = self.snapshot();
        let mut all: BTreeSet<Arc<Subject>> = self.records.lock().subjects().cloned().map(Arc::new).collect();
        for kind in self.pipelines.load().kinds() {
            all.extend(snapshot.iter(&kind).map(|stored| Arc::new(subject_of(stored))));
        }
        all.into_iter().for_each(|subject| self.queue.now(subject));
    }

    /// Queues the subjects of one kind.
    pub fn enqueue_kind(&self, kind: &Gvk) {
        let snapshot = self.snapshot();
        let live = snapshot.iter(kind).map(|stored| Arc::new(subject_of(stored)));
        let recorded: Vec<_> = {
            let records = self.records.lock();
            records.subjects().filter(|s| *s.key.kind == *kind).cloned().map(Arc::new).collect()
        };
        live.chain(recorded).collect::<BTreeSet<_>>().into_iter().for_each(|subject| self.queue.now(subject));
    }
}

/// The subject that a stored object is.
pub fn subject_of(stored: &Stored) -> Subject {
    Subject { key: stored.key.clone(), uid: stored.uid.clone() }
}
