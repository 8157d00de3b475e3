//! What the cloud has with our mark: listed whole at the start of a session and at every resync, kept current in between
//! by the answers to our own writes. So a reconcile plans without asking the cloud anything.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use isthmus_model::kinds::Kind;
use isthmus_model::observed::{Observed, State};
use serde_json::Value as Json;

use crate::packed::Packed;

/// A resource.
#[derive(Clone, Debug, PartialEq)]
struct Kept {
    id: Box<str>,
    kind: Kind,
    /// All but the next.
    head: Packed<Observed>,
    /// Of an address group its addresses: there may be thousands, and hardly anybody looks at them.
    addresses: Option<Packed<Json>>,
    /// A write of it failed, or its answer was lost: what it is by now has to be looked at.
    unsure: bool,
}

/// The field that is packed by itself.
const ADDRESSES: &str = "addresses";

impl Kept {
    fn new(mut observed: Observed) -> Self {
        let addresses = match observed.kind {
            Kind::AddressGroup => observed.fields.remove(ADDRESSES),
            _ => None,
        };
        Self {
            id: observed.id.as_str().into(),
            kind: observed.kind,
            head: Packed::new(&observed),
            addresses: addresses.as_ref().map(Packed::new),
            unsure: false,
        }
    }

    /// The whole of it.
    fn get(&self) -> Option<Observed> {
        let mut observed = self.head.get()?;
        if let Some(addresses) = &self.addresses {
            observed.fields.insert(ADDRESSES.to_owned(), addresses.get()?);
        }
        Some(observed)
    }
}

/// Resources of ours, by subject's uid.
#[derive(Debug, Default)]
pub struct Inventory {
    /// Few each.
    by_subject: HashMap<Box<str>, Vec<Kept>>,
    resources: usize,
    /// Counts changes by our own writes: a list that began before one must not undo it.
    writes: u64,
    touched: HashMap<Box<str>, u64>,
    /// Ids that were known and that the last list lacked.
    missing: HashSet<Box<str>>,
}

impl Inventory {
    /// Everything that carries this subject's mark, by id.
    pub fn of(&self, subject: &str) -> BTreeMap<String, Observed> {
        let all = self.by_subject.get(subject).into_iter().flatten();
        all.filter_map(|kept| Some((kept.id.to_string(), kept.get()?))).collect()
    }

    /// The same, address groups without what they hold.
    pub fn heads(&self, subject: &str) -> BTreeMap<String, Observed> {
        let all = self.by_subject.get(subject).into_iter().flatten();
        all.filter_map(|kept| Some((kept.id.to_string(), kept.head.get()?))).collect()
    }

    /// The state of one resource.
    pub fn state(&self, subject: &str, id: &str) -> Option<State> {
        Some(self.kept(subject, id)?.head.get()?.state)
    }

    /// One resource.
    pub fn get(&self, subject: &str, id: &str) -> Option<Observed> {
        self.kept(subject, id)?.get()
    }

    fn kept(&self, subject: &str, id: &str) -> Option<&Kept> {
        self.by_subject.get(subject)?.iter().find(|kept| *kept.id == *id)
    }

    /// Whether anything carries this subject's mark.
    pub fn has(&self, subject: &str) -> bool {
        self.by_subject.contains_key(subject)
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
        self.take(subject, &observed.id);
        if observed.mark.as_ref().is_some_and(|m| m.subject == subject) {
            self.by_subject.entry(subject.into()).or_default().push(Kept::new(observed));
            self.resources += 1;
        }
    }

    /// Takes in that a write of it failed, or that its answer was lost, until it is put anew.
    pub fn doubt(&mut self, subject: &str, id: &str) {
        let all = self.by_subject.get_mut(subject).into_iter().flatten();
        all.filter(|kept| *kept.id == *id).for_each(|kept| kept.unsure = true);
    }

    /// What has to be looked at before it is planned with, and beside it what is `at` something.
    pub fn to_look_at(
        &self,
        subject: &str,
        at: impl Fn(&Observed) -> bool,
    ) -> (Vec<Observed>, Vec<Observed>) {
        let all = self.by_subject.get(subject).into_iter().flatten();
        let (unsure, known): (Vec<&Kept>, Vec<&Kept>) = all.partition(|kept| kept.unsure);
        let is_at = |kept: &&Kept| kept.head.get().is_some_and(|head| at(&head));
        let whole = |kept: &Kept| kept.get();
        (
            unsure.into_iter().filter_map(whole).collect(),
            known.into_iter().filter(is_at).filter_map(whole).collect(),
        )
    }

    /// Takes in that it is gone.
    pub fn remove(&mut self, subject: &str, id: &str) {
        self.touch(subject);
        self.take(subject, id);
    }

