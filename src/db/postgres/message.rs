//! What servers tell each other through NOTIFY.
//!
//! Separate from the listener, because the session that commits writes it. A
//! message is a hint: nobody decides anything by it, so one that is lost or
//! forged costs time and nothing else.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::db::Announcement;
use crate::lock::ResourceName;

/// PostgreSQL takes less than 8,000 bytes.
const BYTES_MAX: usize = 7_900;

/// One message, as JSON.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Message {
    /// By the number of the server: what is free for the first in line, who waits
    /// there.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    free: BTreeMap<i64, Vec<String>>,
    /// Locks that others wait for, and after how many microseconds they end.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    ends: BTreeMap<String, u64>,
    /// More than fits.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    anything: bool,
    /// So that servers know that they hear.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    call: bool,
}

impl Message {
    pub(super) fn call() -> Self {
        Self {
            call: true,
            ..Self::default()
        }
    }

    pub(super) fn push_free(&mut self, replica: i64, name: &ResourceName) {
        self.free.entry(replica).or_default().push(name.as_str().to_owned());
    }

    pub(super) fn push_end(&mut self, name: &ResourceName, after: Duration) {
        let us = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        self.ends.insert(name.as_str().to_owned(), us);
    }

    /// Its text; `None` if it says nothing.
    pub(super) fn into_text(self) -> Option<String> {
        if self == Self::default() {
            return None;
        }
        let text = text_of(&self);
        if text.len() <= BYTES_MAX {
            return Some(text);
        }
        Some(text_of(&Self {
            anything: true,
            ..Self::default()
        }))
    }

    /// What a text says to the server with this number. One that no server
    /// wrote says nothing.
    pub(super) fn understand(text: &str, replica: i64) -> Vec<Announcement> {
        let Ok(message) = serde_json::from_str::<Self>(text) else {
            log::debug!("somebody else notified us");
            return Vec::new();
        };
        let mut heard = Vec::new();
        for (to, names) in &message.free {
            let names = names.iter().filter_map(|name| ResourceName::new(name));
            let meant = if *to == replica {
                Announcement::Free
            } else {
                Announcement::Promised
            };
            heard.extend(names.map(meant));
        }
        for (name, us) in &message.ends {
            let name = ResourceName::new(name);
            heard.extend(name.map(|name| Announcement::Ends(name, Duration::from_micros(*us))));
        }
        heard.extend(message.anything.then_some(Announcement::Anything));
        heard.extend(message.call.then_some(Announcement::Call));
        heard
    }
}

fn text_of(message: &Message) -> String {
    serde_json::to_string(message).expect("maps with text as keys, and numbers")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ResourceName {
        ResourceName::new(text).expect("well formed")
    }

    #[test]
    fn who_is_meant_hears_it_and_others_that_it_is_promised() {
        let mut message = Message::default();
        message.push_free(7, &name("a\n\"b"));
        message.push_free(8, &name("c"));
        message.push_end(&name("d"), Duration::from_millis(5));
        let text = message.into_text().expect("it says something");

        let ends = Announcement::Ends(name("d"), Duration::from_millis(5));
        let free = |text| Announcement::Free(name(text));
        let promised = |text| Announcement::Promised(name(text));
        let (ab, c) = ("a\n\"b", "c");
        assert_eq!(Message::understand(&text, 7), [free(ab), promised(c), ends.clone()]);
        assert_eq!(Message::understand(&text, 8), [promised(ab), free(c), ends.clone()]);
        assert_eq!(Message::understand(&text, 9), [promised(ab), promised(c), ends]);
    }

    #[test]
    fn nothing_is_no_message_and_too_much_is_one_for_all() {
        let mut message = Message::default();
        for number in 0..100 {
            message.push_free(7, &name(&format!("{number:0100}")));
        }
        let text = message.into_text().expect("it says something");

        assert_eq!(Message::default().into_text(), None);
        assert!(text.len() <= BYTES_MAX);
        assert_eq!(Message::understand(&text, 1), [Announcement::Anything]);
    }

    #[test]
    fn what_no_server_wrote_says_nothing() {
        for text in ["", "hello", "[]", "{\"free\": 1}", "{\"free\": {\"x\": []}}", "{}"] {
            assert_eq!(Message::understand(text, 1), [], "{text}");
        }
        assert_eq!(
            Message::understand("{\"call\": true, \"new\": 1}", 1),
            [Announcement::Call]
        );
    }
}
