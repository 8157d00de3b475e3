//! The drivers `vlan`, `macvlan` and `ipvlan`, from ADD to DEL, under a kernel that has them. A namespace beyond the node's uplink
//! plays the cloud: a switch that bridges the VLANs, as a trunk's subports of one network are.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by a panic"
)]

use anyhow::{Context, Result};
use isthmus_node::netlink::host_name;
use isthmus_node::vif::{Route, Vif};
use isthmus_node_tests::guest::in_guest;
use isthmus_node_tests::{Call, Namespace, Stage, reach, until, vif};
use serde_json::{Value, json};

const DRIVERS: [&str; 3] = ["vlan", "macvlan", "ipvlan"];
const GATEWAYS: [&str; 2] = ["10.77.0.254", "fd77::fe"];
/// The uplink's, which those of ipvlan have too.
const MAC: &str = "fa:16:3e:00:00:aa";

/// A node with an uplink, and what is at its other end.
struct Nested {
    stage: Stage,
    cloud: Namespace,
}

/// Pod `p{n}` on the network of `vif(n)`; its VLAN is `100 + n`.
fn nested_vif(n: u8) -> Vif {
    Vif { segmentation_id: Some(100 + u16::from(n)), ..vif(n) }
}

impl Nested {
    fn new(driver: &str) -> Result<Self> {
        let mut stage = Stage::new()?;
        stage.drivers.default = driver.into();
        stage.drivers.bridge = None;
        stage.drivers.nested_parent = Some("eth0".into());
        let nested = Self { stage, cloud: Namespace::new()? };
        nested.plug()?;
        for n in 1..=3 {
            nested.stage.told.tell(&format!("p{n}"), vec![nested_vif(n)]);
        }
        Ok(nested)
    }

    /// The uplink, called as a Pod's interface is, and the switch with the gateway's addresses.
    fn plug(&self) -> Result<()> {
        let (host, cloud) = (&self.stage.host, &self.cloud);
        let keeper = cloud.path().trim_start_matches("/proc/").trim_end_matches("/ns/net").to_owned();
        host.run(&format!("ip link add eth0 address {MAC} type veth peer name port netns {keeper}"))?;
        host.run("ip link set eth0 up")?;
        cloud.run("ip link add switch type bridge")?;
        for address in ["10.77.0.254/24", "fd77::fe/64 nodad"] {
            cloud.run(&format!("ip address add {address} dev switch"))?;
        }
        for vlan in 101..=103 {
            cloud.run(&format!("ip link add link port name vlan{vlan} type vlan id {vlan}"))?;
        }
        for port in ["port", "vlan101", "vlan102", "vlan103"] {
            // without VLANs the port itself is one
            if (port == "port") != (self.stage.drivers.default == "vlan") {
                cloud.run(&format!("ip link set {port} master switch"))?;
            }
            cloud.run(&format!("ip link set {port} up"))?;
        }
        cloud.run("ip link set switch up")?;
        Ok(())
    }

    fn call(&self, n: u8, netns: &Namespace) -> Call {
        Call::new(&self.stage.socket(), &format!("p{n}"), &format!("c{n}"), &netns.path())
    }

    /// Neither a link nor a file.
    fn is_clean(&self) -> Result<()> {
        assert_eq!(self.stage.files()?, Vec::<String>::new());
        assert_eq!(self.stage.host.links()?.len(), 3, "lo, br0, eth0: {:?}", self.stage.host.links()?);
        Ok(())
    }
}

/// What `ip` tells of `eth0`, which runs. Not its `operstate`: the kernel gets to that later, and with ipvlan never.
fn eth0(netns: &Namespace) -> Result<Value> {
    let mut link = netns.ip("-details link show eth0")?[0].clone();
    let flags = link["flags"].as_array().context("flags")?;
    assert!(flags.contains(&json!("UP")) && flags.contains(&json!("LOWER_UP")), "{link}");
    link["operstate"].take();
    Ok(link)
}

