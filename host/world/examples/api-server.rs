//! A Kubernetes API server to play with: prints a kubeconfig and serves until it is stopped.
#![allow(clippy::print_stdout, reason = "it is what this is for")]

use isthmus_world::kubernetes::{ApiServer, Options};

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let mut options = Options::default();
    if let Some(port) = std::env::args().nth(1).and_then(|p| p.parse().ok()) {
        options.listen.set_port(port);
    }
    let server = ApiServer::start(options).await?;
    println!("{}", server.kubeconfig());
    std::future::pending().await
}
