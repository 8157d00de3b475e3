//! Neutron, as far as Pods need it: networks, subnets, ports, security groups and their rules; tags, revisions, filters,
//! pages, quotas, addresses.
//!
//! Modelled: <https://docs.openstack.org/api-ref/network/v2/>, with the extensions that `GET /v2.0/extensions` lists.
//! Left out on purpose: a port never becomes `ACTIVE` (nobody plugs it), a change of a port or subnet does not raise its
//! network's revision, and the credential may do everything in its project and see no other.

mod attributes;
mod fault;
mod group;
mod network;
mod pool;
mod port;
mod query;

use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use crate::call::{Call, Caller, Reply};
use crate::ids::{Ids, time};
pub(crate) use fault::Fault;
use fault::Result;
use pool::Pool;
use query::Query;

/// Extensions that are modelled, by alias.
const EXTENSIONS: &[&str] = &[
    "allowed-address-pairs",
    "binding",
    "pagination",
    "port-security",
    "quota_details",
    "quotas",
    "revision-if-match",
    "security-group",
    "sorting",
    "standard-attr-description",
    "standard-attr-revisions",
    "standard-attr-tag",
    "standard-attr-timestamp",
    "stateful-security-group",
    "tag-creation",
    "tag-ports-during-bulk-creation",
];

/// Most characters of a tag.
const LONGEST_TAG: usize = 255;

/// A resource as Neutron stores it.
type Object = Map<String, Value>;

/// A kind of resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
}

impl Kind {
    const ALL: [Self; 5] =
        [Self::Network, Self::Subnet, Self::Port, Self::SecurityGroup, Self::SecurityGroupRule];

    /// Key of one in a body, and its name among the quotas.
    fn singular(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Subnet => "subnet",
            Self::Port => "port",
            Self::SecurityGroup => "security_group",
            Self::SecurityGroupRule => "security_group_rule",
        }
    }

    /// Key of several in a body. In a path its underscores are dashes.
    fn plural(self) -> String {
        format!("{}s", self.singular())
    }

    fn of_path(collection: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.plural().replace('_', "-") == collection)
    }
}

/// What is in the cloud.
#[derive(Debug)]
pub(crate) struct Neutron {
    objects: BTreeMap<Kind, BTreeMap<String, Object>>,
    /// By subnet.
    pools: BTreeMap<String, Pool>,
    quotas: BTreeMap<(String, Kind), i64>,
    ids: Ids,
    /// Whether a port that is bound is plugged at once.
    plugs: bool,
}

type Answer = Result<(StatusCode, Value)>;

impl Neutron {
    /// Nothing but the default security group of each project, which Neutron makes at the first question. `plugs`: whether a port
    /// that is bound to a host is plugged at once.
    pub(crate) fn new(projects: &[&str], plugs: bool) -> Self {
        let mut neutron = Self {
            objects: BTreeMap::new(),
            pools: BTreeMap::new(),
            quotas: BTreeMap::new(),
            ids: Ids::new(0x0e),
            plugs,
        };
        projects.iter().for_each(|project| neutron.make_default_group(project));
        neutron
    }

    pub(crate) fn set_quota(&mut self, project: &str, kind: Kind, limit: i64) {
        self.quotas.insert((project.to_owned(), kind), limit);
    }

    /// An object, whosoever it is.
    pub(crate) fn find(&self, kind: Kind, id: &str) -> Option<&Object> {
        self.objects.get(&kind).and_then(|all| all.get(id))
    }

    /// Makes a port for another service: what it says of its project and owner counts.
    pub(crate) fn make_port(&mut self, asked: &Value) -> std::result::Result<Object, Reply> {
        let service = Caller { user: String::new(), project: String::new(), admin: true, service: true };
        let made =
            self.create(Kind::Port, &json!({"port": asked}), &service).map_err(|fault| fault.reply())?;
        Ok(made.get("port").and_then(Value::as_object).cloned().unwrap_or_default())
    }

    /// Deletes a port for another service.
    pub(crate) fn drop_port(&mut self, id: &str) {
        if self.free_port(id).is_ok() {
            self.remove(Kind::Port, id);
        }
    }

