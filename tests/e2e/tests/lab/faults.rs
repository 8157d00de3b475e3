//! Modules whose calls go wrong: other subjects and modules go on, a condition names the cause, the last good version stays.

use anyhow::{Context, Result, ensure};
use isthmus_e2e::{
    Lab, condition, faults_config, marked_for, module_condition, on_lab, pods_config, port_id, ready, until,
    widget_definition,
};
use isthmus_model::condition::LAST_GOOD;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

/// Time enough for a good call on a busy machine, and not so much that a loop holds everything up.
const LIMITS: (&str, i64) = ("deadlineMs", 500);

fn spec(fault: Option<&str>, policy: &str) -> Value {
    let (limit, value) = LIMITS;
    json!({"config": faults_config(fault, "bad-"), "failurePolicy": policy, "limits": {limit: value}})
}

async fn team(lab: &Lab, namespace: &str) -> Result<()> {
    let patch = Patch::Merge(json!({"metadata": {"labels": {"team": "blue"}}}));
    let namespaces: Api<Namespace> = Api::all(lab.kube.clone());
    namespaces.patch(namespace, &PatchParams::default(), &patch).await?;
    Ok(())
}

/// A version that goes wrong for the Pods named `bad-*` alone, beside a mapper and a refiner that do not.
async fn goes_wrong(lab: &Lab, fault: &str, reason: &str, cause: &str) -> Result<()> {
    lab.policy_module("faults", spec(None, "KeepLastGood")).await?;
    lab.load("faults", "faults").await?;
    lab.load("tag-by-team", "tag-by-team").await?;
    lab.define(&widget_definition()?).await?;
    lab.load("widget-port", "widget-port").await?;
    let namespace = lab.namespace().await?;
    team(lab, &namespace).await?;
    let operator = lab.operator(&[]).await?;
    let first = lab.pod_ready(&lab.pod(&namespace, "good-0", json!({})).await?).await?;

    lab.policy_module("faults", spec(Some(fault), "KeepLastGood")).await?;
    let loaded = lab.loaded("faults").await?;
    let bad = lab.pod(&namespace, "bad-0", json!({})).await?;
    let good = lab.pod(&namespace, "good-1", json!({})).await?;
    let good = port_id(&lab.pod_ready(&good).await?).context("good-1 has a port")?;
    let tags = lab.port(&good).await?.context("good-1's port is there")?.tags;
    ensure!(tags.iter().any(|t| t == "team=blue"), "the refiner goes on: {tags:?}");
    lab.widget(&namespace, "beside", json!({"network": "pods"})).await?;
    until("the other mapper goes on", async || {
        let mapping = lab.widget_mapping(&namespace, "beside").await?;
        ensure!(ready(&mapping) && port_id(&mapping).is_some(), "{:?}", mapping.status);
        Ok(())
    })
    .await?;
    let fell_back = lab.mapped_as(&bad, "True", "LastGoodVersion").await?;
    let said = condition(&fell_back, "Mapped").map(|c| c.message.clone()).unwrap_or_default();
    ensure!(said.contains(reason) && said.contains(cause), "it names the cause: {said}");
    let kept = port_id(&lab.pod_ready(&bad).await?).context("the last good version mapped bad-0")?;

    lab.policy_module("faults", spec(Some(fault), "FailClosed")).await?;
    let closed = lab.loaded("faults").await?;
    let digest = |m: &isthmus_kubernetes::crd::PolicyModule| m.status.as_ref().and_then(|s| s.digest.clone());
    ensure!(digest(&closed) == digest(&loaded), "one build all along");
    let frozen = lab.mapped_as(&bad, "False", reason).await?;
    ensure!(port_id(&frozen).as_ref() == Some(&kept), "what is recorded stays");
    let refused = lab.pod(&namespace, "bad-1", json!({})).await?;
    let uid = refused.uid().context("uid")?;
    let said = lab.mapped_as(&refused, "False", reason).await?;
    let said = condition(&said, "Mapped").map(|c| c.message.clone()).unwrap_or_default();
    ensure!(said.contains(cause), "it names the cause: {said}");
    lab.pod_ready(&lab.pod(&namespace, "good-2", json!({})).await?).await?;
    let ports = lab.ports().await?;
    ensure!(!ports.iter().any(|p| marked_for(p, &uid)), "nothing is made for bad-1");
    ensure!(ports.iter().any(|p| p.id == kept), "bad-0's port is there");
    let counted = operator.metrics().await?.sum("isthmus_module_calls_total", &[("result", reason)]);
    ensure!(counted >= 2, "{counted} calls ended with {reason}");

    lab.policy_module("faults", spec(None, "KeepLastGood")).await?;
    lab.loaded("faults").await?;
    lab.pod_ready(&refused).await?;
    let healed = lab.mapped_as(&bad, "True", "Mapped").await?;
    ensure!(port_id(&healed) == Some(kept), "bad-0 keeps its port");
    let before = port_id(&first);
    ensure!(lab.ports().await?.iter().any(|p| Some(&p.id) == before.as_ref()), "good-0 keeps its port");
    Ok(())
}

