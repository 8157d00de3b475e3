//! Routes that pass TLS on. Who passes it on sees neither host nor path: each has a listener of its own, on a port that its annotation
//! says and the config allows.

use isthmus_sdk::objects::Age;
use isthmus_sdk::prelude::*;
use serde::Deserialize;

use crate::claims::own_host;
use crate::config::{Config, Front};
use crate::mapping::{POOL, route_kind};
use crate::matching::Match;
use crate::members::members;
use crate::monitor::Monitor;
use crate::objects::Route;

/// How the message begins of a Route whose port is somebody else's: `report` tells it by this.
pub(crate) const CLAIMED: &str = "port already claimed";
/// The annotation of a Route, as a manifest and a message name it.
pub(crate) const FIELD: &str = "metadata.annotations[\"isthmus.dev/passthrough-port\"]";
const PORT: &str = "isthmus.dev/passthrough-port";
/// Entry of a Route's mapping.
const LISTENER: &str = "listener";

/// Ports of the load balancer that such Routes may have.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ports {
    first: u16,
    last: u16,
    /// Whose Routes. Empty: everybody's.
    #[serde(default)]
    pub(crate) namespaces: Vec<String>,
}

impl Ports {
    /// What the types of the fields do not say; `taken`: ports of listeners that there are.
    pub(crate) fn check(&self, taken: &[u16]) -> Result<(), Outcome> {
        let wrong = |message: &str| Err(invalid_field(message, "config.passthroughPorts"));
        if self.first == 0 || self.last < self.first {
            return wrong("ports go from a first one, 1 at least, to a last one");
        }
        match taken.iter().find(|port| self.hold(**port)) {
            Some(port) => wrong(&format!("port {port} is among them, which the shared listeners have")),
            None => Ok(()),
        }
    }

    fn hold(&self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    fn are_for(&self, namespace: &str) -> bool {
        self.namespaces.is_empty() || self.namespaces.iter().any(|own| own == namespace)
    }
}

/// Whether a Route is one of these.
pub(crate) fn is_wanted(route: &Route<'_>) -> bool {
    route.spec.tls.as_ref().is_some_and(|tls| *tls.termination == *"passthrough")
}

/// A listener and its pool.
pub(crate) fn map(route: &Route<'_>, config: &Config, front: &Front) -> Result<Vec<Desired>, Outcome> {
    let port = port(route, config)?;
    check(route)?;
    own_host(route, &Match::of(&route.spec)?, config)?;
    settle(route, port, config)?;
    let mut pool = Pool::new(front.load_balancer.clone(), "TCP", "ROUND_ROBIN");
    pool.members = members(route, config)?;
    pool.monitor = config.monitor.as_ref().map(Monitor::of_connections);
    let listener = Listener::new(front.load_balancer.clone(), "TCP", port).default_pool(local(POOL));
    Ok(vec![pool.named(POOL), listener.named(LISTENER)])
}

fn asked<'a>(route: &'a Route<'_>) -> Option<&'a str> {
    route.metadata.annotations.get(PORT).map(|text| &**text)
}

/// The port that a Route asks for, if its namespace may have it.
fn chosen(route: &Route<'_>, config: &Config) -> Option<u16> {
    let text = asked(route)?;
    // In one spelling: others that want it are found by it.
    let port = text.parse().ok().filter(|port: &u16| port.to_string() == text)?;
    let may = |ports: &Ports| ports.are_for(route.namespace()) && ports.hold(port);
    config.passthrough_ports.iter().any(may).then_some(port)
}

fn port(route: &Route<'_>, config: &Config) -> Result<u16, Outcome> {
    let ours = || config.passthrough_ports.iter().filter(|ports| ports.are_for(route.namespace()));
    let all: Vec<String> = ours().map(|ports| format!("{} to {}", ports.first, ports.last)).collect();
    if all.is_empty() {
        let message = "passthrough needs a listener of its own: whoever runs the cluster sets `passthroughPorts` for this \
                       namespace in the module's config; or use edge or reencrypt";
        return Err(invalid_field(message, "spec.tls.termination"));
    }
    let one_of = format!("one of {}", all.join(", "));
    let message = format!("a Route that passes TLS on has a port of its own: say which, {one_of}");
    let text = asked(route).or_invalid(&message, FIELD)?;
    chosen(route, config).or_invalid(&format!("{text:?} is no port for such a Route: it is {one_of}"), FIELD)
}

/// Refuses what nobody can honour who does not see what is inside.
fn check(route: &Route<'_>) -> Result<(), Outcome> {
    let unseen = |field: &str, what: &str| {
        Err(invalid_field(format!("{what}: with passthrough only the endpoints see it"), field))
    };
    let Some(tls) = &route.spec.tls else { return Ok(()) };
    match tls.insecure_edge_termination_policy.as_deref() {
        _ if route.spec.path.as_deref().is_some_and(|path| !path.is_empty()) => unseen("spec.path", "a path"),
        _ if tls.certificate.0 => unseen("spec.tls.certificate", "a certificate"),
        _ if tls.ca_certificate.0 => unseen("spec.tls.caCertificate", "a certificate"),
        _ if tls.destination_ca_certificate.0 => unseen("spec.tls.destinationCACertificate", "a certificate"),
        _ if tls.external_certificate.is_some() => unseen("spec.tls.externalCertificate", "a certificate"),
        None | Some("" | "None") => Ok(()),
        Some(_) => {
            let message = "with passthrough there is nothing for plain HTTP: it is None";
            Err(invalid_field(message, "spec.tls.insecureEdgeTerminationPolicy"))
        }
    }
}

/// Refuses a Route whose port an older one has.
fn settle(route: &Route<'_>, port: u16, config: &Config) -> Result<(), Outcome> {
    let age = Age::of(&route.metadata);
    let texts = snapshot::list_by(&route_kind(), None, FIELD, &port.to_string());
    let wants_it = |other: &Route<'_>| is_wanted(other) && chosen(other, config) == Some(port);
    let wanting: Vec<Route<'_>> = parse_others(&texts).filter(wants_it).collect();
    match wanting.iter().map(|other| Age::of(&other.metadata)).filter(|other| *other < age).min() {
        Some(Age { namespace, name, .. }) => {
            Err(not_mapped(format!("{CLAIMED}: Route {namespace}/{name} has port {port}, and is older")))
        }
        None => Ok(()),
    }
}
