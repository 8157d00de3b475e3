//! The lab: etcd, kube-apiserver, controller-manager, scheduler, Keystone, Neutron with OVN and one chassis, all
//! for real, in network namespaces of their own. The scripts of `tests/lab` do the work; this starts them in
//! order and side by side, and tells what runs.
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, thread};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::{Subcommand, ValueEnum};
use serde::Serialize;

use crate::step::{Step, say};
use crate::workspace::Workspace;

/// A second lab, beside the first one: what its namespaces, folders and nodes are called after.
const NAME: &str = "ISTHMUS_LAB_NAME";

/// The network namespace that everything listens in; `tests/lab/lib.sh` says the same.
fn netns() -> String {
    let name = env::var(NAME).unwrap_or_default();
    if name.is_empty() { "isthmus-lab".to_owned() } else { format!("isthmus-lab-{name}") }
}

/// Pid files, logs, keys, kubeconfig and clouds.yaml of a running lab; `tests/lab/lib.sh` says the same.
fn state() -> PathBuf {
    Path::new("/run").join(netns())
}

/// Parts that a running lab always has. Those of the chassis come from the pid files.
const PARTS: [&str; 10] = [
    "etcd",
    "apiserver",
    "controllers",
    "scheduler",
    "mariadb",
    "ovn-nb",
    "ovn-sb",
    "ovn-northd",
    "keystone",
    "neutron",
];

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
    match task {
        LabTask::Up { octavia } => up(workspace, octavia)?,
        LabTask::Down => {
            // Not from under a run.
            let _reserved = reserve("stopping the lab")?;
            down(workspace)?;
        }
        LabTask::Status { output } => return status(output),
        LabTask::Shell { command } => return shell(&command),
        LabTask::Stop { part, kill } => change(workspace, if kill { "kill" } else { "stop" }, part)?,
        LabTask::Start { part } => change(workspace, "start", part)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Why the lab cannot run on this machine, if it cannot.
pub(crate) fn unfit() -> Option<String> {
    // field 2 of "Uid:" is the effective uid
    let root = fs::read_to_string("/proc/self/status")
        .is_ok_and(|s| s.lines().any(|l| l.starts_with("Uid:") && l.split_whitespace().nth(2) == Some("0")));
    if !root {
        return Some(
            "it needs root (network namespaces); try: sudo -E env PATH=\"$PATH\" cargo xtask ...".into(),
        );
    }
    if !Path::new("/proc/self/ns/net").exists() {
        return Some("the kernel has no network namespaces".into());
    }
    let missing: Vec<_> = ["apt-get", "go", "python3.11"].into_iter().filter(|p| !in_path(p)).collect();
    (!missing.is_empty()).then(|| format!("not found in PATH: {}", missing.join(", ")))
}

fn in_path(program: &str) -> bool {
    env::var_os("PATH")
        .is_some_and(|path| env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

/// Whether anything of the lab runs.
pub(crate) fn is_running() -> bool {
    parts().is_ok_and(|parts| parts.iter().any(|p| p.running))
}

/// Starts what does not run yet and waits until all of it answers.
pub(crate) fn up(workspace: &Workspace, octavia: bool) -> Result<()> {
    let _lock = lock()?;
    let (packages, options): (&[&str], &[&str]) =
        if octavia { (&["haproxy"], &["octavia"]) } else { (&[], &[]) };
    script(workspace, "lab", "packages.sh", packages)?;
    script(workspace, "lab", "netns.sh", &[])?;
    thread::scope(|scope| {
        let kubernetes = scope.spawn(|| {
            script(workspace, "kubernetes", "kubernetes/build.sh", &[])?;
            script_inside(workspace, "kubernetes", "kubernetes/up.sh", &[])
        });
        script(workspace, "openstack", "openstack/install.sh", &[])?;
        let openstack = script_inside(workspace, "openstack", "openstack/up.sh", options);
        kubernetes.join().map_err(|_panic| anyhow!("the thread that starts Kubernetes panicked"))??;
        openstack
    })?;
    say("lab", "up; `cargo xtask lab shell` opens a shell in it, `cargo xtask lab status` shows its parts");
    Ok(())
}

/// Stops all of it. Fine when nothing runs.
pub(crate) fn down(workspace: &Workspace) -> Result<()> {
    let _lock = lock()?;
    say("lab", "stopping every part (~3 s)");
    script(workspace, "lab", "down.sh", &[])?;
    say("lab", "down");
    Ok(())
}

/// A command inside the lab's namespace with the environment that clients need.
pub(crate) fn inside(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("nsenter");
    // not `ip netns exec`: it remounts /sys and hides the cgroups
    command.arg(format!("--net=/run/netns/{}", netns())).arg("--").arg(program);
    let (state, path) = (state(), env::var("PATH").unwrap_or_default());
    command
        .env("KUBECONFIG", state.join("admin.conf"))
        .env("OS_CLIENT_CONFIG_FILE", state.join("clouds.yaml"))
        .env("OS_CLOUD", "isthmus")
        .env("PATH", format!("{}/bin:{path}", state.display()));
    command
}

/// Held while the lab is changed: two `lab up` at once would start every part twice.
fn lock() -> Result<File> {
    locked(&state().with_extension("lock"), "starting or stopping it")
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

/// The lab for one run alone, until it is dropped.
pub(crate) struct Reserved {
    _lock: File,
    /// It ran before, and is left so.
    was_running: bool,
}

/// Waits until no other run uses the lab: two at once would take each other's parts, modules and ports away.
pub(crate) fn reserve(purpose: &str) -> Result<Reserved> {
    let lock = locked(Path::new(&format!("{}-in-use.lock", state().display())), purpose)?;
    Ok(Reserved { _lock: lock, was_running: is_running() })
}

impl Reserved {
    /// Stops the lab, unless it ran before.
    pub(crate) fn restore(self, workspace: &Workspace) -> Result<()> {
        if self.was_running { Ok(()) } else { down(workspace) }
    }
}

fn script(workspace: &Workspace, name: &str, path: &str, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("bash");
    command.arg(workspace.root.join("tests/lab").join(path)).args(arguments);
    Step::script(name).run(workspace, command)?.ok(path).map(drop)
}

fn script_inside(workspace: &Workspace, name: &str, path: &str, arguments: &[&str]) -> Result<()> {
    let mut command = inside("bash");
    command.arg(workspace.root.join("tests/lab").join(path)).args(arguments);
    Step::script(name).run(workspace, command)?.ok(path).map(drop)
}

fn change(workspace: &Workspace, verb: &str, part: Part) -> Result<()> {
    ensure!(is_running(), "the lab is down; start it with `cargo xtask lab up`");
    let _lock = lock()?;
    let value = part.to_possible_value().context("every part has a name")?;
    let name = value.get_name();
    script_inside(workspace, "lab", "part.sh", &[verb, name])?;
    say("lab", &format!("{name}: {verb} done"));
    Ok(())
}

fn shell(command: &[String]) -> Result<ExitCode> {
    ensure!(is_running(), "the lab is down; start it with `cargo xtask lab up`");
    let mut child = match command.split_first() {
        Some((program, arguments)) => {
            let mut child = inside(program);
            child.args(arguments);
            child
        }
        None => {
            println!(
                "inside the lab: kubectl, openstack and pod are ready (OS_CLOUD=isthmus|demo|admin); leave with exit"
            );
            inside(env::var_os("SHELL").unwrap_or_else(|| "bash".into()))
        }
    };
    let status = child.status().context("cannot run nsenter")?;
    // as a shell does: 128 + the signal that ended it
    let code = status.code().or_else(|| status.signal().map(|s| s + 128)).unwrap_or(1);
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

/// One part of the lab as the pid files and /proc tell it.
#[derive(Serialize)]
struct PartStatus {
    part: String,
    running: bool,
    pid: Option<u32>,
    uptime_seconds: Option<u64>,
    address: Option<String>,
}

fn parts() -> Result<Vec<PartStatus>> {
    let mut found = BTreeMap::new();
    if let Ok(folder) = fs::read_dir(state().join("pid")) {
        for entry in folder {
            let path = entry?.path();
            // an amphora may go while this looks
            if let (Some(name), Ok(line)) = (path.file_name(), fs::read_to_string(&path)) {
                found.insert(name.to_string_lossy().into_owned(), line);
            }
        }
    }
    let uptime = fs::read_to_string("/proc/uptime").context("cannot read /proc/uptime")?;
    let up = uptime.split_once('.').and_then(|(seconds, _)| seconds.parse().ok()).unwrap_or(0);
    let mut parts: Vec<_> = PARTS.iter().map(|p| part(p, found.remove(*p).as_deref(), up)).collect();
    parts.extend(found.iter().map(|(name, line)| part(name, Some(line), up)));
    Ok(parts)
}

/// `line`: pid, start time in ticks since boot, address (`spawn` in lib.sh writes it). `up`: seconds since boot.
fn part(name: &str, line: Option<&str>, up: u64) -> PartStatus {
    /// Ticks a second in /proc/PID/stat: the same on every Linux that Debian has.
    const TICKS: u64 = 100;
    let mut words = line.unwrap_or_default().split_whitespace();
    let pid = words.next().and_then(|w| w.parse().ok());
    let start = words.next().and_then(|w| w.parse().ok());
    let running = pid.is_some() && start.is_some() && pid.and_then(started) == start;
    PartStatus {
        part: name.to_owned(),
        running,
        pid: pid.filter(|_| running),
        uptime_seconds: start.filter(|_| running).map(|s| up.saturating_sub(s / TICKS)),
        address: words.next().map(str::to_owned),
    }
}

/// Start time of a process in ticks since boot; none for a zombie. Tells a pid that was used again.
pub(crate) fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // the name in parentheses may hold blanks; the state comes first after it, the start time 19 words later
    let mut words = stat.rsplit_once(')')?.1.split_whitespace();
    let state = words.next()?;
    words.nth(18)?.parse().ok().filter(|_| state != "Z")
}

fn status(output: Output) -> Result<ExitCode> {
    let parts = parts()?;
    match output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&parts)?),
        Output::Table => {
            println!("{:<24} {:<10}{:>8}{:>10}  ADDRESS", "PART", "STATE", "PID", "UPTIME");
            for p in &parts {
                let pid = p.pid.map(|n| n.to_string()).unwrap_or_default();
                let uptime = p.uptime_seconds.map(|s| format!("{s} s")).unwrap_or_default();
                let state = if p.running { "running" } else { "stopped" };
                let address = p.address.as_deref().unwrap_or_default();
                println!("{:<24} {state:<10}{pid:>8}{uptime:>10}  {address}", p.part);
            }
        }
    }
    Ok(ExitCode::from(u8::from(!parts.iter().all(|p| p.running))))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{locked, part, started};

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

    #[test]
    fn a_pid_file_counts_only_with_the_start_time_of_its_process() {
        let me = std::process::id();
        let start = started(me).unwrap();
        let status = part("etcd", Some(&format!("{me} {start} http://127.0.0.1:2379\n")), start / 100 + 7);
        assert!(status.running);
        assert_eq!((status.pid, status.uptime_seconds), (Some(me), Some(7)));
        assert_eq!(status.address.as_deref(), Some("http://127.0.0.1:2379"));
        let reused = part("etcd", Some(&format!("{me} {} x\n", start + 1)), 0);
        assert!(!reused.running && reused.pid.is_none());
    }

    #[test]
    fn a_missing_or_broken_pid_file_is_a_stopped_part() {
        for line in [None, Some(""), Some("not a number"), Some("1")] {
            assert!(!part("etcd", line, 0).running, "{line:?}");
        }
    }
}
