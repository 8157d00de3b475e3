//! The mapping itself.

use std::collections::BTreeSet;

use isthmus_sdk::objects::Service;
use isthmus_sdk::prelude::*;

use crate::annotations::{LISTED_BY, Wishes, path, paths};
use crate::config::{Config, ForeignClass};
use crate::endpoints::{Endpoints, NAMESPACE_FIELDS, Reach};
use crate::exposure::floating;
use crate::fronts::{Front, fronts};
use crate::provider::Chosen;
use crate::ranges::{allowed, ranges};
use crate::report;
use crate::sharing::Sharing;
use crate::tree::Tree;

/// Service to load balancers.
pub struct ServiceLoadBalancer;

pub(crate) fn service_kind() -> Kind {
    Kind::core("Service")
}
pub(crate) fn endpoint_slice_kind() -> Kind {
    Kind::new("discovery.k8s.io", "v1", "EndpointSlice")
}
pub(crate) fn namespace_kind() -> Kind {
    Kind::core("Namespace")
}

/// What is read of a Service, beside annotations. Target ports are not: EndpointSlices have their numbers.
const SERVICE_FIELDS: [&str; 21] = [
    // Of those that share a load balancer the older comes first.
    "metadata.creationTimestamp",
    "spec.type",
    "spec.clusterIP",
    "spec.clusterIPs",
    "spec.ipFamilies",
    "spec.ports[*].name",
    "spec.ports[*].protocol",
    "spec.ports[*].port",
    "spec.publishNotReadyAddresses",
    "spec.sessionAffinity",
    "spec.sessionAffinityConfig",
    "spec.loadBalancerClass",
    "spec.loadBalancerIP",
    "spec.loadBalancerSourceRanges",
    "spec.internalTrafficPolicy",
    "spec.externalTrafficPolicy",
    "spec.externalIPs",
    // What was said stays said: see `report`.
    "status.loadBalancer.ingress",
    "status.conditions[*].type",
    "status.conditions[*].status",
    "status.conditions[*].message",
];

const SLICE_FIELDS: [&str; 7] = [
    "endpoints[*].addresses",
    "endpoints[*].conditions.ready",
    "endpoints[*].conditions.serving",
    "endpoints[*].conditions.terminating",
    "ports[*].name",
    "ports[*].port",
    "ports[*].protocol",
];

impl Module for ServiceLoadBalancer {
    type Config = Config;

    fn manifest() -> Manifest {
        let description = "Load balancers for Services, with floating IPs for those of type LoadBalancer";
        let annotations = paths();
        let fields = annotations.iter().map(String::as_str).chain(SERVICE_FIELDS);
        Manifest::new("service-loadbalancer", env!("CARGO_PKG_VERSION"), description)
            .maps(service_kind(), fields)
            .lists_by(service_kind(), LISTED_BY.map(path).each_ref().map(String::as_str))
            .reads(endpoint_slice_kind(), SLICE_FIELDS)
            .reads(namespace_kind(), NAMESPACE_FIELDS)
            .reporting()
            .config_schema(include_str!("../config.schema.json"))
    }
}

impl Mapper for ServiceLoadBalancer {
    fn map(subject: &str, config: Config) -> Result<Vec<Desired>, Outcome> {
        Plan::of(&parse_subject(subject)?, &config).map(|plan| plan.list)
    }

    fn report(
        subject: &str,
        config: Config,
        outcome: Option<Outcome>,
        realized: Vec<Realized>,
    ) -> Option<SubjectReport> {
        report::report(&parse_subject(subject).ok()?, &config, outcome.as_ref(), &realized)
    }
}

/// What a Service is to this module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Reached from inside.
    Cluster,
    /// Reached from outside too: of type LoadBalancer.
    Exposed,
}

impl Role {
    /// Or why the Service is nothing to it.
    pub(crate) fn of(service: &Service<'_>, config: &Config) -> Result<Self, Outcome> {
        let spec = &service.spec;
        let kind = spec.kind.as_deref().unwrap_or("ClusterIP");
        if kind == "ExternalName" {
            return Err(not_mapped("an ExternalName is a name in DNS, and nothing else"));
        }
        if spec.cluster_ip.as_deref() == Some("None") {
            return Err(not_mapped("the Service is headless: clients go to its endpoints themselves"));
        }
        let class = spec.load_balancer_class.as_deref().unwrap_or(&config.load_balancer_class);
        let ours = class == config.load_balancer_class;
        let role = match (kind, ours, config.foreign_class) {
            ("LoadBalancer", true, _) => Self::Exposed,
            ("LoadBalancer", false, ForeignClass::Ignore) => {
                return Err(not_mapped(format!("load balancers of class {class} are somebody else's")));
            }
            _ => Self::Cluster,
        };
        if role == Self::Cluster && !config.cluster_ips {
            return Err(not_mapped(
                "kube-proxy serves cluster IPs (clusterIps of the module's config is false)",
            ));
        }
        if config.cluster_ips && spec.cluster_ips().next().is_none() {
            return Err(waiting("the Service has no cluster IP yet"));
        }
        Ok(role)
    }
}

