//! What the agent finds when it starts: after a reboot, a crash, an upgrade, or while the API server is away.
#![allow(clippy::indexing_slicing, reason = "a test fails by a panic")]

use anyhow::{Context, Result};
use isthmus_node::netlink::host_name;
use isthmus_node_tests::{Call, Namespace, Process, Stage, until};
use serde_json::{Value, json};

/// A node whose agent has attached Pod `web` and ended, and what it answered.
fn attached() -> Result<(Stage, Namespace, Call, Value)> {
    let (stage, netns, call) = Stage::with_web()?;
    let agent = stage.start()?;
    let result = call.ok("ADD")?;
    agent.stop()?;
    Ok((stage, netns, call, result))
}

/// Has the stored attachment be of another boot of the node.
fn of_another_boot(stage: &Stage) -> Result<()> {
    stage.rewrite("c1", |stored| {
        assert_eq!(stored["format"], 2);
        stored["boot"] = "another".into();
    })
}

/// Files outlive it, links do not. The runtime makes a new sandbox, and may never delete the old one.
#[test]
fn a_reboot_leaves_no_attachment() -> Result<()> {
    let (stage, _netns, call, result) = attached()?;
    of_another_boot(&stage)?;
    std::fs::write(stage.state().join("c2@eth0.new"), "{")?;
    stage.host.run(&format!("ip link del {}", host_name("c1", "eth0")))?;
    let _agent = stage.start()?;
    stage.gone()?;
    call.clone().with("prevResult", result).fails("CHECK", 3)?;
    let again = Namespace::new()?;
    let next = Call::new(&stage.socket(), "web", "c2", &again.path());
    next.ok("ADD")?;
    call.ok("DEL")?;
    assert_eq!(
        (stage.links()?, stage.files()?),
        (vec![host_name("c2", "eth0")], vec!["c2@eth0.json".into()])
    );
    next.ok("DEL")?;
    stage.gone()
}

/// A machine that goes down after the answer has the attachment still.
#[test]
fn an_attachment_is_synced_before_it_is_answered_for() -> Result<()> {
    let (stage, _netns, call) = Stage::with_web()?;
    let _agent = stage.start()?;
    let (log, own) = (stage.folder().join("calls"), std::process::id().to_string());
    let (calls, said) = (log.display().to_string(), stage.folder().join("strace"));
    let what = ["-f", "-y", "-s", "64", "-e", "trace=fsync,rename,renameat,renameat2,write,sendto"];
    let tracer = Process::start("strace", &[&what[..], &["-o", &calls, "-p", &own]].concat(), &said)?;
    until("strace has attached", || Ok(std::fs::read_to_string(&said)?.contains("attached")))?;
    call.ok("ADD")?;
    let (file, folder) = ("attachments/c1@eth0.new", "attachments>");
    let mut lines: Vec<String> = Vec::new();
    until("the answer is seen", || {
        lines = std::fs::read_to_string(&log)?.lines().map(String::from).collect();
        Ok(lines.iter().any(|l| l.contains("added")))
    })?;
    drop(tracer);
    let first =
        |is: &dyn Fn(&str) -> bool| lines.iter().position(|l| is(l)).with_context(|| lines.join("\n"));
    // Where another thread's call came in between, its end is a line of its own, of the same thread.
    let end = |at: usize| -> Result<usize> {
        let Some(thread) = lines[at].split(' ').next().filter(|_| lines[at].contains("unfinished")) else {
            return Ok(at);
        };
        let mut rest = lines.iter().enumerate().skip(at);
        let resumed = rest.find(|(_, l)| l.starts_with(thread) && l.contains("resumed>"));
        Ok(resumed.with_context(|| lines.join("\n"))?.0)
    };
    let written = end(first(&|l| l.contains("fsync(") && l.contains(file))?)?;
    let renamed = first(&|l| l.contains("rename") && l.contains(file))?;
    let placed = end(first(&|l| l.contains("fsync(") && l.contains(folder))?)?;
    let answered = first(&|l| l.contains("added"))?;
    assert!(written < renamed && renamed < placed && placed < answered, "{}", lines.join("\n"));
    Ok(())
}

