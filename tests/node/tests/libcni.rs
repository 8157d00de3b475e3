//! A caller on CNI's reference library: every verb in every version, and every error, as the library's types have them.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by a panic"
)]

use anyhow::Result;
use isthmus_node_tests::{Call, Namespace, Stage, list, vif};
use serde_json::{Value, json};

const VERSIONS: [&str; 4] = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"];

fn ours(stage: &Stage) -> Value {
    json!({"type": "isthmus-cni", "socket": stage.socket(), "timeoutSeconds": 10,
        "dns": {"nameservers": ["10.77.0.2"], "search": ["shop.svc"]}})
}

/// The verbs that plugins were started for.
fn started(said: &Value) -> Vec<&str> {
    said["calls"].as_array().unwrap().iter().map(|call| call["verb"].as_str().unwrap()).collect()
}

/// What the runtime still knows.
fn known(containers: &[&str]) -> Value {
    let of = |id: &&str| json!({"containerID": id, "ifname": "eth0"});
    json!({"ValidAttachments": containers.iter().map(of).collect::<Vec<_>>()})
}

/// The verbs of a version that the library starts a plugin for.
fn verbs(version: &str) -> Vec<&'static str> {
    let since =
        [("ADD", "0.3.1"), ("DEL", "0.3.1"), ("CHECK", "0.4.0"), ("GC", "1.1.0"), ("STATUS", "1.1.0")];
    since.into_iter().filter(|(_, since)| version >= *since).map(|(verb, _)| verb).collect()
}

#[test]
fn the_library_finds_the_versions_that_we_speak() -> Result<()> {
    let (stage, netns, library) = Stage::with_library()?;
    for version in VERSIONS {
        let network = library.network(&stage.host, &netns.path(), list(version, &[ours(&stage)]));
        assert_eq!(network.ok("VERSION")?["versions"], json!({"isthmus-cni": VERSIONS}));
        network.ok("VALIDATE")?;
    }
    for version in ["0.1.0", "0.2.0", "0.3.0", "1.2.0"] {
        let network = library.network(&stage.host, &netns.path(), list(version, &[ours(&stage)]));
        let said = network.fails("VALIDATE", None)?["error"].to_string();
        assert!(said.contains("does not support config version"), "{said}");
    }
    Ok(())
}

#[test]
fn every_verb_in_every_version() -> Result<()> {
    let (stage, netns, library) = Stage::with_library()?;
    let _agent = stage.start()?;
    for version in VERSIONS {
        let network = library.network(&stage.host, &netns.path(), list(version, &[ours(&stage)]));
        let network = network.with("gc", known(&["c1"]));
        let speaks = |verb| if verbs(version).contains(&verb) { vec![verb] } else { vec![] };
        assert_eq!(started(&network.ok("STATUS")?), speaks("STATUS"), "{version}");

        let added = network.ok("ADD")?;
        is_as_printed(version, &added)?;
        assert_eq!(network.ok("ADD")?["result"], added["result"], "{version}: once more is the same");

        if version == "0.3.1" {
            let said = network.fails("CHECK", None)?;
            assert_eq!(started(&said), [""; 0], "the library asks nobody: {said}");
        } else {
            let checked = network.ok("CHECK")?;
            assert_eq!(started(&checked), ["CHECK"]);
            assert_eq!(checked["calls"][0]["input"]["prevResult"], added["result"], "{version}");
        }
        assert_eq!(started(&network.ok("GC")?), speaks("GC"), "{version}");
        assert_eq!(stage.files()?, ["c1@eth0.json"], "{version}: what is known stays");

        let deleted = network.ok("DEL")?;
        let previous = deleted["calls"][0]["input"].get("prevResult");
        assert_eq!(previous.is_some(), version != "0.3.1", "{version}");
        stage.gone()?;
        network.ok("DEL")?;
    }
    Ok(())
}

/// As `--install-cni` writes it.
#[test]
fn a_list_of_several_versions_is_spoken_in_its_newest() -> Result<()> {
    let (stage, netns, library) = Stage::with_library()?;
    let _agent = stage.start()?;
    let mut several = list("1.0.0", &[ours(&stage)]);
    several["cniVersions"] = json!(["1.0.0", "1.1.0"]);
    let network = library.network(&stage.host, &netns.path(), several).with("gc", json!({}));
    is_as_printed("1.1.0", &network.ok("ADD")?)?;
    for verb in ["CHECK", "STATUS", "GC"] {
        assert!(started(&network.ok(verb)?).contains(&verb));
    }
    stage.gone()
}

