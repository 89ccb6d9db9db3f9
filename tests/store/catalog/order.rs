//! In which order rows come, and how they are cut into pages.

use super::*;

every_claim! {
    rows_that_lack_a_value_come_last_in_either_direction
    rows_that_are_equal_are_in_the_order_of_their_names
    texts_are_ordered_by_their_bytes
    pages_together_are_the_whole_list
    a_page_beyond_the_last_has_no_rows
}

fn rows_that_lack_a_value_come_last_in_either_direction<B: Catalogued>() {
    let backend = B::new();
    put(&backend, "later", "k", Some("b"), Some(FAR_AHEAD + 1));
    put(&backend, "sooner", "k", Some("a"), Some(FAR_AHEAD));
    put(&backend, "ever", "k", None, None);
    // What is left of its lock must not order it.
    put(&backend, "expired", "k", Some("c"), Some(LONG_AGO));
    put_free(&backend, &["released"]);
    let catalog = backend.catalog(&backend.open());

    for column in [Column::ExpiresAt, Column::Label] {
        let by = |direction| {
            let ordering = vec![(column, direction)];
            catalog
                .list(&ListQuery {
                    ordering,
                    ..everything()
                })
                .expect("it works")
        };
        assert_eq!(
            names(&by(Direction::Ascending)),
            ["sooner", "later", "ever", "expired", "released"]
        );
        assert_eq!(
            names(&by(Direction::Descending)),
            ["later", "sooner", "ever", "expired", "released"]
        );
    }
}

fn rows_that_are_equal_are_in_the_order_of_their_names<B: Catalogued>() {
    let backend = B::new();
    for name in ["c", "a", "d", "b"] {
        put(&backend, name, "k", None, Some(FAR_AHEAD));
    }
    let catalog = backend.catalog(&backend.open());
    let by = |ordering: &[(Column, Direction)]| {
        let ordering = ordering.to_vec();
        let page = catalog
            .list(&ListQuery {
                ordering,
                ..everything()
            })
            .expect("it works");
        names(&page).concat()
    };

    assert_eq!(by(&[]), "abcd");
    assert_eq!(by(&[(Column::Name, Direction::Descending)]), "dcba");
    assert_eq!(by(&[(Column::FencingToken, Direction::Descending)]), "bdac");
    for column in [Column::Ttl, Column::AcquiredAt, Column::ExpiresAt, Column::Label] {
        assert_eq!(by(&[(column, Direction::Descending)]), "abcd", "{column:?}");
        let then_token = (Column::FencingToken, Direction::Ascending);
        assert_eq!(by(&[(column, Direction::Descending), then_token]), "cadb", "{column:?}");
    }
}

fn texts_are_ordered_by_their_bytes<B: Catalogued>() {
    let backend = B::new();
    let texts = ["B", "a", "b", "é", "\u{ffff}", "🔒"];
    for text in texts {
        put(&backend, text, "k", Some(text), None);
    }
    let catalog = backend.catalog(&backend.open());

    for column in [Column::Name, Column::Label] {
        let ordering = vec![(column, Direction::Ascending)];
        let page = catalog
            .list(&ListQuery {
                ordering,
                ..everything()
            })
            .expect("it works");
        assert_eq!(names(&page), texts, "{column:?}");
    }
}

fn pages_together_are_the_whole_list<B: Catalogued>() {
    let backend = B::new();
    for number in 0..7 {
        let expires_at_us = (number % 3 > 0).then_some(FAR_AHEAD + number % 2);
        put(&backend, &format!("r{number}"), "k", None, expires_at_us);
    }
    let catalog = backend.catalog(&backend.open());

    for column in [Column::Name, Column::ExpiresAt, Column::FencingToken] {
        for direction in [Direction::Ascending, Direction::Descending] {
            let query = ListQuery {
                ordering: vec![(column, direction)],
                ..everything()
            };
            let whole = catalog.list(&query).expect("it works").rows;
            for size in 1..=8 {
                let page_size = NonZeroU32::new(size).expect("it is not zero");
                let query = ListQuery {
                    page_size,
                    ..query.clone()
                };
                let page = |page| catalog.list(&ListQuery { page, ..query.clone() }).expect("it works");
                let last = page(Page::Last);
                let pages: Vec<_> = (1..=last.pages).map(|number| page(Page::Number(number))).collect();

                assert_eq!(last.rows, pages[pages.len() - 1].rows);
                assert_eq!(last.page, u64::from(7_u32.div_ceil(size)));
                let together: Vec<_> = pages.into_iter().flat_map(|page| page.rows).collect();
                assert_eq!(together, whole, "{column:?} {direction:?} by {size}");
            }
        }
    }
}

fn a_page_beyond_the_last_has_no_rows<B: Catalogued>() {
    let backend = B::new();
    put_free(&backend, &["a", "b", "c"]);
    let catalog = backend.catalog(&backend.open());

    for number in [0, 3, u64::MAX] {
        let page_size = NonZeroU32::new(2).expect("it is not zero");
        let query = ListQuery {
            page: Page::Number(number),
            page_size,
            ..everything()
        };
        let page = catalog.list(&query).expect("it works");

        assert_eq!((page.count, page.pages, page.rows.len()), (3, 2, 0), "{number}");
    }
}
