//! A client's machine vanishes: no FIN, no RST, nothing.

use std::thread::sleep;
use std::time::Duration;

use crate::faults::{acquire, body, directory, is_held};
use crate::support::{Client, Cls, Machine, eventually};

#[test]
fn a_waiter_whose_machine_vanishes_is_given_up() {
    let machine = Machine::with_cables(1);
    let directory = directory();
    let cls = Cls::in_directory(directory.path())
        .with("WAITERS_MAX", "1")
        .with("AUTH", "off");
    let server = cls
        .try_start(&["runserver", &format!("{}:0", machine.cable(0).ours)])
        .expect("it starts");
    let mut holder = server.client();
    acquire(&mut holder, "r", "holder");
    let url = format!("{}/resources/r/", server.base_url());
    // It asks again after a second if this test itself stands in its place.
    let ask = ["--retry", "20", "-X", "PUT", &url, "-d", "locked_by=gone&timeout=600"];
    let mut waiter = machine.spawn("curl", &ask);
    let may_wait = || {
        // Answered at once if there is no room to wait, and after a second if there is.
        let mut client = Client::connect(server.address);
        client.put("r", &body("w", ", \"timeout\": 1")).status == 408
    };
    eventually("it stands in line", Duration::from_secs(30), || {
        let is_taken = !may_wait();
        if !is_taken {
            sleep(Duration::from_secs(2));
        }
        is_taken
    });

    machine.cable(0).pull();

    eventually("its place is free", Duration::from_secs(60), may_wait);
    assert_eq!(holder.delete("r", "holder").status, 204);
    assert!(!is_held(&mut holder, "r"), "nothing was granted to who is gone");
    // It is still waiting for an answer.
    waiter.kill().and_then(|()| waiter.wait()).expect("a child of ours");
}
