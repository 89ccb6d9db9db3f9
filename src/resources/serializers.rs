//! What the body of a request must say, field by field.

use std::time::Duration;

use crate::limits::{LOCKED_BY_CHARS_MAX, NAME_CHARS_MAX, TIMEOUT_SECONDS_MAX, TTL_SECONDS_MAX};
use crate::lock::{LockedBy, ResourceName, Ttl};
use crate::rest::exceptions::FieldErrors;
use crate::rest::fields::{CharField, IntegerField};
use crate::rest::parsers::Data;

/// The fields of a resource.
pub(super) struct ResourceSerializer<'d> {
    name: &'d str,
    data: &'d Data<'d>,
}

/// A valid request to acquire.
pub(super) struct Acquisition {
    pub(super) name: ResourceName,
    pub(super) locked_by: LockedBy,
    pub(super) ttl: Option<Ttl>,
    /// How long to wait; `None` is not at all.
    pub(super) timeout: Option<Duration>,
}

impl<'d> ResourceSerializer<'d> {
    const NAME: CharField = CharField {
        chars_max: NAME_CHARS_MAX,
    };
    const LOCKED_BY: CharField = CharField {
        chars_max: LOCKED_BY_CHARS_MAX,
    };
    const TTL: IntegerField = IntegerField {
        min_value: 1,
        max_value: TTL_SECONDS_MAX,
    };
    const TIMEOUT: IntegerField = IntegerField {
        min_value: 0,
        max_value: TIMEOUT_SECONDS_MAX,
    };

    /// The path names the resource; a name in the body is ignored.
    pub(super) fn new(name: &'d str, data: &'d Data<'d>) -> Self {
        Self { name, data }
    }

    /// All fields of PUT; every problem at once.
    pub(super) fn acquisition(&self) -> Result<Acquisition, FieldErrors> {
        self.data.require_fields()?;
        let mut errors = FieldErrors::default();
        let name = errors.check("name", self.name());
        let locked_by = errors.check("locked_by", Self::LOCKED_BY.validate(self.data.get("locked_by")));
        let ttl = errors.check("ttl", Self::TTL.validate(self.data.get("ttl")));
        let timeout = errors.check("timeout", Self::TIMEOUT.validate(self.data.get("timeout")));
        match (name, locked_by.and_then(LockedBy::new), ttl, timeout) {
            (Some(name), Some(locked_by), Some(ttl), Some(timeout)) if errors.is_empty() => Ok(Acquisition {
                name,
                locked_by,
                ttl: ttl.and_then(|seconds| Ttl::from_seconds(seconds.into())),
                // As the original takes it, 0 is no timeout.
                timeout: timeout
                    .filter(|seconds| *seconds > 0)
                    .map(|seconds| Duration::from_secs(seconds.into())),
            }),
            _ => Err(errors),
        }
    }

    /// The key of DELETE.
    pub(super) fn locked_by(&self) -> Result<LockedBy, FieldErrors> {
        self.data.require_fields()?;
        let mut errors = FieldErrors::default();
        let locked_by = errors.check("locked_by", Self::LOCKED_BY.validate(self.data.get("locked_by")));
        locked_by.and_then(LockedBy::new).ok_or(errors)
    }

    fn name(&self) -> Result<ResourceName, Vec<String>> {
        ResourceName::new(self.name).ok_or_else(|| Self::NAME.problems(self.name, None))
    }
}
