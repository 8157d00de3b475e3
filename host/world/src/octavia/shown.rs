//! How objects are shown (`octavia.api.v2.types`: `*Response`, `*FullResponse`, `*StatusResponse`).

use serde_json::{Value, json};

use super::tree::Node;
use super::{Kind, Object, Octavia};

fn refs<'a>(ids: impl IntoIterator<Item = &'a String>) -> Value {
    ids.into_iter().map(|id| json!({"id": id})).collect()
}

impl Octavia {
    /// As a GET shows it: what belongs to it by id.
    pub(super) fn shown(&self, kind: Kind, node: &Node) -> Object {
        let mut shown = node.object.clone();
        let mut set = |name: &str, value: Value| drop(shown.insert(name.to_owned(), value));
        match kind {
            Kind::LoadBalancer => {
                set("listeners", refs(&node.listeners));
                set("pools", refs(&node.pools));
            }
            Kind::Listener => {
                set("loadbalancers", json!([{"id": node.parent}]));
                set("l7policies", refs(&node.policies));
            }
            Kind::Pool => {
                set("loadbalancers", json!([{"id": node.parent}]));
                set("listeners", refs(&self.listeners_of(node)));
                set("members", refs(node.members.values()));
                if let Some(monitor) = &node.monitor {
                    set("healthmonitor_id", json!(monitor));
                }
            }
            Kind::L7Policy => set("rules", refs(&node.rules)),
            Kind::HealthMonitor => set("pools", json!([{"id": node.parent}])),
            Kind::L7Rule | Kind::Member => {}
        }
        shown
    }

    /// As the answer to a load balancer's creation shows it: with all that is in it.
    pub(super) fn full(&self, kind: Kind, node: &Node) -> Value {
        let mut shown = node.object.clone();
        let mut set = |name: &str, value: Value| drop(shown.insert(name.to_owned(), value));
        match kind {
            Kind::LoadBalancer => {
                set("listeners", self.fulls(Kind::Listener, &node.listeners));
                set("pools", self.fulls(Kind::Pool, &node.pools));
            }
            Kind::Listener => set("l7policies", self.fulls(Kind::L7Policy, &node.policies)),
            Kind::Pool => {
                set("listeners", refs(&self.listeners_of(node)));
                set("members", self.fulls(Kind::Member, node.members.values()));
                let monitor = self.fulls(Kind::HealthMonitor, &node.monitor);
                set("healthmonitor", monitor.get(0).cloned().unwrap_or_default());
            }
            Kind::L7Policy => set("rules", self.fulls(Kind::L7Rule, &node.rules)),
            Kind::L7Rule | Kind::Member | Kind::HealthMonitor => {}
        }
        Value::Object(shown)
    }

    fn fulls<'a>(&self, kind: Kind, ids: impl IntoIterator<Item = &'a String>) -> Value {
        ids.into_iter().filter_map(|id| self.get(kind, id).ok()).map(|node| self.full(kind, node)).collect()
    }

    /// The status of a load balancer, and of what its listeners use.
    pub(super) fn status_tree(&self, balancer: &Node) -> Value {
        let mut tree = status(balancer, &[]);
        let listeners = balancer.listeners.iter().filter_map(|id| self.get(Kind::Listener, id).ok());
        tree.insert(
            "listeners".to_owned(),
            listeners.map(|listener| self.listener_status(listener)).collect(),
        );
        json!({"statuses": {"loadbalancer": tree}})
    }

    fn listener_status(&self, listener: &Node) -> Value {
        let mut ids = Vec::new();
        let default = listener.text("default_pool_id");
        if !default.is_empty() {
            ids.push(default);
        }
        let mut seen: std::collections::HashSet<&str> = ids.iter().copied().collect();
        for policy in listener.policies.iter().filter_map(|id| self.get(Kind::L7Policy, id).ok()) {
            let pool = policy.text("redirect_pool_id");
            if policy.enabled() && !policy.rules.is_empty() && !pool.is_empty() && seen.insert(pool) {
                ids.push(pool);
            }
        }
        let mut shown = status(listener, &[]);
        let pools =
            ids.iter().filter_map(|id| self.get(Kind::Pool, id).ok()).map(|pool| self.pool_status(pool));
        shown.insert("pools".to_owned(), pools.collect());
        Value::Object(shown)
    }

    fn pool_status(&self, pool: &Node) -> Value {
        let mut shown = status(pool, &[]);
        let members = pool.members.values().filter_map(|id| self.get(Kind::Member, id).ok());
        let members = members.map(|member| Value::Object(status(member, &["address", "protocol_port"])));
        shown.insert("members".to_owned(), members.collect());
        let monitor = pool.monitor.as_ref().and_then(|id| self.get(Kind::HealthMonitor, id).ok());
        let monitor = monitor.map(|monitor| Value::Object(status(monitor, &["type"])));
        shown.insert("health_monitor".to_owned(), monitor.unwrap_or_default());
        Value::Object(shown)
    }
}

fn status(node: &Node, more: &[&str]) -> Object {
    let names = ["id", "name", "provisioning_status", "operating_status"];
    let shown = names.iter().chain(more);
    shown.map(|name| ((*name).to_owned(), node.object.get(*name).cloned().unwrap_or_default())).collect()
}
