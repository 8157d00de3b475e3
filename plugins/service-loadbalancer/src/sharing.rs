//! One load balancer for several Services: what a Service shares, if it may.
//!
//! It is another Service's, or one that is there. A Service that shares has listeners and pools on it and nothing else; what is of
//! the load balancer as a whole is not its to say. Where cluster IPs are served, its own one stays on a load balancer of its own.

use std::net::IpAddr;

use isthmus_sdk::objects::Service;
use isthmus_sdk::prelude::*;
use isthmus_sdk::snapshot::Cloud;

use crate::annotations::{
    BALANCER, BALANCER_OF_PROVIDER, FLAVOR, FLOATING_NETWORK, FLOATING_SUBNET, INTERNAL, KEEP, NETWORK,
    Names, PORT, PROVIDER, SHARE_WITH, SUBNET, SharingWishes, Wishes, ZONE, path,
};
use crate::config::{Config, ExistingBalancer};
use crate::family::Family;
use crate::fronts::{Address, Front, Place, Shared, families};
use crate::mapping::service_kind;
use crate::owner::{Owner, Remembered};
use crate::sharers::settle;

/// How the message begins where there is no room for a Service.
const NO_ROOM: &str = "no room on the shared load balancer";

fn no_room(why: &str) -> Outcome {
    not_mapped(format!("{NO_ROOM}: {why}"))
}

/// Whether it is for want of room that a Service is not mapped.
pub(crate) fn is_no_room(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::NotMapped(reason) if reason.starts_with(NO_ROOM))
}

/// Whose load balancer a Service is to be on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target<'a> {
    /// That of a Service.
    Service { namespace: &'a str, name: &'a str },
    /// One that is there.
    Existing(&'a ExistingBalancer),
}

impl<'a> Target<'a> {
    /// Or why it is none that the Services of this namespace may be on.
    pub(crate) fn of(
        wishes: &SharingWishes<'a>,
        namespace: &'a str,
        config: &'a Config,
    ) -> Result<Option<Self>, Outcome> {
        match (wishes.with, wishes.existing()) {
            (Some(_), Some((field, _))) => {
                let message = format!("a Service is on one load balancer: not with {SHARE_WITH}");
                Err(invalid_field(message, &path(field)))
            }
            (Some(with), None) => Self::service(with, namespace, config).map(Some),
            (None, Some((field, id))) => Self::existing(field, id, namespace, config),
            (None, None) => Ok(None),
        }
    }

    fn service(with: &'a str, namespace: &'a str, config: &Config) -> Result<Self, Outcome> {
        let (of, name) = with.split_once('/').unwrap_or((namespace, with));
        let is_none = |text: &str| text.is_empty() || text.contains(|c: char| c == '/' || c.is_whitespace());
        let message = match (is_none(of) || is_none(name), of == namespace) {
            (true, _) => "it has to be NAME, or NAMESPACE/NAME, of a Service".to_owned(),
            (false, false) if !config.sharing.lets(of, namespace) => format!(
                "Services of namespace {namespace} may not be on load balancers of namespace {of}: whoever runs the cluster \
                 says who may (sharing.across of the module's config)"
            ),
            _ => return Ok(Self::Service { namespace: of, name }),
        };
        Err(invalid_field(message, &path(SHARE_WITH)))
    }

    /// The cloud provider writes its annotation to every Service that it served: where no load balancers are named, that says nothing.
    fn existing(field: &str, id: &str, namespace: &str, config: &'a Config) -> Result<Option<Self>, Outcome> {
        let all = &config.sharing.load_balancers;
        if all.is_empty() && field != BALANCER {
            return Ok(None);
        }
        let found = all.iter().find(|balancer| balancer.id == id && balancer.is_for(namespace));
        let message = format!(
            "load balancer {id} is none that Services of namespace {namespace} may be on: whoever runs the cluster says which \
             are (sharing.loadBalancers of the module's config); without this annotation the Service has one of its own"
        );
        found.or_invalid(&message, &path(field)).map(|found| Some(Self::Existing(found)))
    }

    /// The Services that may wish for it: those that name it in one of the ways in which it can be named.
    pub(crate) fn candidates(&self, config: &Config) -> Vec<String> {
        let by = |scope: Option<&str>, annotation: &str, value: &str| {
            snapshot::list_by(&service_kind(), scope, &path(annotation), value)
        };
        match self {
            Self::Service { namespace, name } => {
                let own = Some(*namespace);
                let scope = if config.sharing.is_open(namespace) { None } else { own };
                let mut found = by(scope, SHARE_WITH, &self.key());
                found.extend(by(own, SHARE_WITH, name));
                found
            }
            Self::Existing(balancer) => {
                let mut found = by(None, BALANCER, &balancer.id);
                found.extend(by(None, BALANCER_OF_PROVIDER, &balancer.id));
                found
            }
        }
    }

    /// What tells it from others: `NAMESPACE/NAME`, or an id.
    pub(crate) fn key(&self) -> String {
        match self {
            Self::Service { namespace, name } => format!("{namespace}/{name}"),
            Self::Existing(balancer) => balancer.id.clone(),
        }
    }
}

/// What a Service shares.
#[derive(Debug)]
pub(crate) struct Sharing {
    /// At the load balancers that it is on; none: `refused` says why.
    pub(crate) fronts: Vec<Front>,
    /// Octavia's provider that these are of. None: the cloud's default.
    pub(crate) provider: Option<String>,
    /// Why the Service is on none now.
    pub(crate) refused: Option<Outcome>,
    /// For when the other Service is gone, or others come.
    pub(crate) remembered: Option<String>,
    /// For people, a sentence each.
    pub(crate) told: Vec<String>,
}

