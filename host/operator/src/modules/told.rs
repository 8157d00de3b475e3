//! What a PolicyModule's status says.

use isthmus_kubernetes::Client;
use isthmus_kubernetes::crd::{PendingChanges, PolicyModule, PolicyModuleStatus};
use isthmus_kubernetes::names::FIELD_MANAGER;
use isthmus_model::condition::Condition;
use isthmus_model::manifest::Projection;
use isthmus_model::plan::Summary;
use isthmus_policy::short_digest;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::Version;
use crate::status::dated;

/// Type of the condition: the version of the source is the one that serves.
pub(super) const LOADED: &str = "Loaded";
/// Type of the condition: some version serves.
pub(super) const SERVING: &str = "Serving";

/// What is to be told.
#[derive(Clone, Debug)]
pub(super) struct Told<'a> {
    /// The version that serves.
    pub serving: Option<&'a Version>,
    /// Why the source's version does not serve, if so: reason and message.
    pub problem: Option<(&'static str, String)>,
    /// A version that waits for approval.
    pub pending: Option<(String, Summary)>,
}

fn kinds(projections: &[Projection]) -> Option<String> {
    let names: Vec<String> = projections.iter().map(|p| p.kind.to_string()).collect();
    (!names.is_empty()).then(|| names.join(","))
}

/// The status that says it.
pub(super) fn status(module: &PolicyModule, told: &Told<'_>) -> PolicyModuleStatus {
    let before = module.status.clone().unwrap_or_default();
    let loaded = match &told.problem {
        None => Condition::yes(LOADED, "Loaded", "the source's version serves"),
        Some((reason, message)) => Condition::no(LOADED, reason, message.clone()),
    };
    let serving = match (told.serving, &told.problem) {
        (Some(version), _) => {
            Condition::yes(SERVING, "Serving", format!("version {}", version.module.manifest().version))
        }
        (None, Some((reason, message))) => Condition::no(SERVING, reason, message.clone()),
        (None, None) => Condition::no(SERVING, "NotLoaded", "nothing is loaded"),
    };
    let generation = module.metadata.generation;
    let conditions = [loaded, serving].iter().map(|c| dated(c, &before.conditions, generation)).collect();
    let manifest = told.serving.map(|v| v.module.manifest());
    let digest = told.serving.map(|v| v.module.digest().to_string());
    let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    PolicyModuleStatus {
        observed_generation: generation,
        short_digest: digest.as_deref().map(short_digest).map(Into::into),
        version: manifest.map(|m| m.version.clone()),
        contract: Some(isthmus_policy::CONTRACT_VERSION.into()),
        maps: manifest.and_then(|m| kinds(&m.maps)).or(before.maps),
        refines: manifest.and_then(|m| kinds(&m.refines)).or(before.refines),
        last_good_digest: told
            .serving
            .and_then(|v| v.fallback.as_ref())
            .map(|f| f.module.digest().to_string()),
        pending_digest: told.pending.as_ref().map(|(digest, _)| digest.clone()),
        pending_changes: told.pending.as_ref().map(|(_, s)| PendingChanges {
            added: count(s.added),
            changed: count(s.changed),
            deleted: count(s.deleted),
            replaced: count(s.replaced),
        }),
        digest: digest.or(before.digest),
        conditions,
    }
}

/// Writes the status where it differs from what the module has.
///
/// # Errors
/// The API server's.
pub(super) async fn write(
    client: &Client,
    module: &PolicyModule,
    status: &PolicyModuleStatus,
) -> Result<(), isthmus_kubernetes::Error> {
    if module.status.as_ref() == Some(status) {
        return Ok(());
    }
    let modules: Api<PolicyModule> = Api::all(client.kube());
    let name = module.name_any();
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
    let patch = Patch::Merge(json!({"status": status}));
    let what = format!("write status of PolicyModule {name}");
    client
        .write("patch_status", "policymodules", &what, modules.patch_status(&name, &parameters, &patch))
        .await
        .map(drop)
}
