//! TLS of Routes: certificates of Kubernetes, kept in Barbican, shown by Octavia.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use isthmus_e2e::{Identity, Lab, condition, on_lab, ready, routes_config, until_within};
use kube::api::{DeleteParams, ListParams};
use serde_json::json;

/// A load balancer takes ten seconds, each change one or two.
const SLOW: Duration = Duration::from_secs(600);
/// A change of a certificate, from the Secret to what a client is shown.
const CHANGE: Duration = Duration::from_secs(180);

/// Loads the module for this provider, with a listener for TLS that shows the certificate of the Secret `default`.
async fn load(lab: &Lab, provider: &str, default: &Identity) -> Result<String> {
    let namespace = lab.namespace().await?;
    lab.tls_secret(&namespace, "default", &default.certificate, &default.key).await?;
    let mut config = routes_config(provider);
    let tls = json!({"secret": {"namespace": namespace, "name": "default"}});
    config.as_object_mut().context("a config is an object")?.insert("tls".into(), tls);
    lab.load_routes(config).await?;
    Ok(namespace)
}

async fn all_ready(lab: &Lab, namespace: &str, wanted: usize) -> Result<()> {
    until_within(SLOW, &format!("{wanted} Routes are ready"), async || {
        let all = lab.mapping_api(namespace).list(&ListParams::default()).await?.items;
        let done = all.iter().filter(|m| ready(m)).count();
        let why: Vec<_> =
            all.iter().filter_map(|m| condition(m, "Ready").map(|c| c.message.clone())).collect();
        ensure!(done == wanted, "{done} are: {why:?}");
        Ok(())
    })
    .await
}

/// A kill after each write of a certificate's life leaves one secret, shown once.
#[tokio::test]
async fn killed_at_every_call_there_is_one_secret() -> Result<()> {
    on_lab("tls-kills", async |lab| {
        let (default, own) = (Identity::new(lab, "*.example.com")?, Identity::new(lab, "own.example.org")?);
        let namespace = load(lab, "noop", &default).await?;
        lab.endpoints(&namespace, 1).await?;
        let tls = json!({"termination": "edge", "certificate": own.certificate, "key": own.key});
        lab.route(&namespace, "own", json!({"host": "own.example.org", "tls": tls})).await?;
        let mut kills = 0;
        let operator = loop {
            let operator = lab.operator(&[]).await?;
            let done = until_within(SLOW, "a write, or the end", async || {
                let now = operator.metrics().await?;
                if now.balancer_writes() + now.key_manager_calls("POST") > 0 {
                    return Ok(false);
                }
                let all = lab.mapping_api(&namespace).list(&ListParams::default()).await?.items;
                ensure!(all.iter().filter(|m| ready(m)).count() == 1, "it is not ready");
                Ok(true)
            })
            .await?;
            if done {
                break operator;
            }
            operator.kill().await?;
            kills += 1;
        };
        ensure!(kills >= 4, "killed {kills} times");
        let since = operator.metrics().await?;
        operator.resyncs(&since, 1).await?;
        operator.quiet().await?;
        let (kept, (first, further)) = (lab.kept_secrets().await?, lab.shown_secrets().await?);
        let refs: Vec<&str> = kept.iter().map(|secret| secret.secret_ref.as_str()).collect();
        ensure!(refs.len() == 2 && further.len() == 1, "{refs:?}, shown {further:?}");
        ensure!(further.iter().chain([&first]).all(|secret| refs.contains(&secret.as_str())), "{refs:?}");

        // And back: the Route's goes, the default one stays.
        lab.route_api(&namespace).delete("own", &DeleteParams::default()).await?;
        until_within(CHANGE, "its certificate is gone", async || {
            let (kept, (_, further)) = (lab.kept_secrets().await?, lab.shown_secrets().await?);
            ensure!(kept.len() == 1 && further.is_empty(), "{kept:?} {further:?}");
            Ok(())
        })
        .await
    })
    .await
}

/// Without the Secret there is no listener for TLS, and plain HTTP goes on; a Secret that comes is seen at once.
#[tokio::test]
async fn a_secret_that_is_missing_holds_up_only_what_needs_it() -> Result<()> {
    on_lab("tls-missing", async |lab| {
        let (default, own) = (Identity::new(lab, "*.example.com")?, Identity::new(lab, "own.example.org")?);
        let namespace = load(lab, "noop", &default).await?;
        lab.endpoints(&namespace, 1).await?;
        let tls = json!({"termination": "edge", "externalCertificate": {"name": "late"}});
        lab.route(&namespace, "late", json!({"host": "own.example.org", "tls": tls})).await?;
        lab.route(&namespace, "plain", json!({"host": "plain.example.com"})).await?;
        let operator = lab.operator(&[]).await?;
        let expected = format!("there is no Secret {namespace}/late");
        until_within(SLOW, "one is served, and the other says what it waits for", async || {
            let all = lab.mapping_api(&namespace).list(&ListParams::default()).await?.items;
            let of = |name: &str| all.iter().find(|m| m.spec.subject.name == name).context("no mapping");
            ensure!(ready(of("plain")?), "{:?}", condition(of("plain")?, "Ready"));
            let found = condition(of("late")?, "Realized").context("no condition")?;
            ensure!(found.message.contains(&expected), "{found:?}");
            Ok(())
        })
        .await?;
        operator.quiet().await?;
        lab.tls_secret(&namespace, "late", &own.certificate, &own.key).await?;
        let since = tokio::time::Instant::now();
        all_ready(lab, &namespace, 2).await?;
        ensure!(since.elapsed() < Duration::from_secs(15), "seen after {:?}", since.elapsed());
        ensure!(lab.shown_secrets().await?.1.len() == 1);
        Ok(())
    })
    .await
}
