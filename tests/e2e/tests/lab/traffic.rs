//! Routes with real traffic: amphorae with the real agent and haproxy, servers and a client on the tenant network.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use isthmus_e2e::{Lab, Peer, on_lab, routes_config, until_within};
use kube::api::DeleteParams;
use serde_json::{Value, json};

/// A load balancer takes ten seconds, each change one or two.
const SLOW: Duration = Duration::from_secs(240);

/// Host, path, and the status and server of the answer.
type Row<'a> = (&'a str, &'a str, u16, &'a str);

fn to(name: &str, weight: u32) -> Value {
    json!({"kind": "Service", "name": name, "weight": weight})
}

/// Waits until each of these is answered so.
async fn answers(client: &Peer, vip: &str, table: &[Row<'_>]) -> Result<()> {
    for (host, path, status, name) in table {
        until_within(SLOW, &format!("{host}{path} is answered by {name:?}"), async || {
            let answer = client.ask(vip, host, path).await?;
            ensure!(answer.status == *status && answer.name == *name, "{answer:?}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// A wildcard beside an exact host of its domain: it is for one label, and not for what another Route names.
async fn wildcard(lab: &Lab, client: &Peer, namespace: &str, vip: &str) -> Result<()> {
    // The exact one is the younger: that it comes first is not its age.
    let any = json!({"host": "any.apps.example.com", "wildcardPolicy": "Subdomain", "to": to("cart", 1)});
    lab.route(namespace, "any", any).await?;
    let table: [Row<'_>; 5] = [
        ("any.apps.example.com", "/", 200, "cart"),
        ("web.apps.example.com", "/x", 200, "cart"),
        ("apps.example.com", "/", 503, ""),
        ("a.web.apps.example.com", "/", 503, ""),
        ("shop.example.com", "/", 200, "web"),
    ];
    answers(client, vip, &table).await?;
    lab.route(namespace, "exact", json!({"host": "web.apps.example.com", "to": to("web", 1)})).await?;
    let table: [Row<'_>; 3] = [
        ("web.apps.example.com", "/x", 200, "web"),
        ("WEB.apps.example.com", "/", 200, "web"),
        ("other.apps.example.com", "/", 200, "cart"),
    ];
    answers(client, vip, &table).await
}

#[tokio::test]
async fn requests_come_to_the_pod_that_host_and_path_say() -> Result<()> {
    on_lab("traffic", async |lab| {
        lab.load_routes(routes_config("amphora")).await?;
        let namespace = lab.namespace().await?;
        let (web, cart, client) =
            (lab.server("web").await?, lab.server("cart").await?, lab.peer("client").await?);
        for server in [&web, &cart] {
            lab.service(&namespace, &server.name, std::slice::from_ref(&server.address)).await?;
        }
        lab.route(&namespace, "web", json!({"host": "shop.example.com", "to": to("web", 1)})).await?;
        let cart_spec = json!({"host": "shop.example.com", "path": "/cart", "to": to("cart", 1)});
        lab.route(&namespace, "cart", cart_spec).await?;
        let both =
            json!({"host": "both.example.com", "to": to("web", 3), "alternateBackends": [to("cart", 1)]});
        lab.route(&namespace, "both", both).await?;
        let _operator = lab.operator(&[]).await?;
        until_within(SLOW, "three Routes are there", async || {
            let ready = lab.mapping_api(&namespace).list(&Default::default()).await?;
            let ready = ready.iter().filter(|m| isthmus_e2e::ready(m)).count();
            ensure!(ready == 3, "{ready} are ready");
            Ok(())
        })
        .await?;
        let vip = lab.balanced().await?.address;
        let table: [Row<'_>; 6] = [
            ("shop.example.com", "/", 200, "web"),
            ("SHOP.example.com", "/", 200, "web"),
            ("shop.example.com", "/cart", 200, "cart"),
            ("shop.example.com", "/cart/7?x=1", 200, "cart"),
            ("shop.example.com", "/cartoon", 200, "web"),
            ("other.example.com", "/", 503, ""),
        ];
        answers(&client, &vip, &table).await?;
        wildcard(lab, &client, &namespace, &vip).await?;
        let mut by_web = 0;
        for _ in 0..40 {
            by_web += usize::from(client.ask(&vip, "both.example.com", "/").await?.name == "web");
        }
        ensure!((26..=34).contains(&by_web), "{by_web} of 40 to a backend with three quarters of the weight");

        // The path is edited, and the Route goes.
        lab.change_route(&namespace, "cart", json!({"path": "/basket"})).await?;
        until_within(SLOW, "the new path is served, and the old one no longer", async || {
            let (new, old) = (
                client.ask(&vip, "shop.example.com", "/basket").await?,
                client.ask(&vip, "shop.example.com", "/cart").await?,
            );
            ensure!(new.name == "cart" && old.name == "web", "{new:?} {old:?}");
            Ok(())
        })
        .await?;
        lab.route_api(&namespace).delete("web", &DeleteParams::default()).await.context("deleting web")?;
        until_within(SLOW, "what is gone is not served", async || {
            let answer = client.ask(&vip, "shop.example.com", "/").await?;
            ensure!(answer.status == 503, "{answer:?}");
            Ok(())
        })
        .await
    })
    .await
}
