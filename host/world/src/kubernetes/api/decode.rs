//! From a body to an object of a kind.

use serde_json::Value;

use super::{Api, Call, Target};
use crate::kubernetes::schema::{Unknown, clean, default, plain_numbers, prune, prune_nulls};
use crate::kubernetes::status::{Cause, Status};
use crate::kubernetes::{builtin, protobuf};

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

fn unregistered(kind: &str, found: &str, version: &str) -> String {
    let short = version.rsplit('/').next().unwrap_or_default();
    format!(
        "{found} in version {short:?} cannot be handled as a {kind}: no kind {found:?} is registered for version {version:?} in scheme \"pkg/runtime/scheme.go:111\""
    )
}

fn from_protobuf(call: &Call<'_>, target: &Target) -> Result<Value, Status> {
    let Some((version, kind, raw)) = protobuf::envelope(call.body) else {
        return Err(Status::bad_request("the body is no object in protobuf"));
    };
    let mut value =
        protobuf::message(&target.resource.schema, raw).map_err(|what| Status::not_modelled(&what))?;
    if let Some(map) = value.as_object_mut() {
        map.insert("apiVersion".to_owned(), version.into());
        map.insert("kind".to_owned(), kind.into());
    }
    Ok(value)
}

impl Api {
    /// The object that a request sends, in the form of its kind: checked for its type, cleaned, defaulted.
    ///
    /// # Errors
    /// A body that is no object of that kind.
    pub(super) fn decode(&mut self, call: &Call<'_>, target: &Target) -> Result<Value, Status> {
        let protobuf = call.content_type == PROTOBUF && !target.resource.is_custom();
        if !protobuf && !matches!(call.content_type, "" | "application/json") {
            let accepted: &[&str] = match target.resource.is_custom() {
                true => &["application/json", "application/yaml"],
                false => &["application/json", "application/yaml", PROTOBUF],
            };
            return Err(Status::unsupported_media_type(accepted));
        }
        let kind = &target.resource.names.kind;
        let value: Value = match protobuf {
            true => from_protobuf(call, target)?,
            false => serde_json::from_slice(call.body).map_err(|_| {
                let hint = "couldn't get version/kind; json parse error: unexpected end of JSON input";
                Status::bad_request(hint.to_owned())
            })?,
        };
        let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
        let (found, version) = (text("kind"), text("apiVersion"));
        let expected = target.resource.api_version();
        if target.resource.is_custom() && found.is_empty() {
            let body = String::from_utf8_lossy(call.body);
            return Err(Status::bad_request(format!("Object 'Kind' is missing in '{body}'")));
        }
        if !found.is_empty() && found != kind {
            if target.resource.is_custom() && version == expected {
                let mut sent = target.resource.group_kind();
                sent.resource = found.to_owned();
                let name = value.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
                let cause = Cause::invalid("kind", &Value::from(found), &format!("must be {kind}"));
                return Err(Status::invalid(&sent, name, &[cause]));
            }
            return Err(Status::bad_request(unregistered(kind, found, version)));
        }
        if !version.is_empty() && version != expected {
            if !target.resource.is_custom() {
                return Err(Status::bad_request(unregistered(kind, found, version)));
            }
            let message = format!(
                "the API version in the data ({version}) does not match the expected API version ({expected})"
            );
            return Err(Status::bad_request(message));
        }
        self.settle(call, target, value)
    }

    /// Cleans and defaults a value that is to be an object of the target's kind.
    ///
    /// # Errors
    /// A value of the wrong type; with `fieldValidation=Strict` also an unknown field.
    pub(super) fn settle(
        &mut self,
        call: &Call<'_>,
        target: &Target,
        mut value: Value,
    ) -> Result<Value, Status> {
        let resource = &target.resource;
        if let Some(map) = value.as_object_mut() {
            map.insert("apiVersion".to_owned(), resource.api_version().into());
            map.insert("kind".to_owned(), resource.names.kind.clone().into());
        }
        let mut unknown = Unknown::new();
        if resource.is_custom() {
            clean_metadata(self, &mut value, &mut unknown).map_err(|e| self.cannot_handle(target, &e))?;
            prune(&resource.schema, &mut value, "", true, &mut unknown);
            // An applied null was looked at as it is.
            if call.content_type != "application/apply-patch+yaml" {
                prune_nulls(&resource.schema, &mut value);
            }
            default(&resource.schema, &mut value);
        } else {
            clean(&resource.schema, &mut value, "", &mut unknown)
                .map_err(|e| self.cannot_handle(target, &e))?;
            builtin::set_defaults(resource.behaviour, &mut value);
        }
        plain_numbers(&mut value);
        self.report_unknown(call, target, &unknown)?;
        Ok(value)
    }

    fn cannot_handle(&self, target: &Target, why: &str) -> Status {
        let (kind, version) = (&target.resource.names.kind, &target.resource.version);
        Status::bad_request(format!("{kind} in version {version:?} cannot be handled as a {kind}: {why}"))
    }

    pub(super) fn report_unknown(
        &mut self,
        call: &Call<'_>,
        target: &Target,
        unknown: &Unknown,
    ) -> Result<(), Status> {
        if unknown.is_empty() {
            return Ok(());
        }
        let mut unknown: Vec<_> = unknown.iter().map(|path| format!("unknown field {path:?}")).collect();
        unknown.sort();
        match call.parameter("fieldValidation") {
            "Strict" => {
                let (kind, version) = (&target.resource.names.kind, &target.resource.version);
                let list = unknown.join(", ");
                Err(Status::bad_request(format!(
                    "{kind} in version {version:?} cannot be handled as a {kind}: strict decoding error: {list}"
                )))
            }
            "Ignore" => Ok(()),
            _ => {
                self.warnings.extend(unknown);
                Ok(())
            }
        }
    }
}

/// `metadata` of a custom resource has the type that it has everywhere.
fn clean_metadata(api: &Api, value: &mut Value, unknown: &mut Unknown) -> Result<(), String> {
    let Some(metadata) = value.get_mut("metadata") else { return Ok(()) };
    let Some(config_map) = api.registry.by_kind("", "ConfigMap") else { return Ok(()) };
    match config_map.schema.property("metadata") {
        Some(schema) => clean(schema, metadata, "metadata", unknown),
        None => Ok(()),
    }
}
