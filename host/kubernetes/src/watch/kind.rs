//! The watch of one kind: discovered, listed, watched, projected and stored, with whatever mask is asked for now.

use std::sync::Arc;
use std::time::Duration;

use isthmus_model::object::{Gvk, ObjectKey};
use isthmus_model::projection::Mask;
use kube::Api;
use kube::api::DynamicObject;
use kube::runtime::watcher::Event;
use parking_lot::RwLock;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use super::relist::{Relist, Trouble, config, objects};
use super::{Heeded, Phase, States, WatchEvent};
use crate::backoff::Backoff;
use crate::client::Client;
use crate::discovery::{Discovered, discover};
use crate::store::{Change, Store, Stored};

/// So many failures in a row, and a kind that has not been listed yet is said to be unavailable: nobody should wait for it.
const HOPELESS: u32 = 3;
/// How often a missing kind is asked for anyway: an aggregated API has no definition whose change could be seen.
const ASK_AGAIN: Duration = Duration::from_secs(30);
/// For how long after a definition changed, and how often, its kind is asked for: discovery follows it with a delay.
const FOLLOWS_WITHIN: Duration = Duration::from_secs(5);
const FOLLOW_EVERY: Duration = Duration::from_millis(200);

pub(super) struct KindWatch {
    pub(super) client: Client,
    pub(super) gvk: Arc<Gvk>,
    pub(super) store: Arc<RwLock<Store>>,
    pub(super) states: States,
    pub(super) heeded: Heeded,
    pub(super) events: mpsc::Sender<WatchEvent>,
    pub(super) definitions: watch::Receiver<u64>,
    /// What to keep; `None`: the kind is not wanted now. Closed: the end.
    pub(super) masks: watch::Receiver<Option<Arc<Mask>>>,
}

/// The receiver of events or the owner of the watches is gone.
struct Closed;

impl KindWatch {
    pub(super) async fn run(mut self) {
        loop {
            let mask = self.masks.borrow_and_update().clone();
            let ended = match mask {
                Some(mask) => self.watch(&mask).await,
                None => {
                    self.store.write().forget(&self.gvk);
                    self.masks.changed().await.map_err(|_| Closed)
                }
            };
            if ended.is_err() {
                return;
            }
        }
    }

    /// Watches until another mask is asked for.
    async fn watch(&mut self, mask: &Arc<Mask>) -> Result<(), Closed> {
        let mut backoff = Backoff::default();
        loop {
            let Some(found) = self.discovered(mask).await? else { return Ok(()) };
            let api = Api::all_with(self.client.kube(), &found.resource);
            self.set_state(mask, None, Some(&found));
            match self.follow(mask, objects(api, config())).await? {
                Ended::NewMask => return Ok(()),
                Ended::Denied => {
                    tokio::select! {
                        changed = self.masks.changed() => return changed.map_err(|_| Closed),
                        () = sleep(backoff.next()) => {}
                    }
                }
            }
        }
    }

