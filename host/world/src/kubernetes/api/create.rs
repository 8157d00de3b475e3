//! POST on a collection.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{Api, Call, Reply, Target, time};
use crate::kubernetes::registry::Behaviour;
use crate::kubernetes::status::{Cause, Status};
use crate::kubernetes::store::{Object, meta, set};
use crate::kubernetes::{builtin, convert, managed, metadata, schema, unmodelled};

impl Api {
    pub(super) fn create(&mut self, call: &Call<'_>, target: &Target) -> Result<Reply, Status> {
        if !target.is_one_scope() {
            return Err(Status::method_not_allowed());
        }
        let dry_run = call.dry_run()?;
        let value = self.decode(call, target)?;
        let mut value = self.prepare(target, value)?;
        // PUT and apply, which make objects too, leave these as they are.
        for field in ["deletionTimestamp", "deletionGracePeriodSeconds"] {
            set(&mut value, field, Value::Null);
        }
        let stored = self.insert(call, target, value, &call.manager(), dry_run)?;
        Ok(self.shown(201, target, stored))
    }

    /// Namespace and name, as the path has them.
    pub(super) fn prepare(&mut self, target: &Target, mut value: Value) -> Result<Value, Status> {
        if target.resource.namespaced {
            let found = meta(&value, "namespace").and_then(Value::as_str).unwrap_or_default();
            if !found.is_empty() && found != target.namespace {
                return Err(Status::bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request",
                ));
            }
            set(&mut value, "namespace", target.namespace.clone().into());
        } else {
            set(&mut value, "namespace", Value::Null);
        }
        let name = meta(&value, "name").and_then(Value::as_str).unwrap_or_default();
        let prefix = meta(&value, "generateName").and_then(Value::as_str).unwrap_or_default();
        if name.is_empty() && !prefix.is_empty() {
            let name = self.ids.name(prefix);
            set(&mut value, "name", name.into());
        }
        Ok(value)
    }

    /// Stores a new object. `value` is of the target's kind, with its namespace and name.
    ///
    /// # Errors
    /// It is not valid, it is there already, or its namespace is not.
    pub(super) fn insert(
        &mut self,
        call: &Call<'_>,
        target: &Target,
        mut value: Value,
        manager: &str,
        dry_run: bool,
    ) -> Result<Arc<Object>, Status> {
        let resource = &target.resource;
        let name = meta(&value, "name").and_then(Value::as_str).unwrap_or_default().to_owned();
        self.check_namespace(target, &name)?;
        let version = meta(&value, "resourceVersion").and_then(Value::as_str).unwrap_or_default();
        if !matches!(version, "" | "0") {
            return Err(version_set());
        }
        set(&mut value, "selfLink", Value::Null);
        set(&mut value, "resourceVersion", Value::Null);
        let uid = self.ids.uid();
        set(&mut value, "uid", uid.into());
        set(&mut value, "creationTimestamp", time(call.now));
        if resource.has_generation() {
            set(&mut value, "generation", json!(1));
        }
        // Before the server adds what is its own. An applied one has been told of by who applied it.
        if !manager.is_empty() {
            managed::update(resource, &target.subresource, None, &mut value, manager, call.now);
        }
        self.first_state(target, &mut value, dry_run)?;
        let mut causes = metadata::check(resource, &value);
        causes.extend(self.wrong(target, &value, None, &causes)?);
        if !causes.is_empty() {
            return Err(Status::invalid(&resource.group_kind(), &name, &causes));
        }
        if resource.behaviour == Behaviour::Service {
            self.warn_of(&value);
        }
        convert::to_storage(resource, &mut value);
        let table = resource.table();
        if let Some(there) = self.store.get(&table, &target.namespace, &name) {
            let mut status = Status::already_exists(&resource.group_resource(), &name);
            if there.is_deleting() {
                status.message = format!("object is being deleted: {}", status.message);
            }
            return Err(status);
        }
        if dry_run {
            return Ok(Arc::new(Object::unstored(value)));
        }
        let object = self.store.put(&table, value);
        self.after_write(target, &object);
        Ok(object)
    }

    /// Everything that is wrong with an object beside its metadata.
    ///
    /// # Errors
    /// It can't be said, as the model lacks something that it has.
    pub(super) fn wrong(
        &self,
        target: &Target,
        value: &Value,
        old: Option<&Value>,
        metadata: &[Cause],
    ) -> Result<Vec<Cause>, Status> {
        let resource = &target.resource;
        if resource.behaviour == Behaviour::Crd
            && let Some(what) = unmodelled::in_definition(value)
        {
            return Err(Status::not_modelled(&what));
        }
        Ok(match resource.behaviour {
            Behaviour::Custom if target.subresource == "status" => {
                schema::validate_status(&resource.schema, value, old)
            }
            Behaviour::Custom => {
                let elsewhere = metadata.iter().any(Cause::blocks);
                schema::validate(&resource.schema, value, old, elsewhere)
            }
            behaviour => match old {
                Some(old) => builtin::check_update(behaviour, value, old),
                None => builtin::check_create(behaviour, value),
            },
        })
    }

    /// # Errors
    /// There is no such namespace, or it is going.
    fn check_namespace(&self, target: &Target, name: &str) -> Result<(), Status> {
        if !target.resource.namespaced {
            return Ok(());
        }
        let Some(namespaces) = self.registry.by_kind("", "Namespace") else { return Ok(()) };
        let Some(namespace) = self.store.get(&namespaces.table(), "", &target.namespace) else {
            return Err(Status::not_found(&namespaces.group_resource(), &target.namespace));
        };
        if namespace.is_deleting() {
            let why = format!(
                "unable to create new content in namespace {} because it is being terminated",
                target.namespace
            );
            let mut status = Status::forbidden(&target.resource.group_resource(), name, &why);
            let message = format!("namespace {} is being terminated", target.namespace);
            status.causes([("NamespaceTerminating", &*message, "metadata.namespace")].into_iter());
            return Err(status);
        }
        Ok(())
    }

    /// What the server itself writes into a new object.
    fn first_state(&mut self, target: &Target, value: &mut Value, dry_run: bool) -> Result<(), Status> {
        let resource = &target.resource;
        if resource.status
            && let Some(map) = value.as_object_mut()
        {
            map.remove("status");
            if !resource.is_custom() {
                map.insert("status".to_owned(), Value::Object(Map::new()));
            }
        }
        match resource.behaviour {
            Behaviour::Namespace => {
                let name = meta(value, "name").cloned().unwrap_or_default();
                if let Some(map) = value.as_object_mut() {
                    let spec = map.entry("spec").or_insert_with(|| json!({}));
                    let has =
                        spec.pointer("/finalizers").and_then(Value::as_array).is_some_and(|f| !f.is_empty());
                    if !has {
                        *spec = json!({"finalizers": ["kubernetes"]});
                    }
                    map.insert("status".to_owned(), json!({"phase": "Active"}));
                }
                metadata::label(value, "kubernetes.io/metadata.name", name);
            }
            Behaviour::Pod => {
                builtin::admit_pod(value);
                if let Some(map) = value.as_object_mut() {
                    map.insert("status".to_owned(), builtin::pod_status(map.get("spec")));
                }
            }
            Behaviour::Node => {
                if let Some(map) = value.as_object_mut() {
                    map.insert("status".to_owned(), builtin::node_status());
                }
            }
            Behaviour::Service => {
                self.allocate(value, None, dry_run)?;
                if let Some(map) = value.as_object_mut() {
                    map.insert("status".to_owned(), json!({"loadBalancer": {}}));
                }
            }
            Behaviour::Crd => {
                builtin::establish(value, &time_text(value));
            }
            _ => {}
        }
        Ok(())
    }

    /// What a write means for what is served.
    pub(super) fn after_write(&mut self, target: &Target, object: &Object) {
        if target.resource.behaviour == Behaviour::Crd {
            self.registry.define(&object.value);
        }
    }

    /// An object as an answer.
    pub(super) fn shown(&self, code: u16, target: &Target, object: Arc<Object>) -> Reply {
        let resource = target.resource.clone();
        if convert::differs(&resource, &object.value) {
            let mut value = object.value.clone();
            convert::from_storage(&resource, &mut value);
            return Reply::Shown { code, resource, value };
        }
        Reply::Object { code, resource, object }
    }
}

fn time_text(value: &Value) -> String {
    meta(value, "creationTimestamp").and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn version_set() -> Status {
    let mut status = Status::bad_request("resourceVersion should not be set on objects to be created");
    status.code = 500;
    status.reason = "";
    status
}
