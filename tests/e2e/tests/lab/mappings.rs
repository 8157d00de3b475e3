//! CloudMappings in the hands of others: deleted, lost, stripped, copied, made up.

use anyhow::{Context, Result, ensure};
use isthmus_e2e::{
    LIMIT, Lab, faults_config, on_lab, pods_config, port_id, ready, recorded, until, until_within,
};
use isthmus_kubernetes::crd::CloudMapping;
use isthmus_kubernetes::names::{FINALIZER, LABEL_NODE};
use isthmus_openstack::neutron::{SecurityGroup, SecurityGroupCreate};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

#[tokio::test]
async fn a_cloud_mapping_deleted_by_hand_is_written_again_and_the_cloud_is_not_touched() -> Result<()> {
    on_lab("by-hand", async |lab| {
        let (namespace, operator) = lab.with_pod_port(&[]).await?;
        let pod = lab.pod(&namespace, "p", json!({})).await?;
        let mapping = lab.pod_ready(&pod).await?;
        let (before, numbers) = (lab.ports().await?, operator.quiet().await?);
        lab.mapping_api(&namespace).delete(&mapping.name_any(), &DeleteParams::default()).await?;
        let again = until("there is another mapping", async || {
            let again = lab.mapping(&pod).await?;
            ensure!(again.uid() != mapping.uid() && ready(&again), "{again:?}");
            Ok(again)
        })
        .await?;
        ensure!(port_id(&again) == port_id(&mapping), "it records the same port");
        ensure!(again.metadata.deletion_timestamp.is_none() && !again.finalizers().is_empty());
        let writes = operator.quiet().await?.cloud_writes() - numbers.cloud_writes();
        ensure!(writes == 0 && lab.ports().await? == before, "{writes} writes to the cloud");
        lab.delete_pods(&namespace).await?;
        lab.nothing_left(&namespace).await
    })
    .await
}

/// Every CloudMapping goes, as with an etcd that was restored; no operator runs.
async fn lose_mappings(lab: &Lab) -> Result<()> {
    until("the mappings are lost", async || {
        let left = lab.strip_mappings().await?;
        ensure!(left == 0, "{left}");
        Ok(())
    })
    .await
}

/// An etcd that was restored from before the mappings: they are rebuilt from the marks, with the same ports.
#[tokio::test]
async fn lost_cloud_mappings_are_written_again_and_nothing_is_deleted() -> Result<()> {
    on_lab("lost", async |lab| {
        let (namespace, operator) = lab.with_pod_port(&[]).await?;
        lab.pods(&namespace, 5).await?;
        let before = recorded(&lab.all_ready(&namespace, 5).await?)?;
        let ports = lab.ports().await?;
        operator.kill().await?;
        lose_mappings(lab).await?;

        let operator = lab.operator(&["--resync-seconds", "1"]).await?;
        let after = recorded(&lab.all_ready(&namespace, 5).await?)?;
        ensure!(after == before, "{after:?}, before {before:?}");
        let numbers = operator.metrics().await?;
        operator.resyncs(&numbers, 3).await?;
        let writes = operator.metrics().await?.cloud_writes();
        ensure!(writes == 0 && lab.ports().await? == ports, "{writes} writes to the cloud");
        Ok(())
    })
    .await
}

/// A real one, of a time before all Pods: who starts then deletes nothing that it can't tell whose it is, and who runs on sees what
/// comes, although its watches are ahead of what there is.
#[tokio::test]
async fn an_etcd_restored_to_a_time_before_takes_no_port() -> Result<()> {
    on_lab("etcd-restored", async |lab| {
        let (namespace, operator) = lab.with_pod_port(&[]).await?;
        lab.loaded("pod-port").await?;
        operator.stop(LIMIT).await?;
        let then = lab.back_up_etcd().await?;
        let operator = lab.operator(&[]).await?;
        lab.pods(&namespace, 5).await?;
        lab.all_ready(&namespace, 5).await?;
        let ports = lab.ports().await?;
        operator.kill().await?;

        lab.restore_etcd(&then).await?;
        let pods = lab.pod_api(&namespace).list(&ListParams::default()).await?.items.len();
        ensure!(pods == 0, "{pods} Pods: it is not of then");
        let operator = lab.operator(&["--resync-seconds", "1"]).await?;
        operator.resyncs(&operator.metrics().await?, 3).await?;
        let writes = operator.metrics().await?.cloud_writes();
        ensure!(writes == 0 && lab.ports().await? == ports, "{writes} writes to the cloud");

        // It has seen more than there is after another restore.
        for at in 0..5 {
            lab.pod(&namespace, &format!("late-{at}"), json!({})).await?;
        }
        lab.all_ready(&namespace, 5).await?;
        lab.restore_etcd(&then).await?;
        let pod = lab.pod(&namespace, "after", json!({})).await?;
        until_within(2 * LIMIT, "it sees what comes", async || {
            let mapping = lab.mapping(&pod).await?;
            ensure!(ready(&mapping), "{:?}", mapping.status);
            Ok(())
        })
        .await
    })
    .await
}

