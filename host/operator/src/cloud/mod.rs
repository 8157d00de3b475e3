//! The cloud as the reconcile sees it: one driver a kind, between the contract's fields and the service's own.
//!
//! A new kind is a file here, a line in [`Cloud::new`], and its table in `isthmus_model::kinds`.

mod existing;
mod port;

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::BoxFuture;
use isthmus_model::desired::Entry;
use isthmus_model::kinds::Kind;
use isthmus_model::mark::Mark;
use isthmus_model::observed::Observed;
use isthmus_model::retry::RetryClass;
use isthmus_openstack::Neutron;
use isthmus_openstack::neutron::Quotas;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use thiserror::Error;
use tokio::time::Instant;

pub use existing::{Existing, Lookup};

/// Why a call to the cloud did not do what was asked.
#[derive(Debug, Error)]
pub enum CloudError {
    /// The service's answer, or none.
    #[error(transparent)]
    Service(#[from] isthmus_openstack::Error),
    /// The resource that was to be changed is not there any more.
    #[error(transparent)]
    Gone(isthmus_openstack::Error),
    /// A field that the service has no place for.
    #[error("{kind} {name:?}: {message}")]
    Field {
        /// Kind of the entry.
        kind: Kind,
        /// Local name of the entry.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// There is no driver for the kind.
    #[error("this version of Isthmus makes no {0}: use a module that does without, or a later version")]
    Unsupported(Kind),
}

impl CloudError {
    /// What it means for a retry.
    pub fn class(&self) -> RetryClass {
        match self {
            Self::Service(error) | Self::Gone(error) => error.class,
            Self::Field { .. } | Self::Unsupported(_) => RetryClass::Invalid,
        }
    }
}

/// What [`CloudError`] is the error of.
pub type Result<T, E = CloudError> = std::result::Result<T, E>;

/// The fields of an entry with ids in place of references.
pub type Fields = BTreeMap<String, Json>;

/// A resource to be made.
#[derive(Debug)]
pub struct Create<'a> {
    /// What the module asked for.
    pub entry: &'a Entry,
    /// Whose it will be.
    pub mark: Mark,
    /// Its fields.
    pub fields: Fields,
    /// Its name in the cloud.
    pub name: String,
}

/// A change of a resource.
#[derive(Debug)]
pub struct Update<'a> {
    /// What the module asks for.
    pub entry: &'a Entry,
    /// Whose it is, under the name that it shall have.
    pub mark: Mark,
    /// The resource as it was seen last.
    pub observed: &'a Observed,
    /// The fields to change; null clears one.
    pub fields: Fields,
    /// Whether the module's tags change.
    pub tags: bool,
    /// Whether the mark changes: the entry was renamed.
    pub remark: bool,
    /// Name and description to change.
    pub name: Option<String>,
    /// As above.
    pub description: Option<String>,
}

/// One kind of resource in the cloud.
pub trait Driver: Send + Sync {
    /// All resources of the kind in our project that carry this tag.
    fn list<'a>(&'a self, tag: &'a str) -> BoxFuture<'a, Result<Vec<Observed>>>;
    /// Those of [`Driver::list`] that are of the subject with this uid.
    fn list_of<'a>(&'a self, tag: &'a str, subject: &'a str) -> BoxFuture<'a, Result<Vec<Observed>>>;
    /// Makes one, marked in the same call.
    fn create<'a>(&'a self, create: Create<'a>) -> BoxFuture<'a, Result<Observed>>;
    /// Changes one that was seen with our mark.
    ///
    /// # Errors
    /// [`CloudError::Gone`] where it is not there any more: what it refers to may be missing as well, and is not it.
    fn update<'a>(&'a self, update: Update<'a>) -> BoxFuture<'a, Result<Observed>>;
    /// Deletes one. That it is gone already is success.
    fn delete<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>>;
    /// Lets one go: it loses our mark, and gets this tag in its place.
    fn retain<'a>(&'a self, observed: &'a Observed, tag: &'a str) -> BoxFuture<'a, Result<()>>;
}

