//! Octavia: load balancers, and what is below them.
//!
//! Marks are tags, or with an Octavia that has none (before API 2.5) at the beginning of descriptions. What Octavia answers otherwise
//! than it was asked (a flavor's name, a policy's precedence) is kept in a tag too, so that what is observed can be compared with what
//! is desired.

mod below;
mod l7_policy;
mod lane;
mod listener;
mod listener_certificate;
mod load_balancer;
mod marking;
mod monitor;
mod order;
mod pool;
mod providers;
mod repairs;
mod rules;
mod tree;
mod versions;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt};
use isthmus_model::desired::Entry;
use isthmus_model::kinds::Kind;
use isthmus_model::mark::Mark;
use isthmus_model::observed::{Observed, State};
use isthmus_model::retained::Retained;
use isthmus_model::retry::RetryClass;
use isthmus_model::snapshot::Provider;
use isthmus_model::value::Value;
use isthmus_openstack::Octavia;
use isthmus_openstack::octavia::{
    ApiVersion, Creatable, Listener, LoadBalancer, Resource, StatusTree, Updatable, pending,
};

use prometheus_client::metrics::histogram::Histogram;

use self::lane::{Lanes, Look, Status};
use self::marking::{Marked, Marking, Said, Tagged};
pub(super) use self::providers::Lacking;
pub use self::versions::{SINCE, Since};
use super::certificate::Marks;
use super::{CloudError, Driver, Result, beside, cleared, set};
use crate::queue::Parking;

/// The kinds that are Octavia's.
pub const KINDS: [Kind; 4] = [Kind::LoadBalancer, Kind::Listener, Kind::Pool, Kind::L7Policy];

/// The drivers of all of them. `certificates`: whose the secrets are, where there is a key manager.
pub(super) fn drivers(
    octavia: Octavia,
    project: Option<String>,
    parking: &Parking,
    turns: Histogram,
    certificates: Option<Marks>,
    lacking: Lacking,
) -> Vec<(Kind, Box<dyn Driver>)> {
    let lanes = Lanes::new(Box::new(octavia.clone()), parking.clone(), turns);
    let (owners, own_listeners) = Default::default();
    let scope = Arc::new(Scope {
        octavia,
        project,
        lanes,
        owners,
        own_listeners,
        lacking,
        parking: parking.clone(),
        tagged: Tagged::default(),
    });
    let balancers = load_balancer::LoadBalancers(scope.clone(), repairs::Repairs::default());
    let mut all: Vec<(Kind, Box<dyn Driver>)> = vec![
        (Kind::LoadBalancer, Box::new(balancers)),
        (Kind::Listener, Box::new(listener::Listeners(scope.clone()))),
        (Kind::Pool, Box::new(pool::Pools::new(scope.clone()))),
        (Kind::L7Policy, Box::new(l7_policy::L7Policies::new(scope.clone()))),
    ];
    if let Some(marks) = certificates {
        let certificates = listener_certificate::ListenerCertificates::new(scope, marks);
        all.push((Kind::ListenerCertificate, Box::new(certificates)));
    }
    all
}

/// The providers and what they can do, by name. Which version of the API there is, is asked anew, too.
pub(super) async fn providers(octavia: &Octavia, lacking: &Lacking) -> Result<Vec<Provider>> {
    if let Err(error) = octavia.api_version().await {
        tracing::debug!(%error, "Octavia does not say which versions it has");
    }
    let mut names: Vec<String> = octavia.providers().await?.into_iter().map(|p| p.name).collect();
    names.sort();
    let said = &octavia.session().config().providers;
    let able = |name: &String| providers::corrected(providers::capabilities(name), said);
    Ok(names.iter().map(|name| lacking.without(able(name))).collect())
}

/// What the drivers share.
struct Scope {
    octavia: Octavia,
    project: Option<String>,
    lanes: Lanes,
    parking: Parking,
    /// Id of the load balancer of each listener, pool and policy: whose lane its writes wait in.
    owners: parking_lot::Mutex<HashMap<String, String>>,
    /// Ids of listeners with our mark: nobody else is expected to change what is on them.
    own_listeners: parking_lot::Mutex<HashSet<String>>,
    lacking: Lacking,
    tagged: Tagged,
}

/// What is below a load balancer.
trait Below: Resource<In = Octavia> {
    /// Id of its load balancer; `None`: it is below a listener.
    fn load_balancer(&self) -> Option<&str>;
    /// Id of its listener.
    fn listener(&self) -> Option<&str> {
        None
    }
}

