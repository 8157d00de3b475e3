//! How long to wait between attempts of a watch: doubling, with jitter, so that many watches do not come back as one.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// The first wait. Short: most interruptions are a restarted or rolled API server.
const FIRST: Duration = Duration::from_millis(250);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
    /// Keyed at random once: what jitter needs, without a dependency.
    random: RandomState,
}

impl Backoff {
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Between a half and the whole of the doubled wait.
    pub(crate) fn next(&mut self) -> Duration {
        let most = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        let unit = self.random.hash_one(self.failures) as f64 / u64::MAX as f64;
        most.mul_f64(0.5 + unit / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_within_its_bounds_and_starts_again() {
        let mut backoff = Backoff::default();
        for doubled in [250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000] {
            let wait = backoff.next().as_millis();
            assert!((doubled / 2..=doubled).contains(&wait), "{wait} of {doubled}");
        }
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}