    /// Ids of the subnets of a network.
    pub(crate) fn subnets(&self, network: &str) -> Vec<String> {
        self.subnets_of(network)
    }

    /// Whether an address is in a subnet's prefix.
    pub(crate) fn subnet_holds(&self, subnet: &str, address: &str) -> bool {
        address.parse().is_ok_and(|address| self.pools.get(subnet).is_some_and(|pool| pool.contains(address)))
    }

    /// Version of IP of a subnet.
    pub(crate) fn subnet_version(&self, subnet: &str) -> Option<u8> {
        self.pools.get(subnet).map(|pool| if pool.is_v6() { 6 } else { 4 })
    }

    /// Has the host that a port is bound to plug it.
    pub(crate) fn plug(&mut self, id: &str) -> bool {
        match self.get_mut(Kind::Port, id) {
            Ok(port) if !text(port, "binding:host_id").is_empty() => {
                port.insert("status".to_owned(), json!("ACTIVE"));
                touch(port);
                true
            }
            _ => false,
        }
    }

    pub(crate) fn count(&self, kind: Kind) -> usize {
        self.all(kind).count()
    }

    /// Does what is asked for.
    pub(crate) fn call(&mut self, call: &Call<'_>) -> Reply {
        match self.answer(call) {
            Ok((status, body)) => Reply::new(status, body),
            Err(fault) => fault.reply(),
        }
    }

    fn answer(&mut self, call: &Call<'_>) -> Answer {
        let path = call.path.strip_prefix("/v2.0/").unwrap_or(call.path);
        let segments: Vec<&str> = path.split('/').collect();
        let kind = segments.first().and_then(|first| Kind::of_path(first));
        let (status, body) = match (call.method.as_str(), kind, segments.as_slice()) {
            ("GET", None, ["extensions"]) => (StatusCode::OK, extensions()),
            ("GET", None, ["quotas", project, "details"]) if *project == call.caller.project => {
                (StatusCode::OK, self.quota_details(project))
            }
            ("GET", Some(kind), [collection]) => (StatusCode::OK, self.list(kind, collection, call)?),
            ("POST", Some(kind), [_]) => (StatusCode::CREATED, self.create(kind, &call.body, &call.caller)?),
            ("GET", Some(kind), [_, id]) => (
                StatusCode::OK,
                json!({kind.singular(): self.shown(kind, self.visible(kind, id, &call.caller)?)}),
            ),
            ("PUT", Some(kind), [_, id]) => (StatusCode::OK, self.update(kind, id, call)?),
            ("DELETE", Some(kind), [_, id]) => {
                self.visible(kind, id, &call.caller)?;
                self.guard(kind, id, call.revision)?;
                self.delete(kind, id)?;
                (StatusCode::NO_CONTENT, Value::Null)
            }
            // Rules are the one kind here without tags.
            ("PUT", Some(kind), [_, id, "tags"]) if kind != Kind::SecurityGroupRule => {
                self.visible(kind, id, &call.caller)?;
                (StatusCode::OK, self.set_tags(kind, id, &call.body)?)
            }
            _ => return Err(Fault::not_modelled(format_args!("{} {}", call.method, call.path))),
        };
        Ok((status, body))
    }

    fn all(&self, kind: Kind) -> impl Iterator<Item = &Object> {
        self.objects.get(&kind).into_iter().flat_map(BTreeMap::values)
    }

    fn get(&self, kind: Kind, id: &str) -> Result<&Object> {
        self.objects.get(&kind).and_then(|all| all.get(id)).ok_or_else(|| Fault::not_found(kind, id))
    }

    fn get_mut(&mut self, kind: Kind, id: &str) -> Result<&mut Object> {
        let found = self.objects.get_mut(&kind).and_then(|all| all.get_mut(id));
        found.ok_or_else(|| Fault::not_found(kind, id))
    }

