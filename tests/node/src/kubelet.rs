//! Kubelet's `podresources` service, as far as the agent asks it.

use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use parking_lot::Mutex;
use tokio::net::UnixListener;
use tokio::sync::oneshot;

/// Answers on a socket until it is dropped.
pub struct Kubelet {
    /// The message that it answers with: a field for each Pod.
    given: Arc<Mutex<Vec<u8>>>,
    _stop: oneshot::Sender<()>,
}

impl Kubelet {
    /// It listens when this returns.
    ///
    /// # Errors
    /// It does not.
    pub fn start(socket: &Path) -> Result<Self> {
        let listener = std::os::unix::net::UnixListener::bind(socket)?;
        listener.set_nonblocking(true)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let given: Arc<Mutex<Vec<u8>>> = Arc::default();
        let answer = Arc::clone(&given);
        std::thread::spawn(move || -> Result<()> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async move {
                let listener = UnixListener::from_std(listener)?;
                tokio::select! {
                    served = serve(listener, answer) => served,
                    // A sender that is gone says so as well.
                    _ = stopped => Ok(()),
                }
            })
        });
        Ok(Self { given, _stop: stop })
    }

    /// A device plugin has given a Pod of the namespace `shop` devices of a resource.
    pub fn give(&self, pod: &str, resource: &str, ids: &[&str]) {
        let ids: Vec<u8> = ids.iter().flat_map(|id| field(2, id.as_bytes())).collect();
        let devices = field(2, &[field(1, resource.as_bytes()), ids].concat());
        let container = field(3, &[field(1, b"main"), devices].concat());
        let of_pod = field(1, &[field(1, pod.as_bytes()), field(2, b"shop"), container].concat());
        self.given.lock().extend(of_pod);
    }
}

async fn serve(listener: UnixListener, answer: Arc<Mutex<Vec<u8>>>) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let mut connection = h2::server::Builder::new().handshake::<_, Cursor<Vec<u8>>>(stream).await?;
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            let mut body = respond.send_response(http::Response::new(()), false)?;
            let message = answer.lock().clone();
            let framed = [&[0][..], &u32::try_from(message.len())?.to_be_bytes(), &message].concat();
            body.send_data(Cursor::new(framed), false)?;
            let mut trailers = http::HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().map_err(|_| anyhow!("a header"))?);
            body.send_trailers(trailers)?;
        }
    }
}

/// A field of a protobuf message: a text or a message.
fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let (mut bytes, mut length) = (vec![number << 3 | 2], value.len());
    while length > 0x7f {
        bytes.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    [&*bytes, value].concat()
}
