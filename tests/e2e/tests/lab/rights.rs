//! What the manifests in `deploy` allow, and what they refuse.

use anyhow::{Context, Result, bail, ensure};
use isthmus_e2e::{DEPLOY, files, on_lab, until};
use kube::ResourceExt;
use serde_json::json;

/// A CloudMapping as somebody would forge it, of a kind that nobody serves.
const FORGED: &str = r#"{"apiVersion": "isthmus.dev/v1alpha1", "kind": "CloudMapping", "metadata": {"name": "foo-x-1234567890"},
  "spec": {"subject": {"apiVersion": "example.com/v1", "kind": "Foo", "name": "x", "namespace": "NAMESPACE", "uid": "UID"}}}"#;

#[tokio::test]
async fn the_operator_needs_no_more_than_its_role_and_nobody_else_writes_mappings() -> Result<()> {
    on_lab("rights", async |lab| {
        lab.kubectl(&["apply", "-f", &format!("{DEPLOY}/admission.yaml")]).await?;
        let namespace = lab.namespace().await?;
        lab.load_pod_port().await?;
        let operator = lab.operator_with_its_rights(&[]).await?;
        let pod = lab.pod(&namespace, "web", json!({})).await?;
        lab.pod_ready(&pod).await?;

        // The owner of a namespace, with all rights that a role can name one by one.
        lab.kubectl(&["create", "serviceaccount", "owner", "-n", &namespace]).await?;
        let verbs = "--verb=get,list,watch,create,update,patch,delete";
        let what = "--resource=cloudmappings.isthmus.dev,cloudmappings.isthmus.dev/status";
        lab.kubectl(&["create", "role", "owner", verbs, what, "-n", &namespace]).await?;
        let account = format!("--serviceaccount={namespace}:owner");
        lab.kubectl(&["create", "rolebinding", "owner", "--role=owner", &account, "-n", &namespace]).await?;
        let who = format!("--as=system:serviceaccount:{namespace}:owner");
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let forged = FORGED.replace("NAMESPACE", &namespace).replace("UID", &uid);
        let file = files().join("forged.json");
        std::fs::write(&file, forged)?;
        let name = lab.mapping(&pod).await?.name_any();
        let merge = [
            r#"{"metadata": {"finalizers": []}}"#,
            r#"{"metadata": {"ownerReferences": []}}"#,
            r#"{"metadata": {"labels": {"a": "b"}}}"#,
        ];
        let path = file.to_str().context("the folder's name is text")?;
        let create = vec!["create", "--dry-run=server", "-n", &namespace, &who, "-f", path];
        let patch = |patch| {
            vec![
                "patch",
                "cloudmapping",
                &name,
                "-n",
                &namespace,
                &who,
                "--dry-run=server",
                "--type=merge",
                "-p",
                patch,
            ]
        };
        for attempt in [create].into_iter().chain(merge.map(patch)) {
            until("it is refused", async || match lab.kubectl(&attempt).await {
                Ok(answer) => bail!("it is allowed: {answer}"),
                Err(refused) => {
                    let why = format!("{refused:#}");
                    ensure!(why.contains("written by the Isthmus operator alone"), "{why}");
                    Ok(())
                }
            })
            .await?;
        }

        // What everybody may: to delete one, which comes again; and what collects garbage goes on to.
        lab.kubectl(&["delete", "cloudmapping", &name, "-n", &namespace, &who, "--wait=false"]).await?;
        lab.pod_ready(&pod).await?;
        lab.delete_pods(&namespace).await?;
        lab.nothing_left(&namespace).await?;
        let refused = operator.log()?.lines().filter(|l| l.contains("orbidden")).count();
        ensure!(refused == 0, "the operator lacks a right:\n{}", operator.log()?);
        Ok(())
    })
    .await
}

/// A credential of the operator's own, with which it knows no password.
#[tokio::test]
async fn an_application_credential_is_enough() -> Result<()> {
    on_lab("credential", async |lab| {
        lab.load_pod_port().await?;
        let namespace = lab.namespace().await?;
        let credential = lab.application_credential().await?;
        let operator = lab.operator_with(&credential).await?;
        let pod = lab.pod(&namespace, "web", json!({})).await?;
        lab.pod_ready(&pod).await?;
        lab.delete_pods(&namespace).await?;
        lab.nothing_left(&namespace).await?;
        ensure!(!operator.log()?.contains(&credential.secret), "the log has the secret");
        credential.revoke().await
    })
    .await
}

/// One that somebody else signed in for: it is exchanged for a token of the operator's own.
#[tokio::test]
async fn a_token_is_enough() -> Result<()> {
    on_lab("signed-in", async |lab| {
        lab.load_pod_port().await?;
        let namespace = lab.namespace().await?;
        let (operator, token) = lab.operator_with_token().await?;
        let pod = lab.pod(&namespace, "web", json!({})).await?;
        lab.pod_ready(&pod).await?;
        lab.delete_pods(&namespace).await?;
        lab.nothing_left(&namespace).await?;
        let labels = [("service", "identity"), ("resource", "tokens"), ("code", "201")];
        let signed_in = operator.metrics().await?.sum("isthmus_openstack_requests_total", &labels);
        ensure!(signed_in > 0, "Keystone was not asked");
        ensure!(!operator.log()?.contains(&token), "the log has the token");
        Ok(())
    })
    .await
}
