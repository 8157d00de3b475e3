//! What must differ between two clouds, replaced by the order in which it appeared.

use std::collections::{BTreeMap, BTreeSet};

use regex::{Captures, Regex};
use serde_json::{Map, Value, json};

use super::side::{Answer, Request};

/// Attributes that say nothing about what was asked.
const DROPPED: &[&str] = &[
    "created_at",
    "updated_at",
    "revision_number",
    "standard_attr_id",
    "binding:vif_details",
    "issued_at",
    "expires_at",
    "audit_ids",
    "provider:segmentation_id",
];
/// What a member that is made in one call with its pool and monitor may be. Octavia asks its session for the pool
/// (`bool(pool.health_monitor)` in `MembersController._graph_create`), and the same request is answered with the one or the other.
const EITHER: [&str; 2] = ["OFFLINE", "NO_MONITOR"];
/// Lists whose order counts.
const ORDERED: &[&str] = &["dns_nameservers", "methods"];

/// The ids and addresses of one cloud.
pub(super) struct Normal {
    uuid: Regex,
    ids: BTreeMap<String, String>,
    by_name: BTreeMap<String, String>,
    addresses: BTreeMap<String, usize>,
    /// How many addresses were met.
    met: usize,
    /// Addresses that a resource was shown with last, by its id.
    held: BTreeMap<String, BTreeSet<String>>,
    /// Of ports, what they are for.
    behind: BTreeMap<String, String>,
    /// Addresses that requests named: they stay.
    named: BTreeSet<String>,
}

impl Normal {
    pub(super) fn new(known: &[(String, String)]) -> anyhow::Result<Self> {
        let mut normal = Self {
            uuid: Regex::new(
                "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|(?-u:\\b)[0-9a-f]{32}(?-u:\\b)",
            )?,
            ids: BTreeMap::new(),
            by_name: BTreeMap::new(),
            addresses: BTreeMap::new(),
            met: 0,
            held: BTreeMap::new(),
            behind: BTreeMap::new(),
            named: BTreeSet::new(),
        };
        for (id, name) in known {
            normal.learn(id, format!("#{name}"));
        }
        Ok(normal)
    }

    fn learn(&mut self, id: &str, name: String) {
        self.by_name.insert(name.clone(), id.to_owned());
        self.ids.insert(id.to_owned(), name);
    }

