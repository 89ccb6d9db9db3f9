//! What no header, no query and no value of a field can do.

use crate::fuzz::{fuzz, fuzz_text, kind, recorded_paths};
use crate::rest::ETag;
use crate::rest::fields::{BooleanField, CharField, ChoiceField, Input, IntegerField, Items, ListField};
use crate::rest::media_type::{MediaType, split_unquoted, unquoted};
use crate::rest::negotiation::select_renderer;
use crate::rest::parsers::json_items;
use crate::rest::prefer::preference;
use crate::rest::python;
use crate::rest::query::Query;
use crate::rest::renderers::Renderer;

const OFFERED: [Renderer; 3] = [Renderer::OPENAPI_JSON, Renderer::JSON, Renderer::YAML];

#[test]
fn accept_selects_something_that_is_offered_and_accepted() {
    fuzz_text("accept", Vec::new(), |accept| {
        let selected = select_renderer(&OFFERED, Some(accept), None);
        let acceptable = |renderer: &Renderer| {
            let mut types = accept.split(',').map(MediaType::parse);
            types.any(|media_type| media_type.matches(renderer.media_type))
        };
        match selected {
            Ok(selected) => {
                assert!(OFFERED.contains(selected.renderer) && selected.indent <= 8);
                assert!(acceptable(selected.renderer));
                (selected.renderer.media_type, selected.indent)
            }
            Err(error) => {
                assert!(!OFFERED.iter().any(acceptable), "{error:?}");
                ("none", 0)
            }
        }
    });
}

#[test]
fn a_list_in_a_header_falls_into_pieces_of_itself() {
    fuzz_text("list", Vec::new(), |header| {
        let media_type = MediaType::parse(header);
        let value = media_type.parameter("charset");
        assert!(value.as_ref().is_none_or(|value| value.len() <= header.len()));
        assert!(media_type.precedence() <= 3);
        let mut pieces = 0;
        for separator in [b',', b';'] {
            let mut rest = header;
            while !rest.is_empty() {
                let (piece, after) = split_unquoted(rest, separator);
                let separators = rest.len() - piece.len() - after.len();
                assert!(separators <= 1 && rest.starts_with(piece) && rest.ends_with(after));
                assert!(unquoted(piece).len() <= piece.len());
                rest = after;
                pieces += 1;
            }
        }
        (value.is_some(), pieces.min(16), media_type.precedence())
    });
}

#[test]
fn a_preference_that_comes_first_is_found_whatever_follows() {
    fuzz_text("prefer", Vec::new(), |header| {
        let found = preference([header], "return");
        assert!(found.as_ref().is_none_or(|value| value.len() <= header.len()));

        let before = format!("return=x, {header}");
        assert_eq!(preference([before.as_str()], "return").as_deref(), Some("x"));
        let again = preference([header, "return=x"], "return");
        assert_eq!(again.as_deref(), found.as_deref().or(Some("x")));
        found.map(|value| value.len().min(16))
    });
}

#[test]
fn a_tag_is_found_before_and_beside_anything() {
    fuzz("if_none_match", Vec::new(), |header| {
        let tag = ETag::weak("7-1f");
        let found = tag.is_among([header]);

        assert!(tag.is_among([header, b"\"7-1f\""]));
        assert!(tag.is_among([[b"W/\"7-1f\", ", header].concat().as_slice()]));
        if found {
            let holds = |part: &[u8]| header.windows(part.len()).any(|window| window == part);
            assert!(holds(b"\"7-1f\"") || header.trim_ascii() == b"*");
        }
        found
    });
}

#[test]
fn a_query_that_is_written_again_is_read_as_the_same() {
    let queries = recorded_paths()
        .into_iter()
        .filter_map(|path| Some(path.split_once('?')?.1.to_owned()));

    fuzz_text("query", queries.collect(), |text| {
        let query = Query::parse(text);
        let written = query.replace("/", "page", "3");
        let again = Query::parse(written.strip_prefix("/?").expect("it has a page"));

        assert!(written.bytes().all(|byte| byte.is_ascii_graphic()), "{written}");
        assert_eq!(again.value("page"), Some("3"));
        for (name, _) in query.pairs().filter(|(name, _)| *name != "page") {
            let values = |query: &Query<'_>| {
                let found = query.pairs().filter(|(key, _)| *key == name);
                found.map(|(_, value)| value.to_owned()).collect::<Vec<_>>()
            };
            assert_eq!(values(&again), values(&query));
        }
        assert_eq!(again.replace("/", "page", "3"), written);
        assert!(again.pairs().count() <= query.pairs().count() + 1);
        assert!(
            Query::parse(query.remove("/", "page").trim_start_matches(['/', '?']))
                .value("page")
                .is_none()
        );
        (
            query.pairs().count().min(16),
            query.value("page").map(str::len).min(Some(4)),
        )
    });
}

