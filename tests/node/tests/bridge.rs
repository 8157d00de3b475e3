//! The plugin, the agent and the driver `bridge`, from ADD to DEL, in real network namespaces.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by a panic"
)]

use std::os::unix::net::UnixStream;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use isthmus_cni::protocol::{self, Answer, Ask, Attached, Del, Request};
use isthmus_node::netlink::netns::Netns;
use isthmus_node::netlink::{GROUP, host_name, upper};
use isthmus_node_tests::{Call, Namespace, Stage, reach, until, vif};
use serde_json::{Value, json};

#[test]
fn add_makes_what_the_vif_says_and_del_leaves_nothing() -> Result<()> {
    let (stage, netns, call) = Stage::with_web()?;
    let mut vif = vif(5);
    vif.routes = vec![isthmus_node::vif::Route {
        destination: "192.0.2.0/24".parse()?,
        next_hop: "10.77.0.9".parse()?,
    }];
    stage.told.tell("web", vec![vif]);
    let _agent = stage.start()?;
    let result = call.ok("ADD")?;
    assert_eq!(
        result["ips"][0],
        json!({"interface": 1, "address": "10.77.0.5/24", "gateway": "10.77.0.254"})
    );
    assert_eq!(result["ips"][1]["address"], "fd77::5/64");
    assert_eq!(result["interfaces"][1]["name"], "eth0");
    assert_eq!(result["interfaces"][1]["sandbox"], netns.path());
    assert_eq!(result["routes"][0], json!({"dst": "0.0.0.0/0", "gw": "10.77.0.254"}));

    let link = netns.ip("-details link show eth0")?[0].clone();
    assert_eq!(
        (&link["address"], &link["mtu"], &link["operstate"]),
        (&json!("fa:16:3e:77:00:05"), &json!(1442), &json!("UP"))
    );
    assert_eq!((&link["num_tx_queues"], &link["num_rx_queues"]), (&json!(1), &json!(1)));
    let host = stage.host.ip(&format!("-details link show {}", host_name("c1", "eth0")))?[0].clone();
    assert_eq!((&host["master"], &host["num_tx_queues"]), (&json!("br0"), &json!(1)));
    let routes = netns.ip("route show")?.to_string();
    assert!(routes.contains("10.77.0.254") && routes.contains("192.0.2.0/24"), "{routes}");
    assert!(netns.ip("-6 route show default")?.to_string().contains("fd77::fe"));
    // real packets, both families, through the bridge
    for gateway in ["10.77.0.254", "fd77::fe"] {
        reach(&stage.host, &netns, gateway)?;
    }

    assert_eq!(call.ok("ADD")?, result, "a second ADD changes nothing");
    assert_eq!(netns.ip("link show eth0")?[0]["ifindex"], link["ifindex"]);
    call.clone().with("prevResult", result.clone()).ok("CHECK")?;
    assert_eq!(stage.files()?, ["c1@eth0.json"]);
    call.ok("DEL")?;
    stage.gone()?;
    assert_eq!(netns.links()?, ["lo"], "the Pod's end went with it");
    call.ok("DEL")?;
    call.with("prevResult", result).fails("CHECK", 3)?;
    Ok(())
}

#[test]
fn two_adds_at_once_make_one_interface() -> Result<()> {
    let (stage, _netns, call) = Stage::with_web()?;
    let _agent = stage.start()?;
    let results: Vec<Result<Value>> = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..4).map(|_| scope.spawn(|| call.ok("ADD"))).collect();
        calls.into_iter().map(|c| c.join().expect("no panic")).collect()
    });
    let results: Vec<Value> = results.into_iter().collect::<Result<_>>()?;
    assert!(results.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(stage.links()?.len(), 1);
    call.ok("DEL")?;
    call.ok("ADD")?; // while the links of before may still be there
    call.ok("DEL")?;
    stage.gone()
}

