//! Pods of a real cluster: kubelet, containerd, isthmus-cni, agent, Open vSwitch and OVN on two nodes, with the operator, a
//! real API server and a real Neutron.
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by a panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use isthmus_node_tests::cluster::{Cluster, comes_true};
use isthmus_node_tests::kubectl::{apply, kubectl};
use serde_json::{Value, json};

const NAMESPACE: &str = "node-test";

/// The namespace goes with the test, however it ends, while agents and operator still run.
struct Cleared;

impl Drop for Cleared {
    fn drop(&mut self) {
        let _ = kubectl(&["delete", "--ignore-not-found", "--timeout=60s", "namespace", NAMESPACE], None);
    }
}

fn get(what: &[&str]) -> Result<Value> {
    Ok(serde_json::from_str(&kubectl(&[&["get", "-n", NAMESPACE, "-o", "json"], what].concat(), None)?)?)
}

/// Name, node and address of each Pod that is there.
fn pods() -> Result<Vec<(String, String, String)>> {
    let all = get(&["pods", "-l", "app=web"])?;
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let all = all["items"].as_array().context("a list")?;
    Ok(all
        .iter()
        .filter(|p| p["metadata"]["deletionTimestamp"].is_null())
        .map(|p| (text(&p["metadata"]["name"]), text(&p["spec"]["nodeName"]), text(&p["status"]["podIP"])))
        .collect())
}

fn container(command: &str) -> Value {
    json!({"name": "web", "image": "localhost/busybox:1", "imagePullPolicy": "Never", "command": ["sh", "-c", command]})
}

/// A web server that all of kubelet's probes have to reach.
fn deployment(nodes: &[&str], replicas: usize) -> Value {
    let mut web = container("hostname >/tmp/index.html; exec httpd -f -p 8080 -h /tmp");
    web["readinessProbe"] = json!({"httpGet": {"path": "/index.html", "port": 8080}, "periodSeconds": 1});
    web["livenessProbe"] = json!({"tcpSocket": {"port": 8080}, "periodSeconds": 5});
    web["startupProbe"] = json!({"exec": {"command": ["true"]}, "periodSeconds": 1});
    let on = json!({"key": "kubernetes.io/hostname", "operator": "In", "values": nodes});
    let affinity = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
        {"nodeSelectorTerms": [{"matchExpressions": [on]}]}}});
    let spread = json!([{"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}}}]);
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": NAMESPACE},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {
                "affinity": affinity, "topologySpreadConstraints": spread, "automountServiceAccountToken": false,
                "terminationGracePeriodSeconds": 1, "containers": [web]}}}})
}

fn rolled_out(cluster: &Cluster) -> Result<()> {
    kubectl(&["rollout", "status", "-n", NAMESPACE, "deployment/web", "--timeout=240s"], None)
        .map(|_| ())
        .with_context(|| cluster.nodes.iter().map(|n| n.log()).collect::<Vec<_>>().join("\n"))
}

fn exec(pod: &str, command: &[&str]) -> Result<String> {
    kubectl(&[&["exec", "-n", NAMESPACE, pod, "--"], command].concat(), None)
}

/// Every Pod reaches the first of each node, by ICMP and TCP, and gets an answer from the right one.
fn all_reach(pods: &[(String, String, String)]) -> Result<()> {
    let mut nodes = BTreeSet::new();
    let targets: Vec<_> = pods.iter().filter(|(_, node, _)| nodes.insert(node)).collect();
    ensure!(targets.len() == 2, "Pods run on both nodes");
    for (from, _, _) in pods {
        for (name, _, ip) in &targets {
            exec(from, &["ping", "-c1", "-W3", ip])?;
            // not wget: that of a static busybox looks for services of libc that are not there
            let ask = format!("printf 'GET /index.html HTTP/1.0\\r\\n\\r\\n' | nc -w5 {ip} 8080");
            let said = exec(from, &["sh", "-c", &ask])?;
            ensure!(said.ends_with(name), "{ip} is {name}, and {said} answers");
        }
    }
    Ok(())
}

/// A Pod of a file, whose kubelet calls it by another uid than the API server.
fn a_static_pod(cluster: &Cluster) -> Result<()> {
    let node = &cluster.nodes[0];
    let manifest = node.folder.join("manifests/static.json");
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "static", "namespace": NAMESPACE},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [container("sleep 3600")]}});
    std::fs::write(&manifest, pod.to_string())?;
    let name = format!("static-{}", node.name);
    let running = comes_true("the static Pod runs", || {
        let pod = get(&["pods", "--field-selector", &format!("metadata.name={name}")])?;
        Ok(pod["items"][0]["status"]["phase"] == "Running" && pod["items"][0]["status"]["podIP"].is_string())
    });
    std::fs::remove_file(manifest)?;
    running.with_context(|| node.log())
}

/// A Pod on its node's network is no business of ours: it runs, and has neither a CloudMapping nor an attachment.
fn a_pod_on_the_nodes_network(cluster: &Cluster) -> Result<()> {
    let node = &cluster.nodes[0];
    apply(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "host", "namespace": NAMESPACE},
        "spec": {"hostNetwork": true, "nodeName": node.name, "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": false, "containers": [container("sleep 3600")]}}))?;
    comes_true("the Pod on its node's network runs", || {
        Ok(get(&["pods", "--field-selector", "metadata.name=host"])?["items"][0]["status"]["phase"]
            == "Running")
    })
    .with_context(|| node.log())?;
    ensure!(!node.has("host")?, "it is attached");
    let mappings = get(&["cloudmappings"])?;
    let mut mappings = mappings["items"].as_array().into_iter().flatten();
    ensure!(mappings.all(|m| m["spec"]["subject"]["name"] != "host"), "it is mapped");
    kubectl(&["delete", "pod", "-n", NAMESPACE, "--timeout=60s", "host"], None).map(drop)
}

