//! What there is, and what is below what.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::fault::{Fault, Result};
use super::{Kind, Object, Octavia, text};
use crate::ids::time_without_zone;

/// An object, and its place.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// As it is shown, without what is derived from its place.
    pub(super) object: Object,
    /// Id of what it is in: the load balancer of a listener and a pool, the listener of a policy, the policy of a rule, the pool
    /// of a member and a health monitor.
    pub(super) parent: String,
    /// Listeners in a load balancer; those that have a pool as their default.
    pub(super) listeners: BTreeSet<String>,
    /// Pools in a load balancer.
    pub(super) pools: BTreeSet<String>,
    /// Policies of a listener, by position; those that redirect to a pool.
    pub(super) policies: Vec<String>,
    /// Rules of a policy.
    pub(super) rules: BTreeSet<String>,
    /// Members of a pool, by address and port.
    pub(super) members: BTreeMap<(String, u64), String>,
    /// Health monitor of a pool.
    pub(super) monitor: Option<String>,
}

impl Node {
    pub(super) fn text(&self, name: &str) -> &str {
        text(&self.object, name)
    }

    pub(super) fn status(&self) -> &str {
        self.text("provisioning_status")
    }

    pub(super) fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.object.insert(name.to_owned(), value.into());
    }

    /// Whether it is switched on.
    pub(super) fn enabled(&self) -> bool {
        self.object.get("admin_state_up") == Some(&Value::Bool(true))
    }
}

/// Address and port of a member.
pub(super) fn member_key(member: &Object) -> (String, u64) {
    let port = member.get("protocol_port").and_then(Value::as_u64).unwrap_or_default();
    (text(member, "address").to_owned(), port)
}

impl Octavia {
    pub(super) fn get(&self, kind: Kind, id: &str) -> Result<&Node> {
        let found = self.nodes.get(&kind).and_then(|all| all.get(id));
        found.ok_or_else(|| Fault::not_found(kind, id))
    }

    pub(super) fn get_mut(&mut self, kind: Kind, id: &str) -> Result<&mut Node> {
        let found = self.nodes.get_mut(&kind).and_then(|all| all.get_mut(id));
        found.ok_or_else(|| Fault::not_found(kind, id))
    }

    /// Nodes of a kind, by id.
    pub(super) fn all(&self, kind: Kind) -> impl Iterator<Item = &Node> {
        self.nodes.get(&kind).into_iter().flat_map(BTreeMap::values)
    }

    /// Stores a new object with what every new object has. Returns its id.
    pub(super) fn insert(&mut self, kind: Kind, parent: &str, mut object: Object) -> String {
        let id = self.ids.next();
        let operating = if kind == Kind::Member { self.member_status(parent) } else { "OFFLINE" };
        object.insert("id".to_owned(), json!(id));
        object.insert("provisioning_status".to_owned(), json!("PENDING_CREATE"));
        object.insert("operating_status".to_owned(), json!(operating));
        object.insert("created_at".to_owned(), json!(time_without_zone()));
        object.insert("updated_at".to_owned(), Value::Null);
        self.link(kind, &id, parent, &object);
        let node = Node { object, parent: parent.to_owned(), ..Node::default() };
        self.nodes.entry(kind).or_default().insert(id.clone(), node);
        id
    }