    /// An object that the caller may know of.
    fn visible(&self, kind: Kind, id: &str, caller: &Caller) -> Result<&Object> {
        let found = self.get(kind, id)?;
        if sees(caller, found) { Ok(found) } else { Err(Fault::not_found(kind, id)) }
    }

    fn used(&self, project: &str, kind: Kind) -> usize {
        self.all(kind).filter(|object| text(object, "project_id") == project).count()
    }

    fn guard(&self, kind: Kind, id: &str, revision: Option<u64>) -> Result<()> {
        let current = self.get(kind, id)?.get("revision_number").and_then(Value::as_u64);
        match revision {
            Some(expected) if current != Some(expected) => Err(Fault::revision(expected)),
            _ => Ok(()),
        }
    }

    fn list(&self, kind: Kind, collection: &str, call: &Call<'_>) -> Result<Value> {
        let query = Query::parse(&call.query)?;
        let asked = |object: &&Object| sees(&call.caller, object) && query.matches(object);
        let matching = self.all(kind).filter(asked).collect();
        let (page, full) = query.page(kind, matching)?;
        let shown: Vec<Value> = page.iter().map(|o| query.shown(self.shown(kind, o))).collect();
        let mut body = json!({kind.plural(): shown});
        if let (true, Some(object)) = (full, body.as_object_mut()) {
            object.insert(format!("{}_links", kind.plural()), Query::links(collection, &page));
        }
        Ok(body)
    }

    fn create(&mut self, kind: Kind, body: &Value, caller: &Caller) -> Result<Value> {
        if body.get(kind.plural()).is_some() {
            return Err(Fault::not_modelled(format_args!(
                "the creation of several {} at once",
                kind.plural()
            )));
        }
        let asked = part(body, kind.singular())?;
        if kind == Kind::Subnet && asked.get("gateway_ip").is_some_and(Value::is_null) {
            return Err(Fault::not_modelled("a subnet without a gateway"));
        }
        let mut object = attributes::create(kind, asked)?;
        match text(&object, "project_id") {
            "" => drop(object.insert("project_id".to_owned(), json!(caller.project))),
            project if caller.admin || project == caller.project => {}
            project => return Err(Fault::not_modelled(format_args!("the project {project}"))),
        }
        if kind != Kind::SecurityGroupRule {
            object.insert("tags".to_owned(), tags(asked.get("tags").unwrap_or(&json!([])))?);
        }
        let project = text(&object, "project_id").to_owned();
        let limit = self.quotas.get(&(project.clone(), kind)).copied().filter(|limit| *limit >= 0);
        if limit
            .is_some_and(|limit| self.used(&project, kind) >= usize::try_from(limit).unwrap_or(usize::MAX))
        {
            return Err(Fault::over_quota(kind));
        }
        let id = match kind {
            Kind::Network => self.new_network(object),
            Kind::Subnet => self.new_subnet(object)?,
            Kind::Port => self.new_port(object)?,
            Kind::SecurityGroup => self.new_group(object)?,
            Kind::SecurityGroupRule => self.new_rule(object)?,
        };
        let made = self.get(kind, &id)?;
        Ok(json!({kind.singular(): self.shown(kind, made)}))
    }

    fn update(&mut self, kind: Kind, id: &str, call: &Call<'_>) -> Result<Value> {
        self.visible(kind, id, &call.caller)?;
        self.guard(kind, id, call.revision)?;
        let mut changes = attributes::update(kind, part(&call.body, kind.singular())?)?;
        match kind {
            Kind::Port => self.change_port(id, &mut changes)?,
            Kind::Subnet if changes.contains_key("gateway_ip") => {
                return Err(Fault::not_modelled("a change of a subnet's gateway_ip"));
            }
            _ => {}
        }
        let object = self.get_mut(kind, id)?;
        object.extend(changes);
        touch(object);
        Ok(json!({kind.singular(): self.shown(kind, self.get(kind, id)?)}))
    }

    fn delete(&mut self, kind: Kind, id: &str) -> Result<()> {
        match kind {
            Kind::Network => self.free_network(id)?,
            Kind::Subnet => self.free_subnet(id)?,
            Kind::Port => self.free_port(id)?,
            Kind::SecurityGroup => self.free_group(id)?,
            Kind::SecurityGroupRule => {}
        }
        self.remove(kind, id);
        Ok(())
    }

