//! The URL of a PostgreSQL database, and the password in it.
//!
//! libpq reads the URL itself, and in its complaints repeats what it could not
//! read. So whatever it would cut in another place than its author meant is
//! refused here first, in words that repeat nothing.

use std::fmt;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::db::UrlError;

/// `postgres://user:password@host:port,host:port/database?name=value&…`, as
/// libpq reads it: several hosts, sockets and every option of libpq included.
///
/// Printed it has neither the password nor the options.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl {
    user: Option<String>,
    password: Option<Password>,
    hosts: String,
    database: String,
    options: Vec<(String, String)>,
}

/// Cannot be printed. Percent-encoded, as it stands in the URL.
#[derive(Clone, PartialEq, Eq)]
struct Password(String);

/// Options of libpq that are secrets.
const SECRET_OPTIONS: [&str; 5] = [
    "password",
    "sslpassword",
    "scram_client_key",
    "scram_server_key",
    "oauth_client_secret",
];

impl PostgresUrl {
    /// Reads what follows the scheme.
    pub(super) fn parse(rest: &str) -> Result<Self, UrlError> {
        require_percent_encoding(rest)?;
        // As libpq finds the user: before the first '@', unless a '/' comes first.
        let before_slash = rest.split('/').next().unwrap_or_default();
        let (credentials, rest) = match before_slash.find('@') {
            Some(at) => (Some(&rest[..at]), &rest[at + 1..]),
            None => (None, rest),
        };
        let (location, options) = rest.split_once('?').unwrap_or((rest, ""));
        let (hosts, database) = location.split_once('/').unwrap_or((location, ""));
        if location.contains('@') {
            return Err(UrlError::Malformed("there is an '@' or a '/' in its user or password"));
        }
        // Where it should be a '?' the options, and a password among them, would be a name, which is shown.
        if location.contains(['&', '=']) {
            return Err(UrlError::Malformed("options do not begin with a '?'"));
        }
        require_ports(hosts)?;
        let options = parse_options(options)?;
        if database.is_empty()
            && !options
                .iter()
                .any(|(name, value)| name == "dbname" && !value.is_empty())
        {
            return Err(UrlError::NoDatabase);
        }
        let (user, password) = match credentials.map(|text| text.split_once(':').unwrap_or((text, ""))) {
            Some((user, password)) => (Some(user), Some(password)),
            None => (None, None),
        };
        let present = |text: &&str| !text.is_empty();
        Ok(Self {
            user: user.filter(present).map(str::to_owned),
            password: password.filter(present).map(|text| Password(text.to_owned())),
            hosts: hosts.to_owned(),
            database: database.to_owned(),
            options,
        })
    }

    /// The whole URL with the password, for libpq and for nothing else.
    /// `defaults` are options that hold unless the URL sets them itself.
    pub(in crate::db) fn reveal(&self, defaults: &[(&str, &str)]) -> String {
        let password = match &self.password {
            Some(Password(password)) => format!(":{password}"),
            None => String::new(),
        };
        // Of two options of one name libpq takes the later.
        let defaults = defaults
            .iter()
            .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)));
        let own = self.options.iter().map(|(name, value)| format!("{name}={value}"));
        self.compose(&password, &defaults.chain(own).collect::<Vec<_>>())
    }

    /// The URL without its secrets, for the arguments of another program, which
    /// everybody on the machine can read.
    pub fn without_password(&self) -> String {
        let public = |(name, _): &&(String, String)| !SECRET_OPTIONS.contains(&name.as_str());
        let options = self.options.iter().filter(public);
        let options: Vec<_> = options.map(|(name, value)| format!("{name}={value}")).collect();
        self.compose("", &options)
    }

    /// The password, for the environment of another program.
    pub fn password(&self) -> Option<String> {
        let option = self.options.iter().rfind(|(name, _)| name == "password");
        let encoded = option
            .map(|(_, value)| value)
            .or(self.password.as_ref().map(|Password(text)| text))?;
        Some(percent_decode_str(encoded).decode_utf8_lossy().into_owned())
    }

    fn compose(&self, password: &str, options: &[String]) -> String {
        let user = match (&self.user, password) {
            (None, "") => String::new(),
            (user, password) => format!("{}{password}@", user.as_deref().unwrap_or_default()),
        };
        let mark = if options.is_empty() { "" } else { "?" };
        let (hosts, database) = (&self.hosts, &self.database);
        format!("postgresql://{user}{hosts}/{database}{mark}{}", options.join("&"))
    }
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.compose("", &[]))
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn require_percent_encoding(text: &str) -> Result<(), UrlError> {
    let is_hex = |digit: Option<&u8>| digit.is_some_and(u8::is_ascii_hexdigit);
    let bytes = text.as_bytes();
    let whole = |at: usize| is_hex(bytes.get(at + 1)) && is_hex(bytes.get(at + 2)) && &bytes[at + 1..at + 3] != b"00";
    if bytes.contains(&0) || text.match_indices('%').any(|(at, _)| !whole(at)) {
        return Err(UrlError::Malformed("a '%' is not followed by two hexadecimal digits"));
    }
    Ok(())
}

