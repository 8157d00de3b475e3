//! What stays in the cloud and what does not: resources that a module retains, and the end of everything.

use anyhow::{Context, Result, ensure};
use isthmus_e2e::{DEPLOY, Lab, faults_config, marked_for, on_lab, port_id, until};
use isthmus_model::mark::Mark;
use isthmus_openstack::neutron::{AddressGroup, Port};
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::{Value, json};

async fn json_of(lab: &Lab, arguments: &[&str]) -> Result<Value> {
    Ok(serde_json::from_str(&lab.isthmus(&[arguments, &["-o", "json"]].concat()).await?)?)
}

/// What the command says of why it fails.
async fn fails(lab: &Lab, arguments: &[&str]) -> Result<String> {
    match lab.isthmus(arguments).await {
        Ok(output) => anyhow::bail!("{arguments:?} is fine? {output}"),
        Err(error) => Ok(format!("{error:#}")),
    }
}

/// Id of what is retained of a kind for this Pod.
fn retained(all: &Value, kind: &str, pod: &str) -> Result<String> {
    let mut found = all.as_array().into_iter().flatten();
    let found = found.find(|found| found["kind"] == kind && found["madeFor"] == format!("Pod {pod}"));
    let id = found.and_then(|found| found["existing"].as_str());
    Ok(id.with_context(|| format!("no {kind} of {pod} in {all}"))?.to_owned())
}

#[tokio::test]
async fn what_a_module_retains_stays_and_no_collector_touches_it() -> Result<()> {
    on_lab("retained", async |lab| {
        lab.policy_module("faults", json!({"config": faults_config(Some("retain"), "kept-")})).await?;
        lab.load("faults", "faults").await?;
        let namespace = lab.namespace().await?;
        let operator = lab.operator(&["--resync-seconds", "2"]).await?;
        let pod = lab.pod(&namespace, "kept-0", json!({})).await?;
        let id = port_id(&lab.pod_ready(&pod).await?).context("a port")?;
        // One whose mapping lives, so that orphans are collected at all.
        let other = lab.pod(&namespace, "other", json!({})).await?;
        lab.pod_ready(&other).await?;
        lab.delete_pod(&namespace, "kept-0").await?;
        until("its CloudMapping is gone", async || {
            let left = lab.mapping_api(&namespace).list(&ListParams::default()).await?.items;
            ensure!(left.len() == 1, "{} CloudMappings", left.len());
            Ok(())
        })
        .await?;

        let all = json_of(lab, &["tree", "--retained"]).await?;
        let told = format!("{namespace}/kept-0");
        let (port, group) = (retained(&all, "port", &told)?, retained(&all, "address-group", &told)?);
        ensure!(port == id && all.as_array().is_some_and(|all| all.len() == 2), "{all}, port {id}");
        let before: Port = lab.demo.get(&port).await?;
        let tag = format!("isthmus:retained={}", lab.cluster);
        ensure!(before.tags.contains(&tag) && Mark::of(&before.description, &before.tags).is_none());
        let peers: AddressGroup = lab.demo.get(&group).await?;
        ensure!(peers.description.starts_with(&tag), "{}", peers.description);

        operator.rests().await?;
        let after: Port = lab.demo.get(&port).await?;
        ensure!(after == before, "{after:?}, before {before:?}");
        let operator = lab.restarted(operator).await?;
        ensure!(json_of(lab, &["tree", "--retained"]).await? == all);
        drop(operator);
        lab.demo.delete::<AddressGroup>(&group).await?;
        lab.demo.delete::<Port>(&port).await?;
        let table = lab.isthmus(&["tree", "--retained"]).await?;
        ensure!(table == "nothing is retained\n", "{table}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn uninstall_takes_down_all_that_was_made() -> Result<()> {
    on_lab("uninstall", async |lab| {
        lab.kubectl(&["apply", "-f", &format!("{DEPLOY}/admission.yaml")]).await?;
        let (namespace, operator) = lab.with_pod_port(&[]).await?;
        let pods = lab.pods(&namespace, 3).await?;
        lab.all_ready(&namespace, 3).await?;
        let said = fails(lab, &["uninstall", "--yes"]).await?;
        ensure!(said.contains(" leads, and would make again"), "{said}");
        operator.stop(isthmus_e2e::LIMIT).await?;

        let first = lab.mapping(&pods[0]).await?;
        lab.set_condition(&first, "Attached", "True").await?;
        let said = fails(lab, &["uninstall", "--yes"]).await?;
        ensure!(said.contains(&format!("Pod {namespace}/p-0")) && said.contains("--force"), "{said}");
        ensure!(lab.ports().await?.len() == 3, "nothing was done");
        lab.set_condition(&first, "Attached", "False").await?;

        // Whose record is lost is told by its mark.
        let lost = pods[1].uid().context("a uid")?;
        let mapping = lab.mapping(&pods[1]).await?.name_any();
        let none = r#"{"metadata": {"finalizers": null}}"#;
        lab.kubectl(&["patch", "cloudmapping", &mapping, "-n", &namespace, "--type=merge", "-p", none])
            .await?;
        lab.kubectl(&["delete", "cloudmapping", &mapping, "-n", &namespace]).await?;
        let plan = json_of(lab, &["uninstall"]).await?;
        ensure!(plan["ownerless"] == 1 && plan["resources"]["port"] == 3, "{plan}");
        ensure!(plan["cloudMappings"] == 2 && plan["refused"] == json!([]), "{plan}");
        ensure!(lab.ports().await?.iter().any(|port| marked_for(port, &lost)), "nothing was done");

        let done = json_of(lab, &["uninstall", "--yes"]).await?;
        ensure!(done["left"] == json!([]) && done["resources"]["port"] == 3, "{done}");
        lab.nothing_left(&namespace).await?;
        ensure!(lab.module_api().list(&ListParams::default()).await?.items.is_empty());
        let again = lab.isthmus(&["uninstall"]).await?;
        ensure!(again.contains("is left to take down"), "{again}");
        Ok(())
    })
    .await
}
