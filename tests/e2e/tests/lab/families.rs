//! Services of two IP families, and of every protocol.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use isthmus_e2e::{Lab, SERVED, Target, on_lab, ready, until_within};
use isthmus_openstack::octavia::{Listener, LoadBalancer, Member, Pool};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

/// What a load balancer without amphorae may take, and the changes of it.
const SLOW: Duration = Duration::from_secs(120);

async fn load(lab: &Lab, provider: &str) -> Result<()> {
    let subnets = json!({"ipv4": "pods-v4", "ipv6": "pods-v6"});
    let config = json!({"network": "pods", "subnets": subnets, "clusterIps": false, "provider": provider});
    lab.load_services_with(config).await
}

/// Changes the Service.
async fn edit(lab: &Lab, namespace: &str, patch: Value) -> Result<()> {
    lab.service_api(namespace).patch("web", &PatchParams::default(), &Patch::Merge(patch)).await?;
    Ok(())
}

/// The Service has these endpoints of IPv6 beside those of IPv4, for ports as `Lab::web` calls them.
async fn sixes(lab: &Lab, namespace: &str, protocols: &[&str], addresses: &[String]) -> Result<()> {
    let port = |(protocol, at)| json!({"name": format!("p{at}"), "protocol": protocol, "port": SERVED});
    let ports: Vec<Value> = protocols.iter().zip(0..).map(port).collect();
    let endpoint = |address: &String| json!({"addresses": [address], "conditions": {"ready": true}});
    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv6",
        "metadata": {"name": "web-6", "labels": {"kubernetes.io/service-name": "web"}},
        "ports": ports, "endpoints": addresses.iter().map(endpoint).collect::<Vec<Value>>()});
    let parameters = PatchParams::apply("e2e").force();
    lab.slice_api(namespace).patch("web-6", &parameters, &Patch::Apply(slice)).await?;
    Ok(())
}

/// The addresses that the Service says, in their order.
async fn said(lab: &Lab, namespace: &str) -> Result<Vec<IpAddr>> {
    let status = lab.service_api(namespace).get("web").await?.status.unwrap_or_default();
    let ingress = status.load_balancer.and_then(|lb| lb.ingress).unwrap_or_default();
    ingress.iter().filter_map(|ingress| ingress.ip.as_deref()).map(|ip| Ok(ip.parse()?)).collect()
}

/// The Service's mapping is ready, and it says an address for each of its load balancers, of which there are so many.
async fn served(lab: &Lab, namespace: &str, count: usize) -> Result<Vec<LoadBalancer>> {
    until_within(SLOW, &format!("{count} load balancers, and their addresses are said"), async || {
        let all = lab.balancers().await?;
        let active = all.iter().all(|lb| lb.provisioning_status == "ACTIVE");
        ensure!(all.len() == count && active, "{all:?}");
        let vips = all.iter().map(|lb| Ok(lb.vip_address.parse()?)).collect::<Result<BTreeSet<IpAddr>>>()?;
        let said = said(lab, namespace).await?;
        ensure!(said.len() == count && vips == BTreeSet::from_iter(said), "{vips:?}");
        let mappings = lab.mapping_api(namespace).list(&ListParams::default()).await?.items;
        ensure!(mappings.iter().all(ready), "not ready");
        Ok(all)
    })
    .await
}

/// Addresses of the members behind this load balancer.
async fn members(lab: &Lab, of: &LoadBalancer) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for pool in lab.octavia().list::<Pool>(&[]).await?.iter().filter(|p| p.loadbalancers.contains(&of.id)) {
        let members: Vec<Member> = lab.octavia().list_in(&pool.id, &[]).await?;
        found.extend(members.into_iter().map(|member| member.address));
    }
    Ok(found)
}

/// The Service is deleted, and nothing of it is left.
async fn gone(lab: &Lab, namespace: &str) -> Result<()> {
    lab.service_api(namespace).delete("web", &DeleteParams::default()).await?;
    until_within(SLOW, "nothing of the Service is left", async || {
        let (balancers, ports) = (lab.balancers().await?.len(), lab.ports().await?.len());
        ensure!(balancers == 0 && ports == 0, "{balancers} load balancers, {ports} ports");
        Ok(())
    })
    .await
}

