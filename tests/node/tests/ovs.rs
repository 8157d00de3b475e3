//! The driver `ovs` on a real Open vSwitch with the userspace datapath. What OVN does is done by the test: it says when the
//! flows of a port are in place.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by a panic"
)]

use anyhow::Result;
use isthmus_node::netlink::host_name;
use isthmus_node::vif::Vif;
use isthmus_node_tests::{Call, Namespace, Ovs, Stage, reach, until, vif};
use serde_json::json;

fn stage() -> Result<(Stage, Ovs)> {
    let mut stage = Stage::new()?;
    let ovs = Ovs::start(&stage.host, stage.folder())?;
    stage.drivers.default = "ovs".into();
    stage.drivers.bridge = None;
    stage.drivers.ovs = Some((ovs.socket(), "br-int".into()));
    Ok((stage, ovs))
}

/// The namespace of a Pod that has a VIF, and its calls.
fn one_pod(stage: &Stage) -> Result<(Namespace, Call)> {
    let netns = Namespace::new()?;
    stage.told.tell("web", vec![vif(5)]);
    let call = Call::new(&stage.socket(), "web", "c1", &netns.path());
    Ok((netns, call))
}

/// ADD, which OVN does not let end.
fn add_in_vain(call: &Call) -> Result<()> {
    let why = call.clone().with("timeoutSeconds", json!(1)).fails("ADD", 11)?;
    assert!(why.contains("ovn-installed") && why.contains(&vif(5).port_id), "{why}");
    Ok(())
}

/// ADD, which OVN lets end.
fn add(ovs: &Ovs, call: &Call, port: &str) -> Result<String> {
    std::thread::scope(|scope| {
        let add = scope.spawn(|| call.ok("ADD"));
        let link = ovs.install(port)?;
        add.join().expect("no panic")?;
        Ok(link)
    })
}

#[test]
fn pods_talk_through_the_integration_bridge() -> Result<()> {
    let (stage, ovs) = stage()?;
    let _agent = stage.start()?;
    let pods = [Namespace::new()?, Namespace::new()?];
    let mut calls = Vec::new();
    for (n, netns) in (1u8..).zip(&pods) {
        let (pod, container) = (format!("p{n}"), format!("c{n}"));
        stage.told.tell(&pod, vec![vif(n)]);
        let call = Call::new(&stage.socket(), &pod, &container, &netns.path());
        let link = add(&ovs, &call, &vif(n).port_id)?;
        assert_eq!(link, host_name(&container, "eth0"));
        let ids = ovs.vsctl(&format!("get Interface {link} external_ids"))?;
        for id in [format!("attached-mac=\"{}\"", vif(n).mac), "iface-status=active".into()] {
            assert!(ids.contains(&id), "{ids}");
        }
        calls.push(call);
    }
    // TCP needs right checksums, which nobody fills in on this datapath
    reach(&pods[0], &pods[1], "10.77.0.1")?;

    let result = calls[0].ok("ADD")?;
    let check = calls[0].clone().with("prevResult", result);
    check.ok("CHECK")?;
    ovs.vsctl(&format!("remove Interface {} external_ids iface-id", host_name("c1", "eth0")))?;
    let why = check.fails("CHECK", 100)?;
    assert!(why.contains("iface-id"), "{why}");
    for call in &calls {
        call.ok("DEL")?;
        call.ok("DEL")?;
    }
    assert_eq!(ovs.ports()?, Vec::<String>::new());
    until("no link is left", || Ok(stage.links()?.is_empty()))
}

