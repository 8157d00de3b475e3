//! The driver `sriov`. There is no network card with virtual functions here: sysfs is a folder that the test fills, and links of the
//! kind veth stand in for card and functions, so that the way into a Pod and back is the kernel's own. What is set at the physical
//! function such a link does not know; `settings_are_those_of_the_vif` has a kernel with netdevsim for it, which CI has not.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by a panic"
)]

#[cfg(feature = "netdevsim")]
mod netdevsim;

use std::collections::BTreeSet;
use std::fs;
use std::future::ready;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::pin::Pin;

use anyhow::{Result, bail};
use isthmus_cni::Error;
use isthmus_cni::protocol::PodReference;
use isthmus_node::attachments::Link;
use isthmus_node::binding::{Drivers, Host, Later, Pod, SriovOptions};
use isthmus_node::netlink::functions::{self, Place, Settings};
use isthmus_node::netlink::host_name;
use isthmus_node::netlink::netns::Netns;
use isthmus_node::vif::Vif;
use isthmus_node_tests::{Call, Kubelet, Namespace, Stage, reach, until, vif};
use serde_json::{Value, json};

const RESOURCE: &str = "example.com/fast";
/// Number of the function that a driver of user space has.
const VFIO: u8 = 3;

/// A node with a card, whose functions 0 to 2 have interfaces `vf0` to `vf2` that lead to the node's bridge.
struct Card {
    stage: Stage,
    kubelet: Kubelet,
    sysfs: PathBuf,
}

fn address(n: u8) -> String {
    format!("0000:3b:02.{n}")
}

/// MAC address of a function that is nobody's.
fn own_mac(n: u8) -> String {
    format!("02:00:00:00:00:{n:02x}")
}

/// `vif(n)` on a function.
fn on(device: &str, n: u8) -> Vif {
    Vif { device: Some(device.into()), ..vif(n) }
}

impl Card {
    fn new() -> Result<Self> {
        let card = Self::new_without_parent()?;
        card.stage.host.run("ip link add card type veth peer name cable")?;
        for link in ["cable", "card"] {
            card.stage.host.run(&format!("ip link set {link} up"))?;
        }
        Ok(card)
    }

    /// The card's interface, `card`, is the caller's to make.
    fn new_without_parent() -> Result<Self> {
        let mut stage = Stage::new()?;
        let (sysfs, pod_resources) = (stage.folder().join("sys"), stage.folder().join("kubelet.sock"));
        let kubelet = Kubelet::start(&pod_resources)?;
        stage.drivers.default = "sriov".into();
        stage.drivers.sriov = Some(SriovOptions { sysfs: sysfs.clone(), pod_resources });
        let card = Self { stage, kubelet, sysfs };
        let devices = card.devices();
        fs::create_dir_all(devices.join("0000:3b:00.0/net/card"))?;
        for n in 0..=VFIO {
            let device = devices.join(address(n));
            let driver = if n == VFIO { "vfio-pci" } else { "iavf" };
            fs::create_dir_all(&device)?;
            symlink("../0000:3b:00.0", device.join("physfn"))?;
            symlink(format!("../../drivers/{driver}"), device.join("driver"))?;
            symlink(format!("../{}", address(n)), devices.join(format!("0000:3b:00.0/virtfn{n}")))?;
            if n != VFIO {
                fs::create_dir_all(device.join("net").join(format!("vf{n}")))?;
                card.plug(n)?;
            }
        }
        Ok(card)
    }

    fn devices(&self) -> PathBuf {
        self.sysfs.join("bus/pci/devices")
    }

    /// Makes the interface of a function.
    fn plug(&self, n: u8) -> Result<()> {
        self.plug_as(n, &format!("vf{n}"))
    }

    fn plug_as(&self, n: u8, name: &str) -> Result<()> {
        let host = &self.stage.host;
        host.run(&format!("ip link add {name} address {} type veth peer name wire{n}", own_mac(n)))?;
        host.run(&format!("ip link set wire{n} master br0 up"))?;
        Ok(())
    }

    /// A Pod `web` that has this function.
    fn one_pod(&self, n: u8) -> Result<(Namespace, Call)> {
        self.stage.told.tell("web", vec![on(&address(n), 5)]);
        let netns = Namespace::new()?;
        let call = self.call("web", "c1", &netns);
        call.ok("ADD")?;
        Ok((netns, call))
    }

    /// A Pod had the first function, and its namespace ended before DEL: its interface is not back yet.
    fn one_pod_ends(&self) -> Result<()> {
        let (netns, call) = self.one_pod(0)?;
        self.ends(netns, 0)?;
        call.ok("DEL")?;
        assert_eq!(self.stage.files()?, ["c1@eth0.json"], "it is not back yet");
        Ok(())
    }

