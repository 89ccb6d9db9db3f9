//! What happened, for people.

use std::fmt::Write;

use central_locking_system::lock::ResourceName;

/// Lines of a history that are shown: who wants more reads the code.
const LINES_SHOWN_MAX: usize = 60;

#[derive(Default)]
pub struct History(Vec<Line>);

struct Line {
    at_ms: u128,
    /// Of which resource it tells, if of one.
    name: Option<ResourceName>,
    text: String,
}

impl History {
    pub fn push(&mut self, at_ms: u128, name: Option<&ResourceName>, text: String) {
        let name = name.cloned();
        self.0.push(Line { at_ms, name, text });
    }

    /// What happened to one resource, and around it.
    pub fn of(&self, name: Option<&ResourceName>) -> String {
        let is_of = |line: &&Line| name.is_none() || line.name.is_none() || line.name.as_ref() == name;
        let lines: Vec<_> = self.0.iter().filter(is_of).collect();
        let mut text = String::new();
        let shown = &lines[lines.len().saturating_sub(LINES_SHOWN_MAX)..];
        for Line {
            at_ms,
            name,
            text: what,
        } in shown
        {
            let name = name.as_ref().map_or("", ResourceName::as_str);
            writeln!(text, "{at_ms:>7} ms  {name:<3} {what}").expect("a String takes all");
        }
        text
    }

    /// All of it, to be compared.
    pub fn all(&self) -> String {
        let lines = self.0.iter();
        lines
            .map(|line| format!("{} {:?} {}\n", line.at_ms, line.name, line.text))
            .collect()
    }
}
