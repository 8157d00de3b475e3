//! Every verb in every version, and every input that is refused, against an agent that answers as it is told.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by a panic"
)]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::thread::JoinHandle;

use isthmus_cni::protocol::{Answer, Ask, Request, read, write};
use isthmus_cni::result::{AddResult, Interface, IpConfig, Route};
use isthmus_cni::run::{Output, run};
use isthmus_cni::{Code, Error};
use serde_json::{Value, json};

const VERSIONS: [&str; 4] = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"];
const ARGS: &str =
    "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;K8S_POD_UID=u-1;K8S_POD_INFRA_CONTAINER_ID=c1";

/// The environment of a verb.
fn environment(verb: &str) -> BTreeMap<&'static str, OsString> {
    [
        ("CNI_COMMAND", verb),
        ("CNI_CONTAINERID", "c1"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_NETNS", "/run/netns/web"),
        ("CNI_ARGS", ARGS),
        ("CNI_PATH", "/opt/cni/bin"),
    ]
    .map(|(name, value)| (name, value.into()))
    .into()
}

fn call(environment: &BTreeMap<&'static str, OsString>, input: &str) -> Output {
    run(&|name| environment.get(name).cloned(), || Ok(input.as_bytes().to_vec()))
}

/// Answers one request, and hands it out.
fn agent(socket: &Path, answer: Answer) -> JoinHandle<Ask> {
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let request: Request = read(&mut stream).unwrap();
        write(&mut stream, &answer).unwrap();
        request.ask
    })
}

fn added() -> AddResult {
    AddResult {
        interfaces: vec![
            Interface { name: "imhost".into(), ..Interface::default() },
            Interface {
                name: "eth0".into(),
                mac: Some("fa:16:3e:00:00:01".into()),
                mtu: Some(1442),
                sandbox: Some("/run/netns/web".into()),
                ..Interface::default()
            },
        ],
        ips: vec![
            IpConfig { interface: Some(1), address: "10.1.0.5/24".into(), gateway: Some("10.1.0.1".into()) },
            IpConfig { interface: Some(1), address: "fd00::5/64".into(), gateway: None },
        ],
        routes: vec![Route { dst: "0.0.0.0/0".into(), gw: Some("10.1.0.1".into()), ..Route::default() }],
        ..AddResult::default()
    }
}

fn config(version: &str, socket: &Path, more: Value) -> String {
    let mut config = json!({"cniVersion": version, "name": "pods", "type": "isthmus-cni", "socket": socket});
    for (key, value) in more.as_object().unwrap() {
        config[key] = value.clone();
    }
    config.to_string()
}

fn code(output: Output) -> u64 {
    let error = output.expect_err("an error was expected");
    assert!(error["msg"].as_str().is_some_and(|m| !m.is_empty()), "{error}");
    error["code"].as_u64().unwrap()
}

#[test]
fn add_answers_in_the_version_that_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    for version in VERSIONS {
        let socket = folder.path().join(version);
        let asked = agent(&socket, Answer::Added(Box::new(added())));
        let dns = json!({"dns": {"nameservers": ["10.1.0.2"], "search": ["shop.svc"]}});
        let result = call(&environment("ADD"), &config(version, &socket, dns)).unwrap().unwrap();
        let Ask::Add(add) = asked.join().unwrap() else { panic!("no ADD") };
        assert_eq!(
            (&*add.attached.container, &*add.attached.interface, &*add.netns),
            ("c1", "eth0", "/run/netns/web")
        );
        assert_eq!(
            (&*add.pod.namespace, &*add.pod.name, add.pod.uid.as_deref()),
            ("shop", "web-0", Some("u-1"))
        );
        assert_eq!(add.network, "pods");
        assert_eq!(result["cniVersion"], version);
        assert_eq!(result["dns"], json!({"nameservers": ["10.1.0.2"], "search": ["shop.svc"]}));
        assert_eq!(result["interfaces"][1]["sandbox"], "/run/netns/web");
        assert_eq!(result["routes"], json!([{"dst": "0.0.0.0/0", "gw": "10.1.0.1"}]));
        let old = version < "1.0.0";
        assert_eq!(result["ips"][0].get("version"), old.then_some(&json!("4")), "{version}");
        assert_eq!(result["ips"][1].get("version"), old.then_some(&json!("6")), "{version}");
        let newest = version == "1.1.0";
        assert_eq!(result["interfaces"][1].get("mtu"), newest.then_some(&json!(1442)), "{version}");
    }
}

