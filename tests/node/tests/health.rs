//! What the agent says of itself: /ready and STATUS, /alive, /metrics.
#![allow(clippy::expect_used, reason = "a test fails by a panic")]

use std::fs;

use anyhow::Result;
use isthmus_node_tests::{Call, Stage, vif};
use rustix::thread::CapabilitySet;

#[test]
fn a_node_whose_bridge_is_gone_is_not_ready_and_alive() -> Result<()> {
    let (stage, _netns, call) = Stage::with_web()?;
    let agent = stage.start()?;
    assert_eq!(agent.http("ready")?, (200, "ok".into()));
    assert!(stage.paths.namespaces.is_dir(), "as a runtime would make it for the first Pod");
    stage.host.run("ip link del br0")?;
    let (status, why) = agent.http("ready")?;
    assert!(status == 503 && why.contains("no bridge br0"), "{status} {why}");
    let said = call.fails("STATUS", 50)?;
    assert!(said.contains(&why), "{said}");
    assert_eq!(agent.http("alive")?.0, 200, "a new start would not bring it back");
    stage.host.run("ip link add br0 type bridge")?;
    assert_eq!(agent.http("ready")?.0, 200);
    call.ok("STATUS")?;
    Ok(())
}

#[test]
fn what_the_agent_may_not_do_or_see_it_says() -> Result<()> {
    for (forbidden, name) in
        [(CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN"), (CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN")]
    {
        let (mut stage, _netns, call) = Stage::with_web()?;
        stage.forbidden = forbidden;
        let agent = stage.start()?;
        let said = call.fails("STATUS", 50)?;
        assert!(said.contains(&format!("the agent lacks {name}")), "{said}");
        assert_eq!(agent.http("ready")?.0, 503);
    }
    // as in a container without the mount, whose own file system is read-only
    let (mut stage, _netns, call) = Stage::with_web()?;
    stage.paths.namespaces = stage.folder().join("nobody/made/netns");
    let _agent = stage.start()?;
    let said = call.fails("STATUS", 50)?;
    assert!(said.contains("does not see the network namespaces of Pods"), "{said}");
    Ok(())
}

#[test]
fn an_agent_whose_memory_is_used_up_is_to_be_started_anew() -> Result<()> {
    let (stage, _netns, _call) = Stage::with_web()?;
    let agent = stage.start()?;
    assert_eq!(agent.http("alive")?, (200, "ok".into()), "no limit is none");
    fs::create_dir(&stage.paths.cgroup)?;
    let write = |name: &str, text: &str| fs::write(stage.paths.cgroup.join(name), text);
    write("memory.max", "1000000\n")?;
    write("memory.stat", "anon 1\ninactive_file 100000\n")?;
    write("memory.current", "1090000\n")?;
    let (status, why) = agent.http("alive")?;
    assert!(status == 503 && why.contains("990000 of 1000000 bytes"), "{status} {why}");
    assert_eq!(agent.http("ready")?.0, 200, "it attaches Pods still");
    write("memory.current", "500000\n")?;
    assert_eq!(agent.http("alive")?.0, 200);
    let numbers = agent.http("metrics")?.1;
    assert!(numbers.contains("isthmus_node_memory_bytes 400000\n"), "{numbers}");
    Ok(())
}

#[test]
fn every_stage_of_an_add_is_measured_from_a_tenth_of_a_millisecond_on() -> Result<()> {
    let (stage, _netns, call) = Stage::with_web()?;
    let agent = stage.start()?;
    call.ok("ADD")?;
    let numbers = agent.http("metrics")?.1;
    for stage in ["vifs", "bind", "ready", "total"] {
        let label = format!("stage=\"{stage}\"");
        let has = |name: &str, more: &str, end: &str| {
            let name = format!("isthmus_node_add_stage_seconds_{name}{{");
            numbers
                .lines()
                .any(|l| l.starts_with(&name) && l.contains(&label) && l.contains(more) && l.ends_with(end))
        };
        assert!(has("count", "", " 1") && has("bucket", "le=\"0.0001\"", ""), "{stage}: {numbers}");
    }
    call.ok("DEL")?;
    let numbers = agent.http("metrics")?.1;
    for line in ["isthmus_node_del_seconds_count 1\n", "isthmus_node_attachments 0\n"] {
        assert!(numbers.contains(line), "{line}: {numbers}");
    }
    Ok(())
}

/// A runtime tries with a new container each time: that is one Pod still, and a new start mends none of it. Of many it may. A success
/// shows that the node is well.
#[test]
fn one_bad_pod_is_no_reason_to_start_anew_and_one_good_one_ends_the_count() -> Result<()> {
    let (stage, netns, _) = Stage::with_web()?;
    let agent = stage.start()?;
    let mut containers = 0..;
    let mut call = |pod: &str| {
        stage.told.tell(pod, vec![vif(5)]);
        let container = format!("c-{}", containers.next().expect("there is no last number"));
        Call::new(&stage.socket(), pod, &container, &netns.path())
    };
    let mut fail = |pods: &[&str]| pods.iter().try_for_each(|pod| call(pod).fails("ADD", 5).map(drop));
    fs::remove_dir_all(stage.state())?;
    fail(&["web"; 12])?;
    assert_eq!(agent.http("alive")?.0, 200);
    fail(&["next", "third"])?;
    let (status, why) = agent.http("alive")?;
    assert!(status == 503 && why.contains("ADDs of 3 Pods in a row"), "{status} {why}");
    let succeed = || -> Result<()> {
        fs::create_dir(stage.state())?;
        let good = Call::new(&stage.socket(), "web", "good", &netns.path());
        good.ok("ADD")?;
        good.ok("DEL")?;
        Ok(fs::remove_dir_all(stage.state())?)
    };
    succeed()?;
    assert_eq!(agent.http("alive")?.0, 200);
    fail(&["web"; 12])?;
    assert_eq!(agent.http("alive")?.0, 200, "which Pods had failed before is forgotten");
    succeed()?;
    fail(&["web", "next", "third"])?;
    assert_eq!(agent.http("alive")?.0, 200, "how often, too");
    Ok(())
}
