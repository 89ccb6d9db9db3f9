//! Which renderer answers: Django REST framework's default content
//! negotiation, which looks at how exact a type is and not at `q`.

use std::cmp::Reverse;

use actix_web::HttpRequest;
use actix_web::http::Method;
use actix_web::http::header::ACCEPT;

use crate::rest::exceptions::ApiException;
use crate::rest::media_type::MediaType;
use crate::rest::renderers::{Renderer, Selected};

/// The largest indentation that `Accept` can ask for.
const INDENT_MAX: usize = 8;

/// The one of `renderers` that `accept` and `?format=` ask for: for the most
/// exact of the types in `accept` the first that is of this type.
///
/// Errors: 404 if there is no such format, 406 if nothing acceptable is left.
pub fn select_renderer(
    renderers: &'static [Renderer],
    accept: Option<&str>,
    format: Option<&str>,
) -> Result<Selected, ApiException> {
    let format = format.filter(|format| !format.is_empty());
    let mut offered = renderers
        .iter()
        .filter(|renderer| format.is_none_or(|format| renderer.format == format));
    let first = offered.clone().next().ok_or_else(ApiException::not_found)?;
    let accept = match accept {
        // What nearly every client sends.
        None | Some("*/*") => return Ok(plain(first)),
        Some(accept) if accept == first.media_type => return Ok(plain(first)),
        Some(accept) => accept,
    };
    let selected = accept
        .split(',')
        .map(MediaType::parse)
        .filter_map(|media_type| {
            let place = offered
                .clone()
                .position(|renderer| media_type.matches(renderer.media_type))?;
            Some((media_type, place))
        })
        // Of equals the first.
        .reduce(|best, next| if rank(next) > rank(best) { next } else { best });
    let (media_type, place) = selected.ok_or_else(ApiException::not_acceptable)?;
    let indent = media_type
        .parameter("indent")
        .and_then(|indent| indent.trim().parse::<i64>().ok());
    Ok(Selected {
        indent: indent.map_or(0, |indent| usize::try_from(indent).unwrap_or(0).min(INDENT_MAX)),
        ..plain(offered.nth(place).unwrap_or(first))
    })
}

/// Whether somebody only looks, and rather at a page than at JSON.
pub fn prefers_page(http: &HttpRequest) -> bool {
    let accept = http.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok());
    matches!(*http.method(), Method::GET | Method::HEAD) && names_page(accept, http.uri().query().unwrap_or_default())
}

/// Whether a browser asks: `Accept` names HTML and not JSON, and the query has no
/// `format`. Then the framework's browsable API answers; whoever takes anything
/// gets JSON.
fn names_page(accept: Option<&str>, query: &str) -> bool {
    const OFFERED: [Renderer; 2] = [
        Renderer::JSON,
        Renderer {
            media_type: "text/html",
            format: "api",
            ..Renderer::JSON
        },
    ];
    let Some(accept) = accept.filter(|accept| accept.contains("text/html")) else {
        return false;
    };
    let has_format = form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "format");
    !has_format && select_renderer(&OFFERED, Some(accept), None).is_ok_and(|it| it.renderer.format == "api")
}

fn rank((media_type, place): (MediaType<'_>, usize)) -> (u8, Reverse<usize>) {
    (media_type.precedence(), Reverse(place))
}

fn plain(renderer: &'static Renderer) -> Selected {
    Selected { renderer, indent: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_acceptable_and_how_it_is_indented() {
        for (accept, indent) in [
            (None, Some(0)),
            (Some("*/*"), Some(0)),
            (Some("application/json"), Some(0)),
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
            let selected = select_renderer(&[Renderer::JSON], accept, None);
            assert_eq!(selected.ok().map(|selected| selected.indent), indent, "{accept:?}");
        }
    }

    #[test]
    fn a_page_is_for_who_names_html_and_not_json() {
        const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8";
        for (accept, query, is_preferred) in [
            (None, "", false),
            (Some("*/*"), "", false),
            (Some("application/json"), "", false),
            (Some("text/html;q=0.1, application/json"), "", false),
            (Some("text/*"), "", false),
            (Some("text/html"), "", true),
            (Some(BROWSER), "", true),
            (Some(BROWSER), "page=2&locked=true", true),
            (Some(BROWSER), "format=json", false),
            (Some(BROWSER), "page=2&format=", false),
        ] {
            assert_eq!(names_page(accept, query), is_preferred, "{accept:?} {query}");
        }
    }

    #[test]
    fn one_of_several_is_selected_by_type_and_format() {
        const OFFERED: [Renderer; 4] = [
            Renderer::OPENAPI_JSON,
            Renderer::JSON,
            Renderer::YAML,
            Renderer::OPENAPI_YAML,
        ];
        for (accept, format, expected) in [
            (None, None, Ok(Renderer::OPENAPI_JSON)),
            (Some("*/*"), Some(""), Ok(Renderer::OPENAPI_JSON)),
            (Some("application/json"), None, Ok(Renderer::JSON)),
            (Some("application/yaml"), None, Ok(Renderer::YAML)),
            (Some("application/vnd.oai.openapi"), None, Ok(Renderer::OPENAPI_YAML)),
            (Some("*/yaml"), None, Ok(Renderer::YAML)),
            // Of equally exact types the renderers' order decides, and q does not.
            (
                Some("application/yaml, application/json;q=0.1"),
                None,
                Ok(Renderer::JSON),
            ),
            (
                Some("application/json, application/yaml; a=b"),
                None,
                Ok(Renderer::YAML),
            ),
            (Some("text/html, application/yaml, */*;q=0.8"), None, Ok(Renderer::YAML)),
            (None, Some("json"), Ok(Renderer::OPENAPI_JSON)),
            (Some("application/json"), Some("json"), Ok(Renderer::JSON)),
            (None, Some("yaml"), Ok(Renderer::YAML)),
            (
                Some("application/vnd.oai.openapi"),
                Some("yaml"),
                Ok(Renderer::OPENAPI_YAML),
            ),
            (Some("application/json"), Some("yaml"), Err(406)),
            (Some("text/html"), None, Err(406)),
            (Some("text/html"), Some("xml"), Err(404)),
            (None, Some("JSON"), Err(404)),
        ] {
            let selected = select_renderer(&OFFERED, accept, format);
            let selected = selected.map(|selected| *selected.renderer);
            assert_eq!(
                selected.map_err(|exception| exception.status.as_u16()),
                expected,
                "{accept:?} {format:?}"
            );
        }
    }
}
