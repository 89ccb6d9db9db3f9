//! Who is let in, and whom a lock belongs to.

/// Each claim as a test on both databases.
macro_rules! on_both {
    ($($claim:ident)*) => {
        $(
            #[test]
            fn $claim() {
                claims::$claim();
            }
        )*

        mod on_postgres {
            $(
                #[test]
                fn $claim() {
                    crate::support::on_postgres(super::claims::$claim);
                }
            )*
        }
    };
}

mod at_rest;
mod breaks;
mod commands;
mod ends;
mod ownership;
mod silence;
mod tokens;

use crate::support::{Answer, Client, Server};

/// A server that asks for tokens.
pub fn guarded() -> Server {
    guarded_with(&[])
}

pub fn guarded_with(variables: &[(&str, &str)]) -> Server {
    Server::start_with(&[&[("AUTH", "required")], variables].concat())
}

/// The key of a new token; the server knows it already.
pub fn token(server: &Server, arguments: &[&str]) -> String {
    let made = server.cls().run(&[&["createtoken"], arguments].concat());
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let key = String::from_utf8(made.stdout).expect("text").trim().to_owned();
    let mut client = server.client();
    crate::support::eventually("the server knows the token", std::time::Duration::from_secs(5), || {
        // It is let in, whatever it may do there.
        request(&mut client, &key, "OPTIONS", "/schema/", "").status == 200
    });
    key
}

fn request(client: &mut Client, key: &str, method: &str, path: &str, body: &str) -> Answer {
    let authorization = format!("Token {key}");
    let headers = [
        ("Authorization", authorization.as_str()),
        ("Content-Type", "application/json"),
    ];
    client.request_with((method, path), &headers, body)
}

fn path(name: &str) -> String {
    format!("/resources/{name}/")
}
