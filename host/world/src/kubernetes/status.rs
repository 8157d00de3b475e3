//! The `Status` object: what a request that failed, and some that did not, are answered with.

use serde_json::{Map, Value, json};

/// The resource that an error is of, as `Status.details` names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GroupResource {
    pub(crate) group: String,
    pub(crate) resource: String,
}

impl std::fmt::Display for GroupResource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.resource)?;
        if self.group.is_empty() { Ok(()) } else { write!(f, ".{}", self.group) }
    }
}

/// One field that is wrong: `field.Error` of apimachinery.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cause {
    pub(crate) reason: &'static str,
    pub(crate) field: String,
    pub(crate) message: String,
}

impl Cause {
    fn new(reason: &'static str, field: &str, message: String) -> Self {
        Self { reason, field: field.to_owned(), message }
    }

    pub(crate) fn required(field: &str, detail: &str) -> Self {
        let tail = if detail.is_empty() { String::new() } else { format!(": {detail}") };
        Self::new("FieldValueRequired", field, format!("Required value{tail}"))
    }

    pub(crate) fn invalid(field: &str, value: &Value, detail: &str) -> Self {
        let tail = if detail.is_empty() { String::new() } else { format!(": {detail}") };
        Self::new("FieldValueInvalid", field, format!("Invalid value: {}{tail}", shown(value)))
    }

    pub(crate) fn type_invalid(field: &str, value: &Value, detail: &str) -> Self {
        Self { reason: "FieldValueTypeInvalid", ..Self::invalid(field, value, detail) }
    }

    pub(crate) fn forbidden(field: &str, detail: &str) -> Self {
        Self::new("FieldValueForbidden", field, format!("Forbidden: {detail}"))
    }

    pub(crate) fn duplicate(field: &str, value: &Value) -> Self {
        Self::new("FieldValueDuplicate", field, format!("Duplicate value: {}", shown(value)))
    }

    pub(crate) fn too_long(field: &str, limit: usize) -> Self {
        Self::new("FieldValueTooLong", field, format!("Too long: may not be more than {limit} bytes"))
    }

    pub(crate) fn too_many(field: &str, actual: usize, limit: u64) -> Self {
        Self::new("FieldValueTooMany", field, format!("Too many: {actual}: must have at most {limit} items"))
    }

    pub(crate) fn not_supported(field: &str, value: &Value, among: &[&str]) -> Self {
        let quoted: Vec<_> = among.iter().map(|v| format!("{v:?}")).collect();
        let list = quoted.join(", ");
        let message = format!("Unsupported value: {}: supported values: {list}", shown(value));
        Self::new("FieldValueNotSupported", field, message)
    }

    /// Whether the shape is wrong, so that rules on what is inside cannot be looked at.
    pub(crate) fn blocks(&self) -> bool {
        !matches!(self.reason, "FieldValueInvalid" | "FieldValueForbidden" | "FieldValueDuplicate")
    }

    fn text(&self) -> String {
        format!("{}: {}", self.field, self.message)
    }
}

/// A value as `field.Error` prints it.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{text:?}"),
        other => other.to_string(),
    }
}

/// What is answered in place of an object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Status {
    pub(crate) code: u16,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    pub(crate) details: Option<Value>,
    /// Where an expired list may go on.
    pub(crate) next: Option<String>,
}

fn details(resource: &GroupResource, name: &str) -> Map<String, Value> {
    let mut details = Map::new();
    for (key, value) in [("name", name), ("group", &*resource.group), ("kind", &*resource.resource)] {
        if !value.is_empty() {
            details.insert(key.into(), value.into());
        }
    }
    details
}

