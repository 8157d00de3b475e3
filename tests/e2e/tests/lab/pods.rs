//! A Pod's life on the lab: from a module in a ConfigMap to a Neutron port, and back to nothing.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use isthmus_e2e::{
    LIMIT, Lab, Sample, condition, marked_for, node, on_lab, port_id, ready, recorded, until, until_within,
};
use isthmus_kubernetes::crd::CloudMapping;
use isthmus_openstack::neutron::Port;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;

const TWENTY: usize = 20;
/// Grace period of a Pod that does not end by itself, in seconds.
const GRACE: u64 = 30;

fn ids(ports: &[Port]) -> BTreeSet<String> {
    ports.iter().map(|p| p.id.clone()).collect()
}

/// Waits until every port of ours has this tag.
async fn tagged(lab: &Lab, tag: &str, n: usize) -> Result<Vec<Port>> {
    until(&format!("{n} ports have the tag {tag}"), async || {
        let ports = lab.ports().await?;
        let tagged = ports.iter().filter(|p| p.tags.iter().any(|t| t == tag)).count();
        ensure!(tagged == n && ports.len() == n, "{tagged} of {} ports", ports.len());
        Ok(ports)
    })
    .await
}

/// The main job: a module from a ConfigMap maps 20 Pods; another build of it changes their ports without a restart, with
/// one write a port; the Pods go, and nothing is left.
#[tokio::test]
async fn twenty_pods_become_ports_and_another_build_changes_them() -> Result<()> {
    on_lab("demo", async |lab| {
        let namespace = lab.namespace().await?;
        let operator = lab.operator(&[]).await?;
        lab.load_pod_port().await?;
        lab.loaded("pod-port").await?;
        lab.pods(&namespace, TWENTY).await?;
        let mappings = lab.all_ready(&namespace, TWENTY).await?;
        let ports = lab.ports().await?;
        ensure!(ids(&ports) == recorded(&mappings)?.into_values().collect(), "{ports:?}");
        shown(lab, &namespace, &ports).await?;

        let before = operator.quiet().await?;
        lab.load("pod-port-next", "pod-port").await?;
        let changed = tagged(lab, "release=next", TWENTY).await?;
        let after = operator.quiet().await?;
        ensure!(ids(&changed) == ids(&ports), "the same ports");
        let puts = after.calls("PUT", "ports") - before.calls("PUT", "ports");
        let writes = after.cloud_writes() - before.cloud_writes();
        ensure!(puts == 20 && writes == 20, "one PUT a port: {puts} PUTs of {writes} writes");
        let statuses = [("verb", "patch_status"), ("resource", "cloudmappings")];
        let said = |sample: &Sample| sample.sum("isthmus_kubernetes_writes_total", &statuses);
        let told = said(&after) - said(&before);
        ensure!(told == 20, "one status a CloudMapping: {told}");
        let mappings = lab.all_ready(&namespace, TWENTY).await?;
        let version = |m: &CloudMapping| m.status.clone().and_then(|s| s.module).map(|m| m.version);
        ensure!(
            mappings.iter().all(|m| version(m).as_deref() == Some("0.2.0")),
            "the new version mapped all"
        );

        lab.delete_pods(&namespace).await?;
        lab.nothing_left(&namespace).await
    })
    .await
}

/// `kubectl get cloudmappings` shows each Pod with the addresses that Neutron has for its port.
async fn shown(lab: &Lab, namespace: &str, ports: &[Port]) -> Result<()> {
    let table = lab.kubectl(&["get", "cloudmappings", "-n", namespace]).await?;
    let header: Vec<&str> = table.lines().next().unwrap_or_default().split_whitespace().collect();
    ensure!(
        header == ["NAME", "SUBJECT", "MODULE", "RESOURCES", "IPS", "NODE", "READY", "REASON", "AGE"],
        "{header:?}"
    );
    let mut all = BTreeSet::new();
    for at in 0..TWENTY {
        let row = table.lines().find(|row| row.split_whitespace().any(|word| word == format!("Pod/p-{at}")));
        let row = row.with_context(|| format!("p-{at} is not in\n{table}"))?;
        let words: Vec<&str> = row.split_whitespace().collect();
        ensure!(["pod-port", "1", node(), "True"].iter().all(|word| words.contains(word)), "{row}");
        let shown: BTreeSet<IpAddr> =
            row.split([' ', ',']).filter_map(|word| word.parse::<IpAddr>().ok()).collect();
        let of_port = |p: &&Port| {
            shown == p.fixed_ips.iter().filter_map(|ip| ip.ip_address.parse::<IpAddr>().ok()).collect()
        };
        ensure!(shown.len() == 2 && ports.iter().any(|p| of_port(&p)), "{row}");
        all.extend(shown);
    }
    ensure!(all.len() == 2 * TWENTY, "every Pod has an IPv4 and an IPv6 address of its own");
    Ok(())
}

