//! What plugin and agent say to each other: one request and one answer a connection, each a frame of a 4-byte length
//! (big-endian) and JSON.

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::result::AddResult;

/// Version of the protocol. An agent refuses another one: plugin and agent are installed together.
pub const VERSION: u32 = 1;
/// Most bytes of a frame.
pub const MOST_FRAME: usize = 1 << 20;

/// What the plugin asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// [`VERSION`]
    pub version: u32,
    /// How long the plugin waits for the answer, in milliseconds.
    pub within_ms: u64,
    /// What is asked.
    pub ask: Ask,
}

/// The questions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// ADD
    Add(Add),
    /// DEL
    Del(Del),
    /// CHECK: is it as it was made, and with these addresses?
    Check {
        /// Which, and where.
        add: Add,
        /// Addresses that the runtime believes the attachment has.
        addresses: Vec<String>,
        /// MAC address that it believes the interface has: a plugin after ours may have given it another.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mac: Option<String>,
    },
    /// STATUS
    Status,
    /// GC: what the runtime still knows of a network.
    Gc {
        /// The network.
        network: String,
        /// All of its attachments.
        valid: Vec<Attached>,
    },
}

/// An attachment to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Add {
    /// Which.
    #[serde(flatten)]
    pub attached: Attached,
    /// Path of the network namespace.
    pub netns: String,
    /// Name of the network.
    pub network: String,
    /// The Pod.
    pub pod: PodReference,
}

/// An attachment to be taken away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Del {
    /// Which.
    #[serde(flatten)]
    pub attached: Attached,
    /// Path of the network namespace, where the runtime says it: a plugin before this one did not pass it on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<String>,
}

/// An attachment: one interface of one container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Attached {
    /// Id of the container (a Pod's sandbox).
    #[serde(rename = "containerID")]
    pub container: String,
    /// The interface.
    #[serde(rename = "ifname")]
    pub interface: String,
}

/// A Pod, as a runtime names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PodReference {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// `metadata.uid`; older runtimes do not tell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
}

/// What the agent answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// ADD is done.
    Added(Box<AddResult>),
    /// Everything else is done.
    Done,
    /// It is not.
    Failed(Error),
}

/// A value as a frame.
///
/// # Errors
/// Larger than [`MOST_FRAME`].
pub fn encode<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(value)?;
    let length = length_of(json.len())?;
    Ok([&length.to_be_bytes()[..], &json].concat())
}

/// The length of what follows its first four bytes.
///
/// # Errors
/// Larger than [`MOST_FRAME`].
pub fn frame_length(head: [u8; 4]) -> io::Result<usize> {
    let length = u32::from_be_bytes(head) as usize;
    length_of(length)?;
    Ok(length)
}

fn length_of(length: usize) -> io::Result<u32> {
    let fits = u32::try_from(length).ok().filter(|_| length <= MOST_FRAME);
    fits.ok_or_else(|| {
        let why = format!("a frame of {length} bytes; {MOST_FRAME} at most");
        io::Error::new(io::ErrorKind::InvalidData, why)
    })
}

/// Writes one frame.
///
/// # Errors
/// The stream's, or a frame that is too large.
pub fn write<T: Serialize>(stream: &mut impl Write, value: &T) -> io::Result<()> {
    stream.write_all(&encode(value)?)
}

/// Reads one frame.
///
/// # Errors
/// The stream's, a frame that is too large or that is not what was expected.
pub fn read<T: DeserializeOwned>(stream: &mut impl Read) -> io::Result<T> {
    let mut head = [0; 4];
    stream.read_exact(&mut head)?;
    let mut json = vec![0; frame_length(head)?];
    stream.read_exact(&mut json)?;
    Ok(serde_json::from_slice(&json)?)
}
