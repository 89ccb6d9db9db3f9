//! Rows as they are stored, and the way from them to the types of `lock`.

use diesel::prelude::*;

use crate::clock::Timestamp;
use crate::db::schema::resources;
use crate::lock::{FencingToken, Label, Lock, LockedBy, RequestId, Resource, ResourceName, Ttl};

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
    label: Option<String>,
    acquire_request: Option<String>,
    release_request: Option<String>,
    told_again: Option<i64>,
}

impl ResourceRow {
    /// The resource of this row. `Err` says which column no server can have
    /// written: somebody changed the table by hand.
    pub(super) fn into_resource(self, name: ResourceName) -> Result<Resource, &'static str> {
        let request = |text: Option<String>| text.map(|text| RequestId::from_text(&text).ok_or(())).transpose();
        let label = |text: Option<String>| text.map(|text| Label::new(&text).ok_or(())).transpose();
        let lock = match self.locked_by {
            None => None,
            Some(locked_by) => Some(Lock {
                locked_by: LockedBy::new(locked_by).ok_or("locked_by")?,
                ttl: self.ttl.map(|ttl| Ttl::from_seconds(ttl).ok_or("ttl")).transpose()?,
                acquired_at: Timestamp::from_us(self.acquired_at_us.ok_or("acquired_at_us")?),
                expires_at: self.expires_at_us.map(Timestamp::from_us),
                label: label(self.label).map_err(|()| "label")?,
                request: request(self.acquire_request).map_err(|()| "acquire_request")?,
                is_told_again: self.told_again.is_some(),
            }),
        };
        Ok(Resource {
            name,
            lock,
            fencing_token: FencingToken::new(self.fencing_token),
            released_at: self.released_at_us.map(Timestamp::from_us),
            release_request: request(self.release_request).map_err(|()| "release_request")?,
        })
    }
}

/// A resource, column by column, as the hot statements write it.
pub(super) struct Columns<'r> {
    /// locked_by, label.
    pub(super) texts: [Option<&'r str>; 2],
    /// acquire_request, release_request.
    pub(super) requests: [Option<String>; 2],
    /// ttl, acquired_at_us, expires_at_us, released_at_us, told_again.
    pub(super) numbers: [Option<i64>; 5],
    /// fencing_token.
    pub(super) fencing_token: i64,
}

impl<'r> From<&'r Resource> for Columns<'r> {
    fn from(resource: &'r Resource) -> Self {
        let lock = resource.lock.as_ref();
        let request = |request: Option<&RequestId>| request.map(RequestId::to_text);
        Self {
            texts: [
                lock.map(|lock| lock.locked_by.reveal()),
                lock.and_then(|lock| lock.label.as_ref()).map(Label::as_str),
            ],
            requests: [
                request(lock.and_then(|lock| lock.request.as_ref())),
                request(resource.release_request.as_ref()),
            ],
            numbers: [
                lock.and_then(|lock| lock.ttl).map(|ttl| ttl.as_seconds().into()),
                lock.map(|lock| lock.acquired_at.as_us()),
                lock.and_then(|lock| lock.expires_at).map(Timestamp::as_us),
                resource.released_at.map(Timestamp::as_us),
                lock.filter(|lock| lock.is_told_again).map(|_| 1),
            ],
            fencing_token: resource.fencing_token.as_i64(),
        }
    }
}
