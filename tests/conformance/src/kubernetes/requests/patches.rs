//! Changes in each of the forms that the API server takes.

use http::Method;
use serde_json::{Value, json};

use super::super::bodies::{Kind, labels, merge};
use super::Requests;
use crate::side::Ask;

impl Requests {
    /// A change of an object, for a merge patch.
    fn change(&mut self, kind: Kind) -> Value {
        let mut change = match self.random.below(4) {
            0 => json!({"metadata": {"labels": labels(&mut self.random)}}),
            1 => {
                json!({"metadata": {"labels": {"app": null}, "annotations": self.random.of(&[json!({"n": "1"}), Value::Null])}})
            }
            2 => kind.content(&mut self.random),
            _ => {
                let list = self.random.of(&[
                    Value::Null,
                    json!([]),
                    json!(["t.dev/a"]),
                    json!(["t.dev/b", "t.dev/c"]),
                ]);
                json!({"metadata": {"finalizers": list}})
            }
        };
        if !kind.namespaced() {
            // it must stay selected
            if let Some(labels) = change.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
                labels.remove("stream");
            }
        }
        // Whether something empty is a change of a custom resource hangs on the second that it is written in.
        if let Some(metadata) =
            change.get_mut("metadata").and_then(Value::as_object_mut).filter(|_| kind.custom())
        {
            metadata.retain(|_, value| *value != json!({}) && *value != json!([]));
        }
        if kind == Kind::Pod && change.pointer("/metadata/finalizers").is_some() {
            // a controller tells of a Pod that goes and is on no node
            change = json!({"metadata": {"labels": {"tier": "3"}}});
        }
        if kind == Kind::Pod {
            // what may not change is tried too, seldom
            if let Some(spec) = change.get_mut("spec").filter(|_| !self.random.one_in(5)) {
                *spec = self.random.of(&[
                    json!({"activeDeadlineSeconds": 30}),
                    json!({"containers": [{"name": "one", "image": "j"}]}),
                    json!({"terminationGracePeriodSeconds": 5}),
                ]);
            }
        }
        change
    }

    pub(super) fn merge_patch(&mut self, kind: Kind) -> Ask {
        let mut change = self.change(kind);
        if self.random.one_in(12) {
            let name = self.name(kind);
            let version = format!("<oldrv:{}>", self.key(kind, &name));
            merge(&mut change, json!({"metadata": {"resourceVersion": version}}));
        }
        let path = format!("{}{}", self.one(kind), self.parameters());
        Ask { content_type: "application/merge-patch+json", ..Self::ask(Method::PATCH, path, Some(change)) }
    }

    pub(super) fn json_patch(&mut self, kind: Kind) -> Ask {
        let operations = self.random.of(&[
            json!([{"op": "add", "path": "/metadata/annotations", "value": {"j": "1"}}]),
            json!([{"op": "add", "path": "/metadata/labels/app", "value": "z"}]),
            json!([{"op": "replace", "path": "/metadata/labels/app", "value": "y"}]),
            json!([{"op": "remove", "path": "/metadata/labels/app"}]),
            json!([{"op": "remove", "path": "/metadata/finalizers"}]),
            json!([{"op": "remove", "path": "/metadata/finalizers/0"}]),
            json!([{"op": "add", "path": "/metadata/finalizers/-", "value": "t.dev/z"}]),
            json!([{"op": "test", "path": "/metadata/annotations/note", "value": "p"}, {"op": "add", "path": "/metadata/annotations/found", "value": "yes"}]),
            json!([{"op": "test", "path": "/metadata/nothing", "value": null}]),
            json!([{"op": "copy", "from": "/metadata/name", "path": "/metadata/annotations/copied"}]),
            json!([{"op": "move", "from": "/metadata/labels/tier", "path": "/metadata/labels/app"}]),
        ]);
        let path = format!("{}{}", self.one(kind), self.parameters());
        Ask {
            content_type: "application/json-patch+json",
            ..Self::ask(Method::PATCH, path, Some(operations))
        }
    }

    pub(super) fn strategic(&mut self, kind: Kind) -> Ask {
        let patch = match kind {
            Kind::Service => self.random.of(&[
                json!({"spec": {"ports": [{"port": 80, "targetPort": 90}]}}),
                json!({"spec": {"ports": [{"port": 443, "name": "https"}]}}),
                json!({"spec": {"ports": [{"$patch": "delete", "port": 80}]}}),
                json!({"spec": {"selector": {"app": null, "new": "1"}}}),
            ]),
            Kind::Pod => self.random.of(&[
                json!({"spec": {"containers": [{"name": "one", "image": "k"}]}}),
                json!({"spec": {"$setElementOrder/containers": [{"name": "one"}], "containers": [{"name": "one", "image": "l"}]}}),
                json!({"spec": {"activeDeadlineSeconds": 60}}),
            ]),
            Kind::Lease if self.random.one_in(2) => self.random.of(&[
                json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["t.dev/a"]}}),
                json!({"metadata": {"finalizers": ["t.dev/b"]}}),
            ]),
            Kind::ConfigMap => self.random.of(&[
                json!({"data": {"a": "9", "b": null}}),
                json!({"data": {"$patch": "replace", "z": "1"}}),
                json!({"data": null}),
            ]),
            _ => self.change(kind),
        };
        let path = format!("{}{}", self.one(kind), self.parameters());
        Ask {
            content_type: "application/strategic-merge-patch+json",
            ..Self::ask(Method::PATCH, path, Some(patch))
        }
    }

    pub(super) fn apply(&mut self, kind: Kind) -> Ask {
        let name = self.name(kind);
        let mut object = self.object(kind, &name);
        if kind == Kind::Pod
            && self.random.one_in(2)
            && let Some(map) = object.as_object_mut()
        {
            map.insert("spec".to_owned(), json!({"schedulerName": "nobody", "automountServiceAccountToken": false, "containers": [{"name": "one", "image": self.random.of(&["i", "m"])}]}));
        }
        let manager = self.random.of(&["carol", "dave", "dave"]);
        let mut path = format!("{}/{name}?fieldManager={manager}", self.collection(kind));
        if self.random.one_in(2) {
            path.push_str("&force=true");
        }
        if self.random.one_in(10) {
            path.push_str("&dryRun=All");
        }
        Ask { content_type: "application/apply-patch+yaml", ..Self::ask(Method::PATCH, path, Some(object)) }
    }
}
