//! The suites that need a lab, on as many as there are.

use std::collections::VecDeque;
use std::iter;
use std::sync::{Mutex, PoisonError};
use std::thread::{self, ScopedJoinHandle};

use anyhow::anyhow;

use super::{ONE_AT_A_TIME, TestBinary, run_binary, shown};
use crate::demo;
use crate::lab::Lab;
use crate::test::Report;
use crate::workspace::Workspace;

/// Those of the lab that take minutes, to be begun first. Before all others those that no load beside them can fail: meanwhile the
/// tests that need no lab run too.
const LONGEST: [&str; 12] = [
    "isthmus-conformance/openstack",
    "isthmus-conformance/kubernetes",
    "isthmus-e2e/floating",
    "isthmus-e2e/cloud",
    "isthmus-e2e/routes",
    "isthmus-e2e/services",
    "isthmus-e2e/policies",
    "isthmus-e2e/pods",
    "isthmus-e2e/beside",
    "isthmus-e2e/served",
    "isthmus-e2e/modules",
    "isthmus-e2e/tls",
];

/// The tests that need a lab. Each lab takes one suite after the other (some stop parts of it); the longest come first,
/// so that several labs end at about the same time.
pub(crate) fn in_labs(workspace: &Workspace, labs: &[Lab], binaries: Vec<TestBinary>) -> Report {
    let mut report = Report::default();
    let mut suites = Vec::new();
    for binary in binaries {
        let name = binary.suite.clone();
        match binary.by_module() {
            Ok(modules) => suites.extend(modules),
            Err(error) => report.broken(&name, &error),
        }
    }
    suites.sort_by_key(|suite| LONGEST.iter().position(|name| suite.suite == *name).unwrap_or(LONGEST.len()));
    // Its times are none of a test's.
    let suites = iter::once(Suite::Demo).chain(suites.into_iter().map(Suite::Tests));
    let waiting = Mutex::new(VecDeque::from_iter(suites));
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let done = thread::scope(|scope| {
        let lanes: Vec<_> = labs.iter().map(|lab| scope.spawn(|| in_lab(workspace, lab, next))).collect();
        lanes.into_iter().map(ScopedJoinHandle::join).collect::<Vec<_>>()
    });
    for lane in done {
        match lane {
            Ok(lane) => report.add(lane),
            Err(_panic) => report.broken("lab", &anyhow!("the lane panicked")),
        }
    }
    report.rows.sort_by(|a, b| a.suite.cmp(&b.suite));
    report
}

/// What a lab is taken for.
enum Suite {
    Demo,
    Tests(TestBinary),
}

/// The suites that this lab gets to.
fn in_lab(workspace: &Workspace, lab: &Lab, next: impl Fn() -> Option<Suite>) -> Report {
    let mut report = Report::default();
    while let Some(suite) = next() {
        let binary = match suite {
            Suite::Tests(binary) => binary,
            Suite::Demo => {
                report.add(shown("cargo xtask demo --lab", || demo::on_lab(workspace, lab)));
                continue;
            }
        };
        let mut command = lab.inside(&binary.executable);
        command.args(ONE_AT_A_TIME);
        if !binary.only.is_empty() {
            command.arg("--exact").args(&binary.only);
        }
        command.env("ISTHMUS_LAB", "1");
        command.env("ISTHMUS_BIN", workspace.target.join("debug/isthmus"));
        // not current_exe: the build may have replaced the file since this process began
        command.env("ISTHMUS_XTASK", workspace.target.join("debug/xtask"));
        run_binary(workspace, &mut report, &binary, command);
    }
    report
}
