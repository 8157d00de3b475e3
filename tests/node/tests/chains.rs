//! The plugin in a chain with Debian's reference plugins, after another, and as another's delegate; the runtime is on CNI's
//! reference library.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by a panic"
)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context, Result};
use isthmus_node::netlink::host_name;
use isthmus_node::vif::Vif;
use isthmus_node_tests::{Namespace, Stage, list, reach_through, vif};
use serde_json::{Value, json};

/// Those that Debian's plugins speak too: 1.1.1 of them has no CNI 1.1.
const VERSIONS: [&str; 3] = ["0.3.1", "0.4.0", "1.0.0"];
/// MAC address and MTU that `tuning` gives.
const TUNED: (&str, u64) = ("fa:16:3e:77:00:99", 1400);

fn ours(stage: &Stage) -> Value {
    json!({"type": "isthmus-cni", "socket": stage.socket(), "timeoutSeconds": 10})
}

/// The plugins that were started, in order.
fn started(said: &Value) -> Vec<&str> {
    said["calls"].as_array().unwrap().iter().map(|call| call["plugin"].as_str().unwrap()).collect()
}

/// What the plugin of a call printed.
fn printed(said: &Value, call: usize) -> Result<Value> {
    let output = said["calls"][call]["output"].as_str().context("there was such a call")?;
    serde_json::from_str(output).context("a plugin prints JSON")
}

/// Without what the library writes and plugins need not.
fn whole(mut result: Value) -> Value {
    let fields = result.as_object_mut().unwrap();
    fields.retain(|_, value| *value != json!({}) && *value != json!([]));
    result
}

/// A TCP connection from the host to port 8080 of its own, which leads to the Pod's port 80.
fn mapped(stage: &Stage, netns: &Namespace, address: &str) -> Result<()> {
    let to = SocketAddr::new(address.parse()?, 8080);
    let any: IpAddr = if to.is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    reach_through(netns, SocketAddr::new(any, 80), &stage.host, to)
}

/// Ours, and Debian's three after it.
fn chain(stage: &Stage) -> [Value; 4] {
    [
        ours(stage),
        json!({"type": "tuning", "mac": TUNED.0, "mtu": TUNED.1, "dataDir": stage.folder().join("tuning"),
            "sysctl": {"net.core.somaxconn": "500"}}),
        json!({"type": "portmap", "capabilities": {"portMappings": true}}),
        json!({"type": "bandwidth", "capabilities": {"bandwidth": true}}),
    ]
}

