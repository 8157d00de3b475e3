//! TLS: whom the client trusts, and how it shows who it is.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a helper of a test may panic")]

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::Cloud;
use isthmus_openstack::config::{CloudConfig, ConfigError};
use isthmus_openstack::tls::TlsConfig;
use isthmus_openstack::{ErrorKind, Metrics, RetryClass, Session};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// A certificate authority, and a folder for what it issues.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { issuer, folder: tempfile::tempdir().unwrap() }
    }

    fn write(&self, name: &str, pem: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, pem).unwrap();
        path
    }

    fn ca_file(&self) -> PathBuf {
        self.write("ca.pem", &self.issuer.pem())
    }

    fn issue(&self) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// A TLS front of `cloud`, which asks for client certificates of ours if `mutual`.
    async fn front(&self, cloud: &Cloud, mutual: bool) -> String {
        let (certificate, key) = self.issue();
        let provider = Arc::new(default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = if mutual {
            let mut roots = RootCertStore::empty();
            roots.add(self.issuer.der().clone()).unwrap();
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let behind = cloud.url.trim_start_matches("http://").to_owned();
        tokio::spawn(async move {
            loop {
                let (outside, _) = listener.accept().await.unwrap();
                let (acceptor, behind) = (acceptor.clone(), behind.clone());
                tokio::spawn(async move {
                    // A handshake that fails is what some of these tests are about.
                    if let Ok(mut outside) = acceptor.accept(outside).await {
                        let mut inside = TcpStream::connect(behind).await.unwrap();
                        let _ended = copy_bidirectional(&mut outside, &mut inside).await;
                    }
                });
            }
        });
        format!("https://{address}")
    }
}

fn config(cloud: &Cloud, url: &str, tls: TlsConfig) -> CloudConfig {
    let mut config = cloud.config();
    config.auth.auth_url = url.to_owned();
    config.tls = tls;
    config
}

fn trusting(ca: PathBuf) -> TlsConfig {
    TlsConfig { cacert: Some(ca), ..TlsConfig::default() }
}

async fn cloud() -> Cloud {
    Cloud::script([]).await
}

#[tokio::test]
async fn own_authority_is_trusted_and_no_other() {
    let (ours, other, cloud) = (Authority::new(), Authority::new(), cloud().await);
    let url = ours.front(&cloud, false).await;
    let session = Session::new(config(&cloud, &url, trusting(ours.ca_file())), Metrics::default()).unwrap();
    session.token().await.unwrap();
    let session = Session::new(config(&cloud, &url, trusting(other.ca_file())), Metrics::default()).unwrap();
    let error = session.token().await.unwrap_err();
    assert_eq!((error.kind, error.class), (ErrorKind::Connect, RetryClass::Transient));
    assert!(error.to_string().contains("certificate"), "{error}");
}

#[tokio::test]
async fn no_verification_when_asked_for() {
    let (ours, cloud) = (Authority::new(), cloud().await);
    let url = ours.front(&cloud, false).await;
    let tls = TlsConfig { verify: false, ..TlsConfig::default() };
    Session::new(config(&cloud, &url, tls), Metrics::default()).unwrap().token().await.unwrap();
}

#[tokio::test]
async fn client_certificate() {
    let (ours, cloud) = (Authority::new(), cloud().await);
    let url = ours.front(&cloud, true).await;
    let (certificate, key) = ours.issue();
    let cert = ours.write("client.pem", &certificate.pem());
    let key_file = ours.write("client.key", &key.serialize_pem());
    let both = ours.write("both.pem", &format!("{}{}", key.serialize_pem(), certificate.pem()));
    for (cert, key, accepted) in
        [(Some(cert), Some(key_file), true), (Some(both), None, true), (None, None, false)]
    {
        let tls = TlsConfig { cert, key, ..trusting(ours.ca_file()) };
        let session = Session::new(config(&cloud, &url, tls), Metrics::default()).unwrap();
        assert_eq!(session.token().await.is_ok(), accepted);
    }
}

#[tokio::test]
async fn files_that_are_no_certificates_are_named() {
    let (ours, cloud) = (Authority::new(), cloud().await);
    let open =
        |tls| Session::new(config(&cloud, "https://127.0.0.1:1", tls), Metrics::default()).unwrap_err();
    let missing = open(trusting(Path::new("/nonexistent/ca.pem").to_owned()));
    assert!(matches!(&missing, ConfigError::Read { .. }), "{missing}");
    for tls in [
        trusting(ours.write("empty.pem", "")),
        TlsConfig { cert: Some(ours.ca_file()), ..TlsConfig::default() },
    ] {
        let error = open(tls);
        assert!(matches!(&error, ConfigError::Tls { .. }), "{error}");
    }
}
