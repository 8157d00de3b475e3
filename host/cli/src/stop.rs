//! Ending in order.

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Says so on SIGTERM and SIGINT; a second one ends the process at once.
///
/// # Errors
/// The signals cannot be handled.
pub fn stop() -> anyhow::Result<watch::Receiver<bool>> {
    let (sender, receiver) = watch::channel(false);
    let mut terminate = signal(SignalKind::terminate()).context("handling SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("handling SIGINT")?;
    tokio::spawn(async move {
        let mut signalled = async || {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        signalled().await;
        tracing::info!("stopping: what is in flight ends first; a second signal ends it at once");
        sender.send_replace(true);
        signalled().await;
        tracing::warn!("stopped at once: what was in flight is found by the next leader");
        std::process::exit(1);
    });
    Ok(receiver)
}
