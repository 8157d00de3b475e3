//! The commands that need neither cluster nor cloud: every result in the form that is asked for, and exit codes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

const POD: &str =
    "{apiVersion: v1, kind: Pod, metadata: {name: web-0, namespace: shop}, spec: {nodeName: n1}}";
const ON_HOST: &str = "{apiVersion: v1, kind: Pod, metadata: {name: a, namespace: shop}, spec: {nodeName: n1, hostNetwork: true}}";
const WIDGET: &str =
    "{apiVersion: example.org/v1, kind: Widget, metadata: {name: w, namespace: shop}, spec: {network: pods}}";
const NAMESPACE: &str = "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {team: blue}}}";
const CONFIG: &str = "{network: pods}";

fn isthmus(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_isthmus"));
    command.args(arguments).env_remove("ISTHMUS_LOG").env("KUBECONFIG", "/nowhere").output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What a command prints that ends well.
fn printed(arguments: &[&str]) -> String {
    let output = isthmus(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn json_of(arguments: &[&str]) -> Value {
    serde_json::from_str(&printed(&[arguments, &["-o", "json"]].concat())).unwrap()
}

fn documents(yaml: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(yaml).unwrap()
}

/// Path of a component that `cargo xtask plugins` has built.
fn module(name: &str) -> String {
    let ours = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/modules");
    let folder = std::env::var_os("ISTHMUS_MODULES").map_or_else(ours, PathBuf::from);
    let path = folder.join(format!("{name}.wasm"));
    assert!(path.is_file(), "{} is not there: run `cargo xtask plugins` first", path.display());
    path.display().to_string()
}

/// Files to map.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let all = [("pod", POD), ("on-host", ON_HOST), ("widget", WIDGET), ("namespace", NAMESPACE)];
        all.iter().for_each(|(name, text)| std::fs::write(folder.path().join(name), text).unwrap());
        Self(folder)
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }
}

/// Every command says what it is for, and names its arguments.
#[test]
fn help_is_there_for_every_command() {
    let mut open = vec![Vec::<String>::new()];
    let mut seen = 0;
    while let Some(command) = open.pop() {
        let arguments: Vec<&str> = command.iter().map(String::as_str).chain(["--help"]).collect();
        let help = printed(&arguments);
        assert!(help.contains("\nUsage: isthmus") && !help.starts_with("Usage"), "{arguments:?}: {help}");
        let listed = help.split_once("\nCommands:\n").map_or("", |(_, rest)| rest);
        let listed = listed.lines().take_while(|line| !line.is_empty());
        // what it is for may go on in lines that are further in
        let names = listed
            .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
            .filter(|name| !name.is_empty());
        open.extend(
            names.filter(|name| *name != "help").map(|name| [&command[..], &[name.to_owned()]].concat()),
        );
        seen += 1;
    }
    assert!(seen > 12, "{seen} commands");
}

#[test]
fn a_typo_in_the_log_filter_is_told() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_isthmus"));
    let output = command.arg("crds").env("ISTHMUS_LOG", "inof").output().unwrap();
    let said = text(&output.stderr);
    assert!(!output.status.success() && said.contains("ISTHMUS_LOG") && said.contains("inof"), "{said}");
    assert!(output.stdout.is_empty());
}

#[test]
fn crds_come_in_every_form() {
    let names =
        |items: &[Value]| -> Vec<Value> { items.iter().map(|c| c["metadata"]["name"].clone()).collect() };
    let plain = documents(&printed(&["crds"]));
    assert_eq!(plain.len(), 2);
    for list in [json_of(&["crds"]), documents(&printed(&["crds", "-o", "yaml"])).remove(0)] {
        assert_eq!((&list["kind"], &list["apiVersion"]), (&json!("List"), &json!("v1")));
        assert_eq!(names(list["items"].as_array().unwrap()), names(&plain));
    }
}

