//! The cloud as the reconcile sees it: one driver a kind, between the contract's fields and the service's own.
//!
//! A new kind is a file here, a line in [`Cloud::new`], and its table in `isthmus_model::kinds`.

mod attachment;
pub(crate) mod certificate;
mod error;
pub(crate) mod existing;
mod holders;
mod neutron;
mod octavia;
mod quota;

use std::collections::{BTreeMap, BTreeSet};

use futures::future::{BoxFuture, FutureExt};
use isthmus_model::desired::Entry;
use isthmus_model::kinds::Kind;
use isthmus_model::mark::Mark;
use isthmus_model::observed::Observed;
use isthmus_model::plan::Below;
use isthmus_model::retained::Retained;
use isthmus_model::snapshot::Provider;
use isthmus_openstack::auth::Token;
use isthmus_openstack::catalog::{KEY_MANAGER, LOAD_BALANCER};
use isthmus_openstack::octavia::ApiVersion;
use isthmus_openstack::{Barbican, Neutron, Octavia, Session};
use prometheus_client::metrics::histogram::Histogram;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

pub use certificate::{Contents, Held};
pub use error::CloudError;
pub use existing::{Existing, Lookup};
pub use octavia::{KINDS as BALANCING, SINCE, Since};

use crate::metrics::Metrics;
use crate::queue::Parking;

/// What [`CloudError`] is the error of.
pub type Result<T, E = CloudError> = std::result::Result<T, E>;

/// The fields of an entry with ids in place of references.
pub type Fields = BTreeMap<String, Json>;

/// What stands for the id of an entry that is made in the same call.
pub fn within(name: &str) -> String {
    format!("{WITHIN}{name}")
}

/// The entry of the same call that an id stands for.
pub(crate) fn named_within(id: &str) -> Option<&str> {
    id.strip_prefix(WITHIN)
}

const WITHIN: &str = "local:";

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
    /// What [`Driver::ahead`] answered.
    pub ahead: Option<String>,
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
    /// All resources of the kind in our project that carry these tags, with commas in between.
    fn list<'a>(&'a self, tag: &'a str) -> BoxFuture<'a, Result<Vec<Observed>>>;
    /// Those of [`Driver::list`] that are of the subject with this uid.
    fn list_of<'a>(&'a self, tag: &'a str, subject: &'a str) -> BoxFuture<'a, Result<Vec<Observed>>> {
        async move { self.list(&format!("{tag},{}", Mark::subject_tag(subject))).await }.boxed()
    }
    /// Those of these ids that are there, where records alone say whose one is ([`Kind::is_told_by_record`]): no list has them.
    fn recorded<'a>(&'a self, _ids: &'a [&'a str]) -> BoxFuture<'a, Result<Vec<Observed>>> {
        async { Ok(Vec::new()) }.boxed()
    }
    /// The id that one will have which has to be recorded before it is made ([`Kind::is_told_by_record`]).
    ///
    /// # Errors
    /// It can't be made.
    fn ahead<'a>(&'a self, _create: &'a Create<'a>) -> BoxFuture<'a, Result<Option<String>>> {
        async { Ok(None) }.boxed()
    }
    /// Makes one, marked in the same call.
    fn create<'a>(&'a self, create: Create<'a>) -> BoxFuture<'a, Result<Observed>>;
    /// Makes one with all below it in one call. In the fields, what is of the same call is named by [`within`]. `None`: nothing was
    /// made, for something of it can't be; what that is shows where each is made by itself.
    fn create_tree<'a>(
        &'a self,
        root: &'a Create<'a>,
        _below: Vec<Create<'a>>,
    ) -> BoxFuture<'a, Result<Option<Observed>>> {
        async move { Err(CloudError::Unsupported(root.entry.kind)) }.boxed()
    }
    /// Changes one that was seen with our mark.
    ///
    /// # Errors
    /// [`CloudError::Gone`] where it is not there any more: what it refers to may be missing as well, and is not it.
    fn update<'a>(&'a self, update: Update<'a>) -> BoxFuture<'a, Result<Observed>>;
    /// Deletes one. That it is gone already is success.
    fn delete<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>>;
    /// Deletes one with all below it in one call. `false`: it can't, or there is more below it than these, and nothing is done.
    fn delete_tree<'a>(&'a self, _id: &'a str, _below: &'a [Below]) -> BoxFuture<'a, Result<bool>> {
        async { Ok(false) }.boxed()
    }
    /// Looks again at one that was not ready; `None`: it is gone.
    fn refresh<'a>(&'a self, observed: &'a Observed) -> BoxFuture<'a, Result<Option<Observed>>> {
        async { Ok(Some(observed.clone())) }.boxed()
    }
    /// Lets one go: it loses our mark, and gets this in its place. Where no list can say so of the kind (it has no mark, or the entry
    /// is the host's), it is deleted.
    fn retain<'a>(&'a self, observed: &'a Observed, _retained: &'a Retained) -> BoxFuture<'a, Result<()>> {
        self.delete(&observed.id)
    }
}

