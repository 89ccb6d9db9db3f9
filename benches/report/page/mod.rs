//! The report, made of figures alone, so that neither says what the other does not.

pub mod figures;
mod plots;
pub mod statistics;
mod systems;
mod targets;
mod text;

use figures::Figures;

/// The files of the report: path from the root of the project, and content.
pub fn render(figures: &Figures) -> Vec<(String, String)> {
    let mut files = vec![("docs/benchmarks.md".to_owned(), text::render(figures))];
    files.extend(plots::render(figures));
    files
}
