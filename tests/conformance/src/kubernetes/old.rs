//! Versions that are forgotten: a list that is read on too late, a watch that begins too early.

use anyhow::{Context as _, Result, ensure};
use http::Method;
use regex::Regex;
use serde_json::{Value, json};

use super::pair::{Pair, plain};
use crate::side::Ask;

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
/// Beside the namespace of the streams, and emptied with it.
const NAMESPACE: &str = "conformance-old";

/// A token of the page after `a` in a list of version 1. The real server makes none that soon forgets: its cache has lists of its own.
const OLD: &str = "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiJhXHUwMDAwIn0";

/// The store of the real server. It forgets by itself, but every few minutes only.
pub struct Etcd {
    /// Where it answers.
    pub url: String,
}

impl Etcd {
    /// Has it forget everything before a revision.
    ///
    /// # Errors
    /// It does not answer, or refuses.
    async fn compact(&self, revision: &str) -> Result<()> {
        let asked = json!({"revision": revision, "physical": true});
        let client = reqwest::Client::builder().no_proxy().build()?;
        let answer = client.post(format!("{}/v3/kv/compaction", self.url)).json(&asked).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        // What is compacted already was forgotten by the server itself.
        ensure!(status.is_success() || text.contains("compacted"), "etcd: {status}: {text}");
        Ok(())
    }
}

/// Compares what is said of versions that both forgot; the model must keep hardly any. How many answers were compared.
///
/// # Errors
/// A difference.
pub async fn old_versions(real: kube::Client, model: kube::Client, etcd: &Etcd) -> Result<usize> {
    let mut pair = Pair::new(real, model);
    pair.namespace(NAMESPACE).await?;
    let done = forgotten(&mut pair, etcd).await;
    let namespace = Ask::json(Method::DELETE, format!("/api/v1/namespaces/{NAMESPACE}"), None);
    pair.send(&namespace).await?;
    done.map(|()| pair.compared())
}

async fn forgotten(pair: &mut Pair, etcd: &Etcd) -> Result<()> {
    let plurals =
        [("coordination.k8s.io/v1", "Lease", "leases"), ("conformance.isthmus.dev/v1", "Widget", "widgets")];
    for (version, kind, plural) in plurals {
        let path = format!("/apis/{version}/namespaces/{NAMESPACE}/{plural}");
        for name in ["a", "b", "c", "d"] {
            let body = json!({"apiVersion": version, "kind": kind, "metadata": {"name": name},
                              "spec": if kind == "Lease" { json!({}) } else { json!({"size": 1}) }});
            pair.ask(&Ask::json(Method::POST, &path, Some(body)), plain).await?;
        }
        let (now, _) = pair.send(&Ask::json(Method::GET, &path, None)).await?;
        let revision = now.body.pointer("/metadata/resourceVersion").and_then(Value::as_str);
        etcd.compact(revision.context("a list has a version")?).await?;

        let exact = format!("{path}?resourceVersion=1&resourceVersionMatch=Exact");
        pair.until(&Ask::json(Method::GET, &exact, None), 410).await?;
        pair.ask(&Ask::json(Method::GET, &exact, None), said).await?;
        let refused =
            pair.ask(&Ask::json(Method::GET, format!("{path}?limit=1&continue={OLD}"), None), said).await?;
        ensure!(refused.code == 410, "{}", refused.body);
        // By the token of the refusal, whatever there is now.
        let on = Ask::json(Method::GET, format!("{path}?limit=1&continue=<continue:{plural}>"), None);
        for _ in 0..3 {
            let found = pair.ask(&on, page).await?;
            ensure!(found.code == 200, "{}", found.body);
        }
        for accept in ["application/json", TABLE] {
            let watch =
                Ask::json(Method::GET, format!("{path}?watch=1&timeoutSeconds=1&resourceVersion=1"), None);
            let told = pair.ask(&Ask { accept, ..watch }, said).await?;
            let code = told.body.pointer("/0/object/code").and_then(Value::as_u64);
            ensure!(code == Some(410), "{}", told.body);
        }
    }
    Ok(())
}

/// What a list says of the rest of it.
fn page(body: &mut Value) {
    plain(body);
    said(body);
}

#[expect(clippy::unwrap_used, reason = "a constant pattern")]
fn said(body: &mut Value) {
    let version = Regex::new(r"\([0-9]+\)").unwrap();
    match body {
        Value::Object(map) => {
            if let Some(token) = map.get_mut("continue").filter(|token| **token != "") {
                *token = "<continue>".into();
            }
            map.values_mut().for_each(said);
        }
        Value::Array(all) => all.iter_mut().for_each(said),
        Value::String(text) => *text = version.replace_all(text, "(<version>)").into_owned(),
        _ => {}
    }
}
