//! What is said of modules: by a PolicyModule of its version, by a CloudMapping of the call; and sources written by hand.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use isthmus_kubernetes::crd::{CloudMapping, PolicyModule};
use isthmus_kubernetes::names::{ANNOTATION_APPROVE, LABEL_POLICY_MODULE};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::cluster::{condition, gone};
use crate::lab::Lab;
use crate::modules::pods_config;
use crate::wait::until;

/// Config of the module `faults`: what goes wrong, and for the Pods of which names.
pub fn faults_config(fault: Option<&str>, only: &str) -> Value {
    json!({"pods": pods_config(&[]), "fault": fault, "only": only})
}

/// A condition of a PolicyModule.
pub fn module_condition<'a>(module: &'a PolicyModule, kind: &str) -> Option<&'a Condition> {
    module.status.as_ref()?.conditions.iter().find(|c| c.type_ == kind)
}

impl Lab {
    /// Waits until the present version of a PolicyModule is refused or held for this reason, with this in the message.
    ///
    /// # Errors
    /// Not in time: what it says.
    pub async fn refused(&self, name: &str, reason: &str, part: &str) -> Result<PolicyModule> {
        until(&format!("PolicyModule {name} says {reason}: {part}"), async || {
            let module = self.module_api().get(name).await?;
            let loaded = module_condition(&module, "Loaded").context("no condition Loaded")?;
            let said = loaded.status == "False" && loaded.reason == reason && loaded.message.contains(part);
            ensure!(said, "{loaded:?}");
            Ok(module)
        })
        .await
    }

    /// Agrees to what the version that waits would do.
    ///
    /// # Errors
    /// None waits, or the API server's.
    pub async fn approve(&self, held: &PolicyModule) -> Result<()> {
        let pending = held.status.as_ref().and_then(|s| s.pending_digest.as_deref());
        let pending = pending.context("no version waits for approval")?;
        let name = held.metadata.name.as_deref().context("it has a name")?;
        let patch = Patch::Merge(json!({"metadata": {"annotations": {ANNOTATION_APPROVE: pending}}}));
        self.module_api().patch(name, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// Waits until a Pod's mapping has this status and reason of the condition `Mapped`.
    ///
    /// # Errors
    /// Not in time: what it says.
    pub async fn mapped_as(&self, pod: &Pod, status: &str, reason: &str) -> Result<CloudMapping> {
        until(&format!("Mapped is {status} for {reason}"), async || {
            let mapping = self.mapping(pod).await?;
            let said =
                condition(&mapping, "Mapped").is_some_and(|c| c.status == status && c.reason == reason);
            ensure!(said, "{:?}", condition(&mapping, "Mapped"));
            Ok(mapping)
        })
        .await
    }

    /// Writes a ConfigMap of the operator's namespace with a module's bytes, as a user does by hand.
    ///
    /// # Errors
    /// The API server's.
    pub async fn source(
        &self,
        name: &str,
        module: &str,
        (key, bytes): (&str, &[u8]),
        annotations: &[(&str, &str)],
    ) -> Result<()> {
        self.remove_source(name).await?;
        let mut map = ConfigMap::default();
        map.metadata.name = Some(name.into());
        map.metadata.labels = Some(BTreeMap::from([(LABEL_POLICY_MODULE.into(), module.into())]));
        map.metadata.annotations =
            Some(annotations.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect());
        map.binary_data = Some(BTreeMap::from([(key.to_owned(), ByteString(bytes.to_vec()))]));
        self.config_maps().create(&Default::default(), &map).await?;
        Ok(())
    }

    /// Takes away all that holds a module's bytes: its source, and what the operator keeps.
    ///
    /// # Errors
    /// The API server's.
    pub async fn lose_module(&self, name: &str) -> Result<()> {
        for config_map in ["", "isthmus-kept-current.", "isthmus-kept-previous."] {
            self.remove_source(&format!("{config_map}{name}")).await?;
        }
        Ok(())
    }

    /// Removes a ConfigMap of the operator's namespace; that there is none is success.
    ///
    /// # Errors
    /// The API server's.
    pub async fn remove_source(&self, name: &str) -> Result<()> {
        gone(self.config_maps().delete(name, &DeleteParams::default()).await)
    }
}
