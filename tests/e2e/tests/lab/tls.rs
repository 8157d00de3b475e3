//! TLS of Routes: certificates of Kubernetes, kept in Barbican, shown by Octavia.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use isthmus_e2e::{Identity, Lab, Operator, Peer, condition, on_lab, ready, routes_config, until_within};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

/// A load balancer takes ten seconds, each change one or two.
const SLOW: Duration = Duration::from_secs(240);
/// A change of a certificate, from the Secret to what a client is shown.
const CHANGE: Duration = Duration::from_secs(60);

/// Loads the module for this provider, with a listener for TLS that shows the certificate of the Secret `default`.
async fn load(lab: &Lab, provider: &str, default: &Identity) -> Result<String> {
    let namespace = lab.namespace().await?;
    lab.tls_secret(&namespace, "default", &default.certificate, &default.key).await?;
    let mut config = routes_config(provider);
    let fields = config.as_object_mut().context("a config is an object")?;
    fields.insert("tls".into(), json!({"secret": {"namespace": namespace, "name": "default"}}));
    fields.insert("passthroughPorts".into(), json!([{"first": 8443, "last": 8449}]));
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

/// Waits until a client is shown this certificate, and answered by this server.
async fn shown(client: &Peer, vip: &str, host: &str, identity: &Identity, server: &str) -> Result<()> {
    until_within(CHANGE, &format!("{host} shows its certificate"), async || {
        let answer = client.ask_tls(vip, host, "/", &identity.file()).await?;
        ensure!(answer.status == 200 && answer.name == server, "{answer:?}");
        Ok(())
    })
    .await
}

fn to(name: &str) -> Value {
    json!({"kind": "Service", "name": name})
}

#[tokio::test]
async fn certificates_are_shown_renewed_and_taken_off() -> Result<()> {
    on_lab("tls", async |lab| {
        let identity = |host: &str| Identity::new(lab, host);
        let (default, own, named) =
            (identity("*.example.com")?, identity("own.example.org")?, identity("named.example.org")?);
        // What an amphora asks an endpoint for, and checks, is the name that the client asked for.
        let inside = identity("safe.example.com")?;
        let namespace = load(lab, "amphora", &default).await?;
        let (web, client) = (lab.server("web").await?, lab.peer("client").await?);
        let safe = lab.tls_server("safe", &inside.both()).await?;
        for server in [&web, &safe] {
            lab.service(&namespace, &server.name, std::slice::from_ref(&server.address)).await?;
        }
        lab.tls_secret(&namespace, "named", &named.certificate, &named.key).await?;
        let edge = json!({"termination": "edge", "insecureEdgeTerminationPolicy": "Redirect"});
        lab.route(&namespace, "shop", json!({"host": "shop.example.com", "tls": edge})).await?;
        let tls = json!({"termination": "edge", "certificate": own.certificate, "key": own.key});
        lab.route(&namespace, "own", json!({"host": "own.example.org", "tls": tls})).await?;
        let tls = json!({"termination": "edge", "externalCertificate": {"name": "named"}});
        lab.route(&namespace, "named", json!({"host": "named.example.org", "tls": tls})).await?;
        let tls = json!({"termination": "reencrypt", "destinationCACertificate": inside.certificate});
        lab.route(&namespace, "safe", json!({"host": "safe.example.com", "to": to("safe"), "tls": tls}))
            .await?;
        let operator = lab.operator(&[]).await?;
        all_ready(lab, &namespace, 4).await?;
        let vip = lab.balanced().await?.address;

        shown(&client, &vip, "shop.example.com", &default, "web").await?;
        shown(&client, &vip, "own.example.org", &own, "web").await?;
        shown(&client, &vip, "named.example.org", &named, "web").await?;
        shown(&client, &vip, "safe.example.com", &default, "safe").await?;
        let other = client.ask_tls(&vip, "own.example.org", "/", &named.file()).await;
        ensure!(other.is_err(), "another certificate is shown: {other:?}");
        let plain = client.ask(&vip, "shop.example.com", "/cart").await?;
        ensure!(
            (plain.status, plain.location.as_str()) == (302, "https://shop.example.com/cart"),
            "{plain:?}"
        );
        // The default one, two by SNI, and the authority of the re-encrypted one.
        ensure!(lab.kept_secrets().await?.len() == 4 && lab.shown_secrets().await?.1.len() == 2);

        passed_on(lab, &client, &vip, &namespace, &inside).await?;
        renewed(lab, &operator, &client, &vip, &namespace).await?;
        refused(lab, &client, &vip, &namespace).await?;

        // The endpoint's certificate is checked: by another authority there is no answer from it.
        let tls = json!({"tls": {"destinationCACertificate": own.certificate}});
        lab.change_route(&namespace, "safe", tls).await?;
        until_within(CHANGE, "the endpoint is not trusted", async || {
            let answer = client.ask_tls(&vip, "safe.example.com", "/", &default.file()).await?;
            ensure!(answer.status == 503, "{answer:?}");
            Ok(())
        })
        .await?;

        let (kept, (_, before)) = (lab.kept_secrets().await?.len(), lab.shown_secrets().await?);
        lab.route_api(&namespace).delete("own", &DeleteParams::default()).await?;
        until_within(CHANGE, "its certificate is gone", async || {
            let (left, (_, now)) = (lab.kept_secrets().await?.len(), lab.shown_secrets().await?);
            ensure!(left == kept - 1 && now.len() == 1, "{left} secrets, {now:?}");
            ensure!(now.iter().all(|secret| before.contains(secret)), "another one: {now:?}");
            Ok(())
        })
        .await?;
        shown(&client, &vip, "shop.example.com", &default, "web").await?;
        ensure!(!lab.logged("PRIVATE KEY"), "a key is in the log");
        Ok(())
    })
    .await
}

/// A Route with passthrough: on a port of its own a client is shown what the endpoint shows. It says first that it needs one.
async fn passed_on(lab: &Lab, client: &Peer, vip: &str, namespace: &str, inside: &Identity) -> Result<()> {
    let spec = json!({"host": "safe.example.com", "to": to("safe"), "tls": {"termination": "passthrough"}});
    lab.route(namespace, "through", spec).await?;
    let says = async |status: &str, reason: &str| {
        until_within(CHANGE, &format!("it says {status} {reason}"), async || {
            let found = lab.admitted(namespace, "through").await?;
            ensure!(found == (status.into(), reason.into()), "{found:?}");
            Ok(())
        })
        .await
    };
    says("False", "ExtendedValidationFailed").await?;
    let port = json!({"metadata": {"annotations": {"isthmus.dev/passthrough-port": "8443"}}});
    let api = lab.route_api(namespace);
    api.patch("through", &PatchParams::default(), &Patch::Merge(port)).await?;
    says("True", "").await?;
    shown(client, vip, "safe.example.com:8443", inside, "safe").await?;
    api.delete("through", &DeleteParams::default()).await?;
    until_within(CHANGE, "nobody listens there", async || {
        let answer = client.ask_tls(vip, "safe.example.com:8443", "/", &inside.file()).await;
        ensure!(answer.is_err(), "{answer:?}");
        Ok(())
    })
    .await
}

/// A Secret's content changes: the new one is shown, the old one is gone, and nothing else is written.
async fn renewed(lab: &Lab, operator: &Operator, client: &Peer, vip: &str, namespace: &str) -> Result<()> {
    let before = operator.quiet().await?;
    let (_, shown_before) = lab.shown_secrets().await?;
    let new = Identity::new(lab, "named.example.org")?;
    lab.tls_secret(namespace, "named", &new.certificate, &new.key).await?;
    shown(client, vip, "named.example.org", &new, "web").await?;
    let after = operator.quiet().await?;
    let made = |method| after.key_manager_calls(method) - before.key_manager_calls(method);
    ensure!((made("POST"), made("DELETE")) == (1, 1), "{} made, {} deleted", made("POST"), made("DELETE"));
    let writes = after.balancer_writes() - before.balancer_writes();
    ensure!(writes == 1, "{writes} writes to the load balancer");
    let (_, shown_now) = lab.shown_secrets().await?;
    let kept = lab.kept_secrets().await?;
    ensure!(kept.len() == 4 && shown_now.len() == 2, "{kept:?}");
    let stayed = shown_now.iter().filter(|secret| shown_before.contains(secret)).count();
    ensure!(stayed == 1, "{shown_before:?}, then {shown_now:?}");
    // All of it by the operator itself, and nothing a second time.
    let idle = operator.quiet().await?;
    ensure!(idle.key_manager_calls("POST") == after.key_manager_calls("POST"));
    Ok(())
}

/// A key that is another certificate's: the condition says so, what is shown stays, and the right one is taken at once.
async fn refused(lab: &Lab, client: &Peer, vip: &str, namespace: &str) -> Result<()> {
    let (new, stranger) = (Identity::new(lab, "named.example.org")?, Identity::new(lab, "x.example")?);
    let shown_before = lab.shown_secrets().await?;
    lab.tls_secret(namespace, "named", &new.certificate, &stranger.key).await?;
    until_within(CHANGE, "a condition says what is wrong", async || {
        let all = lab.mapping_api(namespace).list(&ListParams::default()).await?.items;
        let of = all.iter().find(|m| m.spec.subject.name == "named").context("no mapping")?;
        let found = condition(of, "Realized").context("no condition")?;
        let expected =
            format!("Secret {namespace}/named, data[\"tls.key\"]: it is not the certificate's key");
        ensure!(found.reason == "CertificateUnusable" && found.message.ends_with(&expected), "{found:?}");
        let (status, reason) = lab.admitted(namespace, "named").await?;
        ensure!((status.as_str(), reason.as_str()) == ("False", "CloudFailed"), "{status} {reason}");
        Ok(())
    })
    .await?;
    ensure!(lab.shown_secrets().await? == shown_before, "what was shown stays");
    lab.tls_secret(namespace, "named", &new.certificate, &new.key).await?;
    shown(client, vip, "named.example.org", &new, "web").await?;
    until_within(CHANGE, "it is admitted", async || {
        ensure!(lab.admitted(namespace, "named").await?.0 == "True");
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
        let made = async || {
            let all = lab.mapping_api(&namespace).list(&ListParams::default()).await?.items;
            ensure!(all.iter().filter(|m| ready(m)).count() == 1, "it is not ready");
            Ok(())
        };
        let (kills, operator) = lab.killed_at_each_write(made).await?;
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
