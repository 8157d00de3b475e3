//! Sandboxes that a runtime made without IPv6, for VIFs that have it.
#![allow(clippy::indexing_slicing, reason = "a test fails by a panic")]

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use isthmus_node::vif::Vif;
use isthmus_node_tests::kubectl::DEPLOY;
use isthmus_node_tests::{Call, Namespace, Stage, reach, vif};

/// Where all of a machine may be set, and what a container has instead.
const SYSCTLS: &str = "/proc/sys/net";
const MOUNTED: &str = "/run/host/proc/sys/net";
/// Set where a test runs in a mount namespace that is made for it.
const INSIDE: &str = "ISTHMUS_TEST_INSIDE";

/// A node with Pod `web` that is known, whose sandbox has no IPv6. `sysctls`: where that can be set.
fn stage(sysctls: &Path) -> Result<(Stage, Namespace, Call)> {
    let (stage, netns, call) = Stage::with_web()?;
    let disabled = sysctls.join("ipv6/conf/all/disable_ipv6");
    let done = netns.command("sh").args(["-c", "echo 1 >\"$0\""]).arg(disabled).status()?;
    ensure!(done.success(), "IPv6 cannot be disabled");
    Ok((stage, netns, call))
}

fn has_ipv6(stage: &Stage, netns: &Namespace, call: &Call) -> Result<()> {
    let result = call.ok("ADD")?;
    assert_eq!(result["ips"][1]["address"], "fd77::5/64");
    assert!(netns.ip("-6 address show dev eth0")?.to_string().contains("fd77::5"));
    for gateway in ["10.77.0.254", "fd77::fe"] {
        reach(&stage.host, netns, gateway)?;
    }
    call.clone().with("prevResult", result).ok("CHECK")?;
    call.ok("DEL")?;
    stage.gone()
}

/// Runs a test once more, where `/proc/sys` is read-only as in a container that is not privileged, and what is beneath it in `net` can
/// be written to at another path.
fn as_in_a_container(test: &str, at: &str) -> Result<()> {
    let script = "set -e
        mount -t tmpfs none /run
        mkdir -p \"$2\"
        mount --bind \"$3\" \"$2\"
        mount --bind /proc/sys /proc/sys
        mount -o remount,bind,ro /proc/sys
        exec \"$0\" --exact \"$1\" --show-output";
    let done = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", script])
        .arg(std::env::current_exe()?)
        .args([test, at, SYSCTLS])
        .env(INSIDE, "1")
        .output()?;
    let said = [done.stdout, done.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    ensure!(done.status.success() && said.contains("1 passed"), "{said}");
    Ok(())
}

#[test]
fn a_sandbox_without_ipv6_is_given_it() -> Result<()> {
    let (stage, netns, call) = stage(Path::new(SYSCTLS))?;
    let _agent = stage.start()?;
    has_ipv6(&stage, &netns, &call)
}

/// As `deploy/agent.yaml` has it.
#[test]
fn a_container_that_has_the_hosts_settings_mounted_gives_it_too() -> Result<()> {
    if std::env::var_os(INSIDE).is_none() {
        let daemon_set = std::fs::read_to_string(format!("{DEPLOY}/agent.yaml"))?;
        for part in [format!("mountPath: {MOUNTED}}}"), format!("hostPath: {{path: {SYSCTLS}, ")] {
            assert!(daemon_set.contains(&part), "{part}");
        }
        return as_in_a_container("a_container_that_has_the_hosts_settings_mounted_gives_it_too", MOUNTED);
    }
    let (stage, netns, call) = stage(Path::new(MOUNTED))?;
    let _agent = stage.start()?;
    has_ipv6(&stage, &netns, &call)
}

#[test]
fn a_container_that_lacks_them_says_what_it_lacks() -> Result<()> {
    const ELSEWHERE: &str = "/run/elsewhere";
    if std::env::var_os(INSIDE).is_none() {
        return as_in_a_container("a_container_that_lacks_them_says_what_it_lacks", ELSEWHERE);
    }
    let (stage, netns, call) = stage(Path::new(ELSEWHERE))?;
    let only_ipv4 =
        Vif { addresses: vec!["10.77.0.6/24".parse()?], gateways: vec!["10.77.0.254".parse()?], ..vif(6) };
    stage.told.tell("old", vec![only_ipv4]);
    let _agent = stage.start()?;
    let why = call.fails("ADD", 5)?;
    for says in
        ["IPv6 is disabled in network namespace", MOUNTED, "is the host's /proc/sys/net mounted there?"]
    {
        assert!(why.contains(says), "{why}");
    }
    stage.gone()?;
    let old = Call::new(&stage.socket(), "old", "c2", &netns.path());
    old.ok("ADD")?;
    reach(&stage.host, &netns, "10.77.0.254")
}
