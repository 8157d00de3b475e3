//! Load balancers.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::attributes::{LOAD_BALANCER, POST, PUT};
use super::fault::{Fault, Result};
use super::state::change;
use super::types::checked;
use super::vip::Vip;
use super::{Kind, Object, Octavia, may, normalised, provider, stored, text};
use crate::call::{Call, Reply};
use crate::neutron::{self, Neutron};

const SHOWN: &[&str] = &[
    "name",
    "description",
    "admin_state_up",
    "project_id",
    "vip_address",
    "vip_port_id",
    "vip_subnet_id",
    "vip_network_id",
    "vip_sg_ids",
    "additional_vips",
    "provider",
    "flavor_id",
    "vip_qos_policy_id",
    "tags",
    "availability_zone",
];

impl Octavia {
    pub(super) fn create_balancer(&mut self, call: &Call<'_>, neutron: &mut Neutron) -> Result<Reply> {
        let mut input = checked(&call.body, "load_balancer", "loadbalancer", LOAD_BALANCER, POST)?;
        let project = match text(&input, "project_id") {
            "" => call.caller.project.clone(),
            given => given.to_owned(),
        };
        may(&call.caller, &project)?;
        let caller = &call.caller;
        let sees = |object: &Object| neutron::sees(caller, object);
        let mut vip = Vip::asked(&input, &sees, neutron)?;
        self.check_groups(&input, call, neutron)?;
        if input.get("additional_vips").and_then(Value::as_array).is_some_and(|all| !all.is_empty()) {
            return Err(Fault::not_modelled("additional VIPs"));
        }
        if input.get("flavor_id").is_some_and(|id| !id.is_null()) {
            return Err(Fault::validation("Invalid flavor_id."));
        }
        if input.get("availability_zone").is_some_and(|zone| !zone.is_null()) {
            return Err(Fault::validation("Invalid availability zone."));
        }
        let provider = match text(&input, "provider") {
            "" => provider::DEFAULT.to_owned(),
            given => given.to_owned(),
        };
        provider::known(&provider)?;
        self.check_quota(Kind::LoadBalancer, &project, 1)?;
        let take = |input: &mut Object, key: &str| match input.remove(key) {
            Some(Value::Array(all)) => all,
            _ => Vec::new(),
        };
        let (listeners, pools) = (take(&mut input, "listeners"), take(&mut input, "pools"));
        input.insert("project_id".into(), json!(project));
        input.insert("provider".into(), json!(provider));
        let mut object = stored(&input, SHOWN);
        object.insert("vip_vnic_type".into(), json!("normal"));
        for list in ["additional_vips", "vip_sg_ids"] {
            if object.get(list).is_some_and(Value::is_null) {
                object.insert(list.into(), json!([]));
            }
        }
        let id = self.insert(Kind::LoadBalancer, "", object);
        let made = self
            .claim_vip(
                &id,
                &project,
                &provider,
                &mut vip,
                input.get("vip_sg_ids").unwrap_or(&Value::Null),
                neutron,
            )
            .and_then(|()| {
                self.edit(Kind::LoadBalancer, &id, |node| {
                    node.set("vip_address", vip.address.as_str());
                    node.set("vip_port_id", vip.port.as_str());
                    node.set("vip_subnet_id", vip.subnet.as_str());
                    node.set("vip_network_id", vip.network.as_str());
                });
                self.create_graph(&id, listeners, pools, neutron)
            });
        if let Err(refused) = made {
            // All or nothing.
            self.release_vip(&id, neutron);
            self.remove(Kind::LoadBalancer, &id);
            return Err(refused);
        }
        let parts = self.parts(&id);
        // The real OVN provider says that the load balancer is done before its parts are.
        match provider.as_str() {
            "ovn" if !parts.is_empty() => {
                self.enqueue(vec![(Kind::LoadBalancer, id.clone())], 1);
                self.enqueue(parts, 2);
            }
            _ => self.provision(&id, parts),
        }
        let shown = self.full(Kind::LoadBalancer, self.get(Kind::LoadBalancer, &id)?);
        Ok(Reply::new(StatusCode::CREATED, json!({"loadbalancer": shown})))
    }

    fn check_groups(&self, input: &Object, call: &Call<'_>, neutron: &Neutron) -> Result<()> {
        for id in input.get("vip_sg_ids").and_then(Value::as_array).into_iter().flatten() {
            let id = id.as_str().unwrap_or_default();
            let found =
                neutron.find(neutron::Kind::SecurityGroup, id).filter(|g| neutron::sees(&call.caller, g));
            found.ok_or_else(|| Fault::no_subresource("Security Group", id))?;
        }
        Ok(())
    }