/// One family or both, as the namespace's annotation names subnets.
#[tokio::test]
async fn a_pod_has_the_families_of_its_namespaces_subnets() -> Result<()> {
    on_lab("families", async |lab| {
        let (_first, _operator) = lab.with_pod_port(&[]).await?;
        for (subnets, families) in
            [("pods-v4", [true, false]), ("pods-v6", [false, true]), ("pods-v6,pods-v4", [true; 2])]
        {
            let namespace = lab.namespace().await?;
            let annotation = format!("isthmus.dev/subnets={subnets}");
            lab.kubectl(&["annotate", "namespace", &namespace, &annotation]).await?;
            let mapping = lab.pod_ready(&lab.pod(&namespace, "p", json!({})).await?).await?;
            let told = mapping.status.clone().and_then(|status| status.ips).context("its addresses")?;
            let told: BTreeSet<&str> = told.split(',').map(str::trim).collect();
            let port = lab.port(&port_id(&mapping).context("a port")?).await?.context("the port is there")?;
            ensure!(told == port.fixed_ips.iter().map(|ip| &*ip.ip_address).collect(), "{told:?}: {port:?}");
            let has = [told.iter().any(|ip| ip.contains('.')), told.iter().any(|ip| ip.contains(':'))];
            ensure!(has == families, "{subnets}: {told:?}");
        }
        Ok(())
    })
    .await
}

/// A Pod that is being deleted is still mapped: it needs its network until it is gone.
#[tokio::test]
async fn a_pod_with_a_grace_period_keeps_its_port_until_it_is_gone() -> Result<()> {
    on_lab("grace", async |lab| {
        let (namespace, operator) = lab.with_pod_port(&["--resync-seconds", "1"]).await?;
        let pod = lab.pod(&namespace, "slow", json!({"terminationGracePeriodSeconds": 300})).await?;
        let before = port_id(&lab.pod_ready(&pod).await?);
        let since = operator.metrics().await?;
        lab.pod_api(&namespace).delete("slow", &DeleteParams::default()).await?;
        ensure!(lab.pod_api(&namespace).get("slow").await?.metadata.deletion_timestamp.is_some());
        // Another Pod after it is mapped, and two resyncs have looked at both.
        let other = lab.pod(&namespace, "other", json!({})).await?;
        lab.pod_ready(&other).await?;
        operator.resyncs(&since, 2).await?;
        let mapping = lab.mapping(&pod).await?;
        ensure!(port_id(&mapping) == before && ready(&mapping), "{:?}", mapping.status);
        ensure!(lab.ports().await?.len() == 2, "the port is there");
        lab.delete_pods(&namespace).await?;
        lab.nothing_left(&namespace).await
    })
    .await
}

