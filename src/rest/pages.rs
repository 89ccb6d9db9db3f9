//! Django's own pages, for what no view answers.

use actix_web::http::StatusCode;

/// The page for a status that has one.
pub fn page(status: StatusCode) -> String {
    let (title, text) = match status {
        StatusCode::NOT_FOUND => ("Not Found", "The requested resource was not found on this server."),
        StatusCode::BAD_REQUEST => ("Bad Request (400)", ""),
        _ => ("Server Error (500)", ""),
    };
    format!(
        "\n<!doctype html>\n<html lang=\"en\">\n<head>\n  <title>{title}</title>\n</head>\n<body>\n  \
         <h1>{title}</h1><p>{text}</p>\n</body>\n</html>\n"
    )
}
