//! A subject whose object is gone: what was made for it goes, then its CloudMapping.

use std::sync::Arc;
use std::time::Duration;

use isthmus_kubernetes::crd::CloudMappingStatus;
use isthmus_kubernetes::store::StoreSnapshot;
use isthmus_model::condition::{ATTACHED, Condition, READY};
use isthmus_model::desired::DesiredList;
use isthmus_model::object::Subject;
use isthmus_model::observed::State;
use isthmus_model::plan::External;
use isthmus_model::retry::RetryClass;

use crate::apply::apply;
use crate::error::ReconcileError;
use crate::mapped::Mapping;
use crate::reconcile::{Next, mirrored};
use crate::records::{Known, referred};
use crate::refs::Resolved;
use crate::session::{Presence, Session, node_kind};
use crate::settle::undated;

/// When to look again at a mapping whose uid another one claims.
const CLAIMED: Duration = Duration::from_secs(60);
/// How long an agent has at most to say that it has attached a Pod: it does so as soon as the attachment is stored, in one write.
const UNTOLD: Duration = Duration::from_secs(10);

impl Session {
    /// The subject is gone: everything of it goes, then the CloudMapping.
    pub(crate) async fn gone(
        self: &Arc<Self>,
        subject: &Arc<Subject>,
        known: Known,
        snapshot: &StoreSnapshot,
    ) -> Result<Next, ReconcileError> {
        if let Some(other) = self.rival(subject, snapshot) {
            tracing::warn!(subject = %subject.key, uid = %subject.uid, other = %other.key, "two CloudMappings claim one uid, and the other's object may live: nothing is deleted");
            return Ok(Next::Waiting(CLAIMED));
        }
        if let Some(wait) = self.waits_for_agent(subject, &known, snapshot) {
            self.waiting_for_agent(subject, &known, wait).await?;
            return Ok(Next::Waiting(wait));
        }
        self.take_down(subject, known, &Mapping::gone()).await
    }

    /// Everything of a subject goes, then the CloudMapping.
    pub(crate) async fn take_down(
        self: &Arc<Self>,
        subject: &Arc<Subject>,
        known: Known,
        mapping: &Mapping,
    ) -> Result<Next, ReconcileError> {
        self.find_unknown(subject, Some(&known)).await?;
        // Octavia takes no delete of what is below a load balancer in ERROR.
        self.look_again(subject, |found| found.state == State::Failed).await?;
        let (desired, record) = (DesiredList::default(), known.record());
        // Whether a running pod is on it was asked before, where it is to be asked.
        let steps = self.plan(subject, &desired, &record, &Resolved::default(), None);
        let applied = apply(self, subject, &desired, &steps, record, External::default()).await;
        self.wake_owners_of_failed(&applied);
        if applied.cut_short() {
            return Err(self.cut_short(subject, &known, &desired, &applied).await);
        }
        let left = self.inventory.lock().has(&subject.uid);
        if applied.complete() && steps.blocked.is_empty() && !left {
            if self.under_way.lock().contains(&subject.uid) {
                let why = "what the operator before this one was making for it may come still: that is looked for once more";
                self.waiting(subject, &known, "CreateUnderWay", why.to_owned()).await?;
                // The resync looks at all again.
                return Ok(Next::Waiting(CLAIMED));
            }
            self.mappings.release(&known.namespace, &known.name, &known.uid).await?;
            self.records.lock().released(subject);
            self.wake_referred(&known.status, &CloudMappingStatus::default());
            self.forget(subject);
            return Ok(Next::Done);
        }
        let conditions =
            self.outcome_conditions(subject, mapping, &steps, &applied, &Resolved::default()).await;
        self.settle(subject, &known, &desired, mapping, &applied, conditions).await?;
        match applied.errors.values().map(ReconcileError::class).min() {
            // A delete must come through in the end, whatever the cloud says now.
            Some(RetryClass::Invalid) => Ok(Next::Retry(RetryClass::Forbidden)),
            Some(class) => Ok(Next::Retry(class)),
            None => Ok(Next::Waiting(Duration::from_secs(20))),
        }
    }

    /// Another subject that claims this one's uid, and that is not known to be gone. What is marked with the uid may be its.
    fn rival(&self, subject: &Subject, snapshot: &StoreSnapshot) -> Option<Subject> {
        let rivals = self.records.lock().rivals(subject);
        rivals.into_iter().find(|rival| match self.presence(rival, snapshot) {
            Presence::Live(_) => true,
            Presence::Gone => false,
            Presence::Unknown => self.may_own(rival),
        })
    }

