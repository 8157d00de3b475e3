//! `isthmus module load`: what it writes of modules that need more ConfigMaps than the version before, or fewer, and what the
//! operator makes of that.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]
#![allow(dead_code, reason = "the stage has what other tests need")]

mod stage;

use std::path::{Path, PathBuf};

use isthmus_kubernetes::crd::{PolicyModule, crds};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use stage::Stage;

/// More than two ConfigMaps hold, of what no gzip makes smaller.
const PAD: usize = 2 * 1024 * 1024;

/// The component of this name with a custom section more (component model, Binary.md): the same module, and much larger.
fn padded(name: &str, folder: &Path) -> PathBuf {
    let mut component = std::fs::read(stage::module(name)).unwrap();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let noise = std::iter::repeat_with(|| {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    });
    let content: Vec<u8> = [3, b'p', b'a', b'd'].into_iter().chain(noise.take(PAD)).collect();
    component.push(0);
    let mut size = content.len();
    // LEB128
    while size > 0x7f {
        component.push(u8::try_from(size & 0x7f).unwrap() | 0x80);
        size >>= 7;
    }
    component.push(u8::try_from(size).unwrap());
    component.extend(content);
    let file = folder.join(format!("{name}.wasm"));
    std::fs::write(&file, component).unwrap();
    file
}

fn config_maps(stage: &Stage) -> Api<ConfigMap> {
    Api::namespaced(stage.client.kube(), "isthmus-system")
}

/// Names of the ConfigMaps that hold a module.
async fn sources(stage: &Stage, name: &str) -> Vec<String> {
    let labelled = ListParams::default().labels(&format!("isthmus.dev/policy-module={name}"));
    let mut names: Vec<String> =
        config_maps(stage).list(&labelled).await.unwrap().iter().map(ResourceExt::name_any).collect();
    names.sort();
    names
}

async fn policy_module(stage: &Stage, name: &str) -> PolicyModule {
    Api::all(stage.client.kube()).get(name).await.unwrap()
}

/// When it was written last, in the order of the API server.
fn written(object: &impl ResourceExt) -> u64 {
    object.resource_version().unwrap().parse().unwrap()
}

/// A PolicyModule as a person writes it, with more in its spec.
async fn by_hand(stage: &Stage, name: &str, more: Value) {
    let mut spec = json!({"source": {"configMaps": [{"name": name}]}});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let object = json!({"apiVersion": "isthmus.dev/v1alpha1", "kind": "PolicyModule",
                        "metadata": {"name": name}, "spec": spec});
    stage.apply(object).await;
}

async fn load(stage: &Stage, name: &str, file: &Path) -> Value {
    let file = file.display().to_string();
    let said = stage.prints(&["module", "load", &file, "--name", name, "-o", "json"]).await;
    serde_json::from_str(&said).unwrap()
}

/// Of the one that a person wrote and of the one that the operator made.
#[tokio::test(flavor = "multi_thread")]
async fn a_module_that_needs_more_config_maps_or_fewer_serves() {
    let stage = Stage::start().await;
    let folder = tempfile::tempdir().unwrap();
    by_hand(&stage, "pod-port", json!({"config": {"network": "pods"}})).await;
    let operator = stage.operator(&[]);
    for name in ["pod-port", "tag-by-team"] {
        let (small, large) = (PathBuf::from(stage::module(name)), padded(name, folder.path()));
        let one = [name.to_owned()];
        let three = [1, 2, 3].map(|part| format!("{name}-{part}"));
        for (file, parts, before) in [
            (&small, &one[..], &[][..]),
            (&large, &three[..], &one[..]),
            (&large, &three[..], &[][..]),
            (&small, &one[..], &three[..]),
        ] {
            let said = load(&stage, name, file).await;
            assert_eq!((&said["configMaps"], &said["removed"]), (&json!(parts), &json!(before)), "{said}");
            let named = (!before.is_empty()).then_some(before);
            assert_eq!(said["sourceBefore"], json!(named), "{said}");
            stage.serves(name, said["sha256"].as_str().unwrap()).await;
            assert_eq!(sources(&stage, name).await, parts);
        }
        let made = policy_module(&stage, name).await.labels().contains_key("app.kubernetes.io/managed-by");
        assert_eq!(made, name == "tag-by-team");
    }
    stage.stop(operator).await;
}

