//! Listeners.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt};
use isthmus_model::kinds::Kind;
use isthmus_model::observed::Observed;
use isthmus_model::retained::Retained;
use isthmus_openstack::octavia::{Listener, ListenerCreate, ListenerUpdate};
use serde::{Deserialize, Serialize};

use super::{Below, Common, Lacking, Marking, Scope, cleared, set};
use crate::cloud::{Create, Driver, Result, Update, typed, untyped};

pub(super) struct Listeners(pub(super) Arc<Scope>);

/// The contract's `listener`, references as ids.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    #[serde(skip_serializing_if = "Option::is_none")]
    load_balancer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    default_pool: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection_limit: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeouts: Option<Timeouts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_cidrs: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    insert_headers: Option<Vec<Header>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<Tls>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Timeouts {
    #[serde(skip_serializing_if = "Option::is_none")]
    client_data_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    member_connect_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    member_data_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tcp_inspect_ms: Option<u64>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    name: String,
    value: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tls {
    #[serde(skip_serializing_if = "Option::is_none")]
    default: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    versions: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ciphers: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    alpn: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_ca: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_authentication: Option<String>,
}

impl Below for Listener {
    fn load_balancer(&self) -> Option<&str> {
        self.loadbalancers.first().map(String::as_str)
    }
}

/// The contract's names are Octavia's in lower case.
fn authentication(name: String) -> String {
    name.to_ascii_uppercase()
}

fn headers(wanted: Vec<Header>) -> BTreeMap<String, String> {
    wanted.into_iter().map(|h| (h.name, h.value)).collect()
}

fn filled<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

fn observed(found: Listener) -> Observed {
    let tls = found.default_tls_container_ref.is_some().then(|| Tls {
        default: found.default_tls_container_ref.clone(),
        versions: found.tls_versions.clone(),
        ciphers: found.tls_ciphers.clone(),
        alpn: found.alpn_protocols.clone(),
        client_ca: found.client_ca_tls_container_ref.clone(),
        client_authentication: Some(found.client_authentication.to_ascii_lowercase()),
    });
    let header = |(name, value): (&String, &String)| Header { name: name.clone(), value: value.clone() };
    let fields = Fields {
        load_balancer: found.load_balancer().map(Into::into),
        protocol: Some(found.protocol.clone()),
        port: found.protocol_port,
        default_pool: found.default_pool_id.clone(),
        // -1 is Octavia's word for none.
        connection_limit: found.connection_limit.filter(|limit| *limit >= 0),
        timeouts: Some(Timeouts {
            client_data_ms: found.timeout_client_data,
            member_connect_ms: found.timeout_member_connect,
            member_data_ms: found.timeout_member_data,
            tcp_inspect_ms: found.timeout_tcp_inspect,
        }),
        allowed_cidrs: Some(found.allowed_cidrs.clone()),
        insert_headers: Some(found.insert_headers.iter().map(header).collect()),
        tls,
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
    common.observed(Kind::Listener, untyped(&fields))
}

/// As part of a load balancer's creation, with its default pool named as [`crate::cloud::within`] does.
pub(super) fn nested(create: &Create<'_>, marking: Marking) -> Result<ListenerCreate> {
    let fields: Fields = typed(create.entry, create.fields.clone())?;
    Ok(ListenerCreate { loadbalancer_id: None, ..creation(create, fields, marking) })
}

fn creation(create: &Create<'_>, fields: Fields, marking: Marking) -> ListenerCreate {
    let (description, tags) = marking.created(create);
    let (timeouts, tls) = (fields.timeouts.unwrap_or_default(), fields.tls.unwrap_or_default());
    ListenerCreate {
        loadbalancer_id: fields.load_balancer,
        name: Some(create.name.clone()),
        description,
        tags,
        protocol: fields.protocol.unwrap_or_default(),
        protocol_port: fields.port.unwrap_or_default(),
        default_pool_id: fields.default_pool,
        connection_limit: fields.connection_limit,
        timeout_client_data: timeouts.client_data_ms,
        timeout_member_connect: timeouts.member_connect_ms,
        timeout_member_data: timeouts.member_data_ms,
        timeout_tcp_inspect: timeouts.tcp_inspect_ms,
        allowed_cidrs: fields.allowed_cidrs.and_then(filled),
        insert_headers: fields.insert_headers.map(headers).filter(|h| !h.is_empty()),
        default_tls_container_ref: tls.default,
        client_ca_tls_container_ref: tls.client_ca,
        client_authentication: tls.client_authentication.map(authentication),
        tls_ciphers: tls.ciphers,
        tls_versions: filled(tls.versions),
        alpn_protocols: filled(tls.alpn),
        ..ListenerCreate::default()
    }
}

fn change(update: &Update<'_>, marking: Marking) -> Result<ListenerUpdate> {
    let (description, tags) = marking.updated(update, false);
    let fields: Fields = typed(update.entry, set(update))?;
    let none = |name: &str| cleared(update, name);
    // Where timeouts change, those that are not set get the cloud's defaults again.
    let change_timeouts = fields.timeouts.is_some() || none("timeouts");
    let timeout = |wanted: Option<u64>| change_timeouts.then_some(wanted);
    let timeouts = fields.timeouts.unwrap_or_default();
    let mut body = ListenerUpdate {
        name: update.name.clone(),
        description,
        tags,
        default_pool_id: fields.default_pool.map(Some).or(none("default_pool").then_some(None)),
        connection_limit: fields.connection_limit.map(Some).or(none("connection_limit").then_some(None)),
        timeout_client_data: timeout(timeouts.client_data_ms),
        timeout_member_connect: timeout(timeouts.member_connect_ms),
        timeout_member_data: timeout(timeouts.member_data_ms),
        timeout_tcp_inspect: timeout(timeouts.tcp_inspect_ms),
        allowed_cidrs: fields.allowed_cidrs.map(filled).or(none("allowed_cidrs").then_some(None)),
        insert_headers: fields.insert_headers.map(headers).or(none("insert_headers").then(BTreeMap::new)),
        ..ListenerUpdate::default()
    };
    if let Some(tls) = fields.tls {
        body.default_tls_container_ref = tls.default.map(Some);
        body.client_ca_tls_container_ref = Some(tls.client_ca);
        body.client_authentication =
            Some(tls.client_authentication.map_or_else(|| "NONE".into(), authentication));
        body.tls_ciphers = tls.ciphers.map(Some);
        body.tls_versions = filled(tls.versions).map(Some);
        body.alpn_protocols = filled(tls.alpn).map(Some);
    }
    Ok(body)
}

impl Driver for Listeners {
    fn list<'a>(&'a self, tag: &'a str) -> BoxFuture<'a, Result<Vec<Observed>>> {
        async move {
            let all = self.0.list::<Listener>(tag).await?;
            all.iter()
                .for_each(|found| self.0.own_listener(&found.id, found.load_balancer().unwrap_or_default()));
            Ok(all.into_iter().map(observed).collect())
        }
        .boxed()
    }

    fn create<'a>(&'a self, create: Create<'a>) -> BoxFuture<'a, Result<Observed>> {
        async move {
            let fields: Fields = typed(create.entry, create.fields.clone())?;
            let owner = fields.load_balancer.clone().unwrap_or_default();
            let body = creation(&create, fields, self.0.marking(create.entry).await?);
            let make = || async { Ok(self.0.octavia.create::<Listener>(&body).await?) };
            let made = self.0.lanes.change(&owner, make).await;
            if let Err(error) = &made {
                let lacks = |lacking: &Lacking, provider: &str, said: &str| {
                    lacking.protocol(provider, said, &body.protocol);
                };
                self.0.learn(&owner, error, lacks).await;
            }
            let made = made?;
            self.0.own_listener(&made.id, &owner);
            Ok(observed(made))
        }
        .boxed()
    }

    fn update<'a>(&'a self, update: Update<'a>) -> BoxFuture<'a, Result<Observed>> {
        async move {
            let body = change(&update, self.0.marking(update.entry).await?)?;
            let id = &update.observed.id;
            let owner = self.0.owner::<Listener>(id).await?;
            let change = || async { Ok(self.0.octavia.update::<Listener>(id, &body).await?) };
            match self.0.lanes.change(&owner, change).await {
                Ok(changed) => Ok(observed(changed)),
                Err(error) => Err(self.0.failed::<Listener>(id, error).await),
            }
        }
        .boxed()
    }

    fn refresh<'a>(&'a self, old: &'a Observed) -> BoxFuture<'a, Result<Option<Observed>>> {
        async move { Ok(self.0.look::<Listener>(&old.id).await?.map(observed)) }.boxed()
    }

    fn delete<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>> {
        self.0.delete::<Listener>(id).boxed()
    }

    fn retain<'a>(&'a self, observed: &'a Observed, retained: &'a Retained) -> BoxFuture<'a, Result<()>> {
        async move {
            let (description, tags) = self.0.released(observed, retained).await?;
            let body = ListenerUpdate { description, tags, ..ListenerUpdate::default() };
            self.0.retain::<Listener>(&observed.id, &body).await
        }
        .boxed()
    }
}
