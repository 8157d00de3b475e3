//! What the cloud has with our mark: listed whole at the start of a session and at every resync, kept current in between
//! by the answers to our own writes. So a reconcile plans without asking the cloud anything.

use std::collections::{BTreeMap, HashMap};

use isthmus_model::observed::Observed;

/// Resources of ours, by subject's uid and id.
#[derive(Debug, Default)]
pub struct Inventory {
    by_subject: HashMap<Box<str>, BTreeMap<String, Observed>>,
    resources: usize,
    /// Counts changes by our own writes: a list that began before one must not undo it.
    writes: u64,
    touched: HashMap<Box<str>, u64>,
}

impl Inventory {
    /// Everything that carries this subject's mark.
    pub fn of(&self, subject: &str) -> BTreeMap<String, Observed> {
        self.by_subject.get(subject).cloned().unwrap_or_default()
    }

    /// One resource.
    pub fn get(&self, subject: &str, id: &str) -> Option<&Observed> {
        self.by_subject.get(subject)?.get(id)
    }

    /// Whether anything carries this subject's mark.
    pub fn has(&self, subject: &str) -> bool {
        self.by_subject.get(subject).is_some_and(|all| !all.is_empty())
    }

    /// The subjects that something is marked for.
    pub fn subjects(&self) -> impl Iterator<Item = &str> {
        self.by_subject.keys().map(AsRef::as_ref)
    }

    /// How many resources there are.
    pub fn len(&self) -> usize {
        self.resources
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.resources == 0
    }

    /// Takes in the answer to a write of ours.
    pub fn put(&mut self, subject: &str, observed: Observed) {
        self.touch(subject);
        let marked = observed.mark.as_ref().is_some_and(|m| m.subject == subject);
        if !marked {
            return self.take(subject, &observed.id);
        }
        let all = self.by_subject.entry(subject.into()).or_default();
        if all.insert(observed.id.clone(), observed).is_none() {
            self.resources += 1;
        }
    }

    /// Takes in that it is gone.
    pub fn remove(&mut self, subject: &str, id: &str) {
        self.touch(subject);
        self.take(subject, id);
    }

    fn take(&mut self, subject: &str, id: &str) {
        let Some(all) = self.by_subject.get_mut(subject) else { return };
        self.resources -= usize::from(all.remove(id).is_some());
        if all.is_empty() {
            self.by_subject.remove(subject);
        }
    }

    fn touch(&mut self, subject: &str) {
        self.writes += 1;
        self.touched.insert(subject.into(), self.writes);
    }

    /// To be taken before a list is asked for, and given to [`Self::replace`] with its answer.
    pub fn begin(&self) -> u64 {
        self.writes
    }

    /// Takes in a list of everything with our mark, begun at `begun`. A subject that we wrote for since keeps what it has:
    /// the list may have been made before. Answers the subjects for which anything differs.
    pub fn replace(&mut self, begun: u64, listed: Vec<Observed>) -> Vec<Box<str>> {
        let mut fresh: HashMap<Box<str>, BTreeMap<String, Observed>> = HashMap::new();
        for observed in listed {
            if let Some(mark) = &observed.mark {
                let subject = mark.subject.as_str().into();
                fresh.entry(subject).or_default().insert(observed.id.clone(), observed);
            }
        }
        self.touched.retain(|_, at| *at > begun);
        for subject in self.touched.keys() {
            match self.by_subject.get(subject) {
                Some(all) => drop(fresh.insert(subject.clone(), all.clone())),
                None => drop(fresh.remove(subject)),
            }
        }
        let mut differing: Vec<Box<str>> = self.by_subject.keys().chain(fresh.keys()).cloned().collect();
        differing.retain(|subject| self.by_subject.get(subject) != fresh.get(subject));
        differing.sort();
        differing.dedup();
        self.resources = fresh.values().map(BTreeMap::len).sum();
        self.by_subject = fresh;
        differing
    }

    /// Takes in all that one subject has, as listed now.
    pub fn replace_subject(&mut self, subject: &str, listed: Vec<Observed>) {
        self.touch(subject);
        let all: BTreeMap<String, Observed> = listed.into_iter().map(|o| (o.id.clone(), o)).collect();
        self.resources += all.len();
        let before = match all.is_empty() {
            true => self.by_subject.remove(subject),
            false => self.by_subject.insert(subject.into(), all),
        };
        self.resources -= before.map_or(0, |before| before.len());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use isthmus_model::kinds::Kind;
    use isthmus_model::mark::Mark;
    use isthmus_model::observed::State;

    use super::*;

    fn port(id: &str, subject: &str) -> Observed {
        Observed {
            kind: Kind::Port,
            id: id.into(),
            mark: Some(Mark { cluster: "c".into(), subject: subject.into(), name: "p".into() }),
            project: None,
            fields: BTreeMap::new(),
            tags: BTreeSet::new(),
            display_name: String::new(),
            description: String::new(),
            revision: None,
            addresses: Vec::new(),
            cidr: None,
            state: State::Ready,
            created: String::new(),
        }
    }

    #[test]
    fn a_list_does_not_undo_a_write_that_came_after_it_began() {
        let mut inventory = Inventory::default();
        inventory.put("old", port("1", "old"));
        inventory.put("going", port("2", "going"));
        let begun = inventory.begin();
        inventory.put("new", port("3", "new"));
        inventory.remove("going", "2");
        // The list was made before both writes, and saw that somebody deleted 1.
        let differing = inventory.replace(begun, vec![port("2", "going")]);
        assert_eq!(differing, ["old".into()]);
        assert!(inventory.has("new") && !inventory.has("going") && !inventory.has("old"));
        assert_eq!(inventory.len(), 1);
        inventory.replace_subject("new", vec![port("3", "new"), port("4", "new")]);
        inventory.put("new", port("4", "another"));
        assert_eq!((inventory.len(), inventory.of("new").len()), (1, 1), "4 is marked for another one now");
        // The next list begins after them and is believed.
        let begun = inventory.begin();
        assert_eq!(inventory.replace(begun, Vec::new()), ["new".into()]);
        assert!(inventory.is_empty());
    }
}
