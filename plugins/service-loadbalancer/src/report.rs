//! What a Service says of itself: its addresses, and two conditions.
//!
//! The addresses are said once members answer, not when Octavia calls the load balancer ACTIVE. From then on they stay said while
//! they are the Service's: a Deployment that is scaled to 0, or an edit that is refused, takes no name out of DNS.

use isthmus_sdk::objects::{LoadBalancerIngress, Service, ServiceCondition};
use isthmus_sdk::prelude::*;
use isthmus_sdk::records::types::{Invalid, State};
use serde::Serialize;

use crate::config::Config;
use crate::exposure::{ASSOCIATION, FLOATING_IP};
use crate::family::Family;
use crate::fronts::{Address, Front, Place, Shared};
use crate::mapping::{Plan, Role};
use crate::owner::{Remembered, SHARES};
use crate::partly::unhonoured;
use crate::sharing::is_no_room;
use crate::tree::{listener_entry, pool_entry};

const BALANCED: &str = "isthmus.dev/LoadBalanced";
const PARTLY: &str = "isthmus.dev/PartlyHonoured";

/// The part of a Service's status that is this module's.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    load_balancer: Option<Addresses<'a>>,
    conditions: Vec<Condition>,
}

#[derive(Serialize)]
struct Addresses<'a> {
    ingress: Vec<Said<'a>>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Said<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hostname: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip_mode: Option<&'a str>,
}

/// The host adds `lastTransitionTime`.
#[derive(Serialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: &'static str,
    status: &'static str,
    reason: &'static str,
    message: String,
}

pub(crate) fn report(
    service: &Service<'_>,
    config: &Config,
    outcome: Option<&Outcome>,
    realized: &[Realized],
) -> Option<SubjectReport> {
    match outcome {
        Some(outcome) if is_no_room(outcome) => said(refused(service, &[], why(outcome)), None),
        // What was made goes.
        Some(Outcome::NotMapped(_)) => None,
        // What a Service shares is what it shared until it is mapped anew.
        Some(outcome) => {
            said(refused(service, realized, why(outcome)), Remembered::text_of(service).map(Into::into))
        }
        None => {
            let plan = Plan::of(service, config).ok()?;
            let shares = plan.sharing.as_ref().and_then(|sharing| sharing.remembered.clone());
            said(served(&Seen { plan: &plan, service, realized }, config), shares)
        }
    }
}

fn said(mut status: Status<'_>, shares: Option<String>) -> Option<SubjectReport> {
    status.conditions.extend(shares.map(|text| condition(SHARES, ("True", "Remembered", text))));
    Some(SubjectReport::new(Some(serde_json::to_string(&status).ok()?)))
}

/// Status, reason and message of the condition where something is not served.
fn why(outcome: &Outcome) -> (&'static str, &'static str, String) {
    match outcome {
        Outcome::NotMapped(reason) => ("False", "NoRoom", reason.clone()),
        Outcome::Waiting(reason) => ("Unknown", "Waiting", reason.clone()),
        Outcome::Invalid(Invalid { message, field }) => {
            let place = field.as_deref().map(|field| format!("{field}: ")).unwrap_or_default();
            ("False", "Refused", format!("{place}{message}"))
        }
    }
}

fn served<'a>(seen: &Seen<'a>, config: &Config) -> Status<'a> {
    let ingress = if seen.plan.role == Role::Exposed { seen.ingress() } else { Vec::new() };
    let partly = unhonoured(seen.service, seen.plan, config);
    let partly = (!partly.is_empty()).then(|| condition(PARTLY, ("True", "Limits", partly.join("; "))));
    let conditions = [condition(BALANCED, seen.balanced())].into_iter().chain(partly).collect();
    Status { load_balancer: addresses(ingress), conditions }
}

fn condition(
    kind: &'static str,
    (status, reason, message): (&'static str, &'static str, String),
) -> Condition {
    Condition { kind, status, reason, message }
}

