//! Why a certificate or a key cannot be used: one line that names the setting
//! and the file.

use std::io;
use std::path::PathBuf;

use openssl::error::ErrorStack;
use thiserror::Error;

use crate::limits::TLS_FILE_BYTES_MAX;

/// What is wrong with the files, or with the library.
#[derive(Debug, Error)]
pub enum TlsError {
    /// Not to be had.
    #[error("{setting}: cannot read {path}: {error}; name a file that the server may read")]
    Read {
        /// Whose.
        setting: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A directory, a pipe, a device.
    #[error("{setting}: {path} is not a regular file; name one in PEM")]
    NoFile {
        /// Whose.
        setting: &'static str,
        /// Which.
        path: PathBuf,
    },
    /// Whatever it is.
    #[error("{setting}: {path} is larger than {TLS_FILE_BYTES_MAX} bytes; name a file in PEM")]
    TooLarge {
        /// Whose.
        setting: &'static str,
        /// Which.
        path: PathBuf,
    },
    /// Text, or DER, or a key.
    #[error("{setting}: there is no certificate in {path}; name a file in PEM, with -----BEGIN CERTIFICATE-----")]
    NoCertificate {
        /// Whose.
        setting: &'static str,
        /// Which.
        path: PathBuf,
    },
    /// It begins like one.
    #[error("{setting}: a certificate in {path} is damaged: {reason}; put it there anew")]
    Damaged {
        /// Whose.
        setting: &'static str,
        /// Which.
        path: PathBuf,
        /// What the library says.
        reason: String,
    },
    /// Text, or DER, or a certificate.
    #[error("TLS_KEY: there is no private key in {0}; name a file in PEM, with -----BEGIN PRIVATE KEY-----")]
    NoKey(PathBuf),
    /// Nobody could type it when the server is started by itself.
    #[error("TLS_KEY: {0} is encrypted with a passphrase; decrypt it with `openssl pkey -in OLD -out NEW`")]
    Encrypted(PathBuf),
    /// Of two renewals, or the order of the chain.
    #[error(
        "TLS_KEY: {key} is not the key of the first certificate in {certificate}; \
         name the two that belong together, and put the server's certificate before those that signed it"
    )]
    Mismatch {
        /// Of TLS_KEY.
        key: PathBuf,
        /// Of TLS_CERT.
        certificate: PathBuf,
    },
    /// Too weak, for example.
    #[error(
        "{setting}: {path} cannot be used: {reason}; make a key of 2048 bits RSA or 256 bits EC, signed by SHA-256"
    )]
    Unusable {
        /// Whose.
        setting: &'static str,
        /// Which.
        path: PathBuf,
        /// What the library says.
        reason: String,
    },
    /// It refuses what does not depend on the files.
    #[error("TLS cannot be set up: {}", reason(.0))]
    Library(#[from] ErrorStack),
}

/// What the library complains of first.
pub(super) fn reason(errors: &ErrorStack) -> String {
    let first = errors.errors().first();
    first
        .and_then(|error| error.reason())
        .unwrap_or("an unknown reason")
        .to_owned()
}
