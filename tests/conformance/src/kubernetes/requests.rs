//! A stream of requests, each a little likely to be wrong.

mod patches;

use http::Method;
use serde_json::{Map, Value, json};

use super::bodies::{Kind, merge};
use crate::random::Random;
use crate::side::Ask;

const JSON: &str = "application/json";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
const METADATA: &str = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io,application/json";
const METADATA_LIST: &str =
    "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json";

/// A stream: in a namespace of its own, and with names of its own for what has no namespace.
pub struct Requests {
    random: Random,
    /// Namespace, and prefix of names outside of it.
    own: String,
}

impl Requests {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self { random: Random::new(seed), own: format!("c{seed:x}") }
    }

    fn ask(method: Method, path: String, body: Option<Value>) -> Ask {
        Ask { method, path, content_type: JSON, accept: JSON, body }
    }

    /// What must be there first: the namespace, with its ServiceAccount.
    pub fn beginning(&self) -> Vec<Ask> {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.own}});
        let account = format!("/api/v1/namespaces/{}/serviceaccounts/default", self.own);
        let map = format!("/api/v1/namespaces/{}/configmaps", self.own);
        vec![
            Self::ask(Method::POST, "/api/v1/namespaces".to_owned(), Some(namespace)),
            Self::ask(Method::GET, account, None),
            Self::ask(Method::GET, map, None),
        ]
    }

    /// A list of each kind: where the watches at the end begin.
    pub fn lists(&self) -> Vec<Ask> {
        Kind::ALL
            .map(|kind| {
                Self::ask(Method::GET, format!("{}?{}", self.collection(kind), self.mine(kind)), None)
            })
            .into()
    }

    /// What happened to each kind since.
    pub fn watches(&self) -> Vec<Ask> {
        let mut all = Vec::new();
        for kind in Kind::ALL {
            let (_, _, plural) = kind.names();
            let mine = self.mine(kind);
            let path = format!(
                "{}?watch=1&timeoutSeconds=1&resourceVersion=<start:{plural}>",
                self.collection(kind)
            );
            let selected = if mine.is_empty() { "labelSelector=app%3Dx".to_owned() } else { mine };
            all.push(Self::ask(Method::GET, format!("{path}&{selected}"), None));
            if kind.namespaced() {
                all.push(Self::ask(Method::GET, format!("{path}&fieldSelector=metadata.name%3Da"), None));
            }
        }
        let streamed = "watch=1&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
        all.push(Self::ask(Method::GET, format!("{}?{streamed}", self.collection(Kind::Lease)), None));
        all.push(Self::ask(Method::GET, format!("{}?{streamed}", self.collection(Kind::Widget)), None));
        all
    }

    /// Takes away what is not in the namespace, and the namespace: finalizers first, then objects.
    pub fn end(&self) -> [Vec<Ask>; 2] {
        let (mut free_all, mut all) = (Vec::new(), Vec::new());
        let own = format!("/api/v1/namespaces/{}", self.own);
        for kind in Kind::ALL.into_iter().filter(|k| *k != Kind::Namespace) {
            for name in self.names(kind) {
                let free = json!({"metadata": {"finalizers": null}});
                let path = format!("{}/{name}", self.collection(kind));
                let patch = Self::ask(Method::PATCH, path.clone(), Some(free));
                free_all.push(Ask { content_type: "application/merge-patch+json", ..patch });
                if !kind.namespaced() {
                    all.push(Self::ask(Method::DELETE, path, None));
                }
            }
        }
        for name in self.names(Kind::Namespace) {
            let free = json!({"metadata": {"finalizers": null}});
            let path = format!("/api/v1/namespaces/{name}");
            let patch = Self::ask(Method::PATCH, path.clone(), Some(free));
            free_all.push(Ask { content_type: "application/merge-patch+json", ..patch });
            all.push(Self::ask(Method::DELETE, path, None));
        }
        all.push(Self::ask(Method::DELETE, own, None));
        [free_all, all]
    }

    /// Few, so that requests meet.
    fn names(&self, kind: Kind) -> Vec<String> {
        ["a", "b", "c"]
            .map(|name| if kind.namespaced() { name.to_owned() } else { format!("{}-{name}", self.own) })
            .into()
    }

    fn name(&mut self, kind: Kind) -> String {
        let names = self.names(kind);
        self.random.of(&names)
    }

    fn collection(&self, kind: Kind) -> String {
        let (version, _, plural) = kind.names();
        let root = if version == "v1" { "/api" } else { "/apis" };
        match kind.namespaced() {
            true => format!("{root}/{version}/namespaces/{}/{plural}", self.own),
            false => format!("{root}/{version}/{plural}"),
        }
    }

    /// Selects this stream's objects of what is not in its namespace.
    fn mine(&self, kind: Kind) -> String {
        if kind.namespaced() { String::new() } else { format!("labelSelector=stream%3D{}", self.own) }
    }

    /// The next request.
    pub fn generate(&mut self) -> Ask {
        let kind = self.random.of(&Kind::ALL);
        match self.random.below(100) {
            0..22 => self.create(kind),
            22..28 => self.get(kind),
            28..38 => self.list(kind),
            38..50 => self.replace(kind),
            50..60 => self.merge_patch(kind),
            60..66 => self.json_patch(kind),
            66..72 => self.strategic(kind),
            72..84 => self.apply(kind),
            84..94 => self.delete(kind),
            94..95 => self.delete_collection(kind),
            _ => self.status(kind),
        }
    }

    /// An object with the label that it is found by.
    fn object(&mut self, kind: Kind, name: &str) -> Value {
        let mut object = kind.object(&mut self.random, name);
        if !kind.namespaced() {
            self.mark(&mut object);
        }
        object
    }

    fn mark(&self, object: &mut Value) {
        let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
        let labels = metadata.entry("labels").or_insert_with(|| json!({}));
        if let Some(labels) = labels.as_object_mut() {
            labels.insert("stream".to_owned(), self.own.clone().into());
        }
    }

    /// Parameters that writes have in common.
    fn parameters(&mut self) -> String {
        let mut all = Vec::new();
        if self.random.one_in(10) {
            all.push(if self.random.one_in(20) { "dryRun=Some" } else { "dryRun=All" });
        }
        if self.random.one_in(3) {
            all.push(self.random.of(&["fieldManager=alice", "fieldManager=bob"]));
        }
        if self.random.one_in(6) {
            all.push(self.random.of(&[
                "fieldValidation=Strict",
                "fieldValidation=Ignore",
                "fieldValidation=Warn",
            ]));
        }
        if all.is_empty() { String::new() } else { format!("?{}", all.join("&")) }
    }

    fn create(&mut self, kind: Kind) -> Ask {
        let name = self.name(kind);
        let mut object = self.object(kind, &name);
        if self.random.one_in(30) {
            let (pointer, value) = self.random.of(&[
                ("name", json!("Not_A_Name")),
                ("name", json!("")),
                ("namespace", json!("elsewhere")),
                ("unknownField", json!(1)),
                ("uid", json!("11111111-1111-4111-8111-111111111111")),
                ("name", json!("a.b")),
            ]);
            if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
                // a namespace would be made that nobody takes away
                // an address is given to a Service before its name is looked at
                if (kind.namespaced() || pointer != "name") && (kind != Kind::Service || value != "")
                    // a Pod's name with dots gives a warning, which the model does not
                    && (kind != Kind::Pod || value != "a.b")
                {
                    metadata.insert(pointer.to_owned(), value);
                }
            }
        }
        if self.random.one_in(25) && kind.status() {
            merge(&mut object, json!({"status": kind.status_content(&mut self.random)}));
        }
        if self.random.one_in(60) {
            let (_, plain, _) = kind.names();
            let wrong = self.random.of(&[json!({"apiVersion": "v9"}), json!({"kind": format!("{plain}x")})]);
            merge(&mut object, wrong);
        }
        if self.random.one_in(20) && !kind.custom() && kind != Kind::Namespace {
            merge(&mut object, json!({"bogus": {"a": 1}}));
        }
        if kind.namespaced()
            && self.random.one_in(30)
            && kind != Kind::Pod
            && let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut)
        {
            metadata.remove("name");
            metadata.insert("generateName".to_owned(), "gen-".into());
            metadata.remove("finalizers");
        }
        // Made-up names have no order that both sides share, so such objects are not stored.
        let made_up = object.pointer("/metadata/generateName").is_some();
        let parameters = if made_up { "?dryRun=All".to_owned() } else { self.parameters() };
        let path = format!("{}{parameters}", self.collection(kind));
        Self::ask(Method::POST, path, Some(object))
    }

    fn one(&mut self, kind: Kind) -> String {
        let name = self.name(kind);
        format!("{}/{name}", self.collection(kind))
    }

    fn get(&mut self, kind: Kind) -> Ask {
        let mut path = self.one(kind);
        if kind.status() && self.random.one_in(8) {
            path.push_str("/status");
        }
        let accept = if self.random.one_in(4) { self.random.of(&[TABLE, METADATA]) } else { JSON };
        Ask { accept, ..Self::ask(Method::GET, path, None) }
    }

    fn list(&mut self, kind: Kind) -> Ask {
        let mut query = vec![self.mine(kind)];
        if kind.namespaced() && self.random.one_in(2) {
            query.push(format!(
                "labelSelector={}",
                self.random.of(&[
                    "app%3Dx",
                    "app%21%3Dx",
                    "app",
                    "%21app",
                    "app+in+(x,y),tier",
                    "app+notin+(x)",
                    "tier%3E5",
                    "tier%3C5",
                    "app%3D%3Dy",
                ])
            ));
        }
        if self.random.one_in(4) {
            let selector = match kind {
                Kind::Pod => self.random.of(&[
                    "status.phase%3DPending",
                    "spec.nodeName%3D",
                    "metadata.name%3Da",
                    "spec.restartPolicy%21%3DAlways",
                ]),
                Kind::Namespace => self.random.of(&["status.phase%3DActive", "metadata.name%21%3Dx"]),
                _ => self.random.of(&["metadata.name%3Da", "metadata.name%21%3Db"]),
            };
            query.push(format!("fieldSelector={selector}"));
        }
        if kind.namespaced() && kind != Kind::ConfigMap && self.random.one_in(4) {
            query.push(self.random.of(&["limit=1", "limit=2", "limit=500"]).to_owned());
        }
        let accept = if self.random.one_in(5) { self.random.of(&[TABLE, METADATA_LIST]) } else { JSON };
        query.retain(|q| !q.is_empty());
        Ask {
            accept,
            ..Self::ask(Method::GET, format!("{}?{}", self.collection(kind), query.join("&")), None)
        }
    }

    fn key(&self, kind: Kind, name: &str) -> String {
        let (_, _, plural) = kind.names();
        format!("{plural}/{name}")
    }

    fn replace(&mut self, kind: Kind) -> Ask {
        let name = self.name(kind);
        let mut object = self.object(kind, &name);
        let key = self.key(kind, &name);
        let version = match self.random.below(10) {
            0..6 => format!("<rv:{key}>"),
            6..8 => String::new(),
            _ => format!("<oldrv:{key}>"),
        };
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            if !version.is_empty() {
                metadata.insert("resourceVersion".to_owned(), version.into());
            }
            if self.random.one_in(5) {
                metadata.insert("uid".to_owned(), format!("<uid:{key}>").into());
            }
            if self.random.one_in(60) {
                metadata.insert("name".to_owned(), "other".into());
            }
        }
        let path = format!("{}/{name}{}", self.collection(kind), self.parameters());
        Self::ask(Method::PUT, path, Some(object))
    }

    fn delete(&mut self, kind: Kind) -> Ask {
        let name = self.name(kind);
        let key = self.key(kind, &name);
        let path = format!("{}/{name}", self.collection(kind));
        if kind == Kind::Namespace {
            // goes by itself sooner or later: only tried
            return Self::ask(Method::DELETE, format!("{path}?dryRun=All"), None);
        }
        if self.random.one_in(3) {
            return Self::ask(Method::DELETE, path, None);
        }
        let mut options = Map::from_iter([
            ("apiVersion".to_owned(), json!("v1")),
            ("kind".to_owned(), json!("DeleteOptions")),
        ]);
        match self.random.below(12) {
            0..2 => {
                options.insert("preconditions".to_owned(), json!({"uid": format!("<uid:{key}>")}));
            }
            2..4 => {
                options.insert("preconditions".to_owned(), json!({"resourceVersion": format!("<rv:{key}>")}));
            }
            4 => {
                let wrong = json!({"uid": "22222222-2222-4222-8222-222222222222"});
                options.insert("preconditions".to_owned(), wrong);
            }
            5..8 => {
                // `Foreground` and `Orphan` leave finalizers that controllers take away
                options.insert("propagationPolicy".to_owned(), json!("Background"));
            }
            8 => {
                options.insert("propagationPolicy".to_owned(), json!("Sideways"));
            }
            9 => {
                options.insert("dryRun".to_owned(), json!(["All"]));
            }
            _ => {
                options.insert("gracePeriodSeconds".to_owned(), json!(self.random.of(&[0, 5])));
            }
        }
        Self::ask(Method::DELETE, path, Some(Value::Object(options)))
    }

    fn delete_collection(&mut self, kind: Kind) -> Ask {
        let kind = if matches!(kind, Kind::Namespace | Kind::ConfigMap) { Kind::Lease } else { kind };
        let selected = if kind.namespaced() { "labelSelector=app%3Dx".to_owned() } else { self.mine(kind) };
        Self::ask(Method::DELETE, format!("{}?{selected}", self.collection(kind)), None)
    }

    fn status(&mut self, kind: Kind) -> Ask {
        let kind =
            if kind.status() { kind } else { self.random.of(&[Kind::Widget, Kind::CloudMapping, Kind::Pod]) };
        let name = self.name(kind);
        let status = kind.status_content(&mut self.random);
        let path = format!("{}/{name}/status{}", self.collection(kind), self.parameters());
        let patch = json!({"status": status, "metadata": {"annotations": {"by": "status"}}});
        match self.random.below(3) {
            // that of a Service which is not there would make it
            0 if kind != Kind::Service => {
                let mut object = self.object(kind, &name);
                let version = format!("<rv:{}>", self.key(kind, &name));
                merge(&mut object, json!({"status": status}));
                if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
                    metadata.insert("resourceVersion".to_owned(), version.into());
                    metadata.remove("finalizers");
                }
                Self::ask(Method::PUT, path, Some(object))
            }
            _ => Ask {
                content_type: "application/merge-patch+json",
                ..Self::ask(Method::PATCH, path, Some(patch))
            },
        }
    }
}
