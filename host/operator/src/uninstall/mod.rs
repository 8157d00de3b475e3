//! Taking Isthmus out of a cluster: what it made is deleted ([`drain`]) or left to whoever wants it ([`keep()`]), and our finalizers
//! come off. It is done under the operators' lease: no operator works beside it.

mod drain;
mod keep;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, bail};
use isthmus_kubernetes::Client;
use isthmus_kubernetes::crd::PolicyModule;
use isthmus_kubernetes::lease::{Candidate, Leadership};
use isthmus_model::kinds::Kind;
use kube::ResourceExt;
use serde::Serialize;
use tokio::sync::watch as signal;
use tokio::task::JoinHandle;

use crate::modules;
use crate::run::until;

pub use drain::drain;
pub use keep::keep;

/// How long is waited.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For the lease: after a crash it is another's for a while yet.
    pub lease: Duration,
    /// For something more to go.
    pub patience: Duration,
}

/// How much there is left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// CloudMappings.
    pub mappings: usize,
    /// Cloud resources with our mark.
    pub resources: usize,
}

/// One thing that is left, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Left {
    /// What.
    pub object: String,
    /// What was found.
    pub found: String,
    /// What to do.
    pub remedy: String,
}

/// How it ended.
#[derive(Clone, Debug, Default)]
pub struct Ended {
    /// CloudMappings that are gone.
    pub mappings: usize,
    /// PolicyModules that are gone.
    pub modules: usize,
    /// Cloud resources that are gone.
    pub resources: BTreeMap<Kind, usize>,
    /// Cloud resources that their modules said to retain.
    pub retained: usize,
    /// What is left.
    pub left: Vec<Left>,
    /// Uids of CloudMappings that could not be let go of: they hold what they record.
    pub held: BTreeSet<String>,
}

/// The lease, in our hands.
struct Held {
    leadership: signal::Receiver<Leadership>,
    resign: signal::Sender<bool>,
    election: JoinHandle<()>,
}

impl Held {
    /// Takes the lease.
    async fn take(
        candidate: Candidate,
        within: Duration,
        stop: &signal::Receiver<bool>,
    ) -> anyhow::Result<Self> {
        let leadership = candidate.leadership();
        let (resign, resigned) = signal::channel(false);
        let held = Self { leadership, resign, election: tokio::spawn(candidate.run(until(resigned))) };
        let mut led = held.leadership.clone();
        let leads = tokio::select! {
            led = led.wait_for(Leadership::leads) => led.is_ok(),
            () = tokio::time::sleep(within) => false,
            () = until(stop.clone()) => false,
        };
        if leads {
            return Ok(held);
        }
        let now = held.leadership.borrow().clone();
        held.give_back().await?;
        match now {
            Leadership::Follower { holder: Some(holder) } => bail!(
                "operator {holder} holds the lease: nothing was done; stop it (`kubectl scale deployment --replicas=0`) and try again"
            ),
            _ => bail!("the operators' lease could not be taken: nothing was done; the log says why"),
        }
    }

    async fn give_back(self) -> anyhow::Result<()> {
        self.resign.send_replace(true);
        self.election.await.context("the election ended abnormally")
    }
}

/// How a CloudMapping is told.
fn told(namespace: &str, name: &str, kind: &str, subject: &str) -> String {
    format!("CloudMapping {namespace}/{name} ({kind} {subject})")
}

/// Removes the PolicyModules.
async fn remove_modules(client: &Client, namespace: &str, ended: &mut Ended) {
    let all = match client.all::<PolicyModule>("list PolicyModules").await {
        Ok(all) => all,
        Err(error) => return ended.left.push(left("PolicyModules", &error)),
    };
    for module in all {
        match modules::remove(client, namespace, &module).await {
            Ok(()) => ended.modules += 1,
            Err(error) => ended.left.push(left(&format!("PolicyModule {}", module.name_any()), &error)),
        }
    }
}

/// What the API server did not do.
fn left(object: &str, error: &isthmus_kubernetes::Error) -> Left {
    let remedy = match error.class {
        isthmus_model::retry::RetryClass::Forbidden => {
            "use a kubeconfig that may: a cluster administrator's, or one with the verb `operate` on cloudmappings.isthmus.dev"
        }
        _ => "run the command again",
    };
    Left { object: object.into(), found: error.to_string(), remedy: remedy.into() }
}
