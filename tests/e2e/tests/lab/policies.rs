//! NetworkPolicies on the real Neutron: `networkpolicy-securitygroup` beside `pod-port`.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use isthmus_e2e::{
    Cost, LIMIT, Lab, Operator, Sample, Stream, Target, condition, on_lab, ready, until, until_within,
};
use isthmus_openstack::neutron::Port;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

/// Pods of a test: p-0 serves, p-1 is its client, p-2 is somebody else.
const PODS: usize = 3;

async fn label(lab: &Lab, namespace: &str, pod: &str, app: &str) -> Result<()> {
    let label = format!("app={app}");
    lab.kubectl(&["label", "--overwrite", "pod", "-n", namespace, pod, &label]).await.map(drop)
}

fn policies(lab: &Lab, namespace: &str) -> Api<NetworkPolicy> {
    Api::namespaced(lab.kube.clone(), namespace)
}

/// Web's Pods are reached by clients at TCP 8080, and by nobody else.
async fn policy(lab: &Lab, namespace: &str) -> Result<()> {
    policy_at(lab, namespace, &[8080]).await
}

/// As [`policy`], at these ports.
async fn policy_at(lab: &Lab, namespace: &str, ports: &[u16]) -> Result<()> {
    let ports: Vec<_> = ports.iter().map(|port| json!({"protocol": "TCP", "port": port})).collect();
    let spec = json!({"podSelector": only("web"), "ingress": [
        {"from": [{"podSelector": only("client")}], "ports": ports}]});
    policy_of(lab, namespace, "web", spec).await
}

fn only(app: &str) -> Value {
    json!({"matchLabels": {"app": app}})
}

async fn policy_of(lab: &Lab, namespace: &str, name: &str, spec: Value) -> Result<()> {
    let object = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": name}, "spec": spec});
    policies(lab, namespace).patch(name, &PatchParams::apply("e2e"), &Patch::Apply(object)).await?;
    Ok(())
}

/// The policy's mapping is ready.
async fn is_mapped(lab: &Lab, namespace: &str) -> Result<()> {
    let own = lab.mapping_of(namespace, "NetworkPolicy").await?;
    ensure!(ready(&own), "{:?}", own.status.as_ref().map(|s| &s.conditions));
    Ok(())
}

async fn port_of(lab: &Lab, namespace: &str, pod: &str) -> Result<Port> {
    let uid = lab.pod_api(namespace).get(pod).await?.uid().context("a Pod has a uid")?;
    let ports = lab.ports().await?;
    let own = ports.into_iter().find(|port| isthmus_e2e::marked_for(port, &uid));
    own.with_context(|| format!("{pod} has no port"))
}

/// Addresses of the policy's peers, as Neutron has them.
async fn peers(lab: &Lab) -> Result<BTreeSet<String>> {
    Ok(lab.made().await?.address_groups.into_iter().flat_map(|group| group.addresses).collect())
}

/// The peers are these Pods.
async fn peers_are(lab: &Lab, namespace: &str, pods: &[&str]) -> Result<()> {
    let mut expected = BTreeSet::new();
    for pod in pods {
        for ip in port_of(lab, namespace, pod).await?.fixed_ips {
            let length = if ip.ip_address.contains(':') { 128 } else { 32 };
            expected.insert(format!("{}/{length}", ip.ip_address));
        }
    }
    let found = peers(lab).await?;
    ensure!(found == expected, "{found:?}, not {expected:?}");
    Ok(())
}

/// The policy is mapped, these Pods are its peers, and its group is on the selected Pod's port alone.
async fn is_there(lab: &Lab, namespace: &str, open: &[String], peers: &[&str]) -> Result<()> {
    is_there_at(lab, namespace, open, peers, &[8080]).await
}

/// As [`is_there`], at these ports.
async fn is_there_at(
    lab: &Lab,
    namespace: &str,
    open: &[String],
    peers: &[&str],
    ports: &[u16],
) -> Result<()> {
    is_mapped(lab, namespace).await?;
    peers_are(lab, namespace, peers).await?;
    guarded(lab, namespace, open, ports).await
}

