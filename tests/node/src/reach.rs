//! Real connections.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;

use anyhow::{Context, Result, anyhow, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::namespace::Namespace;
use crate::{LIMIT, until};

/// A TCP connection from one namespace to an address of another, with data both ways.
///
/// # Errors
/// There is none to be had.
pub fn reach(server: &Namespace, client: &Namespace, address: &str) -> Result<()> {
    connect(server, SocketAddr::new(address.parse()?, 0), client, None)
}

/// As [`reach`], where something between the two leads from `to` to where the server listens.
///
/// # Errors
/// As there.
pub fn reach_through(server: &Namespace, at: SocketAddr, client: &Namespace, to: SocketAddr) -> Result<()> {
    connect(server, at, client, Some(to))
}

fn connect(server: &Namespace, at: SocketAddr, client: &Namespace, to: Option<SocketAddr>) -> Result<()> {
    let listener = inside(server, move || Ok(TcpListener::bind(at)?))?;
    let to = to.map_or_else(|| listener.local_addr(), Ok)?;
    let asks = inside(client, move || Ok(TcpStream::connect_timeout(&to, LIMIT)?));
    let mut asks = asks.with_context(|| format!("{to} is not reached"))?;
    let mut answers = accepted(&listener)?;
    for stream in [&asks, &answers] {
        stream.set_read_timeout(Some(LIMIT))?;
    }
    let mut heard = [0; 5];
    asks.write_all(b"hello")?;
    answers.read_exact(&mut heard)?;
    answers.write_all(&heard)?;
    asks.read_exact(&mut heard)?;
    ensure!(&heard == b"hello", "what comes back is {heard:?}");
    Ok(())
}

/// What was connected to may be another server.
fn accepted(listener: &TcpListener) -> Result<TcpStream> {
    listener.set_nonblocking(true)?;
    let mut stream = None;
    until("the connection comes to the server", || match listener.accept() {
        Ok((accepted, _)) => {
            stream = Some(accepted);
            Ok(true)
        }
        Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(false),
        Err(e) => Err(e.into()),
    })?;
    stream.context("it was accepted")
}

/// Runs something on a thread that has entered a namespace; a socket stays in the one that it was made in.
fn inside<T: Send + 'static>(
    namespace: &Namespace,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let file = File::open(namespace.path())?;
    let thread = std::thread::spawn(move || {
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
        work()
    });
    thread.join().map_err(|_| anyhow!("a panic"))?
}
