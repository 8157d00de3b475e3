//! Neutron with ML2/OVN: networks, subnets, ports, security groups and rules, address groups, routers, floating IPs, trunks,
//! subnet pools; tags, revisions, filters, pages, quotas, addresses. <https://docs.openstack.org/api-ref/network/v2/>, with the
//! extensions that `GET /v2.0/extensions` lists.
//!
//! Left out on purpose: agents, QoS, DNS, RBAC, segments and provider networks, port forwarding, SLAAC addresses, metering. A
//! port is `ACTIVE` once it is plugged (`World::plug`, or an option of the world).

mod access;
mod address_group;
mod attributes;
mod dns;
mod fault;
mod fixed_ip;
mod floating_ip;
mod group;
mod network;
mod pool;
mod port;
mod query;
mod quota;
mod router;
mod rule;
mod shown;
mod store;
mod subnet;
mod subnet_pool;
mod tags;
mod trunk;
mod valid;

use std::collections::{BTreeMap, HashMap};

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use crate::call::{Call, Caller, Reply};
use crate::ids::Ids;
pub(crate) use access::sees;
pub(crate) use fault::Fault;
use fault::Result;
use pool::Pool;
use query::Query;
use store::Index;

/// Extensions that are modelled, by alias.
const EXTENSIONS: &[&str] = &[
    "address-group",
    "allowed-address-pairs",
    "binding",
    "empty-string-filtering",
    "external-net",
    "extraroute",
    "filter-validation",
    "fip-port-details",
    "net-mtu",
    "net-mtu-writable",
    "pagination",
    "port-mac-address-regenerate",
    "port-security",
    "project-id",
    "quota_details",
    "quotas",
    "revision-if-match",
    "router",
    "security-group",
    "security-groups-normalized-cidr",
    "security-groups-remote-address-group",
    "sorting",
    "standard-attr-description",
    "standard-attr-revisions",
    "standard-attr-tag",
    "standard-attr-timestamp",
    "stateful-security-group",
    "subnet_allocation",
    "tag-creation",
    "tag-ports-during-bulk-creation",
    "trunk",
    "trunk-details",
];

/// A resource as Neutron stores it.
type Object = Map<String, Value>;

/// A kind of resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A network.
    Network,
    /// A subnet of a network.
    Subnet,
    /// A port.
    Port,
    /// A security group.
    SecurityGroup,
    /// A rule of a security group.
    SecurityGroupRule,
    /// An address group.
    AddressGroup,
    /// A router.
    Router,
    /// A floating IP.
    FloatingIp,
    /// A trunk.
    Trunk,
    /// A subnet pool.
    SubnetPool,
}

impl Kind {
    const ALL: [Self; 10] = [
        Self::Network,
        Self::Subnet,
        Self::Port,
        Self::SecurityGroup,
        Self::SecurityGroupRule,
        Self::AddressGroup,
        Self::Router,
        Self::FloatingIp,
        Self::Trunk,
        Self::SubnetPool,
    ];

    /// Key of one in a body, and its name among the quotas.
    fn singular(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Subnet => "subnet",
            Self::Port => "port",
            Self::SecurityGroup => "security_group",
            Self::SecurityGroupRule => "security_group_rule",
            Self::AddressGroup => "address_group",
            Self::Router => "router",
            Self::FloatingIp => "floatingip",
            Self::Trunk => "trunk",
            Self::SubnetPool => "subnetpool",
        }
    }

    /// Key of several in a body. In a path its underscores are dashes.
    fn plural(self) -> String {
        format!("{}s", self.singular())
    }

    fn of_path(collection: &str) -> Option<Self> {
        let singular = collection.strip_suffix('s')?.replace('-', "_");
        Self::ALL.into_iter().find(|kind| kind.singular() == singular)
    }

    /// Whether its objects have tags.
    fn tagged(self) -> bool {
        !matches!(self, Self::AddressGroup)
    }
}

/// What is in the cloud.
#[derive(Debug)]
pub(crate) struct Neutron {
    objects: BTreeMap<Kind, BTreeMap<String, Object>>,
    index: Index,
    /// By subnet.
    pools: HashMap<String, Pool>,
    quotas: HashMap<(String, String), i64>,
    ids: Ids,
    /// Whether a port that is bound is plugged at once.
    plugs: bool,
    /// Whether ports have names in DNS.
    names: bool,
}

