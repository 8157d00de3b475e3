//! Which resource is an entry's: by the record, by the mark, by what it is.

use std::collections::BTreeMap;

use super::Builder;
use crate::desired::Entry;
use crate::kinds::{Change, Kind};
use crate::observed::Observed;
use crate::plan::applied_hash;
use crate::record::Recorded;

impl<'a> Builder<'a> {
    /// No resource is of two entries: a rename that was marked and not recorded, or recorded under both names, leaves one
    /// that is. The mark tells whose it is, unless that entry has recorded another one.
    pub(super) fn claim(&mut self) {
        let (mut recorded, mut marked) = (BTreeMap::new(), BTreeMap::new());
        for entry in self.input.desired.entries().iter().filter(|e| !e.kind.is_attachment()) {
            let is_marked = |o: &Observed| o.mark.as_ref().is_some_and(|m| m.name == entry.name);
            if let Some(found) = self.recorded(entry) {
                if is_marked(found) || !recorded.contains_key(found.id.as_str()) {
                    recorded.insert(&*found.id, &*entry.name);
                }
            } else {
                let fits = self.input.observed.values().filter(|o| self.fits(entry, o) && is_marked(o));
                marked.extend(fits.map(|o| (&*o.id, &*entry.name)));
            }
        }
        recorded.extend(marked);
        self.claims = recorded;
    }

    /// Whether we may touch it: our mark for this subject, in our project or the one that the entry names.
    pub(super) fn ours(&self, observed: &Observed) -> bool {
        observed
            .mark
            .as_ref()
            .is_some_and(|m| m.cluster == self.input.cluster && m.subject == self.input.subject)
    }

    pub(super) fn in_project(&self, observed: &Observed, entry: Option<&Entry>) -> bool {
        let allowed = entry.and_then(|e| e.project.as_deref()).or(self.input.project);
        match (allowed, observed.project.as_deref()) {
            (Some(allowed), Some(project)) => allowed == project,
            _ => true,
        }
    }

    /// The resource of this entry: the recorded one, else the oldest with its mark. One that took the place of the recorded
    /// one, before that could be recorded, is the one.
    pub(super) fn current(&self, entry: &Entry) -> Option<&'a Observed> {
        let fits = |o: &&Observed| self.fits(entry, o) && !self.is_anothers(entry, o);
        let recorded = self.recorded(entry).filter(fits);
        if recorded.is_some_and(|found| entry.kind != Kind::Certificate || !self.is_replaced(entry, found)) {
            return recorded;
        }
        let named = |o: &&Observed| match entry.kind.is_attachment() {
            true => self.differences(entry, o, |_| true).is_empty(),
            false => o.mark.as_ref().is_some_and(|m| m.name == entry.name),
        };
        let usable = |o: &&Observed| recorded.is_none() || !self.is_replaced(entry, o);
        let marked = self.input.observed.values().filter(fits).filter(named).filter(usable);
        marked.min_by(|a, b| (&a.created, &a.id).cmp(&(&b.created, &b.id))).or(recorded)
    }

    /// Whether this entry may have it.
    fn fits(&self, entry: &Entry, found: &Observed) -> bool {
        found.kind == entry.kind && self.ours(found) && self.in_project(found, Some(entry))
    }

    /// What the record names for this entry, where that is there and fits.
    fn recorded(&self, entry: &Entry) -> Option<&'a Observed> {
        let recorded = self.input.record.get(&entry.name).filter(|r| r.kind == entry.kind);
        let id = recorded?.id.as_ref()?;
        self.input.observed.get(id).filter(|found| self.fits(entry, found))
    }

    /// Whether it is another entry's.
    fn is_anothers(&self, entry: &Entry, found: &Observed) -> bool {
        self.claims.get(found.id.as_str()).is_some_and(|name| *name != entry.name)
    }

    /// Whether the entry asks for what only another resource can have.
    pub(super) fn is_replaced(&self, entry: &Entry, found: &Observed) -> bool {
        !self.differences(entry, found, |change| change == Change::Replace).is_empty()
    }

    /// The name of an entry that a resource is or was of.
    pub(super) fn name_of(&self, found: &'a Observed) -> &'a str {
        let marked = found.mark.as_ref().map_or("", |m| m.name.as_str());
        if !found.kind.is_attachment() {
            return marked;
        }
        let mut recorded = self.input.record.iter().filter(|(_, r)| r.id.as_deref() == Some(&found.id));
        recorded.next().map_or(marked, |(name, _)| name)
    }

    /// A recorded resource whose own entry is gone and which was applied with equal content, with the name of that entry.
    pub(super) fn renamed(&self, entry: &Entry) -> Option<(&'a str, &'a Observed)> {
        if !entry.kind.can_be_remarked() {
            return None;
        }
        let hash = applied_hash(entry, &self.targets)?;
        self.input.record.iter().find_map(|(name, recorded)| {
            let free = self.input.desired.get(name).is_none()
                && recorded.kind == entry.kind
                && recorded.hash == hash;
            let found = self.input.observed.get(recorded.id.as_ref()?)?;
            let fits = free
                && self.fits(entry, found)
                && !self.is_anothers(entry, found)
                && !self.taken.contains(found.id.as_str())
                // One that somebody changed for good is not kept by another name.
                && self.differing(entry, found, || false, |change| change == Change::Replace).is_empty();
            fits.then_some((name.as_str(), found))
        })
    }

    /// What is recorded of an entry, under the name that it has or had.
    pub(super) fn record_of(&self, entry: &Entry) -> Option<&'a Recorded> {
        let name = self.renames.get(entry.name.as_str()).copied().unwrap_or(&entry.name);
        self.input.record.get(name).filter(|r| r.kind == entry.kind)
    }
}