/// The Pod's port is as it was, and the policy has no mapping and no groups any more.
async fn is_gone(lab: &Lab, namespace: &str, open: &[String], shared: usize) -> Result<()> {
    let now = port_of(lab, namespace, "p-0").await?.security_groups;
    let (made, mappings) =
        (lab.made().await?, lab.mapping_api(namespace).list(&ListParams::default()).await?);
    let gone = made.address_groups.is_empty() && made.groups.len() == shared && mappings.items.len() == PODS;
    ensure!(now == open && gone, "{now:?} {shared} {made:?}");
    Ok(())
}

/// What a test begins with.
struct Begun {
    /// Of the Pods, which are mapped.
    namespace: String,
    operator: Operator,
    /// What the Pods' ports carry without a policy.
    open: Vec<String>,
    /// How many groups there are without a policy.
    shared: usize,
}

async fn begun(lab: &Lab) -> Result<Begun> {
    lab.load("networkpolicy-securitygroup", "networkpolicy-securitygroup").await?;
    let (namespace, operator) = lab.with_pod_port(&[]).await?;
    lab.loaded("networkpolicy-securitygroup").await?;
    lab.pods(&namespace, PODS).await?;
    lab.all_ready(&namespace, PODS).await?;
    let open = port_of(lab, &namespace, "p-0").await?.security_groups;
    for (pod, app) in [("p-0", "web"), ("p-1", "client"), ("p-2", "other")] {
        label(lab, &namespace, pod, app).await?;
    }
    let shared = until("the groups that all Pods share are there", async || {
        let groups = lab.made().await?.groups.len();
        ensure!(groups > 0, "there are none");
        Ok(groups)
    })
    .await?;
    operator.quiet().await?;
    Ok(Begun { namespace, operator, open, shared: shared.max(lab.made().await?.groups.len()) })
}

/// How often the policies' module was asked to map one.
fn calls(sample: &Sample) -> u64 {
    let labels = [("module", "networkpolicy-securitygroup"), ("operation", "map")];
    sample.sum("isthmus_module_calls_total", &labels)
}

/// A policy becomes a group that its Pods carry, peers come and go by one write, and with the policy all is as before.
#[tokio::test]
async fn a_policy_is_a_group_of_its_pods_and_peers_cost_one_write() -> Result<()> {
    on_lab("policies", async |lab| {
        let Begun { namespace, operator, open, shared } = begun(lab).await?;
        policy(lab, &namespace).await?;
        until("the policy is there", async || is_there(lab, &namespace, &open, &["p-1"]).await).await?;

        let joins = operator
            .cost(async {
                label(lab, &namespace, "p-2", "client").await?;
                until("the peers are others", async || peers_are(lab, &namespace, &["p-1", "p-2"]).await)
                    .await
            })
            .await?;
        let joined = joins.of(Sample::cloud_writes);
        ensure!(joined == 1, "{joined} writes for one peer more");
        let asked = joins.of(calls);
        ensure!(asked == 0, "the policy's module was called {asked} times: its answer is the same");
        let left = operator
            .cost(async {
                label(lab, &namespace, "p-1", "nobody").await?;
                until("the peers are others", async || peers_are(lab, &namespace, &["p-2"]).await).await
            })
            .await?
            .of(Sample::cloud_writes);
        ensure!(left == 1, "{left} writes for one peer less");
        let _operator = lab.restarted(operator).await?;

        policies(lab, &namespace).delete("web", &DeleteParams::default()).await?;
        until("the policy is gone", async || is_gone(lab, &namespace, &open, shared).await).await
    })
    .await
}

/// Neutron was sent these writes, each so often, and no other.
fn wrote(cost: &Cost, expected: &[(&str, &str, u64)]) -> Result<()> {
    let mut others = cost.of(Sample::cloud_writes);
    for (method, resource, times) in expected {
        let found = cost.of(|sample| sample.calls(method, resource));
        ensure!(found == *times, "{found} times {method} {resource}, not {times}");
        others -= found;
    }
    ensure!(others == 0, "{others} writes beside {expected:?}");
    Ok(())
}

