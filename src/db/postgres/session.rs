//! A session with PostgreSQL: how it is opened, what it is set to, and the
//! advisory locks by which servers and migrations keep out of each other's way.
//!
//! Separate from the store, because commands open sessions too.

use std::thread;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Integer, Nullable, Text};

use crate::db::postgres::timeline::{pass_lost_tokens, pass_recorded_events};
use crate::db::{DatabaseError, PostgresUrl};
use crate::limits::{CONNECT_WAIT_MAX, IDLE_IN_TRANSACTION_MAX, OWNER_WAIT_MAX, PEER_SILENT_MAX, STATEMENT_TIME_MAX};

/// The oldest PostgreSQL that the migrations run on.
const VERSION_MIN: i32 = 140_000;

/// Between two attempts to take an advisory lock.
const LOCK_RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// "CLSv", so that the locks of other programs on the same database are not
/// ours.
const LOCK_CLASS: i64 = 0x434C_5376;

/// What a session can have for itself. PostgreSQL takes it back when the
/// session ends, however that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::db) enum AdvisoryLock {
    /// To decide and commit; servers share it.
    Serve = 1,
    /// To change the schema.
    Migrate = 2,
    /// To append events; transactions share it.
    Record = 3,
}

impl AdvisoryLock {
    /// As PostgreSQL numbers it.
    pub(in crate::db) const fn key(self) -> i64 {
        LOCK_CLASS << 32 | self as i64
    }
}

/// Connects to a database that can be written to.
pub(in crate::db) fn connect(url: &PostgresUrl, application: &str) -> Result<PgConnection, DatabaseError> {
    let seconds = |wait: Duration| wait.as_secs().to_string();
    // The first sign of life is asked for after half of the time, the last a second before its end.
    let idle = PEER_SILENT_MAX / 2;
    let full = url.reveal(&[
        ("application_name", application),
        ("connect_timeout", &seconds(CONNECT_WAIT_MAX)),
        ("keepalives_idle", &seconds(idle)),
        ("keepalives_interval", "1"),
        ("keepalives_count", &seconds(PEER_SILENT_MAX - idle)),
        ("tcp_user_timeout", &PEER_SILENT_MAX.as_millis().to_string()),
    ]);
    let mut conn = PgConnection::establish(&full).map_err(|e| DatabaseError::unreachable(url, &e.to_string()))?;
    require_fit(&mut conn).map_err(|e| DatabaseError::unfit(url, e))?;
    Ok(conn)
}

fn require_fit(conn: &mut PgConnection) -> Result<(), String> {
    let facts = sql::<(Integer, Text, Bool)>(
        "SELECT current_setting('server_version_num')::INTEGER,
                current_setting('server_encoding'),
                pg_is_in_recovery()",
    );
    let (version, encoding, in_recovery) = facts
        .get_result::<(i32, String, bool)>(conn)
        .map_err(|e| e.to_string())?;
    if in_recovery {
        return Err(
            "it is a standby and cannot be written to; name the primary, or all hosts and target_session_attrs=read-write"
                .to_owned(),
        );
    }
    if version < VERSION_MIN {
        return Err("PostgreSQL is too old; version 14 or later is needed".to_owned());
    }
    if encoding != "UTF8" {
        return Err(format!(
            "its encoding is {encoding}; create the database with ENCODING 'UTF8' TEMPLATE template0"
        ));
    }
    Ok(())
}

/// A session to decide and commit in.
pub(super) struct ServingSession {
    pub(super) conn: PgConnection,
    /// Its number at the server.
    pub(super) backend_pid: i32,
    /// When it began, by the database's clock.
    pub(super) connected_us: i64,
    /// When the database was started.
    pub(super) database_started_us: i64,
}