#[tokio::test]
async fn what_may_be_nobodys_by_a_loss_of_records_is_not_deleted() -> Result<()> {
    on_lab("orphans-by-loss", async |lab| {
        let (namespace, operator) = lab.with_pod_port(&[]).await?;
        lab.pods(&namespace, 5).await?;
        lab.all_ready(&namespace, 5).await?;
        let ports = lab.ports().await?;
        operator.kill().await?;
        // Pods and records: as in an etcd that was restored to a time before all of them.
        lab.delete_pods(&namespace).await?;
        lose_mappings(lab).await?;
        let operator = lab.operator(&["--resync-seconds", "1"]).await?;
        let numbers = operator.metrics().await?;
        operator.resyncs(&numbers, 3).await?;
        ensure!(lab.ports().await? == ports, "without one CloudMapping, nothing is nobody's");
        operator.kill().await?;

        // With one, they are; but so many at once somebody has to look at first.
        let operator = lab.operator(&["--resync-seconds", "1", "--max-orphans", "4"]).await?;
        lab.pod_ready(&lab.pod(&namespace, "new", json!({})).await?).await?;
        let numbers = operator.metrics().await?;
        operator.resyncs(&numbers, 3).await?;
        ensure!(lab.ports().await?.len() == ports.len() + 1, "five are more than four");
        operator.kill().await?;
        let _operator = lab.operator(&["--resync-seconds", "1"]).await?;
        lab.ports_left("the orphans are gone", 1).await.map(drop)
    })
    .await
}

/// Who may write CloudMappings in one namespace has no power over another: neither a copy of a mapping in the wrong place
/// nor one that claims the uid of somebody else's Pod deletes that Pod's port.
#[tokio::test]
async fn a_mapping_that_is_copied_or_made_up_touches_no_port_of_others() -> Result<()> {
    on_lab("forged", async |lab| {
        let (namespace, evil) = (lab.namespace().await?, lab.namespace().await?);
        lab.load_pod_port().await?;
        let operator = lab.operator(&["--resync-seconds", "1"]).await?;
        let victim = lab.pod(&namespace, "victim", json!({})).await?;
        let own = lab.pod_ready(&victim).await?;
        let before = lab.ports().await?;

        // A backup that was restored into another namespace.
        let mut copy = CloudMapping::new(&own.name_any(), own.spec.clone());
        copy.metadata.finalizers = Some(vec![FINALIZER.into()]);
        lab.mapping_api(&evil).create(&PostParams::default(), &copy).await?;
        // One that says that the uid is that of a Pod which is gone.
        let mut forged = CloudMapping::new("x", own.spec.clone());
        forged.spec.subject.namespace = Some(evil.clone());
        forged.spec.subject.name = "ghost".into();
        let short: String = forged.spec.subject.uid.chars().filter(|c| *c != '-').take(8).collect();
        forged.metadata.name = Some(format!("pod-ghost-{short}"));
        forged.metadata.finalizers = Some(vec![FINALIZER.into()]);
        lab.mapping_api(&evil).create(&PostParams::default(), &forged).await?;
        operator.resyncs(&operator.metrics().await?, 3).await?;
        ensure!(lab.ports().await? == before, "the port is as it was");
        ensure!(ready(&lab.mapping(&victim).await?), "and so is its mapping");

        // When the Pod itself goes, so does its port, and nothing of the forged one stands in the way.
        lab.delete_pod(&namespace, "victim").await?;
        lab.nothing_left(&namespace).await
    })
    .await
}

/// Invariant 1: what was made for a Pod is never without a finalizer for long.
#[tokio::test]
async fn a_finalizer_that_somebody_takes_off_is_put_back() -> Result<()> {
    on_lab("stripped", async |lab| {
        let (namespace, operator) = lab.with_pod_port(&["--resync-seconds", "2"]).await?;
        let pod = lab.pod(&namespace, "p", json!({})).await?;
        let mapping = lab.pod_ready(&pod).await?;
        let writes = operator.quiet().await?.cloud_writes();
        let none = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        lab.mapping_api(&namespace).patch(&mapping.name_any(), &PatchParams::default(), &none).await?;
        until("the finalizer is back", async || {
            let now = lab.mapping(&pod).await?;
            ensure!(now.finalizers().iter().any(|f| f == FINALIZER), "{:?}", now.finalizers());
            ensure!(port_id(&now) == port_id(&mapping) && ready(&now), "{:?}", now.status);
            Ok(())
        })
        .await?;
        ensure!(operator.quiet().await?.cloud_writes() == writes, "the cloud is not touched");
        lab.delete_pods(&namespace).await?;
        lab.nothing_left(&namespace).await
    })
    .await
}

