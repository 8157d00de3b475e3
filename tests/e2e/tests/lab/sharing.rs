//! One load balancer for several Services, on the real Octavia.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use isthmus_e2e::{Lab, Peer, on_lab, until_within};
use isthmus_openstack::octavia::{Listener, LoadBalancer};
use kube::api::{DeleteParams, ListParams};
use serde_json::json;

/// What a load balancer may take, and the changes of it.
const SLOW: Duration = Duration::from_secs(120);

/// The address that a Service says, and its conditions.
async fn said(lab: &Lab, namespace: &str, name: &str) -> Result<(Option<String>, String)> {
    let status = lab.service_api(namespace).get(name).await?.status.unwrap_or_default();
    let ingress = status.load_balancer.and_then(|lb| lb.ingress).unwrap_or_default();
    Ok((ingress.into_iter().find_map(|ingress| ingress.ip), format!("{:?}", status.conditions)))
}

/// The one load balancer that there is, with ports of its listeners.
async fn shared(lab: &Lab) -> Result<(LoadBalancer, Vec<u16>)> {
    let mut all = lab.balancers().await?;
    ensure!(all.len() == 1, "{all:?}");
    let listeners: Vec<Listener> = lab.octavia().list(&[]).await?;
    let mut ports: Vec<u16> = listeners.into_iter().filter_map(|found| found.protocol_port).collect();
    ports.sort_unstable();
    Ok((all.pop().context("there is one")?, ports))
}

/// Waits until this server answers at this place.
async fn answers(client: &Peer, place: &str, server: &str) -> Result<()> {
    until_within(SLOW, &format!("{server} answers at {place}"), async || {
        let answer = client.ask(place, "web", "/").await?;
        ensure!(answer.status == 200 && answer.name == server, "{answer:?}");
        Ok(())
    })
    .await
}

async fn delete(lab: &Lab, namespace: &str, name: &str) -> Result<()> {
    lab.service_api(namespace).delete(name, &DeleteParams::default()).await?;
    Ok(())
}

/// Two Services are reached at one floating IP, a third one finds its port taken; the one whose load balancer it is goes, and who is on it
/// is reached as before, until it goes too.
#[tokio::test]
async fn by_ovn_two_services_answer_at_one_address_and_the_last_takes_it_along() -> Result<()> {
    on_lab("sharing-ovn", async |lab| {
        lab.router_outside().await?;
        // Room for the one that finds its port taken.
        let config = json!({"network": "pods", "subnets": {"ipv4": "pods-v4"}, "clusterIps": false, "provider": "ovn",
                            "floatingNetwork": "public", "sharing": {"maxServices": 3}});
        lab.load_services_with(config).await?;
        let namespace = lab.namespace().await?;
        let (one, two) = (lab.server("one").await?, lab.server("two").await?);
        let client = lab.outsider("outside").await?;
        let operator = lab.operator_with_its_rights(&["--resync-seconds", "2"]).await?;
        let on = json!({"isthmus.dev/lb-share-with": "web"});
        let (first, second) = ([one.address], [two.address]);
        lab.web(&namespace, &[("TCP", 80)], &first).await?;
        lab.exposed(&namespace, "more", &on, &[("TCP", 81)], &second).await?;
        let address = lab.web_address(&namespace).await?;
        until_within(SLOW, "both say one address", async || {
            let (other, conditions) = said(lab, &namespace, "more").await?;
            ensure!(other.as_ref() == Some(&address), "{other:?}, not {address}: {conditions}");
            Ok(())
        })
        .await?;
        let (balancer, ports) = shared(lab).await?;
        ensure!(ports == [80, 81], "{ports:?}");
        answers(&client, &format!("{address}:80"), "one").await?;
        answers(&client, &format!("{address}:81"), "two").await?;

        lab.exposed(&namespace, "same", &on, &[("TCP", 80)], &second).await?;
        until_within(SLOW, "whose the port is, is said", async || {
            let (address, conditions) = said(lab, &namespace, "same").await?;
            let told = format!("port 80 of TCP is Service {namespace}/web's");
            ensure!(address.is_none() && conditions.contains(&told), "{address:?} {conditions}");
            Ok(())
        })
        .await?;
        delete(lab, &namespace, "same").await?;
        operator.rests().await?;

        delete(lab, &namespace, "web").await?;
        until_within(SLOW, "what was its own is gone", async || {
            let (left, ports) = shared(lab).await?;
            ensure!(left.id == balancer.id && ports == [81], "{left:?} {ports:?}");
            Ok(())
        })
        .await?;
        answers(&client, &format!("{address}:81"), "two").await?;
        // Who is on it follows its endpoints still.
        lab.exposed(&namespace, "more", &on, &[("TCP", 81)], &first).await?;
        answers(&client, &format!("{address}:81"), "one").await?;
        operator.rests().await?;
        ensure!(said(lab, &namespace, "more").await?.0 == Some(address), "it says the same address");

        delete(lab, &namespace, "more").await?;
        until_within(SLOW, "nothing is left", async || {
            let mappings = lab.mapping_api(&namespace).list(&ListParams::default()).await?.items.len();
            let balancers = lab.balancers().await?.len();
            ensure!(mappings == 0 && balancers == 0, "{mappings} mappings, {balancers} load balancers");
            Ok(())
        })
        .await?;
        lab.nothing_made_is_left().await
    })
    .await
}
