//! The driver `vhostuser` on a real database of Open vSwitch. Its switch has no DPDK where CI runs, and so no port of that type: most
//! tests stop it, and say in its place what OVN says. `an_application_with_dpdk_answers` has one with DPDK, and packets.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by a panic"
)]

use std::path::{Path, PathBuf};

use anyhow::Result;
use isthmus_node::netlink::host_name;
use isthmus_node::vif::Vif;
use isthmus_node_tests::{Call, Namespace, Ovs, Stage, until, vif};
use serde_json::{Value, json};

/// What tells that a port is this driver's.
const MARKED: &str = "external_ids:isthmus-vhostuser=uid-lost/eth0";

struct Sockets {
    stage: Stage,
    ovs: Ovs,
    folder: PathBuf,
}

impl Sockets {
    fn new() -> Result<Self> {
        let mut sockets = Self::with_a_switch()?;
        sockets.ovs.kill_switch()?;
        Ok(sockets)
    }

    fn with_a_switch() -> Result<Self> {
        Self::with(|stage| Ovs::start(&stage.host, stage.folder()))
    }

    /// The Pod has a second port.
    fn tell_two(&self) {
        let second = Vif { interface: "net1".into(), default_route: false, ..vif(6) };
        self.stage.told.tell("dpdk", vec![vif(5), second]);
    }

    fn with(start: impl FnOnce(&Stage) -> Result<Ovs>) -> Result<Self> {
        let mut stage = Stage::new()?;
        let ovs = start(&stage)?;
        let folder = stage.folder().join("vhostuser");
        stage.drivers.default = "vhostuser".into();
        stage.drivers.bridge = None;
        stage.drivers.ovs = Some((ovs.socket(), "br-int".into()));
        stage.drivers.vhostuser = Some(folder.clone());
        stage.told.tell("dpdk", vec![vif(5)]);
        Ok(Self { stage, ovs, folder })
    }

    /// Of the Pod.
    fn call(&self, container: &str, netns: &Namespace) -> Call {
        Call::new(&self.stage.socket(), "dpdk", container, &netns.path())
    }

    /// ADD, which OVN lets end: of all ports that it comes to wait for.
    fn add(&self, call: &Call, ports: &[String]) -> Result<Value> {
        std::thread::scope(|scope| {
            let add = scope.spawn(|| call.ok("ADD"));
            for port in ports {
                self.ovs.install(port)?;
            }
            add.join().expect("no panic")
        })
    }

    /// A port whose attachment was lost.
    fn orphan(&self, name: &str, ids: &str) -> Result<()> {
        let set = format!("set Interface {name} {ids}");
        self.ovs.vsctl(&format!("--no-wait add-port br-int {name} -- {set}")).map(drop)
    }

    fn pod(&self) -> PathBuf {
        self.folder.join("uid-dpdk")
    }

    fn is_clean(&self) -> Result<()> {
        assert_eq!((self.ovs.ports()?, self.stage.files()?), (Vec::new(), Vec::new()));
        assert!(!self.pod().exists(), "the Pod's folder is left");
        Ok(())
    }
}

fn read(path: &Path) -> Result<Value> {
    Ok(serde_json::from_slice(&std::fs::read(path)?)?)
}

