//! A load balancer that is made with all that is in it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::fault::{Fault, Result};
use super::{Kind, Object, Octavia, text};
use crate::neutron::Neutron;

/// More than a name and the switches that every pool has: it is defined here, not elsewhere.
const DEFINITION: usize = 3;
const NAMELESS: &str = "Pools must be named when creating a fully populated loadbalancer.";

impl Octavia {
    /// Makes pools, then the listeners, as `_graph_create` does.
    pub(super) fn create_graph(
        &mut self,
        balancer: &str,
        listeners: Vec<Value>,
        pools: Vec<Value>,
        neutron: &Neutron,
    ) -> Result<()> {
        let objects = |all: Vec<Value>| -> Vec<Object> {
            all.into_iter()
                .filter_map(|one| match one {
                    Value::Object(object) => Some(object),
                    _ => None,
                })
                .collect()
        };
        let (mut listeners, mut pools) = (objects(listeners), objects(pools));
        let mut needed = BTreeSet::new();
        for listener in &mut listeners {
            gather(listener, "default_pool", &mut pools, &mut needed)?;
            for policy in listener.get_mut("l7policies").and_then(Value::as_array_mut).into_iter().flatten() {
                if let Some(policy) = policy.as_object_mut() {
                    gather(policy, "redirect_pool", &mut pools, &mut needed)?;
                }
            }
        }
        let names: BTreeSet<&str> = pools.iter().map(|pool| text(pool, "name")).collect();
        if names.len() != pools.len() {
            let message = "Pool names must be unique when creating a fully populated loadbalancer.";
            return Err(Fault::validation(message));
        }
        if let Some(name) = needed.iter().find(|name| !names.contains(name.as_str())) {
            let message = format!("Pool '{name}' was referenced but no full definition was found.");
            return Err(Fault::validation(message));
        }
        let project = self.get(Kind::LoadBalancer, balancer)?.text("project_id").to_owned();
        self.check_quota(Kind::Pool, &project, pools.len())?;
        let mut ids = BTreeMap::new();
        for pool in pools {
            let name = text(&pool, "name").to_owned();
            for attribute in ["protocol", "lb_algorithm"] {
                if !pool.contains_key(attribute) {
                    let message =
                        format!("Pool definition for '{name}' missing required attribute: {attribute}");
                    return Err(Fault::validation(message));
                }
            }
            ids.insert(name, self.add_pool_with_parts(balancer, pool, neutron)?);
        }
        self.check_quota(Kind::Listener, &project, listeners.len())?;
        for mut listener in listeners {
            resolve(&mut listener, "default_pool", "default_pool_id", &ids);
            let policies = match listener.remove("l7policies") {
                Some(Value::Array(all)) => objects(all),
                _ => Vec::new(),
            };
            let id = self.add_listener(balancer, listener)?;
            for mut policy in policies {
                resolve(&mut policy, "redirect_pool", "redirect_pool_id", &ids);
                self.add_policy_with_rules(&id, policy)?;
            }
        }
        Ok(())
    }
}

/// Moves the pool that a listener or policy defines to the others, and leaves its name; of one that it only names the name is needed.
fn gather(
    user: &mut Object,
    key: &str,
    pools: &mut Vec<Object>,
    needed: &mut BTreeSet<String>,
) -> Result<()> {
    let Some(Value::Object(pool)) = user.get(key) else { return Ok(()) };
    let name = text(pool, "name").to_owned();
    if name.is_empty() {
        return Err(Fault::validation(NAMELESS));
    }
    if pool.len() > DEFINITION {
        pools.push(pool.clone());
    } else {
        needed.insert(name.clone());
    }
    user.insert(key.to_owned(), json!({"name": name}));
    Ok(())
}

/// Puts the id of a pool in place of its name.
fn resolve(user: &mut Object, key: &str, id_key: &str, ids: &BTreeMap<String, String>) {
    let pool = user.remove(key);
    let name = pool.as_ref().and_then(|pool| pool.get("name")).and_then(Value::as_str);
    if let Some(id) = name.and_then(|name| ids.get(name)) {
        user.insert(id_key.to_owned(), json!(id));
    }
}
