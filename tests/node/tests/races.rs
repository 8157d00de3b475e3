//! What happens at the same time, or after a loss: sandboxes that are made twice, GC beside ADD, files that are gone.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by a panic"
)]

use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::scope;

use anyhow::Result;
use isthmus_cni::protocol::{self, Add, Ask, Attached, Request};
use isthmus_node::netlink::host_name;
use isthmus_node::vif::Vif;
use isthmus_node_tests::{Call, Namespace, Stage, pod, until, vif};
use serde_json::json;

#[test]
fn the_newer_sandbox_of_a_pod_wins_whoever_waited_first() -> Result<()> {
    let stage = Stage::new()?;
    let _agent = stage.start()?;
    let netns = [Namespace::new()?, Namespace::new()?];
    let old = Call::new(&stage.socket(), "web", "c1", &netns[0].path());
    let new = Call::new(&stage.socket(), "web", "c2", &netns[1].path());
    scope(|scope| -> Result<()> {
        let first = scope.spawn(|| old.fails("ADD", 11));
        until("the first waits", || Ok(stage.told.waiting() == 1))?;
        let second = scope.spawn(|| new.ok("ADD"));
        let why = first.join().expect("no panic")?;
        assert!(why.contains("a newer sandbox"), "{why}");
        stage.told.tell("web", vec![vif(5)]);
        second.join().expect("no panic").map(|_| ())
    })?;
    old.ok("DEL")?;
    assert_eq!(stage.links()?, [host_name("c2", "eth0")]);
    assert_eq!(stage.files()?, ["c2@eth0.json"]);
    Ok(())
}

#[test]
fn of_two_pods_with_one_port_one_gets_it() -> Result<()> {
    let stage = Stage::new()?;
    let _agent = stage.start()?;
    let netns = [Namespace::new()?, Namespace::new()?];
    let calls = [("a", "c1"), ("b", "c2")];
    let calls = [0, 1].map(|n| Call::new(&stage.socket(), calls[n].0, calls[n].1, &netns[n].path()));
    let done = scope(|scope| -> Result<Vec<bool>> {
        let running = calls.each_ref().map(|call| scope.spawn(|| call.run("ADD")));
        until("both wait", || Ok(stage.told.waiting() == 2))?;
        stage.told.tell_all([("a", vif(5)), ("b", vif(5))]);
        running.into_iter().map(|call| Ok(call.join().expect("no panic")?.is_ok())).collect()
    })?;
    assert_eq!(done.iter().filter(|ok| **ok).count(), 1, "{done:?}");
    assert_eq!(stage.files()?.len(), 1);
    until("the other's link goes", || Ok(stage.links()?.len() == 1))
}

#[test]
fn the_same_address_on_two_networks_is_no_conflict() -> Result<()> {
    let stage = Stage::new()?;
    let _agent = stage.start()?;
    let netns = [Namespace::new()?, Namespace::new()?];
    let elsewhere = Vif { addresses: vif(5).addresses, network: "another".into(), ..vif(6) };
    stage.told.tell_all([("a", vif(5)), ("b", elsewhere)]);
    Call::new(&stage.socket(), "a", "c1", &netns[0].path()).ok("ADD")?;
    Call::new(&stage.socket(), "b", "c2", &netns[1].path()).ok("ADD")?;
    Ok(())
}

#[test]
fn gc_takes_nothing_from_an_add_that_is_under_way() -> Result<()> {
    const PODS: u8 = 24;
    let stage = Stage::new()?;
    let _agent = stage.start()?;
    let pods: Vec<Namespace> = (0..PODS).map(|_| Namespace::new()).collect::<Result<_>>()?;
    let gc = Call::new(&stage.socket(), "", "gc", "").with("name", "another".into());
    let gc = gc.with("cni.dev/valid-attachments", json!([]));
    let done = AtomicBool::new(false);
    scope(|scope| -> Result<()> {
        let sweeper = scope.spawn(|| -> Result<()> {
            while !done.load(Ordering::Relaxed) {
                gc.ok("GC")?;
            }
            Ok(())
        });
        let added: Result<()> = (1u8..).zip(&pods).try_for_each(|(n, netns)| {
            stage.told.tell(&format!("p{n}"), vec![vif(n)]);
            Call::new(&stage.socket(), &format!("p{n}"), &format!("c{n}"), &netns.path()).ok("ADD").map(drop)
        });
        done.store(true, Ordering::Relaxed);
        sweeper.join().expect("no panic")?;
        added
    })?;
    assert_eq!(stage.links()?.len(), usize::from(PODS), "each has its link still");
    Ok(())
}

