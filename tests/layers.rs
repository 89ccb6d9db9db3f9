//! The layers of the house: imports go down, never up.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What each module may import, beside itself. `tests` modules are held to it
/// too. The order of the rows is the order of the layers.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("settings", &["limits"]),
    ("limits", &[]),
    ("clock", &[]),
    ("metrics", &["limits"]),
    ("tls", &["settings", "limits"]),
    ("client", &["limits"]),
    ("supervise", &[]),
    ("lock", &["clock", "limits"]),
    ("access", &["lock", "clock", "limits"]),
    ("db", &["access", "lock", "clock", "limits"]),
    ("rest", &["metrics", "limits"]),
    ("engine", &["db", "access", "lock", "metrics", "clock", "limits"]),
    (
        "resources",
        &["engine", "rest", "db", "access", "lock", "metrics", "clock", "limits"],
    ),
    (
        "admin",
        &[
            "resources",
            "engine",
            "rest",
            "db",
            "access",
            "lock",
            "metrics",
            "clock",
            "limits",
        ],
    ),
    (
        "server",
        &["admin", "resources", "engine", "rest", "tls", "metrics", "limits"],
    ),
    (
        "management",
        &[
            "server",
            "resources",
            "engine",
            "rest",
            "db",
            "access",
            "lock",
            "tls",
            "client",
            "supervise",
            "metrics",
            "clock",
            "limits",
            "settings",
        ],
    ),
];

/// What the tests inside of any module may import.
const TESTS_MAY_IMPORT: &[&str] = &["fuzz"];

/// Crates that only some modules may name.
const MAY_NAME: &[(&str, &[&str])] = &[
    ("diesel", &["db"]),
    ("diesel_migrations", &["db"]),
    ("actix_web", &["rest", "resources", "admin", "server", "management"]),
    (
        "tokio",
        &[
            "rest",
            "resources",
            "engine",
            "server",
            "client",
            "supervise",
            "management",
        ],
    ),
    ("reqwest", &["client"]),
    ("nix", &["supervise"]),
    ("utoipa", &["rest", "resources"]),
    ("clap", &["management"]),
    ("dotenvy", &["settings"]),
    ("openssl", &["tls"]),
    ("prometheus", &["metrics"]),
    ("sd_notify", &["management"]),
];

fn sources() -> BTreeMap<PathBuf, String> {
    fn walk(folder: &Path, found: &mut BTreeMap<PathBuf, String>) {
        for entry in fs::read_dir(folder).expect("a folder of sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let source = fs::read_to_string(&path).expect("a source file");
                found.insert(path, source);
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    found
}

/// The top module that a file belongs to.
fn module_of(path: &Path) -> String {
    let inside = path
        .strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
        .expect("below src");
    let first = inside
        .components()
        .next()
        .expect("a name")
        .as_os_str()
        .to_string_lossy()
        .into_owned();
    first.trim_end_matches(".rs").to_owned()
}

fn code_lines(source: &str) -> impl Iterator<Item = &str> {
    source.lines().filter(|line| !line.trim_start().starts_with("//"))
}

/// The identifier that follows `marker` in `line`, wherever it stands.
fn identifiers_after<'s>(line: &'s str, marker: &'s str) -> impl Iterator<Item = &'s str> {
    line.match_indices(marker).map(move |(at, _)| {
        let rest = &line[at + marker.len()..];
        let end = rest
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        &rest[..end]
    })
}

fn violations(sources: &BTreeMap<PathBuf, String>) -> Vec<String> {
    let mut violations = Vec::new();
    for (path, source) in sources {
        let module = module_of(path);
        if module == "lib" || module == "main" {
            continue;
        }
        let allowed = MAY_IMPORT
            .iter()
            .find(|(name, _)| *name == module)
            .map(|(_, allowed)| *allowed);
        let Some(allowed) = allowed else {
            violations.push(format!("{}: module {module} has no layer", path.display()));
            continue;
        };
        for line in code_lines(source) {
            for imported in identifiers_after(line, "crate::") {
                if imported != module && !allowed.contains(&imported) && !TESTS_MAY_IMPORT.contains(&imported) {
                    violations.push(format!(
                        "{}: {module} imports {imported}: {}",
                        path.display(),
                        line.trim()
                    ));
                }
            }
            for (krate, modules) in MAY_NAME {
                let named =
                    line.trim_start().starts_with(&format!("use {krate}::")) || line.contains(&format!(" {krate}::"));
                if named && !modules.contains(&module.as_str()) {
                    violations.push(format!("{}: {module} names {krate}: {}", path.display(), line.trim()));
                }
            }
            let reads_environment = line.contains("env::var") || line.contains("env::vars");
            if reads_environment && module != "settings" {
                violations.push(format!(
                    "{}: {module} reads the environment: {}",
                    path.display(),
                    line.trim()
                ));
            }
            let reads_clock = ["Instant::now", "SystemTime::now", "wall_clock()"];
            if module == "lock" && reads_clock.iter().any(|clock| line.contains(clock)) {
                violations.push(format!("{}: the rules read a clock: {}", path.display(), line.trim()));
            }
        }
    }
    violations
}

#[test]
fn imports_never_go_up_a_layer() {
    let found = violations(&sources());

    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn an_import_that_goes_up_is_found() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for (file, line) in [
        ("lock/decide.rs", "use crate::engine::Engine;"),
        ("lock/decide.rs", "    let now = std::time::Instant::now();"),
        ("rest/view.rs", "use crate::engine::Engine;"),
        ("engine/mod.rs", "use diesel::prelude::*;"),
        ("engine/mod.rs", "use actix_web::web;"),
        ("db/mod.rs", "    let path = std::env::var(\"X\");"),
        ("helpers.rs", "fn f() {}"),
    ] {
        let planted = BTreeMap::from([(src.join(file), line.to_owned())]);
        assert_eq!(violations(&planted).len(), 1, "{file}: {line}");
    }
}

#[test]
fn main_fits_on_one_screen() {
    let main = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/main.rs")).expect("a source file");

    assert!(main.lines().count() < 40);
}
