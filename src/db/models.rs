//! Rows as they are stored, and the way from them to the types of `lock`.

use diesel::prelude::*;

use crate::clock::Timestamp;
use crate::db::schema::resources;
use crate::lock::{FencingToken, Lock, LockedBy, Resource, ResourceName, Ttl};

/// A row of `resources` without its name, which the reader knows.
#[derive(Queryable, Selectable)]
#[diesel(table_name = resources)]
pub(super) struct ResourceRow {
    locked_by: Option<String>,
    ttl: Option<i64>,
    acquired_at_us: Option<i64>,
    expires_at_us: Option<i64>,
    released_at_us: Option<i64>,
    fencing_token: i64,
}

impl ResourceRow {
    /// The resource of this row. `Err` says which column no server can have
    /// written: somebody changed the table by hand.
    pub(super) fn into_resource(self, name: ResourceName) -> Result<Resource, &'static str> {
        let lock = match self.locked_by {
            None => None,
            Some(locked_by) => Some(Lock {
                locked_by: LockedBy::new(locked_by).ok_or("locked_by")?,
                ttl: self.ttl.map(|ttl| Ttl::from_seconds(ttl).ok_or("ttl")).transpose()?,
                acquired_at: Timestamp::from_us(self.acquired_at_us.ok_or("acquired_at_us")?),
                expires_at: self.expires_at_us.map(Timestamp::from_us),
            }),
        };
        Ok(Resource {
            name,
            lock,
            fencing_token: FencingToken::new(self.fencing_token),
            released_at: self.released_at_us.map(Timestamp::from_us),
        })
    }
}
