//! Columns of built-in kinds, after `pkg/printers/internalversion`.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::since;
use crate::kubernetes::registry::Behaviour;
use crate::kubernetes::store::meta;

type Definition = (&'static str, &'static str, i64);

const S: &str = "string";

pub(super) fn columns(behaviour: Behaviour, kind: &str) -> &'static [Definition] {
    match behaviour {
        Behaviour::Pod => &[
            ("Name", S, 0),
            ("Ready", S, 0),
            ("Status", S, 0),
            ("Restarts", S, 0),
            ("Age", S, 0),
            ("IP", S, 1),
            ("Node", S, 1),
            ("Nominated Node", S, 1),
            ("Readiness Gates", S, 1),
        ],
        Behaviour::Service => &[
            ("Name", S, 0),
            ("Type", S, 0),
            ("Cluster-IP", S, 0),
            ("External-IP", S, 0),
            ("Port(s)", S, 0),
            ("Age", S, 0),
            ("Selector", S, 1),
        ],
        Behaviour::Node => &[
            ("Name", S, 0),
            ("Status", S, 0),
            ("Roles", S, 0),
            ("Age", S, 0),
            ("Version", S, 0),
            ("Internal-IP", S, 1),
            ("External-IP", S, 1),
            ("OS-Image", S, 1),
            ("Kernel-Version", S, 1),
            ("Container-Runtime", S, 1),
        ],
        Behaviour::Namespace => &[("Name", S, 0), ("Status", S, 0), ("Age", S, 0)],
        Behaviour::ConfigMap => &[("Name", S, 0), ("Data", S, 0), ("Age", S, 0)],
        Behaviour::Secret => &[("Name", S, 0), ("Type", S, 0), ("Data", S, 0), ("Age", S, 0)],
        Behaviour::Event | Behaviour::NewEvent => &[
            ("Last Seen", S, 0),
            ("Type", S, 0),
            ("Reason", S, 0),
            ("Object", S, 0),
            ("Subobject", S, 1),
            ("Source", S, 1),
            ("Message", S, 0),
            ("First Seen", S, 1),
            ("Count", S, 1),
            ("Name", S, 1),
        ],
        Behaviour::Lease => &[("Name", S, 0), ("Holder", S, 0), ("Age", S, 0)],
        Behaviour::EndpointSlice => {
            &[("Name", S, 0), ("AddressType", S, 0), ("Ports", S, 0), ("Endpoints", S, 0), ("Age", S, 0)]
        }
        Behaviour::NetworkPolicy => &[("Name", S, 0), ("Pod-Selector", S, 0), ("Age", S, 0)],
        Behaviour::Crd => &[("Name", S, 0), ("Created At", "date", 0)],
        Behaviour::Other if kind.ends_with("Binding") => &[("Name", S, 0), ("Role", S, 0), ("Age", S, 0)],
        Behaviour::Other => &[("Name", S, 0), ("Created At", "date", 0)],
        Behaviour::ServiceAccount | Behaviour::Custom => &[("Name", S, 0), ("Age", S, 0)],
    }
}

fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    value.pointer(path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn or<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text.is_empty() { otherwise } else { text }
}

const NONE: &str = "<none>";

/// Cells, and conditions of the row.
pub(super) fn cells(behaviour: Behaviour, object: &Value, now: Timestamp) -> (Vec<Value>, Vec<Value>) {
    let name = meta(object, "name").cloned().unwrap_or_default();
    let created = text(object, "/metadata/creationTimestamp");
    let age = Value::from(since(created, now));
    let size = |field: &str| object.get(field).and_then(Value::as_object).map_or(0, serde_json::Map::len);
    let cells = match behaviour {
        Behaviour::Pod => return pod(object, name, age),
        Behaviour::Service => service(object, name, age),
        Behaviour::Node => node(object, name, age),
        Behaviour::Namespace => vec![name, text(object, "/status/phase").into(), age],
        Behaviour::ConfigMap => vec![name, (size("data") + size("binaryData")).into(), age],
        Behaviour::Secret => vec![name, text(object, "/type").into(), size("data").into(), age],
        Behaviour::Event | Behaviour::NewEvent => event(object, name, now),
        Behaviour::Lease => vec![name, text(object, "/spec/holderIdentity").into(), age],
        Behaviour::EndpointSlice => slice(object, name, age),
        Behaviour::NetworkPolicy => {
            let labels = labels(object.pointer("/spec/podSelector/matchLabels"));
            vec![name, labels.into(), age]
        }
        Behaviour::Other if object.get("roleRef").is_some() => {
            let role = format!("{}/{}", text(object, "/roleRef/kind"), text(object, "/roleRef/name"));
            vec![name, role.into(), age]
        }
        Behaviour::Crd | Behaviour::Other => vec![name, created.into()],
        Behaviour::ServiceAccount | Behaviour::Custom => vec![name, age],
    };
    (cells, Vec::new())
}

