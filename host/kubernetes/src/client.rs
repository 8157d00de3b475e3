//! The connection to the API server: one place for its timeouts and for the count of writes.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderValue, USER_AGENT};
use isthmus_model::retry::RetryClass;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::ListParams;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use kube::{Api, Resource, ResourceExt};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;

use crate::error::{Effect, Error, ErrorKind};

/// How long one request that is no watch may take. Less than a lease's duration minus its renew deadline
/// ([`crate::lease::Timing`]): a write that was sent by a leader has ended before another can lead (invariants 4, 7).
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(4);

/// A connection. Clones share it.
#[derive(Clone)]
pub struct Client {
    kube: kube::Client,
    /// Where it is, for errors; empty where that is not known.
    server: Arc<str>,
    writes: Writes,
    gate: Option<Gate>,
}

/// Says whether a write may be sent now.
type Gate = Arc<dyn Fn() -> bool + Send + Sync>;

impl Client {
    /// Connects as this kubeconfig says; without one as `KUBECONFIG`, `~/.kube/config` or the Pod's service account say, in
    /// this order. No request is made yet.
    ///
    /// # Errors
    /// A configuration that cannot be read or used.
    pub async fn connect(kubeconfig: Option<&Path>) -> Result<Self, Error> {
        let mut config = match kubeconfig {
            Some(path) => {
                let what = format!("kubeconfig {}", path.display());
                let file = Kubeconfig::read_from(path).map_err(|e| Error::config(&what, e))?;
                let options = KubeConfigOptions::default();
                Config::from_custom_kubeconfig(file, &options).await.map_err(|e| Error::config(&what, e))?
            }
            None => Config::infer().await.map_err(|e| Error::config("Kubernetes configuration", e))?,
        };
        config.connect_timeout = Some(REQUEST_TIMEOUT);
        config.write_timeout = Some(REQUEST_TIMEOUT);
        // Reads are bounded per call: a watch is one long read.
        config.read_timeout = None;
        // A retry below us would outlive the timeout, and hide what the retry class is for.
        config.default_retry = false;
        config
            .headers
            .push((USER_AGENT, HeaderValue::from_static(concat!("isthmus/", env!("CARGO_PKG_VERSION")))));
        let server = config.cluster_url.to_string().into();
        let kube = kube::Client::try_from(config).map_err(|e| Error::config("Kubernetes client", e))?;
        Ok(Self { server, ..Self::new(kube) })
    }

    /// A connection by a client that is there already.
    pub fn new(kube: kube::Client) -> Self {
        Self { kube, server: "".into(), writes: Writes::default(), gate: None }
    }

    /// Another handle of this connection, whose writes are held back while `open` says no: who leads no longer must not
    /// write (invariant 7), however long ago a work of several writes began.
    pub fn gated(&self, open: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { gate: Some(Arc::new(open)), ..self.clone() }
    }

    /// The client below, for calls that this crate has no word for. Bound them by [`Client::read`] and [`Client::write`].
    pub fn kube(&self) -> kube::Client {
        self.kube.clone()
    }

    /// The count of writes made through this connection and its clones.
    pub fn writes(&self) -> &Writes {
        &self.writes
    }

    /// Awaits a call that changes nothing, for [`REQUEST_TIMEOUT`] at most. `what` says in an error what was tried.
    ///
    /// # Errors
    /// What the API server answered, or that it did not.
    pub async fn read<T>(&self, what: &str, call: impl Future<Output = kube::Result<T>>) -> Result<T, Error> {
        self.bounded(Effect::Read, what, call).await
    }

    /// All objects of a kind in all namespaces.
    ///
    /// # Errors
    /// As [`Client::read`].
    pub async fn all<K>(&self, what: &str) -> Result<Vec<K>, Error>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let api: Api<K> = Api::all(self.kube());
        Ok(self.read(what, api.list(&ListParams::default())).await?.items)
    }

    /// As [`Client::read`], for a call that changes something: it is counted, and a lost answer is
    /// [`RetryClass::Unknown`].
    ///
    /// # Errors
    /// As [`Client::read`].
    pub async fn write<T>(
        &self,
        verb: &'static str,
        resource: &'static str,
        what: &str,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, Error> {
        if self.gate.as_ref().is_some_and(|open| !open()) {
            let why = "not sent: no longer allowed";
            return Err(Error::new(RetryClass::Transient, ErrorKind::Withheld, what, why));
        }
        self.writes.count(verb, resource);
        self.bounded(Effect::Write, what, call).await
    }

    async fn bounded<T>(
        &self,
        effect: Effect,
        what: &str,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(REQUEST_TIMEOUT, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(Error::from_kube(effect, what, &self.server, &error)),
            Err(_) => Err(Error::timed_out(effect, what, &self.server)),
        }
    }

    /// What names this cluster among all that share a cloud: the uid of the namespace `kube-system` (invariant 2).
    ///
    /// # Errors
    /// The namespace cannot be read.
    pub async fn cluster_id(&self) -> Result<String, Error> {
        let namespaces: Api<Namespace> = Api::all(self.kube());
        let system = self.read("read namespace kube-system", namespaces.get("kube-system")).await?;
        system.uid().ok_or_else(|| {
            Error::new(RetryClass::Invalid, ErrorKind::Other, "read namespace kube-system", "it has no uid")
        })
    }
}

/// Writes that were sent, by verb and resource. Reads and watches are not counted. Clones share the count.
#[derive(Clone, Debug, Default)]
pub struct Writes(Arc<Mutex<Counts>>);

type Counts = BTreeMap<(&'static str, &'static str), u64>;

impl Writes {
    fn count(&self, verb: &'static str, resource: &'static str) {
        *self.0.lock().entry((verb, resource)).or_default() += 1;
    }

    /// The counts so far.
    pub fn counts(&self) -> BTreeMap<(&'static str, &'static str), u64> {
        self.0.lock().clone()
    }

    /// All of them together.
    pub fn total(&self) -> u64 {
        self.0.lock().values().sum()
    }
}
