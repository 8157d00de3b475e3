//! Tokens that end: before their time, and at it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http::Method;
use isthmus_e2e::{Lab, on_lab, until};
use isthmus_openstack::catalog::IDENTITY;
use isthmus_openstack::session::Request;
use rustix::process::Signal;
use serde_json::{Value, json};

/// How long a token is good for, in seconds.
const SHORT: u32 = 8;
const REQUESTS: &str = "isthmus_openstack_requests_total";

/// A token that ends before its time: the user is disabled and enabled, which revokes all its tokens.
#[tokio::test]
async fn with_a_token_that_is_no_longer_valid_work_goes_on() -> Result<()> {
    on_lab("token", async |lab| {
        let (namespace, operator) = lab.with_pod_port(&[]).await?;
        let before = lab.pod(&namespace, "before", json!({})).await?;
        lab.pod_ready(&before).await?;
        revoke(lab, "isthmus").await?;
        // Neutron believes a token that it has seen for five minutes, unless it is another process.
        lab.kill_part("neutron").await?;
        lab.start_part("neutron").await?;
        let after = lab.pod(&namespace, "after", json!({})).await?;
        lab.pod_ready(&after).await?;
        lab.delete_pod(&namespace, "before").await?;
        lab.ports_left("the first Pod's port is gone", 1).await?;
        let refused = operator.metrics().await?.sum(REQUESTS, &[("code", "401")]);
        ensure!(refused >= 1, "the old token was refused");
        Ok(())
    })
    .await
}

/// Keystone gives tokens for seconds: each is renewed before its end, and no request is refused for it.
#[tokio::test]
async fn a_token_is_renewed_before_it_expires() -> Result<()> {
    on_lab("short-tokens", async |lab| {
        lab.with_tokens_of(15, async || {
            let (namespace, operator) = lab.with_pod_port(&["--resync-seconds", "1"]).await?;
            until("it signed in four times", async || {
                let labels = [("service", "identity"), ("resource", "tokens"), ("code", "201")];
                let times = operator.metrics().await?.sum(REQUESTS, &labels);
                ensure!(times >= 4, "{times} times");
                Ok(())
            })
            .await?;
            lab.pod_ready(&lab.pod(&namespace, "p", json!({})).await?).await?;
            let refused = operator.metrics().await?.sum(REQUESTS, &[("code", "401")]);
            ensure!(refused == 0, "{refused} requests with a token that had expired");
            Ok(())
        })
        .await
    })
    .await
}

/// An operator that is stopped finds its token expired when it goes on.
#[tokio::test]
async fn with_a_token_that_has_expired_work_goes_on() -> Result<()> {
    on_lab("expired-token", async |lab| {
        lab.with_tokens_of(SHORT, async || {
            let (namespace, operator) = lab.with_pod_port(&["--lease-seconds", "120"]).await?;
            lab.pod_ready(&lab.pod(&namespace, "before", json!({})).await?).await?;
            let signed_in = async || {
                let labels = [("service", "identity"), ("resource", "tokens"), ("code", "201")];
                operator.metrics().await.map(|now| now.sum(REQUESTS, &labels))
            };
            let before = signed_in().await?;
            operator.signal(Signal::STOP)?;
            // Longer than any token that it has is good for: nothing else tells that it has ended.
            tokio::time::sleep(Duration::from_secs(u64::from(SHORT) + 2)).await;
            lab.delete_pod(&namespace, "before").await?;
            operator.signal(Signal::CONT)?;
            lab.pod_ready(&lab.pod(&namespace, "after", json!({})).await?).await?;
            ensure!(signed_in().await? > before, "it has another token");
            lab.ports_left("the first Pod's port is gone", 1).await.map(drop)
        })
        .await
    })
    .await
}

async fn revoke(lab: &Lab, user: &str) -> Result<()> {
    let session = lab.admin.session();
    let mut list = Request::new(IDENTITY, "users", Method::GET, "/users".into());
    list.query.push(("name".into(), user.into()));
    let answer = session.send(&list).await?;
    let users: Value = answer.json(&list)?;
    let id = users.pointer("/users/0/id").and_then(Value::as_str).context("the user")?;
    for enabled in [false, true] {
        let mut change = Request::new(IDENTITY, "users", Method::PATCH, format!("/users/{id}"));
        change.body = Some(serde_json::to_vec(&json!({"user": {"enabled": enabled}}))?);
        session.send(&change).await?;
    }
    Ok(())
}
