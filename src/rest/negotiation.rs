//! Which renderer answers: Django REST framework's default content
//! negotiation, which looks at how exact a type is and not at `q`.

use crate::rest::exceptions::ApiException;
use crate::rest::media_type::MediaType;
use crate::rest::renderers::JsonRenderer;

/// The largest indentation that `Accept` can ask for.
const INDENT_MAX: usize = 8;

/// The renderer that `accept` and `?format=` ask for.
///
/// Errors: 404 if there is no such format, 406 if nothing acceptable is left.
pub fn select_renderer(accept: Option<&str>, format: Option<&str>) -> Result<JsonRenderer, ApiException> {
    if format.is_some_and(|format| !format.is_empty() && format != JsonRenderer::FORMAT) {
        return Err(ApiException::not_found());
    }
    let accept = match accept {
        // What nearly every client sends.
        None | Some("*/*" | JsonRenderer::MEDIA_TYPE) => return Ok(JsonRenderer::default()),
        Some(accept) => accept,
    };
    let acceptable = accept
        .split(',')
        .map(MediaType::parse)
        .filter(|media_type| media_type.matches(JsonRenderer::MEDIA_TYPE))
        // Of equals the first.
        .reduce(|best, next| {
            if next.precedence() > best.precedence() {
                next
            } else {
                best
            }
        });
    let media_type = acceptable.ok_or_else(ApiException::not_acceptable)?;
    let indent = media_type
        .parameter("indent")
        .and_then(|indent| indent.trim().parse::<i64>().ok());
    Ok(JsonRenderer {
        indent: indent.map_or(0, |indent| usize::try_from(indent).unwrap_or(0).min(INDENT_MAX)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_acceptable_and_how_it_is_indented() {
        for (accept, indent) in [
            (None, Some(0)),
            (Some("*/*"), Some(0)),
            (Some("application/json;q=0"), Some(0)),
            (Some("application/json; indent=4"), Some(4)),
            (Some("application/json; indent=99"), Some(8)),
            (Some("application/json; indent=-1"), Some(0)),
            (Some("application/json; indent=x"), Some(0)),
            (Some("*/*;indent=2, application/json"), Some(0)),
            (Some("text/csv,application/json"), Some(0)),
            (Some("application/json,"), Some(0)),
            (Some("text/html"), None),
            (Some(""), None),
        ] {
            let selected = select_renderer(accept, None).ok().map(|renderer| renderer.indent);
            assert_eq!(selected, indent, "{accept:?}");
        }
    }
}
