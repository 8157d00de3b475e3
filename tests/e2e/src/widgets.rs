//! Widgets, a kind of nobody's, which `widget-port` maps to ports.

use anyhow::{Context, Result, ensure};
use isthmus_kubernetes::crd::CloudMapping;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, PostParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use crate::cluster::gone;
use crate::lab::Lab;
use crate::wait::until;

/// The definition of the kind.
///
/// # Errors
/// It is none.
pub fn widget_definition() -> Result<CustomResourceDefinition> {
    let spec = json!({"type": "object", "properties": {"network": {"type": "string"}}});
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}});
    let version = json!({"name": "v1", "served": true, "storage": true, "schema": schema});
    Ok(serde_json::from_value(json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.org"},
        "spec": {"group": "example.org", "scope": "Namespaced", "versions": [version],
                 "names": {"plural": "widgets", "singular": "widget", "kind": "Widget"}},
    }))?)
}

impl Lab {
    /// Makes a Widget.
    ///
    /// # Errors
    /// The API server's.
    pub async fn widget(&self, namespace: &str, name: &str, spec: Value) -> Result<()> {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("example.org", "v1", "Widget"));
        let objects: Api<DynamicObject> = Api::namespaced_with(self.kube.clone(), namespace, &kind);
        let widget = DynamicObject::new(name, &kind).data(json!({"spec": spec}));
        objects.create(&PostParams::default(), &widget).await?;
        Ok(())
    }

    /// What a Widget came to.
    ///
    /// # Errors
    /// There is no CloudMapping of it.
    pub async fn widget_mapping(&self, namespace: &str, name: &str) -> Result<CloudMapping> {
        let all = self.mapping_api(namespace).list(&ListParams::default()).await?;
        let of = |m: &CloudMapping| m.spec.subject.kind == "Widget" && m.spec.subject.name == name;
        all.into_iter().find(of).context("no CloudMapping")
    }

    /// Takes the definition away, and every Widget with it.
    pub(crate) async fn clear_widgets(&self) -> Result<()> {
        const NAME: &str = "widgets.example.org";
        let definitions: Api<CustomResourceDefinition> = Api::all(self.kube.clone());
        gone(definitions.delete(NAME, &DeleteParams::default()).await)?;
        until("the definition of Widgets is gone", async || {
            ensure!(definitions.get_opt(NAME).await?.is_none(), "it is there");
            Ok(())
        })
        .await
    }
}
