//! The queries, one for both databases.
//!
//! Each runs in one transaction, whose first statement fixes what is seen; the
//! time is read after that, so nothing that is seen was granted later.

use std::collections::HashMap;

use diesel::dsl::{Asc, Desc, case_when, count_star, not, sql};
use diesel::expression::SqlLiteral;
use diesel::expression::expression_types::NotSelectable;
use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Nullable, Text};

use super::connection::{AnyConnection, MultiBackend};
use super::prefix::NameRange;
use super::{Column, Direction, ListQuery, Page};
use crate::clock::{ProcessClock, Timestamp};
use crate::db::schema::{replicas, resources, server_state, waiters};
use crate::limits::{HELD_BY_MAX, REPLICA_SILENT_MAX};
use crate::lock::{LockedBy, ResourceName};

/// A page as it is stored.
pub(super) struct Listed {
    pub(super) count: u64,
    pub(super) pages: u64,
    pub(super) page: u64,
    pub(super) rows: Vec<RawRow>,
    /// For how many of them somebody waits, by name.
    pub(super) waiters: HashMap<String, i64>,
    pub(super) now: Timestamp,
}

/// A row as it is stored, without the key.
#[derive(Queryable)]
pub(super) struct RawRow {
    pub(super) name: String,
    /// Whether there is a lock, expired or not.
    pub(super) is_taken: bool,
    pub(super) owner: Option<String>,
    pub(super) label: Option<String>,
    pub(super) ttl: Option<i64>,
    pub(super) acquired_at_us: Option<i64>,
    pub(super) expires_at_us: Option<i64>,
    pub(super) fencing_token: i64,
}

type Boxed<'q, ST> = Box<dyn BoxableExpression<resources::table, MultiBackend, SqlType = ST> + 'q>;
type Rows<'q> = resources::BoxedQuery<'q, MultiBackend>;

diesel::allow_tables_to_appear_in_same_query!(replicas, waiters);

diesel::define_sql_function! {
    /// In lower case, but for letters beyond ASCII.
    fn lower(text: Nullable<Text>) -> Nullable<Text>;
}

/// One state of the table, at one instant.
#[derive(Clone, Copy)]
struct View {
    now_us: i64,
    is_postgres: bool,
}

/// How SQLite comes to rows whose values matter, and not only their names.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// From the index on names to each of them, wherever it is in the table.
    Index,
    /// Through the table from its beginning to its end; then what was found is
    /// sorted.
    Table,
}

/// Rows that are looked up by the index in less time than the whole of a large
/// table is read in.
const ROWS_BY_INDEX_MAX: i64 = 20_000;

/// What a row costs that is looked up, in rows that are read in passing; and
/// then some, for the latter are in memory more often.
const ROW_COST_RATIO: i64 = 100;

impl Way {
    /// The name for a condition or an order. SQLite uses no index for a term
    /// with a sign.
    fn name(self) -> SqlLiteral<Text> {
        sql(match self {
            Self::Index => "name",
            Self::Table => "+name",
        })
    }
}

fn is_by_name(query: &ListQuery) -> bool {
    query.ordering.first().is_none_or(|(column, _)| *column == Column::Name)
}

fn has_prefix<'q>(prefix: &str, way: Way) -> Boxed<'q, Bool> {
    let NameRange { from, below } = NameRange::of_prefix(prefix);
    match below {
        Some(below) => Box::new(way.name().ge(from).and(way.name().lt(below))),
        None => Box::new(way.name().ge(from)),
    }
}

/// Whether a name begins with one of `prefixes`.
fn has_one_of<'q>(prefixes: &[&str], way: Way) -> Boxed<'q, Bool> {
    let each = prefixes.iter().map(|prefix| has_prefix(prefix, way));
    let any = each.reduce(|any, one| Box::new(any.or(one)));
    any.unwrap_or_else(|| Box::new(false.into_sql::<Bool>()))
}

/// Orders by a column of a lock, which only what is held shows. One macro and
/// not a function, whose bounds would be longer.
macro_rules! by_shown {
    ($rows:expr, $view:expr, $column:expr, $direction:expr, $nulls:expr) => {
        $rows
            .then_order_by(in_direction(case_when($view.is_held(), $column).is_null(), $nulls))
            .then_order_by(in_direction(case_when($view.is_held(), $column), $direction))
    };
}

/// What names may begin with that are asked for: `prefix`, as far as it is among
/// `within`. `None` is anything, and of nothing there are no rows.
fn beginnings(query: &ListQuery) -> Option<Vec<&str>> {
    let prefix = query.prefix.as_deref().unwrap_or_default();
    let Some(within) = &query.within else {
        return (!prefix.is_empty()).then(|| vec![prefix]);
    };
    let common = within.iter().filter_map(|other| match other.starts_with(prefix) {
        true => Some(other.as_str()),
        false => prefix.starts_with(other.as_str()).then_some(prefix),
    });
    Some(common.collect())
}

