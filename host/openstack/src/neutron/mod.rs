//! Neutron, the networking service, in typed form.
//!
//! <https://docs.openstack.org/api-ref/network/v2/>
//!
//! Every kind is a [`Resource`] that is decoded leniently: only `id` is required; what is missing, `null` or of an
//! unknown value never fails a read. Kinds that we make implement [`Creatable`], those that we change [`Updatable`].

mod address_group;
mod extension;
mod floating_ip;
mod network;
mod port;
mod quota;
mod router;
mod security_group;
mod subnet;
mod tag;
mod trunk;

use reqwest::Method;

use crate::catalog::NETWORK;
use crate::error::Result;
use crate::rest::{self, PAGE, Service, collection, exchange, member, with_body};
use crate::session::Session;

pub use crate::rest::{Creatable, Deleted, Updatable};
pub use address_group::{AddressGroup, AddressGroupCreate, AddressGroupUpdate};
pub use extension::Extensions;
pub use floating_ip::{FloatingIp, FloatingIpCreate, FloatingIpUpdate};
pub use network::{Network, NetworkCreate, NetworkUpdate};
pub use port::{AllowedAddressPair, FixedIp, FixedIpRequest, Port, PortCreate, PortUpdate};
pub use quota::{Quota, Quotas};
pub use router::{Router, RouterInterface};
pub use security_group::{
    SecurityGroup, SecurityGroupCreate, SecurityGroupRule, SecurityGroupRuleCreate, SecurityGroupUpdate,
};
pub use subnet::{AllocationPool, HostRoute, Subnet, SubnetCreate, SubnetPool, SubnetUpdate};
pub use trunk::{SubPort, Trunk};

/// A kind of Neutron resource that can be read.
pub trait Resource: rest::Resource<In = Neutron> {}

impl<R: rest::Resource<In = Neutron>> Resource for R {}

/// The networking service of a session.
#[derive(Debug, Clone)]
pub struct Neutron {
    session: Session,
    page: usize,
}

impl Neutron {
    /// The networking service of `session`.
    pub fn new(session: Session) -> Self {
        Self { session, page: PAGE }
    }

    /// The session.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Lists in pages of `page` resources (at least one), for tests of paging.
    #[must_use]
    pub fn with_page(self, page: usize) -> Self {
        Self { page: page.max(1), ..self }
    }

    /// One resource.
    ///
    /// # Errors
    /// [`crate::RetryClass::NotFound`] if there is none that we may see.
    pub async fn get<R: Resource>(&self, id: &str) -> Result<R> {
        exchange(&self.session, &member::<R>(Method::GET, id, "")?, R::SINGULAR).await
    }

    /// All resources that match `query`: filters (`("project_id", ...)`, `("tags", "a,b")`: with all of these tags; a
    /// name twice: either value) and `("fields", ...)`, of which `id` is always one.
    ///
    /// # Guarantee
    /// What exists from the beginning to the end is in it exactly once (pages are ordered by id).
    ///
    /// # Errors
    /// A page failed. There is no partial result: what is missing from a list looks deleted.
    pub async fn list<R: Resource>(&self, query: &[(&str, &str)]) -> Result<Vec<R>> {
        rest::list(&self.session, &collection::<R>(Method::GET), query, self.page).await
    }

    /// Makes a resource.
    ///
    /// # Errors
    /// With [`crate::RetryClass::Unknown`] it may have been made: look for it before another attempt.
    pub async fn create<R: Creatable<In = Self>>(&self, body: &R::Create) -> Result<R> {
        let request = with_body(collection::<R>(Method::POST), R::SINGULAR, body)?;
        exchange(&self.session, &request, R::SINGULAR).await
    }

    /// Makes several of a kind in one call: all of them, or none.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub async fn create_all<R: Creatable<In = Self>>(&self, bodies: &[R::Create]) -> Result<Vec<R>> {
        let request = with_body(collection::<R>(Method::POST), R::PLURAL, bodies)?;
        exchange(&self.session, &request, R::PLURAL).await
    }

    /// Changes a resource; with `revision` only if it still has that one.
    ///
    /// # Errors
    /// [`crate::RetryClass::Conflict`] (412, `RevisionNumberConstraintFailed`) if its revision is another.
    pub async fn update<R: Updatable<In = Self>>(
        &self,
        id: &str,
        body: &R::Update,
        revision: Option<u64>,
    ) -> Result<R> {
        let mut request = with_body(member::<R>(Method::PUT, id, "")?, R::SINGULAR, body)?;
        request.revision = revision;
        exchange(&self.session, &request, R::SINGULAR).await
    }

    /// Deletes a resource. That it is gone already is a success.
    ///
    /// # Errors
    /// [`crate::RetryClass::Conflict`] while it is in use; [`crate::RetryClass::NotFound`] if it exists, but not for us.
    pub async fn delete<R: Creatable<In = Self>>(&self, id: &str) -> Result<Deleted> {
        rest::delete(&self.session, &member::<R>(Method::DELETE, id, "")?).await
    }
}

impl Service for Neutron {
    const TYPE: &'static str = NETWORK;
    const ROOT: &'static str = "/v2.0";
}
