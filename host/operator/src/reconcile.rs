//! One subject: from its object, its record and what the cloud has, to what its module wants (design, section 6).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use isthmus_kubernetes::crd::CloudMappingStatus;
use isthmus_kubernetes::error::ErrorKind;
use isthmus_kubernetes::names::ANNOTATION_CONFIG_MIRROR;
use isthmus_kubernetes::store::{StoreSnapshot, Stored};
use isthmus_model::condition::READY;
use isthmus_model::desired::DesiredList;
use isthmus_model::kinds::Kind;
use isthmus_model::mark::Mark;
use isthmus_model::nested::node_of;
use isthmus_model::object::Subject;
use isthmus_model::observed::{Observed, State};
use isthmus_model::plan::{Input, Plan, plan};
use isthmus_model::record::Record;
use isthmus_model::retry::RetryClass;
use isthmus_model::value::Reference;

use crate::apply::{Applied, apply};
use crate::backoff::jittered;
use crate::cloud::CloudError;
use crate::error::ReconcileError;
use crate::mapped::{Mapping, Verdict};
use crate::metrics::{Ended, Stage};
use crate::records::Known;
use crate::refs::{self, Resolved};
use crate::report::awaits_members;
use crate::session::{Presence, Session};

/// What is left to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing, until something changes.
    Done,
    /// It waits for a change, and is looked at again by then at the latest.
    Waiting(Duration),
    /// It failed.
    Retry(RetryClass),
}

/// Before the first look at what the cloud is still at work on, and the longest time between two.
const POLL: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(20));

/// The longest time between two looks at a pool of which no member answers.
const MEMBERS: Duration = Duration::from_secs(60);

/// Stages of a subject's way, in order.
const STAGES: [&str; 3] = ["mapped", "realized", "ready"];

/// Reconciles one subject. Answers when to do so again, if no change asks for it before.
pub async fn reconcile(session: &Arc<Session>, subject: Arc<Subject>) -> Option<Duration> {
    if !session.leads() {
        return None;
    }
    let _running = session.metrics.reconcile_begins();
    let (next, failed) = match session.once(&subject).await {
        Ok(next) => (next, None),
        Err(ReconcileError::NotLeading) => return None,
        Err(error) => {
            // Somebody wrote in between: it is done over at once, and is nobody's fault.
            match error.class() {
                RetryClass::Conflict => {
                    tracing::debug!(subject = %subject.key, uid = %subject.uid, %error, "to be done over")
                }
                _ => tracing::warn!(subject = %subject.key, uid = %subject.uid, %error, "reconcile failed"),
            }
            (Next::Retry(error.class()), Some(error))
        }
    };
    let ended =
        |result: &str| session.metrics.reconciles.get_or_create(&Ended { result: result.into() }).inc();
    match next {
        Next::Done => {
            ended("done");
            None
        }
        Next::Waiting(delay) => {
            ended("waiting");
            Some(delay)
        }
        Next::Retry(class) => {
            ended(failed.as_ref().map_or(class.reason(), ReconcileError::reason));
            let attempt = session.failed(&subject.uid, failed.map(|error| error.told()));
            class.delay(attempt).map(|delay| jittered(delay, &subject.uid, attempt))
        }
    }
}

impl Session {
    async fn once(self: &Arc<Self>, subject: &Arc<Subject>) -> Result<Next, ReconcileError> {
        let snapshot = self.snapshot();
        let known = self.records.lock().get(subject);
        match self.presence(subject, &snapshot) {
            Presence::Unknown => Ok(Next::Done),
            Presence::Live(stored) => self.live(subject, &stored, known, &snapshot).await,
            Presence::Gone => match known {
                Some(known) if !known.released => self.gone(subject, known, &snapshot).await,
                // What is marked for it without a mapping is an orphan: the resync's business.
                _ => {
                    self.forget(subject);
                    Ok(Next::Done)
                }
            },
        }
    }

