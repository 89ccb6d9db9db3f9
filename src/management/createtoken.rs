//! `cls createtoken`.

use std::io::{self, Write};
use std::time::Duration;

use chrono::{DateTime, NaiveDate, NaiveTime};
use clap::Args;

use crate::access::{TokenKey, Verbs, is_token_name, is_token_prefix};
use crate::clock::Timestamp;
use crate::db::NewToken;
use crate::limits::NAME_CHARS_MAX;
use crate::lock::Owner;
use crate::management::{CommandError, migrated};
use crate::settings::Settings;

/// Make a token and print its key, once: only its hash is kept.
#[derive(Debug, Args)]
pub struct Createtoken {
    /// What owns the locks that are taken with it. Several tokens may have one
    /// name, for instance while one replaces the other.
    #[arg(value_parser = owner)]
    name: Owner,
    /// Only for resources whose names begin with this; may be repeated.
    #[arg(long = "prefix", value_name = "PREFIX", value_parser = prefix)]
    prefixes: Vec<String>,
    /// What it may do: acquire, read, break, admin, separated by commas.
    #[arg(long = "can", value_name = "VERBS", default_value = "acquire,read")]
    verbs: Verbs,
    /// When it ends: after 90d, 12h, 30m, or at 2027-01-31 or
    /// 2027-01-31T12:00:00Z. If not given, never.
    #[arg(long, value_name = "WHEN", value_parser = instant)]
    expires: Option<Timestamp>,
}

impl Createtoken {
    pub(super) fn run(self, settings: &Settings) -> Result<(), CommandError> {
        let database = migrated(settings)?;
        let key = TokenKey::generate().map_err(|error| io::Error::other(error.to_string()))?;
        let new = NewToken {
            name: self.name,
            key_hash: key.hash(),
            prefixes: self.prefixes,
            verbs: self.verbs,
            expires_at: self.expires,
        };
        let id = database.into_tokens().create(&new).map_err(CommandError::Tokens)?;
        // Apart from the key, so that a script can take that.
        eprintln!(
            "Made token {id} of {:?}, which may {}. This is its key, which is shown only now:",
            new.name.as_str(),
            new.verbs
        );
        writeln!(io::stdout(), "{}", key.reveal())?;
        Ok(())
    }
}

fn owner(text: &str) -> Result<Owner, String> {
    let owner = Owner::new(text).filter(|_| is_token_name(text));
    owner.ok_or_else(|| "a name has 1 to 100 characters, and no control characters".to_owned())
}

fn prefix(text: &str) -> Result<String, String> {
    match is_token_prefix(text) {
        true => Ok(text.to_owned()),
        false if text.is_empty() => Err("leave it out for all resources".to_owned()),
        false => Err(format!(
            "no name of a resource begins so: they have up to {NAME_CHARS_MAX} characters"
        )),
    }
}

/// A span from now, a day (its beginning, UTC), or an instant.
fn instant(text: &str) -> Result<Timestamp, String> {
    let now = Timestamp::wall_clock();
    let at = span(text).map(|span| now + span).or_else(|| {
        let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok();
        let at = match day {
            Some(day) => day.and_time(NaiveTime::MIN).and_utc(),
            None => DateTime::parse_from_rfc3339(text).ok()?.to_utc(),
        };
        Some(Timestamp::from_us(at.timestamp_micros()))
    });
    match at {
        None => Err("write 90d, 12h or 30m, a day as 2027-01-31, or an instant as 2027-01-31T12:00:00Z".to_owned()),
        Some(at) if at <= now => Err("that is over".to_owned()),
        Some(at) => Ok(at),
    }
}

fn span(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds = match unit {
        "d" => 86_400,
        "h" => 3_600,
        "m" => 60,
        _ => return None,
    };
    Some(Duration::from_secs(number.parse::<u64>().ok()?.checked_mul(seconds)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_say_when() {
        let now = Timestamp::wall_clock();
        for (text, from_s, to_s) in [("1d", 86_400, 86_401), ("12h", 43_200, 43_201), ("5m", 300, 301)] {
            let at = instant(text).expect(text);
            assert!(
                at >= now + Duration::from_secs(from_s) && at < now + Duration::from_secs(to_s),
                "{text}"
            );
        }
        let us = |text| instant(text).map(Timestamp::as_us);
        assert_eq!(us("2100-01-01"), Ok(4_102_444_800_000_000));
        assert_eq!(us("2100-01-01T01:00:00+01:00"), Ok(4_102_444_800_000_000));
        for wrong in [
            "",
            "d",
            "1",
            "1w",
            "-1d",
            "2020-01-01",
            "2100-13-01",
            "é",
            "99999999999999999999d",
            "0m",
        ] {
            assert!(instant(wrong).is_err(), "{wrong}");
        }
    }
}
