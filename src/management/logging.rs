//! The log on stderr, whose filter can be changed while a server runs.

use std::sync::{Arc, PoisonError, RwLock};

use env_logger::{Builder, Logger};
use log::{LevelFilter, Log, Metadata, Record};

/// The logger that is installed. Cloning copies a pointer.
#[derive(Clone)]
pub(super) struct Logging {
    /// Read for each line that is logged: those below the level of the filter
    /// do not come so far.
    current: Arc<RwLock<Logger>>,
}

impl Logging {
    /// Logs what `filter` lets through, from now on.
    pub(super) fn start(filter: &str) -> Self {
        let logger = logger(filter);
        let level = logger.filter();
        let logging = Self {
            current: Arc::new(RwLock::new(logger)),
        };
        log::set_boxed_logger(Box::new(logging.clone())).expect("nobody else installs a logger");
        log::set_max_level(level);
        logging
    }

    /// Logs what `filter` lets through, instead of what the last one did.
    pub(super) fn change(&self, filter: &str) {
        let logger = logger(filter);
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
        self.with_current(|logger| logger.log(record));
    }

    fn flush(&self) {
        self.with_current(Log::flush);
    }
}

fn logger(filter: &str) -> Logger {
    Builder::new()
        // It calls each head that it cannot read an error; whoever sends them would fill the disk.
        .filter_module("actix_http::h1::dispatcher", LevelFilter::Off)
        .parse_filters(filter)
        .format_timestamp_millis()
        .build()
}
