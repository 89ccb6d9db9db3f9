//! Which settings change while a server runs, and which need a restart.

use crate::settings::Settings;

/// How the settings that were read anew differ from those with which a server
/// runs, by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// They are in force from now on.
    pub made: Vec<&'static str>,
    /// They stay as they are until the server is started again.
    pub need_restart: Vec<&'static str>,
}

impl Settings {
    /// What a server that runs with these settings runs with when it has been
    /// told of `new` ones.
    pub fn changed_to(&self, new: &Self) -> (Self, Changes) {
        let mut changes = Changes::default();
        let (is_tls_kept, both) = (
            self.tls.is_some() == new.tls.is_some(),
            self.tls.as_ref().zip(new.tls.as_ref()),
        );
        let tls_differs = |part: fn(&super::TlsFiles) -> Option<&std::path::PathBuf>| {
            both.is_some_and(|(old, new)| part(old) != part(new))
        };
        for (name, differs) in [
            ("RUST_LOG", self.log_filter != new.log_filter),
            ("TLS_CERT", tls_differs(|files| Some(&files.certificate))),
            ("TLS_KEY", tls_differs(|files| Some(&files.key))),
            ("TLS_CLIENT_CA", tls_differs(|files| files.client_authorities.as_ref())),
            (
                "WAITERS_PER_RESOURCE_MAX",
                self.waiters_per_resource_max != new.waiters_per_resource_max,
            ),
            ("CLIENT_LOCKS_MAX", self.client_locks_max != new.client_locks_max),
            ("DEFAULT_TTL", self.default_ttl != new.default_ttl),
            ("MAX_TTL", self.max_ttl != new.max_ttl),
            ("MAX_TIMEOUT", self.max_timeout != new.max_timeout),
            ("LOCK_DELAY", self.lock_delay != new.lock_delay),
            ("PRUNE_AFTER_DAYS", self.prune_after_days != new.prune_after_days),
            ("HISTORY", self.history != new.history),
            ("HISTORY_DAYS", self.history_days != new.history_days),
            ("HISTORY_EVENTS_MAX", self.history_events_max != new.history_events_max),
        ] {
            changes.made.extend(differs.then_some(name));
        }
        for (name, differs) in [
            ("DATABASE_URL", self.database_url != new.database_url),
            ("LOG_FORMAT", self.log_format != new.log_format),
            ("TLS_CERT", !is_tls_kept),
            ("TLS_KEY", !is_tls_kept),
            ("AUTH", self.auth != new.auth),
            ("LOCKED_BY_AT_REST", self.locked_by_at_rest != new.locked_by_at_rest),
            ("SECRET_KEY", self.secret_key != new.secret_key),
            ("WORKERS", self.workers != new.workers),
            ("ALLOWED_HOSTS", self.allowed_hosts != new.allowed_hosts),
            (
                "CLIENT_REQUESTS_PER_SECOND",
                self.client_requests_per_second != new.client_requests_per_second,
            ),
            ("CLIENT_WAITERS_MAX", self.client_waiters_max != new.client_waiters_max),
            ("KEEP_ALIVE_SECONDS", self.keep_alive != new.keep_alive),
            ("DRAIN_SECONDS", self.drain != new.drain),
            ("CONNECTIONS_MAX", self.connections_max != new.connections_max),
            (
                "OPERATIONS_QUEUED_MAX",
                self.operations_queued_max != new.operations_queued_max,
            ),
            ("WAITERS_MAX", self.waiters_max != new.waiters_max),
        ] {
            changes.need_restart.extend(differs.then_some(name));
        }
        let settings = Self {
            log_filter: new.log_filter.clone(),
            tls: if is_tls_kept { new.tls.clone() } else { self.tls.clone() },
            waiters_per_resource_max: new.waiters_per_resource_max,
            client_locks_max: new.client_locks_max,
            default_ttl: new.default_ttl,
            max_ttl: new.max_ttl,
            max_timeout: new.max_timeout,
            lock_delay: new.lock_delay,
            prune_after_days: new.prune_after_days,
            history: new.history,
            history_days: new.history_days,
            history_events_max: new.history_events_max,
            ..self.clone()
        };
        (settings, changes)
    }
}

#[cfg(test)]
mod tests {
    use std::env::VarError;

    use super::*;
    use crate::settings::NAMES;

    fn settings(variables: &[(&str, &str)]) -> Settings {
        let value = |name| variables.iter().find(|(known, _)| *known == name);
        Settings::from_variables(|name| {
            value(name)
                .map(|(_, value)| (*value).to_owned())
                .ok_or(VarError::NotPresent)
        })
        .expect("they can be used")
    }

    /// A value that is nobody's default.
    fn other_value(name: &str) -> &'static str {
        match name {
            "DATABASE_URL" => "sqlite://other.sqlite3",
            "RUST_LOG" => "error",
            "LOG_FORMAT" => "json",
            "AUTH" => "required",
            "ALLOWED_HOSTS" => "other",
            "LOCKED_BY_AT_REST" => "hashed",
            "HISTORY" => "off",
            "SECRET_KEY" => "another key of at least 32 characters",
            _ => "77",
        }
    }

    #[test]
    fn each_setting_that_differs_is_named_and_is_in_force_if_it_needs_no_restart() {
        // Those that need another one are set in both.
        let both = [
            ("TLS_CERT", "c"),
            ("TLS_KEY", "k"),
            ("SECRET_KEY", "a key of at least 32 characters, yes"),
        ];
        for name in NAMES {
            let other = [(name, other_value(name))];
            let (old, new) = (settings(&both), settings(&[&other[..], &both].concat()));

            let (runs, changes) = old.changed_to(&new);

            let named = [&changes.made[..], &changes.need_restart].concat();
            assert!(named.contains(&name), "{name}: {changes:?}");
            let (again, changes_again) = runs.changed_to(&new);
            assert_eq!(again, runs, "{name}");
            assert_eq!(changes_again.made, Vec::<&str>::new(), "{name}: it is in force");
            assert_eq!(changes_again.need_restart, changes.need_restart, "{name}");
            assert_eq!(runs == new, changes.need_restart.is_empty(), "{name}");
        }
    }

    #[test]
    fn tls_is_switched_on_and_off_by_a_restart() {
        let (off, on) = (settings(&[]), settings(&[("TLS_CERT", "c"), ("TLS_KEY", "k")]));
        for (old, new) in [(&off, &on), (&on, &off)] {
            let (runs, changes) = old.changed_to(new);

            assert_eq!(&runs, old);
            assert_eq!(changes.need_restart, ["TLS_CERT", "TLS_KEY"]);
            assert!(changes.made.is_empty());
        }
    }
}
