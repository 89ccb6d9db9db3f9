//! The statements on `waiters` that run for a batch if somebody waits.
//!
//! By hand for the reasons that `statements` gives; a golden copy of them is in
//! `tests/store` too.

use diesel::pg::{Pg, PgConnection};
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt, Nullable, Text};

use crate::db::postgres::places::VACANT;

/// For some names, the first who waits at each other living server, and the first
/// vacant place: the number of the name, counted from 1, the server, the place,
/// and for how many microseconds yet the server is believed to live, or the
/// place is kept.
///
/// By server, so that no line is read beyond its first: the index begins with
/// name and server.
pub(super) struct FirstWaiters<'a> {
    pub(super) names: &'a [&'a str],
    /// Not this one.
    pub(super) replica: i64,
    pub(super) now_us: i64,
    /// Whoever was seen later than this was seen by a clock that has been set
    /// back.
    pub(super) soon_us: i64,
    pub(super) believing_since_us: i64,
    pub(super) silent_us_max: i64,
    /// What is kept for longer was written by a clock that has been set back.
    pub(super) vacant_until_us_max: i64,
    /// Places that are left out.
    pub(super) without: &'a [i64],
}

impl QueryId for FirstWaiters<'_> {
    type QueryId = FirstWaiters<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl Query for FirstWaiters<'_> {
    type SqlType = (BigInt, BigInt, BigInt, BigInt);
}

impl QueryFragment<Pg> for FirstWaiters<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT number, living.id, place, believed_until_us - ");
        out.push_bind_param::<BigInt, _>(&self.now_us)?;
        out.push_sql(
            "\n  \
             FROM unnest(",
        );
        out.push_bind_param::<Array<Text>, _>(&self.names)?;
        out.push_sql(
            ") WITH ORDINALITY AS wanted (name, number)\n \
             CROSS JOIN (SELECT id, greatest(seen_us, ",
        );
        out.push_bind_param::<BigInt, _>(&self.believing_since_us)?;
        out.push_sql(") + ");
        out.push_bind_param::<BigInt, _>(&self.silent_us_max)?;
        out.push_sql(
            " AS believed_until_us\n               \
             FROM replicas\n              \
             WHERE id <> ",
        );
        out.push_bind_param::<BigInt, _>(&self.replica)?;
        out.push_sql("\n                AND seen_us < ");
        out.push_bind_param::<BigInt, _>(&self.soon_us)?;
        out.push_sql(
            ") AS living\n \
             CROSS JOIN LATERAL (SELECT place\n                       \
             FROM waiters\n                      \
             WHERE waiters.name = wanted.name\n                        \
             AND waiters.replica = living.id\n                        \
             AND place <> ALL (",
        );
        out.push_bind_param::<Array<BigInt>, _>(&self.without)?;
        out.push_sql(
            ")\n                      \
             ORDER BY place\n                      \
             LIMIT 1) AS first\n \
             WHERE believed_until_us > ",
        );
        out.push_bind_param::<BigInt, _>(&self.now_us)?;
        out.push_sql("\n UNION ALL\nSELECT number, ");
        out.push_bind_param::<BigInt, _>(&VACANT)?;
        out.push_sql(", place, vacant_until_us - ");
        out.push_bind_param::<BigInt, _>(&self.now_us)?;
        out.push_sql("\n  FROM unnest(");
        out.push_bind_param::<Array<Text>, _>(&self.names)?;
        out.push_sql(
            ") WITH ORDINALITY AS wanted (name, number)\n \
             CROSS JOIN LATERAL (SELECT place, vacant_until_us\n                       \
             FROM waiters\n                      \
             WHERE waiters.name = wanted.name\n                        \
             AND waiters.replica = ",
        );
        out.push_bind_param::<BigInt, _>(&VACANT)?;
        out.push_sql("\n                        AND vacant_until_us > ");
        out.push_bind_param::<BigInt, _>(&self.now_us)?;
        out.push_sql("\n                        AND vacant_until_us < ");
        out.push_bind_param::<BigInt, _>(&self.vacant_until_us_max)?;
        out.push_sql("\n                        AND place <> ALL (");
        out.push_bind_param::<Array<BigInt>, _>(&self.without)?;
        out.push_sql(
            ")\n                      \
             ORDER BY place\n                      \
             LIMIT 1) AS vacant\n \
             ORDER BY number, place",
        );
        Ok(())
    }
}

impl RunQueryDsl<PgConnection> for FirstWaiters<'_> {}

