//! On a kernel with netdevsim alone, by `cargo test -p isthmus-node-tests --features netdevsim`.

use anyhow::{Context, ensure};

use super::*;

/// What `ip` tells of a function at its physical one.
fn settings(card: &Card, n: u8) -> Result<Value> {
    let found = card.stage.host.ip("-details link show card")?;
    let all = found[0]["vfinfo_list"].as_array().context("functions")?.clone();
    let one = all.into_iter().find(|one| one["vf"] == n).context("the function")?;
    let vlan = one["vlan_list"][0]["vlan"].clone();
    Ok(json!([one["address"], vlan, one["spoofchk"], one["trust"]]))
}

fn functions(card: &Card, count: u8) -> Result<()> {
    let line = format!("echo {count} > /sys/bus/netdevsim/devices/netdevsim7/sriov_numvfs");
    ensure!(card.stage.host.command("sh").args(["-c", &line]).status()?.success(), "{line}");
    Ok(())
}

/// A card of netdevsim, whose functions have no interfaces. It comes to be in the namespace of who asks for it.
fn simulated() -> Result<Card> {
    let card = Card::new_without_parent()?;
    let host = &card.stage.host;
    let before = host.links()?;
    // one card for each test, one after the other
    let line =
        "cd /sys/bus/netdevsim; [ ! -e devices/netdevsim7 ] || echo 7 > del_device; echo 7 1 > new_device";
    let done = host.command("sh").args(["-c", line]).status()?;
    ensure!(done.success(), "this kernel has no netdevsim: {line}");
    functions(&card, 4)?;
    let links = host.links()?;
    let name = links.iter().find(|name| !before.contains(name)).context("no new interface")?;
    host.run(&format!("ip link set {name} name card"))?;
    host.run("ip link set card up")?;
    Ok(card)
}

#[test]
fn settings_are_those_of_the_vif() -> Result<()> {
    let card = simulated()?;
    let free = [settings(&card, 1)?, settings(&card, VFIO)?];
    let vlan = Vif { segmentation_id: Some(300), trusted: true, unprotected: true, ..on(&address(1), 5) };
    let user = on(&address(VFIO), 6);
    card.stage.told.tell_all([("vlan", vlan), ("user", user), ("third", on(&address(VFIO), 7))]);
    let _agent = card.stage.start()?;
    let pods = [Namespace::new()?, Namespace::new()?];
    let [vlan, user] = [card.call("vlan", "c1", &pods[0]), card.call("user", "c2", &pods[1])];
    let results = [vlan.ok("ADD")?, user.ok("ADD")?];
    assert_eq!(settings(&card, 1)?, json!([vif(5).mac, 300, false, true]));
    assert_eq!(settings(&card, VFIO)?, json!([vif(6).mac, free[1][1], true, false]));
    assert_eq!(eth0(&pods[0])?["address"], json!(vif(5).mac));
    // one that a driver of user space has is told, and is no interface
    assert_eq!(pods[1].links()?, ["lo"]);
    assert_eq!(results[1]["interfaces"][0]["pciID"], json!(address(VFIO)));
    for (call, result) in [(&vlan, &results[0]), (&user, &results[1])] {
        call.clone().with("prevResult", result.clone()).ok("CHECK")?;
    }
    let why = card.call("third", "c3", &pods[1]).fails("ADD", 11)?;
    assert!(why.contains("in use by Pod shop/user"), "{why}");
    assert_eq!(settings(&card, VFIO)?[0], json!(vif(6).mac));
    card.stage.host.run("ip link set card vf 3 mac 02:00:00:00:00:77")?;
    let why = user.clone().with("prevResult", results[1].clone()).fails("CHECK", 100)?;
    assert!(why.contains("another MAC address"), "{why}");
    card.stage.host.run("ip link set card vf 1 spoofchk on trust off")?;
    let why = vlan.clone().with("prevResult", results[0].clone()).fails("CHECK", 100)?;
    assert!(why.contains("another spoof check, trust"), "{why}");
    for call in [vlan, user] {
        call.ok("DEL")?;
    }
    assert_eq!([settings(&card, 1)?, settings(&card, VFIO)?], free);
    card.is_clean()
}

/// Else it would send as whom it likes.
#[test]
fn what_is_set_stays_while_a_pod_hides_its_interface() -> Result<()> {
    let card = simulated()?;
    let free = settings(&card, 1)?;
    let _agent = card.stage.start()?;
    let (netns, call) = card.one_pod(1)?;
    netns.run("ip link set eth0 alias none")?;
    let set = settings(&card, 1)?;
    call.ok("DEL")?;
    assert_eq!((settings(&card, 1)?, card.stage.files()?), (set, vec!["c1@eth0.json".into()]));
    card.ends(netns, 1)?;
    card.plug(1)?;
    until("it is as it was", || Ok(card.stage.files()?.is_empty()))?;
    assert_eq!(settings(&card, 1)?, free);
    card.is_clean()
}

/// `sriov_numvfs` was lowered, or a reboot came and they are not made yet.
#[test]
fn functions_that_the_card_no_longer_has_are_forgotten() -> Result<()> {
    let card = simulated()?;
    let _agent = card.stage.start()?;
    let (_netns, call) = card.one_pod(VFIO)?;
    functions(&card, 0)?;
    fs::remove_dir_all(card.devices().join(address(VFIO)))?;
    call.ok("DEL")?;
    card.is_clean()
}

/// As some drivers refuse the MAC address of zeros that they say a function has.
#[test]
fn what_the_card_refuses_does_not_keep_the_rest() -> Result<()> {
    let card = simulated()?;
    let free = settings(&card, 1)?;
    let agent = card.stage.start()?;
    let (_netns, call) = card.one_pod(1)?;
    let set = settings(&card, 1)?;
    card.stage.host.run("ip link set card vf 1 vlan 300")?;
    agent.stop()?;
    let file = card.stage.state().join("c1@eth0.json");
    let mut stored: Value = serde_json::from_slice(&fs::read(&file)?)?;
    stored["links"][0]["device"]["function"]["before"]["mac"] = "01:00:00:00:00:01".into();
    fs::write(&file, stored.to_string())?;
    let _agent = card.stage.start()?;
    call.ok("DEL")?;
    let now = settings(&card, 1)?;
    assert_eq!((&now[0], &now[1], &now[2]), (&set[0], &free[1], &free[2]));
    card.is_clean()
}

/// What is restored is that of the device, whatever number it has by now at whatever card.
#[test]
fn a_function_is_known_by_its_address() -> Result<()> {
    let card = simulated()?;
    let free = settings(&card, 1)?;
    let _agent = card.stage.start()?;
    let (_netns, call) = card.one_pod(1)?;
    assert_eq!(settings(&card, 1)?[0], json!(vif(5).mac));
    let physical = card.devices().join("0000:3b:00.0");
    for (number, n) in [(1, 2), (2, 1)] {
        let link = physical.join(format!("virtfn{number}"));
        fs::remove_file(&link)?;
        symlink(format!("../{}", address(n)), link)?;
    }
    card.stage.host.run("ip link set card vf 1 mac 02:00:00:00:00:aa vlan 200")?;
    card.stage.host.run("ip link set card vf 2 mac 02:00:00:00:00:bb vlan 300")?;
    let others = settings(&card, 1)?;
    card.stage.host.run("ip link set card name nic")?;
    fs::rename(physical.join("net/card"), physical.join("net/nic"))?;
    call.ok("DEL")?;
    card.stage.host.run("ip link set nic name card")?;
    assert_eq!([settings(&card, 1)?, settings(&card, 2)?], [others, free]);
    card.is_clean()
}
