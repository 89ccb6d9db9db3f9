//! Three servers on one PostgreSQL database.

use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use super::clients::Arena;
use super::link::Link;
use super::trial::{duration, judge, judge_for};
use crate::support::{Cls, Cluster, Lost, Machine, PostgresDatabase, Proxy, Server, eventually};

const COUNT: usize = 3;

/// For a state that is there in a moment, on a busy machine.
const SOON: Duration = Duration::from_secs(5);

/// How long clients work around one fail-over; there are as many as there is time for.
const FAIL_OVER_DURATION: Duration = Duration::from_secs(3);

/// A server and the directory that it runs in.
struct Replica {
    server: Server,
    _directory: TempDir,
}

impl Replica {
    fn start(url: &str) -> Self {
        Self::start_under(&[], url, "127.0.0.1:0")
    }

    fn start_under(prefix: &[&str], url: &str, address: &str) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let cls = Cls::in_directory(directory.path()).with("DATABASE_URL", url);
        // What is no loopback address wants to be asked for.
        let cls = cls.with("AUTH", "off").under(prefix);
        let server = cls.try_start(&["runserver", address]);
        let server = server.unwrap_or_else(|log| panic!("the server did not start: {log}"));
        Self {
            server,
            _directory: directory,
        }
    }

    fn start_all(url: &str) -> Vec<Self> {
        (0..COUNT).map(|_| Self::start(url)).collect()
    }

    fn kill_and_restart(&mut self) {
        self.server.kill();
        self.server = self.server.cls().start();
    }
}

fn addresses(replicas: &[Replica]) -> Vec<SocketAddr> {
    replicas.iter().map(|replica| replica.server.address).collect()
}

/// The URL of a database by way of something else.
fn by_way_of(address: SocketAddr, database: &PostgresDatabase) -> String {
    let (credentials, rest) = database.url.split_once('@').expect("a URL with a user");
    let (_, path) = rest.split_once('/').expect("a URL with a database");
    format!("{credentials}@{address}/{path}")
}

fn address_of(database: &PostgresDatabase) -> SocketAddr {
    let (_, rest) = database.url.split_once('@').expect("a URL with a user");
    let (address, _) = rest.split_once('/').expect("a URL with a database");
    address.parse().expect("a numeric address")
}

#[test]
fn on_three_replicas_the_history_is_linearizable_while_nothing_breaks() {
    let database = Cluster::shared().database();
    let replicas = Replica::start_all(&database.url);

    judge("replicas", Arena::new(addresses(&replicas)), |_| {
        sleep(Duration::from_secs(1));
    });
}

#[test]
fn on_three_replicas_it_is_linearizable_while_one_after_the_other_is_killed() {
    let database = Cluster::shared().database();
    let mut replicas = Replica::start_all(&database.url);
    let arena = Arena::new(addresses(&replicas));
    let mut victims = (0..COUNT).cycle();

    judge("replicas kill", arena, |arena| {
        sleep(Duration::from_millis(300));
        let victim = victims.next().expect("they never end");
        replicas[victim].kill_and_restart();
        arena.move_to(addresses(&replicas));
    });
}

#[test]
fn on_three_replicas_it_is_linearizable_while_one_is_stopped_for_longer_than_leases_last() {
    let database = Cluster::shared().database();
    let replicas = Replica::start_all(&database.url);
    let pauses = [1200, 300, 3500, 2300].map(Duration::from_millis);
    let mut victims = replicas.iter().cycle().zip(pauses.iter().cycle());

    judge("replicas pause", Arena::new(addresses(&replicas)), |_| {
        sleep(Duration::from_millis(200));
        let (victim, pause) = victims.next().expect("they never end");
        victim.server.signal(Signal::STOP);
        sleep(*pause);
        victim.server.signal(Signal::CONT);
    });
}