#[test]
fn a_pod_has_a_port_a_socket_and_a_file() -> Result<()> {
    let sockets = Sockets::new()?;
    let _agent = sockets.stage.start()?;
    let netns = Namespace::new()?;
    let call = sockets.call("c1", &netns);
    let result = sockets.add(&call, &[vif(5).port_id])?;
    let (port, socket) = (host_name("c1", "eth0"), sockets.pod().join("eth0.sock"));
    assert_eq!(sockets.ovs.ports()?, [&*port]);
    assert_eq!(sockets.ovs.vsctl(&format!("get Interface {port} type"))?, "dpdkvhostuserclient");
    let path = sockets.ovs.vsctl(&format!("get Interface {port} options:vhost-server-path"))?;
    assert_eq!(path.trim_matches('"'), socket.display().to_string());
    let ids = sockets.ovs.vsctl(&format!("get Interface {port} external_ids"))?;
    assert!(ids.contains(&format!("attached-mac=\"{}\"", vif(5).mac)), "{ids}");

    let interfaces = result["interfaces"].as_array().unwrap();
    assert_eq!(interfaces.len(), 1, "no link is on the host");
    assert_eq!((&interfaces[0]["name"], &interfaces[0]["socketPath"]), (&json!("eth0"), &json!(socket)));
    assert_eq!(result["ips"][0]["interface"], 0);
    assert_eq!(netns.links()?, ["lo"], "the kernel has nothing of it");
    let told = read(&sockets.pod().join("eth0.json"))?;
    assert_eq!(
        (&told["vhostname"], &told["vhostmac"], &told["mode"], &told["mtu"]),
        (&json!("eth0.sock"), &json!(vif(5).mac), &json!("server"), &json!(1442))
    );
    assert_eq!(told["ips"][1], json!({"address": "fd77::5/64", "gateway": "fd77::fe"}));
    assert_eq!(told["routes"][0], json!({"dst": "0.0.0.0/0", "gw": "10.77.0.254"}));

    assert_eq!(call.ok("ADD")?, result, "a second ADD changes nothing");
    let check = call.clone().with("prevResult", result);
    check.ok("CHECK")?;
    std::fs::remove_file(sockets.pod().join("eth0.json"))?;
    assert!(check.fails("CHECK", 100)?.contains("file of eth0"));
    sockets.add(&call, &[vif(5).port_id])?;
    check.ok("CHECK")?;
    // as its application makes it, and what else it leaves
    std::os::unix::net::UnixListener::bind(&socket)?;
    std::fs::write(sockets.pod().join("log"), "")?;
    call.ok("DEL")?;
    call.ok("DEL")?;
    sockets.is_clean()
}

#[test]
fn a_pod_has_several() -> Result<()> {
    let sockets = Sockets::new()?;
    sockets.tell_two();
    let _agent = sockets.stage.start()?;
    let netns = Namespace::new()?;
    let call = sockets.call("c1", &netns);
    let result = sockets.add(&call, &[vif(5).port_id, vif(6).port_id])?;
    assert_eq!(result["interfaces"][1]["socketPath"], json!(sockets.pod().join("net1.sock")));
    for file in ["eth0.json", "net1.json"] {
        assert!(sockets.pod().join(file).exists(), "{file}");
    }
    call.ok("DEL")?;
    sockets.is_clean()
}

/// The Pod's processes may have written into its folder.
#[test]
fn what_a_sandbox_before_left_is_not_followed() -> Result<()> {
    let sockets = Sockets::new()?;
    let _agent = sockets.stage.start()?;
    let netns = Namespace::new()?;
    let precious = sockets.stage.folder().join("precious");
    std::fs::write(&precious, "as it was")?;
    std::fs::create_dir_all(sockets.pod())?;
    for name in ["eth0.json", "eth0.sock", "more"] {
        std::os::unix::fs::symlink(&precious, sockets.pod().join(name))?;
    }
    let call = sockets.call("c1", &netns);
    sockets.add(&call, &[vif(5).port_id])?;
    assert_eq!(read(&sockets.pod().join("eth0.json"))?["mode"], "server");
    assert!(!sockets.pod().join("eth0.sock").is_symlink());
    call.ok("DEL")?;
    sockets.is_clean()?;
    assert_eq!(std::fs::read_to_string(&precious)?, "as it was");
    Ok(())
}

