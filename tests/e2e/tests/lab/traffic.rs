//! Routes with real traffic: amphorae with the real agent and haproxy, servers and a client on the tenant network.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use isthmus_e2e::{on_lab, routes_config, until_within};
use kube::api::DeleteParams;
use serde_json::json;

/// A load balancer takes ten seconds, each change one or two.
const SLOW: Duration = Duration::from_secs(240);

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
        let to = |name: &str, weight: u32| json!({"kind": "Service", "name": name, "weight": weight});
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
        let table = [
            ("shop.example.com", "/", 200, "web"),
            ("SHOP.example.com", "/", 200, "web"),
            ("shop.example.com", "/cart", 200, "cart"),
            ("shop.example.com", "/cart/7?x=1", 200, "cart"),
            ("shop.example.com", "/cartoon", 200, "web"),
            ("other.example.com", "/", 503, ""),
        ];
        for (host, path, status, name) in table {
            until_within(SLOW, &format!("{host}{path} is answered by {name:?}"), async || {
                let answer = client.ask(&vip, host, path).await?;
                ensure!(answer.status == status && answer.name == name, "{answer:?}");
                Ok(())
            })
            .await?;
        }
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