/// What the runtime has for them.
fn capabilities() -> Value {
    let (rate, burst) = (8_000_000, 8_000_000);
    json!({
        "bandwidth": {"ingressRate": rate, "ingressBurst": burst, "egressRate": rate, "egressBurst": burst},
        "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]})
}

/// The list for CHECK, without `portmap`: that of 1.1.1 looks for each of its rules in iptables and in ip6tables, so its CHECK
/// fails wherever there are both.
fn checked(version: &str, [ours, tuning, _, bandwidth]: [Value; 4]) -> Value {
    list(version, &[ours, tuning, bandwidth])
}

#[test]
fn tuning_portmap_and_bandwidth_go_on_with_what_we_made() -> Result<()> {
    let (stage, netns, library) = Stage::with_library()?;
    let both = vif(5);
    let (address, gateway) = (both.addresses[0], both.gateways[0]);
    stage.told.tell("web", vec![Vif { addresses: vec![address], gateways: vec![gateway], ..both }]);
    let _agent = stage.start()?;
    let names = ["isthmus-cni", "tuning", "portmap", "bandwidth"];
    let before = stage.host.links()?;
    for version in VERSIONS {
        let network = library.network(&stage.host, &netns.path(), list(version, &chain(&stage)));
        let network = network.with("capabilities", capabilities());
        network.ok("VALIDATE")?;
        let added = network.ok("ADD")?;
        assert_eq!(started(&added), names);
        let (own, result) = (printed(&added, 0)?, &added["result"]);
        let previous = added["calls"][1]["input"]["prevResult"].clone();
        assert_eq!(whole(previous), whole(own.clone()), "{version}");
        // What we made comes out at the end, but for what `tuning` changed.
        assert_eq!((&result["ips"], &result["routes"]), (&own["ips"], &own["routes"]), "{version}");
        assert_eq!(result["interfaces"][1]["mac"], TUNED.0, "{version}");

        let link = netns.ip("link show eth0")?[0].clone();
        assert_eq!((&link["address"], &link["mtu"]), (&json!(TUNED.0), &json!(TUNED.1)));
        assert_eq!(netns.run("sysctl -n net.core.somaxconn")?, "500\n");
        mapped(&stage, &netns, "10.77.0.254")?;
        let shaped = stage.host.run(&format!("tc qdisc show dev {}", host_name("c1", "eth0")))?;
        assert!(shaped.contains("tbf") && shaped.contains("rate 8Mbit"), "{shaped}");

        if version != "0.3.1" {
            let checked = network.clone().with("list", checked(version, chain(&stage))).ok("CHECK")?;
            assert_eq!(started(&checked), ["isthmus-cni", "tuning", "bandwidth"]);
            assert_eq!(checked["calls"][0]["input"]["prevResult"], *result, "{version}: the whole chain's");
        }
        let deleted = network.ok("DEL")?;
        assert_eq!(started(&deleted), ["bandwidth", "portmap", "tuning", "isthmus-cni"]);
        stage.gone()?;
        assert_eq!(stage.host.links()?, before, "{version}: the links of `bandwidth` go too");
        let rules = stage.host.run("iptables-save -t nat")?;
        assert!(!rules.contains("10.77.0.5"), "{version}: {rules}");
        network.ok("DEL")?;
    }
    Ok(())
}

#[test]
fn portmap_leads_to_both_addresses() -> Result<()> {
    let (stage, netns, library) = Stage::with_library()?;
    let _agent = stage.start()?;
    let network = library.network(&stage.host, &netns.path(), list("1.0.0", &chain(&stage)));
    let network = network.with("capabilities", capabilities());
    network.ok("ADD")?;
    mapped(&stage, &netns, "10.77.0.254")?;
    mapped(&stage, &netns, "fd77::fe")?;
    network.ok("DEL")?;
    stage.gone()
}

/// Where a later plugin lacks the list's version the whole list fails; the library does not come to us to undo it, but a GC does.
#[test]
fn a_list_in_a_version_that_a_later_plugin_lacks() -> Result<()> {
    let (stage, netns, library) = Stage::with_library()?;
    let _agent = stage.start()?;
    let network = library.network(
        &stage.host,
        &netns.path(),
        list("1.1.0", &[ours(&stage), json!({"type": "portmap", "capabilities": {"portMappings": true}})]),
    );
    let mapped = json!({"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]});
    let network = network.with("capabilities", mapped).with("gc", json!({}));
    let why = network.fails("VALIDATE", None)?["error"]["text"].to_string();
    assert!(why.contains("plugin portmap does not support config version"), "{why}");
    let added = network.fails("ADD", Some(1))?;
    assert_eq!(started(&added), ["isthmus-cni", "portmap"]);
    assert_eq!(started(&network.fails("DEL", Some(1))?), ["portmap"]);
    assert_eq!(stage.files()?, ["c1@eth0.json"]);
    network.call("GC")?;
    stage.gone()
}

#[test]
fn after_another_plugin_its_result_comes_first() -> Result<()> {
    let (stage, netns, library) = Stage::with_library()?;
    let _agent = stage.start()?;
    for version in VERSIONS {
        let chain = [json!({"type": "loopback"}), ours(&stage)];
        let network = library.network(&stage.host, &netns.path(), list(version, &chain));
        let added = network.ok("ADD")?;
        let result = &added["result"];
        let names: Vec<_> =
            result["interfaces"].as_array().unwrap().iter().map(|i| i["name"].clone()).collect();
        assert_eq!(names, ["lo".into(), host_name("c1", "eth0"), "eth0".into()], "{version}");
        let addresses: Vec<_> = result["ips"]
            .as_array()
            .unwrap()
            .iter()
            .map(|ip| (ip["address"].as_str().unwrap(), ip["interface"].as_u64().unwrap()))
            .collect();
        let expected = [("127.0.0.1/8", 0), ("::1/128", 0), ("10.77.0.5/24", 2), ("fd77::5/64", 2)];
        assert_eq!(addresses, expected, "{version}");
        if version != "0.3.1" {
            network.ok("CHECK")?;
        }
        network.ok("DEL")?;
        stage.gone()?;
    }
    Ok(())
}

/// Nothing of what a plugin before us says is lost, in no version.
#[test]
fn what_a_plugin_before_us_says_passes_through() -> Result<()> {
    let (stage, netns, library) = Stage::with_library()?;
    let _agent = stage.start()?;
    let tells = json!({
        "interfaces": [
            {"name": "net1", "mac": "02:00:00:00:00:01", "mtu": 9000, "sandbox": netns.path(), "pciID": "0000:00:1f.6"},
            {"name": "vhost", "socketPath": "/run/vhost.sock"}],
        "ips": [{"interface": 0, "address": "192.0.2.7/24", "gateway": "192.0.2.1"}, {"address": "2001:db8::7/64"}],
        "routes": [{"dst": "198.51.100.0/24", "gw": "192.0.2.1", "mtu": 1400, "advmss": 1360, "priority": 7,
            "table": 100, "scope": 0}],
        "dns": {"nameservers": ["192.0.2.53"], "domain": "example", "search": ["example"], "options": ["ndots:2"]}});
    for version in ["0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        let chain = [json!({"type": "telling", "tells": tells}), ours(&stage)];
        let network = library.network(&stage.host, &netns.path(), list(version, &chain));
        let added = network.ok("ADD")?;
        let (mut before, result) =
            (added["calls"][1]["input"]["prevResult"].clone(), added["result"].clone());
        // The library's types write these in older versions too, which do not have them.
        let newer = ["mtu", "advmss", "priority", "table", "scope", "socketPath", "pciID"];
        for part in ["interfaces", "routes"] {
            for one in before[part].as_array_mut().unwrap().iter_mut().filter_map(Value::as_object_mut) {
                one.retain(|field, _| version == "1.1.0" || !newer.contains(&field.as_str()));
            }
        }
        for part in ["interfaces", "ips", "routes"] {
            let (theirs, all) = (before[part].as_array().unwrap(), result[part].as_array().unwrap());
            assert_eq!(theirs.len(), tells[part].as_array().unwrap().len(), "{version}");
            assert_eq!(all[..theirs.len()], theirs[..], "{version}: {part}");
        }
        assert_eq!(result["dns"], before["dns"], "{version}");
        assert_eq!(result["ips"][2]["interface"], 3, "{version}: moved by the interfaces before");
        if version != "0.3.1" {
            network.ok("CHECK")?;
        }
        network.ok("DEL")?;
        stage.gone()?;
    }
    Ok(())
}

#[test]
fn as_a_delegate_we_answer_as_if_we_were_asked() -> Result<()> {
    let (stage, netns, library) = Stage::with_library()?;
    for version in ["0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        let agent = stage.start()?;
        let on = |plugin: Value| library.network(&stage.host, &netns.path(), list(version, &[plugin]));
        let delegating = on(json!({"type": "delegating", "delegate": ours(&stage)})).with("gc", json!({}));
        let direct = on(ours(&stage));
        let added = delegating.ok("ADD")?;
        assert_eq!(started(&added), ["delegating"]);
        assert_eq!(stage.files()?, ["c1@eth0.json"]);
        assert_eq!(added["result"], direct.ok("ADD")?["result"], "{version}");
        if version != "0.3.1" {
            delegating.ok("CHECK")?;
            netns.run("ip link set eth0 down")?;
            delegating.fails("CHECK", Some(100))?;
        }
        delegating.ok("STATUS")?;
        delegating.ok("DEL")?;
        stage.gone()?;
        delegating.ok("ADD")?;
        delegating.ok("GC")?;
        stage.gone()?;

        let other =
            json!({"type": "delegating", "delegate": {"type": "isthmus-cni", "ipam": {"type": "static"}}});
        on(other).fails("ADD", Some(2))?;
        agent.stop()?;
        let why = delegating.fails("ADD", Some(11))?["error"]["text"].to_string();
        assert!(why.contains("no agent on") && why.contains("DEL after it"), "{why}");
    }
    Ok(())
}
