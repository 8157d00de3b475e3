//! From sort keys to Octavia's dense positions. Octavia moves what follows a policy that is put in, moved or deleted, so one
//! write puts one policy where it belongs, and touches no other.

/// A policy of a listener: its id, and its precedence where it is ours.
pub(super) type Placed = (String, Option<String>);

/// The position, from 1, at which a policy of this precedence belongs among the others, which are in the order that they
/// have: before the first of ours that comes after it. What is not ours stays where it is.
pub(super) fn position(others: &[Placed], precedence: &str) -> usize {
    let after = |(_, own): &Placed| own.as_deref().is_some_and(|own| own > precedence);
    1 + others.iter().position(after).unwrap_or(others.len())
}

/// Ids of ours that come after one that they belong before. Putting each where it belongs sorts them all.
pub(super) fn misplaced(all: &[Placed]) -> Vec<&str> {
    let mut highest = "";
    let mut wrong = Vec::new();
    for (id, own) in all {
        match own.as_deref() {
            Some(own) if own < highest => wrong.push(id.as_str()),
            Some(own) => highest = own,
            None => {}
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(all: &[(&str, &str)]) -> Vec<Placed> {
        all.iter().map(|(id, own)| ((*id).into(), (!own.is_empty()).then(|| (*own).into()))).collect()
    }

    #[test]
    fn a_policy_goes_before_the_first_that_comes_after_it() {
        let all = placed(&[("1", "a"), ("other", ""), ("2", "c"), ("3", "c"), ("4", "e")]);
        for (precedence, expected) in [("0", 1), ("a", 3), ("b", 3), ("c", 5), ("f", 6)] {
            assert_eq!(position(&all, precedence), expected, "{precedence}");
        }
        assert_eq!(position(&[], "a"), 1);
    }

    /// All permutations of five policies and a stranger's: one move each of what is misplaced sorts them.
    #[test]
    fn moving_what_is_misplaced_sorts_and_leaves_strangers_alone() {
        let mut orders = vec![Vec::new()];
        for one in placed(&[("1", "a"), ("2", "b"), ("3", "c"), ("4", "d"), ("5", "d"), ("other", "")]) {
            orders = orders
                .into_iter()
                .flat_map(|order: Vec<Placed>| (0..=order.len()).map(move |at| (order.clone(), at)))
                .map(|(mut order, at)| {
                    order.insert(at, one.clone());
                    order
                })
                .collect();
        }
        assert_eq!(orders.len(), 720);
        for mut order in orders {
            let wrong: Vec<String> = misplaced(&order).into_iter().map(Into::into).collect();
            for id in wrong {
                let at = order.iter().position(|(own, _)| *own == id).unwrap();
                let moved = order.remove(at);
                let to = position(&order, moved.1.as_deref().unwrap());
                order.insert(to - 1, moved);
            }
            assert!(misplaced(&order).is_empty(), "{order:?}");
        }
    }
}