    async fn live(
        self: &Arc<Self>,
        subject: &Arc<Subject>,
        stored: &Stored,
        known: Option<Known>,
        snapshot: &StoreSnapshot,
    ) -> Result<Next, ReconcileError> {
        let terminating = self.terminating(self.mappings.namespace_of(subject), snapshot);
        let known = match known {
            Some(known) if known.released => None,
            Some(known) if known.deleting && !terminating => match self.write_again(subject, known).await? {
                Ok(known) => Some(known),
                Err(next) => return Ok(next),
            },
            other => other,
        };
        if terminating && known.is_none() {
            return Ok(Next::Done);
        }
        if known.is_none() {
            self.seen(&subject.uid);
        }
        let cause = self.causes.lock().remove(&subject.uid);
        let mapped = self.map(subject, stored, snapshot.clone(), known.as_ref()).await;
        let mapped = self.with_nodes(subject, mapped, known.as_ref(), snapshot);
        let mapping = Mapping { cause, ..mapped };
        let next = match mapping.verdict {
            Verdict::List(ref list) => {
                self.stage(subject, 0);
                match known {
                    // Its namespace is being deleted, and waits for it: a Namespace's own mapping, above all.
                    Some(known)
                        if known.deleting
                            && list.entries().is_empty()
                            && !self.is_on_a_node(&known, snapshot) =>
                    {
                        self.take_down(subject, known, &mapping).await
                    }
                    known => self.realize(subject, known, list, &mapping).await,
                }
            }
            Verdict::Nothing => match known {
                Some(known) => {
                    // First: nobody shall use an address that may be somebody else's next.
                    self.say(subject, stored, None).await?;
                    let known = self.records.lock().get(subject).unwrap_or(known);
                    self.take_down(subject, known, &mapping).await
                }
                None => Ok(Next::Done),
            },
            Verdict::Frozen(ref condition) => self.freeze(subject, known, condition, &mapping).await,
        }?;
        self.report(subject, stored, &mapping, snapshot.clone()).await?;
        Ok(next)
    }

    /// Somebody deleted the CloudMapping of a live subject by hand: it is written again as it was, and neither the cloud
    /// nor the node is touched.
    async fn write_again(
        &self,
        subject: &Subject,
        known: Known,
    ) -> Result<Result<Known, Next>, ReconcileError> {
        // Its subject went with it, and the watch of that one is late: the port would lose what the node's agent says of it.
        if !self.mappings.lives(subject).await? {
            return Ok(Err(Next::Retry(RetryClass::Conflict)));
        }
        // What it records is held by it alone: let go of, it could not be written again there.
        if self.mappings.is_going(&known.namespace).await? {
            return Ok(Ok(known));
        }
        self.mappings.release(&known.namespace, &known.name, &known.uid).await?;
        let node = known.status.node.as_deref();
        let fresh = match self.mappings.create(subject, node, self.mirror_of(subject).as_deref()).await {
            Ok(fresh) => fresh,
            Err(error) if error.kind == ErrorKind::NamespaceTerminating => return Ok(Err(Next::Done)),
            Err(error) => return Err(error.into()),
        };
        tracing::info!(subject = %subject.key, "the CloudMapping was deleted by hand: written again");
        let fresh = {
            let mut records = self.records.lock();
            records.put(&fresh);
            // Until it is written: what it records was not made by anybody else.
            records.keep_unwritten(subject, &known.status);
            records.get(subject)
        };
        let Some(fresh) = fresh else { return Ok(Err(Next::Retry(RetryClass::Conflict))) };
        self.patch(subject, &fresh, CloudMappingStatus::clone(&known.status)).await?;
        let known = self.records.lock().get(subject);
        Ok(known.ok_or(Next::Retry(RetryClass::Conflict)))
    }

