//! Operators that are killed, one after the other.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::lab::Lab;
use crate::metrics::Sample;
use crate::operator::Operator;
use crate::wait::until_within;

/// Beside what the cloud is at work on, each operator has to begin.
const WRITE: Duration = Duration::from_secs(300);
/// More writes than anything here takes.
const MOST: usize = 100;

impl Lab {
    /// Starts one operator after the other, each killed at its first write as `writes` counts them, until one comes to the end
    /// without any. Answers how many were killed, and that one. `end` looks once.
    ///
    /// # Errors
    /// One neither writes nor comes to the end.
    pub async fn killed_at_each_write(
        &self,
        writes: impl Fn(&Sample) -> u64,
        end: impl AsyncFn() -> Result<()>,
    ) -> Result<(usize, Operator)> {
        for kills in 0..MOST {
            let operator = self.operator(&[]).await?;
            let done = until_within(WRITE, "a write, or the end", async || {
                // First: a look at the end takes time, in which others are written.
                if writes(&operator.metrics().await?) > 0 {
                    return Ok(false);
                }
                end().await?;
                // The answer to the write that led there may still be on its way.
                Ok(writes(&operator.quiet().await?) == 0)
            })
            .await?;
            if done {
                return Ok((kills, operator));
            }
            operator.kill().await?;
        }
        bail!("{MOST} operators did not come to the end")
    }
}
