//! Where modules come from: sources that are refused, in parts, unlabelled or gone, and what is kept of them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use isthmus_e2e::{Lab, condition, marked_for, module_condition, on_lab, pods_config, port_id, until};
use isthmus_kubernetes::names::FINALIZER;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{ManglingAndAbi, Resolve};

/// Far more than an operator that stops needs.
const STOP: Duration = Duration::from_secs(15);

/// The namespace says its network itself, so that a module without config is enough.
async fn own_network(lab: &Lab, namespace: &str) -> Result<()> {
    let patch = Patch::Merge(json!({"metadata": {"annotations": {"isthmus.dev/network": "pods"}}}));
    let namespaces: Api<Namespace> = Api::all(lab.kube.clone());
    namespaces.patch(namespace, &PatchParams::default(), &patch).await?;
    Ok(())
}

/// A component of a world of this WIT text, whose functions all trap.
fn dummy(package: &str) -> Result<Vec<u8>> {
    let mut resolve = Resolve::default();
    let id = resolve.push_str("test.wit", package)?;
    let world = resolve.select_world(&[id], Some("w"))?;
    let mut module = dummy_module(&resolve, world, ManglingAndAbi::Standard32);
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false)?;
    ComponentEncoder::default().module(&module)?.encode()
}

#[tokio::test]
async fn a_bad_module_is_refused_and_the_old_one_serves() -> Result<()> {
    on_lab("refused", async |lab| {
        let (namespace, _operator) = lab.with_pod_port(&[]).await?;
        let digest = lab.loaded("pod-port").await?.status.and_then(|s| s.digest);
        let wasi = "package wasi:clocks@0.2.0; interface now { now: func() -> u64; }
                    world w { import now; export describe: func(); }";
        let future = "package isthmus:mapping@1.0.0; interface log { write: func(message: string); }
                      world w { import log; export describe: func() -> string; }";
        let good = std::fs::read(lab.module_file("pod-port")?)?;
        let wrong = [("isthmus.dev/sha256", "00")];
        let other = "1".repeat(64);
        let expected = format!("expected {other}");
        let config = json!({"config": pods_config(&[])});
        let pinned = json!({"config": pods_config(&[]), "sha256": other});
        let core = b"\0asm\x01\0\0\0".to_vec();
        // What is there, what the ConfigMap says of it, and the PolicyModule; and how it is refused.
        let table = [
            (
                "not wasm",
                b"#!/bin/sh".to_vec(),
                &[][..],
                &config,
                "NotAComponent",
                "no WebAssembly component",
            ),
            ("a core module", core, &[][..], &config, "NotAComponent", "core WebAssembly module"),
            ("a WASI import", dummy(wasi)?, &[][..], &config, "ForbiddenImports", "wasi:clocks/now@0.2.0"),
            (
                "a future contract",
                dummy(future)?,
                &[][..],
                &config,
                "UnknownContractVersion",
                "isthmus:mapping 1.0.0",
            ),
            ("a wrong sha256", good.clone(), &wrong[..], &config, "DigestMismatch", "expected 00"),
            ("another spec.sha256", good.clone(), &[][..], &pinned, "DigestMismatch", &expected),
            // The PolicyModule's counts.
            ("two of them", good, &wrong[..], &pinned, "DigestMismatch", &expected),
        ];
        for (at, (what, bytes, annotations, spec, reason, part)) in table.into_iter().enumerate() {
            lab.policy_module("pod-port", spec.clone()).await?;
            lab.source("pod-port", "pod-port", ("module.wasm", &bytes), annotations).await?;
            let refused = lab.refused("pod-port", reason, part).await.context(what)?;
            let status = refused.status.clone().unwrap_or_default();
            ensure!(status.digest == digest, "{what}: the old one serves");
            ensure!(module_condition(&refused, "Serving").is_some_and(|c| c.status == "True"), "{what}");
            let pod = lab.pod(&namespace, &format!("p-{at}"), json!({})).await?;
            lab.pod_ready(&pod).await.context(what)?;
        }
        lab.load_pod_port().await?;
        lab.loaded("pod-port").await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_module_in_several_config_maps_makes_its_policy_module() -> Result<()> {
    on_lab("parts", async |lab| {
        let namespace = lab.namespace().await?;
        own_network(lab, &namespace).await?;
        let _operator = lab.operator(&[]).await?;
        let bytes = std::fs::read(lab.module_file("pod-port")?)?;
        let parts: Vec<&[u8]> = bytes.chunks(bytes.len().div_ceil(3)).collect();
        for (at, part) in parts.iter().enumerate().rev() {
            ensure!(lab.module_api().get_opt("pod-port").await?.is_none(), "not before all parts are there");
            let number = format!("{}/{}", at + 1, parts.len());
            let annotation = [("isthmus.dev/part", number.as_str())];
            lab.source(&format!("part-{at}"), "pod-port", ("any.wasm", part), &annotation).await?;
        }
        until("the PolicyModule is made", async || Ok(lab.module_api().get("pod-port").await?)).await?;
        let module = lab.loaded("pod-port").await?;
        ensure!(module.spec.source.config_maps.len() == 3, "{:?}", module.spec.source);
        lab.pod_ready(&lab.pod(&namespace, "p", json!({})).await?).await?;
        lab.remove_source("part-1").await?;
        lab.refused("pod-port", "SourceMissing", "part-1").await?;
        lab.pod_ready(&lab.pod(&namespace, "q", json!({})).await?).await.map(drop)
    })
    .await
}

#[tokio::test]
async fn a_label_alone_makes_a_policy_module() -> Result<()> {
    on_lab("label", async |lab| {
        let namespace = lab.namespace().await?;
        own_network(lab, &namespace).await?;
        let _operator = lab.operator(&[]).await?;
        let from = format!("--from-file={}", lab.module_file("pod-port")?);
        let system = ["-n", isthmus_e2e::OPERATOR_NAMESPACE];
        lab.kubectl(&[&["create", "configmap", "ports", &from], &system[..]].concat()).await?;
        let label = "isthmus.dev/policy-module=ports";
        lab.kubectl(&[&["label", "configmap", "ports", label], &system[..]].concat()).await?;
        until("the PolicyModule is made", async || Ok(lab.module_api().get("ports").await?)).await?;
        let module = lab.loaded("ports").await?;
        let spec = &module.spec;
        ensure!(spec.config.is_empty() && spec.sha256.is_none() && spec.rollout.max_deletes == 0, "{spec:?}");
        lab.pod_ready(&lab.pod(&namespace, "p", json!({})).await?).await.map(drop)
    })
    .await
}

#[tokio::test]
async fn the_last_good_bytes_survive_a_restart_without_the_source() -> Result<()> {
    on_lab("kept", async |lab| {
        let (namespace, operator) = lab.with_pod_port(&[]).await?;
        let first = lab.pod(&namespace, "p", json!({})).await?;
        let port = port_id(&lab.pod_ready(&first).await?);
        until("the version that serves is kept", async || {
            Ok(lab.config_maps().get("isthmus-kept-current.pod-port").await.map(drop)?)
        })
        .await?;
        ensure!(operator.stop(STOP).await?.success());
        lab.remove_source("pod-port").await?;
        let operator = lab.operator(&[]).await?;
        let module = lab.refused("pod-port", "SourceMissing", "ConfigMap pod-port is not there").await?;
        ensure!(
            module_condition(&module, "Serving").is_some_and(|c| c.status == "True"),
            "the kept one serves"
        );
        ensure!(operator.quiet().await?.cloud_writes() == 0, "nothing changes");
        lab.pod_ready(&lab.pod(&namespace, "q", json!({})).await?).await?;
        ensure!(port_id(&lab.mapping(&first).await?) == port);
        Ok(())
    })
    .await
}

/// Without its bytes anywhere, a refiner's work can't be left out.
#[tokio::test]
async fn a_missing_refiner_freezes_the_kind() -> Result<()> {
    on_lab("refiner-without-a-config", async |lab| {
        lab.load_pod_port().await?;
        lab.load("tag-by-team", "tag-by-team").await?;
        let namespace = lab.namespace().await?;
        let operator = lab.operator(&[]).await?;
        lab.loaded("tag-by-team").await?;
        let first = lab.pod(&namespace, "p", json!({})).await?;
        let port = port_id(&lab.pod_ready(&first).await?);
        ensure!(operator.stop(STOP).await?.success());
        lab.remove_source("tag-by-team").await?;
        lab.remove_source("isthmus-kept-current.tag-by-team").await?;
        let operator = lab.operator(&[]).await?;
        lab.refused("tag-by-team", "SourceMissing", "ConfigMap tag-by-team is not there").await?;
        let frozen = lab.mapped_as(&first, "False", "ModuleMissing").await?;
        let said = condition(&frozen, "Mapped").map(|c| c.message.clone()).unwrap_or_default();
        ensure!(said.contains("tag-by-team") && port_id(&frozen) == port, "{said}");
        let second = lab.pod(&namespace, "q", json!({})).await?;
        let uid = second.uid().context("uid")?;
        ensure!(operator.quiet().await?.cloud_writes() == 0, "nothing is mapped without it");
        ensure!(!lab.ports().await?.iter().any(|p| marked_for(p, &uid)), "q has no port");
        // Who takes the refiner away takes its condition away.
        lab.remove_module("tag-by-team").await?;
        lab.pod_ready(&second).await?;
        ensure!(port_id(&lab.pod_ready(&first).await?) == port);
        Ok(())
    })
    .await
}

/// What holds a PolicyModule until its mappings are gone is as safe as that of a CloudMapping.
#[tokio::test]
async fn a_finalizer_that_somebody_takes_off_comes_back() -> Result<()> {
    on_lab("module-finalizer", async |lab| {
        let (_namespace, _operator) = lab.with_pod_port(&[]).await?;
        let modules = lab.module_api();
        let none = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        modules.patch("pod-port", &PatchParams::default(), &none).await?;
        until("it is back", async || {
            let module = modules.get("pod-port").await?;
            ensure!(module.finalizers() == [FINALIZER], "{:?}", module.finalizers());
            Ok(())
        })
        .await
    })
    .await
}
