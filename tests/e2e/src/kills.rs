//! Operators that are killed, one after the other.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use kube::api::ListParams;

use crate::gate::Gate;
use crate::lab::Lab;
use crate::operator::Operator;
use crate::wait::until_within;

/// Beside what the cloud is at work on, each operator has to begin.
const WRITE: Duration = Duration::from_secs(300);
/// More writes than anything here takes.
const MOST: usize = 100;

impl Lab {
    /// Starts an operator whose calls to the cloud go through a gate.
    ///
    /// # Errors
    /// It does not start.
    pub async fn operator_behind_gate(&self) -> Result<(Gate, Operator)> {
        let gate = Gate::new(self).await?;
        let operator = self.operator_with_clouds(&gate.clouds).await?;
        Ok((gate, operator))
    }

    /// Starts one operator after the other, each killed when its first write to the cloud is done and before it has the answer,
    /// until one comes to the end without any. Answers how many were killed, and that one. `end` looks once.
    ///
    /// # Errors
    /// One neither writes nor comes to the end.
    pub async fn killed_at_each_write(&self, end: impl AsyncFn() -> Result<()>) -> Result<(usize, Operator)> {
        let gate = Gate::new(self).await?;
        for kills in 0..MOST {
            gate.arm();
            let operator = self.operator_with_clouds(&gate.clouds).await?;
            let done = until_within(WRITE, "a write, or the end", async || {
                if gate.has_landed() {
                    return Ok(false);
                }
                end().await?;
                operator.quiet().await?;
                Ok(!gate.has_landed())
            })
            .await?;
            if done && gate.open() {
                return Ok((kills, operator));
            }
            operator.kill().await?;
        }
        bail!("{MOST} operators did not come to the end")
    }

    /// As [`Lab::killed_at_each_write`] twice: until the Pods of a namespace are as `made` wants them, and until they are gone with all
    /// that `gone` looks for. Nobody leads before. Each time at least two are killed.
    ///
    /// # Errors
    /// As of [`Lab::killed_at_each_write`].
    pub async fn killed_all_along(
        &self,
        namespace: &str,
        made: impl AsyncFn() -> Result<()>,
        gone: impl AsyncFn() -> Result<()>,
    ) -> Result<()> {
        let (kills, operator) = self.killed_at_each_write(made).await?;
        ensure!(kills >= 2, "killed {kills} times while they were made");
        operator.kill().await?;
        self.delete_pods(namespace).await?;
        let mappings = self.mapping_api(namespace);
        let gone = async || {
            gone().await?;
            ensure!(self.ports().await?.is_empty(), "a port is left");
            ensure!(mappings.list(&ListParams::default()).await?.items.is_empty(), "a CloudMapping is left");
            Ok(())
        };
        let (kills, _operator) = self.killed_at_each_write(gone).await?;
        ensure!(kills >= 2, "killed {kills} times at the end");
        Ok(())
    }
}