impl Sharing {
    /// None: the Service does not wish to share.
    pub(crate) fn of(
        service: &Service<'_>,
        wishes: &Wishes<'_>,
        config: &Config,
        cloud: &Cloud,
    ) -> Result<Option<Self>, Outcome> {
        let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
        let Some(target) = Target::of(&wishes.sharing, namespace, config)? else { return Ok(None) };
        check_whole(service, wishes)?;
        let sharing = match target {
            Target::Service { name, namespace: of } if name == &*service.metadata.name && of == namespace => {
                return Err(invalid_field("it is the Service itself", &path(SHARE_WITH)));
            }
            Target::Service { namespace, name } => {
                let now = Owner::of(namespace, name, config, cloud);
                Self::on_anothers(namespace, name, now, Remembered::by(service, &target))?
            }
            Target::Existing(found) => Self::on_existing(found, config),
        };
        if wishes.internal && !sharing.is_internal() {
            let message = "the load balancer that the Service shares may have a floating IP";
            return Err(invalid_field(message, &wishes.annotation(INTERNAL)));
        }
        let sharing = sharing.of_families(&families(service))?;
        match settle(service, &target, config)? {
            Ok(()) => Ok(Some(sharing)),
            // A cluster IP is served all the same; without one, there is nothing else to serve.
            Err(why) if config.cluster_ips => {
                Ok(Some(Self { refused: Some(no_room(&why)), ..Self::at(Vec::new(), None) }))
            }
            Err(why) => Err(no_room(&why)),
        }
    }

    fn at(fronts: Vec<Front>, provider: Option<String>) -> Self {
        Self { fronts, provider, refused: None, remembered: None, told: Vec::new() }
    }

    fn on_existing(found: &ExistingBalancer, config: &Config) -> Self {
        let at = |address: &IpAddr| {
            let address_said = Address::Known(Some(address.to_string()));
            let shared = Shared { balancer: existing(&found.id), floating_ip: None, address: address_said };
            front(Family::of(*address), shared)
        };
        let provider = found.provider.clone().or_else(|| config.provider.clone());
        let fronts = found.addresses.iter().map(at).collect();
        Self {
            remembered: Remembered::of(&Target::Existing(found), None).text(),
            ..Self::at(fronts, provider)
        }
    }

    /// On that of another Service: as it is now, or where that has none any more, as it was when this Service came to be on it. Then
    /// the host keeps it as long as somebody is there.
    fn on_anothers(
        namespace: &str,
        name: &str,
        now: Result<Owner, String>,
        before: Option<Remembered>,
    ) -> Result<Self, Outcome> {
        let (owner, told) = match now {
            Ok(owner) => (owner, None),
            Err(why) => {
                let stays = "its load balancer stays as long as Services are on it that share it; no other one comes to it";
                let told = format!("{why}: {stays}");
                (before.and_then(Remembered::owner).or_waiting(&why)?, Some(told))
            }
        };
        Ok(Self {
            remembered: Remembered::of(&Target::Service { namespace, name }, Some(&owner)).text(),
            told: told.into_iter().collect(),
            ..Self::at(owner.fronts(namespace, name), owner.provider.clone())
        })
    }

    /// At those of these families alone.
    fn of_families(mut self, own: &[Family]) -> Result<Self, Outcome> {
        let (fits, other): (Vec<Front>, Vec<Front>) =
            self.fronts.into_iter().partition(|front| own.contains(&front.family));
        if fits.is_empty() {
            let has: Vec<&str> = other.iter().map(|front| front.family.name()).collect();
            let message =
                format!("the load balancer that the Service shares is of IP{} alone", has.join(", IP"));
            return Err(invalid_field(message, "spec.ipFamilies"));
        }
        if fits.len() < own.len() {
            let other = "the load balancer that the Service shares is of one IP family: there is no address of the other one";
            self.told.push(other.into());
        }
        Ok(Self { fronts: fits, ..self })
    }

    /// Whether these are known to have no floating IP.
    fn is_internal(&self) -> bool {
        self.fronts.iter().all(|front| match &front.place {
            Place::Shared(shared) => {
                shared.floating_ip.is_none() && matches!(shared.address, Address::OfCloud)
            }
            _ => false,
        })
    }
}

/// The front of a family at a load balancer that is not the Service's own.
pub(crate) fn front(family: Family, shared: Shared) -> Front {
    let name = match family {
        Family::V4 => "shared-v4",
        Family::V6 => "shared-v6",
    };
    Front { name, family, place: Place::Shared(Box::new(shared)), cluster: false, exposed: true }
}

/// Refuses what is of a load balancer as a whole.
fn check_whole(service: &Service<'_>, wishes: &Wishes<'_>) -> Result<(), Outcome> {
    let message = "it is of a load balancer as a whole, and this Service shares one: leave it out, or say it where the load \
                   balancer is from";
    if service.spec.load_balancer_ip.as_deref().is_some_and(|text| !text.is_empty()) {
        return Err(invalid_field(message, "spec.loadBalancerIP"));
    }
    let whole: [(bool, Names); 9] = [
        (wishes.provider.is_some(), PROVIDER),
        (wishes.flavor.is_some(), FLAVOR),
        (wishes.zone.is_some(), ZONE),
        (wishes.floating_network.is_some(), FLOATING_NETWORK),
        (wishes.floating_subnet.is_some(), FLOATING_SUBNET),
        (wishes.keep_floating_ip, KEEP),
        (wishes.network.is_some(), NETWORK),
        (wishes.subnet.is_some(), SUBNET),
        (wishes.port.is_some(), PORT),
    ];
    match whole.into_iter().find(|(wished, _)| *wished) {
        Some((_, names)) => Err(invalid_field(message, &wishes.annotation(names))),
        None => Ok(()),
    }
}
