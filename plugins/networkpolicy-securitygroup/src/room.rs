//! How much of a policy's list there may be for what is in other namespaces: ports of Services there, names of ports of Pods there.
//!
//! The host refuses a list that is too long. Who is free to make Services and Pods in one namespace must not be able to make it so for
//! the policies of another one.

use std::collections::{BTreeMap, BTreeSet};

use isthmus_sdk::log;

/// Most sets of addresses of a policy that are there for other namespaces' sake. Each is up to two rules, and Neutron's default quota
/// is 100 rules a project.
const SETS: usize = 30;
/// Most members of these.
const MEMBERS: usize = 1_000;

/// What was found, by the namespace where it was.
pub(crate) struct Found<T>(BTreeMap<String, BTreeSet<T>>);

impl<T: Ord> Found<T> {
    pub(crate) fn new() -> Self {
        Self(BTreeMap::new())
    }

    pub(crate) fn add(&mut self, namespace: &str, member: T) {
        self.0.entry(namespace.into()).or_default().insert(member);
    }
}

/// The room that is left.
pub(crate) struct Room<'a> {
    own: &'a str,
    sets: usize,
    members: usize,
    /// Among how many it is to be shared.
    shares: usize,
}

impl<'a> Room<'a> {
    /// For a policy of this namespace, that chooses so many times.
    pub(crate) fn new(own: &'a str, shares: usize) -> Self {
        Self { own, sets: SETS, members: MEMBERS, shares }
    }

    /// All that is of the policy's own namespace, and of the others' what its share of the room holds: they take turns, so that one of
    /// many members leaves room for those of few. `set`: which set a member is in.
    pub(crate) fn choose<T: Ord, K: Ord>(
        &mut self,
        mut found: Found<T>,
        set: impl Fn(&T) -> K,
    ) -> BTreeSet<T> {
        let shares = self.shares.max(1);
        let (mut sets, mut members) = (self.sets.div_ceil(shares), self.members.div_ceil(shares));
        let (other_sets, other_members) = (self.sets - sets, self.members - members);
        let mut chosen = found.0.remove(self.own).unwrap_or_default();
        let mut known: BTreeSet<K> = chosen.iter().map(&set).collect();
        // The first of each namespace, then the second of each, and so on.
        let mut others: Vec<(usize, T)> =
            found.0.into_values().flat_map(|of_namespace| of_namespace.into_iter().enumerate()).collect();
        others.sort();
        let mut left_out = 0_usize;
        for (_, member) in others {
            if chosen.contains(&member) {
                continue;
            }
            let set = set(&member);
            let needed = usize::from(!known.contains(&set));
            if needed > sets || members == 0 {
                left_out += 1;
                continue;
            }
            (sets, members) = (sets - needed, members - 1);
            known.insert(set);
            chosen.insert(member);
        }
        if left_out > 0 {
            log::warn(&format!(
                "{left_out} addresses or ports of Services and Pods of other namespaces are left out: a policy has room for \
                 {SETS} sets of them and {MEMBERS} members, and each of its rules for a part of that"
            ));
        }
        // What this one does not need, the next ones have.
        (self.sets, self.members) = (other_sets + sets, other_members + members);
        self.shares = self.shares.saturating_sub(1);
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(of: &[(&str, std::ops::Range<usize>)]) -> Found<usize> {
        let mut found = Found::new();
        of.iter().for_each(|(namespace, members)| members.clone().for_each(|n| found.add(namespace, n)));
        found
    }

    #[test]
    fn own_is_whole_and_others_take_turns() {
        let mut room = Room::new("own", 1);
        let chosen =
            room.choose(found(&[("own", 0..2 * SETS), ("many", 5_000..9_000), ("z", 9_990..10_000)]), |n| *n);
        let of = |range: std::ops::Range<usize>| chosen.range(range).count();
        assert_eq!((of(0..5_000), of(5_000..9_000), of(9_000..10_000)), (2 * SETS, SETS - 10, 10));
        assert_eq!(room.choose(found(&[("own", 0..3), ("z", 3..6)]), |n| *n).len(), 3, "nothing is left");
        assert_eq!(log_lines(), 2);
    }

    #[test]
    fn members_of_one_set_need_one_and_have_their_own_limit() {
        let mut room = Room::new("own", 1);
        let chosen = room.choose(found(&[("a", 0..2 * MEMBERS), ("b", MEMBERS..3 * MEMBERS)]), |_| ());
        assert_eq!((chosen.len(), room.sets), (MEMBERS, SETS - 1));
        assert_eq!(log_lines(), 1);
    }

    #[test]
    fn each_has_its_share_and_what_others_leave() {
        let mut room = Room::new("own", 2);
        assert_eq!(room.choose(found(&[("a", 0..2 * SETS)]), |n| *n).len(), SETS / 2);
        assert_eq!(room.choose(found(&[("a", 0..2 * SETS)]), |n| *n).len(), SETS / 2);
        let mut room = Room::new("own", 2);
        assert_eq!(room.choose(found(&[("a", 0..1)]), |n| *n).len(), 1);
        assert_eq!(room.choose(found(&[("a", 0..2 * SETS)]), |n| *n).len(), SETS - 1);
    }

    fn log_lines() -> usize {
        isthmus_sdk::testing::take_log().len()
    }
}
