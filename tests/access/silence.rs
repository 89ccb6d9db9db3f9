//! A database that does not say which tokens are good.

use std::time::Duration;

use super::*;
use crate::support::{Cls, Cluster, Proxy, eventually};

#[test]
fn nobody_is_let_in_while_the_tokens_cannot_be_read() {
    let database = Cluster::with_password().database();
    let proxy = Proxy::before(&database);
    let directory = tempfile::tempdir().expect("a directory");
    let cls = Cls::in_directory(directory.path()).with("AUTH", "required");
    let server = cls.with("DATABASE_URL", proxy.url()).start();
    let key = token(&server, &["ci"]);
    let mut client = server.client();
    let mut status = || request(&mut client, &key, "OPTIONS", "/schema/", "").status;
    assert_eq!(status(), 200);

    // No operation on locks is asked for: only whether the token is good.
    proxy.stop();
    eventually("nobody is let in", Duration::from_secs(5), || status() == 503);
    proxy.resume();
    eventually("the token is known again", Duration::from_secs(10), || status() == 200);
}