    /// All that is in a load balancer.
    fn parts(&self, id: &str) -> Vec<(Kind, String)> {
        let Ok(balancer) = self.get(Kind::LoadBalancer, id) else { return Vec::new() };
        let mut parts = Vec::new();
        for listener in &balancer.listeners {
            parts.push((Kind::Listener, listener.clone()));
            let policies = self.get(Kind::Listener, listener).map(|l| l.policies.clone()).unwrap_or_default();
            for policy in policies {
                let rules = self.get(Kind::L7Policy, &policy).map(|p| p.rules.clone()).unwrap_or_default();
                parts.extend(rules.into_iter().map(|rule| (Kind::L7Rule, rule)));
                parts.push((Kind::L7Policy, policy));
            }
        }
        for pool in &balancer.pools {
            parts.push((Kind::Pool, pool.clone()));
            if let Ok(pool) = self.get(Kind::Pool, pool) {
                parts.extend(pool.members.values().map(|member| (Kind::Member, member.clone())));
                parts.extend(pool.monitor.iter().map(|monitor| (Kind::HealthMonitor, monitor.clone())));
            }
        }
        parts
    }

    pub(super) fn update_balancer(
        &mut self,
        call: &Call<'_>,
        id: &str,
        neutron: &mut Neutron,
    ) -> Result<Reply> {
        let mut changes = checked(&call.body, "load_balancer", "loadbalancer", LOAD_BALANCER, PUT)?;
        self.owned(Kind::LoadBalancer, id, &call.caller)?;
        self.check_groups(&changes, call, neutron)?;
        if changes.get("vip_qos_policy_id").is_some_and(|id| !id.is_null()) {
            return Err(Fault::not_modelled("QoS policies"));
        }
        self.must_be_settled(id, &["ACTIVE"])?;
        if changes.get("vip_sg_ids").is_some_and(Value::is_null) {
            changes.insert("vip_sg_ids".into(), json!([]));
        }
        let node = self.get_mut(Kind::LoadBalancer, id)?;
        change(node, normalised(changes));
        self.provision(id, Vec::new());
        self.written(StatusCode::OK, Kind::LoadBalancer, id)
    }

    /// As [`Octavia::must_be_mutable`], in the words of what is asked of the load balancer itself.
    fn must_be_settled(&self, id: &str, statuses: &[&str]) -> Result<()> {
        let status = self.get(Kind::LoadBalancer, id)?.status();
        match statuses.contains(&status) {
            true => Ok(()),
            false => Err(Fault::conflict(format!("Invalid state {status} of loadbalancer resource {id}"))),
        }
    }

    pub(super) fn delete_balancer(&mut self, call: &Call<'_>, id: &str) -> Result<Reply> {
        let node = self.owned(Kind::LoadBalancer, id, &call.caller)?;
        let cascade = call.queried("cascade").is_some_and(|text| {
            ["true", "1", "yes", "on", "t", "y"].contains(&text.to_ascii_lowercase().as_str())
        });
        let provider = node.text("provider").to_owned();
        if cascade {
            self.must_have(&provider, "cascade")?;
        }
        let node = self.get(Kind::LoadBalancer, id)?;
        if !(cascade || node.listeners.is_empty() && node.pools.is_empty()) {
            return Err(Fault::validation(format!("Cannot delete Load Balancer {id} - it has children")));
        }
        self.must_be_settled(id, &["ACTIVE", "ERROR"])?;
        let node = self.get_mut(Kind::LoadBalancer, id)?;
        node.set("provisioning_status", "PENDING_DELETE");
        self.provision(id, Vec::new());
        Ok(Reply::empty())
    }

    pub(super) fn fail_over(&mut self, call: &Call<'_>, id: &str) -> Result<Reply> {
        let node = self.get(Kind::LoadBalancer, id)?;
        if !call.caller.admin {
            return Err(Fault::forbidden());
        }
        let provider = node.text("provider").to_owned();
        self.must_be_settled(id, &["ACTIVE", "ERROR"])?;
        provider::failover(&provider)?;
        self.provision(id, Vec::new());
        Ok(Reply::new(StatusCode::ACCEPTED, Value::Null))
    }
}
