//! Networks.

use isthmus_model::kinds::Kind;
use isthmus_model::mark::Mark;
use isthmus_model::observed::{Observed, State};
use isthmus_openstack::neutron::{Network, NetworkCreate, NetworkUpdate};
use serde::{Deserialize, Serialize};

use super::standard::{About, Renamed, Resources, Standard};
use super::{Scope, mark_of, text};
use crate::cloud::{Create, Result, Update, cleared, set, typed, untyped};

pub(super) struct Networks;

pub(super) fn driver(scope: Scope) -> Resources<Networks> {
    Resources::new(scope)
}

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
        Observed {
            kind: Kind::Network,
            mark: mark_of(&network.description, &network.tags),
            project: text(network.project_id),
            fields: untyped(&fields),
            tags: Mark::others(network.tags.iter().map(String::as_str)),
            display_name: network.name,
            description: Mark::beside(&network.description),
            revision: network.revision_number,
            addresses: Vec::new(),
            cidr: None,
            state: match network.status.as_str() {
                "ERROR" => State::Failed,
                "BUILD" => State::Pending,
                _ => State::Ready,
            },
            created: network.created_at.unwrap_or_default(),
            id: network.id,
        }
    }

    fn creation(create: &Create<'_>, about: About) -> Result<NetworkCreate> {
        let fields: Fields = typed(create.entry, create.fields.clone())?;
        Ok(NetworkCreate {
            name: Some(about.name),
            description: Some(about.description),
            project_id: about.project,
            admin_state_up: None,
            mtu: fields.mtu,
            port_security_enabled: fields.port_security,
            dns_domain: fields.dns_domain,
        })
    }

    fn change(update: &Update<'_>, about: Renamed) -> Result<Option<NetworkUpdate>> {
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
