//! The Service whose load balancer another one shares.

use isthmus_sdk::objects::Service;
use isthmus_sdk::prelude::*;
use isthmus_sdk::records::types::Invalid;
use isthmus_sdk::snapshot::Cloud;
use serde::{Deserialize, Serialize};

use crate::annotations::Wishes;
use crate::config::Config;
use crate::exposure::{ASSOCIATION, FLOATING_IP, floating};
use crate::family::Family;
use crate::fronts::{Address, Front, Shared, fronts};
use crate::mapping::{Role, service_kind};
use crate::provider::Chosen;
use crate::sharing::{Target, front};

/// What of it others have to know.
#[derive(Debug)]
pub(crate) struct Owner {
    /// Where who comes from outside comes: family, and name of the load balancer's entry.
    balancers: Vec<(Family, String)>,
    /// Octavia's provider. None: the cloud's default.
    pub(crate) provider: Option<String>,
    floating: Floating,
}

/// What leads to its VIP of IPv4.
#[derive(Debug)]
enum Floating {
    Nothing,
    /// A floating IP that is made for it.
    Own,
    /// One that its user gave, and whose address it says by now.
    Given(Option<String>),
}

impl Owner {
    /// The Service of this name, as it is now.
    ///
    /// # Errors
    /// Why it has no load balancer that others could be on, for people.
    pub(crate) fn of(namespace: &str, name: &str, config: &Config, cloud: &Cloud) -> Result<Self, String> {
        let Some(text) = snapshot::get(service_kind(), Some(namespace), name) else {
            return Err(format!("there is no Service {namespace}/{name}"));
        };
        let found = Self::read(&text, config, cloud);
        found.map_err(|why| match why {
            Outcome::NotMapped(why)
            | Outcome::Waiting(why)
            | Outcome::Invalid(Invalid { message: why, .. }) => {
                format!("Service {namespace}/{name} has no load balancer to share: {why}")
            }
        })
    }

    fn read(text: &str, config: &Config, cloud: &Cloud) -> Result<Self, Outcome> {
        let service: Service<'_> = parse_subject(text)?;
        if Role::of(&service, config)? != Role::Exposed {
            return Err(not_mapped("it is not of type LoadBalancer"));
        }
        let wishes = Wishes::of(&service.metadata.annotations)?;
        let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
        if Target::of(&wishes.sharing, namespace, config)?.is_some() {
            return Err(not_mapped("it shares one itself"));
        }
        let provider = Chosen::of(&wishes, config, cloud)?;
        let exposed = fronts(&service, Role::Exposed, &wishes, config)?;
        let exposed: Vec<Front> = exposed.into_iter().filter(|front| front.exposed).collect();
        let entry = floating(&service, &wishes, config, &exposed)?.map(|entry| entry.name);
        let asked = service.spec.load_balancer_ip.as_deref();
        let said = |ip: &&str| {
            service.status.load_balancer.ingress.iter().any(|ingress| ingress.ip.as_deref() == Some(*ip))
        };
        let floating = match entry.as_deref() {
            Some(FLOATING_IP) => Floating::Own,
            // It may lead elsewhere still.
            Some(ASSOCIATION) => Floating::Given(asked.filter(said).map(Into::into)),
            _ => Floating::Nothing,
        };
        let balancers = exposed.iter().map(|front| (front.family, front.balancer_entry())).collect();
        Ok(Self { balancers, provider: provider.name, floating })
    }

    /// The fronts of who shares it.
    pub(crate) fn fronts(&self, namespace: &str, name: &str) -> Vec<Front> {
        let key = ObjectKey { kind: service_kind(), namespace: Some(namespace.into()), name: name.into() };
        let at = |(family, entry): &(Family, String)| {
            let (floating_ip, address) = match (&self.floating, family) {
                (Floating::Own, Family::V4) => (Some(mapped(key.clone(), FLOATING_IP)), Address::OfCloud),
                (Floating::Given(address), Family::V4) => (None, Address::Known(address.clone())),
                _ => (None, Address::OfCloud),
            };
            front(*family, Shared { balancer: mapped(key.clone(), entry), floating_ip, address })
        };
        self.balancers.iter().map(at).collect()
    }
}

/// The condition in which a Service says what it shares, for this module alone: its message is a [`Remembered`].
pub(crate) const SHARES: &str = "isthmus.dev/Shares";

/// What a Service is on: what the Service was like whose load balancer that is can't be read when that is gone, and who is there comes
/// before who is not. It is in the status, which those who write a Service do not write.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Remembered {
    /// As of [`Target::key`].
    of: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<String>,
    /// Names of the load balancers' entries, of that of a Service.
    #[serde(skip_serializing_if = "Option::is_none")]
    v4: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    v6: Option<String>,
    /// Whether a floating IP is made for it.
    #[serde(default)]
    floating_ip: bool,
}

impl Remembered {
    /// `owner`: of that of a Service.
    pub(crate) fn of(target: &Target<'_>, owner: Option<&Owner>) -> Self {
        let entry = |family| {
            let mut all = owner.into_iter().flat_map(|owner| &owner.balancers);
            all.find(|(of, _)| *of == family).map(|(_, entry)| entry.clone())
        };
        Self {
            of: target.key(),
            provider: owner.and_then(|owner| owner.provider.clone()),
            v4: entry(Family::V4),
            v6: entry(Family::V6),
            floating_ip: owner.is_some_and(|owner| matches!(owner.floating, Floating::Own)),
        }
    }

    /// What a Service is on, as text.
    pub(crate) fn text_of<'a>(service: &'a Service<'_>) -> Option<&'a str> {
        let said = service.status.conditions.iter().find(|condition| *condition.kind == *SHARES);
        said.map(|condition| &*condition.message)
    }

    /// What a Service is on of this.
    pub(crate) fn by(service: &Service<'_>, target: &Target<'_>) -> Option<Self> {
        let found: Self = serde_json::from_str(Self::text_of(service)?).ok()?;
        (found.of == target.key()).then_some(found)
    }

    pub(crate) fn text(&self) -> Option<String> {
        serde_json::to_string(self).ok()
    }

    /// The Service as it was.
    pub(crate) fn owner(self) -> Option<Owner> {
        let is_name = |entry: &String| ["lb-v4", "lb-v6", "lb-public"].contains(&entry.as_str());
        let balancers = [(Family::V4, self.v4), (Family::V6, self.v6)];
        let balancers = balancers.into_iter().filter_map(|(family, entry)| Some((family, entry?)));
        let balancers: Vec<(Family, String)> = balancers.filter(|(_, entry)| is_name(entry)).collect();
        let floating = if self.floating_ip { Floating::Own } else { Floating::Nothing };
        (!balancers.is_empty()).then_some(Owner { balancers, provider: self.provider, floating })
    }
}
