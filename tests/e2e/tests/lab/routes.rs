//! Routes on a real Octavia, by a provider without traffic: what is made, what it costs, and what faults lead to.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use isthmus_e2e::{
    Balanced, Barrier, Lab, OPERATOR_NAMESPACE, Operator, Refused, Sample, condition, on_lab, ready,
    routes_config, until, until_within,
};
use isthmus_openstack::octavia::HealthMonitor;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

/// Thirty Routes, each of them several writes that wait for one another.
const MANY: Duration = Duration::from_secs(300);

#[tokio::test]
async fn what_a_route_costs() -> Result<()> {
    on_lab("route-costs", async |lab| {
        let (namespace, operator) = lab.with_balancer(100, &["--resync-seconds", "5"]).await?;
        let made = operator
            .cost(async {
                lab.route(&namespace, "web", json!({"host": "shop.example.com"})).await?;
                lab.all_ready(&namespace, 1).await.map(drop)
            })
            .await?
            .of(Sample::balancer_writes);
        ensure!(made <= 5, "{made} writes for a Route with 100 endpoints");
        until("the Route says that it is admitted", async || {
            let (status, reason) = lab.admitted(&namespace, "web").await?;
            ensure!(status == "True", "{status} {reason}");
            Ok(())
        })
        .await?;
        let first = lab.balanced().await?;
        ensure!(first.listeners == ["HTTP Some(80)"] && first.pools.len() == 1, "{first:?}");
        ensure!(first.pools.iter().all(|pool| pool.split(' ').count() == 101), "{first:?}");
        let policy = first.policies.first().context("a policy")?;
        ensure!(
            policy.contains("REDIRECT_TO_POOL") && policy.contains("HOST_NAME EQUAL_TO shop.example.com")
        );

        lab.change_route(&namespace, "web", json!({"path": "/cart"})).await?;
        operator.quiet().await?;
        let path = json!({"path": "/a/longer/basket"});
        let edited =
            operator.cost(lab.change_route(&namespace, "web", path)).await?.of(Sample::balancer_writes);
        ensure!(edited == 1, "{edited} writes for another path");
        let changed = operator.cost(lab.endpoints(&namespace, 99)).await?.of(Sample::balancer_writes);
        ensure!(changed == 1, "{changed} writes for other endpoints");
        operator.rests().await?;
        let last = lab.balanced().await?;
        ensure!(last.pools.iter().all(|pool| pool.split(' ').count() == 100), "{last:?}");
        ensure!(last.policies.iter().all(|policy| policy.contains("/a/longer/basket")), "{last:?}");
        ensure!(last.address == first.address);
        watched(lab, &operator, &namespace).await?;

        lab.route_api(&namespace).delete("web", &DeleteParams::default()).await?;
        until("the Route's part is gone, and the load balancer is not", async || {
            let left = lab.balanced().await?;
            ensure!(
                left.pools.is_empty() && left.policies.is_empty() && left.listeners.len() == 1,
                "{left:?}"
            );
            ensure!(lab.mapping_api(&namespace).list(&ListParams::default()).await?.items.is_empty());
            Ok(())
        })
        .await
    })
    .await
}

/// A monitor is one write more, of each Route.
async fn watched(lab: &Lab, operator: &Operator, namespace: &str) -> Result<()> {
    let mut config = routes_config("noop");
    config.as_object_mut().context("a map")?.insert("monitor".into(), json!({}));
    let spec = json!({"config": config});
    let one = operator.cost(async { lab.policy_module("route-l7policy", spec).await.map(drop) }).await?;
    ensure!(one.of(Sample::balancer_writes) == 1, "{} for the Route's", one.of(Sample::balancer_writes));
    let made = operator
        .cost(async {
            lab.route(namespace, "watched", json!({"host": "watched.example.com"})).await?;
            lab.all_ready(namespace, 2).await.map(drop)
        })
        .await?
        .of(Sample::balancer_writes);
    ensure!(made <= 6, "{made} writes for a Route with a monitor");
    ensure!(lab.octavia().list::<HealthMonitor>(&[]).await?.len() == 2, "two monitors");
    operator.rests().await?;
    lab.route_api(namespace).delete("watched", &DeleteParams::default()).await?;
    Ok(())
}

