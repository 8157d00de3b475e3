//! A client of OVSDB (RFC 7047) over its unix socket: `transact` and `monitor`.
//!
//! One task owns the socket. A connection that ends fails what is under way; the next call makes a new one.

mod frames;
mod rows;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use isthmus_cni::{Code, Error};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::timeout;

pub use frames::{Frames, MOST_FRAME};
pub use rows::{Interface, Interfaces, ids, map};

/// Key of our monitor in what the server tells.
const MONITOR: &str = "isthmus";
const DATABASE: &str = "Open_vSwitch";
/// How long the server may take to answer: it does so in milliseconds, or hangs.
const LIMIT: Duration = Duration::from_secs(5);

/// A database server, connected to when it is first asked.
pub struct Ovsdb {
    socket: PathBuf,
    current: AsyncMutex<Option<Connection>>,
}

#[derive(Clone)]
struct Connection {
    calls: mpsc::Sender<Call>,
    /// The Interface table, kept by the monitor.
    interfaces: watch::Receiver<Interfaces>,
    /// Ends it.
    task: AbortHandle,
}

type Answer = oneshot::Sender<Result<Value, String>>;

/// By id: whether it is the monitor's, and who waits.
type Waiting = HashMap<u64, (bool, Answer)>;

struct Call {
    method: &'static str,
    params: Value,
    answer: Answer,
}

impl Ovsdb {
    /// The server on this socket, as `/run/openvswitch/db.sock`.
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned(), current: AsyncMutex::new(None) }
    }

    fn error(&self, why: impl ToString) -> Error {
        let what = format!("Open vSwitch's database on {}", self.socket.display());
        Error::new(Code::TryAgain, what, why.to_string())
    }

    async fn connection(&self) -> Result<Connection, Error> {
        let mut current = self.current.lock().await;
        if let Some(connection) = current.as_ref().filter(|c| !c.calls.is_closed()) {
            return Ok(connection.clone());
        }
        let stream = timeout(LIMIT, UnixStream::connect(&self.socket)).await;
        let stream = stream.map_err(|_| self.error("it takes no connection"))?.map_err(|e| self.error(e))?;
        let (calls, receiver) = mpsc::channel(64);
        let (sender, interfaces) = watch::channel(Interfaces::default());
        let task = tokio::spawn(async move {
            if let Err(error) = serve(stream, receiver, sender).await {
                tracing::warn!(%error, "the connection to Open vSwitch's database ended");
            }
        });
        let connection = Connection { calls, interfaces, task: task.abort_handle() };
        let columns = json!(["name", "external_ids", "error"]);
        let params = json!([DATABASE, MONITOR, {"Interface": {"columns": columns}}]);
        // The answer, all rows there are, is taken by the task.
        self.call(&connection, "monitor", params).await?;
        *current = Some(connection.clone());
        Ok(connection)
    }

    async fn call(&self, on: &Connection, method: &'static str, params: Value) -> Result<Value, Error> {
        let (answer, result) = oneshot::channel();
        let gone = "the connection ended";
        let answered = async {
            on.calls.send(Call { method, params, answer }).await.map_err(|_| self.error(gone))?;
            result.await.map_err(|_| self.error(gone))?.map_err(|e| self.error(e))
        };
        match timeout(LIMIT, answered).await {
            Ok(answer) => answer,
            Err(_) => {
                // Whatever it answers later is nobody's: the next call begins anew.
                on.task.abort();
                Err(self.error(format!("no answer in {} s", LIMIT.as_secs())))
            }
        }
    }

    /// Runs operations as one transaction; one result for each.
    ///
    /// # Errors
    /// [`Code::TryAgain`] where there is no server; [`Code::Io`] with what the first operation that failed says.
    pub async fn transact(&self, operations: Vec<Value>) -> Result<Vec<Value>, Error> {
        let count = operations.len();
        let mut params = vec![json!(DATABASE)];
        params.extend(operations);
        let connection = self.connection().await?;
        let result = self.call(&connection, "transact", Value::Array(params)).await?;
        let Value::Array(results) = result else { return Err(self.error("an answer that is no list")) };
        for result in &results {
            if let Some(error) = result.get("error").and_then(Value::as_str) {
                let details = result.get("details").and_then(Value::as_str).unwrap_or_default();
                let what = format!("Open vSwitch's database refused a change: {error}");
                return Err(Error::new(Code::Io, what, details));
            }
        }
        if results.len() < count {
            return Err(self.error(format!("{} results for {count} operations", results.len())));
        }
        Ok(results)
    }

    /// The Interface table as it is and as it becomes.
    ///
    /// # Errors
    /// [`Code::TryAgain`] where there is no server.
    pub async fn interfaces(&self) -> Result<watch::Receiver<Interfaces>, Error> {
        Ok(self.connection().await?.interfaces)
    }
}

/// Moves frames in both directions, until either end is gone.
async fn serve(
    stream: UnixStream,
    mut calls: mpsc::Receiver<Call>,
    interfaces: watch::Sender<Interfaces>,
) -> io::Result<()> {
    let (mut reader, mut writer) = stream.into_split();
    let mut waiting = Waiting::new();
    let (mut next, mut frames, mut buffer) = (0u64, Frames::default(), vec![0; 16 << 10]);
    loop {
        let read = tokio::select! {
            call = calls.recv() => {
                let Some(Call { method, params, answer }) = call else { return Ok(()) };
                next += 1;
                waiting.insert(next, (method == "monitor", answer));
                let frame = json!({"id": next, "method": method, "params": params});
                writer.write_all(frame.to_string().as_bytes()).await?;
                continue;
            }
            read = reader.read(&mut buffer) => read?,
        };
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        frames.feed(buffer.get(..read).unwrap_or_default())?;
        while let Some(frame) = frames.next()? {
            match frame.get("method").and_then(Value::as_str) {
                Some("echo") => {
                    let answer = json!({"id": frame.get("id"), "error": null, "result": frame.get("params")});
                    writer.write_all(answer.to_string().as_bytes()).await?;
                }
                Some("update") => {
                    if let Some(tables) = frame.pointer("/params/1") {
                        interfaces.send_modify(|known| known.update(tables));
                    }
                }
                Some(_) => {}
                None => answered(&frame, &mut waiting, &interfaces),
            }
        }
    }
}

fn answered(frame: &Value, waiting: &mut Waiting, interfaces: &watch::Sender<Interfaces>) {
    let id = frame.get("id").and_then(Value::as_u64);
    let Some((monitor, answer)) = id.and_then(|id| waiting.remove(&id)) else { return };
    let result = match frame.get("error") {
        None | Some(Value::Null) => Ok(frame.get("result").cloned().unwrap_or_default()),
        Some(error) => Err(error.to_string()),
    };
    if let (true, Ok(tables)) = (monitor, &result) {
        interfaces.send_modify(|known| known.update(tables));
    }
    // Where the receiver is gone, nobody wants to know.
    let _ = answer.send(result);
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_that_hangs_is_given_up_and_connected_to_anew() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("db.sock");
        let server = tokio::net::UnixListener::bind(&socket).unwrap();
        let database = Ovsdb::new(&socket);
        for _ in 0..2 {
            let (error, _silent) = tokio::join!(database.transact(Vec::new()), server.accept());
            let error = error.unwrap_err();
            assert_eq!(error.code, Code::TryAgain);
            assert!(error.to_string().contains("no answer in 5 s"), "{error}");
        }
    }
}
