//! Asking the agent.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

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
    match within(left + Duration::from_millis(500), socket, &request) {
        Ok(Answer::Failed(error)) => Err(error),
        Ok(answer) => Ok(answer),
        Err(error) => Err(failed(socket, &error)),
    }
}

fn within(limit: Duration, socket: &Path, request: &Request) -> io::Result<Answer> {
    let mut agent = Bounded::connect(socket, Instant::now() + limit)?;
    write(&mut agent, request)?;
    read(&mut agent)
}

/// A connection all of whose calls together have one limit. No thread keeps it: to start one takes longer than most answers.
struct Bounded {
    stream: UnixStream,
    until: Instant,
}

impl Bounded {
    /// To connect waits as well, where an agent hangs and the queue of its socket is full.
    fn connect(path: &Path, until: Instant) -> io::Result<Self> {
        let address = SocketAddrUnix::new(path)?;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        set_socket_timeout(&socket, Timeout::Send, Some(left(until)?))?;
        while let Err(error) = connect(&socket, &address) {
            if error != Errno::INTR {
                return Err(error.into());
            }
        }
        Ok(Self { stream: socket.into(), until })
    }
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(left(self.until)?))?;
        self.stream.read(buffer)
    }
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(left(self.until)?))?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// What is left of the time; a timeout of zero would be none.
fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
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
