//! Pages of a list: Django REST framework's `PageNumberPagination`.

use actix_web::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::rest::exceptions::{ApiException, FieldErrors};
use crate::rest::fields::IntegerField;
use crate::rest::python;
use crate::rest::query::Query;

const PAGE: &str = "page";
const PAGE_SIZE: &str = "page_size";

/// How a list is cut into pages.
#[derive(Clone, Copy, Debug)]
pub struct PageNumberPagination {
    /// Items of a page if the client does not say.
    pub page_size: u32,
    /// The most items of a page.
    pub page_size_max: u32,
}

/// Which page is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageNumber {
    /// The one with this number, from 1.
    Number(u64),
    /// The last one there is.
    Last,
}

/// Where a page lies in its list, and its neighbours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Items before it.
    pub offset: u64,
    /// The most items in it.
    pub limit: u32,
    /// Items of the whole list.
    pub count: u64,
    /// The link to the page after it.
    pub next: Option<String>,
    /// The link to the page before it.
    pub previous: Option<String>,
}

/// What a list view answers.
#[derive(Serialize, ToSchema)]
pub struct PaginatedResponse<T> {
    /// Items of the whole list.
    count: u64,
    /// The link to the page after it.
    #[schema(required)]
    next: Option<String>,
    /// The link to the page before it.
    #[schema(required)]
    previous: Option<String>,
    /// Items of this page.
    results: Vec<T>,
}

impl PageNumberPagination {
    /// The items that `page_size` asks for, or what is wrong with it. The
    /// framework takes its default for a wrong size, and the largest for a
    /// larger one, and says neither; a client that counts on it would miss
    /// what it was not given.
    pub fn page_size(&self, query: &Query<'_>) -> Result<u32, Vec<String>> {
        let field = IntegerField {
            min_value: 1,
            max_value: self.page_size_max,
        };
        Ok(field.validate(query.get(PAGE_SIZE))?.unwrap_or(self.page_size))
    }

    /// The same, where it is the only field of the query.
    ///
    /// Errors: 400.
    pub fn size(&self, query: &Query<'_>) -> Result<u32, ApiException> {
        let mut errors = FieldErrors::default();
        let size = errors.check(PAGE_SIZE, self.page_size(query));
        size.ok_or(ApiException::validation_error(errors))
    }

    /// The page that `page` asks for. The number is what Python's `int` makes of
    /// it. Errors: 404 if no list can have such a page.
    pub fn number(&self, query: &Query<'_>) -> Result<PageNumber, ApiException> {
        match query.value(PAGE) {
            None | Some("") => Ok(PageNumber::Number(1)),
            Some("last") => Ok(PageNumber::Last),
            Some(text) => {
                let number = python::int(text).and_then(|number| u64::try_from(number).ok());
                let number = number.filter(|number| *number > 0);
                number.map(PageNumber::Number).ok_or_else(invalid_page)
            }
        }
    }

    /// The page that `page` asks for, of `page_size` items, in a list of
    /// `count`; `url` is that of the request, without its query.
    ///
    /// An empty list has one page. Errors: 404 if there is no such page.
    pub fn page(&self, url: &str, query: &Query<'_>, page_size: u32, count: u64) -> Result<Page, ApiException> {
        let pages = count.div_ceil(page_size.max(1).into()).max(1);
        let number = match self.number(query)? {
            PageNumber::Number(number) if number <= pages => number,
            PageNumber::Number(_) => return Err(invalid_page()),
            PageNumber::Last => pages,
        };
        let link = |number: u64| match number {
            1 => query.remove(url, PAGE),
            number => query.replace(url, PAGE, &number.to_string()),
        };
        Ok(Page {
            offset: (number - 1) * u64::from(page_size),
            limit: page_size,
            count,
            next: (number < pages).then(|| link(number + 1)),
            previous: (number > 1).then(|| link(number - 1)),
        })
    }
}

fn invalid_page() -> ApiException {
    ApiException::new(StatusCode::NOT_FOUND, "Invalid page.")
}

