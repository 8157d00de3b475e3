//! Subnet pools, and the prefixes that subnets get from them.

use ipnet::IpNet;
use serde_json::{Value, json};

use super::fault::{Fault, Result};
use super::{Kind, Neutron, Object, text};
use crate::call::Caller;

impl Neutron {
    pub(super) fn new_subnet_pool(&mut self, mut object: Object) -> Result<String> {
        let prefixes = prefixes(&object);
        let Some(first) = prefixes.first() else {
            return Err(Fault::invalid("EmptySubnetPoolPrefixList", "Empty subnet pool prefix list."));
        };
        let v4 = first.addr().is_ipv4();
        let (least, most) = if v4 { (8, 32) } else { (64, 128) };
        object.insert("ip_version".to_owned(), json!(if v4 { 4 } else { 6 }));
        object.entry("default_quota").or_insert(Value::Null);
        for (name, default) in [("min_prefixlen", least), ("max_prefixlen", most)] {
            if object.get(name).is_none_or(Value::is_null) {
                object.insert(name.to_owned(), json!(default));
            }
        }
        if object.get("default_prefixlen").is_none_or(Value::is_null) {
            let least = object.get("min_prefixlen").cloned().unwrap_or_default();
            object.insert("default_prefixlen".to_owned(), least);
        }
        Ok(self.store(Kind::SubnetPool, object))
    }

    /// The prefix of a subnet that names none: the first free one of its pool.
    pub(super) fn taken_from_pool(&self, subnet: &Object, caller: &Caller) -> Result<IpNet> {
        let id = text(subnet, "subnetpool_id");
        if id.is_empty() {
            return Err(Fault::bad("subnets", "a subnetpool must be specified in the absence of a cidr"));
        }
        let pool = self.visible(Kind::SubnetPool, id, caller)?;
        let network = text(subnet, "network_id");
        let beside = self.subnets(network);
        let version = pool.get("ip_version");
        let other = beside
            .iter()
            .filter_map(|id| self.find(Kind::Subnet, id))
            .any(|other| other.get("ip_version") == version && text(other, "subnetpool_id") != id);
        if other {
            let message = "Subnets hosted on the same network must be allocated from the same subnet pool.";
            return Err(Fault::invalid("NetworkSubnetPoolAffinityError", message));
        }
        let length =
            subnet.get("prefixlen").filter(|v| !v.is_null()).or_else(|| pool.get("default_prefixlen"));
        let length = length.and_then(Value::as_u64).and_then(|n| u8::try_from(n).ok()).unwrap_or(64);
        let taken: Vec<IpNet> = self
            .all(Kind::Subnet)
            .filter(|subnet| text(subnet, "subnetpool_id") == id)
            .filter_map(|subnet| text(subnet, "cidr").parse().ok())
            .collect();
        let free = |net: &IpNet| !taken.iter().any(|t| t.contains(net) || net.contains(t));
        let candidates =
            prefixes(pool).into_iter().filter_map(|prefix| prefix.subnets(length).ok()).flatten();
        candidates.into_iter().find(free).ok_or_else(|| {
            let message = format!(
                "Failed to allocate subnet: Insufficient prefix space to allocate subnet size /{length}."
            );
            Fault::new(axum::http::StatusCode::INTERNAL_SERVER_ERROR, "SubnetAllocationError", message)
        })
    }

    pub(super) fn free_subnet_pool(&self, id: &str) -> Result<()> {
        if self.all(Kind::Subnet).any(|subnet| text(subnet, "subnetpool_id") == id) {
            let message = "Unable to delete subnet pool: Subnet pool has existing allocations.";
            return Err(Fault::invalid("SubnetPoolDeleteError", message));
        }
        Ok(())
    }
}

fn prefixes(pool: &Object) -> Vec<IpNet> {
    let given = pool.get("prefixes").and_then(Value::as_array).into_iter().flatten();
    given.filter_map(|prefix| prefix.as_str()?.parse().ok()).collect()
}
