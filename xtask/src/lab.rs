//! The labs: etcd, kube-apiserver, controller-manager, scheduler, Keystone, Neutron with OVN and one chassis, and where asked for
//! Octavia, Barbican and nodes that run Pods, all for real, in network namespaces of their own; one, or several side by side. The
//! scripts of `tests/lab` do the work; this starts them in order and side by side, and tells what runs.
mod status;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, thread};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::{Subcommand, ValueEnum};

use crate::step::{Step, say};
use crate::workspace::Workspace;

pub(crate) use status::started;

/// A second lab, beside the first one: what its namespaces, folders and nodes are called after.
const NAME: &str = "ISTHMUS_LAB_NAME";

/// Held by who installs something.
const PREPARE: &str = "/run/isthmus-lab-prepare.lock";

/// One of the labs of this machine; `tests/lab/lib.sh` calls its things as this does.
pub(crate) struct Lab {
    /// Empty for the first one.
    name: String,
}

#[derive(Subcommand)]
pub(crate) enum LabTask {
    /// Start the lab, or what is missing of it; quick on one that runs
    ///
    /// The first time it installs Debian packages, builds Kubernetes from its Go modules (~7 min) and installs
    /// OpenStack from PyPI (~1 min). All of that is kept in ~/.cache/isthmus-lab, named by what it was made from.
    Up {
        /// Start Octavia too (~6 s more, 0.7 GB), and Barbican for the certificates of its listeners
        ///
        /// Providers: `ovn`; `amphora`, real amphorae in namespaces (10 s and 0.2 GB a load balancer); `noop`, which shows
        /// everything in the API in half a second and forwards nothing.
        #[arg(long)]
        octavia: bool,
    },
    /// Stop the lab and throw its state away (not what was built)
    Down,
    /// Show each part: whether it runs, its pid, uptime and address; exits 1 unless all run
    Status {
        /// Form of the answer
        #[arg(long, short, value_enum, default_value_t)]
        output: Output,
    },
    /// Open a shell inside the lab: kubectl, openstack and pod work there as they are
    ///
    /// `pod up NAME PORT` makes a namespace on a Neutron port, with or without a web server in it (`pod` says more).
    /// OS_CLOUD is `isthmus`, the operator's own user; `demo` (a plain member of the same project) and `admin` are
    /// in clouds.yaml too.
    Shell {
        /// A command to run in place of the shell
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Stop one part; its data stays
    Stop {
        /// Which part
        part: Part,
        /// Kill it at once, as a crash would, in place of asking it to end
        #[arg(long)]
        kill: bool,
    },
    /// Start one part again and wait until it answers
    Start {
        /// Which part
        part: Part,
    },
}

/// A part that can be stopped and started by itself.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Part {
    Etcd,
    Apiserver,
    Controllers,
    Scheduler,
    Mariadb,
    Keystone,
    Neutron,
    /// Its API and worker; amphorae forward traffic without them
    Octavia,
    Barbican,
    /// Two nodes that run Pods: a chassis each with a containerd and a kubelet. `lab up` starts none, and `lab stop` leaves
    /// nothing of them
    Nodes,
}

#[derive(Clone, Copy, Default, ValueEnum)]
pub(crate) enum Output {
    #[default]
    Table,
    Json,
}