#[test]
fn a_result_comes_after_that_of_the_plugins_before() {
    let folder = tempfile::tempdir().unwrap();
    for version in VERSIONS {
        let socket = folder.path().join(version);
        let asked = agent(&socket, Answer::Added(Box::new(added())));
        let before = json!({"prevResult": {"cniVersion": version,
            "interfaces": [{"name": "lo", "sandbox": "/run/netns/web"}],
            "ips": [{"version": "4", "interface": 0, "address": "127.0.0.1/8"}],
            "routes": [{"dst": "192.0.2.0/24", "mtu": 1400}],
            "dns": {"nameservers": ["192.0.2.53"]}}});
        let result = call(&environment("ADD"), &config(version, &socket, before)).unwrap().unwrap();
        asked.join().unwrap();
        assert_eq!(result["interfaces"][0]["name"], "lo");
        assert_eq!(result["ips"][0]["interface"], 0);
        assert_eq!(result["ips"][1]["interface"], 2, "moved by the interfaces before");
        assert_eq!(result["routes"][0]["dst"], "192.0.2.0/24");
        assert_eq!(result["routes"][0].get("mtu").is_some(), version == "1.1.0");
        assert_eq!(result["dns"]["nameservers"], json!(["192.0.2.53"]));
    }
}

#[test]
fn verbs_without_a_result_print_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let previous = json!({"prevResult": added().to_json(isthmus_cni::version::Version::V1_1_0)});
    let valid = json!({"cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "eth0"}]});
    // verb, configuration besides, the version that it came with
    let verbs = [
        ("DEL", json!({}), "0.3.1"),
        ("CHECK", previous, "0.4.0"),
        ("STATUS", json!({}), "1.1.0"),
        ("GC", valid, "1.1.0"),
    ];
    for (verb, more, since) in verbs {
        for version in VERSIONS {
            let socket = folder.path().join(format!("{verb}-{version}"));
            let input = config(version, &socket, more.clone());
            if version < since {
                assert_eq!(code(call(&environment(verb), &input)), 1, "{verb} {version}");
                continue;
            }
            let asked = agent(&socket, Answer::Done);
            assert_eq!(call(&environment(verb), &input), Ok(None), "{verb} {version}");
            match asked.join().unwrap() {
                Ask::Del(del) => assert_eq!((verb, &*del.attached.container), ("DEL", "c1")),
                Ask::Check { addresses, .. } => {
                    assert_eq!((verb, addresses), ("CHECK", vec!["10.1.0.5/24".into(), "fd00::5/64".into()]));
                }
                Ask::Status => assert_eq!(verb, "STATUS"),
                Ask::Gc { network, valid } => assert_eq!((verb, &*network, valid.len()), ("GC", "pods", 1)),
                Ask::Add(_) => panic!("{verb} became ADD"),
            }
        }
    }
}

/// Absent is another thing: that is refused.
#[test]
fn a_list_of_attachments_that_is_null_is_an_empty_one() {
    let folder = tempfile::tempdir().unwrap();
    for field in ["cni.dev/valid-attachments", "cni.dev/attachments"] {
        let socket = folder.path().join(field.replace('/', "-"));
        let asked = agent(&socket, Answer::Done);
        assert_eq!(call(&environment("GC"), &config("1.1.0", &socket, json!({field: null}))), Ok(None));
        assert_eq!(asked.join().unwrap(), Ask::Gc { network: "pods".into(), valid: Vec::new() });
    }
}

/// Whatever the agent says, in whatever version it was asked: the runtime is told the code, in that version. 51 is one that our agent
/// does not give: it knows of no Pod whose connectivity is limited while others' is not.
#[test]
fn every_error_of_every_verb_in_every_version_is_handed_on() {
    const CODES: [u32; 11] = [1, 2, 3, 4, 5, 6, 7, 11, 50, 51, 100];
    let folder = tempfile::tempdir().unwrap();
    let more = json!({"prevResult": {}, "cni.dev/valid-attachments": []});
    for (verb, since) in
        [("ADD", "0.3.1"), ("DEL", "0.3.1"), ("CHECK", "0.4.0"), ("STATUS", "1.1.0"), ("GC", "1.1.0")]
    {
        for version in VERSIONS.into_iter().filter(|version| *version >= since) {
            for number in CODES {
                let socket = folder.path().join(format!("{verb}-{version}-{number}"));
                let said = Error::new(Code::try_from(number).unwrap(), "what", "why");
                let asked = agent(&socket, Answer::Failed(said));
                let error = call(&environment(verb), &config(version, &socket, more.clone())).unwrap_err();
                asked.join().unwrap();
                let expected =
                    json!({"cniVersion": version, "code": number, "msg": "what", "details": "why"});
                assert_eq!(error, expected, "{verb}");
            }
        }
    }
}

#[test]
fn version_needs_no_agent() {
    let environment = BTreeMap::from([("CNI_COMMAND", OsString::from("VERSION"))]);
    for (input, version) in [
        (r#"{"cniVersion":"0.4.0"}"#, "0.4.0"),
        (r#"{"cniVersion":"1.1.0"}"#, "1.1.0"),
        (r#"{"cniVersion":"9.0.0"}"#, "1.1.0"),
        ("{}", "1.1.0"),
        ("", "1.1.0"),
    ] {
        let answer = call(&environment, input).unwrap().unwrap();
        assert_eq!(answer, json!({"cniVersion": version, "supportedVersions": VERSIONS}));
    }
    assert_eq!(code(call(&environment, "{")), 6);
}

#[test]
fn no_agent_means_try_again() {
    let folder = tempfile::tempdir().unwrap();
    let absent = folder.path().join("absent");
    let dead = folder.path().join("dead");
    drop(UnixListener::bind(&dead).unwrap());
    let more = json!({"prevResult": {}, "cni.dev/valid-attachments": []});
    for socket in [absent, dead] {
        for verb in ["ADD", "DEL", "CHECK", "STATUS", "GC"] {
            assert_eq!(code(call(&environment(verb), &config("1.1.0", &socket, more.clone()))), 11, "{verb}");
        }
    }
}

#[test]
fn an_agent_that_hangs_up_or_is_silent_means_try_again() {
    let folder = tempfile::tempdir().unwrap();
    let hangs_up = folder.path().join("hangs-up");
    let listener = UnixListener::bind(&hangs_up).unwrap();
    let ends = std::thread::spawn(move || drop(listener.accept().unwrap()));
    assert_eq!(code(call(&environment("ADD"), &config("1.1.0", &hangs_up, json!({})))), 11);
    ends.join().unwrap();
    let silent = folder.path().join("silent");
    let _listener = UnixListener::bind(&silent).unwrap();
    assert_eq!(code(call(&environment("ADD"), &config("1.1.0", &silent, json!({"timeoutSeconds": 1})))), 11);
}

#[test]
fn an_environment_that_is_not_whole_is_refused() {
    let changes: &[(&str, &str, Option<&str>)] = &[
        ("", "CNI_COMMAND", None),
        ("", "CNI_COMMAND", Some("add")),
        ("", "CNI_COMMAND", Some("")),
        ("ADD DEL CHECK", "CNI_CONTAINERID", None),
        ("ADD DEL CHECK", "CNI_CONTAINERID", Some("")),
        ("ADD DEL CHECK", "CNI_CONTAINERID", Some("../../etc")),
        ("ADD DEL CHECK", "CNI_CONTAINERID", Some("a/b")),
        ("ADD DEL CHECK", "CNI_CONTAINERID", Some("-a")),
        ("ADD DEL CHECK", "CNI_CONTAINERID", Some("a@b")),
        ("ADD DEL CHECK", "CNI_CONTAINERID", Some("ä")),
        ("ADD DEL CHECK", "CNI_IFNAME", None),
        ("ADD DEL CHECK", "CNI_IFNAME", Some("")),
        ("ADD DEL CHECK", "CNI_IFNAME", Some("sixteen-letters-")),
        ("ADD DEL CHECK", "CNI_IFNAME", Some("a/b")),
        ("ADD DEL CHECK", "CNI_IFNAME", Some("a:b")),
        ("ADD DEL CHECK", "CNI_IFNAME", Some("a b")),
        ("ADD DEL CHECK", "CNI_IFNAME", Some("..")),
        ("ADD DEL CHECK", "CNI_IFNAME", Some("a\nb")),
        ("ADD CHECK", "CNI_NETNS", None),
        ("ADD CHECK", "CNI_NETNS", Some("")),
        ("ADD CHECK", "CNI_NETNS", Some("run/netns/web")),
        ("ADD CHECK", "CNI_ARGS", None),
        ("ADD CHECK", "CNI_ARGS", Some("IgnoreUnknown=1")),
        ("ADD CHECK", "CNI_ARGS", Some("nonsense")),
        ("ADD CHECK", "CNI_ARGS", Some("K8S_POD_NAME=web-0")),
        ("ADD CHECK", "CNI_ARGS", Some("K8S_POD_NAMESPACE=shop;K8S_POD_NAME=../x")),
        ("ADD CHECK", "CNI_ARGS", Some("K8S_POD_NAMESPACE=shop;K8S_POD_NAME=a;K8S_POD_NAME=b")),
        ("ADD CHECK", "CNI_ARGS", Some("K8S_POD_NAMESPACE=shop;K8S_POD_NAME=a;K8S_POD_UID=\u{202e}")),
        ("ADD CHECK", "CNI_ARGS", Some("K8S_POD_NAMESPACE=;K8S_POD_NAME=")),
    ];
    let input = config("1.1.0", Path::new("/nowhere"), json!({"prevResult": {}}));
    for (verbs, name, value) in changes {
        for verb in if verbs.is_empty() { "ADD" } else { *verbs }.split(' ') {
            let mut environment = environment(verb);
            match value {
                Some(value) => environment.insert(name, (*value).into()),
                None => environment.remove(name),
            };
            assert_eq!(code(call(&environment, &input)), 4, "{verb} {name}={value:?}");
        }
    }
    let mut odd = environment("ADD");
    odd.insert("CNI_ARGS", OsString::from_vec(vec![b'A', b'=', 0xff]));
    assert_eq!(code(call(&odd, &input)), 4);
    odd.insert("CNI_ARGS", format!("A={}", "x".repeat(9000)).into());
    assert_eq!(code(call(&odd, &input)), 4);
    odd.insert("CNI_ARGS", "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=a".into());
    odd.insert("CNI_CONTAINERID", "x".repeat(201).into());
    assert_eq!(code(call(&odd, &input)), 4);
}

/// What attached a Pod may have been another configuration, and another runtime: nothing that DEL does not need may hold it up.
#[test]
fn del_is_not_choosy() {
    let folder = tempfile::tempdir().unwrap();
    let environments = [
        ("CNI_NETNS", None),
        ("CNI_NETNS", Some("")),
        ("CNI_NETNS", Some("run/netns/web")),
        ("CNI_ARGS", None),
        ("CNI_ARGS", Some("nonsense")),
        ("CNI_ARGS", Some("K8S_POD_NAME=web-0")),
    ];
    let configs = [
        json!({"ipam": {"type": "host-local"}}),
        json!({"prevResult": {"routes": null, "ips": 3}}),
        json!({"name": "a/b", "dns": 3, "timeoutSeconds": 0}),
    ];
    let cases = environments.map(|change| (change, json!({}))).into_iter();
    let cases = cases.chain(configs.map(|config| (("CNI_PATH", None), config)));
    for (at, ((name, value), more)) in cases.enumerate() {
        let socket = folder.path().join(at.to_string());
        let asked = agent(&socket, Answer::Done);
        let mut environment = environment("DEL");
        match value {
            Some(value) => environment.insert(name, value.into()),
            None => environment.remove(name),
        };
        assert_eq!(call(&environment, &config("1.1.0", &socket, more.clone())), Ok(None), "{name} {more}");
        asked.join().unwrap();
    }
}

/// A listener whose queue is full lets a connect wait for ever.
#[test]
fn an_agent_that_accepts_nothing_more_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("full");
    let _listener = UnixListener::bind(&socket).unwrap();
    let connects = std::thread::spawn({
        let socket = socket.clone();
        // more than any backlog of the standard library
        move || (0..5000).map(|_| std::os::unix::net::UnixStream::connect(&socket)).collect::<Vec<_>>()
    });
    let begun = std::time::Instant::now();
    let input = config("1.1.0", &socket, json!({"timeoutSeconds": 1}));
    assert_eq!(code(call(&environment("DEL"), &input)), 11);
    assert!(begun.elapsed() < std::time::Duration::from_secs(5));
    drop(_listener);
    let _ = connects.join();
}

#[test]
fn a_configuration_that_cannot_be_used_is_refused() {
    let whole = config("1.1.0", Path::new("/nowhere"), json!({}));
    let with = |more: Value| config("1.1.0", Path::new("/nowhere"), more);
    let cases: Vec<(&str, String, u64)> = vec![
        ("ADD", String::new(), 6),
        ("ADD", "{".into(), 6),
        ("ADD", whole[..whole.len() / 2].into(), 6),
        ("ADD", "[]".into(), 6),
        ("ADD", with(json!({"name": 3})), 6),
        ("ADD", with(json!({"prevResult": [1]})), 6),
        ("ADD", format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)), 6),
        ("ADD", format!("{{\"a\": \"{}\"}}", "x".repeat(10 << 20)), 7),
        ("ADD", with(json!({"cniVersion": null})), 1),
        ("ADD", with(json!({"cniVersion": "0.1.0"})), 1),
        ("ADD", with(json!({"cniVersion": "1.2.0"})), 1),
        ("ADD", with(json!({"cniVersion": ""})), 1),
        ("ADD", with(json!({"name": null})), 7),
        ("ADD", with(json!({"name": ""})), 7),
        ("ADD", with(json!({"name": "a/b"})), 7),
        ("ADD", with(json!({"timeoutSeconds": 0})), 7),
        ("ADD", with(json!({"timeoutSeconds": 601})), 7),
        ("ADD", with(json!({"timeoutSeconds": -1})), 6),
        ("ADD", with(json!({"ipam": {"type": "host-local"}})), 2),
        ("CHECK", whole.clone(), 7),
        ("GC", whole.clone(), 7),
        ("GC", with(json!({"cni.dev/valid-attachments": [{"containerID": "../x", "ifname": "eth0"}]})), 7),
        ("GC", with(json!({"cni.dev/valid-attachments": [{"containerID": "c1"}]})), 6),
    ];
    for (verb, input, expected) in cases {
        let shown: String = input.chars().take(120).collect();
        assert_eq!(code(call(&environment(verb), &input)), expected, "{verb} {shown}");
    }
}
