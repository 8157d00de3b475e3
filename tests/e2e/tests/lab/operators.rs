//! Operators as processes: leadership, stops, an API server that goes away, writers that get in between.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use isthmus_e2e::{Lab, OPERATOR_NAMESPACE, on_lab, pods_config, port_id, until};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use rustix::process::Signal;
use serde_json::{Value, json};

/// What a stop may take: requests in flight end, the lease is given back.
const STOP: Duration = Duration::from_secs(10);

#[tokio::test]
async fn two_operators_one_writes_and_the_other_takes_over_after_a_crash() -> Result<()> {
    on_lab("takeover", async |lab| {
        lab.load_pod_port().await?;
        let namespace = lab.namespace().await?;
        // A request may take less than half of it: on a busy machine, Neutron answers eight creates at once slowly.
        let lease = ["--lease-seconds", "20"];
        let first = lab.operator(&lease).await?;
        let mut second = lab.operator_as("second", &lease)?;
        second.stands_by().await?;
        lab.pods(&namespace, 10).await?;
        lab.all_ready(&namespace, 10).await?;
        let standing_by = second.metrics().await?;
        ensure!(standing_by.cloud_writes() == 0, "who does not lead does not write");
        ensure!(standing_by.sum("isthmus_kubernetes_writes_total", &[]) == 0, "nor to Kubernetes");
        ensure!(first.metrics().await?.calls("POST", "ports") == 10);

        // In the midst of its work.
        for at in 0..5 {
            lab.pod(&namespace, &format!("late-{at}"), json!({})).await?;
        }
        first.kill().await?;
        let killed = Instant::now();
        until("the second operator leads", async || {
            ensure!(second.metrics().await?.sum("isthmus_leading", &[]) == 1, "it does not");
            Ok(())
        })
        .await?;
        let took = killed.elapsed();
        // The lease's time from its last renewal, which was before; and a second for requests and this test's looks.
        ensure!(took < Duration::from_secs(21), "take-over after {took:?}");
        second.leads().await?;
        lab.all_ready(&namespace, 15).await?;
        lab.one_port_each(&namespace).await.map(drop)
    })
    .await
}

/// A stranger's name in the lease of one that leads: it writes nothing until that has run out, and then all that came meanwhile.
#[tokio::test]
async fn while_a_stranger_holds_the_lease_nothing_is_written() -> Result<()> {
    on_lab("stranger", async |lab| {
        let (namespace, operator) = lab.with_pod_port(&[]).await?;
        let leases: Api<Lease> = Api::namespaced(lab.kube.clone(), OPERATOR_NAMESPACE);
        let name = leases.list(&ListParams::default()).await?.items.first().context("a lease")?.name_any();
        let seconds = 20;
        let stranger = json!({"spec": {"holderIdentity": "stranger", "leaseDurationSeconds": seconds}});
        leases.patch(&name, &PatchParams::default(), &Patch::Merge(stranger)).await?;
        let taken = Instant::now();
        until("it does not lead", async || {
            ensure!(operator.metrics().await?.sum("isthmus_leading", &[]) == 0, "it leads");
            Ok(())
        })
        .await?;
        lab.pods(&namespace, 3).await?;
        let (last, made) = (Cell::new(None), Cell::new(0));
        until("it leads again", async || {
            let (ports, now) = (lab.ports().await?.len(), operator.metrics().await?);
            if now.sum("isthmus_leading", &[]) == 0 {
                last.set(Some(now));
                made.set(ports);
                bail!("it does not");
            }
            Ok(())
        })
        .await?;
        let held = taken.elapsed();
        ensure!(held > Duration::from_secs(seconds - 1), "the stranger held it for {held:?}");
        // As they were when it led the last time that it was asked: the Pods were there.
        let last = last.take().context("it did not lead for a while")?;
        let writes = (last.cloud_writes(), made.get());
        ensure!(writes == (0, 0), "while it did not lead: {writes:?}");
        lab.all_ready(&namespace, 3).await?;
        lab.one_port_each(&namespace).await.map(drop)
    })
    .await
}

#[tokio::test]
async fn a_graceful_stop_hands_over_at_once() -> Result<()> {
    on_lab("handover", async |lab| {
        lab.load_pod_port().await?;
        let namespace = lab.namespace().await?;
        // So long that it can't be that it ran out.
        let lease = ["--lease-seconds", "60"];
        let first = lab.operator(&lease).await?;
        let mut second = lab.operator_as("second", &lease)?;
        second.stands_by().await?;
        lab.pods(&namespace, 10).await?;
        let begun = Instant::now();
        ensure!(first.stop(STOP).await?.success(), "a stop is no failure");
        until("the second operator leads", async || {
            ensure!(second.metrics().await?.sum("isthmus_leading", &[]) == 1, "it does not");
            Ok(())
        })
        .await?;
        let took = begun.elapsed();
        ensure!(took < Duration::from_secs(15), "take-over after {took:?}");
        second.leads().await?;
        lab.all_ready(&namespace, 10).await?;
        lab.one_port_each(&namespace).await.map(drop)
    })
    .await
}

