//! Routes on a load balancer that somebody else made and uses, by a provider without traffic.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use isthmus_e2e::{Lab, Sample, on_lab, until, until_within};
use isthmus_openstack::octavia::{
    L7Policy, L7PolicyCreate, L7RuleCreate, Listener, ListenerCreate, LoadBalancer, LoadBalancerCreate,
};
use kube::api::{DeleteParams, ListParams};
use serde_json::json;

/// One write after the other.
const MANY: Duration = Duration::from_secs(120);

/// Names of what is theirs.
const FRONT: &str = "e2e-front";
const FIRST: &str = "e2e-first";
const LAST: &str = "e2e-last";

/// A policy of theirs. (Octavia takes rules with a policy only as part of a load balancer.)
fn policy(name: &str, path: &str, listener: Option<String>) -> L7PolicyCreate {
    let rule = L7RuleCreate {
        kind: "PATH".into(),
        compare_type: "STARTS_WITH".into(),
        value: path.into(),
        ..L7RuleCreate::default()
    };
    L7PolicyCreate {
        rules: listener.is_none().then(|| vec![rule]),
        listener_id: listener,
        name: Some(name.into()),
        description: Some("not ours".into()),
        tags: Some(vec!["theirs".into()]),
        action: "REDIRECT_TO_URL".into(),
        redirect_url: Some(format!("https://theirs.example.com{path}")),
        ..L7PolicyCreate::default()
    }
}

/// Their load balancer, with a listener that has a policy.
async fn theirs(lab: &Lab) -> Result<()> {
    let listener = ListenerCreate {
        name: Some(FRONT.into()),
        protocol: "HTTP".into(),
        protocol_port: 80,
        l7policies: Some(vec![policy(FIRST, "/first", None)]),
        ..ListenerCreate::default()
    };
    let balancer = LoadBalancerCreate {
        name: Some(FRONT.into()),
        tags: Some(vec!["theirs".into()]),
        vip_network_id: Some(lab.network().await?),
        provider: Some("noop".into()),
        listeners: Some(vec![listener]),
        ..LoadBalancerCreate::default()
    };
    lab.octavia().create::<LoadBalancer>(&balancer).await?;
    settled(lab).await
}

async fn settled(lab: &Lab) -> Result<()> {
    until("their load balancer takes changes", async || {
        let all: Vec<LoadBalancer> = lab.octavia().list(&[]).await?;
        ensure!(matches!(all.as_slice(), [one] if one.provisioning_status == "ACTIVE"), "{all:?}");
        Ok(())
    })
    .await
}

/// The policies of the listener in their order, which has no gaps.
async fn policies(lab: &Lab) -> Result<Vec<L7Policy>> {
    let mut all: Vec<L7Policy> = lab.octavia().list(&[]).await?;
    all.sort_by_key(|policy| policy.position);
    let positions: Vec<_> = all.iter().map(|policy| policy.position).collect();
    ensure!((1..).zip(&positions).all(|(at, position)| *position == Some(at)), "{positions:?}");
    Ok(all)
}

/// Waits until these are the policies, in this order: the last part of each name.
async fn order(lab: &Lab, expected: &[&str]) -> Result<()> {
    until_within(MANY, &format!("the order is {expected:?}"), async || {
        let names: Vec<String> = policies(lab).await?.into_iter().map(|policy| policy.name).collect();
        let fits = |(name, expected): (&String, &&str)| name.split('/').any(|part| part == *expected);
        ensure!(names.len() == expected.len() && names.iter().zip(expected).all(fits), "{names:?}");
        Ok(())
    })
    .await?;
    settled(lab).await
}

/// All that is theirs, but for what a change of anything on the load balancer changes: times, and places among others.
async fn all_of_theirs(lab: &Lab) -> Result<(LoadBalancer, Listener, Vec<L7Policy>, Vec<String>)> {
    let octavia = lab.octavia();
    let mut balancer: LoadBalancer = octavia.list(&[]).await?.pop().context("their load balancer")?;
    let mut listener: Listener = octavia.list(&[]).await?.pop().context("their listener")?;
    (balancer.updated_at, listener.updated_at) = (None, None);
    let is_theirs = |policy: &L7Policy| policy.tags == ["theirs"];
    let mut own: Vec<L7Policy> = policies(lab).await?.into_iter().filter(is_theirs).collect();
    let ids: Vec<String> = own.iter().map(|policy| policy.id.clone()).collect();
    listener.l7policies.retain(|id| ids.contains(id));
    balancer.pools.clear();
    for policy in &mut own {
        (policy.updated_at, policy.position) = (None, None);
    }
    // With the rules of each.
    let mut texts = lab.balanced().await?.policies;
    texts.retain(|text| text.starts_with("e2e-"));
    Ok((balancer, listener, own, texts))
}

