//! The commands that explain: `plan`, `why` and `doctor`, and `isthmus` as a plugin of kubectl.

use anyhow::{Context, Result, ensure};
use isthmus_e2e::{Lab, on_lab, pods_config, until};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

async fn json_of(lab: &Lab, arguments: &[&str]) -> Result<Value> {
    Ok(serde_json::from_str(&lab.isthmus(&[arguments, &["-o", "json"]].concat()).await?)?)
}

fn number(value: &Value, pointer: &str) -> Result<u64> {
    value.pointer(pointer).and_then(Value::as_u64).with_context(|| format!("no {pointer} in {value}"))
}

#[tokio::test]
async fn plan_tells_what_a_version_would_change_and_writes_nothing() -> Result<()> {
    on_lab("plan", async |lab| {
        let (namespace, operator) = lab.with_pod_port(&[]).await?;
        lab.pods(&namespace, 3).await?;
        lab.all_ready(&namespace, 3).await?;
        let before = operator.quiet().await?.cloud_writes();
        let (same, next) = (lab.module_file("pod-port")?, lab.module_file("pod-port-next")?);
        let nothing = json_of(lab, &["plan", &same]).await?;
        ensure!(nothing.pointer("/changes") == Some(&json!([])), "{nothing}");
        let tagged = json_of(lab, &["plan", &next, "--name", "pod-port"]).await?;
        ensure!(
            number(&tagged, "/summary/changed")? == 3 && number(&tagged, "/summary/deleted")? == 0,
            "{tagged}"
        );
        let moved = pods_config(&[]).to_string().replace("\"pods\"", "\"other\"");
        let text = lab.isthmus(&["plan", &same, "--config", &moved]).await?;
        ensure!(text.contains("-/+ port port") && text.contains("replace 3 and delete 0"), "{text}");
        let refused = lab.isthmus(&["plan", &same, "--config", "{}"]).await;
        let said = refused.err().context("a config without a network is fine?")?.to_string();
        ensure!(said.contains("3 of 3 objects"), "{said}");
        let rival = lab.isthmus(&["plan", &same, "--name", "another"]).await;
        let said = rival.err().context("a second module for Pods is fine?")?.to_string();
        ensure!(said.contains("Conflict"), "{said}");
        ensure!(operator.quiet().await?.cloud_writes() == before, "nothing is written");
        Ok(())
    })
    .await
}

/// Waits until `isthmus why` says all of this.
async fn tells(lab: &Lab, namespace: &str, object: &str, parts: &[&str]) -> Result<()> {
    until(&format!("why tells of {object}"), async || {
        let told = lab.isthmus(&["why", object, "-n", namespace]).await?;
        match parts.iter().find(|part| !told.contains(**part)) {
            Some(part) => anyhow::bail!("no {part:?} in {told}"),
            None => Ok(()),
        }
    })
    .await
}

#[tokio::test]
async fn why_tells_what_was_read_and_what_changed_last() -> Result<()> {
    on_lab("why", async |lab| {
        let (namespace, _operator) = lab.with_pod_port(&[]).await?;
        let pod = lab.pod(&namespace, "web", json!({})).await?;
        lab.pod_ready(&pod).await?;
        let namespaces: Api<Namespace> = Api::all(lab.kube.clone());
        let tag = Patch::Merge(json!({"metadata": {"annotations": {"isthmus.dev/subnets": "pods-v4"}}}));
        namespaces.patch(&namespace, &PatchParams::default(), &tag).await?;
        let parts = [
            "mapped by pod-port",
            "2 entries: port port, vif eth0",
            &format!("last change: Namespace {namespace} changed"),
            &format!("read Namespace {namespace}"),
        ];
        tells(lab, &namespace, "pod/web", &parts).await?;
        let wrong = Patch::Merge(json!({"metadata": {"annotations": {"isthmus.dev/network": "nowhere"}}}));
        namespaces.patch(&namespace, &PatchParams::default(), &wrong).await?;
        lab.pod(&namespace, "late", json!({})).await?;
        tells(lab, &namespace, "pods/late", &["waits for: Realized WaitingForReference", "nowhere"]).await?;
        let missing = lab.isthmus(&["why", "pod/nobody", "-n", &namespace]).await;
        ensure!(missing.is_err_and(|e| e.to_string().contains("there is no pod/nobody")));

        // kubectl finds it by its name.
        let folder = tempfile::tempdir()?;
        std::os::unix::fs::symlink(std::env::var("ISTHMUS_BIN")?, folder.path().join("kubectl-isthmus"))?;
        let path = format!("{}:{}", folder.path().display(), std::env::var("PATH")?);
        let done = tokio::process::Command::new("kubectl")
            .args(["isthmus", "tree", "pod/web", "-n", &namespace])
            .env("PATH", path)
            .output()
            .await?;
        let told = String::from_utf8(done.stdout)?;
        ensure!(
            told.starts_with("Pod/web (CloudMapping "),
            "{told} {}",
            String::from_utf8_lossy(&done.stderr)
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn doctor_finds_nothing_on_the_lab_and_says_so_when_no_operator_runs() -> Result<()> {
    on_lab("doctor", async |lab| {
        let none = lab.isthmus(&["doctor"]).await.err().context("without an operator all is well?")?;
        ensure!(none.to_string().contains("1 of "), "{none}");
        let (_, _operator) = lab.with_pod_port(&[]).await?;
        lab.loaded("pod-port").await?;
        let checks = json_of(lab, &["doctor"]).await?;
        let all = checks.as_array().context("a list")?;
        let wrong: Vec<&Value> = all.iter().filter(|c| c.pointer("/state") != Some(&json!("ok"))).collect();
        ensure!(wrong.is_empty() && all.len() >= 10, "{wrong:?} of {}", all.len());
        let nowhere = lab.isthmus(&["doctor", "--os-cloud", "nowhere", "--kubeconfig", "/nowhere"]).await;
        let said = nowhere.err().context("nothing is there, and all is well?")?.to_string();
        ensure!(said.contains("2 of 2 checks failed"), "{said}");
        Ok(())
    })
    .await
}
