//! The members of pools: a Service's endpoints.

use std::collections::BTreeMap;
use std::net::IpAddr;

use isthmus_sdk::objects::{EndpointConditions, EndpointSlice, Service, ServicePort};
use isthmus_sdk::prelude::*;

use crate::annotations::Wishes;
use crate::config::Config;
use crate::family::Family;
use crate::mapping::{endpoint_slice_kind, namespace_kind};

const NETWORK: &str = "isthmus.dev/network";
const SUBNETS: &str = "isthmus.dev/subnets";
const MAKE_SUBNETS: &str = "isthmus.dev/make-subnets";
/// What of a Namespace says where its Pods are.
pub(crate) const NAMESPACE_FIELDS: [&str; 3] = [
    "metadata.annotations[\"isthmus.dev/network\"]",
    "metadata.annotations[\"isthmus.dev/subnets\"]",
    "metadata.annotations[\"isthmus.dev/make-subnets\"]",
];

/// How an endpoint may be used; the better is the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Use {
    /// Only if there is no other: it ends, and still answers.
    Fallback,
    Always,
}

/// The endpoints of a Service, by name and protocol of the port, then by place.
#[derive(Debug, Default)]
pub(crate) struct Endpoints(BTreeMap<(String, String), BTreeMap<(IpAddr, u16), Use>>);

impl Endpoints {
    /// Of all slices of the Service, whoever wrote them: so Services without a selector have endpoints too.
    pub(crate) fn of(service: &Service<'_>) -> Result<Self, Outcome> {
        let metadata = &service.metadata;
        let selector = format!("kubernetes.io/service-name={}", &*metadata.name);
        let mut all = Self::default();
        for text in snapshot::list(&endpoint_slice_kind(), metadata.namespace.as_deref(), &selector) {
            all.add(&parse_subject(&text)?, service.spec.publish_not_ready_addresses);
        }
        Ok(all)
    }

    fn add(&mut self, slice: &EndpointSlice<'_>, all_ready: bool) {
        // Of several addresses of an endpoint the first counts, as for kube-proxy. What does not parse is a name (FQDN).
        let usable = slice.endpoints.iter().filter_map(|endpoint| {
            let address: IpAddr = endpoint.addresses.first()?.parse().ok()?;
            Some((address, if all_ready { Use::Always } else { usable(&endpoint.conditions)? }))
        });
        let usable: Vec<(IpAddr, Use)> = usable.collect();
        for port in &slice.ports {
            let Some(number) = port.port.filter(|number| *number != 0) else { continue };
            let name = port.name.as_deref().unwrap_or_default().to_owned();
            let key = (name, port.protocol.as_deref().unwrap_or("TCP").to_owned());
            let places = self.0.entry(key).or_default();
            for (address, how) in &usable {
                // An endpoint is in two slices for a moment, as one moves.
                let known = places.entry((*address, number)).or_insert(*how);
                *known = (*known).max(*how);
            }
        }
    }

    /// The places of a port's endpoints of a family, in order: those that are ready, or where there is none, those that end and
    /// still serve. A slice has the numbers that a named target port stands for, so they may differ between endpoints.
    pub(crate) fn places(&self, port: &ServicePort<'_>, family: Family) -> Vec<(IpAddr, u16)> {
        let key = (port.name.to_string(), port.protocol().to_owned());
        let of_family = || {
            let places = self.0.get(&key).into_iter().flatten();
            places.filter(|((address, _), _)| Family::of(*address) == family)
        };
        let best = of_family().map(|(_, how)| *how).max();
        of_family().filter(|(_, how)| Some(**how) == best).map(|(place, _)| *place).collect()
    }
}

/// `None`: not at all.
fn usable(conditions: &EndpointConditions) -> Option<Use> {
    let ready = conditions.ready.unwrap_or(true);
    let serving = conditions.serving.unwrap_or(ready);
    match (ready, serving && conditions.terminating.unwrap_or_default()) {
        (true, _) => Some(Use::Always),
        (false, true) => Some(Use::Fallback),
        (false, false) => None,
    }
}

/// Where members are reached.
pub(crate) struct Reach<'a> {
    config: &'a Config,
    /// With its family, where that is known: members of the other one are not there.
    wished: Option<(&'a str, Option<Family>)>,
    others: Others,
}

/// Members that no subnet of the config holds.
enum Others {
    /// On the VIP's subnet.
    Vip,
    /// On a subnet that is there.
    Existing(String),
    /// On those of the namespace of this name.
    OfNamespace(String),
}

impl<'a> Reach<'a> {
    pub(crate) fn of(
        service: &Service<'_>,
        wishes: &Wishes<'a>,
        config: &'a Config,
    ) -> Result<Self, Outcome> {
        let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
        let wished = wishes.member_subnet.map(|subnet| (subnet, config.family_of(subnet)));
        let of_all = matches!(wished, Some((_, None)));
        let others = match config.members.of_namespace(namespace) && !of_all {
            true => of_namespace(namespace)?,
            false => Others::Vip,
        };
        Ok(Self { config, wished, others })
    }

    /// A member at this place.
    pub(crate) fn member(&self, (address, port): (IpAddr, u16)) -> Member {
        let mut member = Member::new(address.to_string().as_str(), port);
        member.subnet = self.subnet(address);
        member
    }

    fn subnet(&self, address: IpAddr) -> Option<Reference> {
        let known = self.config.members.subnets.iter().find(|subnet| subnet.cidr.holds(address));
        let fits = |family: Option<Family>| family.is_none_or(|family| family == Family::of(address));
        let wished = self.wished.filter(|(_, family)| fits(*family)).map(|(subnet, _)| subnet);
        match (wished, known, &self.others) {
            (Some(wished), ..) => Some(existing(wished)),
            (None, Some(known), _) => Some(existing(&known.subnet)),
            (None, None, Others::Vip) => None,
            (None, None, Others::Existing(subnet)) => Some(existing(subnet)),
            (None, None, Others::OfNamespace(namespace)) => {
                let (kind, name) = (namespace_kind(), namespace.clone());
                let subnet = format!("subnet-{}", Family::of(address).name());
                Some(mapped(ObjectKey { kind, namespace: None, name }, &subnet))
            }
        }
    }
}

/// The subnets that `namespace-network` makes, or the one that the namespace names. Of several that it names, it is not known
/// which one an address is in: the config's `members.subnets` has to say.
fn of_namespace(name: &str) -> Result<Others, Outcome> {
    let object = snapshot::get(namespace_kind(), None, name);
    let object = object.or_waiting("the Service's namespace is not known yet")?;
    let namespace: Namespace<'_> = parse_subject(&object)?;
    let text = |name: &str| namespace.metadata.annotations.get(name).map(|text| text.trim());
    let subnets = text(SUBNETS).unwrap_or_default().split(',').map(str::trim).filter(|name| !name.is_empty());
    let subnets: Vec<&str> = subnets.collect();
    let made = text(MAKE_SUBNETS) == Some("true");
    Ok(match (text(NETWORK).unwrap_or_default(), subnets.as_slice()) {
        (_, [one]) => Others::Existing((*one).into()),
        ("", []) => Others::OfNamespace(name.into()),
        (_, []) if made => Others::OfNamespace(name.into()),
        _ => Others::Vip,
    })
}
