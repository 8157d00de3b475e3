//! The three patches that say what to change. (Server-side apply, which says what is wanted, is in `managed`.)

mod strategic;

pub(crate) use strategic::strategic;

use json_patch::{AddOperation, PatchOperation};
use serde_json::Value;

/// Why a JSON patch came to nothing.
#[derive(Debug)]
pub(crate) enum JsonError {
    /// It is none.
    Malformed(String),
    /// It does not fit the object.
    Failed,
}

/// RFC 6902. As the real server does, a test for null holds for a field that is absent.
pub(crate) fn json(target: &mut Value, patch: Value) -> Result<(), JsonError> {
    let patch: json_patch::Patch = serde_json::from_value(patch)
        .map_err(|e| JsonError::Malformed(format!("error decoding patch: {e}")))?;
    for step in patch.0 {
        if let PatchOperation::Test(test) = &step
            && test.value.is_null()
            && target.pointer(test.path.as_str()).is_none()
            && test.path.parent().is_none_or(|parent| target.pointer(parent.as_str()).is_some())
        {
            continue;
        }
        let step = match step {
            // so does replacing a field that is absent from an object
            PatchOperation::Replace(replace)
                if target.pointer(replace.path.as_str()).is_none()
                    && replace
                        .path
                        .parent()
                        .and_then(|p| target.pointer(p.as_str()))
                        .is_some_and(Value::is_object) =>
            {
                PatchOperation::Add(AddOperation { path: replace.path, value: replace.value })
            }
            step => step,
        };
        json_patch::patch(target, &[step]).map_err(|_| JsonError::Failed)?;
    }
    Ok(())
}

/// RFC 7396. As the real server does, null takes a field away inside of lists too.
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    let (Some(into), Some(from)) = (target.as_object_mut(), patch.as_object()) else {
        *target = patch.clone();
        return without_nulls(target);
    };
    for (key, value) in from {
        match into.get_mut(key) {
            _ if value.is_null() => {
                into.remove(key);
            }
            Some(below) if value.is_object() => merge(below, value),
            _ => {
                let mut value = value.clone();
                without_nulls(&mut value);
                into.insert(key.clone(), value);
            }
        }
    }
}

fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(without_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(without_nulls),
        _ => {}
    }
}