impl Neutron {
    /// Nothing. A project's default security group is made at its first question. `plugs`: whether a port that is bound to a host
    /// is plugged at once; `names`: whether ports have names in DNS.
    pub(crate) fn new(plugs: bool, names: bool) -> Self {
        Self {
            objects: BTreeMap::new(),
            index: Index::default(),
            pools: HashMap::new(),
            quotas: HashMap::new(),
            ids: Ids::new(0x0e),
            plugs,
            names,
        }
    }

    pub(crate) fn set_quota(&mut self, project: &str, kind: Kind, limit: i64) {
        self.quotas.insert((project.to_owned(), kind.singular().to_owned()), limit);
    }

    pub(crate) fn count(&self, kind: Kind) -> usize {
        self.objects.get(&kind).map_or(0, BTreeMap::len)
    }

    /// An object, whosoever it is.
    pub(crate) fn find(&self, kind: Kind, id: &str) -> Option<&Object> {
        self.objects.get(&kind).and_then(|all| all.get(id))
    }

    /// Makes a port for another service: what it says of its project and owner counts.
    pub(crate) fn make_port(&mut self, asked: &Value) -> std::result::Result<Object, Reply> {
        let service = Caller { user: String::new(), project: String::new(), admin: true, service: true };
        let made = self.create_one(Kind::Port, asked, &service).map_err(|fault| fault.reply())?;
        Ok(self.find(Kind::Port, &made).cloned().unwrap_or_default())
    }

    /// Deletes a port for another service.
    pub(crate) fn drop_port(&mut self, id: &str) {
        // One that is gone already is what is asked for.
        let _gone = self.free_port(id);
        self.remove(Kind::Port, id);
    }

    /// Does what is asked for.
    pub(crate) fn call(&mut self, call: &Call<'_>) -> Reply {
        self.ensure_default_group(&call.caller.project);
        self.answer(call).unwrap_or_else(|fault| fault.reply())
    }

    fn answer(&mut self, call: &Call<'_>) -> Result<Reply> {
        let segments = call.segments();
        let Some((&"v2.0", rest)) = segments.split_first() else { return Err(not_modelled(call)) };
        match (call.method.as_str(), rest) {
            ("GET", ["extensions"]) => Ok(Reply::ok(self.extensions())),
            ("GET", ["extensions", alias]) => self.extension(alias),
            (_, ["quotas", rest @ ..]) => self.quotas(call, rest),
            (_, [collection, rest @ ..]) => match Kind::of_path(collection) {
                Some(kind) => self.resource(call, kind, rest),
                None => Err(not_modelled(call)),
            },
            _ => Err(not_modelled(call)),
        }
    }

