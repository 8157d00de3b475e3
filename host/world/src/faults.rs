//! What is to go wrong, on demand. Sign-ins are spared.

use std::time::Duration;

use parking_lot::Mutex;

/// The faults of a cloud. Each applies from the next request on; they may be combined.
#[derive(Debug, Default)]
pub struct Faults(Mutex<Planned>);

#[derive(Debug, Default)]
struct Planned {
    latency: Duration,
    failing: u64,
    status: u16,
    losing: u64,
    breaking: u64,
    sticking: u64,
}

/// How the provider's work on a write of Octavia ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Ending {
    #[default]
    Active,
    Error,
    /// It does not: what is pending stays so.
    Never,
}

/// What happens to one request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fate {
    /// It waits so long before anything is done.
    pub(crate) latency: Duration,
    /// It is refused with this status, and not done.
    pub(crate) refused: Option<u16>,
    /// It is done, and the connection closed in place of an answer.
    pub(crate) lost: bool,
}

impl Faults {
    /// Every request takes so much longer.
    pub fn set_latency(&self, latency: Duration) {
        self.0.lock().latency = latency;
    }

    /// The next `requests` are refused with `status`, without effect.
    pub fn fail_next(&self, requests: u64, status: u16) {
        let mut planned = self.0.lock();
        (planned.failing, planned.status) = (requests, status);
    }

    /// The next `writes` take effect, but the connection is closed in place of their answers.
    pub fn lose_next_writes(&self, writes: u64) {
        self.0.lock().losing = writes;
    }

    /// The provider fails at the next `writes` of load balancers and what is below them: they end in `ERROR`.
    pub fn break_next_load_balancers(&self, writes: u64) {
        self.0.lock().breaking = writes;
    }

    /// The provider dies in the middle of the next `writes` of load balancers and what is below them: they stay `PENDING_*`.
    pub fn stick_next_load_balancers(&self, writes: u64) {
        self.0.lock().sticking = writes;
    }

    /// How the next write of Octavia ends.
    pub(crate) fn ending(&self, write: bool) -> Ending {
        let mut planned = self.0.lock();
        if !write {
            return Ending::Active;
        }
        if planned.breaking > 0 {
            planned.breaking -= 1;
            return Ending::Error;
        }
        let sticks = planned.sticking > 0;
        planned.sticking -= u64::from(sticks);
        if sticks { Ending::Never } else { Ending::Active }
    }

    /// What happens to the next request.
    pub(crate) fn next(&self, write: bool) -> Fate {
        let mut planned = self.0.lock();
        let latency = planned.latency;
        if planned.failing > 0 {
            planned.failing -= 1;
            return Fate { latency, refused: Some(planned.status), lost: false };
        }
        let lost = write && planned.losing > 0;
        planned.losing -= u64::from(lost);
        Fate { latency, refused: None, lost }
    }
}
