//! TLS to clients: which certificate a new connection is shown, and how that is
//! changed while the server runs.
//!
//! An acceptor of OpenSSL cannot be changed once it serves. So the one that
//! serves has no certificate; when a client has said hello it is given the
//! newest [`Identity`]. A connection that is open has no use for it any more
//! and goes on.
//!
//! No session is resumed: a ticket would let in whom a new TLS_CLIENT_CA does
//! not know, and its key would lie in memory for as long as the server runs.

mod error;
mod identity;

use std::sync::{Arc, PoisonError, RwLock};

use openssl::error::ErrorStack;
use openssl::ssl::{
    AlpnError, ClientHelloResponse, SslAcceptor, SslAcceptorBuilder, SslMethod, SslOptions, SslSessionCacheMode,
    select_next_proto,
};
use openssl::x509::X509StoreContextRef;

pub use error::TlsError;
pub use identity::Identity;

/// The only protocol that is served, as ALPN writes it.
const PROTOCOLS: &[u8] = b"\x08http/1.1";

/// What connections are shown. Cloning copies a pointer.
#[derive(Clone)]
pub struct Tls {
    /// Read by each handshake, written by a reload.
    newest: Arc<RwLock<Identity>>,
}

impl Tls {
    /// Shows `identity`.
    pub fn new(identity: Identity) -> Self {
        Self {
            newest: Arc::new(RwLock::new(identity)),
        }
    }

    /// Shows `identity` to whoever connects from now on.
    pub fn replace(&self, identity: Identity) {
        // What is behind it is whole at any time, also where a thread panicked.
        *self.newest.write().unwrap_or_else(PoisonError::into_inner) = identity;
    }

    /// What accepts connections, with the newest identity at each time.
    ///
    /// Errors: the library refuses.
    pub fn acceptor(&self) -> Result<SslAcceptorBuilder, TlsError> {
        let mut acceptor = new_acceptor()?;
        let newest = Arc::clone(&self.newest);
        acceptor.set_client_hello_callback(move |ssl, _| {
            let newest = newest.read().unwrap_or_else(PoisonError::into_inner);
            ssl.set_ssl_context(newest.context())?;
            // The connection has it from the context that it began with.
            ssl.set_verify_callback(newest.context().verify_mode(), told_if_refused);
            Ok(ClientHelloResponse::SUCCESS)
        });
        Ok(acceptor)
    }
}

/// Says why a client is refused, which it may not be able to tell itself.
fn told_if_refused(is_trusted: bool, chain: &mut X509StoreContextRef) -> bool {
    if !is_trusted {
        let certificate = chain.current_cert().map(identity::subject);
        let certificate = certificate.as_deref().unwrap_or("a client");
        log::debug!("the certificate of {certificate} is refused: {}", chain.error());
    }
    is_trusted
}

/// An acceptor without a certificate: TLS 1.2 and 1.3, with Mozilla's
/// intermediate ciphers.
fn new_acceptor() -> Result<SslAcceptorBuilder, ErrorStack> {
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
    // Its first cipher is the cheapest of those that are equally safe; clients prefer a longer key.
    acceptor.set_options(SslOptions::NO_TICKET | SslOptions::NO_RENEGOTIATION | SslOptions::CIPHER_SERVER_PREFERENCE);
    acceptor.set_num_tickets(0)?;
    acceptor.set_session_cache_mode(SslSessionCacheMode::OFF);
    // A client that offers others only is served all the same.
    acceptor.set_alpn_select_callback(|_, offered| select_next_proto(PROTOCOLS, offered).ok_or(AlpnError::NOACK));
    Ok(acceptor)
}
