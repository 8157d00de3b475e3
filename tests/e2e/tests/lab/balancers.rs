//! Load balancers in trouble, by a provider without traffic: deleted, in ERROR, shared with others, and an Octavia that is away.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use isthmus_e2e::{Gate, Lab, Operator, condition, on_lab, routes_config, until, until_within};
use isthmus_kubernetes::crd::CloudMapping;
use isthmus_openstack::octavia::{L7Policy, L7PolicyUpdate, Listener, ListenerCreate, LoadBalancer};
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt};
use serde_json::json;

/// All below a load balancer is made anew, one write after the other.
const MANY: Duration = Duration::from_secs(300);

const MEND: &str =
    "update load_balancer set provisioning_status = 'ACTIVE' where provisioning_status = 'ERROR'";

/// A write has come, and is held back.
async fn is_held(gate: &Gate, what: &str) -> Result<()> {
    until(&format!("{what} is on its way"), async || {
        ensure!(gate.holds());
        Ok(())
    })
    .await
}

#[tokio::test]
async fn octavia_is_down_for_twenty_seconds_and_pods_go_on() -> Result<()> {
    on_lab("octavia-down", async |lab| {
        let (namespace, operator) = lab.with_balancer(2, &["--resync-seconds", "5"]).await?;
        lab.load_pod_port().await?;
        lab.loaded("pod-port").await?;
        drop(operator);
        let (gate, operator) = lab.operator_behind_gate().await?;
        operator.quiet().await?;
        // Its pool is made, and the policy is on its way.
        gate.hold();
        lab.route(&namespace, "half", json!({"host": "half.example.com"})).await?;
        is_held(&gate, "the pool").await?;
        gate.let_through();
        gate.hold();
        is_held(&gate, "what comes after it").await?;
        lab.kill_part("octavia").await?;
        gate.let_through();
        let down = tokio::time::Instant::now();
        lab.route(&namespace, "web", json!({"host": "shop.example.com"})).await?;
        let pod = lab.pod(&namespace, "p", json!({})).await?;
        lab.pod_ready(&pod).await.context("a Pod needs no Octavia")?;
        drop(operator);
        // Who begins while it is down serves the Pods too.
        let _operator = lab.operator(&["--resync-seconds", "5"]).await?;
        let pod = lab.pod(&namespace, "q", json!({})).await?;
        lab.pod_ready(&pod).await.context("a Pod needs no Octavia, at the start neither")?;
        tokio::time::sleep_until(down + Duration::from_secs(20)).await;
        lab.start_part("octavia").await?;
        lab.all_ready(&namespace, 4).await?;
        let found = lab.balanced().await?;
        ensure!(found.pools.len() == 2 && found.policies.len() == 2, "{found:?}");
        let whole = |pool: &String| pool.contains("10.100.9.1:") && pool.contains("10.100.9.2:");
        ensure!(found.pools.iter().all(whole), "{found:?}");
        for host in ["half.example.com", "shop.example.com"] {
            let rule = format!("HOST_NAME EQUAL_TO {host}");
            ensure!(found.policies.iter().any(|policy| policy.contains(&rule)), "{found:?}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_load_balancer_deleted_behind_our_back_comes_again_with_its_address() -> Result<()> {
    on_lab("balancer-gone", async |lab| {
        let (namespace, _operator) = lab.with_balancer(2, &["--resync-seconds", "2"]).await?;
        lab.route(&namespace, "web", json!({"host": "shop.example.com"})).await?;
        lab.all_ready(&namespace, 1).await?;
        let before = lab.balanced().await?;
        let balancer = one_balancer(lab).await?;
        lab.octavia().delete_cascade(&balancer.id).await?;
        until_within(MANY, "everything is there again", async || {
            ensure!(one_balancer(lab).await?.id != balancer.id, "the old one is there");
            let now = lab.balanced().await?;
            ensure!(now == before, "{now:?}, not {before:?}");
            Ok(())
        })
        .await?;
        lab.balancer_ready().await?;
        lab.all_ready(&namespace, 1).await.map(drop)
    })
    .await
}

async fn one_balancer(lab: &Lab) -> Result<LoadBalancer> {
    lab.octavia().list::<LoadBalancer>(&[]).await?.pop().context("no load balancer")
}

#[tokio::test]
async fn a_load_balancer_in_error_is_made_again_with_its_address() -> Result<()> {
    on_lab("balancer-error", async |lab| {
        let (namespace, _operator) = lab.with_balancer(2, &["--resync-seconds", "2"]).await?;
        let route = lab.route(&namespace, "web", json!({"host": "shop.example.com"})).await?;
        lab.all_ready(&namespace, 1).await?;
        let before = lab.balanced().await?;
        let balancer = one_balancer(lab).await?;
        lab.break_balancers().await?;
        until_within(MANY, "everything is there again", async || {
            let now = one_balancer(lab).await?;
            ensure!(now.provisioning_status == "ACTIVE" && now.id != balancer.id, "{now:?}");
            let now = lab.balanced().await?;
            ensure!(now == before, "{now:?}, not {before:?}");
            Ok(())
        })
        .await?;
        lab.all_ready(&namespace, 1).await?;
        ensure!(route.uid() == lab.route_api(&namespace).get("web").await?.uid());
        switched_off(lab).await?;
        shared_with_somebody(lab).await?;
        unmapped_in_error(lab, &namespace).await
    })
    .await
}

/// What a worker of Octavia leaves behind that dies at its work. That of `noop` ends whatever of its own is PENDING: so it is
/// somebody else's meanwhile.
const STICK: &str = "update load_balancer set provisioning_status = 'PENDING_UPDATE', provider = 'amphora' \
                     where provisioning_status = 'ACTIVE' and provider = 'noop'";
const UNSTICK: &str = "update load_balancer set provisioning_status = 'ACTIVE', provider = 'noop' \
                       where provisioning_status = 'PENDING_UPDATE' and provider = 'amphora'";
/// What the cloud's operator does with one that is stuck.
const GIVE_UP: &str = "update load_balancer set provisioning_status = 'ERROR', provider = 'noop' \
                       where provisioning_status = 'PENDING_UPDATE' and provider = 'amphora'";

/// What the Route's mapping says of what is made of it: reason and message.
async fn realized(lab: &Lab, namespace: &str) -> Result<(String, String)> {
    let mapping = lab.mapping_of(namespace, "Route").await?;
    let found = condition(&mapping, "Realized").context("no condition")?;
    Ok((found.reason.clone(), found.message.clone()))
}

/// Its work is done, as a mapping may say a moment before; then it is at work for ever.
async fn stick(lab: &Lab) -> Result<()> {
    is_active(lab, "it takes changes").await?;
    lab.octavia_sql(STICK).await?;
    let now = one_balancer(lab).await?.provisioning_status;
    ensure!(now == "PENDING_UPDATE", "it is {now}");
    Ok(())
}

async fn is_active(lab: &Lab, what: &str) -> Result<()> {
    until_within(MANY, what, async || {
        let now = one_balancer(lab).await?;
        ensure!(now.provisioning_status == "ACTIVE", "{now:?}");
        Ok(())
    })
    .await
}

/// The one pool has so many members.
async fn members(lab: &Lab, count: usize) -> Result<()> {
    until_within(MANY, &format!("the pool has {count} members"), async || {
        let found = lab.balanced().await?;
        ensure!(found.pools.iter().all(|pool| pool.split(' ').count() == count + 1), "{found:?}");
        Ok(())
    })
    .await
}

/// A busy one is waited for without a word. After a minute it is told by its id, nothing is tried any more, and nothing is taken
/// away from under a worker of Octavia that may live after all. What Octavia's operator makes of it is taken up.
#[tokio::test]
async fn one_that_is_stuck_is_told_from_one_that_is_busy_and_keeps_its_address() -> Result<()> {
    on_lab("balancer-stuck", async |lab| {
        let (namespace, operator) = lab.with_balancer(2, &["--resync-seconds", "2"]).await?;
        lab.route(&namespace, "web", json!({"host": "shop.example.com"})).await?;
        lab.all_ready(&namespace, 1).await?;
        operator.quiet().await?;
        let before = lab.balanced().await?;
        let tested = async {
            busy(lab, &operator, &namespace).await?;
            stuck(lab, &operator, &namespace).await
        };
        let tested = tested.await;
        // Else nobody can delete it.
        lab.octavia_sql(UNSTICK).await?;
        tested?;
        let now = lab.balanced().await?;
        ensure!((&now.address, &now.policies) == (&before.address, &before.policies), "{now:?}");
        Ok(())
    })
    .await
}

async fn busy(lab: &Lab, operator: &Operator, namespace: &str) -> Result<()> {
    let balancer = one_balancer(lab).await?;
    stick(lab).await?;
    lab.endpoints(namespace, 3).await?;
    operator.resyncs(&operator.metrics().await?, 3).await?;
    let (reason, message) = realized(lab, namespace).await?;
    ensure!(reason != "LoadBalancerPending", "it is busy for seconds: {message}");
    lab.octavia_sql(UNSTICK).await?;
    members(lab, 3).await?;
    lab.all_ready(namespace, 1).await?;
    ensure!(one_balancer(lab).await?.id == balancer.id, "it was made again");
    operator.quiet().await.map(drop)
}

async fn stuck(lab: &Lab, operator: &Operator, namespace: &str) -> Result<()> {
    let balancer = one_balancer(lab).await?;
    stick(lab).await?;
    lab.endpoints(namespace, 1).await?;
    until_within(MANY, "it is told", async || {
        let (reason, message) = realized(lab, namespace).await?;
        let told = message.contains(&balancer.id) && message.contains("PENDING_UPDATE");
        ensure!(reason == "LoadBalancerPending" && told, "{reason}: {message}");
        Ok(())
    })
    .await?;
    let told = operator.metrics().await?;
    operator.resyncs(&told, 3).await?;
    let tried = operator.metrics().await?.balancer_writes() - told.balancer_writes();
    ensure!(tried == 0, "{tried} writes to one that is stuck");
    ensure!(one_balancer(lab).await?.id == balancer.id, "somebody may be at work on it");

    lab.octavia_sql(GIVE_UP).await?;
    until_within(MANY, "it is made again", async || {
        let now = one_balancer(lab).await?;
        ensure!(now.provisioning_status == "ACTIVE" && now.id != balancer.id, "{now:?}");
        Ok(())
    })
    .await?;
    members(lab, 1).await?;
    lab.all_ready(namespace, 1).await.map(drop)
}

/// A policy that somebody switched off serves again.
async fn switched_off(lab: &Lab) -> Result<()> {
    let policy = lab.octavia().list::<L7Policy>(&[]).await?.pop().context("no policy")?;
    let off = L7PolicyUpdate { admin_state_up: Some(false), ..L7PolicyUpdate::default() };
    lab.octavia().update::<L7Policy>(&policy.id, &off).await?;
    until_within(MANY, "it is switched on again", async || {
        let now = lab.octavia().get::<L7Policy>(&policy.id).await?;
        ensure!(now.admin_state_up == Some(true) && now.provisioning_status == "ACTIVE", "{now:?}");
        Ok(())
    })
    .await
}

/// Where somebody else has a listener on it, it is not deleted and made again, and says whose way it is in.
async fn shared_with_somebody(lab: &Lab) -> Result<()> {
    let balancer = one_balancer(lab).await?;
    let theirs = ListenerCreate {
        name: Some("e2e-theirs".into()),
        protocol: "TCP".into(),
        protocol_port: 9999,
        loadbalancer_id: Some(balancer.id.clone()),
        ..ListenerCreate::default()
    };
    let theirs = lab.octavia().create::<Listener>(&theirs).await?;
    is_active(lab, "the listener is there").await?;
    lab.break_balancers().await?;
    until_within(MANY, "the mapping says what is in the way", async || {
        let mappings: Api<CloudMapping> = Api::all(lab.kube.clone());
        let all = mappings.list(&ListParams::default()).await?.items;
        let said = all.iter().flat_map(|mapping| condition(mapping, "Ready")).map(|c| c.message.clone());
        let said: Vec<String> = said.collect();
        ensure!(said.iter().any(|message| message.contains(&theirs.id)), "{said:?}");
        Ok(())
    })
    .await?;
    ensure!(one_balancer(lab).await?.id == balancer.id, "it was deleted with what is not ours");
    lab.octavia_sql(MEND).await?;
    until_within(MANY, "the listener goes", async || {
        Ok(lab.octavia().delete::<Listener>(&theirs.id).await.map(drop)?)
    })
    .await?;
    is_active(lab, "the listener is gone").await
}

/// A load balancer in ERROR is no reason to keep its mapping, nor those of what hangs on it.
async fn unmapped_in_error(lab: &Lab, namespace: &str) -> Result<()> {
    let spec = json!({"config": routes_config("noop"), "onDelete": "Unmap"});
    lab.policy_module("route-l7policy", spec).await?;
    lab.break_balancers().await?;
    lab.remove_source("route-l7policy").await?;
    lab.module_api().delete("route-l7policy", &DeleteParams::default()).await?;
    until_within(MANY, "all of it is gone", async || {
        let balancers = lab.octavia().list::<LoadBalancer>(&[]).await?.len();
        let mappings = lab.mapping_api(namespace).list(&ListParams::default()).await?.items.len();
        let module = lab.module_api().get_opt("route-l7policy").await?.is_some();
        ensure!(
            (balancers, mappings, module) == (0, 0, false),
            "{balancers} load balancers, {mappings} mappings, PolicyModule there: {module}"
        );
        Ok(())
    })
    .await
}