/// Mapping and port stay as long as a Pod in its grace period does, and then the namespace can go. The namespace
/// controller of Kubernetes 1.33 and later deletes what is no Pod after the Pods; one before it does not wait, for which
/// the test deletes the mapping itself.
#[tokio::test]
async fn a_namespace_with_twenty_pods_is_deleted() -> Result<()> {
    on_lab("namespace", async |lab| {
        let (namespace, operator) = lab.with_pod_port(&[]).await?;
        lab.pods(&namespace, TWENTY - 1).await?;
        let slow = lab.pod(&namespace, "slow", json!({"terminationGracePeriodSeconds": GRACE})).await?;
        let mappings = lab.all_ready(&namespace, TWENTY).await?;
        let kept = recorded(&mappings)?.remove("slow").context("slow has a port")?;

        let namespaces: Api<Namespace> = Api::all(lab.kube.clone());
        namespaces.delete(&namespace, &DeleteParams::default()).await?;
        until("only the slow Pod's port is left", async || {
            let left = ids(&lab.ports().await?);
            ensure!(left == BTreeSet::from([kept.clone()]), "{} ports", left.len());
            Ok(())
        })
        .await?;
        let name = lab.mapping(&slow).await?.name_any();
        lab.mapping_api(&namespace).delete(&name, &DeleteParams::default()).await?;
        operator.quiet().await?;
        let mapping = lab.mapping(&slow).await?;
        ensure!(mapping.metadata.deletion_timestamp.is_some(), "it is held by our finalizer");
        ensure!(port_id(&mapping).as_ref() == Some(&kept) && ready(&mapping), "{:?}", mapping.status);
        ensure!(ids(&lab.ports().await?) == BTreeSet::from([kept]), "the port is there");
        ensure!(namespaces.get_opt(&namespace).await?.is_some(), "and holds the namespace");

        lab.delete_pod(&namespace, "slow").await?;
        // Its controller looks again after half of the longest grace period that it saw.
        until_within(LIMIT + Duration::from_secs(GRACE), "the namespace is gone", async || {
            let left = namespaces.get_opt(&namespace).await?;
            ensure!(left.is_none(), "{:?}", left.and_then(|n| n.status));
            Ok(())
        })
        .await?;
        lab.nothing_left(&namespace).await
    })
    .await
}

/// An agent that never says anything keeps no port for ever.
#[tokio::test]
async fn a_deleted_pods_port_goes_some_time_after_its_agent_fell_silent() -> Result<()> {
    const WAIT: Duration = Duration::from_secs(8);
    on_lab("silent-agent", async |lab| {
        let seconds = WAIT.as_secs().to_string();
        let (namespace, operator) =
            lab.with_pod_port(&["--resync-seconds", "1", "--agent-wait-seconds", &seconds]).await?;
        let pod = lab.pod(&namespace, "p", json!({})).await?;
        let mapping = lab.pod_ready(&pod).await?;
        lab.set_condition(&mapping, "Attached", "True").await?;
        // The operator has to know before the Pod goes.
        operator.resyncs(&operator.metrics().await?, 1).await?;
        let begun = Instant::now();
        lab.delete_pods(&namespace).await?;
        until("it waits for the agent", async || {
            let ready = condition(&lab.mapping(&pod).await?, "Ready").context("no condition Ready")?.clone();
            ensure!(ready.reason == "WaitingForAgent", "{ready:?}");
            Ok(())
        })
        .await?;
        ensure!(lab.ports().await?.len() == 1, "the port stays");
        lab.nothing_left(&namespace).await?;
        ensure!(begun.elapsed() >= WAIT, "it was kept for {:?} only", begun.elapsed());
        Ok(())
    })
    .await
}

/// Waits until the port of each is said to be kept for its agent.
async fn all_wait(lab: &Lab, pods: &[Pod]) -> Result<()> {
    until("each waits for its agent", async || {
        for pod in pods {
            let mapping = lab.mapping(pod).await?;
            let ready = condition(&mapping, "Ready").context("no condition Ready")?;
            ensure!(ready.status == "False" && ready.reason == "WaitingForAgent", "{ready:?}");
        }
        Ok(())
    })
    .await
}

/// A Pod that is force-deleted may still run: while the agent says that its interface is attached, its address serves
/// nobody else. The agent's word, or the end of the node, frees it.
#[tokio::test]
async fn a_force_deleted_pod_keeps_its_port_until_the_agent_lets_go() -> Result<()> {
    on_lab("forced", async |lab| {
        let (namespace, operator) = lab.with_pod_port(&["--resync-seconds", "1"]).await?;
        let pods = lab.pods(&namespace, 2).await?;
        let mappings = lab.all_ready(&namespace, 2).await?;
        for mapping in &mappings {
            lab.set_condition(mapping, "Attached", "True").await?;
        }
        let since = operator.metrics().await?;
        operator.resyncs(&since, 1).await?;
        lab.delete_pods(&namespace).await?;
        let since = operator.metrics().await?;
        all_wait(lab, &pods).await?;
        operator.resyncs(&since, 2).await?;
        ensure!(lab.ports().await?.len() == 2, "both ports stay");
        all_wait(lab, &pods).await?;

        lab.set_condition(&lab.mapping(&pods[0]).await?, "Attached", "False").await?;
        let last = lab.ports_left("the first port is gone", 1).await?;
        ensure!(marked_for(&last[0], &pods[1].uid().context("uid")?), "the other one stays");

        Api::<Node>::all(lab.kube.clone()).delete(node(), &DeleteParams::default()).await?;
        let gone = lab.nothing_left(&namespace).await;
        lab.node().await?;
        gone
    })
    .await
}

