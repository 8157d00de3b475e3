//! The agent as a process: everything joined.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use isthmus_cni::{Code, Error};
use isthmus_kubernetes::Client;
use tokio::task::{JoinError, JoinSet};

use crate::agent::{Agent, Options};
use crate::install::Install;
use crate::mappings::Mappings;
use crate::{http, report, server};

/// Where an agent serves.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// Socket for isthmus-cni.
    pub socket: PathBuf,
    /// For probes and metrics; `None`: nowhere.
    pub http: Option<SocketAddr>,
    /// Where the container runtime finds the plugin; `None`: that is somebody else's business.
    pub install: Option<Install>,
}

/// Serves this node until `stop`, on a runtime of the calling thread's network namespace, which is to be the host's.
///
/// # Errors
/// It cannot start: the state, the socket, netlink or a driver. Or one of its parts ended.
pub async fn run(
    options: Options,
    addresses: Addresses,
    client: Client,
    node: &str,
    stop: impl Future<Output = ()>,
) -> Result<(), Error> {
    let (mappings, watching) = Mappings::watch(&client, node);
    // First: of two agents, the one that is refused must not have touched anything.
    let listener = server::listen(&addresses.socket)?;
    let http = match addresses.http {
        Some(address) => Some(http::listen(address).await?),
        None => None,
    };
    let agent = Agent::start(mappings.clone(), &options).await?;
    // Now that it is listened on.
    if let Some(install) = &addresses.install {
        install.put(&addresses.socket)?;
    }
    let attached = agent.attachments().list().len();
    tracing::info!(node, socket = %addresses.socket.display(), http = ?addresses.http, attached, "serving");
    let mut parts = JoinSet::new();
    parts.spawn(async { ("the watch of CloudMappings", watching.await.map_err(std::io::Error::other)) });
    let reports = report::keep(client, mappings, agent.attachments().clone());
    parts.spawn(async {
        reports.await;
        ("the reports", Ok(()))
    });
    if let Some(listener) = http {
        let agent = Arc::clone(&agent);
        parts.spawn(async { ("HTTP", http::serve(agent, listener).await) });
    }
    let mut ended = Ok(());
    let stop = async {
        tokio::select! {
            () = stop => {}
            part = parts.join_next() => ended = Err(unexpected(part)),
        }
    };
    server::serve(agent, listener, stop).await;
    ended
}

/// None of the parts ends by itself: a new start is better than half an agent.
fn unexpected(part: Option<Result<(&str, std::io::Result<()>), JoinError>>) -> Error {
    let (what, why) = match part {
        Some(Ok((what, Ok(())))) => (what, String::new()),
        Some(Ok((what, Err(error)))) => (what, error.to_string()),
        Some(Err(error)) => ("a part", error.to_string()),
        None => ("all parts", String::new()),
    };
    Error::new(Code::Other, format!("{what} ended"), why)
}
