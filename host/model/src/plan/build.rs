//! Making the plan.

mod own;
mod stays;
mod way;

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::entry::{change_of, collides, is_empty, locals_of, meta_differences};
use super::order::{in_order, mentions, referrers_first, renumbered, rests_on};
use super::{
    Act, Blocked, Input, Operation, Plan, Targets, Wait, applied_hash, cascade, compare, resolve, whole,
};
use crate::desired::{DESCRIPTION, DISPLAY_NAME, Entry, local};
use crate::kinds::{Change, Compare, Kind, needed_locals};
use crate::observed::Observed;
use crate::value::{Reference, Value};

/// The plan from what is recorded and observed to what is desired. Pure: equal input gives an equal plan.
pub fn plan(input: &Input<'_>) -> Plan {
    let mut builder = Builder::new(input);
    builder.presume();
    for entry in in_order(input.desired.entries()) {
        builder.entry(entry);
    }
    builder.late_updates();
    builder.removals();
    builder.make_way();
    builder.done()
}

struct Builder<'a> {
    input: &'a Input<'a>,
    plan: Plan,
    /// What references stand for: recorded resources that stay as they are.
    targets: Targets,
    /// Ids of what the list names as there anyway. What is `existing` is not ours to delete: what of it we made is its user's from now
    /// on (a floating IP that a Service asks for by the address that it has).
    lent: BTreeSet<String>,
    /// Whose a resource is that two entries could take for theirs: one by the record, one by the mark.
    claims: BTreeMap<&'a str, &'a str>,
    /// Ids that are spoken for.
    taken: BTreeSet<&'a str>,
    /// Position of the operation that makes or changes an entry.
    made_by: BTreeMap<&'a str, usize>,
    /// Position of the operation that creates an entry, or gives its resource to it.
    created_by: BTreeMap<&'a str, usize>,
    /// The names under which entries are recorded that have another one now.
    renames: BTreeMap<&'a str, &'a str>,
    /// Positions of updates of existing resources, by id: a resource that they stop referring to goes after them.
    updates: BTreeMap<&'a str, usize>,
    /// Entries that wait.
    waiting: BTreeSet<&'a str>,
    /// The resources of entries that wait.
    waits: Vec<&'a Observed>,
    /// Ids of what is not replaced now.
    bound: BTreeSet<&'a str>,
    /// Resources to be removed: id and the position of the operation to be waited for.
    replaced: Vec<(&'a Observed, Option<usize>)>,
    /// Resources that are deleted before others are made in their places: id and position of the deletion.
    first: BTreeMap<&'a str, usize>,
    /// Which operation waits for which one without need.
    loose: BTreeSet<(usize, usize)>,
    /// Entries whose late fields are looked at when the fate of all is known; `None`: they are made by this plan.
    late: Vec<(&'a Entry, Option<&'a Observed>)>,
}

impl<'a> Builder<'a> {
    fn new(input: &'a Input<'a>) -> Self {
        let targets = Targets { local: BTreeMap::new(), external: input.external.clone() };
        let existing = input.desired.entries().iter().flat_map(Entry::references);
        let existing = existing.filter(|(_, reference)| matches!(reference, Reference::Existing(_)));
        let lent = existing.filter_map(|(field, r)| Some(targets.get(field, r)?.id.clone())).collect();
        Self {
            input,
            plan: Plan::default(),
            targets,
            lent,
            claims: BTreeMap::new(),
            taken: BTreeSet::new(),
            made_by: BTreeMap::new(),
            created_by: BTreeMap::new(),
            renames: BTreeMap::new(),
            updates: BTreeMap::new(),
            waiting: BTreeSet::new(),
            waits: Vec::new(),
            bound: BTreeSet::new(),
            replaced: Vec::new(),
            first: BTreeMap::new(),
            loose: BTreeSet::new(),
            late: Vec::new(),
        }
    }

    /// Until shown otherwise, every entry keeps the resource that it has.
    fn presume(&mut self) {
        self.claim();
        let mut has = BTreeSet::new();
        // An attachment is told by what it attaches: that comes first.
        for entry in in_order(self.input.desired.entries()) {
            if let Some(found) = self.current(entry) {
                self.targets.local.insert(entry.name.clone(), found.target());
                has.insert(found.id.as_str());
            }
        }
        self.bind(&has);
    }