    /// The Pod's namespace ends, and with it an interface of the kind veth.
    fn ends(&self, netns: Namespace, n: u8) -> Result<()> {
        drop(netns);
        let wire = format!("wire{n}");
        until("the kernel took the namespace down", || Ok(!self.stage.host.links()?.contains(&wire)))
    }

    fn call(&self, pod: &str, container: &str, netns: &Namespace) -> Call {
        Call::new(&self.stage.socket(), pod, container, &netns.path())
    }

    /// A function is on the host as if no Pod had ever had it.
    fn is_home(&self, n: u8) -> Result<bool> {
        let links = self.stage.host.ip("-details link show")?;
        let name = format!("vf{n}");
        let found = links.as_array().unwrap().iter().find(|link| link["ifname"] == name);
        Ok(found.is_some_and(|link| {
            (&link["address"], &link["mtu"], &link["ifalias"])
                == (&json!(own_mac(n)), &json!(1500), &Value::Null)
        }))
    }

    fn is_clean(&self) -> Result<()> {
        assert_eq!(self.stage.files()?, Vec::<String>::new());
        for n in 0..VFIO {
            assert!(self.is_home(n)?, "vf{n}: {}", self.stage.host.ip("-details link show")?);
        }
        Ok(())
    }
}

fn eth0(netns: &Namespace) -> Result<Value> {
    Ok(netns.ip("-details link show eth0")?[0].clone())
}

#[test]
fn a_function_is_the_pods_and_comes_back() -> Result<()> {
    let card = Card::new()?;
    card.stage.told.tell("web", vec![on(&address(1), 5)]);
    let agent = card.stage.start()?;
    let netns = Namespace::new()?;
    let call = card.call("web", "c1", &netns);
    let result = call.ok("ADD")?;
    let link = eth0(&netns)?;
    assert_eq!(
        (&link["address"], &link["mtu"], &link["ifalias"]),
        (&json!(vif(5).mac), &json!(1442), &json!(host_name("c1", "eth0")))
    );
    assert!(!card.stage.host.links()?.contains(&"vf1".into()), "it is nowhere else");
    let interfaces = result["interfaces"].as_array().unwrap();
    assert_eq!((interfaces.len(), &interfaces[0]["pciID"]), (1, &json!(address(1))));
    assert_eq!((&interfaces[0]["name"], &interfaces[0]["mac"]), (&json!("eth0"), &json!(vif(5).mac)));
    for gateway in ["10.77.0.254", "fd77::fe"] {
        reach(&card.stage.host, &netns, gateway)?;
    }
    assert_eq!(call.ok("ADD")?, result, "a second ADD changes nothing");
    let check = call.clone().with("prevResult", result.clone());
    check.ok("CHECK")?;
    netns.run("ip link set eth0 address 02:00:00:00:00:99")?;
    check.fails("CHECK", 100)?;
    assert_eq!(call.ok("ADD")?, result, "it is made anew");
    check.ok("CHECK")?;

    agent.stop()?;
    let _agent = card.stage.start()?;
    check.ok("CHECK")?;
    // the host has one of the Pod's name
    card.stage.host.run("ip link add eth0 type veth peer name other")?;
    call.ok("DEL")?;
    call.ok("DEL")?;
    assert_eq!(netns.links()?, ["lo"]);
    card.is_clean()
}

#[test]
fn kubelet_says_which_functions_a_pod_was_given() -> Result<()> {
    let card = Card::new()?;
    let second = Vif { interface: "net1".into(), default_route: false, ..on(RESOURCE, 6) };
    card.stage.told.tell("web", vec![on(RESOURCE, 5), second]);
    let _agent = card.stage.start()?;
    let netns = Namespace::new()?;
    let call = card.call("web", "c1", &netns);
    let why = call.fails("ADD", 11)?;
    assert!(why.contains(RESOURCE), "{why}");
    card.kubelet.give("other", RESOURCE, &[&address(1)]);
    card.kubelet.give("web", "example.com/slow", &[&address(1)]);
    card.kubelet.give("web", RESOURCE, &[&address(2)]);
    let why = call.fails("ADD", 11)?;
    assert!(why.contains("one is needed for each interface"), "{why}");
    card.is_clean()?;
    card.kubelet.give("web", RESOURCE, &[&address(0)]);
    let result = call.ok("ADD")?;
    let given = ["eth0", "net1"].map(|name| {
        let all = result["interfaces"].as_array().unwrap();
        all.iter().find(|interface| interface["name"] == name).unwrap()["pciID"].clone()
    });
    assert_eq!(given, [json!(address(2)), json!(address(0))]);
    call.ok("DEL")?;
    card.is_clean()
}

