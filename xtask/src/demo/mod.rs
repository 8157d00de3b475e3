//! `cargo xtask demo`: the main job, narrated, with what to type to see it oneself; in one process (`isthmus dev`), or on the lab.

mod clean;
mod made;
mod real_pods;
mod stage;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use self::stage::Stage;
use crate::lab::{self, Lab};
use crate::plugins;
use crate::step::{Step, say};
use crate::workspace::Workspace;

/// Namespace of the operator, and of the Pods.
const OPERATOR: &str = "isthmus-system";
const PODS: &str = "isthmus-demo";
const COUNT: usize = 20;
/// Label of the PolicyModules that the demo makes.
const DEMO: &str = "isthmus.dev/demo: module";
/// Of the operator's metrics: writes to Neutron, and how many reconciles and requests are under way.
const WORK: &str = r#"awk '/requests_total.*service="network",method="(POST|PUT|DELETE)"/ {n += $2} /^isthmus_(reconciles|openstack)_in_flight/ {w += $2} END {print n + 0, w + 0}'"#;
/// What runs: `isthmus node` becomes `isthmus-node`, which puts `isthmus-cni` in place.
const PROGRAMS: [&str; 3] = ["isthmus", "isthmus-node", "isthmus-cni"];

/// Runs the demo from nothing. On the lab, that is left running.
pub(crate) fn run(workspace: &Workspace, on_lab: bool) -> Result<ExitCode> {
    build(workspace)?;
    plugins::build(workspace)?;
    match on_lab {
        true => run_on_lab(workspace),
        false => {
            in_one_process(workspace)?;
            say(
                "demo",
                "done. `isthmus dev` gives you the same to play with; `cargo xtask demo --lab` shows it on real services",
            );
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The demo in one process, of what is built.
pub(crate) fn in_one_process(workspace: &Workspace) -> Result<()> {
    let clients = clients(workspace)?;
    let mut stage = Stage::dev(workspace, &clients)?;
    let shown = Demo { workspace, stage: &stage }.show();
    let stopped = stage.stop();
    shown.and(stopped)
}

fn run_on_lab(workspace: &Workspace) -> Result<ExitCode> {
    if let Some(reason) = lab::unfit() {
        bail!("this machine can't run the lab: {reason}");
    }
    let lab = Lab::chosen();
    let _reserved = lab.reserve("running the demo on it")?;
    lab.up(workspace, true)?;
    on_lab(workspace, &lab)?;
    say(
        "demo",
        "done. The lab is still up: `cargo xtask lab shell` to look around, `cargo xtask lab down` to stop it",
    );
    Ok(ExitCode::SUCCESS)
}

/// The demo on a lab that is up and ours, of what is built.
pub(crate) fn on_lab(workspace: &Workspace, lab: &Lab) -> Result<()> {
    let mut stage = Stage::lab(lab);
    let demo = Demo { workspace, stage: &stage };
    demo.clean().context("cleaning up what an earlier run left")?;
    say("demo", "installing the custom resources");
    demo.type_and_see(&format!(
        "{} crds | kubectl apply --server-side --force-conflicts -f -",
        demo.isthmus()
    ))?;
    demo.ask(&format!("kubectl create namespace {OPERATOR} --dry-run=client -o yaml | kubectl apply -f -"))?;
    say("demo", "starting the operator");
    stage.start_operator(workspace)?;
    let demo = Demo { workspace, stage: &stage };
    let shown = demo.show().and_then(|()| demo.real_pods(lab));
    let stopped = stage.stop();
    let cleaned = Demo { workspace, stage: &stage }.clean();
    shown.and(stopped).and(cleaned)
}

fn build(workspace: &Workspace) -> Result<()> {
    let reason = "building isthmus (~5 min the first time, on two cores)";
    let step = Step { limit: Duration::from_secs(1800), ..Step::new("isthmus", reason) };
    let mut cargo = workspace.cargo(["build", "--workspace", "--locked"]);
    cargo.args(PROGRAMS.into_iter().flat_map(|name| ["--bin", name]));
    step.run(workspace, cargo)?.ok("the build of isthmus").map(drop)
}

/// Folders of kubectl and the openstack client, for PATH.
pub(crate) fn clients(workspace: &Workspace) -> Result<String> {
    let mut script = Command::new("bash");
    script.arg("tests/lab/clients.sh").current_dir(&workspace.root);
    let step = Step {
        limit: Duration::from_secs(900),
        ..Step::new("clients", "finding kubectl and the openstack client")
    };
    let folders = step.run(workspace, script)?.ok("tests/lab/clients.sh")?.stdout;
    Ok(folders.lines().collect::<Vec<_>>().join(":"))
}

struct Demo<'a> {
    workspace: &'a Workspace,
    stage: &'a Stage<'a>,
}

impl Demo<'_> {
    /// A command on the stage; its output, or its complaint as the error.
    fn ask(&self, command: &str) -> Result<String> {
        let mut shell = self.stage.inside("bash");
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

    /// Where it keeps a file. There may be one in one process beside one on the lab.
    fn file(&self, name: &str) -> PathBuf {
        self.workspace.target.join(format!("demo-{}-{name}", self.stage.name()))
    }

    fn isthmus(&self) -> String {
        self.workspace.target.join("debug/isthmus").display().to_string()
    }

    fn show(&self) -> Result<()> {
        self.load()?;
        self.map()?;
        self.route()?;
        self.swap()?;
        self.delete()
    }

    fn load(&self) -> Result<()> {
        say("demo", "loading the module pod-port from a ConfigMap, with the network that Pods shall be on");
        let manifest = self.file("policymodule.yaml");
        let text = format!(
            "apiVersion: isthmus.dev/v1alpha1\nkind: PolicyModule\nmetadata: {{name: pod-port, labels: {{{DEMO}}}}}\nspec:\n  source: {{configMaps: [{{name: pod-port}}]}}\n  config: {}\n",
            r#"{network: pods, subnets: [pods-v4], securityGroups: [pods]}"#
        );
        fs::write(&manifest, &text).with_context(|| format!("writing {}", manifest.display()))?;
        text.lines().for_each(|line| println!("    | {line}"));
        self.type_and_see(&format!("kubectl apply -f {}", manifest.display()))?;
        self.load_module("pod-port", "pod-port")?;
        self.until("pod-port is loaded", &loaded("0.1.0"), |a| a == "True 0.1.0")?;
        self.type_and_see("kubectl get policymodules").map(drop)
    }

    /// Loads a module that was built, under a name.
    fn load_module(&self, file: &str, name: &str) -> Result<()> {
        let module = self.workspace.modules().join(format!("{file}.wasm"));
        self.type_and_see(&format!("{} module load {} --name {name}", self.isthmus(), module.display()))
            .map(drop)
    }

    fn apply(&self, name: &str, manifest: &str) -> Result<()> {
        let file = self.file(&format!("{name}.yaml"));
        fs::write(&file, manifest).with_context(|| format!("writing {}", file.display()))?;
        manifest.lines().for_each(|line| println!("    | {line}"));
        self.type_and_see(&format!("kubectl apply -f {}", file.display())).map(drop)
    }

    /// A Route: a load balancer that all Routes share, a pool and an L7 policy.
    fn route(&self) -> Result<()> {
        say(
            "demo",
            "a second module, for OpenShift's Routes: pools and L7 policies on one load balancer that all share",
        );
        let definition = self.workspace.root.join("plugins/route-l7policy/deploy/crd.yaml");
        self.ask(&format!("kubectl apply -f {}", definition.display()))?;
        let config = format!("{{network: pods, subnets: [pods-v4], provider: {}}}", self.stage.provider());
        self.apply("routes", &format!(
            "apiVersion: isthmus.dev/v1alpha1\nkind: PolicyModule\nmetadata: {{name: route-l7policy, labels: {{{DEMO}}}}}\nspec:\n  source: {{configMaps: [{{name: route-l7policy}}]}}\n  config: {config}\n"
        ))?;
        self.load_module("route-l7policy", "route-l7policy")?;
        self.apply("route", &format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: {PODS}}}\nspec: {{selector: {{app: web}}, ports: [{{port: 80, targetPort: 8080}}]}}\n---\napiVersion: route.openshift.io/v1\nkind: Route\nmetadata: {{name: web, namespace: {PODS}}}\nspec: {{host: shop.example.com, path: /cart, to: {{kind: Service, name: web, weight: 100}}}}\n"
        ))?;
        let admitted = format!(
            "kubectl get route web -n {PODS} -o jsonpath='{{.status.ingress[0].conditions[?(@.type==\"Admitted\")].status}}'"
        );
        let seconds = self.until("the Route is admitted", &admitted, |a| a == "True")?;
        say("demo", &format!("admitted {seconds:.1} s later; what it became, and the load balancer:"));
        self.type_and_see(&format!("{} tree route/web -n {PODS}", self.isthmus()))?;
        self.type_and_see(
            "openstack loadbalancer list -c name -c vip_address -c provisioning_status -f value",
        )?;
        say("demo", "the Route is deleted");
        self.ask(&format!("kubectl delete route,service web -n {PODS}"))?;
        let left = "openstack loadbalancer l7policy list -f value -c id | wc -l";
        self.until("no L7 policy is left", left, |a| a == "0").map(drop)
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
        let pods = self.file("pods.yaml");
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
        let recorded = self.recorded()?;
        let distinct: BTreeSet<&String> = recorded.values().flatten().collect();
        ensure!(distinct.len() == COUNT, "{COUNT} Pods have {} addresses: {recorded:?}", distinct.len());
        say("demo", "the ports are in Neutron, as its own client says:");
        self.type_and_see(
            "openstack port list --device-owner isthmus:pod -c Name -c 'Fixed IP Addresses' -f value",
        )?;
        let there = self.addresses()?;
        ensure!(there == recorded, "the CloudMappings say {recorded:?}, and Neutron has {there:?}");
        say("demo", &format!("{COUNT} ports, each with the address that its Pod's CloudMapping says"));
        say("demo", "what one Pod became:");
        self.type_and_see(&format!("{} tree pod/web-1 -n {PODS}", self.isthmus())).map(drop)
    }

    fn swap(&self) -> Result<()> {
        say("demo", "another build of the module, which adds a tag, into the same ConfigMap");
        let (process, before) = (self.stage.pid()?, self.settled_writes()?);
        self.load_module("pod-port-next", "pod-port")?;
        self.until("the next version is loaded", &loaded("0.2.0"), |a| a == "True 0.2.0")?;
        let tagged = "openstack port list --tags release=next -f value -c ID | wc -l";
        let seconds = self.until("all ports have the tag", tagged, |a| a == COUNT.to_string())?;
        let after = self.settled_writes()?;
        ensure!(self.stage.pid()? == process, "the operator is another process now");
        say(
            "demo",
            &format!(
                "all {COUNT} ports carry it {seconds:.1} s later: {} writes to Neutron for it, the same operator process, {process}",
                after - before
            ),
        );
        ensure!(after - before == COUNT, "expected one write a port, {} were made", after - before);
        self.type_and_see("kubectl get policymodules").map(drop)
    }

    /// Writes to Neutron so far, once nothing is under way: one whose answer is late is one too.
    fn settled_writes(&self) -> Result<usize> {
        let command = format!("curl -s {} | {WORK}", self.stage.metrics());
        let work = || read_work(&self.ask(&command)?);
        settled(work, Duration::from_secs(1))
    }

    fn delete(&self) -> Result<()> {
        say("demo", "the Pods are deleted");
        self.type_and_see(&format!(
            "kubectl delete pods -n {PODS} --all --force --grace-period=0 2>/dev/null | wc -l"
        ))?;
        let left = format!("kubectl get cloudmappings -n {PODS} -o name | wc -l");
        let seconds = self.until("no CloudMapping is left", &left, |a| a == "0")?;
        let begun = Instant::now();
        // The load balancer is of its PolicyModule, and stays until that goes.
        while self.ports()?.len() > usize::from(!self.balancers()?.is_empty()) {
            ensure!(begun.elapsed() < Duration::from_secs(30), "ports are left 30 s later");
        }
        say("demo", &format!("no CloudMapping and no port is left {seconds:.1} s later"));
        Ok(())
    }
}

