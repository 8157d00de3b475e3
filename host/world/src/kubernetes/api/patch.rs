//! PATCH, of all four kinds.

use serde_json::Value;

use super::update::Write;
use super::{Api, Call, Reply, Target};
use crate::kubernetes::managed::{self, Applied};
use crate::kubernetes::status::Status;
use crate::kubernetes::store::{meta, set};
use crate::kubernetes::{convert, patch, schema};

impl Api {
    pub(super) fn patch(&mut self, call: &Call<'_>, target: &Target) -> Result<Reply, Status> {
        match call.content_type {
            "application/apply-patch+yaml" => return self.apply(call, target, call.dry_run()?),
            "application/json-patch+json" | "application/merge-patch+json" => {}
            "application/strategic-merge-patch+json" if !target.resource.is_custom() => {}
            _ => {
                let mut accepted = vec!["application/json-patch+json", "application/merge-patch+json"];
                if !target.resource.is_custom() {
                    accepted.push("application/strategic-merge-patch+json");
                }
                accepted.push("application/apply-patch+yaml");
                return Err(Status::unsupported_media_type(&accepted));
            }
        }
        let dry_run = call.dry_run()?;
        let resource = target.resource.clone();
        let old = self.find(target)?;
        let mut live = old.value.clone();
        if convert::differs(&resource, &live) {
            convert::from_storage(&resource, &mut live);
        }
        let patched = self.patched(call, target, live)?;
        let name = meta(&patched, "name").and_then(Value::as_str).unwrap_or_default();
        if name != target.name {
            let url = &target.name;
            return Err(Status::bad_request(format!(
                "the name of the object ({name}) does not match the name on the URL ({url})"
            )));
        }
        let value = self.settle(call, target, patched)?;
        let write = Write { call, target, manager: call.manager(), dry_run };
        let object = self.replace(&write, &old, value)?;
        Ok(self.shown(200, target, object))
    }

    fn patched(&self, call: &Call<'_>, target: &Target, mut live: Value) -> Result<Value, Status> {
        let resource = &target.resource;
        let patch: Value = serde_json::from_slice(call.body)
            .map_err(|e| Status::bad_request(format!("error decoding patch: {e}")))?;
        match call.content_type {
            "application/json-patch+json" => {
                patch::json(&mut live, patch).map_err(|e| match e {
                    patch::JsonError::Malformed(why) => Status::bad_request(why),
                    patch::JsonError::Failed => Status::unprocessable(),
                })?;
            }
            "application/merge-patch+json" => patch::merge(&mut live, &patch),
            _ => patch::strategic(&resource.schema, &mut live, &patch).map_err(Status::bad_request)?,
        }
        Ok(live)
    }

    fn apply(&mut self, call: &Call<'_>, target: &Target, dry_run: bool) -> Result<Reply, Status> {
        let manager = call.parameter("fieldManager");
        if manager.is_empty() {
            let cause =
                crate::kubernetes::status::Cause::required("fieldManager", "is required for apply patch");
            return Err(Status::invalid(&super::options_kind("PatchOptions"), "", &[cause]));
        }
        let mut applied: Value = serde_json::from_slice(call.body)
            .map_err(|_| Status::not_modelled("bodies of server-side apply in YAML that is not JSON too"))?;
        let sent = applied.clone();
        self.check_applied(target, &mut applied)?;
        Self::fits(target, &sent)?;
        // It is compared with what is stored.
        schema::plain_numbers(&mut applied);
        let resource = target.resource.clone();
        let old = self.store.get(&resource.table(), &target.namespace, &target.name);
        let live = old.as_ref().map(|old| {
            let mut live = old.value.clone();
            convert::from_storage(&resource, &mut live);
            live
        });
        if live.is_none() && !target.subresource.is_empty() {
            return Err(Status::not_found(&resource.group_resource(), &target.name));
        }
        let uid = meta(&applied, "uid").and_then(Value::as_str).unwrap_or_default();
        if live.is_none() && !uid.is_empty() {
            let why = "uid mismatch: the provided object specified uid ".to_owned()
                + uid
                + ", and no existing object was found";
            return Err(Status::conflict(&resource.group_resource(), &target.name, &why));
        }
        let of = Applied {
            resource: &resource,
            subresource: &target.subresource,
            manager,
            force: call.flag("force"),
            now: call.now,
        };
        let merged = managed::apply(&of, live.as_ref(), &applied)?;
        let fields = meta(&merged, "managedFields").cloned().unwrap_or_default();
        let mut value = self.settle(call, target, merged)?;
        set(&mut value, "managedFields", fields);
        match old {
            Some(old) => {
                let write = Write { call, target, manager: String::new(), dry_run };
                let object = self.replace(&write, &old, value)?;
                Ok(self.shown(200, target, object))
            }
            None => {
                let object = self.insert(call, target, value, "", dry_run)?;
                Ok(self.shown(201, target, object))
            }
        }
    }

    /// Kind, name and namespace of what is applied.
    fn check_applied(&self, target: &Target, applied: &mut Value) -> Result<(), Status> {
        let resource = &target.resource;
        let text = |v: &Value, key: &str| v.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (version, kind) = (text(applied, "apiVersion"), text(applied, "kind"));
        if version != resource.api_version() || kind != resource.names.kind {
            let expected = format!("{}, Kind={}", resource.api_version(), resource.names.kind);
            return Err(Status::bad_request(format!(
                "invalid object type: /{version}, Kind={kind} (expected {expected})"
            )));
        }
        if meta(applied, "managedFields").is_some_and(|m| !m.is_null()) {
            return Err(Status::bad_request("metadata.managedFields must be nil"));
        }
        let name = meta(applied, "name").and_then(Value::as_str).unwrap_or_default();
        if !name.is_empty() && name != target.name {
            let url = &target.name;
            return Err(Status::bad_request(format!(
                "the name of the object ({name}) does not match the name on the URL ({url})"
            )));
        }
        if name.is_empty() {
            set(applied, "name", target.name.clone().into());
        }
        let namespace = meta(applied, "namespace").and_then(Value::as_str).unwrap_or_default();
        if resource.namespaced && !namespace.is_empty() && namespace != target.namespace {
            let url = &target.namespace;
            return Err(Status::bad_request(format!(
                "the namespace of the object ({namespace}) does not match the namespace on the request ({url})"
            )));
        }
        if resource.namespaced {
            set(applied, "namespace", target.namespace.clone().into());
        }
        Ok(())
    }

    fn fits(target: &Target, applied: &Value) -> Result<(), Status> {
        let resource = &target.resource;
        managed::check(&resource.typed, applied).map_err(|why| {
            // as Go prints a kind: the core group is the empty one
            let (version, kind) = (format!("{}/{}", resource.group, resource.version), &resource.names.kind);
            let text = |field| meta(applied, field).and_then(Value::as_str).unwrap_or_default();
            let object = format!("{}/{}; {version}, Kind={kind}", text("namespace"), text("name"));
            Status::internal_plain(&format!("failed to create typed patch object ({object}): {why}"))
        })
    }
}
