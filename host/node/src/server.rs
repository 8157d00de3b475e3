//! The agent's socket. Who may connect is root; what is sent is bounded in size and time.

use std::fs::{self, DirBuilder, File, Permissions};
use std::future::Future;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use isthmus_cni::input::{identifier, interface_name};
use isthmus_cni::protocol::{Add, Answer, Ask, Del, Request, VERSION, encode, frame_length};
use isthmus_cni::{Code, Error};
use rustix::fs::{FlockOperation, flock};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::agent::Agent;
use crate::source::VifSource;

/// How long a request may take to come, and its answer to be taken.
const TRANSFER: Duration = Duration::from_secs(5);
/// Most ADDs at once: they may wait for long. Further ones are told to try again.
const ADDS: usize = 256;
/// Most connections at once; further ones wait to be accepted. Verbs other than ADD end soon.
const CONNECTIONS: usize = 1024;

/// A socket that is listened on, by one agent at a time.
#[derive(Debug)]
pub struct Listening {
    socket: UnixListener,
    /// Held as long as the socket, or a request that came by it, is ours.
    lock: File,
}

/// Listens on a socket of mode 0600 in a folder of mode 0700. One that a dead agent left is replaced.
///
/// # Errors
/// The folder or socket cannot be made, the folder is others' too, or another agent listens there.
pub fn listen(socket: &Path) -> Result<Listening, Error> {
    let failed = |e: io::Error| Error::new(Code::Io, format!("socket {}", socket.display()), e.to_string());
    let mut lock_path = socket.as_os_str().to_owned();
    lock_path.push(".lock");
    let lock_path = Path::new(&lock_path);
    if let Some(folder) = socket.parent() {
        own_folder(folder, &[socket, lock_path]).map_err(failed)?;
    }
    let lock = File::options().create(true).truncate(false).write(true).mode(0o600).open(lock_path);
    let lock = lock.map_err(failed)?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Err(failed(io::Error::new(io::ErrorKind::AddrInUse, "another agent listens there")));
    }
    match fs::remove_file(socket) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
        _ => {}
    }
    let listener = UnixListener::bind(socket).map_err(failed)?;
    fs::set_permissions(socket, Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(Listening { socket: listener, lock })
}

/// Makes a folder of mode 0700, or makes one so that holds nothing but these files: not, say, `/run`.
fn own_folder(folder: &Path, ours: &[&Path]) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mode = fs::metadata(folder)?.permissions().mode() & 0o777;
    if mode == 0o700 {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if !ours.contains(&path.as_path()) {
            let why = format!(
                "{} has mode {mode:o}, is to have 700, and holds {} too: give the socket a folder of its own",
                folder.display(),
                path.display()
            );
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
    }
    fs::set_permissions(folder, Permissions::from_mode(0o700))
}

/// Serves until `stop`; then what is under way ends first, for a second at most: a plugin that gets no answer asks again.
pub async fn serve<S: VifSource>(agent: Arc<Agent<S>>, listener: Listening, stop: impl Future<Output = ()>) {
    let Listening { socket, lock: _lock } = listener;
    let places = Arc::new(Semaphore::new(ADDS));
    let mut requests = JoinSet::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept(), if requests.len() < CONNECTIONS => accepted,
            Some(_ended) = requests.join_next() => continue,
            () = &mut stop => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let (agent, places) = (Arc::clone(&agent), Arc::clone(&places));
                requests.spawn(async move {
                    if let Err(error) = one(&agent, stream, &places).await {
                        tracing::warn!(%error, "a request was not served");
                    }
                });
            }
            Err(error) => {
                tracing::error!(%error, "the socket takes no connection");
                // Out of file descriptors, most likely: others have to end first.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(socket);
    let all = async { while requests.join_next().await.is_some() {} };
    if tokio::time::timeout(Duration::from_secs(1), all).await.is_err() {
        tracing::info!("stopped with requests under way");
    }
}

async fn one<S: VifSource>(agent: &Agent<S>, mut stream: UnixStream, places: &Semaphore) -> io::Result<()> {
    let peer = stream.peer_cred()?.uid();
    if peer != 0 {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("it came from user {peer}")));
    }
    let frame = tokio::time::timeout(TRANSFER, frame(&mut stream)).await?;
    let answer = match frame.map(|json| decode(&json)) {
        Ok(Ok(request)) if matches!(request.ask, Ask::Add(_)) => match places.try_acquire() {
            Ok(_place) => agent.answer(request).await,
            Err(_) => {
                let what = format!("{ADDS} ADDs are under way");
                Answer::Failed(Error::new(
                    Code::TryAgain,
                    what,
                    "they wait for the API server or Open vSwitch",
                ))
            }
        },
        Ok(Ok(request)) => agent.answer(request).await,
        Ok(Err(error)) => Answer::Failed(error),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Answer::Failed(unreadable(&error)),
        Err(error) => return Err(error),
    };
    let frame = encode(&answer)?;
    tokio::time::timeout(TRANSFER, stream.write_all(&frame)).await?
}

async fn frame(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let mut json = vec![0; frame_length(head)?];
    stream.read_exact(&mut json).await?;
    Ok(json)
}

/// What is looked at first: another version may have other verbs.
#[derive(Deserialize)]
struct Head {
    version: u32,
}

