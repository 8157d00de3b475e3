//! Address groups: sets of prefixes that rules refer to (extension `address-group`).
//! <https://docs.openstack.org/api-ref/network/v2/#address-groups>

use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::Neutron;
use crate::error::Result;
use crate::lenient::or_default;
use crate::rest::{Creatable, Resource, Updatable, exchange, member, with_body};

/// An address group as Neutron shows it. It has no tags.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct AddressGroup {
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
    /// Whether another project's is shared with ours (RBAC).
    #[serde(default)]
    pub shared: Option<bool>,
    /// Grows with every change.
    #[serde(default)]
    pub revision_number: Option<u64>,
    /// When it was made, RFC 3339 in UTC: two of these compare as text.
    #[serde(default)]
    pub created_at: Option<String>,
    /// Prefixes, in no order; a single address has its full length (`/32`, `/128`).
    #[serde(default, deserialize_with = "or_default")]
    pub addresses: Vec<String>,
}

/// Body of a group's creation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AddressGroupCreate {
    /// Name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Project, if not the token's; needs the right to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_id: Option<String>,
    /// Prefixes.
    pub addresses: Vec<String>,
}

/// A change of a group's texts; its addresses are added and removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AddressGroupUpdate {
    /// Name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

impl Neutron {
    /// Adds prefixes.
    ///
    /// # Errors
    /// [`crate::RetryClass::Invalid`] if one of them is there already; then none is added.
    pub async fn add_addresses(&self, id: &str, addresses: &[String]) -> Result<AddressGroup> {
        self.change_addresses(id, "/add_addresses", addresses).await
    }

    /// Removes prefixes.
    ///
    /// # Errors
    /// [`crate::RetryClass::NotFound`] if one of them is not there; then none is removed.
    pub async fn remove_addresses(&self, id: &str, addresses: &[String]) -> Result<AddressGroup> {
        self.change_addresses(id, "/remove_addresses", addresses).await
    }

    async fn change_addresses(&self, id: &str, action: &str, addresses: &[String]) -> Result<AddressGroup> {
        let request = member::<AddressGroup>(Method::PUT, id, action)?;
        let request = with_body(request, "addresses", addresses)?;
        exchange(&self.session, &request, AddressGroup::SINGULAR).await
    }
}

impl Resource for AddressGroup {
    type In = Neutron;
    const PATH: &'static str = "address-groups";
    const SINGULAR: &'static str = "address_group";
    const PLURAL: &'static str = "address_groups";

    fn id(&self) -> &str {
        &self.id
    }
}

impl Creatable for AddressGroup {
    type Create = AddressGroupCreate;
}

impl Updatable for AddressGroup {
    type Update = AddressGroupUpdate;
}
