//! The agent with a real API server: VIFs from CloudMappings, their condition `Attached`, and what a node's token may not do.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by a panic"
)]

use std::process::Command;
use std::sync::mpsc;

use anyhow::{Context, Result, bail, ensure};
use isthmus_kubernetes::Client;
use isthmus_node::binding::DriverOptions;
use isthmus_node::health::Paths;
use isthmus_node::{Addresses, Options, run};
use isthmus_node_tests::kubectl::{DEPLOY, kubectl};
use isthmus_node_tests::{Call, Namespace, until};
use serde_json::{Value, json};
use tokio::sync::oneshot;

const BRIDGE: &str = "br-agent-test";
const NAMESPACE: &str = "agent-test";
const HTTP: &str = "127.0.0.1:19441";
const MAPPING: &str = "pod-web-u1";

/// What goes when the test ends, however it does.
struct Cleared;

impl Drop for Cleared {
    fn drop(&mut self) {
        let _ = kubectl(&["delete", "--ignore-not-found", "-f", &format!("{DEPLOY}/admission.yaml")], None);
        let _ = kubectl(&["delete", "--ignore-not-found", "-f", &format!("{DEPLOY}/node.yaml")], None);
        let _ = kubectl(&["delete", "--ignore-not-found", "--wait=false", "namespace", NAMESPACE], None);
        let force = ["delete", "--ignore-not-found", "--force", "--grace-period=0", "-n", "isthmus-system"];
        let _ = kubectl(&[&force[..], &["pod", "agent-a", "agent-b"]].concat(), None);
        let _ = kubectl(&["delete", "--ignore-not-found", "node", "agent-a", "agent-b"], None);
        let _ = Command::new("ip").args(["link", "del", BRIDGE]).status();
    }
}

fn create(object: Value) -> Result<()> {
    kubectl(&["create", "--validate=false", "-f", "-"], Some(&object)).map(|_| ())
}

/// The token of an agent on a node.
fn token(node: &str) -> Result<String> {
    create(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}}))?;
    create(
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": node, "namespace": "isthmus-system"},
        "spec": {"nodeName": node, "serviceAccountName": "isthmus-node", "containers": [{"name": "agent", "image": "none"}]}}),
    )?;
    let bound = format!("--bound-object-name={node}");
    kubectl(
        &["create", "token", "isthmus-node", "-n", "isthmus-system", "--bound-object-kind=Pod", &bound],
        None,
    )
}

fn condition(kind: &str, status: &str) -> Value {
    json!({"type": kind, "status": status, "reason": "Test", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"})
}

fn attached(mapping: &str) -> Result<String> {
    let path = "jsonpath={.status.conditions[?(@.type==\"Attached\")].status}";
    kubectl(&["get", "cloudmapping", mapping, "-n", NAMESPACE, "-o", path], None)
}

/// What the agent says of itself.
fn http(path: &str) -> Result<String> {
    let done = Command::new("curl").args(["-s", "-m", "5", &format!("http://{HTTP}/{path}")]).output()?;
    Ok(String::from_utf8(done.stdout)?)
}

/// Sends a patch with somebody's token: the answer's code.
fn patch(token: &str, subresource: &str, body: &Value) -> Result<String> {
    let server = kubectl(&["config", "view", "--raw", "-o", "jsonpath={.clusters[0].cluster.server}"], None)?;
    let ca = kubectl(
        &["config", "view", "--raw", "-o", "jsonpath={.clusters[0].cluster.certificate-authority}"],
        None,
    )?;
    let path =
        format!("apis/isthmus.dev/v1alpha1/namespaces/{NAMESPACE}/cloudmappings/{MAPPING}{subresource}");
    let done = Command::new("curl")
        .args(["-s", "-m", "10", "-o", "/dev/null", "-w", "%{http_code}", "-X", "PATCH", "--cacert", &ca])
        .args([
            "-H",
            &format!("Authorization: Bearer {token}"),
            "-H",
            "Content-Type: application/merge-patch+json",
        ])
        .args([&format!("{server}/{path}"), "-d", &body.to_string()])
        .output()?;
    Ok(String::from_utf8(done.stdout)?)
}

/// A mapping of a Pod on a node, without a VIF yet.
fn map(name: &str, pod: &str, node: &str) -> Result<()> {
    create(json!({"apiVersion": "isthmus.dev/v1alpha1", "kind": "CloudMapping",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"isthmus.dev/node": node}},
        "spec": {"subject": {"apiVersion": "v1", "kind": "Pod", "namespace": NAMESPACE, "name": pod,
            "uid": format!("uid-{pod}")}}}))
}

