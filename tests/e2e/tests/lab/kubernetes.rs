//! `isthmus-kubernetes` against the lab's API server (`KUBECONFIG` names it).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use isthmus_e2e::{node, until};
use isthmus_kubernetes::crd::{
    CloudMapping, CloudMappingStatus, ModuleVersion, PolicyModule, ResourceReference, ResourceState,
    ResourceStatus, crds,
};
use isthmus_kubernetes::events::{Events, Happening, Severity};
use isthmus_kubernetes::lease::{Candidate, Leadership, Timing};
use isthmus_kubernetes::mapping::Mappings;
use isthmus_kubernetes::names::FINALIZER;
use isthmus_kubernetes::watch::{self, WatchEvent, Watches};
use isthmus_kubernetes::{Client, ErrorKind};
use isthmus_model::kinds::Kind;
use isthmus_model::object::{Gvk, ObjectKey, Subject};
use isthmus_model::projection::Mask;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::api::events::v1::Event as KubeEvent;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::conditions::is_crd_established;
use kube::runtime::wait::await_condition;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(30);

struct Stage {
    client: Client,
    namespace: String,
}

static STAGES: AtomicU32 = AtomicU32::new(0);

impl Stage {
    /// A namespace of the test's own, and our definitions.
    async fn new(name: &str) -> Result<Self> {
        let client = Client::connect(None).await?;
        for crd in crds() {
            apply_definition(&client, &crd).await?;
        }
        let number = STAGES.fetch_add(1, Ordering::Relaxed);
        let namespace = format!("e2e-{name}-{}-{number}", std::process::id());
        let object = serde_json::from_value(json!({"metadata": {"name": namespace}}))?;
        Api::<Namespace>::all(client.kube()).create(&PostParams::default(), &object).await?;
        Ok(Self { client, namespace })
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.kube(), &self.namespace)
    }

    async fn config_map(&self, name: &str, data: &str) -> Result<ConfigMap> {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"key": data}});
        let parameters = PatchParams::apply("e2e").force();
        Ok(self.api::<ConfigMap>().patch(name, &parameters, &Patch::Apply(object)).await?)
    }

    async fn subject(&self, name: &str) -> Result<Subject> {
        let object = self.config_map(name, "x").await?;
        let key = ObjectKey::new(Gvk::new("", "v1", "ConfigMap"), Some(&self.namespace), name);
        Ok(Subject { key, uid: object.uid().context("uid")?.as_str().into() })
    }

    async fn end(self) -> Result<()> {
        Api::<Namespace>::all(self.client.kube()).delete(&self.namespace, &DeleteParams::default()).await?;
        Ok(())
    }
}

async fn apply_definition(client: &Client, crd: &CustomResourceDefinition) -> Result<()> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.kube());
    let name = crd.name_any();
    definitions.patch(&name, &PatchParams::apply("e2e").force(), &Patch::Apply(crd)).await?;
    timeout(LIMIT, await_condition(definitions, &name, is_crd_established())).await??;
    Ok(())
}

fn refused<T: std::fmt::Debug>(answer: kube::Result<T>, text: &str) -> Result<()> {
    match answer {
        Err(kube::Error::Api(status)) if status.code == 422 && status.message.contains(text) => Ok(()),
        other => bail!("expected a refusal with {text:?}, got {other:?}"),
    }
}