/// The drivers and what they share.
pub struct Cloud {
    drivers: BTreeMap<Kind, Box<dyn Driver>>,
    /// Look-ups of what is not ours.
    pub existing: Existing,
    /// What certificates hold, while they are made.
    pub contents: Contents,
    neutron: Neutron,
    octavia: Option<Octavia>,
    /// What load-balancer providers said they lack.
    lacking: octavia::Lacking,
    has_key_manager: bool,
    project: Option<String>,
    /// Kinds of which everything was listed at least once.
    listed: parking_lot::Mutex<BTreeSet<Kind>>,
    quotas: quota::Asked,
}

/// What a list of everything came to.
#[derive(Debug, Default)]
pub struct Listed {
    /// What there is.
    pub resources: Vec<Observed>,
    /// Kinds that could not be listed.
    pub unlisted: BTreeSet<Kind>,
}

impl std::fmt::Debug for Cloud {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cloud").field("kinds", &self.drivers.keys()).finish_non_exhaustive()
    }
}

impl Cloud {
    /// Everything that the services of this token can do. `turns`: as of [`Self::new`].
    pub fn of(session: &Session, token: &Token, parking: &Parking, turns: Histogram) -> Self {
        let has = |service| token.catalog.endpoint(service, session.config()).is_ok();
        let octavia = has(LOAD_BALANCER).then(|| Octavia::new(session.clone()));
        let barbican = has(KEY_MANAGER).then(|| Barbican::new(session.clone()));
        let neutron = Neutron::new(session.clone());
        Self::new(neutron, octavia, barbican, token.project_id.clone(), parking, turns)
    }

    /// To look at, for who is no operator.
    ///
    /// # Errors
    /// Keystone's.
    pub async fn to_look_at(session: &Session) -> Result<Self> {
        let token = session.token().await?;
        Ok(Self::of(session, &token, &Parking::default(), Metrics::default().turns))
    }

    /// Drivers for everything that this version makes, in one project. `octavia`, `barbican`: `None` where the cloud has none.
    /// `turns`: seconds that changes wait for their turn on a load balancer.
    fn new(
        neutron: Neutron,
        octavia: Option<Octavia>,
        barbican: Option<Barbican>,
        project: Option<String>,
        parking: &Parking,
        turns: Histogram,
    ) -> Self {
        let mut drivers: BTreeMap<Kind, Box<dyn Driver>> = BTreeMap::new();
        drivers.extend(neutron::drivers(neutron.clone(), project.clone(), parking));
        let existing = Existing::new(neutron.clone(), octavia.clone(), project.clone());
        let (contents, marks) = (Contents::default(), certificate::Marks::default());
        let (has_key_manager, lacking) = (barbican.is_some(), octavia::Lacking::default());
        if let Some(octavia) = octavia.clone() {
            let certificates = has_key_manager.then(|| marks.clone());
            let project = project.clone();
            drivers.extend(octavia::drivers(octavia, project, parking, turns, certificates, lacking.clone()));
        }
        if let Some(barbican) = barbican {
            let certificates = certificate::Certificates::new(barbican, contents.clone(), marks);
            drivers.insert(Kind::Certificate, Box::new(certificates));
        }
        let (listed, quotas) = (parking_lot::Mutex::default(), quota::Asked::default());
        Self {
            drivers,
            existing,
            contents,
            neutron,
            octavia,
            lacking,
            has_key_manager,
            project,
            listed,
            quotas,
        }
    }

