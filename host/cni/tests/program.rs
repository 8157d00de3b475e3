//! The program itself: what it makes of its standard input, and how.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by a panic")]

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

fn start(verb: &str) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_isthmus-cni"));
    command.env_clear().env("CNI_COMMAND", verb).stdin(Stdio::piped()).stdout(Stdio::piped());
    command.spawn().unwrap()
}

fn said(mut child: Child) -> (bool, Value) {
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    (child.wait().unwrap().success(), serde_json::from_str(&text).unwrap())
}

#[test]
fn a_configuration_may_come_in_parts() {
    let mut child = start("VERSION");
    let mut input = child.stdin.take().unwrap();
    for part in ["{\"cniVersion\"", ": \"0.4.0\"", "}"] {
        input.write_all(part.as_bytes()).unwrap();
        input.flush().unwrap();
        std::thread::yield_now();
    }
    drop(input);
    let (success, answer) = said(child);
    assert!(success && answer["cniVersion"] == "0.4.0", "{answer}");
}

#[test]
fn a_configuration_without_an_end_is_refused_before_it_ends() {
    let mut child = start("STATUS");
    let mut input = child.stdin.take().unwrap();
    let part = [b' '; 1 << 16];
    // Until it has read enough to refuse it, and is gone.
    while input.write_all(&part).is_ok() {}
    let (success, answer) = said(child);
    assert!(!success && answer["code"] == 7, "{answer}");
}

#[test]
fn a_closed_standard_input_is_an_empty_one() {
    let mut child = start("VERSION");
    drop(child.stdin.take());
    let (success, answer) = said(child);
    assert!(success && answer["supportedVersions"].is_array(), "{answer}");
}
