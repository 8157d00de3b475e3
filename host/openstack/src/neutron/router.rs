//! Routers, as far as we attach to them. <https://docs.openstack.org/api-ref/network/v2/#routers-routers>

use reqwest::Method;
use serde::Deserialize;

use super::Neutron;
use crate::error::Result;
use crate::lenient::or_default;
use crate::rest::{Resource, member, with_body};

/// A router as Neutron shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Router {
    /// Id.
    pub id: String,
    /// Name; empty if it has none.
    #[serde(default, deserialize_with = "or_default")]
    pub name: String,
    /// Description; empty if it has none.
    #[serde(default, deserialize_with = "or_default")]
    pub description: String,
    /// Project that owns it.
    #[serde(default, deserialize_with = "or_default")]
    pub project_id: String,
    /// Tags, in no order.
    #[serde(default, deserialize_with = "or_default")]
    pub tags: Vec<String>,
    /// Grows with every change.
    #[serde(default)]
    pub revision_number: Option<u64>,
    /// `ACTIVE`, `DOWN`, `BUILD`, `ERROR`, or what a later release adds.
    #[serde(default, deserialize_with = "or_default")]
    pub status: String,
    /// When it was made, RFC 3339 in UTC: two of these compare as text.
    #[serde(default)]
    pub created_at: Option<String>,
    /// Whether it forwards traffic.
    #[serde(default)]
    pub admin_state_up: Option<bool>,
}

/// What Neutron says about an interface that was added or removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct RouterInterface {
    /// The router.
    #[serde(default, deserialize_with = "or_default")]
    pub id: String,
    /// The port that is the interface.
    #[serde(default, deserialize_with = "or_default")]
    pub port_id: String,
    /// The subnet of the port's address.
    #[serde(default, deserialize_with = "or_default")]
    pub subnet_id: String,
}

impl Neutron {
    /// Makes `port` an interface of `router`. The port is ours, with the gateway's address of its subnet.
    ///
    /// # Errors
    /// [`crate::RetryClass::Conflict`] if the port is in use, by this router too: what is attached already is seen by the
    /// port's `device_id`, not by trying. [`crate::RetryClass::Invalid`] if the router has another interface there.
    pub async fn add_router_interface(&self, router: &str, port: &str) -> Result<RouterInterface> {
        self.router_interface(router, port, "/add_router_interface").await
    }

    /// Takes `port` off `router`. Neutron deletes the port with it.
    ///
    /// # Errors
    /// [`crate::RetryClass::NotFound`] if it is no interface of the router; [`crate::RetryClass::Conflict`] while floating IPs or
    /// routes need it.
    pub async fn remove_router_interface(&self, router: &str, port: &str) -> Result<RouterInterface> {
        self.router_interface(router, port, "/remove_router_interface").await
    }

    async fn router_interface(&self, router: &str, port: &str, action: &str) -> Result<RouterInterface> {
        let request = with_body(member::<Router>(Method::PUT, router, action)?, "port_id", port)?;
        let response = self.session.send(&request).await?;
        response.json(&request)
    }
}

impl Resource for Router {
    type In = Neutron;
    const PATH: &'static str = "routers";
    const SINGULAR: &'static str = "router";
    const PLURAL: &'static str = "routers";

    fn id(&self) -> &str {
        &self.id
    }
}
