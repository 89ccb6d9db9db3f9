//! The plots: a row for each system, a mark for each figure, on one axis.

use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::ranged1d::ValueFormatter;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::figures::{Figures, System};
use super::statistics::quantile;

/// Colours in the light; [`DARK`] has those that they are in the dark.
const PAPER: RGBColor = RGBColor(255, 255, 255);
const INK: RGBColor = RGBColor(31, 35, 40);
const FAINT: RGBColor = RGBColor(209, 217, 224);
/// Told from each other by those who see few colours too; the marks differ in shape.
const MARKS: [RGBColor; 3] = [RGBColor(0, 114, 178), RGBColor(213, 94, 0), RGBColor(0, 158, 115)];

/// A browser that shows pages in the dark shows these so too.
const DARK: [(RGBColor, &str); 6] = [
    (PAPER, "#0d1117"),
    (INK, "#e6edf3"),
    (FAINT, "#3d444d"),
    (MARKS[0], "#58a6ff"),
    (MARKS[1], "#ff9a57"),
    (MARKS[2], "#3fd6a0"),
];

const WIDTH: u32 = 900;
const ROW: u32 = 30;
/// Above the rows: the title and what the marks mean. Below them: the axis.
const ABOVE: u32 = 74;
const BELOW: u32 = 54;
/// Left of the marks: the names of the rows.
const LEFT: u32 = 220;

pub fn render(figures: &Figures) -> Vec<(String, String)> {
    let plots = [
        ("throughput", throughput(figures)),
        ("hand-over", hand_over(figures)),
        ("take-over", take_over(figures)),
        ("memory", memory(figures)),
    ];
    let path = |name| format!("docs/benchmarks/{name}.svg");
    plots
        .into_iter()
        .map(|(name, plot)| (path(name), plot.draw()))
        .collect()
}

#[derive(Clone, Copy, PartialEq)]
enum Scale {
    Linear,
    Logarithmic,
}

struct Plot {
    title: String,
    axis: String,
    scale: Scale,
    /// What each kind of mark is.
    legend: Vec<String>,
    rows: Vec<Row>,
}

struct Row {
    system: System,
    marks: Vec<Mark>,
}

struct Mark {
    kind: usize,
    value: f64,
    /// Where a thin line from the value ends.
    until: Option<f64>,
}

fn rows(marks_of: impl Fn(System) -> Vec<Mark>) -> Vec<Row> {
    let rows = System::ALL.into_iter().map(|system| Row {
        system,
        marks: marks_of(system),
    });
    rows.filter(|row| !row.marks.is_empty()).collect()
}

fn throughput(figures: &Figures) -> Plot {
    let connections = figures.connections();
    let mut rows = rows(|system| {
        let rates = connections.iter().enumerate().filter_map(|(kind, connections)| {
            Some(Mark {
                kind,
                value: figures.rate(system, *connections)?,
                until: None,
            })
        });
        rates.collect()
    });
    let most = |row: &Row| row.marks.iter().map(|mark| mark.value).fold(0.0, f64::max);
    rows.sort_by(|a, b| most(b).total_cmp(&most(a)));
    Plot {
        title: "Acquire and release".to_owned(),
        axis: "operations a second".to_owned(),
        scale: Scale::Logarithmic,
        legend: connections
            .iter()
            .map(|count| format!("{count} connection{}", plural(*count)))
            .collect(),
        rows,
    }
}

fn hand_over(figures: &Figures) -> Plot {
    let waiters = figures.waiters();
    Plot {
        title: "Hand-over from a release to the next grant".to_owned(),
        axis: "milliseconds: a mark is the median, its line ends at the 99th percentile".to_owned(),
        scale: Scale::Logarithmic,
        legend: waiters
            .iter()
            .map(|count| format!("{count} waiter{}", plural(*count)))
            .collect(),
        rows: rows(|system| {
            let lines = waiters.iter().enumerate().filter_map(|(kind, waiters)| {
                let line = figures.line(system, *waiters)?;
                Some(Mark {
                    kind,
                    value: line.p50_ms(),
                    until: Some(line.p99_ms()),
                })
            });
            lines.collect()
        }),
    }
}

fn take_over(figures: &Figures) -> Plot {
    Plot {
        title: "Take-over after a holder's death".to_owned(),
        axis: "milliseconds after the expiry (advisory locks: after the death)".to_owned(),
        scale: Scale::Linear,
        legend: vec!["the median; its line goes from the soonest to the slowest".to_owned()],
        rows: rows(|system| {
            let row = figures.take_over.iter().find(|row| row.system == system);
            let ends = row.into_iter().flat_map(|row| {
                [0.0, 1.0].map(|share| Mark {
                    kind: 0,
                    value: quantile(&row.after_ms, 0.5),
                    until: Some(quantile(&row.after_ms, share)),
                })
            });
            ends.collect()
        }),
    }
}