#[test]
fn thirty_pods_at_once() -> Result<()> {
    let stage = Stage::new()?;
    let _agent = stage.start()?;
    let pods: Vec<Namespace> = (0..30).map(|_| Namespace::new()).collect::<Result<_>>()?;
    let calls: Vec<Call> = (0u8..)
        .zip(&pods)
        .map(|(n, netns)| {
            stage.told.tell(&format!("p{n}"), vec![vif(n + 1)]);
            Call::new(&stage.socket(), &format!("p{n}"), &format!("c{n}"), &netns.path())
        })
        .collect();
    for verb in ["ADD", "DEL"] {
        std::thread::scope(|scope| {
            let running: Vec<_> = calls.iter().map(|call| scope.spawn(move || call.ok(verb))).collect();
            running.into_iter().try_for_each(|call| call.join().expect("no panic").map(|_| ()))
        })?;
        if verb == "ADD" {
            assert_eq!(stage.links()?.len(), 30);
        }
    }
    stage.gone()
}

/// The kernel takes as long to delete one link as to delete many, and does nothing else meanwhile.
#[test]
fn the_links_of_thirty_pods_that_go_at_once_are_deleted_in_few_batches() -> Result<()> {
    let stage = Stage::new()?;
    let agent = stage.start()?;
    let batches = || -> Result<u32> {
        let numbers = agent.http("metrics")?.1;
        let count = numbers.lines().find_map(|l| l.strip_prefix("isthmus_node_link_batches_total "));
        Ok(count.context("a number")?.parse()?)
    };
    let pods: Vec<Namespace> = (0..30).map(|_| Namespace::new()).collect::<Result<_>>()?;
    for (n, netns) in (0u8..).zip(&pods) {
        stage.told.tell(&format!("p{n}"), vec![vif(n + 1)]);
        Call::new(&stage.socket(), &format!("p{n}"), &format!("c{n}"), &netns.path()).ok("ADD")?;
    }
    let (before, begun) = (batches()?, Instant::now());
    // All are asked before the first answer is looked at: starting thirty programs takes its time.
    let asked = (0..30).map(|n| -> Result<UnixStream> {
        let attached = Attached { container: format!("c{n}"), interface: "eth0".into() };
        let mut stream = UnixStream::connect(stage.socket())?;
        let ask = Ask::Del(Del { attached, netns: None });
        protocol::write(&mut stream, &Request { version: protocol::VERSION, within_ms: 20_000, ask })?;
        Ok(stream)
    });
    for mut stream in asked.collect::<Result<Vec<_>>>()? {
        assert_eq!(protocol::read::<Answer>(&mut stream)?, Answer::Done);
    }
    stage.gone()?;
    let (count, took) = (batches()? - before, begun.elapsed());
    // Each gathers for 50 ms; one may have begun before. A slow machine takes more of them.
    let most = took.as_millis() / 50 + 2;
    assert!(count >= 1 && u128::from(count) <= most, "{count} batches in {took:?}");
    Ok(())
}

#[test]
fn a_pod_has_several_interfaces() -> Result<()> {
    let (stage, netns, call) = Stage::with_web()?;
    let second = isthmus_node::vif::Vif {
        interface: "net1".into(),
        default_route: false,
        addresses: vec!["10.78.0.5/24".parse()?],
        gateways: vec!["10.78.0.1".parse()?],
        ..vif(6)
    };
    let first = isthmus_node::vif::Vif { interface: "whatever".into(), ..vif(5) };
    let third = isthmus_node::vif::Vif {
        interface: "net2".into(),
        addresses: vec!["10.79.0.5/24".parse()?],
        gateways: vec!["10.79.0.1".parse()?],
        ..vif(7)
    };
    assert!(third.default_route, "one is enough: the first's");
    stage.told.tell("web", vec![second, first, third]);
    let _agent = stage.start()?;
    let result = call.ok("ADD")?;
    assert_eq!(result["interfaces"][1]["name"], "eth0", "the runtime's name is the default route's");
    assert_eq!(result["interfaces"][3]["name"], "net1");
    assert_eq!(result["ips"][2], json!({"interface": 3, "address": "10.78.0.5/24", "gateway": "10.78.0.1"}));
    let default = netns.ip("route show default")?;
    assert_eq!((default.as_array().unwrap().len(), &default[0]["dev"]), (1, &json!("eth0")));
    call.ok("DEL")?;
    stage.gone()
}