    async fn follow(
        &mut self,
        mask: &Arc<Mask>,
        mut objects: Relist<DynamicObject>,
    ) -> Result<Ended, Closed> {
        let (mut listed, mut failures) = (Vec::new(), 0);
        loop {
            let event = tokio::select! {
                changed = self.masks.changed() => return changed.map(|()| Ended::NewMask).map_err(|_| Closed),
                event = objects.next() => event,
            };
            // From here on nothing is cancelled: what is in the store is always told.
            failures = match event {
                Ok(Event::Init) => failures,
                Ok(_) => 0,
                Err(_) => failures + 1,
            };
            match event {
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitApply(object)) => listed.extend(self.project(mask, object)),
                Ok(Event::InitDone) => {
                    let changes = self.store.write().replace_all(&self.gvk, std::mem::take(&mut listed));
                    self.tell(changes).await?;
                    self.touch_all().await?;
                    debug!(kind = %self.gvk, "listed");
                    if self.set_state(mask, Some(Phase::Synced), None) {
                        self.send(WatchEvent::Synced(Gvk::clone(&self.gvk))).await?;
                    }
                }
                Ok(Event::Apply(object)) => {
                    let key = self.key(&object);
                    let change =
                        self.project(mask, object).and_then(|o| self.store.write().apply(&self.gvk, o));
                    let touched = key.filter(|key| change.is_none() && self.heeded.read().contains(key));
                    self.tell(change.into_iter().collect()).await?;
                    if let Some(key) = touched {
                        self.send(WatchEvent::Touched(key)).await?;
                    }
                }
                Ok(Event::Delete(object)) => {
                    let change = self.key(&object).and_then(|key| self.store.write().remove(&key));
                    self.tell(change.into_iter().collect()).await?;
                }
                Err(Trouble::Passing(reason)) if failures >= HOPELESS && self.is_starting(mask) => {
                    self.unavailable(mask, reason).await?;
                }
                Err(Trouble::Passing(reason)) => info!(kind = %self.gvk, reason, "watch interrupted"),
                Err(Trouble::Denied(reason)) => {
                    self.unavailable(mask, reason).await?;
                    return Ok(Ended::Denied);
                }
            }
        }
    }

    /// Waits until the kind is served. `None`: another mask is asked for.
    async fn discovered(&mut self, mask: &Arc<Mask>) -> Result<Option<Discovered>, Closed> {
        let mut follow_until = Instant::now();
        loop {
            self.definitions.borrow_and_update();
            match discover(&self.client, &self.gvk).await {
                Ok(Some(found)) => return Ok(Some(found)),
                Ok(None) => {
                    let reason = format!("the API server has no kind {}", self.gvk);
                    self.not_listed(mask, Phase::Absent, reason).await?;
                }
                Err(error) => self.unavailable(mask, error.to_string()).await?,
            }
            let following = Instant::now() < follow_until;
            tokio::select! {
                changed = self.masks.changed() => return changed.map(|()| None).map_err(|_| Closed),
                () = sleep(FOLLOW_EVERY), if following => {}
                changed = timeout(ASK_AGAIN, self.definitions.changed()) => match changed {
                    Ok(Ok(())) => follow_until = Instant::now() + FOLLOWS_WITHIN,
                    // The watch of definitions has ended: the runtime is going down.
                    Ok(Err(_)) => return Err(Closed),
                    Err(_) => {}
                },
            }
        }
    }

    async fn unavailable(&self, mask: &Arc<Mask>, reason: String) -> Result<(), Closed> {
        self.not_listed(mask, Phase::Unavailable(reason.clone()), reason).await
    }

    async fn not_listed(&self, mask: &Arc<Mask>, phase: Phase, reason: String) -> Result<(), Closed> {
        if !self.set_state(mask, Some(phase), None) {
            return Ok(());
        }
        warn!(kind = %self.gvk, reason, "kind cannot be watched");
        self.send(WatchEvent::Unavailable { gvk: Gvk::clone(&self.gvk), reason }).await
    }

    fn is_starting(&self, mask: &Arc<Mask>) -> bool {
        let states = self.states.read();
        let state = states.get(&*self.gvk).filter(|state| Arc::ptr_eq(&state.mask, mask));
        state.is_some_and(|state| state.phase == Phase::Starting)
    }

    /// Whether something differs and the state is still of this mask: the owner may have asked for another one just now.
    fn set_state(&self, mask: &Arc<Mask>, phase: Option<Phase>, found: Option<&Discovered>) -> bool {
        let mut states = self.states.write();
        let Some(state) = states.get_mut(&*self.gvk).filter(|state| Arc::ptr_eq(&state.mask, mask)) else {
            return false;
        };
        if let Some(found) = found {
            state.scope = Some(found.scope);
        }
        let Some(phase) = phase else { return true };
        // Every list is told, a repeated failure is not.
        let news = phase == Phase::Synced || state.phase != phase;
        state.listed |= phase == Phase::Synced;
        state.phase = phase;
        news
    }

    async fn tell(&self, changes: Vec<Change>) -> Result<(), Closed> {
        if changes.is_empty() { Ok(()) } else { self.send(WatchEvent::Changed(changes)).await }
    }

    /// What of the heeded objects changed before the list can't be told from what did not.
    async fn touch_all(&self) -> Result<(), Closed> {
        let own = |key: &&ObjectKey| key.kind == self.gvk;
        let heeded: Vec<ObjectKey> = self.heeded.read().iter().filter(own).cloned().collect();
        for key in heeded {
            self.send(WatchEvent::Touched(key)).await?;
        }
        Ok(())
    }

    async fn send(&self, event: WatchEvent) -> Result<(), Closed> {
        self.events.send(event).await.map_err(|_| Closed)
    }

    fn key(&self, object: &DynamicObject) -> Option<ObjectKey> {
        let name = object.metadata.name.as_deref()?;
        Some(ObjectKey::new(self.gvk.clone(), object.metadata.namespace.as_deref(), name))
    }

    fn project(&self, mask: &Mask, object: DynamicObject) -> Option<Stored> {
        let key = self.key(&object)?;
        let stored = project(&self.gvk, mask, key, object);
        if stored.is_none() {
            warn!(kind = %self.gvk, "an object without uid was left out");
        }
        stored
    }
}