const CHARS: CharField = CharField { chars_max: 20 };
const WHOLE: IntegerField = IntegerField {
    min_value: 1,
    max_value: 1000,
};
const TOKEN: IntegerField<i64> = IntegerField {
    min_value: 0,
    max_value: i64::MAX,
};
const NAMES: ListField = ListField {
    child: CharField { chars_max: 20 },
    elements_max: 5,
};
const CHOICE: ChoiceField<u8> = ChoiceField {
    choices: &[("name", 1), ("-name", 2)],
};

fn require_text(text: &str) {
    assert!(!text.is_empty() && text.chars().count() <= 20 && !text.contains('\0'));
}

/// Holds what each field accepts against its bounds; says which did.
fn accepted_by(input: &Input<'_>) -> Vec<String> {
    let trimmed = CHARS.validate(input.clone());
    if let Ok(text) = &trimmed {
        require_text(text);
        assert_eq!(text, python::strip(text));
    }
    let exact = CHARS.validate_exact(input.clone());
    if let Ok(text) = &exact {
        require_text(text);
    }
    let whole = WHOLE.validate(input.clone());
    assert!(
        whole.as_ref().is_ok_and(Option::is_none)
            || whole
                .as_ref()
                .is_ok_and(|number| (1..=1000).contains(&number.unwrap_or(1)))
            || whole.is_err()
    );
    let token = TOKEN.validate_required(input.clone());
    assert!(token.as_ref().is_ok_and(|number| *number >= 0) || token.is_err());
    // Whoever may be a small one may be a large one too.
    assert!(!matches!(whole, Ok(Some(_))) || token.is_ok());
    let names = NAMES.validate(input.clone());
    if let Ok(names) = &names {
        assert!((1..=5).contains(&names.len()));
        names.iter().for_each(|name| require_text(name));
    }
    let said = [
        trimmed.map(|_| "text").map_err(|messages| kind(&messages)),
        exact.map(|_| "exact").map_err(|messages| kind(&messages)),
        whole.map(|_| "whole").map_err(|messages| kind(&messages)),
        token.map(|_| "token").map_err(|messages| kind(&messages)),
        names.map(|_| "names").map_err(|problems| kind(&problems)),
        BooleanField
            .validate(input.clone())
            .map(|_| "bool")
            .map_err(|messages| kind(&messages)),
        CHOICE
            .validate(input.clone())
            .map(|_| "choice")
            .map_err(|_| String::new()),
    ];
    said.map(|said| said.map_or_else(|refused| refused, str::to_owned))
        .to_vec()
}

#[test]
fn what_a_field_accepts_keeps_to_its_bounds() {
    fuzz_text("fields", Vec::new(), |text| {
        let mut accepted = accepted_by(&Input::FormText(text));
        accepted.extend(accepted_by(&Input::List(Items::Form(vec![
            Some(text),
            None,
            Some("a"),
        ]))));
        if serde_json::from_str::<serde_json::Value>(text).is_ok() {
            let list = format!("[{text}]");
            for input in json_items(&list, 1).expect("one item") {
                accepted.extend(accepted_by(&input));
            }
        }
        if let Ok(number) = text.parse::<i64>() {
            assert_eq!(python::int(text), Some(number.into()));
        }
        accepted
    });
}

#[test]
fn a_number_prints_as_one_that_reads_back_the_same() {
    fuzz_text("number", Vec::new(), |text| {
        let Ok(number) = serde_json::from_str::<&serde_json::value::RawValue>(text).map(|value| value.get()) else {
            return 0;
        };
        if !number.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
            return 1;
        }
        let printed = python::number_text(number);
        if number.contains(['.', 'e', 'E']) {
            assert_eq!(printed.parse::<f64>(), number.parse::<f64>(), "{printed}");
        } else {
            assert_eq!(printed.trim_start_matches('-'), number.trim_start_matches('-'));
        }
        2 + printed.len().min(64)
    });
}