fn pods_talk(driver: &str) -> Result<()> {
    let nested = Nested::new(driver)?;
    let _agent = nested.stage.start()?;
    let pods = [Namespace::new()?, Namespace::new()?];
    let calls = [nested.call(1, &pods[0]), nested.call(2, &pods[1])];
    let results = [calls[0].ok("ADD")?, calls[1].ok("ADD")?];
    for (n, netns) in (1u8..).zip(&pods) {
        let (link, result) = (eth0(netns)?, &results[usize::from(n) - 1]);
        let mac = if driver == "ipvlan" { MAC.to_owned() } else { vif(n).mac };
        assert_eq!((&link["address"], &link["mtu"]), (&json!(mac), &json!(1442)));
        assert_eq!(
            (&link["ifalias"], &link["num_tx_queues"]),
            (&json!(host_name(&format!("c{n}"), "eth0")), &json!(1))
        );
        assert_eq!(link["linkinfo"]["info_kind"], driver);
        let data = &link["linkinfo"]["info_data"];
        match driver {
            "vlan" => assert_eq!((&data["id"], &data["protocol"]), (&json!(100 + n), &json!("802.1Q"))),
            "macvlan" => assert_eq!(data["mode"], "bridge"),
            _ => assert_eq!(data["mode"], "l2"),
        }
        // nothing of it is on the host
        let interfaces = result["interfaces"].as_array().context("interfaces")?;
        assert_eq!(
            (interfaces.len(), &interfaces[0]["name"], &interfaces[0]["mac"]),
            (1, &json!("eth0"), &json!(mac))
        );
        assert_eq!(
            (&result["ips"][0]["interface"], &result["ips"][1]["address"]),
            (&json!(0), &json!(format!("fd77::{n}/64")))
        );
        for gateway in GATEWAYS {
            reach(&nested.cloud, netns, gateway)?;
        }
    }
    assert_eq!(nested.stage.host.links()?.len(), 3);
    for address in ["10.77.0.2", "fd77::2"] {
        reach(&pods[1], &pods[0], address)?;
    }
    let before = eth0(&pods[0])?;
    assert_eq!(calls[0].ok("ADD")?, results[0], "a second ADD changes nothing");
    assert_eq!(eth0(&pods[0])?["ifindex"], before["ifindex"]);
    calls[0].clone().with("prevResult", results[0].clone()).ok("CHECK")?;
    for call in &calls {
        call.ok("DEL")?;
        call.ok("DEL")?;
    }
    for netns in &pods {
        assert_eq!(netns.links()?, ["lo"]);
    }
    calls[0].clone().with("prevResult", results[0].clone()).fails("CHECK", 3)?;
    nested.is_clean()
}

#[test]
fn vlan_pods_talk() -> Result<()> {
    in_guest("vlan_pods_talk", || pods_talk("vlan"))
}

#[test]
fn macvlan_pods_talk() -> Result<()> {
    in_guest("macvlan_pods_talk", || pods_talk("macvlan"))
}

#[test]
fn ipvlan_pods_talk() -> Result<()> {
    in_guest("ipvlan_pods_talk", || pods_talk("ipvlan"))
}

#[test]
fn two_drivers_serve_one_pod() -> Result<()> {
    in_guest("two_drivers_serve_one_pod", || {
        let nested = Nested::new("vlan")?;
        let second = Vif {
            interface: "net1".into(),
            binding: Some("macvlan".into()),
            default_route: false,
            addresses: vec!["10.78.0.5/24".parse()?],
            gateways: Vec::new(),
            ..vif(9)
        };
        nested.stage.told.tell("p1", vec![nested_vif(1), second]);
        let _agent = nested.stage.start()?;
        let netns = Namespace::new()?;
        let result = nested.call(1, &netns).ok("ADD")?;
        assert_eq!(
            (&result["interfaces"][1]["name"], &result["ips"][2]["interface"]),
            (&json!("net1"), &json!(1))
        );
        assert_eq!(netns.links()?.len(), 3);
        nested.call(1, &netns).ok("DEL")?;
        assert_eq!(netns.links()?, ["lo"]);
        nested.is_clean()
    })
}