/// The drivers and what they share.
pub struct Cloud {
    drivers: BTreeMap<Kind, Box<dyn Driver>>,
    /// Look-ups of what is not ours.
    pub existing: Existing,
    neutron: Neutron,
    project: Option<String>,
    quotas: tokio::sync::Mutex<Option<(Instant, Quotas)>>,
}

/// How long limit and use of quotas are believed.
const QUOTAS_FRESH: Duration = Duration::from_secs(2);

impl std::fmt::Debug for Cloud {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cloud").field("kinds", &self.drivers.keys()).finish_non_exhaustive()
    }
}

impl Cloud {
    /// Drivers for everything that this version makes, in one project.
    pub fn new(neutron: Neutron, project: Option<String>) -> Self {
        let scope = Scope { neutron: neutron.clone(), project: project.clone() };
        let drivers: [(Kind, Box<dyn Driver>); 1] = [(Kind::Port, Box::new(port::Ports(scope)))];
        let existing = Existing::new(neutron.clone(), project.clone());
        let quotas = tokio::sync::Mutex::default();
        Self { drivers: drivers.into_iter().collect(), existing, neutron, project, quotas }
    }

    /// The driver of a kind.
    ///
    /// # Errors
    /// [`CloudError::Unsupported`].
    pub fn driver(&self, kind: Kind) -> Result<&dyn Driver> {
        self.drivers.get(&kind).map(AsRef::as_ref).ok_or(CloudError::Unsupported(kind))
    }

    /// Everything with this tag, of all kinds.
    ///
    /// # Errors
    /// The first kind that can't be listed: half a list would look like things deleted.
    pub async fn list(&self, tag: &str) -> Result<Vec<Observed>> {
        let mut all = Vec::new();
        for driver in self.drivers.values() {
            all.extend(driver.list(tag).await?);
        }
        Ok(all)
    }

    /// Everything with this tag that is of one subject.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub async fn list_of(&self, tag: &str, subject: &str) -> Result<Vec<Observed>> {
        let mut all = Vec::new();
        for driver in self.drivers.values() {
            all.extend(driver.list_of(tag, subject).await?);
        }
        Ok(all)
    }

    /// The project that everything is made in.
    pub fn project(&self) -> Option<&str> {
        self.project.as_deref()
    }

    /// Limit and use of a quota of our project, as a person reads it; `None` where the cloud does not say.
    pub async fn quota(&self, resource: &str) -> Option<String> {
        // Many subjects run into one quota together: one of them asks.
        let mut known = self.quotas.lock().await;
        if known.as_ref().is_none_or(|(at, _)| at.elapsed() > QUOTAS_FRESH) {
            *known = Some((Instant::now(), self.neutron.quotas(self.project.as_deref()?).await.ok()?));
        }
        let (_, quotas) = known.as_ref()?;
        let quota = quotas.get(resource)?;
        Some(format!("{resource} quota {}, used {}", quota.limit, quota.used))
    }
}

/// What every driver needs.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    neutron: Neutron,
    project: Option<String>,
}

impl Scope {
    /// A query for what is ours: as a credential may see other projects' resources, by project too.
    fn query<'a>(&'a self, ours: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let project = self.project.as_deref().map(|p| ("project_id", p));
        ours.iter().copied().chain(project).collect()
    }
}

/// From the contract's fields to a driver's own record of them.
fn typed<T: DeserializeOwned>(entry: &Entry, fields: Fields) -> Result<T> {
    serde_json::from_value(Json::Object(fields.into_iter().collect())).map_err(|error| CloudError::Field {
        kind: entry.kind,
        name: entry.name.clone(),
        message: error.to_string(),
    })
}

/// From a driver's own record to the contract's fields; what is not set is left out.
fn untyped(fields: &impl Serialize) -> Fields {
    match serde_json::to_value(fields) {
        Ok(Json::Object(map)) => map.into_iter().collect(),
        _ => Fields::new(),
    }
}
