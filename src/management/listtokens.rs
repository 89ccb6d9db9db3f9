//! `cls listtokens`.

use std::io::{self, Write};

use chrono::{DateTime, SecondsFormat};
use clap::Args;

use crate::access::Token;
use crate::clock::Timestamp;
use crate::management::{CommandError, migrated};
use crate::settings::Settings;

/// List the tokens, without their keys, which nobody knows. What somebody wrote
/// into the table that is no token is named on stderr; no server lets it in.
#[derive(Debug, Args)]
pub struct Listtokens {}

const HEAD: [&str; 7] = ["ID", "NAME", "CAN", "PREFIXES", "CREATED", "EXPIRES", "STATE"];

impl Listtokens {
    pub(super) fn run(self, settings: &Settings) -> Result<(), CommandError> {
        let database = migrated(settings)?;
        let listed = database.into_tokens().list().map_err(CommandError::Tokens)?;
        let now = Timestamp::wall_clock();
        let rows = listed.iter().flatten().map(|token| row(token, now));
        let rows: Vec<_> = [HEAD.map(str::to_owned)].into_iter().chain(rows).collect();
        let widths = HEAD.iter().enumerate().map(|(column, _)| {
            let widths = rows.iter().map(|row| row[column].chars().count());
            widths.max().unwrap_or_default()
        });
        let widths: Vec<_> = widths.collect();
        let mut out = io::stdout().lock();
        for row in rows {
            let cells = row.iter().zip(&widths);
            let line: Vec<_> = cells.map(|(cell, width)| format!("{cell:width$}")).collect();
            writeln!(out, "{}", line.join("  ").trim_end())?;
        }
        let unreadable: Vec<_> = listed.iter().filter_map(|token| token.as_ref().err()).collect();
        for error in &unreadable {
            eprintln!("cls: {error}");
        }
        match unreadable.len() {
            0 => Ok(()),
            count => Err(CommandError::UnreadableTokens(count)),
        }
    }
}

fn row(token: &Token, now: Timestamp) -> [String; HEAD.len()] {
    let prefixes: Vec<_> = token.prefixes.iter().map(|prefix| format!("{prefix:?}")).collect();
    let state = match token.revoked_at {
        Some(at) => format!("revoked {}", date(at)),
        None if token.is_good_at(now) => "good".to_owned(),
        None => "expired".to_owned(),
    };
    [
        token.id.to_string(),
        token.name.as_str().to_owned(),
        token.verbs.to_string(),
        if prefixes.is_empty() {
            "all".to_owned()
        } else {
            prefixes.join(" ")
        },
        date(token.created_at),
        token.expires_at.map_or_else(|| "never".to_owned(), date),
        state,
    ]
}

fn date(at: Timestamp) -> String {
    let at = DateTime::from_timestamp_micros(at.as_us());
    at.map_or_else(String::new, |at| at.to_rfc3339_opts(SecondsFormat::Secs, true))
}