#[test]
fn a_function_is_one_pods() -> Result<()> {
    let card = Card::new()?;
    card.stage.told.tell_all([("first", on(&address(0), 5)), ("second", on(&address(0), 6))]);
    let _agent = card.stage.start()?;
    let pods = [Namespace::new()?, Namespace::new()?, Namespace::new()?];
    let [first, second] = [card.call("first", "c1", &pods[0]), card.call("second", "c2", &pods[1])];
    first.ok("ADD")?;
    let why = second.fails("ADD", 11)?;
    assert!(why.contains(&address(0)), "{why}");
    assert_eq!(eth0(&pods[0])?["address"], json!(vif(5).mac), "nobody took it away");
    // another sandbox of the same Pod
    let again = card.call("first", "c3", &pods[2]);
    again.ok("ADD")?;
    assert_eq!((pods[0].links()?, &eth0(&pods[2])?["address"]), (vec!["lo".into()], &json!(vif(5).mac)));
    first.ok("DEL")?;
    again.ok("DEL")?;
    second.ok("ADD")?;
    second.ok("DEL")?;
    card.is_clean()
}

#[test]
fn what_cannot_be_is_refused_and_undone() -> Result<()> {
    let card = Card::new()?;
    let large = Vif { mtu: Some(9000), ..on(&address(0), 5) };
    let vlan = Vif { segmentation_id: Some(300), ..on(&address(0), 5) };
    let trusted = Vif { trusted: true, ..on(&address(0), 5) };
    let twice = Vif { interface: "net1".into(), default_route: false, ..on(&address(0), 6) };
    card.stage.told.tell("twice", vec![on(&address(0), 5), twice]);
    card.stage.told.tell_all([
        ("large", large),
        ("vlan", vlan),
        ("trusted", trusted),
        ("none", vif(5)),
        ("gone", on("0000:3b:09.0", 5)),
        ("whole", on("0000:3b:00.0", 5)),
        ("user", on(&address(VFIO), 5)),
        ("good", on(&address(0), 5)),
    ]);
    let _agent = card.stage.start()?;
    let netns = Namespace::new()?;
    for (pod, code, says) in [
        ("large", 7, "MTU 9000"),
        ("vlan", 7, "does not support"),
        ("trusted", 7, "does not support"),
        // without an interface of its own nothing else gives it the port's address
        ("user", 7, "does not support"),
        ("none", 7, "has no device"),
        ("gone", 11, "the node has none there"),
        ("whole", 7, "no virtual function"),
        ("twice", 7, "one device"),
    ] {
        let why = card.call(pod, "c1", &netns).fails("ADD", code)?;
        assert!(why.contains(says), "{pod}: {why}");
        assert_eq!(netns.links()?, ["lo"], "{pod}");
        card.is_clean()?;
    }
    let good = card.call("good", "c1", &netns);
    for (break_it, mend_it, code, says) in [
        ("ip link set cable down", "ip link set cable up", 11, "no carrier"),
        ("ip link set card down", "ip link set card up", 11, "is down"),
        ("ip link set card name other", "ip link set other name card", 11, "is gone"),
    ] {
        card.stage.host.run(break_it)?;
        let why = good.fails("ADD", code)?;
        assert!(why.contains(says), "{break_it}: {why}");
        card.stage.host.run(mend_it)?;
        card.is_clean()?;
    }
    for link in ["card", "cable"] {
        card.stage.host.run(&format!("ip link set {link} up"))?;
    }
    netns.run("ip link add eth0 type veth peer name other")?;
    let why = good.fails("ADD", 4)?;
    assert!(why.contains("name is taken"), "{why}");
    card.is_clean()?;
    netns.run("ip link del eth0")?;
    good.ok("ADD")?;
    good.ok("DEL")?;
    card.is_clean()
}

#[test]
fn an_add_that_was_cut_off_is_undone() -> Result<()> {
    let card = Card::new()?;
    let agent = card.stage.start()?;
    let (netns, call) = card.one_pod(0)?;
    agent.stop()?;
    let file = card.stage.state().join("c1@eth0.json");
    let mut stored: Value = serde_json::from_slice(&fs::read(&file)?)?;
    assert_eq!(stored["format"], 4, "an agent that would not give it back refuses");
    (stored["begun"], stored["unhook"]) = (true.into(), true.into());
    fs::write(&file, stored.to_string())?;
    let _agent = card.stage.start()?;
    until("it is back", || Ok(card.stage.files()?.is_empty()))?;
    assert_eq!(netns.links()?, ["lo"]);
    card.is_clean()?;
    call.ok("ADD")?;
    call.ok("DEL")?;
    card.is_clean()
}

/// The kernel gives a card's interface back to the host, under a name that is free; one of the kind veth goes with its namespace.
#[test]
fn a_namespace_that_ends_gives_it_back() -> Result<()> {
    let card = Card::new()?;
    let _agent = card.stage.start()?;
    card.one_pod_ends()?;
    card.plug(0)?;
    let set = |change: &str| card.stage.host.run(&format!("ip link set {change}"));
    set("vf0 name dev7")?;
    set(&format!("dev7 address {} mtu 1442", vif(5).mac))?;
    set(&format!("dev7 alias {}", host_name("c1", "eth0")))?;
    until("it is as it was", || Ok(card.stage.files()?.is_empty()))?;
    card.is_clean()
}

