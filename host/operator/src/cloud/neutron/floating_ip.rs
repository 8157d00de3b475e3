//! Floating IPs. They have no name in Neutron: the one that an entry is given stays with us.

use isthmus_model::kinds::Kind;
use isthmus_model::observed::{Observed, State};
use isthmus_openstack::neutron::{FloatingIp, FloatingIpCreate, FloatingIpUpdate};
use serde::{Deserialize, Serialize};

use super::standard::{About, Standard};
use super::{Scope, text};
use crate::cloud::{Create, Result, Update, cleared, set, typed};

pub(super) struct FloatingIps;

/// The contract's `floating-ip`, references as ids.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subnet: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<Target>,
}

/// Where one leads to. A VIP is the port that it is on by now.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Target {
    Unattached(bool),
    Port(String),
}

/// `port_id` as a body says it: `None` leaves it as it is.
fn port_id(target: Option<Target>) -> Option<Option<String>> {
    target.map(|target| match target {
        Target::Unattached(_) => None,
        Target::Port(port) => Some(port),
    })
}

impl Standard for FloatingIps {
    type Resource = FloatingIp;
    const GONE: &'static [&'static str] = &["FloatingIPNotFound"];

    fn observed(ip: FloatingIp) -> Observed {
        let fields = Fields {
            network: text(ip.floating_network_id),
            subnet: None,
            address: text(ip.floating_ip_address.clone()),
            target: Some(match ip.port_id {
                Some(port) => Target::Port(port),
                None => Target::Unattached(true),
            }),
        };
        Observed {
            addresses: ip.floating_ip_address.parse().into_iter().collect(),
            state: if ip.status == "ERROR" { State::Failed } else { State::Ready },
            ..observed!(Kind::FloatingIp, ip, &fields, String::new(), ip.tags)
        }
    }

    async fn creation(_: &Scope, create: &Create<'_>, about: About) -> Result<FloatingIpCreate> {
        let fields: Fields = typed(create.entry, create.fields.clone())?;
        Ok(FloatingIpCreate {
            floating_network_id: fields.network.unwrap_or_default(),
            subnet_id: fields.subnet,
            floating_ip_address: fields.address,
            port_id: port_id(fields.target).flatten(),
            description: about.description,
            project_id: about.project,
        })
    }

    async fn change(_: &Scope, update: &Update<'_>, about: About) -> Result<Option<FloatingIpUpdate>> {
        let fields: Fields = typed(update.entry, set(update))?;
        let body = FloatingIpUpdate {
            description: about.description,
            port_id: port_id(fields.target).or(cleared(update, "target").then_some(None)),
        };
        Ok((body != FloatingIpUpdate::default()).then_some(body))
    }

    /// One that is let go leads nowhere: what it led to is not to be reached at it any more.
    fn described(description: String) -> FloatingIpUpdate {
        FloatingIpUpdate { description: Some(description), port_id: Some(None) }
    }
}