    /// Real ids in place of `#3` and the like.
    pub(super) fn resolve(&self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('#') {
            out.push_str(before);
            let end = after.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).unwrap_or(after.len());
            let (name, left) = after.split_at(end);
            match self.by_name.get(&format!("#{name}")) {
                Some(id) => out.push_str(id),
                None => out.push_str(&format!("#{name}")),
            }
            rest = left;
        }
        out + rest
    }

    pub(super) fn resolve_body(&mut self, body: &Value) -> Value {
        match body {
            Value::String(text) => json!(self.resolve(text)),
            Value::Array(all) => all.iter().map(|one| self.resolve_body(one)).collect(),
            Value::Object(map) => {
                let resolved = map.iter().map(|(key, value)| {
                    if let Some(address) = value.as_str().filter(|_| is_made_up(key)) {
                        self.named.insert(address.to_owned());
                    }
                    (key.clone(), self.resolve_body(value))
                });
                resolved.collect()
            }
            other => other.clone(),
        }
    }

    /// An answer as it is compared.
    pub(super) fn answer(&mut self, body: &Value, ordered: bool) -> Value {
        // The id of what was made comes first, whatever is in it.
        if let Some(id) = body.as_object().and_then(|o| o.values().next()).and_then(|o| o.get("id")) {
            self.meet(id);
            self.given(id.as_str().unwrap_or_default(), body);
        }
        match body {
            Value::Object(map) if ordered => {
                let whole = map.iter().map(|(key, value)| {
                    let shown = match value.as_array() {
                        Some(all) => all.iter().map(|one| self.value(key, one)).collect(),
                        None => self.value(key, value),
                    };
                    (key.clone(), shown)
                });
                whole.collect()
            }
            _ => self.value("", body),
        }
    }

    /// Neutron chooses an address by chance among the first that are free: one that a resource did not have before may have been
    /// another's, in one cloud and not in the other. It counts as one that was not met yet, unless another has it still.
    fn given(&mut self, id: &str, body: &Value) {
        let mut now = BTreeSet::new();
        addresses(body, &mut now);
        if let Some(device) = body.pointer("/port/device_id").and_then(Value::as_str) {
            self.behind.insert(id.to_owned(), device.to_owned());
        }
        let before = self.held.insert(id.to_owned(), now.clone()).unwrap_or_default();
        self.free(id, before.difference(&now));
        for address in now.difference(&before) {
            let held = self.held.iter().any(|(other, all)| other != id && all.contains(address));
            if !held {
                self.addresses.remove(address);
            }
        }
    }

    /// Takes in that a resource was deleted: its addresses are free. Of a router, the port that it had for a subnet.
    pub(super) fn deleted(&mut self, request: &Request, answer: &Answer) {
        let path = request.path.split('?').next().unwrap_or_default();
        let id = match (request.method, path.rsplit('/').next()) {
            ("DELETE", last) => last.and_then(|name| self.by_name.get(name).map(String::as_str)),
            (_, Some("remove_router_interface")) => answer.body.get("port_id").and_then(Value::as_str),
            _ => None,
        };
        if let Some(id) = id.filter(|_| (200..300).contains(&answer.status)) {
            let id = id.to_owned();
            let had = self.held.remove(&id).unwrap_or_default();
            self.free(&id, had.iter());
        }
    }

    /// A port that has an address for another (a load balancer, a floating IP, a router) has it no longer either.
    fn free<'a>(&mut self, id: &str, addresses: impl Iterator<Item = &'a String>) {
        let is_for = |port: &str| self.behind.get(port).is_some_and(|device| device.contains(id));
        let ports: Vec<String> = self.held.keys().filter(|port| is_for(port)).cloned().collect();
        for address in addresses {
            for port in &ports {
                self.held.entry(port.clone()).or_default().remove(address);
            }
        }
    }

    fn meet(&mut self, value: &Value) {
        let Some(id) = value.as_str().filter(|id| self.uuid.is_match(id) && !id.contains(' ')) else {
            return;
        };
        if !self.ids.contains_key(id) {
            let name = format!("#{}", self.ids.len());
            self.learn(id, name);
        }
    }

    fn value(&mut self, key: &str, value: &Value) -> Value {
        match value {
            Value::Object(map) => self.object(map),
            Value::Array(all) => {
                let mut all = all.clone();
                if !ORDERED.contains(&key) {
                    all.sort_by_cached_key(|one| self.masked(one).to_string());
                }
                all.iter().map(|one| self.value(key, one)).collect()
            }
            Value::String(text) => json!(self.text(key, text)),
            other => other.clone(),
        }
    }

    fn object(&mut self, map: &Map<String, Value>) -> Value {
        let mut out = Map::new();
        // What OVN brings up by and by.
        let interface =
            map.get("device_owner").and_then(Value::as_str).is_some_and(|o| o.starts_with("network:"));
        let settling = interface || map.contains_key("floating_ip_address") || map.contains_key("sub_ports");
        for (key, value) in map {
            let drop = DROPPED.contains(&key.as_str()) || (settling && key == "status");
            if !drop {
                out.insert(key.clone(), self.value(key, value));
            }
        }
        if map.get("healthmonitor").is_some_and(Value::is_object) {
            out.get_mut("members").into_iter().for_each(either_status);
        }
        Value::Object(out)
    }

    fn text(&mut self, key: &str, text: &str) -> String {
        if key == "href" || key == "self" {
            return "<link>".to_owned();
        }
        if key == "mac_address" && text.starts_with("fa:16:3e") {
            return "<mac>".to_owned();
        }
        if text.parse::<std::net::IpAddr>().is_ok() && !self.named.contains(text) && is_made_up(key) {
            let next = self.met;
            let label = *self.addresses.entry(text.to_owned()).or_insert(next);
            self.met += usize::from(label == next);
            return format!("<address {label}>");
        }
        let found: Vec<String> = self.uuid.find_iter(text).map(|m| m.as_str().to_owned()).collect();
        for id in found {
            self.meet(&json!(id));
        }
        sorted_lists(&self.masked_text(text))
    }

    fn masked_text(&self, text: &str) -> String {
        let name = |found: &Captures<'_>| {
            let id = found.get(0).map(|m| m.as_str()).unwrap_or_default();
            self.ids.get(id).cloned().unwrap_or_else(|| "#?".to_owned())
        };
        self.uuid.replace_all(text, name).into_owned()
    }

    /// A value without what is not known yet, to sort by.
    fn masked(&self, value: &Value) -> Value {
        match value {
            Value::Object(map) => {
                let kept = map.iter().filter(|(key, _)| !DROPPED.contains(&key.as_str()) && *key != "status");
                kept.map(|(key, value)| (key.clone(), self.masked_at(key, value))).collect()
            }
            Value::Array(all) => {
                let mut all: Vec<Value> = all.iter().map(|one| self.masked(one)).collect();
                all.sort_by_cached_key(Value::to_string);
                Value::Array(all)
            }
            Value::String(text) => json!(self.masked_text(text)),
            other => other.clone(),
        }
    }

    fn masked_at(&self, key: &str, value: &Value) -> Value {
        match value.as_str() {
            Some(text) if key == "mac_address" && text.starts_with("fa:16:3e") => json!("<mac>"),
            Some(text) if is_made_up(key) && !self.named.contains(text) => {
                json!(self.addresses.get(text).map_or("<address>".to_owned(), |n| format!("<address {n}>")))
            }
            _ => self.masked(value),
        }
    }
}

