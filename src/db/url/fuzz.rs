//! What no `DATABASE_URL` can do: above all, show its password.

use super::*;
use crate::fuzz::{fuzz_text, kind};

/// A shorter password may stand in a URL by chance.
const PASSWORD_BYTES_MIN: usize = 6;

#[test]
fn the_password_of_a_url_is_seen_nowhere() {
    fuzz_text("database_url", Vec::new(), |text| {
        let parsed = DatabaseUrl::parse(text);
        match &parsed {
            Ok(DatabaseUrl::Postgres(url)) => {
                let shown = [url.to_string(), format!("{url:?}"), url.without_password()];
                // All have the scheme, and a password may be a part of that.
                let shown = shown.map(|shown| shown.replacen("postgresql://", "", 1));
                for password in passwords(text) {
                    // Where a user or a host is called the same it is no secret.
                    let is_elsewhere = text.matches(password).count() > 1;
                    assert!(
                        is_elsewhere || shown.iter().all(|shown| !shown.contains(password)),
                        "{shown:?}"
                    );
                }
                // libpq gets what was written, and reads it once more as the same.
                let revealed = url.reveal(&[]);
                assert_eq!(DatabaseUrl::parse(&revealed).as_ref(), parsed.as_ref());
                let again = DatabaseUrl::parse(&url.without_password());
                assert!(matches!(again, Ok(DatabaseUrl::Postgres(url)) if url.password().is_none()));
                format!("postgres {} {}", shown[0].contains('@'), url.password().is_some())
            }
            Ok(DatabaseUrl::Sqlite(path)) => {
                assert_eq!(format!("sqlite://{}", path.display()), text);
                "sqlite".to_owned()
            }
            Err(error) => {
                let told = format!("{error} {error:?}");
                assert!(!told.contains("hunter"), "{told}");
                kind(error)
            }
        }
    });
}

/// What a reader of the URL would take for passwords.
fn passwords(url: &str) -> Vec<&str> {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let before_slash = rest.split('/').next().unwrap_or_default();
    let credentials = before_slash.split_once('@').map_or("", |(credentials, _)| credentials);
    let (_, options) = rest[credentials.len()..].split_once('?').unwrap_or_default();
    let first = credentials.split_once(':').map(|(_, password)| password);
    let options = options.split('&').filter_map(|option| option.split_once('='));
    let named = options
        .filter(|(name, _)| ["password", "sslpassword"].contains(name))
        .map(|(_, value)| value);
    let found = first.into_iter().chain(named);
    // One with such a character may be made of the parts beside it.
    let is_told_apart = |password: &&str| password.len() >= PASSWORD_BYTES_MIN && !password.contains(['@', '/', '?']);
    found.filter(is_told_apart).collect()
}
