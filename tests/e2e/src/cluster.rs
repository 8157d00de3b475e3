//! Namespaces, Pods and CloudMappings.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use isthmus_kubernetes::crd::CloudMapping;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::lab::{Lab, node};
use crate::wait::until;

impl Lab {
    /// The Pods of a namespace.
    pub fn pod_api(&self, namespace: &str) -> Api<Pod> {
        Api::namespaced(self.kube.clone(), namespace)
    }

    /// The CloudMappings of a namespace.
    pub fn mapping_api(&self, namespace: &str) -> Api<CloudMapping> {
        Api::namespaced(self.kube.clone(), namespace)
    }

    /// Makes `p-0` to `p-(n-1)`, bound to the node, that end at once when they are deleted.
    ///
    /// # Errors
    /// The API server's.
    pub async fn pods(&self, namespace: &str, n: usize) -> Result<Vec<Pod>> {
        let mut made = Vec::new();
        for at in 0..n {
            made.push(self.pod(namespace, &format!("p-{at}"), json!({})).await?);
        }
        Ok(made)
    }

    /// Makes one Pod as [`Lab::pods`] does, with these fields of its spec beside.
    ///
    /// # Errors
    /// The API server's.
    pub async fn pod(&self, namespace: &str, name: &str, spec: Value) -> Result<Pod> {
        self.make_pod(namespace, json!({"name": name}), spec).await
    }

    /// Makes one Pod as [`Lab::pods`] does, with this label `app` from its first moment.
    ///
    /// # Errors
    /// The API server's.
    pub async fn pod_of_app(&self, namespace: &str, name: &str, app: &str) -> Result<Pod> {
        self.make_pod(namespace, json!({"name": name, "labels": {"app": app}}), json!({})).await
    }

    async fn make_pod(&self, namespace: &str, metadata: Value, spec: Value) -> Result<Pod> {
        let mut whole = json!({"nodeName": node(), "terminationGracePeriodSeconds": 0,
                               "containers": [{"name": "c", "image": "none"}]});
        for (field, value) in spec.as_object().context("spec is an object")? {
            whole.as_object_mut().context("an object")?.insert(field.clone(), value.clone());
        }
        let pod = serde_json::from_value(json!({"metadata": metadata, "spec": whole}))?;
        Ok(self.pod_api(namespace).create(&PostParams::default(), &pod).await?)
    }

    /// Deletes a Pod without a grace period, as `kubectl delete --force` does.
    ///
    /// # Errors
    /// The API server's.
    pub async fn delete_pod(&self, namespace: &str, name: &str) -> Result<()> {
        gone(self.pod_api(namespace).delete(name, &DeleteParams::default().grace_period(0)).await)
    }

    /// Deletes all Pods of a namespace without a grace period.
    ///
    /// # Errors
    /// The API server's.
    pub async fn delete_pods(&self, namespace: &str) -> Result<()> {
        let now = DeleteParams::default().grace_period(0);
        self.pod_api(namespace).delete_collection(&now, &ListParams::default()).await?;
        Ok(())
    }

    /// The CloudMapping of this life of a Pod.
    ///
    /// # Errors
    /// There is none.
    pub async fn mapping(&self, pod: &Pod) -> Result<CloudMapping> {
        let namespace = pod.namespace().context("a Pod has a namespace")?;
        let all = self.mapping_api(&namespace).list(&ListParams::default()).await?;
        let uid = pod.uid().context("a Pod has a uid")?;
        let mapping = all.into_iter().find(|m| m.spec.subject.uid == uid);
        mapping.with_context(|| format!("{} has no CloudMapping", pod.name_any()))
    }

    /// The CloudMapping of the only object of a kind in a namespace.
    ///
    /// # Errors
    /// There is none.
    pub async fn mapping_of(&self, namespace: &str, kind: &str) -> Result<CloudMapping> {
        let all = self.mapping_api(namespace).list(&ListParams::default()).await?;
        let own = all.into_iter().find(|m| m.spec.subject.kind == kind);
        own.with_context(|| format!("no {kind} of {namespace} has a CloudMapping"))
    }

    /// Waits until a namespace has this many CloudMappings, all Ready.
    ///
    /// # Errors
    /// Not in time.
    pub async fn all_ready(&self, namespace: &str, n: usize) -> Result<Vec<CloudMapping>> {
        until(&format!("{n} Pods are mapped"), async || {
            let all = self.mapping_api(namespace).list(&ListParams::default()).await?.items;
            let ready = all.iter().filter(|m| ready(m)).count();
            let first =
                all.iter().find(|m| !self::ready(m)).map(|m| (m.name_any(), condition(m, "Ready").cloned()));
            ensure!(ready == n && all.len() == n, "{} mappings, {ready} ready; {first:?}", all.len());
            Ok(all)
        })
        .await
    }

