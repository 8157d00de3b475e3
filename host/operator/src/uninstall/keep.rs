//! Letting go of everything as it is: the cloud is not even asked.

use futures::StreamExt;
use isthmus_kubernetes::crd::CloudMapping;
use isthmus_kubernetes::lease::Candidate;
use isthmus_kubernetes::mapping::Mappings;
use isthmus_kubernetes::{Client, Error};
use isthmus_model::retry::RetryClass;
use kube::ResourceExt;
use tokio::sync::watch as signal;

use super::{Ended, Held, Left, Limits, Progress, left, remove_modules, told};
use crate::run::{LEASE, Options, lost};

/// A mapping that somebody writes at the same time is tried so often.
const TRIES: u32 = 5;

/// Takes our finalizers off and deletes CloudMappings and PolicyModules. What they record stays in the cloud as it is, with our
/// mark. `tell` hears how far it is.
///
/// # Errors
/// The lease can't be taken, or nothing could be listed: nothing was done. What fails later is in [`Ended::left`].
pub async fn keep(
    options: &Options,
    limits: Limits,
    client: Client,
    stop: signal::Receiver<bool>,
    tell: impl Fn(Progress),
) -> anyhow::Result<Ended> {
    let candidate =
        Candidate::new(client.clone(), &options.namespace, LEASE, &options.identity, options.timing);
    let held = Held::take(candidate, limits.lease, &stop).await?;
    let leadership = held.leadership.clone();
    let gated = client.gated(move || leadership.borrow().leads() && !*stop.borrow());
    let ended = tokio::select! {
        ended = let_go(&gated, &options.namespace, options.parallel, tell) => ended,
        () = lost(held.leadership.clone()) => Err(anyhow::anyhow!("the lease was lost: run the command again")),
    };
    held.give_back().await?;
    ended
}

async fn let_go(
    client: &Client,
    namespace: &str,
    parallel: usize,
    tell: impl Fn(Progress),
) -> anyhow::Result<Ended> {
    let mut ended = Ended::default();
    let all = client.all("list CloudMappings").await?;
    release(client, namespace, parallel, all, &mut ended, tell).await;
    // Without its module a mapping that is left would never be taken up again.
    match ended.left.is_empty() {
        true => remove_modules(client, namespace, &mut ended).await,
        false => ended.left.push(Left {
            object: "the PolicyModules".into(),
            found: "CloudMappings are left: they stay with them".into(),
            remedy: "run the command again".into(),
        }),
    }
    Ok(ended)
}

/// Lets go of CloudMappings, whatever they record.
pub(super) async fn release(
    client: &Client,
    namespace: &str,
    parallel: usize,
    all: Vec<CloudMapping>,
    ended: &mut Ended,
    tell: impl Fn(Progress),
) {
    let writer = Mappings::new(client.clone(), namespace);
    let mut mappings = all.len();
    let calls = all.into_iter().map(|mapping| {
        let writer = &writer;
        async move { (released(writer, &mapping).await, mapping) }
    });
    let mut calls = futures::stream::iter(calls).buffer_unordered(parallel);
    while let Some((result, mapping)) = calls.next().await {
        match result {
            Ok(()) => ended.mappings += 1,
            Err(error) => {
                let (subject, namespace) = (&mapping.spec.subject, mapping.namespace().unwrap_or_default());
                let object = told(&namespace, &mapping.name_any(), &subject.kind, &subject.name);
                ended.left.push(left(&object, &error));
                ended.held.extend(mapping.uid());
            }
        }
        mappings -= 1;
        tell(Progress { mappings, resources: 0 });
    }
}

async fn released(writer: &Mappings, mapping: &CloudMapping) -> Result<(), Error> {
    let (namespace, name) = (mapping.namespace().unwrap_or_default(), mapping.name_any());
    let uid = mapping.uid().unwrap_or_default();
    let mut tries = 1;
    loop {
        match writer.release(&namespace, &name, &uid).await {
            Err(error) if error.class == RetryClass::Conflict && tries < TRIES => tries += 1,
            result => return result,
        }
    }
}
