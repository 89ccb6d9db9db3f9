//! What is found in names and labels.

use super::*;

every_claim! {
    each_word_is_found_in_the_name_or_the_label
    what_patterns_mean_is_searched_for_as_it_is
    the_label_of_a_lock_that_is_over_is_not_found
}

pub(super) fn found<'p>(catalog: &Catalog, text: &str, page: &'p mut Option<ListPage>) -> Vec<&'p str> {
    let search = Search::new(text);
    assert!(search.is_some(), "{text:?} is short enough");
    names(page.insert(catalog.list(&ListQuery { search, ..everything() }).expect("it works")))
}

fn each_word_is_found_in_the_name_or_the_label<B: Catalogued>() {
    let backend = B::new();
    put(&backend, "job/1", "secret", Some("Nightly run"), None);
    put(&backend, "job/2", "secret", Some("daily RUN"), None);
    put(&backend, "Job/3-É", "secret", None, None);
    let catalog = backend.catalog(&backend.open());

    for (text, expected) in [
        ("", &["Job/3-É", "job/1", "job/2"][..]),
        ("JOB", &["Job/3-É", "job/1", "job/2"]),
        ("run", &["job/1", "job/2"]),
        ("run  job nightly", &["job/1"]),
        ("/2 ly", &["job/2"]),
        ("run /3", &[]),
        ("É", &["Job/3-É"]),
        ("secret", &[]),
        ("\0", &["Job/3-É", "job/1", "job/2"]),
    ] {
        assert_eq!(found(&catalog, text, &mut None), expected, "{text:?}");
    }
}

fn what_patterns_mean_is_searched_for_as_it_is<B: Catalogued>() {
    let backend = B::new();
    put_free(&backend, &["100%", "100", "a_b", "axb", "a\\b", "[ab]*"]);
    let catalog = backend.catalog(&backend.open());

    for (text, expected) in [
        ("%", &["100%"][..]),
        ("_", &["a_b"]),
        ("a_b", &["a_b"]),
        ("\\", &["a\\b"]),
        ("\\_", &[]),
        ("[ab]*", &["[ab]*"]),
    ] {
        assert_eq!(found(&catalog, text, &mut None), expected, "{text:?}");
    }
}

fn the_label_of_a_lock_that_is_over_is_not_found<B: Catalogued>() {
    let backend = B::new();
    put(&backend, "expired", "k", Some("label"), Some(LONG_AGO));
    put(&backend, "held", "k", Some("label"), Some(FAR_AHEAD));
    let catalog = backend.catalog(&backend.open());

    assert_eq!(found(&catalog, "label", &mut None), ["held"]);
}
