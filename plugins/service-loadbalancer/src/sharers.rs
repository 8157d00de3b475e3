//! Services that share a load balancer: which of them are on it. The Service whose load balancer it is has its ports first, since
//! they may be those of its cluster IP, and it does not know of the others; of these who is on it comes before who is not, and then the
//! older before the younger.

use std::collections::BTreeMap;

use isthmus_sdk::objects::{Age, Service};
use isthmus_sdk::prelude::*;

use crate::annotations::SharingWishes;
use crate::config::Config;
use crate::mapping::{Role, service_kind};
use crate::owner::Remembered;
use crate::sharing::Target;

/// Who is on a load balancer, by protocol and number of the port.
#[derive(Default)]
struct Taken {
    services: usize,
    ports: BTreeMap<(String, u16), String>,
}

impl Taken {
    /// Lets a Service on, or says why not.
    fn admit(&mut self, service: &Service<'_>, most: usize) -> Result<(), String> {
        if self.services >= most {
            return Err(format!(
                "{most} Services are on it already, or are older, and no more may be (sharing.maxServices of the \
                 module's config)"
            ));
        }
        let key = |protocol: &str, port| (protocol.to_owned(), port);
        for port in &service.spec.ports {
            if let Some(other) = self.ports.get(&key(port.protocol(), port.port)) {
                return Err(format!("port {} of {} is Service {other}'s", port.port, port.protocol()));
            }
        }
        let Age { namespace, name, .. } = Age::of(&service.metadata);
        let own = service.spec.ports.iter().map(|port| key(port.protocol(), port.port));
        self.ports.extend(own.map(|port| (port, format!("{namespace}/{name}"))));
        self.services += 1;
        Ok(())
    }
}

/// Whether there is room for this Service on a load balancer; if not, why.
pub(crate) fn settle(
    service: &Service<'_>,
    target: &Target<'_>,
    config: &Config,
) -> Result<Result<(), String>, Outcome> {
    let (mut taken, most) = (Taken::default(), config.sharing.max_services);
    if let Target::Service { namespace, name } = target {
        // Also where it is not shared any more: its listeners for its cluster IP may be on it, or what it was when it was refused.
        if let Some(text) = snapshot::get(service_kind(), Some(namespace), name) {
            let owner: Service<'_> = parse_subject(&text)?;
            // As it is its own, there is room.
            if Role::of(&owner, config).is_ok() && taken.admit(&owner, most).is_err() {
                return Ok(Err(format!("Service {namespace}/{name} has a port twice")));
            }
        }
    }
    let texts = target.candidates(config);
    let mut sharers: Vec<Service<'_>> =
        parse_others(&texts).filter(|other| is_on(other, target, config)).collect();
    sharers.sort_by(|one, other| place(one, target).cmp(&place(other, target)));
    // One may have named it in two ways.
    sharers.dedup_by(|one, other| Age::of(&one.metadata) == Age::of(&other.metadata));
    let own = Age::of(&service.metadata);
    for other in &sharers {
        let admitted = taken.admit(other, most);
        if Age::of(&other.metadata) == own {
            return Ok(admitted);
        }
    }
    // A list of all namespaces leaves it out: it would count for nobody, and others would be given its ports.
    let text = snapshot::get(service_kind(), Some(own.namespace), own.name);
    if text.is_some_and(|text| text.len() > snapshot::LISTED) {
        let message = "the Service is of more than 32 KiB (its annotations), and Services of other namespaces may be on it";
        return Ok(Err(message.into()));
    }
    Ok(taken.admit(service, most))
}

/// Who comes first: those that are on it, then the older.
fn place<'a>(service: &'a Service<'_>, target: &Target<'_>) -> (bool, Age<'a>) {
    (Remembered::by(service, target).is_none(), Age::of(&service.metadata))
}

/// Whether a Service wishes to be on it, and may. One that is refused for what it says now is on it as it was (what was made of it
/// stays), so its ports are not free.
fn is_on(service: &Service<'_>, target: &Target<'_>, config: &Config) -> bool {
    let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
    let wishes = SharingWishes::of(&service.metadata.annotations);
    let wished = match Target::of(&wishes, namespace, config) {
        Ok(wished) => wished.is_some_and(|wished| wished.key() == target.key()),
        Err(_) => Remembered::by(service, target).is_some(),
    };
    wished && Role::of(service, config).is_ok_and(|role| role == Role::Exposed)
}
