//! `X-Request-ID`: by what one request is found again in the logs of everybody
//! who had to do with it.
//!
//! A task has the identifier of its request for as long as it is polled, so
//! that whatever logs meanwhile need not be handed it.

use std::cell::RefCell;
use std::hash::{BuildHasher, Hasher, RandomState};

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse};
use tokio::task::futures::TaskLocalFuture;

use crate::limits::REQUEST_ID_CHARS_MAX;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Hexadecimal digits of one that is made here: the first half says where, the
/// second half counts.
const DIGITS: usize = 24;

/// How many of them count: 2^48 requests are more than a thread ever answers.
const COUNTING_DIGITS: usize = DIGITS / 2;

tokio::task_local! {
    static CURRENT: RequestId;
}

thread_local! {
    static NEXT: RefCell<Counter> = RefCell::new(Counter::new());
}

/// The identifier of a request: 1 to REQUEST_ID_CHARS_MAX visible characters of
/// ASCII.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The one that the request came with, if that can be used, else a new one.
    pub fn of(http: &HttpRequest) -> Self {
        Self::sent(http.headers()).unwrap_or_else(Self::make)
    }

    /// That of the request for which this thread works at the moment, if it
    /// works for one.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Self::clone).ok()
    }

    /// A future in which this is the current one.
    pub fn scope<F: Future>(self, future: F) -> TaskLocalFuture<Self, F> {
        CURRENT.scope(self, future)
    }

    /// Puts it into the answer.
    pub fn put_into(self, response: &mut HttpResponse) {
        response.headers_mut().insert(X_REQUEST_ID, self.0);
    }

    /// Its characters.
    pub fn as_str(&self) -> &str {
        self.0.to_str().expect("it is visible ASCII")
    }

    /// What others have put before it is not looked at: nobody but them knows
    /// what it means.
    fn sent(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(X_REQUEST_ID)?;
        let is_sane =
            (1..=REQUEST_ID_CHARS_MAX).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic);
        is_sane.then(|| Self(value.clone()))
    }

    fn make() -> Self {
        let text = NEXT.with_borrow_mut(Counter::advance);
        Self(HeaderValue::from_bytes(&text).expect("hexadecimal digits can be in a header"))
    }
}

/// The identifiers that one thread makes: no other, here or on another machine,
/// begins with the same digits but by a chance of one in 2^48.
struct Counter {
    start: u64,
    count: u64,
}

impl Counter {
    /// Asks the operating system for chance, once a thread.
    fn new() -> Self {
        Self {
            start: RandomState::new().build_hasher().finish(),
            count: 0,
        }
    }

    fn advance(&mut self) -> [u8; DIGITS] {
        self.count += 1;
        let mut text = [0; DIGITS];
        let (start, count) = text.split_at_mut(DIGITS - COUNTING_DIGITS);
        write_digits(self.start, start);
        write_digits(self.count, count);
        text
    }
}

/// The lowest hexadecimal digits of a number, as many as there is room for.
fn write_digits(mut number: u64, text: &mut [u8]) {
    for digit in text.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 15) as usize];
        number >>= 4;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::thread;

    use actix_web::test::TestRequest;

    use super::*;

    fn sent(value: &[u8]) -> Option<String> {
        let value = HeaderValue::from_bytes(value).expect("a header can have it");
        let http = TestRequest::default()
            .append_header((X_REQUEST_ID, value))
            .to_http_request();
        RequestId::sent(http.headers()).map(|id| id.as_str().to_owned())
    }

    #[test]
    fn what_was_sent_is_kept_if_it_is_of_visible_ascii_and_not_too_long() {
        let longest = "x".repeat(REQUEST_ID_CHARS_MAX);
        for kept in ["a", "7f-3:e\"{}!~", &longest] {
            assert_eq!(sent(kept.as_bytes()).as_deref(), Some(kept));
        }
        let too_long = format!("{longest}x");
        for replaced in ["", "a b", "a\tb", "é", &too_long] {
            assert_eq!(sent(replaced.as_bytes()), None, "{replaced}");
        }
    }

    #[test]
    fn none_is_made_twice_in_one_thread_or_in_two() {
        let made = || {
            (0..1000)
                .map(|_| RequestId::make().as_str().to_owned())
                .collect::<Vec<_>>()
        };
        let there = thread::spawn(made).join().expect("no panic");

        let all: HashSet<String> = made().into_iter().chain(there).collect();

        assert_eq!(all.len(), 2000);
        assert!(all.iter().all(|id| id.len() == DIGITS));
    }

    #[test]
    fn a_task_has_its_own_and_nobody_has_it_afterwards() {
        let (one, two) = (RequestId::make(), RequestId::make());
        let current = || async { RequestId::current() };

        let (first, second) = actix_web::rt::System::new()
            .block_on(async { tokio::join!(one.clone().scope(current()), two.clone().scope(current())) });

        assert_eq!((first, second), (Some(one), Some(two)));
        assert_eq!(RequestId::current(), None);
    }
}
