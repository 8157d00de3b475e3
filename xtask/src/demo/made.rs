//! What the demo made, as the clients say: by our mark, and by names that are the demo's own.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Demo, PODS};

/// Name of the load balancer's port.
const VIP: &str = "policymodule/route-l7policy/vip";
/// Name of the load balancer.
const BALANCER: &str = "policymodule/route-l7policy/lb";

#[derive(Deserialize)]
pub(super) struct Port {
    #[serde(rename = "ID")]
    pub(super) id: String,
    #[serde(rename = "Name")]
    name: String,
    #[serde(rename = "Fixed IP Addresses")]
    fixed_ips: Vec<FixedIp>,
}

#[derive(Deserialize)]
struct FixedIp {
    ip_address: String,
}

#[derive(Deserialize)]
struct Balancer {
    id: String,
    name: String,
}

impl Demo<'_> {
    fn ask_json<T: DeserializeOwned>(&self, command: &str) -> Result<T> {
        let answer = self.ask(command)?;
        serde_json::from_str(&answer).with_context(|| format!("reading the answer to {command}"))
    }

    /// Selects what carries the mark of this cluster: others may share the cloud.
    fn marked(&self) -> Result<String> {
        let id = self.ask("kubectl get namespace kube-system -o jsonpath='{.metadata.uid}'")?;
        Ok(format!("--tags isthmus:cluster={}", id.trim()))
    }

    /// The ports that were made for the demo's Pods and for its load balancer.
    pub(super) fn ports(&self) -> Result<Vec<Port>> {
        let list = format!("openstack port list --device-owner isthmus:pod {} -f json", self.marked()?);
        let mut ports: Vec<Port> = self.ask_json(&list)?;
        ports.retain(|port| pod_of(port).is_some() || port.name == VIP);
        Ok(ports)
    }

    /// The ids of the load balancers that were made for its Routes.
    pub(super) fn balancers(&self) -> Result<Vec<String>> {
        let list = format!("openstack loadbalancer list {} -f json", self.marked()?);
        let balancers: Vec<Balancer> = self.ask_json(&list)?;
        Ok(balancers.into_iter().filter(|balancer| balancer.name == BALANCER).map(|b| b.id).collect())
    }

    /// Addresses of the Pods' ports.
    pub(super) fn addresses(&self) -> Result<BTreeMap<String, Vec<String>>> {
        let of = |port: Port| {
            let addresses = port.fixed_ips.iter().map(|ip| ip.ip_address.clone()).collect();
            Some((pod_of(&port)?.to_owned(), addresses))
        };
        Ok(self.ports()?.into_iter().filter_map(of).collect())
    }

    /// Addresses of the Pods, as their CloudMappings say.
    pub(super) fn recorded(&self) -> Result<BTreeMap<String, Vec<String>>> {
        let list: Value = self.ask_json(&format!("kubectl get cloudmappings -n {PODS} -o json"))?;
        let items = list.get("items").and_then(Value::as_array).context("a list has items")?;
        let text = |item: &Value, pointer: &str| {
            let found = item.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
            found.with_context(|| format!("a CloudMapping has no {pointer}: {item}"))
        };
        let of = |item: &Value| {
            let ips = text(item, "/status/ips")?.split(',').map(str::to_owned).collect();
            Ok((text(item, "/spec/subject/name")?, ips))
        };
        items.iter().map(of).collect()
    }
}

/// Name of the demo's Pod that a port is for.
fn pod_of(port: &Port) -> Option<&str> {
    port.name.strip_prefix(&format!("pod/{PODS}/"))?.split('/').next()
}