pub(super) fn list(conn: &mut AnyConnection, clock: Option<ProcessClock>, query: &ListQuery) -> QueryResult<Listed> {
    conn.transaction(|conn| {
        let view = View::open(conn, clock)?;
        let way = view.way_to(conn, query)?;
        let count: i64 = match beginnings(query) {
            // Whoever may see nothing of it does not look for how much there is.
            Some(none) if none.is_empty() => 0,
            _ => view.matching(query, way).select(count_star()).get_result(conn)?,
        };
        let size = i64::from(query.page_size.get());
        let pages = (count + size - 1).div_euclid(size).max(1);
        let page = match query.page {
            Page::Number(number) => i64::try_from(number).unwrap_or(i64::MAX),
            Page::Last => pages,
        };
        let rows = match page {
            1.. if page <= pages && count > 0 => view.page(conn, query, way, count, (page - 1) * size)?,
            _ => Vec::new(),
        };
        let waiters = match conn {
            AnyConnection::Postgres(conn) => view.waiters(conn, &rows)?,
            AnyConnection::Sqlite(_) => HashMap::new(),
        };
        Ok(Listed {
            count: count.unsigned_abs(),
            pages: pages.unsigned_abs(),
            page: page.unsigned_abs(),
            rows,
            waiters,
            now: Timestamp::from_us(view.now_us),
        })
    })
}

pub(super) fn held_by(
    conn: &mut AnyConnection,
    clock: Option<ProcessClock>,
    locked_by: &LockedBy,
) -> QueryResult<Vec<String>> {
    conn.transaction(|conn| {
        let view = View::open(conn, clock)?;
        let rows = resources::table
            .into_boxed::<MultiBackend>()
            .select(resources::name)
            .filter(resources::locked_by.eq(locked_by.reveal()))
            .filter(view.is_held());
        let rows = match locked_by.owner() {
            Some(owner) => rows.filter(resources::owner.eq(owner.as_str())),
            None => rows.filter(resources::owner.is_null()),
        };
        rows.limit(HELD_BY_MAX as i64 + 1).load(conn)
    })
}

/// The places in the line for a resource, and until when each waits, in order.
pub(super) fn line(conn: &mut AnyConnection, name: &ResourceName) -> QueryResult<Vec<(i64, i64)>> {
    let AnyConnection::Postgres(conn) = conn else {
        return Ok(Vec::new());
    };
    conn.transaction(|conn| {
        let now_us: i64 = sql::<BigInt>("SELECT clock_us()").get_result(conn)?;
        let silent_us = REPLICA_SILENT_MAX.as_micros() as i64;
        let alive = replicas::table
            .filter(replicas::seen_us.gt(now_us - silent_us))
            .select(replicas::id);
        waiters::table
            .filter(waiters::name.eq(name.as_str()))
            .filter(waiters::wait_until_us.gt(now_us))
            .filter(waiters::replica.eq_any(alive))
            .order(waiters::place)
            .select((waiters::place, waiters::wait_until_us))
            .load(conn)
    })
}

impl View {
    /// Inside a transaction: fixes what it sees.
    fn open(conn: &mut AnyConnection, clock: Option<ProcessClock>) -> QueryResult<Self> {
        let is_postgres = matches!(conn, AnyConnection::Postgres(_));
        let now_us = match (conn, clock) {
            (AnyConnection::Sqlite(conn), Some(clock)) => {
                let _: i64 = server_state::table.select(server_state::clock_us).get_result(conn)?;
                clock.now().as_us()
            }
            (conn, _) => sql::<BigInt>("SELECT clock_us()").get_result(conn)?,
        };
        Ok(Self { now_us, is_postgres })
    }

    fn is_held<'q>(self) -> Boxed<'q, Nullable<Bool>> {
        let holds = resources::expires_at_us
            .is_null()
            .or(resources::expires_at_us.gt(self.now_us));
        Box::new(resources::locked_by.is_not_null().and(holds))
    }

    /// Compared by bytes, as names are: PostgreSQL would do it by the rules of
    /// a language.
    fn label(self) -> SqlLiteral<Nullable<Text>> {
        sql(match self.is_postgres {
            true => "label COLLATE \"C\"",
            false => "label COLLATE BINARY",
        })
    }

    /// The way to the rows that are asked for. PostgreSQL finds it by itself;
    /// SQLite knows nothing of how much there is.
    fn way_to(self, conn: &mut AnyConnection, query: &ListQuery) -> QueryResult<Way> {
        if self.is_postgres || (query.locked.is_none() && query.search.is_none() && is_by_name(query)) {
            return Ok(Way::Index);
        }
        let Some(beginnings) = beginnings(query) else {
            return Ok(Way::Table);
        };
        if beginnings.is_empty() {
            return Ok(Way::Index);
        }
        let begin_so = resources::table
            .into_boxed::<MultiBackend>()
            .filter(has_one_of(&beginnings, Way::Index));
        let count: i64 = begin_so.select(count_star()).get_result(conn)?;
        Ok(if count > ROWS_BY_INDEX_MAX {
            Way::Table
        } else {
            Way::Index
        })
    }

