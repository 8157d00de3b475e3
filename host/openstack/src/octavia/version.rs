//! What an Octavia can do: its minor versions. <https://docs.openstack.org/api-ref/load-balancer/v2/#api-discovery>

use std::fmt;

use reqwest::Method;
use serde::Deserialize;

use super::Octavia;
use crate::catalog::LOAD_BALANCER;
use crate::error::{ErrorKind, Result};
use crate::lenient::or_default;
use crate::rest::exchange;
use crate::session::Request;
use isthmus_model::retry::RetryClass;

/// A version of the API. Minor versions only add; what a version lacks, it refuses with 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApiVersion {
    /// 2.
    pub major: u16,
    /// What was added.
    pub minor: u16,
}

#[derive(Deserialize)]
struct Version {
    #[serde(default, deserialize_with = "or_default")]
    id: String,
}

impl ApiVersion {
    /// Timeouts of listeners, and members that stand by.
    pub const TIMEOUTS: Self = Self::v2(1);
    /// The same.
    pub const BACKUP: Self = Self::v2(1);
    /// Tags of every kind, and filters by them.
    pub const TAGS: Self = Self::v2(5);
    /// Flavors and the list of providers.
    pub const FLAVORS: Self = Self::v2(6);
    /// Certificates of a listener's clients.
    pub const CLIENT_AUTHENTICATION: Self = Self::v2(8);
    /// TLS between a load balancer and its members.
    pub const POOL_TLS: Self = Self::v2(8);
    /// `redirect_http_code` of policies.
    pub const REDIRECT_HTTP_CODE: Self = Self::v2(9);
    /// `http_version` and `domain_name` of health monitors.
    pub const MONITOR_DOMAIN_NAME: Self = Self::v2(10);
    /// `allowed_cidrs` of listeners.
    pub const ALLOWED_CIDRS: Self = Self::v2(12);
    /// The algorithm `SOURCE_IP_PORT`.
    pub const SOURCE_IP_PORT: Self = Self::v2(13);
    /// Availability zones.
    pub const AVAILABILITY_ZONES: Self = Self::v2(14);
    /// `tls_ciphers` of listeners and pools.
    pub const TLS_CIPHERS: Self = Self::v2(15);
    /// `tls_versions` of listeners.
    pub const LISTENER_TLS_VERSIONS: Self = Self::v2(17);
    /// `tls_versions` of pools.
    pub const POOL_TLS_VERSIONS: Self = Self::v2(18);
    /// `alpn_protocols` of listeners.
    pub const LISTENER_ALPN: Self = Self::v2(20);
    /// Pools of the protocol `PROXYV2`.
    pub const PROXYV2: Self = Self::v2(22);
    /// The protocol `SCTP`.
    pub const SCTP: Self = Self::v2(23);
    /// `alpn_protocols` of pools.
    pub const POOL_ALPN: Self = Self::v2(24);
    /// Listeners of the protocol `PROMETHEUS`.
    pub const PROMETHEUS: Self = Self::v2(25);
    /// `additional_vips`.
    pub const ADDITIONAL_VIPS: Self = Self::v2(26);
    /// `vip_sg_ids`.
    pub const VIP_SECURITY_GROUPS: Self = Self::v2(29);

    const fn v2(minor: u16) -> Self {
        Self { major: 2, minor }
    }

    /// Where Octavia does not say which it has, it is taken to have all.
    const ANY: Self = Self::v2(u16::MAX);

    /// From an id as `v2.13`.
    fn parse(id: &str) -> Option<Self> {
        let (major, minor) = id.strip_prefix('v')?.split_once('.')?;
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl Octavia {
    /// The newest version 2 of the API that this Octavia has: it has all before, too.
    ///
    /// # Errors
    /// The service gave no answer, or (transient) one without a version 2: a proxy's page, say.
    pub async fn api_version(&self) -> Result<ApiVersion> {
        let request = Request::new(LOAD_BALANCER, "versions", Method::GET, "/".to_owned());
        let versions: Vec<Version> = exchange(self.session(), &request, "versions").await?;
        let known = versions.iter().filter_map(|v| ApiVersion::parse(&v.id));
        let newest = known.filter(|v| v.major == 2).max().ok_or_else(|| {
            request.error(
                RetryClass::Transient,
                ErrorKind::Decode,
                "unexpected answer: no version 2 among the versions",
            )
        })?;
        *self.version.lock() = Some(newest);
        Ok(newest)
    }

    /// The same, as it was said last; `None`: not yet, or it says none.
    pub fn said_version(&self) -> Option<ApiVersion> {
        self.version.lock().filter(|version| *version != ApiVersion::ANY)
    }

    /// The same, as it was said last: asked for where that is not known yet. One whose answer is something else (a proxy that hides
    /// the list of versions) is taken to have everything: what it lacks, it refuses itself.
    ///
    /// # Errors
    /// The service gave no answer, or can't now.
    pub async fn known_version(&self) -> Result<ApiVersion> {
        let known = *self.version.lock();
        if let Some(known) = known {
            return Ok(known);
        }
        match self.api_version().await {
            Err(error) if says_nothing(error.kind, error.status()) => {
                tracing::warn!(%error, "Octavia does not say which versions it has: it is taken to have all");
                *self.version.lock() = Some(ApiVersion::ANY);
                Ok(ApiVersion::ANY)
            }
            answer => answer,
        }
    }
}

/// Whether an error is an answer, and will be the same next time.
fn says_nothing(kind: ErrorKind, status: Option<u16>) -> bool {
    let refused =
        status.is_some_and(|status| (400..500).contains(&status) && ![401, 408, 425, 429].contains(&status));
    kind == ErrorKind::Decode || refused
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_without_versions_is_believed() {
        assert!(says_nothing(ErrorKind::Decode, Some(200)) && says_nothing(ErrorKind::Status, Some(404)));
        for status in [401, 429, 500, 503] {
            assert!(!says_nothing(ErrorKind::Status, Some(status)), "{status}");
        }
        assert!(!says_nothing(ErrorKind::Connect, None));
    }

    #[test]
    fn versions_compare_as_numbers() {
        assert!(ApiVersion::parse("v2.13") > ApiVersion::parse("v2.9"));
        assert_eq!(ApiVersion::parse("v2.5"), Some(ApiVersion::TAGS));
        for odd in ["", "2.5", "v2", "v2.x", "v99999.0", "v2.5.1"] {
            assert_eq!(ApiVersion::parse(odd), None, "{odd}");
        }
    }
}
