//! `isthmus doctor`: whether what the operator needs is there, in the cluster and in the cloud; and if not, how to get it.

mod cloud;
mod cluster;
mod extensions;
mod rights;
mod services;
mod used;

use anyhow::ensure;
use isthmus_cli::global::{Kube, Output};
use serde::Serialize;

use crate::args::DoctorArgs;
use crate::output::print;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    Ok,
    /// It works, but not all of it.
    Warning,
    Failed,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
pub(crate) struct Check {
    name: String,
    state: State,
    /// What was found.
    found: String,
    /// What to do; only where something is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

impl Check {
    fn ok(name: &str, found: impl Into<String>) -> Self {
        Self { name: name.into(), state: State::Ok, found: found.into(), remedy: None }
    }

    fn warning(name: &str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name: name.into(), state: State::Warning, found: found.into(), remedy: Some(remedy.into()) }
    }

    fn failed(name: &str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name: name.into(), state: State::Failed, found: found.into(), remedy: Some(remedy.into()) }
    }
}

pub(crate) async fn run(kube: &Kube, args: &DoctorArgs, output: Output) -> anyhow::Result<()> {
    let (mut checks, used) = cluster::checks(kube, args.os_cloud.as_deref()).await;
    checks.extend(cloud::checks(args.os_cloud.as_deref(), used.as_ref()).await);
    print(&checks, output, |checks| told(checks))?;
    let failed = checks.iter().filter(|check| check.state == State::Failed).count();
    ensure!(failed == 0, "{failed} of {} checks failed", checks.len());
    Ok(())
}

fn told(checks: &[Check]) -> String {
    let line = |check: &Check| {
        let mark = match check.state {
            State::Ok => "ok  ",
            State::Warning => "warn",
            State::Failed => "FAIL",
        };
        let remedy = check.remedy.as_ref().map(|remedy| format!("      -> {remedy}\n")).unwrap_or_default();
        format!("{mark}  {}: {}\n{remedy}", check.name, check.found)
    };
    checks.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remedy_stands_below_what_is_wrong() {
        let checks = [
            Check::ok("API server", "v1.36"),
            Check::warning("roles", "member", "give it `service`"),
            Check::failed("definitions", "none", "isthmus crds | kubectl apply -f -"),
        ];
        let expected = "ok    API server: v1.36\nwarn  roles: member\n      -> give it `service`\n\
                        FAIL  definitions: none\n      -> isthmus crds | kubectl apply -f -\n";
        assert_eq!(told(&checks), expected);
    }
}
