//! Interfaces of routers: a port of ours with the gateway's address of a subnet, attached by its id.
//!
//! The port carries the mark. Attached, Neutron owns it, and deletes it with the interface. One that is not attached (we were
//! killed in between) is an interface of no router: it is made anew.

use futures::future::{BoxFuture, FutureExt};
use isthmus_model::kinds::Kind;
use isthmus_model::mark::Mark;
use isthmus_model::observed::{Observed, State};
use isthmus_model::retry::RetryClass;
use isthmus_openstack::neutron::{FixedIpRequest, Port, PortCreate, PortUpdate, Subnet};
use serde::{Deserialize, Serialize};

use super::{Scope, gone, has, mark_of, tags, text};
use crate::cloud::{CloudError, Create, Driver, Result, Update, typed, untyped};

/// Owner of a port that is not attached yet.
const DEVICE_OWNER: &str = "isthmus:router-interface";
/// Owners that Neutron gives it then: of plain, distributed and highly available routers.
const ATTACHED: [&str; 3] = [
    "network:router_interface",
    "network:router_interface_distributed",
    "network:ha_router_replicated_interface",
];
const GONE: [&str; 2] = ["PortNotFound", "RouterInterfaceNotFound"];

pub(super) struct RouterInterfaces(pub(super) Scope);

/// The contract's `router-interface`, references as ids.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    #[serde(skip_serializing_if = "Option::is_none")]
    router: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subnet: Option<String>,
}

fn observed(port: Port) -> Observed {
    let attached = ATTACHED.contains(&port.device_owner.as_str());
    let fields = Fields {
        router: text(port.device_id).filter(|_| attached),
        subnet: port.fixed_ips.first().map(|ip| ip.subnet_id.clone()).and_then(text),
    };
    Observed {
        kind: Kind::RouterInterface,
        mark: mark_of(&port.description, &port.tags),
        project: text(port.project_id),
        fields: untyped(&fields),
        tags: Mark::others(port.tags.iter().map(String::as_str)),
        display_name: port.name,
        description: Mark::beside(&port.description),
        revision: port.revision_number,
        addresses: port.fixed_ips.iter().filter_map(|ip| ip.ip_address.parse().ok()).collect(),
        cidr: None,
        state: if port.status == "ERROR" { State::Failed } else { State::Ready },
        created: port.created_at.unwrap_or_default(),
        id: port.id,
    }
}

impl RouterInterfaces {
    /// A port with the gateway's address of a subnet.
    async fn port(&self, create: &Create<'_>, subnet: &str) -> Result<Port> {
        let subnet: Subnet = self.0.neutron.get(subnet).await?;
        let Some(gateway) = subnet.gateway_ip else {
            return Err(CloudError::Field {
                kind: Kind::RouterInterface,
                name: create.entry.name.clone(),
                message: format!(
                    "subnet {} has no gateway, whose address the router's interface takes: give it one",
                    subnet.id
                ),
            });
        };
        let body = PortCreate {
            network_id: subnet.network_id,
            name: Some(create.name.clone()),
            description: Some(create.mark.described(create.entry.description.as_deref())),
            project_id: self.0.project_of(create.entry),
            tags: Some(tags(&create.mark, create.entry)),
            fixed_ips: Some(vec![FixedIpRequest { subnet_id: Some(subnet.id), ip_address: Some(gateway) }]),
            device_owner: Some(DEVICE_OWNER.into()),
            ..PortCreate::default()
        };
        Ok(self.0.neutron.create(&body).await?)
    }
}

impl Driver for RouterInterfaces {
    fn list<'a>(&'a self, tag: &'a str) -> BoxFuture<'a, Result<Vec<Observed>>> {
        async move {
            let owners: Vec<(&str, &str)> =
                ATTACHED.iter().chain([&DEVICE_OWNER]).map(|owner| ("device_owner", *owner)).collect();
            let ports: Vec<Port> = self.0.neutron.list(&self.0.query(&owners)).await?;
            Ok(ports.into_iter().map(observed).filter(|o| has(o, tag)).collect())
        }
        .boxed()
    }

    fn create<'a>(&'a self, create: Create<'a>) -> BoxFuture<'a, Result<Observed>> {
        async move {
            let fields: Fields = typed(create.entry, create.fields.clone())?;
            let (router, subnet) = (fields.router.unwrap_or_default(), fields.subnet.unwrap_or_default());
            let mut port = self.port(&create, &subnet).await?;
            let attached = self.0.neutron.add_router_interface(&router, &port.id).await;
            attached.map_err(|mut error| {
                // The port is there: it is found by its mark, attached or not.
                if error.class != RetryClass::Invalid {
                    error.class = RetryClass::Unknown;
                }
                error
            })?;
            port.device_owner = ATTACHED.map(String::from).into_iter().next().unwrap_or_default();
            port.device_id = router;
            Ok(observed(port))
        }
        .boxed()
    }

    fn update<'a>(&'a self, update: Update<'a>) -> BoxFuture<'a, Result<Observed>> {
        async move {
            let id = &update.observed.id;
            let described = update.description.is_some() || update.remark;
            let body = PortUpdate {
                name: update.name.clone(),
                description: described.then(|| update.mark.described(update.entry.description.as_deref())),
                ..PortUpdate::default()
            };
            let mut changed = update.observed.clone();
            if body != PortUpdate::default() {
                let port = self.0.neutron.update::<Port>(id, &body, None).await;
                changed = observed(port.map_err(|error| gone(error, &GONE))?);
            }
            if update.tags || update.remark {
                let wanted = tags(&update.mark, update.entry);
                let tags = self.0.neutron.set_tags::<Port>(id, &wanted).await;
                changed.tags = Mark::others(tags.map_err(|e| gone(e, &GONE))?.iter().map(String::as_str));
                changed.mark = Some(update.mark);
                changed.revision = None;
            }
            Ok(changed)
        }
        .boxed()
    }

    fn delete<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>> {
        async move {
            let port: Port = match self.0.neutron.get(id).await {
                Ok(port) => port,
                Err(error) if error.class == RetryClass::NotFound => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            if ATTACHED.contains(&port.device_owner.as_str()) {
                match self.0.neutron.remove_router_interface(&port.device_id, id).await {
                    Ok(_) => return Ok(()),
                    // The router or the interface went meanwhile: what is left of the port goes below.
                    Err(error) if error.class == RetryClass::NotFound => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(self.0.neutron.delete::<Port>(id).await.map(drop)?)
        }
        .boxed()
    }

    fn retain<'a>(&'a self, observed: &'a Observed, tag: &'a str) -> BoxFuture<'a, Result<()>> {
        async move {
            let description = Some(observed.description.clone());
            let body = PortUpdate { description, ..PortUpdate::default() };
            self.0.neutron.update::<Port>(&observed.id, &body, None).await?;
            let tags: Vec<String> = observed.tags.iter().cloned().chain([tag.to_owned()]).collect();
            Ok(self.0.neutron.set_tags::<Port>(&observed.id, &tags).await.map(drop)?)
        }
        .boxed()
    }
}