    /// The driver of a kind.
    ///
    /// # Errors
    /// [`CloudError::Unsupported`], [`CloudError::NoService`], [`CloudError::NotListed`].
    pub fn driver(&self, kind: Kind) -> Result<&dyn Driver> {
        let driver = self.drivers.get(&kind).ok_or(match may_be_absent(kind) {
            true => CloudError::NoService(kind),
            false => CloudError::Unsupported(kind),
        })?;
        if !self.listed.lock().contains(&kind) {
            return Err(CloudError::NotListed(kind));
        }
        Ok(driver.as_ref())
    }

    /// Whether everything of every kind was listed at least once.
    pub fn is_listed(&self) -> bool {
        self.listed.lock().len() == self.drivers.len()
    }

    /// Everything with this tag, of all kinds.
    ///
    /// # Errors
    /// Neutron's: half a list would look like things deleted. Another service's is that of its kinds alone.
    pub async fn list(&self, tag: &str) -> Result<Listed> {
        let all = self.list_kinds(tag, |_| true).await?;
        self.listed.lock().extend(self.drivers.keys().filter(|kind| !all.unlisted.contains(kind)));
        Ok(all)
    }

    /// Everything that this cluster let go of: it is nobody's of ours.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub async fn retained(&self, cluster: &str) -> Result<Listed> {
        let mut all = self.list_kinds(&Retained::cluster_tag(cluster), Kind::can_be_remarked).await?;
        // A service may understand a tag otherwise than we do.
        all.resources.retain(|found| found.retained.as_ref().is_some_and(|of| of.cluster == cluster));
        Ok(all)
    }

    async fn list_kinds(&self, tag: &str, of: impl Fn(Kind) -> bool) -> Result<Listed> {
        let mut all = Listed::default();
        for (kind, driver) in self.drivers.iter().filter(|(kind, _)| of(**kind)) {
            match driver.list(tag).await {
                Ok(found) => all.resources.extend(found),
                Err(error) if may_be_absent(*kind) => {
                    tracing::warn!(%kind, %error, "can't be listed: what is known of it stays as it is");
                    all.unlisted.insert(*kind);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    /// Everything with this tag that is of one subject and of these kinds.
    ///
    /// # Errors
    /// The service's.
    pub async fn list_of(&self, tag: &str, subject: &str, kinds: &BTreeSet<Kind>) -> Result<Vec<Observed>> {
        let mut all = Vec::new();
        for kind in kinds {
            all.extend(self.driver(*kind)?.list_of(tag, subject).await?);
        }
        Ok(all)
    }

    /// Makes a resource with all below it; alone, where it can't be made with all of that. The answer says little of what is below: it
    /// is listed.
    ///
    /// # Errors
    /// The service's; [`CloudError::Unseen`] where all was made and the list failed.
    pub async fn create_tree(
        &self,
        cluster: &str,
        root: Create<'_>,
        below: Vec<Create<'_>>,
    ) -> Result<Vec<Observed>> {
        let (kind, subject, count) = (root.entry.kind, root.mark.subject.clone(), below.len());
        let kinds: BTreeSet<Kind> = below.iter().map(|create| create.entry.kind).collect();
        let driver = self.driver(kind)?;
        for kind in &kinds {
            self.driver(*kind)?;
        }
        let Some(made) = driver.create_tree(&root, below).await? else {
            return Ok(vec![driver.create(root).await?]);
        };
        let mut tree = vec![made];
        let load_balancer = tree.first().map(|made| made.id.clone()).unwrap_or_default();
        let unseen = |why: String| CloudError::Unseen { load_balancer: load_balancer.clone(), why };
        let mut all = self
            .list_of(&Mark::cluster_tag(cluster), &subject, &kinds)
            .await
            .map_err(|error| unseen(error.to_string()))?;
        all.retain(|o| o.mark.as_ref().is_some_and(|m| m.cluster == cluster && m.subject == subject));
        // Listeners come before their policies. What is of another load balancer may be going still.
        all.sort_by_key(|found| found.kind);
        for found in all {
            if tree.iter().any(|above| found.fields.values().any(|field| *field == *above.id)) {
                tree.push(found);
            }
        }
        match tree.len() - 1 == count {
            true => Ok(tree),
            false => Err(unseen(format!("{} of {count} are there", tree.len() - 1))),
        }
    }

    /// Deletes a load balancer with all below it: in one call, where there is nothing else below it. Answers the ids of what is gone,
    /// also where not all of it is.
    pub async fn delete_tree(&self, id: &str, below: &[Below]) -> (Vec<String>, Result<()>) {
        let mut gone = Vec::new();
        let done = self.fell(id, below, &mut gone).await;
        (gone, done)
    }

    async fn fell(&self, id: &str, below: &[Below], gone: &mut Vec<String>) -> Result<()> {
        let root = self.driver(Kind::LoadBalancer)?;
        if root.delete_tree(id, below).await? {
            gone.extend(below.iter().map(|part| part.id.clone()));
        } else {
            for part in below {
                self.driver(part.kind)?.delete(&part.id).await?;
                gone.push(part.id.clone());
            }
            root.delete(id).await?;
        }
        gone.push(id.to_owned());
        Ok(())
    }

    /// Aliases of Neutron's extensions, sorted.
    ///
    /// # Errors
    /// Neutron's.
    pub async fn extensions(&self) -> Result<Vec<String>> {
        Ok(self.neutron.extensions().await?.into_iter().collect())
    }

    /// The load-balancer providers and what they can do; none where there is no Octavia.
    ///
    /// # Errors
    /// Octavia's.
    pub async fn providers(&self) -> Result<Vec<Provider>> {
        match &self.octavia {
            Some(octavia) => octavia::providers(octavia, &self.lacking).await,
            None => Ok(Vec::new()),
        }
    }

    /// Octavia's version of the API, as it said with its providers; `None`: it does not say.
    pub fn balancing_version(&self) -> Option<ApiVersion> {
        self.octavia.as_ref().and_then(Octavia::said_version)
    }

    /// Whether a provider said that it can't do something, since this was asked last.
    pub fn learnt(&self) -> bool {
        self.lacking.is_new()
    }

    /// Whether the cloud has a key manager.
    pub fn has_key_manager(&self) -> bool {
        self.has_key_manager
    }

    /// The project that everything is made in.
    pub fn project(&self) -> Option<&str> {
        self.project.as_deref()
    }
}

/// Whether a kind is of a service that a cloud can do without.
fn may_be_absent(kind: Kind) -> bool {
    octavia::KINDS.contains(&kind) || certificate::KINDS.contains(&kind)
}

/// Whether an update says to clear a field.
fn cleared(update: &Update<'_>, name: &str) -> bool {
    update.fields.get(name).is_some_and(Json::is_null)
}

/// The fields that an update sets.
fn set(update: &Update<'_>) -> Fields {
    let set = update.fields.iter().filter(|(_, value)| !value.is_null());
    set.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// What a description says beside whose the resource is, or was.
fn beside(description: &str) -> String {
    Retained::beside(&Mark::beside(description)).to_owned()
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