    /// Notes that a resource failed, as a call for another one was told. Answers whose it is, if that was not known.
    pub fn failed(&mut self, id: &str) -> Option<Box<str>> {
        let holds = |all: &Vec<Kept>| all.iter().any(|kept| *kept.id == *id);
        let subject = self.by_subject.iter().find(|(_, all)| holds(all))?.0.clone();
        let known = self.get(&subject, id).filter(|known| known.state != State::Failed)?;
        self.put(&subject, Observed { state: State::Failed, ..known });
        Some(subject)
    }

    fn take(&mut self, subject: &str, id: &str) {
        let Some(all) = self.by_subject.get_mut(subject) else { return };
        let before = all.len();
        all.retain(|kept| *kept.id != *id);
        self.resources -= before - all.len();
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

    /// Whether the last list lacked something that was known.
    pub fn has_missing(&self) -> bool {
        !self.missing.is_empty()
    }

    /// Takes in a list of everything with our mark, begun at `begun`. A subject that we wrote for since keeps what it has:
    /// the list may have been made before. What is known and not in the list is believed gone only when the next list lacks
    /// it too: Neutron answers an empty one, with status 200, while it starts and does not know its policy yet (seen with
    /// Neutron 29), and everything would be made anew. What is of a kind that could not be listed stays. Answers the subjects
    /// for which anything differs.
    pub fn replace(&mut self, begun: u64, listed: Vec<Observed>, unlisted: &BTreeSet<Kind>) -> Vec<Box<str>> {
        let mut fresh: HashMap<Box<str>, Vec<_>> = HashMap::new();
        for observed in listed {
            if let Some(mark) = &observed.mark {
                fresh.entry(mark.subject.as_str().into()).or_default().push(Kept::new(observed));
            }
        }
        let ids: HashSet<Box<str>> = fresh.values().flatten().map(|kept| kept.id.clone()).collect();
        self.touched.retain(|_, at| *at > begun);
        let mut missing = HashSet::new();
        for (subject, all) in self.by_subject.iter().filter(|(s, _)| !self.touched.contains_key(*s)) {
            for kept in all.iter().filter(|kept| !ids.contains(&kept.id)) {
                let listed = !unlisted.contains(&kept.kind);
                if listed && self.missing.contains(&kept.id) {
                    continue;
                }
                if listed {
                    missing.insert(kept.id.clone());
                }
                fresh.entry(subject.clone()).or_default().push(kept.clone());
            }
        }
        self.missing = missing;
        for subject in self.touched.keys() {
            match self.by_subject.remove(subject) {
                Some(all) => drop(fresh.insert(subject.clone(), all)),
                None => drop(fresh.remove(subject)),
            }
        }
        let mut before = std::mem::replace(&mut self.by_subject, fresh);
        before.retain(|subject, _| !self.touched.contains_key(subject));
        for all in before.values_mut().chain(self.by_subject.values_mut()) {
            all.sort_by(|a, b| a.id.cmp(&b.id));
            all.shrink_to_fit();
        }
        self.resources = self.by_subject.values().map(Vec::len).sum();
        let untouched = self.by_subject.keys().filter(|subject| !self.touched.contains_key(*subject));
        let mut differing: Vec<Box<str>> = before.keys().chain(untouched).cloned().collect();
        differing.retain(|subject| before.get(subject) != self.by_subject.get(subject));
        differing.sort();
        differing.dedup();
        differing
    }

    /// Takes in all that one subject has of these kinds, as listed now.
    pub fn replace_subject(&mut self, subject: &str, kinds: &BTreeSet<Kind>, listed: Vec<Observed>) {
        self.touch(subject);
        let mut all = self.by_subject.remove(subject).unwrap_or_default();
        self.resources -= all.len();
        all.retain(|kept| !kinds.contains(&kept.kind));
        all.extend(listed.into_iter().map(Kept::new));
        self.resources += all.len();
        if !all.is_empty() {
            self.by_subject.insert(subject.into(), all);
        }
    }
}

#[cfg(test)]
mod tests {
    use isthmus_model::mark::Mark;
    use isthmus_model::observed::State;

    use super::*;

    fn port(id: &str, subject: &str) -> Observed {
        let mark = Mark { cluster: "c".into(), subject: subject.into(), name: "p".into() };
        Observed { mark: Some(mark), ..Observed::of(Kind::Port, id) }
    }

    #[test]
    fn what_failed_is_told_to_its_subject_once() {
        let mut inventory = Inventory::default();
        inventory.put("a", port("1", "a"));
        assert_eq!(inventory.failed("2"), None);
        assert_eq!(inventory.failed("1").as_deref(), Some("a"));
        assert_eq!(inventory.get("a", "1").map(|o| o.state), Some(State::Failed));
        assert_eq!((inventory.failed("1"), inventory.len()), (None, 1));
    }