/// Kubelet's TCP probe has restarted none of these, which run for longer than it fails in silence.
fn none_was_restarted(pods: &[(String, String, String)]) -> Result<()> {
    for (name, _, _) in pods {
        let pod = get(&["pod", name])?;
        ensure!(pod["status"]["containerStatuses"][0]["restartCount"] == 0, "{}", pod["status"]);
    }
    Ok(())
}

/// The port of a Pod whose object is gone, and whose containers still run, is not given away.
fn force_deleted(cluster: &Cluster, (pod, on, _): &(String, String, String)) -> Result<()> {
    let node = cluster.nodes.iter().find(|node| node.name == *on).context("its node")?;
    ensure!(node.has(pod)?, "{pod} is attached");
    kubectl(&["delete", "pod", "-n", NAMESPACE, "--force", "--grace-period=0", pod], None)?;
    let mapped = || {
        let all = get(&["cloudmappings"])?;
        let mut all = all["items"].as_array().into_iter().flatten();
        Ok::<_, anyhow::Error>(all.any(|m| m["spec"]["subject"]["name"] == **pod))
    };
    comes_true("its CloudMapping goes", || {
        let there = mapped()?;
        ensure!(there || !node.has(pod)?, "the port of {pod} is given away while it is plugged in");
        Ok(!there)
    })
}

fn nothing_is_left(cluster: &Cluster) -> Result<()> {
    comes_true("no CloudMapping is left", || {
        Ok(get(&["cloudmappings"])?["items"].as_array().is_some_and(Vec::is_empty))
    })?;
    for node in &cluster.nodes {
        let mut left = Vec::new();
        comes_true("nothing is left on the node", || {
            left = node.left()?;
            Ok(left.is_empty())
        })
        .with_context(|| format!("{}: {left:?}\n{}", node.name, node.log()))?;
    }
    ports_become(0)
}

/// Waits until Neutron has so many ports of Pods.
fn ports_become(count: usize) -> Result<()> {
    let mut seen = Vec::new();
    comes_true("a port in Neutron for each Pod, and no other", || {
        let ports = std::process::Command::new("openstack")
            .args(["port", "list", "--network", "pods", "-f", "value", "-c", "Name"])
            .output()?;
        ensure!(ports.status.success(), "openstack port list: {}", String::from_utf8_lossy(&ports.stderr));
        let ports = String::from_utf8(ports.stdout)?;
        seen = ports.lines().filter(|name| !name.starts_with("leg-")).map(str::to_owned).collect();
        Ok(seen.len() == count)
    })
    .with_context(|| format!("{count} Pods, ports: {seen:?}"))
}

#[test]
fn pods_run_talk_and_go_whatever_is_killed() -> Result<()> {
    let mut cluster = Cluster::start()?;
    let _cleared = Cleared;
    let begun = Instant::now();
    let told = |what: &str| println!("{what}: {:.1} s", begun.elapsed().as_secs_f64());
    apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}))?;
    apply(&deployment(&cluster.names(), 2))?;
    rolled_out(&cluster)?;
    told("two Pods run");
    let first = pods()?;
    all_reach(&first)?;
    for node in &cluster.nodes {
        ensure!(node.http("ready")? == "ok" && node.http("alive")? == "ok", "{}", node.name);
    }
    a_static_pod(&cluster)?;
    told("a static Pod ran");
    a_pod_on_the_nodes_network(&cluster)?;
    told("a Pod on its node's network ran");

    // While twenty come, everything is killed once.
    apply(&deployment(&cluster.names(), 20))?;
    comes_true("some are attached", || Ok(cluster.nodes[0].left()?.len() > 8))?;
    cluster.nodes[0].kill_agent();
    cluster.nodes[0].start_agent()?;
    cluster.kill_operator();
    cluster.start_operator()?;
    cluster.restart_kubelet(1)?;
    rolled_out(&cluster)?;
    told("twenty run");
    none_was_restarted(&first)?;
    // A create that Neutron was at when its operator was killed may come through after the next one looked for it: a second port
    // of its Pod, which the next resync takes away.
    ports_become(20)?;
    told("each has one port");
    let all = pods()?;
    let addresses: BTreeSet<_> = all.iter().map(|(_, _, ip)| ip).collect();
    ensure!(addresses.len() == 20, "an address each: {all:?}");
    // Two of each node: of the first by name, all may be on one.
    let mut of_node: BTreeMap<&String, usize> = BTreeMap::new();
    let mut is_one_of_two = |node| {
        let seen = of_node.entry(node).or_default();
        *seen += 1;
        *seen <= 2
    };
    let four: Vec<_> = all.iter().filter(|(_, node, _)| is_one_of_two(node)).cloned().collect();
    all_reach(&four)?;
    told("four reach both nodes");

    force_deleted(&cluster, &all[0])?;
    rolled_out(&cluster)?;
    told("a force-deleted one is replaced");
    kubectl(&["delete", "deployment", "-n", NAMESPACE, "web"], None)?;
    cluster.nodes[1].kill_agent();
    cluster.nodes[1].start_agent()?;
    comes_true("the Pods end", || Ok(get(&["pods"])?["items"].as_array().is_some_and(Vec::is_empty)))?;
    nothing_is_left(&cluster)?;
    told("nothing is left");
    for node in &cluster.nodes {
        let left = node.uninstall()?;
        ensure!(left.is_empty(), "{left:?}");
    }
    Ok(())
}
