//! What the garbage collectors leave of random owners and dependents.

use anyhow::{Context as _, Result};
use http::Method;
use serde_json::{Map, Value, json};

use super::pair::Pair;
use crate::random::Random;
use crate::side::Ask;

/// Version, kind and plural of what owns, and is owned.
const KINDS: [(&str, &str, &str); 3] = [
    ("v1", "ConfigMap", "configmaps"),
    ("v1", "Secret", "secrets"),
    ("coordination.k8s.io/v1", "Lease", "leases"),
];
/// An owner that there never was.
const NOBODY: &str = "11111111-1111-4111-8111-111111111111";
/// Objects of a round.
const OBJECTS: usize = 9;

/// Rounds of objects that own each other, of which some are deleted. How many lists and requests were compared.
///
/// # Errors
/// Something else is left by the real one.
pub async fn garbage(seed: u64, rounds: usize, real: kube::Client, model: kube::Client) -> Result<usize> {
    let mut stream = Garbage {
        pair: Pair::new(real, model),
        random: Random::new(seed),
        namespace: format!("garbage-{seed}"),
        told: Vec::new(),
    };
    stream.pair.namespace(&stream.namespace).await?;
    let mut done = Ok(());
    for round in 0..rounds {
        stream.told.clear();
        done = stream.round(round).await;
        if done.is_err() {
            break;
        }
    }
    let namespace = Ask::json(Method::DELETE, format!("/api/v1/namespaces/{}", stream.namespace), None);
    stream.free(0..rounds).await?;
    stream.pair.send(&namespace).await?;
    let told = stream.told.join("\n  ");
    done.map(|()| stream.pair.compared()).with_context(|| format!("seed {seed}, after\n  {told}"))
}

struct Garbage {
    pair: Pair,
    random: Random,
    namespace: String,
    /// What was asked for in this round.
    told: Vec<String>,
}

impl Garbage {
    fn collection(&self, (version, _, plural): (&str, &str, &str)) -> String {
        let root = if version == "v1" { "/api" } else { "/apis" };
        format!("{root}/{version}/namespaces/{}/{plural}", self.namespace)
    }

    async fn send(&mut self, ask: &Ask) -> Result<()> {
        self.told.push(ask.to_string());
        self.pair.send(ask).await.map(drop)
    }

    async fn round(&mut self, round: usize) -> Result<()> {
        let mut made = Vec::new();
        for n in 0..OBJECTS {
            let (kind, name) = (self.random.of(&KINDS), format!("r{round}-{n}"));
            let owners = self.owners(&made);
            let keeps = if self.random.one_in(5) { json!(["t.dev/a"]) } else { json!([]) };
            self.make(kind, &name, owners, keeps).await?;
            made.push((kind, name));
        }
        // One after the other: what two that go at once leave hangs on which is looked at first.
        self.left().await?;
        for _ in 0..=self.random.below(4) {
            let (kind, name) = self.random.of(&made);
            let policy = self.random.of(&["Background", "Foreground", "Foreground", "Orphan"]);
            let options = json!({"propagationPolicy": policy});
            let path = format!("{}/{name}", self.collection(kind));
            self.send(&Ask::json(Method::DELETE, path, Some(options))).await?;
            self.left().await?;
        }
        self.at_rest(&format!("r{round}-end")).await?;
        self.left().await?;
        self.free(round..round + 1).await?;
        self.at_rest(&format!("r{round}-end-of-all")).await?;
        self.left().await
    }

    async fn make(
        &mut self,
        kind: (&str, &str, &str),
        name: &str,
        owners: Value,
        keeps: Value,
    ) -> Result<()> {
        let metadata = json!({"name": name, "ownerReferences": owners, "finalizers": keeps});
        let body = json!({"apiVersion": kind.0, "kind": kind.1, "metadata": metadata});
        self.send(&Ask::json(Method::POST, self.collection(kind), Some(body))).await
    }

    /// Some of those that were made, now and then nobody.
    fn owners(&mut self, made: &[((&str, &str, &str), String)]) -> Value {
        let mut owners = Vec::new();
        for _ in 0..self.random.below(3) {
            let (blocks, nobody) = (self.random.one_in(2), made.is_empty() || self.random.one_in(8));
            let (kind, name, uid) = match nobody {
                true => (KINDS[0], "nobody".to_owned(), NOBODY.to_owned()),
                false => {
                    let (kind, name) = self.random.of(made);
                    let uid = format!("<uid:{}/{name}>", kind.2);
                    (kind, name, uid)
                }
            };
            // Of two references to one owner the real one keeps one.
            if owners.iter().all(|owner: &Value| owner.get("uid") != Some(&json!(uid))) {
                owners.push(owner(kind, &name, &uid, blocks));
            }
        }
        owners.into()
    }

    /// Waits until an owner and its dependent, which come last, are gone on both sides.
    async fn at_rest(&mut self, name: &str) -> Result<()> {
        let (kind, dependent) = (KINDS[0], format!("{name}-dependent"));
        self.make(kind, name, json!([]), json!([])).await?;
        let owners = json!([owner(kind, name, &format!("<uid:{}/{name}>", kind.2), true)]);
        self.make(kind, &dependent, owners, json!([])).await?;
        let collection = self.collection(kind);
        self.send(&Ask::json(Method::DELETE, format!("{collection}/{name}"), None)).await?;
        self.pair.until(&Ask::json(Method::GET, format!("{collection}/{dependent}"), None), 404).await
    }

    async fn left(&mut self) -> Result<()> {
        for kind in KINDS {
            self.pair.agree(&Ask::json(Method::GET, self.collection(kind), None), left).await?;
        }
        Ok(())
    }

    /// Takes the finalizers off what is left of rounds.
    async fn free(&mut self, rounds: std::ops::Range<usize>) -> Result<()> {
        for (round, kind, n) in rounds
            .flat_map(|round| KINDS.map(|kind| (round, kind)))
            .flat_map(|(r, k)| (0..OBJECTS).map(move |n| (r, k, n)))
        {
            let path = format!("{}/r{round}-{n}", self.collection(kind));
            self.pair.send(&Ask::merge(path, json!({"metadata": {"finalizers": null}}))).await?;
        }
        Ok(())
    }
}

fn owner((version, kind, _): (&str, &str, &str), name: &str, uid: &str, blocks: bool) -> Value {
    json!({"apiVersion": version, "kind": kind, "name": name, "uid": uid, "blockOwnerDeletion": blocks})
}

/// What is left: names, owners, finalizers, and whether it goes.
fn left(body: &mut Value) {
    let items = body.get("items").and_then(Value::as_array).into_iter().flatten();
    let one = |object: &Value| {
        let of = |pointer: &str| object.pointer(pointer).cloned().unwrap_or_default();
        let owners = of("/metadata/ownerReferences").as_array().cloned().unwrap_or_default();
        let owners = owners.into_iter().map(|mut owner| {
            owner.as_object_mut().map(|owner| owner.remove("uid"));
            owner
        });
        let name = object.pointer("/metadata/name")?.as_str()?.to_owned();
        let going = object.pointer("/metadata/deletionTimestamp").is_some();
        let shown = json!({"owners": owners.collect::<Vec<_>>(), "finalizers": of("/metadata/finalizers"), "going": going});
        (name != "kube-root-ca.crt").then_some((name, shown))
    };
    let left: Map<String, Value> = items.filter_map(one).collect();
    *body = Value::Object(left);
}
