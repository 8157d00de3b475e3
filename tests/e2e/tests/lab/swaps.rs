//! Versions that follow one another while Pods come and calls are under way.

use anyhow::{Context, Result, ensure};
use isthmus_e2e::{Lab, Operator, faults_config, on_lab, pods_config, until};
use isthmus_kubernetes::crd::{CloudMapping, PolicyModule};
use serde_json::{Value, json};

/// In another ConfigMap than the one of its name, so that one write swaps source and config.
const NEXT: &str = "faults-next";

/// With this fault for the Pods named `slow-*`.
fn version(source: &str, fault: Option<&str>) -> Value {
    json!({
        "source": {"configMaps": [{"name": source}]},
        "config": faults_config(fault, "slow-"),
        "limits": {"deadlineMs": 10_000},
    })
}

/// The same module, built anew: a custom section more (component model, Binary.md) is another digest. Each build has its own.
fn rebuilt(mut component: Vec<u8>, build: u8) -> Vec<u8> {
    component.extend(*b"\0\x07\x05build");
    component.push(build);
    component
}

/// Its beginning, as metrics have it.
fn digest(module: &PolicyModule) -> Option<&str> {
    module.status.as_ref()?.short_digest.as_deref()
}

fn mapped_by(mapping: &CloudMapping, digest: &str) -> bool {
    let module = mapping.status.as_ref().and_then(|s| s.module.as_ref());
    module.is_some_and(|module| module.digest.starts_with(digest))
}

/// Calls of this version that gave a list.
async fn ended_well(operator: &Operator, digest: &str) -> Result<u64> {
    let labels = [("digest", digest), ("operation", "map"), ("result", "ok")];
    Ok(operator.metrics().await?.sum("isthmus_module_calls_total", &labels))
}

/// Two versions, one of which serves; the digests of both.
async fn two_versions(lab: &Lab) -> Result<[String; 2]> {
    let bytes = std::fs::read(lab.module_file("faults")?)?;
    lab.source("faults", "faults", ("module.wasm", &bytes), &[]).await?;
    lab.source(NEXT, "faults", ("module.wasm", &rebuilt(bytes, 0)), &[]).await?;
    let mut digests = Vec::new();
    // The next one first: it is compiled by then, and the swap to it a matter of milliseconds.
    for source in [NEXT, "faults"] {
        lab.policy_module("faults", version(source, None)).await?;
        digests.push(digest(&lab.loaded("faults").await?).context("a digest")?.to_owned());
    }
    let [next, first] = <[String; 2]>::try_from(digests).map_err(|d| anyhow::anyhow!("{d:?}"))?;
    ensure!(first != next, "one digest");
    Ok([first, next])
}

#[tokio::test]
async fn calls_under_way_end_on_the_version_that_they_began_with() -> Result<()> {
    on_lab("calls-under-way", async |lab| {
        let operator = lab.operator(&[]).await?;
        let namespace = lab.namespace().await?;
        let [first, next] = two_versions(lab).await?;
        for name in ["slow-0", "slow-1", "quick-0"] {
            lab.pod_ready(&lab.pod(&namespace, name, json!({})).await?).await?;
        }
        // The same lists, after seconds: each of the slow ones is called once more.
        lab.policy_module("faults", version("faults", Some("slow"))).await?;
        lab.loaded("faults").await?;
        until("both slow calls are under way, and they alone", async || {
            let count = operator.metrics().await?.sum("isthmus_reconciles_in_flight", &[]);
            ensure!(count == 2, "{count} reconciles");
            Ok(())
        })
        .await?;

        lab.policy_module("faults", version(NEXT, None)).await?;
        ensure!(digest(&lab.loaded("faults").await?) == Some(&next), "the next version serves");
        let before = ended_well(&operator, &first).await?;
        let quick = lab.pod_ready(&lab.pod(&namespace, "quick-1", json!({})).await?).await?;
        ensure!(mapped_by(&quick, &next), "the next version maps who comes now");

        let numbers = operator.quiet().await?;
        let after = ended_well(&operator, &first).await?;
        ensure!(after == before + 2, "{} calls ended on the first version", after - before);
        let calls = numbers.sum("isthmus_module_calls_total", &[("operation", "map")]);
        let good = [("operation", "map"), ("result", "ok")];
        ensure!(calls == numbers.sum("isthmus_module_calls_total", &good), "a call failed");
        ensure!(numbers.calls("POST", "ports") == 4, "no port is made twice");
        let mappings = lab.all_ready(&namespace, 4).await?;
        ensure!(mappings.iter().all(|m| mapped_by(m, &next)), "in the end all are of the next version");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_swap_under_load_fails_no_reconcile() -> Result<()> {
    on_lab("load", async |lab| {
        let (namespace, operator) = lab.with_pod_port(&[]).await?;
        let mut serving = digest(&lab.loaded("pod-port").await?).context("a digest")?.to_owned();
        let bytes = std::fs::read(lab.module_file("pod-port")?)?;
        let folder = tempfile::tempdir()?;
        let mut pods = Vec::new();
        for swap in 0..4 {
            for at in 0..8 {
                pods.push(lab.pod(&namespace, &format!("s{swap}-{at}"), json!({})).await?);
            }
            // Other bytes too: they are compiled beside the load.
            let build = folder.path().join(format!("{swap}.wasm"));
            std::fs::write(&build, rebuilt(bytes.clone(), swap))?;
            let build = build.to_str().context("UTF-8")?;
            lab.isthmus(&["module", "load", build, "--name", "pod-port"]).await?;
            let tag = format!("swap={swap}");
            lab.policy_module("pod-port", json!({"config": pods_config(&[&tag])})).await?;
            serving = until("the next build serves", async || {
                let module = lab.loaded("pod-port").await?;
                let next = digest(&module).context("a digest")?;
                ensure!(next != serving, "{next} serves still");
                Ok(next.to_owned())
            })
            .await?;
        }
        until("every port has the tag of the last version and of no other", async || {
            let ports = lab.ports().await?;
            let tags = |p: &isthmus_openstack::neutron::Port| -> Vec<String> {
                p.tags.iter().filter(|t| t.starts_with("swap=")).cloned().collect()
            };
            let last = ports.iter().filter(|p| tags(p) == ["swap=3"]).count();
            ensure!(ports.len() == pods.len() && last == pods.len(), "{last} of {} ports", ports.len());
            Ok(())
        })
        .await?;
        let numbers = operator.quiet().await?;
        let mappings = lab.all_ready(&namespace, pods.len()).await?;
        ensure!(mappings.iter().all(|m| mapped_by(m, &serving)), "in the end all are of the last build");
        // A Neutron that takes longer than a request may is no fault of the swap: each such request may fail one reconcile.
        let late = numbers.unanswered("network");
        let all = numbers.sum("isthmus_reconciles_total", &[]);
        let good = numbers.reconciles("done") + numbers.reconciles("waiting");
        let lost = numbers.reconciles("CloudAnswerLost") + numbers.reconciles("CloudUnavailable");
        ensure!(
            all == good + lost && lost <= late,
            "{all} reconciles: {good} good, {lost} without an answer of the cloud ({late} requests had none)"
        );
        let calls = numbers.sum("isthmus_module_calls_total", &[]);
        ensure!(calls == numbers.sum("isthmus_module_calls_total", &[("result", "ok")]), "{calls} calls");
        let (creates, pods) = (numbers.calls("POST", "ports"), pods.len() as u64);
        ensure!(
            (pods..=pods + late).contains(&creates),
            "{creates} creates for {pods} Pods, {late} requests without an answer"
        );
        Ok(())
    })
    .await
}