impl Page {
    /// The page with its items: the framework's `get_paginated_response`.
    pub fn response<T>(self, results: Vec<T>) -> PaginatedResponse<T> {
        PaginatedResponse {
            count: self.count,
            next: self.next,
            previous: self.previous,
            results,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "http://host/resources/";
    const PAGINATION: PageNumberPagination = PageNumberPagination {
        page_size: 10,
        page_size_max: 1000,
    };

    /// The page of a list of 23: its offset and the queries of its links.
    fn page(query: &str) -> Result<(u64, Option<String>, Option<String>), u16> {
        let query = Query::parse(query);
        let size = PAGINATION.page_size(&query).expect("a valid size");
        let page = PAGINATION.page(URL, &query, size, 23);
        let page = page.map_err(|exception| exception.status.as_u16())?;
        let query_of = |link: Option<String>| link.map(|link| link[URL.len()..].to_owned());
        Ok((page.offset, query_of(page.next), query_of(page.previous)))
    }

    #[test]
    fn every_kind_of_page() {
        let digits = "1".repeat(100);
        for (asked, expected) in [
            ("", Ok((0, Some("?page=2"), None))),
            ("page=", Ok((0, Some("?page=2"), None))),
            ("page=1", Ok((0, Some("?page=2"), None))),
            ("page=%201", Ok((0, Some("?page=2"), None))),
            ("page=01", Ok((0, Some("?page=2"), None))),
            ("page=%2B1", Ok((0, Some("?page=2"), None))),
            ("page=+1", Ok((0, Some("?page=2"), None))),
            ("page=2", Ok((10, Some("?page=3"), Some("")))),
            ("page=3", Ok((20, None, Some("?page=2")))),
            ("page=last", Ok((20, None, Some("?page=2")))),
            ("page=abc&page=2", Ok((10, Some("?page=3"), Some("")))),
            (
                "page_size=5&b=2&page=2&a=1",
                Ok((5, Some("?a=1&b=2&page=3&page_size=5"), Some("?a=1&b=2&page_size=5"))),
            ),
            ("page_size=23", Ok((0, None, None))),
            ("page_size=22&page=2", Ok((22, None, Some("?page_size=22")))),
            ("page_size=1000", Ok((0, None, None))),
            ("page_size=1&page=last", Ok((22, None, Some("?page=22&page_size=1")))),
            ("page=0", Err(404)),
            ("page=-1", Err(404)),
            ("page=4", Err(404)),
            ("page=abc", Err(404)),
            ("page=1.0", Err(404)),
            ("page=LAST", Err(404)),
            ("page=99999999999999999999999", Err(404)),
            (&format!("page={digits}"), Err(404)),
            (&format!("page=-{digits}"), Err(404)),
        ] {
            let owned = |link: Option<&str>| link.map(str::to_owned);
            let expected = expected.map(|(offset, next, previous)| (offset, owned(next), owned(previous)));
            assert_eq!(page(asked), expected, "{asked}");
        }
    }

    #[test]
    fn an_empty_list_has_one_empty_page() {
        for (asked, found) in [("", true), ("page=1", true), ("page=last", true), ("page=2", false)] {
            let page = PAGINATION.page(URL, &Query::parse(asked), 10, 0);
            let expected = Page {
                offset: 0,
                limit: 10,
                count: 0,
                next: None,
                previous: None,
            };
            assert_eq!(page.ok(), found.then_some(expected), "{asked}");
        }
    }

    #[test]
    fn a_wrong_size_is_refused() {
        let low = "Ensure this value is greater than or equal to 1.";
        let high = "Ensure this value is less than or equal to 1000.";
        for (asked, expected) in [
            ("", Ok(10)),
            ("page_size=", Ok(10)),
            ("page_size=1", Ok(1)),
            ("page_size=1000", Ok(1000)),
            ("page_size=0", Err(low)),
            ("page_size=-1", Err(low)),
            ("page_size=1001", Err(high)),
            ("page_size=abc", Err("A valid integer is required.")),
        ] {
            let expected = expected.map_err(|message| vec![message.to_owned()]);
            assert_eq!(PAGINATION.page_size(&Query::parse(asked)), expected, "{asked}");
        }
    }

    #[test]
    fn the_answer_has_its_members_in_order() {
        let page = PAGINATION
            .page(URL, &Query::parse("page=2"), 10, 23)
            .expect("there is one");

        let written = serde_json::to_string(&page.response(vec!["a"])).expect("it can be written");

        assert_eq!(
            written,
            r#"{"count":23,"next":"http://host/resources/?page=3","previous":"http://host/resources/","results":["a"]}"#
        );
    }
}