/// At any time the PolicyModule names a version that is whole.
#[tokio::test(flavor = "multi_thread")]
async fn parts_are_written_then_named_and_then_old_ones_go() {
    let stage = Stage::start().await;
    let folder = tempfile::tempdir().unwrap();
    by_hand(&stage, "pod-port", json!({})).await;
    load(&stage, "pod-port", Path::new(&stage::module("pod-port"))).await;
    let hold = |finalizers: Value| Patch::Merge(json!({"metadata": {"finalizers": finalizers}}));
    let parameters = PatchParams::default();
    let maps = config_maps(&stage);
    maps.patch("pod-port", &parameters, &hold(json!(["example.org/hold"]))).await.unwrap();

    load(&stage, "pod-port", &padded("pod-port", folder.path())).await;
    let named = written(&policy_module(&stage, "pod-port").await);
    for part in 1..=3 {
        let part = maps.get(&format!("pod-port-{part}")).await.unwrap();
        assert!(written(&part) < named, "{} is named before it is there", part.name_any());
    }
    let old = maps.get("pod-port").await.unwrap();
    assert!(old.metadata.deletion_timestamp.is_some() && written(&old) > named, "{:?}", old.metadata);
    maps.patch("pod-port", &parameters, &hold(Value::Null)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_policy_module_cannot_be_changed_nothing_is_removed_and_the_parts_are_told() {
    let stage = Stage::start().await;
    let folder = tempfile::tempdir().unwrap();
    by_hand(&stage, "pod-port", json!({})).await;
    load(&stage, "pod-port", Path::new(&stage::module("pod-port"))).await;
    // A site's own rule.
    let mut definitions = crds().into_iter().map(|definition| json!(definition));
    let mut strict = definitions.rfind(|d| d["spec"]["names"]["kind"] == "PolicyModule").unwrap();
    let schema = &mut strict["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let source = &mut schema["properties"]["spec"]["properties"]["source"];
    source["properties"]["configMaps"]["maxItems"] = json!(1);
    stage.apply(strict).await;

    let file = padded("pod-port", folder.path()).display().to_string();
    let (_, said) = stage.fails(&["module", "load", &file]).await;
    let told = "name pod-port, and have to name pod-port-1, pod-port-2, pod-port-3";
    assert!(said.contains("PolicyModule pod-port does not take it") && said.contains(told), "{said}");
    assert!(said.contains("configMaps"), "why it is refused: {said}");
    assert!(sources(&stage, "pod-port").await.contains(&"pod-port".to_owned()), "the old one is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_of_another_digest_than_its_policy_module_says_is_refused() {
    let stage = Stage::start().await;
    let folder = tempfile::tempdir().unwrap();
    let config = json!({"network": "pods"});
    by_hand(&stage, "pod-port", json!({"config": config})).await;
    let operator = stage.operator(&[]);
    let loaded = load(&stage, "pod-port", Path::new(&stage::module("pod-port"))).await;
    let good = loaded["sha256"].as_str().unwrap();
    stage.serves("pod-port", good).await;
    by_hand(&stage, "pod-port", json!({"config": config, "sha256": good})).await;
    stage.serves("pod-port", good).await;

    // Its ConfigMaps say its own digest: it is what the PolicyModule says that counts.
    let other = load(&stage, "pod-port", &padded("pod-port", folder.path())).await;
    stage.says("pod-port", "DigestMismatch").await;
    let status = policy_module(&stage, "pod-port").await.status.unwrap();
    assert_eq!(status.digest.as_deref(), Some(good), "the old one serves");
    let refused = status.conditions.iter().find(|c| c.type_ == "Loaded").unwrap();
    assert!(refused.message.contains(&format!("expected {good}")), "{refused:?}");

    let digest = other["sha256"].as_str().unwrap();
    by_hand(&stage, "pod-port", json!({"config": config, "sha256": digest})).await;
    // The source is what `load` made it, and a person's file has the old name.
    load(&stage, "pod-port", &folder.path().join("pod-port.wasm")).await;
    stage.serves("pod-port", digest).await;
    stage.stop(operator).await;
}
