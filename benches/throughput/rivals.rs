//! What the server is compared with, as simple as such things are written.

use std::path::Path;
use std::time::Duration;

use actix_web::http::Method;
use actix_web::web::{Bytes, Data, Path as UrlPath, block, to};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, CustomizeConnection, Error, Pool};
use diesel::sqlite::SqliteConnection;
use serde::Deserialize;

const ACQUIRED: &str = r#"{"Success":"Resource is acquired."}"#;
const REFUSED: &str = r#"{"Error":"Resource is locked."}"#;

/// As long as what a renewal is answered with.
const RENEWED: &str = concat!(
    r#"{"name":"held-000000","locked":true,"label":null,"ttl":3600,"acquired_at":"2026-01-01T00:00:00.000000Z","#,
    r#""expires_at":"2026-01-01T01:00:00.000000Z","expires_in":3600.0,"fencing_token":1000,"waiters":0}"#,
);

/// Serves one of them until killed.
pub fn serve(kind: &str, directory: &Path) {
    let system = actix_web::rt::System::new();
    match kind {
        "constants" => system.block_on(constants()),
        _ => system.block_on(per_request(directory)),
    }
    .expect("the rival serves");
}

fn success(method: &Method) -> HttpResponse {
    match *method {
        Method::PUT => HttpResponse::Ok().content_type("application/json").body(ACQUIRED),
        Method::PATCH => HttpResponse::Ok().content_type("application/json").body(RENEWED),
        _ => HttpResponse::NoContent().finish(),
    }
}

async fn constants() -> std::io::Result<()> {
    async fn answer(request: HttpRequest, _body: Bytes) -> HttpResponse {
        success(request.method())
    }
    let app = || App::new().route("/resources/{name}/", to(answer));
    let server = HttpServer::new(app).bind("127.0.0.1:0")?;
    println!("Starting server at http://{}/", server.addrs()[0]);
    server.run().await
}

diesel::table! {
    resources (name) {
        name -> Text,
        locked_by -> Nullable<Text>,
    }
}

type SqlitePool = Pool<ConnectionManager<SqliteConnection>>;

/// The same durability as ours.
#[derive(Debug)]
struct Pragmas;

impl CustomizeConnection<SqliteConnection, Error> for Pragmas {
    fn on_acquire(&self, conn: &mut SqliteConnection) -> Result<(), Error> {
        conn.batch_execute("PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")
            .map_err(Error::QueryError)
    }
}

#[derive(Deserialize)]
struct Body {
    locked_by: String,
}

async fn per_request(directory: &Path) -> std::io::Result<()> {
    async fn answer(request: HttpRequest, name: UrlPath<String>, body: Bytes, pool: Data<SqlitePool>) -> HttpResponse {
        let method = request.method().clone();
        let acquire = method == Method::PUT;
        let Ok(body) = serde_json::from_slice::<Body>(&body) else {
            return HttpResponse::BadRequest().finish();
        };
        let done = block(move || transaction(&pool, &name, &body.locked_by, acquire)).await;
        match done {
            Ok(Ok(true)) => success(&method),
            Ok(Ok(false)) => HttpResponse::BadRequest().body(REFUSED),
            _ => HttpResponse::ServiceUnavailable().finish(),
        }
    }
    let manager = ConnectionManager::new(directory.join("db.sqlite3").to_string_lossy());
    // One first, so that nobody else changes the journal's mode at the same time.
    let create = "CREATE TABLE resources (name TEXT NOT NULL PRIMARY KEY, locked_by TEXT) WITHOUT ROWID";
    let mut first = SqliteConnection::establish(&directory.join("db.sqlite3").to_string_lossy()).expect("SQLite opens");
    Pragmas
        .on_acquire(&mut first)
        .and_then(|()| first.batch_execute(create).map_err(Error::QueryError))
        .expect("a table");
    let pool: SqlitePool = Pool::builder()
        .max_size(10)
        .connection_timeout(Duration::from_secs(30))
        .connection_customizer(Box::new(Pragmas))
        .build(manager)
        .expect("a pool");
    let app = move || {
        App::new()
            .app_data(Data::new(pool.clone()))
            .route("/resources/{name}/", to(answer))
    };
    let server = HttpServer::new(app).bind("127.0.0.1:0")?;
    println!("Starting server at http://{}/", server.addrs()[0]);
    server.run().await
}

fn transaction(pool: &SqlitePool, name: &str, key: &str, acquire: bool) -> Result<bool, Error> {
    let mut conn = pool
        .get()
        .map_err(|error| Error::ConnectionError(ConnectionError::BadConnection(error.to_string())))?;
    conn.immediate_transaction(|conn| {
        let row: Option<Option<String>> = resources::table
            .find(name)
            .select(resources::locked_by)
            .get_result(conn)
            .optional()?;
        let holder = row.flatten();
        let allowed = if acquire {
            holder.is_none()
        } else {
            holder.as_deref() == Some(key)
        };
        if allowed {
            let values = (
                resources::name.eq(name),
                resources::locked_by.eq(acquire.then_some(key)),
            );
            diesel::replace_into(resources::table).values(values).execute(conn)?;
        }
        Ok(allowed)
    })
    .map_err(Error::QueryError)
}
