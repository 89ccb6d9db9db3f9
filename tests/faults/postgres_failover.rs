//! The primary is gone and a standby takes its place.

use crate::faults::postgres::{HEAL_WAIT_MAX, under_load};
use crate::faults::{acquire, directory};
use crate::support::{Cls, Cluster, eventually};

#[test]
fn what_was_answered_survives_a_fail_over_to_a_synchronous_standby() {
    let mut primary = Cluster::of_its_own();
    let database = primary.database();
    let standby = primary.standby("standby");
    primary.set("synchronous_standby_names", "standby");
    let directory = directory();
    let url = primary.url_with(&standby, &database.name);
    let cls = Cls::in_directory(directory.path()).with("DATABASE_URL", &url);
    let server = cls.start();
    let before = acquire(&mut server.client(), "before", "k");

    under_load(&server, |seen| {
        primary.cut_off(&standby);
        // Committed on the primary alone by now, and so not answered.
        let waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        eventually("a commit waits for the standby", HEAL_WAIT_MAX, || {
            database.sql(waits) == ["1"]
        });
        primary.crash();
        standby.promote();
        seen.works_again();
    });

    let mut client = server.client();
    assert_eq!(client.delete("before", "k").status, 204);
    assert!(acquire(&mut client, "before", "k") > before, "tokens rise");
    for command in [
        &["check"][..],
        &["migrate"],
        &["migrate", "--check"],
        &["showmigrations"],
        &["dbshell", "--", "-c", "SELECT * FROM held_locks"],
    ] {
        let output = cls.run(command);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{command:?}: {said}");
    }
    drop(server);
    assert_eq!(cls.start().client().delete("before", "k").status, 204);
}
