//! Writes of the server itself and of its controllers.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::Method;
use jiff::Timestamp;
use serde_json::Value;

use super::delete::Options;
use super::update::Write;
use super::{Api, Call, Target};
use crate::kubernetes::registry::Resource;
use crate::kubernetes::status::{GroupResource, Status};
use crate::kubernetes::store::{Key, Object};

/// What controllers are called in `managedFields`.
const MANAGER: &str = "kube-controller-manager";

fn call(now: Timestamp) -> Call<'static> {
    Call {
        method: &Method::POST,
        path: "",
        query: BTreeMap::new(),
        content_type: "",
        user_agent: MANAGER,
        body: &[],
        now,
    }
}

/// The resource of a path, for counting: `pods`, or the path where there is none.
pub(crate) fn resource_of(path: &str) -> String {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let rest = match &*parts {
        ["api", _, rest @ ..] | ["apis", _, _, rest @ ..] => rest,
        _ => return path.to_owned(),
    };
    let name = match rest {
        ["namespaces", _, plural, ..] if !matches!(*plural, "status" | "finalize") => plural,
        [plural, ..] => plural,
        [] => return path.to_owned(),
    };
    (*name).to_owned()
}

impl Api {
    /// Makes an object.
    ///
    /// # Errors
    /// As for a client.
    pub(crate) fn make_at(
        &mut self,
        target: &Target,
        value: Value,
        now: Timestamp,
    ) -> Result<Arc<Object>, Status> {
        let call = call(now);
        let value = self.settle(&call, target, value)?;
        let value = self.prepare(target, value)?;
        self.insert(&call, target, value, MANAGER, false)
    }

    /// Changes an object that is there.
    ///
    /// # Errors
    /// As for a client; an object that is gone is no error, and `None`.
    pub(crate) fn change(
        &mut self,
        resource: &Arc<Resource>,
        key: &Key,
        subresource: &str,
        change: impl FnOnce(&mut Value),
        now: Timestamp,
    ) -> Result<Option<Arc<Object>>, Status> {
        let Some(old) = self.store.get(&resource.table(), &key.0, &key.1) else { return Ok(None) };
        let mut value = old.value.clone();
        change(&mut value);
        let (call, target) = (call(now), target(resource, key, subresource));
        let value = self.settle(&call, &target, value)?;
        let write = Write { call: &call, target: &target, manager: MANAGER.to_owned(), dry_run: false };
        self.replace(&write, &old, value).map(Some)
    }

    /// Deletes an object in the background; `grace` overrides that of a Pod. One that is gone stays so.
    ///
    /// # Errors
    /// As for a client.
    pub(crate) fn discard(
        &mut self,
        resource: &Arc<Resource>,
        key: &Key,
        grace: Option<i64>,
        now: Timestamp,
    ) -> Result<(), Status> {
        self.discard_with(resource, key, &Options { grace, ..Options::default() }, now)
    }

    /// As [`Api::discard`], with a `propagationPolicy`.
    ///
    /// # Errors
    /// As for a client.
    pub(crate) fn discard_as(
        &mut self,
        resource: &Arc<Resource>,
        key: &Key,
        policy: &str,
        now: Timestamp,
    ) -> Result<(), Status> {
        let propagation = Some(policy.to_owned());
        self.discard_with(resource, key, &Options { propagation, ..Options::default() }, now)
    }

    fn discard_with(
        &mut self,
        resource: &Arc<Resource>,
        key: &Key,
        options: &Options,
        now: Timestamp,
    ) -> Result<(), Status> {
        let Some(object) = self.store.get(&resource.table(), &key.0, &key.1) else { return Ok(()) };
        self.delete_one(&target(resource, key, ""), &object, options, now).map(drop)
    }

    /// Who has the objects of a table.
    pub(crate) fn resource_of_table(&self, table: &GroupResource) -> Option<Arc<Resource>> {
        self.registry.tables().find(|r| r.table() == *table).cloned()
    }
}

fn target(resource: &Arc<Resource>, key: &Key, subresource: &str) -> Target {
    Target {
        resource: resource.clone(),
        namespace: key.0.clone(),
        name: key.1.clone(),
        subresource: subresource.to_owned(),
    }
}