    /// Waits until one Pod's mapping is Ready.
    ///
    /// # Errors
    /// Not in time.
    pub async fn pod_ready(&self, pod: &Pod) -> Result<CloudMapping> {
        until(&format!("{} is mapped", pod.name_any()), async || {
            let mapping = self.mapping(pod).await?;
            ensure!(ready(&mapping), "{:?}", condition(&mapping, "Ready"));
            Ok(mapping)
        })
        .await
    }

    /// Waits until a namespace has no CloudMapping and the cloud no port of ours at all.
    ///
    /// # Errors
    /// Not in time.
    pub async fn nothing_left(&self, namespace: &str) -> Result<()> {
        until("no CloudMapping and no port is left", async || {
            let mappings = self.mapping_api(namespace).list(&ListParams::default()).await?.items.len();
            let ports = self.ports().await?.len();
            ensure!(mappings == 0 && ports == 0, "{mappings} CloudMappings, {ports} ports");
            Ok(())
        })
        .await
    }

    /// Writes a condition into a CloudMapping's status, as the node's agent does.
    ///
    /// # Errors
    /// The API server's.
    pub async fn set_condition(&self, mapping: &CloudMapping, kind: &str, status: &str) -> Result<()> {
        let namespace = mapping.namespace().context("a mapping has a namespace")?;
        let api = self.mapping_api(&namespace);
        until("the condition is written", async || {
            let fresh = api.get(&mapping.name_any()).await?;
            let mut conditions = fresh.status.as_ref().map(|s| json!(s.conditions)).unwrap_or(json!([]));
            let all = conditions.as_array_mut().context("a list")?;
            all.retain(|c| c.get("type").and_then(Value::as_str) != Some(kind));
            all.push(json!({"type": kind, "status": status, "reason": "Test", "message": "",
                            "lastTransitionTime": "2026-01-01T00:00:00Z"}));
            let patch = json!({"metadata": {"resourceVersion": fresh.resource_version()},
                               "status": {"conditions": conditions}});
            api.patch_status(&mapping.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await?;
            Ok(())
        })
        .await
    }

    /// Deletes every CloudMapping without its finalizer, whatever it records; how many there were.
    ///
    /// # Errors
    /// The API server's.
    pub async fn strip_mappings(&self) -> Result<usize> {
        let all: Api<CloudMapping> = Api::all(self.kube.clone());
        let found = all.list(&ListParams::default()).await?.items;
        for mapping in &found {
            let api = self.mapping_api(&mapping.namespace().unwrap_or_default());
            let none = Patch::Merge(json!({"metadata": {"finalizers": null}}));
            gone(api.patch(&mapping.name_any(), &PatchParams::default(), &none).await)?;
            gone(api.delete(&mapping.name_any(), &DeleteParams::default()).await)?;
        }
        Ok(found.len())
    }

    /// Admission refuses Pods until the namespace has its service account.
    pub(crate) async fn service_account(&self, namespace: &str) -> Result<()> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.kube.clone(), namespace);
        until("the namespace has its service account", async || {
            Ok(accounts.get("default").await.map(drop)?)
        })
        .await
    }
}

/// That it is gone already is fine.
pub(crate) fn gone<T>(answer: kube::Result<T>) -> Result<()> {
    match answer {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => Ok(other.map(drop)?),
    }
}

/// A condition of a CloudMapping.
pub fn condition<'a>(mapping: &'a CloudMapping, kind: &str) -> Option<&'a Condition> {
    mapping.status.as_ref()?.conditions.iter().find(|c| c.type_ == kind)
}

/// Whether a CloudMapping is Ready.
pub fn ready(mapping: &CloudMapping) -> bool {
    mapping.is_ready()
}

/// The id of the one port that a CloudMapping records.
pub fn port_id(mapping: &CloudMapping) -> Option<String> {
    let resources = &mapping.status.as_ref()?.resources;
    resources.iter().find(|r| r.kind == isthmus_model::kinds::Kind::Port)?.id.clone()
}

/// Ids of the ports that mappings record, by the subject's name.
///
/// # Errors
/// One records no port.
pub fn recorded(mappings: &[CloudMapping]) -> Result<BTreeMap<String, String>> {
    let one = |m: &CloudMapping| Ok((m.spec.subject.name.clone(), port_id(m).context("it records a port")?));
    mappings.iter().map(one).collect()
}