/// Writes who waits at a server. Who is there already stays.
pub(super) struct InsertWaiters<'a> {
    replica: i64,
    names: Vec<&'a str>,
    places: Vec<i64>,
    wait_until_us: Vec<i64>,
    requests: Vec<Option<String>>,
}

impl<'a> InsertWaiters<'a> {
    pub(super) fn by(replica: i64) -> Self {
        Self {
            replica,
            names: Vec::new(),
            places: Vec::new(),
            wait_until_us: Vec::new(),
            requests: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, name: &'a str, place: i64, wait_until_us: i64, request: Option<String>) {
        self.names.push(name);
        self.places.push(place);
        self.wait_until_us.push(wait_until_us);
        self.requests.push(request);
    }
}

impl QueryId for InsertWaiters<'_> {
    type QueryId = InsertWaiters<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl QueryFragment<Pg> for InsertWaiters<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "INSERT INTO waiters (name, replica, place, wait_until_us, request)\n\
             SELECT name, ",
        );
        out.push_bind_param::<BigInt, _>(&self.replica)?;
        out.push_sql(
            ", place, wait_until_us, request\n  \
             FROM unnest(",
        );
        out.push_bind_param::<Array<Text>, _>(&self.names)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<BigInt>, _>(&self.places)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<BigInt>, _>(&self.wait_until_us)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<Text>>, _>(&self.requests)?;
        out.push_sql(
            ") AS joined (name, place, wait_until_us, request)\n    \
             ON CONFLICT DO NOTHING",
        );
        Ok(())
    }
}

impl RunQueryDsl<PgConnection> for InsertWaiters<'_> {}

/// Deletes who does not wait at a server any more.
pub(super) struct DeleteWaiters<'a> {
    replica: i64,
    names: Vec<&'a str>,
    places: Vec<i64>,
}

impl<'a> DeleteWaiters<'a> {
    pub(super) fn of(replica: i64) -> Self {
        Self {
            replica,
            names: Vec::new(),
            places: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, name: &'a str, place: i64) {
        self.names.push(name);
        self.places.push(place);
    }
}

impl QueryId for DeleteWaiters<'_> {
    type QueryId = DeleteWaiters<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl QueryFragment<Pg> for DeleteWaiters<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "DELETE FROM waiters\n \
             USING unnest(",
        );
        out.push_bind_param::<Array<Text>, _>(&self.names)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<BigInt>, _>(&self.places)?;
        out.push_sql(
            ") AS gone (name, place)\n \
             WHERE waiters.name = gone.name\n   \
             AND waiters.replica = ",
        );
        out.push_bind_param::<BigInt, _>(&self.replica)?;
        out.push_sql(
            "\n   \
             AND waiters.place = gone.place",
        );
        Ok(())
    }
}

impl RunQueryDsl<PgConnection> for DeleteWaiters<'_> {}

/// Brings `has_waiters` of some rows in step.
pub(super) struct MarkLines<'a> {
    pub(super) ids: &'a [i64],
    /// Whose place is vacant and not kept any more waits for nothing.
    pub(super) now_us: i64,
}

impl QueryId for MarkLines<'_> {
    type QueryId = MarkLines<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl QueryFragment<Pg> for MarkLines<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "UPDATE resources\n   \
             SET has_waiters = EXISTS (SELECT FROM waiters\n                              \
             WHERE waiters.name = resources.name\n                                \
             AND (vacant_until_us IS NULL OR vacant_until_us > ",
        );
        out.push_bind_param::<BigInt, _>(&self.now_us)?;
        out.push_sql("))\n WHERE id = ANY (");
        out.push_bind_param::<Array<BigInt>, _>(&self.ids)?;
        out.push_sql(")");
        Ok(())
    }
}

impl RunQueryDsl<PgConnection> for MarkLines<'_> {}

/// Sends messages with the commit, or at once outside of a transaction.
pub(super) struct Notify<'a> {
    pub(super) channel: &'a str,
    pub(super) texts: &'a [String],
}

impl QueryId for Notify<'_> {
    type QueryId = Notify<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl QueryFragment<Pg> for Notify<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT pg_notify(");
        out.push_bind_param::<Text, _>(self.channel)?;
        out.push_sql(", text) FROM unnest(");
        out.push_bind_param::<Array<Text>, _>(self.texts)?;
        out.push_sql(") AS messages (text)");
        Ok(())
    }
}

impl RunQueryDsl<PgConnection> for Notify<'_> {}