#[test]
fn a_restart_touches_no_pod_and_removes_what_nobody_owns() -> Result<()> {
    let (stage, netns, call) = Stage::with_web()?;
    let agent = stage.start()?;
    let result = call.ok("ADD")?;
    let before = netns.ip("link show eth0")?;
    agent.stop()?;
    for verb in ["ADD", "DEL", "STATUS"] {
        call.fails(verb, 11)?;
    }
    // as a crash between binding and storing leaves it
    let orphan = host_name("crashed", "eth0");
    stage.host.run(&format!("ip link add {orphan} group {GROUP} type veth peer name other"))?;
    stage.host.run("ip link add imnotours type veth peer name imnotours2")?;
    let _agent = stage.start()?;
    until("the orphan goes", || Ok(!stage.links()?.contains(&orphan)))?;
    assert!(stage.links()?.contains(&"imnotours".to_owned()), "it is in no group of ours");
    assert_eq!(netns.ip("link show eth0")?, before);
    assert_eq!(call.ok("ADD")?, result);
    call.ok("DEL")?;
    Ok(())
}

#[test]
fn del_needs_no_state() -> Result<()> {
    let (stage, netns, call) = Stage::with_web()?;
    let _agent = stage.start()?;
    stage.host.run(&format!(
        "ip link add {} group {GROUP} type veth peer name eth0 netns {}",
        host_name("c1", "eth0"),
        netns.path().trim_start_matches("/proc/").trim_end_matches("/ns/net"),
    ))?;
    call.ok("DEL")?;
    stage.gone()?;
    Call::new(&stage.socket(), "never", "seen", "/run/netns/gone").ok("DEL")?;
    Ok(())
}

#[test]
fn gc_removes_what_the_runtime_forgot() -> Result<()> {
    let (stage, _netns, call) = Stage::with_web()?;
    stage.told.tell("db", vec![vif(6)]);
    let other = Namespace::new()?;
    let db = Call::new(&stage.socket(), "db", "c2", &other.path());
    let _agent = stage.start()?;
    call.ok("ADD")?;
    db.ok("ADD")?;
    let orphan = host_name("crashed", "eth0");
    stage.host.run(&format!("ip link add {orphan} group {GROUP} type veth peer name other"))?;
    let valid = json!([{"containerID": "c2", "ifname": "eth0"}]);
    call.clone().with("name", "another".into()).with("cni.dev/valid-attachments", json!([])).ok("GC")?;
    assert_eq!(stage.files()?.len(), 2, "attachments of another network are not this one's");
    call.with("cni.dev/valid-attachments", valid).ok("GC")?;
    until("only one is left", || Ok(stage.links()? == [host_name("c2", "eth0")]))?;
    assert_eq!(stage.files()?, ["c2@eth0.json"]);
    Ok(())
}

#[test]
fn a_del_overtakes_an_add_that_waits() -> Result<()> {
    let (stage, netns, _) = Stage::with_web()?;
    let _agent = stage.start()?;
    let call = Call::new(&stage.socket(), "unknown", "c9", &netns.path());
    std::thread::scope(|scope| -> Result<()> {
        let add = scope.spawn(|| call.fails("ADD", 11));
        until("ADD waits", || Ok(stage.told.waiting() > 0))?;
        call.ok("DEL")?;
        let why = add.join().expect("no panic")?;
        assert!(why.contains("being deleted"), "{why}");
        Ok(())
    })?;
    stage.gone()
}

