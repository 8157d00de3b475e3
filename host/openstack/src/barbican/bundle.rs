//! What a secret holds: a certificate with its key and its chain as PKCS #12 (RFC 7292), or the certificates of an
//! authority as PEM. Both are checked before they are made.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};
use ring::hmac;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use thiserror::Error;

use super::der::{BIT_STRING, EXPLICIT, INTEGER, NULL, OBJECT, OCTET_STRING, SEQUENCE, SET, element, first};

/// Object identifiers (RFC 7292 and RFC 2985).
const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];
const KEY_BAG: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x0a, 0x01, 0x01];
const CERT_BAG: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x0a, 0x01, 0x03];
const X509_CERTIFICATE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x16, 0x01];
const LOCAL_KEY_ID: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x15];
const SHA256_ID: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];

/// The block of SHA-256, bytes.
const BLOCK: usize = 64;

/// A certificate with its key, or an authority's certificates, ready to be kept. `Debug` shows none of it.
#[derive(Clone)]
pub struct Bundle(Vec<u8>);

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bundle")
    }
}

/// Of which of the texts something is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The certificate.
    Certificate,
    /// Its private key.
    PrivateKey,
    /// The certificates between it and its authority.
    Chain,
}

/// A text that can't be used. It says nothing of what is in the text.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{why}")]
pub struct BundleError {
    /// Which text.
    pub part: Part,
    /// What is wrong, for people.
    pub why: &'static str,
}

fn wrong(part: Part, why: &'static str) -> BundleError {
    BundleError { part, why }
}

impl Bundle {
    /// A certificate with its private key. `certificate` may be followed by its chain, in place of or before `chain`. All are
    /// PEM.
    ///
    /// # Errors
    /// A text that does not parse, or a key that is another certificate's.
    pub fn new(certificate: &str, private_key: &str, chain: Option<&str>) -> Result<Self, BundleError> {
        let mut certificates = certificates(Part::Certificate, certificate)?;
        if let Some(chain) = chain.filter(|chain| !chain.trim().is_empty()) {
            certificates.extend(self::certificates(Part::Chain, chain)?);
        }
        let key = PrivateKeyDer::from_pem_slice(private_key.as_bytes()).map_err(|_| {
            wrong(Part::PrivateKey, "it holds no private key in PEM (an encrypted one can't be used)")
        })?;
        let signing = any_supported_type(&key).map_err(|_| {
            wrong(
                Part::PrivateKey,
                "it is no RSA key of 2048 bits or more, no ECDSA key of P-256 or P-384 and no Ed25519 key",
            )
        })?;
        let certified = CertifiedKey::new(certificates, signing);
        certified.keys_match().map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => wrong(Part::PrivateKey, "it is not the certificate's key"),
            _ => wrong(Part::Certificate, NO_CERTIFICATE),
        })?;
        let public = certified.key.public_key();
        let algorithm = public.as_ref().and_then(|spki| algorithm(spki.as_ref()));
        let key = algorithm.map(|algorithm| pkcs8(&key, algorithm));
        let key = key.ok_or_else(|| wrong(Part::PrivateKey, "its algorithm can't be told"))?;
        Ok(Self(pkcs12(&key, &certified.cert)))
    }

    /// The certificates of an authority, PEM. Anything else in the text is left out.
    ///
    /// # Errors
    /// A text without a certificate.
    pub fn authority(certificate: &str) -> Result<Self, BundleError> {
        let all = certificates(Part::Certificate, certificate)?;
        Ok(Self(all.iter().map(|one| pem(one)).collect::<String>().into_bytes()))
    }

    /// A digest of what it holds, in hex, for this salt: with a key in it, nobody can guess what it is of.
    pub fn digest(&self, salt: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, salt.as_bytes());
        let tag = hmac::sign(&key, &self.0);
        isthmus_model::hash::hex(tag.as_ref().get(..16).unwrap_or_default())
    }

    pub(super) fn payload(&self) -> &[u8] {
        &self.0
    }
}

const NO_CERTIFICATE: &str = "it holds no X.509 certificate in PEM";

fn certificates(part: Part, text: &str) -> Result<Vec<CertificateDer<'static>>, BundleError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    match all {
        Ok(all) if !all.is_empty() && all.iter().all(parses) => Ok(all),
        _ => Err(wrong(part, NO_CERTIFICATE)),
    }
}

fn parses(certificate: &CertificateDer<'static>) -> bool {
    rustls::server::ParsedCertificate::try_from(certificate).is_ok()
}

