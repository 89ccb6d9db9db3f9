//! Who the server is, and whom it lets in, read from files.

use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use openssl::asn1::Asn1Time;
use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{SslContext, SslMode, SslVerifyMode};
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::X509VerifyFlags;
use openssl::x509::{X509, X509Ref};

use crate::limits::TLS_FILE_BYTES_MAX;
use crate::settings::TlsFiles;
use crate::tls::error::reason;
use crate::tls::{TlsError, new_acceptor};

/// Everybody else of the machine may read it.
const WORLD_READABLE: u32 = 0o004;

/// A certificate with its key, and whose clients are let in.
pub struct Identity {
    context: SslContext,
    description: String,
    warnings: Vec<String>,
}

impl Identity {
    /// Reads the files.
    ///
    /// Errors: one cannot be read or used, or they do not belong together.
    pub fn load(files: &TlsFiles) -> Result<Self, TlsError> {
        let (chain, _) = certificates("TLS_CERT", &files.certificate)?;
        let (key, metadata) = private_key(&files.key)?;
        let certificate = &chain[0];
        if !certificate.public_key()?.public_eq(&key) {
            return Err(TlsError::Mismatch {
                key: files.key.clone(),
                certificate: files.certificate.clone(),
            });
        }
        let mut acceptor = new_acceptor()?;
        let unusable = |setting, path: &Path| {
            let path = path.to_owned();
            move |errors: ErrorStack| TlsError::Unusable {
                setting,
                path,
                reason: reason(&errors),
            }
        };
        // What is sent is what the file says, and not what else is found in the store.
        acceptor.set_mode(SslMode::NO_AUTO_CHAIN);
        acceptor
            .set_certificate(certificate)
            .map_err(unusable("TLS_CERT", &files.certificate))?;
        for signer in &chain[1..] {
            acceptor
                .add_extra_chain_cert(signer.clone())
                .map_err(unusable("TLS_CERT", &files.certificate))?;
        }
        acceptor
            .set_private_key(&key)
            .map_err(unusable("TLS_KEY", &files.key))?;
        let mut warnings = Vec::new();
        warnings.extend(chain.iter().filter_map(|one| out_of_date("TLS_CERT", one)));
        if metadata.permissions().mode() & WORLD_READABLE != 0 {
            warnings.push(format!(
                "TLS_KEY: everybody on this machine can read {}; take that from them with chmod o-r",
                files.key.display()
            ));
        }
        if let Some(path) = &files.client_authorities {
            let (authorities, _) = certificates("TLS_CLIENT_CA", path)?;
            warnings.extend(authorities.iter().filter_map(|one| out_of_date("TLS_CLIENT_CA", one)));
            let mut store = X509StoreBuilder::new()?;
            // One that has signed is enough, be it a root or not.
            store.set_flags(X509VerifyFlags::PARTIAL_CHAIN)?;
            for authority in authorities {
                acceptor.add_client_ca(&authority)?;
                store.add_cert(authority)?;
            }
            acceptor.set_cert_store(store.build());
            acceptor.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
        } else {
            acceptor.set_verify(SslVerifyMode::NONE);
        }
        Ok(Self {
            description: description(certificate),
            context: acceptor.build().into_context(),
            warnings,
        })
    }

    /// Of the certificate: whose it is and how long it is valid yet.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// What can be used and should not be left so, a line each.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    pub(super) fn context(&self) -> &SslContext {
        &self.context
    }
}

fn certificates(setting: &'static str, path: &Path) -> Result<(Vec<X509>, Metadata), TlsError> {
    let (pem, metadata) = read(setting, path)?;
    let found = X509::stack_from_pem(&pem).map_err(|errors| TlsError::Damaged {
        setting,
        path: path.to_owned(),
        reason: reason(&errors),
    })?;
    match found.is_empty() {
        false => Ok((found, metadata)),
        true => Err(TlsError::NoCertificate {
            setting,
            path: path.to_owned(),
        }),
    }
}

fn private_key(path: &Path) -> Result<(PKey<Private>, Metadata), TlsError> {
    let (pem, metadata) = read("TLS_KEY", path)?;
    let mut is_encrypted = false;
    // Without a callback the library would ask whoever sits at the terminal.
    let key = PKey::private_key_from_pem_callback(&pem, |_| {
        is_encrypted = true;
        Ok(0)
    });
    match key {
        Ok(key) => Ok((key, metadata)),
        Err(_) if is_encrypted => Err(TlsError::Encrypted(path.to_owned())),
        Err(_) => Err(TlsError::NoKey(path.to_owned())),
    }
}

fn read(setting: &'static str, path: &Path) -> Result<(Vec<u8>, Metadata), TlsError> {
    let failed = |error| TlsError::Read {
        setting,
        path: path.to_owned(),
        error,
    };
    // Asked before it is opened, because to open a pipe may wait for ever.
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(TlsError::NoFile {
            setting,
            path: path.to_owned(),
        });
    }
    let mut content = Vec::new();
    File::open(path)
        .and_then(|file| file.take(TLS_FILE_BYTES_MAX + 1).read_to_end(&mut content))
        .map_err(failed)?;
    if content.len() as u64 > TLS_FILE_BYTES_MAX {
        return Err(TlsError::TooLarge {
            setting,
            path: path.to_owned(),
        });
    }
    Ok((content, metadata))
}

/// Whole days from now until `time`; negative if it is past.
fn days_until(time: &openssl::asn1::Asn1TimeRef) -> Option<i32> {
    let now = Asn1Time::days_from_now(0).ok()?;
    Some(now.diff(time).ok()?.days)
}

fn description(certificate: &X509Ref) -> String {
    let days = days_until(certificate.not_after()).unwrap_or_default();
    format!("{}, valid for {} more days", subject(certificate), days.max(0))
}

/// What to say of a certificate that is not valid now.
fn out_of_date(setting: &str, certificate: &X509Ref) -> Option<String> {
    let now = Asn1Time::days_from_now(0).ok()?;
    let (subject, from, until) = (subject(certificate), certificate.not_before(), certificate.not_after());
    if until < now {
        Some(format!(
            "{setting}: the certificate of {subject} expired at {until}; whoever verifies it refuses it"
        ))
    } else if from > now {
        Some(format!(
            "{setting}: the certificate of {subject} is not valid before {from}; whoever verifies it refuses it"
        ))
    } else {
        None
    }
}

/// The name of its owner, on one line.
pub(super) fn subject(certificate: &X509Ref) -> String {
    let common_name = certificate.subject_name().entries_by_nid(Nid::COMMONNAME).next();
    let common_name = common_name.and_then(|entry| entry.data().to_string().ok());
    let host = || {
        let names = certificate.subject_alt_names()?;
        names.iter().find_map(|name| name.dnsname().map(str::to_owned))
    };
    let name = common_name.or_else(host).unwrap_or_else(|| "nobody".to_owned());
    name.escape_debug().to_string()
}
