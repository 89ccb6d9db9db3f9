//! Which events a list or a stream shows.

use std::num::NonZeroU32;

use crate::db::{Direction, EventQuery, Page};
use crate::limits::NAME_CHARS_MAX;
use crate::lock::{EventId, EventKind};
use crate::resources::filters::{PAGES, page_of};
use crate::rest::Query;
use crate::rest::exceptions::{ApiException, FieldErrors};
use crate::rest::fields::{CharField, ChoiceField, Input, IntegerField};

const PREFIX: CharField = CharField {
    chars_max: NAME_CHARS_MAX,
};

const ID: IntegerField<i64> = IntegerField {
    min_value: 0,
    max_value: i64::MAX,
};

pub(super) const KIND: ChoiceField<EventKind> = ChoiceField {
    choices: &[
        ("acquired", EventKind::Acquired),
        ("renewed", EventKind::Renewed),
        ("released", EventKind::Released),
        ("expired", EventKind::Expired),
        ("broken", EventKind::Broken),
        ("deadlock", EventKind::Deadlock),
    ],
};

pub(super) const ORDERING: ChoiceField<Direction> = ChoiceField {
    choices: &[("id", Direction::Ascending), ("-id", Direction::Descending)],
};

/// What the query of a list of events says.
pub(super) struct EventFilters {
    /// For the catalog.
    pub(super) wanted: EventQuery,
    pub(super) page: Page,
    pub(super) page_size: NonZeroU32,
}

impl EventFilters {
    /// Errors: 400 with every parameter that is wrong, 404 if the page can be
    /// none.
    pub(super) fn read(query: &Query<'_>) -> Result<Self, ApiException> {
        let mut errors = FieldErrors::default();
        let since = errors.check("since", ID.validate(query.get("since"))).flatten();
        let prefix = PREFIX.validate_exact_optional(query.get("prefix"));
        let prefix = errors.check("prefix", prefix).flatten();
        let kind = errors.check("event", KIND.validate(query.get("event"))).flatten();
        let direction = errors.check("ordering", ORDERING.validate(query.get("ordering")));
        let page_size = errors.check("page_size", PAGES.page_size(query));
        let page_size = page_size.and_then(NonZeroU32::new).filter(|_| errors.is_empty());
        let page_size = page_size.ok_or_else(|| ApiException::validation_error(errors))?;
        let page = page_of(query)?;
        Ok(Self {
            wanted: EventQuery {
                since: since.map_or(EventId::NONE, EventId::new),
                prefix,
                within: None,
                kind,
                direction: direction.flatten().unwrap_or(Direction::Ascending),
            },
            page,
            page_size,
        })
    }
}

/// What the query and the headers of a stream say.
pub(super) struct StreamFilters {
    /// What the client was told last; `None` if it wants to know only of what
    /// happens from now on.
    pub(super) since: Option<EventId>,
    pub(super) prefix: Option<String>,
}

impl StreamFilters {
    /// What a browser sends when it connects anew counts more than the URL, which
    /// it sends each time.
    ///
    /// Errors: 400 with everything that is wrong.
    pub(super) fn read(query: &Query<'_>, last_event_id: Option<&str>) -> Result<Self, ApiException> {
        let mut errors = FieldErrors::default();
        let since = errors.check("since", ID.validate(query.get("since"))).flatten();
        let last = last_event_id.filter(|id| !id.is_empty()).map(Input::FormText);
        let last = last.map(|last| ID.validate(last));
        let last = last.and_then(|last| errors.check("Last-Event-ID", last)).flatten();
        let prefix = PREFIX.validate_exact_optional(query.get("prefix"));
        let prefix = errors.check("prefix", prefix).flatten();
        match errors.is_empty() {
            true => Ok(Self {
                since: last.or(since).map(EventId::new),
                prefix,
            }),
            false => Err(ApiException::validation_error(errors)),
        }
    }
}