/// Nor does what the Pod's processes leave there keep a port, or the folder.
#[test]
fn what_an_application_leaves_is_in_nobodys_way() -> Result<()> {
    let sockets = Sockets::new()?;
    sockets.tell_two();
    let _agent = sockets.stage.start()?;
    let netns = Namespace::new()?;
    let precious = sockets.stage.folder().join("precious");
    std::fs::create_dir_all(precious.join("deep"))?;
    let call = sockets.call("c1", &netns);
    for _ in 0..2 {
        sockets.add(&call, &[vif(5).port_id, vif(6).port_id])?;
        std::fs::create_dir_all(sockets.pod().join("eth0.sock/deep"))?;
        std::fs::remove_file(sockets.pod().join("eth0.json"))?;
        std::fs::create_dir_all(sockets.pod().join("eth0.json/deep"))?;
        std::os::unix::fs::symlink(&precious, sockets.pod().join("eth0.sock/deep/er"))?;
        std::os::unix::fs::symlink(&precious, sockets.pod().join("net1.sock"))?;
        std::fs::write(sockets.pod().join("x.json"), "")?;
        call.ok("DEL")?;
        sockets.is_clean()?;
    }
    std::fs::create_dir_all(sockets.pod().join("eth0.sock/deep"))?;
    sockets.add(&call, &[vif(5).port_id, vif(6).port_id])?;
    assert!(!sockets.pod().join("eth0.sock").exists(), "what a sandbox before left");
    call.ok("DEL")?;
    assert!(precious.join("deep").exists(), "no link is followed");
    sockets.is_clean()
}

/// Without DPDK Open vSwitch says that it knows no such type.
#[test]
fn a_port_that_open_vswitch_cannot_make_is_rolled_back() -> Result<()> {
    let sockets = Sockets::with_a_switch()?;
    let _agent = sockets.stage.start()?;
    let netns = Namespace::new()?;
    let why = sockets.call("c1", &netns).fails("ADD", 100)?;
    assert!(why.contains("Open vSwitch cannot use"), "{why}");
    sockets.is_clean()
}

#[test]
fn del_needs_no_database_and_a_start_removes_what_nobody_owns() -> Result<()> {
    let mut sockets = Sockets::new()?;
    let agent = sockets.stage.start()?;
    let netns = Namespace::new()?;
    let call = sockets.call("c1", &netns);
    sockets.add(&call, &[vif(5).port_id])?;
    sockets.ovs.kill_database()?;
    call.ok("DEL")?;
    sockets.ovs.start_database()?;
    until("it is told later", || Ok(sockets.ovs.ports()?.is_empty() && sockets.stage.files()?.is_empty()))?;
    sockets.is_clean()?;

    sockets.add(&call, &[vif(5).port_id])?;
    agent.stop()?;
    std::fs::remove_file(sockets.stage.state().join("c1@eth0.json"))?;
    let _agent = sockets.stage.start()?;
    until("the port goes", || Ok(sockets.ovs.ports()?.is_empty()))?;
    sockets.is_clean()
}

#[test]
fn files_go_also_where_somebody_took_the_port() -> Result<()> {
    let sockets = Sockets::new()?;
    let _agent = sockets.stage.start()?;
    let netns = Namespace::new()?;
    let call = sockets.call("c1", &netns);
    sockets.add(&call, &[vif(5).port_id])?;
    sockets.ovs.vsctl(&format!("--no-wait del-port br-int {}", host_name("c1", "eth0")))?;
    call.ok("DEL")?;
    sockets.is_clean()
}

/// Its files would stay for ever: nothing but its row tells where they are.
#[test]
fn a_port_that_another_binding_claims_goes_with_its_files() -> Result<()> {
    let sockets = Sockets::new()?;
    let plain = Vif { binding: Some("ovs".into()), ..vif(5) };
    sockets.stage.told.tell("plain", vec![plain]);
    sockets.orphan("imfirst", MARKED)?;
    let agent = sockets.stage.start()?;
    until("its start has looked for such ports", || Ok(sockets.ovs.ports()?.is_empty()))?;
    let file = sockets.folder.join("uid-lost/eth0.json");
    std::fs::create_dir_all(sockets.folder.join("uid-lost"))?;
    std::fs::write(&file, "{}")?;
    sockets.orphan("imlost", &format!("{MARKED} external_ids:iface-id={}", vif(5).port_id))?;
    let (netns, port) = (Namespace::new()?, host_name("c1", "eth0"));
    let call = Call::new(&sockets.stage.socket(), "plain", "c1", &netns.path());
    std::thread::scope(|scope| -> Result<()> {
        let add = scope.spawn(|| call.ok("ADD"));
        until("the port is there", || Ok(sockets.ovs.ports()?.contains(&port)))?;
        assert_eq!(sockets.ovs.install(&vif(5).port_id)?, port, "one has the claim");
        add.join().expect("no panic").map(drop)
    })?;
    assert_eq!(file.exists(), sockets.ovs.ports()?.contains(&"imlost".into()), "one without the other");
    agent.stop()?;
    let _agent = sockets.stage.start()?;
    until("the next start takes both", || Ok(sockets.ovs.ports()? == [&*port] && !file.exists()))?;
    call.ok("DEL")?;
    sockets.is_clean()
}