/// Writes to Neutron so far, and how many reconciles and requests are under way.
fn read_work(text: &str) -> Result<(usize, usize)> {
    let parsed = text.trim().split_once(' ').map(|(writes, under_way)| (writes.parse(), under_way.parse()));
    match parsed {
        Some((Ok(writes), Ok(under_way))) => Ok((writes, under_way)),
        _ => bail!("counting writes in {text:?}"),
    }
}

/// The writes, once nothing is under way and none came in a pause.
fn settled(mut work: impl FnMut() -> Result<(usize, usize)>, pause: Duration) -> Result<usize> {
    let begun = Instant::now();
    let mut before = work()?;
    loop {
        std::thread::sleep(pause);
        let now = work()?;
        if now == before && now.1 == 0 {
            return Ok(now.0);
        }
        ensure!(
            begun.elapsed() < Duration::from_secs(60),
            "the operator is at work for a minute: {} writes, {} under way",
            now.0,
            now.1
        );
        before = now;
    }
}

fn loaded(version: &str) -> String {
    let condition = "{.status.conditions[?(@.type==\"Loaded\")].status}";
    format!("kubectl get policymodule pod-port -o jsonpath='{condition} {{.status.version}}' # {version}")
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use super::{PROGRAMS, WORK, read_work, settled};

    /// A request may take longer than the pause.
    #[test]
    fn writes_are_counted_once_nothing_is_under_way() {
        let mut answers = [(19, 1), (19, 1), (20, 0), (20, 0), (21, 0)].into_iter();
        let work = || Ok(answers.next().unwrap());
        assert_eq!(settled(work, Duration::ZERO).unwrap(), 20);
    }

    #[test]
    fn work_is_read_from_the_metrics() {
        let metrics = r#"isthmus_openstack_requests_total{service="network",method="PUT",code="200"} 3
isthmus_openstack_requests_total{service="network",method="GET",code="200"} 50
isthmus_openstack_requests_total{service="load-balancer",method="POST",code="201"} 7
isthmus_openstack_in_flight{service="network"} 2
isthmus_reconciles_in_flight 1
"#;
        let mut shell = Command::new("bash");
        shell.args(["-c", &format!("printf '%s' \"$METRICS\" | {WORK}")]).env("METRICS", metrics);
        let said = String::from_utf8(shell.output().unwrap().stdout).unwrap();
        assert_eq!(read_work(&said).unwrap(), (3, 3));
        assert!(read_work("").is_err());
    }

    /// One that starts another is built with it: in a fresh clone there is nothing else.
    #[test]
    fn all_programs_of_a_node_are_built() {
        let manifest =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../host/cli/Cargo.toml"));
        let manifest = manifest.unwrap();
        let names = manifest.split("[[bin]]").skip(1).map(|bin| bin.split('"').nth(1).unwrap());
        let missing: Vec<_> = names.chain(["isthmus-cni"]).filter(|name| !PROGRAMS.contains(name)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