/// A Service that comes to a second family has a second load balancer, with the endpoints of that family and no others, and says both
/// addresses; the first one stays as it is, also when the second family goes.
#[tokio::test]
async fn a_service_of_two_families_has_a_load_balancer_of_each() -> Result<()> {
    on_lab("families", async |lab| {
        load(lab, "noop").await?;
        let namespace = lab.namespace().await?;
        let _operator = lab.operator(&[]).await?;
        let (four, six) = (vec!["10.100.9.1".to_owned()], vec!["fd00:100::9:1".to_owned()]);
        sixes(lab, &namespace, &["TCP"], &six).await?;
        lab.web(&namespace, &[("TCP", 80)], &four).await?;
        let first = served(lab, &namespace, 1).await?;
        let first = first.first().context("a load balancer")?;
        ensure!(members(lab, first).await? == BTreeSet::from_iter(four.clone()), "of IPv4 alone");

        edit(lab, &namespace, json!({"spec": {"ipFamilyPolicy": "RequireDualStack"}})).await?;
        let both = served(lab, &namespace, 2).await?;
        let said = said(lab, &namespace).await?;
        ensure!(said.iter().map(IpAddr::is_ipv4).eq([true, false]), "{said:?}");
        ensure!(both.iter().any(|lb| lb.id == first.id), "the first one stays");
        for balancer in &both {
            let own = if balancer.vip_address.contains(':') { &six } else { &four };
            let members = members(lab, balancer).await?;
            ensure!(
                members == BTreeSet::from_iter(own.clone()),
                "{members:?} behind {}",
                balancer.vip_address
            );
        }

        edit(lab, &namespace, json!({"spec": {"ipFamilyPolicy": "SingleStack"}})).await?;
        let left = served(lab, &namespace, 1).await?;
        ensure!(left.iter().all(|lb| lb.id == first.id), "{left:?}");
        gone(lab, &namespace).await
    })
    .await
}

/// By the provider `ovn`, with packets: each family is answered at its own address, by its own endpoints.
#[tokio::test]
async fn by_ovn_both_families_of_a_service_answer() -> Result<()> {
    on_lab("families-ovn", async |lab| {
        // It is a router that says in OVN where a VIP is.
        lab.pool_and_router().await?;
        lab.routed().await?;
        lab.routed_six().await?;
        load(lab, "ovn").await?;
        let namespace = lab.namespace().await?;
        let (web, client) = (lab.peer("web").await?, lab.peer("client").await?);
        lab.answers(&web.name, &web.port, &[SERVED]).await?;
        let six = web.six.clone().context("an IPv6 address")?;
        let _operator = lab.operator(&[]).await?;
        let protocols = ["TCP", "UDP"];
        sixes(lab, &namespace, &protocols, std::slice::from_ref(&six)).await?;
        lab.web(&namespace, &protocols.map(|protocol| (protocol, 80)), std::slice::from_ref(&web.address))
            .await?;
        edit(lab, &namespace, json!({"spec": {"ipFamilyPolicy": "RequireDualStack"}})).await?;
        served(lab, &namespace, 2).await?;
        let said = said(lab, &namespace).await?;
        let all = said
            .iter()
            .flat_map(|address| protocols.map(|protocol| Target { protocol, address: *address, port: 80 }));
        let all: Vec<Target> = all.collect();
        let answers = async |what: &str, four: bool, six: bool| {
            until_within(SLOW, what, async || {
                let found = Lab::reaches(&client.name, &all).await?;
                ensure!(found == [four, four, six, six], "TCP and UDP of IPv4, then of IPv6: {found:?}");
                Ok(())
            })
            .await
        };
        answers("both families answer", true, true).await?;
        sixes(lab, &namespace, &protocols, &[]).await?;
        answers("IPv6 has no endpoint any more", true, false).await?;
        gone(lab, &namespace).await
    })
    .await
}

/// Octavia takes SCTP, also at a number that TCP has, by both providers.
#[tokio::test]
async fn sctp_is_a_listener_and_a_pool_of_its_own() -> Result<()> {
    on_lab("sctp", async |lab| {
        load(lab, "noop").await?;
        let namespace = lab.namespace().await?;
        let _operator = lab.operator(&[]).await?;
        let addresses = ["10.100.9.1".to_owned(), "10.100.9.2".to_owned()];
        lab.web(&namespace, &[("SCTP", 3868), ("TCP", 3868)], &addresses).await?;
        for provider in ["noop", "ovn"] {
            edit(
                lab,
                &namespace,
                json!({"metadata": {"annotations": {"isthmus.dev/lb-provider": provider}}}),
            )
            .await?;
            until_within(SLOW, &format!("{provider} has SCTP and TCP"), async || {
                let all = lab.balancers().await?;
                ensure!(all.len() == 1 && all.iter().all(|lb| lb.provider == provider), "{all:?}");
                let listeners: Vec<Listener> = lab.octavia().list(&[]).await?;
                let pools: Vec<Pool> = lab.octavia().list(&[]).await?;
                for protocol in ["SCTP", "TCP"] {
                    let of = |listener: &&Listener| listener.protocol == protocol;
                    let listener = listeners.iter().find(of).context("no listener")?;
                    let pool = pools.iter().find(|pool| Some(&pool.id) == listener.default_pool_id.as_ref());
                    let pool = pool.context("no pool")?;
                    ensure!(listener.protocol_port == Some(3868) && pool.protocol == protocol, "{pool:?}");
                    let members: Vec<Member> = lab.octavia().list_in(&pool.id, &[]).await?;
                    ensure!(members.len() == addresses.len(), "{members:?}");
                }
                ensure!(listeners.len() == 2 && pools.len() == 2, "{listeners:?} {pools:?}");
                Ok(())
            })
            .await?;
            served(lab, &namespace, 1).await?;
        }
        gone(lab, &namespace).await
    })
    .await
}
