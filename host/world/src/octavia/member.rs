//! Members of pools.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::attributes::{MEMBER, POST, PUT};
use super::fault::{Fault, Result};
use super::state::change;
use super::tree::{Node, member_key};
use super::types::{checked, checked_list};
use super::{Kind, Object, Octavia, normalised, not_modelled, provider, stored, text};
use crate::call::{Call, Reply};
use crate::neutron::{self, Neutron};

const SHOWN: &[&str] = &[
    "name",
    "admin_state_up",
    "address",
    "protocol_port",
    "weight",
    "backup",
    "subnet_id",
    "project_id",
    "monitor_address",
    "monitor_port",
    "tags",
];
/// Where instances ask for their metadata.
const RESERVED: &str = "169.254.169.254";

impl Octavia {
    pub(super) fn members(
        &mut self,
        call: &Call<'_>,
        pool: &str,
        rest: &[&str],
        neutron: &Neutron,
    ) -> Result<Reply> {
        self.owned(Kind::Pool, pool, &call.caller)?;
        match (call.method.as_str(), rest) {
            ("GET", []) => self.list(call, Kind::Member, |member| member.parent == pool),
            ("POST", []) => self.create_member(call, pool, neutron),
            ("PUT", []) => self.replace_members(call, pool, neutron),
            ("GET", [id]) => {
                self.member(pool, id)?;
                self.show(call, Kind::Member, id)
            }
            ("PUT", [id]) => self.update_member(call, pool, id),
            ("DELETE", [id]) => {
                self.member(pool, id)?;
                let (balancer, mut touched) = self.pool_is_mutable(pool)?;
                self.get_mut(Kind::Member, id)?.set("provisioning_status", "PENDING_DELETE");
                touched.push((Kind::Member, (*id).to_owned()));
                self.provision(&balancer, touched);
                Ok(Reply::empty())
            }
            _ => Err(not_modelled(call)),
        }
    }

    fn member(&self, pool: &str, id: &str) -> Result<&Node> {
        let found = self.get(Kind::Member, id)?;
        if found.parent == pool { Ok(found) } else { Err(Fault::not_found(Kind::Member, id)) }
    }

    fn create_member(&mut self, call: &Call<'_>, pool: &str, neutron: &Neutron) -> Result<Reply> {
        let input = checked(&call.body, "member_", "member", MEMBER, POST)?;
        check_address(&input)?;
        check_subnet(call, &input, neutron)?;
        let project = self.get(Kind::Pool, pool)?.text("project_id").to_owned();
        self.check_quota(Kind::Member, &project, 1)?;
        let (balancer, mut touched) = self.pool_is_mutable(pool)?;
        let id = self.add_member(pool, input, neutron)?;
        touched.push((Kind::Member, id.clone()));
        self.provision(&balancer, touched);
        self.written(StatusCode::CREATED, Kind::Member, &id)
    }

    pub(super) fn add_member(&mut self, pool: &str, mut input: Object, neutron: &Neutron) -> Result<String> {
        check_address(&input)?;
        if input.get("request_sriov") == Some(&Value::Bool(true)) {
            return Err(Fault::not_modelled("members on SR-IOV ports"));
        }
        let node = self.get(Kind::Pool, pool)?;
        let key = member_key(&input);
        if node.members.contains_key(&key) {
            return Err(Fault::conflict(format!(
                "Another member on this pool is already using ip {} on protocol_port {}",
                key.0, key.1
            )));
        }
        self.check_provider(node, &input, neutron)?;
        input.insert("project_id".to_owned(), json!(node.text("project_id")));
        let mut object = stored(&input, SHOWN);
        object.insert("vnic_type".to_owned(), json!("normal"));
        Ok(self.insert(Kind::Member, pool, object))
    }

    fn check_provider(&self, pool: &Node, member: &Object, neutron: &Neutron) -> Result<()> {
        let balancer = self.get(Kind::LoadBalancer, &pool.parent)?;
        let provider = balancer.text("provider");
        // Only a pool that is in use has a VIP before it, as the amphora driver looks.
        if provider != "ovn" && self.listeners_of(pool).is_empty() {
            return Ok(());
        }
        let vip = balancer.text("vip_address");
        let near = || {
            text(member, "address").parse().is_ok_and(|_: std::net::IpAddr| {
                neutron.subnet_holds(balancer.text("vip_subnet_id"), text(member, "address"))
            })
        };
        provider::member(provider, &pool.object, member, vip, provider != "ovn" || near())
    }