    fn push(&mut self, name: &str, kind: Kind, act: Act, after: BTreeSet<usize>) -> usize {
        self.plan.operations.push(Operation { name: name.into(), kind, act, with: Vec::new(), after });
        self.plan.operations.len() - 1
    }

    fn block(&mut self, entry: &'a Entry, on: Wait) {
        self.waiting.insert(&entry.name);
        self.plan.blocked.push(Blocked { name: entry.name.clone(), kind: entry.kind, on });
    }

    fn entry(&mut self, entry: &'a Entry) {
        if let Some(on) = self.unmet(entry) {
            // What exists stays, and others may go on referring to it.
            if let Some(found) = self.current(entry) {
                self.taken.insert(&found.id);
                self.waits.push(found);
            }
            return self.block(entry, on);
        }
        if !entry.kind.in_cloud() {
            return;
        }
        match self.current(entry) {
            Some(found) => {
                self.taken.insert(&found.id);
                self.existing(entry, found);
            }
            None => match self.renamed(entry) {
                Some((from, found)) => self.rename(entry, from, found),
                None => self.create(entry, BTreeSet::new()),
            },
        }
    }

    fn rename(&mut self, entry: &'a Entry, from: &'a str, found: &'a Observed) {
        self.taken.insert(&found.id);
        let act = Act::Rename { id: found.id.clone(), from: from.into() };
        let at = self.push(&entry.name, entry.kind, act, BTreeSet::new());
        self.given(entry, at);
        self.renames.insert(&entry.name, from);
        self.targets.local.insert(entry.name.clone(), found.target());
        self.existing(entry, found);
    }

    /// By this operation the entry comes to its resource: until then it stands for nothing.
    fn given(&mut self, entry: &'a Entry, at: usize) {
        self.made_by.insert(&entry.name, at);
        self.created_by.insert(&entry.name, at);
    }

    /// What this entry waits for before anything can be done about it.
    fn unmet(&self, entry: &Entry) -> Option<Wait> {
        let blocked = needed_locals(entry)
            .into_iter()
            .find(|n| self.waiting.contains(n) && !self.targets.local.contains_key(*n));
        if let Some(name) = blocked {
            return Some(Wait::Entry(name.into()));
        }
        let missing =
            |(field, r): &(&str, &Reference)| local(r).is_none() && self.targets.get(field, r).is_none();
        entry.references().into_iter().find(missing).map(|(_, r)| Wait::Reference(r.clone()))
    }

    fn existing(&mut self, entry: &'a Entry, found: &'a Observed) {
        let known = self.record_of(entry).is_some_and(|r| r.id.as_deref() == Some(&found.id));
        let differing = self.differences(entry, found, |change| change == Change::Replace);
        if !differing.is_empty() || self.is_on_what_goes(found) {
            if !self.bound.contains(found.id.as_str()) && !self.input.held.contains(&found.id) {
                return self.replace(entry, found);
            }
            self.waits.push(found);
            // What can change in place does so all the same.
            self.block(entry, Wait::ReplacePending);
        }
        let differing = self.differences(entry, found, |change| change == Change::InPlace);
        let mut after: BTreeSet<usize> = self.made_by.get(entry.name.as_str()).copied().into_iter().collect();
        if !known {
            let at = self.push(&entry.name, entry.kind, Act::Adopt { id: found.id.clone() }, BTreeSet::new());
            after.insert(at);
            self.given(entry, at);
        }
        let fields: BTreeSet<String> = differing
            .into_iter()
            .chain(meta_differences(entry, found, || self.exact(entry)))
            .chain(self.cleared(entry, found))
            .collect();
        if !fields.is_empty() {
            after.extend(needed_locals(entry).into_iter().filter_map(|n| self.made_by.get(n)));
            self.update(entry, Some(found), fields, after);
        }
        self.late.push((entry, Some(found)));
    }

    fn update(
        &mut self,
        entry: &'a Entry,
        found: Option<&'a Observed>,
        fields: BTreeSet<String>,
        after: BTreeSet<usize>,
    ) {
        let act = Act::Update { id: found.map(|f| f.id.clone()), fields };
        let at = self.push(&entry.name, entry.kind, act, after);
        self.made_by.insert(&entry.name, at);
        if let Some(found) = found {
            self.updates.insert(&found.id, at);
        }
    }

