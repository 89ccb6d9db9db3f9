//! A database as the next server finds it.

use std::collections::HashMap;
use std::path::Path;

use central_locking_system::db::{Database, DatabaseUrl, IfMissing, Target};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Nullable, Text};
use diesel::sqlite::SqliteConnection;

use crate::crash::facts::{End, Facts, Hold, Token, Verdict};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub locked_by: Option<String>,
    pub token: i64,
    pub end: End,
    pub last_event: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRow {
    pub id: i64,
    pub at_us: i64,
    pub kind: String,
    pub resource: String,
    pub token: i64,
}

#[derive(Debug)]
pub struct Rows {
    pub resources: HashMap<String, Row>,
    /// In the order of their numbers.
    pub events: Vec<EventRow>,
    pub highest_token: i64,
    /// By name; whether it is revoked.
    pub tokens: HashMap<String, bool>,
}

/// Does with the database what a server does at its start, the check for damage
/// included. Errors: what the server would say.
pub fn start(database: &Path) -> Result<(), String> {
    let url = format!("sqlite://{}", database.display());
    let url = DatabaseUrl::parse(&url).map_err(|e| e.to_string())?;
    let mut database = Database::open(&url, IfMissing::Create).map_err(|e| e.to_string())?;
    let mut migrations = database.migrations().map_err(|e| e.to_string())?;
    let plan = migrations.plan(&Target::Latest).map_err(|e| e.to_string())?;
    for (step, name) in plan {
        migrations.run(step, &name).map_err(|e| e.to_string())?;
    }
    database.require_migrated().map_err(|e| e.to_string())?;
    database.into_store().map(drop).map_err(|e| format!("{e:?}"))
}

impl Rows {
    /// Reads a database that a server could start on.
    pub fn read(database: &Path) -> Self {
        let mut conn = SqliteConnection::establish(&database.display().to_string()).expect("it can be opened");
        Self::read_from(&mut conn).expect("the tables are there")
    }

    /// What is so before a log begins, and stays.
    pub fn as_facts(&self) -> Facts {
        let held = self.resources.iter().filter_map(|(name, row)| {
            Some(Hold {
                name: name.clone(),
                key: row.locked_by.clone()?,
                asked: 0,
                verdict: Verdict::Granted {
                    at: 0,
                    token: row.token,
                    end: row.end,
                },
                changes: Vec::new(),
            })
        });
        let tokens = self.tokens.iter().map(|(name, is_revoked)| Token {
            name: name.clone(),
            asked: 0,
            made: 0,
            revoked: is_revoked.then_some((0, 0)),
        });
        Facts {
            holds: held.collect(),
            tokens: tokens.collect(),
        }
    }

    fn read_from(conn: &mut SqliteConnection) -> QueryResult<Self> {
        type ResourceColumns = (Text, Nullable<Text>, BigInt, Nullable<BigInt>, Nullable<BigInt>);
        type ResourceTuple = (String, Option<String>, i64, Option<i64>, Option<i64>);
        let query = "SELECT name, locked_by, fencing_token, expires_at_us, last_event_id FROM resources";
        // A bare expression has no FROM of its own: this one brings it along.
        let resources: Vec<ResourceTuple> = sql::<ResourceColumns>(query).load(conn)?;
        let query = "SELECT id, at_us, event, resource, fencing_token FROM lock_events ORDER BY id";
        type EventTuple = (i64, i64, String, String, i64);
        let events: Vec<EventTuple> = sql::<(BigInt, BigInt, Text, Text, BigInt)>(query).load(conn)?;
        let query = "SELECT name, revoked_at_us IS NOT NULL FROM tokens";
        let tokens: Vec<(String, bool)> = sql::<(Text, Bool)>(query).load(conn)?;
        let highest_token = sql::<BigInt>("SELECT fencing_token FROM server_state").get_result(conn)?;
        let resources = resources
            .into_iter()
            .map(|(name, locked_by, token, expires_at_us, last_event)| {
                let row = Row {
                    locked_by,
                    token,
                    end: expires_at_us.map_or(End::Never, End::At),
                    last_event,
                };
                (name, row)
            });
        let events = events.into_iter().map(|(id, at_us, kind, resource, token)| EventRow {
            id,
            at_us,
            kind,
            resource,
            token,
        });
        Ok(Self {
            resources: resources.collect(),
            events: events.collect(),
            highest_token,
            tokens: tokens.into_iter().collect(),
        })
    }
}