#[tokio::test]
async fn definitions_refuse_what_is_wrong() -> Result<()> {
    let stage = Stage::new("crds").await?;
    let mappings = stage.api::<CloudMapping>();
    let home = Mappings::new(stage.client.clone(), &stage.namespace);
    let mapping = home.create(&stage.subject("immutable").await?, None, None).await?;
    let name = mapping.name_any();
    let other = Patch::Merge(json!({"spec": {"subject": {"uid": "another"}}}));
    refused(mappings.patch(&name, &PatchParams::default(), &other).await, "one subject for ever")?;

    let subject = json!({"apiVersion": "v1", "kind": "Pod", "name": "p"});
    for (reference, text) in [
        (json!({"id": "i"}), "exactly one of entry and existing"),
        (json!({"id": "i", "existing": "e", "subject": subject}), "a subject needs an entry"),
    ] {
        let resource = json!({"name": "a", "kind": "port", "state": "Ready", "references": [reference]});
        let patch = Patch::Merge(json!({"status": {"resources": [resource]}}));
        refused(mappings.patch_status(&name, &PatchParams::default(), &patch).await, text)?;
    }

    let modules: Api<PolicyModule> = Api::all(stage.client.kube());
    let module_name = stage.namespace.clone();
    let module = |spec: Value| -> Result<PolicyModule> {
        Ok(serde_json::from_value(json!({"apiVersion": "isthmus.dev/v1alpha1", "kind": "PolicyModule",
                                         "metadata": {"name": module_name}, "spec": spec}))?)
    };
    let source = json!({"configMaps": [{"name": "a"}]});
    let raw: Api<DynamicObject> =
        Api::all_with(stage.client.kube(), &kube::api::ApiResource::erase::<PolicyModule>(&()));
    for (field, value, text) in [
        ("sha256", json!("XYZ"), "spec.sha256"),
        ("limits", json!({"deadlineMs": 0}), "spec.limits.deadlineMs"),
        ("limits", json!({"memoryMiB": 100_000}), "spec.limits.memoryMiB"),
        ("failurePolicy", json!("Shrug"), "Unsupported value"),
        ("source", json!({"configMaps": []}), "spec.source.configMaps"),
    ] {
        let mut spec = json!({"source": source});
        spec[field] = value;
        let object =
            serde_json::from_value(json!({"apiVersion": "isthmus.dev/v1alpha1", "kind": "PolicyModule",
                                                   "metadata": {"name": module_name}, "spec": spec}))?;
        refused(raw.create(&PostParams::default(), &object).await, text)?;
    }
    let mut long = module(json!({"source": source}))?;
    long.metadata.name = Some("m".repeat(64));
    refused(modules.create(&PostParams::default(), &long).await, "at most 63 characters")?;
    let made = modules
        .create(&PostParams::default(), &module(json!({"source": source, "config": {"any": [1, "x"]}}))?)
        .await?;
    modules.delete(&made.name_any(), &DeleteParams::default()).await?;
    ensure!(made.spec.limits.memory_mib == 64 && made.spec.config.contains_key("any"), "{:?}", made.spec);
    home.release(&stage.namespace, &name, &mapping.uid().context("uid")?).await?;
    stage.end().await
}

#[tokio::test]
async fn a_mapping_lives_and_goes() -> Result<()> {
    let stage = Stage::new("mapping").await?;
    let client = stage.client.clone();
    let home = Mappings::new(client.clone(), &stage.namespace);
    let subject = stage.subject("web").await?;
    let made = home.create(&subject, Some(node()), None).await?;
    ensure!(
        made.finalizers() == [FINALIZER]
            && made.owner_references().first().is_some_and(|o| o.uid == *subject.uid)
    );
    ensure!(made.spec.subject.subject() == subject, "{:?}", made.spec);
    let again = home.create(&subject, Some(node()), None).await?;
    ensure!(again.uid() == made.uid(), "the stored one is returned");
    let another = Subject { uid: "another".into(), key: subject.key.clone() };
    ensure!(home.lives(&subject).await? && !home.lives(&another).await?, "its life, and no other");

    let name = made.name_any();
    let references =
        vec![ResourceReference { entry: None, subject: None, existing: Some("net".into()), id: "n".into() }];
    let resource = ResourceStatus {
        name: "eth0".into(),
        kind: Kind::Port,
        id: Some("p".into()),
        state: ResourceState::Ready,
        hash: "h".into(),
        fields: ["network".to_owned()].into(),
        project: None,
        references,
        addresses: vec!["10.100.0.5".into()],
        message: None,
        created_unknown: false,
        retained: false,
    };
    let module = ModuleVersion { name: "m".into(), version: "1.0.0".into(), digest: "d".into() };
    let full = CloudMappingStatus {
        module: Some(module),
        ips: Some("10.100.0.5".into()),
        resource_count: Some(1),
        resources: vec![resource],
        ..CloudMappingStatus::default()
    };
    let version = made.resource_version();
    let written = home.patch_status(&stage.namespace, &name, &full, version.as_deref()).await?;
    ensure!(written.status.as_ref() == Some(&full), "{:?}", written.status);
    let stale =
        home.patch_status(&stage.namespace, &name, &CloudMappingStatus::default(), version.as_deref()).await;
    ensure!(stale.is_err_and(|e| e.kind == ErrorKind::Conflict), "a stale write is a conflict");
    let emptied = home.patch_status(&stage.namespace, &name, &CloudMappingStatus::default(), None).await?;
    ensure!(emptied.status.as_ref() == Some(&CloudMappingStatus::default()), "{:?}", emptied.status);

    let uid = made.uid().context("uid")?;
    home.release(&stage.namespace, &name, "of-another-life").await?;
    ensure!(stage.api::<CloudMapping>().get_opt(&name).await?.is_some(), "another life is not released");
    let before = client.writes().total();
    home.release(&stage.namespace, &name, &uid).await?;
    ensure!(client.writes().total() - before <= 2, "{:?}", client.writes().counts());
    ensure!(stage.api::<CloudMapping>().get_opt(&name).await?.is_none(), "it is gone");
    home.release(&stage.namespace, &name, &uid).await?;

    // A finalizer of somebody else stays, and one write is enough where it is being deleted already.
    let made = home.create(&subject, None, None).await?;
    let patch = Patch::Merge(json!({"metadata": {"finalizers": ["example.org/other", FINALIZER]}}));
    stage.api::<CloudMapping>().patch(&name, &PatchParams::default(), &patch).await?;
    stage.api::<CloudMapping>().delete(&name, &DeleteParams::default()).await?;
    let before = client.writes().total();
    home.release(&stage.namespace, &name, &made.uid().context("uid")?).await?;
    ensure!(client.writes().total() - before == 1, "{:?}", client.writes().counts());
    ensure!(stage.api::<CloudMapping>().get(&name).await?.finalizers() == ["example.org/other"]);
    let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    stage.api::<CloudMapping>().patch(&name, &PatchParams::default(), &patch).await?;
    stage.end().await
}

