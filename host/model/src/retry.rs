//! Why a call failed, in the terms that decide what happens next, and how long to wait (design, section 10).

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a failure means for the retry of the work that met it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RetryClass {
    /// The service is away, overloaded or slow; the request had no effect. Retried with back-off.
    Transient,
    /// The write was sent and its answer lost: it may or may not have happened. Before any retry the resource is looked
    /// for by its mark.
    Unknown,
    /// Something else holds what is needed (a port in use, a newer revision). Retried after the state was read anew.
    Conflict,
    /// A quota or an address range is exhausted. Retried slowly: somebody has to free or raise it.
    Quota,
    /// The credential is refused.
    Unauthorized,
    /// The credential may not do this.
    Forbidden,
    /// The resource, or one that it refers to, does not exist.
    NotFound,
    /// The request itself is wrong: only a change of input helps.
    Invalid,
}

impl RetryClass {
    /// How long to wait before the `attempt`th retry (from 1), before jitter; `None`: only a change of input helps.
    pub fn delay(self, attempt: u32) -> Option<Duration> {
        let (first, most) = match self {
            Self::Transient | Self::Unknown => (Duration::from_secs(1), Duration::from_secs(300)),
            Self::Conflict => (Duration::from_millis(250), Duration::from_secs(60)),
            Self::Quota => (Duration::from_secs(5), Duration::from_secs(60)),
            Self::Unauthorized | Self::Forbidden | Self::NotFound => {
                (Duration::from_secs(5), Duration::from_secs(300))
            }
            Self::Invalid => return None,
        };
        let doublings = attempt.saturating_sub(1).min(16);
        Some(first.saturating_mul(1 << doublings).min(most))
    }

    /// The reason of a condition, in the form Kubernetes asks for (CamelCase).
    pub fn reason(self) -> &'static str {
        match self {
            Self::Transient => "CloudUnavailable",
            Self::Unknown => "CloudAnswerLost",
            Self::Conflict => "CloudConflict",
            Self::Quota => "OverQuota",
            Self::Unauthorized => "CloudUnauthorized",
            Self::Forbidden => "CloudForbidden",
            Self::NotFound => "CloudResourceNotFound",
            Self::Invalid => "CloudRefused",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_its_limit() {
        let secs: Vec<_> = (1..=11).map(|n| RetryClass::Transient.delay(n).unwrap().as_secs()).collect();
        assert_eq!(secs, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(RetryClass::Transient.delay(u32::MAX), Some(Duration::from_secs(300)));
        assert_eq!(RetryClass::Invalid.delay(1), None);
    }
}
