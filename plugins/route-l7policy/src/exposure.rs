//! TLS of a Route: on which listeners it is served, and with what certificates.

use isthmus_sdk::prelude::*;
use isthmus_sdk::records::load_balancing::{
    Certificate, CertificateFields, CertificateSource, ListenerCertificate, PoolTls,
};

use crate::config::Front;
use crate::mapping::route_kind;
use crate::objects::{Route, RouteTls};

/// Entries of a Route's mapping.
const CERTIFICATE: &str = "certificate";
const SNI: &str = "sni";
const DESTINATION_CA: &str = "destination-ca";

/// What plain HTTP gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnHttp {
    /// What the Route's backends say.
    Served,
    /// A redirect to the same on HTTPS.
    Redirected,
    /// What a less specific Route says, or 503.
    Nothing,
}

/// What a Route gives to plain HTTP.
pub(crate) fn insecure(tls: Option<&RouteTls<'_>>) -> Result<OnHttp, Outcome> {
    let Some(tls) = tls else { return Ok(OnHttp::Served) };
    match tls.insecure_edge_termination_policy.as_deref() {
        None | Some("" | "None") => Ok(OnHttp::Nothing),
        Some("Allow") => Ok(OnHttp::Served),
        Some("Redirect") => Ok(OnHttp::Redirected),
        Some(other) => {
            let message = format!("{other:?} is no policy for plain HTTP; it is None, Allow or Redirect");
            Err(invalid_field(message, "spec.tls.insecureEdgeTerminationPolicy"))
        }
    }
}

/// What TLS needs beside pool and policies.
#[derive(Debug, Default)]
pub(crate) struct Certificates {
    pub(crate) entries: Vec<Desired>,
    /// TLS to the members.
    pub(crate) pool_tls: Option<PoolTls>,
}

/// The certificates of a Route, if what it asks for can be had.
pub(crate) fn certificates(route: &Route<'_>, front: &Front) -> Result<Certificates, Outcome> {
    let Some(tls) = &route.spec.tls else { return Ok(Certificates::default()) };
    let reencrypt = match &*tls.termination {
        "edge" => false,
        "reencrypt" => true,
        other => {
            let message = format!("termination {other:?} is none; it is edge, reencrypt or passthrough");
            return Err(invalid_field(message, "spec.tls.termination"));
        }
    };
    let https = front.https.as_ref().or_invalid(
        "there is no HTTPS listener: whoever runs the cluster sets `tls` (or `existingLoadBalancer.https`) in \
         the module's config",
        "spec.tls",
    )?;
    let own = own_certificate(route, tls)?;
    if (own.is_some() || reencrypt || !front.existing) && !snapshot::cloud_facts().has_key_manager {
        let message = "the cloud has no key manager (Barbican), without which Octavia has no certificates";
        return Err(invalid_field(message, "spec.tls"));
    }
    let mut found = Certificates::default();
    if let Some(own) = own {
        let sni = ListenerCertificate::new(https.reference.clone(), local(CERTIFICATE));
        found.entries.extend([own.named(CERTIFICATE), sni.named(SNI)]);
    }
    if reencrypt {
        found.entries.push(destination_ca(route, tls)?.named(DESTINATION_CA));
        found.pool_tls = Some(PoolTls::new().ca(local(DESTINATION_CA)));
    }
    Ok(found)
}

/// The certificate that clients are shown; `None`: the listener's default one.
fn own_certificate(route: &Route<'_>, tls: &RouteTls<'_>) -> Result<Option<Certificate>, Outcome> {
    let secret =
        tls.external_certificate.as_ref().map(|secret| &*secret.name).filter(|name| !name.is_empty());
    match (secret, tls.certificate.0) {
        (None, false) => Ok(None),
        (None, true) => {
            let chain = tls.ca_certificate.0.then(|| "spec.tls.caCertificate".to_owned());
            Ok(Some(of_route(route, "spec.tls.certificate", "spec.tls.key", chain)))
        }
        (Some(name), false) => {
            let namespace = Some(String::from(route.namespace()));
            let secret = ObjectKey { kind: Kind::core("Secret"), namespace, name: name.into() };
            Ok(Some(Certificate::of_secret(secret)))
        }
        (Some(_), true) => {
            let message = "two certificates: spec.tls.certificate and spec.tls.externalCertificate";
            Err(invalid_field(message, "spec.tls.externalCertificate"))
        }
    }
}

/// Without it nobody would know whose certificates the members show.
fn destination_ca(route: &Route<'_>, tls: &RouteTls<'_>) -> Result<Certificate, Outcome> {
    if !tls.destination_ca_certificate.0 {
        let message = "reencrypt needs spec.tls.destinationCACertificate: without it the certificates of the \
                       endpoints would not be checked";
        return Err(invalid_field(message, "spec.tls.destinationCACertificate"));
    }
    // A certificate of somebody else has no private key here.
    Ok(of_route(route, "spec.tls.destinationCACertificate", "", None))
}

/// PEM in the Route, which the host reads itself: so no private key comes into this module, which sees all Routes.
fn of_route(route: &Route<'_>, certificate: &str, key: &str, chain: Option<String>) -> Certificate {
    let object = ObjectKey {
        kind: route_kind(),
        namespace: Some(String::from(route.namespace())),
        name: String::from(&*route.metadata.name),
    };
    let fields =
        CertificateFields { object, certificate: certificate.into(), private_key: key.into(), chain };
    Certificate { source: CertificateSource::FromObject(fields) }
}
