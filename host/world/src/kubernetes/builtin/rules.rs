//! What objects of built-in kinds must be: the rules that people run into, in the real server's words. Not all of them.

use serde_json::{Value, json};

use super::crd;
use crate::kubernetes::metadata::{check_labels, label_name};
use crate::kubernetes::registry::Behaviour;
use crate::kubernetes::status::Cause;

/// What is wrong with a new object.
pub(crate) fn check_create(behaviour: Behaviour, value: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    match behaviour {
        Behaviour::Pod => pod(value, &mut causes),
        Behaviour::Service => service(value, &mut causes),
        Behaviour::ConfigMap | Behaviour::Secret => keys(value, &mut causes),
        Behaviour::Lease => lease(value, &mut causes),
        Behaviour::EndpointSlice => slice(value, &mut causes),
        Behaviour::Crd => crd::check(value, &mut causes),
        _ => {}
    }
    causes
}

/// What is wrong with a changed object.
pub(crate) fn check_update(behaviour: Behaviour, value: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    match behaviour {
        Behaviour::Pod => pod_update(value, old, &mut causes),
        Behaviour::Service => {
            service_update(value, old, &mut causes);
            service(value, &mut causes);
        }
        Behaviour::ConfigMap | Behaviour::Secret => {
            immutable(value, old, &mut causes);
            keys(value, &mut causes);
        }
        Behaviour::EndpointSlice => {
            if value.get("addressType") != old.get("addressType") {
                let found = value.get("addressType").cloned().unwrap_or_default();
                causes.push(Cause::invalid("addressType", &found, "field is immutable"));
            }
            slice(value, &mut causes);
        }
        Behaviour::Crd => crd::check_update(value, old, &mut causes),
        other => causes.extend(check_create(other, value)),
    }
    causes
}

