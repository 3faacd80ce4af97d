//! TLS as redis-py's parameters ask for it, by rustls with ring's cryptography.
//!
//! | name | meaning | default |
//! |---|---|---|
//! | `ssl` | whether to speak TLS; also by `rediss://` | false |
//! | `ssl_cert_reqs` | `required` (or `optional`, the same for a client), or `none`: any certificate | `required` |
//! | `ssl_check_hostname` | whether the certificate must be made out to the host | true |
//! | `ssl_ca_certs`, `ssl_ca_path`, `ssl_ca_data` | a PEM file, a directory of them, or PEM text: the authorities to trust *instead of* the machine's | the machine's |
//! | `ssl_certfile`, `ssl_keyfile` | PEM files of the client's certificate and key; the key may be in the first | none |
//! | `ssl_server_name` | the name asked for and checked, where it isn't the host | the host |
//! | `ssl_min_version` | `TLSv1.2` or `TLSv1.3` | `TLSv1.2` |
//!
//! The files are read when the first connection is opened, and again when one of them has changed,
//! or a handshake has failed, once a second at the most: certificates are replaced under programs
//! that run for months.
//! Connections that are open stay as they are.
//!
//! Encrypted keys and OCSP checks are refused, for ignoring them would weaken what was asked for.

mod files;
mod verifier;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};

pub use self::files::TlsFiles;
use self::verifier::Verifier;
use super::config::parameters::Parameters;
use super::config::{Address, invalid};
use crate::error::Result;

/// What is asked of the server's certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verification {
    /// Issued by a trusted authority to the host.
    Full,
    /// Issued by a trusted authority, to whomever.
    Authority,
    /// Nothing: encrypted, but to whom is unknown.
    Nothing,
}

/// How to speak TLS. Files are named here and read at the first connection.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    /// What is asked of the server's certificate.
    pub verification: Verification,
    /// A PEM file of trusted authorities.
    pub ca_file: Option<PathBuf>,
    /// A directory of PEM files of trusted authorities.
    pub ca_directory: Option<PathBuf>,
    /// Trusted authorities as PEM text.
    pub ca_data: Option<String>,
    /// PEM file of the client's certificate, with its chain.
    pub certificate: Option<PathBuf>,
    /// PEM file of the client's key.
    pub key: Option<PathBuf>,
    /// The name to ask for and check in place of the host.
    pub server_name: Option<String>,
    /// Whether TLS 1.2 is not enough.
    pub only_tls13: bool,
}

impl TlsSettings {
    pub(super) fn from_parameters(
        parameters: &Parameters,
        notices: &mut Vec<String>,
    ) -> Result<Self> {
        let given = |name| parameters.text(name).filter(|text| !text.is_empty());
        let path = |name| given(name).map(PathBuf::from);
        for name in ["ssl_validate_ocsp", "ssl_validate_ocsp_stapled"] {
            if parameters.flag(name)? == Some(true) {
                return Err(invalid(format!("{name} is not supported by feast-rs")));
            }
        }
        if given("ssl_password").is_some() {
            return Err(invalid(
                "ssl_password: encrypted keys are not supported; give ssl_keyfile an unencrypted key",
            ));
        }
        if given("ssl_ciphers").is_some() {
            notices.push("ssl_ciphers is ignored; rustls offers safe suites only".to_owned());
        }
        let requirement = given("ssl_cert_reqs").map(str::to_ascii_lowercase);
        let verify = match requirement.as_deref() {
            None
            | Some("required" | "optional" | "cert_required" | "cert_optional" | "1" | "2") => true,
            Some("none" | "cert_none" | "null" | "0") => false,
            Some(_) => {
                return Err(invalid("ssl_cert_reqs must be required, optional or none"));
            }
        };
        let only_tls13 = match given("ssl_min_version") {
            None | Some("TLSv1.2" | "TLSv1_2" | "771") => false,
            Some("TLSv1.3" | "TLSv1_3" | "772") => true,
            Some(_) => return Err(invalid("ssl_min_version must be TLSv1.2 or TLSv1.3")),
        };
        if given("ssl_keyfile").is_some() && given("ssl_certfile").is_none() {
            return Err(invalid("ssl_keyfile needs ssl_certfile beside it"));
        }
        Ok(Self {
            verification: match (verify, parameters.flag("ssl_check_hostname")?) {
                (false, _) => Verification::Nothing,
                (true, Some(false)) => Verification::Authority,
                (true, _) => Verification::Full,
            },
            ca_file: path("ssl_ca_certs"),
            ca_directory: path("ssl_ca_path"),
            ca_data: given("ssl_ca_data").map(str::to_owned),
            certificate: path("ssl_certfile"),
            key: path("ssl_keyfile"),
            server_name: given("ssl_server_name").map(str::to_owned),
            only_tls13,
        })
    }

