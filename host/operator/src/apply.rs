//! Doing what a plan says: independent operations at the same time, each as soon as what it waits for is done.

mod step;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use isthmus_model::desired::{DESCRIPTION, DISPLAY_NAME, DesiredList, Entry, Removal};
use isthmus_model::kinds::{Change, Kind};
use isthmus_model::mark::Mark;
use isthmus_model::object::Subject;
use isthmus_model::observed::{Observed, Target};
use isthmus_model::plan::{Act, External, Operation, Plan, Targets, conclude, resolve};
use isthmus_model::record::{Record, Recorded};
use isthmus_model::retry::RetryClass;
use tokio::sync::Mutex;

use crate::cloud::{CloudError, Create, Fields, within};
use crate::error::ReconcileError;
use crate::session::Session;
use step::{Done, Set, Step};

/// What came of it.
#[derive(Debug)]
pub struct Applied {
    /// The record as it is now.
    pub record: Record,
    /// Failures by local name.
    pub errors: BTreeMap<String, ReconcileError>,
    /// Creates whose answer was lost.
    pub unknown: BTreeSet<String>,
}

impl Applied {
    /// Whether everything that the plan said was done.
    pub fn complete(&self) -> bool {
        self.errors.is_empty()
    }

    /// Whether it ended because we stop, or lead no longer.
    pub fn cut_short(&self) -> bool {
        self.errors.values().any(|error| matches!(error, ReconcileError::NotLeading))
    }

    /// The record with the entries that may have been made.
    pub fn record_with_unknown(&self, desired: &DesiredList) -> Record {
        let mut record = self.record.clone();
        for entry in desired.entries().iter().filter(|e| self.unknown.contains(&e.name)) {
            record.entry(entry.name.clone()).or_insert_with(|| Recorded {
                kind: entry.kind,
                id: None,
                hash: String::new(),
                fields: BTreeSet::new(),
                references: Vec::new(),
                retain: false,
            });
        }
        record
    }
}

/// Applies a plan. A failed operation holds back only those that wait for it.
pub async fn apply(
    session: &Session,
    subject: &Arc<Subject>,
    desired: &DesiredList,
    plan: &Plan,
    record: Record,
    external: External,
) -> Applied {
    let mut work = Work::new(session, subject, desired, record, external);
    work.undone.extend(plan.blocked.iter().map(|blocked| blocked.name.clone()));
    let mut todo: BTreeMap<usize, &Operation> = plan.operations.iter().enumerate().collect();
    let mut failed: BTreeSet<usize> = BTreeSet::new();
    let mut running: FuturesUnordered<BoxFuture<'_, (usize, Result<Done, ReconcileError>)>> =
        FuturesUnordered::new();
    loop {
        for operation in held_back(&mut todo, &mut failed) {
            work.undone.extend(names(operation).cloned());
        }
        let started: BTreeSet<usize> = todo.keys().copied().collect();
        let free: Vec<usize> = todo
            .iter()
            .filter(|(_, o)| o.after.iter().all(|b| !started.contains(b) && !work.flying.contains(b)))
            .map(|(at, _)| *at)
            .collect();
        for at in free {
            if let Some(operation) = todo.remove(&at) {
                work.flying.insert(at);
                running.push(work.start(at, operation));
            }
        }
        let Some((at, result)) = running.next().await else { break };
        work.flying.remove(&at);
        let Some(operation) = plan.operations.get(at) else { break };
        if !work.finish(operation, result) {
            failed.insert(at);
        }
    }
    drop(running);
    work.conclude()
}

/// Takes out what waits for one that failed, and what waits for that: they fail with it.
fn held_back<'a>(
    todo: &mut BTreeMap<usize, &'a Operation>,
    failed: &mut BTreeSet<usize>,
) -> Vec<&'a Operation> {
    // An operation comes after those that it waits for.
    let positions: Vec<usize> = todo.keys().copied().collect();
    let mut held = Vec::new();
    for at in positions {
        if todo.get(&at).is_some_and(|operation| !operation.after.is_disjoint(failed)) {
            held.extend(todo.remove(&at));
            failed.insert(at);
        }
    }
    held
}

/// The entries that an operation is about.
fn names(operation: &Operation) -> impl Iterator<Item = &String> {
    std::iter::once(&operation.name).chain(&operation.with)
}

