//! The stream of events.

on_both! {
    what_happens_is_told_as_it_happens
    a_client_that_is_cut_off_again_and_again_is_told_each_event_once
    of_what_does_not_concern_a_client_it_is_told_nothing
    a_stream_ends_with_the_token_that_it_was_opened_with
    a_stream_keeps_no_server_from_stopping
    what_is_done_beside_the_server_is_told_too
    streams_are_counted_among_what_waits
}

mod claims {
    use std::time::{Duration, Instant};

    use serde_json::Value;

    use crate::access::{guarded, token};
    use crate::history::{SOON, by, ids_in_table, text};
    use crate::support::{Client, EventStream, Server, eventually};
    use rustix::process::Signal;

    fn cycle(client: &mut Client, name: &str) {
        assert_eq!(client.put(name, &by("k", "")).status, 200);
        assert_eq!(client.delete(name, "k").status, 204);
    }

    fn kind(event: &(i64, Value)) -> String {
        format!("{} {}", text(&event.1, "resource"), text(&event.1, "event"))
    }

    pub(super) fn what_happens_is_told_as_it_happens() {
        let server = Server::start();
        let mut client = server.client();
        cycle(&mut client, "before");
        let mut stream = EventStream::open(server.address, "", &[]);
        // It has begun when it tells something.
        eventually("it tells something", SOON, || {
            cycle(&mut client, "begin");
            !stream.next(1, Duration::from_millis(200)).is_empty()
        });
        while !stream.next(100, Duration::from_millis(300)).is_empty() {}

        let mut delays = Vec::new();
        for _ in 0..8 {
            let asked = Instant::now();
            assert_eq!(client.put("r", &by("k", "")).status, 200);
            let told = stream.next(1, SOON);
            delays.push(asked.elapsed());
            assert_eq!(kind(&told[0]), "r acquired");
            assert_eq!(told[0].0, told[0].1["id"].as_i64().expect("a number"));
            assert_eq!(client.delete("r", "k").status, 204);
            assert_eq!(kind(&stream.next(1, SOON)[0]), "r released");
        }
        delays.sort_unstable();
        assert!(delays[2] < Duration::from_millis(500), "{delays:?}");
    }

    pub(super) fn a_client_that_is_cut_off_again_and_again_is_told_each_event_once() {
        let server = Server::start();
        let address = server.address;
        let writers: Vec<_> = (0..3)
            .map(|writer| {
                std::thread::spawn(move || {
                    let mut client = Client::connect(address);
                    for number in 0..200 {
                        cycle(&mut client, &format!("w{writer}-{}", number % 7));
                    }
                })
            })
            .collect();

        let mut told: Vec<i64> = Vec::new();
        let mut cuts = 0_u32;
        let until = Instant::now() + Duration::from_secs(60);
        while cuts < 100 || told.len() < 1200 {
            assert!(Instant::now() < until, "{} after {cuts} cuts", told.len());
            let last = told.last().copied().unwrap_or(0).to_string();
            let mut stream = EventStream::open(address, "", &[("Last-Event-ID", &last)]);
            cuts += 1;
            // As random as the numbers of digits of what was told: it is cut off in the midst of whatever comes.
            let count = (told.len() * 7 + cuts as usize) % 23;
            let wait_max = Duration::from_millis(if cuts > 100 { 2000 } else { 30 });
            told.extend(stream.next(count, wait_max).into_iter().map(|(id, _)| id));
        }
        writers.into_iter().for_each(|writer| writer.join().expect("it ends"));

        assert_eq!(told, ids_in_table(&server));
    }

    pub(super) fn of_what_does_not_concern_a_client_it_is_told_nothing() {
        let server = guarded();
        let all = token(&server, &["all"]);
        let some = token(&server, &["some", "--prefix", "web-"]);
        let mut client = server.client();
        let header = |key: &str| format!("Token {key}");
        let of_all = header(&all);
        let open =
            |key: &str, query: &str| EventStream::open(server.address, query, &[("Authorization", &header(key))]);
        let mut streams = [
            open(&all, "?since=0"),
            open(&some, "?since=0"),
            open(&all, "?since=0&prefix=d"),
        ];
        for name in ["web-1", "db-1", "web-2"] {
            let path = format!("/resources/{name}/");
            let headers = [("Authorization", of_all.as_str())];
            assert_eq!(client.request_with(("PUT", &path), &headers, &by("k", "")).status, 200);
        }

        let told = streams.each_mut().map(|stream| {
            let told = stream.next(3, Duration::from_secs(2));
            told.iter().map(kind).collect::<Vec<_>>()
        });

        assert_eq!(told[0], ["web-1 acquired", "db-1 acquired", "web-2 acquired"]);
        assert_eq!(told[1], ["web-1 acquired", "web-2 acquired"]);
        assert_eq!(told[2], ["db-1 acquired"]);
    }

    pub(super) fn a_stream_ends_with_the_token_that_it_was_opened_with() {
        let server = guarded();
        let key = token(&server, &["passing"]);
        let authorization = format!("Token {key}");
        let mut stream = EventStream::open(server.address, "?since=0", &[("Authorization", &authorization)]);
        assert!(stream.next(1, Duration::from_millis(500)).is_empty());
        assert!(!stream.is_over);

        let revoked = server.cls().run(&["revoketoken", "passing"]);

        assert!(revoked.status.success());
        eventually("it is over", SOON, || {
            stream.next(1, Duration::from_millis(200));
            stream.is_over
        });
    }

    pub(super) fn a_stream_keeps_no_server_from_stopping() {
        let mut server = Server::start();
        let mut stream = EventStream::open(server.address, "?since=0", &[]);
        assert!(stream.next(1, Duration::from_millis(500)).is_empty());

        server.signal(Signal::TERM);

        let status = server.wait(Duration::from_secs(10)).expect("it stops");
        assert!(status.success());
        stream.next(1, SOON);
        assert!(stream.is_over);
    }

    pub(super) fn what_is_done_beside_the_server_is_told_too() {
        let server = Server::start();
        assert_eq!(server.client().put("r", &by("k", "")).status, 200);
        let mut stream = EventStream::open(server.address, "?since=0", &[]);
        assert_eq!(kind(&stream.next(1, SOON)[0]), "r acquired");

        assert!(
            server
                .cls()
                .run(&["break", "r", "--reason", "by hand"])
                .status
                .success()
        );

        assert_eq!(kind(&stream.next(1, SOON)[0]), "r broken");
    }

    pub(super) fn streams_are_counted_among_what_waits() {
        let server = Server::start_with(&[("CLIENT_WAITERS_MAX", "1")]);
        let mut client = server.client();
        cycle(&mut client, "r");
        let mut first = EventStream::open(server.address, "?since=0", &[]);
        assert_eq!(first.next(2, SOON).len(), 2);

        assert_eq!(client.get("/events/stream/").status, 429);

        drop(first);
        eventually("there is room again", Duration::from_secs(40), || {
            // What is written to the one that has gone shows that it has.
            cycle(&mut client, "r");
            let mut again = EventStream::open_or_refused(server.address, "?since=0");
            again.as_mut().is_some_and(|again| again.next(1, SOON).len() == 1)
        });
    }
}