/// What a Service becomes.
pub(crate) struct Plan<'a> {
    pub(crate) role: Role,
    pub(crate) wishes: Wishes<'a>,
    /// Of the load balancers that who comes from outside comes to, where it does.
    pub(crate) provider: Chosen,
    pub(crate) fronts: Vec<Front>,
    pub(crate) sharing: Option<Sharing>,
    pub(crate) list: Vec<Desired>,
}

impl<'a> Plan<'a> {
    pub(crate) fn of(service: &'a Service<'a>, config: &'a Config) -> Result<Self, Outcome> {
        let role = Role::of(service, config)?;
        config.check()?;
        check_ports(service)?;
        let wishes = Wishes::of(&service.metadata.annotations)?;
        let cloud = snapshot::cloud_facts();
        let sharing =
            if role == Role::Exposed { Sharing::of(service, &wishes, config, &cloud)? } else { None };
        let ranges = if role == Role::Exposed { ranges(service, &wishes)? } else { Vec::new() };
        let on_own = if sharing.is_some() { Role::Cluster } else { role };
        let endpoints = Endpoints::of(service)?;
        let reach = Reach::of(service, &wishes, config)?;
        let (mut list, mut all) = (Vec::new(), Vec::new());
        let mut add = |fronts: Vec<Front>, provider: &Chosen| {
            let (wishes, endpoints, reach) = (&wishes, &endpoints, &reach);
            let tree = Tree { service, wishes, config, provider, endpoints, reach };
            for front in &fronts {
                let allowed = allowed(&ranges, front, config)?;
                provider.check_allowed(service, wishes, &allowed)?;
                list.extend(tree.of(front, &allowed)?);
            }
            all.extend(fronts);
            Ok(())
        };
        let own = || -> Result<(Chosen, Vec<Front>), Outcome> {
            let provider = Chosen::of(&wishes, config, &cloud)?;
            provider.check(service, &wishes)?;
            let placed = |front: Front| {
                Ok(Front { place: provider.place(front.place, front.family, &wishes)?, ..front })
            };
            let fronts = fronts(service, on_own, &wishes, config)?.into_iter().map(placed);
            let fronts = fronts.collect::<Result<_, Outcome>>()?;
            Ok((provider, fronts))
        };
        let mut provider = None;
        if sharing.is_none() || config.cluster_ips {
            let (own, fronts) = own()?;
            add(fronts, &own)?;
            provider = Some(own);
        }
        if let Some(sharing) = sharing.as_ref().filter(|sharing| !sharing.fronts.is_empty()) {
            let shared = Chosen::shared(sharing.provider.as_deref(), &wishes, config, &cloud);
            shared.check(service, &wishes)?;
            add(sharing.fronts.clone(), &shared)?;
            provider = Some(shared);
        }
        let provider = provider.or_waiting("there is no load balancer for it")?;
        if on_own == Role::Exposed {
            list.extend(floating(service, &wishes, config, &all)?);
        }
        Ok(Self { role, wishes, provider, fronts: all, sharing, list })
    }

    /// Whether anybody may come to this front.
    pub(crate) fn is_open(&self, front: &Front) -> bool {
        let is_of = |resource: &Resource| match resource {
            Resource::Listener(listener) => listener.load_balancer == front.balancer(),
            _ => false,
        };
        self.list.iter().any(|entry| is_of(&entry.resource))
    }

    /// The pool of this name.
    pub(crate) fn pool(&self, name: &str) -> Option<&Pool> {
        self.list.iter().find(|entry| entry.name == name).and_then(|entry| match &entry.resource {
            Resource::Pool(pool) => Some(pool),
            _ => None,
        })
    }
}

/// The API server lets no such Service in; where one is there all the same, it is told so and nothing is half made.
fn check_ports(service: &Service<'_>) -> Result<(), Outcome> {
    let mut known = BTreeSet::new();
    let mut twice = service.spec.ports.iter().map(|port| known.insert((port.protocol(), port.port)));
    match twice.position(|new| !new) {
        Some(at) => {
            let message = "the Service has another port of this number and protocol";
            Err(invalid_field(message, &format!("spec.ports[{at}].port")))
        }
        None => Ok(()),
    }
}
