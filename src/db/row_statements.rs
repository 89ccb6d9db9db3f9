//! The statements that write one row of `resources`, and some of `lock_events`, by a
//! value for each column: the same on both databases.
//!
//! By hand, because diesel prepares its own updates anew each time. What they say is in
//! the golden copies in `tests/store`.

use diesel::backend::Backend;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::serialize::ToSql;
use diesel::sql_types::{BigInt, Nullable, Text};

use crate::db::models::{
    COMPOSED, Columns, EVENT_COLUMNS, EVENT_COLUMNS_OF_SOME, EventColumns, NUMBERS, NUMBERS_OF_SOME, TEXTS,
    TEXTS_OF_ALL,
};
use crate::lock::{Event, Resource};

/// Writes a row that is there. Of one that is `BARE` before and after, the columns
/// that few use are not written: no check of them has to be made again, and a value
/// that is not bound costs nothing.
pub(super) struct UpdateResource<'a, const BARE: bool> {
    id: i64,
    columns: Columns<'a>,
}

impl<'a, const BARE: bool> UpdateResource<'a, BARE> {
    pub(super) fn of(id: i64, resource: &'a Resource) -> Self {
        Self {
            id,
            columns: resource.into(),
        }
    }
}

impl<const BARE: bool> QueryId for UpdateResource<'_, BARE> {
    type QueryId = UpdateResource<'static, BARE>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl<DB, const BARE: bool> QueryFragment<DB> for UpdateResource<'_, BARE>
where
    DB: Backend,
    i64: ToSql<BigInt, DB>,
    str: ToSql<Text, DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        out.push_sql("UPDATE resources\n   SET fencing_token = ");
        out.push_bind_param::<BigInt, _>(&self.columns.fencing_token)?;
        let texts = TEXTS.iter().zip(&self.columns.texts);
        for (column, text) in texts.take(if BARE { TEXTS_OF_ALL } else { TEXTS.len() }) {
            assign(&mut out, column);
            out.push_bind_param::<Nullable<Text>, _>(text)?;
        }
        let composed = COMPOSED.iter().zip(&self.columns.composed);
        for (column, text) in composed.filter(|_| !BARE) {
            assign(&mut out, column);
            out.push_bind_param::<Nullable<Text>, _>(text)?;
        }
        for (index, (column, number)) in NUMBERS.iter().zip(&self.columns.numbers).enumerate() {
            if BARE && NUMBERS_OF_SOME.contains(&index) {
                continue;
            }
            assign(&mut out, column);
            out.push_bind_param::<Nullable<BigInt>, _>(number)?;
        }
        out.push_sql("\n WHERE id = ");
        out.push_bind_param::<BigInt, _>(&self.id)
    }
}

pub(super) fn assign<DB: Backend>(out: &mut AstPass<'_, '_, DB>, column: &str) {
    out.push_sql(",\n       ");
    out.push_sql(column);
    out.push_sql(" = ");
}

impl<Conn, const BARE: bool> RunQueryDsl<Conn> for UpdateResource<'_, BARE> {}

/// Appends so many events; of those that are `BARE` the columns that only some have
/// are not written.
pub(super) struct InsertEvents<'a, const EVENTS: usize, const BARE: bool>([EventColumns<'a>; EVENTS]);

impl<'a, const EVENTS: usize, const BARE: bool> InsertEvents<'a, EVENTS, BARE> {
    pub(super) fn of(events: &'a [Event; EVENTS]) -> Self {
        Self(std::array::from_fn(|index| EventColumns::from(&events[index])))
    }
}

impl<const EVENTS: usize, const BARE: bool> QueryId for InsertEvents<'_, EVENTS, BARE> {
    type QueryId = InsertEvents<'static, EVENTS, BARE>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl<DB, const EVENTS: usize, const BARE: bool> QueryFragment<DB> for InsertEvents<'_, EVENTS, BARE>
where
    DB: Backend,
    i64: ToSql<BigInt, DB>,
    str: ToSql<Text, DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        let mut separator = "INSERT INTO lock_events (";
        for (index, column) in EVENT_COLUMNS.iter().enumerate() {
            if BARE && EVENT_COLUMNS_OF_SOME.contains(&index) {
                continue;
            }
            out.push_sql(separator);
            out.push_sql(column);
            separator = ", ";
        }
        let mut opening = ")\nVALUES (";
        for event in &self.0 {
            let mut separator = opening;
            for number in &event.numbers {
                out.push_sql(std::mem::replace(&mut separator, ", "));
                out.push_bind_param::<BigInt, _>(number)?;
            }
            for text in &event.texts {
                out.push_sql(separator);
                out.push_bind_param::<Text, _>(text)?;
            }
            for number in &event.optional_numbers {
                out.push_sql(separator);
                out.push_bind_param::<Nullable<BigInt>, _>(number)?;
            }
            let texts: &[_] = if BARE { &[] } else { &event.optional_texts };
            for text in texts {
                out.push_sql(separator);
                out.push_bind_param::<Nullable<Text>, _>(text)?;
            }
            out.push_sql(separator);
            out.push_bind_param::<Nullable<Text>, _>(&event.address)?;
            opening = "),\n       (";
        }
        out.push_sql(")");
        Ok(())
    }
}

impl<Conn, const EVENTS: usize, const BARE: bool> RunQueryDsl<Conn> for InsertEvents<'_, EVENTS, BARE> {}