#[tokio::test]
async fn thirty_routes_come_in_order_and_two_swap_their_hosts() -> Result<()> {
    on_lab("thirty-routes", async |lab| {
        let (namespace, operator) = lab.with_balancer(2, &[]).await?;
        for at in 0..30 {
            let spec = json!({"host": format!("h{at:02}.example.com")});
            lab.route(&namespace, &format!("r-{at:02}"), spec).await?;
        }
        until_within(MANY, "thirty Routes are there", async || {
            let all = lab.mapping_api(&namespace).list(&ListParams::default()).await?.items;
            let done = all.iter().filter(|m| ready(m)).count();
            ensure!(done == 30, "{done} are ready");
            Ok(())
        })
        .await?;
        let busy = [("service", "load-balancer"), ("code", "409")];
        let refused = operator.metrics().await?.sum("isthmus_openstack_requests_total", &busy);
        ensure!(refused == 0, "{refused} changes came while the load balancer was busy with another");
        let names = |found: &Balanced| -> Vec<String> {
            found.policies.iter().filter_map(|p| p.split(' ').next().map(Into::into)).collect()
        };
        let found = lab.balanced().await?;
        // Of equals the older one comes first.
        let expected: Vec<String> =
            (0..30).map(|at| format!("route/{namespace}/r-{at:02}/policy-http")).collect();
        ensure!(names(&found) == expected, "{:?}", names(&found));

        for name in ["a", "b"] {
            let (host, path) = (format!("{name}.example.com"), format!("/{name}"));
            lab.route(&namespace, name, json!({"host": host, "path": path})).await?;
        }
        until_within(MANY, "two more are there", async || {
            let all = lab.mapping_api(&namespace).list(&ListParams::default()).await?.items;
            ensure!(all.iter().filter(|m| ready(m)).count() == 32);
            Ok(())
        })
        .await?;
        let swapped = operator
            .cost(async {
                lab.change_route(&namespace, "a", json!({"host": "b.example.com"})).await?;
                lab.change_route(&namespace, "b", json!({"host": "a.example.com"})).await
            })
            .await?
            .of(Sample::balancer_writes);
        ensure!(swapped == 2, "{swapped} writes for two hosts");
        let found = lab.balanced().await?;
        let first = names(&found).into_iter().take(2).collect::<Vec<_>>();
        ensure!(
            first.iter().all(|name| !name.contains("/r-")),
            "with a path before those without: {first:?}"
        );
        for (name, host) in [("a", "b.example.com"), ("b", "a.example.com")] {
            let policy = found.policies.iter().find(|p| p.contains(&format!("/{name}/policy-http")));
            ensure!(policy.is_some_and(|p| p.contains(host)), "{policy:?}");
        }
        swap_one_place(lab, &namespace).await
    })
    .await
}