/// The AlgorithmIdentifier of a SubjectPublicKeyInfo.
fn algorithm(spki: &[u8]) -> Option<&[u8]> {
    let (_, content, _) = first(SEQUENCE, spki)?;
    let (algorithm, _, key) = first(SEQUENCE, content)?;
    first(BIT_STRING, key).map(|_| algorithm)
}

/// A private key in the form that bundles have them in; PKCS #1 and SEC 1 are wrapped.
fn pkcs8(key: &PrivateKeyDer<'_>, algorithm: &[u8]) -> Vec<u8> {
    match key {
        PrivateKeyDer::Pkcs8(key) => key.secret_pkcs8_der().to_vec(),
        other => {
            let key = element(OCTET_STRING, &[other.secret_der()]);
            element(SEQUENCE, &[&element(INTEGER, &[&[0]]), algorithm, &key])
        }
    }
}

/// An unencrypted bundle. Its MAC, by the empty password, protects nothing: readers ask for it.
fn pkcs12(key: &[u8], certificates: &[CertificateDer<'_>]) -> Vec<u8> {
    let object = |id: &[u8]| element(OBJECT, &[id]);
    let id = element(OCTET_STRING, &[&[1]]);
    // Which of the certificates is the key's.
    let own = element(SET, &[&element(SEQUENCE, &[&object(LOCAL_KEY_ID), &element(SET, &[&id])])]);
    let mut bags = vec![element(SEQUENCE, &[&object(KEY_BAG), &element(EXPLICIT, &[key]), &own])];
    for (at, certificate) in certificates.iter().enumerate() {
        let octets = element(OCTET_STRING, &[certificate]);
        let value = element(SEQUENCE, &[&object(X509_CERTIFICATE), &element(EXPLICIT, &[&octets])]);
        let attributes: &[u8] = if at == 0 { &own } else { &[] };
        bags.push(element(SEQUENCE, &[&object(CERT_BAG), &element(EXPLICIT, &[&value]), attributes]));
    }
    let bags: Vec<&[u8]> = bags.iter().map(Vec::as_slice).collect();
    let data = |content: &[u8]| {
        let octets = element(OCTET_STRING, &[content]);
        element(SEQUENCE, &[&object(DATA), &element(EXPLICIT, &[&octets])])
    };
    let safe = element(SEQUENCE, &[&data(&element(SEQUENCE, &bags))]);
    let version = element(INTEGER, &[&[3]]);
    element(SEQUENCE, &[&version, &data(&safe), &mac(&safe)])
}

/// MacData by HMAC-SHA-256. With one iteration and no password, its key is one digest (RFC 7292, B.2, purpose 3).
fn mac(safe: &[u8]) -> Vec<u8> {
    // Of the content, so that equal content makes equal bundles.
    let salt = digest(&SHA256, safe);
    let salt: Vec<u8> = salt.as_ref().iter().copied().take(8).collect();
    let block: Vec<u8> =
        std::iter::repeat_n(3, BLOCK).chain(salt.iter().copied().cycle().take(BLOCK)).collect();
    let key = hmac::Key::new(hmac::HMAC_SHA256, digest(&SHA256, &block).as_ref());
    let tag = hmac::sign(&key, safe);
    let algorithm = element(SEQUENCE, &[&element(OBJECT, &[SHA256_ID]), &element(NULL, &[])]);
    let info = element(SEQUENCE, &[&algorithm, &element(OCTET_STRING, &[tag.as_ref()])]);
    element(SEQUENCE, &[&info, &element(OCTET_STRING, &[&salt])])
}

fn pem(certificate: &[u8]) -> String {
    let text = STANDARD.encode(certificate);
    let mut all = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        all.extend([line, "\n"]);
        rest = after;
    }
    all.push_str("-----END CERTIFICATE-----\n");
    all
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "a test may panic")]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    /// A certificate and its key, PEM.
    fn made(name: &str) -> (String, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        (params.self_signed(&key).unwrap().pem(), key)
    }

    /// The elements of a content.
    fn parts(mut content: &[u8]) -> Vec<(&[u8], &[u8])> {
        let mut all = Vec::new();
        while let Some(tag) = content.first() {
            let (whole, inner, rest) = first(*tag, content).unwrap();
            all.push((whole, inner));
            content = rest;
        }
        all
    }

    /// Keys and certificates of a bundle.
    fn read(bundle: &Bundle) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let data = |info: &[u8]| {
            parts(parts(parts(info)[1].1)[0].1).iter().map(|(w, _)| w.to_vec()).collect::<Vec<_>>()
        };
        let pfx = parts(parts(bundle.payload())[0].1);
        let safe = data(pfx[1].1);
        let bags = data(parts(parts(&safe[0])[0].1)[0].1);
        let (mut keys, mut certificates) = (Vec::new(), Vec::new());
        for (_, bag) in parts(parts(&bags[0])[0].1) {
            let bag = parts(bag);
            let value = parts(bag[1].1)[0];
            match parts(bag[0].0)[0].1 {
                KEY_BAG => keys.push(value.0.to_vec()),
                CERT_BAG => certificates.push(parts(parts(value.1)[1].1)[0].1.to_vec()),
                other => panic!("{other:?}"),
            }
        }
        (keys, certificates)
    }

    fn der(pem: &str) -> Vec<u8> {
        CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
    }

    #[test]
    fn a_bundle_holds_the_key_the_certificate_and_its_chain() {
        let ((own, key), (ca, _), (root, _)) = (made("a.example"), made("ca"), made("root"));
        let chained = format!("{own}\n{ca}");
        let bundle = Bundle::new(&chained, &key.serialize_pem(), Some(&root)).unwrap();
        let (keys, certificates) = read(&bundle);
        assert_eq!(keys, [key.serialize_der()]);
        assert_eq!(certificates, [der(&own), der(&ca), der(&root)]);
        let again = Bundle::new(&own, &key.serialize_pem(), Some(&format!("{ca}{root}\n"))).unwrap();
        assert_eq!(bundle.digest("s"), again.digest("s"), "equal content, written otherwise");
        assert_ne!(bundle.digest("s"), bundle.digest("t"));
        assert_eq!(bundle.digest("s").len(), 32);
        assert_eq!(format!("{bundle:?}"), "Bundle");
    }

    /// `EC PRIVATE KEY`, as `openssl ecparam -genkey` writes it.
    #[test]
    fn an_older_form_of_a_key_is_wrapped() {
        let (own, key) = made("a.example");
        let pkcs8 = key.serialize_der();
        let sec1 = parts(parts(&pkcs8)[0].1)[2].1.to_vec();
        let text = pem(&sec1).replace("CERTIFICATE", "EC PRIVATE KEY");
        let bundle = Bundle::new(&own, &text, None).unwrap();
        assert_eq!(read(&bundle).0, [pkcs8]);
    }

    #[test]
    fn what_is_wrong_is_told_and_nothing_of_it_is_shown() {
        let ((own, key), (_, other)) = (made("a.example"), made("b.example"));
        let key = key.serialize_pem();
        let garbled = own.replace("MII", "AAA");
        let table = [
            (Bundle::new("", &key, None), Part::Certificate, "no X.509"),
            (Bundle::new(&key, &key, None), Part::Certificate, "no X.509"),
            (Bundle::new(&garbled, &key, None), Part::Certificate, "no X.509"),
            (Bundle::new(&own, "", None), Part::PrivateKey, "no private key"),
            (Bundle::new(&own, &own, None), Part::PrivateKey, "no private key"),
            (Bundle::new(&own, &key.replace("MIG", "AAA"), None), Part::PrivateKey, "no RSA key"),
            (Bundle::new(&own, &other.serialize_pem(), None), Part::PrivateKey, "not the certificate's key"),
            (Bundle::new(&own, &key, Some("x")), Part::Chain, "no X.509"),
            (Bundle::authority("x"), Part::Certificate, "no X.509"),
        ];
        for (made, part, why) in table {
            let error = made.unwrap_err();
            assert!(error.part == part && error.why.contains(why), "{error:?}, not {part:?} {why}");
        }
        assert!(Bundle::new(&own, &key, Some(" \n")).is_ok());
    }

    #[test]
    fn an_authority_is_its_certificates_and_nothing_beside() {
        let ((ca, key), (root, _)) = (made("ca"), made("root"));
        let bundle = Bundle::authority(&format!("# mine\n{ca}{}\n{root}", key.serialize_pem())).unwrap();
        let text = String::from_utf8(bundle.payload().to_vec()).unwrap();
        assert!(!text.contains("KEY") && !text.contains('#'), "{text}");
        let all: Vec<_> =
            CertificateDer::pem_slice_iter(text.as_bytes()).map(|c| c.unwrap().to_vec()).collect();
        assert_eq!(all, [der(&ca), der(&root)]);
    }
}
