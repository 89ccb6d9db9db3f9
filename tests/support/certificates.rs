//! Certificates made for a test: authorities, and what they sign.

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::symm::Cipher;
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509Name, X509NameBuilder};

/// A certificate and its key.
#[derive(Clone)]
pub struct Certified {
    pub certificate: X509,
    pub key: PKey<Private>,
}

/// Days from now on.
#[derive(Clone, Copy)]
pub struct Days {
    pub from: i64,
    pub until: i64,
}

const VALID: Days = Days { from: -1, until: 90 };

impl Certified {
    /// An authority that signed itself.
    pub fn authority(name: &str) -> Self {
        make(name, ec_key(), None, true, VALID)
    }

    /// An authority that this one signed.
    pub fn sign_authority(&self, name: &str) -> Self {
        make(name, ec_key(), Some(self), true, VALID)
    }

    /// A server's or a client's; a server's is for localhost.
    pub fn sign(&self, name: &str) -> Self {
        make(name, ec_key(), Some(self), false, VALID)
    }

    pub fn sign_for(&self, name: &str, days: Days) -> Self {
        make(name, ec_key(), Some(self), false, days)
    }

    pub fn self_signed_rsa(name: &str) -> Self {
        make(name, rsa_key(2048), None, false, VALID)
    }

    /// With a key that can be broken.
    pub fn self_signed_weak(name: &str) -> Self {
        make(name, rsa_key(512), None, false, VALID)
    }

    pub fn certificate_pem(&self) -> String {
        text(self.certificate.to_pem())
    }

    pub fn key_pem(&self) -> String {
        text(self.key.private_key_to_pem_pkcs8())
    }

    pub fn encrypted_key_pem(&self) -> String {
        let pem = self
            .key
            .private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), b"secret");
        text(pem)
    }
}

fn ec_key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("a curve of the library");
    PKey::from_ec_key(EcKey::generate(&group).expect("randomness")).expect("a key")
}

fn rsa_key(bits: u32) -> PKey<Private> {
    PKey::from_rsa(Rsa::generate(bits).expect("randomness")).expect("a key")
}

fn make(name: &str, key: PKey<Private>, signer: Option<&Certified>, is_authority: bool, days: Days) -> Certified {
    let subject = named(name);
    let mut serial = BigNum::new().expect("memory");
    serial.rand(100, MsbOption::MAYBE_ZERO, false).expect("randomness");
    // Half a day more, so that it is so many whole days during the test.
    let seconds = |days: i64| now_seconds() + days * 86_400 + 43_200;
    let mut builder = X509::builder().expect("memory");
    let made = (|| {
        builder.set_version(2)?;
        builder.set_serial_number(&*serial.to_asn1_integer()?)?;
        builder.set_subject_name(&subject)?;
        builder.set_issuer_name(signer.map_or(&subject, |signer| signer.certificate.subject_name()))?;
        builder.set_not_before(&*Asn1Time::from_unix(seconds(days.from))?)?;
        builder.set_not_after(&*Asn1Time::from_unix(seconds(days.until))?)?;
        builder.set_pubkey(&key)?;
        if is_authority {
            builder.append_extension(BasicConstraints::new().critical().ca().build()?)?;
        } else {
            let mut names = SubjectAlternativeName::new();
            let names = names.dns("localhost").ip("127.0.0.1");
            let names = names.build(&builder.x509v3_context(None, None))?;
            builder.append_extension(names)?;
        }
        builder.sign(signer.map_or(&key, |signer| &signer.key), MessageDigest::sha256())
    })();
    made.expect("a certificate can be made");
    Certified {
        certificate: builder.build(),
        key,
    }
}

fn named(name: &str) -> X509Name {
    let mut builder = X509NameBuilder::new().expect("memory");
    builder.append_entry_by_text("CN", name).expect("a name");
    builder.build()
}

fn now_seconds() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.expect("it is later than 1970")
        .as_secs()
        .try_into()
        .expect("a while yet")
}

fn text(pem: Result<Vec<u8>, openssl::error::ErrorStack>) -> String {
    String::from_utf8(pem.expect("it can be written")).expect("PEM is text")
}