#[test]
fn a_new_sandbox_takes_the_port_over() -> Result<()> {
    let (stage, _netns, call) = Stage::with_web()?;
    let next = Namespace::new()?;
    let again = Call::new(&stage.socket(), "web", "c2", &next.path());
    let _agent = stage.start()?;
    call.ok("ADD")?;
    again.ok("ADD")?;
    until("the old link goes", || Ok(stage.links()? == [host_name("c2", "eth0")]))?;
    call.ok("DEL")?;
    assert_eq!(stage.files()?, ["c2@eth0.json"], "the late DEL of the old one leaves the new one");
    Ok(())
}

#[test]
fn what_cannot_be_bound_says_why_and_leaves_nothing() -> Result<()> {
    let (stage, netns, call) = Stage::with_web()?;
    let taken = Namespace::new()?;
    taken.run("ip link add eth0 type veth peer name eth1")?;
    stage.host.run("ip link add uplink mtu 1500 master br0 type veth peer name cloud")?;
    let file = stage.folder().join("file");
    std::fs::write(&file, "")?;
    let fifo = stage.folder().join("fifo");
    stage.host.run(&format!("mkfifo {}", fifo.display()))?;
    let large = isthmus_node::vif::Vif { mtu: Some(9000), ..vif(7) };
    let odd = isthmus_node::vif::Vif { binding: Some("carrier-pigeon".into()), ..vif(8) };
    let same = isthmus_node::vif::Vif { addresses: vif(5).addresses, ..vif(9) };
    let unreachable = isthmus_node::vif::Vif {
        routes: vec![isthmus_node::vif::Route {
            destination: "fd99::/64".parse()?,
            next_hop: "192.0.2.1".parse()?,
        }],
        ..vif(10)
    };
    let routed = Namespace::new()?;
    routed.run("ip link add other type veth peer name other2")?;
    routed.run("ip address add 192.0.2.1/24 dev other")?;
    routed.run("ip link set other up")?;
    routed.run("ip route add default via 192.0.2.254")?;
    for (name, vif) in
        [("next", vif(11)), ("large", large), ("odd", odd), ("same", same), ("mixed", unreachable)]
    {
        stage.told.tell(name, vec![vif]);
    }
    let _agent = stage.start()?;
    let socket = stage.socket();
    call.ok("ADD")?;
    let fresh = Namespace::new()?;
    let on = |pod: &str, netns: &str| Call::new(&socket, pod, &format!("x-{pod}"), netns);
    let waits = on("unknown", &fresh.path()).with("timeoutSeconds", json!(1));
    let cases = [
        (on("next", "/run/netns/gone-for-good"), 3, "is not there"),
        (on("next", file.to_str().unwrap()), 4, "no network namespace"),
        (on("next", fifo.to_str().unwrap()), 4, "no network namespace"),
        (on("next", "/proc/self/ns/mnt"), 4, "entering network namespace"),
        (on("next", &stage.host.path()), 4, "the host's own"),
        (on("next", &taken.path()), 4, "the name is taken"),
        (on("next", &routed.path()), 7, "the Pod has another, not through eth0"),
        (on("large", &fresh.path()), 7, "has MTU 9000, and uplink beneath it has 1500"),
        (on("odd", &fresh.path()), 7, "no binding driver \"carrier-pigeon\""),
        (on("same", &fresh.path()), 11, "used by Pod shop/web"),
        (on("mixed", &fresh.path()), 7, "route to fd99::/64 by 192.0.2.1 cannot be set"),
        (waits, 11, "nobody told of unknown"),
    ];
    for (bad, code, says) in cases {
        let why = bad.fails("ADD", code)?;
        assert!(why.contains(says), "{why}");
    }
    until("nothing is left of them", || Ok(fresh.links()? == ["lo"]))?;
    assert_eq!(stage.links()?, [host_name("c1", "eth0")]);
    assert_eq!(stage.files()?, ["c1@eth0.json"]);
    assert_eq!(netns.links()?.len(), 2, "who was attached before still is");
    Ok(())
}

