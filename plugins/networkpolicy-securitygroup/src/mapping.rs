//! The module: what it maps, refines and reads.

use isthmus_sdk::objects::Head;
use isthmus_sdk::prelude::*;

use crate::config::Config;
use crate::objects::NetworkPolicy;
use crate::policy::{Pods, Policy, selected};
use crate::services::{SERVICE_FIELDS, service_kind};
use crate::{groups, refining, shared};

/// NetworkPolicy to groups; PolicyModule to the groups that are shared; the ports of Pods to who carries them.
pub struct NetworkPolicySecurityGroup;

pub(crate) fn network_policy_kind() -> Kind {
    Kind::new("networking.k8s.io", "v1", "NetworkPolicy")
}

const POLICY_FIELDS: [&str; 4] = ["spec.podSelector", "spec.policyTypes", "spec.ingress", "spec.egress"];

/// Whom policies select, and what its port names stand for.
const POD_FIELDS: [&str; 9] = [
    "metadata.labels",
    "spec.hostNetwork",
    "spec.containers[*].ports[*].name",
    "spec.containers[*].ports[*].protocol",
    "spec.containers[*].ports[*].containerPort",
    "spec.initContainers[*].restartPolicy",
    "spec.initContainers[*].ports[*].name",
    "spec.initContainers[*].ports[*].protocol",
    "spec.initContainers[*].ports[*].containerPort",
];

impl Module for NetworkPolicySecurityGroup {
    type Config = Config;

    fn manifest() -> Manifest {
        let description = "NetworkPolicies as security groups, which the ports of Pods carry";
        Manifest::new("networkpolicy-securitygroup", env!("CARGO_PKG_VERSION"), description)
            .maps(network_policy_kind(), POLICY_FIELDS)
            .maps(Kind::new("isthmus.dev", "v1alpha1", "PolicyModule"), [])
            .refines(Kind::core("Pod"), POD_FIELDS)
            .reads(network_policy_kind(), POLICY_FIELDS)
            .reads(Kind::core("Pod"), POD_FIELDS)
            .reads(Kind::core("Namespace"), [])
            .reads(service_kind(), SERVICE_FIELDS)
            .config_schema(include_str!("../config.schema.json"))
    }
}

impl Mapper for NetworkPolicySecurityGroup {
    fn map(subject: &str, config: Config) -> Result<Vec<Desired>, Outcome> {
        config.check()?;
        let head: Head<'_> = parse_subject(subject)?;
        match &*head.kind {
            "PolicyModule" => shared::map(&head.metadata.name, &config),
            _ => policy(&parse_subject(subject)?),
        }
    }
}

impl Refiner for NetworkPolicySecurityGroup {
    fn refine(subject: &str, config: Config, desired: Vec<Desired>) -> Result<Vec<Desired>, Outcome> {
        config.check()?;
        refining::refine(subject, &config, desired)
    }
}

fn policy(found: &NetworkPolicy<'_>) -> Result<Vec<Desired>, Outcome> {
    let namespace = found.metadata.namespace.as_deref();
    let namespace = namespace.or_invalid("a NetworkPolicy has a namespace", "metadata.namespace")?;
    let selected = Pods { namespaces: None, selector: selected(&found.spec)? };
    let policy = Policy::new(&found.spec)?;
    groups::entries(&policy, selected, namespace, &snapshot::cloud_facts().network_extensions)
}
