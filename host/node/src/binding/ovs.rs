//! `ovs`: a veth pair whose host's end is a port of Open vSwitch's integration bridge. OVN finds it by the port's id in
//! `external_ids:iface-id`, and says `ovn-installed` there when its flows are in place. What MTU fits nothing on the node tells: what is
//! beneath is OVN's tunnels, of which Neutron made the network's MTU.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use isthmus_cni::{Code, Error};
use serde_json::{Map, Value, json};

use super::bridge::mac_of;
use super::{Driver, Host, Later, Pod, TxChecksum, carried, vhostuser};
use crate::attachments::Link;
use crate::netlink::links::{self, Pair};
use crate::ovsdb::{Ovsdb, ids, map};

/// Marks our interfaces in `external_ids`.
const MARK: &str = "isthmus";

/// The driver.
pub struct Ovs {
    host: Host,
    database: Ovsdb,
    bridge: String,
}

impl Ovs {
    /// Ports go into `bridge` of the Open vSwitch whose database is on `socket`.
    pub fn new(host: Host, socket: &Path, bridge: &str) -> Self {
        Self { host, database: Ovsdb::new(socket), bridge: bridge.into() }
    }

    /// `select` of one table, in one transaction with others.
    fn select(table: &str, condition: &Value, columns: &[&str]) -> Value {
        json!({"op": "select", "table": table, "where": [condition], "columns": columns})
    }

    /// The datapath's type; an error where there is no such bridge.
    fn datapath(&self, answer: Option<&Value>) -> Result<String, Error> {
        let row = answer.and_then(|a| a.pointer("/rows/0"));
        let row = row.ok_or_else(|| {
            let what = format!("Open vSwitch has no bridge {}", self.bridge);
            Error::new(Code::TryAgain, what, "ovn-controller makes it: is it running on this node?")
        })?;
        Ok(row.get("datapath_type").and_then(Value::as_str).unwrap_or_default().to_owned())
    }

    /// Joins the host's link to the bridge, and takes off whatever claims the same port; of a port with files the claim alone, as only
    /// its own driver knows those. `mark`: what tells in `external_ids` that the interface is ours. `row`: further columns of it.
    pub(super) async fn join(
        &self,
        link: &Link,
        mark: (&str, &str),
        row: Map<String, Value>,
    ) -> Result<TxChecksum, Error> {
        let vif = &link.vif;
        let claims = json!(["external_ids", "includes", map(&[("iface-id", &vif.port_id)])]);
        let found = self
            .database
            .transact(vec![
                Self::select("Bridge", &json!(["name", "==", self.bridge]), &["datapath_type"]),
                Self::select("Interface", &claims, &["name", "external_ids"]),
            ])
            .await?;
        let datapath = self.datapath(found.first())?;
        let mut operations = self.displace(&link.host, found.get(1)).await?;
        let own =
            [("iface-id", &*vif.port_id), ("attached-mac", &*vif.mac), ("iface-status", "active"), mark];
        let (host, mut row) = (&link.host, row);
        row.insert("name".into(), json!(host));
        row.insert("external_ids".into(), map(&own));
        operations.extend([
            json!({"op": "insert", "table": "Interface", "uuid-name": "interface", "row": row}),
            json!({"op": "insert", "table": "Port", "uuid-name": "port",
                "row": {"name": host, "interfaces": ["named-uuid", "interface"]}}),
            json!({"op": "mutate", "table": "Bridge", "where": [["name", "==", self.bridge]],
                "mutations": [["ports", "insert", ["named-uuid", "port"]]]}),
        ]);
        let changed = self.database.transact(operations).await?;
        // Rows that nothing refers to vanish without an error.
        if changed.last().and_then(|r| r.get("count")).and_then(Value::as_u64) != Some(1) {
            let what = format!("Open vSwitch's bridge {} went while a port was put into it", self.bridge);
            return Err(Error::new(Code::TryAgain, what, ""));
        }
        Ok(if datapath == "netdev" { TxChecksum::Off } else { TxChecksum::Keep })
    }

    /// Operations after which nobody claims the port of these interfaces, nor has the name `host`.
    async fn displace(&self, host: &str, claimants: Option<&Value>) -> Result<Vec<Value>, Error> {
        let rows = claimants.and_then(|r| r.get("rows")).and_then(Value::as_array);
        let named = rows.into_iter().flatten().filter_map(|row| Some((row.get("name")?.as_str()?, row)));
        let (with_files, without): (Vec<_>, Vec<_>) = named
            .filter(|(name, _)| *name != host)
            .partition(|(_, row)| ids(row).any(|(key, _)| key == vhostuser::MARK));
        let stale = without.into_iter().map(|(name, _)| name).chain([host]).collect();
        let mut operations = self.leave(&stale).await?;
        operations.extend(with_files.into_iter().map(|(name, _)| unclaimed(name)));
        Ok(operations)
    }

