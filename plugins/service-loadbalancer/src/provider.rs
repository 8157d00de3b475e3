//! What the load-balancer provider can do. Octavia has no call that says so: protocols and algorithms are from the host's table,
//! the rest from the one here.

use isthmus_sdk::objects::{Service, ServicePort};
use isthmus_sdk::prelude::*;
use isthmus_sdk::snapshot::{Cloud, Provider};

use crate::annotations::{
    FLAVOR, FORWARDED, METHOD, PORT, PROVIDER, PROXY, SOURCE_RANGES, SUBNET, Wishes, ZONE,
};
use crate::config::Config;
use crate::family::Family;
use crate::fronts::Place;
use crate::ranges::Allowed;

/// The provider of ovn-octavia-provider: it forwards packets, and nothing else.
const OVN: &str = "ovn";

/// The provider that a Service's load balancers are of.
#[derive(Debug)]
pub(crate) struct Chosen {
    /// As it is asked for. None: the cloud's default.
    pub(crate) name: Option<String>,
    /// What is known of it. None: nothing, so that nothing is refused.
    known: Option<Provider>,
    pub(crate) flavor: Option<String>,
    pub(crate) zone: Option<String>,
    /// As it is asked for. None: one that the provider has.
    algorithm: Option<String>,
}

/// The provider of this name, or the only one that there is.
fn known<'a>(name: Option<&str>, providers: &'a [Provider]) -> Option<&'a Provider> {
    match (name, providers) {
        (Some(name), all) => all.iter().find(|provider| provider.name == name),
        (None, [only]) => Some(only),
        (None, _) => None,
    }
}

impl Chosen {
    /// By the Service's annotation, the config, or as the only one that there is.
    pub(crate) fn of(wishes: &Wishes<'_>, config: &Config, cloud: &Cloud) -> Result<Self, Outcome> {
        let providers = &cloud.load_balancer_providers;
        let name = wishes.provider.or(config.provider.as_deref());
        let known = known(name, providers);
        if let Some(name) = name.filter(|_| known.is_none() && !providers.is_empty()) {
            let all: Vec<&str> = providers.iter().map(|provider| provider.name.as_str()).collect();
            let message =
                format!("the cloud has no load-balancer provider {name}; it has {}", all.join(", "));
            return Err(invalid_field(message, &wishes.field(PROVIDER, "provider")));
        }
        // The config's are for the config's provider.
        let same = wishes.provider.is_none() || wishes.provider == config.provider.as_deref();
        let default = |of_config: &Option<String>| of_config.clone().filter(|_| same);
        Ok(Self {
            name: name.map(Into::into),
            known: known.cloned(),
            flavor: wishes.flavor.map(Into::into).or_else(|| default(&config.flavor)),
            zone: wishes.zone.map(Into::into).or_else(|| default(&config.availability_zone)),
            algorithm: wishes.algorithm.clone().or_else(|| default(&config.algorithm)),
        })
    }

    /// That of load balancers which are not the Service's own.
    pub(crate) fn shared(name: Option<&str>, wishes: &Wishes<'_>, config: &Config, cloud: &Cloud) -> Self {
        let of_config = config.algorithm.clone().filter(|_| name == config.provider.as_deref());
        Self {
            name: name.map(Into::into),
            known: known(name, &cloud.load_balancer_providers).cloned(),
            flavor: None,
            zone: None,
            algorithm: wishes.algorithm.clone().or(of_config),
        }
    }

    pub(crate) fn is_ovn(&self) -> bool {
        let known = self.known.as_ref().map(|provider| provider.name.as_str());
        known.or(self.name.as_deref()) == Some(OVN)
    }

    /// Where the VIP is with this provider. That of OVN makes the VIP's port itself, whatever port it is given: it fails at a second
    /// port with the same address, so it is told the subnet.
    pub(crate) fn place(&self, place: Place, family: Family, wishes: &Wishes<'_>) -> Result<Place, Outcome> {
        match place {
            Place::Port { network, subnet, address } if self.is_ovn() => {
                let message = "provider ovn makes the VIP's port itself and has to be told its subnet (isthmus.dev/lb-subnet, \
                               or subnets of the module's config)";
                // The config's subnets are of the config's network.
                let field = match wishes.network == Some(&*network) {
                    true => wishes.annotation(SUBNET),
                    false => wishes.field(SUBNET, &format!("subnets.ip{}", family.name())),
                };
                let subnet = subnet.or_invalid(message, &field)?;
                Ok(Place::Subnet { subnet, address })
            }
            Place::Existing(_) if self.is_ovn() => {
                let message =
                    "provider ovn makes the VIP's port itself: name a subnet and loadBalancerIP instead";
                Err(invalid_field(message, &wishes.annotation(PORT)))
            }
            place => Ok(place),
        }
    }