#[test]
fn a_pod_that_is_known_needs_no_api_server() -> Result<()> {
    let stage = Stage::new()?;
    let _agent = stage.start()?;
    let netns = [Namespace::new()?, Namespace::new()?];
    stage.told.tell("web", vec![vif(5)]);
    let call = Call::new(&stage.socket(), "web", "c1", &netns[0].path());
    let result = call.ok("ADD")?;
    stage.told.go_away();
    call.fails("STATUS", 50)?;
    netns[0].run("ip link del eth0")?;
    assert_eq!(call.ok("ADD")?, result, "what was broken is made again");
    Call::new(&stage.socket(), "web", "c2", &netns[1].path()).ok("ADD")?;
    until("it has moved", || Ok(stage.links()? == [host_name("c2", "eth0")]))
}

#[test]
fn adds_that_wait_hold_up_nothing_else() -> Result<()> {
    let stage = Stage::new()?;
    let _agent = stage.start()?;
    let netns = Namespace::new()?;
    let mut waiting = Vec::new();
    for n in 0..256 {
        let attached = Attached { container: format!("w{n}"), interface: "eth0".into() };
        let add = Add { attached, netns: netns.path(), network: "pods".into(), pod: pod(&format!("w{n}")) };
        let mut stream = UnixStream::connect(stage.socket())?;
        protocol::write(
            &mut stream,
            &Request { version: protocol::VERSION, within_ms: 20_000, ask: Ask::Add(add) },
        )?;
        waiting.push(stream);
    }
    until("all wait", || Ok(stage.told.waiting() == 256))?;
    let call = Call::new(&stage.socket(), "web", "c1", &netns.path());
    let why = call.fails("ADD", 11)?;
    assert!(why.contains("256 ADDs are under way"), "{why}");
    call.ok("STATUS")?;
    Call::new(&stage.socket(), "w7", "w7", "").ok("DEL")?;
    until("its place is free again", || Ok(stage.told.waiting() == 255))
}

/// Whoever removes the agent's files takes no Pod's network.
#[test]
fn files_that_are_lost_take_nothing_from_pods_that_run() -> Result<()> {
    let stage = Stage::new()?;
    let agent = stage.start()?;
    let netns = Namespace::new()?;
    stage.told.tell("web", vec![vif(5)]);
    let call = Call::new(&stage.socket(), "web", "c1", &netns.path());
    call.ok("ADD")?;
    agent.stop()?;
    std::fs::remove_dir_all(stage.state())?;
    let agent = stage.start()?;
    call.clone()
        .with("cni.dev/valid-attachments", json!([{"containerID": "c1", "ifname": "eth0"}]))
        .ok("GC")?;
    assert_eq!(stage.links()?, [host_name("c1", "eth0")]);
    // Another Pod's file, and another start: of the first one nothing is known still.
    let another = Namespace::new()?;
    stage.told.tell("api", vec![vif(6)]);
    let second = Call::new(&stage.socket(), "api", "c2", &another.path());
    second.ok("ADD")?;
    agent.stop()?;
    let _agent = stage.start()?;
    second.ok("DEL")?;
    until("only what was deleted goes", || Ok(stage.links()? == [host_name("c1", "eth0")]))?;
    assert!(netns.links()?.contains(&"eth0".to_owned()));
    call.ok("DEL")?;
    until("its link goes", || Ok(stage.links()?.is_empty()))?;
    until("nothing is left", || Ok(stage.files()?.is_empty()))
}