fn pod(object: &Value, name: Value, age: Value) -> (Vec<Value>, Vec<Value>) {
    let phase = text(object, "/status/phase");
    let mut reason = or(text(object, "/status/reason"), phase).to_owned();
    let statuses = list(object, "/status/containerStatuses");
    let (mut ready, mut restarts) = (0, 0);
    for status in statuses.iter().rev() {
        restarts += status.get("restartCount").and_then(Value::as_i64).unwrap_or_default();
        let waiting = text(status, "/state/waiting/reason");
        if !waiting.is_empty() {
            waiting.clone_into(&mut reason);
        } else if status.pointer("/state/terminated").is_some() {
            let code = status.pointer("/state/terminated/exitCode").cloned().unwrap_or_default();
            reason = match text(status, "/state/terminated/reason") {
                "" => format!("ExitCode:{code}"),
                why => why.to_owned(),
            };
        } else if status.get("ready").and_then(Value::as_bool) == Some(true) {
            ready += 1;
        }
    }
    if meta(object, "deletionTimestamp").is_some() && !matches!(phase, "Failed" | "Succeeded") {
        "Terminating".clone_into(&mut reason);
    }
    let address = or(text(object, "/status/podIPs/0/ip"), NONE);
    let gates = list(object, "/spec/readinessGates");
    let gates = if gates.is_empty() { NONE.to_owned() } else { format!("0/{}", gates.len()) };
    let cells = vec![
        name,
        format!("{ready}/{}", list(object, "/spec/containers").len()).into(),
        reason.into(),
        restarts.to_string().into(),
        age,
        address.into(),
        or(text(object, "/spec/nodeName"), NONE).into(),
        or(text(object, "/status/nominatedNodeName"), NONE).into(),
        gates.into(),
    ];
    let condition = |reason: &str, message: &str| {
        vec![json!({"type": "Completed", "status": "True", "reason": reason, "message": message})]
    };
    let conditions = match phase {
        "Succeeded" => condition("Succeeded", "The pod has completed successfully."),
        "Failed" => condition("Failed", "The pod failed."),
        _ => Vec::new(),
    };
    (cells, conditions)
}

fn service(object: &Value, name: Value, age: Value) -> Vec<Value> {
    let kind = text(object, "/spec/type");
    let mut outside: Vec<&str> = list(object, "/spec/externalIPs").iter().filter_map(Value::as_str).collect();
    let balancer: Vec<&str> = list(object, "/status/loadBalancer/ingress")
        .iter()
        .map(|i| or(text(i, "/ip"), text(i, "/hostname")))
        .collect();
    if kind == "LoadBalancer" {
        outside.splice(0..0, balancer);
    }
    let outside = match (kind, outside.is_empty()) {
        ("ExternalName", _) => text(object, "/spec/externalName").to_owned(),
        ("LoadBalancer", true) => "<pending>".to_owned(),
        (_, true) => NONE.to_owned(),
        (_, false) => outside.join(","),
    };
    let ports: Vec<String> = list(object, "/spec/ports")
        .iter()
        .map(|p| {
            let number = |key: &str| p.get(key).and_then(Value::as_i64).unwrap_or_default();
            match number("nodePort") {
                0 => format!("{}/{}", number("port"), text(p, "/protocol")),
                node => format!("{}:{node}/{}", number("port"), text(p, "/protocol")),
            }
        })
        .collect();
    vec![
        name,
        kind.into(),
        or(text(object, "/spec/clusterIP"), NONE).into(),
        outside.into(),
        or(&ports.join(","), NONE).into(),
        age,
        labels(object.pointer("/spec/selector")).into(),
    ]
}

fn labels(map: Option<&Value>) -> String {
    let parts: Vec<_> = map
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default()))
        .collect();
    if parts.is_empty() { NONE.to_owned() } else { parts.join(",") }
}

