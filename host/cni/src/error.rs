//! Errors as the CNI specification 1.1 has them ("Error", and "STATUS" for 50 and 51).

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Codes of the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "u32", try_from = "u32")]
pub enum Code {
    /// 1: the version, or the verb in this version.
    IncompatibleVersion,
    /// 2: a field of the network configuration that we cannot honour.
    UnsupportedField,
    /// 3: the container is unknown or gone; no clean-up is needed.
    UnknownContainer,
    /// 4: an environment variable is missing or not valid.
    InvalidEnvironment,
    /// 5: reading or writing failed.
    Io,
    /// 6: input that does not decode.
    Decoding,
    /// 7: the network configuration, or what it leads to, is not valid.
    InvalidConfig,
    /// 11: a transient state; the runtime should try again.
    TryAgain,
    /// 50: no ADD can be served now.
    NotAvailable,
    /// 51: nor may containers that are attached have connectivity.
    LimitedConnectivity,
    /// 100: everything else (the specification leaves 100 and above to plugins).
    Other,
}

impl From<Code> for u32 {
    fn from(code: Code) -> Self {
        match code {
            Code::IncompatibleVersion => 1,
            Code::UnsupportedField => 2,
            Code::UnknownContainer => 3,
            Code::InvalidEnvironment => 4,
            Code::Io => 5,
            Code::Decoding => 6,
            Code::InvalidConfig => 7,
            Code::TryAgain => 11,
            Code::NotAvailable => 50,
            Code::LimitedConnectivity => 51,
            Code::Other => 100,
        }
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