/// The good build is another one than the bad, and stays at hand for who comes after this operator.
#[tokio::test]
async fn the_build_before_is_called_where_the_newest_goes_wrong() -> Result<()> {
    on_lab("build-before", async |lab| {
        for build in ["pod-port", "faults"] {
            let bytes = std::fs::read(lab.module_file(build)?)?;
            lab.source(&format!("build-{build}"), "ports", ("module.wasm", &bytes), &[]).await?;
        }
        let from = |build: &str| json!({"configMaps": [{"name": format!("build-{build}")}]});
        lab.policy_module("ports", json!({"source": from("pod-port"), "config": pods_config(&[])})).await?;
        let namespace = lab.namespace().await?;
        let operator = lab.operator(&[]).await?;
        let before =
            lab.loaded("ports").await?.status.and_then(|status| status.digest).context("a digest")?;
        lab.pod_ready(&lab.pod(&namespace, "good-0", json!({})).await?).await?;

        let newest = json!({"source": from("faults"), "config": faults_config(Some("panic"), "bad-")});
        lab.policy_module("ports", newest).await?;
        let loaded = until("the newest build is loaded", async || {
            let now =
                lab.loaded("ports").await?.status.and_then(|status| status.digest).context("a digest")?;
            ensure!(now != before, "the one before is");
            Ok(now)
        })
        .await?;
        let mapped_by = async |name: &str, reason: &str, digest: &str| {
            let pod = lab.pod(&namespace, name, json!({})).await?;
            let mapping = lab.mapped_as(&pod, "True", reason).await?;
            let by = mapping.status.and_then(|status| status.module).context("a module")?.digest;
            ensure!(by == digest, "{name} was mapped by {by}");
            lab.pod_ready(&pod).await
        };
        mapped_by("good-1", "Mapped", &loaded).await?;
        mapped_by("bad-0", "LastGoodVersion", &before).await?;
        // What is kept of it is bytes, which the next operator has too.
        operator.kill().await?;
        let _next = lab.operator(&[]).await?;
        mapped_by("bad-1", "LastGoodVersion", &before).await?;
        mapped_by("good-2", "Mapped", &loaded).await.map(drop)
    })
    .await
}

#[tokio::test]
async fn a_module_that_loops() -> Result<()> {
    on_lab("loops", async |lab| goes_wrong(lab, "loop", "ModuleDeadlineExceeded", "500ms").await).await
}

#[tokio::test]
async fn a_module_whose_fuel_is_limited_and_that_loops() -> Result<()> {
    on_lab("fuel", async |lab| {
        // Long before the deadline.
        let limits = json!({"fuel": 5_000_000, "deadlineMs": 10_000});
        lab.policy_module("faults", json!({"config": faults_config(Some("loop"), "bad-"), "limits": limits}))
            .await?;
        lab.load("faults", "faults").await?;
        let namespace = lab.namespace().await?;
        let operator = lab.operator(&[]).await?;
        lab.pod_ready(&lab.pod(&namespace, "good-0", json!({})).await?).await?;
        let bad = lab.pod(&namespace, "bad-0", json!({})).await?;
        lab.mapped_as(&bad, "False", "ModuleFuelExhausted").await?;
        // A version that is kept counts as well.
        operator.kill().await?;
        let _next = lab.operator(&[]).await?;
        let bad = lab.pod(&namespace, "bad-1", json!({})).await?;
        lab.mapped_as(&bad, "False", "ModuleFuelExhausted").await.map(drop)
    })
    .await
}

