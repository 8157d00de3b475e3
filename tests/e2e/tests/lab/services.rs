//! Services on the real Octavia: `service-loadbalancer`, with a provider without traffic, and with amphorae.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use isthmus_e2e::{Lab, Peer, Sample, on_lab, ready, until, until_within};
use isthmus_openstack::octavia::Listener;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;

/// A load balancer of amphorae takes ten seconds, each change one or two.
const SLOW: Duration = Duration::from_secs(240);
/// Ports of a Service.
const PORTS: u16 = 3;

/// `service-loadbalancer` for Services of type LoadBalancer, on the network of Pods.
/// So many ports from 80 on, each to these addresses.
async fn service(lab: &Lab, namespace: &str, ports: u16, addresses: &[String]) -> Result<()> {
    let ports: Vec<(&str, u16)> = (0..ports).map(|at| ("TCP", 80 + at)).collect();
    lab.web(namespace, &ports, addresses).await
}

fn addresses(count: usize) -> Vec<String> {
    (1..=count).map(|at| format!("10.100.9.{at}")).collect()
}

/// Changes the type of the Service.
async fn typed(lab: &Lab, namespace: &str, kind: &str) -> Result<()> {
    let services = lab.service_api(namespace);
    let patch = Patch::Merge(json!({"spec": {"type": kind}}));
    services.patch("web", &PatchParams::default(), &patch).await?;
    Ok(())
}

/// Who takes the module away with what it made is told no address any more: somebody else may have it next.
#[tokio::test]
async fn a_service_that_is_unmapped_says_no_address() -> Result<()> {
    on_lab("services-unmapped", async |lab| {
        lab.load_services("noop").await?;
        let module = json!({"spec": {"onDelete": "Unmap"}});
        let name = "service-loadbalancer";
        lab.module_api().patch(name, &PatchParams::default(), &Patch::Merge(module)).await?;
        let namespace = lab.namespace().await?;
        let _operator = lab.operator(&[]).await?;
        service(lab, &namespace, 1, &addresses(1)).await?;
        typed(lab, &namespace, "LoadBalancer").await?;
        let said = async || -> Result<usize> {
            let status = lab.service_api(&namespace).get("web").await?.status.unwrap_or_default();
            Ok(status.load_balancer.and_then(|lb| lb.ingress).unwrap_or_default().len())
        };
        until_within(SLOW, "the Service says its address", async || {
            ensure!(said().await? == 1, "it does not");
            Ok(())
        })
        .await?;
        lab.remove_module(name).await?;
        ensure!(said().await? == 0, "it says an address still");
        is_nobodys(lab, &namespace).await
    })
    .await
}

/// There is no load balancer, and none is to be.
async fn is_nobodys(lab: &Lab, namespace: &str) -> Result<()> {
    until_within(SLOW, "nothing is mapped", async || {
        let left = lab.balancers().await?;
        let all = lab.mapping_api(namespace).list(&ListParams::default()).await?.items;
        let resources =
            all.iter().filter_map(|m| m.status.as_ref()).map(|s| s.resources.len()).sum::<usize>();
        ensure!(left.is_empty() && resources == 0, "{} load balancers, {resources} resources", left.len());
        Ok(())
    })
    .await
}