    /// From a list to the cloud.
    async fn realize(
        self: &Arc<Self>,
        subject: &Arc<Subject>,
        known: Option<Known>,
        desired: &DesiredList,
        mapping: &Mapping,
    ) -> Result<Next, ReconcileError> {
        let sealed = match self.seal(subject, desired).await {
            Ok(sealed) => sealed,
            Err(error) => return self.cloud_is_away(subject, known, mapping, error).await,
        };
        let record = known.as_ref().map(Known::record).unwrap_or_default();
        let nested = match self.nested(&sealed.list, &record, &self.snapshot()) {
            Ok(nested) => nested,
            Err(error) => return self.cloud_is_away(subject, known, mapping, error.into()).await,
        };
        let desired = &*nested;
        self.use_sets(subject, desired);
        let resolved = match refs::resolve(self, subject, desired).await {
            Ok(resolved) => Resolved { unusable: sealed.unusable.clone(), ..resolved },
            Err(error) => return self.cloud_is_away(subject, known, mapping, error.into()).await,
        };
        self.wait_for(subject, &resolved);
        let seen = async {
            self.find_unknown(subject, known.as_ref()).await?;
            self.look_again(subject, |o| o.state != State::Ready || awaits_members(o)).await
        };
        if let Err(error) = seen.await {
            return self.cloud_is_away(subject, known, mapping, error).await;
        }
        let steps = self.plan(subject, desired, &record, &resolved, known.as_ref());
        let nothing = desired.entries().is_empty() && record.is_empty() && steps.is_empty();
        if nothing && known.is_none() {
            self.succeeded(&subject.uid, true);
            return Ok(Next::Done);
        }
        // Invariant 1: first the CloudMapping with its finalizer, then the cloud.
        let known = match known {
            Some(known) => known,
            None => match self.new_mapping(subject, desired).await? {
                Ok(known) => known,
                Err(next) => return Ok(next),
            },
        };
        let external = resolved.external.clone();
        let applied = apply(self, subject, desired, &steps, record, external).await;
        self.wake_owners_of_failed(&applied);
        self.learn_from(&applied).await;
        // Attachments were recorded meanwhile.
        let before = known;
        let known = self.records.lock().get(subject).unwrap_or_else(|| before.clone());
        if applied.cut_short() {
            return Err(self.cut_short(subject, &known, desired, &applied).await);
        }
        if applied.complete() {
            self.stage(subject, 1);
        }
        let conditions = self.outcome_conditions(subject, mapping, &steps, &applied, &resolved).await;
        let ready = conditions.iter().any(|c| c.kind == READY && c.status == Some(true));
        self.settle(subject, &known, desired, mapping, &applied, conditions).await?;
        self.wake_users(subject, &before);
        self.after(subject, &steps, &applied, ready, nothing)
    }

    /// What is left to do after an apply.
    fn after(
        &self,
        subject: &Arc<Subject>,
        steps: &Plan,
        applied: &Applied,
        ready: bool,
        nothing: bool,
    ) -> Result<Next, ReconcileError> {
        if let Some(class) =
            applied.errors.values().map(ReconcileError::class).min_by_key(|c| (*c == RetryClass::Invalid, *c))
        {
            return Ok(Next::Retry(class));
        }
        if ready {
            self.stage(subject, 2);
        }
        let ended =
            (ready || nothing) && !self.inventory.lock().heads(&subject.uid).values().any(awaits_members);
        self.succeeded(&subject.uid, ended);
        if steps.blocked.is_empty() && ended {
            return Ok(Next::Done);
        }
        // What the cloud works on is soon done, or not for long. An entry of another mapping or a name in the cloud may come
        // without a change that we are told of.
        let polls = if steps.blocked.is_empty() { self.polled(&subject.uid) } else { u32::MAX };
        let longest = if ready { MEMBERS } else { POLL.1 };
        let delay = POLL.0.saturating_mul(1 << polls.min(8)).min(longest);
        Ok(Next::Waiting(jittered(delay, &subject.uid, polls)))
    }

