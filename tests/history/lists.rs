//! What the lists show, and to whom.

on_both! {
    events_are_listed_by_number_and_cut_into_pages
    events_are_found_by_prefix_and_kind
    wrong_parameters_are_named
    whoever_may_see_some_names_sees_what_happened_to_those
    a_name_with_a_slash_has_a_history_too
}

mod claims {
    use crate::access::{guarded, token};
    use crate::history::{by, id_of, results, text};
    use crate::support::{Client, Server};

    fn happen(client: &mut Client, names: &[&str]) {
        for name in names {
            assert_eq!(client.put(name, &by("k", "")).status, 200);
            assert_eq!(client.delete(name, "k").status, 204);
        }
    }

    pub(super) fn events_are_listed_by_number_and_cut_into_pages() {
        let server = Server::start();
        let mut client = server.client();
        happen(&mut client, &["a", "b", "c"]);
        let ids: Vec<_> = results(&mut client, "/events/").iter().map(id_of).collect();
        assert_eq!(ids.len(), 6);
        assert!(ids.is_sorted());

        for (query, expected) in [
            ("?ordering=-id", vec![5, 4, 3, 2, 1, 0]),
            ("?page_size=4", vec![0, 1, 2, 3]),
            ("?page_size=4&page=2", vec![4, 5]),
            ("?page_size=4&page=last&ordering=-id", vec![1, 0]),
            ("?page_size=1&page=5", vec![4]),
            (&format!("?since={}", ids[1]), vec![2, 3, 4, 5]),
            (&format!("?since={}&page_size=3&page=2", ids[1]), vec![5]),
            (&format!("?since={}", ids[5]), vec![]),
            (&format!("?since={}", i64::MAX), vec![]),
        ] {
            let found: Vec<_> = results(&mut client, &format!("/events/{query}"))
                .iter()
                .map(id_of)
                .collect();
            let expected: Vec<_> = expected.into_iter().map(|index: usize| ids[index]).collect();
            assert_eq!(found, expected, "{query}");
        }
        let page = client.get("/events/?page_size=4").json();
        assert_eq!(page["count"], 6);
        assert!(text(&page, "next").ends_with("/events/?page=2&page_size=4"), "{page}");
        assert_eq!(client.get("/events/?page=2").status, 404);
        let history = "/resources/b/history/";
        let of_b: Vec<_> = results(&mut client, history).iter().map(id_of).collect();
        assert_eq!(of_b, [ids[3], ids[2]]);
        let second = results(&mut client, &format!("{history}?page_size=1&page=2"));
        assert_eq!(second.iter().map(id_of).collect::<Vec<_>>(), [ids[2]]);
        assert_eq!(client.get(&format!("{history}?page=2")).status, 404);
    }

    pub(super) fn events_are_found_by_prefix_and_kind() {
        let server = Server::start();
        let mut client = server.client();
        happen(&mut client, &["db-1", "db-2", "web", "d%62"]);

        for (query, expected) in [
            ("?prefix=db-", 4),
            ("?prefix=db-1", 2),
            ("?prefix=d", 6),
            ("?prefix=D", 0),
            ("?prefix=%", 0),
            ("?prefix=&event=released", 4),
            ("?prefix=db&event=acquired", 3),
            ("?event=broken", 0),
        ] {
            let found = results(&mut client, &format!("/events/{query}"));
            assert_eq!(found.len(), expected, "{query}");
        }
    }

