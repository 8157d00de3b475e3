//! Errors as the CNI specification 1.1 has them ("Error", and "STATUS" for 50 and 51).

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Codes of the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "u32", try_from = "u32")]
pub enum Code {
    /// The version, or the verb in this version.
    IncompatibleVersion = 1,
    /// A field of the network configuration that we cannot honour.
    UnsupportedField = 2,
    /// The container is unknown or gone; no clean-up is needed.
    UnknownContainer = 3,
    /// An environment variable is missing or not valid.
    InvalidEnvironment = 4,
    /// Reading or writing failed.
    Io = 5,
    /// Input that does not decode.
    Decoding = 6,
    /// The network configuration, or what it leads to, is not valid.
    InvalidConfig = 7,
    /// A transient state; the runtime should try again.
    TryAgain = 11,
    /// No ADD can be served now.
    NotAvailable = 50,
    /// Nor may containers that are attached have connectivity.
    LimitedConnectivity = 51,
    /// Everything else (the specification leaves 100 and above to plugins).
    Other = 100,
}

impl From<Code> for u32 {
    fn from(code: Code) -> Self {
        code as u32
    }
}

impl TryFrom<u32> for Code {
    type Error = String;

    fn try_from(code: u32) -> Result<Self, String> {
        use Code::{
            Decoding, IncompatibleVersion, InvalidConfig, InvalidEnvironment, Io, LimitedConnectivity,
            NotAvailable, Other, TryAgain, UnknownContainer, UnsupportedField,
        };
        let all = [
            IncompatibleVersion,
            UnsupportedField,
            UnknownContainer,
            InvalidEnvironment,
            Io,
            Decoding,
            InvalidConfig,
            TryAgain,
            NotAvailable,
            LimitedConnectivity,
            Other,
        ];
        all.into_iter().find(|c| u32::from(*c) == code).ok_or_else(|| format!("{code} is no code of ours"))
    }
}

/// An error that the runtime shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{msg}{}{details}", if details.is_empty() { "" } else { ": " })]
pub struct Error {
    /// What kind of error.
    pub code: Code,
    /// What was found, in one short sentence.
    pub msg: String,
    /// Why, and what to do; may be empty.
    #[serde(default)]
    pub details: String,
}

impl Error {
    /// `msg` says what was found, `details` why, or what to do.
    pub fn new(code: Code, msg: impl Into<String>, details: impl Into<String>) -> Self {
        Self { code, msg: msg.into(), details: details.into() }
    }

    /// As it is printed.
    pub fn to_json(&self, version: &str) -> Value {
        let code = u32::from(self.code);
        json!({"cniVersion": version, "code": code, "msg": self.msg, "details": self.details})
    }
}
