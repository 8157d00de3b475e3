//! Modules in the running system: swaps, versions that are held, modules that are gone, and kinds that come later.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use isthmus_e2e::{
    Lab, OPERATOR_NAMESPACE, condition, faults_config, mark, on_lab, pods_config, port_id, ready,
    routes_config, until, widget_definition,
};
use isthmus_kubernetes::crd::CloudMapping;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::DeleteParams;
use kube::{Api, ResourceExt};
use serde_json::json;

/// Far more than an operator that stops needs.
const STOP: Duration = Duration::from_secs(15);

fn ids(mappings: &[CloudMapping]) -> Vec<Option<String>> {
    let mut ids: Vec<_> = mappings.iter().map(port_id).collect();
    ids.sort();
    ids
}

async fn load_faults(lab: &Lab, fault: Option<&str>) -> Result<()> {
    lab.policy_module("faults", json!({"config": faults_config(fault, "")})).await.map(drop)
}

#[tokio::test]
async fn a_module_deleted_with_twenty_pods_mapped() -> Result<()> {
    on_lab("deleted-module", async |lab| {
        let (namespace, operator) = lab.with_pod_port(&[]).await?;
        let pods = lab.pods(&namespace, 20).await?;
        let before = ids(&lab.all_ready(&namespace, 20).await?);
        let writes = operator.quiet().await?.cloud_writes();
        lab.remove_module("pod-port").await?;
        for pod in &pods {
            lab.mapped_as(pod, "False", "ModuleMissing").await?;
        }
        let late = lab.pod(&namespace, "late", json!({})).await?;
        ensure!(operator.quiet().await?.cloud_writes() == writes, "the cloud is left alone");
        for at in 0..5 {
            lab.delete_pod(&namespace, &format!("p-{at}")).await?;
        }
        until("deleted Pods are cleaned up, and only they", async || {
            let left = lab.ports().await?;
            ensure!(left.len() == 15, "{} ports", left.len());
            ensure!(left.iter().all(|p| before.contains(&Some(p.id.clone()))), "another port");
            Ok(())
        })
        .await?;

        // Nor does an operator that never knew the module.
        ensure!(operator.stop(STOP).await?.success());
        let operator = lab.operator(&[]).await?;
        ensure!(operator.quiet().await?.cloud_writes() == 0, "the cloud is left alone after a start");
        ensure!(lab.ports().await?.len() == 15 && lab.mapping(&late).await.is_err());
        lab.load_pod_port().await?;
        lab.pod_ready(&late).await?;
        let after = ids(&lab.all_ready(&namespace, 16).await?);
        ensure!(before.iter().filter(|id| after.contains(id)).count() == 15, "taken up again");
        lab.delete_pods(&namespace).await?;
        lab.nothing_left(&namespace).await
    })
    .await
}

