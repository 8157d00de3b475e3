//! Deleting everything that we made, by the operator's own way: each subject counts as gone, and its mapping is taken down.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{anyhow, bail, ensure};
use isthmus_kubernetes::Client;
use isthmus_model::kinds::Kind;
use isthmus_model::object::Subject;
use isthmus_model::observed::Observed;
use isthmus_openstack::CloudConfig;
use prometheus_client::registry::Registry;
use tokio::sync::watch as signal;
use tokio::time::{Instant, MissedTickBehavior};

use super::keep::release;
use super::{Ended, Held, Left, Limits, Progress, left, remove_modules, told};
use crate::queue;
use crate::reconcile::reconcile;
use crate::records::Known;
use crate::resync::FIRST;
use crate::run::{Learnt, Operator, Options, lost, until};
use crate::session::Session;

/// How often it is looked at how far it is.
const LOOK: Duration = Duration::from_millis(200);
/// Before what has no mapping and could not be deleted is tried again.
const AGAIN: Duration = Duration::from_secs(2);

const MEND: &str = "mend that and run the command again; `isthmus uninstall --keep --yes` leaves what is in the cloud as it is";

/// Takes everything down: what mappings record, what carries our mark without a mapping, then CloudMappings and PolicyModules. It ends
/// when all is gone, when nothing more went for as long as [`Limits::patience`], or when `stop` says so. `tell` hears how far it is.
///
/// A port that is plugged into a Pod waits for the node's agent for [`Options::agent_wait`].
///
/// # Errors
/// What makes it impossible to begin: nothing was done. What fails later is in [`Ended::left`].
pub async fn drain(
    options: Options,
    limits: Limits,
    client: Client,
    cloud: CloudConfig,
    stop: signal::Receiver<bool>,
    tell: impl Fn(Progress),
) -> anyhow::Result<Ended> {
    let (operator, candidate) = Operator::stand(options, client, cloud, &mut Registry::default())?;
    let held = Held::take(candidate, limits.lease, &stop).await?;
    let ended = operator.gated().drain(limits.patience, stop, &tell).await;
    held.give_back().await?;
    ended
}

impl Operator {
    async fn drain(
        &self,
        patience: Duration,
        stop: signal::Receiver<bool>,
        tell: &impl Fn(Progress),
    ) -> anyhow::Result<Ended> {
        let (end, ended) = signal::channel(false);
        // Nothing maps: what the objects are is not read.
        let (learnt, _changes) = tokio::select! {
            learnt = self.learn(ended.clone(), true) => learnt,
            () = until(stop.clone()) => bail!("stopped before anything was done"),
            () = lost(self.leadership.clone()) => bail!("the lease was lost before anything was done"),
            () = tokio::time::sleep(patience) => bail!("nothing was done: {}", self.readiness.why()),
        };
        let Learnt { session, requests, parking, mut tasks } = learnt;
        ensure!(
            session.cloud.is_listed(),
            "nothing was done: not all of the cloud's services can be listed now; try again"
        );
        let work = session.clone();
        let working =
            tokio::spawn(queue::run(requests, self.options.parallel, parking, ended, move |subject| {
                let session = work.clone();
                async move { reconcile(&session, subject).await }
            }));
        let done = Drain { operator: self, session: &session, patience, stop, tell }.all().await;
        end.send_replace(true);
        working.await.map_err(|error| anyhow!("the work ended abnormally: {error}"))?;
        tasks.shutdown().await;
        Ok(done)
    }
}

struct Drain<'a, T> {
    operator: &'a Operator,
    session: &'a Arc<Session>,
    patience: Duration,
    stop: signal::Receiver<bool>,
    tell: &'a T,
}