/// Connects as a server of the database: with its share of the lock that keeps
/// migrations from being taken back, and set to what the store's transactions
/// count on. A transaction waits `row_lock_wait` for a row.
pub(super) fn connect_to_serve(url: &PostgresUrl, row_lock_wait: Duration) -> Result<ServingSession, DatabaseError> {
    let unfit = |e: diesel::result::Error| DatabaseError::unfit(url, e);
    let mut conn = connect(url, &format!("cls runserver (pid {})", std::process::id()))?;
    conn.batch_execute(&settings()).map_err(unfit)?;
    expect_signs_of_life(&mut conn).map_err(unfit)?;
    wait_for_locks(&mut conn, row_lock_wait).map_err(unfit)?;
    let facts = sql::<(Text, Integer, BigInt, BigInt)>(
        "SELECT current_setting('fsync'), pg_backend_pid(), clock_us(),
                (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::BIGINT",
    );
    let facts = facts.get_result::<(String, i32, i64, i64)>(&mut conn);
    let (fsync, backend_pid, connected_us, database_started_us) = facts.map_err(unfit)?;
    if fsync != "on" {
        let reason = "PostgreSQL runs with fsync=off, and would lose locks at a crash; turn it on";
        return Err(DatabaseError::unfit(url, reason));
    }
    take(url, &mut conn, AdvisoryLock::Serve, Share::WithOthers, OWNER_WAIT_MAX)?;
    pass_lost_tokens(&mut conn).map_err(unfit)?;
    pass_recorded_events(&mut conn).map_err(unfit)?;
    Ok(ServingSession {
        conn,
        backend_pid,
        connected_us,
        database_started_us,
    })
}

/// What the session is set to, whatever the server, the database or the role
/// say.
///
/// The planner is told what it would find out only when its statistics are
/// fresh: each statement looks for few rows by an index.
fn settings() -> String {
    format!(
        "SELECT set_config('synchronous_commit', 'on', FALSE)
          WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply');
         SET default_transaction_isolation = 'read committed';
         SET default_transaction_read_only = off;
         SET statement_timeout = {statement_ms};
         SET idle_in_transaction_session_timeout = {idle_ms};
         SET enable_seqscan = off;
         SET enable_hashjoin = off;
         SET enable_mergejoin = off;
         SET plan_cache_mode = force_generic_plan;
         SET jit = off;",
        statement_ms = STATEMENT_TIME_MAX.as_millis(),
        idle_ms = IDLE_IN_TRANSACTION_MAX.as_millis(),
    )
}

/// Has PostgreSQL give up a session whose server is gone with its network, as
/// that gives up PostgreSQL.
pub(in crate::db) fn expect_signs_of_life(conn: &mut PgConnection) -> QueryResult<()> {
    let idle = PEER_SILENT_MAX / 2;
    conn.batch_execute(&format!(
        "SET tcp_keepalives_idle = {idle_s};
         SET tcp_keepalives_interval = 1;
         SET tcp_keepalives_count = {keepalives};
         SET tcp_user_timeout = {silent_ms};",
        idle_s = idle.as_secs(),
        keepalives = (PEER_SILENT_MAX - idle).as_secs(),
        silent_ms = PEER_SILENT_MAX.as_millis(),
    ))
}

/// Sets for how long a transaction waits for a row or a table that somebody
/// else has locked.
pub(in crate::db) fn wait_for_locks(conn: &mut PgConnection, wait: Duration) -> QueryResult<()> {
    conn.batch_execute(&format!("SET lock_timeout = {}", wait.as_millis()))
}

/// Whether others of the same kind may have a lock too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::db) enum Share {
    Alone,
    WithOthers,
}

/// Takes a lock for as long as the session lives, or says who has it.
pub(in crate::db) fn take(
    url: &PostgresUrl,
    conn: &mut PgConnection,
    lock: AdvisoryLock,
    share: Share,
    wait_max: Duration,
) -> Result<(), DatabaseError> {
    let key = lock.key();
    let function = match share {
        Share::Alone => "SELECT pg_try_advisory_lock(",
        Share::WithOthers => "SELECT pg_try_advisory_lock_shared(",
    };
    let until = Instant::now() + wait_max;
    loop {
        let taken = sql::<Bool>(function)
            .bind::<BigInt, _>(key)
            .sql(")")
            .get_result(conn)
            .map_err(|e| DatabaseError::unfit(url, e))?;
        if taken {
            return Ok(());
        }
        if Instant::now() >= until {
            let owner = owner(conn, lock).map_err(|e| DatabaseError::unfit(url, e))?;
            let url = url.to_string();
            return Err(DatabaseError::Served { url, owner });
        }
        thread::sleep(LOCK_RETRY_INTERVAL);
    }
}

/// Who has a lock, as PostgreSQL knows it.
fn owner(conn: &mut PgConnection, lock: AdvisoryLock) -> QueryResult<String> {
    let holder = sql::<(Nullable<Text>, Nullable<Text>)>(
        "SELECT application_name, host(client_addr)
           FROM pg_locks
           JOIN pg_stat_activity USING (pid)
          WHERE locktype = 'advisory' AND granted AND objsubid = 1
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND classid::BIGINT = ",
    )
    .bind::<BigInt, _>(LOCK_CLASS)
    .sql(" AND objid::BIGINT = ")
    .bind::<BigInt, _>(lock as i64);
    let holder = holder.sql(" LIMIT 1");
    // Others than superusers see no more of the sessions of other roles than that they are there.
    let (application, address) = holder
        .get_result::<(Option<String>, Option<String>)>(conn)
        .optional()?
        .unwrap_or_default();
    let application = application.filter(|name| !name.is_empty());
    let application = application.unwrap_or_else(|| "another session".to_owned());
    Ok(match address {
        Some(address) => format!("{application} on {address}"),
        None => application,
    })
}
