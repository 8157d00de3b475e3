//! What of a Service is not as it says, though it is served.

use isthmus_sdk::objects::Service;

use crate::annotations::{BALANCER, BALANCER_OF_PROVIDER, SHARE_WITH};
use crate::config::Config;
use crate::fronts::{PUBLIC, Place, families};
use crate::mapping::{Plan, Role};

/// For people, one sentence each.
pub(crate) fn unhonoured(service: &Service<'_>, plan: &Plan<'_>, config: &Config) -> Vec<String> {
    let table = of_spec(service, plan).into_iter().chain(of_addresses(service, plan, config));
    let partly = table.filter(|(applies, _)| *applies).map(|(_, text)| text.to_owned());
    let without = plan.wishes.without_effect.iter();
    let without = without.map(|name| format!("annotation {name} has no effect here"));
    partly.chain(without).chain(of_sharing(plan, config)).collect()
}

/// What comes of a load balancer that is not the Service's own.
fn of_sharing(plan: &Plan<'_>, config: &Config) -> Vec<String> {
    let (wishes, exposed) = (&plan.wishes.sharing, plan.role == Role::Exposed);
    let mut told: Vec<String> = plan.sharing.iter().flat_map(|sharing| sharing.told.clone()).collect();
    for (name, wished) in [(SHARE_WITH, wishes.with), (BALANCER, wishes.balancer)] {
        if wished.is_some() && !exposed {
            told.push(format!("annotation {name} is for Services of type LoadBalancer"));
        }
    }
    let counts = wishes.existing().is_some_and(|(field, _)| field == BALANCER_OF_PROVIDER);
    let counts = counts && exposed && !config.sharing.load_balancers.is_empty();
    if wishes.balancer_of_provider.is_some() && !counts {
        told.push(format!("annotation {BALANCER_OF_PROVIDER} has no effect here"));
    }
    told
}

/// What a balancer, or its provider, does not do.
fn of_spec(service: &Service<'_>, plan: &Plan<'_>) -> [(bool, &'static str); 7] {
    let (spec, wishes, ovn) = (&service.spec, &plan.wishes, plan.provider.is_ovn());
    let is = |field: &Option<isthmus_sdk::prelude::Text<'_>>, value| field.as_deref() == Some(value);
    let has = |protocol: &str| spec.ports.iter().any(|port| port.protocol() == protocol);
    let affinity = is(&spec.session_affinity, "ClientIP") && has("TCP");
    let local = plan.role == Role::Exposed && is(&spec.external_traffic_policy, "Local");
    let watched = wishes.monitor.enabled == Some(true);
    [
        (
            is(&spec.internal_traffic_policy, "Local"),
            "internalTrafficPolicy Local: a load balancer does not know on which node a client is, so clients reach all \
             endpoints",
        ),
        (
            local && !ovn && wishes.proxy.is_none() && !wishes.forwarded,
            "externalTrafficPolicy Local: there is no second hop, but endpoints see the load balancer's address and not \
             the client's; with isthmus.dev/lb-proxy-protocol they are told it, with provider ovn they see it",
        ),
        (
            affinity,
            "sessionAffinityConfig: Octavia takes the time of an affinity only for UDP and SCTP; that of TCP is the \
             provider's own",
        ),
        (is(&spec.kind, "NodePort"), "type NodePort: the cluster IP is served, and no port of a node"),
        (!spec.external_ips.is_empty(), "externalIPs are not served"),
        (
            ovn && wishes.tunes_listeners(),
            "provider ovn has no timeouts and no limit of connections: the annotations have no effect",
        ),
        (
            ovn && watched && has("SCTP"),
            "provider ovn can't watch members of SCTP ports: they have no monitor",
        ),
    ]
}

/// Where clients reach the Service, and its members are reached.
fn of_addresses(service: &Service<'_>, plan: &Plan<'_>, config: &Config) -> [(bool, &'static str); 6] {
    let (wishes, ovn) = (&plan.wishes, plan.provider.is_ovn());
    let floating = plan.list.iter().any(|entry| entry.name.starts_with("floating-ip"));
    let closed = plan.fronts.iter().any(|front| !plan.is_open(front));
    let moves = plan.fronts.iter().any(|front| matches!(front.place, Place::Subnet { address: None, .. }));
    let two = families(service).len() > 1;
    let public = plan.fronts.iter().any(|front| front.name == PUBLIC);
    let of_any = wishes.member_subnet.is_some_and(|subnet| config.family_of(subnet).is_none());
    [
        (
            plan.role == Role::Exposed && !wishes.internal && !floating && plan.sharing.is_none(),
            "no floating IP: there is no external network for it (floatingNetwork of the module's config), or no IPv4 VIP; \
             the Service is reached at its VIP",
        ),
        (
            closed,
            "loadBalancerSourceRanges: they name addresses of one IP family only, so nobody may come by the other one",
        ),
        (
            moves && ovn,
            "provider ovn makes the VIP's port itself: a load balancer that is built anew has another address, unless \
             loadBalancerIP (with isthmus.dev/lb-internal) or the cluster IP says which",
        ),
        (
            moves && !ovn,
            "isthmus.dev/lb-subnet without lb-network: the VIP is on a port of Octavia's, so that a load balancer that is \
             built anew has another address",
        ),
        (
            two && public,
            "a VIP of its own for who comes from outside (isthmus.dev/lb-network, lb-subnet, lb-port, or an internal \
             loadBalancerIP) is of one IP family: there is none of the other one",
        ),
        (
            two && of_any,
            "isthmus.dev/lb-member-subnet is of one IP family, and members of both are said to be there: members.subnets of the \
             module's config tells which it is",
        ),
    ]
}