/// The library's type of the version has all that we printed, and makes every other version of it.
fn is_as_printed(version: &str, added: &Value) -> Result<()> {
    let printed: Value = serde_json::from_str(added["calls"][0]["output"].as_str().unwrap())?;
    assert_eq!(added["result"], printed, "{version}: nothing is lost");
    assert_eq!(printed["cniVersion"], version);
    let generation = if version < "1.0.0" { "*types040.Result" } else { "*types100.Result" };
    assert_eq!(added["type"], generation, "{version}");
    let as_in = &added["as"];
    assert_eq!(as_in["0.2.0"]["ip4"]["ip"], "10.77.0.5/24", "{version}");
    assert_eq!(as_in["0.2.0"]["ip6"]["ip"], "fd77::5/64", "{version}");
    for other in VERSIONS {
        let result = &as_in[other];
        let context = format!("{version} as {other}: {result}");
        assert_eq!(result["cniVersion"], other, "{context}");
        assert_eq!(result["interfaces"][1]["name"], "eth0", "{context}");
        assert_eq!(result["interfaces"][1]["mac"], "fa:16:3e:77:00:05", "{context}");
        assert_eq!(result["ips"][0]["interface"], 1, "{context}");
        assert_eq!(result["ips"][0]["gateway"], "10.77.0.254", "{context}");
        let family = (other < "1.0.0").then(|| json!("6"));
        assert_eq!(result["ips"][1].get("version"), family.as_ref(), "{context}");
        assert_eq!(result["routes"][1], json!({"dst": "::/0", "gw": "fd77::fe"}), "{context}");
        assert_eq!(result["dns"], json!({"nameservers": ["10.77.0.2"], "search": ["shop.svc"]}), "{context}");
    }
    Ok(())
}

#[test]
fn gc_leaves_what_the_library_names() -> Result<()> {
    let (stage, netns, library) = Stage::with_library()?;
    stage.told.tell("db", vec![vif(6)]);
    let other = Namespace::new()?;
    let _agent = stage.start()?;
    for version in VERSIONS {
        let web = library.network(&stage.host, &netns.path(), list(version, &[ours(&stage)]));
        let db = library.network(&stage.host, &other.path(), list(version, &[ours(&stage)])).of_pod("db");
        let db = db.with("containerID", "c2".into());
        web.ok("ADD")?;
        db.ok("ADD")?;
        web.clone().with("gc", known(&["c2"])).ok("GC")?;
        assert_eq!(stage.files()?, ["c2@eth0.json"], "{version}");
        // A list of none is written `null` by Go.
        web.with("gc", json!({})).ok("GC")?;
        stage.gone()?;
    }
    Ok(())
}

/// The library deletes what it remembers itself; what it forgot only we know.
#[test]
fn gc_removes_what_the_library_forgot_too() -> Result<()> {
    let (stage, netns, library) = Stage::with_library()?;
    let _agent = stage.start()?;
    let network = library.network(&stage.host, &netns.path(), list("1.1.0", &[ours(&stage)]));
    network.ok("ADD")?;
    let forgetful = network.with("cache", json!(stage.folder().join("forgetful")));
    let said = forgetful.fails("GC", Some(7))?;
    assert!(said.to_string().contains("no cni.dev/valid-attachments"), "it does not say: {said}");
    assert_eq!(stage.files()?, ["c1@eth0.json"]);
    let collected = forgetful.with("gc", json!({})).ok("GC")?;
    assert_eq!(started(&collected), ["GC"]);
    stage.gone()
}

