//! Octavia: load balancers, listeners, pools, members, health monitors, L7 policies and rules; the status tree, providers,
//! quotas, tags, filters, pages. <https://docs.openstack.org/api-ref/load-balancer/v2/>
//!
//! A write makes a load balancer and what it touches `PENDING_*`, and after the provider's time (an option of the world) it is
//! done; meanwhile the load balancer refuses changes. Providers: `amphora` (default), `noop` and `ovn`, which refuses what
//! ovn-octavia-provider does. Nothing is forwarded: what is switched on is `ONLINE`, and a health monitor finds every member
//! `ONLINE`.
//!
//! Left out on purpose: certificates (there is no key manager: a reference cannot be retrieved), flavors and availability
//! zones (there are none), statistics, amphorae. With provider `ovn` the parts of a load balancer made in one POST are done after
//! the load balancer itself, as with the real one.

mod attributes;
mod balancer;
mod fault;
mod graph;
mod listener;
mod member;
mod monitor;
mod policy;
mod pool;
mod provider;
mod query;
mod quota;
mod rule;
mod shown;
mod state;
mod tree;
mod types;
pub(crate) mod versions;
mod vip;

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use crate::Options;
use crate::call::{Call, Caller, Reply};
use crate::faults::Ending;
use crate::ids::Ids;
use crate::neutron::Neutron;
use fault::{Fault, Result};
use query::Query;
use state::Job;
use tree::Node;

/// A resource as Octavia shows it.
type Object = Map<String, Value>;

/// A kind of resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    LoadBalancer,
    Listener,
    Pool,
    Member,
    HealthMonitor,
    L7Policy,
    L7Rule,
}

impl Kind {
    /// In messages.
    fn words(self) -> &'static str {
        match self {
            Self::LoadBalancer => "Load Balancer",
            Self::Listener => "Listener",
            Self::Pool => "Pool",
            Self::Member => "Member",
            Self::HealthMonitor => "Health Monitor",
            Self::L7Policy => "L7 Policy",
            Self::L7Rule => "L7 Rule",
        }
    }

    /// Key of one in a body.
    fn singular(self) -> &'static str {
        match self {
            Self::LoadBalancer => "loadbalancer",
            Self::Listener => "listener",
            Self::Pool => "pool",
            Self::Member => "member",
            Self::HealthMonitor => "healthmonitor",
            Self::L7Policy => "l7policy",
            Self::L7Rule => "rule",
        }
    }

    /// Key of several in a body, and in a path.
    fn plural(self) -> &'static str {
        match self {
            Self::LoadBalancer => "loadbalancers",
            Self::Listener => "listeners",
            Self::Pool => "pools",
            Self::Member => "members",
            Self::HealthMonitor => "healthmonitors",
            Self::L7Policy => "l7policies",
            Self::L7Rule => "rules",
        }
    }

    fn of_path(collection: &str) -> Option<Self> {
        let all = [Self::LoadBalancer, Self::Listener, Self::Pool, Self::HealthMonitor, Self::L7Policy];
        all.into_iter().find(|kind| kind.plural() == collection)
    }
}

/// The load-balancer service.
#[derive(Debug)]
pub(crate) struct Octavia {
    nodes: BTreeMap<Kind, BTreeMap<String, Node>>,
    ids: Ids,
    /// What the providers are at, by when they are done.
    due: BTreeMap<(Duration, u64), Job>,
    jobs: u64,
    latency: Duration,
    /// Minor version of the API.
    minor: u32,
    noop_lacks: Vec<&'static str>,
    /// Of the request that is being answered.
    now: Duration,
    ending: Ending,
    /// By project, and name of the quota.
    quotas: BTreeMap<String, BTreeMap<&'static str, i64>>,
}