/// A Pod may be force-deleted between the moment when it is plugged in and its agent's word of it: there is an agent, so its word is
/// waited for, though not for ever.
#[tokio::test]
async fn a_force_deleted_pod_keeps_its_port_until_its_agent_can_have_spoken() -> Result<()> {
    on_lab("untold", async |lab| {
        let (namespace, operator, pods) = lab.with_pods(&["--resync-seconds", "1"], 3).await?;
        // Of this one alone the agent has spoken when they go.
        lab.set_condition(&lab.mapping(&pods[0]).await?, "Attached", "True").await?;
        operator.resyncs(&operator.metrics().await?, 1).await?;
        lab.delete_pods(&namespace).await?;
        all_wait(lab, &pods).await?;
        ensure!(lab.ports().await?.len() == 3, "no port is given away");
        lab.set_condition(&lab.mapping(&pods[1]).await?, "Attached", "True").await?;
        let left = lab.ports_left("the port is gone of which it says nothing", 2).await?;
        for pod in &pods[..2] {
            let uid = pod.uid().context("uid")?;
            ensure!(left.iter().any(|port| marked_for(port, &uid)), "attached: its port stays");
            lab.set_condition(&lab.mapping(pod).await?, "Attached", "False").await?;
        }
        lab.nothing_left(&namespace).await
    })
    .await
}

/// Another life under the same name has a mapping and a port of its own; what was never finished for an earlier one is
/// not left behind.
#[tokio::test]
async fn a_pod_made_again_at_once_under_its_old_name_shares_nothing() -> Result<()> {
    on_lab("again", async |lab| {
        let (namespace, _operator) = lab.with_pod_port(&["--resync-seconds", "2"]).await?;
        let first = lab.pod(&namespace, "p", json!({})).await?;
        let old = port_id(&lab.pod_ready(&first).await?);
        let again = async || -> Result<Pod> {
            lab.delete_pod(&namespace, "p").await?;
            lab.pod(&namespace, "p", json!({})).await
        };
        let second = again().await?;
        let new = port_id(&lab.pod_ready(&second).await?);
        ensure!(new.is_some() && new != old, "{new:?} after {old:?}");

        let mut last = second;
        for _ in 0..8 {
            last = again().await?;
        }
        let id = port_id(&lab.pod_ready(&last).await?).context("a port")?;
        until("one port and one mapping are left", async || {
            let ports = lab.ports().await?;
            let mappings = lab.mapping_api(&namespace).list(&ListParams::default()).await?.items.len();
            ensure!(
                ids(&ports) == BTreeSet::from([id.clone()]) && mappings == 1,
                "{} ports, {mappings} mappings",
                ports.len()
            );
            ensure!(ports.iter().all(|p| marked_for(p, &last.uid().unwrap_or_default())), "{ports:?}");
            Ok(())
        })
        .await
    })
    .await
}

#[tokio::test]
async fn pods_on_the_hosts_network_and_finished_pods_have_no_port() -> Result<()> {
    on_lab("host-network", async |lab| {
        let (namespace, _operator) = lab.with_pod_port(&[]).await?;
        let host = lab.pod(&namespace, "host", json!({"hostNetwork": true})).await?;
        let job = lab.pod(&namespace, "job", json!({})).await?;
        lab.pod_ready(&job).await?;
        ensure!(lab.mapping(&host).await.is_err() && lab.ports().await?.len() == 1, "one port, the job's");

        let ended = Patch::Merge(json!({"status": {"phase": "Succeeded"}}));
        lab.pod_api(&namespace).patch_status("job", &PatchParams::default(), &ended).await?;
        until("the finished Pod has no port", async || {
            let (ports, mapping) = (lab.ports().await?, lab.mapping(&job).await?);
            let reason = condition(&mapping, "Mapped").map(|c| c.reason.clone());
            ensure!(
                ports.is_empty() && reason.as_deref() == Some("NotMapped"),
                "{} ports, {reason:?}",
                ports.len()
            );
            let status = mapping.status.unwrap_or_default();
            ensure!(status.resources.is_empty() && status.ips.is_none(), "{status:?}");
            Ok(())
        })
        .await?;
        lab.delete_pods(&namespace).await?;
        lab.nothing_left(&namespace).await
    })
    .await
}

