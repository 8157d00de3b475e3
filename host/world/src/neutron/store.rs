//! What there is, with indexes for what is looked for at every write.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde_json::{Value, json};

use super::fault::{Fault, Result};
use super::{Kind, Neutron, Object, text};
use crate::ids::time;

/// Who refers to what. Kept by [`Neutron::store`], [`Neutron::change`] and [`Neutron::remove`].
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Subnets by network.
    pub(super) subnets: HashMap<String, BTreeSet<String>>,
    /// Ports by network.
    pub(super) ports: HashMap<String, BTreeSet<String>>,
    /// MAC addresses by network.
    macs: HashSet<(String, String)>,
    /// Rules by group.
    pub(super) rules: HashMap<String, BTreeSet<String>>,
    /// Rules by the group that is their peer.
    pub(super) peers: HashMap<String, BTreeSet<String>>,
    /// Rules by the address group that is their peer.
    pub(super) address_peers: HashMap<String, BTreeSet<String>>,
    /// Ports by group.
    pub(super) members: HashMap<String, BTreeSet<String>>,
    /// Ports by the device that they are of.
    pub(super) devices: HashMap<String, BTreeSet<String>>,
    /// Floating IPs by port.
    pub(super) floating: HashMap<String, BTreeSet<String>>,
    /// Trunk by parent port.
    pub(super) parents: HashMap<String, String>,
    /// Trunk by subport.
    pub(super) subports: HashMap<String, String>,
    /// Default group by project.
    pub(super) defaults: HashMap<String, String>,
    used: HashMap<(String, Kind), usize>,
}

impl Index {
    pub(super) fn mac_is_used(&self, network: &str, mac: &str) -> bool {
        self.macs.contains(&(network.to_owned(), mac.to_owned()))
    }

    /// How many of a kind a project has.
    pub(super) fn used(&self, project: &str, kind: Kind) -> usize {
        self.used.get(&(project.to_owned(), kind)).copied().unwrap_or_default()
    }

    /// Takes an object in, or out.
    fn note(&mut self, kind: Kind, object: &Object, there: bool) {
        let id = text(object, "id");
        let used = self.used.entry((text(object, "project_id").to_owned(), kind)).or_default();
        *used = if there { *used + 1 } else { used.saturating_sub(1) };
        let mut set = |map: fn(&mut Self) -> &mut HashMap<String, BTreeSet<String>>, key: &str| {
            if key.is_empty() {
                return;
            }
            if there {
                map(self).entry(key.to_owned()).or_default().insert(id.to_owned());
            } else if let Some(all) = map(self).get_mut(key) {
                all.remove(id);
                if all.is_empty() {
                    map(self).remove(key);
                }
            }
        };
        match kind {
            Kind::Subnet => set(|i| &mut i.subnets, text(object, "network_id")),
            Kind::Port => {
                set(|i| &mut i.ports, text(object, "network_id"));
                set(|i| &mut i.devices, text(object, "device_id"));
                for group in object.get("security_groups").and_then(Value::as_array).into_iter().flatten() {
                    set(|i| &mut i.members, group.as_str().unwrap_or_default());
                }
                let mac = (text(object, "network_id").to_owned(), text(object, "mac_address").to_owned());
                if there {
                    self.macs.insert(mac)
                } else {
                    self.macs.remove(&mac)
                };
            }
            Kind::SecurityGroupRule => {
                set(|i| &mut i.rules, text(object, "security_group_id"));
                set(|i| &mut i.peers, text(object, "remote_group_id"));
                set(|i| &mut i.address_peers, text(object, "remote_address_group_id"));
            }
            Kind::FloatingIp => set(|i| &mut i.floating, text(object, "port_id")),
            Kind::Trunk => {
                let mut one = |map: fn(&mut Self) -> &mut HashMap<String, String>, port: &str| match there {
                    true => drop(map(self).insert(port.to_owned(), id.to_owned())),
                    false => drop(map(self).remove(port)),
                };
                one(|i| &mut i.parents, text(object, "port_id"));
                for sub in object.get("sub_ports").and_then(Value::as_array).into_iter().flatten() {
                    one(|i| &mut i.subports, sub.get("port_id").and_then(Value::as_str).unwrap_or_default());
                }
            }
            Kind::Network | Kind::SecurityGroup | Kind::AddressGroup | Kind::Router | Kind::SubnetPool => {}
        }
    }
}

impl Neutron {
    pub(super) fn all(&self, kind: Kind) -> impl Iterator<Item = &Object> {
        self.objects.get(&kind).into_iter().flat_map(BTreeMap::values)
    }

    pub(super) fn get(&self, kind: Kind, id: &str) -> Result<&Object> {
        self.find(kind, id).ok_or_else(|| Fault::not_found(kind, id))
    }

    /// Gives an object what every object has, and stores it. Returns its id.
    pub(super) fn store(&mut self, kind: Kind, mut object: Object) -> String {
        let id = self.ids.next();
        let now = time();
        object.insert("id".to_owned(), json!(id));
        // Of a network what is written beside it, as its port security, counts already.
        object.insert("revision_number".to_owned(), json!(u64::from(kind == Kind::Network)));
        object.insert("created_at".to_owned(), json!(now));
        object.insert("updated_at".to_owned(), json!(now));
        self.index.note(kind, &object, true);
        self.objects.entry(kind).or_default().insert(id.clone(), object);
        id
    }

    /// Changes an object; counts a revision if it is another then.
    pub(super) fn change(&mut self, kind: Kind, id: &str, changes: Object) -> Result<()> {
        let found = self.objects.get_mut(&kind).and_then(|all| all.get_mut(id));
        let object = found.ok_or_else(|| Fault::not_found(kind, id))?;
        if changes.iter().all(|(name, value)| object.get(name) == Some(value)) {
            return Ok(());
        }
        self.index.note(kind, object, false);
        object.extend(changes);
        count_revision(object);
        self.index.note(kind, object, true);
        Ok(())
    }

    /// Counts a revision of an object, for what belongs to it is another (`revises_on_change`).
    pub(super) fn revise(&mut self, kind: Kind, id: &str) {
        if let Some(object) = self.objects.get_mut(&kind).and_then(|all| all.get_mut(id)) {
            count_revision(object);
        }
    }

    /// As [`Neutron::change`], of one attribute.
    pub(super) fn set(&mut self, kind: Kind, id: &str, name: &str, value: Value) -> Result<()> {
        self.change(kind, id, Object::from_iter([(name.to_owned(), value)]))
    }

    pub(super) fn remove(&mut self, kind: Kind, id: &str) {
        if let Some(object) = self.objects.get_mut(&kind).and_then(|all| all.remove(id)) {
            self.index.note(kind, &object, false);
        }
    }
}

fn count_revision(object: &mut Object) {
    let revision = object.get("revision_number").and_then(Value::as_u64).unwrap_or_default();
    object.insert("revision_number".to_owned(), json!(revision + 1));
    object.insert("updated_at".to_owned(), json!(time()));
}

/// Ids of an index under a key.
pub(super) fn ids(map: &HashMap<String, BTreeSet<String>>, key: &str) -> Vec<String> {
    map.get(key).into_iter().flatten().cloned().collect()
}
