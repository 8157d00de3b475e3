//! Whether what is observed is what is desired: only fields that the module set, normalised (invariant 6).

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value as Json;

use crate::address::network;
use crate::kinds::Compare;
use crate::members::Members;

/// Whether `observed` satisfies `desired`. `adds`: which elements the cloud may have added to a list of [`Compare::Covers`].
pub fn satisfies(
    desired: &Json,
    observed: Option<&Json>,
    compare: Compare,
    adds: impl Fn(&Json) -> bool,
) -> bool {
    let observed = observed.unwrap_or(&Json::Null);
    match (compare, desired, observed) {
        (Compare::Equal, _, _) => equal(desired, observed),
        (Compare::Set, Json::Array(want), Json::Array(have)) => {
            want.len() == have.len() && are_held(want, have).unwrap_or_else(|| matched(want, have, equal))
        }
        // Where all of the one side can be matched, and some of the other side can, both can at once.
        (Compare::Covers, Json::Array(want), Json::Array(have)) => {
            let asked_for = || have.iter().filter(|element| !adds(element));
            are_held(want, have).unwrap_or_else(|| matched(want, have, equal))
                && are_held(asked_for(), want)
                    .unwrap_or_else(|| matched(asked_for(), want, |element, wanted| equal(wanted, element)))
        }
        (Compare::Whole, Json::Array(want), Json::Array(have)) => {
            want.len() == have.len() && are_held(want, have).unwrap_or_else(|| one_to_one(want, have))
        }
        (Compare::Unseen, _, _) => true,
        // A set that the cloud leaves out is an empty one.
        (_, Json::Array(want), Json::Null) => want.is_empty(),
        _ => equal(desired, observed),
    }
}

/// As [`satisfies`], where all that is desired is what a set holds: of thousands of addresses no text is made.
pub(super) fn holds(members: &Members, observed: Option<&Json>) -> bool {
    let Some(Json::Array(have)) = observed else {
        return members.is_empty() && matches!(observed, None | Some(Json::Null));
    };
    if have.len() != members.len() {
        return false;
    }
    let Some(mut have) = have.iter().map(address).collect::<Option<Vec<_>>>() else { return false };
    have.sort_unstable();
    members.iter().eq(&have)
}

/// The address that a text is, alone or as a prefix.
fn address(element: &Json) -> Option<IpAddr> {
    let net = network(element.as_str()?)?;
    (net.prefix_len() == net.max_prefix_len()).then(|| net.addr())
}

/// Whether each of these texts is one of those for itself alone: of thousands of addresses each is read once. `None`: there is
/// something else among them, which can fit more than one.
fn are_held<'j>(these: impl IntoIterator<Item = &'j Json>, those: &'j [Json]) -> Option<bool> {
    let (these, those) = (sorted(these)?, sorted(those)?);
    let mut left = those.iter();
    Some(these.iter().all(|this| left.find(|that| *that >= this) == Some(this)))
}

fn sorted<'j>(elements: impl IntoIterator<Item = &'j Json>) -> Option<Vec<Text<'j>>> {
    let texts = elements.into_iter().map(|element| element.as_str().map(Text::of));
    let mut texts: Vec<Text<'j>> = texts.collect::<Option<_>>()?;
    texts.sort_unstable();
    Some(texts)
}

/// Whether each of these can have one of those for its own.
fn matched<'j>(
    these: impl IntoIterator<Item = &'j Json>,
    those: &[Json],
    fits: impl Fn(&Json, &Json) -> bool,
) -> bool {
    let mut owners = vec![None; those.len()];
    these.into_iter().all(|this| finds_one(this, those, &fits, &mut owners))
}

/// Gives this one one of those: a free one, or that of another which can take one in its place, and so on. Without recursion:
/// such a chain may be as long as the list. `owners`: whose each is.
fn finds_one<'j>(
    this: &'j Json,
    those: &[Json],
    fits: impl Fn(&Json, &Json) -> bool,
    owners: &mut [Option<&'j Json>],
) -> bool {
    // Of each that was looked at: who would take it, and from where that one would come.
    let mut takers: BTreeMap<usize, (&Json, Option<usize>)> = BTreeMap::new();
    let mut open = VecDeque::from([(this, None)]);
    while let Some((taker, from)) = open.pop_front() {
        let can_take = |(at, one): &(usize, &Json)| !takers.contains_key(at) && fits(taker, one);
        let is_free = |(at, _): &(usize, &Json)| owners.get(*at).is_some_and(Option::is_none);
        if let Some((at, _)) = those.iter().enumerate().filter(is_free).find(can_take) {
            takers.insert(at, (taker, from));
            let mut to = Some(at);
            while let Some((at, (taker, from))) = to.and_then(|at| takers.remove_entry(&at)) {
                owners.get_mut(at).into_iter().for_each(|owner| *owner = Some(taker));
                to = from;
            }
            return true;
        }
        let taken: Vec<usize> = those.iter().enumerate().filter(can_take).map(|(at, _)| at).collect();
        takers.extend(taken.iter().map(|at| (*at, (taker, from))));
        open.extend(taken.into_iter().filter_map(|at| Some(((*owners.get(at)?)?, Some(at)))));
    }
    false
}

