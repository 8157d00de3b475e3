//! The condition `Attached` of this node's CloudMappings: `True` while an attachment of the Pod is stored here. It follows
//! from what is, not from what happened: a crash, a lost write or a restart changes nothing about it.

use std::time::Duration;

use isthmus_kubernetes::crd::CloudMapping;
use isthmus_kubernetes::{Client, Error, ErrorKind};
use isthmus_model::condition::ATTACHED;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::attachments::Attachments;
use crate::mappings::{Known, Mappings};

/// Field manager of the condition.
pub const FIELD_MANAGER: &str = "isthmus-node";
/// Shortest and longest time between tries of writes that fail.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Keeps the conditions as they should be, for ever.
pub async fn keep(client: Client, mappings: Mappings, attachments: Attachments) {
    let (mut known, mut stored) = (mappings.changes(), attachments.changes());
    let mut wait = RETRY.0;
    loop {
        known.borrow_and_update();
        stored.borrow_and_update();
        let failed = write_all(&client, &mappings, &attachments).await;
        let retry = async {
            if failed {
                tokio::time::sleep(wait).await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            changed = known.changed() => if changed.is_err() { return },
            changed = stored.changed() => if changed.is_err() { return },
            () = retry => {}
        }
        wait = if failed { (wait * 2).min(RETRY.1) } else { RETRY.0 };
    }
}

async fn write_all(client: &Client, mappings: &Mappings, attachments: &Attachments) -> bool {
    let pods = attachments.pods();
    let mut failed = false;
    for known in mappings.list() {
        let attached = pods.contains(&known.pod_uid);
        if let Some(status) = due(&known.attached, attached)
            && let Err(error) = write(client, &known, status).await
        {
            tracing::warn!(%error, "it is tried again");
            failed = true;
        }
    }
    failed
}

/// What is to be written; a Pod that was never attached here has no condition.
fn due(written: &str, attached: bool) -> Option<bool> {
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
    use super::due;

    #[test]
    fn only_a_difference_is_written() {
        assert_eq!(due("", false), None, "never attached here");
        assert_eq!(due("", true), Some(true));
        assert_eq!(due("True", true), None);
        assert_eq!(due("True", false), Some(false));
        assert_eq!(due("False", false), None);
        assert_eq!(due("False", true), Some(true), "attached again");
        assert_eq!(due("Unknown", true), Some(true));
    }
}