/// The node's agent finds its mappings by a label: also one that was made before there was anything to bind.
#[tokio::test]
async fn a_mapping_that_was_made_without_a_node_is_labelled_once_it_has_one() -> Result<()> {
    on_lab("label-node", async |lab| {
        let namespace = lab.namespace().await?;
        lab.policy_module("faults", json!({"config": faults_config(Some("invalid"), "")})).await?;
        lab.load("faults", "faults").await?;
        let _operator = lab.operator(&[]).await?;
        let pod = lab.pod(&namespace, "p", json!({})).await?;
        let refused = lab.mapped_as(&pod, "False", "Invalid").await?;
        ensure!(!refused.labels().contains_key(LABEL_NODE), "{:?}", refused.labels());
        lab.policy_module("faults", json!({"config": faults_config(None, "")})).await?;
        lab.pod_ready(&pod).await?;
        until("it is labelled", async || {
            let labels = lab.mapping(&pod).await?.labels().clone();
            ensure!(labels.get(LABEL_NODE).is_some_and(|node| node == isthmus_e2e::node()), "{labels:?}");
            Ok(())
        })
        .await
    })
    .await
}

async fn choose_group(lab: &Lab, namespace: &str, group: &str) -> Result<()> {
    let patch = Patch::Merge(json!({"metadata": {"annotations": {"isthmus.dev/security-groups": group}}}));
    let namespaces: Api<Namespace> = Api::all(lab.kube.clone());
    namespaces.patch(namespace, &PatchParams::default(), &patch).await?;
    Ok(())
}

/// Neutron answers 404 for a group that an update names, too: the port is there all the same, and stays the Pod's.
#[tokio::test]
async fn a_group_made_again_under_its_name_costs_no_pod_its_port() -> Result<()> {
    const NAME: &str = "isthmus-e2e-again";
    on_lab("group", async |lab| {
        let make = async || -> Result<String> {
            for old in lab.demo.list::<SecurityGroup>(&[("name", NAME)]).await? {
                lab.demo.delete::<SecurityGroup>(&old.id).await?;
            }
            let body = SecurityGroupCreate { name: NAME.into(), ..SecurityGroupCreate::default() };
            Ok(lab.demo.create::<SecurityGroup>(&body).await?.id)
        };
        make().await?;
        let (namespace, other) = (lab.namespace().await?, lab.namespace().await?);
        lab.load_pod_port().await?;
        let operator = lab.operator(&[]).await?;
        let pod = lab.pod(&namespace, "p", json!({})).await?;
        let port = port_id(&lab.pod_ready(&pod).await?).context("a port")?;
        // Now the operator knows what the name stands for, and then it stands for something else.
        choose_group(lab, &other, NAME).await?;
        lab.pod_ready(&lab.pod(&other, "q", json!({})).await?).await?;
        lab.delete_pods(&other).await?;
        until("the group is free", async || {
            ensure!(lab.ports().await?.len() == 1, "{} ports", lab.ports().await?.len());
            Ok(())
        })
        .await?;
        let group = make().await?;
        choose_group(lab, &namespace, NAME).await?;
        until("the port has the new group", async || {
            let now = lab.port(&port).await?.context("the port is gone")?;
            ensure!(now.security_groups == [group.clone()], "{:?}", now.security_groups);
            Ok(())
        })
        .await?;
        let numbers = operator.quiet().await?;
        ensure!(numbers.calls("POST", "ports") == 2, "one port a Pod");
        ensure!(port_id(&lab.mapping(&pod).await?).as_ref() == Some(&port), "it is the same one");
        lab.delete_pods(&namespace).await?;
        lab.nothing_left(&namespace).await?;
        lab.demo.delete::<SecurityGroup>(&group).await?;
        Ok(())
    })
    .await
}

/// `onDelete: Unmap`: what the module made goes, and then the PolicyModule can; the Pods stay.
#[tokio::test]
async fn a_module_deleted_with_unmap_takes_its_mappings_down() -> Result<()> {
    on_lab("unmap", async |lab| {
        let namespace = lab.namespace().await?;
        lab.policy_module("pod-port", json!({"config": pods_config(&[]), "onDelete": "Unmap"})).await?;
        lab.load("pod-port", "pod-port").await?;
        let _operator = lab.operator(&[]).await?;
        lab.pods(&namespace, 5).await?;
        lab.all_ready(&namespace, 5).await?;
        lab.remove_source("pod-port").await?;
        lab.module_api().delete("pod-port", &DeleteParams::default()).await?;
        until("the PolicyModule is gone", async || {
            let left = lab.module_api().get_opt("pod-port").await?;
            ensure!(left.is_none(), "{:?}", left.and_then(|m| m.status));
            Ok(())
        })
        .await?;
        let pods = lab.pod_api(&namespace).list(&ListParams::default()).await?.items.len();
        ensure!(pods == 5, "{pods} Pods are left");
        lab.nothing_left(&namespace).await
    })
    .await
}
