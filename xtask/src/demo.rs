//! `cargo xtask demo`: the main job on the lab, narrated, with what to type to see it oneself.

use std::fs::{self, File};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::children::Started;
use crate::step::{Step, say};
use crate::workspace::Workspace;
use crate::{lab, plugins};

/// Namespace of the operator, and of the Pods.
const OPERATOR: &str = "isthmus-system";
const PODS: &str = "isthmus-demo";
const COUNT: usize = 20;
/// Whether our kinds are there.
const HAS_CRDS: &str = "kubectl get crd cloudmappings.isthmus.dev policymodules.isthmus.dev >/dev/null 2>&1";
/// Takes our finalizer off an object of ours, which has no other.
const NO_FINALIZER: &str = r#"--type merge -p '{"metadata":{"finalizers":[]}}'"#;
/// Where the operator serves its metrics, inside the lab.
const HTTP: &str = "127.0.0.1:9441";

/// Runs the demo from nothing, and leaves the lab running.
pub(crate) fn run(workspace: &Workspace) -> Result<ExitCode> {
    if let Some(reason) = lab::unfit() {
        bail!("the demo runs on the lab, and this machine can't run that: {reason}");
    }
    build(workspace)?;
    plugins::build(workspace)?;
    let _lab = lab::reserve("running the demo on it")?;
    lab::up(workspace, false)?;
    let demo = Demo { workspace };
    demo.clean().context("cleaning up what an earlier run left")?;
    let shown = demo.with_operator();
    let cleaned = demo.clean();
    shown.and(cleaned)?;
    say(
        "demo",
        "done. The lab is still up: `cargo xtask lab shell` to look around, `cargo xtask lab down` to stop it",
    );
    Ok(ExitCode::SUCCESS)
}

fn build(workspace: &Workspace) -> Result<()> {
    let reason = "building isthmus (~5 min the first time, on two cores)";
    let step = Step { limit: Duration::from_secs(1800), ..Step::new("isthmus", reason) };
    step.run(workspace, workspace.cargo(["build", "--package", "isthmus", "--locked"]))?
        .ok("the build of isthmus")
        .map(drop)
}

struct Demo<'a> {
    workspace: &'a Workspace,
}

