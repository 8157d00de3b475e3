//! TLS of the HTTP client: own certificate authority, client certificate, and no verification when asked for.

use std::path::{Path, PathBuf};

use reqwest::{Certificate, ClientBuilder, Identity};

use crate::config::ConfigError;

/// TLS settings of a cloud (`verify`, `cacert`, `cert`, `key` of clouds.yaml).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// Verify server certificates. `false` only where the configuration says so explicitly.
    pub verify: bool,
    /// PEM bundle of the only authorities to trust; without it those of the system.
    pub cacert: Option<PathBuf>,
    /// PEM client certificate with its chain; may hold the key too.
    pub cert: Option<PathBuf>,
    /// PEM private key of `cert`.
    pub key: Option<PathBuf>,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self { verify: true, cacert: None, cert: None, key: None }
    }
}

/// Makes `ring` the TLS provider of this process unless there already is one. Idempotent; every
/// [`crate::Session`] calls it.
pub fn install_provider() {
    // An error only says that a provider is installed already, which is what we want.
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
}

/// Applies `config` to `builder`.
///
/// # Errors
/// A file cannot be read or holds no certificate or key.
pub(crate) fn apply(config: &TlsConfig, builder: ClientBuilder) -> Result<ClientBuilder, ConfigError> {
    let mut builder = builder;
    if !config.verify {
        tracing::warn!("certificates of the cloud are NOT verified, because its configuration says so");
        builder = builder.tls_danger_accept_invalid_certs(true);
    } else if let Some(path) = &config.cacert {
        let certificates = Certificate::from_pem_bundle(&read(path)?).map_err(|e| bad(path, e))?;
        if certificates.is_empty() {
            return Err(bad(path, "no certificate in it"));
        }
        builder = builder.tls_certs_only(certificates);
    }
    if let Some(cert) = &config.cert {
        let mut pem = read(cert)?;
        if let Some(key) = &config.key {
            pem.push(b'\n');
            pem.extend(read(key)?);
        }
        builder = builder.identity(Identity::from_pem(&pem).map_err(|e| bad(cert, e))?);
    }
    Ok(builder)
}

fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    std::fs::read(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })
}

fn bad(path: &Path, why: impl std::fmt::Display) -> ConfigError {
    ConfigError::Tls { path: path.to_owned(), reason: why.to_string() }
}