#[tokio::test]
async fn a_terminating_namespace_takes_no_mapping() -> Result<()> {
    let stage = Stage::new("terminating").await?;
    let home = Mappings::new(stage.client.clone(), &stage.namespace);
    let subject = stage.subject("web").await?;
    let kept = home.create(&stage.subject("kept").await?, None, None).await?;
    let namespaces: Api<Namespace> = Api::all(stage.client.kube());
    namespaces.delete(&stage.namespace, &DeleteParams::default()).await?;
    let refused = home.create(&subject, None, None).await;
    ensure!(refused.as_ref().is_err_and(|e| e.kind == ErrorKind::NamespaceTerminating), "{refused:?}");
    home.release(&stage.namespace, &kept.name_any(), &kept.uid().context("uid")?).await?;
    until("the namespace is gone", async || {
        ensure!(namespaces.get_opt(&stage.namespace).await?.is_none(), "it is there");
        Ok(())
    })
    .await
}

async fn next(events: &mut mpsc::Receiver<WatchEvent>) -> Result<WatchEvent> {
    timeout(LIMIT, events.recv()).await?.context("the watches ended")
}

/// Waits for the change of this object; whether it is there after it.
async fn changed(events: &mut mpsc::Receiver<WatchEvent>, name: &str) -> Result<Option<String>> {
    loop {
        if let WatchEvent::Changed(changes) = next(events).await?
            && let Some(change) = changes.into_iter().find(|c| &*c.key.name == name)
        {
            return Ok(change.new.map(|stored| stored.text.to_string()));
        }
    }
}

#[tokio::test]
async fn changes_reach_the_store_projected() -> Result<()> {
    let stage = Stage::new("watch").await?;
    let (watches, mut events) = Watches::start(stage.client.clone(), Arc::default());
    let kind = Gvk::new("", "v1", "ConfigMap");
    watches.ensure(BTreeMap::from([(kind.clone(), Mask::new([])?)]));
    loop {
        if matches!(next(&mut events).await?, WatchEvent::Synced(_)) {
            break;
        }
    }
    let name = format!("{}-a", stage.namespace);
    stage.config_map(&name, "one").await?;
    let text = changed(&mut events, &name).await?.context("it is there")?;
    ensure!(!text.contains("one"), "{text}");
    watches.ensure(BTreeMap::from([(kind, Mask::new(["data"])?)]));
    let text = changed(&mut events, &name).await?.context("it is there")?;
    ensure!(text.contains("one"), "{text}");
    let begun = Instant::now();
    stage.config_map(&name, "two").await?;
    let text = changed(&mut events, &name).await?.context("it is there")?;
    ensure!(
        text.contains("two") && begun.elapsed() < Duration::from_secs(2),
        "{text} after {:?}",
        begun.elapsed()
    );
    stage.api::<ConfigMap>().delete(&name, &DeleteParams::default()).await?;
    ensure!(changed(&mut events, &name).await?.is_none());
    stage.end().await
}