    /// The name under which the server at `address` is asked for.
    pub fn server_name(&self, address: &Address) -> Result<ServerName<'static>> {
        let name = match (&self.server_name, address) {
            (Some(name), _) => name.clone(),
            (None, Address::Tcp { host, .. }) => host.clone(),
            (None, Address::Unix(_)) => String::new(),
        };
        ServerName::try_from(name).map_err(|_| {
            invalid(format!(
                "the host of {address} is no name that a certificate can have; set ssl_server_name"
            ))
        })
    }

    /// The files that are named.
    fn files(&self) -> impl Iterator<Item = &Path> {
        let named = [
            &self.ca_file,
            &self.ca_directory,
            &self.certificate,
            &self.key,
        ];
        named.into_iter().flatten().map(PathBuf::as_path)
    }

    /// Reads the files and makes rustls' configuration of them.
    pub fn client_config(&self) -> Result<Arc<ClientConfig>> {
        let provider = Arc::new(ring::default_provider());
        let versions: &[_] = if self.only_tls13 {
            &[&rustls::version::TLS13]
        } else {
            &[&rustls::version::TLS12, &rustls::version::TLS13]
        };
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)
            .map_err(|error| invalid(format!("TLS: {error}")))?;
        let trusted = match self.verification {
            Verification::Nothing => None,
            Verification::Authority | Verification::Full => Some(self.trusted()?),
        };
        let verifier = Verifier::new(trusted, self.verification == Verification::Full, provider)?;
        let builder = builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let config = match &self.certificate {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let chain = certificates(file, "ssl_certfile")?;
                let (key_file, name) = match &self.key {
                    Some(key) => (key, "ssl_keyfile"),
                    None => (file, "ssl_certfile"),
                };
                let key = PrivateKeyDer::from_pem_file(key_file)
                    .map_err(|error| unusable(name, key_file, error))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| unusable("ssl_certfile", file, error))?
            }
        };
        Ok(Arc::new(config))
    }

    /// The certificates of the authorities to trust.
    fn trusted(&self) -> Result<Vec<CertificateDer<'static>>> {
        let mut trusted = Vec::new();
        let own = self.ca_file.is_some() || self.ca_directory.is_some() || self.ca_data.is_some();
        if let Some(file) = &self.ca_file {
            trusted.extend(certificates(file, "ssl_ca_certs")?);
        }
        if let Some(directory) = &self.ca_directory {
            let files = std::fs::read_dir(directory)
                .map_err(|error| unusable("ssl_ca_path", directory, error))?;
            // A directory holds other files too; what is no certificate is passed over.
            for file in files.flatten() {
                trusted.extend(certificates(&file.path(), "ssl_ca_path").unwrap_or_default());
            }
        }
        if let Some(pem) = &self.ca_data {
            for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                trusted.push(certificate.map_err(|_| invalid("ssl_ca_data is not PEM"))?);
            }
        }
        if !own {
            // Some of a machine's many certificates may be unreadable; the others do.
            trusted = rustls_native_certs::load_native_certs().certs;
        }
        if trusted.is_empty() {
            return Err(invalid(if own {
                "TLS: no certificate found in ssl_ca_certs, ssl_ca_path and ssl_ca_data"
            } else {
                "TLS: this machine has no trusted certificates; set ssl_ca_certs to a PEM file"
            }));
        }
        Ok(trusted)
    }
}

fn certificates(file: &Path, name: &str) -> Result<Vec<CertificateDer<'static>>> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|error| unusable(name, file, error))?;
    if certificates.is_empty() {
        return Err(unusable(name, file, "it holds no PEM certificate"));
    }
    Ok(certificates)
}

fn unusable(name: &str, file: &Path, why: impl fmt::Display) -> crate::error::Error {
    invalid(format!("{name}: {} cannot be used: {why}", file.display()))
}