    /// Notes which CloudMappings an operator before this one may have been at work for.
    pub(crate) fn note_under_way(&self) {
        let records = self.records.lock();
        let is_bare = |known: &Known| known.status.resources.iter().all(|resource| resource.id.is_none());
        let all = records.all().filter(|(_, known)| !known.released && is_bare(known));
        *self.under_way.lock() = all.map(|(subject, _)| subject.uid.clone()).collect();
    }

    /// Says that the port is kept for the agent.
    async fn waiting_for_agent(
        &self,
        subject: &Subject,
        known: &Known,
        wait: Duration,
    ) -> Result<(), ReconcileError> {
        let node = known.status.node.as_deref().unwrap_or("its node");
        let why = format!("the object is gone; the agent of {node} has not let go of its interfaces yet");
        tracing::debug!(subject = %subject.key, seconds = wait.as_secs(), "waiting for the agent");
        self.waiting(subject, known, "WaitingForAgent", why).await
    }

    /// Says what the end of a CloudMapping waits for.
    async fn waiting(
        &self,
        subject: &Subject,
        known: &Known,
        reason: &str,
        why: String,
    ) -> Result<(), ReconcileError> {
        let ready = Condition::no(READY, reason, why);
        let kept = known.status.conditions.iter().filter(|c| ![READY, ATTACHED].contains(&&*c.type_));
        let conditions = kept.map(undated).chain([ready]).collect();
        self.patch_conditions(subject, known, conditions).await
    }

    /// How long to wait for the agent to let go of the VIFs; `None`: not at all (design, section 6).
    fn waits_for_agent(
        &self,
        subject: &Arc<Subject>,
        known: &Known,
        snapshot: &StoreSnapshot,
    ) -> Option<Duration> {
        if known.status.resources.iter().all(|r| r.id.is_none()) {
            return None;
        }
        let (most, runs_on) = match self.is_on_a_node(known, snapshot) {
            true => (self.agent_wait, self.is_mirrored_anew(subject, known, snapshot)),
            // A mirror that nobody was told of runs on another's port.
            false if self.may_be_on_a_node(known, snapshot) => (self.agent_wait.min(UNTOLD), false),
            false => return None,
        };
        let waited = if runs_on { Duration::ZERO } else { self.gone_since(&subject.uid).elapsed() };
        most.checked_sub(waited).filter(|left| !left.is_zero())
    }

    /// Whether it was the mirror of a static Pod, and its kubelet has made another: the Pod runs on, on this one's port.
    fn is_mirrored_anew(&self, subject: &Subject, known: &Known, snapshot: &StoreSnapshot) -> bool {
        let other = snapshot.subject(&subject.key).filter(|stored| stored.uid != subject.uid);
        known.mirror && !self.drains && other.is_some_and(|stored| mirrored(&stored).is_some())
    }

    /// Whether the agent of a node that there is says that the VIFs are attached.
    pub(crate) fn is_on_a_node(&self, known: &Known, snapshot: &StoreSnapshot) -> bool {
        known.status.is_attached() && !self.is_of_a_node_that_is_gone(known, snapshot)
    }

    /// Whether the VIFs were handed out to an agent that has not said yet what it has done with them: between plugging them in and its
    /// word of it somebody may force the deletion of the Pod. Where no agent has ever said anything, there is none to be waited for.
    fn may_be_on_a_node(&self, known: &Known, snapshot: &StoreSnapshot) -> bool {
        let told = known.status.conditions.iter().any(|c| c.type_ == ATTACHED);
        !told
            && known.status.node.is_some()
            && !known.status.vifs.is_empty()
            && self.records.lock().has_agents()
            && !self.is_of_a_node_that_is_gone(known, snapshot)
    }

    fn is_of_a_node_that_is_gone(&self, known: &Known, snapshot: &StoreSnapshot) -> bool {
        let node = known.status.node.as_deref();
        node.is_some_and(|node| self.synced(&node_kind()) && !self.has_node(node, snapshot))
    }

    /// Mappings that one referred to and does no longer may have waited for that.
    pub(crate) fn wake_referred(&self, before: &CloudMappingStatus, now: &CloudMappingStatus) {
        let now = referred(now);
        for (key, ..) in referred(before).into_iter().filter(|reference| !now.contains(reference)) {
            let lives: Vec<Subject> = self.records.lock().lives(&key).collect();
            lives.into_iter().for_each(|subject| self.queue.now(Arc::new(subject)));
        }
    }
}
