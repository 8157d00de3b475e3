//! Networks.

use isthmus_model::kinds::Kind;
use isthmus_model::observed::{Observed, State};
use isthmus_openstack::neutron::{Network, NetworkCreate, NetworkUpdate};
use serde::{Deserialize, Serialize};

use super::standard::{About, Standard};
use super::{Scope, text};
use crate::cloud::{Create, Result, Update, cleared, set, typed};

pub(super) struct Networks;

/// The contract's `network`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    #[serde(skip_serializing_if = "Option::is_none")]
    mtu: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port_security: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dns_domain: Option<String>,
}

impl Standard for Networks {
    type Resource = Network;
    const GONE: &'static [&'static str] = &["NetworkNotFound"];

    fn observed(network: Network) -> Observed {
        let fields = Fields {
            mtu: network.mtu,
            port_security: network.port_security_enabled,
            dns_domain: text(network.dns_domain),
        };
        let state = match network.status.as_str() {
            "ERROR" => State::Failed,
            "BUILD" => State::Pending,
            _ => State::Ready,
        };
        Observed { state, ..observed!(Kind::Network, network, &fields) }
    }

    async fn creation(_: &Scope, create: &Create<'_>, about: About) -> Result<NetworkCreate> {
        let fields: Fields = typed(create.entry, create.fields.clone())?;
        Ok(NetworkCreate {
            name: about.name,
            description: about.description,
            project_id: about.project,
            admin_state_up: None,
            mtu: fields.mtu,
            port_security_enabled: fields.port_security,
            dns_domain: fields.dns_domain,
        })
    }

    async fn change(_: &Scope, update: &Update<'_>, about: About) -> Result<Option<NetworkUpdate>> {
        let fields: Fields = typed(update.entry, set(update))?;
        let body = NetworkUpdate {
            name: about.name,
            description: about.description,
            mtu: fields.mtu,
            port_security_enabled: fields.port_security.or(cleared(update, "port_security").then_some(true)),
            dns_domain: fields.dns_domain.or(cleared(update, "dns_domain").then(String::new)),
            ..NetworkUpdate::default()
        };
        Ok((body != NetworkUpdate::default()).then_some(body))
    }

    fn described(description: String) -> NetworkUpdate {
        NetworkUpdate { description: Some(description), ..NetworkUpdate::default() }
    }
}
