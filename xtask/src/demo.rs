//! `cargo xtask demo`: the main job on the lab, narrated, with what to type to see it oneself.

use std::fs::{self, File};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::step::{Step, say};
use crate::workspace::Workspace;
use crate::{lab, plugins};

/// Namespace of the operator, and of the Pods.
const OPERATOR: &str = "isthmus-system";
const PODS: &str = "isthmus-demo";
const COUNT: usize = 20;
/// Where the operator serves its metrics, inside the lab.
const HTTP: &str = "127.0.0.1:9441";

/// Runs the demo from nothing, and leaves the lab running.
pub(crate) fn run(workspace: &Workspace) -> Result<ExitCode> {
    if let Some(reason) = lab::unfit() {
        bail!("the demo runs on the lab, and this machine can't run that: {reason}");
    }
    build(workspace)?;
    plugins::build(workspace)?;
    lab::up(workspace, false)?;
    let demo = Demo { workspace };
    demo.clean()?;
    let mut operator = demo.start_operator()?;
    let shown = demo.show();
    let ended = demo.stop_operator(&mut operator);
    let cleaned = demo.clean();
    shown.and(ended).and(cleaned)?;
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
        let output = shell.output().with_context(|| format!("running {command:?}"))?;
        ensure!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
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

    fn start_operator(&self) -> Result<Child> {
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
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .context("starting isthmus")?;
        println!("    its log: {}", log.display());
        self.until(
            "the operator leads",
            &format!("curl -s http://{HTTP}/metrics | grep isthmus_leading"),
            |a| a.ends_with(" 1"),
        )?;
        Ok(child)
    }

    fn stop_operator(&self, operator: &mut Child) -> Result<()> {
        say("demo", "stopping the operator (SIGTERM): what is in flight ends, the lease is given back");
        self.ask(&format!("kill -TERM {}", operator.id()))?;
        let begun = Instant::now();
        while operator.try_wait().context("waiting for the operator")?.is_none() {
            if begun.elapsed() > Duration::from_secs(20) {
                let _ = operator.kill();
                bail!("the operator did not stop within 20 s");
            }
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
        let ports = "openstack port list --device-owner isthmus:pod -f value -c ID | wc -l";
        self.until("no port is left", ports, |a| a == "0")?;
        say("demo", &format!("no CloudMapping and no port is left {seconds:.1} s later"));
        Ok(())
    }

    /// As before the demo.
    fn clean(&self) -> Result<()> {
        self.ask(&format!("kubectl delete namespace {PODS} --ignore-not-found"))?;
        self.ask("kubectl get crd policymodules.isthmus.dev >/dev/null 2>&1 || exit 0; kubectl patch policymodule pod-port --type merge -p '{\"metadata\":{\"finalizers\":[]}}' >/dev/null 2>&1; kubectl delete policymodule pod-port --ignore-not-found")?;
        self.ask(&format!("kubectl delete configmap -n {OPERATOR} --ignore-not-found -l 'isthmus.dev/policy-module=pod-port'"))?;
        self.ask(&format!(
            "kubectl delete configmap -n {OPERATOR} --ignore-not-found -l 'isthmus.dev/kept-module=pod-port'"
        ))
        .map(drop)
    }
}

fn loaded(version: &str) -> String {
    let condition = "{.status.conditions[?(@.type==\"Loaded\")].status}";
    format!("kubectl get policymodule pod-port -o jsonpath='{condition} {{.status.version}}' # {version}")
}
