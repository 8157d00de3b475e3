//! `isthmus module new`: whatever it is asked for, its crate is tested, built and loaded as it is.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]

mod snippets;

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}\n{}", text(&output.stdout), text(&output.stderr));
    output
}

/// The rustc that has the std of WebAssembly.
fn rustc() -> String {
    let found = run(Command::new("bash").arg(Path::new(ROOT).join("tests/lab/wasm/ensure-wasm.sh")));
    match text(&found.stdout).trim() {
        "" => "rustc".to_owned(),
        path => path.to_owned(),
    }
}

/// Commands in a folder, with one folder for what they build: the SDK is compiled once.
struct Desk<'a> {
    folder: &'a Path,
    rustc: &'a str,
}

impl Desk<'_> {
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.folder)
            .env("CARGO_TARGET_DIR", snippets::target())
            .env("CARGO_NET_OFFLINE", "true");
        command
    }

    fn isthmus(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_isthmus"));
        command.args(arguments).env("RUSTC", self.rustc);
        command
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = run(self.isthmus(arguments).args(["-o", "json"]));
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", text(&output.stdout)))
    }

    /// What the README of the crate says to type, up to the cluster; and what each step tells of the kind.
    fn follow(&self, name: &str, kind: &str) {
        run(self.command("cargo").args(["test", "--quiet"]));
        let file = format!("{name}.wasm");
        let built = self.json(&["module", "build"]);
        let checked = self.json(&["module", "check", &file]);
        assert_eq!((&built["sha256"], &checked["manifest"]["name"]), (&checked["sha256"], &json!(name)));
        let (group, rest) = match kind.matches('/').count() {
            1 => ("", kind),
            _ => kind.split_once('/').unwrap(),
        };
        let (version, word) = rest.split_once('/').unwrap();
        let maps = json!({"group": group, "version": version, "kind": word});
        assert_eq!(checked["manifest"]["maps"][0]["kind"], maps, "{checked}");
        let list = self.json(&["render", &file, "--subject", "example.yaml", "--config", "{network: pods}"]);
        assert_eq!((&list[0]["kind"], &list[0]["tags"]), (&json!("port"), &json!(["example"])), "{list}");
    }
}

#[test]
fn a_crate_of_every_shape_is_tested_built_and_loaded_as_it_is() {
    let (home, rustc) = (tempfile::tempdir().unwrap(), rustc());
    let sdk = Path::new(ROOT).join("plugins/sdk").display().to_string();
    let desk = Desk { folder: home.path(), rustc: &rustc };
    // A kind of the core group, of others, of another version; a name that the crate itself uses; the longest.
    let longest = "a-name-of-a-module-that-has-40-letters-1";
    assert_eq!(longest.len(), 40);
    for (name, kind) in
        [("pods", "v1/Pod"), ("port", "apps/v1/Deployment"), (longest, "example.com/v1beta1/Widget")]
    {
        run(&mut desk.isthmus(&["module", "new", name, "--kind", kind, "--sdk", &sdk]));
        Desk { folder: &home.path().join(name), rustc: &rustc }.follow(name, kind);
    }
}

/// In a folder of another name, with the SDK that is above it.
#[test]
fn where_a_crate_lies_is_said_and_its_sdk_is_found() {
    let inside = Path::new(ROOT).canonicalize().unwrap().join("target/tmp");
    std::fs::create_dir_all(&inside).unwrap();
    let (home, rustc) = (tempfile::tempdir_in(inside).unwrap(), rustc());
    let new = ["module", "new", "by-place", "--kind", "v1/Service", "--dir", "elsewhere"];
    let desk = Desk { folder: home.path(), rustc: &rustc };
    run(&mut desk.isthmus(&new));
    Desk { folder: &home.path().join("elsewhere"), rustc: &rustc }.follow("by-place", "v1/Service");
    let again = desk.isthmus(&new).output().unwrap();
    assert!(text(&again.stderr).contains("elsewhere is there already"), "{}", text(&again.stderr));
}

#[test]
fn what_would_not_build_or_load_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let desk = Desk { folder: folder.path(), rustc: "rustc" };
    for (name, kind, why) in [
        ("type", "v1/Pod", "can't be the name of a crate"),
        ("serde", "v1/Pod", "can't be the name of a crate"),
        ("1st", "v1/Pod", "is no name of a module"),
        ("secrets", "v1/Secret", "no module is given"),
        ("alone", "v1/Pod", "name its plugins/sdk with --sdk"),
    ] {
        let refused = desk.isthmus(&["module", "new", name, "--kind", kind]).output().unwrap();
        let said = text(&refused.stderr);
        assert!(
            !refused.status.success() && said.contains(why) && !folder.path().join(name).exists(),
            "{name}: {said}"
        );
    }
}
