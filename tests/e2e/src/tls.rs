//! Certificates, in Kubernetes and in the key manager.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use isthmus_openstack::Barbican;
use isthmus_openstack::barbican::Secret;
use isthmus_openstack::octavia::Listener;
use kube::Api;
use kube::api::{Patch, PatchParams};
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};

use crate::lab::{Lab, cloud};

/// A self-signed certificate with its key: who trusts it trusts nothing else.
#[derive(Debug)]
pub struct Identity {
    /// PEM.
    pub certificate: String,
    /// PEM.
    pub key: String,
    folder: PathBuf,
}

impl Identity {
    /// One for a host, or for `*.domain`.
    ///
    /// # Errors
    /// It can't be made or written.
    pub fn new(lab: &Lab, host: &str) -> Result<Self> {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new([host.to_owned()])?.self_signed(&key)?.pem();
        let serial = certificate.lines().nth(1).unwrap_or_default().replace('/', "_");
        let folder = lab.folder().join(format!("tls-{}-{serial}", host.replace('*', "any")));
        std::fs::create_dir_all(&folder)?;
        let key = key.serialize_pem();
        std::fs::write(folder.join("certificate.pem"), &certificate)?;
        std::fs::write(folder.join("both.pem"), format!("{certificate}{key}"))?;
        Ok(Self { certificate, key, folder })
    }

    /// A file with the certificate.
    pub fn file(&self) -> PathBuf {
        self.folder.join("certificate.pem")
    }

    /// A file with the certificate and the key.
    pub fn both(&self) -> PathBuf {
        self.folder.join("both.pem")
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        // What is left of it is in a folder for what is not kept.
        let _ = std::fs::remove_dir_all(Path::new(&self.folder));
    }
}

impl Lab {
    /// Makes a Secret of type `kubernetes.io/tls`, or changes it.
    ///
    /// # Errors
    /// The API server's.
    pub async fn tls_secret(&self, namespace: &str, name: &str, certificate: &str, key: &str) -> Result<()> {
        let secret: Value = json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
                            "metadata": {"name": name}, "stringData": {"tls.crt": certificate, "tls.key": key}});
        let secrets: Api<k8s_openapi::api::core::v1::Secret> = Api::namespaced(self.kube.clone(), namespace);
        secrets.patch(name, &PatchParams::apply("e2e").force(), &Patch::Apply(secret)).await?;
        Ok(())
    }

    /// The secrets of this cluster in the key manager, by name.
    ///
    /// # Errors
    /// Barbican's.
    pub async fn kept_secrets(&self) -> Result<Vec<Secret>> {
        let barbican = Barbican::new(self.demo.session().clone());
        Ok(barbican.list(&format!("isthmus:cluster={} ", self.cluster)).await?)
    }

    /// The references to secrets of the listener that ends TLS: its own, and those by SNI.
    ///
    /// # Errors
    /// Octavia's, or that there is no such listener.
    pub async fn shown_secrets(&self) -> Result<(String, Vec<String>)> {
        let all: Vec<Listener> = self.octavia().list(&[]).await?;
        let found =
            all.into_iter().find(|l| l.protocol == "TERMINATED_HTTPS").context("no listener for TLS")?;
        let own = found.default_tls_container_ref.context("it has no certificate")?;
        let mut further = found.sni_container_refs;
        further.sort();
        Ok((own, further))
    }

    /// Deletes what is left of this cluster in the key manager.
    pub(crate) async fn clear_secrets(&self) -> Result<()> {
        let barbican = Barbican::new(cloud("isthmus")?.session().clone());
        for secret in self.kept_secrets().await? {
            barbican.delete(secret.id()).await?;
        }
        Ok(())
    }
}
