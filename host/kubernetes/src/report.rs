//! What we write to an object of somebody else: its status and our own annotations, applied server-side (invariant 11).
//!
//! # Guarantees
//! - An object that was made again under the same name is not touched: its uid is part of what is applied.
//! - What is there already is not written again (invariant 6).
//! - A condition keeps its transition time until its status changes.
//! - Elements of others in a shared list stay, whatever was written between our read and our write: then ours is refused.

mod shared;

use isthmus_model::object::Subject;
use isthmus_model::retry::RetryClass;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::{Map, Value, json};

use crate::client::Client;
use crate::discovery::Discoveries;
use crate::error::{Error, ErrorKind};
use crate::names::FIELD_MANAGER;

pub use shared::SharedList;

/// What an object should say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// A part of its status; `None`: nothing of it is ours.
    pub status: Option<Value>,
    /// Lists in it in which others have elements, too.
    pub shared: Vec<SharedList>,
    /// Our annotations.
    pub annotations: Vec<(String, String)>,
}

/// Writes reports.
#[derive(Clone)]
pub struct Reports {
    client: Client,
    kinds: Discoveries,
}

impl Reports {
    /// By this connection.
    pub fn new(client: Client) -> Self {
        Self { kinds: Discoveries::new(client.clone()), client }
    }

    /// Makes an object say this, and nothing else by us.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where the object, in this life, or its kind is gone; [`ErrorKind::Conflict`] where it has a shared list
    /// and somebody wrote to it meanwhile.
    pub async fn say(&self, subject: &Subject, said: &Said) -> Result<(), Error> {
        let (key, what) = (&subject.key, format!("report to {}", subject.key));
        let api = self.kinds.api(key).await?.ok_or_else(|| {
            Error::new(RetryClass::NotFound, ErrorKind::NotFound, &what, "the API server has no such kind")
        })?;
        let live = self.client.read(&what, api.get(&key.name)).await?;
        if live.uid().as_deref() != Some(&*subject.uid) {
            return Err(Error::new(RetryClass::NotFound, ErrorKind::NotFound, &what, "it was made again"));
        }
        for Write { part, verb, parameters, patch } in writes(subject, &live, said) {
            let name = &*key.name;
            match part {
                Part::Status => {
                    let call = api.patch_status(name, &parameters, &patch);
                    self.client.write(verb, REPORTS, &what, call).await?
                }
                Part::Metadata => {
                    let call = api.patch(name, &parameters, &patch);
                    self.client.write(verb, REPORTS, &what, call).await?
                }
            };
        }
        Ok(())
    }
}

/// What these writes are counted as.
const REPORTS: &str = "reports";

/// A write that is due.
struct Write {
    part: Part,
    verb: &'static str,
    parameters: PatchParams,
    patch: Patch<Value>,
}

/// Each is written by a call of its own.
enum Part {
    Status,
    Metadata,
}

impl Write {
    fn apply(part: Part, body: Value) -> Self {
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        Self { part, verb: "apply", parameters, patch: Patch::Apply(body) }
    }

    /// No apply: who has applied a list has the whole of it, and takes it along when he goes.
    fn merge(part: Part, body: Value) -> Self {
        let parameters =
            PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        Self { part, verb: "patch", parameters, patch: Patch::Merge(body) }
    }
}

/// What is to be written for the object to say this.
fn writes(subject: &Subject, live: &DynamicObject, said: &Said) -> Vec<Write> {
    let key = &subject.key;
    let with = |metadata: Value, status: Option<Value>| {
        let mut body = json!({"apiVersion": key.kind.api_version(), "kind": key.kind.kind,
                              "metadata": {"name": key.name, "uid": &*subject.uid}});
        if let (Some(Value::Object(all)), Value::Object(more)) = (body.get_mut("metadata"), metadata) {
            all.extend(more);
        }
        status.into_iter().for_each(|status| drop(insert(&mut body, "status", status)));
        body
    };
    // Others write to a shared list, too: what we read has to be what we change.
    let version = match said.shared.as_slice() {
        [] => json!({}),
        _ => json!({"resourceVersion": live.resource_version()}),
    };
    let left = match said.status {
        Some(_) => None,
        None => shared::others_alone(&said.shared, live.data.get("status")),
    };
    let status = match left {
        Some(others) => Some(Write::merge(Part::Status, with(version, Some(others)))),
        None => status_to_write(live, said).map(|status| Write::apply(Part::Status, with(version, status))),
    };
    let annotations = annotations_differ(live, &said.annotations).then(|| {
        let ours: Map<String, Value> =
            said.annotations.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        Write::apply(Part::Metadata, with(json!({"annotations": ours}), None))
    });
    status.into_iter().chain(annotations).collect()
}

fn insert(object: &mut Value, field: &str, value: Value) -> Option<Value> {
    object.as_object_mut().and_then(|fields| fields.insert(field.into(), value))
}

