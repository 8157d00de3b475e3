//! What the real server fills in (`SetDefaults_*`), and the state that a new object begins with.

use serde_json::{Map, Value, json};

use crate::kubernetes::registry::Behaviour;
use crate::kubernetes::store::{meta, set};

/// Sets a field that is absent.
fn fill(map: &mut Map<String, Value>, key: &str, value: impl Into<Value>) {
    if !map.contains_key(key) {
        map.insert(key.to_owned(), value.into());
    }
}

fn list_mut<'a>(
    map: &'a mut Map<String, Value>,
    key: &str,
) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    map.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

/// Fills in what an object of a built-in kind does not say.
pub(crate) fn set_defaults(behaviour: Behaviour, value: &mut Value) {
    match behaviour {
        Behaviour::Pod => {
            if let Some(spec) = value.get_mut("spec").and_then(Value::as_object_mut) {
                pod(spec);
            }
        }
        Behaviour::Service => {
            if let Some(spec) = value.get_mut("spec").and_then(Value::as_object_mut) {
                service(spec);
            }
        }
        Behaviour::Secret => {
            let Some(map) = value.as_object_mut() else { return };
            fill(map, "type", "Opaque");
            if let Some(Value::Object(plain)) = map.remove("stringData") {
                let data = map.entry("data").or_insert_with(|| Value::Object(Map::new()));
                for (key, text) in plain {
                    if let (Some(data), Some(text)) = (data.as_object_mut(), text.as_str()) {
                        data.insert(key, base64(text.as_bytes()).into());
                    }
                }
            }
        }
        Behaviour::EndpointSlice => {
            let Some(map) = value.as_object_mut() else { return };
            for port in list_mut(map, "ports") {
                fill(port, "name", "");
                fill(port, "protocol", "TCP");
            }
        }
        Behaviour::NetworkPolicy => network_policy(value),
        Behaviour::Crd => crd(value),
        Behaviour::Namespace => {
            let name = meta(value, "name").cloned().unwrap_or_default();
            if name.is_string() {
                crate::kubernetes::metadata::label(value, "kubernetes.io/metadata.name", name);
            }
        }
        _ => {}
    }
}

fn base64(bytes: &[u8]) -> String {
    use ::base64::Engine as _;
    ::base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn pod(spec: &mut Map<String, Value>) {
    fill(spec, "restartPolicy", "Always");
    fill(spec, "dnsPolicy", "ClusterFirst");
    fill(spec, "schedulerName", "default-scheduler");
    fill(spec, "terminationGracePeriodSeconds", 30);
    fill(spec, "enableServiceLinks", true);
    fill(spec, "securityContext", json!({}));
    let host = spec.get("hostNetwork").and_then(Value::as_bool).unwrap_or(false);
    for kind in ["containers", "initContainers"] {
        for container in list_mut(spec, kind) {
            self::container(container, host);
        }
    }
    for volume in list_mut(spec, "volumes") {
        for kind in ["configMap", "secret", "projected", "downwardAPI"] {
            if let Some(source) = volume.get_mut(kind).and_then(Value::as_object_mut) {
                fill(source, "defaultMode", 420);
            }
        }
        if volume.len() == 1 {
            fill(volume, "emptyDir", json!({}));
        }
    }
}

/// What admission writes into a new Pod. (`ServiceAccount`'s volume with a token is left out.)
pub(crate) fn admit_pod(value: &mut Value) {
    let Some(spec) = value.get_mut("spec").and_then(Value::as_object_mut) else { return };
    let account = spec.get("serviceAccountName").or_else(|| spec.get("serviceAccount")).cloned();
    let account = account.unwrap_or_else(|| "default".into());
    fill(spec, "serviceAccountName", account.clone());
    fill(spec, "serviceAccount", account);
    fill(spec, "priority", 0);
    fill(spec, "preemptionPolicy", "PreemptLowerPriority");
    let tolerations = spec.entry("tolerations").or_insert_with(|| json!([]));
    if let Some(tolerations) = tolerations.as_array_mut() {
        for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
            let tolerated = tolerations.iter().any(|t| {
                let text = |k: &str| t.get(k).and_then(Value::as_str).unwrap_or_default();
                (text("key") == key || text("key").is_empty()) && matches!(text("effect"), "NoExecute" | "")
            });
            if !tolerated {
                tolerations.push(json!({
                    "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300,
                }));
            }
        }
    }
}

