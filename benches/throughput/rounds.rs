//! Figures that compare: those who are measured take turns, and of each the
//! median counts.

use std::time::Duration;

use crate::load::Measured;

const ROUNDS: usize = 3;
pub const ROUND_LENGTH: Duration = Duration::from_secs(4);

/// What is known of a round.
#[derive(Clone, Copy)]
pub struct Figures {
    /// Operations a second.
    pub rate: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    /// Microseconds of processor time for an operation.
    pub processor_us: f64,
    pub errors_per_second: f64,
}

impl From<Measured> for Figures {
    fn from(measured: Measured) -> Self {
        Self {
            rate: measured.rate(),
            p50_ms: measured.quantile_ms(0.5),
            p99_ms: measured.quantile_ms(0.99),
            processor_us: measured.processor_us(),
            errors_per_second: measured.errors_per_second(),
        }
    }
}

/// Measures each in turn, some rounds long, and answers with the median of
/// each, by its rate.
pub fn alternate<T>(measured: &[T], measure: impl Fn(&T) -> Figures) -> Vec<Figures> {
    let mut rounds = vec![Vec::new(); measured.len()];
    for _ in 0..ROUNDS {
        for (one, figures) in measured.iter().zip(&mut rounds) {
            figures.push(measure(one));
        }
    }
    let median = |mut figures: Vec<Figures>| {
        figures.sort_by(|a, b| a.rate.total_cmp(&b.rate));
        figures[figures.len() / 2]
    };
    rounds.into_iter().map(median).collect()
}

/// Prints the head of a table of figures, after what is in it.
pub fn print_head(what: &str, column: &str) {
    println!("{what}, median of {ROUNDS} rounds of {} s:\n", ROUND_LENGTH.as_secs());
    println!("| server | {column} | operations/s | p50 ms | p99 ms | processor µs/operation |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
}

/// Prints a row of it; what is not a number is not known.
pub fn print_row(title: &str, column: &str, figures: &Figures) {
    let known = |number: f64, digits: usize| match number.is_nan() {
        true => String::new(),
        false => format!("{number:.digits$}"),
    };
    println!(
        "| {title} | {column} | {:.0} | {} | {} | {} |",
        figures.rate,
        known(figures.p50_ms, 2),
        known(figures.p99_ms, 2),
        known(figures.processor_us, 1)
    );
    if figures.errors_per_second > 0.0 {
        println!(
            "|   of these failed | {column} | {:.0} | | | |",
            figures.errors_per_second
        );
    }
}
