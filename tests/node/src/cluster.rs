//! Real nodes: the lab's kubelets with containerd, on chassis of OVN, with an operator and an agent each as processes.

use std::fs::{OpenOptions, Permissions};
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::kubectl::{DEPLOY, apply, kubectl};
use crate::process::{Process, tail};
use crate::until_within;

/// How long something of a whole cluster may take.
const LIMIT: Duration = Duration::from_secs(120);
/// Between two looks: each starts programs.
const BETWEEN: Duration = Duration::from_millis(200);
const SYSTEM: &str = "isthmus-system";
/// What an agent may do.
const RIGHTS: [&str; 2] = ["node.yaml", "admission.yaml"];

/// Two nodes with agents, and an operator with the module `pod-port`. All of it goes with this.
pub struct Cluster {
    /// The nodes.
    pub nodes: Vec<Node>,
    /// Folder of the lab.
    state: PathBuf,
    operator: Option<Process>,
}

/// One node.
pub struct Node {
    /// Its name, and that of its network namespace.
    pub name: String,
    /// Folder of all that the lab keeps of it.
    pub folder: PathBuf,
    ovsdb: PathBuf,
    agent: Option<Process>,
}

fn variable(name: &str) -> Result<String> {
    std::env::var(name).with_context(|| format!("{name}: `cargo xtask test` runs this in the lab"))
}

fn lab(verb: &str) -> Result<()> {
    let done = Command::new(variable("ISTHMUS_XTASK")?).args(["lab", verb, "nodes"]).output()?;
    ensure!(done.status.success(), "lab {verb} nodes: {}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

impl Cluster {
    /// Starts all of it; the nodes are ready when this returns.
    ///
    /// # Errors
    /// Something does not start.
    pub fn start() -> Result<Self> {
        let state = variable("KUBECONFIG")?;
        let state = Path::new(&state).parent().context("the lab's kubeconfig lies in its folder")?;
        let mut cluster = Self { nodes: Vec::new(), state: state.to_owned(), operator: None };
        lab("start")?;
        for name in kubectl(&["get", "nodes", "-o", "name"], None)?.split_whitespace() {
            let name = name.trim_start_matches("node/").to_owned();
            let folder = state.join(&name);
            // the others are objects that other tests made
            if folder.exists() {
                let ovsdb = state.join(format!("openstack/ovs-{name}/db.sock"));
                cluster.nodes.push(Node { name, folder, ovsdb, agent: None });
            }
        }
        ensure!(cluster.nodes.len() == 2, "two nodes");
        prepare()?;
        cluster.start_operator()?;
        for node in &mut cluster.nodes {
            node.stand_in()?;
            node.start_agent()?;
        }
        for node in &cluster.nodes {
            let name = format!("node/{}", node.name);
            kubectl(&["wait", "--for=condition=Ready", "--timeout=60s", &name], None)
                .with_context(|| node.log())?;
        }
        Ok(cluster)
    }

    /// Starts the operator; it has loaded `pod-port` when this returns.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_operator(&mut self) -> Result<()> {
        let http = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let log = self.state.join("log/isthmus-operator.log");
        // One identity: who comes after a crash need not wait for the lease.
        // What one that was killed had Neutron create is seen by a resync.
        let arguments = ["operator", "--identity", "nodes", "--http", &http, "--resync-seconds", "15"];
        self.operator = Some(Process::start(&variable("ISTHMUS_BIN")?, &arguments, &log)?);
        kubectl(&["wait", "--for=condition=Loaded", "--timeout=90s", "policymodule/pod-port"], None)
            .map(|_| ())
            .with_context(|| tail(&log))
    }

    /// Kills the operator, as a crash would.
    pub fn kill_operator(&mut self) {
        self.operator = None;
    }

    /// Kills the kubelet of a node, as a crash would, and starts it again.
    ///
    /// # Errors
    /// It does not start.
    pub fn restart_kubelet(&self, node: usize) -> Result<()> {
        let name = &self.nodes.get(node).context("a node")?.name;
        let part = std::fs::read_to_string(self.state.join(format!("pid/kubelet-{name}")))?;
        let pid = part.split_whitespace().next().context("a pid")?;
        ensure!(Command::new("kill").args(["-KILL", pid]).status()?.success(), "kill {pid}");
        lab("start")
    }

    /// Names of the nodes.
    pub fn names(&self) -> Vec<&str> {
        self.nodes.iter().map(|node| &*node.name).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = kubectl(&["delete", "--ignore-not-found", "policymodule", "pod-port"], None);
        let _ = kubectl(&["delete", "--ignore-not-found", "-n", SYSTEM, "configmap", "pod-port"], None);
        self.operator = None;
        for node in &mut self.nodes {
            let _ = kubectl(
                &[
                    "delete",
                    "--ignore-not-found",
                    "--force",
                    "--grace-period=0",
                    "-n",
                    SYSTEM,
                    "pod",
                    &node.name,
                ],
                None,
            );
            node.agent = None;
        }
        for file in RIGHTS {
            let _ = kubectl(&["delete", "--ignore-not-found", "-f", &format!("{DEPLOY}/{file}")], None);
        }
        let _ = kubectl(&["delete", "--ignore-not-found", "-n", SYSTEM, "lease", "--all"], None);
        let _ = lab("stop");
    }
}

/// Definitions, rights, and `pod-port` for the lab's network.
fn prepare() -> Result<()> {
    kubectl(&["apply", "--server-side", "--force-conflicts", "-f", &format!("{DEPLOY}/crds")], None)?;
    let crds = ["crd/cloudmappings.isthmus.dev", "crd/policymodules.isthmus.dev"];
    kubectl(&[&["wait", "--for=condition=Established"][..], &crds].concat(), None)?;
    apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}}))?;
    for file in RIGHTS {
        kubectl(&["apply", "-f", &format!("{DEPLOY}/{file}")], None)?;
    }
    let config = json!({"network": "pods", "subnets": ["pods-v4", "pods-v6"], "securityGroups": ["pods"]});
    apply(
        &json!({"apiVersion": "isthmus.dev/v1alpha1", "kind": "PolicyModule", "metadata": {"name": "pod-port"},
        "spec": {"source": {"configMaps": [{"name": "pod-port"}]}, "config": config}}),
    )?;
    let module = format!("{}/pod-port.wasm", variable("ISTHMUS_MODULES")?);
    let arguments = ["module", "load", &module, "--name", "pod-port"];
    let loaded = Command::new(variable("ISTHMUS_BIN")?).args(arguments).output()?;
    ensure!(loaded.status.success(), "module load: {}", String::from_utf8_lossy(&loaded.stderr));
    Ok(())
}