fn node(object: &Value, name: Value, age: Value) -> Vec<Value> {
    let ready = list(object, "/status/conditions").iter().find(|c| text(c, "/type") == "Ready");
    let mut status = match ready.map(|c| text(c, "/status")) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if object.pointer("/spec/unschedulable").and_then(Value::as_bool) == Some(true) {
        status.push_str(",SchedulingDisabled");
    }
    let roles: Vec<&str> = meta(object, "labels")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(k, _)| k.strip_prefix("node-role.kubernetes.io/"))
        .filter(|r| !r.is_empty())
        .collect();
    let address = |kind: &str| {
        let found = list(object, "/status/addresses").iter().find(|a| text(a, "/type") == kind);
        Value::from(found.map_or(NONE, |a| text(a, "/address")))
    };
    let info = |key: &str| text(object, &format!("/status/nodeInfo/{key}"));
    let unknown = |key: &str| or(info(key), "<unknown>").to_owned();
    let kernel = match info("architecture") {
        "" => unknown("kernelVersion"),
        architecture => format!("{} ({architecture})", unknown("kernelVersion")),
    };
    vec![
        name,
        status.into(),
        or(&roles.join(","), NONE).into(),
        age,
        info("kubeletVersion").into(),
        address("InternalIP"),
        address("ExternalIP"),
        unknown("osImage").into(),
        kernel.into(),
        unknown("containerRuntimeVersion").into(),
    ]
}

fn event(object: &Value, name: Value, now: Timestamp) -> Vec<Value> {
    let at = |paths: &[&str]| {
        let found = paths.iter().map(|p| text(object, p)).find(|t| !t.is_empty());
        found.map_or_else(|| "<unknown>".to_owned(), |t| since(t, now))
    };
    // both forms of events have both names here
    let either = |a: &str, b: &str| or(text(object, a), text(object, b)).to_owned();
    let first = at(&["/firstTimestamp", "/deprecatedFirstTimestamp", "/eventTime"]);
    let last = match at(&["/series/lastObservedTime", "/lastTimestamp", "/deprecatedLastTimestamp"]) {
        unknown if unknown == "<unknown>" => first.clone(),
        last => last,
    };
    let count = ["/series/count", "/count", "/deprecatedCount"]
        .iter()
        .find_map(|p| object.pointer(p).and_then(Value::as_i64).filter(|n| *n != 0))
        .unwrap_or(1);
    let kind = either("/involvedObject/kind", "/regarding/kind").to_lowercase();
    let target = match either("/involvedObject/name", "/regarding/name") {
        name if name.is_empty() => kind,
        name => format!("{kind}/{name}"),
    };
    let mut source = either("/source/component", "/reportingComponent");
    if source.is_empty() {
        text(object, "/reportingController").clone_into(&mut source);
    }
    let host = either("/source/host", "/reportingInstance");
    if !host.is_empty() {
        source = format!("{source}, {host}");
    }
    vec![
        last.into(),
        text(object, "/type").into(),
        text(object, "/reason").into(),
        target.into(),
        either("/involvedObject/fieldPath", "/regarding/fieldPath").into(),
        source.into(),
        either("/message", "/note").trim().into(),
        first.into(),
        count.into(),
        name,
    ]
}

fn slice(object: &Value, name: Value, age: Value) -> Vec<Value> {
    let ports: Vec<String> = list(object, "/ports")
        .iter()
        .map(|p| p.get("port").and_then(Value::as_i64).map_or_else(|| "*".to_owned(), |n| n.to_string()))
        .collect();
    let addresses: Vec<String> = list(object, "/endpoints")
        .iter()
        .flat_map(|e| list(e, "/addresses"))
        .filter_map(|a| a.as_str().map(str::to_owned))
        .collect();
    vec![
        name,
        text(object, "/addressType").into(),
        with_more(&ports).into(),
        with_more(&addresses).into(),
        age,
    ]
}

/// The first three, and how many more there are.
fn with_more(all: &[String]) -> String {
    let shown: Vec<&str> = all.iter().take(3).map(String::as_str).collect();
    match all.len() {
        0 => "<unset>".to_owned(),
        n if n > 3 => format!("{} + {} more...", shown.join(","), n - 3),
        _ => shown.join(","),
    }
}
