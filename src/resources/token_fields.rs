//! What is said of a token that is to be made.

use std::time::Duration;

use crate::access::{Verb, Verbs, is_token_name, is_token_prefix};
use crate::limits::{NAME_CHARS_MAX, OWNER_CHARS_MAX, TOKEN_PREFIXES_MAX, TTL_SECONDS_MAX};
use crate::lock::Owner;
use crate::rest::exceptions::{FieldErrors, Problems};
use crate::rest::fields::{CharField, Input, IntegerField, ListField};
use crate::rest::parsers::Data;

const NAME: CharField = CharField {
    chars_max: OWNER_CHARS_MAX,
};
const PREFIXES: ListField = ListField {
    child: CharField {
        chars_max: NAME_CHARS_MAX,
    },
    elements_max: TOKEN_PREFIXES_MAX,
};
const VERBS: ListField = ListField {
    child: CharField { chars_max: 20 },
    elements_max: Verb::ALL.len(),
};
const EXPIRES_IN: IntegerField = IntegerField {
    min_value: 1,
    max_value: TTL_SECONDS_MAX,
};

/// What `cls createtoken` gives if nothing is said.
const USUAL_VERBS: [Verb; 2] = [Verb::Acquire, Verb::Read];

/// A valid request to make a token.
pub(super) struct TokenFields {
    pub(super) name: Owner,
    pub(super) prefixes: Vec<String>,
    pub(super) verbs: Verbs,
    /// From now on; `None` is for ever.
    pub(super) expires_in: Option<Duration>,
}

impl TokenFields {
    /// Errors: what is wrong, every problem at once.
    pub(super) fn read(data: &Data<'_>) -> Result<Self, FieldErrors> {
        data.require_fields()?;
        let mut errors = FieldErrors::default();
        let name = errors.check("name", name(data.get("name")));
        let verbs = errors.check("verbs", verbs(data.get_list("verbs")));
        let prefixes = errors.check("prefixes", prefixes(data.get_list("prefixes")));
        let expires_in = errors.check("expires_in", EXPIRES_IN.validate(data.get("expires_in")));
        match (name, prefixes, verbs, expires_in) {
            (Some(name), Some(prefixes), Some(verbs), Some(expires_in)) => Ok(Self {
                name,
                prefixes,
                verbs,
                expires_in: expires_in.map(|seconds| Duration::from_secs(seconds.into())),
            }),
            _ => Err(errors),
        }
    }
}

fn name(input: Input<'_>) -> Result<Owner, Vec<String>> {
    let name = NAME.validate(input)?;
    let owner = Owner::new(&name).filter(|_| is_token_name(&name));
    owner.ok_or_else(|| vec!["Control characters are not allowed.".to_owned()])
}

fn prefixes(input: Input<'_>) -> Result<Vec<String>, Problems> {
    let prefixes = PREFIXES.validate_optional(input)?;
    debug_assert!(prefixes.iter().all(|prefix| is_token_prefix(prefix)));
    Ok(prefixes)
}

fn verbs(input: Input<'_>) -> Result<Verbs, Problems> {
    let words = VERBS.validate_optional(input)?;
    if words.is_empty() {
        return Ok(USUAL_VERBS.into_iter().collect());
    }
    let verbs = words
        .iter()
        .map(|word| Verb::ALL.into_iter().find(|verb| verb.as_str() == word));
    let wrong = words.iter().zip(verbs.clone()).enumerate();
    let wrong = wrong.filter(|(_, (_, verb))| verb.is_none());
    let wrong: Vec<_> = wrong
        .map(|(at, (word, _))| (at, vec![format!("\"{word}\" is not a valid choice.")]))
        .collect();
    match wrong.is_empty() {
        true => Ok(verbs.flatten().collect()),
        false => Err(Problems::Items(wrong)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_a_token_is_read_or_refused_field_by_field() {
        for (body, expected) in [
            ("name=ci", Ok("ci acquire,read [] None")),
            (
                "name=+ci+&verbs=&prefixes=",
                Err(
                    r#"{"verbs":{"0":["This field may not be blank."]},"prefixes":{"0":["This field may not be blank."]}}"#,
                ),
            ),
            (
                "name=ci&verbs=break&verbs=read&prefixes=a&prefixes=b&expires_in=60",
                Ok("ci read,break [\"a\", \"b\"] Some(60s)"),
            ),
            (
                "name=a%01b&verbs=write&verbs=read&expires_in=0",
                Err(
                    r#"{"name":["Control characters are not allowed."],"verbs":{"0":["\"write\" is not a valid choice."]},"expires_in":["Ensure this value is greater than or equal to 1."]}"#,
                ),
            ),
            ("x=y", Err(r#"{"name":["This field is required."]}"#)),
        ] {
            let pairs = form_urlencoded::parse(body.as_bytes());
            let data = Data::Form(
                pairs
                    .map(|(name, value)| (name.into_owned(), Some(value.into_owned())))
                    .collect(),
            );
            let read = TokenFields::read(&data);
            let read = read.map(|it| {
                format!(
                    "{} {} {:?} {:?}",
                    it.name.as_str(),
                    it.verbs,
                    it.prefixes,
                    it.expires_in
                )
            });
            let read = read.map_err(|errors| serde_json::to_string(&errors).expect("it can be written"));
            assert_eq!(read, expected.map(str::to_owned).map_err(str::to_owned), "{body}");
        }
    }
}