#[test]
fn a_dry_run_is_what_kubectl_takes() {
    let file = module("pod-port");
    let load = ["module", "load", &file, "--dry-run", "--operator-namespace", "modules"];
    let yaml = printed(&load);
    for field in ["apiVersion:", "kind:"] {
        assert_eq!(yaml.lines().filter(|l| l.starts_with(field)).count(), 1, "{field} once: {yaml:.300}");
    }
    let map = documents(&yaml).remove(0);
    assert_eq!((&map["kind"], &map["apiVersion"]), (&json!("ConfigMap"), &json!("v1")));
    assert_eq!(map["metadata"]["namespace"], "modules");
    assert_eq!(json_of(&load)["items"], json!([map]));
    let checked = documents(&printed(&["module", "check", &file, "-o", "yaml"])).remove(0);
    assert_eq!(map["metadata"]["annotations"]["isthmus.dev/sha256"], checked["sha256"]);
    assert_eq!(checked["manifest"]["name"], "pod-port");
}

#[test]
fn an_outcome_is_printed_in_the_form_asked_for() {
    let files = Files::new();
    let (file, namespace) = (module("pod-port"), files.path("namespace"));
    let (pod, on_host) = (files.path("pod"), files.path("on-host"));
    let of = |subject| ["render", &file, "--config", CONFIG, "--subject", subject];
    let list = json_of(&[&of(&pod)[..], &["--snapshot", &namespace]].concat());
    assert_eq!((&list[0]["name"], &list[0]["kind"]), (&json!("port"), &json!("port")));

    let reason = |outcome: &str, reason: &str| json!({"outcome": outcome, "stage": "pod-port", "reason": reason, "field": null});
    let waiting = reason("waiting", "the Pod's namespace is not known yet");
    assert_eq!(json_of(&of(&pod)), waiting);
    let yaml = printed(&[&of(&pod)[..], &["-o", "yaml"]].concat());
    assert!(yaml.ends_with('\n'), "{yaml}");
    assert_eq!(documents(&yaml), [waiting]);
    assert_eq!(json_of(&of(&on_host)), reason("not-mapped", "the Pod is on the host's network"));
    assert_eq!(printed(&of(&on_host)), "not mapped: the Pod is on the host's network\n");

    let wrong = ["render", &file, "--config", "{networks: 1}", "--subject", &pod];
    let output = isthmus(&[&wrong[..], &["-o", "json"]].concat());
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &said["outcome"]), (Some(1), &json!("invalid")));
    assert_eq!(said["field"], "config.networks");
    let output = isthmus(&wrong);
    assert!(output.stdout.is_empty() && text(&output.stderr).contains("(at config.networks)"));
}

/// A folder is all of its manifests: also those with several documents, and nothing else that lies there.
#[test]
fn a_snapshot_is_a_file_or_a_folder_of_manifests() {
    let files = Files::new();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let (file, refiner, pod) = (module("pod-port"), module("tag-by-team"), files.path("pod"));
    let path = folder.path().display().to_string();
    let of =
        ["render", &file, "--config", CONFIG, "--refiner", &refiner, "--subject", &pod, "--snapshot", &path];
    write("README.md", "no: [YAML");
    write("old.yaml.orig", NAMESPACE);
    std::fs::create_dir(folder.path().join("charts")).unwrap();
    assert_eq!(json_of(&of)["outcome"], "waiting", "none of these is a manifest");
    let other = "{apiVersion: v1, kind: Namespace, metadata: {name: other, labels: {team: red}}}";
    for (name, text) in [
        ("1.yaml", format!("---\n{other}\n---\n{NAMESPACE}\n---\n")),
        ("2.yml", format!("{NAMESPACE}\n---\n{other}")),
        ("3.json", serde_json::to_string(&documents(NAMESPACE)[0]).unwrap()),
    ] {
        write(name, &text);
        assert_eq!(json_of(&of)[0]["tags"], json!(["team=blue"]), "{name}");
        std::fs::remove_file(folder.path().join(name)).unwrap();
    }
    // One that shows that the manifests are read in the order of their names: of two of one object the last one counts.
    write("a.yaml", NAMESPACE);
    write("b.yaml", &NAMESPACE.replace("blue", "green"));
    assert_eq!(json_of(&of)[0]["tags"], json!(["team=green"]));
    write("b.yaml", "no: [YAML");
    let output = isthmus(&of);
    assert!(!output.status.success() && text(&output.stderr).contains("b.yaml is no YAML"));
}

