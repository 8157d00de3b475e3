//! From a request to its answer: no IO, and the time is told.

mod create;
mod decode;
mod delete;
mod internal;
mod patch;
mod read;
mod reviews;
mod route;
mod update;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use axum::http::Method;
use jiff::Timestamp;
use serde_json::Value;

pub(crate) use internal::resource_of;
pub(crate) use read::WatchStart;
pub(crate) use route::{Route, Target};

use super::ids::Ids;
use super::registry::{Registry, Resource};
use super::status::Status;
use super::store::{Object, Store};

/// A request, read but not understood.
#[derive(Clone, Debug)]
pub(crate) struct Call<'a> {
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
    pub(crate) query: BTreeMap<String, String>,
    /// Without parameters, as `application/json`.
    pub(crate) content_type: &'a str,
    pub(crate) user_agent: &'a str,
    pub(crate) body: &'a [u8],
    pub(crate) now: Timestamp,
}

impl Call<'_> {
    pub(crate) fn parameter(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        matches!(self.parameter(name), "true" | "1")
    }

    /// Who writes, as `managedFields` names it.
    pub(crate) fn manager(&self) -> String {
        match self.parameter("fieldManager") {
            "" => {
                let name = self.user_agent.split('/').next().unwrap_or_default();
                let name: String = name.chars().filter(|c| !c.is_control()).take(128).collect();
                if name.is_empty() { "unknown".to_owned() } else { name }
            }
            name => name.to_owned(),
        }
    }

    /// # Errors
    /// A value that means nothing.
    pub(crate) fn dry_run(&self) -> Result<bool, Status> {
        match self.parameter("dryRun") {
            "" => Ok(false),
            "All" => Ok(true),
            other => {
                let cause = super::status::Cause::not_supported("dryRun", &Value::from(other), &["All"]);
                let kind = match *self.method {
                    Method::POST => "CreateOptions",
                    Method::PUT => "UpdateOptions",
                    Method::PATCH => "PatchOptions",
                    _ => "DeleteOptions",
                };
                Err(Status::invalid(&options_kind(kind), "", &[cause]))
            }
        }
    }
}

/// The kind of a request's options, for errors.
pub(crate) fn options_kind(kind: &str) -> super::status::GroupResource {
    super::status::GroupResource { group: "meta.k8s.io".to_owned(), resource: kind.to_owned() }
}

/// An answer, not yet in the form that was asked for.
#[derive(Debug)]
pub(crate) enum Reply {
    /// As it is.
    Json(u16, Value),
    Text(u16, &'static str),
    /// An object, and of which kind.
    Object {
        code: u16,
        resource: Arc<Resource>,
        object: Arc<Object>,
    },
    /// An object that is not stored.
    Shown {
        code: u16,
        resource: Arc<Resource>,
        value: Value,
    },
    List(ListReply),
    Watch(WatchStart),
}

/// A list, or a page of it.
#[derive(Debug)]
pub(crate) struct ListReply {
    pub(crate) resource: Arc<Resource>,
    pub(crate) items: Vec<Arc<Object>>,
    pub(crate) version: u64,
    pub(crate) next: Option<String>,
    pub(crate) remaining: Option<usize>,
}

/// An answer with warnings for the client.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) reply: Reply,
    pub(crate) warnings: Vec<String>,
}

/// Everything that the server knows.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) store: Store,
    pub(crate) registry: Registry,
    pub(crate) ids: Ids,
    /// Range of the Services' addresses, as network and length.
    pub(crate) services: (Ipv4Addr, u8),
    pub(crate) warnings: Vec<String>,
    /// Pods that wait for the end of their grace.
    pub(crate) ending: BTreeMap<super::store::Key, Timestamp>,
    /// Counts changes of kinds, for discovery's cache.
    pub(crate) kinds_changed: u64,
}

impl Api {
    /// An empty cluster: no namespace yet.
    pub(crate) fn new(seed: u64, history: usize, services: (Ipv4Addr, u8)) -> Self {
        Self {
            store: Store::new(history),
            registry: Registry::new(),
            ids: Ids::new(seed),
            services,
            warnings: Vec::new(),
            ending: BTreeMap::new(),
            kinds_changed: 0,
        }
    }

    /// Answers a request.
    ///
    /// # Errors
    /// What it is refused with.
    pub(crate) fn handle(&mut self, call: &Call<'_>) -> Result<Answer, Status> {
        self.warnings.clear();
        let reply = self.reply(call)?;
        Ok(Answer { reply, warnings: std::mem::take(&mut self.warnings) })
    }

    fn reply(&mut self, call: &Call<'_>) -> Result<Reply, Status> {
        let target = match route::parse(&self.registry, call.path) {
            Route::Target(target) => target,
            Route::Document(document) if matches!(*call.method, Method::GET | Method::HEAD) => {
                return Ok(super::discovery::document(&self.registry, &document));
            }
            Route::Document(_) => return Err(Status::method_not_allowed()),
            Route::Review(kind) => return reviews::review(call, kind),
            Route::NotModelled(what) => return Err(Status::not_modelled(&what)),
            Route::Unknown => return Ok(Reply::Text(404, "404 page not found\n")),
        };
        let named = !target.name.is_empty();
        match (call.method, named) {
            (&Method::GET, true) if call.flag("watch") => self.watch(call, &target),
            (&Method::GET, true) => self.get(call, &target),
            (&Method::GET, false) if call.flag("watch") => self.watch(call, &target),
            (&Method::GET, false) => self.list(call, &target),
            (&Method::POST, false) => self.create(call, &target),
            (&Method::PUT, true) => self.update(call, &target),
            (&Method::PATCH, true) => self.patch(call, &target),
            (&Method::DELETE, true) if target.subresource.is_empty() => self.delete(call, &target),
            (&Method::DELETE, false) if target.is_one_scope() => self.delete_collection(call, &target),
            _ => Err(Status::method_not_allowed()),
        }
    }
}

/// As `metadata` has times.
pub(crate) fn time(at: Timestamp) -> Value {
    Value::from(at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}
