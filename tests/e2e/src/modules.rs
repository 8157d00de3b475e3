//! PolicyModules.

use anyhow::{Context, Result, ensure};
use isthmus_kubernetes::crd::PolicyModule;
use isthmus_kubernetes::names::LABEL_POLICY_MODULE;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::cluster::gone;
use crate::lab::{Lab, variable};
use crate::operator::Operator;
use crate::wait::until;

/// Label of the ConfigMaps in which the operator keeps the last good version of a module.
const KEPT: &str = "isthmus.dev/kept-module";

/// Config of `pod-port` for the lab's network, with these tags on every port.
pub fn pods_config(tags: &[&str]) -> Value {
    json!({"network": "pods", "subnets": ["pods-v4", "pods-v6"], "securityGroups": ["pods"], "tags": tags})
}

impl Lab {
    /// The PolicyModules.
    pub fn module_api(&self) -> Api<PolicyModule> {
        Api::all(self.kube.clone())
    }

    /// Path of a module that `cargo xtask plugins` built.
    ///
    /// # Errors
    /// The tests were not started by `cargo xtask test`.
    pub fn module_file(&self, file: &str) -> Result<String> {
        Ok(format!("{}/{file}.wasm", variable("ISTHMUS_MODULES")?))
    }

    /// Writes a PolicyModule with this spec beside its source, the ConfigMap of its own name. What an earlier call said
    /// and this does not is taken back.
    ///
    /// # Errors
    /// The API server's.
    pub async fn policy_module(&self, name: &str, spec: Value) -> Result<PolicyModule> {
        let mut whole = json!({"source": {"configMaps": [{"name": name}]}});
        for (field, value) in spec.as_object().context("spec is an object")? {
            whole.as_object_mut().context("an object")?.insert(field.clone(), value.clone());
        }
        let object = json!({"apiVersion": "isthmus.dev/v1alpha1", "kind": "PolicyModule",
                            "metadata": {"name": name}, "spec": whole});
        let parameters = PatchParams::apply("e2e").force();
        Ok(self.module_api().patch(name, &parameters, &Patch::Apply(object)).await?)
    }

    /// Puts a module's bytes into the ConfigMap of this name, as a user does: `isthmus module load`.
    ///
    /// # Errors
    /// The command fails.
    pub async fn load(&self, file: &str, name: &str) -> Result<()> {
        let file = self.module_file(file)?;
        self.isthmus(&["module", "load", &file, "--name", name]).await.map(drop)
    }

    /// Loads `pod-port` for the lab's network; an operator need not run.
    ///
    /// # Errors
    /// The API server's, or the command's.
    pub async fn load_pod_port(&self) -> Result<()> {
        self.policy_module("pod-port", json!({"config": pods_config(&[])})).await?;
        self.load("pod-port", "pod-port").await
    }

    /// What most tests begin with: `pod-port` is loaded, there is a namespace, and an operator with these flags leads.
    ///
    /// # Errors
    /// As of the parts.
    pub async fn with_pod_port(&self, flags: &[&str]) -> Result<(String, Operator)> {
        self.load_pod_port().await?;
        Ok((self.namespace().await?, self.operator(flags).await?))
    }

    /// As [`Lab::with_pod_port`], and so many Pods are mapped.
    ///
    /// # Errors
    /// As of the parts.
    pub async fn with_pods(&self, flags: &[&str], count: usize) -> Result<(String, Operator, Vec<Pod>)> {
        let (namespace, operator) = self.with_pod_port(flags).await?;
        let pods = self.pods(&namespace, count).await?;
        self.all_ready(&namespace, count).await?;
        Ok((namespace, operator, pods))
    }

    /// Removes a module as a user does: its ConfigMap, and its PolicyModule; waits until that is gone.
    ///
    /// # Errors
    /// The API server's, or that it stays.
    pub async fn remove_module(&self, name: &str) -> Result<()> {
        self.remove_source(name).await?;
        self.module_api().delete(name, &DeleteParams::default()).await?;
        until("the PolicyModule is gone", async || {
            ensure!(self.module_api().get_opt(name).await?.is_none(), "it is there");
            Ok(())
        })
        .await
    }

    /// Waits until the operator has loaded the present spec and source of a PolicyModule.
    ///
    /// # Errors
    /// Not in time: its conditions.
    pub async fn loaded(&self, name: &str) -> Result<PolicyModule> {
        until(&format!("PolicyModule {name} is loaded"), async || {
            let module = self.module_api().get(name).await?;
            let status = module.status.clone().unwrap_or_default();
            let current = status.observed_generation == module.metadata.generation;
            ensure!(module.is_loaded() && current, "generation {:?}: {status:?}", module.metadata.generation);
            Ok(module)
        })
        .await
    }

    /// Deletes every PolicyModule, whatever its finalizers say, with the ConfigMaps of sources and of kept versions.
    pub(crate) async fn clear_modules(&self) -> Result<()> {
        let modules = self.module_api();
        for name in modules.list(&ListParams::default()).await?.iter().map(ResourceExt::name_any) {
            let none = Patch::Merge(json!({"metadata": {"finalizers": null}}));
            gone(modules.patch(&name, &PatchParams::default(), &none).await)?;
            gone(modules.delete(&name, &DeleteParams::default()).await)?;
        }
        let maps = self.config_maps();
        for map in maps.list(&ListParams::default()).await?.items {
            let name = map.name_any();
            if [LABEL_POLICY_MODULE, KEPT].iter().any(|label| map.labels().contains_key(*label)) {
                gone(maps.delete(&name, &DeleteParams::default()).await)?;
            }
        }
        Ok(())
    }
}