#[test]
fn a_refiner_is_called_as_the_operator_would() {
    let files = Files::new();
    let (namespace, widget, pod) = (files.path("namespace"), files.path("widget"), files.path("pod"));
    let (pods, widgets, refiner) = (module("pod-port"), module("widget-port"), module("tag-by-team"));
    let tags =
        |arguments: &[&str]| json_of(&[arguments, &["--snapshot", &namespace]].concat())[0]["tags"].clone();
    let refined = ["render", &pods, "--subject", &pod, "--config", CONFIG, "--refiner"];
    assert_eq!(tags(&[&refined[..], &[&refiner]].concat()), json!(["team=blue"]));
    // It refines Pods.
    let other = ["render", &widgets, "--subject", &widget, "--refiner", &refiner];
    assert_eq!(tags(&other), Value::Null);
    let said = text(&isthmus(&other).stderr);
    assert!(said.contains("does not refine example.org/v1/Widget"), "{said}");
    // It has no config, and says which field it does not know.
    let with = format!("{refiner}={{colour: red}}");
    let output = isthmus(&[&refined[..], &[&with, "--snapshot", &namespace]].concat());
    let said = text(&output.stderr);
    assert!(said.contains("tag-by-team says") && said.contains("colour"), "{said}");
}

#[test]
fn every_shell_gets_a_script_that_completes_commands() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = printed(&["completion", shell]);
        assert!(script.contains("isthmus") && script.contains("why-denied"), "{shell}: {script:.300}");
    }
    assert!(!isthmus(&["completion", "tcsh"]).status.success());
}

/// A shell completes what is half typed.
#[test]
fn bash_completes_a_command() {
    let script = r#"eval "$1"
COMP_WORDS=(isthmus wh); COMP_CWORD=1
_isthmus isthmus wh isthmus
echo "${COMPREPLY[@]}""#;
    let output =
        Command::new("bash").args(["-euc", script, "bash", &printed(&["completion", "bash"])]).output();
    let output = output.unwrap();
    assert_eq!(text(&output.stdout).trim(), "why why-denied", "{}", text(&output.stderr));
}

/// The agent is another program, beside this one, with the same arguments.
#[test]
fn node_becomes_the_agent() {
    // where it can be linked to
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let [bin, conf] = ["bin", "conf"].map(|name| folder.path().join(name));
    std::fs::create_dir(&bin).unwrap();
    std::fs::write(bin.join("isthmus-cni"), "installed").unwrap();
    let folders = [bin.to_str().unwrap(), conf.to_str().unwrap()];
    let uninstall = |more: &[&str]| {
        let [bin, conf] = folders;
        let all = ["--node", "n1", "--uninstall-cni", "--cni-bin-dir", bin, "--cni-conf-dir", conf];
        isthmus(&[&["--log-format", "json", "node"], &all[..], more].concat())
    };
    let output = uninstall(&[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(!bin.join("isthmus-cni").exists());
    let output = uninstall(&["--no-such-option"]);
    assert!(text(&output.stderr).contains("Usage: isthmus node"), "{}", text(&output.stderr));
    let alone = folder.path().join("isthmus");
    std::fs::hard_link(env!("CARGO_BIN_EXE_isthmus"), &alone).unwrap();
    let output = Command::new(&alone).args(["node", "--node", "n1"]).output().unwrap();
    assert!(!output.status.success() && text(&output.stderr).contains("belongs beside this program"));
}