/// Its sandbox may stand for a while: the address serves nobody else before the agent says that it let go, which it may write of a
/// Pod that has no port any more.
#[tokio::test]
async fn a_finished_pods_port_stays_until_the_agent_lets_go() -> Result<()> {
    on_lab("finished", async |lab| {
        let (namespace, operator) = lab.with_pod_port(&["--resync-seconds", "1"]).await?;
        let job = lab.pod(&namespace, "job", json!({})).await?;
        lab.set_condition(&lab.pod_ready(&job).await?, "Attached", "True").await?;
        operator.resyncs(&operator.metrics().await?, 1).await?;
        let ended = Patch::Merge(json!({"status": {"phase": "Succeeded"}}));
        lab.pod_api(&namespace).patch_status("job", &PatchParams::default(), &ended).await?;
        until("the port waits for the agent", async || {
            let mapping = lab.mapping(&job).await?;
            let realized = condition(&mapping, "Realized").context("no condition Realized")?;
            ensure!(realized.reason == "WaitingForAgent", "{realized:?}");
            let status = mapping.status.context("a status")?;
            ensure!(status.vifs.len() == 1 && status.node.as_deref() == Some(node()), "{status:?}");
            Ok(())
        })
        .await?;
        operator.resyncs(&operator.metrics().await?, 2).await?;
        ensure!(lab.ports().await?.len() == 1, "the port stays");

        lab.set_condition(&lab.mapping(&job).await?, "Attached", "False").await?;
        until("the port is gone, and the node may still write", async || {
            let (ports, status) = (lab.ports().await?, lab.mapping(&job).await?.status.context("a status")?);
            let by_node = status.vifs.is_empty() && status.node.as_deref() == Some(node());
            ensure!(ports.is_empty() && by_node, "{} ports, {status:?}", ports.len());
            Ok(())
        })
        .await?;
        lab.delete_pods(&namespace).await?;
        lab.nothing_left(&namespace).await
    })
    .await
}

/// A refiner changes what the mapper said: here by a label of the namespace, followed when it changes.
#[tokio::test]
async fn the_refiner_tag_by_team_tags_ports_with_their_namespaces_team() -> Result<()> {
    on_lab("refiner", async |lab| {
        let namespace = lab.namespace().await?;
        let team = async |name: &str| -> Result<()> {
            let label = Patch::Merge(json!({"metadata": {"labels": {"team": name}}}));
            let namespaces: Api<Namespace> = Api::all(lab.kube.clone());
            namespaces.patch(&namespace, &PatchParams::default(), &label).await?;
            Ok(())
        };
        team("blue").await?;
        lab.load_pod_port().await?;
        let operator = lab.operator(&[]).await?;
        lab.pods(&namespace, 3).await?;
        lab.all_ready(&namespace, 3).await?;
        lab.load("tag-by-team", "tag-by-team").await?;
        lab.loaded("tag-by-team").await?;
        tagged(lab, "team=blue", 3).await?;
        let before = operator.quiet().await?;
        team("red").await?;
        let ports = tagged(lab, "team=red", 3).await?;
        ensure!(ports.iter().all(|p| !p.tags.iter().any(|t| t == "team=blue")), "{ports:?}");
        let writes = operator.quiet().await?.cloud_writes() - before.cloud_writes();
        ensure!(writes == 3, "one write a port: {writes}");
        let refiners = |m: &CloudMapping| m.status.clone().map(|s| s.refiners).unwrap_or_default();
        let mappings = lab.all_ready(&namespace, 3).await?;
        ensure!(mappings.iter().all(|m| refiners(m).iter().any(|r| r.name == "tag-by-team")), "{mappings:?}");
        // A Pod that comes now is tagged from the start. Where Neutron takes no tags in the call that creates a port, that
        // is a call more.
        let before = operator.quiet().await?;
        let late = lab.pod(&namespace, "late", json!({})).await?;
        lab.pod_ready(&late).await?;
        tagged(lab, "team=red", 4).await?;
        let after = operator.quiet().await?;
        let calls = |method| after.calls(method, "ports") - before.calls(method, "ports");
        ensure!(calls("POST") == 1 && calls("PUT") <= 1, "{} POST, {} PUT", calls("POST"), calls("PUT"));
        Ok(())
    })
    .await
}