    /// Operations that take ports off their bridges; rows that nothing refers to go by themselves.
    async fn leave(&self, names: &BTreeSet<&str>) -> Result<Vec<Value>, Error> {
        let selects =
            names.iter().map(|name| Self::select("Port", &json!(["name", "==", name]), &["_uuid"])).collect();
        let found = self.database.transact(selects).await?;
        let uuids = found.iter().filter_map(|r| r.pointer("/rows/0/_uuid"));
        Ok(uuids
            .map(|uuid| {
                json!({"op": "mutate", "table": "Bridge", "where": [["ports", "includes", uuid]],
                    "mutations": [["ports", "delete", uuid]]})
            })
            .collect())
    }

    /// Takes a port off the bridge, as far as it is there.
    pub(super) async fn remove(&self, host: &str) -> Result<(), Error> {
        let operations = self.leave(&BTreeSet::from([host])).await?;
        if !operations.is_empty() {
            self.database.transact(operations).await?;
        }
        Ok(())
    }

    /// Waits until OVN says that the port's flows are in place.
    pub(super) async fn installed(&self, link: &Link) -> Result<(), Error> {
        let mut interfaces = self.database.interfaces().await?;
        let judged = interfaces
            .wait_for(|all| {
                all.named(&link.host).is_some_and(|i| {
                    i.error.is_some() || i.external_ids.get("ovn-installed").is_some_and(|v| v == "true")
                })
            })
            .await;
        let judged = judged.map_err(|_| {
            Error::new(Code::TryAgain, "Open vSwitch's database went away", "while a port was waited for")
        })?;
        match judged.named(&link.host).and_then(|i| i.error.as_ref()) {
            None => Ok(()),
            Some(error) => {
                let what = format!("Open vSwitch cannot use {} of port {}", link.host, link.vif.port_id);
                Err(Error::new(Code::Other, what, error))
            }
        }
    }

    /// Whether the host's link is a port that claims its VIF's.
    pub(super) async fn is_port(&self, link: &Link) -> Result<(), Error> {
        let conditions = json!([
            ["name", "==", link.host],
            ["external_ids", "includes", map(&[("iface-id", &link.vif.port_id)])],
        ]);
        let select = json!({"op": "select", "table": "Interface", "where": conditions, "columns": ["name"]});
        let found = self.database.transact(vec![select]).await?;
        if found.first().and_then(|r| r.pointer("/rows/0")).is_none() {
            let what = format!("{} is no port of Open vSwitch with iface-id {}", link.host, link.vif.port_id);
            return Err(Error::new(Code::Other, what, ""));
        }
        Ok(())
    }

    /// What a mark says, by the names of the interfaces that have it.
    pub(super) async fn marks(&self, mark: &str) -> Result<BTreeMap<String, String>, Error> {
        let interfaces = self.database.interfaces().await?.borrow().clone();
        let marked =
            interfaces.iter().filter_map(|i| Some((i.name.clone(), i.external_ids.get(mark)?.clone())));
        Ok(marked.collect())
    }

    /// Names of the interfaces with a mark.
    pub(super) async fn marked(&self, mark: &str) -> Result<BTreeSet<String>, Error> {
        Ok(self.marks(mark).await?.into_keys().collect())
    }
}

/// The operation that takes a port's claim away, and leaves the port to who made it.
fn unclaimed(name: &str) -> Value {
    json!({"op": "mutate", "table": "Interface", "where": [["name", "==", name]],
        "mutations": [["external_ids", "delete", ["set", ["iface-id"]]]]})
}

impl Driver for Ovs {
    fn bind<'a>(&'a self, pod: Pod<'a>, link: &'a mut Link) -> Later<'a, TxChecksum> {
        Box::pin(async move {
            let mac = mac_of(link)?;
            let (host, inside) = (&*link.host, &*link.interface);
            let pair = Pair { host, inside, mac, mtu: link.vif.mtu, bridge: None };
            self.host.pair(pod.netns, pair).await?;
            match self.join(link, (MARK, "pod"), Map::new()).await {
                Ok(checksum) => Ok(checksum),
                Err(mut error) => {
                    // The answer may have been lost, and not the change.
                    for undone in [self.remove(host).await, self.host.bury(host).await] {
                        if let Err(more) = undone {
                            error.details = format!("{}; and: {more}", error.details);
                        }
                    }
                    Err(error)
                }
            }
        })
    }

    fn ready<'a>(&'a self, link: &'a Link) -> Later<'a, ()> {
        Box::pin(self.installed(link))
    }

    fn unhook<'a>(&'a self, host: &'a str) -> Later<'a, ()> {
        Box::pin(self.remove(host))
    }

    fn check<'a>(&'a self, link: &'a Link) -> Later<'a, ()> {
        Box::pin(async move {
            self.is_port(link).await?;
            match links::find(&self.host.netlink, &link.host).await? {
                Some(host) if host.up => carried(&host),
                _ => Err(Error::new(Code::Other, format!("link {} is down or gone", link.host), "")),
            }
        })
    }

    fn hooked(&self) -> Later<'_, BTreeSet<String>> {
        Box::pin(self.marked(MARK))
    }

    fn usable(&self) -> Later<'_, ()> {
        Box::pin(async {
            let select = Self::select("Bridge", &json!(["name", "==", self.bridge]), &["datapath_type"]);
            let found = self.database.transact(vec![select]).await?;
            self.datapath(found.first()).map(|_| ())
        })
    }
}

#[cfg(test)]
#[path = "ovs_tests.rs"]
mod tests;
