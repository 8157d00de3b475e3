//! Fronts of a Service: each is a VIP with a load balancer behind it.
//!
//! Two families are two load balancers. One with an additional VIP would do with some providers, but that second address can't be on
//! a port of our own, so it would be lost with its load balancer; and a pool would mix the endpoints of both families, which
//! neither Kubernetes means nor a UDP pool of Octavia's takes.

use std::net::IpAddr;

use isthmus_sdk::objects::Service;
use isthmus_sdk::prelude::*;
use isthmus_sdk::records::load_balancing::Vip;
use isthmus_sdk::records::networking::FloatingTarget;

use crate::annotations::Wishes;
use crate::config::Config;
use crate::family::Family;
use crate::mapping::Role;

/// The front for who comes from outside, where it is not that of the cluster IP.
pub(crate) const PUBLIC: &str = "public";

/// A VIP with a load balancer behind it.
#[derive(Clone, Debug)]
pub(crate) struct Front {
    /// Part of the names of its entries.
    pub(crate) name: &'static str,
    pub(crate) family: Family,
    pub(crate) place: Place,
    /// Whether the VIP is the cluster IP.
    pub(crate) cluster: bool,
    /// Whether who comes from outside comes here.
    pub(crate) exposed: bool,
}

/// Where a VIP is.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// On a port of our own.
    Port { network: String, subnet: Option<String>, address: Option<IpAddr> },
    /// On a port of somebody else's.
    Existing(String),
    /// On a port of Octavia's: of this subnet the network is not known, which a port of our own would need, or the provider
    /// takes none.
    Subnet { subnet: String, address: Option<IpAddr> },
    /// At a load balancer of somebody else's.
    Shared(Box<Shared>),
}

/// A load balancer that is not the Service's own.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) balancer: Reference,
    /// The floating IP that leads there, which is kept while the Service is on it.
    pub(crate) floating_ip: Option<Reference>,
    pub(crate) address: Address,
}

/// Where clients reach a load balancer that is not the Service's own.
#[derive(Clone, Debug)]
pub(crate) enum Address {
    /// The host tells it.
    OfCloud,
    /// This one; none: not yet.
    Known(Option<String>),
}

impl Front {
    pub(crate) fn vip_entry(&self) -> String {
        format!("vip-{}", self.name)
    }

    pub(crate) fn balancer_entry(&self) -> String {
        format!("lb-{}", self.name)
    }

    /// What its listeners and pools are on.
    pub(crate) fn balancer(&self) -> Reference {
        match &self.place {
            Place::Shared(shared) => shared.balancer.clone(),
            _ => local(&self.balancer_entry()),
        }
    }

    /// The VIP's port, if it is ours.
    pub(crate) fn port(&self) -> Option<Desired> {
        let Place::Port { network, subnet, address } = &self.place else { return None };
        let port = Port::new(existing(network));
        let port = match fixed_ip(subnet.as_deref(), *address) {
            Some(fixed_ip) => port.fixed_ip(fixed_ip),
            None => port,
        };
        Some(port.named(&self.vip_entry()))
    }

    /// The VIP of its load balancer, if that is ours.
    pub(crate) fn vip(&self) -> Option<Vip> {
        Some(match &self.place {
            Place::Port { .. } => Vip::Port(local(&self.vip_entry())),
            Place::Existing(port) => Vip::Port(existing(port)),
            Place::Subnet { subnet, address } => Vip::FixedIp(FixedIp {
                subnet: Some(existing(subnet)),
                address: address.map(|address| address.to_string()),
            }),
            Place::Shared(_) => return None,
        })
    }

    /// What a floating IP points to. A port that is not ours is one only once a load balancer has it as its VIP: an annotation may
    /// name any port of the project, a Pod's too, and Octavia refuses one that is in use.
    pub(crate) fn target(&self) -> FloatingTarget {
        match &self.place {
            Place::Port { .. } => FloatingTarget::Port(local(&self.vip_entry())),
            Place::Existing(_) | Place::Subnet { .. } | Place::Shared(_) => {
                FloatingTarget::Vip(self.balancer())
            }
        }
    }
}

fn fixed_ip(subnet: Option<&str>, address: Option<IpAddr>) -> Option<FixedIp> {
    let set = subnet.is_some() || address.is_some();
    set.then(|| FixedIp { subnet: subnet.map(existing), address: address.map(|address| address.to_string()) })
}

