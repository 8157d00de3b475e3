//! CustomResourceDefinitions that come, change and go, and objects of what they define.

mod bodies;
mod objects;

use anyhow::{Context as _, Result};
use http::Method;
use serde_json::{Value, json};

use super::pair::{Pair, plain};
use crate::random::Random;
use crate::side::Ask;

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// So many steps with one definition, which has a group of its own. How many answers were compared.
///
/// # Errors
/// A difference.
pub async fn definitions(seed: u64, steps: usize, real: kube::Client, model: kube::Client) -> Result<usize> {
    let mut stream = Definitions::new(seed, Pair::new(real, model));
    stream.pair.namespace(&stream.namespace).await?;
    stream.deleted(false).await.context("what an earlier run left")?;
    let mut done = Ok(());
    for _ in 0..steps {
        done = stream.step().await;
        if done.is_err() {
            break;
        }
    }
    let told = stream.told.split_off(stream.told.len().saturating_sub(25)).join("\n  ");
    let gone = stream.deleted(false).await;
    let namespace = Ask::json(Method::DELETE, format!("/api/v1/namespaces/{}", stream.namespace), None);
    stream.pair.send(&namespace).await?;
    done.with_context(|| format!("seed {seed}, after\n  {told}"))?;
    gone.map(|()| stream.pair.compared())
}

/// A version of the definition.
#[derive(Clone)]
struct Version {
    name: &'static str,
    served: bool,
    storage: bool,
}

struct Definitions {
    pair: Pair,
    random: Random,
    namespace: String,
    group: String,
    /// Whether it is defined.
    present: bool,
    namespaced: bool,
    versions: Vec<Version>,
    /// Names of the fields that the schema has.
    fields: Vec<&'static str>,
    /// Of what was written last: a field of that name tells that it is in effect.
    marker: usize,
    told: Vec<String>,
}

impl Definitions {
    fn new(seed: u64, pair: Pair) -> Self {
        Self {
            pair,
            random: Random::new(seed),
            namespace: format!("definitions-{seed}"),
            group: format!("d{seed}.conformance.isthmus.dev"),
            present: false,
            namespaced: true,
            versions: Vec::new(),
            fields: Vec::new(),
            marker: 0,
            told: Vec::new(),
        }
    }

    async fn step(&mut self) -> Result<()> {
        match (self.present, self.random.below(100)) {
            (false, 0..60) => self.define().await,
            (false, 60..85) => self.refused().await,
            (true, 0..14) => self.change().await,
            (true, 14..26) => self.refused().await,
            (true, 26..32) => self.deleted(true).await,
            _ => self.object().await,
        }
    }

    fn path(&self) -> String {
        format!("{CRDS}/things.{}", self.group)
    }

    /// Sends a request whose answers are compared as they are.
    async fn ask(&mut self, ask: Ask, view: impl Fn(&mut Value)) -> Result<()> {
        let answer = self.pair.ask(&ask, view).await;
        let code = answer.as_ref().map_or(0, |answer| answer.code);
        self.told.push(format!("{ask} -> {code}"));
        answer.map(drop)
    }

    async fn define(&mut self) -> Result<()> {
        self.namespaced = !self.random.one_in(4);
        self.versions = vec![Version { name: "v1", served: true, storage: true }];
        self.choose_fields();
        let body = self.definition();
        self.ask(Ask::json(Method::POST, CRDS, Some(body)), without_status).await?;
        self.present = true;
        self.in_effect().await
    }

    async fn change(&mut self) -> Result<()> {
        self.choose_fields();
        self.choose_versions();
        let spec = self.definition().get("spec").cloned();
        self.ask(Ask::merge(self.path(), json!({"spec": spec})), without_status).await?;
        self.in_effect().await
    }