    fn aliases(&self) -> impl Iterator<Item = &'static str> {
        EXTENSIONS.iter().copied().chain(self.names.then_some(dns::ALIAS))
    }

    fn extensions(&self) -> Value {
        json!({"extensions": self.aliases().map(described).collect::<Vec<_>>()})
    }

    fn extension(&self, alias: &str) -> Result<Reply> {
        match self.aliases().any(|known| known == alias) {
            true => Ok(Reply::ok(json!({"extension": described(alias)}))),
            false => {
                let message = format!("Extension with alias {alias} does not exist");
                Err(Fault::missing("HTTPNotFound", message))
            }
        }
    }

    fn resource(&mut self, call: &Call<'_>, kind: Kind, rest: &[&str]) -> Result<Reply> {
        match (call.method.as_str(), rest) {
            ("GET", []) => self.list(kind, call),
            ("POST", []) => self.create(kind, call),
            ("GET", [id]) => {
                let query = Query::parse(kind, &call.query)?;
                let object = self.visible(kind, id, &call.caller)?;
                let shown = query.shown(kind, self.shown(kind, object, &call.caller));
                Ok(Reply::ok(json!({kind.singular(): shown})))
            }
            ("PUT", [id]) => self.update(kind, id, call),
            ("DELETE", [id]) => {
                self.writable(kind, id, &call.caller, "delete")?;
                self.guard(kind, id, call.revision)?;
                self.free(kind, id)?;
                self.remove(kind, id);
                Ok(Reply::empty())
            }
            (_, [id, "tags", rest @ ..]) if kind.tagged() => self.tags(call, kind, id, rest),
            ("PUT", [id, action]) => self.act(call, kind, id, action),
            ("GET", [id, "get_subports"]) if kind == Kind::Trunk => {
                let trunk = self.visible(kind, id, &call.caller)?;
                Ok(Reply::ok(json!({"sub_ports": trunk.get("sub_ports")})))
            }
            _ => Err(not_modelled(call)),
        }
    }

    fn act(&mut self, call: &Call<'_>, kind: Kind, id: &str, action: &str) -> Result<Reply> {
        self.writable(kind, id, &call.caller, action)?;
        match (kind, action) {
            (Kind::Router, "add_router_interface") => self.add_interface(id, call),
            (Kind::Router, "remove_router_interface") => self.remove_interface(id, call),
            (Kind::Trunk, "add_subports") => self.add_subports(id, call),
            (Kind::Trunk, "remove_subports") => self.remove_subports(id, call),
            (Kind::AddressGroup, "add_addresses") => self.add_addresses(id, call),
            (Kind::AddressGroup, "remove_addresses") => self.remove_addresses(id, call),
            _ => Err(not_modelled(call)),
        }
    }

    fn list(&self, kind: Kind, call: &Call<'_>) -> Result<Reply> {
        let query = Query::parse(kind, &call.query)?;
        let asked = |object: &&Object| query.matches(object) && self.shows(kind, object, &call.caller);
        let page = query.page(kind, self.all(kind).filter(asked).collect())?;
        let shown: Value =
            page.iter().map(|object| query.shown(kind, self.listed(kind, object, &call.caller))).collect();
        let mut body = Object::new();
        body.insert(kind.plural(), shown);
        if let Some(links) = query.links(call.path, &page) {
            body.insert(format!("{}_links", kind.plural()), links);
        }
        Ok(Reply::ok(Value::Object(body)))
    }

    fn create(&mut self, kind: Kind, call: &Call<'_>) -> Result<Reply> {
        if let Some(all) = call.body.get(kind.plural()).and_then(Value::as_array) {
            return self.create_all(kind, all, call);
        }
        let asked = part(&call.body, kind.singular())?;
        let id = self.create_one(kind, asked, &call.caller)?;
        let made = self.get(kind, &id)?;
        let shown = self.made(kind, made, &call.caller);
        Ok(Reply::new(StatusCode::CREATED, json!({kind.singular(): shown})))
    }

    /// Several at once: all or none.
    fn create_all(&mut self, kind: Kind, all: &[Value], call: &Call<'_>) -> Result<Reply> {
        let mut ids: Vec<String> = Vec::new();
        for asked in all {
            match self.create_one(kind, asked, &call.caller) {
                Ok(id) => ids.push(id),
                Err(refused) => {
                    for id in ids {
                        self.free(kind, &id)?;
                        self.remove(kind, &id);
                    }
                    return Err(refused);
                }
            }
        }
        let made = ids.iter().filter_map(|id| self.find(kind, id));
        let shown: Value = made.map(|object| Value::Object(self.made(kind, object, &call.caller))).collect();
        Ok(Reply::new(StatusCode::CREATED, json!({kind.plural(): shown})))
    }

    fn create_one(&mut self, kind: Kind, asked: &Value, caller: &Caller) -> Result<String> {
        let Some(asked) = asked.as_object() else {
            return Err(Fault::bad_request(format!("Object '{}' contains invalid data", kind.singular())));
        };
        let project = owner(kind, asked, caller)?;
        let (asked, name) = self.dns_name(kind, asked)?;
        let mut object = attributes::create(kind, &asked, caller)?;
        object.extend(name);
        object.remove("tenant_id");
        object.insert("project_id".to_owned(), json!(project));
        if kind.tagged() && kind != Kind::Port {
            object.insert("tags".to_owned(), json!([]));
        }
        self.check_quota(kind, &project)?;
        if matches!(kind, Kind::Network | Kind::SecurityGroup) {
            self.ensure_default_group(&project);
        }
        match kind {
            Kind::Network => Ok(self.new_network(object)),
            Kind::Subnet => self.new_subnet(object, caller),
            Kind::Port => self.new_port(object, caller),
            Kind::SecurityGroup => Ok(self.new_group(object)),
            Kind::SecurityGroupRule => self.new_rule(object, caller),
            Kind::AddressGroup => self.new_address_group(object),
            Kind::Router => self.new_router(object, caller),
            Kind::FloatingIp => self.new_floating_ip(object, caller),
            Kind::Trunk => self.new_trunk(object, caller),
            Kind::SubnetPool => self.new_subnet_pool(object),
        }
    }

    fn update(&mut self, kind: Kind, id: &str, call: &Call<'_>) -> Result<Reply> {
        let asked = part(&call.body, kind.singular())?;
        let Some(asked) = asked.as_object() else {
            return Err(Fault::bad_request(format!("Object '{}' contains invalid data", kind.singular())));
        };
        let (asked, name) = self.dns_name(kind, asked)?;
        let mut changes = attributes::update(kind, &asked)?;
        self.writable(kind, id, &call.caller, "update")?;
        attributes::may_change(kind, &changes, &call.caller)?;
        changes.extend(name);
        self.guard(kind, id, call.revision)?;
        match kind {
            Kind::Port => self.change_port(id, changes)?,
            Kind::Subnet => self.change_subnet(id, changes)?,
            Kind::Router => self.change_router(id, changes, &call.caller)?,
            Kind::FloatingIp => self.change_floating_ip(id, changes, &call.caller)?,
            Kind::SecurityGroup => self.change_group(id, changes)?,
            _ => self.change(kind, id, changes)?,
        }
        let shown = self.shown(kind, self.get(kind, id)?, &call.caller);
        Ok(Reply::ok(json!({kind.singular(): shown})))
    }

    /// Gives back what an object has, unless it is in use.
    fn free(&mut self, kind: Kind, id: &str) -> Result<()> {
        match kind {
            Kind::Network => self.free_network(id),
            Kind::Subnet => self.free_subnet(id),
            Kind::Port => self.free_port_of_user(id),
            Kind::SecurityGroup => self.free_group(id),
            Kind::AddressGroup => self.free_address_group(id),
            Kind::Router => self.free_router(id),
            Kind::FloatingIp => self.free_floating_ip(id),
            Kind::Trunk => self.free_trunk(id),
            Kind::SubnetPool => self.free_subnet_pool(id),
            Kind::SecurityGroupRule => Ok(()),
        }
    }

    fn guard(&self, kind: Kind, id: &str, revision: Option<u64>) -> Result<()> {
        let current = self.get(kind, id)?.get("revision_number").and_then(Value::as_u64).unwrap_or_default();
        match revision {
            Some(expected) if current != expected => Err(Fault::revision(expected, current)),
            _ => Ok(()),
        }
    }
}

