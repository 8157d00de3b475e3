//! PolicyModules of whom nothing is left: our finalizer, and the object.

use isthmus_kubernetes::crd::PolicyModule;
use isthmus_kubernetes::names::FINALIZER;
use isthmus_kubernetes::{Client, Error, ErrorKind};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::keep;

const RESOURCE: &str = "policymodules";

/// Puts our finalizer on, or takes it off.
///
/// # Errors
/// The API server's; where somebody wrote since `module` was read, that is one.
pub(super) async fn set_finalizer(
    client: &Client,
    module: &PolicyModule,
    on: bool,
) -> Result<PolicyModule, Error> {
    let api: Api<PolicyModule> = Api::all(client.kube());
    let others = module.finalizers().iter().filter(|f| *f != FINALIZER).cloned();
    let finalizers: Vec<String> = others.chain(on.then(|| FINALIZER.to_owned())).collect();
    let metadata = json!({"finalizers": finalizers, "resourceVersion": module.resource_version()});
    let patch = Patch::Merge(json!({"metadata": metadata}));
    let name = module.name_any();
    let what = format!("set the finalizer of PolicyModule {name}");
    let parameters = PatchParams::default();
    client.write("patch", RESOURCE, &what, api.patch(&name, &parameters, &patch)).await
}

/// Removes one with what is kept of it, whatever it made. That it is gone already is success.
///
/// # Errors
/// The API server's. Calling again is safe.
pub(crate) async fn remove(client: &Client, namespace: &str, module: &PolicyModule) -> Result<(), Error> {
    let name = module.name_any();
    keep::remove(client, namespace, &name).await?;
    let left = match set_finalizer(client, module, false).await {
        Ok(left) => left,
        Err(error) if error.kind == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if left.metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    let api: Api<PolicyModule> = Api::all(client.kube());
    let preconditions = Preconditions { uid: left.uid(), resource_version: None };
    let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    let what = format!("delete PolicyModule {name}");
    match client.write("delete", RESOURCE, &what, api.delete(&name, &parameters)).await {
        Err(error) if error.kind != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