pub(super) fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn list<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    value.pointer(path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn pod(value: &Value, causes: &mut Vec<Cause>) {
    let mut names = Vec::new();
    if list(value, "/spec/containers").is_empty() {
        causes.push(Cause::required("spec.containers", ""));
    }
    for kind in ["containers", "initContainers"] {
        for (i, container) in list(value, &format!("/spec/{kind}")).iter().enumerate() {
            let path = format!("spec.{kind}[{i}]");
            let name = text(container, "/name");
            if name.is_empty() {
                causes.push(Cause::required(&format!("{path}.name"), ""));
            } else {
                for wrong in label_name(name) {
                    causes.push(Cause::invalid(&format!("{path}.name"), &Value::from(name), &wrong));
                }
                if names.contains(&name) {
                    causes.push(Cause::duplicate(&format!("{path}.name"), &Value::from(name)));
                }
                names.push(name);
            }
            if text(container, "/image").is_empty() {
                causes.push(Cause::required(&format!("{path}.image"), ""));
            }
            ports_of_container(container, &path, causes);
        }
    }
    let policy = text(value, "/spec/restartPolicy");
    if !["Always", "OnFailure", "Never"].contains(&policy) {
        let among = ["Always", "OnFailure", "Never"];
        causes.push(Cause::not_supported("spec.restartPolicy", &Value::from(policy), &among));
    }
}

fn ports_of_container(container: &Value, path: &str, causes: &mut Vec<Cause>) {
    for (i, port) in list(container, "/ports").iter().enumerate() {
        let path = format!("{path}.ports[{i}]");
        let number = port.get("containerPort").and_then(Value::as_i64).unwrap_or_default();
        if number == 0 {
            causes.push(Cause::required(&format!("{path}.containerPort"), ""));
        } else if !(1..=65535).contains(&number) {
            causes.push(Cause::invalid(&format!("{path}.containerPort"), &json!(number), PORT));
        }
        protocol(port, &path, causes);
    }
}

const PORT: &str = "must be between 1 and 65535, inclusive";

fn protocol(port: &Value, path: &str, causes: &mut Vec<Cause>) {
    let found = text(port, "/protocol");
    if !["TCP", "UDP", "SCTP"].contains(&found) {
        let field = format!("{path}.protocol");
        causes.push(Cause::not_supported(&field, &Value::from(found), &["SCTP", "TCP", "UDP"]));
    }
}

fn pod_update(value: &Value, old: &Value, causes: &mut Vec<Cause>) {
    pod(value, causes);
    for kind in ["containers", "initContainers"] {
        let count = |v: &Value| list(v, &format!("/spec/{kind}")).len();
        if count(value) != count(old) {
            let field = format!("spec.{kind}");
            causes.push(Cause::forbidden(&field, "pod updates may not add or remove containers"));
            return;
        }
        // Looked at once more, after the count, which ends it: `ValidateContainerUpdates`.
        for (i, container) in list(value, &format!("/spec/{kind}")).iter().enumerate() {
            if text(container, "/image").is_empty() {
                causes.push(Cause::required(&format!("spec.{kind}[{i}].image"), ""));
            }
        }
    }
    let (mut new, before) =
        (value.get("spec").cloned().unwrap_or_default(), old.get("spec").cloned().unwrap_or_default());
    let deadline = |v: &Value| v.get("activeDeadlineSeconds").and_then(Value::as_i64);
    if let Some(was) = deadline(&before) {
        let field = "spec.activeDeadlineSeconds";
        match deadline(&new) {
            Some(now) if now > was => {
                let why = "must be less than or equal to previous value";
                causes.push(Cause::invalid(field, &json!(now), why));
                return;
            }
            Some(_) => {}
            None => {
                let why = "must not update from a positive integer to nil value";
                causes.push(Cause::invalid(field, &Value::Null, why));
            }
        }
    }
    // What may change: images, the deadline, more tolerations, gates gone.
    for kind in ["containers", "initContainers"] {
        let images: Vec<Value> = list(&before, &format!("/{kind}"))
            .iter()
            .map(|c| c.get("image").cloned().unwrap_or_default())
            .collect();
        if let Some(containers) = new.get_mut(kind).and_then(Value::as_array_mut)
            && containers.len() == images.len()
        {
            for (container, image) in containers.iter_mut().zip(images) {
                if let Some(map) = container.as_object_mut() {
                    map.insert("image".to_owned(), image);
                }
            }
        }
    }
    if let (Some(map), Some(was)) = (new.as_object_mut(), before.as_object()) {
        for field in ["activeDeadlineSeconds", "tolerations"] {
            match was.get(field) {
                Some(v) => map.insert(field.to_owned(), v.clone()),
                None => map.remove(field),
            };
        }
    }
    if new != before {
        causes.push(Cause::forbidden(
            "spec",
            "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
        ));
    }
}

fn service(value: &Value, causes: &mut Vec<Cause>) {
    let kind = text(value, "/spec/type");
    let ports = list(value, "/spec/ports");
    let headless = text(value, "/spec/clusterIP") == "None";
    if ports.is_empty() && !headless && kind != "ExternalName" {
        causes.push(Cause::required("spec.ports", ""));
    }
    let kinds = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
    let mut seen: Vec<(&Value, &str)> = Vec::new();
    let mut names = Vec::new();
    for (i, port) in ports.iter().enumerate() {
        let path = format!("spec.ports[{i}]");
        let name = text(port, "/name");
        if name.is_empty() {
            if ports.len() > 1 {
                causes.push(Cause::required(&format!("{path}.name"), ""));
            }
        } else {
            for wrong in label_name(name) {
                causes.push(Cause::invalid(&format!("{path}.name"), &Value::from(name), &wrong));
            }
            if names.contains(&name) {
                causes.push(Cause::duplicate(&format!("{path}.name"), &Value::from(name)));
            }
            names.push(name);
        }
        let number = port.get("port").and_then(Value::as_i64).unwrap_or_default();
        if !(1..=65535).contains(&number) {
            causes.push(Cause::invalid(&format!("{path}.port"), &json!(number), PORT));
        }
        protocol(port, &path, causes);
        if let Some(target) = port.get("targetPort").and_then(Value::as_i64)
            && !(1..=65535).contains(&target)
        {
            causes.push(Cause::invalid(&format!("{path}.targetPort"), &json!(target), PORT));
        }
    }
    for (i, port) in ports.iter().enumerate() {
        let key = (port.get("port").unwrap_or(&Value::Null), text(port, "/protocol"));
        if seen.contains(&key) {
            let path = format!("spec.ports[{i}]");
            let shown = json!({"port": key.0, "protocol": key.1});
            causes.push(Cause::duplicate(&path, &shown));
        }
        seen.push(key);
    }
    if let Some(selector) = value.pointer("/spec/selector").and_then(Value::as_object) {
        causes.extend(check_labels(selector, "spec.selector"));
    }
    let affinity = text(value, "/spec/sessionAffinity");
    if !["ClientIP", "None"].contains(&affinity) {
        causes.push(Cause::not_supported(
            "spec.sessionAffinity",
            &Value::from(affinity),
            &["ClientIP", "None"],
        ));
    }
    if !kinds.contains(&kind) {
        causes.push(Cause::not_supported("spec.type", &Value::from(kind), &kinds));
    }
}

fn service_update(value: &Value, old: &Value, causes: &mut Vec<Cause>) {
    let (new, before) = (text(value, "/spec/clusterIP"), text(old, "/spec/clusterIP"));
    let external = |v: &Value| text(v, "/spec/type") == "ExternalName";
    if !before.is_empty() && new != before && !external(value) && !external(old) {
        let detail = "may not change once set";
        let all = value.pointer("/spec/clusterIPs").cloned().unwrap_or_else(|| json!([new]));
        causes.push(Cause::invalid("spec.clusterIPs[0]", &all, detail));
    }
}

fn keys(value: &Value, causes: &mut Vec<Cause>) {
    for field in ["data", "binaryData"] {
        for key in value.get(field).and_then(Value::as_object).into_iter().flat_map(|m| m.keys()) {
            let path = format!("{field}[{key}]");
            if key.len() > 253 {
                causes.push(Cause::invalid(
                    &path,
                    &Value::from(key.as_str()),
                    "must be no more than 253 bytes",
                ));
            }
            if !key.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
                let detail = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
                causes.push(Cause::invalid(&path, &Value::from(key.as_str()), detail));
            }
        }
    }
}