impl Demo<'_> {
    /// A command inside the lab; its output, or its complaint as the error.
    fn ask(&self, command: &str) -> Result<String> {
        let mut shell = lab::inside("bash");
        shell.args(["-o", "pipefail", "-c", command]).current_dir(&self.workspace.root);
        let step = Step { limit: Duration::from_secs(60), ..Step::new("demo", "") };
        Ok(step.run(self.workspace, shell)?.ok(command)?.stdout)
    }

    /// Shows what to type, and what it answers.
    fn type_and_see(&self, command: &str) -> Result<String> {
        println!("    $ {command}");
        let answer = self.ask(command)?;
        answer.lines().take(8).for_each(|line| println!("    {line}"));
        if answer.lines().count() > 8 {
            println!("    ... {} lines in all", answer.lines().count());
        }
        Ok(answer)
    }

    /// Asks until the answer is as wanted.
    fn until(&self, what: &str, command: &str, wanted: impl Fn(&str) -> bool) -> Result<f64> {
        let begun = Instant::now();
        loop {
            let answer = self.ask(command).unwrap_or_default();
            if wanted(answer.trim()) {
                return Ok(begun.elapsed().as_secs_f64());
            }
            ensure!(
                begun.elapsed() < Duration::from_secs(90),
                "{what}: not within 90 s; last seen: {}",
                answer.trim()
            );
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    fn isthmus(&self) -> String {
        self.workspace.target.join("debug/isthmus").display().to_string()
    }

    /// The demo itself. The operator ends with it, however that ends.
    fn with_operator(&self) -> Result<()> {
        let mut operator = self.start_operator()?;
        let shown = self.show();
        let stopped = self.stop_operator(&mut operator);
        shown.and(stopped)
    }

    fn start_operator(&self) -> Result<Started> {
        let isthmus = self.isthmus();
        say("demo", "installing the custom resources");
        self.type_and_see(&format!("{isthmus} crds | kubectl apply --server-side --force-conflicts -f -"))?;
        self.ask(&format!(
            "kubectl create namespace {OPERATOR} --dry-run=client -o yaml | kubectl apply -f -"
        ))?;
        say("demo", "starting the operator");
        let log = self.workspace.target.join("demo-operator.log");
        let file = File::create(&log).with_context(|| format!("making {}", log.display()))?;
        let mut command: Command = lab::inside(&isthmus);
        command.args(["operator", "--http", HTTP, "--operator-namespace", OPERATOR, "--lease-seconds", "20"]);
        let operator = Started::spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file))?;
        println!("    its log: {}", log.display());
        self.until(
            "the operator leads",
            &format!("curl -s http://{HTTP}/metrics | grep isthmus_leading"),
            |a| a.ends_with(" 1"),
        )?;
        Ok(operator)
    }

    fn stop_operator(&self, operator: &mut Started) -> Result<()> {
        say("demo", "stopping the operator (SIGTERM): what is in flight ends, the lease is given back");
        operator.terminate()?;
        let begun = Instant::now();
        while operator.ended()?.is_none() {
            ensure!(begun.elapsed() < Duration::from_secs(20), "the operator did not stop within 20 s");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn show(&self) -> Result<()> {
        self.load()?;
        self.map()?;
        self.swap()?;
        self.delete()
    }

    fn load(&self) -> Result<()> {
        say("demo", "loading the module pod-port from a ConfigMap, with the network that Pods shall be on");
        let manifest = self.workspace.target.join("demo-policymodule.yaml");
        let text = format!(
            "apiVersion: isthmus.dev/v1alpha1\nkind: PolicyModule\nmetadata: {{name: pod-port}}\nspec:\n  source: {{configMaps: [{{name: pod-port}}]}}\n  config: {}\n",
            r#"{network: pods, subnets: [pods-v4], securityGroups: [pods]}"#
        );
        fs::write(&manifest, &text).with_context(|| format!("writing {}", manifest.display()))?;
        text.lines().for_each(|line| println!("    | {line}"));
        self.type_and_see(&format!("kubectl apply -f {}", manifest.display()))?;
        let module = self.workspace.modules().join("pod-port.wasm");
        self.type_and_see(&format!("{} module load {}", self.isthmus(), module.display()))?;
        self.until("pod-port is loaded", &loaded("0.1.0"), |a| a == "True 0.1.0")?;
        self.type_and_see("kubectl get policymodules").map(drop)
    }

    fn map(&self) -> Result<()> {
        say("demo", &format!("{COUNT} Pods bound to a node"));
        self.ask("kubectl get node node1 || printf 'apiVersion: v1\\nkind: Node\\nmetadata: {name: node1}' | kubectl create -f -")?;
        self.ask(&format!("kubectl create namespace {PODS}"))?;
        self.until(
            "the namespace's service account",
            &format!("kubectl get serviceaccount -n {PODS} default -o name"),
            |a| !a.is_empty(),
        )?;
        let pods = self.workspace.target.join("demo-pods.yaml");
        let pod = |n| {
            format!(
                "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: web-{n}, namespace: {PODS}}}\nspec: {{nodeName: node1, containers: [{{name: web, image: \"localhost/busybox:1\"}}]}}\n"
            )
        };
        fs::write(&pods, (1..=COUNT).map(pod).collect::<String>())
            .with_context(|| format!("writing {}", pods.display()))?;
        self.ask(&format!("kubectl create -f {}", pods.display()))?;
        let ready =
            format!("kubectl get cloudmappings -n {PODS} --no-headers 2>/dev/null | grep -c ' True '");
        let seconds = self.until("all Pods are mapped", &ready, |a| a == COUNT.to_string())?;
        say("demo", &format!("all mapped {seconds:.1} s later; each has an address:"));
        self.type_and_see(&format!("kubectl get cloudmappings -n {PODS}"))?;
        say("demo", "the ports are in Neutron:");
        self.type_and_see(
            "openstack port list --device-owner isthmus:pod -c Name -c 'Fixed IP Addresses' -f value",
        )?;
        say("demo", "what one Pod became:");
        self.type_and_see(&format!("{} tree pod/web-1 -n {PODS}", self.isthmus())).map(drop)
    }

    fn swap(&self) -> Result<()> {
        say("demo", "another build of the module, which adds a tag, into the same ConfigMap");
        let next = self.workspace.modules().join("pod-port-next.wasm");
        let before = self.pids_and_writes()?;
        self.type_and_see(&format!("{} module load {} --name pod-port", self.isthmus(), next.display()))?;
        self.until("the next version is loaded", &loaded("0.2.0"), |a| a == "True 0.2.0")?;
        let tagged = "openstack port list --tags release=next -f value -c ID | wc -l";
        let seconds = self.until("all ports have the tag", tagged, |a| a == COUNT.to_string())?;
        let after = self.pids_and_writes()?;
        say(
            "demo",
            &format!(
                "all {COUNT} ports carry it {seconds:.1} s later: {} writes to Neutron for it, the same operator process",
                after - before
            ),
        );
        ensure!(after - before == COUNT, "expected one write a port, {} were made", after - before);
        self.type_and_see("kubectl get policymodules").map(drop)
    }

    /// Writes to Neutron so far.
    fn pids_and_writes(&self) -> Result<usize> {
        let sum = "awk '/requests_total.*service=\"network\",method=\"(POST|PUT|DELETE)\"/ {n += $2} END {print n + 0}'";
        let text = self.ask(&format!("curl -s http://{HTTP}/metrics | {sum}"))?;
        text.trim().parse().with_context(|| format!("counting writes in {text:?}"))
    }

    fn delete(&self) -> Result<()> {
        say("demo", "the Pods are deleted");
        self.type_and_see(&format!(
            "kubectl delete pods -n {PODS} --all --force --grace-period=0 2>/dev/null | wc -l"
        ))?;
        let left = format!("kubectl get cloudmappings -n {PODS} -o name | wc -l");
        let seconds = self.until("no CloudMapping is left", &left, |a| a == "0")?;
        let begun = Instant::now();
        while !self.ports()?.is_empty() {
            ensure!(begun.elapsed() < Duration::from_secs(30), "ports are left 30 s later");
        }
        say("demo", &format!("no CloudMapping and no port is left {seconds:.1} s later"));
        Ok(())
    }

    /// The ids of the ports that were made for the demo's Pods: they carry our mark, and their names begin so.
    fn ports(&self) -> Result<Vec<String>> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Port {
            #[serde(rename = "ID")]
            id: String,
            name: String,
            tags: Vec<String>,
        }
        let answer = self.ask("openstack port list --device-owner isthmus:pod --long -f json")?;
        let ports: Vec<Port> = serde_json::from_str(&answer).context("reading the list of ports")?;
        let ours = |port: &Port| {
            port.name.starts_with(&format!("pod/{PODS}/"))
                && port.tags.iter().any(|tag| tag.starts_with("isthmus:cluster="))
        };
        Ok(ports.into_iter().filter(ours).map(|port| port.id).collect())
    }

    /// As before the demo, however far an earlier run came. No operator runs meanwhile: what one would do for the Pods is done
    /// here, first in the cloud and then in Kubernetes, so that whatever ends this in between can be done again.
    fn clean(&self) -> Result<()> {
        for id in self.ports()? {
            self.ask(&format!("openstack port delete {id}"))?;
        }
        // No kubelet ends the Pods.
        self.ask(&format!("kubectl delete pods -n {PODS} --all --force --grace-period=0 --wait=false"))?;
        self.ask(&format!("kubectl delete namespace {PODS} --ignore-not-found --wait=false"))?;
        self.until(&format!("namespace {PODS} is gone"), &let_go(), |a| a == ".")?;
        self.ask(&format!(
            "if {HAS_CRDS}; then kubectl get policymodules.isthmus.dev pod-port -o name --ignore-not-found | xargs -r -n 1 kubectl patch {NO_FINALIZER}
             kubectl delete policymodules.isthmus.dev pod-port --ignore-not-found --wait=false; fi"
        ))?;
        for label in ["isthmus.dev/policy-module", "isthmus.dev/kept-module"] {
            self.ask(&format!(
                "kubectl delete configmap -n {OPERATOR} --ignore-not-found -l {label}=pod-port"
            ))?;
        }
        Ok(())
    }
}

