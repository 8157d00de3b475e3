//! Something like a kubelet on every node.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Kubelet;
use crate::kubernetes::api::{Api, time};
use crate::kubernetes::status::GroupResource;
use crate::kubernetes::store::{Change, Object, meta};

/// Says which address a Pod gets.
const ADDRESS: &str = "world.isthmus.dev/pod-ip";

fn pods() -> GroupResource {
    GroupResource { group: String::new(), resource: "pods".to_owned() }
}

fn node(object: &Object) -> &str {
    object.value.pointer("/spec/nodeName").and_then(Value::as_str).unwrap_or_default()
}

impl Api {
    pub(super) fn kubelet(&mut self, kubelet: &Kubelet, resource: &str, change: &Change, now: Timestamp) {
        let pod = &change.object;
        if resource != "pods" || change.deleted || node(pod).is_empty() {
            return;
        }
        let Some(kind) = self.registry.by_kind("", "Pod") else { return };
        if pod.is_deleting() {
            if kubelet.at_once {
                let _deleted = self.discard(&kind, &pod.key(), Some(0), now);
            } else {
                self.ending.insert(pod.key(), ends(pod, now));
            }
            return;
        }
        if pod.value.pointer("/status/phase").and_then(Value::as_str) != Some("Pending") {
            return;
        }
        let address =
            match meta(&pod.value, "annotations").and_then(|a| a.get(ADDRESS)).and_then(Value::as_str) {
                Some(address) => address.to_owned(),
                None => {
                    let n = self.ids.next();
                    format!("10.244.{}.{}", (n >> 8) & 0xff, 1 + (n % 254))
                }
            };
        let run = |value: &mut Value| {
            let status = running(value, &address, now);
            if let Some(map) = value.as_object_mut() {
                map.insert("status".to_owned(), status);
            }
        };
        let _running = self.change(&kind, &pod.key(), "status", run, now);
    }

    /// Pods whose grace is over go.
    pub(super) fn end_graces(&mut self, now: Timestamp) {
        let over: Vec<_> = self.ending.iter().filter(|(_, at)| **at <= now).map(|(k, _)| k.clone()).collect();
        let Some(kind) = self.registry.by_kind("", "Pod") else { return };
        for key in over {
            self.ending.remove(&key);
            if self.store.get(&pods(), &key.0, &key.1).is_some_and(|pod| pod.is_deleting()) {
                let _deleted = self.discard(&kind, &key, Some(0), now);
            }
        }
    }
}

fn ends(pod: &Object, now: Timestamp) -> Timestamp {
    pod.text("deletionTimestamp").parse().unwrap_or(now)
}

fn running(pod: &Value, address: &str, now: Timestamp) -> Value {
    let condition = |kind: &str| json!({"type": kind, "status": "True", "lastProbeTime": null, "lastTransitionTime": time(now)});
    let containers: Vec<Value> = pod
        .pointer("/spec/containers")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|c| {
            json!({
                "name": c.get("name"), "image": c.get("image"), "imageID": "", "containerID": "", "ready": true,
                "started": true, "restartCount": 0, "lastState": {}, "state": {"running": {"startedAt": time(now)}},
            })
        })
        .collect();
    let mut status = pod.get("status").cloned().unwrap_or_else(|| json!({}));
    if let Some(map) = status.as_object_mut() {
        let conditions: Vec<_> =
            ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"]
                .map(condition)
                .into();
        for (key, value) in [
            ("phase", json!("Running")),
            ("conditions", conditions.into()),
            ("containerStatuses", containers.into()),
            ("hostIP", json!("192.0.2.1")),
            ("hostIPs", json!([{"ip": "192.0.2.1"}])),
            ("podIP", json!(address)),
            ("podIPs", json!([{"ip": address}])),
            ("startTime", time(now)),
        ] {
            map.insert(key.to_owned(), value);
        }
    }
    status
}
