//! The controllers that a cluster cannot be without. They run beside the requests, on what was written; what they write is
//! written as a client would, without the way over HTTP.

mod endpoints;
mod garbage;
mod kubelet;
mod namespaces;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Options;
use super::Shared;
use super::api::{Api, Target};
use super::status::Status;
use super::store::{Change, Object};

/// Which of them run.
#[derive(Clone, Debug)]
pub struct Controllers {
    /// Deletion of namespaces with what is in them, and of the objects of a CRD that goes.
    pub namespaces: bool,
    /// What has only owners that are gone is deleted; finalizers `orphan` and `foregroundDeletion` are served.
    pub garbage_collector: bool,
    /// Each namespace has a ServiceAccount `default`.
    pub service_accounts: bool,
    /// Services with a selector have an EndpointSlice of the Pods that it selects.
    pub endpoint_slices: bool,
    /// Pods on a node run, and end.
    pub kubelet: Option<Kubelet>,
}

/// Something like a kubelet on every node.
///
/// A Pod with a `nodeName` becomes Running and Ready, with the address of its annotation `world.isthmus.dev/pod-ip`, without one a
/// made-up address of 10.244.0.0/16. One that is deleted goes when its grace is over, or at once ([`Kubelet::at_once`]).
#[derive(Clone, Debug, Default)]
pub struct Kubelet {
    /// Grace is not waited for.
    pub at_once: bool,
}

impl Default for Controllers {
    fn default() -> Self {
        Self {
            namespaces: true,
            garbage_collector: true,
            service_accounts: true,
            endpoint_slices: true,
            kubelet: Some(Kubelet::default()),
        }
    }
}

impl Controllers {
    /// None at all: what clients write is all that happens.
    pub fn none() -> Self {
        Self {
            namespaces: false,
            garbage_collector: false,
            service_accounts: false,
            endpoint_slices: false,
            kubelet: None,
        }
    }

    fn any(&self) -> bool {
        self.namespaces
            || self.garbage_collector
            || self.service_accounts
            || self.endpoint_slices
            || self.kubelet.is_some()
    }
}

/// How often grace is looked at.
const TICK: Duration = Duration::from_millis(200);
/// How many changes are worked on before requests have their turn.
const BATCH: usize = 64;

/// The namespaces that are there from the start, and the Service `kubernetes`.
pub(super) fn begin(api: &mut Api, options: &Options) {
    api.store.note_changes(options.controllers.any());
    let now = options.clock.now();
    for name in ["default", "kube-node-lease", "kube-public", "kube-system"] {
        let made = api.make("", "Namespace", "", json!({"metadata": {"name": name}}), now);
        debug_assert!(made.is_ok(), "{made:?}");
    }
    let (network, _) = options.services;
    let first = std::net::Ipv4Addr::from(u32::from(network) + 1).to_string();
    let service = json!({
        "metadata": {"name": "kubernetes", "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {"clusterIP": first, "ports": [{"name": "https", "port": 443, "targetPort": 6443, "protocol": "TCP"}]},
    });
    let made = api.make("", "Service", "default", service, now);
    debug_assert!(made.is_ok(), "{made:?}");
}

/// Runs until its task is aborted.
pub(super) async fn run(shared: Arc<Shared>) {
    loop {
        // A change that is missed here is seen at the next tick.
        let _timed_out = tokio::time::timeout(TICK, shared.written.notified()).await;
        let now = shared.options.clock.now();
        shared.api.lock().tick(&shared.options.controllers, now);
        loop {
            let more = shared.api.lock().work(&shared.options.controllers, now);
            if !more {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
}

impl Api {
    /// Works on some changes; says whether there are more.
    fn work(&mut self, controllers: &Controllers, now: Timestamp) -> bool {
        for _ in 0..BATCH {
            let Some((table, change)) = self.store.next_noted() else { return false };
            if controllers.service_accounts {
                self.account(&table.resource, &change, now);
            }
            if controllers.namespaces {
                self.namespaces(&table, &change, now);
            }
            if controllers.garbage_collector {
                self.collect_garbage(&change, now);
            }
            if controllers.endpoint_slices {
                self.endpoints(&table.resource, &change, now);
            }
            if let Some(kubelet) = &controllers.kubelet {
                self.kubelet(kubelet, &table.resource, &change, now);
            }
        }
        true
    }

    fn tick(&mut self, controllers: &Controllers, now: Timestamp) {
        if controllers.kubelet.is_some() {
            self.end_graces(now);
        }
    }

    fn account(&mut self, resource: &str, change: &Change, now: Timestamp) {
        if resource == "namespaces" && !change.deleted && !change.object.is_deleting() {
            let (_, name) = change.object.key();
            if self
                .registry
                .by_kind("", "ServiceAccount")
                .is_some_and(|r| self.store.get(&r.table(), &name, "default").is_none())
            {
                // It may be there, or the namespace may be going: both are as they should be.
                let _there_or_going =
                    self.make("", "ServiceAccount", &name, json!({"metadata": {"name": "default"}}), now);
            }
        }
    }

    /// Makes an object, as a client would.
    ///
    /// # Errors
    /// As for a client.
    fn make(
        &mut self,
        group: &str,
        kind: &str,
        namespace: &str,
        value: Value,
        now: Timestamp,
    ) -> Result<Arc<Object>, Status> {
        let Some(resource) = self.registry.by_kind(group, kind) else {
            return Err(Status::internal(format!("no kind {kind}")));
        };
        let target = Target {
            resource,
            namespace: namespace.to_owned(),
            name: String::new(),
            subresource: String::new(),
        };
        self.make_at(&target, value, now)
    }
}
