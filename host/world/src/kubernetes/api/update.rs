//! PUT, and what a patch comes to.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Api, Call, Reply, Target};
use crate::kubernetes::registry::{Behaviour, Resource};
use crate::kubernetes::status::{Cause, GroupResource, Status};
use crate::kubernetes::store::{Object, meta, set};
use crate::kubernetes::{builtin, convert, managed, metadata};

/// How a changed object came about.
pub(super) struct Write<'a> {
    pub(super) call: &'a Call<'a>,
    pub(super) target: &'a Target,
    /// Empty: `managedFields` are those of the object already (server-side apply).
    pub(super) manager: String,
    pub(super) dry_run: bool,
}

impl Api {
    pub(super) fn update(&mut self, call: &Call<'_>, target: &Target) -> Result<Reply, Status> {
        let dry_run = call.dry_run()?;
        let mut value = self.decode(call, target)?;
        place(target, &mut value)?;
        let resource = &target.resource;
        let found = self.store.get(&resource.table(), &target.namespace, &target.name);
        let Some(old) = found else {
            if !creates_on_update(resource) || !target.subresource.is_empty() {
                return Err(Status::not_found(&resource.group_resource(), &target.name));
            }
            let uid = meta(&value, "uid").and_then(Value::as_str).unwrap_or_default();
            if !uid.is_empty() {
                return Err(uid_mismatch(target, uid, "", dry_run));
            }
            let version = meta(&value, "resourceVersion").cloned().unwrap_or_default();
            set(&mut value, "resourceVersion", Value::Null);
            let mut object = self.insert(call, target, value, &call.manager(), dry_run)?;
            if dry_run {
                // what was sent is shown
                let mut value = object.value.clone();
                set(&mut value, "resourceVersion", version);
                object = Arc::new(Object::unstored(value));
            }
            return Ok(self.shown(201, target, object));
        };
        let write = Write { call, target, manager: call.manager(), dry_run };
        let object = self.replace(&write, &old, value)?;
        Ok(self.shown(200, target, object))
    }

    /// Stores a changed object; one that is the same stays as it is.
    ///
    /// # Errors
    /// It is not valid, or was changed meanwhile.
    pub(super) fn replace(
        &mut self,
        write: &Write<'_>,
        old: &Arc<Object>,
        mut value: Value,
    ) -> Result<Arc<Object>, Status> {
        let (target, resource) = (write.target, &write.target.resource);
        let mut before = old.value.clone();
        if convert::differs(resource, &before) {
            convert::from_storage(resource, &mut before);
        }
        self.check_version(target, &value, old, write.dry_run)?;
        // An applied one has been told of by who applied it.
        if !write.manager.is_empty() {
            let now = write.call.now;
            managed::update(resource, &target.subresource, Some(&before), &mut value, &write.manager, now);
        }
        carry_over(resource, &target.subresource, &mut value, &before);
        if resource.behaviour == Behaviour::Service && target.subresource.is_empty() {
            self.allocate(&mut value, Some(&before), write.dry_run)?;
        }
        if resource.behaviour == Behaviour::Crd && target.subresource.is_empty() {
            builtin::keep_up(&mut value);
        }
        bump_generation(resource, &target.subresource, &mut value, &before);
        let mut causes = metadata::check_update(resource, &target.subresource, &value, &before);
        causes.extend(self.wrong(target, &value, Some(&before), &causes)?);
        if !causes.is_empty() {
            causes.sort_by_key(|c: &Cause| !c.field.starts_with("metadata"));
            return Err(Status::invalid(&resource.group_kind(), &target.name, &causes));
        }
        if resource.behaviour == Behaviour::Service && target.subresource.is_empty() {
            self.warn_of(&value);
        }
        set(&mut value, "resourceVersion", old.meta("resourceVersion").cloned().unwrap_or_default());
        convert::to_storage(resource, &mut value);
        let table = resource.table();
        let same = managed::same_but_times(&value, &old.value);
        if is_finished(resource, &value) {
            if write.dry_run {
                return Ok(Arc::new(Object::unstored(value)));
            }
            // What is told of it is what was stored, not what the update made of it.
            self.take_away(target.resource.clone(), &table, &old.key());
            return Ok(Arc::new(Object::unstored(value)));
        }
        if same {
            return Ok(old.clone());
        }
        if write.dry_run {
            return Ok(Arc::new(Object::unstored(value)));
        }
        let object = self.store.put(&table, value);
        self.after_write(target, &object);
        Ok(object)
    }

