//! The mapping itself.

use isthmus_sdk::objects::{Age, Head};
use isthmus_sdk::prelude::*;
use isthmus_sdk::records::load_balancing::{L7Action, L7Rule, Redirect};

use crate::claims::settle;
use crate::config::{Config, Front, Listening};
use crate::exposure::{OnHttp, certificates, insecure};
use crate::matching::Match;
use crate::members::members;
use crate::objects::Route;
use crate::{passthrough, report, shared};

/// Entries of a Route's mapping.
pub(crate) const POOL: &str = "pool";
const ON_HTTP: &str = "policy-http";
const ON_HTTPS: &str = "policy-https";

/// Octavia's limit of the rules of a policy.
const RULES: usize = 50;

/// Route to pool and L7 policies; PolicyModule to the load balancer that they share.
pub struct RouteL7Policy;

pub(crate) fn route_kind() -> Kind {
    Kind::new("route.openshift.io", "v1", "Route")
}
pub(crate) fn service_kind() -> Kind {
    Kind::core("Service")
}
pub(crate) fn endpoint_slice_kind() -> Kind {
    Kind::new("discovery.k8s.io", "v1", "EndpointSlice")
}

/// All of a Route but its private key: the host reads that one itself.
const ROUTE_FIELDS: [&str; 15] = [
    passthrough::FIELD,
    "metadata.creationTimestamp",
    "spec.host",
    "spec.subdomain",
    "spec.path",
    "spec.wildcardPolicy",
    "spec.to",
    "spec.alternateBackends",
    "spec.port.targetPort",
    "spec.tls.termination",
    "spec.tls.insecureEdgeTerminationPolicy",
    "spec.tls.certificate",
    "spec.tls.caCertificate",
    "spec.tls.destinationCACertificate",
    "spec.tls.externalCertificate.name",
];

/// Other Routes are found by these.
pub(crate) const HOST: &str = "spec.host";
pub(crate) const WILDCARD: &str = "spec.wildcardPolicy";

/// What of other Routes decides who has a host or a port, and what a redirect leaves out.
const CLAIM_FIELDS: [&str; 7] = [
    passthrough::FIELD,
    "metadata.creationTimestamp",
    "spec.host",
    "spec.path",
    "spec.wildcardPolicy",
    "spec.tls.termination",
    "spec.tls.insecureEdgeTerminationPolicy",
];

impl Module for RouteL7Policy {
    type Config = Config;

    fn manifest() -> Manifest {
        let description = "Routes by host and path on one load balancer";
        Manifest::new("route-l7policy", env!("CARGO_PKG_VERSION"), description)
            .maps(route_kind(), ROUTE_FIELDS)
            .maps(Kind::new("isthmus.dev", "v1alpha1", "PolicyModule"), [])
            .reads(route_kind(), CLAIM_FIELDS)
            .lists_by(route_kind(), [HOST, WILDCARD, passthrough::FIELD])
            .reads(
                service_kind(),
                [
                    "spec.type",
                    "spec.ipFamilies",
                    "spec.ports[*].name",
                    "spec.ports[*].port",
                    "spec.ports[*].targetPort",
                ],
            )
            .reads(
                endpoint_slice_kind(),
                [
                    "endpoints[*].addresses",
                    "endpoints[*].conditions.ready",
                    "ports[*].name",
                    "ports[*].port",
                    "ports[*].protocol",
                ],
            )
            .reporting()
            .config_schema(include_str!("../config.schema.json"))
    }
}

impl Mapper for RouteL7Policy {
    fn map(subject: &str, config: Config) -> Result<Vec<Desired>, Outcome> {
        let head: Head<'_> = parse_subject(subject)?;
        match &*head.kind {
            "PolicyModule" => shared::map(&head.metadata.name, &config),
            _ if subject.len() > snapshot::LISTED => {
                let most = snapshot::LISTED >> 10;
                let message = format!(
                    "a Route has at most {most} KiB, certificates and all: else others do not see its host"
                );
                Err(invalid(message))
            }
            _ => route(&parse_subject(subject)?, &config),
        }
    }