/// A Pod that comes or goes under a policy costs a write of its port, and a peer one of the policy's addresses beside. Who is selected is
/// guarded by the first write of its port: there is no moment in which it is open.
#[tokio::test]
async fn pods_come_and_go_under_a_policy_by_one_write_and_are_guarded_from_the_first() -> Result<()> {
    on_lab("policy-pods", async |lab| {
        let Begun { namespace, operator, open, .. } = begun(lab).await?;
        policy(lab, &namespace).await?;
        until("the policy is there", async || is_there(lab, &namespace, &open, &["p-1"]).await).await?;
        let web = port_of(lab, &namespace, "p-0").await?;
        let came = operator
            .cost(async {
                let peer = lab.pod_of_app(&namespace, "peer", "client").await?;
                lab.pod_ready(&peer).await?;
                until("it is a peer", async || peers_are(lab, &namespace, &["p-1", "peer"]).await).await
            })
            .await?;
        wrote(&came, &[("POST", "ports", 1), ("PUT", "address-groups", 1)])?;
        let guarded = operator
            .cost(async {
                let selected = lab.pod_of_app(&namespace, "selected", "web").await?;
                lab.pod_ready(&selected).await.map(drop)
            })
            .await?;
        wrote(&guarded, &[("POST", "ports", 1)])?;
        let groups = |port: Port| BTreeSet::from_iter(port.security_groups);
        let selected = groups(port_of(lab, &namespace, "selected").await?);
        ensure!(selected == groups(web), "{selected:?}, and not what p-0's port carries");

        let went = operator
            .cost(async {
                lab.delete_pod(&namespace, "peer").await?;
                until("it is no peer", async || peers_are(lab, &namespace, &["p-1"]).await).await
            })
            .await?;
        wrote(&went, &[("DELETE", "ports", 1), ("PUT", "address-groups", 1)])?;
        let went = operator.cost(async { lab.delete_pod(&namespace, "selected").await }).await?;
        wrote(&went, &[("DELETE", "ports", 1)])?;
        is_there(lab, &namespace, &open, &["p-1"]).await
    })
    .await
}

/// A Pod that is relabelled costs one write of its port, whatever policies choose it, and one of each policy whose peers it joins or
/// leaves.
#[tokio::test]
async fn a_pod_relabelled_is_a_write_of_its_port_and_one_of_each_policy_it_is_a_peer_of() -> Result<()> {
    on_lab("policy-labels", async |lab| {
        let Begun { namespace, operator, open, .. } = begun(lab).await?;
        policy(lab, &namespace).await?;
        // Clients are held to each other: who becomes one is chosen by this one, and let in by both.
        let clients =
            json!({"podSelector": only("client"), "ingress": [{"from": [{"podSelector": only("client")}]}]});
        policy_of(lab, &namespace, "clients", clients).await?;
        lab.all_ready(&namespace, PODS + 2).await?;
        let client = port_of(lab, &namespace, "p-1").await?;
        ensure!(client.security_groups != open, "{client:?}");

        let relabelled = [("PUT", "ports", 1), ("PUT", "address-groups", 2)];
        for (app, carried, peers) in
            [("client", &client.security_groups, vec!["p-1", "p-2"]), ("other", &open, vec!["p-1"])]
        {
            let cost = operator
                .cost(async {
                    label(lab, &namespace, "p-2", app).await?;
                    until("the peers are others", async || peers_are(lab, &namespace, &peers).await).await
                })
                .await?;
            wrote(&cost, &relabelled).context(app)?;
            let own = port_of(lab, &namespace, "p-2").await?.security_groups;
            let same = BTreeSet::from_iter(&own) == BTreeSet::from_iter(carried);
            ensure!(same, "{own:?}, not {carried:?}, as {app}");
            let groups = lab.made().await?.address_groups;
            let addresses = peers.len() * client.fixed_ips.len();
            let all = groups.iter().all(|group| group.addresses.len() == addresses);
            ensure!(all && groups.len() == 2, "{groups:?}");
        }
        Ok(())
    })
    .await
}