#[tokio::test]
async fn a_second_module_for_pods_is_a_conflict() -> Result<()> {
    on_lab("conflict", async |lab| {
        let (namespace, operator) = lab.with_pod_port(&[]).await?;
        let pod = lab.pod(&namespace, "p", json!({})).await?;
        let port = port_id(&lab.pod_ready(&pod).await?);
        load_faults(lab, Some("empty")).await?;
        lab.load("faults", "faults").await?;
        lab.refused("faults", "Conflict", "v1/Pod is mapped by PolicyModule pod-port").await?;
        let by = |m: &CloudMapping| m.status.as_ref().and_then(|s| s.module.clone()).map(|m| m.name);
        let second = lab.pod_ready(&lab.pod(&namespace, "q", json!({})).await?).await?;
        ensure!(by(&second).as_deref() == Some("pod-port"), "the incumbent keeps it");

        // Taking over is explicit, and judged like any swap.
        let take = |fault| json!({"config": faults_config(fault, ""), "replaces": "pod-port"});
        lab.policy_module("faults", take(Some("empty"))).await?;
        lab.refused("faults", "Held", "delete 2").await?;
        let while_held = lab.pod_ready(&lab.pod(&namespace, "h", json!({})).await?).await?;
        ensure!(by(&while_held).as_deref() == Some("pod-port"), "the incumbent serves while it is held");
        lab.policy_module("faults", take(None)).await?;
        lab.loaded("faults").await?;
        lab.refused("pod-port", "Replaced", "PolicyModule faults").await?;
        // What is left of the old one may break as it likes.
        lab.remove_source("pod-port").await?;
        lab.refused("pod-port", "SourceMissing", "pod-port").await?;
        let third = lab.pod_ready(&lab.pod(&namespace, "r", json!({})).await?).await?;
        ensure!(by(&third).as_deref() == Some("faults"), "the new one maps");
        ensure!(port_id(&lab.mapping(&pod).await?) == port, "nothing is replaced");

        // It stays so after a restart; and when it goes, the other one's turn comes.
        ensure!(operator.stop(STOP).await?.success());
        let _operator = lab.operator(&[]).await?;
        let fourth = lab.pod_ready(&lab.pod(&namespace, "s", json!({})).await?).await?;
        ensure!(by(&fourth).as_deref() == Some("faults"), "the new one maps after a restart");
        lab.load("pod-port", "pod-port").await?;
        lab.remove_module("faults").await?;
        lab.loaded("pod-port").await?;
        let fifth = lab.pod_ready(&lab.pod(&namespace, "t", json!({})).await?).await?;
        ensure!(by(&fifth).as_deref() == Some("pod-port") && port_id(&lab.mapping(&pod).await?) == port);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_version_that_renames_its_entries() -> Result<()> {
    on_lab("rename", async |lab| {
        load_faults(lab, None).await?;
        lab.load("faults", "faults").await?;
        let namespace = lab.namespace().await?;
        let operator = lab.operator(&[]).await?;
        lab.pods(&namespace, 5).await?;
        let before = ids(&lab.all_ready(&namespace, 5).await?);
        let then = operator.quiet().await?;
        load_faults(lab, Some("rename")).await?;
        lab.loaded("faults").await?;
        until("every port is recorded under its new name", async || {
            let mappings = lab.all_ready(&namespace, 5).await?;
            let names = |m: &CloudMapping| -> Vec<String> {
                m.status.iter().flat_map(|s| &s.resources).map(|r| r.name.clone()).collect()
            };
            let named = mappings.iter().filter(|m| names(m) == ["eth0-2", "port-2"]).count();
            ensure!(named == 5, "{:?}", mappings.first().map(names));
            ensure!(ids(&mappings) == before, "the same ports");
            Ok(())
        })
        .await?;
        let now = operator.quiet().await?;
        for method in ["POST", "DELETE"] {
            ensure!(now.calls(method, "ports") == then.calls(method, "ports"), "no port is replaced");
        }
        let ports = lab.ports().await?;
        let marked = ports.iter().filter(|p| mark(p).is_some_and(|m| m.name == "port-2")).count();
        ensure!(ports.len() == 5 && marked == 5, "{marked} of {} are marked anew", ports.len());
        Ok(())
    })
    .await
}

/// Held, then approved: what `fault` makes of three Pods' ports.
async fn held_until_approved(lab: &Lab, fault: &str) -> Result<()> {
    load_faults(lab, None).await?;
    lab.load("faults", "faults").await?;
    let namespace = lab.namespace().await?;
    let operator = lab.operator(&[]).await?;
    lab.pods(&namespace, 3).await?;
    let before = ids(&lab.all_ready(&namespace, 3).await?);
    let writes = operator.quiet().await?.cloud_writes();
    load_faults(lab, Some(fault)).await?;
    let held = lab.refused("faults", "Held", "delete 3").await?;
    let changes = held.status.as_ref().and_then(|s| s.pending_changes).context("counts")?;
    ensure!(changes.deleted == 3 && changes.replaced == 0, "{changes:?}");
    ensure!(operator.quiet().await?.cloud_writes() == writes, "nothing is done meanwhile");
    ensure!(ids(&lab.all_ready(&namespace, 3).await?) == before);
    lab.approve(&held).await?;
    lab.loaded("faults").await?;
    lab.ports_left("the ports are deleted", 0).await.map(drop)
}

#[tokio::test]
async fn a_swap_to_an_empty_list_is_held_until_approved() -> Result<()> {
    on_lab("held-empty", async |lab| held_until_approved(lab, "empty").await).await
}

#[tokio::test]
async fn a_swap_to_not_mapped_is_held_until_approved() -> Result<()> {
    on_lab("held-not-mapped", async |lab| held_until_approved(lab, "not-mapped").await).await
}

/// What would leave mapped Pods without what they need is held, although it deletes nothing.
#[tokio::test]
async fn a_config_that_fits_no_pod_is_held() -> Result<()> {
    on_lab("held-config", async |lab| {
        let (namespace, operator) = lab.with_pod_port(&[]).await?;
        lab.pods(&namespace, 2).await?;
        lab.all_ready(&namespace, 2).await?;
        let writes = operator.quiet().await?.cloud_writes();
        lab.policy_module("pod-port", json!({"config": {"network": "nope"}})).await?;
        lab.refused("pod-port", "ShadowRunFailed", "there is no network named").await?;
        lab.policy_module("pod-port", json!({"config": {"net": "pods"}})).await?;
        lab.refused("pod-port", "ShadowRunFailed", "unknown field").await?;
        lab.all_ready(&namespace, 2).await?;
        ensure!(operator.quiet().await?.cloud_writes() == writes, "nothing is done meanwhile");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_swap_that_replaces_is_held_until_approved() -> Result<()> {
    on_lab("held-replace", async |lab| {
        let (namespace, _operator) = lab.with_pod_port(&[]).await?;
        lab.pods(&namespace, 3).await?;
        let before = ids(&lab.all_ready(&namespace, 3).await?);
        let mut config = pods_config(&[]);
        config.as_object_mut().context("an object")?.insert("vnicType".into(), json!("macvtap"));
        lab.policy_module("pod-port", json!({"config": config})).await?;
        let held = lab.refused("pod-port", "Held", "replace 3").await?;
        let changes = held.status.as_ref().and_then(|s| s.pending_changes).context("counts")?;
        ensure!(changes.replaced == 3, "{changes:?}");
        ensure!(ids(&lab.all_ready(&namespace, 3).await?) == before, "nothing is done meanwhile");
        lab.approve(&held).await?;
        lab.loaded("pod-port").await?;
        until("each port is another", async || {
            let ports = lab.ports().await?;
            let old = ports.iter().filter(|p| before.contains(&Some(p.id.clone()))).count();
            ensure!(ports.len() == 3 && old == 0, "{} ports, {old} of them old", ports.len());
            Ok(())
        })
        .await
    })
    .await
}

/// Its module is there first, and has to wait for nothing: once the kind can be watched, its objects are mapped.
#[tokio::test]
async fn a_kind_whose_definition_comes_later_is_mapped_once_it_is_there() -> Result<()> {
    on_lab("late-kind", async |lab| {
        let definitions: Api<CustomResourceDefinition> = Api::all(lab.kube.clone());
        let crd = widget_definition()?;
        let namespace = lab.namespace().await?;
        lab.load_pod_port().await?;
        lab.load("widget-port", "widget-port").await?;
        let operator = lab.operator(&[]).await?;
        lab.loaded("widget-port").await?;
        lab.pod_ready(&lab.pod(&namespace, "p", json!({})).await?)
            .await
            .context("Pods do not wait for it")?;

        lab.define(&crd).await?;
        lab.widget(&namespace, "w", json!({"network": "pods"})).await?;
        lab.widget(&namespace, "lost", json!({})).await?;
        let port = until("the Widget has a port", async || {
            let mapping = lab.widget_mapping(&namespace, "w").await?;
            ensure!(ready(&mapping), "{:?}", mapping.status);
            port_id(&mapping).context("a port")
        })
        .await?;
        ensure!(lab.port(&port).await?.context("the port")?.description.contains("of Widget w"));
        until("the other one is told what it lacks", async || {
            let mapping = lab.widget_mapping(&namespace, "lost").await?;
            let mapped = condition(&mapping, "Mapped").context("no condition Mapped")?;
            ensure!(mapped.reason == "Invalid" && mapped.message.contains("spec.network"), "{mapped:?}");
            Ok(())
        })
        .await?;
        // With its definition every Widget goes, and what was made for it.
        definitions.delete(&crd.name_any(), &DeleteParams::default()).await?;
        until("the Widget's port is gone, and only that", async || {
            ensure!(lab.port(&port).await?.is_none(), "it is there");
            ensure!(lab.ports().await?.len() == 1, "{} ports", lab.ports().await?.len());
            Ok(())
        })
        .await?;
        ensure!(operator.get("/readyz").await?.0 == 200);
        Ok(())
    })
    .await
}

/// Each of two modules that map their own PolicyModule maps its own; one that goes takes nothing of the other's.
#[tokio::test]
async fn two_modules_map_their_own_policy_modules() -> Result<()> {
    on_lab("own-modules", async |lab| {
        lab.load_routes(routes_config("noop")).await?;
        let groups = json!({"config": {}, "onDelete": "Unmap"});
        lab.policy_module("networkpolicy-securitygroup", groups).await?;
        lab.load("networkpolicy-securitygroup", "networkpolicy-securitygroup").await?;
        let operator = lab.operator(&[]).await?;
        let own = async |expected: &[&str]| {
            until("each has a mapping of its own", async || {
                let all = lab.mapping_api(OPERATOR_NAMESPACE).list(&Default::default()).await?.items;
                let mut names: Vec<&str> =
                    all.iter().filter(|m| ready(m)).map(|m| &*m.spec.subject.name).collect();
                names.sort_unstable();
                ensure!(names == expected && all.len() == names.len(), "{names:?} of {}", all.len());
                Ok(())
            })
            .await
        };
        for name in ["route-l7policy", "networkpolicy-securitygroup"] {
            lab.loaded(name).await?;
        }
        own(&["networkpolicy-securitygroup", "route-l7policy"]).await?;
        ensure!(operator.stop(STOP).await?.success());
        let operator = lab.operator(&[]).await?;
        let before = lab.balanced().await?;

        lab.remove_source("networkpolicy-securitygroup").await?;
        lab.module_api().delete("networkpolicy-securitygroup", &DeleteParams::default()).await?;
        own(&["route-l7policy"]).await?;
        operator.rests().await?;
        ensure!(lab.balanced().await? == before, "the load balancer of the other one stays");
        Ok(())
    })
    .await
}

/// What a module that served before made goes with its PolicyModule also where its bytes are lost.
#[tokio::test]
async fn a_module_whose_bytes_are_lost_takes_its_mappings_down() -> Result<()> {
    on_lab("lost-bytes", async |lab| {
        let (namespace, operator) = lab.with_pod_port(&[]).await?;
        lab.policy_module("pod-port", json!({"config": pods_config(&[]), "onDelete": "Unmap"})).await?;
        lab.pods(&namespace, 2).await?;
        lab.all_ready(&namespace, 2).await?;
        ensure!(operator.stop(STOP).await?.success());
        lab.lose_module("pod-port").await?;
        lab.module_api().delete("pod-port", &DeleteParams::default()).await?;
        let _operator = lab.operator(&[]).await?;
        lab.nothing_left(&namespace).await?;
        until("the PolicyModule is gone", async || {
            ensure!(lab.module_api().get_opt("pod-port").await?.is_none());
            Ok(())
        })
        .await
    })
    .await
}

/// A module that ends takes down what it made, and nothing of who has taken its kind over, though that one serve no version.
#[tokio::test]
async fn who_has_taken_over_keeps_what_it_made() -> Result<()> {
    on_lab("taken-over", async |lab| {
        let (namespace, operator) = lab.with_pod_port(&[]).await?;
        lab.policy_module("pod-port", json!({"config": pods_config(&[]), "onDelete": "Unmap"})).await?;
        lab.pods(&namespace, 2).await?;
        let before = ids(&lab.all_ready(&namespace, 2).await?);
        lab.policy_module("faults", json!({"config": faults_config(None, ""), "replaces": "pod-port"}))
            .await?;
        lab.load("faults", "faults").await?;
        lab.loaded("faults").await?;
        let by_faults = |m: &CloudMapping| {
            m.status.as_ref().and_then(|s| s.module.as_ref()).is_some_and(|module| module.name == "faults")
        };
        until("it maps the Pods", async || {
            let all = lab.all_ready(&namespace, 2).await?;
            ensure!(all.iter().all(by_faults));
            Ok(())
        })
        .await?;
        ensure!(operator.stop(STOP).await?.success());
        lab.lose_module("faults").await?;
        // Else its source would make it anew.
        lab.lose_module("pod-port").await?;
        lab.module_api().delete("pod-port", &DeleteParams::default()).await?;
        let operator = lab.operator(&["--resync-seconds", "2"]).await?;
        until("the one that ends is gone", async || {
            ensure!(lab.module_api().get_opt("pod-port").await?.is_none());
            Ok(())
        })
        .await?;
        let seen = operator.metrics().await?;
        operator.resyncs(&seen, 2).await?;
        let all = lab.mapping_api(&namespace).list(&Default::default()).await?.items;
        ensure!(ids(&all) == before && lab.ports().await?.len() == 2, "{all:?}");
        let said = all.iter().filter_map(|m| condition(m, "Mapped")).filter(|c| c.reason == "ModuleMissing");
        ensure!(said.count() == 2, "both say what is missing");
        Ok(())
    })
    .await
}
