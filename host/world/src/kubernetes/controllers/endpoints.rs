//! EndpointSlices: one a Service with a selector, with the Pods that it selects.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::kubernetes::api::Api;
use crate::kubernetes::status::GroupResource;
use crate::kubernetes::store::{Change, Object, meta};

fn core(resource: &str) -> GroupResource {
    GroupResource { group: String::new(), resource: resource.to_owned() }
}

/// By which a Service's slices are found, and by which they are known as made here.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslice-controller.k8s.io";

fn selects(service: &Object, pod: &Object) -> bool {
    let selector = service.value.pointer("/spec/selector").and_then(Value::as_object);
    let labels = meta(&pod.value, "labels");
    selector.is_some_and(|s| !s.is_empty() && s.iter().all(|(k, v)| labels.and_then(|l| l.get(k)) == Some(v)))
}

impl Api {
    pub(super) fn endpoints(&mut self, resource: &str, change: &Change, now: Timestamp) {
        let (namespace, name) = change.object.key();
        match resource {
            "services" if !change.deleted => self.slice(&namespace, &name, now),
            "pods" => {
                let services: Vec<Arc<Object>> = self
                    .store
                    .existing(&core("services"))
                    .map(|t| t.range(&namespace, None).cloned().collect())
                    .unwrap_or_default();
                for service in services {
                    if selects(&service, &change.object)
                        || change.before.as_ref().is_some_and(|b| selects(&service, b))
                    {
                        self.slice(&namespace, &service.key().1, now);
                    }
                }
            }
            _ => {}
        }
    }

    fn slice(&mut self, namespace: &str, name: &str, now: Timestamp) {
        let Some(service) = self.store.get(&core("services"), namespace, name) else { return };
        if service.value.pointer("/spec/selector").and_then(Value::as_object).is_none_or(Map::is_empty) {
            return;
        }
        let pods: Vec<Arc<Object>> = self
            .store
            .existing(&core("pods"))
            .map(|t| t.range(namespace, None).filter(|p| selects(&service, p)).cloned().collect())
            .unwrap_or_default();
        let endpoints: Vec<Value> = pods.iter().filter_map(|p| endpoint(p)).collect();
        let ports = ports(&service, pods.first().map(|p| &**p));
        let Some(slices) = self.registry.by_kind("discovery.k8s.io", "EndpointSlice") else { return };
        let own = self.store.existing(&slices.table()).and_then(|t| {
            let labelled = |o: &Arc<Object>, key: &str, value: &str| {
                o.meta("labels").and_then(|l| l.get(key)).and_then(Value::as_str) == Some(value)
            };
            t.range(namespace, None)
                .find(|o| labelled(o, SERVICE_NAME, name) && labelled(o, MANAGED_BY, MANAGER))
                .cloned()
        });
        match own {
            Some(own) => {
                let fill = |value: &mut Value| {
                    if let Some(map) = value.as_object_mut() {
                        map.insert("endpoints".to_owned(), endpoints.into());
                        map.insert("ports".to_owned(), ports.into());
                    }
                };
                let _changed = self.change(&slices, &own.key(), "", fill, now);
            }
            None => {
                let value = json!({
                    "metadata": {
                        "generateName": format!("{name}-"),
                        "labels": {SERVICE_NAME: name, MANAGED_BY: MANAGER},
                        "ownerReferences": [{
                            "apiVersion": "v1", "kind": "Service", "name": name, "uid": service.uid(),
                            "controller": true, "blockOwnerDeletion": true,
                        }],
                    },
                    "addressType": "IPv4", "endpoints": endpoints, "ports": ports,
                });
                // The namespace may be going.
                let _made = self.make("discovery.k8s.io", "EndpointSlice", namespace, value, now);
            }
        }
    }
}

/// `None`: the Pod has no address, or is over.
fn endpoint(pod: &Object) -> Option<Value> {
    let text = |path: &str| pod.value.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let address = text("/status/podIP");
    if address.is_empty() || matches!(text("/status/phase"), "Failed" | "Succeeded") {
        return None;
    }
    let conditions = pod.value.pointer("/status/conditions").and_then(Value::as_array);
    let is_ready = conditions.into_iter().flatten().any(|c| {
        c.get("type").and_then(Value::as_str) == Some("Ready")
            && c.get("status").and_then(Value::as_str) == Some("True")
    });
    let going = pod.is_deleting();
    let (namespace, name) = pod.key();
    Some(json!({
        "addresses": [address],
        "conditions": {"ready": is_ready && !going, "serving": is_ready, "terminating": going},
        "nodeName": text("/spec/nodeName"),
        "targetRef": {"kind": "Pod", "namespace": namespace, "name": name, "uid": pod.uid()},
    }))
}

fn ports(service: &Object, pod: Option<&Object>) -> Vec<Value> {
    let list = service.value.pointer("/spec/ports").and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .map(|port| {
            let target = port.get("targetPort").cloned().unwrap_or_default();
            let number = match target.as_str() {
                None => target,
                Some(name) => pod.and_then(|p| container_port(p, name)).unwrap_or_default(),
            };
            json!({
                "name": port.get("name").cloned().unwrap_or_else(|| "".into()),
                "port": number,
                "protocol": port.get("protocol"),
            })
        })
        .collect()
}

fn container_port(pod: &Object, name: &str) -> Option<Value> {
    let containers = pod.value.pointer("/spec/containers")?.as_array()?;
    let mut ports =
        containers.iter().flat_map(|c| c.get("ports").and_then(Value::as_array).into_iter().flatten());
    ports.find(|p| p.get("name").and_then(Value::as_str) == Some(name))?.get("containerPort").cloned()
}
