//! A gate before the cloud's services: of each operator it lets one write through, and no answer to it back. What it wrote is
//! there, and it does not know.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use isthmus_openstack::catalog::{KEY_MANAGER, LOAD_BALANCER, NETWORK};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use crate::lab::{Lab, cloud, private};

/// What becomes of the next write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It passes, as all do.
    Open,
    /// It passes, and is the last.
    Armed,
    /// It is held back.
    Holding,
    /// As before; one is there. All others wait for ever.
    Held,
    /// It passes, and its answer is 502; those after it pass as before.
    Garbled,
    /// It waits for ever: another one is on its way.
    Taken,
    /// As before; the other one has its answer.
    Landed,
}

/// The stage, and which operator it is of: connections of those before lead nowhere.
#[derive(Clone, Debug)]
struct State(Arc<Mutex<(usize, Stage)>>);

impl State {
    fn with<T>(&self, look: impl FnOnce(&mut (usize, Stage)) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// It stands as long as the test.
#[derive(Debug)]
pub struct Gate {
    state: State,
    /// A `clouds.yaml` that leads to it.
    pub(crate) clouds: PathBuf,
}

impl Gate {
    /// Stands before each of the services that Isthmus writes to.
    pub(crate) async fn new(lab: &Lab) -> Result<Self> {
        let state = State(Arc::new(Mutex::new((0, Stage::Open))));
        let session = cloud("isthmus")?.session().clone();
        let mut clouds: Value = serde_saphyr::from_str(&std::fs::read_to_string(crate::lab::variable(
            "OS_CLIENT_CONFIG_FILE",
        )?)?)?;
        for service in [NETWORK, LOAD_BALANCER, KEY_MANAGER] {
            let Ok(url) = session.token().await?.catalog.endpoint(service, session.config()) else {
                continue;
            };
            let (host, path) = behind(&url)?;
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let front = format!("http://{}{path}", listener.local_addr()?);
            let own = clouds.pointer_mut("/clouds/isthmus").and_then(Value::as_object_mut);
            let field = format!("{}_endpoint_override", service.replace('-', "_"));
            own.context("no cloud isthmus")?.insert(field, json!(front));
            tokio::spawn(stand(listener, host, state.clone()));
        }
        let clouds = private(&lab.folder().join("gate.yaml"), &clouds.to_string())?;
        Ok(Self { state, clouds })
    }

    /// For the next operator: its first write is its last.
    pub(crate) fn arm(&self) {
        self.state.with(|now| *now = (now.0 + 1, Stage::Armed));
    }

    /// The next write is held back until [`Gate::let_through`], though its sender be gone by then.
    pub fn hold(&self) {
        self.state.with(|now| now.1 = Stage::Holding);
    }

    /// Whether one is held back.
    pub fn holds(&self) -> bool {
        self.state.with(|now| now.1 == Stage::Held)
    }

    /// What is held back goes on.
    pub fn let_through(&self) {
        self.state.with(|now| now.1 = Stage::Open);
    }

    /// The next write is done, and a gateway that lost the answer says 502 in its place.
    pub fn garble(&self) {
        self.state.with(|now| now.1 = Stage::Garbled);
    }

    /// Whether that has come.
    pub fn has_garbled(&self) -> bool {
        self.state.with(|now| now.1 == Stage::Open)
    }

    /// Whether a write is in the cloud whose operator waits for the answer.
    pub(crate) fn has_landed(&self) -> bool {
        self.state.with(|now| now.1 == Stage::Landed)
    }

    /// Every write passes. Answers false where one had come.
    pub(crate) fn open(&self) -> bool {
        self.state.with(|now| {
            let untouched = now.1 == Stage::Armed;
            now.1 = Stage::Open;
            untouched
        })
    }
}

/// Host with port, and path, of a URL.
fn behind(url: &str) -> Result<(String, String)> {
    let rest = url.strip_prefix("http://").with_context(|| format!("{url} is not a plain one"))?;
    let (host, path) =
        rest.split_once('/').map_or((rest, String::new()), |(host, path)| (host, format!("/{path}")));
    Ok((if host.contains(':') { host.to_owned() } else { format!("{host}:80") }, path))
}

async fn stand(listener: TcpListener, service: String, state: State) {
    loop {
        // One that cannot be taken in is not the end of the others.
        let Ok((client, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let (service, state) = (service.clone(), state.clone());
        // What goes wrong here is what its client sees: a connection that ends.
        tokio::spawn(async move { passes(client, &service, &state).await });
    }
}

/// One connection: requests one after the other (nothing here sends a second one before it has the answer to the first).
async fn passes(client: TcpStream, service: &str, state: &State) -> Result<()> {
    let own = state.with(|now| now.0);
    let (from, mut back) = client.into_split();
    let (mut answers, mut to) = TcpStream::connect(service).await?.into_split();
    let mut from = BufReader::new(from);
    loop {
        let (is_write, request) = request(&mut from).await?;
        let stage = state.with(|now| {
            let stage = if now.0 == own || now.1 == Stage::Open { now.1 } else { Stage::Landed };
            match stage {
                Stage::Armed if is_write => now.1 = Stage::Taken,
                Stage::Garbled if is_write => now.1 = Stage::Open,
                Stage::Holding if is_write => now.1 = Stage::Held,
                _ => {}
            }
            stage
        });
        match stage {
            Stage::Armed if is_write => {
                to.write_all(&request).await?;
                let mut status = [0; 10];
                answers.read_exact(&mut status).await?;
                // What is refused did nothing: its sender is told, and the next one is the last.
                let landed = status.starts_with(b"HTTP/1.1 2");
                let next = if landed { Stage::Landed } else { Stage::Armed };
                state.with(|now| {
                    if now.0 == own && now.1 == Stage::Taken {
                        now.1 = next;
                    }
                });
                if landed {
                    return gone(from).await;
                }
                back.write_all(&status).await?;
                answer(&mut answers, &mut from, &mut back).await?;
            }
            Stage::Garbled if is_write => {
                to.write_all(&request).await?;
                answers.read_exact(&mut [0; 10]).await?;
                back.write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                    .await?;
                return Ok(());
            }
            Stage::Holding if is_write => {
                while state.with(|now| now.1 == Stage::Held) {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                to.write_all(&request).await?;
                answers.read_exact(&mut [0; 10]).await?;
                return Ok(());
            }
            Stage::Held | Stage::Taken | Stage::Landed if is_write => return gone(from).await,
            _ => {
                to.write_all(&request).await?;
                answer(&mut answers, &mut from, &mut back).await?;
            }
        }
    }
}

/// Waits until the client has given up.
async fn gone(mut from: BufReader<OwnedReadHalf>) -> Result<()> {
    while from.read(&mut [0; 512]).await? > 0 {}
    Ok(())
}

/// One whole request, and whether it changes something.
async fn request(from: &mut BufReader<OwnedReadHalf>) -> Result<(bool, Vec<u8>)> {
    let mut all = Vec::new();
    let mut length = 0;
    loop {
        let begun = all.len();
        ensure!(from.read_until(b'\n', &mut all).await? > 0, "closed");
        let line = String::from_utf8_lossy(all.get(begun..).unwrap_or_default()).trim().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
        if line.is_empty() {
            break;
        }
    }
    let head = all.len();
    all.resize(head + length, 0);
    from.read_exact(all.get_mut(head..).unwrap_or_default()).await?;
    Ok((!all.starts_with(b"GET ") && !all.starts_with(b"HEAD "), all))
}

/// Lets an answer back, until the client asks again or leaves.
async fn answer(
    answers: &mut OwnedReadHalf,
    from: &mut BufReader<OwnedReadHalf>,
    back: &mut OwnedWriteHalf,
) -> Result<()> {
    let mut part = vec![0; 1 << 16];
    loop {
        tokio::select! {
            biased;
            read = answers.read(&mut part) => {
                let read = read?;
                ensure!(read > 0, "the service closed");
                back.write_all(part.get(..read).unwrap_or_default()).await?;
            }
            next = from.fill_buf() => {
                ensure!(!next?.is_empty(), "the client left");
                return Ok(());
            }
        }
    }
}