/// The fronts of a Service, those of cluster IPs first.
pub(crate) fn fronts(
    service: &Service<'_>,
    role: Role,
    wishes: &Wishes<'_>,
    config: &Config,
) -> Result<Vec<Front>, Outcome> {
    let wanted = if role == Role::Exposed { wanted(service, wishes)? } else { None };
    let own_place = wishes.network.or(wishes.subnet).or(wishes.port).is_some();
    let public = role == Role::Exposed && config.cluster_ips && (own_place || wanted.is_some());
    let mut fronts = match config.cluster_ips {
        true => cluster(service, role == Role::Exposed && !public, config)?,
        false if own_place => Vec::new(),
        false => outside(service, wanted, config)?,
    };
    if public || (!config.cluster_ips && own_place) {
        fronts.push(placed(service, wanted, wishes, config)?);
    }
    Ok(fronts)
}

/// The address that an internal load balancer is asked to have. (Of one that is not, it is the floating IP's.)
fn wanted(service: &Service<'_>, wishes: &Wishes<'_>) -> Result<Option<IpAddr>, Outcome> {
    match service.spec.load_balancer_ip.as_deref().filter(|text| wishes.internal && !text.is_empty()) {
        None => Ok(None),
        Some(text) => text.parse().ok().or_invalid("it is no IP address", "spec.loadBalancerIP").map(Some),
    }
}

/// A front for each cluster IP.
fn cluster(service: &Service<'_>, exposed: bool, config: &Config) -> Result<Vec<Front>, Outcome> {
    let mut fronts: Vec<Front> = Vec::new();
    for (at, text) in service.spec.cluster_ips().enumerate() {
        let address: Option<IpAddr> = text.parse().ok();
        let field = format!("spec.clusterIPs[{at}]");
        let address = address.or_invalid(&format!("{text:?} is no IP address"), &field)?;
        let family = Family::of(address);
        if fronts.iter().any(|front| front.family == family) {
            return Err(invalid_field("a Service has one cluster IP of each family", &field));
        }
        let place = port(config, family, Some(address));
        fronts.push(Front { name: family.name(), family, place, cluster: true, exposed });
    }
    Ok(fronts)
}

/// A front of each family, where kube-proxy serves cluster IPs.
fn outside(service: &Service<'_>, wanted: Option<IpAddr>, config: &Config) -> Result<Vec<Front>, Outcome> {
    let families = families(service);
    if let Some(wanted) = wanted.filter(|address| !families.contains(&Family::of(*address))) {
        let message = format!("{wanted} is of a family that the Service does not have");
        return Err(invalid_field(message, "spec.loadBalancerIP"));
    }
    let front = |family: Family| {
        let address = wanted.filter(|address| Family::of(*address) == family);
        let place = port(config, family, address);
        Front { name: family.name(), family, place, cluster: false, exposed: true }
    };
    Ok(families.into_iter().map(front).collect())
}

fn port(config: &Config, family: Family, address: Option<IpAddr>) -> Place {
    let subnet = config.subnet(family).map(Into::into);
    Place::Port { network: config.network.clone(), subnet, address }
}

/// The front whose place the Service's annotations say, of the Service's first family.
fn placed(
    service: &Service<'_>,
    wanted: Option<IpAddr>,
    wishes: &Wishes<'_>,
    config: &Config,
) -> Result<Front, Outcome> {
    let first = families(service).first().copied().unwrap_or(Family::V4);
    let family = wanted.map_or(first, Family::of);
    let place = match (wishes.port, wishes.network, wishes.subnet) {
        (Some(port), ..) if wanted.is_none() => Place::Existing(port.into()),
        (Some(_), ..) => {
            let message = "the port that isthmus.dev/lb-port names has its address: leave this out";
            return Err(invalid_field(message, "spec.loadBalancerIP"));
        }
        (None, Some(network), subnet) => {
            Place::Port { network: network.into(), subnet: subnet.map(Into::into), address: wanted }
        }
        (None, None, Some(subnet)) => Place::Subnet { subnet: subnet.into(), address: wanted },
        (None, None, None) => {
            let subnet = config.subnet(family).map(Into::into);
            Place::Port { network: config.network.clone(), subnet, address: wanted }
        }
    };
    Ok(Front { name: PUBLIC, family, place, cluster: false, exposed: true })
}

/// The families of a Service, its first one first.
pub(crate) fn families(service: &Service<'_>) -> Vec<Family> {
    let family = |name: &str| if name == "IPv6" { Family::V6 } else { Family::V4 };
    let mut all: Vec<Family> = Vec::new();
    for family in service.spec.ip_families.iter().map(|name| family(name)) {
        if !all.contains(&family) {
            all.push(family);
        }
    }
    match all.is_empty() {
        true => vec![Family::V4],
        false => all,
    }
}
