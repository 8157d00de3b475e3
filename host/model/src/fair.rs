//! Keys that are due, and wait for a place: one of each group in turn, and of a group in the order in which they came.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;

/// Keys and their groups. Who has a thousand waits for them; who has one does not wait for these.
#[derive(Debug)]
pub struct FairQueue<K, G> {
    waiting: HashSet<K>,
    of: HashMap<G, VecDeque<K>>,
    /// Groups with keys. The first has its turn.
    order: VecDeque<G>,
}

impl<K, G> Default for FairQueue<K, G> {
    fn default() -> Self {
        Self { waiting: HashSet::new(), of: HashMap::new(), order: VecDeque::new() }
    }
}

impl<K: Clone + Eq + Hash, G: Clone + Eq + Hash> FairQueue<K, G> {
    /// Behind the others of its group. One that waits already keeps its place.
    pub fn push(&mut self, key: K, group: G) {
        if !self.waiting.insert(key.clone()) {
            return;
        }
        let of = self.of.entry(group).or_insert_with_key(|group| {
            self.order.push_back(group.clone());
            VecDeque::new()
        });
        of.push_back(key);
    }

    /// The one whose turn it is.
    pub fn pop(&mut self) -> Option<K> {
        let group = self.order.pop_front()?;
        let of = self.of.get_mut(&group)?;
        let key = of.pop_front()?;
        if of.is_empty() {
            self.of.remove(&group);
        } else {
            self.order.push_back(group);
        }
        self.waiting.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_does_not_wait_for_a_thousand_of_others() {
        let mut queue = FairQueue::default();
        for n in 0..1000 {
            queue.push(("many", n), "many");
        }
        queue.push(("one", 0), "one");
        queue.push(("many", 0), "many");
        let all: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(all[..4], [("many", 0), ("one", 0), ("many", 1), ("many", 2)]);
        assert_eq!(all.len(), 1001, "one that waits is not put in again");
        queue.push(("many", 0), "many");
        assert_eq!(queue.pop(), Some(("many", 0)), "it may come again when it has had its turn");
    }

    proptest! {
        /// Whatever comes when: of a group in order, and each group has a turn before any has two.
        #[test]
        fn nobody_waits_for_ever(steps in prop::collection::vec(prop::option::of((0u8..5, 0u8..20)), 0..200)) {
            let mut queue = FairQueue::default();
            let mut expected: HashSet<(u8, u8)> = HashSet::new();
            let mut turns_of: HashMap<u8, Vec<u8>> = HashMap::new();
            for step in steps {
                match step {
                    Some(key) => {
                        queue.push(key, key.0);
                        if expected.insert(key) {
                            turns_of.entry(key.0).or_default().push(key.1);
                        }
                    }
                    None => {
                        let key = queue.pop();
                        prop_assert_eq!(key.is_some(), !expected.is_empty());
                        if let Some(key) = key {
                            prop_assert!(expected.remove(&key));
                            prop_assert_eq!(turns_of.get_mut(&key.0).map(|of| of.remove(0)), Some(key.1), "in order");
                        }
                    }
                }
            }
            let waiting = turns_of.values().filter(|of| !of.is_empty()).count();
            let first: HashSet<u8> = (0..waiting).filter_map(|_| queue.pop()).map(|(group, _)| group).collect();
            prop_assert_eq!(first.len(), waiting, "each group has a turn before any has two");
        }
    }
}