    /// What was applied before is known to be accepted as it is, with what the cloud added to it. Else only what the cloud adds
    /// whatever is asked for is.
    fn exact(&self, entry: &Entry) -> bool {
        let recorded = self.record_of(entry).map(|r| r.hash.as_str());
        recorded.is_none_or(|hash| applied_hash(entry, &self.targets).as_deref() != Some(hash))
    }

    /// Fields that were applied and that the module no longer sets. What can't change in place stays as it is.
    fn cleared(&self, entry: &Entry, found: &Observed) -> Vec<String> {
        let applied = self.record_of(entry).map(|r| &r.fields).into_iter().flatten();
        let changeable = |f: &&String| entry.kind.field(f).is_some_and(|spec| spec.change != Change::Replace);
        let there = |f: &&String| found.fields.get(*f).is_some_and(|v| !is_empty(v));
        let named = |f: &&String| [DISPLAY_NAME, DESCRIPTION].contains(&f.as_str());
        let set = entry.set();
        let unset = applied.filter(|f| !set.contains(*f));
        unset.filter(|f| named(f) || changeable(f) && there(f)).cloned().collect()
    }

    /// The fields that differ, of those that may change so.
    fn differences(&self, entry: &Entry, found: &Observed, of: impl Fn(Change) -> bool) -> BTreeSet<String> {
        self.differing(entry, found, || self.exact(entry), of)
    }

    fn differing(
        &self,
        entry: &Entry,
        found: &Observed,
        exact: impl FnOnce() -> bool,
        of: impl Fn(Change) -> bool,
    ) -> BTreeSet<String> {
        // It takes a hash of all that the entry says, and hardly any field asks for it.
        let exact = LazyCell::new(exact);
        let differs = |name: &&String, value: &Value| {
            entry.kind.field(name).filter(|spec| of(spec.change)).is_some_and(|spec| {
                let found_there = found.fields.get(*name);
                if let (Compare::Set, Some(members)) = (spec.compare, self.targets.whole_set(value)) {
                    return !compare::holds(members, found_there);
                }
                let desired = resolve(name, value, &self.targets);
                let adds = |element: &Json| !*exact || found.gives_itself(element);
                !desired.is_ok_and(|v| compare::satisfies(&v, found_there, spec.compare, adds))
            })
        };
        entry
            .fields
            .iter()
            .filter(|(name, value)| differs(name, value))
            .map(|(name, _)| name.clone())
            .collect()
    }

    fn replace(&mut self, entry: &'a Entry, found: &'a Observed) {
        let first =
            self.goes_before_another(found) || collides(entry, found) || self.takes_over_a_port(entry, found);
        self.targets.local.remove(&entry.name);
        if first {
            let act = Act::Delete { id: found.id.clone(), replaced: true, below: Vec::new() };
            let at = self.push(&entry.name, entry.kind, act, BTreeSet::new());
            self.before(found, at);
            self.first.insert(&found.id, at);
            self.create(entry, BTreeSet::from([at]));
        } else {
            self.create(entry, BTreeSet::new());
            let at = self.made_by.get(entry.name.as_str()).copied();
            self.replaced.push((found, at));
        }
    }

    /// Whether it rests on one that is deleted first, or on something that rests on such a one: that is deleted before it can be.
    fn goes_before_another(&self, found: &'a Observed) -> bool {
        let ours = || self.input.observed.values().filter(|o| self.ours(o));
        let (mut open, mut seen) = (vec![found], BTreeSet::new());
        while let Some(next) = open.pop().filter(|_| !self.first.is_empty()) {
            if self.first.keys().any(|id| rests_on(next, id)) {
                return true;
            }
            open.extend(ours().filter(|under| rests_on(next, &under.id) && seen.insert(&under.id)));
        }
        false
    }

    /// What is deleted first waits until this one, which goes too, is gone.
    fn before(&mut self, going: &Observed, at: usize) {
        for (id, first) in &self.first {
            if rests_on(going, id) {
                self.plan.operations.get_mut(*first).into_iter().for_each(|o| o.after.extend([at]));
            }
        }
    }