    fn check_version(
        &self,
        target: &Target,
        value: &Value,
        old: &Object,
        dry_run: bool,
    ) -> Result<(), Status> {
        let resource = &target.resource;
        let text = |field: &str| meta(value, field).and_then(Value::as_str).unwrap_or_default();
        let uid = text("uid");
        if !uid.is_empty() && uid != old.uid() {
            return Err(uid_mismatch(target, uid, old.uid(), dry_run));
        }
        match text("resourceVersion") {
            "" | "0" => {
                if needs_version(resource) && target.subresource != "finalize" {
                    let field = "metadata.resourceVersion";
                    let cause = Cause::invalid(field, &Value::from(0), "must be specified for an update");
                    // The real server names the resource in place of the kind.
                    return Err(Status::invalid(&resource.group_resource(), &target.name, &[cause]));
                }
                Ok(())
            }
            version if version == old.text("resourceVersion") => Ok(()),
            version if version.parse::<u64>().is_err() => {
                let cause =
                    Cause::invalid("metadata.resourceVersion", &Value::from(version), "must be numeric");
                Err(Status::invalid(&resource.group_kind(), &target.name, &[cause]))
            }
            _ => Err(Status::modified(&resource.group_resource(), &target.name)),
        }
    }
}

fn uid_mismatch(target: &Target, wanted: &str, found: &str, dry_run: bool) -> Status {
    let key = target.resource.storage_key(&target.namespace, &target.name, dry_run);
    let why = format!(
        "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}"
    );
    Status::conflict(&target.resource.group_resource(), &target.name, &why)
}

/// Whether a PUT makes what is not there.
pub(super) fn creates_on_update(resource: &Resource) -> bool {
    use Behaviour as B;
    resource.group == "rbac.authorization.k8s.io"
        || matches!(resource.behaviour, B::Service | B::Event | B::NewEvent | B::Lease)
}

/// Whether an update must say of which version it is.
fn needs_version(resource: &Resource) -> bool {
    matches!(resource.behaviour, Behaviour::Lease | Behaviour::Custom | Behaviour::Crd)
}

/// Name and namespace must be those of the path.
fn place(target: &Target, value: &mut Value) -> Result<(), Status> {
    let text = |value: &Value, field: &str| {
        meta(value, field).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let (name, namespace) = (text(value, "name"), text(value, "namespace"));
    if name.is_empty() {
        return Err(Status::bad_request("name must be provided"));
    }
    if name != target.name {
        let url = &target.name;
        return Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({url})"
        )));
    }
    if target.resource.namespaced && !namespace.is_empty() && namespace != target.namespace {
        let url = &target.namespace;
        return Err(Status::bad_request(format!(
            "the namespace of the object ({namespace}) does not match the namespace on the request ({url})"
        )));
    }
    let namespace = if target.resource.namespaced { target.namespace.clone().into() } else { Value::Null };
    set(value, "namespace", namespace);
    Ok(())
}

