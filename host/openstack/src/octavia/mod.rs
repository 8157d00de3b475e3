//! Octavia, the load balancing service, in typed form.
//!
//! <https://docs.openstack.org/api-ref/load-balancer/v2/>
//!
//! ```text
//! LoadBalancer -- Listener -- L7Policy -- L7Rule
//!           `---- Pool --+--- Member
//!                        `--- HealthMonitor
//! ```
//!
//! Every kind is a [`Resource`] that is decoded leniently: only `id` is required; what is missing, `null` or of an
//! unknown value never fails a read. Members and rules are below their pool or policy: the methods that end in `_in` take
//! the id of that first.
//!
//! # Caveats
//! - Octavia answers before the work is done: what it takes is `PENDING_CREATE`, `PENDING_UPDATE` or `PENDING_DELETE`
//!   until its provider is done ([`pending`]). Meanwhile every part of the load balancer refuses changes
//!   ([`crate::Error::immutable`]).
//! - With some providers (OVN) a load balancer is `ACTIVE` before its parts are: see [`Octavia::status_tree`].

mod health_monitor;
mod l7policy;
mod l7rule;
mod listener;
mod load_balancer;
mod member;
mod offer;
mod pool;
mod quota;
mod status;
mod version;

use std::sync::Arc;

use parking_lot::Mutex;
use reqwest::Method;

use crate::catalog::LOAD_BALANCER;
use crate::error::Result;
use crate::rest::{self, PAGE, Service, collection, collection_in, exchange, member, one_of, with_body};
use crate::session::Session;

pub use crate::rest::{Creatable, Deleted, Resource, Updatable};
pub use health_monitor::{HealthMonitor, HealthMonitorCreate, HealthMonitorUpdate, HttpVersion};
pub use l7policy::{L7Policy, L7PolicyCreate, L7PolicyUpdate};
pub use l7rule::{L7Rule, L7RuleCreate, L7RuleUpdate};
pub use listener::{Listener, ListenerCreate, ListenerUpdate};
pub use load_balancer::{
    AdditionalVip, AdditionalVipRequest, LoadBalancer, LoadBalancerCreate, LoadBalancerUpdate,
};
pub use member::{Member, MemberCreate, MemberUpdate};
pub use offer::{Flavor, Provider};
pub use pool::{Pool, PoolCreate, PoolOrName, PoolUpdate, SessionPersistence};
pub use quota::Limits;
pub use status::{HealthMonitorStatus, ListenerStatus, MemberStatus, PoolStatus, StatusTree};
pub use version::ApiVersion;

/// Whether a `provisioning_status` says that the provider is still at work, and that the resource cannot be changed.
pub fn pending(provisioning_status: &str) -> bool {
    provisioning_status.starts_with("PENDING_")
}

/// The load balancing service of a session.
#[derive(Debug, Clone)]
pub struct Octavia {
    session: Session,
    page: usize,
    /// As it was said last.
    version: Arc<Mutex<Option<ApiVersion>>>,
}

