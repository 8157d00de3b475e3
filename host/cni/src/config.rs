//! The network configuration on standard input.

use std::path::PathBuf;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::error::{Code, Error};
use crate::input::{Verb, identifier, interface_name};
use crate::protocol::Attached;
use crate::result::{AddResult, Dns};
use crate::version::Version;

/// Most bytes on standard input.
pub const MOST_INPUT: usize = 1 << 20;
/// The agent's socket, where the configuration names no other.
pub const SOCKET: &str = "/run/isthmus/cni.sock";
/// How long a call may take, where the configuration does not say. A kubelet gives up after 2 to 4 minutes.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A network configuration that can be used.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkConfig {
    /// The version that results are asked for in.
    pub version: Version,
    /// Name of the network; empty for VERSION.
    pub name: String,
    /// The agent's socket.
    pub socket: PathBuf,
    /// How long the call may take.
    pub timeout: Duration,
    /// Resolver of the Pod, as the configuration has it.
    pub dns: Dns,
    /// What the plugins before us in the list made.
    pub prev_result: Option<AddResult>,
    /// GC: what the runtime still knows.
    pub valid: Option<Vec<Attached>>,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(rename = "cniVersion")]
    version: Option<String>,
    name: Option<String>,
    socket: Option<PathBuf>,
    #[serde(rename = "timeoutSeconds")]
    timeout: Option<u64>,
    dns: Option<Value>,
    ipam: Option<Value>,
    #[serde(rename = "prevResult")]
    prev: Option<Value>,
    #[serde(rename = "cni.dev/valid-attachments", default, deserialize_with = "there")]
    valid: Option<Vec<Attached>>,
    #[serde(rename = "cni.dev/attachments", default, deserialize_with = "there")]
    valid_old: Option<Vec<Attached>>,
}

impl NetworkConfig {
    /// Reads a configuration, as far as a verb needs it: what attached a Pod may have been another than this, and DEL has to
    /// work all the same.
    ///
    /// # Errors
    /// [`Code::Decoding`] where it is not JSON of the right types, [`Code::IncompatibleVersion`], [`Code::InvalidConfig`],
    /// [`Code::UnsupportedField`].
    pub fn parse(input: &[u8], verb: Verb) -> Result<Self, Error> {
        if input.len() > MOST_INPUT {
            let what = format!("the network configuration on standard input has over {MOST_INPUT} bytes");
            return Err(Error::new(Code::InvalidConfig, what, ""));
        }
        let raw: Raw = serde_json::from_slice(input).map_err(|e| {
            let what = "the network configuration on standard input cannot be read";
            Error::new(Code::Decoding, what, e.to_string())
        })?;
        // The specification has an absent version mean 0.2.0, which nobody should ask for today.
        let version = Version::parse(raw.version.as_deref().unwrap_or("0.2.0"))?;
        let name = raw.name.unwrap_or_default();
        let strict = verb != Verb::Del;
        if strict && !identifier(&name) {
            let why = "it starts with a letter or digit, and has only those, _, . and -";
            return Err(Error::new(Code::InvalidConfig, format!("the network's name is {name:?}"), why));
        }
        if strict && raw.ipam.as_ref().is_some_and(|i| i.get("type").is_some()) {
            let why = "addresses come from the cloud: remove `ipam`";
            return Err(Error::new(Code::UnsupportedField, "the network configuration has `ipam`", why));
        }
        let timeout = match raw.timeout {
            None => TIMEOUT,
            Some(seconds @ 1..=600) => Duration::from_secs(seconds),
            Some(_) if !strict => TIMEOUT,
            Some(other) => {
                let what = format!("timeoutSeconds is {other}");
                return Err(Error::new(Code::InvalidConfig, what, "it is 1 to 600"));
            }
        };
        // Of both names that of the newer specification, unless it says nothing.
        let valid = match (raw.valid, raw.valid_old) {
            (Some(new), Some(old)) if new.is_empty() => Some(old),
            (new, old) => new.or(old),
        };
        for attached in valid.iter().flatten() {
            if !identifier(&attached.container) || interface_name(&attached.interface).is_err() {
                let what = format!("an attachment is {:?} {:?}", attached.container, attached.interface);
                let why = "cni.dev/valid-attachments has a containerID and an ifname each";
                return Err(Error::new(Code::InvalidConfig, what, why));
            }
        }
        Ok(Self {
            version,
            name,
            socket: raw.socket.unwrap_or_else(|| SOCKET.into()),
            timeout,
            dns: field("dns", raw.dns.filter(|_| strict))?.unwrap_or_default(),
            prev_result: field("prevResult", raw.prev.filter(|_| strict))?,
            valid,
        })
    }
}

/// A list that is there: the reference library writes an empty one as `null`.
fn there<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Vec<Attached>>, D::Error> {
    Option::deserialize(value).map(|list| Some(list.unwrap_or_default()))
}

fn field<T: DeserializeOwned>(name: &str, value: Option<Value>) -> Result<Option<T>, Error> {
    value.map(serde_json::from_value).transpose().map_err(|e| {
        Error::new(
            Code::Decoding,
            format!("the network configuration's {name} cannot be read"),
            e.to_string(),
        )
    })
}