    fn remove(&mut self, kind: Kind, id: &str) {
        if let Some(all) = self.objects.get_mut(&kind) {
            all.remove(id);
        }
    }

    fn set_tags(&mut self, kind: Kind, id: &str, body: &Value) -> Result<Value> {
        let object = self.get_mut(kind, id)?;
        let tags = tags(body.get("tags").unwrap_or(&Value::Null))?;
        object.insert("tags".to_owned(), tags.clone());
        touch(object);
        Ok(json!({"tags": tags}))
    }

    /// Gives an object what every object has, and stores it. Returns its id.
    fn store(&mut self, kind: Kind, mut object: Object) -> String {
        let id = self.ids.next();
        object.insert("id".to_owned(), json!(id));
        object.insert("revision_number".to_owned(), json!(1));
        object.insert("created_at".to_owned(), json!(time()));
        object.insert("updated_at".to_owned(), json!(time()));
        self.objects.entry(kind).or_default().insert(id.clone(), object);
        id
    }

    /// An object as it is shown: with what Neutron computes from others.
    fn shown(&self, kind: Kind, object: &Object) -> Object {
        let id = text(object, "id");
        let mut shown = object.clone();
        match kind {
            Kind::Network => {
                let subnets = self.all(Kind::Subnet).filter(|s| text(s, "network_id") == id);
                shown.insert("subnets".to_owned(), subnets.map(|s| json!(text(s, "id"))).collect());
            }
            Kind::SecurityGroup => {
                let rules = self.all(Kind::SecurityGroupRule).filter(|r| text(r, "security_group_id") == id);
                shown.insert("security_group_rules".to_owned(), rules.cloned().map(Value::Object).collect());
            }
            Kind::Subnet | Kind::Port | Kind::SecurityGroupRule => {}
        }
        shown
    }

    fn quota_details(&self, project: &str) -> Value {
        let quota = |kind: Kind| {
            let limit = self.quotas.get(&(project.to_owned(), kind)).copied().unwrap_or(-1);
            (
                kind.singular().to_owned(),
                json!({"limit": limit, "used": self.used(project, kind), "reserved": 0}),
            )
        };
        json!({"quota": Kind::ALL.into_iter().map(quota).collect::<Object>()})
    }
}

fn extensions() -> Value {
    let all: Vec<Value> = EXTENSIONS.iter().map(|alias| json!({"alias": alias, "name": alias})).collect();
    json!({"extensions": all})
}

/// The object that a body has under `key`.
fn part<'a>(body: &'a Value, key: &str) -> Result<&'a Object> {
    let part = body.get(key).and_then(Value::as_object);
    part.ok_or_else(|| Fault::bad_request(format!("Unable to find '{key}' in request body")))
}

/// A text attribute; empty if it is not set.
fn text<'a>(object: &'a Object, name: &str) -> &'a str {
    object.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// Tags of a request, without repetition.
fn tags(value: &Value) -> Result<Value> {
    let bad = || {
        Fault::invalid("InvalidInput", "Invalid input for tags: a list of texts of 255 characters at most")
    };
    let mut tags: Vec<&str> = Vec::new();
    for tag in value.as_array().ok_or_else(bad)? {
        let tag = tag.as_str().filter(|tag| tag.chars().count() <= LONGEST_TAG).ok_or_else(bad)?;
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    Ok(json!(tags))
}

/// Counts a change.
fn touch(object: &mut Object) {
    let revision = object.get("revision_number").and_then(Value::as_u64).unwrap_or_default();
    object.insert("revision_number".to_owned(), json!(revision + 1));
    object.insert("updated_at".to_owned(), json!(time()));
}

/// Whether somebody may know of an object.
pub(crate) fn sees(caller: &Caller, object: &Object) -> bool {
    let shared = object.get("shared") == Some(&Value::Bool(true));
    caller.admin || caller.service || shared || text(object, "project_id") == caller.project
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