fn container(container: &mut Map<String, Value>, host: bool) {
    fill(container, "terminationMessagePath", "/dev/termination-log");
    fill(container, "terminationMessagePolicy", "File");
    fill(container, "resources", json!({}));
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    let last = image.rsplit('/').next().unwrap_or_default();
    let latest = !image.contains('@') && last.rsplit_once(':').is_none_or(|(_, tag)| tag == "latest");
    fill(container, "imagePullPolicy", if latest { "Always" } else { "IfNotPresent" });
    if let Some(resources) = container.get_mut("resources").and_then(Value::as_object_mut)
        && let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned()
    {
        let requests = resources.entry("requests").or_insert_with(|| json!({}));
        if let Some(requests) = requests.as_object_mut() {
            for (key, limit) in limits {
                requests.entry(key).or_insert(limit);
            }
        }
    }
    for port in list_mut(container, "ports") {
        fill(port, "protocol", "TCP");
        if host {
            let number = port.get("containerPort").cloned().unwrap_or_default();
            fill(port, "hostPort", number);
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(probe).and_then(Value::as_object_mut) {
            for (key, value) in [
                ("timeoutSeconds", 1),
                ("periodSeconds", 10),
                ("successThreshold", 1),
                ("failureThreshold", 3),
            ] {
                fill(probe, key, value);
            }
            if let Some(get) = probe.get_mut("httpGet").and_then(Value::as_object_mut) {
                fill(get, "path", "/");
                fill(get, "scheme", "HTTP");
            }
        }
    }
    for variable in list_mut(container, "env") {
        if let Some(field) =
            variable.get_mut("valueFrom").and_then(|v| v.get_mut("fieldRef")).and_then(Value::as_object_mut)
        {
            fill(field, "apiVersion", "v1");
        }
    }
}

fn service(spec: &mut Map<String, Value>) {
    fill(spec, "sessionAffinity", "None");
    fill(spec, "type", "ClusterIP");
    if spec.get("sessionAffinity").and_then(Value::as_str) == Some("ClientIP") {
        fill(spec, "sessionAffinityConfig", json!({"clientIP": {"timeoutSeconds": 10800}}));
    } else {
        spec.remove("sessionAffinityConfig");
    }
    let kind = spec.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    if matches!(&*kind, "NodePort" | "LoadBalancer") {
        fill(spec, "externalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        fill(spec, "allocateLoadBalancerNodePorts", true);
    }
    if kind != "ExternalName" {
        fill(spec, "internalTrafficPolicy", "Cluster");
    }
    for port in list_mut(spec, "ports") {
        fill(port, "protocol", "TCP");
        let zero = |v: Option<&Value>| v.is_none_or(|v| *v == json!(0) || *v == json!(""));
        if zero(port.get("targetPort")) {
            let number = port.get("port").cloned().unwrap_or_default();
            port.insert("targetPort".to_owned(), number);
        }
    }
}

fn network_policy(value: &mut Value) {
    let Some(spec) = value.get_mut("spec").and_then(Value::as_object_mut) else { return };
    if !spec.contains_key("policyTypes") {
        let egress = spec.get("egress").and_then(Value::as_array).is_some_and(|e| !e.is_empty());
        fill(spec, "policyTypes", if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) });
    }
    for rules in ["ingress", "egress"] {
        for rule in list_mut(spec, rules) {
            for port in list_mut(rule, "ports") {
                fill(port, "protocol", "TCP");
            }
        }
    }
}

fn crd(value: &mut Value) {
    let Some(spec) = value.get_mut("spec").and_then(Value::as_object_mut) else { return };
    fill(spec, "conversion", json!({"strategy": "None"}));
    if let Some(names) = spec.get_mut("names").and_then(Value::as_object_mut) {
        let kind = names.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
        fill(names, "singular", kind.to_ascii_lowercase());
        fill(names, "listKind", format!("{kind}List"));
    }
}

/// The status that a Pod begins with.
pub(crate) fn pod_status(spec: Option<&Value>) -> Value {
    json!({"phase": "Pending", "qosClass": quality(spec)})
}

/// Guaranteed, Burstable or BestEffort.
fn quality(spec: Option<&Value>) -> &'static str {
    let containers = ["containers", "initContainers"]
        .into_iter()
        .flat_map(|kind| spec.and_then(|s| s.get(kind)).and_then(Value::as_array).into_iter().flatten());
    let (mut any, mut all) = (false, true);
    for container in containers {
        let of = |path: &str, name: &str| container.pointer(path).and_then(|m| m.get(name)).cloned();
        for name in ["cpu", "memory"] {
            let (limit, request) = (of("/resources/limits", name), of("/resources/requests", name));
            any |= limit.is_some() || request.is_some();
            all &= limit.is_some() && limit == request;
        }
    }
    match (any, all) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

/// The status that a Node begins with.
pub(crate) fn node_status() -> Value {
    json!({
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 0}},
        "nodeInfo": {
            "machineID": "", "systemUUID": "", "bootID": "", "kernelVersion": "", "osImage": "",
            "containerRuntimeVersion": "", "kubeletVersion": "", "kubeProxyVersion": "", "operatingSystem": "",
            "architecture": "",
        },
    })
}

/// A status write changes no metadata of a CRD, but its finalizers.
pub(crate) fn keep_metadata(value: &mut Value, old: &Value) {
    for field in ["labels", "annotations", "ownerReferences"] {
        set(value, field, meta(old, field).cloned().unwrap_or_default());
    }
}
