//! Trunks, as far as we put ports on them. <https://docs.openstack.org/api-ref/network/v2/#trunk-networking>

use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::Neutron;
use crate::error::Result;
use crate::lenient::or_default;
use crate::rest::{Resource, member, with_body};

/// A trunk as Neutron shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Trunk {
    /// Id.
    pub id: String,
    /// Name; empty if it has none.
    #[serde(default, deserialize_with = "or_default")]
    pub name: String,
    /// Project that owns it.
    #[serde(default, deserialize_with = "or_default")]
    pub project_id: String,
    /// Its parent port: the one whose traffic has no VLAN id.
    #[serde(default, deserialize_with = "or_default")]
    pub port_id: String,
    /// `ACTIVE`, `DOWN`, `BUILD`, `DEGRADED`, `ERROR`, or what a later release adds.
    #[serde(default, deserialize_with = "or_default")]
    pub status: String,
    /// The ports on it.
    #[serde(default, deserialize_with = "or_default")]
    pub sub_ports: Vec<SubPort>,
}

/// A port on a trunk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubPort {
    /// The port.
    #[serde(default, deserialize_with = "or_default")]
    pub port_id: String,
    /// `vlan`, or `inherit`.
    #[serde(default, deserialize_with = "or_default")]
    pub segmentation_type: String,
    /// VLAN id, 1 to 4094: what its packets carry on the trunk.
    #[serde(default, deserialize_with = "or_default")]
    pub segmentation_id: u16,
}

/// A port to be taken off.
#[derive(Serialize)]
struct Removed<'a> {
    port_id: &'a str,
}

impl Neutron {
    /// Puts ports on a trunk: all of them, or none. Answers the trunk as it is then.
    ///
    /// # Errors
    /// [`crate::RetryClass::Conflict`] if a VLAN id is taken (`DuplicateSubPort`), or a port has a device, is on a trunk or takes
    /// longer packets than the parent's network.
    pub async fn add_subports(&self, trunk: &str, subports: &[SubPort]) -> Result<Trunk> {
        let request =
            with_body(member::<Trunk>(Method::PUT, trunk, "/add_subports")?, "sub_ports", subports)?;
        self.session.send(&request).await?.json(&request)
    }

    /// Takes ports off a trunk: all of them, or none. Answers the trunk as it is then.
    ///
    /// # Errors
    /// [`crate::RetryClass::NotFound`] if one is not on it.
    pub async fn remove_subports(&self, trunk: &str, ports: &[&str]) -> Result<Trunk> {
        let removed: Vec<Removed<'_>> = ports.iter().map(|port_id| Removed { port_id }).collect();
        let request =
            with_body(member::<Trunk>(Method::PUT, trunk, "/remove_subports")?, "sub_ports", &removed)?;
        self.session.send(&request).await?.json(&request)
    }
}

impl Resource for Trunk {
    type In = Neutron;
    const PATH: &'static str = "trunks";
    const SINGULAR: &'static str = "trunk";
    const PLURAL: &'static str = "trunks";

    fn id(&self) -> &str {
        &self.id
    }
}