    /// A load balancer on the port of the one that it replaces, which has one at a time; or on a port that is not there yet, and may
    /// be to have the address of that one.
    fn takes_over_a_port(&self, entry: &Entry, found: &Observed) -> bool {
        let port = |vip: &Json| vip.get("port").and_then(|p| p.as_str()).map(str::to_owned);
        let Some(vip) = entry.fields.get("vip") else { return false };
        let Ok(wanted) = resolve("vip", vip, &self.targets) else { return true };
        let wanted = port(&wanted);
        wanted.is_some() && wanted == found.fields.get("vip").and_then(port)
    }

    fn create(&mut self, entry: &'a Entry, mut after: BTreeSet<usize>) {
        after.extend(needed_locals(entry).into_iter().filter_map(|n| self.made_by.get(n)));
        // What a late field names is part of the create where it is made before: then it is waited for.
        let late = entry.fields.keys().filter(|f| change_of(entry, f) == Some(Change::Late));
        after.extend(late.flat_map(|f| locals_of(entry, f)).filter_map(|n| self.created_by.get(n)));
        let at = self.push(&entry.name, entry.kind, Act::Create, after);
        self.given(entry, at);
        self.late.push((entry, None));
    }

    /// Late fields, when the fate of every entry is known: what a create could not resolve, and what differs.
    fn late_updates(&mut self) {
        for (entry, found) in std::mem::take(&mut self.late) {
            let fields = match found {
                Some(found) => {
                    let mut fields = self.differences(entry, found, Change::is_late);
                    fields.extend(self.left_behind(entry, found));
                    fields
                }
                None => self.unresolved_at_creation(entry),
            };
            let locals: BTreeSet<&str> = fields.iter().flat_map(|f| locals_of(entry, f)).collect();
            let provided = |n: &&str| self.targets.local.contains_key(*n) || self.made_by.contains_key(n);
            if let Some(absent) = locals.iter().find(|n| !provided(n)) {
                let on = Wait::Entry((*absent).into());
                self.block(entry, on);
            } else if !fields.is_empty() {
                let mut after: BTreeSet<usize> =
                    locals.iter().filter_map(|n| self.made_by.get(n).copied()).collect();
                after.extend(self.made_by.get(entry.name.as_str()));
                self.late_update(entry, found, fields, after);
            }
        }
    }

