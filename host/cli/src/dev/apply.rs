//! Objects as `kubectl apply` puts them there.

use anyhow::{Context, bail};
use isthmus_kubernetes::Client;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::{Scope, pinned_kind};
use kube::{Api, ResourceExt};
use serde_json::Value;

const FIELD_MANAGER: &str = "isthmus-dev";

/// The objects of a text of YAML documents.
pub(super) async fn apply_all(client: &Client, documents: &str) -> anyhow::Result<()> {
    let objects: Vec<Value> = serde_saphyr::from_multiple(documents).context("an embedded manifest")?;
    for object in objects {
        apply(client, object).await?;
    }
    Ok(())
}

/// Server-side apply of an object of any kind.
pub(super) async fn apply(client: &Client, object: Value) -> anyhow::Result<()> {
    let object: DynamicObject = serde_json::from_value(object).context("an object")?;
    let kind = object.types.clone().context("an object without a kind")?;
    let kind = GroupVersionKind::try_from(&kind).context("the kind of an object")?;
    let what = format!("apply {} {}", kind.kind, object.name_any());
    let connection = client.kube();
    let (resource, capabilities) = client.read(&what, pinned_kind(&connection, &kind)).await?;
    let api: Api<DynamicObject> = match (capabilities.scope, object.namespace()) {
        (Scope::Namespaced, Some(namespace)) => Api::namespaced_with(client.kube(), &namespace, &resource),
        (Scope::Namespaced, None) => bail!("{what}: it has no namespace"),
        (Scope::Cluster, _) => Api::all_with(client.kube(), &resource),
    };
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    let name = object.name_any();
    client.write("apply", "example", &what, api.patch(&name, &parameters, &Patch::Apply(&object))).await?;
    Ok(())
}