#[test]
fn two_drivers_have_one_connection() -> Result<()> {
    let sockets = Sockets::new()?;
    sockets.orphan("imone", "external_ids:isthmus=pod")?;
    sockets.orphan("imother", MARKED)?;
    let _agent = sockets.stage.start()?;
    until("both took their own", || Ok(sockets.ovs.ports()?.is_empty()))?;
    let (path, connected) = (sockets.ovs.socket(), " 0001 03 ");
    until("one is connected", || {
        // the server's ends, which are in the namespace of who connected
        let all = sockets.stage.host.run("cat /proc/net/unix")?;
        let is_it = |line: &&str| line.contains(connected) && line.ends_with(path.to_str().unwrap());
        Ok(all.lines().filter(is_it).count() == 1)
    })
}

/// By `--features dpdk` with `ISTHMUS_DPDK=ovs-vswitchd-dpdk:dpdk-testpmd`, of Debian's openvswitch-switch-dpdk and dpdk; neither needs huge pages here.
#[test]
#[cfg(feature = "dpdk")]
fn an_application_with_dpdk_answers() -> Result<()> {
    let programs = std::env::var("ISTHMUS_DPDK")?;
    let (switch, application) = programs.split_once(':').ok_or_else(|| anyhow::anyhow!("SWITCH:TESTPMD"))?;
    let sockets = Sockets::with(|stage| Ovs::start_dpdk(&stage.host, stage.folder(), switch))?;
    let _agent = sockets.stage.start()?;
    let netns = Namespace::new()?;
    let call = sockets.call("c1", &netns);
    sockets.add(&call, &[vif(5).port_id])?;
    let told = read(&sockets.pod().join("eth0.json"))?;
    let socket = sockets.pod().join(told["vhostname"].as_str().unwrap());
    // It has no addresses: it answers ARP and ICMP as whom they are for.
    let device = format!(
        "net_virtio_user0,path={},server=1,mac={}",
        socket.display(),
        told["vhostmac"].as_str().unwrap()
    );
    let mut running = netns
        .command(application)
        .args([
            "--legacy-mem",
            "--no-huge",
            "--no-pci",
            "--no-shconf",
            "-m",
            "256",
            "-l",
            "0,1",
            "--vdev",
            &device,
        ])
        .args([
            "--file-prefix=pod",
            "--",
            "--total-num-mbufs=2048",
            "--forward-mode=icmpecho",
            "--stats-period=3600",
            "--auto-start",
        ])
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()?;
    let status = format!("get Interface {} status", host_name("c1", "eth0"));
    let connected =
        until("the switch connects", || Ok(sockets.ovs.vsctl(&status)?.contains("status=connected")));
    for line in ["ip address add 10.77.0.253/24 dev br-int", "ip link set br-int up", "ip link del br0"] {
        sockets.stage.host.run(line)?;
    }
    let answered =
        until("it answers", || Ok(sockets.stage.host.run("busybox ping -c 1 -W 1 10.77.0.5").is_ok()));
    let neighbour = sockets.stage.host.ip("neighbour show 10.77.0.5")?;
    running.kill()?;
    running.wait()?;
    connected?;
    answered?;
    assert_eq!(neighbour[0]["lladdr"], json!(vif(5).mac), "by the port's address");
    call.ok("DEL")?;
    sockets.is_clean()
}