    /// Fields that the module does not set and that refer to something of this subject which goes: where the record is lost,
    /// only this tells that they were set.
    fn left_behind(&self, entry: &Entry, found: &Observed) -> Vec<String> {
        let goes = |o: &&Observed| self.ours(o) && !self.taken.contains(o.id.as_str());
        let going: Vec<&Observed> = self.input.observed.values().filter(goes).collect();
        let unset = found.fields.iter().filter(|(name, _)| !entry.fields.contains_key(*name));
        let changeable =
            |name: &str| entry.kind.field(name).is_some_and(|spec| spec.change != Change::Replace);
        unset
            .filter(|(name, value)| changeable(name) && going.iter().any(|o| mentions(value, &o.id)))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// One write instead of two where the entry is updated anyway, after all that its late fields need.
    fn late_update(
        &mut self,
        entry: &'a Entry,
        found: Option<&'a Observed>,
        late: BTreeSet<String>,
        after: BTreeSet<usize>,
    ) {
        let own = found.and_then(|f| self.updates.get(f.id.as_str())).copied();
        let last = after.last().copied().unwrap_or_default();
        if let Some(Operation { act: Act::Update { fields, .. }, .. }) =
            own.filter(|at| *at >= last).and_then(|at| self.plan.operations.get_mut(at))
        {
            fields.extend(late);
        } else {
            self.update(entry, found, late, after);
        }
    }

    /// Late fields that refer to entries which are made after this one, or to itself.
    fn unresolved_at_creation(&self, entry: &Entry) -> BTreeSet<String> {
        let own = self.created_by.get(entry.name.as_str());
        let ahead = |n: &str| self.created_by.get(n) >= own;
        let separate = |f: &str| change_of(entry, f) == Some(Change::Separate);
        let late = |f: &&String| separate(f) || locals_of(entry, f).into_iter().any(ahead);
        entry.fields.keys().filter(late).cloned().collect()
    }

    /// Everything of this subject that no entry speaks for, and what was replaced.
    fn removals(&mut self) {
        let input = self.input;
        let replaced = std::mem::take(&mut self.replaced);
        let mut going: Vec<(&Observed, Option<usize>, bool)> =
            replaced.into_iter().map(|(o, at)| (o, at, true)).collect();
        for found in input.observed.values() {
            let name = self.name_of(found);
            let entry = input.desired.get(name);
            if self.ours(found) && self.in_project(found, entry) && !self.taken.contains(found.id.as_str()) {
                going.push((found, None, false));
            }
        }
        let mut at_of: BTreeMap<&str, usize> = BTreeMap::new();
        // What can't go yet keeps what it refers to.
        let mut kept: BTreeMap<&str, Wait> = BTreeMap::new();
        for (found, after, replaced) in referrers_first(input, going) {
            let name = self.name_of(found);
            let duplicate = self.is_duplicate(name, found);
            let users = self.users_of(&found.id);
            let held = input.held.contains(&found.id) && !replaced;
            // What a pod is on stays with all that it refers to.
            let attached = input.pinned.contains(&found.id)
                || users.iter().any(|user| kept.get(user) == Some(&Wait::Attached));
            let kept_by_user = users.iter().any(|user| kept.contains_key(user));
            if held || attached || self.is_kept(&found.id) || kept_by_user {
                let on = if attached { Wait::Attached } else { Wait::InUse };
                kept.insert(&found.id, on.clone());
                self.plan.blocked.push(Blocked { name: name.into(), kind: found.kind, on });
                continue;
            }
            let users = self.let_go(found, &users, &at_of);
            let waits = after.into_iter().chain(users.keys().copied()).collect();
            let retain = self.is_retained(name, found) && !replaced && !duplicate;
            let act = match retain {
                true => Act::Retain { id: found.id.clone() },
                false => Act::Delete { id: found.id.clone(), replaced, below: Vec::new() },
            };
            let at = self.push(name, found.kind, act, waits);
            self.loose.extend(users.iter().filter(|(_, rests)| !**rests).map(|(before, _)| (at, *before)));
            self.before(found, at);
            at_of.insert(&found.id, at);
        }
    }

    /// Whether it stays in the cloud when it has no entry any more.
    fn is_retained(&self, name: &str, found: &Observed) -> bool {
        let lent = || found.kind.can_be_remarked() && self.lent.contains(&found.id);
        self.input.record.get(name).is_some_and(|r| r.retain) || lent()
    }

    /// The operations by which users of a resource let go of it, and of each whether one rests on it until then: the cloud refuses
    /// to delete it before.
    fn let_go(
        &self,
        found: &Observed,
        users: &BTreeSet<&str>,
        at_of: &BTreeMap<&str, usize>,
    ) -> BTreeMap<usize, bool> {
        let mut operations = BTreeMap::new();
        for user in users {
            let by = [at_of.get(user), self.first.get(user), self.updates.get(user)];
            if let Some(at) = by.into_iter().flatten().next() {
                let rests = self.input.observed.get(*user).is_some_and(|user| rests_on(user, &found.id));
                *operations.entry(*at).or_default() |= rests;
            }
        }
        operations
    }

    /// Whether it is not recorded, and another one is there in its place that is, or that its entry has.
    fn is_duplicate(&self, name: &str, found: &Observed) -> bool {
        let recorded = self.input.record.get(name).and_then(|r| r.id.as_deref());
        let is_there = |id: &str| self.input.observed.get(id).is_some_and(|other| self.ours(other));
        let has = self.targets.local.get(name).is_some_and(|target| target.id != found.id);
        recorded != Some(&found.id) && (recorded.is_some_and(is_there) || has)
    }

    /// Resources that refer to this one, by the record or by what is observed.
    fn users_of(&self, id: &str) -> BTreeSet<&'a str> {
        let input = self.input;
        let recorded = input.record.values().filter(|r| r.references.iter().any(|r| r.id == id));
        let observed = input.observed.values().filter(|o| o.fields.values().any(|v| mentions(v, id)));
        let users = recorded.filter_map(|r| r.id.as_deref()).chain(observed.map(|o| o.id.as_str()));
        users.filter(|user| *user != id).collect()
    }

    fn done(mut self) -> Plan {
        let operations = self.plan.operations.into_iter().enumerate().collect();
        self.plan.operations = renumbered(operations, &self.loose);
        cascade::fold(whole::fold(self.plan, self.input.desired), self.input.observed)
    }
}
