//! What servers tell each other through NOTIFY.
//!
//! Separate from the listener, because the session that commits writes it. A
//! message is a hint: nobody decides anything by it, so one that is lost or
//! forged costs time and nothing else.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::db::Announcement;
use crate::lock::{Place, ResourceName};

/// PostgreSQL takes less than 8,000 bytes.
const BYTES_MAX: usize = 7_900;

/// What a name costs beside its own text: quotes, a comma, a number.
const BYTES_BESIDE_NAME: usize = 48;

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
    /// By the number of the server: names for which somebody waited there, and the
    /// places, which are at another one now.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    moved: BTreeMap<i64, Vec<(String, i64)>>,
    /// So that servers know that they hear.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    call: bool,
}

/// As many messages as it takes.
#[derive(Debug, Default)]
pub(super) struct Messages {
    full: Vec<String>,
    last: Message,
    last_bytes: usize,
}

impl Messages {
    pub(super) fn push_free(&mut self, replica: i64, name: &ResourceName) {
        self.make_room(name);
        let names = self.last.free.entry(replica).or_default();
        names.push(name.as_str().to_owned());
    }

    pub(super) fn push_moved(&mut self, replica: i64, name: &ResourceName, place: Place) {
        self.make_room(name);
        let moved = self.last.moved.entry(replica).or_default();
        moved.push((name.as_str().to_owned(), place.as_i64()));
    }

    pub(super) fn push_end(&mut self, name: &ResourceName, after: Duration) {
        self.make_room(name);
        let us = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        self.last.ends.insert(name.as_str().to_owned(), us);
    }

    /// Their texts.
    pub(super) fn into_texts(mut self) -> Vec<String> {
        self.finish_last();
        self.full
    }

    fn make_room(&mut self, name: &ResourceName) {
        // At worst each byte is a control character, and so six in JSON.
        let bytes = 6 * name.as_str().len() + BYTES_BESIDE_NAME;
        if self.last_bytes + bytes > BYTES_MAX {
            self.finish_last();
        }
        self.last_bytes += bytes;
    }

    fn finish_last(&mut self) {
        let last = std::mem::take(&mut self.last);
        self.last_bytes = 0;
        if last != Message::default() {
            self.full.push(last.into_text());
        }
    }
}

impl Message {
    pub(super) fn call() -> Self {
        Self {
            call: true,
            ..Self::default()
        }
    }

    pub(super) fn into_text(self) -> String {
        serde_json::to_string(&self).expect("maps with text as keys, and numbers")
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
        let moved = message.moved.get(&replica).into_iter().flatten();
        let moved = moved.filter_map(|(name, place)| Some((ResourceName::new(name)?, Place::new(*place))));
        heard.extend(moved.map(|(name, place)| Announcement::Moved(name, place)));
        heard.extend(message.call.then_some(Announcement::Call));
        heard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ResourceName {
        ResourceName::new(text).expect("well formed")
    }

    #[test]
    fn who_is_meant_hears_it_and_others_that_it_is_promised() {
        let mut messages = Messages::default();
        messages.push_free(7, &name("a\n\"b"));
        messages.push_free(8, &name("c"));
        messages.push_end(&name("d"), Duration::from_millis(5));
        messages.push_moved(8, &name("e"), Place::new(5));
        let text = messages.into_texts().remove(0);

        let ends = Announcement::Ends(name("d"), Duration::from_millis(5));
        let free = |text| Announcement::Free(name(text));
        let promised = |text| Announcement::Promised(name(text));
        let (ab, c) = ("a\n\"b", "c");
        assert_eq!(Message::understand(&text, 7), [free(ab), promised(c), ends.clone()]);
        let moved = Announcement::Moved(name("e"), Place::new(5));
        assert_eq!(
            Message::understand(&text, 8),
            [promised(ab), free(c), ends.clone(), moved]
        );
        assert_eq!(Message::understand(&text, 9), [promised(ab), promised(c), ends]);
    }

    #[test]
    fn nothing_is_no_message_and_much_is_several() {
        let control = "\u{1}".repeat(100);
        let names: Vec<_> = (0..100)
            .map(|number| name(&format!("{number}{}", &control[..90])))
            .collect();
        let mut messages = Messages::default();
        for name in &names {
            messages.push_free(7, name);
        }

        let texts = messages.into_texts();

        assert!(Messages::default().into_texts().is_empty());
        assert!(texts.iter().all(|text| text.len() <= BYTES_MAX));
        let heard: Vec<_> = texts.iter().flat_map(|text| Message::understand(text, 7)).collect();
        assert_eq!(heard, names.into_iter().map(Announcement::Free).collect::<Vec<_>>());
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
