//! The connection to PostgreSQL is lost at COMMIT: nobody can know whether it
//! happened. Whoever asked is answered 503, and what follows is consistent
//! either way.

use tempfile::TempDir;

use crate::faults::postgres::{HEAL_WAIT_MAX, under_load};
use crate::faults::{acquire, assert_unavailable, body, directory};
use crate::support::{Answer, Client, Cls, Cluster, Lost, PostgresDatabase, Proxy, Server, eventually};

const ROUNDS: usize = 20;

/// A server that reaches its database by way of a proxy.
pub(super) struct Setup {
    pub(super) server: Server,
    pub(super) proxy: Proxy,
    database: PostgresDatabase,
    _directory: TempDir,
}

impl Setup {
    pub(super) fn new() -> Self {
        let database = Cluster::with_password().database();
        let proxy = Proxy::before(&database);
        let directory = directory();
        // One worker reads in the order of arrival.
        let cls = Cls::in_directory(directory.path()).with("WORKERS", "1");
        Self {
            server: cls.with("DATABASE_URL", proxy.url()).start(),
            proxy,
            database,
            _directory: directory,
        }
    }

    /// The answer to a request whose commit is lost.
    fn with_loss(&self, lost: Lost, request: impl FnOnce() -> Answer) -> Answer {
        let before = self.proxy.lost();
        self.proxy.lose(lost, 0);
        let answer = request();
        assert_eq!(self.proxy.lost(), before + 1, "a test of nothing");
        answer
    }
}

/// The first answer that is not 503.
fn decided(mut request: impl FnMut() -> Answer) -> Answer {
    let mut answer = request();
    eventually("it is decided", HEAL_WAIT_MAX, || {
        if answer.status == 503 {
            assert_unavailable(&answer);
            answer = request();
        }
        answer.status != 503
    });
    answer
}

fn assert_released_or_free(answer: &Answer) {
    let is_free = answer.status == 400 && answer.body.contains("Resource is not acquired.");
    assert!(answer.status == 204 || is_free, "{} {}", answer.status, answer.body);
}

fn each_loss() -> impl Iterator<Item = (usize, Lost)> {
    (0..ROUNDS).map(|round| (round, if round % 2 == 0 { Lost::Answer } else { Lost::Commit }))
}

#[test]
fn a_grant_whose_commit_is_unknown_is_released_by_its_key_or_given_back() {
    let setup = Setup::new();
    let mut client = setup.server.client();

    for (round, lost) in each_loss() {
        let (released, left) = (format!("released-{round}"), format!("left-{round}"));

        assert_unavailable(&setup.with_loss(lost, || client.put(&released, &body("k", ""))));
        assert_released_or_free(&decided(|| client.delete(&released, "k")));
        assert_unavailable(&setup.with_loss(lost, || client.put(&left, &body("k", ""))));
        eventually("it is given back", HEAL_WAIT_MAX, || {
            client.put(&left, &body("other", "")).status == 200
        });

        assert_eq!(client.delete(&left, "k").status, 400, "the grant that was given back");
        assert_eq!(client.delete(&left, "other").status, 204);
    }
}

#[test]
fn a_release_whose_commit_is_unknown_can_be_sent_again() {
    let setup = Setup::new();
    let mut client = setup.server.client();

    for (round, lost) in each_loss() {
        let name = format!("r{round}");
        acquire(&mut client, &name, "k");

        assert_unavailable(&setup.with_loss(lost, || client.delete(&name, "k")));
        let again = decided(|| client.delete(&name, "k"));

        assert_released_or_free(&again);
        assert_eq!(again.status == 400, lost == Lost::Answer, "it happened");
        acquire(&mut client, &name, "next");
    }
}

#[test]
fn a_waiter_is_served_once_however_its_hand_over_fares() {
    let setup = Setup::new();
    let mut client = setup.server.client();

    for (round, lost) in each_loss() {
        let name = format!("r{round}");
        let held = acquire(&mut client, &name, "k");
        let mut waiters: Vec<Client> = ["first", "second"]
            .iter()
            .map(|key| {
                let mut waiter = setup.server.client();
                // The worker has its connection from now on.
                assert_eq!(waiter.request("GET", "/nowhere/", "").status, 404);
                waiter.send_put(&name, &body(key, ", \"timeout\": 60"));
                // Its answer comes after the waiter before it is in line.
                acquire(&mut client, &format!("{name}-after-{key}"), "k");
                waiter
            })
            .collect();

        assert_unavailable(&setup.with_loss(lost, || client.delete(&name, "k")));
        // Released again, or in the hands of the first waiter.
        let again = decided(|| client.delete(&name, "k"));
        let first = waiters[0].answer();
        let stored = setup.database.sql(&format!(
            "SELECT locked_by, fencing_token FROM resources WHERE name = '{name}'"
        ));
        let released = client.delete(&name, "first");
        let second = waiters[1].answer();

        assert!([204, 400].contains(&again.status), "{}", again.status);
        assert_eq!(first.status, 200, "{}", first.body);
        assert!(first.fencing_token() > held);
        assert_eq!(stored, [format!("first|{}", first.fencing_token())]);
        assert_eq!(released.status, 204, "{}", released.body);
        assert_eq!(second.status, 200, "{}", second.body);
        assert!(second.fencing_token() > first.fencing_token());
        assert_eq!(client.delete(&name, "second").status, 204);
        acquire(&mut client, &name, "next");
    }
}

#[test]
fn commits_that_are_lost_under_load_leave_every_answer_true() {
    let setup = Setup::new();

    under_load(&setup.server, |seen| {
        for (round, lost) in each_loss() {
            setup.proxy.lose(lost, round);
            eventually("it is lost", HEAL_WAIT_MAX, || setup.proxy.lost() == round + 1);
            seen.works_again();
        }
    });
}