    fn report(
        subject: &str,
        config: Config,
        outcome: Option<Outcome>,
        realized: Vec<Realized>,
    ) -> Option<SubjectReport> {
        let head: Head<'_> = parse_subject(subject).ok()?;
        if *head.kind == *"PolicyModule" {
            return None;
        }
        report::report(&parse_subject(subject).ok()?, &config, outcome.as_ref(), &realized)
    }
}

fn route(route: &Route<'_>, config: &Config) -> Result<Vec<Desired>, Outcome> {
    let front = config.front()?;
    config.check_provider(&snapshot::cloud_facts())?;
    if passthrough::is_wanted(route) {
        return passthrough::map(route, config, &front);
    }
    let place = Match::of(&route.spec)?;
    let tls = certificates(route, &front)?;
    let on_http = insecure(route.spec.tls.as_ref())?;
    let narrower = settle(route, &place, config)?;

    let mut pool = Pool::new(front.load_balancer.clone(), "HTTP", "ROUND_ROBIN");
    pool.members = members(route, config)?;
    pool.monitor = config.monitor.as_ref().map(|monitor| monitor.of_pool(tls.pool_tls.is_some()));
    pool.tls = tls.pool_tls;
    let mut list = vec![pool.named(POOL)];
    list.extend(tls.entries);
    let precedence = place.precedence(Age::of(&route.metadata));
    let policy = |listening: &Listening, action, rules| {
        let mut policy = L7Policy::new(listening.reference.clone(), &precedence, action);
        policy.rules = rules;
        policy
    };
    let serve = |listening: &Listening| {
        policy(listening, L7Action::Pool(local(POOL)), place.rules(listening.usual_port))
    };
    match on_http {
        OnHttp::Served => list.push(serve(http(&front)?).named(ON_HTTP)),
        OnHttp::Redirected => {
            let (http, https) = (http(&front)?, front.https.as_ref());
            let suffix = https.map_or("", |https| https.port_suffix.as_str());
            let rules = redirect_rules(place.rules(http.usual_port), &narrower)?;
            list.push(policy(http, redirect(&place, suffix)?, rules).named(ON_HTTP));
        }
        OnHttp::Nothing => {}
    }
    if let Some(https) = front.https.as_ref().filter(|_| route.spec.tls.is_some()) {
        list.push(serve(https).named(ON_HTTPS));
    }
    Ok(list)
}

fn http(front: &Front) -> Result<&Listening, Outcome> {
    let message = "there is no HTTP listener: whoever runs the cluster sets `existingLoadBalancer.http` in the \
                   module's config";
    front.http.as_ref().or_invalid(message, "spec.tls")
}

/// 302, as OpenShift's router: browsers keep a 301, and would go on with HTTPS after the Route says otherwise.
fn redirect(place: &Match, port_suffix: &str) -> Result<L7Action, Outcome> {
    let host = place.one_host().or_invalid(
        "a redirect needs the name of its host, which a wildcard does not have: use None or Allow",
        "spec.tls.insecureEdgeTerminationPolicy",
    )?;
    Ok(L7Action::RedirectPrefix(Redirect::new(&format!("https://{host}{port_suffix}")).code(302_u16)))
}

/// Load balancers redirect before they choose a pool, whatever the order of policies: what a more specific Route serves on HTTP is
/// left out by name.
fn redirect_rules(mut rules: Vec<L7Rule>, narrower: &[Match]) -> Result<Vec<L7Rule>, Outcome> {
    for rule in narrower.iter().filter_map(Match::path_rule).map(L7Rule::invert) {
        if !rules.contains(&rule) {
            rules.push(rule);
        }
    }
    if rules.len() > RULES {
        let message = format!(
            "too many Routes below this path are served on HTTP ({}): Octavia takes {RULES} rules of a redirect",
            narrower.len()
        );
        return Err(invalid_field(message, "spec.tls.insecureEdgeTerminationPolicy"));
    }
    Ok(rules)
}
