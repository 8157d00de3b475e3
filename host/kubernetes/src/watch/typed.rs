//! Typed watches of what the operator itself is run by: CloudMappings, PolicyModules, the ConfigMaps of modules, Nodes.
//!
//! An object that does not decode (of another version, say) is told as [`Event::Malformed`] and disturbs no other.

use std::collections::BTreeMap;
use std::fmt::Debug;

use k8s_openapi::api::core::v1::{ConfigMap, Node};
use kube::api::{ApiResource, DynamicObject};
use kube::core::{ObjectMeta, PartialObjectMeta};
use kube::runtime::watcher;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::relist::{Relist, Trouble, config, objects};
use crate::client::Client;
use crate::crd::{CloudMapping, PolicyModule};
use crate::names::LABEL_POLICY_MODULE;

/// How many events may wait for the receiver; a full channel holds the watch back.
const WAITING: usize = 256;

/// An object by name, of one life.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    /// Namespace; `None` for a cluster-scoped one.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
}

/// What a typed watch has to say.
#[derive(Clone, Debug)]
pub enum Event<K> {
    /// An object is there, new or changed. After a list all objects are told, changed or not.
    Applied(Box<K>),
    /// An object is gone; also one that went while the watch was cut.
    Deleted(Named),
    /// An object that cannot be understood is there.
    Malformed {
        /// Which.
        object: Named,
        /// Why, for people.
        reason: String,
    },
    /// All objects there are have been told. Said after each list.
    Synced,
    /// They cannot be listed; it is tried again.
    Unavailable(String),
    /// The watch was cut; it is tried again. Where nothing has changed meanwhile, nothing is told of its success.
    Interrupted(String),
}

/// All CloudMappings, or with `node` those whose VIFs are bound there. Ends when the receiver is dropped; must be called
/// inside a tokio runtime, as all of these.
pub fn mappings(client: &Client, node: Option<&str>) -> mpsc::Receiver<Event<CloudMapping>> {
    let config = match node {
        Some(node) => {
            config().labels(&format!("{}={}", crate::names::LABEL_NODE, crate::names::node_label(node)))
        }
        None => config(),
    };
    decoded(Api::all_with(client.kube(), &resource::<CloudMapping>()), config)
}

/// All PolicyModules.
pub fn modules(client: &Client) -> mpsc::Receiver<Event<PolicyModule>> {
    decoded(Api::all_with(client.kube(), &resource::<PolicyModule>()), config())
}

/// The ConfigMaps of one namespace that hold modules, by their label.
pub fn module_sources(client: &Client, namespace: &str) -> mpsc::Receiver<Event<ConfigMap>> {
    let api = Api::namespaced_with(client.kube(), namespace, &resource::<ConfigMap>());
    decoded(api, config().labels(LABEL_POLICY_MODULE))
}

/// All Nodes, by their metadata alone.
pub fn nodes(client: &Client) -> mpsc::Receiver<Event<PartialObjectMeta<Node>>> {
    let events = objects(Api::<PartialObjectMeta<Node>>::all(client.kube()), config());
    spawn(events, |object| (object.metadata.clone(), Ok(object)))
}

fn resource<K: Resource<DynamicType = ()>>() -> ApiResource {
    ApiResource::erase::<K>(&())
}

fn decoded<K>(api: Api<DynamicObject>, config: watcher::Config) -> mpsc::Receiver<Event<K>>
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug + Send + 'static,
{
    spawn(objects(api, config), |mut object: DynamicObject| {
        object.metadata.managed_fields = None;
        let metadata = object.metadata.clone();
        // Items of a list come without their kind, which some types ask for.
        object.types = Some(kube::core::TypeMeta::resource::<K>());
        (metadata, object.try_parse().map_err(|error| error.to_string()))
    })
}

fn spawn<T, K>(
    events: Relist<T>,
    decode: impl Fn(T) -> (ObjectMeta, Result<K, String>) + Send + 'static,
) -> mpsc::Receiver<Event<K>>
where
    T: Send + 'static,
    K: Send + 'static,
{
    let (sender, receiver) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        let mut events = events;
        let mut known = Known::default();
        loop {
            let next = tokio::select! {
                () = sender.closed() => return,
                next = events.next() => next,
            };
            for event in known.told(next, &decode) {
                if sender.send(event).await.is_err() {
                    return;
                }
            }
        }
    });
    receiver
}

/// Which objects were told to be there, so that those which a list no longer has can be told to be gone.
#[derive(Debug, Default)]
struct Known {
    uids: BTreeMap<(Option<String>, String), String>,
    listed: BTreeMap<(Option<String>, String), String>,
    denied: Option<String>,
}