impl<T: Fn(Progress)> Drain<'_, T> {
    async fn all(&self) -> Ended {
        let before = self.resources();
        let (known, retained) = self.recorded();
        self.session.enqueue_all();
        let mut ended = Ended { left: self.take_down().await, ..Ended::default() };
        let stuck = self.left();
        ended.mappings = known.saturating_sub(stuck.len());
        ended.left.extend(stuck.iter().map(|(subject, known)| self.why(subject, known)));
        let after = self.resources();
        for (id, kind) in before.iter().filter(|(id, _)| !after.contains_key(*id)) {
            match retained.contains(id) {
                true => ended.retained += 1,
                false => *ended.resources.entry(*kind).or_default() += 1,
            }
        }
        if ended.left.is_empty() && !self.stops() {
            self.let_go_of_the_rest(&mut ended).await;
        } else {
            ended.left.push(Left {
                object: "the PolicyModules".into(),
                found: "not everything is taken down: they stay, for an operator that goes on with it".into(),
                remedy: MEND.into(),
            });
        }
        ended
    }

    /// Copies of CloudMappings that are nobody's, and PolicyModules.
    async fn let_go_of_the_rest(&self, ended: &mut Ended) {
        let Operator { client, options, .. } = self.operator;
        match client.all("list CloudMappings").await {
            Ok(all) => {
                let strays = all.into_iter().filter(|mapping| !self.session.mappings.is_in_place(mapping));
                release(client, &options.namespace, options.parallel, strays.collect(), ended, |_| {}).await;
            }
            Err(error) => ended.left.push(left("CloudMappings", &error)),
        }
        remove_modules(client, &options.namespace, ended).await;
    }

    fn stops(&self) -> bool {
        *self.stop.borrow() || !self.session.leads()
    }

    /// How many mappings there are, and ids of what they retain.
    fn recorded(&self) -> (usize, BTreeSet<String>) {
        let left = self.left();
        let records = left.iter().flat_map(|(_, known)| known.record().into_values());
        let retained = records.filter(|recorded| recorded.retain).filter_map(|recorded| recorded.id);
        (left.len(), retained.collect())
    }

    /// What has our mark, by id.
    fn resources(&self) -> BTreeMap<String, Kind> {
        let inventory = self.session.inventory.lock();
        let all = inventory.subjects().flat_map(|uid| inventory.of(uid).into_values());
        all.map(|found| (found.id, found.kind)).collect()
    }

    /// Mappings that hold something yet.
    fn left(&self) -> Vec<(Subject, Known)> {
        let records = self.session.records.lock();
        let held = records.all().filter(|(_, known)| !known.released);
        held.map(|(subject, known)| (subject.clone(), known)).collect()
    }

    fn progress(&self) -> Progress {
        let mappings = self.session.records.lock().unreleased();
        Progress { mappings, resources: self.session.inventory.lock().len() }
    }

    /// The queue works; here it is seen to. What has no mapping goes meanwhile: what mappings made may be used by it, and the other
    /// way round. Answers what of that is left.
    async fn take_down(&self) -> Vec<Left> {
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let begun = Instant::now();
        let (mut seen, mut moved, mut listed, mut again) = (self.progress(), begun, begun, begun);
        let (mut left, mut unlisted) = (Vec::new(), None);
        loop {
            tick.tick().await;
            if Instant::now() >= again {
                left = self.delete_ownerless().await;
                again = Instant::now() + AGAIN;
            }
            let now = self.progress();
            if now != seen {
                (seen, moved) = (now, Instant::now());
            }
            (self.tell)(now);
            // That all is gone is believed when a list of everything says so: something may have come late.
            let done = now.mappings == 0 && left.is_empty();
            if listed.elapsed() > if done { AGAIN } else { FIRST } {
                unlisted = self.session.take_stock().await.err();
                if unlisted.is_some() {
                    self.session.enqueue_all();
                }
                if done && unlisted.is_none() && self.ownerless().is_empty() {
                    return left;
                }
                listed = Instant::now();
            }
            if self.stops() || moved.elapsed() > self.patience {
                left.extend(unlisted.map(|error| {
                    let (object, found) = ("what has no CloudMapping".into(), error.to_string());
                    Left { object, found, remedy: MEND.into() }
                }));
                return left;
            }
        }
    }

    /// Deletes what carries our mark and has no mapping. That there is none of them may be a lost etcd: who says that everything goes
    /// was shown how much that is. Answers what is left of it.
    async fn delete_ownerless(&self) -> Vec<Left> {
        let mut left = Vec::new();
        for orphan in self.ownerless() {
            let Err(error) = self.session.delete_orphan(&orphan).await else { continue };
            let made = orphan.mark.map(|mark| format!(" (made as {:?} for uid {})", mark.name, mark.subject));
            let object = format!(
                "{} {}, which has no CloudMapping{}",
                orphan.kind,
                orphan.id,
                made.unwrap_or_default()
            );
            left.push(Left { object, found: error.to_string(), remedy: MEND.into() });
        }
        left
    }

    fn ownerless(&self) -> Vec<Observed> {
        self.session.ownerless(&self.session.records.lock(), &BTreeSet::new())
    }

    /// Why a mapping is left.
    fn why(&self, subject: &Subject, known: &Known) -> Left {
        let object = told(&known.namespace, &known.name, &subject.key.kind.kind, &subject.key.name);
        let failed = self.session.progress.lock().get(&subject.uid).and_then(|progress| progress.why.clone());
        let mut not_so = known.status.conditions.iter().filter(|c| c.status == "False");
        let condition = not_so.next_back();
        let said = condition.map(|c| format!("{}: {}", c.reason, c.message));
        let ids: Vec<String> = self.session.inventory.lock().of(&subject.uid).into_keys().collect();
        let there = || format!("there are still {}", ids.join(", "));
        let waits = condition.is_some_and(|c| c.reason == "WaitingForAgent");
        let remedy = match waits {
            true => "delete the Pod first; `--force` takes its network from under it".to_owned(),
            false if self.stops() => "it was stopped: run the command again".to_owned(),
            false => MEND.to_owned(),
        };
        Left { object, found: failed.map(String::from).or(said).unwrap_or_else(there), remedy }
    }
}
