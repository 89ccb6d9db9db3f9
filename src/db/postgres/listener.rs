//! The ear for what other servers announce: a session of its own that listens.
//!
//! diesel tells what has arrived and cannot wait for it, so it is asked again
//! and again; that costs a system call and sends nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::pg::PgConnection;

use crate::db::postgres::message::Message;
use crate::db::postgres::session::{connect, expect_signs_of_life};
use crate::db::{Announcement, DatabaseError, Listener, PostgresUrl};
use crate::limits::REOPEN_INTERVAL;

/// What servers notify each other on.
pub(super) const CHANNEL: &str = "central_locking_system";

/// Listens for one server.
pub(super) struct PostgresListener {
    url: PostgresUrl,
    /// The number of the server, as `replicas` has it; its store may change it.
    replica: Arc<AtomicI64>,
    conn: Option<PgConnection>,
    /// Whether the last attempt to listen failed, and that was said.
    failing: bool,
}

impl PostgresListener {
    pub(super) fn new(url: PostgresUrl, replica: Arc<AtomicI64>) -> Self {
        Self {
            url,
            replica,
            conn: None,
            failing: false,
        }
    }

    fn connect(&self) -> Result<PgConnection, DatabaseError> {
        let mut conn = connect(&self.url, &format!("cls listener (pid {})", std::process::id()))?;
        expect_signs_of_life(&mut conn)
            .and_then(|()| conn.batch_execute(&format!("LISTEN {CHANNEL}")))
            .map_err(|e| DatabaseError::unfit(&self.url, e))?;
        Ok(conn)
    }

    /// Listens again. What was announced before is not heard, so anything may
    /// have been.
    fn connect_again(&mut self) -> Vec<Announcement> {
        match self.connect() {
            Ok(conn) => {
                if self.failing {
                    log::warn!("listening for other servers again");
                }
                self.failing = false;
                self.conn = Some(conn);
                vec![Announcement::Anything]
            }
            Err(error) => {
                if self.failing {
                    log::debug!("cannot listen for other servers: {error}");
                } else {
                    log::warn!("cannot listen for other servers: {error}");
                }
                self.failing = true;
                thread::sleep(REOPEN_INTERVAL);
                Vec::new()
            }
        }
    }
}

impl Listener for PostgresListener {
    fn hear(&mut self, patience: Duration) -> Vec<Announcement> {
        let Some(conn) = &mut self.conn else {
            return self.connect_again();
        };
        let mut heard = Vec::new();
        let mut lost = None;
        let replica = self.replica.load(Ordering::Acquire);
        for notification in conn.notifications_iter() {
            match notification {
                Ok(notification) => heard.extend(Message::understand(&notification.payload, replica)),
                Err(error) => {
                    lost = Some(error);
                    break;
                }
            }
        }
        if let Some(error) = lost {
            log::warn!(
                "listening for other servers ended: {}",
                super::in_one_line(&error.to_string())
            );
            self.failing = true;
            self.conn = None;
            heard.push(Announcement::Lost);
        }
        if heard.is_empty() {
            thread::park_timeout(patience);
        }
        heard
    }
}