    /// A definition, or a change of it, that is wrong in one way.
    async fn refused(&mut self) -> Result<()> {
        let (fields, versions, marker) = (self.fields.clone(), self.versions.clone(), self.marker);
        if !self.present {
            self.versions = vec![Version { name: "v1", served: true, storage: true }];
        }
        let mut body = self.definition();
        self.spoil(&mut body);
        let ask = match self.present {
            false => Ask::json(Method::POST, CRDS, Some(body)),
            true => Ask::merge(self.path(), json!({"spec": body.get("spec")})),
        };
        (self.fields, self.versions, self.marker) = (fields, versions, marker);
        self.ask(ask, refusal).await
    }

    /// Waits until what was written counts: the real server's handlers learn of it by and by.
    async fn in_effect(&mut self) -> Result<()> {
        self.pair.agree(&Ask::json(Method::GET, self.path(), None), plain).await?;
        for Version { name, served, .. } in self.versions.clone() {
            let collection = self.collection(name);
            if served {
                let probe = self.probe(name);
                let strict = format!("{collection}?dryRun=All&fieldValidation=Strict");
                self.pair.until(&Ask::json(Method::POST, strict, Some(probe)), 201).await?;
            } else {
                self.pair.until(&Ask::json(Method::GET, collection, None), 404).await?;
            }
        }
        self.discovered().await
    }

    /// What is said of the group, in both forms.
    async fn discovered(&mut self) -> Result<()> {
        let group = format!("/apis/{}", self.group);
        self.pair.agree(&Ask::json(Method::GET, &group, None), found).await?;
        for name in ["v1", "v2"] {
            self.pair.agree(&Ask::json(Method::GET, format!("{group}/{name}"), None), found).await?;
        }
        let own = self.group.clone();
        let of_group = move |body: &mut Value| {
            found(body);
            if let Some(items) = body.get_mut("items").and_then(Value::as_array_mut) {
                items.retain(|item| item.pointer("/metadata/name").is_some_and(|name| *name == own.as_str()));
            }
        };
        let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        let all = Ask { accept, ..Ask::json(Method::GET, "/apis", None) };
        self.pair.agree(&all, of_group).await.map(drop)
    }

    /// Takes it away with all objects.
    async fn deleted(&mut self, compared: bool) -> Result<()> {
        let delete = Ask::json(Method::DELETE, self.path(), None);
        match compared {
            true => self.ask(delete, plain).await?,
            false => self.pair.send(&delete).await.map(drop)?,
        }
        self.pair.until(&Ask::json(Method::GET, self.path(), None), 404).await?;
        for name in ["v1", "v2"] {
            self.pair.until(&Ask::json(Method::GET, self.collection(name), None), 404).await?;
        }
        self.present = false;
        if compared { self.discovered().await } else { Ok(()) }
    }
}

/// Controllers write the status and a finalizer a moment later.
fn without_status(body: &mut Value) {
    plain(body);
    let metadata = body.get_mut("metadata").and_then(Value::as_object_mut);
    metadata.map(|metadata| metadata.remove("finalizers"));
    body.as_object_mut().map(|body| body.remove("status"));
}

fn found(body: &mut Value) {
    match body {
        Value::Object(map) => {
            map.remove("storageVersionHash");
            map.values_mut().for_each(found);
        }
        Value::Array(all) => all.iter_mut().for_each(found),
        _ => {}
    }
}

/// The causes of a refusal. The message is made of them, and of `spec.versions` the real one shows its own types.
fn refusal(body: &mut Value) {
    without_status(body);
    let causes = body.pointer_mut("/details/causes").and_then(Value::as_array_mut);
    for cause in
        causes.into_iter().flatten().filter(|cause| cause.get("field").is_some_and(|f| f == "spec.versions"))
    {
        if let Some(Value::String(message)) = cause.get_mut("message") {
            *message = message.rsplit(": ").next().unwrap_or_default().to_owned();
        }
    }
    if body.pointer("/details/causes").is_some() {
        body.as_object_mut().map(|body| body.remove("message"));
    }
}
