//! The agent as a process: everything joined.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use isthmus_cni::Error;
use isthmus_kubernetes::Client;

use crate::agent::{Agent, Options};
use crate::mappings::Mappings;
use crate::{report, server};

/// Serves this node until `stop`, on a runtime of the calling thread's network namespace, which is to be the host's.
///
/// # Errors
/// It cannot start: the state, the socket, netlink or a driver.
pub async fn run(
    options: Options,
    socket: PathBuf,
    client: Client,
    node: &str,
    stop: impl Future<Output = ()>,
) -> Result<(), Error> {
    let mappings = Mappings::watch(&client, node);
    // First: of two agents, the one that is refused must not have touched anything.
    let listener = server::listen(&socket)?;
    let agent = Agent::start(mappings.clone(), &options).await?;
    tracing::info!(node, socket = %socket.display(), attached = agent.attachments().list().len(), "serving");
    let reports = tokio::spawn(report::keep(client, mappings, agent.attachments().clone()));
    server::serve(Arc::clone(&agent), listener, stop).await;
    reports.abort();
    Ok(())
}
