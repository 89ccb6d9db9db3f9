//! Answers that never arrive.

use std::time::{Duration, Instant};

use super::{cls, code, stderr};
use crate::support::{LossyProxy, Server, on_postgres};

#[test]
fn a_thousand_cycles_without_a_first_answer_leave_no_lock_and_no_wait() {
    cycles(1000);
}

#[test]
fn lost_answers_on_postgres() {
    on_postgres(|| cycles(100));
}

fn cycles(count: usize) {
    const THREADS: usize = 8;
    let server = Server::start();
    let proxy = LossyProxy::before(server.address);
    let cls = cls(&server).with("CLS_URL", &format!("http://{}", proxy.address));
    let began = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let cls = &cls;
            scope.spawn(move || {
                let name = format!("r{thread}");
                for cycle in 0..count / THREADS {
                    // A wait for oneself would end with 75, and a lock that is left behind with it.
                    let output = cls.run(&["lock", "-n", "--ttl", "3600", &name, "--", "true"]);
                    assert_eq!(code(&output), 0, "{name} {cycle}: {}", stderr(&output));
                }
            });
        }
    });
    let took = began.elapsed();
    let cycles = count / THREADS * THREADS;
    assert_eq!(
        proxy.lost(),
        2 * cycles,
        "each acquisition and each release lost an answer"
    );
    assert_eq!(server.select("SELECT name FROM held_locks"), Vec::<String>::new());
    let each = took / u32::try_from(count / THREADS).expect("few");
    assert!(each < Duration::from_secs(2), "{each:?} a cycle");
}