impl Octavia {
    /// The load balancing service of `session`.
    pub fn new(session: Session) -> Self {
        Self { session, page: PAGE, version: Arc::default() }
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
    /// [`crate::RetryClass::NotFound`] if there is none; [`crate::RetryClass::Forbidden`] if it is of another project.
    pub async fn get<R: Resource<In = Self>>(&self, id: &str) -> Result<R> {
        exchange(&self.session, &member::<R>(Method::GET, id, "")?, R::SINGULAR).await
    }

    /// All resources that match `query`: filters (`("project_id", ...)`, `("loadbalancer_id", ...)` of listeners and
    /// pools, `("listener_id", ...)` of policies, `("pool_id", ...)` of health monitors, `("tags", "a,b")`: with all of
    /// these tags, `("tags-any", "a,b")`: with one of them) and `("fields", ...)`, of which `id` is always one.
    ///
    /// # Guarantee
    /// What exists from the beginning to the end is in it exactly once (pages are ordered by id).
    ///
    /// # Errors
    /// A page failed. There is no partial result: what is missing from a list looks deleted. A filter that the kind does
    /// not have is [`crate::RetryClass::Invalid`].
    pub async fn list<R: Resource<In = Self>>(&self, query: &[(&str, &str)]) -> Result<Vec<R>> {
        rest::list(&self.session, &collection::<R>(Method::GET), query, self.page).await
    }

    /// Makes a resource; a load balancer with everything that its body holds.
    ///
    /// # Errors
    /// With [`crate::RetryClass::Unknown`] it may have been made: look for it before another attempt.
    /// [`crate::RetryClass::Quota`] if the project may have no more; [`crate::Error::immutable`] while the load balancer
    /// is pending; [`crate::Error::unsupported`] if the provider cannot do it.
    pub async fn create<R: Creatable<In = Self>>(&self, body: &R::Create) -> Result<R> {
        let request = with_body(collection::<R>(Method::POST), R::SINGULAR, body)?;
        exchange(&self.session, &request, R::SINGULAR).await
    }

    /// Changes a resource. Octavia has no guard by revision: the last one wins.
    ///
    /// # Errors
    /// [`crate::Error::immutable`] while the load balancer or the resource is pending; [`crate::Error::unsupported`] if
    /// the provider cannot do it.
    pub async fn update<R: Updatable<In = Self>>(&self, id: &str, body: &R::Update) -> Result<R> {
        let request = with_body(member::<R>(Method::PUT, id, "")?, R::SINGULAR, body)?;
        exchange(&self.session, &request, R::SINGULAR).await
    }

    /// Deletes a resource. That it is gone already is a success. One that was there is `PENDING_DELETE` from now on, and
    /// gone when [`Octavia::get`] does not find it any more.
    ///
    /// # Errors
    /// [`crate::Error::immutable`] while the load balancer is pending; [`crate::RetryClass::Conflict`] for a pool that a
    /// policy uses; [`crate::RetryClass::Invalid`] for a load balancer that has listeners or pools (see
    /// [`Octavia::delete_cascade`]).
    pub async fn delete<R: Creatable<In = Self>>(&self, id: &str) -> Result<Deleted> {
        rest::delete(&self.session, &member::<R>(Method::DELETE, id, "")?).await
    }

    /// One resource below `parent`.
    ///
    /// # Errors
    /// As of [`Octavia::get`]; [`crate::RetryClass::NotFound`] also if it is below another one, or `parent` is gone.
    pub async fn get_in<R>(&self, parent: &str, id: &str) -> Result<R>
    where
        R: Resource<In: Resource<In = Self>>,
    {
        let request = one_of(collection_in::<R>(Method::GET, parent)?, id, "")?;
        exchange(&self.session, &request, R::SINGULAR).await
    }

    /// All resources below `parent` that match `query`, as [`Octavia::list`].
    ///
    /// # Errors
    /// As of [`Octavia::list`]; [`crate::RetryClass::NotFound`] if `parent` is gone.
    pub async fn list_in<R>(&self, parent: &str, query: &[(&str, &str)]) -> Result<Vec<R>>
    where
        R: Resource<In: Resource<In = Self>>,
    {
        let collection = collection_in::<R>(Method::GET, parent)?;
        rest::list(&self.session, &collection, query, self.page).await
    }

    /// Makes a resource below `parent`.
    ///
    /// # Errors
    /// As of [`Octavia::create`]; [`crate::RetryClass::NotFound`] if `parent` is gone.
    pub async fn create_in<R>(&self, parent: &str, body: &R::Create) -> Result<R>
    where
        R: Creatable<In: Resource<In = Self>>,
    {
        let request = with_body(collection_in::<R>(Method::POST, parent)?, R::SINGULAR, body)?;
        exchange(&self.session, &request, R::SINGULAR).await
    }

    /// Changes a resource below `parent`.
    ///
    /// # Errors
    /// As of [`Octavia::update`].
    pub async fn update_in<R>(&self, parent: &str, id: &str, body: &R::Update) -> Result<R>
    where
        R: Updatable<In: Resource<In = Self>>,
    {
        let request = one_of(collection_in::<R>(Method::PUT, parent)?, id, "")?;
        exchange(&self.session, &with_body(request, R::SINGULAR, body)?, R::SINGULAR).await
    }

    /// Deletes a resource below `parent`. That it, or its parent, is gone already is a success.
    ///
    /// # Errors
    /// As of [`Octavia::delete`].
    pub async fn delete_in<R>(&self, parent: &str, id: &str) -> Result<Deleted>
    where
        R: Creatable<In: Resource<In = Self>>,
    {
        rest::delete(&self.session, &one_of(collection_in::<R>(Method::DELETE, parent)?, id, "")?).await
    }
}

impl Service for Octavia {
    const TYPE: &'static str = LOAD_BALANCER;
    // `/v2.0/lbaas` is the same; this is what Octavia's list of versions refers to.
    const ROOT: &'static str = "/v2/lbaas";
}