/// The status to apply, if anything is to be: `Some(None)` takes back what is ours.
fn status_to_write(live: &DynamicObject, said: &Said) -> Option<Option<Value>> {
    let current = live.data.get("status");
    match said.status.clone() {
        Some(wanted) => {
            let own = shared::ours_alone(&said.shared, current);
            let dated = dated(&wanted, own.as_ref(), &Timestamp::now().to_string());
            // Nothing of theirs is touched, not even a time that they left out.
            let dated = shared::beside(&said.shared, dated, current);
            // Without the times of new conditions, which are of this moment. Who wrote last to a shared list has it, and we want
            // nothing but our elements in it.
            let whole = match ours(live, Some("status")) {
                Some(ours) => !says_more(ours.get("f:status"), &dated),
                None => !said.shared.is_empty(),
            };
            let there = current.is_some_and(|current| says(current, &dated)) && whole;
            (!there).then_some(Some(dated))
        }
        None => ours(live, Some("status")).map(|_| None),
    }
}

fn annotations_differ(live: &DynamicObject, wanted: &[(String, String)]) -> bool {
    let owned = ours(live, None).and_then(|ours| ours.get("f:metadata")?.get("f:annotations"));
    let wanted_map = Value::Object(wanted.iter().map(|(name, value)| (name.clone(), json!(value))).collect());
    says_more(owned, &wanted_map)
        || wanted.iter().any(|(name, value)| live.annotations().get(name) != Some(value))
}

/// The fields that we have applied to it, as the API server keeps them (`fieldsV1`); `None`: none.
fn ours<'a>(live: &'a DynamicObject, subresource: Option<&str>) -> Option<&'a Value> {
    let entry = live.managed_fields().iter().find(|entry| {
        entry.manager.as_deref() == Some(FIELD_MANAGER)
            && entry.operation.as_deref() == Some("Apply")
            && entry.subresource.as_deref() == subresource
    })?;
    let fields = &entry.fields_v1.as_ref()?.0;
    fields.as_object().is_some_and(|fields| !fields.is_empty()).then_some(fields)
}

/// Whether we own a field that is not wanted any more: only another apply takes it back.
fn says_more(owned: Option<&Value>, wanted: &Value) -> bool {
    let Some(Value::Object(owned)) = owned else { return false };
    owned.iter().any(|(path, below)| {
        let element = |key: &str| serde_json::from_str::<Value>(key).ok();
        let found = match (path.split_once(':'), wanted) {
            (Some(("f", name)), Value::Object(fields)) => fields.get(name),
            // An element of a list by its keys, or of a set by its value.
            (Some(("k", keys)), Value::Array(items)) => {
                element(keys).and_then(|keys| items.iter().find(|item| says(item, &keys)))
            }
            (Some(("v", value)), Value::Array(items)) => {
                element(value).and_then(|value| items.iter().find(|item| **item == value))
            }
            // "." is the field itself.
            _ => return false,
        };
        found.is_none_or(|found| says_more(Some(below), found))
    })
}

/// Whether what is there has all of this: fields that others wrote are left alone, lists are whole.
fn says(current: &Value, wanted: &Value) -> bool {
    match (current, wanted) {
        (Value::Object(current), Value::Object(wanted)) => {
            wanted.iter().all(|(name, value)| current.get(name).is_some_and(|now| says(now, value)))
        }
        (Value::Array(current), Value::Array(wanted)) => {
            current.len() == wanted.len() && current.iter().zip(wanted).all(|(now, value)| says(now, value))
        }
        _ => current == wanted,
    }
}

/// The status with a transition time in each condition: that of the condition of the same type that is there, while its status
/// is the same.
fn dated(wanted: &Value, current: Option<&Value>, now: &str) -> Value {
    match wanted {
        Value::Object(fields) => {
            let dated_field = |(name, value): (&String, &Value)| {
                let current = current.and_then(|current| current.get(name));
                let dated = match value {
                    Value::Array(items) if name == "conditions" => {
                        Value::Array(items.iter().map(|item| condition(item, current, now)).collect())
                    }
                    other => dated(other, current, now),
                };
                (name.clone(), dated)
            };
            Value::Object(fields.iter().map(dated_field).collect())
        }
        Value::Array(items) => {
            let element = |(at, item): (usize, &Value)| dated(item, current.and_then(|c| c.get(at)), now);
            Value::Array(items.iter().enumerate().map(element).collect())
        }
        other => other.clone(),
    }
}

fn condition(wanted: &Value, current: Option<&Value>, now: &str) -> Value {
    let same = |old: &&Value| ["type", "status"].iter().all(|field| old.get(field) == wanted.get(field));
    let old = current.and_then(Value::as_array).and_then(|all| all.iter().find(same));
    let time = old.and_then(|old| old.get("lastTransitionTime")).cloned();
    let mut dated = wanted.clone();
    insert(&mut dated, "lastTransitionTime", time.unwrap_or_else(|| json!(now)));
    dated
}

#[cfg(test)]
mod tests {
    use isthmus_model::object::{Gvk, ObjectKey};

    use super::*;