struct Work<'a> {
    session: &'a Session,
    subject: &'a Arc<Subject>,
    desired: &'a DesiredList,
    record: Record,
    targets: Targets,
    errors: BTreeMap<String, ReconcileError>,
    unknown: BTreeSet<String>,
    /// Entries of which something is left to do: they failed, wait, or were held back by one that failed.
    undone: BTreeSet<String>,
    flying: BTreeSet<usize>,
    /// Held while something is recorded ahead: each writes the whole record.
    ahead: Arc<Mutex<()>>,
}

impl<'a> Work<'a> {
    fn new(
        session: &'a Session,
        subject: &'a Arc<Subject>,
        desired: &'a DesiredList,
        record: Record,
        external: External,
    ) -> Self {
        let mut targets = Targets { local: BTreeMap::new(), external };
        let observed = session.inventory.lock().heads(&subject.uid);
        for entry in desired.entries() {
            let id = record.get(&entry.name).filter(|r| r.kind == entry.kind).and_then(|r| r.id.as_ref());
            if let Some(found) = id.and_then(|id| observed.get(id)) {
                targets.local.insert(entry.name.clone(), found.target());
            }
        }
        let (errors, unknown, undone, flying, ahead) = Default::default();
        Self { session, subject, desired, record, targets, errors, unknown, undone, flying, ahead }
    }

    fn mark(&self, name: &str) -> Mark {
        Mark {
            cluster: self.session.cluster.clone(),
            subject: self.subject.uid.to_string(),
            name: name.into(),
        }
    }

