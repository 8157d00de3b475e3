//! Routes for the same host: which of them is served.

use std::collections::BTreeMap;

use isthmus_sdk::objects::Age;
use isthmus_sdk::prelude::*;

use crate::config::{Config, NamespaceOwnership};
use crate::exposure::{OnHttp, insecure};
use crate::matching::Match;
use crate::objects::Route;
use crate::passthrough;

/// How the message begins of a Route whose host is somebody else's: `report` tells it by this.
pub(crate) const CLAIMED: &str = "host already claimed";

/// Refuses a Route whose place an older one has. Answers the longer paths of its host that others serve on the HTTP listener.
pub(crate) fn settle(route: &Route<'_>, own: &Match, config: &Config) -> Result<Vec<Match>, Outcome> {
    let age = Age::of(&route.metadata);
    let strict = is_strict(config);
    let texts = own.candidates();
    let all = of_host(&texts, own);
    let all = || all.iter().map(|(other, place)| (Age::of(&other.metadata), other, place));
    owned(age, all().map(|(other, ..)| other), config)?;
    let served = || all().filter(|(other, ..)| !strict || other.namespace == age.namespace);
    let same = served().filter(|(other, _, place)| *place == own && *other < age);
    if let Some(Age { namespace, name, .. }) = same.map(|(other, ..)| other).min() {
        return Err(lost(&format!("Route {namespace}/{name} has it with the same path, and is older")));
    }
    let narrower = || served().filter(|(.., place)| own.narrowed_by(place));
    // Of several for one place the oldest is served: what the others say of HTTP is nobody's.
    let mut oldest: BTreeMap<&Match, Age<'_>> = BTreeMap::new();
    for (other, _, place) in narrower() {
        oldest.entry(place).and_modify(|known| *known = other.min(*known)).or_insert(other);
    }
    let on_http = |other: &Route<'_>| insecure(other.spec.tls.as_ref()) == Ok(OnHttp::Served);
    let is_served = |(age, other, place): &(Age<'_>, &Route<'_>, &Match)| {
        oldest.get(place) == Some(age) && on_http(other)
    };
    Ok(narrower().filter(is_served).map(|(.., place)| place.clone()).collect())
}

/// Refuses a Route whose host belongs to another namespace.
pub(crate) fn own_host(route: &Route<'_>, own: &Match, config: &Config) -> Result<(), Outcome> {
    let texts = own.candidates();
    let all = of_host(&texts, own);
    owned(Age::of(&route.metadata), all.iter().map(|(other, _)| Age::of(&other.metadata)), config)
}

fn owned<'a>(age: Age<'a>, others: impl Iterator<Item = Age<'a>>, config: &Config) -> Result<(), Outcome> {
    let owner = others.chain([age]).min().unwrap_or(age);
    if is_strict(config) && owner.namespace != age.namespace {
        let Age { namespace, name, .. } = owner;
        return Err(lost(&format!(
            "it belongs to namespace {namespace}, whose Route {name} is the oldest for it"
        )));
    }
    Ok(())
}

fn is_strict(config: &Config) -> bool {
    config.namespace_ownership == NamespaceOwnership::Strict
}

/// The Routes of a host.
fn of_host<'a>(texts: &'a [String], own: &Match) -> Vec<(Route<'a>, Match)> {
    let claim =
        |other: Route<'a>| claimed(&other).filter(|place| place.same_host(own)).map(|place| (other, place));
    parse_others(texts).filter_map(claim).collect()
}

/// Not mapped: a Route that had the host and lost it must not go on being served beside its owner.
fn lost(why: &str) -> Outcome {
    not_mapped(format!("{CLAIMED}: {why}"))
}

/// What a Route has of the shared listeners. One that is refused for what it says now may be served as it was (what was
/// made of it stays), so its place is not free.
fn claimed(route: &Route<'_>) -> Option<Match> {
    if passthrough::is_wanted(route) { None } else { Match::of(&route.spec).ok() }
}
