//! Routes for the same host: which of them is served.

use isthmus_sdk::prelude::*;

use crate::config::{Config, NamespaceOwnership};
use crate::exposure::{OnHttp, insecure};
use crate::mapping::route_kind;
use crate::matching::{Age, Match};
use crate::objects::Route;

/// How the message begins of a Route whose host is somebody else's: `report` tells it by this.
pub(crate) const CLAIMED: &str = "host already claimed";

/// Refuses a Route whose place an older one has. Answers the longer paths of its host that others serve on the HTTP listener.
pub(crate) fn settle(route: &Route<'_>, own: &Match, config: &Config) -> Result<Vec<Match>, Outcome> {
    let age = Age::of(&route.metadata);
    let mut winner: Option<(Age<'_>, bool)> = None;
    let mut narrower = Vec::new();
    let texts = snapshot::list(&route_kind(), None, "");
    // One that does not parse is told so by itself, and claims nothing.
    let others: Vec<Route<'_>> = texts.iter().filter_map(|text| parse_subject(text).ok()).collect();
    for other in &others {
        let Some(place) = claimed(other).filter(|place| place.same_host(own)) else { continue };
        let other_age = Age::of(&other.metadata);
        let foreign =
            other_age.namespace != age.namespace && config.namespace_ownership == NamespaceOwnership::Strict;
        if (foreign || place == *own) && other_age < winner.map_or(age, |(oldest, _)| oldest) {
            winner = Some((other_age, place == *own));
        }
        if !foreign && own.narrowed_by(&place) && insecure(other.spec.tls.as_ref()) == Ok(OnHttp::Served) {
            narrower.push(place);
        }
    }
    match winner {
        Some((winner, same_path)) => Err(lost(winner, same_path)),
        None => Ok(narrower),
    }
}

/// What a Route is for, if this module could serve it at all.
fn claimed(route: &Route<'_>) -> Option<Match> {
    let passthrough = route.spec.tls.as_ref().is_some_and(|tls| *tls.termination == *"passthrough");
    if passthrough { None } else { Match::of(&route.spec).ok() }
}

fn lost(winner: Age<'_>, same_path: bool) -> Outcome {
    let Age { namespace, name, .. } = winner;
    let message = match same_path {
        true => format!("{CLAIMED}: Route {namespace}/{name} has it with the same path, and is older"),
        false => format!("{CLAIMED}: it belongs to namespace {namespace}, whose Route {name} is older"),
    };
    invalid_field(message, "spec.host")
}
