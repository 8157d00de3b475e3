//! The helpers of the lab's scripts, without a lab.
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::process::{Command, Stdio};

/// Runs a script after `lib.sh`, with a state of its own; its output.
fn bash(script: &str) -> String {
    let state = std::env::temp_dir().join(format!("xtask-lab-{}", std::process::id()));
    for folder in ["pid", "log"] {
        std::fs::create_dir_all(state.join(folder)).unwrap();
    }
    let library = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/lab/lib.sh");
    let whole = format!("set -euo pipefail\n. {library}\nSTATE={}\n{script}", state.display());
    let output = Command::new("bash").args(["-c", &whole]).stdin(Stdio::null()).output().unwrap();
    std::fs::remove_dir_all(&state).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_daemon_has_none_of_the_files_that_its_starter_had_open() {
    let open = bash(
        "exec 8>$STATE/lock 9</dev/null
         spawn part nowhere sleep 30
         read -r pid _ <$STATE/pid/part
         until [ \"$(cat /proc/$pid/comm)\" = sleep ]; do sleep .02; done
         alive part
         (cd /proc/$pid/fd && echo *)
         stop part",
    );
    assert_eq!(open, "0 1 2\n");
}