enum Ended {
    NewMask,
    Denied,
}

/// What is kept of an object. `None` for one without a uid, which no API server sends.
pub(crate) fn project(gvk: &Gvk, mask: &Mask, key: ObjectKey, object: DynamicObject) -> Option<Stored> {
    let DynamicObject { mut metadata, data, .. } = object;
    // Often larger than the object, and of no use to a mapping.
    metadata.managed_fields = None;
    let uid = metadata.uid.as_deref()?.into();
    let deleting = metadata.deletion_timestamp.is_some();
    let labels = metadata.labels.clone().unwrap_or_default();
    let mut whole = match data {
        Value::Object(fields) => fields,
        _ => serde_json::Map::new(),
    };
    // Objects of a list come without their kind; a module sees all in one form.
    whole.insert("apiVersion".into(), gvk.api_version().into());
    whole.insert("kind".into(), gvk.kind.as_str().into());
    whole.insert("metadata".into(), serde_json::to_value(metadata).ok()?);
    let whole = Value::Object(whole);
    let labels = mask.labels(&whole, labels);
    let text = mask.apply(&whole)?.to_string().into();
    Some(Stored { key, uid, labels, deleting, text })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keeps_labels_whatever_the_mask_and_no_managed_fields() {
        let gvk = Gvk::new("", "v1", "Pod");
        let object: DynamicObject = serde_json::from_value(json!({
            "metadata": {"name": "a", "namespace": "n", "uid": "u", "labels": {"app": "web"},
                         "deletionTimestamp": "2026-01-02T03:04:05Z", "managedFields": [{"manager": "m"}]},
            "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]},
        }))
        .unwrap();
        let mask = Mask::new(["spec.nodeName", "metadata.managedFields"]).unwrap();
        let key = ObjectKey::new(gvk.clone(), Some("n"), "a");
        let stored = project(&gvk, &mask, key, object).unwrap();
        assert!(stored.deleting && stored.labels["app"] == "web" && &*stored.uid == "u");
        assert_eq!(
            serde_json::from_str::<Value>(&stored.text).unwrap(),
            json!({"apiVersion": "v1", "kind": "Pod", "spec": {"nodeName": "n1"},
                   "metadata": {"name": "a", "namespace": "n", "uid": "u", "deletionTimestamp": "2026-01-02T03:04:05Z"}})
        );
    }
}