/// Gives a mapping a VIF, number `n` of the network.
fn realize(name: &str, node: &str, n: u8) -> Result<()> {
    let status = json!({"status": {"node": node, "conditions": [condition("Ready", "True")], "vifs": [{
        "interface": "eth0", "port": "port", "portId": format!("p{n}"),
        "macAddress": format!("fa:16:3e:00:00:{n:02x}"), "addresses": [format!("10.9.0.{n}/24")],
        "gateways": ["10.9.0.1"], "mtu": 1442, "network": "n", "defaultRoute": true}]}});
    let arguments =
        ["patch", "cloudmapping", name, "-n", NAMESPACE, "--subresource=status", "--type=merge", "-p"];
    kubectl(&[&arguments[..], &[&status.to_string()]].concat(), None).map(drop)
}

fn prepare() -> Result<()> {
    std::env::var("ISTHMUS_LAB").context("`cargo xtask test` runs this in the lab")?;
    kubectl(&["apply", "--server-side", "--force-conflicts", "-f", &format!("{DEPLOY}/crds")], None)?;
    kubectl(&["wait", "--for=condition=Established", "crd/cloudmappings.isthmus.dev"], None)?;
    if kubectl(&["get", "namespace", "isthmus-system"], None).is_err() {
        kubectl(&["create", "namespace", "isthmus-system"], None)?;
    }
    kubectl(
        &["apply", "-f", &format!("{DEPLOY}/node.yaml"), "-f", &format!("{DEPLOY}/admission.yaml")],
        None,
    )?;
    // that of a run before may still be going
    kubectl(&["wait", "--for=delete", "--timeout=60s", &format!("namespace/{NAMESPACE}")], None)?;
    kubectl(&["create", "namespace", NAMESPACE], None)?;
    map(MAPPING, "web", "agent-a")?;
    for arguments in [&["link", "add", BRIDGE, "type", "bridge"][..], &["link", "set", BRIDGE, "up"]] {
        ensure!(Command::new("ip").args(arguments).status()?.success(), "ip {arguments:?}");
    }
    Ok(())
}

/// Runs the agent of `agent-a` while `work` does.
fn with_agent(
    folder: &std::path::Path,
    token: &str,
    work: impl FnOnce(&std::path::Path) -> Result<()>,
) -> Result<()> {
    let kubeconfig = folder.join("kubeconfig");
    let mut config: Value =
        serde_json::from_str(&kubectl(&["config", "view", "--raw", "-o", "json"], None)?)?;
    config["users"][0]["user"] = json!({"token": token});
    std::fs::write(&kubeconfig, config.to_string())?;
    let (socket, state) = (folder.join("run/cni.sock"), folder.join("attachments"));
    let drivers =
        DriverOptions { default: "bridge".into(), bridge: Some(BRIDGE.into()), ..DriverOptions::default() };
    let options = Options { state, drivers, paths: Paths::default() };
    let (stop, stopped) = oneshot::channel::<()>();
    let (listens, ended) = (socket.clone(), mpsc::channel());
    let agent = std::thread::spawn(move || -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let ran = runtime.block_on(async {
            let client = Client::connect(Some(&kubeconfig)).await?;
            let stopped = async {
                let _ = stopped.await;
            };
            let addresses = Addresses { socket, http: Some(HTTP.parse()?), install: None };
            Ok(run(options, addresses, client, "agent-a", stopped).await?)
        });
        let _ = ended.0.send(());
        ran
    });
    let worked = until("the agent listens", || {
        ensure!(ended.1.try_recv().is_err(), "it ended");
        Ok(listens.exists())
    })
    .and_then(|()| work(&listens));
    drop(stop);
    let ran = agent.join().expect("no panic");
    ran.and(worked)
}

