//! A server that is cut off from the database.

use std::time::{Duration, Instant};

use super::{Replicas, SOON, by, granted_within};
use crate::support::{Cluster, Machine, eventually};

/// How long an answer may take then, and how long until all is well.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(5);

#[test]
fn a_server_that_is_cut_off_from_the_database_answers_503_and_harms_no_other() {
    let machine = Machine::with_cables(2);
    let (to_clients, to_database) = (machine.cable(0), machine.cable(1));
    let cluster = Cluster::with_settings(&["listen_addresses=*"]);
    let mut replicas = Replicas::on(cluster.database(), 1);
    let url = replicas.database.url.replace("127.0.0.1", &to_database.ours);
    replicas.add_under(&url, &machine.prefix(), &format!("{}:0", to_clients.theirs));
    replicas.hold(1, "r");
    let mut first = replicas.in_line(1, "r", "first");
    let mut second = replicas.in_line(0, "r", "second");

    to_database.pull();
    let mut cut_off = replicas.client(1);
    for round in 0..5 {
        let asked = Instant::now();
        let answer = cut_off.put(&format!("x{round}"), &by("k"));
        assert_eq!(answer.status, 503, "{}", answer.body);
        assert_eq!(answer.header("Retry-After"), Some("1"));
        assert!(asked.elapsed() < ANSWER_WAIT_MAX, "after {:?}", asked.elapsed());
    }
    replicas.release(0, "r", "holder");
    let second = granted_within(&mut second, SOON);

    to_database.plug_in_again();
    let plugged_in = Instant::now();
    eventually("it works again", ANSWER_WAIT_MAX, || {
        cut_off.put("y", &by("k")).status == 200
    });
    let healed = plugged_in.elapsed();
    replicas.release(0, "r", "second");
    assert!(
        granted_within(&mut first, SOON) > second,
        "who waited there waits still"
    );
    assert!(healed < ANSWER_WAIT_MAX, "after {healed:?}");
}
