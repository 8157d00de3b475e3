//! The condition `Attached` of this node's CloudMappings: `True` while an attachment of the Pod is stored here. It follows
//! from what is, not from what happened: a crash, a lost write or a restart changes nothing about it.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use futures::StreamExt;
use isthmus_kubernetes::crd::CloudMapping;
use isthmus_kubernetes::{Client, Error, ErrorKind};
use isthmus_model::condition::ATTACHED;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::time::Instant;

use crate::attachments::Attachments;
use crate::mappings::{Known, Mappings};

/// Field manager of the condition.
pub const FIELD_MANAGER: &str = "isthmus-node";
/// Shortest and longest time between tries of a write that fails.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// How long one write may take.
const LIMIT: Duration = Duration::from_secs(10);
/// How long the watch has to show a write before it is taken for lost.
const ECHO: Duration = Duration::from_secs(10);
/// Most writes at once.
const PARALLEL: usize = 8;

/// Namespace and name of a mapping.
type Name = (String, String);

/// What was written or tried last, as long as the watch does not show it.
type Later = HashMap<Name, Tried>;

/// A write of which the watch shows nothing yet.
struct Tried {
    attached: bool,
    /// When it is due again.
    again: Instant,
    /// How long was waited for that.
    waited: Duration,
}

/// Keeps the conditions as they should be, for ever.
pub async fn keep(client: Client, mappings: Mappings, attachments: Attachments) {
    let (mut known, mut stored) = (mappings.changes(), attachments.changes());
    let mut later = Later::new();
    loop {
        known.borrow_and_update();
        stored.borrow_and_update();
        write_all(&client, &mappings, &attachments, &mut later).await;
        let next = later.values().map(|tried| tried.again).min();
        let retry = async {
            match next {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = known.changed() => if changed.is_err() { return },
            changed = stored.changed() => if changed.is_err() { return },
            () = retry => {}
        }
    }
}

async fn write_all(client: &Client, mappings: &Mappings, attachments: &Attachments, later: &mut Later) {
    let due = due(mappings.list(), &attachments.pods(), attachments.lost(), later);
    let writes = due.into_iter().map(|(name, (known, status))| async move {
        let written = tokio::time::timeout(LIMIT, write(client, &known, status)).await;
        let why = match written {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("no answer in {} s", LIMIT.as_secs())),
        };
        (name, status, why)
    });
    let mut writes = futures::stream::iter(writes).buffer_unordered(PARALLEL);
    while let Some((name, attached, why)) = writes.next().await {
        let Some(why) = why else {
            later.insert(name, Tried { attached, again: Instant::now() + ECHO, waited: Duration::ZERO });
            continue;
        };
        let waited = later.get(&name).map_or(RETRY.0, |t| (t.waited * 2).clamp(RETRY.0, RETRY.1));
        tracing::warn!(
            namespace = name.0,
            name = name.1,
            why,
            "the condition Attached is not written; tried again in {waited:?}"
        );
        later.insert(name, Tried { attached, again: Instant::now() + waited, waited });
    }
}

/// What is due, but for what was written, or failed, a short time ago. `lost`: files were lost, so what is not known may be
/// attached all the same.
fn due(
    all: Vec<Known>,
    pods: &BTreeSet<String>,
    lost: bool,
    later: &mut Later,
) -> HashMap<Name, (Known, bool)> {
    let mut due: HashMap<Name, (Known, bool)> = HashMap::new();
    for known in all {
        let attached = pods.contains(&known.pod_uid);
        if let Some(status) = due_for(&known.attached, attached).filter(|status| *status || !lost) {
            due.insert((known.namespace.clone(), known.name.clone()), (known, status));
        }
    }
    later.retain(|name, _| due.contains_key(name));
    let now = Instant::now();
    due.retain(|name, (_, status)| later.get(name).is_none_or(|t| t.attached != *status || t.again <= now));
    due
}

/// What is to be written; a Pod that was never attached here has no condition.
fn due_for(written: &str, attached: bool) -> Option<bool> {
    match (written, attached) {
        ("True", true) | ("False" | "", false) => None,
        (_, attached) => Some(attached),
    }
}

async fn write(client: &Client, known: &Known, attached: bool) -> Result<(), Error> {
    let (status, reason, message) = if attached {
        ("True", "Bound", "its interfaces are plugged in")
    } else {
        ("False", "Detached", "its interfaces are unplugged")
    };
    let condition = json!({"type": ATTACHED, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()});
    let (namespace, name) = (&known.namespace, &known.name);
    let patch = Patch::Apply(json!({
        "apiVersion": "isthmus.dev/v1alpha1", "kind": "CloudMapping",
        "metadata": {"name": name, "namespace": namespace},
        "status": {"conditions": [condition]},
    }));
    // By force: the operator writes the whole list, this condition as it found it.
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    let api: Api<CloudMapping> = Api::namespaced(client.kube(), namespace);
    let what = format!("write the condition Attached of CloudMapping {namespace}/{name}");
    let call = api.patch_status(name, &parameters, &patch);
    match client.write("apply_status", "cloudmappings", &what, call).await {
        Ok(_) => Ok(()),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(attached: &str) -> Vec<Known> {
        vec![Known {
            namespace: "shop".into(),
            name: "pod-web".into(),
            pod: "web".into(),
            pod_uid: "u1".into(),
            mirror: None,
            deleting: false,
            vifs: Ok(Vec::new()),
            attached: attached.into(),
            waiting: String::new(),
        }]
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_written_is_not_written_again_before_the_watch_shows_it() {
        let (here, gone) = (BTreeSet::from(["u1".to_owned()]), BTreeSet::new());
        let mut later = Later::new();
        assert_eq!(due(known(""), &here, false, &mut later).len(), 1);
        let again = Instant::now() + ECHO;
        let name = ("shop".to_owned(), "pod-web".to_owned());
        later.insert(name, Tried { attached: true, again, waited: Duration::ZERO });
        assert!(due(known(""), &here, false, &mut later).is_empty(), "something else changed meanwhile");
        assert_eq!(due(known("True"), &gone, false, &mut later).len(), 1, "detached: that is another write");
        tokio::time::advance(ECHO).await;
        assert_eq!(due(known(""), &here, false, &mut later).len(), 1, "the watch never showed it");
        assert!(due(known("True"), &here, false, &mut later).is_empty() && later.is_empty());
        assert!(due(known("True"), &gone, true, &mut later).is_empty(), "files were lost");
    }

    #[test]
    fn only_a_difference_is_written() {
        assert_eq!(due_for("", false), None, "never attached here");
        assert_eq!(due_for("", true), Some(true));
        assert_eq!(due_for("True", true), None);
        assert_eq!(due_for("True", false), Some(false));
        assert_eq!(due_for("False", false), None);
        assert_eq!(due_for("False", true), Some(true), "attached again");
        assert_eq!(due_for("Unknown", true), Some(true));
    }
}
