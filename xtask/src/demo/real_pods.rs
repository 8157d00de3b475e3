//! The last part of the demo on the lab: Pods that run, on two nodes with an agent each.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Demo, OPERATOR, PODS};
use crate::children::Started;
use crate::lab::{Lab, Part};
use crate::step::say;

/// What an agent may do.
const RIGHTS: [&str; 2] = ["node.yaml", "admission.yaml"];
/// Marks the Pods whose tokens the agents have.
const AGENTS: &str = "isthmus.dev/demo=agent";

/// A node of the lab.
struct Node {
    name: String,
    /// What the lab keeps of it.
    folder: PathBuf,
}

impl Demo<'_> {
    /// Pods on two nodes reach each other.
    pub(super) fn real_pods(&self, lab: &Lab) -> Result<()> {
        say("demo", "two nodes: each a chassis of OVN with containerd and a kubelet (~15 s)");
        lab.change(self.workspace, "start", Part::Nodes)?;
        let shown = self.on_nodes(lab);
        let stopped = lab.change(self.workspace, "stop", Part::Nodes);
        shown.and(stopped)
    }

    fn on_nodes(&self, lab: &Lab) -> Result<()> {
        let nodes = self.nodes(lab)?;
        say("demo", "an agent each, which may do little in Kubernetes and nothing in OpenStack");
        for file in RIGHTS {
            self.type_and_see(&format!("kubectl apply -f deploy/{file}"))?;
        }
        let agents = nodes.iter().map(|node| self.agent(lab, node)).collect::<Result<Vec<_>>>()?;
        let names = nodes.iter().map(|node| format!("node/{}", node.name)).collect::<Vec<_>>().join(" ");
        self.type_and_see(&format!("kubectl wait --for=condition=Ready --timeout=60s {names}"))?;
        self.run_pods(&nodes)?;
        drop(agents);
        Ok(())
    }

    fn nodes(&self, lab: &Lab) -> Result<Vec<Node>> {
        let names = self.ask("kubectl get nodes -o jsonpath='{.items[*].metadata.name}'")?;
        let node = |name: &str| Node { name: name.to_owned(), folder: lab.state().join(name) };
        // node1 is an object of the demo's own
        let nodes: Vec<Node> =
            names.split_whitespace().map(node).filter(|node| node.folder.exists()).collect();
        ensure!(nodes.len() == 2, "the lab has two nodes, and {names} were found");
        Ok(nodes)
    }

    /// Starts a node's agent, with the token of a Pod there, as one of the DaemonSet has it.
    fn agent(&self, lab: &Lab, node: &Node) -> Result<Started> {
        let Node { name, folder } = node;
        self.create(&json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": OPERATOR, "labels": {"isthmus.dev/demo": "agent"}},
            "spec": {"nodeName": name, "serviceAccountName": "isthmus-node", "hostNetwork": true,
                "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "agent", "image": "localhost/pause:1", "imagePullPolicy": "Never"}]}}))?;
        let token = self.ask(&format!(
            "kubectl create token isthmus-node -n {OPERATOR} --bound-object-kind=Pod --bound-object-name={name}"
        ))?;
        let mut config: Value = serde_json::from_str(&self.ask("kubectl config view --raw -o json")?)?;
        let user = config.pointer_mut("/users/0/user").context("the kubeconfig has a user")?;
        *user = json!({"token": token.trim()});
        let kubeconfig = folder.join("agent.conf");
        // ours alone: it holds the token
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&kubeconfig)?;
        file.write_all(config.to_string().as_bytes())?;
        let log = self.file(&format!("agent-{name}.log"));
        let mut command = lab.inside("nsenter");
        command.arg(format!("--net=/run/netns/{name}")).arg(self.isthmus());
        command.arg("--kubeconfig").arg(kubeconfig).args([
            "node",
            "--node",
            name,
            "--http",
            "127.0.0.1:9441",
        ]);
        command.arg("--socket").arg(folder.join("agent/cni.sock"));
        command.arg("--state-dir").arg(folder.join("attachments"));
        command.arg("--ovsdb").arg(lab.state().join(format!("openstack/ovs-{name}/db.sock")));
        command.arg("--install-cni").arg("--cni-bin-dir").arg(folder.join("cni/bin"));
        command.arg("--cni-conf-dir").arg(folder.join("cni/net.d"));
        let file = File::create(&log).with_context(|| format!("making {}", log.display()))?;
        println!("    {name}: its log: {}", log.display());
        Started::spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file))
    }

    fn create(&self, object: &Value) -> Result<()> {
        let name = object.pointer("/metadata/name").and_then(Value::as_str).context("a name")?;
        let file = self.file(&format!("{name}.json"));
        std::fs::write(&file, object.to_string()).with_context(|| format!("writing {}", file.display()))?;
        self.ask(&format!("kubectl create -f {}", file.display())).map(drop)
    }

    /// A web server on each node; the first asks the other.
    fn run_pods(&self, nodes: &[Node]) -> Result<()> {
        say("demo", "a Pod on each of them, with a web server");
        let names: Vec<String> = nodes.iter().map(|node| format!("web-{}", node.name)).collect();
        for (name, node) in names.iter().zip(nodes) {
            let serve = "hostname >/tmp/index.html; exec httpd -f -p 8080 -h /tmp";
            let probe = json!({"httpGet": {"path": "/index.html", "port": 8080}, "periodSeconds": 1});
            let container = json!({"name": "web", "image": "localhost/busybox:1", "imagePullPolicy": "Never",
                "command": ["sh", "-c", serve], "readinessProbe": probe});
            self.create(
                &json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": PODS},
                "spec": {"nodeName": node.name, "automountServiceAccountToken": false,
                    "terminationGracePeriodSeconds": 1, "containers": [container]}}),
            )?;
        }
        let pods = names.iter().map(|name| format!("pod/{name}")).collect::<Vec<_>>().join(" ");
        self.ask(&format!("kubectl wait -n {PODS} --for=condition=Ready --timeout=55s {pods}"))?;
        say("demo", "kubelet's probes reach them, and they each other, through OVN:");
        self.type_and_see(&format!("kubectl get pods -n {PODS} -o wide"))?;
        let [from, to] = &*names else { return Ok(()) };
        let address = self.ask(&format!("kubectl get pod -n {PODS} {to} -o jsonpath='{{.status.podIP}}'"))?;
        let address = address.trim();
        self.type_and_see(&format!("kubectl exec -n {PODS} {from} -- ping -c 3 -W 3 {address}"))?;
        let request = r"printf 'GET /index.html HTTP/1.0\r\n\r\n'";
        let said = self.type_and_see(&format!(
            "kubectl exec -n {PODS} {from} -- sh -c \"{request} | nc -w 5 {address} 8080 | tail -n 1\""
        ))?;
        ensure!(said.trim() == to, "{to} was asked, and {said} answered");
        say("demo", "they are deleted: kubelet ends them, the agents let go, and their ports go");
        self.type_and_see(&format!("kubectl delete -n {PODS} {pods}"))?;
        let left = format!("kubectl get cloudmappings -n {PODS} -o name | wc -l");
        self.until("no CloudMapping is left", &left, |a| a == "0").map(drop)
    }

    /// Takes away what the agents had in Kubernetes.
    pub(super) fn clean_agents(&self) -> Result<()> {
        self.ask(&format!("kubectl delete pods -n {OPERATOR} -l {AGENTS} --force --grace-period=0"))?;
        let rights = RIGHTS.map(|file| format!("-f deploy/{file}")).join(" ");
        self.ask(&format!("kubectl delete --ignore-not-found {rights}")).map(drop)
    }
}
