//! The statements on `waiters` that run for places that change servers.
//!
//! By hand like those of `waiter_statements`, and in the same golden copy.

use diesel::pg::{Pg, PgConnection};
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt, Text};

use crate::db::postgres::places::VACANT;

/// For some names, each with a request, where the first stands elsewhere who
/// waits for it by that request, or did: the number of the pair, counted from 1,
/// the server, and the place. What is left of a server that was forgotten does
/// not count: it may be this one, under its old number.
pub(super) struct FindRequests<'a> {
    pub(super) names: Vec<&'a str>,
    /// As many.
    pub(super) requests: Vec<String>,
    /// Not this one.
    pub(super) replica: i64,
}

impl QueryId for FindRequests<'_> {
    type QueryId = FindRequests<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl Query for FindRequests<'_> {
    type SqlType = (BigInt, BigInt, BigInt);
}

impl QueryFragment<Pg> for FindRequests<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "SELECT number, replica, place\n  \
             FROM unnest(",
        );
        out.push_bind_param::<Array<Text>, _>(&self.names)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Text>, _>(&self.requests)?;
        out.push_sql(
            ") WITH ORDINALITY AS wanted (name, request, number)\n \
             CROSS JOIN LATERAL (SELECT replica, place\n                       \
             FROM waiters\n                      \
             WHERE waiters.name = wanted.name\n                        \
             AND waiters.request = wanted.request\n                        \
             AND waiters.replica <> ",
        );
        out.push_bind_param::<BigInt, _>(&self.replica)?;
        out.push_sql("\n                        AND (waiters.replica = ");
        out.push_bind_param::<BigInt, _>(&VACANT)?;
        out.push_sql(
            " OR EXISTS (SELECT FROM replicas WHERE replicas.id = waiters.replica))\n                      \
             ORDER BY place\n                      \
             LIMIT 1) AS found",
        );
        Ok(())
    }
}

impl RunQueryDsl<PgConnection> for FindRequests<'_> {}

/// Deletes places that somebody has taken who came back, wherever they were.
#[derive(Default)]
pub(super) struct DeleteReturned<'a> {
    names: Vec<&'a str>,
    places: Vec<i64>,
}

impl<'a> DeleteReturned<'a> {
    pub(super) fn push(&mut self, name: &'a str, place: i64) {
        self.names.push(name);
        self.places.push(place);
    }
}

impl QueryId for DeleteReturned<'_> {
    type QueryId = DeleteReturned<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl QueryFragment<Pg> for DeleteReturned<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "DELETE FROM waiters\n \
             USING unnest(",
        );
        out.push_bind_param::<Array<Text>, _>(&self.names)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<BigInt>, _>(&self.places)?;
        out.push_sql(
            ") AS returned (name, place)\n \
             WHERE waiters.name = returned.name\n   \
             AND waiters.place = returned.place",
        );
        Ok(())
    }
}

impl RunQueryDsl<PgConnection> for DeleteReturned<'_> {}

/// Keeps the places of those who waited at a server for some names, as far as
/// their requests can be known again.
pub(super) struct VacatePlaces<'a> {
    pub(super) names: &'a [&'a str],
    pub(super) replica: i64,
    pub(super) vacant_until_us: i64,
}

impl QueryId for VacatePlaces<'_> {
    type QueryId = VacatePlaces<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl QueryFragment<Pg> for VacatePlaces<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "UPDATE waiters\n   \
             SET replica = ",
        );
        out.push_bind_param::<BigInt, _>(&VACANT)?;
        out.push_sql(", vacant_until_us = ");
        out.push_bind_param::<BigInt, _>(&self.vacant_until_us)?;
        out.push_sql("\n WHERE name = ANY (");
        out.push_bind_param::<Array<Text>, _>(&self.names)?;
        out.push_sql(")\n   AND replica = ");
        out.push_bind_param::<BigInt, _>(&self.replica)?;
        out.push_sql("\n   AND request IS NOT NULL");
        Ok(())
    }
}

impl RunQueryDsl<PgConnection> for VacatePlaces<'_> {}