fn addresses(ingress: Vec<Said<'_>>) -> Option<Addresses<'_>> {
    (!ingress.is_empty()).then_some(Addresses { ingress })
}

/// What was made stays as it was, and so does what was said of it.
fn refused<'a>(
    service: &'a Service<'_>,
    realized: &[Realized],
    why: (&'static str, &'static str, String),
) -> Status<'a> {
    let is_balancing =
        |name: &str| ["lb-", "listener-shared-"].iter().any(|beginning| name.starts_with(beginning));
    let there = realized.iter().any(|entry| is_balancing(&entry.name) && !entry.id.is_empty());
    let before = service.status.load_balancer.ingress.iter().filter(|_| there);
    let before = before.map(|ingress| Said {
        ip: ingress.ip.as_deref(),
        hostname: ingress.hostname.as_deref(),
        ip_mode: ingress.ip_mode.as_deref(),
    });
    Status { load_balancer: addresses(before.collect()), conditions: vec![condition(BALANCED, why)] }
}

struct Seen<'a> {
    plan: &'a Plan<'a>,
    service: &'a Service<'a>,
    realized: &'a [Realized],
}

impl<'a> Seen<'a> {
    fn entry(&self, name: &str) -> Option<&'a Realized> {
        self.realized.iter().find(|entry| entry.name == name)
    }

    fn is_ready(&self, name: &str) -> bool {
        self.stands(name, true)
    }

    /// Whether it is there and works; not `settled`: it may be under a change, as a pool is for each new member.
    fn stands(&self, name: &str, settled: bool) -> bool {
        let works = |entry: &Realized| match entry.state {
            State::Ready => true,
            State::Pending => !settled && !entry.id.is_empty(),
            State::Failed => false,
        };
        self.entry(name).is_some_and(works)
    }

    /// Addresses of fronts that answer, or that are said already.
    fn ingress(&self) -> Vec<Said<'a>> {
        let fronts = self.plan.fronts.iter().filter(|front| front.exposed);
        let addresses = fronts.filter_map(|front| Some((front, self.address(front)?)));
        let before = &self.service.status.load_balancer.ingress;
        let was_said = |address: &str| {
            let same = |ingress: &LoadBalancerIngress<'_>| match (&ingress.ip, &ingress.hostname) {
                (Some(ip), _) => **ip == *address,
                (None, hostname) => hostname.as_deref() == self.plan.wishes.hostname,
            };
            before.iter().any(same)
        };
        let shown: Vec<&'a str> = addresses
            .filter(|(front, address)| self.answers(front, true) || was_said(address))
            .map(|(_, address)| address)
            .collect();
        match self.plan.wishes.hostname {
            Some(_) if shown.is_empty() => Vec::new(),
            hostname @ Some(_) => vec![Said { hostname, ..Said::default() }],
            None => {
                // What expects the PROXY protocol must not be spoken to past the load balancer.
                let ip_mode = self.plan.wishes.proxy.map(|_| "Proxy");
                shown.into_iter().map(|ip| Said { ip: Some(ip), hostname: None, ip_mode }).collect()
            }
        }
    }

    /// The address of a front for who comes from outside: its floating IP's, or its own.
    fn address(&self, front: &'a Front) -> Option<&'a str> {
        if front.family == Family::V4 {
            let has = |name: &str| self.plan.list.iter().any(|entry| entry.name == name);
            if has(FLOATING_IP) {
                return self.entry(FLOATING_IP)?.addresses.first().map(String::as_str);
            }
            if has(ASSOCIATION) {
                let asked = self.service.spec.load_balancer_ip.as_deref();
                return asked.filter(|_| self.is_ready(ASSOCIATION));
            }
        }
        let of = match &front.place {
            Place::Port { .. } => front.vip_entry(),
            Place::Existing(_) | Place::Subnet { .. } => front.balancer_entry(),
            Place::Shared(shared) => return self.shared_address(front, shared),
        };
        self.entry(&of)?.addresses.first().map(String::as_str)
    }

    /// The address of a load balancer that is not the Service's own: the host tells it of what is there.
    fn shared_address(&self, front: &'a Front, shared: &'a Shared) -> Option<&'a str> {
        if let Address::Known(address) = &shared.address {
            return address.as_deref();
        }
        let told = if shared.floating_ip.is_some() { "floating-address" } else { "address" };
        let mut listeners =
            self.service.spec.ports.iter().filter_map(|port| self.entry(&listener_entry(front, port)));
        listeners.find_map(|listener| {
            let told = listener.properties.iter().find(|property| property.name == told);
            told.map(|property| property.value.as_str())
        })
    }

    /// Whether all of a front is there, and the members of a port answer.
    fn answers(&self, front: &Front, settled: bool) -> bool {
        let floating = [FLOATING_IP, ASSOCIATION].into_iter().filter(|_| front.family == Family::V4);
        let mut floating = floating.filter(|name| self.plan.list.iter().any(|entry| entry.name == *name));
        let mut ports = self.service.spec.ports.iter();
        let works = |port| {
            self.stands(&listener_entry(front, port), settled)
                && self.pool_answers(&pool_entry(front, port), settled)
        };
        // One that is not the Service's own works where its listeners do.
        (matches!(front.place, Place::Shared(_)) || self.stands(&front.balancer_entry(), settled))
            && floating.all(|name| self.stands(name, settled))
            && ports.any(works)
    }

    /// A member answers when it is ONLINE, or when nobody watches it (NO_MONITOR). Where the host does not say what Octavia sees of a
    /// pool, one without a monitor is known all the same: its members are all NO_MONITOR.
    fn pool_answers(&self, name: &str, settled: bool) -> bool {
        let Some((pool, found)) = self.plan.pool(name).zip(self.entry(name)) else { return false };
        let works = match found.operating.as_deref() {
            Some(operating) => ["ONLINE", "DEGRADED", "NO_MONITOR"].contains(&operating),
            None => pool.monitor.is_none(),
        };
        works && self.stands(name, settled) && !pool.members.is_empty()
    }

    /// Status, reason and message of the condition.
    fn balanced(&self) -> (&'static str, &'static str, String) {
        let told = |entry: &Realized| match &entry.message {
            Some(message) => format!("{}: {message}", entry.name),
            None => entry.name.clone(),
        };
        let failed: Vec<String> =
            self.realized.iter().filter(|entry| entry.state == State::Failed).map(told).collect();
        if !failed.is_empty() {
            return ("False", "CloudFailed", failed.join("; "));
        }
        let is_made = |name: &str| self.entry(name).is_some_and(|entry| !entry.id.is_empty());
        let missing: Vec<&str> =
            self.plan.list.iter().map(|entry| entry.name.as_str()).filter(|name| !is_made(name)).collect();
        if !missing.is_empty() {
            let why = self.realized.iter().filter(|entry| entry.id.is_empty() && entry.message.is_some());
            let why: Vec<String> = why.map(told).collect();
            let why = if why.is_empty() { missing.join(", ") } else { why.join("; ") };
            return ("Unknown", "Pending", format!("not made yet: {why}"));
        }
        if let Some(refused) = self.plan.sharing.as_ref().and_then(|sharing| sharing.refused.as_ref()) {
            return why(refused);
        }
        // A condition that flaps with every change of a member tells nobody anything.
        let said = |c: &ServiceCondition<'_>| *c.kind == *BALANCED && *c.status == *"True";
        let settled = !self.service.status.conditions.iter().any(said);
        let open = self.plan.fronts.iter().filter(|front| self.plan.is_open(front));
        let silent: Vec<&str> =
            open.filter(|front| !self.answers(front, settled)).map(|front| front.name).collect();
        match silent.as_slice() {
            [] => ("True", "MembersAnswer", String::new()),
            silent => {
                ("False", "NoMemberAnswers", format!("no member answers behind: {}", silent.join(", ")))
            }
        }
    }
}