/// What a request cannot change is as it was.
fn carry_over(resource: &Resource, subresource: &str, value: &mut Value, old: &Value) {
    for field in ["creationTimestamp", "generation", "uid"] {
        set(value, field, meta(old, field).cloned().unwrap_or_default());
    }
    set(value, "selfLink", Value::Null);
    if let Some(at) = meta(old, "deletionTimestamp") {
        set(value, "deletionTimestamp", at.clone());
        if meta(value, "deletionGracePeriodSeconds").is_none() {
            let seconds = meta(old, "deletionGracePeriodSeconds").cloned().unwrap_or_default();
            set(value, "deletionGracePeriodSeconds", seconds);
        }
    }
    if !resource.status {
        return;
    }
    let keep = |value: &mut Value, key: &str| {
        let before = old.get(key).cloned();
        if let Some(map) = value.as_object_mut() {
            match before {
                Some(before) => map.insert(key.to_owned(), before),
                None => map.remove(key),
            };
        }
    };
    match subresource {
        "" => {
            keep(value, "status");
            if resource.behaviour == Behaviour::Namespace {
                keep(value, "spec");
            }
        }
        "finalize" => keep(value, "status"),
        _ if resource.is_custom() => {
            // All but the status is as it was, and of the metadata all but what tells of the write.
            let status = value.get("status").cloned();
            let fields = meta(value, "managedFields").cloned().unwrap_or_default();
            *value = old.clone();
            if let (Some(map), status) = (value.as_object_mut(), status) {
                match status {
                    Some(status) => map.insert("status".to_owned(), status),
                    None => map.remove("status"),
                };
            }
            set(value, "managedFields", fields);
        }
        _ => {
            keep(value, "spec");
            if resource.behaviour == Behaviour::Pod {
                let quality = old.pointer("/status/qosClass").cloned();
                if let (Some(status), Some(quality)) =
                    (value.get_mut("status").and_then(Value::as_object_mut), quality)
                {
                    status.entry("qosClass").or_insert(quality);
                }
                for field in ["ownerReferences", "deletionTimestamp"] {
                    set(value, field, meta(old, field).cloned().unwrap_or_default());
                }
            }
            if resource.behaviour == Behaviour::Crd {
                builtin::keep_metadata(value, old);
            }
        }
    }
}

fn bump_generation(resource: &Resource, subresource: &str, value: &mut Value, old: &Value) {
    if !resource.has_generation() || !subresource.is_empty() {
        return;
    }
    let differs = match resource.behaviour {
        // All but metadata, and status where that is a subresource.
        Behaviour::Custom => {
            let content = |v: &Value| {
                let mut map = v.as_object().cloned().unwrap_or_default();
                map.remove("metadata");
                map.remove("apiVersion");
                if resource.status {
                    map.remove("status");
                }
                map
            };
            content(value) != content(old)
        }
        Behaviour::EndpointSlice => {
            let content = |v: &Value| {
                let mut v = v.clone();
                if let Some(map) = v.as_object_mut() {
                    map.remove("metadata");
                }
                (v, meta(value, "labels").cloned())
            };
            content(value) != content(old) || meta(value, "labels") != meta(old, "labels")
        }
        _ => value.get("spec") != old.get("spec"),
    };
    if differs {
        let generation = meta(old, "generation").and_then(Value::as_u64).unwrap_or_default();
        set(value, "generation", json!(generation + 1));
    }
}

/// Whether an object that is being deleted has nothing left to wait for.
pub(super) fn is_finished(resource: &Resource, value: &Value) -> bool {
    if meta(value, "deletionTimestamp").is_none() {
        return false;
    }
    let none = |list: Option<&Value>| list.and_then(Value::as_array).is_none_or(Vec::is_empty);
    let grace = meta(value, "deletionGracePeriodSeconds").and_then(Value::as_i64).unwrap_or_default();
    none(meta(value, "finalizers"))
        && grace == 0
        && (resource.behaviour != Behaviour::Namespace || none(value.pointer("/spec/finalizers")))
}

impl Api {
    /// Takes an object out of the store, and with a CRD what it served.
    pub(super) fn take_away(
        &mut self,
        resource: Arc<Resource>,
        table: &GroupResource,
        key: &crate::kubernetes::store::Key,
    ) -> Option<Arc<Object>> {
        let gone = self.store.remove(table, key)?;
        if resource.behaviour == Behaviour::Crd {
            let text =
                |path: &str| gone.value.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
            self.registry.forget(&text("/spec/group"), &text("/spec/names/plural"));
        }
        Some(gone)
    }
}