/// Of a mapping of another node the API server tells it nothing; and when one is deleted, its Pod keeps its interface. What a watch has
/// told of one that was made later, it has told of these too.
fn only_its_own_are_told_and_one_that_vanishes_unbinds_nothing(socket: &std::path::Path) -> Result<()> {
    const NONE: &str = "no CloudMapping of this node is the Pod's";
    map("pod-api", "api", "agent-b")?;
    realize("pod-api", "agent-b", 6)?;
    map("pod-late", "late", "agent-a")?;
    realize("pod-late", "agent-a", 7)?;
    let (netns, next) = (Namespace::new()?, Namespace::new()?);
    let asked = |pod: &str, container: &str, netns: &Namespace| {
        Call::new(socket, pod, container, &netns.path()).in_namespace(NAMESPACE)
    };
    let vain = |call: Call| call.with("timeoutSeconds", json!(2)).fails("ADD", 11);
    let late = asked("late", "c7", &netns);
    let check = late.clone().with("prevResult", late.ok("ADD")?);
    let why = vain(asked("api", "c6", &next))?;
    ensure!(why.contains(NONE), "{why}");
    until("it says that it is attached", || Ok(attached("pod-late")? == "True"))?;

    kubectl(&["delete", "cloudmapping", "pod-late", "-n", NAMESPACE], None)?;
    map("pod-last", "last", "agent-a")?;
    realize("pod-last", "agent-a", 8)?;
    let last = asked("last", "c8", &next);
    last.ok("ADD")?;
    check.ok("CHECK")?;
    late.ok("DEL")?;
    last.ok("DEL").map(drop)
}

#[test]
fn a_pod_is_attached_as_its_cloudmapping_says_and_nobody_else_says_so() -> Result<()> {
    let _cleared = Cleared;
    prepare()?;
    let (own, other) = (token("agent-a")?, token("agent-b")?);
    let netns = Namespace::new()?;
    let folder = tempfile::tempdir()?;
    with_agent(folder.path(), &own, |socket| {
        let call = Call::new(socket, "web", "c1", &netns.path()).in_namespace(NAMESPACE);
        let why = call.clone().with("timeoutSeconds", json!(2)).fails("ADD", 11)?;
        ensure!(why.contains(MAPPING), "{why}");
        // While ADD waits: it is told as soon as it is known.
        std::thread::scope(|scope| -> Result<()> {
            let add = scope.spawn(|| call.ok("ADD"));
            realize(MAPPING, "agent-a", 5)?;
            ensure!(add.join().expect("no panic")?["ips"][0]["address"] == "10.9.0.5/24");
            Ok(())
        })?;
        until("it says that it is attached", || Ok(attached(MAPPING)? == "True"))?;
        for path in ["alive", "ready"] {
            ensure!(http(path)? == "ok", "/{path}");
        }
        let numbers = http("metrics")?;
        for line in [
            "isthmus_node_attachments 1",
            "isthmus_node_add_stage_seconds_count{stage=\"bind\"} 1",
            "isthmus_node_calls_total{verb=\"ADD\",code=\"11\"} 1",
        ] {
            ensure!(numbers.contains(line), "{line}: {numbers}");
        }
        let ready = kubectl(
            &["get", "cloudmapping", MAPPING, "-n", NAMESPACE, "-o", "jsonpath={.status.conditions[*].type}"],
            None,
        )?;
        ensure!(ready.contains("Ready"), "the operator's conditions stay: {ready}");
        only_its_own_are_told_and_one_that_vanishes_unbinds_nothing(socket)?;
        call.ok("DEL")?;
        until("it says that it is not", || Ok(attached(MAPPING)? == "False"))
    })?;

    let (ready, true_) = (condition("Ready", "True"), condition("Attached", "True"));
    let conditions = json!({"status": {"conditions": [ready, true_]}});
    let refused = [
        (&other, "/status", conditions.clone()),
        (&other, "/status", json!({"status": {"node": "agent-b"}})),
        (&own, "/status", json!({"status": {"conditions": [true_]}})),
        (&own, "/status", json!({"status": {"conditions": [condition("Ready", "False"), true_]}})),
        (&own, "/status", json!({"status": {"node": "agent-b"}})),
        (&own, "/status", json!({"status": {"vifs": []}})),
        (&own, "/status", json!({"status": {"inputHash": "x"}})),
        (
            &own,
            "/status",
            json!({"status": {"resources": [{"name": "a", "kind": "port", "state": "Deleting", "id": "x"}]}}),
        ),
        (&own, "", json!({"metadata": {"labels": {"a": "b"}}})),
    ];
    for (token, subresource, body) in refused {
        let code = patch(token, subresource, &body)?;
        if code != "403" {
            bail!("a node's token may send {body} to {MAPPING}{subresource}: {code}");
        }
    }
    assert_eq!(patch(&own, "/status", &conditions)?, "200", "its own condition of its own node's");
    Ok(())
}