/// After a reboot udev may give it another one.
#[test]
fn an_interface_comes_back_under_another_name() -> Result<()> {
    let card = Card::new()?;
    let _agent = card.stage.start()?;
    card.one_pod_ends()?;
    let net = card.devices().join(address(0)).join("net");
    fs::rename(net.join("vf0"), net.join("ens9v0"))?;
    card.plug_as(0, "ens9v0")?;
    until("it is as it was", || Ok(card.stage.files()?.is_empty()))?;
    card.is_clean()
}

#[test]
fn a_function_that_cannot_be_looked_at_is_not_forgotten() -> Result<()> {
    let card = Card::new()?;
    let _agent = card.stage.start()?;
    let (netns, call) = card.one_pod(0)?;
    card.ends(netns, 0)?;
    let (there, away) = (card.devices().join("0000:3b:00.0/net"), card.sysfs.join("away"));
    fs::rename(&there, &away)?;
    call.ok("DEL")?;
    assert_eq!(card.stage.files()?, ["c1@eth0.json"], "its card is in another namespace just now");
    card.plug(0)?;
    fs::rename(&away, &there)?;
    until("it is as it was", || Ok(card.stage.files()?.is_empty()))?;
    card.is_clean()
}

/// Another card, or none, is at the address.
#[test]
fn a_function_that_has_gone_is_forgotten() -> Result<()> {
    let card = Card::new()?;
    let _agent = card.stage.start()?;
    for (n, gone) in [(0, "physfn"), (1, "")] {
        let (netns, call) = card.one_pod(n)?;
        card.ends(netns, n)?;
        let device = card.devices().join(address(n));
        if gone.is_empty() {
            fs::remove_dir_all(device)?
        } else {
            fs::remove_file(device.join(gone))?
        }
        call.ok("DEL")?;
        assert_eq!(card.stage.files()?, Vec::<String>::new(), "{gone}");
    }
    Ok(())
}

/// Has something begin, and no more.
async fn begin<T>(work: &mut Pin<Box<dyn Future<Output = Result<T, Error>> + Send + '_>>) -> Result<()> {
    tokio::select! {
        biased;
        _ = work => bail!("the thread was kept waiting"),
        () = ready(()) => Ok(()),
    }
}

/// A card may take seconds for what it is asked. This thread does nothing while it waits, as if it served others.
#[tokio::test]
async fn a_card_is_worked_on_beside_the_thread_that_serves() -> Result<()> {
    let card = Card::new()?;
    card.stage.enter()?;
    let drivers = Drivers::new(&card.stage.drivers, &Host::new()?)?;
    let (driver, sriov) = drivers.get(None)?;
    let (namespace, alias) = (Namespace::new()?, host_name("c1", "eth0"));
    let netns = Netns::open(&namespace.path())?;
    let inside = netns.connect(false)?;
    let (interface, vif) = ("eth0".to_owned(), on(&address(0), 5));
    let mac = vif.mac.clone();
    let mut link =
        Link { driver: driver.to_owned(), host: alias, interface, nested: true, device: None, vif };
    let pod = PodReference { namespace: "shop".into(), name: "web".into(), uid: Some("uid-web".into()) };
    sriov.plan(&pod, &BTreeSet::new(), &mut link).await?;
    let mut bound = sriov.bind(Pod { netns: &netns, inside: &inside }, &mut link);
    begin(&mut bound).await?;
    until("it is in the Pod", || {
        Ok(namespace.links()?.contains(&"eth0".into()) && eth0(&namespace)?["address"] == json!(mac))
    })?;
    bound.await?;
    let give_back = || -> Result<Later<'_, ()>> {
        sriov.give_back(netns.path(), &link).ok_or_else(|| anyhow::anyhow!("nothing to give back"))
    };
    let mut given = give_back()?;
    begin(&mut given).await?;
    // as of a DEL that has answered by now
    drop(given);
    until("it is on the host", || card.is_home(0))?;
    give_back()?.await?;
    assert_eq!(namespace.links()?, ["lo"]);
    Ok(())
}

#[tokio::test]
async fn what_a_card_does_not_know_is_told() -> Result<()> {
    let card = Card::new()?;
    card.stage.enter()?;
    let host = Host::new()?;
    let wanted = Settings { mac: own_mac(7), vlan: 0, qos: 0, spoof_check: true, trusted: false };
    let place = Place { parent: "card", index: 0 };
    assert_eq!(functions::set(&host.netlink, place, &wanted, |_| false).await?.len(), 4);
    Ok(())
}