impl Node {
    /// A Pod of the node whose token its agent has, as that of the DaemonSet would.
    fn stand_in(&self) -> Result<()> {
        apply(
            &json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": self.name, "namespace": SYSTEM},
            "spec": {"nodeName": self.name, "serviceAccountName": "isthmus-node", "hostNetwork": true,
                "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "agent", "image": "localhost/pause:1", "imagePullPolicy": "Never"}]}}),
        )?;
        let bound = format!("--bound-object-name={}", self.name);
        let token = ["create", "token", "isthmus-node", "-n", SYSTEM, "--bound-object-kind=Pod", &bound];
        let token = kubectl(&token, None)?;
        let mut config: Value =
            serde_json::from_str(&kubectl(&["config", "view", "--raw", "-o", "json"], None)?)?;
        *config.pointer_mut("/users/0/user").context("the kubeconfig has a user")? = json!({"token": token});
        let path = self.folder.join("agent.conf");
        // Ours alone from its first byte on: it holds the token.
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        Ok(file.write_all(config.to_string().as_bytes())?)
    }

    /// Starts its agent, which puts the plugin in place.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_agent(&mut self) -> Result<()> {
        let isthmus = variable("ISTHMUS_BIN")?;
        let at = |name: &str| self.folder.join(name).display().to_string();
        let (netns, ovsdb) = (format!("--net=/run/netns/{}", self.name), self.ovsdb.display().to_string());
        let arguments = [
            &netns,
            &isthmus,
            "--kubeconfig",
            &at("agent.conf"),
            "node",
            "--node",
            &self.name,
            "--socket",
            &at("agent/cni.sock"),
            "--state-dir",
            &at("attachments"),
            "--ovsdb",
            &ovsdb,
            "--http",
            "127.0.0.1:9441",
            "--install-cni",
            "--cni-bin-dir",
            &at("cni/bin"),
            "--cni-conf-dir",
            &at("cni/net.d"),
        ];
        self.agent = Some(Process::start("nsenter", &arguments, &self.folder.join("agent.log"))?);
        Ok(())
    }