pub(crate) fn run(workspace: &Workspace, task: LabTask) -> Result<ExitCode> {
    if let Some(reason) = unfit() {
        bail!("the lab cannot run here: {reason}");
    }
    let lab = Lab::chosen();
    match task {
        LabTask::Up { octavia } => lab.up(workspace, octavia)?,
        LabTask::Down => {
            // Not from under a run.
            let _reserved = lab.reserve("stopping the lab")?;
            lab.down(workspace)?;
        }
        LabTask::Status { output } => return status::show(&lab.state(), output),
        LabTask::Shell { command } => return lab.shell(&command),
        LabTask::Stop { part, kill } => lab.change(workspace, if kill { "kill" } else { "stop" }, part)?,
        LabTask::Start { part } => lab.change(workspace, "start", part)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Why network namespaces cannot be made, if they cannot.
pub(crate) fn no_namespaces() -> Option<String> {
    // field 2 of "Uid:" is the effective uid
    let root = fs::read_to_string("/proc/self/status")
        .is_ok_and(|s| s.lines().any(|l| l.starts_with("Uid:") && l.split_whitespace().nth(2) == Some("0")));
    if !root {
        return Some(
            "it needs root (network namespaces); try: sudo -E env PATH=\"$PATH\" cargo xtask ...".into(),
        );
    }
    (!Path::new("/proc/self/ns/net").exists()).then(|| "the kernel has no network namespaces".into())
}

/// Why the lab cannot run on this machine, if it cannot.
pub(crate) fn unfit() -> Option<String> {
    let unfit = no_namespaces();
    if unfit.is_some() {
        return unfit;
    }
    let missing: Vec<_> = ["apt-get", "go", "python3.11"].into_iter().filter(|p| !in_path(p)).collect();
    (!missing.is_empty()).then(|| format!("not found in PATH: {}", missing.join(", ")))
}

fn in_path(program: &str) -> bool {
    env::var_os("PATH")
        .is_some_and(|path| env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

impl Lab {
    /// The one that the environment names.
    pub(crate) fn chosen() -> Self {
        Self { name: env::var(NAME).unwrap_or_default() }
    }

    /// It, and others beside it, `count` in all.
    pub(crate) fn and_beside(self, count: u8) -> Vec<Self> {
        let beside =
            (2..=count).map(|number| Self { name: format!("{}{number}", self.name) }).collect::<Vec<_>>();
        std::iter::once(self).chain(beside).collect()
    }

    /// The network namespace that everything listens in.
    fn netns(&self) -> String {
        if self.name.is_empty() { "isthmus-lab".to_owned() } else { format!("isthmus-lab-{}", self.name) }
    }

    /// The host of its first chassis (`NODES` in `tests/lab/lib.sh`).
    pub(crate) fn node(&self) -> String {
        if self.name.is_empty() { "node1".to_owned() } else { format!("{}-node1", self.name) }
    }

    /// Pid files, logs, keys, kubeconfig and clouds.yaml of a running lab.
    pub(crate) fn state(&self) -> PathBuf {
        Path::new("/run").join(self.netns())
    }

    /// Whether anything of it runs.
    pub(crate) fn is_running(&self) -> bool {
        status::parts(&self.state()).is_ok_and(|parts| parts.iter().any(|p| p.running))
    }

    /// Starts what does not run yet and waits until all of it answers.
    pub(crate) fn up(&self, workspace: &Workspace, octavia: bool) -> Result<()> {
        self.prepare(workspace, octavia)?;
        self.start(workspace, octavia)
    }

    /// Installs some of the packages that a lab has.
    pub(crate) fn install(workspace: &Workspace, packages: &[&str]) -> Result<()> {
        let _lock = locked(Path::new(PREPARE), "installing packages")?;
        let arguments = [&["--only"][..], packages].concat();
        Self::chosen().script(workspace, "packages", "packages.sh", &arguments)
    }

    /// Installs and builds what any lab of this machine needs.
    pub(crate) fn prepare(&self, workspace: &Workspace, octavia: bool) -> Result<()> {
        let _lock = locked(Path::new(PREPARE), "installing what a lab needs")?;
        let packages: &[&str] = if octavia { &["haproxy"] } else { &[] };
        self.script(workspace, "lab", "packages.sh", packages)?;
        thread::scope(|scope| {
            let kubernetes = scope.spawn(|| self.script(workspace, "kubernetes", "kubernetes/build.sh", &[]));
            self.script(workspace, "openstack", "openstack/install.sh", &[])?;
            self.script(workspace, "lab", "libcni.sh", &[])?;
            kubernetes.join().map_err(|_panic| anyhow!("the thread that builds Kubernetes panicked"))?
        })
    }

    /// Starts what does not run yet of what is installed.
    pub(crate) fn start(&self, workspace: &Workspace, octavia: bool) -> Result<()> {
        let _lock = self.lock()?;
        let options: &[&str] = if octavia { &["octavia"] } else { &[] };
        self.script(workspace, "lab", "netns.sh", &[])?;
        thread::scope(|scope| {
            let kubernetes =
                scope.spawn(|| self.script_inside(workspace, "kubernetes", "kubernetes/up.sh", &[]));
            let openstack = self.script_inside(workspace, "openstack", "openstack/up.sh", options);
            kubernetes.join().map_err(|_panic| anyhow!("the thread that starts Kubernetes panicked"))??;
            openstack
        })?;
        let shell = if self.name.is_empty() { String::new() } else { format!("{NAME}={} ", self.name) };
        let hint = format!(
            "`{shell}cargo xtask lab shell` opens a shell in it, `{shell}cargo xtask lab status` shows its parts"
        );
        say("lab", &format!("up; {hint}"));
        Ok(())
    }

    /// Stops all of it. Fine when nothing runs.
    pub(crate) fn down(&self, workspace: &Workspace) -> Result<()> {
        let _lock = self.lock()?;
        say("lab", "stopping every part (~3 s)");
        self.script(workspace, "lab", "down.sh", &[])?;
        say("lab", "down");
        Ok(())
    }

    /// A command inside the lab's namespace with the environment that clients need.
    pub(crate) fn inside(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        // not `ip netns exec`: it remounts /sys and hides the cgroups
        command.arg(format!("--net=/run/netns/{}", self.netns())).arg("--").arg(program);
        let (state, path) = (self.state(), env::var("PATH").unwrap_or_default());
        command
            .env("KUBECONFIG", state.join("admin.conf"))
            .env("OS_CLIENT_CONFIG_FILE", state.join("clouds.yaml"))
            .env("OS_CLOUD", "isthmus")
            .env(NAME, &self.name)
            .env("PATH", format!("{}/bin:{path}", state.display()));
        command
    }

    /// Held while the lab is changed: two `lab up` at once would start every part twice.
    fn lock(&self) -> Result<File> {
        locked(&self.state().with_extension("lock"), "starting or stopping it")
    }

    /// Waits until no other run uses the lab: two at once would take each other's parts, modules and ports away.
    pub(crate) fn reserve(&self, purpose: &str) -> Result<Reserved> {
        let lock = locked(Path::new(&format!("{}-in-use.lock", self.state().display())), purpose)?;
        Ok(Reserved { _lock: lock, lab: Self { name: self.name.clone() }, was_running: self.is_running() })
    }

    fn script(&self, workspace: &Workspace, name: &str, path: &str, arguments: &[&str]) -> Result<()> {
        self.bash(workspace, name, path, arguments, Command::new("bash"))
    }

    fn script_inside(&self, workspace: &Workspace, name: &str, path: &str, arguments: &[&str]) -> Result<()> {
        self.bash(workspace, name, path, arguments, self.inside("bash"))
    }

    fn bash(
        &self,
        workspace: &Workspace,
        name: &str,
        path: &str,
        arguments: &[&str],
        mut bash: Command,
    ) -> Result<()> {
        bash.arg(workspace.root.join("tests/lab").join(path)).args(arguments).env(NAME, &self.name);
        let name = if self.name.is_empty() { name.to_owned() } else { format!("{name} ({})", self.name) };
        Step::script(&name).run(workspace, bash)?.ok(path).map(drop)
    }

    /// Starts or stops a part.
    pub(crate) fn change(&self, workspace: &Workspace, verb: &str, part: Part) -> Result<()> {
        self.runs()?;
        let _lock = self.lock()?;
        let value = part.to_possible_value().context("every part has a name")?;
        let name = value.get_name();
        self.script_inside(workspace, "lab", "part.sh", &[verb, name])?;
        say("lab", &format!("{name}: {verb} done"));
        Ok(())
    }

    fn shell(&self, command: &[String]) -> Result<ExitCode> {
        self.runs()?;
        let mut child = match command.split_first() {
            Some((program, arguments)) => {
                let mut child = self.inside(program);
                child.args(arguments);
                child
            }
            None => {
                println!(
                    "inside the lab: kubectl, openstack and pod are ready (OS_CLOUD=isthmus|demo|admin); leave with exit"
                );
                self.inside(env::var_os("SHELL").unwrap_or_else(|| "bash".into()))
            }
        };
        let status = child.status().context("cannot run nsenter")?;
        // as a shell does: 128 + the signal that ended it
        let code = status.code().or_else(|| status.signal().map(|s| s + 128)).unwrap_or(1);
        Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
    }

    /// Refuses where nothing of it runs.
    fn runs(&self) -> Result<()> {
        ensure!(self.is_running(), "the lab is down; start it with `cargo xtask lab up`");
        Ok(())
    }
}

/// The lab for one run alone, until it is dropped.
pub(crate) struct Reserved {
    _lock: File,
    lab: Lab,
    /// It ran before, and is left so.
    was_running: bool,
}

impl Reserved {
    /// Stops the lab, unless it ran before.
    pub(crate) fn restore(self, workspace: &Workspace) -> Result<()> {
        if self.was_running { Ok(()) } else { self.lab.down(workspace) }
    }
}

/// The file, locked once it is free; it says who has it and what for.
fn locked(path: &Path, purpose: &str) -> Result<File> {
    let mut file = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    if file.try_lock().is_err() {
        let holder = fs::read_to_string(path).unwrap_or_default();
        let holder = if holder.is_empty() { "somebody else uses it" } else { &holder };
        say("lab", &format!("waiting: {holder}"));
        file.lock()?;
    }
    file.set_len(0)?;
    write!(file, "process {} is {purpose}", std::process::id())?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::locked;

    #[test]
    fn a_second_run_waits_for_the_first() {
        let path = std::env::temp_dir().join(format!("xtask-lock-{}", std::process::id()));
        let first = locked(&path, "testing").unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            format!("process {} is testing", std::process::id())
        );
        let (got, second) = (std::sync::mpsc::channel(), path.clone());
        std::thread::spawn(move || got.0.send(locked(&second, "waiting").map(drop)));
        assert!(got.1.recv_timeout(Duration::from_millis(300)).is_err(), "it does not wait");
        drop(first);
        got.1.recv_timeout(Duration::from_secs(20)).unwrap().unwrap();
        std::fs::remove_file(&path).unwrap();
    }
}