/// Each with addresses of both families, and an MTU of its own.
#[test]
fn a_pod_has_two_interfaces_through_the_bridge() -> Result<()> {
    let (stage, ovs) = stage()?;
    let _agent = stage.start()?;
    let pods = [Namespace::new()?, Namespace::new()?];
    let mut calls = Vec::new();
    for (n, netns) in (1u8..).zip(&pods) {
        let second = Vif {
            interface: "net1".into(),
            addresses: vec![format!("10.78.0.{n}/24").parse()?, format!("fd78::{n:x}/64").parse()?],
            gateways: Vec::new(),
            mtu: Some(1400),
            default_route: false,
            ..vif(n + 16)
        };
        let (pod, container) = (format!("p{n}"), format!("c{n}"));
        stage.told.tell(&pod, vec![vif(n), second]);
        let call = Call::new(&stage.socket(), &pod, &container, &netns.path());
        std::thread::scope(|scope| -> Result<()> {
            let add = scope.spawn(|| call.ok("ADD"));
            for (port, interface) in [(vif(n), "eth0"), (vif(n + 16), "net1")] {
                assert_eq!(ovs.install(&port.port_id)?, host_name(&container, interface));
            }
            let result = add.join().expect("no panic")?;
            assert_eq!(
                (result["ips"].as_array().unwrap().len(), &result["ips"][3]["interface"]),
                (4, &json!(3))
            );
            Ok(())
        })?;
        for (interface, mtu) in [("eth0", 1442), ("net1", 1400)] {
            for link in [
                netns.ip(&format!("link show {interface}"))?,
                stage.host.ip(&format!("link show {}", host_name(&container, interface)))?,
            ] {
                assert_eq!(link[0]["mtu"], mtu, "{link}");
            }
        }
        calls.push(call);
    }
    for address in ["10.77.0.1", "fd77::1", "10.78.0.1", "fd78::1"] {
        reach(&pods[0], &pods[1], address)?;
    }
    let check = calls[0].clone().with("prevResult", calls[0].ok("ADD")?);
    check.ok("CHECK")?;
    pods[0].run("ip link set net1 down")?;
    let why = check.fails("CHECK", 100)?;
    assert!(why.contains("has no carrier"), "{why}");
    for call in &calls {
        call.ok("DEL")?;
    }
    assert_eq!(ovs.ports()?, Vec::<String>::new());
    stage.gone()
}

#[test]
fn a_port_that_ovn_does_not_install_is_rolled_back() -> Result<()> {
    let (stage, ovs) = stage()?;
    let _agent = stage.start()?;
    let (_netns, call) = one_pod(&stage)?;
    add_in_vain(&call)?;
    assert_eq!(ovs.ports()?, Vec::<String>::new());
    until("no link is left", || Ok(stage.links()?.is_empty()))?;
    assert_eq!(stage.files()?, Vec::<String>::new());
    add(&ovs, &call, &vif(5).port_id)?;
    Ok(())
}

/// An agent that ends between the file of an attachment and OVN's word leaves one that the next ADD knows.
#[test]
fn an_add_that_is_repeated_answers_when_ovn_has_said_so() -> Result<()> {
    let (stage, ovs) = stage()?;
    let agent = stage.start()?;
    let (_netns, call) = one_pod(&stage)?;
    let link = [host_name("c1", "eth0")];
    std::thread::scope(|scope| -> Result<()> {
        let cut = scope.spawn(|| call.fails("ADD", 11));
        until("it waits for OVN", || Ok(stage.files()? == ["c1@eth0.json"] && ovs.ports()? == link))?;
        agent.stop()?;
        cut.join().expect("no panic").map(drop)
    })?;
    let _agent = stage.start()?;
    add_in_vain(&call)?;
    assert_eq!((stage.links()?, ovs.ports()?), (link.to_vec(), link.to_vec()), "it is as it should be");
    add(&ovs, &call, &vif(5).port_id)?;
    call.ok("ADD")?;
    Ok(())
}

#[test]
fn one_port_has_one_interface() -> Result<()> {
    let (stage, ovs) = stage()?;
    let _agent = stage.start()?;
    let (netns, next) = (Namespace::new()?, Namespace::new()?);
    stage.told.tell("web", vec![vif(5)]);
    stage.host.run("ip link add stale type veth peer name stale2")?;
    let id = format!("external_ids:iface-id={}", vif(5).port_id);
    ovs.vsctl(&format!("add-port br-int stale -- set Interface stale {id} external_ids:ovn-installed=true"))?;
    let first = Call::new(&stage.socket(), "web", "c1", &netns.path());
    std::thread::scope(|scope| -> Result<()> {
        let add = scope.spawn(|| first.ok("ADD"));
        until("the stale claim goes", || Ok(ovs.ports()? == [host_name("c1", "eth0")]))?;
        ovs.install(&vif(5).port_id)?;
        add.join().expect("no panic").map(|_| ())
    })?;
    // the same name once more, as a retry after a lost answer has it
    stage.host.run(&format!("ip link del {}", host_name("c1", "eth0")))?;
    std::thread::scope(|scope| -> Result<()> {
        let add = scope.spawn(|| first.ok("ADD"));
        until("it is there again", || Ok(stage.links()?.len() == 1))?;
        ovs.install(&vif(5).port_id)?;
        add.join().expect("no panic").map(|_| ())
    })?;
    let second = Call::new(&stage.socket(), "web", "c2", &next.path());
    std::thread::scope(|scope| -> Result<()> {
        let add = scope.spawn(|| second.ok("ADD"));
        until("the new one has it", || Ok(ovs.ports()? == [host_name("c2", "eth0")]))?;
        ovs.install(&vif(5).port_id)?;
        add.join().expect("no panic").map(|_| ())
    })?;
    Ok(())
}