    #[test]
    fn what_a_group_holds_is_read_by_who_asks_for_all() {
        let mut inventory = Inventory::default();
        let group = Observed {
            kind: Kind::AddressGroup,
            fields: BTreeMap::from([("addresses".to_owned(), Json::from(vec!["10.0.0.1/32"]))]),
            ..port("g", "a")
        };
        let other = Observed { fields: group.fields.clone(), ..port("p", "a") };
        inventory.put("a", group.clone());
        inventory.put("a", other.clone());
        assert_eq!(inventory.get("a", "g"), Some(group.clone()));
        assert_eq!(
            inventory.of("a"),
            BTreeMap::from([("g".into(), group.clone()), ("p".into(), other.clone())])
        );
        let heads = inventory.heads("a");
        assert_eq!((heads["g"].fields.len(), &heads["p"]), (0, &other));
        assert_eq!(inventory.state("a", "g"), Some(State::Ready));
        // Who is in it is part of what it is.
        let changed =
            Observed { fields: BTreeMap::from([("addresses".to_owned(), Json::from(vec!["::1"]))]), ..group };
        let begun = inventory.begin();
        assert_eq!(inventory.replace(begun, vec![changed, other], &BTreeSet::new()).len(), 1);
    }

    #[test]
    fn what_a_write_failed_of_is_looked_at_until_it_was_seen() {
        let mut inventory = Inventory::default();
        inventory.put("a", port("1", "a"));
        inventory.put("a", Observed { state: State::Pending, ..port("2", "a") });
        inventory.doubt("a", "1");
        inventory.doubt("a", "3");
        let ids = |inventory: &Inventory| {
            let (unsure, pending) = inventory.to_look_at("a", |seen| seen.state != State::Ready);
            [unsure, pending].map(|all| all.into_iter().map(|seen| seen.id).collect::<Vec<_>>())
        };
        assert_eq!(ids(&inventory), [["1"], ["2"]]);
        inventory.put("a", port("1", "a"));
        assert_eq!(ids(&inventory), [vec![], vec!["2"]]);
    }

    #[test]
    fn a_list_does_not_undo_a_write_that_came_after_it_began() {
        let (mut inventory, none) = (Inventory::default(), BTreeSet::new());
        inventory.put("old", port("1", "old"));
        inventory.put("going", port("2", "going"));
        let begun = inventory.begin();
        inventory.put("new", port("3", "new"));
        inventory.remove("going", "2");
        // The list was made before both writes.
        let differing = inventory.replace(begun, vec![port("1", "old"), port("2", "going")], &none);
        assert!(differing.is_empty(), "{differing:?}");
        assert!(inventory.has("new") && !inventory.has("going") && inventory.has("old"));
        assert_eq!(inventory.len(), 2);
        inventory.remove("old", "1");
        inventory.replace_subject("new", &BTreeSet::from([Kind::Pool]), Vec::new());
        assert!(inventory.has("new"), "only pools were listed");
        inventory.replace_subject(
            "new",
            &BTreeSet::from([Kind::Port]),
            vec![port("3", "new"), port("4", "new")],
        );
        inventory.put("new", port("4", "another"));
        assert_eq!((inventory.len(), inventory.of("new").len()), (1, 1), "4 is marked for another one now");
    }

    #[test]
    fn what_one_list_lacks_is_kept_and_what_two_lack_is_gone() {
        let mut inventory = Inventory::default();
        for (id, subject) in [("1", "a"), ("2", "a"), ("3", "b")] {
            inventory.put(subject, port(id, subject));
        }
        let mut list = |listed: Vec<Observed>| {
            let begun = inventory.begin();
            let differing = inventory.replace(begun, listed, &BTreeSet::new());
            (differing.len(), inventory.len(), inventory.has_missing())
        };
        assert_eq!(list(Vec::new()), (0, 3, true), "a cloud that says that it has nothing");
        let all = || vec![port("1", "a"), port("2", "a"), port("3", "b")];
        assert_eq!(list(all()), (0, 3, false), "and then that it has everything");
        assert_eq!(list(vec![port("1", "a"), port("3", "b")]), (0, 3, true));
        assert_eq!(list(vec![port("1", "a")]), (1, 2, true), "2 is gone, 3 is missing for the first time");
        assert_eq!(list(vec![port("1", "a")]), (1, 1, false));
        let unlisted = BTreeSet::from([Kind::Port]);
        for _ in 0..3 {
            let begun = inventory.begin();
            assert!(inventory.replace(begun, Vec::new(), &unlisted).is_empty(), "nobody could say");
        }
        assert_eq!((inventory.len(), inventory.has_missing()), (1, false));
    }
}
