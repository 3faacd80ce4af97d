//! What is checked of a server's certificate.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::error::Result;
use crate::redis::config::invalid;

/// Checks as OpenSSL does by redis-py's parameters, which is more lenient than rustls alone: the
/// name need not be checked, a self-signed certificate that is itself trusted will do, and, when
/// nothing is to be checked, the server need only have the key of what it shows.
#[derive(Debug)]
pub(super) struct Verifier {
    authority: Option<Authority>,
    provider: Arc<CryptoProvider>,
}

#[derive(Debug)]
struct Authority {
    webpki: Arc<WebPkiServerVerifier>,
    trusted: Vec<CertificateDer<'static>>,
    names: bool,
}

impl Verifier {
    /// A verifier that trusts what the `trusted` certify, and with `names` only to the right host;
    /// without `trusted`, anything.
    pub fn new(
        trusted: Option<Vec<CertificateDer<'static>>>,
        names: bool,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self> {
        let Some(trusted) = trusted else {
            return Ok(Self {
                authority: None,
                provider,
            });
        };
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(trusted.iter().cloned());
        let webpki = WebPkiServerVerifier::builder_with_provider(roots.into(), provider.clone())
            .build()
            .map_err(|error| {
                invalid(format!("TLS: the trusted certificates are no use: {error}"))
            })?;
        Ok(Self {
            authority: Some(Authority {
                webpki,
                trusted,
                names,
            }),
            provider,
        })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(authority) = &self.authority else {
            return Ok(ServerCertVerified::assertion());
        };
        let webpki = &authority.webpki;
        let verdict = webpki.verify_server_cert(end_entity, intermediates, server_name, ocsp, now);
        let Err(rustls::Error::InvalidCertificate(reason)) = &verdict else {
            return verdict;
        };
        match reason {
            // The name is the last thing that is checked: all else is well.
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
                if !authority.names =>
            {
                Ok(ServerCertVerified::assertion())
            }
            // What `openssl req -x509` makes is an authority and so, to webpki, no server. It is
            // found out after the dates have been checked.
            CertificateError::Other(_) if authority.trusted.iter().any(|own| own == end_entity) => {
                if authority.names {
                    verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                }
                Ok(ServerCertVerified::assertion())
            }
            _ => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}