impl Known {
    fn told<T, K>(
        &mut self,
        event: Result<watcher::Event<T>, Trouble>,
        decode: &impl Fn(T) -> (ObjectMeta, Result<K, String>),
    ) -> Vec<Event<K>> {
        match event {
            Ok(watcher::Event::Init) => {
                self.listed.clear();
                Vec::new()
            }
            Ok(watcher::Event::InitApply(object)) => {
                let (object, event) = applied(decode(object));
                self.listed.insert((object.namespace.clone(), object.name.clone()), object.uid.clone());
                self.replaced(object, event)
            }
            Ok(watcher::Event::InitDone) => {
                self.denied = None;
                let listed = std::mem::take(&mut self.listed);
                let gone = self.uids.extract_if(.., |key, _| !listed.contains_key(key));
                let gone =
                    gone.map(|((namespace, name), uid)| Event::Deleted(Named { namespace, name, uid }));
                gone.collect::<Vec<_>>().into_iter().chain([Event::Synced]).collect()
            }
            Ok(watcher::Event::Apply(object)) => {
                let (object, event) = applied(decode(object));
                self.replaced(object, event)
            }
            Ok(watcher::Event::Delete(object)) => {
                let object = named(decode(object).0);
                self.uids.remove(&(object.namespace.clone(), object.name.clone()));
                vec![Event::Deleted(object)]
            }
            Err(Trouble::Denied(reason)) if self.denied.as_ref() != Some(&reason) => {
                self.denied = Some(reason.clone());
                vec![Event::Unavailable(reason)]
            }
            Err(Trouble::Denied(_)) => Vec::new(),
            Err(Trouble::Passing(reason)) => {
                tracing::info!(reason, "watch interrupted");
                vec![Event::Interrupted(reason)]
            }
        }
    }

    /// The event, after that of the object's earlier life where that was never told to have ended.
    fn replaced<K>(&mut self, object: Named, event: Event<K>) -> Vec<Event<K>> {
        let Named { namespace, name, uid } = object;
        match self.uids.insert((namespace.clone(), name.clone()), uid.clone()) {
            Some(old) if old != uid => vec![Event::Deleted(Named { namespace, name, uid: old }), event],
            _ => vec![event],
        }
    }
}

fn applied<K>((metadata, decoded): (ObjectMeta, Result<K, String>)) -> (Named, Event<K>) {
    let object = named(metadata);
    let event = match decoded {
        Ok(value) => Event::Applied(Box::new(value)),
        Err(reason) => Event::Malformed { object: object.clone(), reason },
    };
    (object, event)
}

fn named(metadata: ObjectMeta) -> Named {
    Named {
        namespace: metadata.namespace,
        name: metadata.name.unwrap_or_default(),
        uid: metadata.uid.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &str, uid: &str, good: bool) -> (ObjectMeta, bool) {
        (ObjectMeta { name: Some(name.into()), uid: Some(uid.into()), ..ObjectMeta::default() }, good)
    }

    fn texts(known: &mut Known, event: Result<watcher::Event<(ObjectMeta, bool)>, Trouble>) -> Vec<String> {
        let decode = |(metadata, good): (ObjectMeta, bool)| {
            let name = metadata.name.clone().unwrap_or_default();
            (metadata, if good { Ok(name) } else { Err("bad".to_owned()) })
        };
        let text = |event: Event<String>| match event {
            Event::Applied(name) => format!("+{name}"),
            Event::Deleted(object) => format!("-{}/{}", object.name, object.uid),
            Event::Malformed { object, .. } => format!("?{}", object.name),
            Event::Synced => "synced".into(),
            Event::Unavailable(reason) => reason,
            Event::Interrupted(reason) => format!("cut: {reason}"),
        };
        known.told(event, &decode).into_iter().map(text).collect()
    }

    #[test]
    fn a_list_tells_what_went_while_nobody_looked() {
        use watcher::Event::{Apply, Delete, Init, InitApply, InitDone};
        let mut known = Known::default();
        let table = [
            (Init, vec![]),
            (InitApply(object("a", "1", true)), vec!["+a"]),
            (InitApply(object("b", "2", false)), vec!["?b"]),
            (InitDone, vec!["synced"]),
            (Apply(object("c", "3", true)), vec!["+c"]),
            (Apply(object("a", "4", true)), vec!["-a/1", "+a"]),
            (Delete(object("c", "3", true)), vec!["-c/3"]),
            // Cut and listed anew: b is gone, a is of another life.
            (Init, vec![]),
            (InitApply(object("a", "5", true)), vec!["-a/4", "+a"]),
            (InitDone, vec!["-b/2", "synced"]),
        ];
        for (event, expected) in table {
            let expected: Vec<&str> = expected;
            let shown = format!("{event:?}");
            assert_eq!(texts(&mut known, Ok(event)), expected, "{shown}");
        }
    }

    #[test]
    fn an_interruption_is_told_each_time_and_a_refusal_once() {
        let mut known = Known::default();
        for (trouble, expected) in [
            (Trouble::Passing("reset".into()), vec!["cut: reset"]),
            (Trouble::Passing("reset".into()), vec!["cut: reset"]),
            (Trouble::Denied("forbidden".into()), vec!["forbidden"]),
            (Trouble::Denied("forbidden".into()), vec![]),
        ] {
            let expected: Vec<&str> = expected;
            assert_eq!(texts(&mut known, Err(trouble)), expected);
        }
    }
}
