//! A second machine: a network namespace with cables to this one. Needs root.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Dropped, it is gone with its cables.
pub struct Machine {
    name: String,
    cables: Vec<Cable>,
}

/// A cable, with an address at each end.
#[derive(Clone)]
pub struct Cable {
    device: String,
    pub ours: String,
    pub theirs: String,
}

impl Machine {
    /// A machine with so many cables.
    pub fn with_cables(count: usize) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let pid = std::process::id();
        let name = format!("cls-{pid}-{}", MADE.fetch_add(1, Ordering::Relaxed));
        ip(&format!("netns add {name}"));
        let mut machine = Self {
            name,
            cables: Vec::new(),
        };
        for _ in 0..count {
            let number = MADE.fetch_add(1, Ordering::Relaxed);
            machine.plug_in(Cable {
                device: format!("cls{pid}n{number}"),
                ours: format!("10.213.{number}.1"),
                theirs: format!("10.213.{number}.2"),
            });
        }
        machine
    }

    fn plug_in(&mut self, cable: Cable) {
        let (name, device) = (self.name.clone(), cable.device.clone());
        let far = device.replace("cls", "far");
        ip(&format!("link add {device} type veth peer name {far} netns {name}"));
        ip(&format!("address add {}/24 dev {device}", cable.ours));
        ip(&format!("-n {name} address add {}/24 dev {far}", cable.theirs));
        self.cables.push(cable);
        ip(&format!("link set {device} up"));
        ip(&format!("-n {name} link set {far} up"));
    }

    pub fn cable(&self, number: usize) -> &Cable {
        &self.cables[number]
    }

    /// What a program has to be run under to run there.
    pub fn prefix(&self) -> [&str; 4] {
        ["ip", "netns", "exec", &self.name]
    }

    /// Runs a program there.
    pub fn spawn(&self, program: &str, arguments: &[&str]) -> Child {
        let prefix = self.prefix();
        let mut command = Command::new(prefix[0]);
        command.args(&prefix[1..]).arg(program).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("iproute2 is installed")
    }
}

impl Cable {
    pub fn pull(&self) {
        ip(&format!("link set {} down", self.device));
    }

    pub fn plug_in_again(&self) {
        ip(&format!("link set {} up", self.device));
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // They may be gone already.
        for cable in &self.cables {
            let _ = Command::new("ip").args(["link", "delete", &cable.device]).status();
        }
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).status();
    }
}

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output();
    let output = output.expect("iproute2 is installed");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {stderr}");
}
