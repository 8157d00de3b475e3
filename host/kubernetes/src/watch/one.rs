//! The watch of one object, which is told that it may have changed and not what it holds.

use isthmus_model::object::ObjectKey;
use kube::Api;
use kube::api::DynamicObject;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::Event;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::{debug, warn};

use super::relist::{Trouble, config, objects};
use crate::backoff::Backoff;
use crate::client::Client;
use crate::discovery::{Discoveries, Scope};

/// Tells of every change of an object, and of each list of it, until nobody listens. Only metadata are asked for.
pub(crate) async fn follow(
    client: Client,
    kinds: Discoveries,
    key: ObjectKey,
    told: mpsc::UnboundedSender<ObjectKey>,
) {
    let mut backoff = Backoff::default();
    let found = loop {
        match kinds.get(&key.kind).await {
            Ok(Some(found)) => break found,
            Ok(None) => debug!(%key, "there is no such kind"),
            Err(error) => debug!(%key, %error, "not watched yet"),
        }
        sleep(backoff.next()).await;
    };
    type Metadata = Api<PartialObjectMeta<DynamicObject>>;
    let api: Metadata = match (found.scope, key.namespace.as_deref()) {
        (Scope::Namespaced, Some(namespace)) => {
            Api::namespaced_with(client.kube(), namespace, &found.resource)
        }
        (Scope::Cluster, None) => Api::all_with(client.kube(), &found.resource),
        _ => return,
    };
    let mut events = objects(api, config().fields(&format!("metadata.name={}", key.name)));
    let mut said = false;
    loop {
        let goes_on = match events.next().await {
            Ok(Event::Apply(_) | Event::Delete(_) | Event::InitDone) => told.send(key.clone()).is_ok(),
            Ok(Event::Init | Event::InitApply(_)) => true,
            Err(Trouble::Denied(reason)) => {
                if !said {
                    warn!(%key, reason, "can't be watched: a change of it is seen at the next resync");
                }
                said = true;
                true
            }
            Err(Trouble::Passing(reason)) => {
                debug!(%key, reason, "watch interrupted");
                true
            }
        };
        if !goes_on {
            return;
        }
    }
}