#[test]
fn check_finds_what_was_changed() -> Result<()> {
    let changes = [
        ("ip address del 10.77.0.5/24 dev eth0", "10.77.0.5/24"),
        ("ip link set eth0 down", "has no carrier: the Pod's end is down"),
        ("ip route del default", "0.0.0.0/0"),
        ("ip link set eth0 address fa:16:3e:00:00:00", "MAC address"),
        ("ip link del eth0", "is gone"),
    ];
    for (change, says) in changes {
        let (stage, netns, call) = Stage::with_web()?;
        let _agent = stage.start()?;
        let result = call.ok("ADD")?;
        let check = call.clone().with("prevResult", result);
        check.ok("CHECK")?;
        netns.run(change)?;
        let why = check.fails("CHECK", 100)?;
        assert!(why.contains(says), "{change}: {why}");
        call.ok("ADD")?;
        check.ok("CHECK")?;
    }
    Ok(())
}

/// `tuning`, chained after ours, may give the interface another MAC address, and says so.
#[test]
fn check_takes_what_a_later_plugin_did() -> Result<()> {
    let (stage, netns, call) = Stage::with_web()?;
    let _agent = stage.start()?;
    let mut result = call.ok("ADD")?;
    let other = "fa:16:3e:00:00:99";
    netns.run(&format!("ip link set eth0 address {other}"))?;
    call.clone().with("prevResult", result.clone()).fails("CHECK", 100)?;
    result["interfaces"][1]["mac"] = other.into();
    call.with("prevResult", result).ok("CHECK")?;
    Ok(())
}

/// What only some VIFs ask for does not keep the node from serving the others.
#[test]
fn a_driver_that_is_not_the_default_one_may_be_away() -> Result<()> {
    let (mut stage, _netns, call) = Stage::with_web()?;
    stage.drivers.ovs = Some((stage.folder().join("nobody.sock"), "br-int".into()));
    let _agent = stage.start()?;
    call.ok("STATUS")?;
    call.ok("ADD")?;
    call.ok("DEL")?;
    Ok(())
}

/// Entering a Pod's namespace is done by the thread that serves.
#[test]
fn the_thread_that_was_in_a_pod_is_back() -> Result<()> {
    let pod = Namespace::new()?;
    let own = || std::fs::read_link("/proc/thread-self/ns/net");
    let before = own()?;
    let netns = Netns::open(&pod.path())?;
    let _sockets = netns.connect(true)?;
    assert_eq!(own()?, before);
    Ok(())
}

/// The kernel takes 12 ms and more for each.
#[tokio::test]
async fn links_in_a_pod_are_deleted_beside_the_thread_that_serves() -> Result<()> {
    let pod = Namespace::new()?;
    for at in 0..10 {
        pod.run(&format!("ip link add im{at} group {GROUP} type veth peer name other{at}"))?;
    }
    pod.run("ip link add imkept group 1 type veth peer name other")?;
    let inside = Netns::open(&pod.path())?.connect(false)?;
    let mut removing = std::pin::pin!(upper::remove(inside, "im", |_| false));
    tokio::select! {
        biased;
        done = &mut removing => bail!("the thread was kept waiting: {done:?}"),
        () = std::future::ready(()) => {}
    }
    removing.await?;
    let mut left = pod.links()?;
    left.sort();
    assert_eq!(left, ["imkept", "lo", "other"], "what is not ours stays");
    Ok(())
}

#[test]
fn a_disk_that_fails_is_told_beside_a_link_that_cannot_be_made() -> Result<()> {
    let (stage, _netns, call) = Stage::with_web()?;
    let _agent = stage.start()?;
    std::fs::remove_dir_all(stage.state())?;
    stage.host.run("ip link del br0")?;
    let why = call.fails("ADD", 11)?;
    assert!(why.contains("no bridge br0") && why.contains("its file was not written: attachment"), "{why}");
    Ok(())
}