#[tokio::test]
async fn what_others_have_on_a_load_balancer_stays_as_it_is() -> Result<()> {
    on_lab("existing", async |lab| {
        theirs(lab).await?;
        let existing = json!({"existingLoadBalancer": {"loadBalancer": FRONT, "http": FRONT}});
        lab.load_routes(existing.clone()).await?;
        let namespace = lab.namespace().await?;
        lab.endpoints(&namespace, 2).await?;
        let operator = lab.operator(&[]).await?;
        let route = async |name: &str, path: &str| {
            lab.route(&namespace, name, json!({"host": "shop.example.com", "path": path})).await
        };
        route("web", "").await?;
        route("cart", "/cart").await?;
        order(lab, &[FIRST, "cart", "web"]).await?;
        let listener = policies(lab).await?.pop().context("a policy")?.listener_id;
        let last = policy(LAST, "/last", Some(listener));
        until("their last one is there", async || {
            Ok(lab.octavia().create::<L7Policy>(&last).await.map(drop)?)
        })
        .await?;
        order(lab, &[FIRST, "cart", "web", LAST]).await?;
        lab.all_ready(&namespace, 2).await?;
        // The operator has asked for the order already, and is not told of what others do.
        let before = all_of_theirs(lab).await?;

        // Ours come, move and go around theirs.
        route("deep", "/cart/deep").await?;
        let any = json!({"host": "any.example.com", "wildcardPolicy": "Subdomain"});
        lab.route(&namespace, "any", any).await?;
        order(lab, &[FIRST, "deep", "cart", "web", LAST, "any"]).await?;
        let longest = json!({"path": "/the/longest"});
        let moved = operator.cost(lab.change_route(&namespace, "web", longest)).await?;
        let writes = moved.of(Sample::balancer_writes);
        // Its rule, and its place.
        ensure!(writes <= 2, "{writes} writes for a policy that moves: others make room by themselves");
        order(lab, &[FIRST, "web", "deep", "cart", LAST, "any"]).await?;
        lab.all_ready(&namespace, 4).await?;
        let _operator = lab.restarted(operator).await?;
        ensure!(all_of_theirs(lab).await? == before, "{:?}, not {before:?}", all_of_theirs(lab).await?);
        ensure!(lab.ports().await?.is_empty(), "a VIP of our own");

        for name in ["web", "any"] {
            lab.route_api(&namespace).delete(name, &DeleteParams::default()).await?;
        }
        order(lab, &[FIRST, "deep", "cart", LAST]).await?;
        gone_with_the_module(lab, &namespace, existing).await?;
        order(lab, &[FIRST, LAST]).await?;
        ensure!(all_of_theirs(lab).await? == before, "{:?}, not {before:?}", all_of_theirs(lab).await?);
        ensure!(lab.balanced().await?.pools.is_empty(), "a pool of ours");
        Ok(())
    })
    .await
}

/// The PolicyModule goes, and with it what it made for the Routes that are left.
async fn gone_with_the_module(lab: &Lab, namespace: &str, config: serde_json::Value) -> Result<()> {
    lab.policy_module("route-l7policy", json!({"config": config, "onDelete": "Unmap"})).await?;
    lab.loaded("route-l7policy").await?;
    lab.remove_source("route-l7policy").await?;
    lab.module_api().delete("route-l7policy", &DeleteParams::default()).await?;
    until_within(MANY, "the module is gone, and what it mapped", async || {
        let mappings = lab.mapping_api(namespace).list(&ListParams::default()).await?.items.len();
        let module = lab.module_api().get_opt("route-l7policy").await?.is_some();
        ensure!((mappings, module) == (0, false), "{mappings} mappings, PolicyModule there: {module}");
        Ok(())
    })
    .await?;
    settled(lab).await
}