#[test]
fn what_cannot_be_bound_says_why_and_leaves_nothing() -> Result<()> {
    in_guest("what_cannot_be_bound_says_why_and_leaves_nothing", || {
        let nested = Nested::new("vlan")?;
        let (stage, host) = (&nested.stage, &nested.stage.host);
        let [taken, fresh, first] = [Namespace::new()?, Namespace::new()?, Namespace::new()?];
        taken.run("ip link add eth0 type veth peer name eth1")?;
        let route = Route { destination: "fd99::/64".parse()?, next_hop: "192.0.2.1".parse()? };
        let bound = |driver: &str, vif: Vif| Vif { binding: Some(driver.into()), ..vif };
        for (name, vif) in [
            ("untagged", Vif { segmentation_id: None, ..vif(5) }),
            ("large", Vif { mtu: Some(9000), ..nested_vif(5) }),
            ("next", nested_vif(5)),
            ("late", Vif { routes: vec![route], ..nested_vif(5) }),
            ("same-vlan", Vif { segmentation_id: Some(101), ..nested_vif(5) }),
            ("macvlan", bound("macvlan", vif(6))),
            ("same-mac", bound("macvlan", Vif { mac: vif(6).mac, ..vif(7) })),
            ("node-mac", bound("macvlan", Vif { mac: MAC.into(), ..vif(7) })),
            ("ipvlan", bound("ipvlan", vif(8))),
        ] {
            stage.told.tell(name, vec![vif]);
        }
        let _agent = stage.start()?;
        let socket = stage.socket();
        let on = |pod: &str, netns: &Namespace| Call::new(&socket, pod, &format!("x-{pod}"), &netns.path());
        nested.call(1, &first).ok("ADD")?;
        let cases = [
            (on("untagged", &fresh), 11, "needs the segmentationId"),
            (on("large", &fresh), 7, "has MTU 9000, and eth0 beneath it has 1500"),
            (on("next", &taken), 4, "the name is taken"),
            (on("late", &fresh), 7, "route to fd99::/64 by 192.0.2.1 cannot be set"),
            (on("same-vlan", &fresh), 11, "VLAN 101 of eth0 has another interface"),
        ];
        for (bad, code, says) in cases {
            let why = bad.fails("ADD", code)?;
            assert!(why.contains(says), "{why}");
        }
        let other = Namespace::new()?;
        on("macvlan", &other).ok("ADD")?;
        for (bad, code, says) in [
            (on("same-mac", &fresh), 11, "its MAC address is used on eth0"),
            (on("node-mac", &fresh), 11, "its MAC address is used on eth0"),
            (on("ipvlan", &fresh), 7, "macvlan and ipvlan exclude each other"),
        ] {
            let why = bad.fails("ADD", code)?;
            assert!(why.contains(says), "{why}");
        }
        host.run("ip link set eth0 down")?;
        let why = on("next", &fresh).fails("ADD", 11)?;
        assert!(why.contains("eth0 is down") && why.contains("set it up"), "{why}");
        assert_eq!(fresh.links()?, ["lo"]);
        assert_eq!(taken.links()?.len(), 3, "what was there stays");
        assert_eq!(stage.files()?.len(), 2, "of those that are attached");
        on("macvlan", &other).ok("DEL")?;
        nested.call(1, &first).ok("DEL")?;
        nested.is_clean()
    })
}

#[test]
fn a_parent_that_goes_and_comes_again() -> Result<()> {
    in_guest("a_parent_that_goes_and_comes_again", || {
        for driver in DRIVERS {
            let nested = Nested::new(driver)?;
            let _agent = nested.stage.start()?;
            let netns = Namespace::new()?;
            let call = nested.call(1, &netns);
            call.ok("STATUS")?;
            let result = call.ok("ADD")?;
            let check = call.clone().with("prevResult", result.clone());
            nested.stage.host.run("ip link del eth0")?;
            assert_eq!(netns.links()?, ["lo"], "the kernel takes it along");
            let why = check.fails("CHECK", 11)?;
            assert!(
                why.contains("the node has no interface eth0") && why.contains("--nested-parent"),
                "{why}"
            );
            assert!(call.fails("STATUS", 50)?.contains("the node has no interface eth0"));
            nested.cloud.run("ip link del switch")?;
            nested.plug()?;
            let why = check.fails("CHECK", 100)?;
            assert!(why.contains("has no interface eth0"), "{why}");
            assert_eq!(call.ok("ADD")?, result, "it is made anew");
            check.ok("CHECK")?;
            reach(&nested.cloud, &netns, GATEWAYS[0])?;
            call.ok("DEL")?;
        }
        Ok(())
    })
}