#[tokio::test]
async fn sigterm_ends_it_within_seconds_with_exit_code_0() -> Result<()> {
    on_lab("sigterm", async |lab| {
        let (namespace, leader) = lab.with_pod_port(&[]).await?;
        let standby = lab.operator_as("second", &[])?;
        standby.stands_by().await?;
        let ended = standby.stop(Duration::from_secs(5)).await?;
        ensure!(ended.code() == Some(0), "the one that stands by: {ended}");
        lab.pods(&namespace, 20).await?;
        let ended = leader.stop(STOP).await?;
        ensure!(ended.code() == Some(0), "the one that leads, in the midst of work: {ended}");
        let _next = lab.operator(&[]).await?;
        lab.all_ready(&namespace, 20).await?;
        lab.one_port_each(&namespace).await.map(drop)
    })
    .await
}

#[tokio::test]
async fn the_api_server_restarted() -> Result<()> {
    on_lab("apiserver", async |lab| {
        let (namespace, operator) = lab.with_pod_port(&["--lease-seconds", "20"]).await?;
        lab.pods(&namespace, 10).await?;
        let before = lab.all_ready(&namespace, 10).await?;
        // Changes that the watch may not bring any more.
        for at in 0..4 {
            lab.delete_pod(&namespace, &format!("p-{at}")).await?;
        }
        for at in 0..4 {
            lab.pod(&namespace, &format!("new-{at}"), json!({})).await?;
        }
        lab.kill_part("apiserver").await?;
        let (alive, _) = operator.get("/healthz").await?;
        ensure!(alive == 200, "an API server that is away ends no operator");
        lab.start_part("apiserver").await?;
        let after = lab.all_ready(&namespace, 10).await?;
        let kept = after.iter().filter(|m| before.iter().any(|b| port_id(b) == port_id(m))).count();
        ensure!(kept == 6, "{kept} of 6 Pods keep their ports");
        until("each Pod has one port", async || lab.one_port_each(&namespace).await).await?;
        lab.delete_pods(&namespace).await?;
        lab.nothing_left(&namespace).await?;
        ensure!(operator.get("/readyz").await?.0 == 200);
        Ok(())
    })
    .await
}

/// The watches are cut while the operator can't look, history is gone when it can again (410), and nothing is lost.
#[tokio::test]
async fn a_watch_that_can_not_be_resumed() -> Result<()> {
    on_lab("compacted", async |lab| {
        // Long enough that it leads all the time: it is the watch that has to notice.
        let (namespace, operator) = lab.with_pod_port(&["--lease-seconds", "120"]).await?;
        lab.pods(&namespace, 6).await?;
        lab.all_ready(&namespace, 6).await?;
        operator.signal(Signal::STOP)?;
        for at in 0..3 {
            lab.delete_pod(&namespace, &format!("p-{at}")).await?;
            lab.pod(&namespace, &format!("new-{at}"), json!({})).await?;
        }
        lab.compact_etcd().await?;
        lab.kill_part("apiserver").await?;
        lab.start_part("apiserver").await?;
        operator.signal(Signal::CONT)?;
        lab.all_ready(&namespace, 6).await?;
        until("each Pod has one port", async || lab.one_port_each(&namespace).await).await?;
        ensure!(lab.logged("too old resource version"), "the server said that history is gone");
        ensure!(operator.metrics().await?.sum("isthmus_leading", &[]) == 1, "it led all the time");
        lab.delete_pods(&namespace).await?;
        lab.nothing_left(&namespace).await
    })
    .await
}

