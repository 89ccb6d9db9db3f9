//! A panic in a handler.

use std::sync::mpsc::channel;

use actix_web::http::{Method, StatusCode};
use actix_web::web::{self, Payload};
use actix_web::{App, HttpRequest, HttpServer};
use central_locking_system::rest::exceptions::ApiException;
use central_locking_system::rest::{Request, Response, View, ViewResult, dispatch};

use crate::support::Client;

/// Panics at PUT, is fine with DELETE.
struct Fragile;

impl View for Fragile {
    const NAME: &'static str = "Fragile";
    const ALLOWED_METHODS: &'static str = "PUT, DELETE, OPTIONS";

    type User = ();

    async fn authenticate(&self, _: &Request) -> Result<(), ApiException> {
        Ok(())
    }

    async fn handle(&self, request: &mut Request, (): ()) -> Option<ViewResult> {
        assert!(*request.method() != Method::PUT, "as the test wants it");
        Some(Ok(Response::new(StatusCode::OK, "fine")))
    }
}

#[test]
fn a_panic_in_a_handler_is_500_for_that_request_only() {
    let (tell, address) = channel();
    let server = std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async {
            let handle =
                |http: HttpRequest, payload: Payload| async { dispatch(&Fragile, Request::new(http, payload)).await };
            let app = move || App::new().default_service(web::to(handle));
            let server = HttpServer::new(app).workers(1).disable_signals();
            let server = server.bind("127.0.0.1:0").expect("a free port");
            let bound = server.addrs()[0];
            let server = server.run();
            tell.send((bound, server.handle())).expect("the test listens");
            server.await
        })
    });
    let (address, handle) = address.recv().expect("it starts");
    let mut client = Client::connect(address);
    let mut other = Client::connect(address);

    for _ in 0..3 {
        // One worker: if it were gone, nobody would answer.
        let answer = client.request("PUT", "/", "");
        assert_eq!(answer.status, 500);
        assert!(answer.body.contains("Server Error (500)"), "{}", answer.body);
        assert!(!answer.body.contains("as the test wants it"));
        assert_eq!(other.request("DELETE", "/", "").status, 200);
        assert_eq!(client.request("DELETE", "/", "").status, 200);
    }

    actix_web::rt::System::new().block_on(handle.stop(false));
    server.join().expect("no panic").expect("it served");
}
