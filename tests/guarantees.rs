//! GUARANTEES.md names tests that are there.

use std::fs;
use std::path::{Path, PathBuf};

/// The tests that a text names: words between backticks with `::`.
fn named(text: &str) -> Vec<&str> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted
        .filter(|word| word.contains("::") && !word.contains(' '))
        .collect()
}

/// The file or folder of a module.
fn module(folder: &Path, name: &str) -> Option<PathBuf> {
    let paths = [folder.join(format!("{name}.rs")), folder.join(name)];
    paths.into_iter().find(|path| path.exists())
}

/// All that stands in a file, or in the files of a folder.
fn sources(path: &Path) -> String {
    if path.is_file() {
        return fs::read_to_string(path).expect("a source file");
    }
    let entries = fs::read_dir(path).expect("a folder of sources");
    entries.map(|entry| sources(&entry.expect("an entry").path())).collect()
}

/// Whether there is such a test, or such tests. `…` stands for any part of a name,
/// `*` for all that begins so.
fn is_there(tests: &Path, word: &str) -> bool {
    let mut place = tests.to_owned();
    for part in word.split("::") {
        if part == "*" {
            continue;
        }
        if let Some(stem) = part.strip_suffix('*') {
            let entries = fs::read_dir(&place).expect("a folder of sources");
            return entries
                .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
                .any(|name| name.starts_with(stem));
        }
        match module(&place, part) {
            Some(found) => place = found,
            None => {
                let source = sources(&place);
                let pieces: Vec<_> = part.split('…').filter(|piece| !piece.is_empty()).collect();
                return source
                    .lines()
                    .filter_map(|line| line.trim_start().strip_prefix("fn "))
                    .any(|function| pieces.iter().all(|piece| function.contains(piece)));
            }
        }
    }
    true
}

#[test]
fn every_test_that_is_named_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("GUARANTEES.md")).expect("the page is there");
    let named = named(&text);

    assert!(named.len() > 30, "only {} tests are named", named.len());
    let missing: Vec<_> = named
        .iter()
        .filter(|word| !is_there(&root.join("tests"), word))
        .collect();
    assert!(missing.is_empty(), "not there: {missing:?}");
    assert!(!is_there(&root.join("tests"), "faults::crash::nobody_wrote_this"));
    assert!(!is_there(&root.join("tests"), "faults::no_such_module::*"));
}