/// As when the node's network configuration is loaded anew. A vlan link of the kernel's own kind would lose its IPv6 addresses and
/// its routes.
#[test]
fn a_parent_that_goes_down_and_up_costs_no_pod_its_network() -> Result<()> {
    in_guest("a_parent_that_goes_down_and_up_costs_no_pod_its_network", || {
        for driver in DRIVERS {
            let nested = Nested::new(driver)?;
            let _agent = nested.stage.start()?;
            let netns = Namespace::new()?;
            let call = nested.call(1, &netns);
            let check = call.clone().with("prevResult", call.ok("ADD")?);
            nested.stage.host.run("ip link set eth0 down")?;
            assert!(check.fails("CHECK", 11)?.contains("the node's interface eth0 is down"));
            nested.stage.host.run("ip link set eth0 up")?;
            check.ok("CHECK").with_context(|| format!("{driver}: it is as it was"))?;
            for gateway in GATEWAYS {
                until("the gateway answers", || Ok(reach(&nested.cloud, &netns, gateway).is_ok()))?;
            }
            call.ok("DEL")?;
            nested.is_clean()?;
        }
        Ok(())
    })
}

/// What an agent has lost the files of goes by what the runtime says of it.
#[test]
fn del_needs_no_state_where_the_runtime_names_the_namespace() -> Result<()> {
    in_guest("del_needs_no_state_where_the_runtime_names_the_namespace", || {
        for driver in DRIVERS {
            let nested = Nested::new(driver)?;
            let agent = nested.stage.start()?;
            let pods = [Namespace::new()?, Namespace::new()?];
            let [call, other] = [nested.call(1, &pods[0]), nested.call(2, &pods[1])];
            call.ok("ADD")?;
            other.ok("ADD")?;
            // of an ADD that failed: a container's other interfaces are none of its business
            call.clone().of_interface("net9").ok("DEL")?;
            eth0(&pods[0])?;
            agent.stop()?;
            std::fs::remove_file(nested.stage.state().join("c1@eth0.json"))?;
            let _agent = nested.stage.start()?;
            call.ok("DEL")?;
            assert_eq!(pods[0].links()?, ["lo"]);
            // what another container has stays, whatever path it is asked for at
            Call::new(&nested.stage.socket(), "p3", "c3", &pods[1].path()).ok("DEL")?;
            eth0(&pods[1])?;
            other.ok("DEL")?;
            nested.is_clean()?;
        }
        Ok(())
    })
}

/// A Pod whose file cannot be read runs on: nothing may be said of it before its DEL.
#[test]
fn a_file_that_cannot_be_read_stays_a_loss_until_del() -> Result<()> {
    in_guest("a_file_that_cannot_be_read_stays_a_loss_until_del", || {
        let nested = Nested::new("macvlan")?;
        let agent = nested.stage.start()?;
        let pods = [Namespace::new()?, Namespace::new()?];
        let [call, other] = [nested.call(1, &pods[0]), nested.call(2, &pods[1])];
        call.ok("ADD")?;
        other.ok("ADD")?;
        agent.stop()?;
        std::fs::write(nested.stage.state().join("c1@eth0.json"), "{")?;
        let _agent = nested.stage.start()?;
        let lost = || -> Result<bool> { Ok(nested.stage.files()?.contains(&"lost".to_owned())) };
        assert!(lost()?, "{:?}", nested.stage.files()?);
        other.ok("DEL")?;
        assert!(lost()?, "the DEL of another one tells nothing of it");
        eth0(&pods[0])?;
        call.ok("DEL")?;
        assert_eq!(pods[0].links()?, ["lo"]);
        until("all is known again", || Ok(!lost()?))?;
        nested.is_clean()
    })
}

#[test]
fn check_finds_what_was_changed() -> Result<()> {
    in_guest("check_finds_what_was_changed", || {
        for (driver, change, says) in [
            ("vlan", "ip address del 10.77.0.1/24 dev eth0", "10.77.0.1/24"),
            ("vlan", "ip link set eth0 address fa:16:3e:00:00:00", "MAC address"),
            ("macvlan", "ip link del eth0", "no interface"),
            ("ipvlan", "ip link set eth0 down", "is down"),
        ] {
            let nested = Nested::new(driver)?;
            let _agent = nested.stage.start()?;
            let netns = Namespace::new()?;
            let call = nested.call(1, &netns);
            let check = call.clone().with("prevResult", call.ok("ADD")?);
            check.ok("CHECK")?;
            netns.run(change)?;
            let why = check.fails("CHECK", 100)?;
            assert!(why.contains(says), "{change}: {why}");
            call.ok("ADD")?;
            check.ok("CHECK")?;
        }
        Ok(())
    })
}