/// Whose a new object is to be.
fn owner(kind: Kind, asked: &Object, caller: &Caller) -> Result<String> {
    let named = ["project_id", "tenant_id"].iter().find_map(|name| asked.get(*name).and_then(Value::as_str));
    match named {
        Some(other) if other != caller.project && !caller.admin => {
            if caller.service {
                return Err(Fault::forbidden(format_args!("rule:create_{}", kind.singular())));
            }
            let message = "Specifying 'project_id' other than the authenticated project in request is not allowed for the current user.";
            Err(Fault::bad_request(message))
        }
        Some(project) => Ok(project.to_owned()),
        None => Ok(caller.project.clone()),
    }
}

fn described(alias: &str) -> Value {
    json!({"alias": alias, "name": alias, "description": "", "updated": "2020-01-01T00:00:00-00:00", "links": []})
}

/// What a body has under `key`.
fn part<'a>(body: &'a Value, key: &str) -> Result<&'a Value> {
    let part = body.get(key);
    part.ok_or_else(|| Fault::bad_request(format!("Unable to find '{key}' in request body")))
}

/// A text attribute; empty if it is not set.
fn text<'a>(object: &'a Object, name: &str) -> &'a str {
    object.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn is_true(object: &Object, name: &str) -> bool {
    object.get(name) == Some(&Value::Bool(true))
}

fn not_modelled(call: &Call<'_>) -> Fault {
    Fault::not_modelled(format_args!("{} {}", call.method, call.path))
}

/// A refusal that no model made.
pub(crate) fn refuse(status: StatusCode, message: &str) -> Reply {
    Fault::other(status, message).reply()
}

/// The documents that say which versions there are: they need no token.
pub(crate) fn versions(url: &str, path: &str) -> Option<Reply> {
    let v2 = json!({"id": "v2.0", "status": "CURRENT", "links": [{"rel": "self", "href": format!("{url}/network/v2.0/")}]});
    match path {
        "" => Some(Reply::ok(json!({"versions": [v2]}))),
        _ => None,
    }
}
