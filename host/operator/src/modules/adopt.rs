//! A ConfigMap with our label alone is enough to load a module: its PolicyModule is made here.

use std::collections::BTreeMap;

use isthmus_kubernetes::crd::{ConfigMapRef, ModuleSource, PolicyModule, PolicyModuleSpec};
use isthmus_kubernetes::names::{FINALIZER, LABEL_POLICY_MODULE};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::manager::Manager;

/// Label by which `kubectl` users know what we made.
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

impl Manager {
    /// A ConfigMap with our label alone is enough to load a module with defaults: its PolicyModule is made here.
    pub(super) async fn adopt_sources(&mut self) -> Vec<String> {
        let mut labelled: BTreeMap<String, Vec<ConfigMapRef>> = BTreeMap::new();
        for map in self.sources.values() {
            if let Some(name) = map.labels().get(LABEL_POLICY_MODULE).filter(|n| !n.is_empty()) {
                labelled.entry(name.clone()).or_default().push(ConfigMapRef { name: map.name_any() });
            }
        }
        let mut made = Vec::new();
        for (name, config_maps) in labelled {
            let source = ModuleSource { config_maps, key: None };
            match self.modules.get(&name) {
                None if super::source::read(&source, &self.sources).is_ok() => {
                    made.extend(self.make(&name, source).await);
                }
                Some(module)
                    if module.labels().get(MANAGED_BY).is_some_and(|by| by == "isthmus")
                        && module.spec.source != source
                        && super::source::read(&source, &self.sources).is_ok() =>
                {
                    made.extend(self.resource(&name, source).await);
                }
                _ => {}
            }
        }
        made
    }

    async fn make(&mut self, name: &str, source: ModuleSource) -> Option<String> {
        let spec: PolicyModuleSpec = serde_json::from_value(json!({"source": source})).ok()?;
        let mut module = PolicyModule::new(name, spec);
        module.labels_mut().insert(MANAGED_BY.into(), "isthmus".into());
        module.metadata.finalizers = Some(vec![FINALIZER.into()]);
        let api: Api<PolicyModule> = Api::all(self.client.kube());
        let what = format!("make PolicyModule {name} for its ConfigMap");
        let parameters = PostParams::default();
        match self.client.write("create", "policymodules", &what, api.create(&parameters, &module)).await {
            Ok(made) => {
                tracing::info!(module = name, "a ConfigMap with our label is there: PolicyModule made");
                self.modules.insert(name.into(), made);
                Some(name.into())
            }
            Err(error) => {
                tracing::warn!(module = name, %error, "no PolicyModule for its ConfigMap");
                None
            }
        }
    }

    /// The parts of a module of ours changed their number.
    async fn resource(&mut self, name: &str, source: ModuleSource) -> Option<String> {
        let api: Api<PolicyModule> = Api::all(self.client.kube());
        let patch = Patch::Merge(json!({"spec": {"source": source}}));
        let what = format!("name the parts of PolicyModule {name}");
        let parameters = PatchParams::default();
        match self.client.write("patch", "policymodules", &what, api.patch(name, &parameters, &patch)).await {
            Ok(module) => {
                self.modules.insert(name.into(), module);
                Some(name.into())
            }
            Err(error) => {
                tracing::warn!(module = name, %error, "the parts can't be named");
                None
            }
        }
    }
}