    /// The plan of this subject, from what is known now.
    pub(crate) fn plan(
        &self,
        subject: &Subject,
        desired: &DesiredList,
        record: &Record,
        resolved: &Resolved,
        known: Option<&Known>,
    ) -> Plan {
        let observed = self.inventory.lock().of(&subject.uid);
        let held = self.records.lock().held(subject, |user| self.may_own(user));
        let snapshot = self.snapshot();
        let attached = known.filter(|known| self.is_on_a_node(known, &snapshot));
        let pinned = attached.map(|known| in_use(&known.status, &observed)).unwrap_or_default();
        plan(&Input {
            cluster: &self.cluster,
            subject: &subject.uid,
            project: self.cloud.project(),
            desired,
            record,
            observed: &observed,
            external: &resolved.external,
            held: &held,
            pinned: &pinned,
        })
    }

    /// A create whose answer was lost is looked for by its mark before anything is tried again (invariant 4).
    pub(crate) async fn find_unknown(
        &self,
        subject: &Subject,
        known: Option<&Known>,
    ) -> Result<(), ReconcileError> {
        let unknown = known.into_iter().flat_map(|known| &known.status.resources);
        let kinds: BTreeSet<Kind> = unknown.filter(|r| r.created_unknown).map(|r| r.kind).collect();
        if !kinds.is_empty() {
            let all = self.cloud.list_of(&Mark::cluster_tag(&self.cluster), &subject.uid, &kinds).await?;
            let is_ours = |o: &Observed| {
                o.mark.as_ref().is_some_and(|m| m.cluster == self.cluster && m.subject == *subject.uid)
            };
            let mut ours: Vec<Observed> = all.into_iter().filter(is_ours).collect();
            let recorded = self.recorded(|of| of == subject).await?;
            ours.extend(recorded.into_iter().filter(|found| kinds.contains(&found.kind)));
            self.inventory.lock().replace_subject(&subject.uid, &kinds, ours);
        }
        Ok(())
    }

    /// What was so when it was seen last is looked at again (and what failed is repaired, where that is possible), and what a write
    /// failed of.
    pub(crate) async fn look_again(
        &self,
        subject: &Subject,
        at: impl Fn(&Observed) -> bool,
    ) -> Result<(), ReconcileError> {
        let (unsure, others) = self.inventory.lock().to_look_at(&subject.uid, at);
        for old in &unsure {
            self.refresh(subject, old).await?;
        }
        for old in &others {
            match self.refresh(subject, old).await {
                // It is there; that its members are not seen holds up nothing else of the subject.
                Err(error) if old.state == State::Ready => {
                    tracing::debug!(subject = %subject.key, id = old.id, %error, "it is not seen again yet");
                }
                seen => seen?,
            }
        }
        Ok(())
    }

    async fn refresh(&self, subject: &Subject, old: &Observed) -> Result<(), ReconcileError> {
        match self.cloud.driver(old.kind)?.refresh(old).await? {
            Some(now) => self.inventory.lock().put(&subject.uid, now),
            None => self.inventory.lock().remove(&subject.uid, &old.id),
        }
        Ok(())
    }

    /// A load balancer that was found in ERROR on the way is repaired by the mapping that it belongs to.
    pub(crate) fn wake_owners_of_failed(&self, applied: &Applied) {
        for error in applied.errors.values() {
            let ReconcileError::Cloud(CloudError::Failed { load_balancer }) = error else { continue };
            let Some(uid) = self.inventory.lock().failed(load_balancer) else { continue };
            let owner = self.records.lock().subjects().find(|subject| *subject.uid == *uid).cloned();
            owner.into_iter().for_each(|owner| self.queue.now(Arc::new(owner)));
        }
    }