#[test]
fn on_three_replicas_it_is_linearizable_while_one_is_cut_off_from_the_database_and_from_clients() {
    let machine = Machine::with_cables(2);
    let (to_clients, to_database) = (machine.cable(0), machine.cable(1));
    let cluster = Cluster::with_settings(&["listen_addresses=*"]);
    let database = cluster.database();
    let mut replicas: Vec<_> = (1..COUNT).map(|_| Replica::start(&database.url)).collect();
    let url = database.url.replace("127.0.0.1", &to_database.ours);
    let address = format!("{}:0", to_clients.theirs);
    replicas.push(Replica::start_under(&machine.prefix(), &url, &address));

    judge("replicas partition", Arena::new(addresses(&replicas)), |_| {
        sleep(Duration::from_millis(300));
        to_database.pull();
        sleep(Duration::from_millis(2500));
        to_clients.pull();
        to_database.plug_in_again();
        sleep(Duration::from_millis(500));
        to_clients.plug_in_again();
    });
}

#[test]
fn on_three_replicas_it_is_linearizable_while_the_way_to_the_database_is_slow_silent_and_cut() {
    let database = Cluster::shared().database();
    let link = Link::to(address_of(&database));
    let slow = by_way_of(link.address, &database);
    let replicas = [&database.url, &slow, &slow].map(|url| Replica::start(url));

    judge("replicas network", Arena::new(addresses(&replicas)), |_| {
        link.delay(Duration::from_millis(30));
        sleep(Duration::from_millis(700));
        link.hold_back(true);
        sleep(Duration::from_millis(1500));
        link.hold_back(false);
        sleep(Duration::from_millis(300));
        link.cut();
        link.delay(Duration::ZERO);
    });
}

#[test]
fn on_three_replicas_it_is_linearizable_while_commits_and_their_answers_are_lost() {
    let database = Cluster::with_password().database();
    let proxy = Proxy::before(&database);
    let replicas = Replica::start_all(proxy.url());
    let mut turns = [Lost::Answer, Lost::Commit].into_iter().cycle().zip(0..);

    judge("replicas lost commits", Arena::new(addresses(&replicas)), |_| {
        let (lost, turn) = turns.next().expect("they never end");
        let before = proxy.lost();
        proxy.lose(lost, turn % 7);
        eventually("a commit is lost", SOON, || proxy.lost() > before);
    });
}

#[test]
fn on_three_replicas_it_is_linearizable_while_postgresql_crashes_and_sessions_are_terminated() {
    let mut cluster = Cluster::of_its_own();
    let database = cluster.database();
    let replicas = Replica::start_all(&database.url);

    judge("replicas postgresql crash", Arena::new(addresses(&replicas)), |_| {
        sleep(Duration::from_millis(200));
        database.terminate_sessions();
        sleep(Duration::from_millis(300));
        cluster.crash();
        cluster.run();
    });
}

#[test]
fn on_three_replicas_it_is_linearizable_over_a_fail_over_to_a_synchronous_standby() {
    let began = Instant::now();
    let mut is_first = true;
    while std::mem::take(&mut is_first) || began.elapsed() < duration() {
        let mut primary = Cluster::of_its_own();
        let database = primary.database();
        let standby = primary.standby("standby");
        primary.set("synchronous_standby_names", "standby");
        let replicas = Replica::start_all(&primary.url_with(&standby, &database.name));
        let mut failed_over = false;

        let arena = Arena::new(addresses(&replicas));
        judge_for(FAIL_OVER_DURATION, "replicas fail-over", arena, |_| {
            sleep(Duration::from_millis(500));
            // There is one standby.
            if !std::mem::replace(&mut failed_over, true) {
                primary.cut_off(&standby);
                // Committed on the primary alone by now, and so not answered.
                let waits = "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
                eventually("a commit waits for the standby", SOON, || database.sql(waits) == ["t"]);
                primary.crash();
                standby.promote();
            }
        });
    }
}