fn memory(figures: &Figures) -> Plot {
    let (held, waiting) = (figures.run.held, figures.run.waiting);
    Plot {
        title: "Resident memory".to_owned(),
        axis: "MiB".to_owned(),
        scale: Scale::Logarithmic,
        legend: vec![
            "idle".to_owned(),
            format!("with {held} locks held"),
            format!("with {waiting} who wait"),
        ],
        rows: rows(|system| {
            let row = figures.memory.iter().find(|row| row.system == system);
            let marks = row.into_iter().flat_map(|row| {
                let sizes = [row.idle_kib, row.held_kib, row.waiting_kib.1];
                sizes.into_iter().enumerate().map(|(kind, kib)| Mark {
                    kind,
                    value: kib as f64 / 1024.0,
                    until: None,
                })
            });
            marks.collect()
        }),
    }
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

impl Plot {
    fn draw(&self) -> String {
        let rows = u32::try_from(self.rows.len()).expect("a few");
        let mut image = String::new();
        {
            let size = (WIDTH, ABOVE + rows * ROW + BELOW);
            let area = SVGBackend::with_string(&mut image, size).into_drawing_area();
            area.fill(&PAPER).expect("text takes anything");
            let range = self.range();
            match self.scale {
                Scale::Linear => self.draw_on(&area, range),
                Scale::Logarithmic => self.draw_on(&area, range.log_scale()),
            }
            area.present().expect("text takes anything");
        }
        themed(&image)
    }

    /// From below the lowest to above the highest value.
    fn range(&self) -> Range<f64> {
        let marks = self.rows.iter().flat_map(|row| &row.marks);
        let values: Vec<_> = marks
            .flat_map(|mark| [mark.value, mark.until.unwrap_or(mark.value)])
            .collect();
        let (low, high) = (quantile(&values, 0.0), quantile(&values, 1.0));
        match self.scale {
            Scale::Linear => {
                let margin = (high - low.min(0.0)) * 0.03;
                low.min(0.0) - margin..high + margin
            }
            Scale::Logarithmic => low.max(0.001) / 1.3..high * 1.3,
        }
    }

    fn draw_on<R>(&self, area: &DrawingArea<SVGBackend<'_>, Shift>, x: R)
    where
        R: plotters::coord::ranged1d::AsRangedCoord<Value = f64>,
        R::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let rows = self.rows.len() as f64;
        let mut chart = ChartBuilder::on(area)
            .margin_top(ABOVE)
            .margin_right(30)
            .margin_left(LEFT)
            .x_label_area_size(BELOW - 8)
            .build_cartesian_2d(x, rows..0.0)
            .expect("a range of numbers");
        chart
            .configure_mesh()
            .disable_y_mesh()
            .disable_y_axis()
            .x_labels(8)
            .x_label_formatter(&|value| number(*value))
            .axis_style(INK)
            .bold_line_style(FAINT)
            .light_line_style(TRANSPARENT)
            .label_style(font(13, INK))
            .x_desc(&self.axis)
            .axis_desc_style(font(14, INK))
            .draw()
            .expect("text takes anything");
        let text = |words: &str, at: (i32, i32), size: u32, anchor: HPos, bold: bool| {
            let weight = if bold { FontStyle::Bold } else { FontStyle::Normal };
            let style = TextStyle::from(("sans-serif", size, weight).into_font()).color(&INK);
            let style = style.pos(Pos::new(anchor, VPos::Center));
            area.draw(&Text::new(words.to_owned(), at, style))
                .expect("text takes anything");
        };
        text(&self.title, (24, 24), 19, HPos::Left, true);
        let mut left = 30;
        for (kind, words) in self.legend.iter().enumerate() {
            draw_mark(area, kind, (left, 54));
            text(words, (left + 12, 54), 14, HPos::Left, false);
            left += 40 + 8 * i32::try_from(words.len()).expect("a few words");
        }
        for (number, row) in self.rows.iter().enumerate() {
            let middle = number as f64 + 0.5;
            let place = |value: f64| chart.backend_coord(&(value, middle));
            let y = place(row.marks[0].value).1;
            text(
                row.system.title(),
                (i32::try_from(LEFT).expect("small") - 14, y),
                14,
                HPos::Right,
                row.system.is_ours(),
            );
            let end = (i32::try_from(WIDTH).expect("small") - 30, y);
            let start = (i32::try_from(LEFT).expect("small"), y);
            area.draw(&PathElement::new([start, end], FAINT))
                .expect("text takes anything");
            for mark in &row.marks {
                // Lines of one row are beside each other.
                let lines = i32::try_from(self.legend.len()).expect("a few");
                let aside = (2 * i32::try_from(mark.kind).expect("a few") - lines + 1) * 3;
                let (from, to) = (place(mark.value), place(mark.until.unwrap_or(mark.value)));
                let from = (from.0, from.1 + aside);
                if mark.until.is_some() {
                    let line = PathElement::new([from, (to.0, to.1 + aside)], MARKS[mark.kind].stroke_width(2));
                    area.draw(&line).expect("text takes anything");
                }
                draw_mark(area, mark.kind, from);
            }
        }
    }
}

fn draw_mark(area: &DrawingArea<SVGBackend<'_>, Shift>, kind: usize, at: (i32, i32)) {
    let style = MARKS[kind].filled();
    let drawn = match kind {
        0 => area.draw(&Circle::new(at, 5, style)),
        1 => area.draw(&TriangleMarker::new(at, 6, style)),
        _ => area.draw(&Rectangle::new([(at.0 - 4, at.1 - 4), (at.0 + 4, at.1 + 4)], style)),
    };
    drawn.expect("text takes anything");
}

fn font(size: u32, colour: RGBColor) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&colour)
}

/// As few digits as say it.
fn number(value: f64) -> String {
    if value.abs() >= 10_000.0 {
        format!("{}k", value / 1e3)
    } else {
        // As it is written, less what comes of computing with fractions.
        format!("{}", (value * 1e6).round() / 1e6)
    }
}

/// Adds a style sheet that has other colours in the dark.
fn themed(image: &str) -> String {
    let mut rules = String::new();
    for (RGBColor(red, green, blue), dark) in DARK {
        let light = format!("#{red:02X}{green:02X}{blue:02X}");
        rules += &format!("[fill=\"{light}\"]{{fill:{dark}}}[stroke=\"{light}\"]{{stroke:{dark}}}");
    }
    let style = format!("<style>@media (prefers-color-scheme:dark){{{rules}}}</style>\n");
    let head_end = image.find(">\n").map_or(0, |at| at + 2);
    format!("{}{style}{}", &image[..head_end], &image[head_end..])
}
