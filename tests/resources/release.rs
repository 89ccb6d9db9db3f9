//! `DELETE`.

use super::{by, hold, release};
use crate::support::Server;

#[test]
pub(super) fn only_the_holders_key_releases() {
    let server = Server::start();
    hold(&server, "r");
    let mut client = server.client();

    for wrong in ["other", "Holder", "holder2", "holde"] {
        let answer = client.delete("r", wrong);
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (400, r#"{"Error":"Invalid unlock request."}"#),
            "{wrong}"
        );
    }
    let released = client.delete("r", "holder");
    let again = client.delete("r", "holder");

    assert_eq!((released.status, released.body.as_str()), (204, ""));
    assert_eq!(
        (again.status, again.body.as_str()),
        (400, r#"{"Error":"Resource is not acquired."}"#)
    );
}

#[test]
pub(super) fn a_released_row_stays_with_its_token() {
    let server = Server::start();
    let token = hold(&server, "r");

    release(&server, "r");

    let row = "SELECT locked_by, acquired_at_us, CAST(released_at_us > 0 AS INTEGER), fencing_token FROM resources";
    assert_eq!(server.select(row), [format!("||1|{token}")]);
    assert_eq!(server.select("SELECT count(*) FROM held_locks"), ["0"]);
}

#[test]
pub(super) fn a_resource_is_acquired_and_released_ever_again() {
    let server = Server::start();
    let mut client = server.client();

    for round in 0..50 {
        assert_eq!(client.put("r", &by("k")).status, 200, "{round}");
        assert_eq!(client.delete("r", "k").status, 204, "{round}");
    }
}

#[test]
pub(super) fn a_release_is_done_even_if_its_sender_does_not_wait_for_the_answer() {
    let server = super::one_worker();
    hold(&server, "r");

    let mut leaver = super::connected(&server);
    leaver.send("DELETE", "/resources/r/", &by("holder"));
    // The sender has the answer when it is there; that it never looks is what is tested.
    drop(leaver);

    crate::support::eventually("the resource is free", std::time::Duration::from_secs(5), || {
        server.client().put("r", &by("other")).status == 200
    });
}