impl Status {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: None, next: None }
    }

    fn of(mut self, resource: &GroupResource, name: &str) -> Self {
        self.details = Some(details(resource, name).into());
        self
    }

    pub(crate) fn not_found(resource: &GroupResource, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{resource} {name:?} not found")).of(resource, name)
    }

    /// Of a path below which there is nothing.
    pub(crate) fn no_such_path() -> Self {
        let message = "the server could not find the requested resource";
        Self { details: Some(json!({})), ..Self::new(404, "NotFound", message) }
    }

    pub(crate) fn already_exists(resource: &GroupResource, name: &str) -> Self {
        Self::new(409, "AlreadyExists", format!("{resource} {name:?} already exists")).of(resource, name)
    }

    pub(crate) fn conflict(resource: &GroupResource, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {resource} {name:?}: {why}");
        Self::new(409, "Conflict", message).of(resource, name)
    }

    /// Of an object that was changed since it was read.
    pub(crate) fn modified(resource: &GroupResource, name: &str) -> Self {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(resource, name, why)
    }

    pub(crate) fn forbidden(resource: &GroupResource, name: &str, why: &str) -> Self {
        let message = match name {
            "" => format!("{resource} is forbidden: {why}"),
            _ => format!("{resource} {name:?} is forbidden: {why}"),
        };
        Self::new(403, "Forbidden", message).of(resource, name)
    }

    /// `kind`: group and kind of what was sent.
    pub(crate) fn invalid(kind: &GroupResource, name: &str, causes: &[Cause]) -> Self {
        let texts: Vec<_> = causes.iter().map(Cause::text).collect();
        let all = match &*texts {
            [one] => one.clone(),
            _ => format!("[{}]", texts.join(", ")),
        };
        let message = format!("{kind} {name:?} is invalid: {all}");
        let mut status = Self::new(422, "Invalid", message).of(kind, name);
        status.causes(causes.iter().map(|c| (c.reason, &*c.message, &*c.field)));
        status
    }

    /// Adds `details.causes`.
    pub(crate) fn causes<'a>(&mut self, causes: impl Iterator<Item = (&'a str, &'a str, &'a str)>) {
        let causes: Vec<_> = causes
            .map(|(reason, message, field)| match field {
                "" => json!({"reason": reason, "message": message}),
                _ => json!({"reason": reason, "message": message, "field": field}),
            })
            .collect();
        if let Some(details) = self.details.get_or_insert_with(|| json!({})).as_object_mut() {
            details.insert("causes".into(), causes.into());
        }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        let message = message.into();
        let mut status = Self::new(500, "InternalError", format!("Internal error occurred: {message}"));
        status.details = Some(json!({"causes": [{"message": message}]}));
        status
    }

    /// Without the words before.
    pub(crate) fn internal_plain(message: &str) -> Self {
        Self::new(500, "", message)
    }

    pub(crate) fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// Of the page of a list whose version is forgotten. `next`: goes on with what there is now.
    pub(crate) fn continue_expired(next: String) -> Self {
        let message = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";
        Self { next: Some(next), ..Self::expired(message) }
    }

    pub(crate) fn unsupported_media_type(accepted: &[&str]) -> Self {
        let list = accepted.join(", ");
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {list}"
        );
        Self::new(415, "UnsupportedMediaType", message)
    }

    pub(crate) fn not_acceptable(accepted: &[&str]) -> Self {
        let message = format!("only the following media types are accepted: {}", accepted.join(", "));
        Self::new(406, "NotAcceptable", message)
    }

    pub(crate) fn method_not_allowed() -> Self {
        let mut status = Self::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        );
        status.details = Some(json!({}));
        status
    }

    /// Of a JSON patch that does not fit. The real server does not say why either.
    pub(crate) fn unprocessable() -> Self {
        let message = "the server rejected our request due to an error in our request";
        Self { details: Some(json!({})), ..Self::new(422, "Invalid", message) }
    }

    /// What the model leaves out. The real server never says so.
    pub(crate) fn not_modelled(what: &str) -> Self {
        Self::new(501, "NotImplemented", format!("this model of the Kubernetes API does not have {what}"))
    }

    /// As it is sent.
    pub(crate) fn body(&self) -> Value {
        let metadata = self.next.as_ref().map_or_else(|| json!({}), |next| json!({"continue": next}));
        let mut body = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": metadata, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        if let Some(map) = body.as_object_mut().filter(|_| self.reason.is_empty()) {
            map.remove("reason");
        }
        if let (Some(details), Some(map)) = (&self.details, body.as_object_mut()) {
            map.insert("details".into(), details.clone());
        }
        body
    }

    /// The answer to a deletion that left nothing to show.
    pub(crate) fn deleted(resource: &GroupResource, name: &str, uid: &str) -> Value {
        let mut details = details(resource, name);
        details.insert("uid".into(), uid.into());
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
    }
}
