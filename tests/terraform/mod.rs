//! `/terraform/{name}/`: the locks of Terraform and OpenTofu, by the requests
//! that Terraform 1.11.4 was seen to send, and by itself where it is installed.

mod access;
mod answers;
mod binary;
mod requests;
mod waiting;

use serde_json::Value;

use crate::support::{Answer, Client, Server};

/// What Terraform sends with LOCK, and again with UNLOCK.
const HOLDER: &str = r#"{"ID":"27b68d25-93e8-3e81-6cc8-13df3661fe9a","Operation":"OperationTypeApply","Info":"","Who":"ci@runner-7","Version":"1.11.4","Created":"2026-11-26T19:47:36.563023486Z","Path":""}"#;
const HOLDER_ID: &str = "27b68d25-93e8-3e81-6cc8-13df3661fe9a";

/// The same of another run.
const OTHER: &str = r#"{"ID":"6b1cb0a5-5f0e-e4a9-6b57-4f0d8a2f9b11","Operation":"OperationTypePlan","Info":"","Who":"ann@laptop","Version":"1.11.4","Created":"2026-11-26T19:48:02.000000001Z","Path":""}"#;

/// What OpenTofu sends for `force-unlock`: the ID alone.
const FORCED_BY_OPENTOFU: &str = r#"{"ID":"27b68d25-93e8-3e81-6cc8-13df3661fe9a","Operation":"","Info":"","Who":"","Version":"","Created":"0001-01-01T00:00:00Z","Path":""}"#;

const HEADERS: [(&str, &str); 2] = [("User-Agent", "Go-http-client/1.1"), ("Accept-Encoding", "gzip")];
const PATH: &str = "/terraform/prod/";

fn lock(client: &mut Client, info: &str) -> Answer {
    client.request_with(("LOCK", PATH), &HEADERS, info)
}

fn unlock(client: &mut Client, info: &str) -> Answer {
    client.request_with(("UNLOCK", PATH), &HEADERS, info)
}

/// What Terraform sends for `force-unlock`, with these headers more: a body of
/// no chunk.
fn force_unlock(client: &mut Client, headers: &str) -> Answer {
    let head = format!(
        "UNLOCK {PATH} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: Go-http-client/1.1\r\nTransfer-Encoding: chunked\r\n\
         Content-Md5: 1B2M2Y8AsgTpgAmY7PhCfg==\r\nContent-Type: application/json\r\nAccept-Encoding: gzip\r\n{headers}"
    );
    client.send_raw(format!("{head}\r\n0\r\n\r\n").as_bytes());
    client.answer()
}

/// What everybody may see of the state's lock.
fn look(server: &Server) -> Value {
    server.client().get("/locks/terraform%2Fprod/").json()
}

/// Holds it as HOLDER, and answers with the token.
fn hold(server: &Server) -> i64 {
    let answer = lock(&mut server.client(), HOLDER);
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.fencing_token()
}

/// Asserts that an answer is what Terraform reads as "held", by `holder`.
fn assert_held_by(answer: &Answer, holder: &str) {
    assert_eq!(answer.status, 423, "{}", answer.body);
    assert_eq!(answer.header("Content-Type"), Some("application/json"));
    assert_eq!(answer.body, holder);
}
