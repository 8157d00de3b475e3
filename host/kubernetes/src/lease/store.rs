//! Where the lease is stored.

use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use isthmus_model::retry::RetryClass;
use k8s_openapi::api::coordination::v1::{Lease as KubeLease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::{PostParams, WatchEvent, WatchParams};

use super::elector::{Lease, StoredLease};
use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::names::FIELD_MANAGER;

/// One stored lease, changed by optimistic concurrency.
pub(super) trait LeaseStore {
    /// What is stored.
    fn read(&mut self) -> impl Future<Output = Result<Option<StoredLease>, Error>> + Send;
    /// Writes over that version (`None`: creates), and fails where it is not the stored one any more.
    fn write(
        &mut self,
        lease: &Lease,
        version: Option<&str>,
    ) -> impl Future<Output = Result<(), Error>> + Send;
    /// What is stored once it is another version than this; `None`: nothing. It may never say so: who waits also looks from time to
    /// time.
    fn changed(&self, version: &str) -> impl Future<Output = Result<Option<StoredLease>, Error>> + Send;
}

/// A Lease of the API server.
pub(super) struct ServerLease {
    client: Client,
    leases: Api<KubeLease>,
    name: String,
    /// As read: a renewal keeps the time at which the lease was acquired.
    read: Option<LeaseSpec>,
}

impl std::fmt::Debug for ServerLease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ServerLease({})", self.name)
    }
}

impl ServerLease {
    pub(super) fn new(client: Client, namespace: &str, name: &str) -> Self {
        let leases = Api::namespaced(client.kube(), namespace);
        Self { client, leases, name: name.into(), read: None }
    }
}

impl LeaseStore for ServerLease {
    async fn read(&mut self) -> Result<Option<StoredLease>, Error> {
        let what = format!("read Lease {}", self.name);
        let found = self.client.read(&what, self.leases.get_opt(&self.name)).await?;
        match found {
            Some(lease) => {
                self.read.clone_from(&lease.spec);
                stored(&what, lease).map(Some)
            }
            None => {
                self.read = None;
                Ok(None)
            }
        }
    }

    async fn write(&mut self, lease: &Lease, version: Option<&str>) -> Result<(), Error> {
        let what = format!("write Lease {}", self.name);
        let now = MicroTime(jiff::Timestamp::now());
        let mut new = KubeLease::default();
        new.metadata.name = Some(self.name.clone());
        new.metadata.resource_version = version.map(Into::into);
        let renewed = self.read.take().filter(|spec| spec.holder_identity == lease.holder);
        let seconds = i32::try_from(lease.duration.as_secs()).unwrap_or(i32::MAX);
        new.spec = Some(LeaseSpec {
            holder_identity: Some(lease.holder.clone().unwrap_or_default()),
            lease_duration_seconds: Some(seconds),
            lease_transitions: Some(lease.transitions),
            acquire_time: renewed.and_then(|spec| spec.acquire_time).or_else(|| Some(now.clone())),
            renew_time: Some(now),
            ..LeaseSpec::default()
        });
        let parameters = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
        match version {
            Some(_) => {
                let call = self.leases.replace(&self.name, &parameters, &new);
                self.client.write("update", "leases", &what, call).await
            }
            None => self.client.write("create", "leases", &what, self.leases.create(&parameters, &new)).await,
        }
        .map(drop)
    }

    async fn changed(&self, version: &str) -> Result<Option<StoredLease>, Error> {
        let what = format!("watch Lease {}", self.name);
        let one = WatchParams::default().fields(&format!("metadata.name={}", self.name));
        let mut events = pin!(self.client.read(&what, self.leases.watch(&one, version)).await?);
        let failed = |why: String| Error::new(RetryClass::Transient, ErrorKind::Other, &what, why);
        loop {
            match events.next().await {
                Some(Ok(WatchEvent::Added(lease) | WatchEvent::Modified(lease))) => {
                    // A server may begin with what there is.
                    if lease.metadata.resource_version.as_deref() != Some(version) {
                        return stored(&what, lease).map(Some);
                    }
                }
                Some(Ok(WatchEvent::Deleted(_))) => return Ok(None),
                Some(Ok(WatchEvent::Bookmark(_))) => {}
                Some(Ok(WatchEvent::Error(status))) => return Err(failed(status.message)),
                Some(Err(error)) => return Err(failed(error.to_string())),
                None => return Err(failed("it ended".into())),
            }
        }
    }
}

fn stored(what: &str, lease: KubeLease) -> Result<StoredLease, Error> {
    let missing = || Error::new(RetryClass::Invalid, ErrorKind::Other, what, "it has no resource version");
    let version = lease.metadata.resource_version.ok_or_else(missing)?;
    let spec = lease.spec.unwrap_or_default();
    let seconds = spec.lease_duration_seconds.and_then(|s| u64::try_from(s).ok()).unwrap_or_default();
    let lease = Lease {
        holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
        duration: Duration::from_secs(seconds),
        transitions: spec.lease_transitions.unwrap_or_default(),
    };
    Ok(StoredLease { lease, version })
}