fn immutable(value: &Value, old: &Value, causes: &mut Vec<Cause>) {
    if old.get("immutable").and_then(Value::as_bool) != Some(true) {
        return;
    }
    if value.get("immutable").and_then(Value::as_bool) != Some(true) {
        causes.push(Cause::forbidden("immutable", "field is immutable when `immutable` is set"));
    }
    for field in ["data", "binaryData"] {
        if value.get(field) != old.get(field) {
            causes.push(Cause::forbidden(field, "field is immutable when `immutable` is set"));
        }
    }
}

fn lease(value: &Value, causes: &mut Vec<Cause>) {
    let number = |path: &str| value.pointer(path).and_then(Value::as_i64);
    if let Some(seconds) = number("/spec/leaseDurationSeconds").filter(|s| *s <= 0) {
        let field = "spec.leaseDurationSeconds";
        causes.push(Cause::invalid(field, &json!(seconds), "must be greater than 0"));
    }
    if let Some(transitions) = number("/spec/leaseTransitions").filter(|s| *s < 0) {
        let field = "spec.leaseTransitions";
        causes.push(Cause::invalid(field, &json!(transitions), "must be greater than or equal to 0"));
    }
}

fn slice(value: &Value, causes: &mut Vec<Cause>) {
    let kind = text(value, "/addressType");
    if kind.is_empty() {
        causes.push(Cause::required("addressType", ""));
    } else if !["FQDN", "IPv4", "IPv6"].contains(&kind) {
        causes.push(Cause::not_supported("addressType", &Value::from(kind), &["FQDN", "IPv4", "IPv6"]));
    }
    for (i, endpoint) in list(value, "/endpoints").iter().enumerate() {
        if list(endpoint, "/addresses").is_empty() {
            let field = format!("endpoints[{i}].addresses");
            causes.push(Cause::required(&field, "must contain at least 1 address"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Behaviour, check_update};

    fn pod(images: &[&str]) -> Value {
        let containers: Vec<Value> = images
            .iter()
            .enumerate()
            .map(|(n, image)| json!({"name": format!("c{n}"), "image": image}))
            .collect();
        json!({"spec": {"restartPolicy": "Always", "containers": containers}})
    }

    fn missing_images(new: &[&str], old: &[&str]) -> usize {
        let causes = check_update(Behaviour::Pod, &pod(new), &pod(old));
        causes.iter().filter(|cause| format!("{cause:?}").contains("containers[0].image")).count()
    }

    #[test]
    fn a_missing_image_is_told_of_twice_only_while_the_containers_are_as_many() {
        assert_eq!(missing_images(&[""], &["x"]), 2);
        assert_eq!(missing_images(&["", "y"], &["x"]), 1);
    }
}