#[test]
fn a_restart_touches_no_pod_and_an_add_that_was_cut_off_is_undone() -> Result<()> {
    in_guest("a_restart_touches_no_pod_and_an_add_that_was_cut_off_is_undone", || {
        for driver in DRIVERS {
            let nested = Nested::new(driver)?;
            let agent = nested.stage.start()?;
            let pods = [Namespace::new()?, Namespace::new()?];
            let [call, cut] = [nested.call(1, &pods[0]), nested.call(2, &pods[1])];
            let result = call.ok("ADD")?;
            cut.ok("ADD")?;
            let before = eth0(&pods[0])?;
            agent.stop()?;
            // as a crash after binding, and before ADD has answered, leaves it
            nested.stage.rewrite("c2", |stored| {
                (stored["begun"], stored["unhook"]) = (true.into(), true.into());
            })?;
            let _agent = nested.stage.start()?;
            until("what was cut off goes", || Ok(nested.stage.files()? == ["c1@eth0.json"]))?;
            assert_eq!(pods[1].links()?, ["lo"]);
            assert_eq!(eth0(&pods[0])?, before);
            assert_eq!(call.ok("ADD")?, result);
            cut.ok("ADD")?;
            for call in [call, cut] {
                call.ok("DEL")?;
            }
            nested.is_clean()?;
        }
        Ok(())
    })
}

#[test]
fn a_pods_namespace_that_is_gone_took_its_interface_along() -> Result<()> {
    in_guest("a_pods_namespace_that_is_gone_took_its_interface_along", || {
        for driver in DRIVERS {
            let nested = Nested::new(driver)?;
            let _agent = nested.stage.start()?;
            let netns = Namespace::new()?;
            let call = nested.call(1, &netns);
            call.ok("ADD")?;
            drop(netns);
            call.ok("DEL")?;
            nested.is_clean()?;
            // the kernel takes a namespace down in the background
            let next = Namespace::new()?;
            let again = Call::new(&nested.stage.socket(), "p1", "c9", &next.path());
            until("the VLAN id and the addresses are free", || Ok(again.run("ADD")?.is_ok()))?;
            reach(&nested.cloud, &next, GATEWAYS[0])?;
            again.ok("DEL")?;
        }
        Ok(())
    })
}

#[test]
fn a_path_that_leads_to_another_pod_by_now_costs_that_one_nothing() -> Result<()> {
    in_guest("a_path_that_leads_to_another_pod_by_now_costs_that_one_nothing", || {
        let nested = Nested::new("macvlan")?;
        let agent = nested.stage.start()?;
        let pods = [Namespace::new()?, Namespace::new()?];
        let [gone, other] = [nested.call(1, &pods[0]), nested.call(2, &pods[1])];
        gone.ok("ADD")?;
        other.ok("ADD")?;
        agent.stop()?;
        nested.stage.rewrite("c1", |stored| stored["netns"] = pods[1].path().into())?;
        let _agent = nested.stage.start()?;
        gone.ok("DEL")?;
        assert_eq!(nested.stage.files()?, ["c2@eth0.json"]);
        eth0(&pods[1])?;
        reach(&nested.cloud, &pods[1], GATEWAYS[0])
    })
}

#[test]
fn a_new_sandbox_takes_the_port_over_and_gc_takes_what_is_forgotten() -> Result<()> {
    in_guest("a_new_sandbox_takes_the_port_over_and_gc_takes_what_is_forgotten", || {
        for driver in DRIVERS {
            let nested = Nested::new(driver)?;
            let _agent = nested.stage.start()?;
            let pods = [Namespace::new()?, Namespace::new()?];
            let call = nested.call(1, &pods[0]);
            let again = Call::new(&nested.stage.socket(), "p1", "c2", &pods[1].path());
            call.ok("ADD")?;
            again.ok("ADD")?;
            assert_eq!(pods[0].links()?, ["lo"], "one port, one interface");
            reach(&nested.cloud, &pods[1], GATEWAYS[1])?;
            call.ok("DEL")?;
            assert_eq!(nested.stage.files()?, ["c2@eth0.json"]);
            again.with("cni.dev/valid-attachments", json!([])).ok("GC")?;
            assert_eq!(pods[1].links()?, ["lo"]);
            nested.is_clean()?;
        }
        Ok(())
    })
}
