//! Interfaces of routers: a port of ours with the gateway's address of a subnet, attached by its id.
//!
//! The port carries the mark. Attached, Neutron owns it, and deletes it with the interface. One that is not attached (we were
//! killed in between) is an interface of no router: it is made anew.

use isthmus_model::kinds::Kind;
use isthmus_model::observed::{Observed, State};
use isthmus_model::retry::RetryClass;
use isthmus_openstack::neutron::{FixedIpRequest, Port, PortCreate, PortUpdate, Subnet};
use serde::{Deserialize, Serialize};

use super::standard::{About, Standard, Tags};
use super::{Scope, text};
use crate::cloud::{CloudError, Create, Result, Update, typed};

/// Owner of a port that is not attached yet.
const DEVICE_OWNER: &str = "isthmus:router-interface";
/// Owners that Neutron gives it then, by the kind of router.
const PLAIN: &str = "network:router_interface";
const DISTRIBUTED: &str = "network:router_interface_distributed";
const REPLICATED: &str = "network:ha_router_replicated_interface";
const ATTACHED: [&str; 3] = [PLAIN, DISTRIBUTED, REPLICATED];
pub(super) struct RouterInterfaces;

/// The contract's `router-interface`, references as ids.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    #[serde(skip_serializing_if = "Option::is_none")]
    router: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subnet: Option<String>,
}

impl RouterInterfaces {
    fn refused(create: &Create<'_>, message: String) -> CloudError {
        CloudError::Field { kind: Kind::RouterInterface, name: create.entry.name.clone(), message }
    }
}

impl Standard for RouterInterfaces {
    type Resource = Port;
    const GONE: &'static [&'static str] = &["PortNotFound"];
    const TAGS: Tags = Tags::AtCreation;
    const AMONG: &'static [(&'static str, &'static str)] = &[
        ("device_owner", DEVICE_OWNER),
        ("device_owner", PLAIN),
        ("device_owner", DISTRIBUTED),
        ("device_owner", REPLICATED),
    ];

    fn observed(port: Port) -> Observed {
        let attached = ATTACHED.contains(&port.device_owner.as_str());
        let fields = Fields {
            router: text(port.device_id).filter(|_| attached),
            subnet: port.fixed_ips.first().map(|ip| ip.subnet_id.clone()).and_then(text),
        };
        Observed {
            addresses: port.fixed_ips.iter().filter_map(|ip| ip.ip_address.parse().ok()).collect(),
            state: if port.status == "ERROR" { State::Failed } else { State::Ready },
            ..observed!(Kind::RouterInterface, port, &fields)
        }
    }

    /// A port with the gateway's address of the subnet.
    async fn creation(scope: &Scope, create: &Create<'_>, about: About) -> Result<PortCreate> {
        let fields: Fields = typed(create.entry, create.fields.clone())?;
        let subnet: Subnet = scope.neutron.get(&fields.subnet.unwrap_or_default()).await?;
        let Some(gateway) = subnet.gateway_ip else {
            let message = format!(
                "subnet {} has no gateway, whose address the router's interface takes: give it one",
                subnet.id
            );
            return Err(Self::refused(create, message));
        };
        Ok(PortCreate {
            network_id: subnet.network_id,
            name: about.name,
            description: about.description,
            project_id: about.project,
            tags: about.tags,
            fixed_ips: Some(vec![FixedIpRequest { subnet_id: Some(subnet.id), ip_address: Some(gateway) }]),
            device_owner: Some(DEVICE_OWNER.into()),
            ..PortCreate::default()
        })
    }

    /// The port is attached. One that the router does not take goes again: it has the gateway's address.
    async fn finish(scope: &Scope, create: &Create<'_>, mut made: Port) -> Result<Port> {
        let fields: Fields = typed(create.entry, create.fields.clone())?;
        let router = fields.router.unwrap_or_default();
        if let Err(refused) = scope.neutron.add_router_interface(&router, &made.id).await {
            if refused.class != RetryClass::Unknown {
                scope.neutron.delete::<Port>(&made.id).await.map_err(|mut left| {
                    // Found by its mark then.
                    left.class = RetryClass::Unknown;
                    left
                })?;
            }
            return Err(refused.into());
        }
        (made.device_owner, made.device_id) = (PLAIN.to_owned(), router);
        Ok(made)
    }

    async fn change(_: &Scope, _: &Update<'_>, about: About) -> Result<Option<PortUpdate>> {
        let body = PortUpdate { name: about.name, description: about.description, ..PortUpdate::default() };
        Ok((body != PortUpdate::default()).then_some(body))
    }

    fn described(description: String) -> PortUpdate {
        PortUpdate { description: Some(description), ..PortUpdate::default() }
    }

    /// Neutron deletes the port with the interface.
    async fn release(scope: &Scope, id: &str) -> Result<()> {
        let port: Port = match scope.neutron.get(id).await {
            Ok(port) => port,
            Err(error) if error.class == RetryClass::NotFound => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if !ATTACHED.contains(&port.device_owner.as_str()) {
            return Ok(());
        }
        match scope.neutron.remove_router_interface(&port.device_id, id).await {
            // The router or the interface went meanwhile: what is left of the port goes by itself.
            Err(error) if error.class != RetryClass::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}
