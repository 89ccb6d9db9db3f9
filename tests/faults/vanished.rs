//! A client's machine vanishes: no FIN, no RST, nothing.

use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use crate::faults::{acquire, body, directory, is_held, must_run};
use crate::support::{Client, Cls, eventually};

/// A second machine: a network namespace with a cable to this one. Needs root.
struct Machine {
    name: String,
    cable: String,
}

impl Machine {
    const OURS: &'static str = "10.213.77.1";
    const THEIRS: &'static str = "10.213.77.2";

    fn plug_in() -> Self {
        let id = std::process::id();
        let (name, cable, far) = (format!("cls-{id}"), format!("cls{id}"), format!("clsf{id}"));
        let ip = |arguments: &str| must_run("ip", &arguments.split(' ').collect::<Vec<_>>());
        ip(&format!("netns add {name}"));
        let machine = Self { name, cable };
        let (name, cable) = (&machine.name, &machine.cable);
        ip(&format!("link add {cable} type veth peer name {far} netns {name}"));
        ip(&format!("address add {}/24 dev {cable}", Self::OURS));
        ip(&format!("link set {cable} up"));
        ip(&format!("-n {name} address add {}/24 dev {far}", Self::THEIRS));
        ip(&format!("-n {name} link set {far} up"));
        machine
    }

    fn spawn(&self, program: &str, arguments: &[&str]) -> Child {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("iproute2 is installed")
    }

    fn pull_the_plug(&self) {
        must_run("ip", &["link", "set", &self.cable, "down"]);
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // They may be gone already.
        let _ = Command::new("ip").args(["link", "delete", &self.cable]).status();
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).status();
    }
}

#[test]
fn a_waiter_whose_machine_vanishes_is_given_up() {
    let machine = Machine::plug_in();
    let directory = directory();
    let cls = Cls::in_directory(directory.path()).with("WAITERS_MAX", "1");
    let server = cls
        .try_start(&["runserver", &format!("{}:0", Machine::OURS)])
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

    machine.pull_the_plug();

    eventually("its place is free", Duration::from_secs(60), may_wait);
    assert_eq!(holder.delete("r", "holder").status, 204);
    assert!(!is_held(&mut holder, "r"), "nothing was granted to who is gone");
    // It is still waiting for an answer.
    waiter.kill().and_then(|()| waiter.wait()).expect("a child of ours");
}