impl Scope {
    /// All of a kind with this tag. A credential that sees other projects sees theirs too: the project is part of the query.
    async fn list<R: Marked>(&self, tag: &str) -> Result<Vec<R>> {
        self.tagged.list(&self.octavia, self.project.as_deref(), tag).await
    }

    /// How what is made or changed of this entry is marked.
    ///
    /// # Errors
    /// The entry asks for what this Octavia is too old for.
    async fn marking(&self, entry: &Entry) -> Result<Marking> {
        self.may(entry).await.map(Marking::of)
    }

    /// Whether this Octavia has all that an entry asks for; its version.
    ///
    /// # Errors
    /// It is too old for it.
    async fn may(&self, entry: &Entry) -> Result<ApiVersion> {
        let version = self.octavia.known_version().await?;
        match versions::lacking(entry, version) {
            Some(since) => Err(CloudError::TooOld {
                kind: entry.kind,
                name: entry.name.clone(),
                what: since.of,
                since: since.version,
                version,
            }),
            None => Ok(version),
        }
    }

    /// Description and tags of what is let go.
    async fn released(&self, observed: &Observed, retained: &Retained) -> Result<Said> {
        Ok(Marking::of(self.octavia.known_version().await?).retained(observed, retained))
    }

    /// Notes whose lane an object's writes wait in.
    fn belongs(&self, id: &str, load_balancer: &str) {
        self.owners.lock().insert(id.to_owned(), load_balancer.to_owned());
    }

    /// Notes that a listener is ours.
    fn own_listener(&self, id: &str, load_balancer: &str) {
        self.belongs(id, load_balancer);
        self.own_listeners.lock().insert(id.to_owned());
    }

    /// The load balancer of an object.
    async fn owner<R: Below>(&self, id: &str) -> Result<String> {
        if let Some(known) = self.owners.lock().get(id) {
            return Ok(known.clone());
        }
        let found: R = self.octavia.get(id).await.map_err(gone)?;
        let owner = match (found.load_balancer(), found.listener()) {
            (Some(load_balancer), _) => load_balancer.to_owned(),
            (None, Some(listener)) => self.owner_of_listener(listener).await?,
            (None, None) => String::new(),
        };
        self.belongs(id, &owner);
        Ok(owner)
    }

    /// The load balancer of a listener, ours or not.
    async fn owner_of_listener(&self, listener: &str) -> Result<String> {
        if let Some(known) = self.owners.lock().get(listener) {
            return Ok(known.clone());
        }
        let found: Listener = self.octavia.get(listener).await?;
        let owner = found.load_balancer().unwrap_or_default().to_owned();
        self.belongs(listener, &owner);
        Ok(owner)
    }