/// What follows a colon after each host is a number: else it is a password
/// whose '@' is missing.
fn require_ports(hosts: &str) -> Result<(), UrlError> {
    for host in hosts.split(',') {
        let after_name = match host.strip_prefix('[') {
            Some(address) => address.split_once(']').map(|(_, rest)| rest),
            None => Some(host.find(':').map_or("", |at| &host[at..])),
        };
        let port = match after_name {
            Some("") => continue,
            Some(rest) => rest.strip_prefix(':'),
            None => None,
        };
        if !port.is_some_and(|port| port.is_empty() || port.parse::<u16>().is_ok_and(|port| port > 0)) {
            return Err(UrlError::Malformed("what follows the colon after a host is no port"));
        }
    }
    Ok(())
}

/// Whether libpq may know it. In another one it would decode what is
/// percent-encoded, and so find a password where none is seen here.
fn is_option_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

fn parse_options(text: &str) -> Result<Vec<(String, String)>, UrlError> {
    let mut options = Vec::new();
    for option in text.split('&').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some((name, value)) if is_option_name(name) && !value.contains('=') => {
                options.push((name.to_owned(), value.to_owned()));
            }
            _ => return Err(UrlError::Malformed("an option after the '?' is not name=value")),
        }
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(rest: &str) -> PostgresUrl {
        PostgresUrl::parse(rest).unwrap_or_else(|e| panic!("{rest}: {e}"))
    }

    #[test]
    fn libpq_gets_the_url_as_it_was_written() {
        for rest in [
            "u:p%40ss@h:5433/db",
            "u@h/db?sslmode=require",
            "h/db",
            "/db?host=/var/run/postgresql",
            "u:p?x@a:1,b:2/db?target_session_attrs=read-write",
            "[::1]:5432,[fe80::1]/db",
            "u:p@%2Fvar%2Frun/db",
            "h/?dbname=db&password=secret",
        ] {
            assert_eq!(parse(rest).reveal(&[]), format!("postgresql://{rest}"));
        }
    }

    #[test]
    fn what_the_url_sets_comes_after_the_defaults() {
        let url = parse("h/db?connect_timeout=9").reveal(&[("connect_timeout", "2"), ("application_name", "a b&c")]);

        assert_eq!(
            url,
            "postgresql://h/db?connect_timeout=2&application_name=a%20b%26c&connect_timeout=9"
        );
    }

    #[test]
    fn a_password_is_never_printed() {
        for rest in [
            "u:s%65cret@h/db",
            "u@h/db?password=s%65cret&sslmode=require",
            ":s%65cret@h/db",
        ] {
            let url = parse(rest);

            assert_eq!(url.password().as_deref(), Some("secret"), "{rest}");
            for printed in [format!("{url}"), format!("{url:?}"), url.without_password()] {
                assert!(!printed.contains("cret"), "{printed}");
            }
        }
        for secret in SECRET_OPTIONS {
            let url = parse(&format!("u:x@h/db?{secret}=y&a=b"));
            assert_eq!(url.without_password(), "postgresql://u@h/db?a=b", "{secret}");
        }
    }

    #[test]
    fn what_libpq_would_cut_elsewhere_is_refused_and_not_repeated() {
        for rest in [
            "u:sec/ret@h/db",
            "u:sec@ret@h/db",
            "u:secret/db",
            "u:secret%@h/db",
            "u:secret%zz@h/db",
            "u:secret%00@h/db",
            "h:secret/db",
            "h:70000/db",
            "[::1]secret/db",
            "[::1/db",
            "h/db?secret",
            "h/db?=secret",
            "h/db?a=b=secret",
            "h/db?pass%77ord=secret",
            "h/db&password=secret",
            "h/db?PASSWORD=secret",
        ] {
            let error = PostgresUrl::parse(rest).expect_err(rest);

            assert!(matches!(error, UrlError::Malformed(_)), "{rest}: {error}");
            assert!(!format!("{error}{error:?}").contains("secret"), "{rest}");
        }
    }

    #[test]
    fn a_database_must_be_named() {
        for rest in ["", "h", "h/", "u:p@h:5432", "h/?sslmode=require", "h?dbname="] {
            assert_eq!(PostgresUrl::parse(rest), Err(UrlError::NoDatabase), "{rest}");
        }
    }
}
