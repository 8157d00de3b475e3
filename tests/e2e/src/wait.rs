//! Waiting for a condition instead of for a time.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// How long [`until`] waits: far more than anything here should take.
pub const LIMIT: Duration = Duration::from_secs(60);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);
/// One look: a server that hangs must not outlive the limit.
const LOOK: Duration = Duration::from_secs(15);

/// Looks again and again until there is a result, for [`LIMIT`] at most.
///
/// # Errors
/// None in time: what was waited for, and what was seen last.
pub async fn until<T>(what: &str, look: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    until_within(LIMIT, what, look).await
}

/// As [`until`], with a limit of its own.
///
/// # Errors
/// As [`until`].
pub async fn until_within<T>(
    limit: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Result<T>,
) -> Result<T> {
    let begun = Instant::now();
    loop {
        let seen = tokio::time::timeout(LOOK, look()).await.context("no answer").flatten();
        match seen {
            Ok(done) => return Ok(done),
            Err(seen) if begun.elapsed() > limit => {
                return Err(seen.context(format!("not within {limit:?}: {what}; seen last")));
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}