#[test]
fn every_error_in_every_verb_and_version() -> Result<()> {
    let (stage, netns, library) = Stage::with_library()?;
    let file = stage.folder().join("file");
    std::fs::write(&file, "")?;
    for version in VERSIONS {
        let agent = stage.start()?;
        let good = library.network(&stage.host, &netns.path(), list(version, &[ours(&stage)]));
        let good = good.with("gc", known(&["c1"]));
        good.ok("ADD")?;
        let bad = |field: &str, value: Value| good.clone().configured(field, value);
        for (network, code) in [
            (bad("ipam", json!({"type": "host-local"})), 2),
            (bad("socket", json!(file.join("socket"))), 5),
            (bad("socket", json!(3)), 6),
            (bad("timeoutSeconds", json!(0)), 7),
        ] {
            for verb in verbs(version) {
                if verb == "DEL" && [2, 7].contains(&code) {
                    network.ok("DEL")?; // what DEL does not need does not hold it up
                    good.ok("ADD")?;
                } else {
                    let said = network.fails(verb, Some(code))?;
                    assert!(said["error"]["msg"] != "", "{version} {verb}: {said}");
                }
            }
        }
        agent.stop()?;
        for verb in verbs(version) {
            let said = good.fails(verb, Some(11))?;
            assert!(said["error"]["details"].as_str().unwrap().contains("running?"), "{said}");
        }
        let _agent = stage.start()?;
        good.ok("DEL")?;
        stage.gone()?;
    }
    Ok(())
}

/// Errors that one verb alone can give, or that the agent finds.
#[test]
fn errors_that_the_agent_finds() -> Result<()> {
    let (stage, netns, library) = Stage::with_library()?;
    let large = isthmus_node::vif::Vif { mtu: Some(9000), ..vif(7) };
    stage.host.run("ip link add uplink mtu 1500 master br0 type veth peer name cloud")?;
    stage.told.tell("large", vec![large]);
    let _agent = stage.start()?;
    let file = stage.folder().join("file");
    std::fs::write(&file, "")?;
    let fresh = Namespace::new()?;
    for version in VERSIONS {
        let network = library.network(&stage.host, &netns.path(), list(version, &[ours(&stage)]));
        let on = |netns: &str| library.network(&stage.host, netns, list(version, &[ours(&stage)]));
        on("/run/netns/gone-for-good").fails("ADD", Some(3))?;
        on(file.to_str().unwrap()).fails("ADD", Some(4))?;
        network.clone().with("args", json!([["IgnoreUnknown", "1"]])).fails("ADD", Some(4))?;
        on(&fresh.path()).of_pod("large").fails("ADD", Some(7))?;
        let waits = on(&fresh.path()).of_pod("unknown").configured("timeoutSeconds", json!(1));
        waits.fails("ADD", Some(11))?;
        std::fs::remove_dir_all(stage.state())?;
        network.fails("ADD", Some(5))?;
        std::fs::create_dir(stage.state())?;

        network.ok("ADD")?;
        if version != "0.3.1" {
            let elsewhere = network.clone().with("netns", fresh.path().into());
            elsewhere.fails("CHECK", Some(4))?;
            let forgetful = network.clone().with("cache", json!(stage.folder().join("forgetful")));
            forgetful.fails("CHECK", Some(7))?;
            netns.run("ip link set eth0 down")?;
            network.fails("CHECK", Some(100))?;
            forgetful.ok("DEL")?;
            network.fails("CHECK", Some(3))?;
        }
        network.ok("DEL")?;
        stage.gone()?;
    }
    let network = library.network(&stage.host, &netns.path(), list("1.1.0", &[ours(&stage)]));
    network.ok("STATUS")?;
    stage.host.run("ip link del br0")?;
    network.fails("STATUS", Some(50))?;
    Ok(())
}

/// The library asks a plugin also in versions that it says it does not speak, and only for verbs that a version has.
#[test]
fn a_version_that_we_do_not_speak_is_code_1() -> Result<()> {
    let (stage, netns, library) = Stage::with_library()?;
    let _agent = stage.start()?;
    for version in ["0.1.0", "0.2.0", "0.3.0", "1.2.0"] {
        let network = library.network(&stage.host, &netns.path(), list(version, &[ours(&stage)]));
        network.fails("ADD", Some(1))?;
        network.fails("DEL", Some(1))?;
    }
    let newer = library.network(&stage.host, &netns.path(), list("1.2.0", &[ours(&stage)]));
    for verb in ["CHECK", "STATUS", "GC"] {
        newer.clone().with("gc", known(&[])).fails(verb, Some(1))?;
    }
    // A verb that its version lacks comes from no library.
    let call = Call::new(&stage.socket(), "web", "c1", &netns.path());
    for (verb, version) in [("CHECK", "0.3.1"), ("STATUS", "1.0.0"), ("GC", "1.0.0")] {
        call.clone().with("cniVersion", version.into()).fails(verb, 1)?;
    }
    Ok(())
}
