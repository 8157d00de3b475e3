//! Associations of floating IPs that are somebody else's: the `port_id` of one.
//!
//! The floating IP gets no mark of ours, and is neither changed otherwise nor deleted. Whose an association is, the record says: it is
//! recorded before it is made ([`Kind::is_told_by_record`]), and undone only while the floating IP leads to where we made it lead.

use futures::future::{BoxFuture, FutureExt};
use isthmus_model::kinds::Kind;
use isthmus_model::mark::Mark;
use isthmus_model::observed::{Observed, State};
use isthmus_model::retry::RetryClass;
use isthmus_openstack::neutron::{FloatingIp, FloatingIpUpdate, Port};
use serde::{Deserialize, Serialize};

use super::floating_ip::Target;
use super::{Scope, text};
use crate::cloud::attachment::{self, id, parts};
use crate::cloud::{CloudError, Create, Driver, Result, Update, typed};

pub(super) struct Associations(pub(super) Scope);

/// The contract's `floating-ip-association`, references as ids.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    #[serde(skip_serializing_if = "Option::is_none")]
    floating_ip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<Target>,
}

/// Floating IP and port that an entry asks for.
fn wanted(create: &Create<'_>) -> Result<(String, String)> {
    let fields: Fields = typed(create.entry, create.fields.clone())?;
    match (fields.floating_ip, fields.target) {
        (Some(floating_ip), Some(Target::Port(port))) => Ok((floating_ip, port)),
        _ => Err(CloudError::Field {
            kind: Kind::FloatingIpAssociation,
            name: create.entry.name.clone(),
            message: "it needs a floating IP, and a port or a VIP that it leads to".into(),
        }),
    }
}

/// The association of a floating IP with a port, whose ever it is.
fn associated(ip: &FloatingIp, port: String) -> Observed {
    let fields = Fields { floating_ip: Some(ip.id.clone()), target: Some(Target::Port(port.clone())) };
    Observed {
        project: text(ip.project_id.clone()),
        addresses: ip.floating_ip_address.parse().into_iter().collect(),
        state: if ip.status == "ERROR" { State::Failed } else { State::Ready },
        created: ip.created_at.clone().unwrap_or_default(),
        ..attachment::observed(Kind::FloatingIpAssociation, (&ip.id, &port), &fields)
    }
}

/// As it is; `None`: the floating IP leads to no port.
fn observed(ip: &FloatingIp) -> Option<Observed> {
    Some(associated(ip, ip.port_id.clone()?))
}

/// Whether a floating IP is one that we made, for this cluster or another.
fn is_made(ip: &FloatingIp) -> bool {
    Mark::of(&ip.description, &ip.tags).is_some()
}

fn leads_to(ip: &FloatingIp, port: &str) -> bool {
    ip.port_id.as_deref() == Some(port)
}

impl Associations {
    /// The floating IP as it is now; `None`: it is gone.
    async fn look(&self, id: &str) -> Result<Option<FloatingIp>> {
        match self.0.neutron.get(id).await {
            Ok(ip) => Ok(Some(ip)),
            Err(error) if error.class == RetryClass::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The floating IP, if it may lead to this port: what leads elsewhere somebody else made so.
    async fn free(&self, id: &str, port: &str) -> Result<FloatingIp> {
        let ip: FloatingIp = self.0.neutron.get(id).await?;
        let whose = match ip.port_id.as_deref() {
            _ if is_made(&ip) => "was made by Isthmus for an object of its own".to_owned(),
            Some(other) if other != port => self.told(other).await,
            _ => return Ok(ip),
        };
        Err(CloudError::Taken { address: ip.floating_ip_address, whose })
    }

    /// Which port that is, for people.
    async fn told(&self, id: &str) -> String {
        match self.0.neutron.get::<Port>(id).await {
            Ok(port) => {
                let (name, owner, device) = (port.name, port.device_owner, port.device_id);
                format!("leads to port {id} ({name:?}, of {owner:?} {device:?})")
            }
            Err(_) => format!("leads to port {id}"),
        }
    }

    /// Makes a floating IP lead to a port, or to none, if nobody changed it since it was looked at.
    async fn lead(&self, ip: &FloatingIp, port: Option<String>) -> Result<FloatingIp> {
        let body = FloatingIpUpdate { port_id: Some(port), ..FloatingIpUpdate::default() };
        Ok(self.0.neutron.update::<FloatingIp>(&ip.id, &body, ip.revision_number).await?)
    }
}

impl Driver for Associations {
    /// Nothing tells whose one is: see [`Driver::recorded`].
    fn list<'a>(&'a self, _tag: &'a str) -> BoxFuture<'a, Result<Vec<Observed>>> {
        async { Ok(Vec::new()) }.boxed()
    }

    fn recorded<'a>(&'a self, ids: &'a [&'a str]) -> BoxFuture<'a, Result<Vec<Observed>>> {
        async move {
            let all: Vec<FloatingIp> = self.0.neutron.list(&self.0.query(&[])).await?;
            let found = all.iter().filter(|ip| !is_made(ip)).filter_map(observed);
            Ok(found.filter(|found| ids.contains(&&*found.id)).collect())
        }
        .boxed()
    }

    fn ahead<'a>(&'a self, create: &'a Create<'a>) -> BoxFuture<'a, Result<Option<String>>> {
        async move {
            let (floating_ip, port) = wanted(create)?;
            self.free(&floating_ip, &port).await?;
            Ok(Some(id(&floating_ip, &port)))
        }
        .boxed()
    }

    fn create<'a>(&'a self, create: Create<'a>) -> BoxFuture<'a, Result<Observed>> {
        async move {
            let (floating_ip, port) = wanted(&create)?;
            let mut ip = self.free(&floating_ip, &port).await?;
            if !leads_to(&ip, &port) {
                ip = self.lead(&ip, Some(port.clone())).await?;
            }
            Ok(Observed { mark: Some(create.mark), ..associated(&ip, port) })
        }
        .boxed()
    }

    /// It has no field that changes in place.
    fn update<'a>(&'a self, update: Update<'a>) -> BoxFuture<'a, Result<Observed>> {
        async move { Ok(update.observed.clone()) }.boxed()
    }

    fn delete<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>> {
        async move {
            let (floating_ip, port) = parts(id);
            // Where it leads elsewhere, or nowhere, somebody else made it so, or the port is gone.
            let Some(ip) = self.look(floating_ip).await?.filter(|ip| leads_to(ip, port)) else {
                return Ok(());
            };
            match self.lead(&ip, None).await {
                Err(CloudError::Service(error)) if error.class == RetryClass::NotFound => Ok(()),
                done => done.map(drop),
            }
        }
        .boxed()
    }

    fn refresh<'a>(&'a self, old: &'a Observed) -> BoxFuture<'a, Result<Option<Observed>>> {
        async move {
            let (floating_ip, _) = parts(&old.id);
            let found = self.look(floating_ip).await?.as_ref().and_then(observed);
            let same = found.filter(|found| found.id == old.id);
            Ok(same.map(|found| Observed { mark: old.mark.clone(), ..found }))
        }
        .boxed()
    }
}