impl Octavia {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            nodes: BTreeMap::new(),
            ids: Ids::new(0x1b),
            due: BTreeMap::new(),
            jobs: 0,
            latency: options.provisioning,
            minor: options.load_balancer_minor,
            noop_lacks: options.noop_lacks.clone(),
            now: Duration::ZERO,
            ending: Ending::Active,
            quotas: BTreeMap::new(),
        }
    }

    /// Does what is asked for. `ending`: how the provider's work on it ends.
    pub(crate) fn call(&mut self, call: &Call<'_>, neutron: &mut Neutron, ending: Ending) -> Reply {
        self.ending = ending;
        let answer = versions::check(call, self.minor).and_then(|()| self.answer(call, neutron));
        answer.map_or_else(|fault| fault.reply(), |reply| versions::cut(reply, self.minor))
    }

    fn answer(&mut self, call: &Call<'_>, neutron: &mut Neutron) -> Result<Reply> {
        let segments = call.segments();
        // `v2.0` is what the openstack client says, and `/v2/loadbalancers` is an old alias.
        let rest = match segments.as_slice() {
            ["v2" | "v2.0", "lbaas", rest @ ..] => rest,
            _ => return Err(not_modelled(call)),
        };
        match (call.method.as_str(), rest) {
            (_, ["pools", pool, "members", rest @ ..]) => self.members(call, pool, rest, neutron),
            (_, ["l7policies", policy, "rules", rest @ ..]) => self.rules(call, policy, rest),
            ("GET", ["providers"]) => Ok(Reply::ok(provider::shown())),
            ("GET", ["flavors"]) => Ok(Reply::ok(json!({"flavors": [], "flavors_links": []}))),
            ("GET", ["availabilityzones"]) => {
                Ok(Reply::ok(json!({"availability_zones": [], "availability_zones_links": []})))
            }
            ("GET", ["flavors", id]) => {
                Err(Fault::new(StatusCode::NOT_FOUND, format!("Flavor {id} not found.")))
            }
            (_, ["quotas", rest @ ..]) => self.quotas(call, rest),
            ("GET", ["loadbalancers", id, "status" | "statuses"]) => {
                let balancer = self.owned(Kind::LoadBalancer, id, &call.caller)?;
                Ok(Reply::ok(self.status_tree(balancer)))
            }
            ("PUT", ["loadbalancers", id, "failover"]) => self.fail_over(call, id),
            ("GET", [collection]) => {
                let kind = Kind::of_path(collection).ok_or_else(|| not_modelled(call))?;
                self.list(call, kind, |_| true)
            }
            ("GET", [collection, id]) => {
                let kind = Kind::of_path(collection).ok_or_else(|| not_modelled(call))?;
                self.show(call, kind, id)
            }
            (method, [collection, rest @ ..]) => {
                let kind = Kind::of_path(collection).ok_or_else(|| not_modelled(call))?;
                self.write(call, method, kind, rest, neutron)
            }
            _ => Err(not_modelled(call)),
        }
    }

    fn write(
        &mut self,
        call: &Call<'_>,
        method: &str,
        kind: Kind,
        rest: &[&str],
        neutron: &mut Neutron,
    ) -> Result<Reply> {
        match (method, kind, rest) {
            ("POST", Kind::LoadBalancer, []) => self.create_balancer(call, neutron),
            ("PUT", Kind::LoadBalancer, [id]) => self.update_balancer(call, id, neutron),
            ("DELETE", Kind::LoadBalancer, [id]) => self.delete_balancer(call, id),
            ("POST", Kind::Listener, []) => self.create_listener(call),
            ("PUT", Kind::Listener, [id]) => self.update_listener(call, id),
            ("DELETE", Kind::Listener, [id]) => self.delete_listener(call, id),
            ("POST", Kind::Pool, []) => self.create_pool(call),
            ("PUT", Kind::Pool, [id]) => self.update_pool(call, id),
            ("DELETE", Kind::Pool, [id]) => self.delete_pool(call, id),
            ("POST", Kind::HealthMonitor, []) => self.create_monitor(call),
            ("PUT", Kind::HealthMonitor, [id]) => self.update_monitor(call, id),
            ("DELETE", Kind::HealthMonitor, [id]) => self.delete_monitor(call, id),
            ("POST", Kind::L7Policy, []) => self.create_policy(call),
            ("PUT", Kind::L7Policy, [id]) => self.update_policy(call, id),
            ("DELETE", Kind::L7Policy, [id]) => self.delete_policy(call, id),
            _ => Err(not_modelled(call)),
        }
    }

    /// An object that the caller may see and change.
    fn owned(&self, kind: Kind, id: &str, caller: &Caller) -> Result<&Node> {
        let node = self.get(kind, id)?;
        may(caller, node.text("project_id"))?;
        Ok(node)
    }

    fn show(&self, call: &Call<'_>, kind: Kind, id: &str) -> Result<Reply> {
        let node = self.owned(kind, id, &call.caller)?;
        let query = Query::parse(&call.query)?;
        Ok(Reply::ok(json!({kind.singular(): query.cut(self.shown(kind, node))})))
    }

    /// The nodes that are asked for, of those that are `within`.
    fn list(&self, call: &Call<'_>, kind: Kind, within: impl Fn(&Node) -> bool) -> Result<Reply> {
        let mut pairs = call.query.clone();
        let mut balancer = None;
        pairs.retain(|(key, value)| match key.as_str() {
            "loadbalancer_id" | "load_balancer_id" => {
                balancer = Some(value.clone());
                false
            }
            "pool_id" | "tenant_id" => false,
            _ => true,
        });
        let query = Query::parse(&pairs)?;
        if !call.caller.admin && call.queried("project_id").is_some_and(|p| p != call.caller.project) {
            return Err(Fault::forbidden());
        }
        let visible = |node: &&Node| {
            (call.caller.admin || node.text("project_id") == call.caller.project)
                && balancer.as_ref().is_none_or(|id| node.parent == *id)
                && call.queried("pool_id").is_none_or(|id| node.parent == id)
                && within(node)
                && query.matches(&node.object)
        };
        let matching = self.all(kind).filter(visible).map(|node| &node.object).collect();
        let page = query.page(matching)?;
        let links = query.links(call.path, &page);
        let ids = page.iter().map(|object| text(object, "id"));
        let nodes = ids.filter_map(|id| self.get(kind, id).ok());
        let shown: Value = nodes.map(|node| query.cut(self.shown(kind, node))).collect();
        let mut body = Object::new();
        body.insert(kind.plural().to_owned(), shown);
        body.insert(format!("{}_links", kind.plural()), links);
        Ok(Reply::ok(Value::Object(body)))
    }

    /// The answer to a write that made or changed something.
    fn written(&self, status: StatusCode, kind: Kind, id: &str) -> Result<Reply> {
        let shown = self.shown(kind, self.get(kind, id)?);
        Ok(Reply::new(status, json!({kind.singular(): shown})))
    }

    /// That a provider does not lack something altogether.
    fn must_have(&self, provider: &str, what: &str) -> Result<()> {
        match provider == "noop" && self.noop_lacks.contains(&what) {
            true => Err(Fault::not_at_all(provider, format_args!("it has no {what}"))),
            false => Ok(()),
        }
    }

    fn provider_of(&self, balancer: &str) -> Result<String> {
        Ok(self.get(Kind::LoadBalancer, balancer)?.text("provider").to_owned())
    }
}