    fn start(
        &self,
        at: usize,
        operation: &'a Operation,
    ) -> BoxFuture<'a, (usize, Result<Done, ReconcileError>)> {
        let prepared = self.prepare(operation);
        let (session, subject, ahead) = (self.session, self.subject, self.ahead.clone());
        Box::pin(async move {
            let result = match prepared {
                Ok(step) => step.run(session, subject, &ahead).await,
                Err(error) => Err(error),
            };
            (at, result)
        })
    }

    /// Everything that an operation needs, resolved now: what it waited for is done.
    fn prepare(&self, operation: &'a Operation) -> Result<Step<'a>, ReconcileError> {
        let entry = self.desired.get(&operation.name);
        let observed = |id: &String| self.session.inventory.lock().get(&self.subject.uid, id);
        let lost = || {
            let message = "the plan names a resource that is no longer known; it is made anew";
            outdated(operation.kind, &operation.name, message)
        };
        match (&operation.act, entry) {
            (Act::Create, Some(entry)) if operation.with.is_empty() => {
                Ok(Step::Create(self.creation(entry, &self.targets, false)?))
            }
            (Act::Create, Some(entry)) => self.tree(operation, entry),
            (Act::Update { id, fields }, Some(entry)) => {
                let own = self.record.get(&entry.name).and_then(|r| r.id.clone());
                let observed = id.clone().or(own).and_then(|id| observed(&id)).ok_or_else(lost)?;
                let set = Set {
                    names: fields,
                    fields: self.fields(entry, fields)?,
                    name: self.display_name(entry),
                };
                Ok(Step::Update(entry, self.mark(&entry.name), Box::new(observed), set))
            }
            (Act::Rename { id, .. }, Some(entry)) => {
                let observed = observed(id).ok_or_else(lost)?;
                Ok(Step::Remark(entry, self.mark(&entry.name), Box::new(observed)))
            }
            (Act::Adopt { id }, Some(_)) => Ok(Step::Adopt(Box::new(observed(id).ok_or_else(lost)?))),
            (Act::Delete { id, below, .. }, _) if below.is_empty() => Ok(Step::Delete(operation, id.clone())),
            (Act::Delete { id, below, .. }, _) => Ok(Step::DeleteTree(id, below)),
            (Act::Retain { id }, _) => Ok(Step::Retain(operation, Box::new(observed(id).ok_or_else(lost)?))),
            (_, None) => Err(lost()),
        }
    }

    /// A create with all fields that resolve by now. `whole`: also those that are otherwise written in calls of their own.
    fn creation(
        &self,
        entry: &'a Entry,
        targets: &Targets,
        whole: bool,
    ) -> Result<Create<'a>, ReconcileError> {
        let spec = |name: &String| entry.kind.field(name).map(|f| f.change);
        let now = entry.fields.iter().filter(|(name, _)| whole || spec(name) != Some(Change::Separate));
        let mut fields = Fields::new();
        for (name, value) in now {
            match resolve(name, value, targets) {
                Ok(value) => drop(fields.insert(name.clone(), value)),
                Err(_) if spec(name).is_some_and(Change::is_late) => {}
                Err(reference) => return Err(unresolved(entry, name, &reference)),
            }
        }
        let (mark, name) = (self.mark(&entry.name), self.display_name(entry));
        Ok(Create { entry, mark, fields, name, ahead: None })
    }

    /// A create with all below it: within the call, they name each other by their local names.
    fn tree(&self, operation: &'a Operation, root: &'a Entry) -> Result<Step<'a>, ReconcileError> {
        let mut targets = self.targets.clone();
        for name in names(operation) {
            targets.local.insert(name.clone(), Target::of(within(name)));
        }
        let below = operation.with.iter().filter_map(|name| self.desired.get(name));
        let below = below.map(|entry| self.creation(entry, &targets, true)).collect::<Result<_, _>>()?;
        Ok(Step::CreateTree(self.creation(root, &targets, true)?, below))
    }

    /// The named fields; one that the entry does not have is cleared. Tags, name and description are no fields.
    fn fields(&self, entry: &Entry, names: &BTreeSet<String>) -> Result<Fields, ReconcileError> {
        let mut fields = Fields::new();
        for name in names.iter().filter(|n| !META.contains(&n.as_str())) {
            let value = match entry.fields.get(name) {
                Some(value) => {
                    resolve(name, value, &self.targets).map_err(|r| unresolved(entry, name, &r))?
                }
                None => serde_json::Value::Null,
            };
            fields.insert(name.clone(), value);
        }
        Ok(fields)
    }

    /// Name in the cloud: what the module says, else subject and local name, for people who look there.
    fn display_name(&self, entry: &Entry) -> String {
        let key = &self.subject.key;
        entry.display_name.clone().unwrap_or_else(|| {
            let namespace = key.namespace.as_deref().map(|n| format!("{n}/")).unwrap_or_default();
            let mut name = format!("{}/{namespace}{}/{}", key.kind.kind.to_lowercase(), key.name, entry.name);
            // Neutron's limit of a name.
            name.truncate(name.floor_char_boundary(255));
            name
        })
    }

    /// Takes in what came of an operation. Answers whether those that wait for it may go on.
    fn finish(&mut self, operation: &Operation, result: Result<Done, ReconcileError>) -> bool {
        let name = &operation.name;
        let uid = &self.subject.uid;
        match result {
            Ok(Done::Changed(observed) | Done::Adopted(observed)) => {
                match &operation.act {
                    Act::Rename { from, .. } => drop(self.record.remove(from)),
                    // An attachment is known by what it attaches: changed, it has another id.
                    Act::Update { id: Some(old), .. } if *old != observed.id => {
                        self.session.inventory.lock().remove(uid, old);
                    }
                    _ => {}
                }
                self.targets.local.insert(name.clone(), observed.target());
                self.note(name, &observed);
                self.session.inventory.lock().put(uid, *observed);
                true
            }
            Ok(Done::Tree(made)) => {
                self.take_in(made);
                self.all_is_made(operation)
            }
            Ok(Done::Gone(ids)) => {
                self.let_go(ids);
                true
            }
            Ok(Done::GoneInPart(ids, error)) => {
                self.let_go(ids);
                self.failed(operation, error)
            }
            Err(error) => self.failed(operation, error),
        }
    }

    fn failed(&mut self, operation: &Operation, error: ReconcileError) -> bool {
        error.log(self.subject, &operation.name);
        self.note_failure(operation, &error);
        self.undone.extend(names(operation).cloned());
        self.errors.entry(operation.name.clone()).or_insert(error);
        false
    }

    /// Whether a tree is there whole. What is not is an operation of the next plan.
    fn all_is_made(&mut self, operation: &Operation) -> bool {
        let is_made = |name: &&String| self.record.get(*name).is_some_and(|recorded| recorded.id.is_some());
        let left: Vec<&Entry> = operation
            .with
            .iter()
            .filter(|name| !is_made(name))
            .filter_map(|name| self.desired.get(name))
            .collect();
        for entry in &left {
            let message = "its load balancer can't be made with all below it at once: it is made by itself";
            let outdated = outdated(entry.kind, &entry.name, message);
            self.undone.insert(entry.name.clone());
            self.errors.entry(entry.name.clone()).or_insert(outdated);
        }
        left.is_empty()
    }

    fn let_go(&mut self, ids: Vec<String>) {
        for id in ids {
            self.record.retain(|_, r| r.id.as_deref() != Some(&id));
            self.session.inventory.lock().remove(&self.subject.uid, &id);
        }
    }

    /// First what each is, then what refers to it.
    fn take_in(&mut self, made: Vec<Observed>) {
        let name_of =
            |found: &Observed| found.mark.as_ref().map(|mark| mark.name.clone()).unwrap_or_default();
        for found in &made {
            self.targets.local.insert(name_of(found), found.target());
        }
        for found in made {
            self.note(&name_of(&found), &found);
            self.session.inventory.lock().put(&self.subject.uid, found);
        }
    }

    fn note(&mut self, name: &str, observed: &Observed) {
        let Some(entry) = self.desired.get(name) else { return };
        let known = self.record.get(name).filter(|r| r.id.as_deref() == Some(&observed.id));
        let hash = known.map(|r| r.hash.clone()).unwrap_or_default();
        let fields =
            entry.set().into_iter().chain(known.into_iter().flat_map(|r| r.fields.clone())).collect();
        let recorded = Recorded {
            kind: entry.kind,
            id: Some(observed.id.clone()),
            hash,
            fields,
            references: self.targets.recorded(entry),
            retain: entry.on_removal == Removal::Retain,
        };
        self.record.insert(name.into(), recorded);
    }

    fn note_failure(&mut self, operation: &Operation, error: &ReconcileError) {
        let class = error.class();
        let created = operation.act == Act::Create;
        if created && class == RetryClass::Unknown {
            self.unknown.extend(names(operation).cloned());
            self.session.answer_lost.notify_one();
        }
        if created && operation.kind.is_told_by_record() {
            self.note_ahead(&operation.name);
        }
        match &operation.act {
            Act::Update { id: Some(id), .. } | Act::Rename { id, .. }
                if matches!(error, ReconcileError::Cloud(CloudError::Gone(_))) =>
            {
                self.session.inventory.lock().remove(&self.subject.uid, id);
            }
            // Half of it may be done, and an answer may be lost: taken to be as it was, what is wanted as it was would write nothing.
            Act::Update { id: Some(id), .. } | Act::Rename { id, .. } => {
                self.session.inventory.lock().doubt(&self.subject.uid, id);
            }
            _ => {}
        }
        // What a name stood for may be gone: it is looked up anew before the next try.
        if class == RetryClass::NotFound && matches!(operation.act, Act::Create | Act::Update { .. }) {
            self.session.cloud.existing.forget();
        }
    }

    /// What was recorded before it was made may be there, whatever the answer: a gateway's 502 says nothing of what the service behind
    /// it did. It is looked for before anything else is made in its place.
    fn note_ahead(&mut self, name: &str) {
        if let Some(ahead) = self.session.recorded_ahead(self.subject, name) {
            self.record.insert(name.to_owned(), ahead);
            self.unknown.insert(name.to_owned());
        }
    }

    fn conclude(self) -> Applied {
        let record = conclude(self.desired, self.record, &self.targets, &self.undone);
        Applied { record, errors: self.errors, unknown: self.unknown }
    }
}

