//! Objects of Kubernetes as a user gives them, and modules beside the one for Pods.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use isthmus_kubernetes::crd::{CloudMapping, PolicyModule};
use isthmus_kubernetes::names::LABEL_POLICY_MODULE;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, TypeMeta};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use crate::cluster::{MODULE, NAMESPACE, PODS};

const LIMIT: Duration = Duration::from_secs(120);

/// Applies an object in the namespace of the Pods.
pub(crate) async fn apply(client: &kube::Client, object: Value) -> Result<()> {
    apply_in(client, PODS, object).await
}

/// Applies an object, in a namespace unless it is one.
pub(crate) async fn apply_in(client: &kube::Client, namespace: &str, object: Value) -> Result<()> {
    let types: TypeMeta = serde_json::from_value(object.clone()).context("apiVersion and kind")?;
    let kind = GroupVersionKind::try_from(&types).context("apiVersion")?;
    let name = object.pointer("/metadata/name").and_then(Value::as_str).context("metadata.name")?.to_owned();
    let resource = ApiResource::from_gvk(&kind);
    let api: Api<DynamicObject> = match &*kind.kind {
        "Namespace" => Api::all_with(client.clone(), &resource),
        _ => Api::namespaced_with(client.clone(), namespace, &resource),
    };
    let applied = api.patch(&name, &parameters(), &Patch::Apply(object)).await;
    applied.map(drop).with_context(|| format!("applying {} {name}", types.kind))
}

/// Loads a module beside the one for Pods, with a config that may name its PolicyModule, and waits until it serves. Its own mapping
/// goes with it.
pub(crate) async fn load(
    client: &kube::Client,
    module: &str,
    config: impl FnOnce(&str) -> Value,
    bytes: Vec<u8>,
) -> Result<()> {
    let name = &*named(module);
    policy_module(client, name, config(name)).await?;
    source(client, name, bytes).await?;
    let modules: Api<PolicyModule> = Api::all(client.clone());
    let is_loaded = async || {
        let module = modules.get_status(name).await?;
        let conditions = module.status.map(|status| status.conditions).unwrap_or_default();
        Ok(conditions.iter().any(|c| c.type_ == "Loaded" && c.status == "True"))
    };
    until(&format!("module {name} serves"), Duration::from_millis(100), is_loaded).await
}

/// Applies a PolicyModule with a config; its bytes are in the ConfigMap of its name.
pub(crate) async fn policy_module(client: &kube::Client, name: &str, config: Value) -> Result<()> {
    let module = json!({"apiVersion": "isthmus.dev/v1alpha1", "kind": "PolicyModule", "metadata": {"name": name},
        "spec": {"source": {"configMaps": [{"name": name}]}, "onDelete": "Unmap", "config": config}});
    let modules: Api<PolicyModule> = Api::all(client.clone());
    modules.patch(name, &parameters(), &Patch::Apply(&module)).await.context("applying a PolicyModule")?;
    Ok(())
}

/// Puts a module's bytes into its ConfigMap.
pub(crate) async fn source(client: &kube::Client, name: &str, bytes: Vec<u8>) -> Result<()> {
    let mut map = ConfigMap {
        binary_data: Some([("module.wasm".to_owned(), ByteString(bytes))].into()),
        ..ConfigMap::default()
    };
    map.metadata.name = Some(name.into());
    map.metadata.labels = Some([(LABEL_POLICY_MODULE.to_owned(), name.to_owned())].into());
    config_maps(client)
        .patch(name, &parameters(), &Patch::Apply(&map))
        .await
        .context("applying a ConfigMap")?;
    Ok(())
}

fn named(module: &str) -> String {
    format!("{MODULE}-{module}")
}

fn parameters() -> PatchParams {
    PatchParams::apply("isthmus-bench").force()
}

/// Takes a module away, and what it made.
pub(crate) async fn unload(client: &kube::Client, module: &str) -> Result<()> {
    let (name, now) = (&*named(module), DeleteParams::default());
    config_maps(client).delete(name, &now).await?;
    let modules: Api<PolicyModule> = Api::all(client.clone());
    modules.delete(name, &now).await?;
    let is_gone = async || Ok(modules.get_opt(name).await?.is_none());
    until(&format!("module {name} is gone"), Duration::from_millis(100), is_gone).await
}

fn config_maps(client: &kube::Client) -> Api<ConfigMap> {
    Api::namespaced(client.clone(), NAMESPACE)
}

/// The mappings of a namespace's subjects of a kind.
pub(crate) async fn mappings(
    client: &kube::Client,
    namespace: &str,
    kind: &str,
) -> Result<Vec<CloudMapping>> {
    let api = Api::<CloudMapping>::namespaced(client.clone(), namespace);
    let mut all = api.list(&ListParams::default()).await?.items;
    all.retain(|mapping| mapping.spec.subject.kind == kind);
    Ok(all)
}

/// Asks until it is so.
pub(crate) async fn until(what: &str, every: Duration, is_so: impl AsyncFn() -> Result<bool>) -> Result<()> {
    let began = Instant::now();
    while !is_so().await? {
        ensure!(began.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        tokio::time::sleep(every).await;
    }
    Ok(())
}