#[tokio::test]
async fn a_module_that_bombs_memory() -> Result<()> {
    on_lab("memory", async |lab| goes_wrong(lab, "memory", "ModuleMemoryExceeded", "67108864 bytes").await)
        .await
}

#[tokio::test]
async fn a_module_that_traps() -> Result<()> {
    on_lab("traps", async |lab| {
        let said = "the test asked for a panic";
        goes_wrong(lab, "panic", "ModuleTrapped", said).await?;
        let line = [said, "lib.rs:", "faults", "/bad-0"];
        ensure!(lab.logged_in_one(&line), "no line of the operator's log has all of {line:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn two_resources_of_one_name() -> Result<()> {
    let cause = "two entries are named \"port\"";
    on_lab("twins", async |lab| goes_wrong(lab, "duplicate-name", "ContractViolation", cause).await).await
}

#[tokio::test]
async fn a_reference_cycle() -> Result<()> {
    on_lab("cycle", async |lab| goes_wrong(lab, "cycle", "ContractViolation", "one -> two -> one").await)
        .await
}

#[tokio::test]
async fn an_unknown_reference() -> Result<()> {
    let cause = "\"nobody\", which is not in the list";
    on_lab("unknown", async |lab| goes_wrong(lab, "unknown-reference", "ContractViolation", cause).await)
        .await
}

#[tokio::test]
async fn ten_megabytes() -> Result<()> {
    on_lab("huge", async |lab| goes_wrong(lab, "huge", "ModuleOutputTooLarge", "4194304 bytes").await).await
}

/// The shadow run finds it before anybody is hurt.
#[tokio::test]
async fn a_version_that_fails_for_a_live_subject_is_held() -> Result<()> {
    on_lab("shadow", async |lab| {
        lab.policy_module("faults", spec(None, "KeepLastGood")).await?;
        lab.load("faults", "faults").await?;
        let namespace = lab.namespace().await?;
        let operator = lab.operator(&[]).await?;
        let bad = lab.pod(&namespace, "bad-0", json!({})).await?;
        let before = port_id(&lab.pod_ready(&bad).await?);
        lab.policy_module("faults", spec(Some("panic"), "KeepLastGood")).await?;
        let held = lab.refused("faults", "ShadowRunFailed", "the test asked for a panic").await?;
        let said = module_condition(&held, "Loaded").map(|c| c.message.clone()).unwrap_or_default();
        ensure!(said.contains("bad-0") && said.contains("isthmus.dev/approve="), "{said}");
        ensure!(module_condition(&held, "Serving").is_some_and(|c| c.status == "True"), "the old one serves");
        let other = lab.pod(&namespace, "bad-1", json!({})).await?;
        lab.pod_ready(&other).await?;
        lab.mapped_as(&other, "True", "Mapped").await?;

        lab.approve(&held).await?;
        lab.loaded("faults").await?;
        let mapping = lab.mapped_as(&bad, "True", "LastGoodVersion").await?;
        ensure!(ready(&mapping) && port_id(&mapping) == before, "bad-0 keeps its port");
        until("an Event tells the Pod's owner", async || {
            let what = ["get", "events", "-n", &namespace, "-o", "jsonpath={.items[*].reason}"];
            let events = lab.kubectl(&what).await?;
            ensure!(events.contains("ModuleTrapped"), "{events}");
            Ok(())
        })
        .await?;

        // Another one that fails for it, too: the last good one is still the one before both, and an operator after this one has it.
        lab.policy_module("faults", spec(Some("duplicate-name"), "KeepLastGood")).await?;
        lab.loaded("faults").await?;
        let last_good = async |pod: &Pod| {
            let mapping = lab.mapped_as(pod, "True", LAST_GOOD).await?;
            let said = condition(&mapping, "Mapped").map(|c| c.message.clone()).unwrap_or_default();
            ensure!(said.contains("two entries are named"), "{said}");
            lab.pod_ready(pod).await
        };
        last_good(&lab.pod(&namespace, "bad-2", json!({})).await?).await?;
        operator.kill().await?;
        let _next = lab.operator(&[]).await?;
        last_good(&lab.pod(&namespace, "bad-3", json!({})).await?).await?;
        ensure!(port_id(&last_good(&bad).await?) == before, "bad-0 keeps its port");
        Ok(())
    })
    .await
}
