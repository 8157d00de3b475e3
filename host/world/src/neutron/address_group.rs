//! Address groups.

use std::collections::BTreeSet;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::fault::{Fault, Result};
use super::{Kind, Neutron, Object};
use crate::call::{Call, Reply};
use crate::python;

impl Neutron {
    pub(super) fn new_address_group(&mut self, mut object: Object) -> Result<String> {
        let addresses = canonical(object.get("addresses").unwrap_or(&Value::Null))?;
        object.insert("addresses".to_owned(), json!(addresses));
        Ok(self.store(Kind::AddressGroup, object))
    }

    pub(super) fn free_address_group(&self, id: &str) -> Result<()> {
        match self.index.address_peers.contains_key(id) {
            true => {
                let message = format!("Address group {id} is in use on one or more security group rules.");
                Err(Fault::conflict("AddressGroupInUse", message))
            }
            false => Ok(()),
        }
    }

    pub(super) fn add_addresses(&mut self, id: &str, call: &Call<'_>) -> Result<Reply> {
        let asked = canonical(call.body.get("addresses").unwrap_or(&Value::Null))?;
        let mut all = self.addresses(id)?;
        let there: Vec<&String> = asked.iter().filter(|address| all.contains(*address)).collect();
        if !there.is_empty() {
            let message =
                format!("Addresses {} already exist in the address group {id}.", python::repr(&json!(there)));
            return Err(Fault::invalid("AddressesAlreadyExist", message));
        }
        all.extend(asked);
        self.set_addresses(id, &all, call)
    }

    pub(super) fn remove_addresses(&mut self, id: &str, call: &Call<'_>) -> Result<Reply> {
        let asked = canonical(call.body.get("addresses").unwrap_or(&Value::Null))?;
        let mut all = self.addresses(id)?;
        let absent: Vec<&String> = asked.iter().filter(|address| !all.contains(*address)).collect();
        if !absent.is_empty() {
            let message =
                format!("Addresses {} not found in the address group {id}.", python::repr(&json!(absent)));
            return Err(Fault::missing("AddressesNotFound", message));
        }
        all.retain(|address| !asked.contains(address));
        self.set_addresses(id, &all, call)
    }

    fn addresses(&self, id: &str) -> Result<BTreeSet<String>> {
        let held = self.get(Kind::AddressGroup, id)?.get("addresses").and_then(Value::as_array);
        Ok(held.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect())
    }

    fn set_addresses(&mut self, id: &str, all: &BTreeSet<String>, call: &Call<'_>) -> Result<Reply> {
        self.set(Kind::AddressGroup, id, "addresses", json!(all))?;
        let mut shown = self.shown(Kind::AddressGroup, self.get(Kind::AddressGroup, id)?, &call.caller);
        shown.insert("shared".to_owned(), json!(false));
        Ok(Reply::ok(json!({"address_group": shown})))
    }
}

fn canonical(addresses: &Value) -> Result<BTreeSet<String>> {
    let one = |value: &Value| {
        let text = python::str(value);
        let bare = text.parse::<std::net::IpAddr>().ok().map(IpNet::from);
        let net = text.parse::<IpNet>().ok().or(bare);
        net.map(|net| net.to_string())
            .ok_or_else(|| Fault::invalid("AddrFormatError", format!("invalid IPNetwork {text}")))
    };
    addresses.as_array().into_iter().flatten().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_prefixes() {
        let given = json!(["10.0.0.1", "2.2.2.0/24", "fd00::/64"]);
        let all: Vec<String> = canonical(&given).unwrap().into_iter().collect();
        assert_eq!(all, ["10.0.0.1/32", "2.2.2.0/24", "fd00::/64"]);
        assert!(canonical(&json!(["foo"])).is_err());
    }
}