/// The addresses in an answer that the cloud may have chosen for it. (That of a port which a floating IP leads to was chosen before.)
fn addresses(body: &Value, found: &mut BTreeSet<String>) {
    match body {
        Value::Object(map) => {
            for (key, value) in map {
                match value.as_str().filter(|_| is_made_up(key) && key != "fixed_ip_address") {
                    Some(address) => {
                        found.insert(address.to_owned());
                    }
                    None => addresses(value, found),
                }
            }
        }
        Value::Array(all) => all.iter().for_each(|one| addresses(one, found)),
        _ => {}
    }
}

/// Whether an attribute's address may be one that the cloud chose.
fn is_made_up(key: &str) -> bool {
    matches!(key, "ip_address" | "floating_ip_address" | "fixed_ip_address" | "vip_address")
}

/// Lists within a message, as `#4,#2` or `Value should be one of: B, A`, in one order.
fn sorted_lists(text: &str) -> String {
    let sorted = |list: &str, separator: &str| {
        let end = if list.ends_with('.') { "." } else { "" };
        let mut parts: Vec<&str> = list.trim_end_matches('.').split(separator).collect();
        parts.sort_unstable();
        parts.join(separator) + end
    };
    // The VIP is one that the cloud chose.
    if let Some((before, after)) = text.split_once("all VIPs ['")
        && let Some((_, after)) = after.split_once("']")
    {
        return format!("{before}all VIPs ['<address>']{after}");
    }
    for (intro, separator) in
        [("Value should be one of: ", ", "), ("ports is: ", ","), ("still attached: ", ", ")]
    {
        if let Some((before, list)) = text.split_once(intro) {
            return format!("{before}{intro}{}", sorted(list, separator));
        }
    }
    text.to_owned()
}

/// Has members with either of the two show both.
fn either_status(members: &mut Value) {
    for member in members.as_array_mut().into_iter().flatten() {
        if let Some(status) = member.get_mut("operating_status")
            && EITHER.iter().any(|either| status == either)
        {
            *status = json!(EITHER.join(" or "));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::side::{Service, Who};
    use super::*;

    #[test]
    fn two_clouds_with_other_ids_are_alike() {
        let of = |a: &str, b: &str, first: &str, second: &str| {
            let mut normal = Normal::new(&[]).unwrap();
            let made = normal.answer(&json!({"port": {"id": a, "revision_number": 7}}), false);
            assert_eq!(made, json!({"port": {"id": "#0"}}));
            let listed = json!({"ports": [
                {"id": first, "fixed_ips": [{"ip_address": "10.0.0.7"}]}, {"id": second, "fixed_ips": []}]});
            assert_eq!(normal.resolve("/ports/#0?x=#9"), format!("/ports/{a}?x=#9"));
            (
                normal.answer(&listed, false),
                normal.answer(&json!({"m": format!("ports is: {b},{a}.")}), false),
            )
        };
        let (x, y) = ("5f3a0000-0000-4000-8000-000000000001", "0f3a0000-0000-4000-8000-000000000002");
        let (p, q) = ("0f3a0000-0000-4000-8000-000000000003", "5f3a0000-0000-4000-8000-000000000004");
        let one = of(x, y, x, y);
        let other = of(p, q, p, q);
        assert_eq!(one, other);
        assert_eq!(one.1, json!({"m": "ports is: #0,#1."}));
    }

    fn id(n: u8) -> String {
        format!("00000000-0000-4000-8000-0000000000{n:02}")
    }

    /// What a port's address is called.
    fn label(normal: &mut Normal, n: u8, address: &str) -> String {
        let shown = json!({"port": {"id": id(n), "fixed_ips": [{"ip_address": address}]}});
        let answer = normal.answer(&shown, false);
        let found = answer.pointer("/port/fixed_ips/0/ip_address").and_then(Value::as_str);
        found.unwrap_or_default().to_owned()
    }

    fn delete(normal: &mut Normal, path: String) {
        let (service, who) = (Service::Network, Who::Member);
        let request = Request { who, service, method: "DELETE", path, body: Value::Null, revision: None };
        normal.deleted(&request, &Answer { status: 204, body: Value::Null });
    }

    #[test]
    fn an_address_that_is_given_again_is_another_one() {
        let mut normal = Normal::new(&[]).unwrap();
        let first = label(&mut normal, 1, "10.0.0.5");
        assert_eq!(label(&mut normal, 1, "10.0.0.5"), first, "it has it still");
        let name = normal.masked_text(&id(1));
        delete(&mut normal, format!("/ports/{name}"));
        let second = label(&mut normal, 2, "10.0.0.5");
        assert_ne!(second, first, "the first is gone, and its address is another's");
        let third = label(&mut normal, 2, "10.0.0.6");
        assert!(third != first && third != second);
        assert_ne!(label(&mut normal, 3, "10.0.0.5"), second, "the second gave it up");
    }

    #[test]
    fn an_address_that_another_has_still_stays_the_same() {
        let mut normal = Normal::new(&[]).unwrap();
        let first = label(&mut normal, 1, "10.0.0.5");
        assert_eq!(label(&mut normal, 2, "10.0.0.5"), first, "a cloud that gives one twice is found out");
    }
}