/// Lets go of all CloudMappings, of which there may be more each time, and answers `.` alone once their namespace is gone: nothing
/// is no answer, as where the API server is away.
fn let_go() -> String {
    let mappings = format!("-n {PODS} cloudmappings.isthmus.dev -o name --ignore-not-found");
    format!(
        "if {HAS_CRDS}; then kubectl get {mappings} | xargs -r -n 1 kubectl patch -n {PODS} {NO_FINALIZER}; fi >/dev/null
         kubectl get namespace {PODS} -o name --ignore-not-found && echo ."
    )
}

fn loaded(version: &str) -> String {
    let condition = "{.status.conditions[?(@.type==\"Loaded\")].status}";
    format!("kubectl get policymodule pod-port -o jsonpath='{condition} {{.status.version}}' # {version}")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use super::let_go;

    /// Two CloudMappings, and what the API server says of the namespace.
    const KUBECTL: &str = r#"#!/bin/sh
case "$*" in
"get crd "*) ;;
"get -n isthmus-demo cloudmappings"*) printf 'cloudmapping.isthmus.dev/a\ncloudmapping.isthmus.dev/b\n' ;;
"get namespace "*) eval "$NAMESPACE" ;;
*) echo "$*" >>"$0.log" ;;
esac
"#;

    #[test]
    fn finalizers_come_off_and_only_an_answer_counts_as_gone() {
        let folder = std::env::temp_dir().join(format!("xtask-demo-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let kubectl = folder.join("kubectl");
        fs::write(&kubectl, KUBECTL).unwrap();
        fs::set_permissions(&kubectl, fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
        let table =
            [("echo namespace/isthmus-demo", "namespace/isthmus-demo\n."), ("exit 1", ""), ("exit 0", ".")];
        for (namespace, answer) in table {
            let mut shell = Command::new("bash");
            shell.args(["-o", "pipefail", "-c", &let_go()]).env("PATH", &path).env("NAMESPACE", namespace);
            let output = shell.output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), answer, "{namespace}");
        }
        let calls = fs::read_to_string(folder.join("kubectl.log")).unwrap();
        let patch = r#"patch -n isthmus-demo --type merge -p {"metadata":{"finalizers":[]}} cloudmapping.isthmus.dev/"#;
        assert_eq!(calls, format!("{patch}a\n{patch}b\n").repeat(3));
        fs::remove_dir_all(&folder).unwrap();
    }
}
