//! Pools, with their members (one batch) and their health monitor (an object of its own in Octavia, a field of the contract's).

use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt};
use isthmus_model::kinds::Kind;
use isthmus_model::observed::{Observed, State};
use isthmus_model::retained::Retained;
use isthmus_openstack::octavia::{
    HealthMonitor, Member, MemberCreate, Pool, PoolCreate, PoolUpdate, SessionPersistence,
};
use serde::{Deserialize, Serialize};

use super::below::{Above, Known};
use super::monitor::{self, Monitor};
use super::{Below, Common, Marking, Scope, cleared, set};
use crate::cloud::{CloudError, Create, Driver, Result, Update, typed, untyped};

pub(super) struct Pools {
    scope: Arc<Scope>,
    details: Known<Details>,
}

/// What a list of pools does not hold.
#[derive(Clone, Debug, Default)]
struct Details {
    members: Vec<Member>,
    monitor: Option<HealthMonitor>,
}

/// The contract's `pool`, references as ids.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    #[serde(skip_serializing_if = "Option::is_none")]
    load_balancer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    algorithm: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_persistence: Option<Persistence>,
    #[serde(skip_serializing_if = "Option::is_none")]
    members: Option<Vec<PoolMember>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    monitor: Option<Monitor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<Tls>,
    /// What its monitor sees of the members; no field of the contract.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    operating_status: Option<String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Persistence {
    mode: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cookie_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_s: Option<u64>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PoolMember {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    address: String,
    port: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    subnet: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<u16>,
    #[serde(default)]
    backup: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    monitor_port: Option<u16>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tls {
    #[serde(skip_serializing_if = "Option::is_none")]
    ca: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    versions: Vec<String>,
}

impl Below for Pool {
    fn load_balancer(&self) -> Option<&str> {
        self.loadbalancers.first().map(String::as_str)
    }
}

fn persistence(wanted: Persistence) -> SessionPersistence {
    SessionPersistence {
        kind: wanted.mode,
        cookie_name: wanted.cookie_name,
        persistence_timeout: wanted.timeout_s,
        ..SessionPersistence::default()
    }
}

fn batch(wanted: Vec<PoolMember>) -> Vec<MemberCreate> {
    let member = |m: PoolMember| MemberCreate {
        name: m.name,
        address: m.address,
        protocol_port: m.port,
        subnet_id: m.subnet,
        weight: m.weight,
        // Octavia before API 2.1 does not know the field.
        backup: m.backup.then_some(true),
        monitor_port: m.monitor_port,
        ..MemberCreate::default()
    };
    wanted.into_iter().map(member).collect()
}

fn member(found: &Member) -> PoolMember {
    PoolMember {
        name: (!found.name.is_empty()).then(|| found.name.clone()),
        address: found.address.clone(),
        port: found.protocol_port.unwrap_or_default(),
        subnet: found.subnet_id.clone(),
        weight: found.weight,
        backup: found.backup.unwrap_or_default(),
        monitor_port: found.monitor_port,
    }
}

fn observed(found: Pool, details: &Details) -> Observed {
    let persistence = found.session_persistence.as_ref().map(|p| Persistence {
        mode: p.kind.clone(),
        cookie_name: p.cookie_name.clone(),
        timeout_s: p.persistence_timeout,
    });
    let tls = found.tls_enabled.unwrap_or_default().then(|| Tls {
        ca: found.ca_tls_container_ref.clone(),
        client: found.tls_container_ref.clone(),
        versions: found.tls_versions.clone(),
    });
    let fields = Fields {
        load_balancer: found.load_balancer().map(Into::into),
        protocol: Some(found.protocol.clone()),
        algorithm: Some(found.lb_algorithm.clone()),
        session_persistence: persistence,
        members: Some(details.members.iter().map(member).collect()),
        monitor: details.monitor.as_ref().map(monitor::observed),
        tls,
        operating_status: details.monitor.is_some().then(|| found.operating_status.clone()),
    };
    let common = Common {
        id: found.id,
        name: found.name,
        description: found.description,
        project_id: found.project_id,
        tags: found.tags,
        provisioning_status: found.provisioning_status,
        created_at: found.created_at,
    };
    common.observed(Kind::Pool, untyped(&fields))
}

/// As part of a load balancer's creation, with members and monitor.
pub(super) fn nested(create: &Create<'_>, marking: Marking) -> Result<PoolCreate> {
    let mut fields: Fields = typed(create.entry, create.fields.clone())?;
    let (members, monitor) = (fields.members.take().map(batch), fields.monitor.take());
    let mut body = PoolCreate {
        loadbalancer_id: None,
        members: members.filter(|members| !members.is_empty()),
        healthmonitor: monitor.map(|wanted| monitor::nested(wanted, marking.tags_of(&create.mark))),
        ..creation(create, fields, marking)
    };
    if body.tls_enabled == Some(true) {
        // Octavia 19 answers 500 where one of the three is missing here.
        body.tls_versions = Some(body.tls_versions.flatten());
        (body.tls_ciphers, body.alpn_protocols) = (Some(None), Some(None));
    }
    Ok(body)
}

fn creation(create: &Create<'_>, fields: Fields, marking: Marking) -> PoolCreate {
    let (description, tags) = marking.created(create);
    let tls = fields.tls;
    PoolCreate {
        loadbalancer_id: fields.load_balancer,
        name: Some(create.name.clone()),
        description,
        tags,
        protocol: fields.protocol.unwrap_or_default(),
        lb_algorithm: fields.algorithm.unwrap_or_default(),
        session_persistence: fields.session_persistence.map(persistence),
        tls_enabled: tls.is_some().then_some(true),
        tls_container_ref: tls.as_ref().and_then(|tls| tls.client.clone()),
        ca_tls_container_ref: tls.as_ref().and_then(|tls| tls.ca.clone()),
        tls_versions: tls.map(|tls| tls.versions).filter(|v| !v.is_empty()).map(Some),
        ..PoolCreate::default()
    }
}

fn change(update: &Update<'_>, fields: Fields, marking: Marking) -> PoolUpdate {
    let (description, tags) = marking.updated(update, false);
    let none = |name: &str| cleared(update, name);
    let mut body = PoolUpdate {
        name: update.name.clone(),
        description,
        tags,
        lb_algorithm: fields.algorithm,
        session_persistence: fields
            .session_persistence
            .map(|p| Some(persistence(p)))
            .or(none("session_persistence").then_some(None)),
        ..PoolUpdate::default()
    };
    if let Some(tls) = fields.tls {
        body.tls_enabled = Some(true);
        body.ca_tls_container_ref = Some(tls.ca);
        body.tls_container_ref = Some(tls.client);
        body.tls_versions = (!tls.versions.is_empty()).then_some(Some(tls.versions));
    } else if none("tls") {
        body.tls_enabled = Some(false);
    }
    body
}

impl Pools {
    pub(super) fn new(scope: Arc<Scope>) -> Self {
        Self { scope, details: Known::default() }
    }

    /// Members and monitor of a pool: asked for anew where the pool changed since, as it does with every change of them.
    async fn details(&self, pool: &Pool) -> Result<Details> {
        let quiet = pool.provisioning_status == "ACTIVE";
        let above = Above { id: &pool.id, updated_at: &pool.updated_at, quiet };
        let asked = async {
            let mut members: Vec<Member> = self.scope.octavia.list_in(&pool.id, &[]).await?;
            members
                .retain(|m| m.provisioning_status != "PENDING_DELETE" && m.provisioning_status != "DELETED");
            let monitor = match &pool.healthmonitor_id {
                Some(id) => self.scope.look::<HealthMonitor>(id).await?,
                None => None,
            };
            Ok(Details { members, monitor })
        };
        self.details.of(above, asked).await
    }

    /// Each part of a change waits for the one before it.
    async fn apply(&self, update: &Update<'_>, owner: &str) -> Result<Observed> {
        let (scope, id) = (&self.scope, update.observed.id.as_str());
        let mut fields: Fields = typed(update.entry, set(update))?;
        let (members, wanted) = (fields.members.take(), fields.monitor.take());
        let marking = scope.marking(update.entry).await?;
        let body = change(update, fields, marking);
        let mut changed = update.observed.clone();
        if body != PoolUpdate::default() {
            let put = || async { Ok(scope.octavia.update::<Pool>(id, &body).await?) };
            let found = scope.lanes.change(owner, put).await?;
            // Members and monitor are as they were.
            let kept = ["members", "monitor"].map(|f| (f, changed.fields.remove(f)));
            changed = observed(found, &Details::default());
            for (field, value) in kept {
                changed.fields.remove(field);
                changed.fields.extend(value.map(|v| (field.to_owned(), v)));
            }
        }
        if let Some(members) = members {
            let (all, empty) = (batch(members), serde_json::json!([]));
            if !all.is_empty() || changed.fields.get("members").is_some_and(|known| *known != empty) {
                let put = || async { Ok(scope.octavia.batch_members(id, &all).await?) };
                scope.lanes.change(owner, put).await?;
                changed.state = State::Pending;
            }
            changed
                .fields
                .extend(update.fields.get_key_value("members").map(|(k, v)| (k.clone(), v.clone())));
        }
        if wanted.is_some() || cleared(update, "monitor") {
            monitor::apply(scope, owner, id, wanted, marking.tags_of(&update.mark)).await?;
            changed.state = State::Pending;
            changed.fields.remove("monitor");
            let set = update.fields.get_key_value("monitor").filter(|(_, value)| !value.is_null());
            changed.fields.extend(set.map(|(k, v)| (k.clone(), v.clone())));
        }
        Ok(changed)
    }
}

impl Driver for Pools {
    fn list<'a>(&'a self, tag: &'a str) -> BoxFuture<'a, Result<Vec<Observed>>> {
        async move {
            let mut all = Vec::new();
            for pool in self.scope.list::<Pool>(tag).await? {
                self.scope.belongs(&pool.id, pool.load_balancer().unwrap_or_default());
                match self.details(&pool).await {
                    Ok(details) => all.push(observed(pool, &details)),
                    // It went while the list was made.
                    Err(CloudError::Service(e)) if e.class == isthmus_model::retry::RetryClass::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(all)
        }
        .boxed()
    }

    fn create<'a>(&'a self, create: Create<'a>) -> BoxFuture<'a, Result<Observed>> {
        async move {
            let fields: Fields = typed(create.entry, create.fields.clone())?;
            let owner = fields.load_balancer.clone().unwrap_or_default();
            let body = creation(&create, fields, self.scope.marking(create.entry).await?);
            let make = || async { Ok(self.scope.octavia.create::<Pool>(&body).await?) };
            let made = self.scope.lanes.change(&owner, make).await?;
            self.scope.belongs(&made.id, &owner);
            Ok(observed(made, &Details::default()))
        }
        .boxed()
    }

    fn update<'a>(&'a self, update: Update<'a>) -> BoxFuture<'a, Result<Observed>> {
        async move {
            let id = &update.observed.id;
            let owner = self.scope.owner::<Pool>(id).await?;
            let applied = self.apply(&update, &owner).await;
            self.details.wrote(id);
            match applied {
                Ok(changed) => Ok(changed),
                Err(error) => Err(self.scope.failed::<Pool>(id, error).await),
            }
        }
        .boxed()
    }

    fn refresh<'a>(&'a self, old: &'a Observed) -> BoxFuture<'a, Result<Option<Observed>>> {
        async move {
            let Some(found) = self.scope.look::<Pool>(&old.id).await? else { return Ok(None) };
            let details = self.details(&found).await?;
            Ok(Some(observed(found, &details)))
        }
        .boxed()
    }

    fn delete<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>> {
        async move {
            self.scope.delete::<Pool>(id).await?;
            self.details.forget(id);
            Ok(())
        }
        .boxed()
    }

    fn retain<'a>(&'a self, observed: &'a Observed, retained: &'a Retained) -> BoxFuture<'a, Result<()>> {
        async move {
            let (description, tags) = self.scope.released(observed, retained).await?;
            let body = PoolUpdate { description, tags, ..PoolUpdate::default() };
            self.scope.retain::<Pool>(&observed.id, &body).await
        }
        .boxed()
    }
}
