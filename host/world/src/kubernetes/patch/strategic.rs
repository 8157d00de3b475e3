//! Strategic merge patch: as a merge patch, but lists of a built-in kind merge by key where their type says so.
//!
//! Directives: `$patch: delete|replace|merge`, `$deleteFromPrimitiveList/FIELD`, `$setElementOrder/FIELD`, `$retainKeys`.

use serde_json::{Map, Value};

use crate::kubernetes::schema::{Schema, Type};

/// Applies a patch.
///
/// # Errors
/// An item without its key, or an unknown directive.
pub(crate) fn strategic(schema: &Schema, target: &mut Value, patch: &Value) -> Result<(), String> {
    let Some(patch) = patch.as_object() else { return Err("a patch must be an object".to_owned()) };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    match target.as_object_mut() {
        Some(target) => object(schema, target, patch),
        None => Ok(()),
    }
}

fn object(
    schema: &Schema,
    target: &mut Map<String, Value>,
    patch: &Map<String, Value>,
) -> Result<(), String> {
    match patch.get("$patch").and_then(Value::as_str) {
        Some("replace") => {
            *target =
                patch.iter().filter(|(k, _)| *k != "$patch").map(|(k, v)| (k.clone(), v.clone())).collect();
            return Ok(());
        }
        Some("delete") => {
            target.clear();
            return Ok(());
        }
        Some("merge") | None => {}
        Some(other) => return Err(format!("unrecognized type: {other}")),
    }
    if let Some(keys) = patch.get("$retainKeys").and_then(Value::as_array) {
        target.retain(|key, _| keys.iter().any(|k| k.as_str() == Some(key)));
    }
    for (key, value) in patch {
        if let Some(field) = key.strip_prefix("$deleteFromPrimitiveList/")
            && let (Some(list), Some(gone)) =
                (target.get_mut(field).and_then(Value::as_array_mut), value.as_array())
        {
            list.retain(|item| !gone.contains(item));
        }
    }
    for (key, value) in patch {
        if key.starts_with('$') {
            continue;
        }
        let inner = schema.property(key).map(|s| &**s);
        let before = target.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
        field(inner, target, key, value)?;
        if let (Some(inner), Some(items)) = (inner.filter(|s| s.merge), value.as_array())
            && let Some(list) = target.get_mut(key).and_then(Value::as_array_mut)
        {
            let order = patch.get(&format!("$setElementOrder/{key}")).and_then(Value::as_array);
            reorder(inner, list, order.unwrap_or(items), &before);
        }
    }
    for (key, order) in patch {
        if let Some(field) = key.strip_prefix("$setElementOrder/")
            && !patch.contains_key(field)
            && let Some(inner) = schema.property(field)
            && let Some(list) = target.get_mut(field).and_then(Value::as_array_mut)
        {
            let before = list.clone();
            reorder(inner, list, order.as_array().map_or(&[], Vec::as_slice), &before);
        }
    }
    Ok(())
}

fn field(
    schema: Option<&Schema>,
    target: &mut Map<String, Value>,
    key: &str,
    value: &Value,
) -> Result<(), String> {
    match value {
        Value::Null => {
            target.remove(key);
        }
        Value::Object(patch) => {
            let deleted = patch.get("$patch").and_then(Value::as_str) == Some("delete");
            if deleted {
                target.remove(key);
                return Ok(());
            }
            // A directive for what is not there says nothing.
            if patch.contains_key("$patch") && !target.contains_key(key) {
                return Ok(());
            }
            let any = Schema::default();
            let below = target.entry(key).or_insert_with(|| Value::Object(Map::new()));
            if !below.is_object() {
                *below = Value::Object(Map::new());
            }
            if let Some(below) = below.as_object_mut() {
                object(schema.unwrap_or(&any), below, patch)?;
            }
        }
        Value::Array(patch) if schema.is_some_and(|s| s.merge) => {
            let Some(schema) = schema else { return Ok(()) };
            let below = target.entry(key).or_insert_with(|| Value::Array(Vec::new()));
            if !below.is_array() {
                *below = Value::Array(Vec::new());
            }
            if let Some(below) = below.as_array_mut() {
                list(schema, below, patch)?;
            }
        }
        other => {
            target.insert(key.to_owned(), other.clone());
        }
    }
    Ok(())
}