/// Writes into every CloudMapping of a namespace as fast as it can; how many writes came through.
async fn meddle(lab: Lab, namespace: String, go_on: Arc<AtomicBool>, written: Arc<AtomicU32>) -> Result<()> {
    let api = lab.mapping_api(&namespace);
    while go_on.load(Ordering::Relaxed) {
        for name in api.list(&ListParams::default()).await?.iter().map(ResourceExt::name_any) {
            let number = written.load(Ordering::Relaxed).to_string();
            let patch = Patch::Merge(json!({"metadata": {"annotations": {"example.org/number": number}}}));
            // It may be gone by now.
            if api.patch(&name, &PatchParams::default(), &patch).await.is_ok() {
                written.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn conflicts_on_status_writes_converge() -> Result<()> {
    on_lab("conflicts", async |lab| {
        let (namespace, operator) = lab.with_pod_port(&[]).await?;
        let (go_on, written) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU32::new(0)));
        let meddler = tokio::spawn(meddle(lab.clone(), namespace.clone(), go_on.clone(), written.clone()));
        lab.pods(&namespace, 20).await?;
        lab.all_ready(&namespace, 20).await?;
        lab.policy_module("pod-port", json!({"config": pods_config(&["second"])})).await?;
        until("every port has the tag", async || {
            let ports = lab.ports().await?;
            let tagged = ports.iter().filter(|p| p.tags.iter().any(|t| t == "second")).count();
            ensure!(tagged == 20, "{tagged} of {}", ports.len());
            Ok(())
        })
        .await?;
        until("there were conflicts", async || {
            let conflicts = operator.metrics().await?.reconciles("KubernetesConflict");
            ensure!(conflicts > 0, "none, after {} writes", written.load(Ordering::Relaxed));
            Ok(())
        })
        .await?;
        go_on.store(false, Ordering::Relaxed);
        meddler.await??;
        let mappings = lab.all_ready(&namespace, 20).await?;
        let numbers = operator.quiet().await?;
        ensure!(numbers.calls("POST", "ports") == 20, "one create a Pod");
        let recorded = mappings.iter().filter_map(port_id).count();
        ensure!(recorded == 20, "{recorded} of 20 ports are recorded");
        lab.one_port_each(&namespace).await?;
        lab.delete_pods(&namespace).await?;
        lab.nothing_left(&namespace).await
    })
    .await
}

#[tokio::test]
async fn while_neutron_is_away_it_is_not_ready_and_says_why() -> Result<()> {
    on_lab("unready", async |lab| {
        lab.kill_part("neutron").await?;
        let mut operator = lab.operator_as("first", &[])?;
        until("it says what it can't do", async || {
            let (status, why) = operator.get("/readyz").await?;
            ensure!(status == 503 && why.starts_with("asking the cloud what it can do: "), "{status}: {why}");
            Ok(())
        })
        .await?;
        ensure!(operator.get("/healthz").await?.0 == 200, "it is alive");
        lab.start_part("neutron").await?;
        operator.leads().await
    })
    .await
}

#[tokio::test]
async fn health_readiness_and_metrics() -> Result<()> {
    on_lab("http", async |lab| {
        // As `deploy/operator.yaml` has it.
        let (namespace, operator) = lab.with_pod_port(&["--log-format", "json"]).await?;
        ensure!(operator.get("/healthz").await? == (200, "ok".into()));
        ensure!(operator.get("/readyz").await? == (200, "ok".into()));
        ensure!(operator.get("/other").await?.0 == 404);
        lab.pods(&namespace, 3).await?;
        lab.all_ready(&namespace, 3).await?;
        let numbers = operator.quiet().await?;
        let (status, text) = operator.get("/metrics").await?;
        ensure!(status == 200 && text.ends_with("# EOF\n"), "OpenMetrics has an end");
        for stage in ["mapped", "realized", "ready"] {
            let count = numbers.sum("isthmus_subject_stage_seconds_count", &[("stage", stage)]);
            ensure!(count == 3, "{count} Pods {stage}");
        }
        ensure!(
            text.contains("isthmus_subject_stage_seconds_bucket{le=\"0.001\""),
            "from a millisecond on: {text}"
        );
        let took = |stage| numbers.real("isthmus_subject_stage_seconds_sum", &[("stage", stage)]);
        let stages = [took("mapped"), took("realized"), took("ready")];
        ensure!(stages[0] > 0.0 && stages.is_sorted(), "each stage comes after the one before: {stages:?}");
        for (gauge, value) in [("leading", 1), ("mappings", 3), ("cloud_resources", 3)] {
            let found = numbers.sum(&format!("isthmus_{gauge}"), &[]);
            ensure!(found == value, "{gauge} is {found}, not {value}");
        }
        ensure!(numbers.sum("isthmus_module_calls_total", &[("module", "pod-port"), ("result", "ok")]) >= 3);
        let made = [("verb", "create"), ("resource", "cloudmappings")];
        ensure!(numbers.sum("isthmus_kubernetes_writes_total", &made) == 3, "one CloudMapping a Pod");
        let log = operator.log()?;
        let lines: Vec<Value> = log.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        let of_a_request = |line: &Value| line.pointer("/fields/request_id").is_some();
        ensure!(lines.iter().any(of_a_request), "no line says which request it is of: {log}");
        Ok(())
    })
    .await
}