/// Whether each wanted element is an element, and says all that it says.
fn one_to_one(want: &[Json], have: &[Json]) -> bool {
    let mut left: Vec<&Json> = have.iter().collect();
    want.iter().all(|w| match left.iter().position(|h| equal(w, h) && equal(h, w)) {
        Some(at) => {
            left.swap_remove(at);
            true
        }
        None => false,
    })
}

/// Equal after normalisation; a record where every field that is set on the left is equal on the right. A list in a record
/// that is empty is not set (the contract's `listener-tls.versions`: "Empty: the cloud's default").
fn equal(desired: &Json, observed: &Json) -> bool {
    match (desired, observed) {
        (Json::Object(want), Json::Object(have)) => {
            let unset = |value: &Json| value.as_array().is_some_and(Vec::is_empty);
            let held = |name: &String| have.get(name).unwrap_or(&Json::Null);
            want.iter().all(|(name, value)| unset(value) || equal(value, held(name)))
        }
        (Json::Array(want), Json::Array(have)) => {
            want.len() == have.len() && want.iter().zip(have).all(|(w, h)| equal(w, h))
        }
        (Json::String(want), Json::String(have)) => want == have || Text::of(want) == Text::of(have),
        (Json::Array(want), Json::Null) => want.is_empty(),
        _ => desired == observed,
    }
}

/// What a text says, in the one form of it. IPv6 text has many forms, an address may be written as the prefix that it is alone in,
/// and MAC addresses have two cases.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Text<'t> {
    Network(IpNet),
    Mac(String),
    Other(&'t str),
}

