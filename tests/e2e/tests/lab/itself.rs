//! The lab itself, as who looks around in it has it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::{Context, Result, ensure};
use isthmus_e2e::{suffix, xtask_lab, xtask_lab_of};
use serde_json::Value;
use tokio::process::Command;

/// Each part with its process.
async fn parts() -> Result<Vec<(Value, Value)>> {
    let parts: Vec<Value> = serde_json::from_str(&xtask_lab(&["status", "-o", "json"]).await?)?;
    ensure!(parts.iter().all(|part| part.get("running") == Some(&true.into())), "{parts:?}");
    let of = |part: &Value, field: &str| part.get(field).cloned().with_context(|| format!("{field}: {part}"));
    parts.iter().map(|part| Ok((of(part, "part")?, of(part, "pid")?))).collect()
}

#[tokio::test]
async fn up_changes_nothing_of_one_that_runs_and_its_shell_has_the_clients() -> Result<()> {
    let before = parts().await?;
    ensure!(before.len() > 10, "{before:?}");
    xtask_lab(&["up", "--octavia"]).await?;
    ensure!(parts().await? == before, "another process");
    let version: Value =
        serde_json::from_str(&xtask_lab(&["shell", "kubectl", "version", "-o", "json"]).await?)?;
    ensure!(version.pointer("/serverVersion/major") == Some(&"1".into()), "{version}");
    let networks = xtask_lab(&["shell", "openstack", "network", "list", "-f", "value", "-c", "Name"]).await?;
    ensure!(networks.lines().any(|name| name == "pods"), "{networks}");
    Ok(())
}

/// Parts that die by themselves leave a pid file behind, and half a lab.
#[tokio::test]
async fn up_repairs_a_lab_that_is_half_dead() -> Result<()> {
    const DEAD: [&str; 4] = ["etcd", "scheduler", "mariadb", "keystone"];
    const KEPT: &str = "outlives-the-lab";
    xtask_lab(&["shell", "kubectl", "create", "namespace", KEPT]).await?;
    let before = parts().await?;
    let dies = |part: &Value| DEAD.iter().any(|dead| part == dead);
    let pids = before.iter().filter(|(part, _)| dies(part)).map(|(_, pid)| pid.to_string());
    let done = Command::new("kill").arg("-KILL").args(pids).output().await?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let said = xtask_lab(&["status"]).await.err().map(|error| format!("{error:#}")).unwrap_or_default();
    ensure!(!said.is_empty(), "status says that all runs");
    xtask_lab(&["up", "--octavia"]).await?;
    let after = parts().await?;
    for (part, pid) in &before {
        let (_, now) = after.iter().find(|(same, _)| same == part).with_context(|| format!("no {part}"))?;
        ensure!((pid == now) != dies(part), "{part} was process {pid}, and is {now}");
    }
    // Its data is as it was.
    xtask_lab(&["shell", "kubectl", "delete", "namespace", KEPT, "--wait=false"]).await?;
    let networks = xtask_lab(&["shell", "openstack", "network", "list", "-f", "value", "-c", "Name"]).await?;
    ensure!(networks.lines().any(|name| name == "pods"), "{networks}");
    Ok(())
}

/// What a lab called `name` has of its own on this machine.
fn places(name: &str) -> [PathBuf; 3] {
    ["/run", "/dev/shm", "/run/netns"].map(|folder| Path::new(folder).join(format!("isthmus-lab-{name}")))
}

/// Runs a script as those of the lab of this name run.
async fn script(name: &str, text: &str) -> Result<Output> {
    let library = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/lab/lib.sh");
    let whole = format!("set -euo pipefail\n. {library}\n{text}");
    let output = Command::new("bash").args(["-c", &whole]).env("ISTHMUS_LAB_NAME", name).output().await?;
    ensure!(output.status.success(), "{text}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output)
}

/// The processes in a network namespace.
async fn processes(netns: &str) -> Result<BTreeSet<u32>> {
    let output = Command::new("ip").args(["netns", "pids", netns]).output().await?;
    Ok(String::from_utf8(output.stdout)?.split_whitespace().map(str::parse).collect::<Result<_, _>>()?)
}

/// Whether it runs; one that was killed and that nobody has waited for does not.
fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

/// A lab of this test's own, with a network namespace, folders, parts and what amphorae leave; the parts do nothing.
#[tokio::test]
async fn down_leaves_nothing_and_is_fine_where_nothing_is() -> Result<()> {
    let name = format!("{}down", suffix());
    let (netns, beside) = (format!("isthmus-lab-{name}"), format!("{name}-amp"));
    script(&name, "bash \"$LAB/netns.sh\"").await?;
    let begin = "
        inside() { local netns=$1 part=$2; shift 2; spawn \"$part\" nowhere nsenter --net=/run/netns/$netns \"$@\"; }
        ip netns add $BESIDE
        echo $BESIDE >>\"$STATE/namespaces\"
        touch \"$DATA/data\"
        inside $NETNS etcd sleep 600
        # one with a child, and one that does not listen
        inside $NETNS neutron bash -c 'sleep 600 & sleep 600; wait'
        inside $NETNS amp-1 bash -c 'trap \"\" TERM; while :; do sleep 600; done'
        # what nobody keeps a pid of
        (close_files && exec setsid nsenter --net=/run/netns/$BESIDE sleep 600) </dev/null >/dev/null 2>&1 &";
    script(&name, &begin.replace("$BESIDE", &beside)).await?;
    let mut all = BTreeSet::new();
    isthmus_e2e::until("all of it runs", async || {
        let count = processes(&netns).await?.len() + processes(&beside).await?.len();
        ensure!(count >= 7, "{count} processes");
        Ok(())
    })
    .await?;
    all.extend(processes(&netns).await?);
    all.extend(processes(&beside).await?);
    ensure!(places(&name).iter().all(|place| place.exists()));

    for _ in 0..2 {
        xtask_lab_of(&name, &["down"]).await?;
        let left: Vec<_> = all.iter().filter(|pid| runs(**pid)).collect();
        ensure!(left.is_empty(), "processes are left: {left:?}");
        let beside = Path::new("/run/netns").join(&beside);
        let left: Vec<_> = places(&name).into_iter().chain([beside]).filter(|place| place.exists()).collect();
        ensure!(left.is_empty(), "{left:?}");
    }
    let said = xtask_lab_of(&name, &["status"]).await.err().map(|error| format!("{error:#}"));
    ensure!(said.is_some(), "status of a lab that is down is fine?");
    Ok(())
}