    pub(super) fn wrong_parameters_are_named() {
        let server = Server::start();
        let mut client = server.client();
        happen(&mut client, &["r"]);
        let negative = r#"{"since":["Ensure this value is greater than or equal to 0."]}"#;
        for (path, status, body) in [
            ("/events/?since=-1", 400, negative),
            ("/events/stream/?since=-1", 400, negative),
            ("/events/?since=x", 400, r#"{"since":["A valid integer is required."]}"#),
            (
                "/events/?since=9223372036854775808",
                400,
                r#"{"since":["Ensure this value is less than or equal to 9223372036854775807."]}"#,
            ),
            (
                "/events/?event=taken",
                400,
                r#"{"event":["\"taken\" is not a valid choice."]}"#,
            ),
            (
                "/events/?ordering=name",
                400,
                r#"{"ordering":["\"name\" is not a valid choice."]}"#,
            ),
            (
                "/events/?page_size=1001",
                400,
                r#"{"page_size":["Ensure this value is less than or equal to 1000."]}"#,
            ),
            ("/events/?page=0", 404, r#"{"detail":"Invalid page."}"#),
            ("/resources/r/history/?page=3", 404, r#"{"detail":"Invalid page."}"#),
            (
                "/resources/r/history/?page_size=0",
                400,
                r#"{"page_size":["Ensure this value is greater than or equal to 1."]}"#,
            ),
            (
                "/resources/never/history/",
                404,
                r#"{"detail":"A resource with this name does not exist."}"#,
            ),
        ] {
            let answer = client.get(path);
            assert_eq!((answer.status, answer.body.as_str()), (status, body), "{path}");
        }
        for path in ["/events/", "/events/stream/", "/resources/r/history/"] {
            let refused = client.request("POST", path, "{}");
            assert_eq!(refused.status, 405, "{path}");
            assert_eq!(refused.header("Allow"), Some("GET, HEAD, OPTIONS"));
        }
        let last = client.request_with(("GET", "/events/stream/"), &[("Last-Event-ID", "x")], "");
        assert_eq!(
            (last.status, last.body.as_str()),
            (400, r#"{"Last-Event-ID":["A valid integer is required."]}"#)
        );
    }

    pub(super) fn whoever_may_see_some_names_sees_what_happened_to_those() {
        let server = guarded();
        let all = token(&server, &["all"]);
        let some = token(&server, &["some", "--prefix", "web-", "--prefix", "db-"]);
        let acquires = token(&server, &["acquires", "--can", "acquire"]);
        let mut client = server.client();
        let mut ask = |key: &str, method: &str, path: &str, body: &str| {
            let authorization = format!("Token {key}");
            client.request_with((method, path), &[("Authorization", &authorization)], body)
        };
        for name in ["web-1", "db-1", "other"] {
            assert_eq!(
                ask(&all, "PUT", &format!("/resources/{name}/"), &by("k", "")).status,
                200
            );
        }

        for (key, path, status, count) in [
            (&all, "/events/", 200, 3),
            (&some, "/events/", 200, 2),
            (&some, "/events/?prefix=web", 200, 1),
            (&some, "/events/?prefix=o", 200, 0),
            (&some, "/resources/db-1/history/", 200, 1),
            (&some, "/resources/other/history/", 403, 0),
            (&acquires, "/events/", 403, 0),
            (&acquires, "/events/stream/", 403, 0),
            (&acquires, "/resources/db-1/history/", 403, 0),
            (&"nobody".to_owned(), "/events/", 401, 0),
            (&"nobody".to_owned(), "/events/stream/", 401, 0),
        ] {
            let answer = ask(key, "GET", path, "");
            assert_eq!(answer.status, status, "{path}: {}", answer.body);
            if status == 200 {
                assert_eq!(answer.json()["count"], count, "{path}");
            }
        }
    }

    pub(super) fn a_name_with_a_slash_has_a_history_too() {
        let server = Server::start();
        let mut client = server.client();
        let acquired = client.request("POST", "/locks/deploy%2Fprod/acquire/", &by("k", ""));
        assert_eq!(acquired.status, 200, "{}", acquired.body);

        let told = results(&mut client, "/locks/deploy%2Fprod/history/");

        assert_eq!(told.len(), 1);
        assert_eq!(text(&told[0], "resource"), "deploy/prod");
        assert_eq!(client.head("/resources/r/history/", &[]).status, 404);
        assert_eq!(client.head("/events/", &[]).status, 200);
    }
}
