//! What a Route says of itself: its condition `Admitted`, as OpenShift's routers write it.

use isthmus_sdk::prelude::*;
use isthmus_sdk::records::types::{Invalid, State};

use crate::claims::CLAIMED;
use crate::config::Config;
use crate::objects::{Condition, Route, RouteIngress, RouteStatus};
use crate::passthrough;

/// The entry of this router in `status.ingress`: other routers have theirs beside it.
pub(crate) fn report(
    route: &Route<'_>,
    config: &Config,
    outcome: Option<&Outcome>,
    realized: &[Realized],
) -> Option<SubjectReport> {
    let ingress = RouteIngress {
        host: route.spec.host.as_deref().unwrap_or_default(),
        router_name: &config.router_name,
        router_canonical_hostname: config.router_canonical_hostname.as_deref(),
        wildcard_policy: route
            .spec
            .wildcard_policy
            .as_deref()
            .filter(|policy| !policy.is_empty())
            .unwrap_or("None"),
        conditions: [match outcome {
            Some(outcome) => refused(outcome),
            None => came_to_be(realized),
        }],
    };
    let status = serde_json::to_string(&RouteStatus { ingress: [ingress] }).ok()?;
    let report = SubjectReport::new(Some(status));
    Some(report.shared_list("status.ingress", "routerName", &config.router_name))
}

fn refused(outcome: &Outcome) -> Condition<'static> {
    match outcome {
        // Reasons of OpenShift's routers, where they have one.
        Outcome::NotMapped(reason) if reason.starts_with(CLAIMED) => {
            admitted("False", "HostAlreadyClaimed", format!("spec.host: {reason}"))
        }
        Outcome::NotMapped(reason) if reason.starts_with(passthrough::CLAIMED) => {
            admitted("False", "PortAlreadyClaimed", format!("{}: {reason}", passthrough::FIELD))
        }
        Outcome::NotMapped(reason) => admitted("False", "NotMapped", reason.clone()),
        Outcome::Waiting(reason) => admitted("Unknown", "Waiting", reason.clone()),
        Outcome::Invalid(Invalid { message, field }) => {
            let field = field.as_deref().unwrap_or_default();
            let reason = match field.starts_with("config") {
                true => "RouterMisconfigured",
                false => "ExtendedValidationFailed",
            };
            let place = if field.is_empty() { String::new() } else { format!("{field}: ") };
            admitted("False", reason, format!("{place}{message}"))
        }
    }
}

/// What exists and is only being changed (a new member) is admitted: a condition that flaps tells nobody anything.
fn came_to_be(realized: &[Realized]) -> Condition<'static> {
    let told = |entry: &Realized| match &entry.message {
        Some(message) => format!("{}: {message}", entry.name),
        None => entry.name.clone(),
    };
    let failed: Vec<String> = realized.iter().filter(|r| r.state == State::Failed).map(told).collect();
    let missing = |r: &&Realized| r.state == State::Pending && r.id.is_empty();
    let pending: Vec<String> = realized.iter().filter(missing).map(told).collect();
    match (failed.as_slice(), pending.as_slice()) {
        ([], []) if realized.is_empty() => admitted("Unknown", "Pending", "nothing is made yet".into()),
        ([], []) => Condition { kind: "Admitted", status: "True", reason: None, message: None },
        ([], pending) => admitted("Unknown", "Pending", format!("not made yet: {}", pending.join("; "))),
        (failed, _) => admitted("False", "CloudFailed", format!("failed: {}", failed.join("; "))),
    }
}

fn admitted(status: &'static str, reason: &'static str, message: String) -> Condition<'static> {
    Condition { kind: "Admitted", status, reason: Some(reason), message: Some(message) }
}
