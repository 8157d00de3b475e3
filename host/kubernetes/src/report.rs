//! What we write to an object of somebody else: its status and our own annotations, applied server-side (invariant 11).
//!
//! # Guarantees
//! - An object that was made again under the same name is not touched: its uid is part of what is applied.
//! - What is there already is not written again (invariant 6).
//! - A condition keeps its transition time until its status changes.
//! - Elements of others in a shared list stay, whatever was written between our read and our write: then ours is refused.

use isthmus_model::object::Subject;
use isthmus_model::retry::RetryClass;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Map, Value, json};

use crate::client::Client;
use crate::discovery::Discoveries;
use crate::error::{Error, ErrorKind};
use crate::names::FIELD_MANAGER;

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

/// A list of a status that the API server takes as a whole, and of which some elements are ours.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SharedList {
    /// Names with dots between, from the object on: `status.ingress`.
    pub path: String,
    /// Field of its elements that names whose one is.
    pub field: String,
    /// What this is in ours.
    pub value: String,
}

impl SharedList {
    fn pointer(&self) -> Option<String> {
        Some(format!("/{}", self.path.strip_prefix("status.")?.replace('.', "/")))
    }

    fn is_ours(&self, element: &Value) -> bool {
        element.get(&self.field).and_then(Value::as_str) == Some(&*self.value)
    }

    /// The elements of others that are there, and whether there is one of ours.
    fn others(&self, current: Option<&Value>) -> (Vec<Value>, bool) {
        let list = self.pointer().and_then(|pointer| current?.pointer(&pointer)?.as_array());
        let (ours, others): (Vec<Value>, Vec<Value>) =
            list.into_iter().flatten().cloned().partition(|element| self.is_ours(element));
        (others, !ours.is_empty())
    }

    /// Leaves of a status none but our elements.
    fn keep_ours(&self, status: &mut Value) {
        if let Some(Value::Array(list)) = self.pointer().and_then(|pointer| status.pointer_mut(&pointer)) {
            list.retain(|element| self.is_ours(element));
        }
    }

    /// Puts the elements of others into our status, each where it is.
    fn share(&self, wanted: &mut Value, current: Option<&Value>) {
        let Some(pointer) = self.pointer() else { return };
        let Some(Value::Array(list)) = wanted.pointer_mut(&pointer) else { return };
        let there = current.and_then(|current| current.pointer(&pointer)).and_then(Value::as_array);
        let mut ours = std::mem::take(list).into_iter();
        for element in there.into_iter().flatten() {
            match self.is_ours(element) {
                true => list.extend(ours.next()),
                false => list.push(element.clone()),
            }
        }
        list.extend(ours);
    }
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
        let (key, what) = (&subject.key, told(subject));
        let api = self.kinds.api(key).await?.ok_or_else(|| {
            Error::new(RetryClass::NotFound, ErrorKind::NotFound, &what, "the API server has no such kind")
        })?;
        let live = self.client.read(&what, api.get(&key.name)).await?;
        if live.uid().as_deref() != Some(&*subject.uid) {
            return Err(Error::new(RetryClass::NotFound, ErrorKind::NotFound, &what, "it was made again"));
        }
        self.say_status(subject, &api, &live, said).await?;
        self.say_annotations(subject, &api, &live, said).await
    }

    async fn say_status(
        &self,
        subject: &Subject,
        api: &Api<DynamicObject>,
        live: &DynamicObject,
        said: &Said,
    ) -> Result<(), Error> {
        let name = &*subject.key.name;
        let mut body = head(subject);
        // Others write to a shared list, too: what we read has to be what we change.
        if !said.shared.is_empty()
            && let Some(metadata) = body.get_mut("metadata")
        {
            insert(metadata, "resourceVersion", json!(live.resource_version()));
        }
        let (verb, parameters, patch) = match others_alone(live, said) {
            // No apply: who has applied a list has the whole of it, and takes it along when he goes.
            Some(others) => {
                insert(&mut body, "status", others);
                let manager = Some(FIELD_MANAGER.to_owned());
                (
                    "patch",
                    PatchParams { field_manager: manager, ..PatchParams::default() },
                    Patch::Merge(body),
                )
            }
            None => {
                let Some(status) = status_to_write(live, said) else { return Ok(()) };
                status.into_iter().for_each(|status| drop(insert(&mut body, "status", status)));
                ("apply", PatchParams::apply(FIELD_MANAGER).force(), Patch::Apply(body))
            }
        };
        let call = api.patch_status(name, &parameters, &patch);
        self.client.write(verb, REPORTS, &told(subject), call).await.map(drop)
    }

    async fn say_annotations(
        &self,
        subject: &Subject,
        api: &Api<DynamicObject>,
        live: &DynamicObject,
        said: &Said,
    ) -> Result<(), Error> {
        if !annotations_differ(live, &said.annotations) {
            return Ok(());
        }
        let mut body = head(subject);
        let ours: Map<String, Value> =
            said.annotations.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        if let Some(metadata) = body.get_mut("metadata") {
            insert(metadata, "annotations", Value::Object(ours));
        }
        let (parameters, patch) = (PatchParams::apply(FIELD_MANAGER).force(), Patch::Apply(body));
        let call = api.patch(&subject.key.name, &parameters, &patch);
        self.client.write("apply", REPORTS, &told(subject), call).await.map(drop)
    }
}

