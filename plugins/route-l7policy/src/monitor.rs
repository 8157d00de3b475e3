//! How the members of Routes are watched, if they are.

use isthmus_sdk::prelude::*;
use serde::Deserialize;

/// The monitor of every Route's pool.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Monitor {
    /// What members are asked for over HTTP. None: a connection is enough.
    path: Option<String>,
    /// As Octavia's `expected_codes`. None: 200.
    expected_codes: Option<String>,
    /// Seconds between two probes.
    #[serde(default = "delay")]
    delay: u16,
    /// Seconds for one probe.
    #[serde(default = "timeout")]
    timeout: u16,
    /// Successes until a member is ONLINE.
    #[serde(default = "max_retries")]
    max_retries: u8,
    /// Failures until it is in ERROR.
    #[serde(default = "max_retries_down")]
    max_retries_down: u8,
}

fn delay() -> u16 {
    5
}
fn timeout() -> u16 {
    3
}
fn max_retries() -> u8 {
    1
}
fn max_retries_down() -> u8 {
    3
}

impl Monitor {
    /// What the types of the fields do not say; the limits are Octavia's.
    pub(crate) fn check(&self) -> Result<(), Outcome> {
        let wrong =
            |field: &str, message: &str| Err(invalid_field(message, &format!("config.monitor.{field}")));
        match self {
            Self { delay: 0, .. } => wrong("delay", "a second at least is between two probes"),
            Self { timeout, delay, .. } if *timeout == 0 || timeout > delay => {
                wrong("timeout", "a probe may take 1 second at least, and no longer than the delay")
            }
            Self { max_retries, .. } if !(1..=10).contains(max_retries) => {
                wrong("maxRetries", "it is 1 to 10")
            }
            Self { max_retries_down, .. } if !(1..=10).contains(max_retries_down) => {
                wrong("maxRetriesDown", "it is 1 to 10")
            }
            Self { path: Some(path), .. } if !path.starts_with('/') => {
                wrong("path", "a path begins with a slash")
            }
            Self { path: None, expected_codes: Some(_), .. } => {
                wrong("expectedCodes", "only who is asked for a path answers with a code")
            }
            _ => Ok(()),
        }
    }

    /// That of a pool whose members nobody but clients understands.
    pub(crate) fn of_connections(&self) -> HealthMonitor {
        self.new_of("TCP")
    }

    /// That of a pool; `encrypted`: its members speak TLS.
    pub(crate) fn of_pool(&self, encrypted: bool) -> HealthMonitor {
        let kind = match (&self.path, encrypted) {
            (Some(_), true) => "HTTPS",
            (Some(_), false) => "HTTP",
            (None, _) => "TCP",
        };
        let mut monitor = self.new_of(kind);
        monitor.url_path.clone_from(&self.path);
        monitor.expected_codes.clone_from(&self.expected_codes);
        monitor
    }

    fn new_of(&self, kind: &str) -> HealthMonitor {
        let mut monitor = HealthMonitor::new(kind, self.delay, self.timeout, self.max_retries);
        monitor.max_retries_down = Some(self.max_retries_down);
        monitor
    }
}