    fn update_member(&mut self, call: &Call<'_>, pool: &str, id: &str) -> Result<Reply> {
        let mut changes = checked(&call.body, "member_", "member", MEMBER, PUT)?;
        self.member(pool, id)?;
        for (name, default) in [("backup", json!(false)), ("weight", json!(1))] {
            if changes.get(name).is_some_and(Value::is_null) {
                changes.insert(name.to_owned(), default);
            }
        }
        let (balancer, mut touched) = self.pool_is_mutable(pool)?;
        change(self.get_mut(Kind::Member, id)?, normalised(changes));
        touched.push((Kind::Member, id.to_owned()));
        self.provision(&balancer, touched);
        self.written(StatusCode::OK, Kind::Member, id)
    }

    /// All members of a pool at once: those that are named are made or changed, the others go (unless it is `additive_only`).
    fn replace_members(&mut self, call: &Call<'_>, pool: &str, neutron: &Neutron) -> Result<Reply> {
        let inputs = checked_list(&call.body, "members_", "members", MEMBER, POST)?;
        let additive = call.queried("additive_only").is_some_and(|text| {
            ["true", "1", "yes", "on", "t", "y"].contains(&text.to_ascii_lowercase().as_str())
        });
        let (balancer, mut touched) = self.pool_is_mutable(pool)?;
        let node = self.get(Kind::Pool, pool)?;
        let project = node.text("project_id").to_owned();
        let old: BTreeMap<(String, u64), String> = node.members.clone();
        let (mut new, mut updated, mut kept) = (Vec::new(), Vec::new(), BTreeSet::new());
        for input in inputs {
            let key = member_key(&input);
            match old.get(&key) {
                None => {
                    check_address(&input)?;
                    new.push(input);
                }
                Some(_) if !kept.insert(key.clone()) => {
                    return Err(Fault::validation("Member must be updated only once in the same request."));
                }
                Some(id) => updated.push((id.clone(), input)),
            }
        }
        let gone: Vec<String> =
            old.iter().filter(|(key, _)| !kept.contains(*key)).map(|(_, id)| id.clone()).collect();
        if new.is_empty() && updated.is_empty() && gone.is_empty() {
            return Ok(Reply::new(StatusCode::ACCEPTED, Value::Null));
        }
        let fewer = if additive { 0 } else { gone.len() };
        self.check_quota(Kind::Member, &project, new.len().saturating_sub(fewer))?;
        // All is checked before anything is done.
        let mut keys = BTreeSet::new();
        for input in &new {
            check_subnet(call, input, neutron)?;
            let key = member_key(input);
            if !keys.insert(key.clone()) {
                return Err(Fault::conflict(format!(
                    "Another member on this pool is already using ip {} on protocol_port {}",
                    key.0, key.1
                )));
            }
            self.check_provider(self.get(Kind::Pool, pool)?, input, neutron)?;
        }
        for input in new {
            touched.push((Kind::Member, self.add_member(pool, input, neutron)?));
        }
        for (id, mut input) in updated {
            for fixed in ["address", "protocol_port", "request_sriov", "project_id", "tenant_id"] {
                input.remove(fixed);
            }
            change(self.get_mut(Kind::Member, &id)?, normalised(input));
            touched.push((Kind::Member, id));
        }
        if !additive {
            for id in gone {
                self.get_mut(Kind::Member, &id)?.set("provisioning_status", "PENDING_DELETE");
                touched.push((Kind::Member, id));
            }
        }
        self.provision(&balancer, touched);
        Ok(Reply::new(StatusCode::ACCEPTED, Value::Null))
    }
}

fn check_address(member: &Object) -> Result<()> {
    match text(member, "address") {
        RESERVED => Err(Fault::option(RESERVED, "member address")),
        _ => Ok(()),
    }
}

fn check_subnet(call: &Call<'_>, member: &Object, neutron: &Neutron) -> Result<()> {
    let subnet = text(member, "subnet_id");
    if subnet.is_empty() {
        return Ok(());
    }
    let found =
        neutron.find(neutron::Kind::Subnet, subnet).filter(|found| neutron::sees(&call.caller, found));
    found.map(drop).ok_or_else(|| Fault::no_subresource("Subnet", subnet))
}