    /// What a new member is: watched by a health monitor, or not.
    fn member_status(&self, pool: &str) -> &'static str {
        let watched = self.get(Kind::Pool, pool).is_ok_and(|pool| pool.monitor.is_some());
        if watched { "OFFLINE" } else { "NO_MONITOR" }
    }

    /// Tells what an object is below, and what it refers to, that it is there.
    fn link(&mut self, kind: Kind, id: &str, parent: &str, object: &Object) {
        let id = id.to_owned();
        match kind {
            Kind::LoadBalancer => {}
            Kind::Listener => {
                self.edit(Kind::LoadBalancer, parent, |above| above.listeners.insert(id.clone()));
                let pool = text(object, "default_pool_id").to_owned();
                self.edit(Kind::Pool, &pool, |pool| pool.listeners.insert(id));
            }
            Kind::Pool => self.edit(Kind::LoadBalancer, parent, |above| above.pools.insert(id)),
            Kind::L7Policy => {
                self.edit(Kind::Listener, parent, |above| above.policies.push(id.clone()));
                let pool = text(object, "redirect_pool_id").to_owned();
                self.edit(Kind::Pool, &pool, |pool| pool.policies.push(id));
            }
            Kind::L7Rule => self.edit(Kind::L7Policy, parent, |above| above.rules.insert(id)),
            Kind::Member => {
                let key = member_key(object);
                self.edit(Kind::Pool, parent, |above| above.members.insert(key, id));
            }
            Kind::HealthMonitor => self.edit(Kind::Pool, parent, |above| above.monitor = Some(id)),
        }
    }

    /// Changes a node, if it is there.
    pub(super) fn edit<T>(&mut self, kind: Kind, id: &str, change: impl FnOnce(&mut Node) -> T) {
        if let Some(node) = self.nodes.get_mut(&kind).and_then(|all| all.get_mut(id)) {
            change(node);
        }
    }

    /// Has a listener another default pool, or a policy another pool that it redirects to.
    pub(super) fn relink(&mut self, kind: Kind, id: &str, before: &str, after: &str) {
        let listener = kind == Kind::Listener;
        self.edit(Kind::Pool, before, |pool| match listener {
            true => _ = pool.listeners.remove(id),
            false => pool.policies.retain(|policy| policy != id),
        });
        self.edit(Kind::Pool, after, |pool| match listener {
            true => _ = pool.listeners.insert(id.to_owned()),
            false if pool.policies.iter().any(|policy| policy == id) => {}
            false => pool.policies.push(id.to_owned()),
        });
    }

    /// Takes an object away with all that is below it, and what refers to it loses it.
    pub(super) fn remove(&mut self, kind: Kind, id: &str) {
        let Some(node) = self.nodes.get_mut(&kind).and_then(|all| all.remove(id)) else { return };
        let (parent, key) = (node.parent.clone(), member_key(&node.object));
        match kind {
            Kind::LoadBalancer => {
                node.listeners.iter().for_each(|id| self.remove(Kind::Listener, id));
                node.pools.iter().for_each(|id| self.remove(Kind::Pool, id));
            }
            Kind::Listener => {
                node.policies.iter().for_each(|id| self.remove(Kind::L7Policy, id));
                self.edit(Kind::LoadBalancer, &parent, |above| above.listeners.remove(id));
                self.edit(Kind::Pool, node.text("default_pool_id"), |pool| pool.listeners.remove(id));
            }
            Kind::Pool => {
                node.members.values().for_each(|id| self.remove(Kind::Member, id));
                node.monitor.iter().for_each(|id| self.remove(Kind::HealthMonitor, id));
                self.edit(Kind::LoadBalancer, &parent, |above| above.pools.remove(id));
                for listener in &node.listeners {
                    self.edit(Kind::Listener, listener, |user| user.set("default_pool_id", Value::Null));
                }
            }
            Kind::L7Policy => {
                node.rules.iter().for_each(|id| self.remove(Kind::L7Rule, id));
                self.edit(Kind::Pool, node.text("redirect_pool_id"), |pool| {
                    pool.policies.retain(|p| p != id)
                });
                let mut at = None;
                self.edit(Kind::Listener, &parent, |above| {
                    at = above.policies.iter().position(|policy| policy == id);
                    at.map(|at| above.policies.remove(at));
                });
                self.renumber(&parent, at.unwrap_or(usize::MAX));
            }
            Kind::L7Rule => self.edit(Kind::L7Policy, &parent, |above| above.rules.remove(id)),
            Kind::Member => self.edit(Kind::Pool, &parent, |above| above.members.remove(&key)),
            Kind::HealthMonitor => self.edit(Kind::Pool, &parent, |above| above.monitor = None),
        }
    }

    /// Puts a policy, which its listener has already, where it is asked for: positions are dense, and begin at 1.
    pub(super) fn place(&mut self, policy: &str, position: i64) {
        let Ok(listener) = self.get(Kind::L7Policy, policy).map(|node| node.parent.clone()) else { return };
        let mut changed = usize::MAX;
        self.edit(Kind::Listener, &listener, |above| {
            let Some(from) = above.policies.iter().position(|id| id == policy) else { return };
            let moved = above.policies.remove(from);
            let to = usize::try_from(position.max(1) - 1).unwrap_or(usize::MAX).min(above.policies.len());
            above.policies.insert(to, moved);
            changed = from.min(to);
        });
        self.renumber(&listener, changed);
    }

    /// Writes the positions of a listener's policies from `first` on.
    fn renumber(&mut self, listener: &str, first: usize) {
        let Some(above) = self.nodes.get(&Kind::Listener).and_then(|all| all.get(listener)) else { return };
        let moved: Vec<String> = above.policies.iter().skip(first).cloned().collect();
        for (at, policy) in moved.iter().enumerate() {
            self.edit(Kind::L7Policy, policy, |node| node.set("position", first + at + 1));
        }
    }

    /// Ids of the listeners that use a pool: as their default, or by a policy that is switched on and has rules.
    pub(super) fn listeners_of(&self, pool: &Node) -> Vec<String> {
        let mut all: Vec<String> = pool.listeners.iter().cloned().collect();
        let policies = pool.policies.iter().filter_map(|id| self.get(Kind::L7Policy, id).ok());
        for policy in policies.filter(|policy| policy.enabled() && !policy.rules.is_empty()) {
            if !all.contains(&policy.parent) {
                all.push(policy.parent.clone());
            }
        }
        all
    }
}
