//! Addresses of Services.

use std::net::Ipv4Addr;

use serde_json::{Map, Value, json};

use super::api::Api;
use super::status::{Cause, Status};
use super::store::meta;

impl Api {
    /// Gives a Service its address, or keeps the one that it has. `old`: before an update.
    ///
    /// # Errors
    /// The address that it asks for is taken or out of range.
    pub(crate) fn allocate(
        &mut self,
        value: &mut Value,
        old: Option<&Value>,
        dry_run: bool,
    ) -> Result<(), Status> {
        let _ = dry_run;
        let name = meta(value, "name").and_then(Value::as_str).unwrap_or_default().to_owned();
        let Some(service) = self.registry.by_kind("", "Service") else { return Ok(()) };
        let Some(spec) = value.get_mut("spec").and_then(Value::as_object_mut) else { return Ok(()) };
        let text = |spec: &Map<String, Value>, key: &str| {
            spec.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        if text(spec, "type") == "ExternalName" {
            for key in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"] {
                spec.remove(key);
            }
            return Ok(());
        }
        if let Some(old) = old.and_then(|o| o.get("spec")).and_then(Value::as_object) {
            // Who leaves these out keeps them.
            let same = text(old, "type") != "ExternalName";
            for key in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                if let (true, false, Some(was)) = (same, spec.contains_key(key), old.get(key)) {
                    spec.insert(key.to_owned(), was.clone());
                }
            }
            ports_keep(spec, old);
        }
        if text(spec, "clusterIP").is_empty()
            && let Some(first) = spec.get("clusterIPs").and_then(|l| l.get(0)).cloned()
        {
            spec.insert("clusterIP".to_owned(), first);
        }
        let given = text(spec, "clusterIP");
        if given.is_empty() {
            let address = self.free_address();
            spec.insert("clusterIP".to_owned(), address.to_string().into());
        } else if old.is_none() && given != "None" {
            let refuse = |why: String| {
                let cause = Cause::invalid("spec.clusterIPs", &json!([given]), &why);
                Err(Status::invalid(&service.group_kind(), &name, &[cause]))
            };
            match given.parse::<Ipv4Addr>() {
                Ok(address) if !self.in_range(address) => {
                    let (network, length) = self.services;
                    return refuse(format!(
                        "failed to allocate IP {given}: the provided network does not match the current range {network}/{length}"
                    )
                    .replace("the provided network does not match the current range ", "provided IP is not in the valid range. The range of valid IPs is "));
                }
                Ok(address) if self.is_taken(address) => {
                    return refuse(format!(
                        "failed to allocate IP {given}: provided IP is already allocated"
                    ));
                }
                Ok(_) | Err(_) => {}
            }
        }
        let address = text(spec, "clusterIP");
        spec.entry("clusterIPs").or_insert_with(|| json!([address]));
        spec.entry("ipFamilies").or_insert_with(|| json!(["IPv4"]));
        spec.entry("ipFamilyPolicy").or_insert_with(|| "SingleStack".into());
        Ok(())
    }

    fn in_range(&self, address: Ipv4Addr) -> bool {
        let (network, length) = self.services;
        let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
        u32::from(address) & mask == u32::from(network) & mask
    }

    fn is_taken(&self, address: Ipv4Addr) -> bool {
        let services = super::status::GroupResource { group: String::new(), resource: "services".to_owned() };
        let address = address.to_string();
        self.store.existing(&services).is_some_and(|table| {
            table
                .objects
                .values()
                .any(|o| o.value.pointer("/spec/clusterIP").and_then(Value::as_str) == Some(&*address))
        })
    }

    fn free_address(&mut self) -> Ipv4Addr {
        let (network, length) = self.services;
        let size = 1_u64 << (32 - u32::from(length));
        loop {
            // never the first, which is `kubernetes.default`, nor the broadcast
            let offset = 2 + self.ids.next() % size.saturating_sub(3).max(1);
            let address = Ipv4Addr::from(u32::from(network) + u32::try_from(offset).unwrap_or(2));
            if !self.is_taken(address) {
                return address;
            }
        }
    }
}

/// A port that is the same keeps its node port.
fn ports_keep(spec: &mut Map<String, Value>, old: &Map<String, Value>) {
    let was: Vec<Value> = old.get("ports").and_then(Value::as_array).cloned().unwrap_or_default();
    let nodes = matches!(spec.get("type").and_then(Value::as_str), Some("NodePort" | "LoadBalancer"));
    for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        let same = was
            .iter()
            .find(|w| w.get("port") == port.get("port") && w.get("protocol") == port.get("protocol"));
        let number = same.and_then(|w| w.get("nodePort")).cloned();
        if let (true, Some(map), Some(number)) = (nodes, port.as_object_mut(), number) {
            map.entry("nodePort").or_insert(number);
        }
    }
}