/// What a frame asks.
///
/// # Errors
/// It is of another version of the protocol, or no request.
pub fn decode(json: &[u8]) -> Result<Request, Error> {
    let head: Head = serde_json::from_slice(json).map_err(|e| unreadable(&e))?;
    if head.version != VERSION {
        let what = format!("the plugin speaks version {} of the agent's protocol", head.version);
        let why = format!("the agent speaks {VERSION}: install both anew");
        return Err(Error::new(Code::TryAgain, what, why));
    }
    let request: Request = serde_json::from_slice(json).map_err(|e| unreadable(&e))?;
    if let Ask::Add(Add { attached, .. })
    | Ask::Del(Del { attached, .. })
    | Ask::Check { add: Add { attached, .. }, .. } = &request.ask
        && (!identifier(&attached.container) || interface_name(&attached.interface).is_err())
    {
        // The plugin has checked it; it becomes the name of a file.
        return Err(unreadable(&format!("it is about {attached:?}")));
    }
    Ok(request)
}

fn unreadable(why: &impl ToString) -> Error {
    Error::new(Code::Decoding, "the agent cannot read the request", why.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample;
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_request_is_of_our_version_and_names_what_can_be_a_file() {
        let code = |json: &str| decode(json.as_bytes()).unwrap_err().code;
        assert_eq!(code(r#"{"version": 9, "ask": "a verb of tomorrow"}"#), Code::TryAgain);
        assert_eq!(code(r#"{"version": 1, "within_ms": 1, "ask": "nonsense"}"#), Code::Decoding);
        let del = |container: &str, interface: &str| {
            format!(
                r#"{{"version": 1, "within_ms": 1, "ask": {{"del": {{"containerID": "{container}", "ifname": "{interface}"}}}}}}"#
            )
        };
        assert!(decode(del("c1", "eth0").as_bytes()).is_ok());
        assert_eq!(code(&del("../../x", "eth0")), Code::Decoding);
        assert_eq!(code(&del("c1", "a/b")), Code::Decoding);
    }

    /// A request that is nearly right: one piece of it is something else, or not there.
    fn nearly() -> impl Strategy<Value = Value> {
        let attached = r#""containerID": "c1", "ifname": "eth0""#;
        let add = format!(
            r#"{{{attached}, "netns": "/n", "network": "a", "pod": {{"namespace": "s", "name": "w", "uid": "u"}}}}"#
        );
        let asks = [
            format!(r#"{{"add": {add}}}"#),
            format!(r#"{{"del": {{{attached}, "netns": "/n"}}}}"#),
            format!(
                r#"{{"check": {{"add": {add}, "addresses": ["10.0.0.5/24"], "mac": "fa:16:3e:00:00:01"}}}}"#
            ),
            format!(r#"{{"gc": {{"network": "a", "valid": [{{{attached}}}]}}}}"#),
        ];
        let whole = asks.map(|ask| format!(r#"{{"version": 1, "within_ms": 1, "ask": {ask}}}"#)).to_vec();
        let paths = [
            "/version",
            "/within_ms",
            "/ask",
            "/ask/add",
            "/ask/add/pod/uid",
            "/ask/add/containerID",
            "/ask/del/ifname",
            "/ask/del/netns",
            "/ask/check/add/netns",
            "/ask/check/addresses",
            "/ask/check/mac",
            "/ask/gc/valid/0/ifname",
        ];
        let odd = prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            proptest::collection::vec(any::<String>(), 0..3).prop_map(Value::from),
            Just(serde_json::json!({"add": {}})),
        ];
        (sample::select(whole), sample::select(paths.to_vec()), odd).prop_map(|(whole, path, odd)| {
            let mut request: Value = serde_json::from_str(&whole).unwrap();
            if let Some(place) = request.pointer_mut(path) {
                *place = odd;
            }
            request
        })
    }

    proptest! {
        #![proptest_config(crate::many(4096))]
        #[test]
        fn any_bytes_are_a_request_or_an_error(bytes: Vec<u8>, cut in 0usize..80) {
            let _ = decode(&bytes);
            let whole = br#"{"version": 1, "within_ms": 1, "ask": {"gc": {"network": "a", "valid": []}}}"#;
            prop_assert!(decode(whole.get(..cut.min(whole.len() - 1)).unwrap_or_default()).is_err());
        }

        /// What comes through names what can be a file, and the plugin could have sent it.
        #[test]
        fn what_is_nearly_a_request_is_one_or_an_error(odd in nearly()) {
            let Ok(request) = decode(odd.to_string().as_bytes()) else { return Ok(()) };
            if let Ask::Add(Add { attached, .. }) | Ask::Del(Del { attached, .. }) = &request.ask {
                prop_assert!(identifier(&attached.container) && interface_name(&attached.interface).is_ok());
            }
            let again = serde_json::to_vec(&request).unwrap();
            prop_assert_eq!(decode(&again).unwrap(), request);
        }

        /// As they come from the socket: a frame is read whole, or is an error, however its bytes are cut.
        #[test]
        fn any_stream_is_a_frame_or_an_error(stream in proptest::collection::vec(any::<u8>(), 0..64), length in 0u8..80) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let stream = [&[0, 0, 0, length][..], &stream].concat();
            let read = runtime.block_on(frame(&mut &*stream));
            match stream.get(4..4 + usize::from(length)) {
                Some(whole) => prop_assert_eq!(read.unwrap(), whole),
                None => prop_assert_eq!(read.unwrap_err().kind(), io::ErrorKind::UnexpectedEof),
            }
        }
    }
}
