//! What each says that it serves, in both forms that clients ask for.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use http::Method;
use serde_json::Value;

use super::pair::Pair;
use super::told_apart;
use crate::side::{Answer, Ask};

/// As `kubectl` and client-go ask.
const AGGREGATED: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
/// What the model does not say: hashes are for the server itself, and addresses are its own.
const DROPPED: [&str; 2] = ["storageVersionHash", "serverAddressByClientCIDRs"];

/// Compares all documents about groups, versions and kinds that both have, and looks whether the model says of the others that it does
/// not model them. How many requests that were.
///
/// # Errors
/// A difference.
pub async fn discovery(real: kube::Client, model: kube::Client) -> Result<usize> {
    let mut seen =
        Discovery { pair: Pair::new(real, model), compared: 0, left_out: BTreeSet::new(), apart: Vec::new() };
    let mut versions = vec!["/api/v1".to_owned()];
    seen.document("/api", "application/json").await?;
    let groups = seen.document("/apis", "application/json").await?;
    for group in of(&groups, "groups") {
        let name = text(group, "name");
        seen.document(&format!("/apis/{name}"), "application/json").await?;
        versions.extend(of(group, "versions").map(|v| format!("/apis/{}", text(v, "groupVersion"))));
    }
    for version in &versions {
        seen.document(version, "application/json").await?;
    }
    seen.document("/api", AGGREGATED).await?;
    seen.document("/apis", AGGREGATED).await?;
    for path in ["/apis/nobody.example", "/apis/nobody.example/v1", "/api/v2"] {
        seen.document(path, "application/json").await?;
    }
    seen.not_modelled().await
}

struct Discovery {
    pair: Pair,
    compared: usize,
    /// Paths of kinds that the real one has alone, and how to ask for them.
    left_out: BTreeSet<String>,
    /// How documents differ.
    apart: Vec<String>,
}

impl Discovery {
    async fn document(&mut self, path: &str, accept: &'static str) -> Result<Value> {
        let ask = Ask { accept, ..Ask::json(Method::GET, path, None) };
        let (mut real, mut model) = self.pair.send(&ask).await?;
        let alone = common(&mut real.body, &mut model.body);
        // A resource, or one below another.
        self.left_out.extend(of(&alone, "resources").map(|found| place(path, found)));
        self.compared += 1;
        if real != model {
            self.apart.push(told_apart(&ask, &real, &model));
        }
        Ok(model.body)
    }

    async fn not_modelled(self) -> Result<usize> {
        let Self { mut pair, mut compared, left_out, mut apart } = self;
        for path in left_out {
            let (_, Answer { code, .. }) = pair.send(&Ask::json(Method::GET, &path, None)).await?;
            compared += 1;
            if code != 501 {
                apart.push(format!("{path}, which the model does not have, is answered with {code}"));
            }
        }
        ensure!(apart.is_empty(), apart.join("\n"));
        Ok(compared)
    }
}

fn of<'a>(body: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    body.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Where a resource of a plain list is.
fn place(version: &str, resource: &Value) -> String {
    let namespace = match resource.get("namespaced") {
        Some(Value::Bool(true)) => "/namespaces/default",
        _ => "",
    };
    match text(resource, "name").split_once('/') {
        Some((plural, below)) => format!("{version}{namespace}/{plural}/x/{below}"),
        None => format!("{version}{namespace}/{}", text(resource, "name")),
    }
}

/// What an element of a list is called. Its order says nothing: each server has groups in an order of its own.
fn name(value: &Value) -> Option<&str> {
    let known = ["/name", "/metadata/name", "/resource", "/subresource", "/version"];
    // The core group has no name.
    known.iter().find_map(|pointer| value.pointer(pointer)?.as_str()).or(value.is_object().then_some(""))
}

/// Leaves in both what both have, in one order, and answers what the real one has alone. What the model has alone stays.
fn common(real: &mut Value, model: &mut Value) -> Value {
    let mut alone = serde_json::Map::new();
    let (Some(real), Some(model)) = (real.as_object_mut(), model.as_object_mut()) else {
        return alone.into();
    };
    for key in DROPPED {
        real.remove(key);
        model.remove(key);
    }
    for (key, value) in real.iter_mut() {
        let Some(other) = model.get_mut(key) else { continue };
        let (Some(all), Some(others)) = (value.as_array_mut(), other.as_array_mut()) else {
            common(value, other);
            continue;
        };
        if others.iter().any(|one| name(one).is_none()) {
            continue;
        }
        let known = |one: &Value| others.iter().any(|other| name(other) == name(one));
        let (both, rest) = std::mem::take(all).into_iter().partition(known);
        (*all, _) = (both, alone.insert(key.clone(), Value::Array(rest)));
        for list in [&mut *all, &mut *others] {
            list.sort_by_key(|one| name(one).map(str::to_owned));
        }
        all.iter_mut().zip(others).for_each(|(one, other)| drop(common(one, other)));
    }
    alone.into()
}
