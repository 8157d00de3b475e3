//! A cluster as the commands look at it: its modules, and the objects that they read.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context;
use isthmus_cli::global::Kube;
use isthmus_kubernetes::Client;
use isthmus_kubernetes::crd::PolicyModule;
use isthmus_kubernetes::names::LABEL_POLICY_MODULE;
use isthmus_kubernetes::read::projected;
use isthmus_kubernetes::store::{Store, StoreSnapshot};
use isthmus_model::object::Gvk;
use isthmus_model::projection::Mask;
use isthmus_model::snapshot::CloudFacts;
use isthmus_openstack::{CloudConfig, Metrics, Session, Sources};
use isthmus_operator::facts_of;
use isthmus_operator::modules::{Pipelines, Unmapping, Version, config_of, keep, source};
use isthmus_policy::{Engine, Module};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use crate::module::engine;

/// The connection, and the engine that its modules run on.
pub(crate) struct Cluster {
    pub(crate) client: Client,
    pub(crate) engine: Engine,
    namespace: String,
}

impl Cluster {
    pub(crate) async fn connect(kube: &Kube) -> anyhow::Result<Self> {
        let client = Client::connect(kube.kubeconfig.as_deref()).await?;
        Ok(Self { client, engine: engine()?, namespace: kube.operator_namespace.clone() })
    }

    /// The PolicyModules.
    pub(crate) async fn modules(&self) -> anyhow::Result<Vec<PolicyModule>> {
        Ok(self.client.all("list PolicyModules").await?)
    }

    /// What serves of each PolicyModule: what the operator keeps, else what its ConfigMaps hold. One that does not load is told
    /// and left out.
    pub(crate) async fn versions(&self) -> anyhow::Result<BTreeMap<Arc<str>, Version>> {
        let maps = self.sources().await?;
        let mut versions = BTreeMap::new();
        for module in self.modules().await? {
            match self.version(&module, &maps).await {
                Ok(version) => drop(versions.insert(version.name.clone(), version)),
                Err(error) => tracing::warn!("PolicyModule {} is left out: {error:#}", module.name_any()),
            }
        }
        Ok(versions)
    }

    /// What the ConfigMaps of these modules hold besides what serves: a version that waits for approval, or for rights. What does
    /// not load is left out: its PolicyModule says why.
    pub(crate) async fn waiting(
        &self,
        modules: &[PolicyModule],
        serving: &BTreeMap<Arc<str>, Version>,
    ) -> anyhow::Result<Vec<Arc<Module>>> {
        let (maps, mut waiting) = (self.sources().await?, Vec::new());
        for module in modules {
            let Ok(source) = source::read(&module.spec.source, &maps) else { continue };
            let serves = serving.get(module.name_any().as_str()).map(|version| &**version.module.digest());
            if serves.is_none() || source.sha256.as_deref() != serves {
                waiting.extend(self.engine.load(&source.bytes, None));
            }
        }
        Ok(waiting)
    }

    /// The ConfigMaps of modules, by name.
    async fn sources(&self) -> anyhow::Result<BTreeMap<String, ConfigMap>> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.kube(), &self.namespace);
        let labelled = ListParams::default().labels(LABEL_POLICY_MODULE);
        let maps = self.client.read("list ConfigMaps", api.list(&labelled)).await?.items;
        Ok(maps.into_iter().map(|map| (map.name_any(), map)).collect())
    }

    async fn version(
        &self,
        module: &PolicyModule,
        maps: &BTreeMap<String, ConfigMap>,
    ) -> anyhow::Result<Version> {
        let name = module.name_any();
        let kept = keep::load(&self.client, &self.namespace, &name, keep::Which::Current).await?;
        let (bytes, config) = match kept {
            Some(kept) => (kept.bytes, kept.config.into()),
            None => (source::read(&module.spec.source, maps)?.bytes, config_of(module)),
        };
        let compiled = self.engine.load(&bytes, None).context("loading it")?;
        Ok(Version::new(module, compiled, config))
    }

    /// All objects that these modules read, and what the cloud can do, where OpenStack is configured.
    pub(crate) async fn snapshot(&self, masks: &BTreeMap<Gvk, Mask>) -> anyhow::Result<StoreSnapshot> {
        let mut store = self.store(masks).await?;
        match facts(None).await {
            Ok(facts) => drop(store.set_cloud(facts)),
            Err(error) => tracing::warn!(
                "modules are told that the cloud can do nothing, since it can't be asked (OS_CLOUD): {error:#}"
            ),
        }
        Ok(store.snapshot())
    }

    /// All objects that these modules read.
    pub(crate) async fn store(&self, masks: &BTreeMap<Gvk, Mask>) -> anyhow::Result<Store> {
        let mut store = Store::new();
        for (kind, mask) in masks {
            let objects = projected(&self.client, kind, mask).await?;
            store.replace_all(&Arc::new(kind.clone()), objects);
        }
        Ok(store)
    }
}

/// What the cloud can do, as modules are told it.
pub(crate) async fn facts(os_cloud: Option<&str>) -> anyhow::Result<CloudFacts> {
    Ok(facts_of(&cloud_session(os_cloud)?).await?)
}

/// The cloud, as OpenStack is configured here.
pub(crate) fn cloud_session(os_cloud: Option<&str>) -> anyhow::Result<Session> {
    let config = CloudConfig::load(&Sources::from_process(), os_cloud)?;
    Ok(Session::new(config, Metrics::default())?)
}

/// Pipelines of these versions.
pub(crate) fn pipelines(versions: BTreeMap<Arc<str>, Version>) -> anyhow::Result<Pipelines> {
    Ok(Pipelines::new(versions, BTreeMap::new(), &Unmapping::new())?)
}
