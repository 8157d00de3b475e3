//! Asking the agent.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Code, Error};
use crate::protocol::{Answer, Ask, Request, VERSION, read, write};

/// Asks the agent on `socket`, until `deadline`.
///
/// # Errors
/// [`Code::TryAgain`] where there is no agent, or no answer in time; otherwise what the agent answered.
pub fn ask(socket: &Path, ask: Ask, deadline: Instant) -> Result<Answer, Error> {
    let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    let within_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
    let request = Request { version: VERSION, within_ms, ask };
    // A little more than the agent has: what it did not manage it says itself.
    match within(left + Duration::from_millis(500), socket.to_owned(), request) {
        Ok(Answer::Failed(error)) => Err(error),
        Ok(answer) => Ok(answer),
        Err(error) => Err(failed(socket, &error)),
    }
}

/// On a thread, so that all of it together has one limit: to connect may block as well, where an agent hangs.
fn within(limit: Duration, socket: PathBuf, request: Request) -> io::Result<Answer> {
    let (sender, receiver) = mpsc::channel();
    thread::Builder::new().spawn(move || {
        let call = || -> io::Result<Answer> {
            let mut stream = UnixStream::connect(socket)?;
            write(&mut stream, &request)?;
            read(&mut stream)
        };
        // Where the receiver is gone, it was too late.
        let _ = sender.send(call());
    })?;
    receiver.recv_timeout(limit).unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

fn failed(socket: &Path, error: &io::Error) -> Error {
    let path = socket.display();
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            let why = format!("{error}; is the Pod of the Isthmus agent on this node running?");
            Error::new(Code::TryAgain, format!("no agent on {path}"), why)
        }
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            Error::new(Code::TryAgain, format!("the agent on {path} did not answer in time"), "")
        }
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            let what = format!("the agent on {path} hung up");
            Error::new(Code::TryAgain, what, "it was stopped, or does not talk to this user")
        }
        io::ErrorKind::InvalidData => {
            let why = format!("{error}; plugin and agent are of different versions");
            Error::new(Code::Decoding, format!("the answer of the agent on {path} cannot be read"), why)
        }
        _ => Error::new(Code::Io, format!("talking to the agent on {path} failed"), error.to_string()),
    }
}