/// A connection that a policy allows runs on through changes that do not concern it: a policy for others, a peer that comes and goes, a
/// port more, another operator. (What does concern it stops it: so it is seen that these would.)
#[tokio::test]
async fn a_connection_runs_through_changes_that_do_not_concern_it() -> Result<()> {
    on_lab("policy-stream", async |lab| {
        let Begun { namespace, operator, open, .. } = begun(lab).await?;
        policy(lab, &namespace).await?;
        until("the policy is there", async || is_there(lab, &namespace, &open, &["p-1"]).await).await?;
        let mut addresses = Vec::new();
        for pod in ["p-0", "p-1", "p-2"] {
            let port = port_of(lab, &namespace, pod).await?;
            lab.answers(pod, &port.id, &[8080, 9090]).await?;
            let four = port.fixed_ips.into_iter().map(|ip| ip.ip_address).find(|ip| ip.contains('.'));
            addresses.push(four.context("an IPv4 address")?);
        }
        let [web, _, other] = addresses.as_slice() else { bail!("{addresses:?}") };
        let reaches = async |from: &str, to: &str, port: u16, expected: bool| {
            let target = Target { protocol: "TCP", address: to.parse()?, port };
            until(&format!("{from} reaches {to} at {port}: {expected}"), async || {
                let found = Lab::reaches(from, std::slice::from_ref(&target)).await?;
                ensure!(found == [expected]);
                Ok(())
            })
            .await
        };
        reaches("p-1", other, 8080, true).await?;
        let mut stream = Stream::open("p-1", web, 8080).await?;
        policy_of(lab, &namespace, "others", json!({"podSelector": only("other")})).await?;
        reaches("p-1", other, 8080, false).await?;
        stream.runs("a policy for others").await?;
        label(lab, &namespace, "p-2", "client").await?;
        reaches("p-2", web, 8080, true).await?;
        stream.runs("a peer more").await?;
        label(lab, &namespace, "p-2", "other").await?;
        reaches("p-2", web, 8080, false).await?;
        stream.runs("a peer less").await?;
        policy_at(lab, &namespace, &[8080, 9090]).await?;
        reaches("p-1", web, 9090, true).await?;
        stream.runs("a port more").await?;
        let _operator = lab.restarted(operator).await?;
        stream.runs("another operator").await?;

        label(lab, &namespace, "p-1", "nobody").await?;
        stream.stalls().await
    })
    .await
}

/// A kill after each write of a policy's life leads to the same end.
#[tokio::test]
async fn killed_at_every_write_of_a_policy_the_end_is_the_same() -> Result<()> {
    on_lab("policy-kills", async |lab| {
        let Begun { namespace, operator, open, shared } = begun(lab).await?;
        operator.kill().await?;
        policy(lab, &namespace).await?;
        let made = async || is_there(lab, &namespace, &open, &["p-1"]).await;
        let (kills, operator) = lab.killed_at_each_write(made).await?;
        // The group, its rules, the address group that both IP versions share, and the port.
        ensure!(kills >= 4, "killed {kills} times");
        operator.kill().await?;

        label(lab, &namespace, "p-2", "client").await?;
        let widened = async || is_there(lab, &namespace, &open, &["p-1", "p-2"]).await;
        let (kills, operator) = lab.killed_at_each_write(widened).await?;
        ensure!(kills >= 1, "nobody was killed when a peer joined");
        operator.kill().await?;

        policies(lab, &namespace).delete("web", &DeleteParams::default()).await?;
        let gone = async || is_gone(lab, &namespace, &open, shared).await;
        let (kills, _operator) = lab.killed_at_each_write(gone).await?;
        // At the port's, and at those of the groups, which it lets go of first; these are made side by side.
        ensure!(kills >= 2, "killed {kills} times at the deletion");
        Ok(())
    })
    .await
}

/// Neutron is away while a policy comes and a peer joins: it comes to what is there then.
#[tokio::test]
async fn neutron_is_down_while_a_policy_comes() -> Result<()> {
    on_lab("policy-outage", async |lab| {
        let Begun { namespace, operator: _operator, open, shared } = begun(lab).await?;
        lab.kill_part("neutron").await?;
        policy(lab, &namespace).await?;
        until("the policy says why it waits", async || {
            let own = lab.mapping_of(&namespace, "NetworkPolicy").await?;
            let said = condition(&own, "Realized").context("no condition Realized")?;
            ensure!(said.status == "False" && said.reason == "CloudUnavailable", "{said:?}");
            Ok(())
        })
        .await?;
        label(lab, &namespace, "p-2", "client").await?;
        lab.start_part("neutron").await?;
        let there = async || is_there(lab, &namespace, &open, &["p-1", "p-2"]).await;
        until_within(2 * LIMIT, "the policy is there", there).await?;
        policies(lab, &namespace).delete("web", &DeleteParams::default()).await?;
        until("the policy is gone", async || is_gone(lab, &namespace, &open, shared).await).await
    })
    .await
}

