//! Reviews of access: everything is allowed, to everybody.

use axum::http::Method;
use serde_json::{Value, json};

use super::{Call, Reply};
use crate::kubernetes::{protobuf, status::Status};

pub(super) fn review(call: &Call<'_>, kind: &str) -> Result<Reply, Status> {
    if call.method != Method::POST {
        return Err(Status::method_not_allowed());
    }
    let mut body: Value = match protobuf::envelope(call.body) {
        // What was asked for does not matter.
        Some((version, kind, _)) => json!({"apiVersion": version, "kind": kind, "metadata": {}, "spec": {}}),
        None => serde_json::from_slice(call.body)
            .map_err(|e| Status::bad_request(format!("the body is no JSON: {e}")))?,
    };
    let everything = json!(["*"]);
    let status = match kind {
        "SelfSubjectRulesReview" => json!({
            "incomplete": false,
            "resourceRules": [{"verbs": everything, "apiGroups": everything, "resources": everything}],
            "nonResourceRules": [{"verbs": everything, "nonResourceURLs": everything}],
        }),
        "SelfSubjectReview" => {
            json!({"userInfo": {"username": "admin", "groups": ["system:masters", "system:authenticated"]}})
        }
        _ => json!({"allowed": true}),
    };
    if let Some(map) = body.as_object_mut() {
        map.insert("status".to_owned(), status);
    }
    Ok(Reply::Json(201, body))
}
