//! The resync: everything with our mark is listed, differences are repaired, and what nobody owns is collected.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use isthmus_model::mark::Mark;
use isthmus_model::object::{Gvk, Subject};
use isthmus_model::observed::Observed;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::backoff::jittered;
use crate::records::{Known, Records};
use crate::session::Session;

/// How the resync is done.
#[derive(Clone, Debug)]
pub struct ResyncOptions {
    /// Between two of them, before jitter. An orphan is collected when two in a row saw it.
    pub every: Duration,
    /// Most orphans that are deleted at once.
    pub max_orphans: usize,
}

/// The first one comes this soon at the latest, and one after an answer was lost: a create of ours, or of the leader before us
/// that was under way when it died, may come through after it was looked for. A service may take longer over a request than its
/// client waits for it.
pub(crate) const FIRST: Duration = Duration::from_secs(20);
/// So many come so soon: what is looked for may come even later.
const EARLY: u32 = 2;

/// The next one comes this soon at the latest where one lacked something that was known, or a service did not answer yet.
const CONFIRM: Duration = Duration::from_secs(10);

/// Resyncs until `stop` says so.
pub async fn run(session: Arc<Session>, options: ResyncOptions, mut stop: watch::Receiver<bool>) {
    let mut suspects = BTreeSet::new();
    let (mut round, mut failed, mut early) = (0, false, EARLY);
    loop {
        round += 1;
        let soon = match () {
            () if early > 0 => FIRST,
            () if failed || session.inventory.lock().has_missing() || !session.cloud.is_listed() => CONFIRM,
            () => options.every,
        };
        early = early.saturating_sub(1);
        let every = options.every.min(soon);
        let mut due = Instant::now() + jittered(every, &session.cluster, round);
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep_until(due) => break,
                () = session.answer_lost.notified() => {
                    early = EARLY - 1;
                    due = due.min(Instant::now() + FIRST);
                }
            }
        }
        let stock = session.take_stock().await;
        failed = stock.is_err();
        match stock {
            Ok(()) => {
                suspects = session.collect_orphans(suspects, options.max_orphans).await;
                session.metrics.resyncs.inc();
            }
            Err(error) => tracing::warn!(%error, "resync: the cloud can't be listed"),
        }
        if let Err(error) = session.refresh_facts().await {
            tracing::warn!(%error, "resync: the cloud does not say what it can do");
        }
    }
}

impl Session {
    /// Before anything is planned: where the cloud's list lacks what CloudMappings record, it is asked once more after a while.
    /// A Neutron that has just started may say that it has nothing ([`crate::inventory::Inventory::replace`]).
    ///
    /// # Errors
    /// The cloud's.
    pub async fn confirm_missing(&self) -> crate::cloud::Result<()> {
        self.take_in_recorded().await?;
        let lacking = {
            let (records, inventory) = (self.records.lock(), self.inventory.lock());
            let lacks = |subject: &Subject, known: &Known| {
                let record = known.record();
                let mut ids = record.values().filter_map(|recorded| recorded.id.as_ref());
                ids.any(|id| inventory.get(&subject.uid, id).is_none())
            };
            records.all().filter(|(subject, known)| !known.released && lacks(subject, known)).count()
        };
        if lacking > 0 {
            tracing::warn!(
                subjects = lacking,
                seconds = CONFIRM.as_secs(),
                "the cloud does not list what CloudMappings record: it is asked once more before anything is made again"
            );
            tokio::time::sleep(CONFIRM).await;
            self.list_ours().await?;
        }
        Ok(())
    }

    /// Lists everything with our mark. Answers the uids of subjects for which anything differs from what was known.
    ///
    /// # Errors
    /// The cloud's: nothing is taken in then.
    pub async fn list_ours(&self) -> crate::cloud::Result<Vec<Box<str>>> {
        let begun = self.inventory.lock().begin();
        let listed = self.cloud.list(&Mark::cluster_tag(&self.cluster)).await?;
        let is_ours = |o: &Observed| o.mark.as_ref().is_some_and(|m| m.cluster == self.cluster);
        let mut ours: Vec<Observed> = listed.resources.into_iter().filter(is_ours).collect();
        ours.extend(self.recorded(|_| true).await?);
        let mut inventory = self.inventory.lock();
        let differing = inventory.replace(begun, ours, &listed.unlisted);
        self.metrics.resources.set(i64::try_from(inventory.len()).unwrap_or(i64::MAX));
        Ok(differing)
    }