    /// Kills its agent, as a crash would.
    pub fn kill_agent(&mut self) {
        self.agent = None;
    }

    /// Removes what its agent has put in place for the container runtime; what is left of it.
    ///
    /// # Errors
    /// The command fails.
    pub fn uninstall(&self) -> Result<Vec<PathBuf>> {
        let at = |name: &str| self.folder.join(name).display().to_string();
        let (bin, conf) = (at("cni/bin"), at("cni/net.d"));
        let done = Command::new(variable("ISTHMUS_BIN")?)
            .args([
                "node",
                "--node",
                &self.name,
                "--uninstall-cni",
                "--cni-bin-dir",
                &bin,
                "--cni-conf-dir",
                &conf,
            ])
            .output()?;
        ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let files = [bin, conf].map(std::fs::read_dir).into_iter().collect::<std::io::Result<Vec<_>>>()?;
        let files = files.into_iter().flatten().map(|e| Ok(e?.path()));
        let left: Vec<PathBuf> = files.collect::<Result<_>>()?;
        Ok(left.into_iter().filter(|path| !path.ends_with("loopback")).collect())
    }

    /// What its agent answers.
    ///
    /// # Errors
    /// It does not.
    pub fn http(&self, path: &str) -> Result<String> {
        let url = format!("http://127.0.0.1:9441/{path}");
        self.run("curl", &["-s", "-m", "5", &url])
    }

    /// Runs a command in its network namespace; its output.
    ///
    /// # Errors
    /// It fails.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let netns = format!("--net=/run/netns/{}", self.name);
        let done = Command::new("nsenter").args([&*netns, program]).args(arguments).output()?;
        ensure!(done.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
        Ok(String::from_utf8(done.stdout)?)
    }

    /// What there is of Pods: links, ports of Open vSwitch, files.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub fn left(&self) -> Result<Vec<String>> {
        let links = self.run("ip", &["-o", "link", "show", "type", "veth"])?;
        let links = links.lines().filter(|line| line.contains(": im"));
        let db = format!("--db=unix:{}", self.ovsdb.display());
        let find =
            ["--timeout=10", "--bare", "--columns=name", "find", "Interface", "external_ids:isthmus=pod"];
        let ports = self.run("ovs-vsctl", &[&[&*db][..], &find].concat())?;
        let files = std::fs::read_dir(self.folder.join("attachments"))?;
        let files: Vec<String> =
            files.map(|e| Ok(e?.file_name().to_string_lossy().into_owned())).collect::<Result<_>>()?;
        let lines = links.chain(ports.split_whitespace()).map(String::from);
        Ok(lines.chain(files).collect())
    }

    /// Whether it has an attachment of this Pod.
    ///
    /// # Errors
    /// Its files cannot be read.
    pub fn has(&self, pod: &str) -> Result<bool> {
        let quoted = format!("\"name\": \"{pod}\"");
        for entry in std::fs::read_dir(self.folder.join("attachments"))? {
            // one may go meanwhile
            if std::fs::read_to_string(entry?.path()).is_ok_and(|text| text.contains(&quoted)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The end of its agent's log.
    pub fn log(&self) -> String {
        tail(&self.folder.join("agent.log"))
    }
}

/// Waits until something of a whole cluster is.
///
/// # Errors
/// It did not come true.
pub fn comes_true(what: &str, is: impl FnMut() -> Result<bool>) -> Result<()> {
    until_within(LIMIT, BETWEEN, what, is)
}
