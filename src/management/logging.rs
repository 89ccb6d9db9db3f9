//! The log on stderr, as text or as JSON, whose filter can be changed while a
//! server runs.

use std::io::{Write, stderr};
use std::panic::{self, PanicHookInfo};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;

use chrono::{SecondsFormat, Utc};
use env_logger::{Builder, Logger};
use log::{LevelFilter, Log, Metadata, Record};
use serde::Serialize;

use crate::rest::RequestId;
use crate::settings::LogFormat;

/// The logger that is installed. Cloning copies a pointer.
#[derive(Clone)]
pub(super) struct Logging {
    format: LogFormat,
    /// Read for each line that is logged: those below the level of the filter
    /// do not come so far.
    current: Arc<RwLock<Logger>>,
}

impl Logging {
    /// Logs what `filter` lets through, from now on, and the panics of all
    /// threads with it.
    pub(super) fn start(filter: &str, format: LogFormat) -> Self {
        let logger = logger(filter, format);
        let level = logger.filter();
        let logging = Self {
            format,
            current: Arc::new(RwLock::new(logger)),
        };
        log::set_boxed_logger(Box::new(logging.clone())).expect("nobody else installs a logger");
        log::set_max_level(level);
        if format == LogFormat::Json {
            // Past the logger: that may be what panicked, and no filter keeps back a panic. Where it cannot be written
            // nobody reads it.
            panic::set_hook(Box::new(|panic| drop(stderr().write_all(&panic_line(panic)))));
        }
        logging
    }

    /// Logs what `filter` lets through, instead of what the last one did.
    pub(super) fn change(&self, filter: &str) {
        let logger = logger(filter, self.format);
        let level = logger.filter();
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = logger;
        log::set_max_level(level);
    }

    fn with_current<T>(&self, with: impl FnOnce(&Logger) -> T) -> T {
        with(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Log for Logging {
    fn enabled(&self, metadata: &Metadata) -> bool {
        self.with_current(|logger| logger.enabled(metadata))
    }

    fn log(&self, record: &Record) {
        let id = match self.format {
            LogFormat::Text => RequestId::current(),
            LogFormat::Json => None,
        };
        self.with_current(|logger| match id {
            None => logger.log(record),
            Some(id) => logger.log(
                &Record::builder()
                    .metadata(record.metadata().clone())
                    .args(format_args!("request {}: {}", id.as_str(), record.args()))
                    .build(),
            ),
        });
    }

    fn flush(&self) {
        self.with_current(Log::flush);
    }
}

fn logger(filter: &str, format: LogFormat) -> Logger {
    let mut builder = Builder::new();
    builder
        // It calls each head that it cannot read an error; whoever sends them would fill the disk.
        .filter_module("actix_http::h1::dispatcher", LevelFilter::Off)
        .parse_filters(filter);
    match format {
        LogFormat::Text => builder.format_timestamp_millis(),
        LogFormat::Json => builder.format(|out, record| {
            let line = json_line(record.level().as_str(), record.target(), record.args().to_string());
            out.write_all(&line)
        }),
    };
    builder.build()
}

/// One line, of what is known of the present moment and thread.
fn json_line(level: &str, target: &str, message: String) -> Vec<u8> {
    #[derive(Serialize)]
    struct Line<'a> {
        timestamp: String,
        level: &'a str,
        target: &'a str,
        message: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        request_id: Option<&'a str>,
    }
    let id = RequestId::current();
    let line = Line {
        timestamp: Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true),
        level,
        target,
        message,
        request_id: id.as_ref().map(RequestId::as_str),
    };
    let mut line = serde_json::to_vec(&line).expect("texts are written to memory");
    line.push(b'\n');
    line
}

/// What the standard library says of a panic.
fn panic_line(panic: &PanicHookInfo<'_>) -> Vec<u8> {
    let thread = thread::current();
    let message = format!("thread {:?} {panic}", thread.name().unwrap_or("without a name"));
    json_line("ERROR", "panic", message)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use serde_json::Value;

    use super::*;

    #[test]
    fn a_panic_is_one_line_of_json() {
        const NAME: &str = "panics as a test wants it";
        let (sender, lines) = channel();
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |panic| match thread::current().name() {
            Some(NAME) => sender.send(panic_line(panic)).expect("the test listens"),
            _ => others(panic),
        }));

        let thread = thread::Builder::new().name(NAME.to_owned());
        let panicked = thread
            .spawn(|| panic!("\"one\"\ntwo"))
            .expect("there is room for a thread")
            .join();

        assert!(panicked.is_err());
        let line = String::from_utf8(lines.recv().expect("it was said")).expect("text");
        assert_eq!(line.find('\n'), Some(line.len() - 1), "{line}");
        let line: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!((&line["level"], &line["target"]), (&"ERROR".into(), &"panic".into()));
        let message = line["message"].as_str().expect("a text");
        assert!(
            message.starts_with(&format!("thread {NAME:?} panicked at src/management/logging.rs:")),
            "{message}"
        );
        assert!(message.ends_with("\"one\"\ntwo"), "{message}");
    }
}
