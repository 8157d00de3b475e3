//! Real connections.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;

use anyhow::{Context, Result, anyhow, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::LIMIT;
use crate::namespace::Namespace;

/// A TCP connection from one namespace to an address of another, with data both ways.
///
/// # Errors
/// There is none to be had.
pub fn reach(server: &Namespace, client: &Namespace, address: &str) -> Result<()> {
    let address: IpAddr = address.parse()?;
    let listener = inside(server, move || Ok(TcpListener::bind((address, 0))?))?;
    let to = listener.local_addr()?;
    let asks = inside(client, move || Ok(TcpStream::connect_timeout(&to, LIMIT)?));
    let mut asks = asks.with_context(|| format!("{address} is not reached"))?;
    let (mut answers, _) = listener.accept()?;
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