/// The mapping of the Service is ready.
async fn is_ready(lab: &Lab, namespace: &str) -> Result<()> {
    until_within(SLOW, "the Service is mapped", async || {
        let all = lab.mapping_api(namespace).list(&ListParams::default()).await?.items;
        let conditions =
            || all.iter().filter_map(|m| m.status.clone()).map(|s| s.conditions).collect::<Vec<_>>();
        ensure!(all.len() == 1 && all.iter().all(ready), "{:?}", conditions());
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_a_service_costs() -> Result<()> {
    on_lab("service-costs", async |lab| {
        lab.load_services("noop").await?;
        let namespace = lab.namespace().await?;
        let operator = lab.operator(&["--resync-seconds", "5"]).await?;
        service(lab, &namespace, PORTS, &addresses(100)).await?;
        // Nobody's so far: its endpoints are known when it becomes ours.
        typed(lab, &namespace, "ClusterIP").await?;
        is_nobodys(lab, &namespace).await?;
        let made = operator
            .cost(async {
                typed(lab, &namespace, "LoadBalancer").await?;
                is_ready(lab, &namespace).await
            })
            .await?
            .of(Sample::balancer_writes);
        ensure!(made == 1, "{made} writes for three ports with a hundred endpoints");
        let first = lab.balanced().await?;
        ensure!(first.listeners.len() == 3 && first.pools.len() == 3, "{first:?}");
        ensure!(first.pools.iter().all(|pool| pool.split(' ').count() == 101), "{first:?}");
        ensure!(lab.web_address(&namespace).await? == first.address, "{first:?}");

        let changed = operator
            .cost(async {
                service(lab, &namespace, PORTS, &addresses(99)).await?;
                until_within(SLOW, "each pool has an endpoint less", async || {
                    let found = lab.balanced().await?;
                    ensure!(found.pools.iter().all(|pool| pool.split(' ').count() == 100), "{found:?}");
                    Ok(())
                })
                .await
            })
            .await?
            .of(Sample::balancer_writes);
        ensure!(changed == u64::from(PORTS), "{changed} writes for one endpoint of three ports");
        operator.rests().await?;
        gone(lab, &namespace).await
    })
    .await
}

/// The Service is deleted, and nothing of it is left.
async fn gone(lab: &Lab, namespace: &str) -> Result<()> {
    let services = lab.service_api(namespace);
    services.delete("web", &DeleteParams::default()).await?;
    until("nothing of the Service is left", async || left(lab, namespace).await).await
}

/// The listeners by their ports: id, and the timeout of clients in milliseconds.
async fn listeners(lab: &Lab) -> Result<BTreeMap<Option<u16>, (String, Option<u64>)>> {
    let all: Vec<Listener> = lab.octavia().list(&[]).await?;
    Ok(all.into_iter().map(|l| (l.protocol_port, (l.id, l.timeout_client_data))).collect())
}

/// What is edited, deleted behind our back, emptied, and no Service of ours any more.
#[tokio::test]
async fn a_live_service_is_followed() -> Result<()> {
    on_lab("service-followed", async |lab| {
        lab.load_services("noop").await?;
        let namespace = lab.namespace().await?;
        let operator = lab.operator(&["--resync-seconds", "2"]).await?;
        service(lab, &namespace, 2, &addresses(2)).await?;
        is_ready(lab, &namespace).await?;
        let first = listeners(lab).await?;

        let services = lab.service_api(&namespace);
        let timeout = json!({"metadata": {"annotations": {"isthmus.dev/lb-timeout-client-data": "70000"}}});
        services.patch("web", &PatchParams::default(), &Patch::Merge(timeout)).await?;
        let expected: BTreeMap<_, _> =
            first.iter().map(|(port, (id, _))| (*port, (id.clone(), Some(70_000)))).collect();
        until_within(SLOW, "the listeners have the timeout, and are the same", async || {
            let found = listeners(lab).await?;
            ensure!(found == expected, "{found:?}");
            Ok(())
        })
        .await?;

        let (lost, _) = first.get(&Some(80)).context("a listener at 80")?;
        // The load balancer may still be at work on the change before.
        until("a stranger deletes the listener", async || Ok(lab.octavia().delete::<Listener>(lost).await?))
            .await?;
        until_within(SLOW, "the listener is there again, and the other is the same", async || {
            let found = listeners(lab).await?;
            let again =
                found.get(&Some(80)).is_some_and(|(id, timeout)| id != lost && *timeout == Some(70_000));
            ensure!(again && found.get(&Some(81)) == expected.get(&Some(81)), "{found:?}");
            Ok(())
        })
        .await?;
        is_ready(lab, &namespace).await?;

        service(lab, &namespace, 2, &[]).await?;
        until_within(SLOW, "the pools are empty", async || {
            let found = lab.balanced().await?;
            ensure!(
                found.pools.len() == 2 && found.pools.iter().all(|pool| pool.ends_with(": ")),
                "{found:?}"
            );
            Ok(())
        })
        .await?;
        typed(lab, &namespace, "NodePort").await?;
        is_nobodys(lab, &namespace).await?;
        ensure!(operator.get("/readyz").await?.0 == 200, "it goes on");
        gone(lab, &namespace).await
    })
    .await
}

/// A kill after each write of a Service's life leads to the same end.
#[tokio::test]
async fn killed_at_every_write_of_a_service_the_end_is_the_same() -> Result<()> {
    on_lab("service-kills", async |lab| {
        lab.load_services("noop").await?;
        let namespace = lab.namespace().await?;
        // Loaded, and nothing mapped yet.
        let operator = lab.operator(&[]).await?;
        lab.loaded("service-loadbalancer").await?;
        operator.kill().await?;
        let whole = async |members: usize| {
            let all = lab.mapping_api(&namespace).list(&ListParams::default()).await?.items;
            ensure!(
                all.len() == 1 && all.iter().all(ready),
                "{:?}",
                all.iter().map(|m| &m.status).collect::<Vec<_>>()
            );
            let found = lab.balanced().await?;
            let has_all = found.pools.iter().all(|pool| pool.split(' ').count() == members + 1);
            ensure!(found.listeners.len() == 2 && found.pools.len() == 2 && has_all, "{found:?}");
            ensure!(lab.ports().await?.len() == 1, "one VIP");
            Ok(())
        };

        service(lab, &namespace, 2, &addresses(2)).await?;
        let (kills, operator) = lab.killed_at_each_write(async || whole(2).await).await?;
        // The port of the VIP, and the load balancer with all below it.
        ensure!(kills >= 2, "killed {kills} times");
        let vip = lab.web_address(&namespace).await?;
        ensure!(lab.balanced().await?.address == vip, "the Service says {vip}");
        operator.kill().await?;

        service(lab, &namespace, 2, &addresses(3)).await?;
        let (kills, operator) = lab.killed_at_each_write(async || whole(3).await).await?;
        ensure!(kills >= 2, "killed {kills} times at the change of two pools");
        ensure!(lab.balanced().await?.address == vip, "the address stays");
        operator.kill().await?;

        let services = lab.service_api(&namespace);
        services.delete("web", &DeleteParams::default()).await?;
        let (kills, _operator) = lab.killed_at_each_write(async || left(lab, &namespace).await).await?;
        ensure!(kills >= 2, "killed {kills} times at the deletion");
        Ok(())
    })
    .await
}

/// Nothing of the Service is left.
async fn left(lab: &Lab, namespace: &str) -> Result<()> {
    let mappings = lab.mapping_api(namespace).list(&ListParams::default()).await?.items.len();
    let balancers = lab.balancers().await?;
    let ports = lab.ports().await?;
    ensure!(mappings == 0 && balancers.is_empty() && ports.is_empty(), "{mappings} {balancers:?} {ports:?}");
    Ok(())
}

/// The load balancer is deleted behind our back: it comes again with its address, which is a port of ours.
#[tokio::test]
async fn a_load_balancer_that_is_rebuilt_keeps_the_address() -> Result<()> {
    on_lab("service-rebuilt", async |lab| {
        lab.load_services("noop").await?;
        let namespace = lab.namespace().await?;
        let _operator = lab.operator(&["--resync-seconds", "2"]).await?;
        service(lab, &namespace, 1, &addresses(2)).await?;
        is_ready(lab, &namespace).await?;
        let before = lab.web_address(&namespace).await?;
        let octavia = lab.octavia();
        let old = lab.balancers().await?;
        let old = old.first().context("there is a load balancer")?.id.clone();
        octavia.delete_cascade(&old).await?;
        until_within(SLOW, "another load balancer has the address", async || {
            let all = lab.balancers().await?;
            let whole = lab.balanced().await?;
            let new = all.first().context("there is none")?;
            ensure!(new.id != old && new.vip_address == before, "{all:?}");
            ensure!(whole.pools.iter().all(|pool| pool.split(' ').count() == 3), "{whole:?}");
            Ok(())
        })
        .await?;
        is_ready(lab, &namespace).await?;
        gone(lab, &namespace).await
    })
    .await
}

/// Another provider for a live Service: another load balancer, and the port of its address stays.
#[tokio::test]
async fn another_provider_keeps_the_address() -> Result<()> {
    on_lab("service-provider", async |lab| {
        lab.load_services("noop").await?;
        let namespace = lab.namespace().await?;
        let _operator = lab.operator(&[]).await?;
        service(lab, &namespace, 1, &addresses(2)).await?;
        is_ready(lab, &namespace).await?;
        let (before, ports) = (lab.web_address(&namespace).await?, lab.ports().await?.len());
        let services = lab.service_api(&namespace);
        let other = json!({"metadata": {"annotations": {"isthmus.dev/lb-provider": "amphora"}}});
        services.patch("web", &PatchParams::default(), &Patch::Merge(other)).await?;
        until_within(SLOW, "the other provider has the address", async || {
            let all = lab.balancers().await?;
            let [only] = all.as_slice() else { anyhow::bail!("{all:?}") };
            ensure!(only.provider == "amphora" && only.vip_address == before, "{only:?}");
            let whole = lab.balanced().await?;
            ensure!(whole.pools.iter().all(|pool| pool.split(' ').count() == 3), "{whole:?}");
            Ok(())
        })
        .await?;
        is_ready(lab, &namespace).await?;
        ensure!(lab.web_address(&namespace).await? == before, "the Service says the same");
        ensure!(lab.ports().await?.len() == ports, "no port of ours more");
        gone(lab, &namespace).await
    })
    .await
}

/// The provider `ovn` makes the port of a VIP itself: an address that is asked for stays all the same, both ways.
#[tokio::test]
async fn to_ovn_and_back_an_address_that_is_asked_for_stays() -> Result<()> {
    const ADDRESS: &str = "10.100.200.7";
    on_lab("service-ovn", async |lab| {
        lab.load_services("noop").await?;
        let namespace = lab.namespace().await?;
        let _operator = lab.operator(&[]).await?;
        service(lab, &namespace, 1, &addresses(2)).await?;
        let services = lab.service_api(&namespace);
        for provider in ["noop", "ovn", "noop"] {
            let annotations = json!({"isthmus.dev/lb-provider": provider, "isthmus.dev/lb-internal": "true"});
            let patch =
                json!({"metadata": {"annotations": annotations}, "spec": {"loadBalancerIP": ADDRESS}});
            services.patch("web", &PatchParams::default(), &Patch::Merge(patch)).await?;
            until_within(SLOW, &format!("{provider} has the address"), async || {
                let all = lab.balancers().await?;
                let [only] = all.as_slice() else { anyhow::bail!("{all:?}") };
                ensure!(only.provider == provider && only.vip_address == ADDRESS, "{only:?}");
                ensure!(lab.ports().await?.len() == usize::from(provider == "noop"), "a port of ours");
                Ok(())
            })
            .await?;
            is_ready(lab, &namespace).await?;
            ensure!(lab.web_address(&namespace).await? == ADDRESS, "the Service says it");
        }
        gone(lab, &namespace).await
    })
    .await
}

/// A Service whose Pods never get ready has pools without members and says no address; it has one as soon as a Pod is ready.
#[tokio::test]
async fn a_service_whose_pods_are_not_ready_waits_for_them() -> Result<()> {
    on_lab("service-unready", async |lab| {
        lab.load_services("noop").await?;
        let namespace = lab.namespace().await?;
        let operator = lab.operator(&[]).await?;
        service(lab, &namespace, 1, &addresses(1)).await?;
        let slices = lab.slice_api(&namespace);
        let become_ready = async |ready: bool| {
            let endpoints = json!([{"addresses": addresses(1), "conditions": {"ready": ready}}]);
            let patch = Patch::Merge(json!({"endpoints": endpoints}));
            slices.patch("web-1", &PatchParams::default(), &patch).await.map(drop)
        };
        become_ready(false).await?;
        until_within(SLOW, "the pool is there, and empty", async || {
            let found = lab.balanced().await?;
            ensure!(
                found.pools.len() == 1 && found.pools.iter().all(|pool| pool.ends_with(": ")),
                "{found:?}"
            );
            Ok(())
        })
        .await?;
        operator.quiet().await.context("nothing is tried without end")?;
        ensure!(operator.get("/readyz").await?.0 == 200, "the operator is well");
        become_ready(true).await?;
        lab.web_address(&namespace).await?;
        is_ready(lab, &namespace).await?;
        gone(lab, &namespace).await
    })
    .await
}

/// Names of those that answer ten requests.
async fn who_answer(client: &Peer, vip: &str) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for _ in 0..10 {
        let answer = client.ask(vip, "web", "/").await?;
        ensure!(answer.status == 200, "{answer:?}");
        names.insert(answer.name);
    }
    Ok(names)
}

/// With sessionAffinity ClientIP one server answers all that a client asks, and without it both do.
async fn a_client_stays_with_its_server(lab: &Lab, namespace: &str, client: &Peer, vip: &str) -> Result<()> {
    let services = lab.service_api(namespace);
    for (affinity, servers) in [("None", 2), ("ClientIP", 1), ("None", 2)] {
        let patch = Patch::Merge(json!({"spec": {"sessionAffinity": affinity}}));
        services.patch("web", &PatchParams::default(), &patch).await?;
        until_within(SLOW, &format!("sessionAffinity {affinity}: {servers} answer"), async || {
            let names = who_answer(client, vip).await?;
            ensure!(names.len() == servers, "{names:?}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// Amphorae: a client on the tenant network is answered at the address that the Service says, and by new endpoints when they
/// change; by one of two alone where it is to stay with it.
#[tokio::test]
async fn a_service_answers_at_its_address() -> Result<()> {
    on_lab("service-traffic", async |lab| {
        lab.load_services("amphora").await?;
        let namespace = lab.namespace().await?;
        let (old, new, client) =
            (lab.server("old").await?, lab.server("new").await?, lab.peer("client").await?);
        let _operator = lab.operator(&[]).await?;
        service(lab, &namespace, 1, std::slice::from_ref(&old.address)).await?;
        let vip = lab.web_address(&namespace).await?;
        let answered_by = async |name: &str| {
            until_within(SLOW, &format!("{name} answers"), async || {
                let answer = client.ask(&vip, "web", "/").await?;
                ensure!(answer.status == 200 && answer.name == name, "{answer:?}");
                Ok(())
            })
            .await
        };
        answered_by("old").await?;
        service(lab, &namespace, 1, std::slice::from_ref(&new.address)).await?;
        answered_by("new").await?;
        service(lab, &namespace, 1, &[old.address, new.address]).await?;
        a_client_stays_with_its_server(lab, &namespace, &client, &vip).await?;
        gone(lab, &namespace).await
    })
    .await
}