/// What these writes are counted as.
const REPORTS: &str = "reports";

/// What an error is told of.
fn told(subject: &Subject) -> String {
    format!("report to {}", subject.key)
}

/// Which object, of which life.
fn head(subject: &Subject) -> Value {
    let key = &subject.key;
    json!({"apiVersion": key.kind.api_version(), "kind": key.kind.kind,
           "metadata": {"name": key.name, "uid": &*subject.uid}})
}

/// The status without our elements, where nothing of it is to be ours any more and others have elements beside them.
fn others_alone(live: &DynamicObject, said: &Said) -> Option<Value> {
    if said.status.is_some() {
        return None;
    }
    let mut left = Map::new();
    for list in &said.shared {
        let (others, has_ours) = list.others(live.data.get("status"));
        if has_ours && !others.is_empty() {
            let path = list.path.strip_prefix("status.").unwrap_or_default();
            let whole = path.rsplit('.').fold(Value::Array(others), |inner, part| json!({part: inner}));
            left.extend(whole.as_object().cloned().unwrap_or_default());
        }
    }
    (!left.is_empty()).then_some(Value::Object(left))
}

fn insert(object: &mut Value, field: &str, value: Value) -> Option<Value> {
    object.as_object_mut().and_then(|fields| fields.insert(field.into(), value))
}

/// The status to apply, if anything is to be: `Some(None)` takes back what is ours.
fn status_to_write(live: &DynamicObject, said: &Said) -> Option<Option<Value>> {
    let current = live.data.get("status");
    match said.status.clone() {
        Some(wanted) => {
            let mut own = current.cloned();
            said.shared.iter().for_each(|list| own.iter_mut().for_each(|own| list.keep_ours(own)));
            let mut dated = dated(&wanted, own.as_ref(), &Timestamp::now().to_string());
            // Nothing of theirs is touched, not even a time that they left out.
            said.shared.iter().for_each(|list| list.share(&mut dated, current));
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
    use super::*;

    fn admitted(status: &str, time: Option<&str>) -> Value {
        let mut condition = json!({"type": "Admitted", "status": status});
        time.into_iter().for_each(|time| drop(insert(&mut condition, "lastTransitionTime", json!(time))));
        json!({"ingress": [{"host": "a", "conditions": [condition]}]})
    }

    fn live(status: &Value, manager: Option<&str>) -> DynamicObject {
        let mut metadata = json!({"name": "r"});
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

    /// Neither is theirs taken along when ours goes, nor is a time put into it.
    #[test]
    fn elements_of_others_are_theirs_alone() {
        let element = |router: &str, time: Option<&str>| {
            let mut condition = json!({"type": "Admitted", "status": "True"});
            time.into_iter().for_each(|time| drop(insert(&mut condition, "lastTransitionTime", json!(time))));
            json!({"routerName": router, "conditions": [condition]})
        };
        let list =
            SharedList { path: "status.ingress".into(), field: "routerName".into(), value: "own".into() };
        let said = |status| Said { status, shared: vec![list.clone()], ..Said::default() };
        let (ours, theirs) = (element("own", Some("then")), element("default", None));
        let both = live(&json!({"ingress": [theirs.clone(), ours.clone()]}), Some("router"));
        let again = said(Some(json!({"ingress": [element("own", None)]})));
        assert_eq!(status_to_write(&both, &again), None);
        let written = status_to_write(&both, &said(Some(json!({"ingress": []}))));
        assert_eq!(written, Some(Some(json!({"ingress": [theirs.clone()]}))));

        assert_eq!(others_alone(&both, &said(None)), Some(json!({"ingress": [theirs.clone()]})));
        for alone in [vec![theirs], vec![ours], vec![]] {
            assert_eq!(others_alone(&live(&json!({"ingress": alone}), None), &said(None)), None, "{alone:?}");
        }
        assert_eq!(others_alone(&both, &again), None);
    }

    #[test]
    fn elements_of_others_stay_where_they_are() {
        let element = |router: &str, host: &str| json!({"routerName": router, "host": host});
        let all = |elements: &[Value]| json!({"ingress": elements});
        let list =
            SharedList { path: "status.ingress".into(), field: "routerName".into(), value: "own".into() };
        let said = |elements: &[Value]| Said {
            status: Some(all(elements)),
            shared: vec![list.clone()],
            ..Said::default()
        };
        let (other, before, after) = (element("default", "a"), element("own", "a"), element("own", "b"));
        let table = [
            (vec![], vec![after.clone()], Some(vec![after.clone()])),
            (vec![other.clone()], vec![after.clone()], Some(vec![other.clone(), after.clone()])),
            (
                vec![before.clone(), other.clone()],
                vec![after.clone()],
                Some(vec![after.clone(), other.clone()]),
            ),
            (vec![other.clone(), after.clone()], vec![after.clone()], None),
            (vec![other.clone(), before], vec![], Some(vec![other])),
        ];
        for (there, ours, expected) in table {
            // The other router has written to the list last.
            let written = status_to_write(&live(&all(&there), Some("router")), &said(&ours));
            assert_eq!(written, expected.map(|expected| Some(all(&expected))), "{there:?} and {ours:?}");
        }
    }
}