    /// A resource as it is now; `None`: it is gone.
    async fn look<R: Resource<In = Octavia>>(&self, id: &str) -> Result<Option<R>> {
        match self.octavia.get::<R>(id).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.class == RetryClass::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Notes what the provider of a load balancer lacks, where it said so (501).
    async fn learn(&self, load_balancer: &str, error: &CloudError, lacks: impl Fn(&Lacking, &str, &str)) {
        if !error.is_unsupported() {
            return;
        }
        match self.octavia.get::<LoadBalancer>(load_balancer).await {
            Ok(found) => lacks(&self.lacking, &found.provider, &error.to_string()),
            Err(error) => tracing::debug!(load_balancer, %error, "its provider is not known"),
        }
    }

    /// Deletes something below a load balancer. That it is gone already is success.
    async fn delete<R: Below + Creatable>(&self, id: &str) -> Result<()> {
        let owner = match self.owner::<R>(id).await {
            Err(CloudError::Gone(_)) => return Ok(()),
            owner => owner?,
        };
        let delete = || async { Ok(self.octavia.delete::<R>(id).await.map(drop)?) };
        self.lanes.change(&owner, delete).await?;
        self.owners.lock().remove(id);
        self.own_listeners.lock().remove(id);
        Ok(())
    }

    /// Forgets what was below a load balancer that is gone.
    fn forget_below(&self, load_balancer: &str) {
        let mut listeners = self.own_listeners.lock();
        self.owners.lock().retain(|id, owner| {
            let stays = owner != load_balancer;
            if !stays {
                listeners.remove(id);
            }
            stays
        });
    }

    /// Lets something below a load balancer go, by a change of its tags.
    async fn retain<R: Below + Updatable>(&self, id: &str, body: &R::Update) -> Result<()> {
        let owner = self.owner::<R>(id).await?;
        let change = || async { self.octavia.update::<R>(id, body).await.map(drop).map_err(gone) };
        self.lanes.change(&owner, change).await
    }

    /// The error of a write on an object: where it is gone itself, that is told from a reference that is.
    async fn failed<R: Resource<In = Octavia>>(&self, id: &str, error: CloudError) -> CloudError {
        match error {
            CloudError::Service(error) if error.class == RetryClass::NotFound => {
                match self.look::<R>(id).await {
                    Ok(None) => CloudError::Gone(error),
                    _ => CloudError::Service(error),
                }
            }
            error => error,
        }
    }
}

impl Look for Octavia {
    fn look<'a>(&'a self, id: &'a str, alone: bool) -> BoxFuture<'a, Result<Status>> {
        async move {
            // The tree of 30 pools costs Octavia a second, the load balancer alone a tenth: so first that.
            let own: LoadBalancer = match self.get(id).await {
                Ok(own) => own,
                // It is gone: nothing is in the way of a change, whose own answer will say so.
                Err(error) if error.class == RetryClass::NotFound => return Ok(Status::Settled),
                Err(error) => return Err(error.into()),
            };
            match itself(&own.provisioning_status) {
                Some(part) => Ok(Status::Pending(part)),
                None if own.provisioning_status == "ERROR" => Ok(Status::Failed),
                None if alone => Ok(Status::Settled),
                None => Ok(status(&self.status_tree(id).await?)),
            }
        }
        .boxed()
    }
}

fn itself(status: &str) -> Option<String> {
    pending(status).then(|| format!("it ({status})"))
}

/// What a status tree says: pending or failed, where the load balancer itself is; behind, where a part of it is pending.
fn status(tree: &StatusTree) -> Status {
    let part =
        |kind: &str, id: &str, status: &str| pending(status).then(|| format!("{kind} {id} ({status})"));
    let own = itself(&tree.provisioning_status);
    let mut below = tree.listeners.iter().flat_map(|listener| {
        let pools = listener.pools.iter().filter(|pool| pool.pending());
        let pools = pools.map(|pool| format!("pool {} ({})", pool.id, pool.provisioning_status));
        part("listener", &listener.id, &listener.provisioning_status).into_iter().chain(pools)
    });
    match (own, below.next()) {
        (Some(part), _) => Status::Pending(part),
        (None, _) if tree.provisioning_status == "ERROR" => Status::Failed,
        (None, Some(part)) => Status::Behind(part),
        (None, None) => Status::Settled,
    }
}

/// State in the terms of the contract.
fn state(provisioning: &str) -> State {
    match provisioning {
        "ACTIVE" => State::Ready,
        "ERROR" => State::Failed,
        _ => State::Pending,
    }
}

fn gone(error: isthmus_openstack::Error) -> CloudError {
    match error.class {
        RetryClass::NotFound => CloudError::Gone(error),
        _ => CloudError::Service(error),
    }
}

/// What all of Octavia's objects have.
struct Common {
    id: String,
    name: String,
    description: String,
    project_id: String,
    tags: Vec<String>,
    provisioning_status: String,
    created_at: Option<String>,
}

impl Common {
    fn observed(self, kind: Kind, fields: super::Fields) -> Observed {
        let tags = || self.tags.iter().map(String::as_str);
        Observed {
            kind,
            mark: marking::mark(&self.description, &self.tags),
            retained: Retained::of(&self.description, &self.tags),
            project: (!self.project_id.is_empty()).then(|| self.project_id.clone()),
            fields,
            tags: Mark::others(tags()),
            state: state(&self.provisioning_status),
            revision: None,
            addresses: Vec::new(),
            cidr: None,
            id: self.id,
            display_name: self.name,
            description: beside(&self.description),
            created: self.created_at.unwrap_or_default(),
        }
    }
}

/// In front of what was asked for and is answered otherwise: the id of a flavor, another name of a provider, a position.
/// A module can't give a tag that begins so.
const ASKED: &str = "isthmus:asked:";
/// The fields that are kept so.
const KEPT: [&str; 3] = ["flavor", "precedence", "provider"];

/// The tags of an object of ours: its mark, the module's, and what was asked for.
fn tags(mark: &Mark, entry: &Entry) -> Vec<String> {
    let asked = KEPT.into_iter().filter_map(|field| match entry.fields.get(field) {
        Some(Value::Text(text)) => Some(format!("{ASKED}{field}={text}")),
        _ => None,
    });
    mark.tags().into_iter().chain(entry.tags.iter().cloned()).chain(asked).collect()
}

/// What was asked for, by its tag.
fn asked(tags: &[String], what: &str) -> Option<String> {
    tags.iter().find_map(|tag| tag.strip_prefix(ASKED)?.strip_prefix(what)?.strip_prefix('=').map(Into::into))
}
