//! What the kernel may take long for is done beside the thread that serves.

use std::io;

use isthmus_cni::{Code, Error};
use rtnetlink::Handle;
use tokio::runtime::Builder;
use tokio::task::spawn_blocking;

/// Has work done by another thread in the caller's network namespace, with a netlink connection of that thread's own: the kernel works
/// while a request is sent, and holds the sender up. Work that has begun comes to its end, also where nobody waits for it any more.
///
/// # Errors
/// The work's; no thread or netlink connection to be had. `what`: what an error is told of.
pub(crate) async fn beside<T: Send + 'static>(
    what: &str,
    work: impl AsyncFnOnce(Handle) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let done = spawn_blocking(move || -> io::Result<Result<T, Error>> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let (connection, netlink, _) = rtnetlink::new_connection()?;
            tokio::spawn(connection);
            Ok(work(netlink).await)
        })
    });
    let done = done.await.map_err(io::Error::other);
    done.and_then(|done| done).unwrap_or_else(|e| Err(Error::new(Code::Io, what, e.to_string())))
}
