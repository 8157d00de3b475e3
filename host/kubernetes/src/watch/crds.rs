//! Tells when a CustomResourceDefinition changes, so that a kind which is not there yet need not be asked for again and
//! again.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher;
use tokio::sync::watch;
use tracing::debug;

use super::relist::{config, objects};
use crate::client::Client;

/// Counts changes of definitions. By metadata alone: the definitions of a cluster are megabytes, and that one became
/// established shows as a change too.
pub(super) async fn watch(client: Client, changed: watch::Sender<u64>) {
    let definitions: Api<PartialObjectMeta<CustomResourceDefinition>> = Api::all(client.kube());
    let mut events = objects(definitions, config());
    loop {
        match events.next().await {
            Ok(watcher::Event::Apply(_) | watcher::Event::InitDone) => {
                changed.send_modify(|count| *count += 1)
            }
            Ok(watcher::Event::Init | watcher::Event::InitApply(_) | watcher::Event::Delete(_)) => {}
            // Kinds that are missing are asked for now and then all the same.
            Err(trouble) => debug!(?trouble, "watch of CustomResourceDefinitions"),
        }
    }
}