/// What an update may name beside fields.
const META: [&str; 3] = ["tags", DISPLAY_NAME, DESCRIPTION];

fn unresolved(entry: &Entry, field: &str, reference: &isthmus_model::value::Reference) -> ReconcileError {
    outdated(entry.kind, &entry.name, &format!("{field} refers to {reference:?}, which does not exist yet"))
}

/// Of an operation that another plan will do.
fn outdated(kind: Kind, name: &str, message: &str) -> ReconcileError {
    ReconcileError::Cloud(CloudError::Outdated { kind, name: name.to_owned(), message: message.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_one_that_waits_for_a_failure_is_held_back_too() {
        let operation = |name: &str, after: &[usize]| Operation {
            name: name.into(),
            kind: Kind::Network,
            act: Act::Create,
            with: Vec::new(),
            after: after.iter().copied().collect(),
        };
        let operations = [
            operation("network", &[]),
            operation("subnet", &[0]),
            operation("router", &[1]),
            operation("group", &[]),
        ];
        let mut todo: BTreeMap<usize, &Operation> = operations.iter().enumerate().skip(1).collect();
        let mut failed = BTreeSet::from([0]);
        let held: Vec<&str> = held_back(&mut todo, &mut failed).iter().map(|o| o.name.as_str()).collect();
        assert_eq!(held, ["subnet", "router"]);
        assert_eq!(todo.into_keys().collect::<Vec<_>>(), [3]);
    }
}