/// Each of two Routes takes the other's place at once: for a moment one of them has what the other one claims.
async fn swap_one_place(lab: &Lab, namespace: &str) -> Result<()> {
    let place = |host: &str| json!({"host": format!("{host}.example.com"), "path": "/one"});
    let (a, b) = (place("a"), place("b"));
    for (to_a, to_b) in [(&a, &b), (&b, &a)] {
        let both = tokio::join!(
            lab.change_route(namespace, "a", to_a.clone()),
            lab.change_route(namespace, "b", to_b.clone())
        );
        both.0.and(both.1)?;
        until_within(MANY, "both are served at their new places", async || {
            let found = lab.balanced().await?;
            for (name, spec) in [("a", to_a), ("b", to_b)] {
                let (status, reason) = lab.admitted(namespace, name).await?;
                ensure!(status == "True", "{name}: {status} {reason}");
                let host = spec.get("host").and_then(Value::as_str).context("a host")?;
                let of = found.policies.iter().filter(|p| p.contains(&format!("/{name}/policy-http")));
                let of: Vec<&String> = of.collect();
                ensure!(
                    matches!(of.as_slice(), [one] if one.contains(host) && one.contains("/one")),
                    "{of:?}"
                );
            }
            ensure!(found.policies.len() == 32 && found.pools.len() == 32, "{found:?}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_route_that_is_refused_says_why() -> Result<()> {
    on_lab("route-refused", async |lab| {
        let (namespace, operator) = lab.with_balancer(1, &[]).await?;
        lab.route(&namespace, "first", json!({"host": "shop.example.com"})).await?;
        lab.all_ready(&namespace, 1).await?;
        let before = operator.quiet().await?.balancer_writes();
        let tls = json!({"host": "tls.example.com", "tls": {"termination": "passthrough"}});
        lab.route(&namespace, "passthrough", tls).await?;
        lab.route(&namespace, "second", json!({"host": "SHOP.example.com"})).await?;
        for (name, expected) in
            [("second", "HostAlreadyClaimed"), ("passthrough", "ExtendedValidationFailed")]
        {
            until("it says so", async || {
                let (status, reason) = lab.admitted(&namespace, name).await?;
                ensure!(status == "False" && reason == expected, "{name}: {status} {reason}");
                Ok(())
            })
            .await?;
        }
        ensure!(operator.quiet().await?.balancer_writes() == before, "nothing is tried");
        let _operator = another_router(lab, &namespace, operator).await?;
        // The winner goes: the other one is served.
        lab.route_api(&namespace).delete("first", &DeleteParams::default()).await?;
        until("the second one is admitted", async || {
            let (status, reason) = lab.admitted(&namespace, "second").await?;
            ensure!(status == "True", "{status} {reason}");
            Ok(())
        })
        .await
    })
    .await
}

/// What another router says of a Route stays, whatever we say of it.
async fn another_router(lab: &Lab, namespace: &str, operator: Operator) -> Result<Operator> {
    let theirs = json!({"host": "shop.example.com", "routerName": "default", "wildcardPolicy": "None",
        "conditions": [{"type": "Admitted", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
    let api = lab.route_api(namespace);
    let said = async |name: &str| {
        let route = api.get_status(name).await?;
        let all = route.data.pointer("/status/ingress").and_then(Value::as_array).cloned();
        anyhow::Ok(all.unwrap_or_default())
    };
    let both = async |name: &str, status: &str| {
        until("both routers have their say", async || {
            let all = said(name).await?;
            let ours: Vec<&Value> = all.iter().filter(|element| **element != theirs).collect();
            let admitted = |own: &Value| own.pointer("/conditions/0/status").cloned();
            ensure!(all.len() == 2 && ours.len() == 1, "{all:?}");
            ensure!(ours.into_iter().all(|own| admitted(own) == Some(json!(status))), "{all:?}");
            Ok(())
        })
        .await
    };
    for name in ["first", "second"] {
        // As another router writes it: the whole list, its element first.
        let mut all = said(name).await?;
        all.insert(0, theirs.clone());
        let patch = Patch::Merge(json!({"status": {"ingress": all}}));
        api.patch_status(name, &PatchParams::default(), &patch).await?;
    }
    both("first", "True").await?;
    let operator = lab.restarted(operator).await?;
    operator.quiet().await?;
    let reports = |sample: &Sample| sample.sum("isthmus_kubernetes_writes_total", &[("resource", "reports")]);
    ensure!(reports(&operator.metrics().await?) == 0, "what is said is not said again");
    both("first", "True").await?;
    both("second", "False").await?;
    // One that is refused, and one that no longer is.
    lab.change_route(namespace, "second", json!({"path": "/other"})).await?;
    both("second", "True").await?;
    lab.change_route(namespace, "second", json!({"path": ""})).await?;
    both("second", "False").await?;
    Ok(operator)
}

/// OVN's load balancers know no HTTP.
#[tokio::test]
async fn a_provider_without_l7_is_told_and_nothing_is_tried() -> Result<()> {
    on_lab("route-ovn", async |lab| {
        lab.load_routes(routes_config("ovn")).await?;
        let namespace = lab.namespace().await?;
        lab.endpoints(&namespace, 1).await?;
        let operator = lab.operator(&["--resync-seconds", "2"]).await?;
        lab.route(&namespace, "web", json!({"host": "shop.example.com"})).await?;
        for namespace in [OPERATOR_NAMESPACE, namespace.as_str()] {
            until("a condition says so", async || {
                let all = lab.mapping_api(namespace).list(&ListParams::default()).await?.items;
                let mapped = all.first().and_then(|m| condition(m, "Mapped")).context("no condition")?;
                ensure!(mapped.reason == "Invalid" && mapped.message.contains("ovn"), "{mapped:?}");
                Ok(())
            })
            .await?;
        }
        operator.rests().await?;
        ensure!(operator.quiet().await?.balancer_writes() == 0, "nothing is tried, by a resync neither");

        // One whose status can't be written says so in its mapping, and says it as soon as it can.
        let barrier = Barrier::raise(lab, &namespace, Refused::Report).await?;
        let mute = lab.route(&namespace, "mute", json!({"host": "mute.example.com"})).await?;
        let told = reported(lab, &namespace, &mute, "False").await;
        barrier.lower().await?;
        let told = told?;
        ensure!(
            told.reason == "KubernetesRefused" && told.message.contains("refused by the test"),
            "{told:?}"
        );
        lab.change_route(&namespace, "mute", json!({"path": "/now"})).await?;
        reported(lab, &namespace, &mute, "True").await?;
        Ok(())
    })
    .await
}

/// The condition of a Route's mapping, once it is that.
async fn reported(lab: &Lab, namespace: &str, route: &DynamicObject, status: &str) -> Result<Condition> {
    let uid = route.uid().context("uid")?;
    until(&format!("its mapping says Reported={status}"), async || {
        let all = lab.mapping_api(namespace).list(&ListParams::default()).await?.items;
        let mapping = all.iter().find(|m| m.spec.subject.uid == uid).context("no mapping")?;
        let found = condition(mapping, "Reported").context("no condition Reported")?;
        ensure!(found.status == status, "{found:?}");
        Ok(found.clone())
    })
    .await
}

/// The one Route is ready, with one pool that has `member` and one policy that has `path`.
async fn one_route(lab: &Lab, namespace: &str, member: &str, path: &str) -> Result<()> {
    let all = lab.mapping_api(namespace).list(&ListParams::default()).await?.items;
    ensure!(all.iter().filter(|m| ready(m)).count() == 1, "it is not ready");
    let found = lab.balanced().await?;
    ensure!(matches!(found.pools.as_slice(), [one] if one.contains(member)), "{found:?}");
    ensure!(matches!(found.policies.as_slice(), [one] if one.contains(path)), "{found:?}");
    Ok(())
}

/// A kill after each write of a load balancer's and a Route's life leads to the same end.
#[tokio::test]
async fn killed_at_every_call_the_end_is_the_same() -> Result<()> {
    on_lab("route-kills", async |lab| {
        lab.load_routes(routes_config("noop")).await?;
        let namespace = lab.namespace().await?;
        lab.endpoints(&namespace, 2).await?;
        lab.route(&namespace, "web", json!({"host": "shop.example.com", "path": "/cart"})).await?;
        let made = async || one_route(lab, &namespace, "10.100.9.2:", "/cart").await;
        let (kills, operator) = lab.killed_at_each_write(made).await?;
        ensure!(kills >= 6, "killed {kills} times");
        let since = operator.metrics().await?;
        operator.resyncs(&since, 1).await?;
        operator.quiet().await?;
        let found = lab.balanced().await?;
        ensure!(found.listeners.len() == 1 && found.pools.len() == 1, "{found:?}");
        let [policy] = found.policies.as_slice() else { anyhow::bail!("{found:?}") };
        ensure!(policy.contains("true: HOST_NAME EQUAL_TO shop.example.com, PATH REGEX"), "{policy}");
        ensure!(found.pools.iter().all(|pool| pool.contains("10.100.9.1:") && pool.contains("10.100.9.2:")));
        ensure!(lab.ports().await?.len() == 1, "one VIP");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn killed_at_every_call_of_a_change_or_a_deletion_the_end_is_the_same() -> Result<()> {
    on_lab("route-change-kills", async |lab| {
        let (namespace, operator) = lab.with_balancer(2, &[]).await?;
        lab.route(&namespace, "web", json!({"host": "shop.example.com", "path": "/cart"})).await?;
        lab.all_ready(&namespace, 1).await?;
        operator.kill().await?;

        lab.change_route(&namespace, "web", json!({"path": "/basket"})).await?;
        let edited = async || one_route(lab, &namespace, "10.100.9.2:", "/basket").await;
        let (kills, operator) = lab.killed_at_each_write(edited).await?;
        ensure!(kills >= 1, "nobody was killed at the change of a path");
        operator.kill().await?;

        lab.endpoints(&namespace, 3).await?;
        let widened = async || one_route(lab, &namespace, "10.100.9.3:", "/basket").await;
        let (kills, operator) = lab.killed_at_each_write(widened).await?;
        ensure!(kills >= 1, "nobody was killed at the change of an endpoint");
        operator.kill().await?;

        lab.route_api(&namespace).delete("web", &DeleteParams::default()).await?;
        let gone = async || {
            let found = lab.balanced().await?;
            ensure!(found.policies.is_empty() && found.pools.is_empty(), "{found:?}");
            ensure!(lab.mapping_api(&namespace).list(&ListParams::default()).await?.items.is_empty());
            Ok(())
        };
        let (kills, _operator) = lab.killed_at_each_write(gone).await?;
        ensure!(kills >= 2, "killed {kills} times at the deletion");
        let found = lab.balanced().await?;
        ensure!(found.listeners.len() == 1, "{found:?}");
        ensure!(lab.ports().await?.len() == 1, "one VIP");
        Ok(())
    })
    .await
}