#[tokio::test]
async fn a_kind_is_watched_soon_after_its_definition() -> Result<()> {
    let stage = Stage::new("later").await?;
    let group = format!("{}.example.org", stage.namespace);
    let kind = Gvk::new(&group, "v1", "Widget");
    let (watches, mut events) = Watches::start(stage.client.clone(), Arc::default());
    watches.ensure(BTreeMap::from([(kind.clone(), Mask::new([])?)]));
    let WatchEvent::Unavailable { gvk, .. } = next(&mut events).await? else { bail!("it is not there yet") };
    ensure!(gvk == kind);
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    let crd: CustomResourceDefinition = serde_json::from_value(json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("widgets.{group}")},
        "spec": {"group": group, "scope": "Cluster", "names": {"plural": "widgets", "kind": "Widget"},
                 "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}]}
    }))?;
    apply_definition(&stage.client, &crd).await?;
    let established = Instant::now();
    let WatchEvent::Synced(gvk) = next(&mut events).await? else { bail!("it is listed") };
    let waited = established.elapsed();
    let definitions: Api<CustomResourceDefinition> = Api::all(stage.client.kube());
    definitions.delete(&crd.name_any(), &DeleteParams::default()).await?;
    ensure!(gvk == kind && waited < Duration::from_secs(1), "{waited:?}");
    stage.end().await
}

#[tokio::test]
async fn mappings_are_told_as_they_come_and_go() -> Result<()> {
    let stage = Stage::new("typed").await?;
    let home = Mappings::new(stage.client.clone(), &stage.namespace);
    let node = stage.namespace.clone();
    let mut events = watch::mappings(&stage.client, Some(&node));
    ensure!(matches!(timeout(LIMIT, events.recv()).await?, Some(watch::Event::Synced)));
    let made = home.create(&stage.subject("web").await?, Some(&node), None).await?;
    let told = timeout(LIMIT, events.recv()).await?;
    let Some(watch::Event::Applied(mapping)) = told else { bail!("{told:?}") };
    ensure!(mapping.uid() == made.uid() && mapping.metadata.managed_fields.is_none());
    home.release(&stage.namespace, &made.name_any(), &made.uid().context("uid")?).await?;
    loop {
        match timeout(LIMIT, events.recv()).await? {
            Some(watch::Event::Deleted(object)) => {
                ensure!(Some(object.uid) == made.uid());
                break;
            }
            // Our finalizer was taken off.
            Some(watch::Event::Applied(_)) => {}
            other => bail!("{other:?}"),
        }
    }
    stage.end().await
}

#[tokio::test]
async fn the_lease_is_handed_over() -> Result<()> {
    let stage = Stage::new("lease").await?;
    let start = |identity: &str| {
        let candidate =
            Candidate::new(stage.client.clone(), &stage.namespace, "isthmus", identity, Timing::default());
        let (stop, stopped) = oneshot::channel::<()>();
        let leadership = candidate.leadership();
        let task = tokio::spawn(candidate.run(async {
            let _ = stopped.await;
        }));
        (leadership, stop, task)
    };
    let (mut a, stop_a, task_a) = start("a");
    timeout(LIMIT, a.wait_for(Leadership::leads)).await??;
    let (mut b, stop_b, task_b) = start("b");
    timeout(LIMIT, b.wait_for(|l| *l == Leadership::Follower { holder: Some("a".into()) })).await??;
    drop(stop_a);
    task_a.await?;
    let begun = Instant::now();
    timeout(LIMIT, b.wait_for(Leadership::leads)).await??;
    ensure!(begun.elapsed() < Duration::from_secs(5), "given back, so not waited out: {:?}", begun.elapsed());
    ensure!(!a.borrow().leads());
    drop(stop_b);
    task_b.await?;
    stage.end().await
}

#[tokio::test]
async fn events_show_on_their_subject() -> Result<()> {
    let stage = Stage::new("events").await?;
    let subject = stage.subject("web").await?;
    let events = Events::start(stage.client.clone(), "e2e");
    for _ in 0..5 {
        events.tell(Happening {
            subject: subject.clone(),
            severity: Severity::Warning,
            reason: "OverQuota".into(),
            action: "Realize",
            note: "3 of 3 ports".into(),
        });
    }
    let api = stage.api::<KubeEvent>();
    let stored = until("the event is there", async || {
        let stored = api.list(&ListParams::default()).await?.items;
        ensure!(!stored.is_empty(), "no event");
        Ok(stored)
    })
    .await?;
    let [event] = stored.as_slice() else { bail!("one event, not {}", stored.len()) };
    let regarding = event.regarding.as_ref().context("regarding")?;
    ensure!(
        regarding.uid.as_deref() == Some(&*subject.uid) && event.type_.as_deref() == Some("Warning"),
        "{event:?}"
    );
    ensure!(events.dropped() == 0);
    stage.end().await
}

#[tokio::test]
async fn the_cluster_is_named_by_kube_system() -> Result<()> {
    let client = Client::connect(None).await?;
    ensure!(client.cluster_id().await?.len() == 36);
    ensure!(client.writes().total() == 0);
    Ok(())
}