    fn matching(self, query: &ListQuery, way: Way) -> Rows<'_> {
        let mut rows = resources::table.into_boxed();
        // Of PostgreSQL's rows some may be there only because somebody waits. On SQLite a row comes with the first
        // grant, and not to ask for it leaves the count to the index on names.
        if self.is_postgres {
            rows = rows.filter(resources::fencing_token.gt(0));
        }
        if let Some(beginnings) = beginnings(query) {
            rows = rows.filter(has_one_of(&beginnings, way));
        }
        rows = match query.locked {
            Some(true) => rows.filter(self.is_held()),
            Some(false) => rows.filter(not(self.is_held())),
            None => rows,
        };
        for pattern in query.search.iter().flat_map(|search| search.patterns()) {
            let in_name = lower(resources::name.nullable()).like(pattern.clone()).escape('\\');
            let in_label = lower(self.label()).like(pattern).escape('\\').and(self.is_held());
            rows = rows.filter(in_name.or(in_label));
        }
        rows
    }

    /// The rows from `offset` on. A page in the second half is read from the
    /// end: what comes before a page has to be stepped over.
    fn page(
        self,
        conn: &mut AnyConnection,
        query: &ListQuery,
        way: Way,
        count: i64,
        offset: i64,
    ) -> QueryResult<Vec<RawRow>> {
        let size = i64::from(query.page_size.get()).min(count - offset);
        let from_end = count - offset - size;
        let backwards = from_end < offset;
        let skipped = offset.min(from_end);
        // Where much matches, a page at either end is found before many rows were looked at.
        let way = match is_by_name(query) && (skipped + size) * ROW_COST_RATIO < count {
            true => Way::Index,
            false => way,
        };
        let mut rows = self.ordered(self.matching(query, way), query, way, backwards);
        rows = rows.limit(size).offset(skipped);
        let mut rows: Vec<RawRow> = rows
            .select((
                resources::name,
                resources::locked_by.is_not_null(),
                resources::owner,
                resources::label,
                resources::ttl,
                resources::acquired_at_us,
                resources::expires_at_us,
                resources::fencing_token,
            ))
            .load(conn)?;
        if backwards {
            rows.reverse();
        }
        Ok(rows)
    }

    fn ordered<'q>(self, mut rows: Rows<'q>, query: &ListQuery, way: Way, backwards: bool) -> Rows<'q> {
        let by_name = (Column::Name, Direction::Ascending);
        for &(column, direction) in query.ordering.iter().chain([&by_name]) {
            let direction = if backwards { direction.reversed() } else { direction };
            let nulls = if backwards {
                Direction::Descending
            } else {
                Direction::Ascending
            };
            rows = match column {
                // What has a value in every row, so that an index can be walked through.
                Column::Name => rows.then_order_by(in_direction(way.name(), direction)),
                Column::FencingToken => rows.then_order_by(in_direction(resources::fencing_token, direction)),
                Column::Label => by_shown!(rows, self, self.label(), direction, nulls),
                Column::Ttl => by_shown!(rows, self, resources::ttl, direction, nulls),
                Column::AcquiredAt => by_shown!(rows, self, resources::acquired_at_us, direction, nulls),
                Column::ExpiresAt => by_shown!(rows, self, resources::expires_at_us, direction, nulls),
            };
            // Nothing that follows can matter.
            if column == Column::Name {
                break;
            }
        }
        rows
    }

    /// Who waits for these, at servers that others believe in: as the view
    /// `waiting_lines` has it.
    fn waiters(self, conn: &mut PgConnection, rows: &[RawRow]) -> QueryResult<HashMap<String, i64>> {
        let names: Vec<_> = rows.iter().map(|row| row.name.as_str()).collect();
        let silent_us = REPLICA_SILENT_MAX.as_micros() as i64;
        let alive = replicas::table
            .filter(replicas::seen_us.gt(self.now_us - silent_us))
            .select(replicas::id);
        let counts: Vec<(String, i64)> = waiters::table
            .filter(waiters::name.eq_any(names))
            .filter(waiters::wait_until_us.gt(self.now_us))
            .filter(waiters::replica.eq_any(alive))
            .group_by(waiters::name)
            .select((waiters::name, count_star()))
            .load(conn)?;
        Ok(counts.into_iter().collect())
    }
}

fn in_direction<'q, E>(expression: E, direction: Direction) -> Boxed<'q, NotSelectable>
where
    E: ExpressionMethods,
    Asc<E>: BoxableExpression<resources::table, MultiBackend, SqlType = NotSelectable> + 'q,
    Desc<E>: BoxableExpression<resources::table, MultiBackend, SqlType = NotSelectable> + 'q,
{
    match direction {
        Direction::Ascending => Box::new(expression.asc()),
        Direction::Descending => Box::new(expression.desc()),
    }
}
