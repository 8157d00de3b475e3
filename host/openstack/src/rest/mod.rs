//! What the APIs of Neutron and Octavia have in common: kinds of resources, where they are, and how bodies wrap them.

mod list;

use std::collections::BTreeMap;

use isthmus_model::retry::RetryClass;
use reqwest::Method;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::error::{ErrorKind, Result};
use crate::session::{Request, Response, Session, segment};

pub(crate) use list::{PAGE, list};

/// A service with collections of resources.
pub trait Service {
    /// Its type in the catalog.
    const TYPE: &'static str;
    /// What the paths of its collections begin with, the version included (`/v2.0`).
    const ROOT: &'static str;
}

/// A kind of resource that can be read.
pub trait Resource: DeserializeOwned + Send + 'static {
    /// Where its collection is: at the root of a [`Service`], or below each resource of another kind.
    type In;
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
    type Create: Serialize + Send + Sync;
}

/// A kind that we change.
pub trait Updatable: Resource {
    /// Body of a change: what is `None` stays.
    type Update: Serialize + Send + Sync;
}

/// What became of a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// It was there.
    Done,
    /// It was gone already.
    Gone,
}

/// The collection of a kind.
pub(crate) fn collection<R>(method: Method) -> Request
where
    R: Resource,
    R::In: Service,
{
    let path = format!("{}/{}", <R::In as Service>::ROOT, R::PATH);
    Request::new(<R::In as Service>::TYPE, R::PATH, method, path)
}

/// The collection of a kind below `parent`.
pub(crate) fn collection_in<R>(method: Method, parent: &str) -> Result<Request>
where
    R: Resource,
    R::In: Resource,
    <R::In as Resource>::In: Service,
{
    let mut request = one_of(collection::<R::In>(method), parent, "")?;
    request.path = format!("{}/{}", request.path, R::PATH);
    request.resource = R::PATH;
    Ok(request)
}

/// One of a collection, or with `suffix` (`/tags`) something below it.
pub(crate) fn member<R>(method: Method, id: &str, suffix: &str) -> Result<Request>
where
    R: Resource,
    R::In: Service,
{
    one_of(collection::<R>(method), id, suffix)
}

/// One of the collection that `request` is for, or with `suffix` something below it.
pub(crate) fn one_of(mut request: Request, id: &str, suffix: &str) -> Result<Request> {
    let id = segment(id).map_err(|e| request.error(RetryClass::Invalid, ErrorKind::Request, e))?;
    request.path = format!("{}/{id}{suffix}", request.path);
    Ok(request)
}

/// `request` with `{key: body}`.
pub(crate) fn with_body(
    mut request: Request,
    key: &str,
    body: &(impl Serialize + ?Sized),
) -> Result<Request> {
    let body = serde_json::to_vec(&BTreeMap::from([(key, body)]));
    request.body = Some(body.map_err(|e| request.error(RetryClass::Invalid, ErrorKind::Request, e))?);
    Ok(request)
}

/// Sends `request` and decodes what its answer has under `key`.
pub(crate) async fn exchange<T: DeserializeOwned>(
    session: &Session,
    request: &Request,
    key: &str,
) -> Result<T> {
    let response = session.send(request).await?;
    field(request, &response, &envelope(request, &response)?, key)
}

/// Sends a `DELETE`. That its target is gone already is a success.
pub(crate) async fn delete(session: &Session, request: &Request) -> Result<Deleted> {
    match session.send(request).await {
        Ok(_) => Ok(Deleted::Done),
        // Neutron says HTTPNotFound where a policy hides what exists, PortNotFound and the like where nothing does.
        // Octavia says 403 for what it hides.
        Err(e) if e.class == RetryClass::NotFound && e.fault() != Some("HTTPNotFound") => Ok(Deleted::Gone),
        Err(e) => Err(e),
    }
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