impl<'t> Text<'t> {
    fn of(text: &'t str) -> Self {
        let mac = text.len() == 17
            && text.split(':').count() == 6
            && text.bytes().all(|c| c == b':' || c.is_ascii_hexdigit());
        match network(text) {
            Some(net) => Self::Network(net.trunc()),
            None if mac => Self::Mac(text.to_ascii_lowercase()),
            None => Self::Other(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;
    use serde_json::json;

    use super::*;

    /// Whether some order of what is there has what is wanted at its places: by trying all of them.
    fn in_some_order(want: &[Json], have: &[Json]) -> bool {
        let Some((first, rest)) = want.split_first() else { return true };
        (0..have.len()).any(|at| {
            let mut left = have.to_vec();
            equal(first, &left.remove(at)) && in_some_order(rest, &left)
        })
    }

    /// Records that set any of three keys.
    fn records() -> impl Strategy<Value = Vec<Json>> {
        let record = proptest::array::uniform3(proptest::option::of(0..2));
        vec(
            record.prop_map(|keys| {
                ["a", "b", "c"].into_iter().zip(keys).filter(|(_, v)| v.is_some()).collect()
            }),
            0..6,
        )
    }

    proptest! {
        #[test]
        fn elements_are_matched_in_any_order(want in records(), have in records()) {
            prop_assert_eq!(matched(&want, &have, equal), in_some_order(&want, &have));
        }

        #[test]
        fn texts_are_held_where_they_can_be_matched(want in texts(), have in texts()) {
            prop_assert_eq!(are_held(&want, &have), Some(in_some_order(&want, &have)));
        }

        /// A set is compared as its texts are.
        #[test]
        fn a_set_is_held_where_its_texts_are(set in vec(0..6_u8, 0..5), have in texts(), all in any::<bool>()) {
            let members: Members = set.iter().map(|last| IpAddr::from([10, 0, 0, *last])).collect();
            let desired: Json = members.iter().map(|address| Json::from(address.to_string())).collect();
            let have = if all { desired.clone() } else { Json::from(have) };
            let expected = satisfies(&desired, Some(&have), Compare::Set, |_| false);
            prop_assert_eq!(holds(&members, Some(&have)), expected, "{} {}", desired, have);
            prop_assert_eq!(holds(&members, None), satisfies(&desired, None, Compare::Set, |_| false));
        }
    }

    /// Three texts, in two forms each.
    fn texts() -> impl Strategy<Value = Vec<Json>> {
        const FORMS: &[&str] = &[
            "10.0.0.1",
            "10.0.0.1/32",
            "fd00::1",
            "FD00:0::1",
            "aa:bb:cc:dd:ee:0f",
            "AA:BB:CC:DD:EE:0F",
            "a",
        ];
        vec(select(FORMS).prop_map(Json::from), 0..6)
    }

    /// Neutron writes an address of a group as a prefix, in an order of its own. Each compared with each took minutes of so many.
    #[test]
    fn twenty_thousand_addresses_are_compared_in_no_time() {
        let peers = 20_000_u32;
        let address = |at: u32| std::net::Ipv4Addr::from(0x0a00_0000 + at);
        let wanted: Json = (0..peers).map(|at| address(at).to_string()).collect();
        // 7919 is prime: each comes once.
        let shown = |at: u32| format!("{}/32", address(at * 7919 % peers));
        let mut observed: Vec<Json> = (0..peers).map(shown).map(Json::from).collect();
        let began = Instant::now();
        let all = Json::from(observed.clone());
        for compare in [Compare::Set, Compare::Covers, Compare::Whole] {
            assert!(satisfies(&wanted, Some(&all), compare, |_| false), "{compare:?}");
        }
        observed[17] = Json::from("10.200.0.0/32");
        assert!(!satisfies(&wanted, Some(&Json::from(observed)), Compare::Set, |_| false));
        assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
    }

    /// What a port asks for, each by another key: the one that a subnet alone takes first is wanted by its address.
    #[test]
    fn one_that_can_take_another_element_leaves_it() {
        let at = |address: &str| json!({"subnet": "s", "address": address});
        let want = json!([{"subnet": "s"}, {"address": "10.0.0.5"}]);
        let same = |observed: Json| satisfies(&want, Some(&observed), Compare::Covers, |_| true);
        assert!(same(json!([at("10.0.0.5"), at("10.0.0.9")])));
        assert!(same(json!([at("10.0.0.9"), at("10.0.0.5")])));
        assert!(!same(json!([at("10.0.0.8"), at("10.0.0.9")])));
        assert!(!same(json!([at("10.0.0.5")])));
    }

    #[test]
    fn compares_only_what_was_set_and_normalises() {
        let table = [
            (json!("fd00::1"), json!("FD00:0::1"), Compare::Equal, true),
            (json!("aa:bb:cc:dd:ee:0f"), json!("AA:BB:CC:DD:EE:0F"), Compare::Equal, true),
            (json!("10.0.0.1/24"), json!("10.0.0.0/24"), Compare::Equal, true),
            (json!("Web"), json!("web"), Compare::Equal, false),
            (json!("10.0.0.1"), json!("10.0.0.1/32"), Compare::Equal, true),
            (json!([{"a": 1}]), json!([{"a": 1, "b": 2}]), Compare::Set, true),
            (json!([{"a": 1}]), json!([{"a": 1, "b": 2}]), Compare::Whole, false),
            (json!([{"a": 1}, {"b": 2}]), json!([{"b": 2}, {"a": 1}]), Compare::Whole, true),
            (json!("a"), json!(null), Compare::Unseen, true),
            (json!(["a", "b"]), json!(["b", "a"]), Compare::Set, true),
            (json!(["a"]), json!(["b", "a"]), Compare::Set, false),
            (json!(["a"]), json!(["b", "a"]), Compare::Covers, true),
            (json!(["a", "a"]), json!(["a", "b"]), Compare::Set, false),
            (json!([]), json!(null), Compare::Set, true),
            (json!([]), json!(["a"]), Compare::Set, false),
            (
                json!({"ca": "c", "versions": []}),
                json!({"ca": "c", "versions": ["1.3"]}),
                Compare::Equal,
                true,
            ),
            (json!({"ca": "c", "versions": ["1.2"]}), json!({"ca": "c"}), Compare::Equal, false),
            (
                json!([{"subnet": "s"}]),
                json!([{"subnet": "s", "address": "10.0.0.5"}]),
                Compare::Covers,
                true,
            ),
            (
                json!([{"subnet": "s"}, {"subnet": "s", "address": "10.0.0.5"}]),
                json!([{"subnet": "s", "address": "10.0.0.5"}, {"subnet": "s", "address": "10.0.0.6"}]),
                Compare::Set,
                true,
            ),
        ];
        for (desired, observed, compare, expected) in table {
            assert_eq!(
                satisfies(&desired, Some(&observed), compare, |_| true),
                expected,
                "{desired} {observed}"
            );
        }
        assert!(!satisfies(&json!(["a"]), Some(&json!(["a", "b"])), Compare::Covers, |_| false));
        assert!(satisfies(&json!(["a"]), Some(&json!(["a", "b"])), Compare::Covers, |e| e == "b"));
        assert!(!satisfies(&json!(["a"]), Some(&json!(["a", "b", "c"])), Compare::Covers, |e| e == "b"));
        assert!(!satisfies(&json!("a"), None, Compare::Equal, |_| true));
    }
}