#[test]
fn a_start_takes_ports_that_nobody_owns_off_the_bridge() -> Result<()> {
    let (stage, ovs) = stage()?;
    ovs.vsctl("--no-wait add-port br-int imorphan -- set Interface imorphan external_ids:isthmus=pod")?;
    ovs.vsctl("--no-wait add-port br-int somebodys")?;
    let _agent = stage.start()?;
    until("only what is somebody else's is left", || Ok(ovs.ports()? == ["somebodys"]))
}

#[test]
fn without_the_database_it_is_to_be_tried_again() -> Result<()> {
    let (stage, mut ovs) = stage()?;
    let _agent = stage.start()?;
    let (netns, call) = one_pod(&stage)?;
    call.ok("STATUS")?;
    ovs.kill_database()?;
    call.fails("STATUS", 50)?;
    let why = call.fails("ADD", 11)?;
    assert!(why.contains("db.sock"), "{why}");
    until("no link is left", || Ok(stage.links()?.is_empty()))?;
    assert_eq!(netns.links()?, ["lo"]);
    Ok(())
}

/// OVSDB is restarted while Pods end: they end all the same, and the database is told when it is back.
#[test]
fn del_needs_no_database() -> Result<()> {
    let (stage, mut ovs) = stage()?;
    let _agent = stage.start()?;
    let (_netns, call) = one_pod(&stage)?;
    add(&ovs, &call, &vif(5).port_id)?;
    let check = call
        .clone()
        .with("prevResult", json!({"ips": [{"address": "10.77.0.5/24"}, {"address": "fd77::5/64"}]}));
    check.ok("CHECK")?;
    ovs.kill_database()?;
    call.fails("ADD", 11)?;
    assert_eq!(stage.links()?, [host_name("c1", "eth0")], "what cannot be looked at is not broken");
    call.ok("DEL")?;
    call.ok("DEL")?;
    Call::new(&stage.socket(), "never", "seen", "").ok("DEL")?;
    until("the link goes", || Ok(stage.links()?.is_empty()))?;
    assert_eq!(stage.files()?, ["c1@eth0.json"], "Open vSwitch has the port still");
    check.fails("CHECK", 3)?;
    ovs.start_database()?;
    until("Open vSwitch was told", || Ok(ovs.ports()?.is_empty() && stage.files()?.is_empty()))?;
    add(&ovs, &call, &vif(5).port_id)?;
    call.ok("DEL")?;
    Ok(())
}

/// At a boot the agent may be first: what another boot left goes as soon as it can, and is in nobody's way.
#[test]
fn a_boot_without_the_database_yet_is_caught_up_with() -> Result<()> {
    let (stage, mut ovs) = stage()?;
    let agent = stage.start()?;
    let (_netns, call) = one_pod(&stage)?;
    add(&ovs, &call, &vif(5).port_id)?;
    agent.stop()?;
    stage.rewrite("c1", |stored| stored["boot"] = "another".into())?;
    ovs.vsctl("--no-wait add-port br-int imorphan -- set Interface imorphan external_ids:isthmus=pod")?;
    ovs.kill_database()?;
    let _agent = stage.start()?;
    call.fails("STATUS", 50)?;
    ovs.start_database()?;
    until("all of it goes", || Ok(ovs.ports()?.is_empty() && stage.files()?.is_empty()))?;
    until("no link is left", || Ok(stage.links()?.is_empty()))
}