    /// The algorithm of pools.
    pub(crate) fn algorithm(&self, wishes: &Wishes<'_>) -> Result<String, Outcome> {
        let able = self.known.as_ref().map(|provider| provider.algorithms.as_slice()).unwrap_or_default();
        match &self.algorithm {
            Some(wanted) if able.is_empty() || able.contains(wanted) => Ok(wanted.clone()),
            Some(wanted) => {
                let message =
                    format!("{} has no algorithm {wanted}; it has {}", self.told(), able.join(", "));
                Err(invalid_field(message, &wishes.field(METHOD, "algorithm")))
            }
            None if self.is_ovn() => Ok("SOURCE_IP_PORT".into()),
            None => {
                let usual = able.is_empty() || able.iter().any(|name| name == "ROUND_ROBIN");
                let first = able.first().filter(|_| !usual);
                Ok(first.cloned().unwrap_or_else(|| "ROUND_ROBIN".into()))
            }
        }
    }

    /// Refuses what would be tried for ever.
    pub(crate) fn check(&self, service: &Service<'_>, wishes: &Wishes<'_>) -> Result<(), Outcome> {
        for (at, port) in service.spec.ports.iter().enumerate() {
            self.check_port(port, &format!("spec.ports[{at}]"))?;
        }
        if !self.is_ovn() {
            return Ok(());
        }
        let own = "members see the clients' own addresses without it";
        let field = |names, config| wishes.field(names, config);
        let refused = [
            (wishes.proxy.is_some(), field(PROXY, ""), format!("no PROXY protocol: {own}")),
            (wishes.forwarded, field(FORWARDED, ""), format!("no HTTP: {own}")),
            (self.flavor.is_some(), field(FLAVOR, "flavor"), "no flavors".into()),
            (self.zone.is_some(), field(ZONE, "availabilityZone"), "no availability zones".into()),
        ];
        match refused.into_iter().find(|(wished, ..)| *wished) {
            Some((_, field, why)) => Err(invalid_field(format!("provider ovn has {why}"), &field)),
            None => Ok(()),
        }
    }

    /// Refuses source ranges where there is nobody to hold clients to them.
    pub(crate) fn check_allowed(
        &self,
        service: &Service<'_>,
        wishes: &Wishes<'_>,
        allowed: &Allowed,
    ) -> Result<(), Outcome> {
        if !(self.is_ovn() && matches!(allowed, Allowed::Only(_))) {
            return Ok(());
        }
        let message = "provider ovn can't tell clients by their addresses (allowed_cidrs): leave this out and let a \
                       NetworkPolicy with ipBlock on the Service's Pods say who may come, which see the clients' own \
                       addresses; or use another provider (isthmus.dev/lb-provider)";
        match service.spec.load_balancer_source_ranges.is_empty() {
            true => Err(invalid_field(message, &wishes.field(SOURCE_RANGES, ""))),
            false => Err(invalid_field(message, "spec.loadBalancerSourceRanges")),
        }
    }

    fn check_port(&self, port: &ServicePort<'_>, field: &str) -> Result<(), Outcome> {
        let protocol = port.protocol();
        if port.port == 0 {
            return Err(invalid_field("a port is 1 to 65535", &format!("{field}.port")));
        }
        if !["TCP", "UDP", "SCTP"].contains(&protocol) {
            let message = format!("{protocol:?} is no protocol of a Service: TCP, UDP or SCTP");
            return Err(invalid_field(message, &format!("{field}.protocol")));
        }
        let able = self.known.as_ref().map(|provider| provider.protocols.as_slice()).unwrap_or_default();
        if able.is_empty() || able.iter().any(|name| name == protocol) {
            return Ok(());
        }
        let message =
            format!("{} has no listeners for {protocol}; it has them for {}", self.told(), able.join(", "));
        Err(invalid_field(message, &format!("{field}.protocol")))
    }

    fn told(&self) -> String {
        match (&self.known, &self.name) {
            (Some(Provider { name, .. }), _) | (None, Some(name)) => format!("provider {name}"),
            (None, None) => "the cloud's default provider".into(),
        }
    }

    /// Whether a pool of this protocol can be watched.
    pub(crate) fn watches(&self, protocol: &str) -> bool {
        !(self.is_ovn() && protocol == "SCTP")
    }
}