    fn admitted(status: &str, time: Option<&str>) -> Value {
        let mut condition = json!({"type": "Admitted", "status": status});
        time.into_iter().for_each(|time| drop(insert(&mut condition, "lastTransitionTime", json!(time))));
        json!({"ingress": [{"host": "a", "conditions": [condition]}]})
    }

    fn live(status: &Value, manager: Option<&str>) -> DynamicObject {
        let mut metadata = json!({"name": "r", "resourceVersion": "7"});
        if let Some(manager) = manager {
            let entry = json!({"manager": manager, "operation": "Apply", "subresource": "status",
                               "fieldsV1": {"f:status": {}}});
            insert(&mut metadata, "managedFields", json!([entry]));
        }
        let object = json!({"apiVersion": "v1", "kind": "Route", "metadata": metadata, "status": status});
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn what_we_no_longer_say_is_taken_back() {
        let owned = json!({"f:metadata": {"f:annotations": {".": {}, "f:a": {}, "f:b": {}}}});
        let entry = json!({"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": owned});
        let annotations = json!({"a": "1", "b": "2", "other": "3"});
        let live: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Route",
            "metadata": {"name": "r", "annotations": annotations, "managedFields": [entry]},
        }))
        .unwrap();
        let wanted = |names: &[(&str, &str)]| -> Vec<(String, String)> {
            names.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
        };
        assert!(!annotations_differ(&live, &wanted(&[("a", "1"), ("b", "2")])));
        assert!(annotations_differ(&live, &wanted(&[("a", "1")])), "b goes");
        assert!(annotations_differ(&live, &wanted(&[("a", "1"), ("b", "3")])));
        assert!(annotations_differ(&live, &[]));

        let owned = json!({"f:host": {}, "f:ports": {"k:{\"port\":80}": {"f:port": {}, "f:name": {}}}});
        let table = [
            (json!({"host": "a", "ports": [{"port": 80, "name": "x"}]}), false),
            (json!({"host": "a", "ports": [{"port": 80}]}), true),
            (json!({"host": "a", "ports": [{"port": 81, "name": "x"}]}), true),
            (json!({"ports": [{"port": 80, "name": "x"}]}), true),
        ];
        for (wanted, expected) in table {
            assert_eq!(says_more(Some(&owned), &wanted), expected, "{wanted}");
        }
    }

    #[test]
    fn a_condition_keeps_its_time_until_its_status_changes() {
        let current = admitted("True", Some("then"));
        assert_eq!(dated(&admitted("True", None), Some(&current), "now"), current);
        assert_eq!(dated(&admitted("False", None), Some(&current), "now"), admitted("False", Some("now")));
        assert_eq!(dated(&admitted("True", None), None, "now"), admitted("True", Some("now")));
    }

    #[test]
    fn what_is_said_already_is_not_written_and_what_is_ours_is_taken_back() {
        let there = admitted("True", Some("then"));
        let ours = live(&there, Some(FIELD_MANAGER));
        let said = |status| Said { status, ..Said::default() };
        assert_eq!(status_to_write(&ours, &said(Some(admitted("True", None)))), None);
        assert!(status_to_write(&ours, &said(Some(admitted("False", None)))).is_some());
        assert_eq!(status_to_write(&ours, &said(None)), Some(None));
        let of_others = live(&there, Some("another"));
        assert_eq!(status_to_write(&of_others, &said(None)), None, "what others said stays");
        assert!(status_to_write(&of_others, &said(Some(admitted("True", None)))).is_some());
    }

    /// Neither is a time put into theirs, nor is written what is there, whoever wrote it last; and ours goes by no apply.
    #[test]
    fn elements_of_others_are_theirs_alone() {
        let element = |router: &str, time: Option<&str>| {
            let mut condition = json!({"type": "Admitted", "status": "True"});
            time.into_iter().for_each(|time| drop(insert(&mut condition, "lastTransitionTime", json!(time))));
            json!({"routerName": router, "conditions": [condition]})
        };
        let list = SharedList::new("status.ingress", "routerName", "own").unwrap();
        let said = |status| Said { status, shared: vec![list.clone()], ..Said::default() };
        let (ours, theirs) = (element("own", Some("then")), element("default", None));
        let both = live(&json!({"ingress": [theirs.clone(), ours]}), Some("router"));
        assert_eq!(status_to_write(&both, &said(Some(json!({"ingress": [element("own", None)]})))), None);
        let written = status_to_write(&both, &said(Some(json!({"ingress": []}))));
        assert_eq!(written, Some(Some(json!({"ingress": [theirs.clone()]}))));

        let subject = Subject {
            key: ObjectKey::new(Gvk::new("route.openshift.io", "v1", "Route"), Some("n"), "r"),
            uid: "u".into(),
        };
        let due = writes(&subject, &both, &said(None));
        let [Write { part: Part::Status, verb: "patch", patch: Patch::Merge(body), .. }] = due.as_slice()
        else {
            panic!("{} writes", due.len())
        };
        assert_eq!(body["status"], json!({"ingress": [theirs]}));
        assert_eq!(
            (&body["metadata"]["uid"], &body["metadata"]["resourceVersion"]),
            (&json!("u"), &json!("7"))
        );
    }
}
