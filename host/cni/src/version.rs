//! Versions of the CNI specification.

use crate::error::{Code, Error};

/// A version that we speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// 0.3.1
    V0_3_1,
    /// 0.4.0: CHECK
    V0_4_0,
    /// 1.0.0
    V1_0_0,
    /// 1.1.0: STATUS, GC
    V1_1_0,
}

impl Version {
    /// All, oldest first.
    pub const ALL: [Self; 4] = [Self::V0_3_1, Self::V0_4_0, Self::V1_0_0, Self::V1_1_0];

    /// As the specification writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V0_3_1 => "0.3.1",
            Self::V0_4_0 => "0.4.0",
            Self::V1_0_0 => "1.0.0",
            Self::V1_1_0 => "1.1.0",
        }
    }

    /// # Errors
    /// A version that we do not speak ([`Code::IncompatibleVersion`]).
    pub fn parse(text: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|v| v.as_str() == text).ok_or_else(|| {
            let known = Self::ALL.map(Self::as_str).join(", ");
            let what = format!("the network configuration's cniVersion is {text:?}");
            Error::new(Code::IncompatibleVersion, what, format!("this plugin speaks {known}"))
        })
    }
}