    /// Lists everything with our mark and has every subject looked at: what came late is seen, and what failed is tried again.
    ///
    /// # Errors
    /// The cloud's: nothing is taken in then.
    pub(crate) async fn take_stock(&self) -> crate::cloud::Result<()> {
        let differing = self.list_ours().await?;
        tracing::debug!(differing = differing.len(), "all that is ours is listed");
        self.under_way.lock().clear();
        self.enqueue_all();
        Ok(())
    }

    /// Deletes what was seen without an owner this time and the last, within a limit. Answers what was seen this time.
    async fn collect_orphans(&self, before: BTreeSet<String>, most: usize) -> BTreeSet<String> {
        let orphans = self.orphans();
        let seen: BTreeSet<String> = orphans.iter().map(|orphan| orphan.id.clone()).collect();
        let twice: Vec<&Observed> = orphans.iter().filter(|orphan| before.contains(&orphan.id)).collect();
        if twice.len() > most {
            tracing::warn!(
                orphans = twice.len(),
                most,
                "more orphans than may be deleted at once: none is deleted; look at them, and raise --max-orphans if they are"
            );
            return seen;
        }
        for orphan in twice.into_iter().filter(|_| self.leads()) {
            self.collect(orphan).await;
        }
        seen
    }

    async fn collect(&self, orphan: &Observed) {
        let Some(mark) = &orphan.mark else { return };
        match self.delete_orphan(orphan).await {
            Ok(()) => {
                self.metrics.orphans.inc();
                tracing::info!(kind = %orphan.kind, id = %orphan.id, subject = %mark.subject, entry = %mark.name, "orphan deleted");
            }
            Err(error) => {
                tracing::warn!(kind = %orphan.kind, id = %orphan.id, %error, "an orphan can't be deleted")
            }
        }
    }

    /// Deletes what nobody owns.
    ///
    /// # Errors
    /// The cloud's.
    pub(crate) async fn delete_orphan(&self, orphan: &Observed) -> crate::cloud::Result<()> {
        // Nothing without our mark is deleted (invariant 3).
        let Some(mark) = &orphan.mark else { return Ok(()) };
        self.cloud.driver(orphan.kind)?.delete(&orphan.id).await?;
        self.inventory.lock().remove(&mark.subject, &orphan.id);
        Ok(())
    }

    /// What is ours, has no CloudMapping, and is of none of these subjects. What refers to others comes before them.
    pub(crate) fn ownerless(&self, records: &Records, live: &BTreeSet<Arc<str>>) -> Vec<Observed> {
        let inventory = self.inventory.lock();
        let uids = inventory.subjects().filter(|uid| !records.has_uid(uid) && !live.contains(*uid));
        let mut all: Vec<Observed> = uids.flat_map(|uid| inventory.of(uid).into_values()).collect();
        all.sort_by_key(|orphan| Reverse(orphan.kind));
        all
    }

    /// What is ours and has neither a CloudMapping nor a live subject. Nothing at all while that can't be told.
    fn orphans(&self) -> Vec<Observed> {
        let records = self.records.lock();
        let snapshot = self.snapshot();
        let kinds = self.watches.kinds();
        let live: BTreeSet<Arc<str>> =
            kinds.iter().flat_map(|kind| snapshot.iter(kind).map(|s| s.uid.clone())).collect();
        let orphans = self.ownerless(&records, &live);
        match self.owners_are_known(&records) {
            Err(why) if !orphans.is_empty() => {
                tracing::warn!(resources = orphans.len(), %why, "what seems to be nobody's is not deleted");
                Vec::new()
            }
            _ => orphans,
        }
    }

    /// Whether every subject that could own something would be seen.
    ///
    /// # Errors
    /// Why not, for people.
    fn owners_are_known(&self, records: &Records) -> Result<(), String> {
        if records.is_empty() {
            return Err(
                "there is no CloudMapping at all: the records may be lost (an etcd that was restored)".into(),
            );
        }
        let pipelines = self.pipelines.load();
        if let Some((name, _)) = pipelines.failed().iter().find(|(_, failed)| !failed.owns_nothing) {
            return Err(format!("PolicyModule {name} has no version that serves"));
        }
        let served = pipelines.kinds();
        let mapped =
            records.subjects().filter(|subject| self.may_own(subject)).map(|s| (*s.key.kind).clone());
        let kinds: BTreeSet<Gvk> = served.chain(mapped).collect();
        match kinds.iter().find(|kind| !self.synced(kind) && !self.is_absent(kind)) {
            Some(kind) => Err(format!("{kind} can't be listed")),
            None => Ok(()),
        }
    }
}