fn list(schema: &Schema, target: &mut Vec<Value>, patch: &[Value]) -> Result<(), String> {
    let any = Schema::default();
    let items = schema.items.as_deref().unwrap_or(&any);
    let Some(key) = schema.merge_key.as_deref().filter(|_| items.kind == Type::Object) else {
        for item in patch {
            if !target.contains(item) {
                target.push(item.clone());
            }
        }
        return Ok(());
    };
    let directive = |item: &Value| item.get("$patch").and_then(Value::as_str).map(str::to_owned);
    if patch.iter().any(|i| directive(i).as_deref() == Some("replace")) {
        *target = patch.iter().filter(|i| i.get("$patch").is_none()).cloned().collect();
        return Ok(());
    }
    for item in patch {
        let Some(id) = item.get(key) else {
            return Err(format!("map: {} does not contain declared merge key: {key}", go_map(item)));
        };
        if directive(item).as_deref() == Some("delete") {
            target.retain(|t| t.get(key) != Some(id));
            continue;
        }
        match target.iter_mut().find(|t| t.get(key) == Some(id)) {
            Some(found) => strategic(items, found, item)?,
            None => {
                let mut new = Value::Object(Map::new());
                strategic(items, &mut new, item)?;
                target.push(new);
            }
        }
    }
    Ok(())
}

/// As Go prints a map.
fn go_map(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let parts: Vec<_> = map.iter().map(|(k, v)| format!("{k}:{}", go_map(v))).collect();
            format!("map[{}]", parts.join(" "))
        }
        Value::Array(list) => format!("[{}]", list.iter().map(go_map).collect::<Vec<_>>().join(" ")),
        Value::String(text) => text.clone(),
        Value::Null => "<nil>".to_owned(),
        other => other.to_string(),
    }
}

/// Puts the items that `order` names into its order; each other one goes before the first of them that it stood before.
fn reorder(schema: &Schema, list: &mut Vec<Value>, order: &[Value], before: &[Value]) {
    let id = |item: &Value| match &schema.merge_key {
        Some(key) => item.get(key).cloned().unwrap_or_default(),
        None => item.clone(),
    };
    let place = |among: &[Value], item: &Value| among.iter().position(|w| id(w) == id(item));
    let (mut named, mut others): (Vec<Value>, Vec<Value>) =
        std::mem::take(list).into_iter().partition(|i| place(order, i).is_some());
    named.sort_by_key(|i| place(order, i));
    others.sort_by_key(|i| place(before, i));
    let (mut named, mut others) = (named.into_iter().peekable(), others.into_iter().peekable());
    loop {
        let other_first = match (others.peek(), named.peek()) {
            (None, None) => return,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(other), Some(next)) => {
                matches!((place(before, other), place(before, next)), (Some(a), Some(b)) if a < b)
            }
        };
        list.extend(if other_first { others.next() } else { named.next() });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::kubernetes::registry::Registry;

    fn patched(mut target: Value, patch: &Value) -> Value {
        let pod: Arc<Schema> = Registry::new().by_kind("", "Pod").unwrap().schema.clone();
        strategic(&pod, &mut target, patch).unwrap();
        target
    }

    #[test]
    fn containers_merge_by_name() {
        let pod = json!({"spec": {"containers": [{"name": "a", "image": "x"}, {"name": "b", "image": "y"}]}});
        let patch =
            json!({"spec": {"containers": [{"name": "b", "image": "z"}, {"name": "a", "$patch": "delete"}]}});
        assert_eq!(patched(pod, &patch), json!({"spec": {"containers": [{"name": "b", "image": "z"}]}}));
    }

    #[test]
    fn tolerations_are_replaced() {
        let pod = json!({"spec": {"tolerations": [{"key": "a"}]}});
        let patch = json!({"spec": {"tolerations": [{"key": "b"}]}});
        assert_eq!(patched(pod, &patch), patch);
    }

    #[test]
    fn finalizers_are_added_and_deleted() {
        let pod = json!({"metadata": {"finalizers": ["a/x", "b/x"]}});
        let patch =
            json!({"metadata": {"finalizers": ["c/x"], "$deleteFromPrimitiveList/finalizers": ["a/x"]}});
        assert_eq!(patched(pod, &patch), json!({"metadata": {"finalizers": ["c/x", "b/x"]}}));
    }
}