/// As where a boot id was restored with the disk of another machine.
#[test]
fn links_of_an_attachment_of_another_boot_go_with_it() -> Result<()> {
    let (stage, netns, _call, _result) = attached()?;
    of_another_boot(&stage)?;
    let _agent = stage.start()?;
    stage.gone()?;
    assert_eq!(netns.links()?, ["lo"]);
    Ok(())
}

/// What a crash between the file and the links leaves.
#[test]
fn a_file_without_its_links_is_made_good_by_an_add_and_taken_by_a_del() -> Result<()> {
    let (stage, netns, call, result) = attached()?;
    netns.run("ip link del eth0")?;
    let agent = stage.start()?;
    let check = call.clone().with("prevResult", result.clone());
    check.fails("CHECK", 100)?;
    assert_eq!(call.ok("ADD")?, result, "made again");
    check.ok("CHECK")?;
    agent.stop()?;
    netns.run("ip link del eth0")?;
    let _agent = stage.start()?;
    call.ok("DEL")?;
    stage.gone()
}

/// An upgrade finds what an agent of before stored: the Pod keeps its link, and DEL finds all of it.
#[test]
fn an_attachment_of_the_first_format_is_kept_until_its_del() -> Result<()> {
    let (stage, netns, call, result) = attached()?;
    stage.rewrite("c1", |stored| {
        stored["format"] = 1.into();
        let vif = stored["links"][0]["vif"].as_object_mut();
        assert!(vif.is_some_and(|vif| vif.remove("network").is_some()));
    })?;
    let before = netns.ip("link show eth0")?;
    let agent = stage.start()?;
    let check = call.clone().with("prevResult", result.clone());
    check.ok("CHECK")?;
    assert_eq!(call.ok("ADD")?, result);
    assert_eq!(netns.ip("link show eth0")?, before);
    agent.stop()?;
    let _agent = stage.start()?;
    call.ok("DEL")?;
    stage.gone()
}

/// The API server is away, and the agent starts anew: it knows what it attached, and no more.
#[test]
fn an_agent_that_starts_without_the_api_server_serves_the_pods_that_it_knows() -> Result<()> {
    let (stage, netns, call, result) = attached()?;
    stage.told.go_away();
    let _agent = stage.start()?;
    call.fails("STATUS", 50)?;
    call.clone().with("prevResult", result.clone()).ok("CHECK")?;
    netns.run("ip link del eth0")?;
    assert_eq!(call.ok("ADD")?, result, "what was broken is made again");
    let other = Namespace::new()?;
    let stranger = Call::new(&stage.socket(), "api", "c3", &other.path()).with("timeoutSeconds", json!(1));
    stranger.fails("ADD", 11)?;
    let again = Namespace::new()?;
    let next = Call::new(&stage.socket(), "web", "c2", &again.path());
    next.ok("ADD")?;
    until("it has moved", || Ok(stage.links()? == [host_name("c2", "eth0")]))?;
    call.ok("DEL")?;
    next.ok("DEL")?;
    stage.gone()
}

/// That its CloudMapping is gone says nothing of a Pod's containers: these may run on.
#[test]
fn what_is_no_longer_mapped_stays_attached_until_its_del() -> Result<()> {
    let (stage, netns, call) = Stage::with_web()?;
    let agent = stage.start()?;
    let result = call.ok("ADD")?;
    let before = netns.ip("link show eth0")?;
    stage.told.forget("web");
    let check = call.clone().with("prevResult", result.clone());
    check.ok("CHECK")?;
    agent.stop()?;
    let _agent = stage.start()?;
    call.clone()
        .with("cni.dev/valid-attachments", json!([{"containerID": "c1", "ifname": "eth0"}]))
        .ok("GC")?;
    check.ok("CHECK")?;
    assert_eq!(call.ok("ADD")?, result, "asked again, it is as it was");
    assert_eq!(netns.ip("link show eth0")?, before);
    call.ok("DEL")?;
    stage.gone()
}