/// A project that has no rules left: the policy says so with numbers, and is there as soon as there are more.
#[tokio::test]
async fn a_policy_waits_for_a_quota_of_rules() -> Result<()> {
    on_lab("policy-quota", async |lab| {
        let Begun { namespace, operator: _operator, open, shared } = begun(lab).await?;
        let quotas = lab.admin.quotas(&lab.project().await?).await?;
        let used = quotas.get("security_group_rule").context("a quota of rules")?.used;
        let lets_out = async || -> Result<usize> {
            let groups = lab.made().await?.groups.into_iter();
            Ok(groups.filter(|g| g.security_group_rules.iter().any(|r| r.direction == "egress")).count())
        };
        let before = lets_out().await?;
        // A fresh group has two of its own: there is room for them, and for no other.
        let limit = used + 2;
        lab.quota(Some(("security_group_rule", limit))).await?;
        let ports = [8080, 8443, 9090];
        policy_at(lab, &namespace, &ports).await?;
        let numbers = format!("security_group_rule quota {limit}, used {used}");
        until("the policy says how many rules there may be", async || {
            let all = lab.mapping_api(&namespace).list(&ListParams::default()).await?.items;
            let own =
                all.iter().find(|m| m.spec.subject.kind == "NetworkPolicy").context("no CloudMapping")?;
            let said = condition(own, "Realized").context("no condition Realized")?;
            ensure!(said.reason == "OverQuota" && said.message.contains(&numbers), "{said:?}");
            Ok(())
        })
        .await?;
        ensure!(lab.made().await?.groups.len() > shared, "there is no group to be ruled");
        ensure!(lets_out().await? == before, "a group that can't be ruled lets all out");
        lab.quota(None).await?;
        // A full quota is tried again after a minute at most.
        let there = async || is_there_at(lab, &namespace, &open, &["p-1"], &ports).await;
        until_within(2 * LIMIT, "the policy is there", there).await
    })
    .await
}

/// A policy that selects other Pods takes its group to their ports, and goes with its Namespace, as its groups do.
#[tokio::test]
async fn another_selector_is_followed_and_a_namespace_takes_its_policies_along() -> Result<()> {
    on_lab("policies-gone", async |lab| {
        let Begun { namespace, operator: _operator, open, shared } = begun(lab).await?;
        policy(lab, &namespace).await?;
        until("the policy is there", async || is_there(lab, &namespace, &open, &["p-1"]).await).await?;

        let other = json!({"spec": {"podSelector": {"matchLabels": {"app": "other"}}}});
        policies(lab, &namespace).patch("web", &PatchParams::default(), &Patch::Merge(other)).await?;
        until("the group is on the other Pod's port", async || {
            let (web, other) =
                (port_of(lab, &namespace, "p-0").await?, port_of(lab, &namespace, "p-2").await?);
            ensure!(web.security_groups == open && other.security_groups != open, "{web:?} {other:?}");
            Ok(())
        })
        .await?;

        let namespaces: Api<Namespace> = Api::all(lab.kube.clone());
        namespaces.delete(&namespace, &DeleteParams::default()).await?;
        until("the Namespace is gone with its policy's groups", async || {
            let made = lab.made().await?;
            let gone = made.address_groups.is_empty() && made.groups.len() == shared;
            ensure!(gone, "{made:?}");
            ensure!(namespaces.get_opt(&namespace).await?.is_none(), "it is there");
            Ok(())
        })
        .await?;
        lab.nothing_left(&namespace).await
    })
    .await
}

/// The selected Pod's port carries the policy's group in place of the open one, others' ports do not.
async fn guarded(lab: &Lab, namespace: &str, open: &[String], ports: &[u16]) -> Result<()> {
    let (web, other) = (port_of(lab, namespace, "p-0").await?, port_of(lab, namespace, "p-2").await?);
    let groups = lab.made().await?.groups;
    let carried = groups.iter().filter(|group| web.security_groups.contains(&group.id));
    let ingress: BTreeSet<_> = carried
        .flat_map(|group| &group.security_group_rules)
        .filter(|rule| rule.direction == "ingress")
        .map(|rule| (rule.port_range_min, rule.remote_address_group_id.is_some()))
        .collect();
    let expected: BTreeSet<_> = ports.iter().map(|port| (Some(*port), true)).collect();
    ensure!(ingress == expected, "{ingress:?}");
    ensure!(open.iter().all(|group| !web.security_groups.contains(group)), "{web:?}");
    ensure!(other.security_groups == open, "{other:?}");
    Ok(())
}