/// Whether somebody may do something in a project.
fn may(caller: &Caller, project: &str) -> Result<()> {
    if caller.admin || caller.project == project { Ok(()) } else { Err(Fault::forbidden()) }
}

/// A new object of what is shown: what a request set, and null for the rest.
fn stored(input: &Object, names: &[&str]) -> Object {
    let mut object = Object::new();
    for name in names {
        object.insert((*name).to_owned(), input.get(*name).cloned().unwrap_or_default());
    }
    for name in ["name", "description"] {
        if object.get(name).is_some_and(Value::is_null) {
            object.insert(name.to_owned(), json!(""));
        }
    }
    if object.get("tags").is_some_and(Value::is_null) {
        object.insert("tags".to_owned(), json!([]));
    }
    object
}

/// What a PUT sets: as [`stored`], a null is what the attribute is without a value.
fn normalised(mut changes: Object) -> Object {
    for name in ["name", "description"] {
        if changes.get(name).is_some_and(Value::is_null) {
            changes.insert(name.to_owned(), json!(""));
        }
    }
    if changes.get("tags").is_some_and(Value::is_null) {
        changes.insert("tags".to_owned(), json!([]));
    }
    changes
}

/// A text attribute; empty if it is not set.
fn text<'a>(object: &'a Object, name: &str) -> &'a str {
    object.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// Whether an attribute is there and says something.
fn truthy(object: &Object, name: &str) -> bool {
    match object.get(name) {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(all)) => !all.is_empty(),
        Some(Value::Object(map)) => !map.is_empty(),
        Some(Value::Number(number)) => number.as_f64() != Some(0.0),
        Some(Value::Bool(true)) => true,
    }
}

fn not_modelled(call: &Call<'_>) -> Fault {
    Fault::not_modelled(format_args!("{} {}", call.method, call.path))
}

/// A refusal that no model made.
pub(crate) fn refuse(status: StatusCode, message: &str) -> Reply {
    Fault::new(status, message).reply()
}