    pub(crate) async fn new_mapping(
        &self,
        subject: &Subject,
        desired: &DesiredList,
    ) -> Result<Result<Known, Next>, ReconcileError> {
        let node = desired.entries().iter().find_map(node_of);
        let mirror = self.mirror_of(subject);
        match self.mappings.create(subject, node, mirror.as_deref()).await {
            Ok(mapping) => {
                let mut records = self.records.lock();
                records.put(&mapping);
                Ok(records.get(subject).ok_or(Next::Retry(RetryClass::Conflict)))
            }
            Err(error) if error.kind == ErrorKind::NamespaceTerminating => Ok(Err(Next::Done)),
            Err(error) => Err(error.into()),
        }
    }

    /// The uid that a kubelet knows a static Pod by, where the subject is its mirror.
    fn mirror_of(&self, subject: &Subject) -> Option<String> {
        let Presence::Live(stored) = self.presence(subject, &self.snapshot()) else { return None };
        mirrored(&stored)
    }

    /// Notes whose mapping a subject waits for something of.
    fn wait_for(&self, subject: &Arc<Subject>, resolved: &Resolved) {
        for reference in resolved.missing.keys() {
            let Reference::Mapped { subject: other, name } = reference else { continue };
            self.waiters.lock().entry(other.clone()).or_default().insert(subject.clone());
            // It may have come before it was noted who waits for it.
            if refs::mapped(self, subject, other, name).is_ok() {
                self.queue.now(subject.clone());
            }
        }
    }

    /// Mappings that refer to this one, or wait for something of it, are looked at again when what it recorded changed. After a
    /// write that failed it is recorded here already, and nobody was told.
    fn wake_users(&self, subject: &Subject, before: &Known) {
        let Some(now) = self.records.lock().get(subject) else { return };
        // A set looks at addresses alone.
        if before.unwritten || now.status.vifs != before.status.vifs {
            self.may_join(subject);
        }
        if !before.unwritten && now.status.resources == before.status.resources {
            return;
        }
        let users: BTreeSet<Subject> = {
            let records = self.records.lock();
            let resources = now.status.resources.iter();
            resources.flat_map(|r| records.users(&subject.key, &r.name)).collect()
        };
        self.wake_referred(&before.status, &now.status);
        users.into_iter().for_each(|user| self.queue.now(Arc::new(user)));
        let waiters = self.waiters.lock().remove(&subject.key);
        waiters.into_iter().flatten().for_each(|waiter| self.queue.now(waiter));
    }

    fn stage(&self, subject: &Subject, at: usize) {
        if let (Some(stage), Some(since)) = (STAGES.get(at).copied(), self.reached(&subject.uid, at)) {
            self.metrics.stages.get_or_create(&Stage { stage }).observe(since.as_secs_f64());
        }
    }
}

/// Ids of what a running Pod is on: its ports, and what they have of their node's (the VLAN id that it sends with, or its addresses).
fn in_use(status: &CloudMappingStatus, observed: &BTreeMap<String, Observed>) -> BTreeSet<String> {
    let ports: BTreeSet<&str> = status.vifs.iter().map(|vif| vif.port_id.as_str()).collect();
    let of = |o: &&Observed| {
        o.fields.get("port").and_then(|port| port.as_str()).is_some_and(|p| ports.contains(p))
    };
    let nested = observed.values().filter(|o| o.kind.is_nested()).filter(of);
    ports.iter().map(|port| (*port).to_owned()).chain(nested.map(|o| o.id.clone())).collect()
}

/// The uid that a kubelet knows a static Pod by, of its mirror.
pub(crate) fn mirrored(stored: &Stored) -> Option<String> {
    if !stored.text.contains(ANNOTATION_CONFIG_MIRROR) {
        return None;
    }
    let object: serde_json::Value = serde_json::from_str(&stored.text).ok()?;
    let uid = object.get("metadata")?.get("annotations")?.get(ANNOTATION_CONFIG_MIRROR)?;
    uid.as_str().map(String::from)
}
