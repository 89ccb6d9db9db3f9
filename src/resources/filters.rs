//! Which resources a list shows, in which order, and how many of them.

use std::num::NonZeroU32;

use crate::db::{Column, Direction, ListQuery, Page as CatalogPage, Search};
use crate::limits::{LIST_PAGE_SIZE, LIST_PAGE_SIZE_MAX, NAME_CHARS_MAX, SEARCH_CHARS_MAX, SEARCH_WORDS_MAX};
use crate::rest::Query;
use crate::rest::exceptions::{ApiException, FieldErrors};
use crate::rest::fields::{BooleanField, CharField, ChoiceField, Input};
use crate::rest::pagination::{Page, PageNumber, PageNumberPagination};

pub(super) const PAGES: PageNumberPagination = PageNumberPagination {
    page_size: LIST_PAGE_SIZE,
    page_size_max: LIST_PAGE_SIZE_MAX,
};

const PREFIX: CharField = CharField {
    chars_max: NAME_CHARS_MAX,
};

const SEARCH: CharField = CharField {
    chars_max: SEARCH_CHARS_MAX,
};

pub(super) const ORDERING: ChoiceField<(Column, Direction)> = ChoiceField {
    choices: &[
        ("name", (Column::Name, Direction::Ascending)),
        ("-name", (Column::Name, Direction::Descending)),
        ("label", (Column::Label, Direction::Ascending)),
        ("-label", (Column::Label, Direction::Descending)),
        ("ttl", (Column::Ttl, Direction::Ascending)),
        ("-ttl", (Column::Ttl, Direction::Descending)),
        ("acquired_at", (Column::AcquiredAt, Direction::Ascending)),
        ("-acquired_at", (Column::AcquiredAt, Direction::Descending)),
        ("expires_at", (Column::ExpiresAt, Direction::Ascending)),
        ("-expires_at", (Column::ExpiresAt, Direction::Descending)),
        ("fencing_token", (Column::FencingToken, Direction::Ascending)),
        ("-fencing_token", (Column::FencingToken, Direction::Descending)),
    ],
};

/// What the query of a list says.
pub(super) struct Filters {
    /// For the catalog.
    pub(super) wanted: ListQuery,
    page_size: u32,
}

impl Filters {
    /// Errors: 400 with every parameter that is wrong, 404 if the page can be
    /// none.
    pub(super) fn read(query: &Query<'_>) -> Result<Self, ApiException> {
        let mut errors = FieldErrors::default();
        let locked = errors.check("locked", BooleanField.validate(query.get("locked")));
        let prefix = PREFIX.validate_exact_optional(query.get("prefix"));
        let prefix = errors.check("prefix", prefix).flatten();
        let search = errors.check("search", search(query)).flatten();
        let ordering = errors.check("ordering", ordering(query)).unwrap_or_default();
        let page_size = errors.check("page_size", PAGES.page_size(query));
        let page_size = page_size.and_then(NonZeroU32::new).filter(|_| errors.is_empty());
        let Some(page_size) = page_size else {
            return Err(ApiException::validation_error(errors));
        };
        let page = page_of(query)?;
        Ok(Self {
            wanted: ListQuery {
                within: None,
                locked: locked.flatten(),
                prefix,
                search,
                ordering,
                page,
                page_size,
            },
            page_size: page_size.get(),
        })
    }

    /// Where the page lies in a list of `count`, and its neighbours.
    pub(super) fn page(&self, url: &str, query: &Query<'_>, count: u64) -> Result<Page, ApiException> {
        PAGES.page(url, query, self.page_size, count)
    }
}

/// The page that is asked for.
///
/// Errors: 404 if no list can have such a page.
pub(super) fn page_of(query: &Query<'_>) -> Result<CatalogPage, ApiException> {
    Ok(match PAGES.number(query)? {
        PageNumber::Number(number) => CatalogPage::Number(number),
        PageNumber::Last => CatalogPage::Last,
    })
}

/// Words, all of which have to be found.
fn search(query: &Query<'_>) -> Result<Option<Search>, Vec<String>> {
    let Some(text) = SEARCH.validate_exact_optional(query.get("search"))? else {
        return Ok(None);
    };
    let too_many = || vec![format!("Ensure this field has no more than {SEARCH_WORDS_MAX} words.")];
    Search::new(&text).map(Some).ok_or_else(too_many)
}

/// Names of fields, the first before all, separated by commas; with `-` the
/// highest comes first.
fn ordering(query: &Query<'_>) -> Result<Vec<(Column, Direction)>, Vec<String>> {
    let words = query.value("ordering").unwrap_or_default().split(',');
    let words = words.map(str::trim).filter(|word| !word.is_empty());
    let mut columns: Vec<(Column, Direction)> = Vec::new();
    for word in words {
        let column = ORDERING.validate(Input::FormText(word))?;
        // What was said first counts.
        columns.extend(column.filter(|(column, _)| columns.iter().all(|(other, _)| other != column)));
    }
    Ok(columns)
}
