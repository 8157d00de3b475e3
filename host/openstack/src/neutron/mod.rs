//! Neutron, the networking service, in typed form.
//!
//! <https://docs.openstack.org/api-ref/network/v2/>
//!
//! Every kind is a [`Resource`] that is decoded leniently: only `id` is required; what is missing, `null` or of an
//! unknown value never fails a read. Kinds that we make implement [`Creatable`], those that we change [`Updatable`].

mod address_group;
mod extension;
mod list;
mod network;
mod port;
mod quota;
mod router;
mod security_group;
mod subnet;
mod tag;

use std::collections::BTreeMap;

use reqwest::Method;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::catalog::NETWORK;
use crate::error::{ErrorKind, Result};
use crate::session::{Request, Response, Session, segment};
use isthmus_model::retry::RetryClass;

pub use address_group::{AddressGroup, AddressGroupCreate, AddressGroupUpdate};
pub use extension::Extensions;
pub use network::{Network, NetworkCreate, NetworkUpdate};
pub use port::{AllowedAddressPair, FixedIp, FixedIpRequest, Port, PortCreate, PortUpdate};
pub use quota::{Quota, Quotas};
pub use router::{Router, RouterInterface};
pub use security_group::{
    SecurityGroup, SecurityGroupCreate, SecurityGroupRule, SecurityGroupRuleCreate, SecurityGroupUpdate,
};
pub use subnet::{AllocationPool, HostRoute, Subnet, SubnetCreate, SubnetUpdate};

/// How many resources a page of a list has. Neutron cuts it to its `pagination_max_limit`.
const PAGE: usize = 500;

/// A kind of Neutron resource that can be read.
pub trait Resource: DeserializeOwned + Send + 'static {
    /// Its collection in a path (`security-groups`).
    const PATH: &'static str;
    /// Key of one in a body (`security_group`).
    const SINGULAR: &'static str;
    /// Key of several in a body (`security_groups`).
    const PLURAL: &'static str;

    /// Its id.
    fn id(&self) -> &str;
}

/// A kind that we make and delete.
pub trait Creatable: Resource {
    /// Body of its creation.
    type Create: Serialize + Sync;
}

/// A kind that we change.
pub trait Updatable: Resource {
    /// Body of a change: what is `None` stays.
    type Update: Serialize + Sync;
}

/// What became of a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// It was there.
    Done,
    /// It was gone already.
    Gone,
}

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
    /// [`RetryClass::NotFound`] if there is none that we may see.
    pub async fn get<R: Resource>(&self, id: &str) -> Result<R> {
        self.exchange(&member::<R>(Method::GET, id, "")?, R::SINGULAR).await
    }

    /// Makes a resource.
    ///
    /// # Errors
    /// With [`RetryClass::Unknown`] it may have been made: look for it before another attempt.
    pub async fn create<R: Creatable>(&self, body: &R::Create) -> Result<R> {
        let request = with_body(collection::<R>(Method::POST), R::SINGULAR, body)?;
        self.exchange(&request, R::SINGULAR).await
    }

    /// Changes a resource; with `revision` only if it still has that one.
    ///
    /// # Errors
    /// [`RetryClass::Conflict`] (412, `RevisionNumberConstraintFailed`) if its revision is another.
    pub async fn update<R: Updatable>(&self, id: &str, body: &R::Update, revision: Option<u64>) -> Result<R> {
        let mut request = with_body(member::<R>(Method::PUT, id, "")?, R::SINGULAR, body)?;
        request.revision = revision;
        self.exchange(&request, R::SINGULAR).await
    }

    /// Deletes a resource. That it is gone already is a success.
    ///
    /// # Errors
    /// [`RetryClass::Conflict`] while it is in use; [`RetryClass::NotFound`] if it exists, but not for us.
    pub async fn delete<R: Creatable>(&self, id: &str) -> Result<Deleted> {
        match self.session.send(&member::<R>(Method::DELETE, id, "")?).await {
            Ok(_) => Ok(Deleted::Done),
            // Neutron says HTTPNotFound where a policy hides what exists, PortNotFound and the like where nothing does.
            Err(e) if e.class == RetryClass::NotFound && e.fault() != Some("HTTPNotFound") => {
                Ok(Deleted::Gone)
            }
            Err(e) => Err(e),
        }
    }

    /// Sends `request` and decodes what its answer has under `key`.
    async fn exchange<T: DeserializeOwned>(&self, request: &Request, key: &str) -> Result<T> {
        let response = self.session.send(request).await?;
        field(request, &response, &envelope(request, &response)?, key)
    }
}

/// The collection of a kind.
fn collection<R: Resource>(method: Method) -> Request {
    Request::new(NETWORK, R::PATH, method, format!("/v2.0/{}", R::PATH))
}

/// One of a collection, or with `suffix` (`/tags`) something below it.
fn member<R: Resource>(method: Method, id: &str, suffix: &str) -> Result<Request> {
    let mut request = collection::<R>(method);
    let id = segment(id).map_err(|e| request.error(RetryClass::Invalid, ErrorKind::Request, e))?;
    request.path = format!("{}/{id}{suffix}", request.path);
    Ok(request)
}

/// `request` with `{key: body}`.
fn with_body(mut request: Request, key: &str, body: &(impl Serialize + ?Sized)) -> Result<Request> {
    let body = serde_json::to_vec(&BTreeMap::from([(key, body)]));
    request.body = Some(body.map_err(|e| request.error(RetryClass::Invalid, ErrorKind::Request, e))?);
    Ok(request)
}

/// The top level of an answer, its values not decoded yet.
type Envelope<'a> = BTreeMap<String, &'a RawValue>;

fn envelope<'a>(request: &Request, response: &'a Response) -> Result<Envelope<'a>> {
    response.json(request)
}

fn field<'a, T: Deserialize<'a>>(
    request: &Request,
    response: &Response,
    envelope: &Envelope<'a>,
    key: &str,
) -> Result<T> {
    let raw =
        envelope.get(key).ok_or_else(|| response.unexpected(request, format_args!("no {key:?} in it")))?;
    serde_json::from_str(raw.get()).map_err(|e| response.unexpected(request, format_args!("{key}: {e}")))
}
