//! Where modules come from: sources that are refused, in parts, unlabelled or gone, and what is kept of them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use isthmus_e2e::{Lab, condition, marked_for, module_condition, on_lab, pods_config, port_id, until};
use isthmus_kubernetes::crd::PolicyModule;
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
        let nested = "package a:b; interface i { f: func(); } world w { export i; export describe: func(); }";
        let odd = "package test:odd; world w { export describe: func() -> string; }";
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
            ("one in another", dummy(nested)?, &[][..], &config, "NotAComponent", "holds another component"),
            ("another world", dummy(odd)?, &[][..], &config, "WrongWorld", "expected are those of"),
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

/// This many bytes more, which no gzip makes smaller: the same module (component model, Binary.md: a custom section).
fn padded(mut component: Vec<u8>, more: u32) -> Vec<u8> {
    let noise = (0..u64::from(more)).map(|at| RandomState::new().hash_one(at).to_le_bytes()[0]);
    let content: Vec<u8> = [3, b'p', b'a', b'd'].into_iter().chain(noise).collect();
    component.push(0);
    // LEB128, of a fixed length
    let size = content.len();
    component.extend([0, 7, 14, 21].map(|shift| ((size >> shift) & 0x7f) as u8 | 0x80));
    component.push(u8::try_from(size >> 28).unwrap_or(0));
    component.extend(content);
    component
}

/// The API server takes 1 MiB a ConfigMap at the most (and etcd not much more), of what we write too.
#[tokio::test]
async fn a_module_of_more_than_a_config_map_is_loaded_and_kept() -> Result<()> {
    on_lab("large", async |lab| {
        let (namespace, operator) = lab.with_pod_port(&[]).await?;
        let bytes = padded(std::fs::read(lab.module_file("pod-port")?)?, 2 << 20);
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("large.wasm");
        std::fs::write(&file, bytes)?;
        let digest = |module: &PolicyModule| module.status.as_ref().and_then(|status| status.digest.clone());
        let before = digest(&lab.loaded("pod-port").await?);
        let file = file.to_str().context("UTF-8")?;
        lab.isthmus(&["module", "load", file, "--name", "pod-port"]).await?;
        let module = until("it serves", async || {
            let module = lab.loaded("pod-port").await?;
            ensure!(digest(&module) != before, "the one before serves");
            Ok(module)
        })
        .await?;
        ensure!(module.spec.source.config_maps.len() == 3, "{:?}", module.spec.source);
        lab.pod_ready(&lab.pod(&namespace, "p", json!({})).await?).await?;
        operator.quiet().await?;
        ensure!(operator.stop(STOP).await?.success());
        for part in &module.spec.source.config_maps {
            lab.remove_source(&part.name).await?;
        }
        let _operator = lab.operator(&[]).await?;
        let module = lab.refused("pod-port", "SourceMissing", "is not there").await?;
        ensure!(
            module_condition(&module, "Serving").is_some_and(|c| c.status == "True"),
            "the kept one serves"
        );
        lab.pod_ready(&lab.pod(&namespace, "q", json!({})).await?).await.map(drop)
    })
    .await
}

/// Compiled code is kept in the folder that the flag names, and used by the next one.
#[tokio::test]
async fn a_restart_compiles_nothing_that_is_compiled() -> Result<()> {
    on_lab("compiled", async |lab| {
        let folder = tempfile::tempdir()?;
        let flags = ["--cache-dir", folder.path().to_str().context("UTF-8")?];
        let (namespace, operator) = lab.with_pod_port(&flags).await?;
        let kept = || -> Result<BTreeMap<OsString, SystemTime>> {
            let all = std::fs::read_dir(folder.path().join("isthmus-modules-v1"))?;
            all.map(|file| file.and_then(|file| Ok((file.file_name(), file.metadata()?.modified()?))))
                .map(|file| Ok(file?))
                .collect()
        };
        let before = kept()?;
        let is_code = |name: &OsString| name.to_string_lossy().ends_with(".cwasm");
        ensure!(before.len() == 1 && before.keys().all(is_code), "{before:?}");
        ensure!(operator.stop(STOP).await?.success());
        let _operator = lab.operator(&flags).await?;
        lab.pod_ready(&lab.pod(&namespace, "p", json!({})).await?).await?;
        ensure!(kept()? == before, "{before:?} became {:?}", kept()?);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_last_good_bytes_survive_a_change_of_leader_without_the_source() -> Result<()> {
    on_lab("kept", async |lab| {
        let (namespace, operator) = lab.with_pod_port(&[]).await?;
        let first = lab.pod(&namespace, "p", json!({})).await?;
        let port = port_id(&lab.pod_ready(&first).await?);
        until("the version that serves is kept", async || {
            Ok(lab.config_maps().get("isthmus-kept-current.pod-port").await.map(drop)?)
        })
        .await?;
        // One that stood by all along, and never loaded it from its source.
        let mut operator_after = lab.operator_as("second", &[])?;
        operator_after.stands_by().await?;
        lab.remove_source("pod-port").await?;
        ensure!(operator.stop(STOP).await?.success());
        operator_after.leads().await?;
        let operator = operator_after;
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
