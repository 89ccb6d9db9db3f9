//! `/admin/figures/`: what this server did in the last minutes, as the page
//! draws it.

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderValue};
use serde::Serialize;

use crate::limits::FIGURES_MAX;
use crate::metrics::{Metrics, Sample};
use crate::rest::Page;

#[derive(Serialize)]
struct Figures {
    samples_max: usize,
    plots: Vec<Plot>,
}

#[derive(Serialize)]
struct Plot {
    title: &'static str,
    unit: &'static str,
    lines: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    name: &'static str,
    values: Vec<Option<f64>>,
}

pub(super) fn show(metrics: &Metrics) -> Page {
    let samples = metrics.recent.samples();
    let line = |name, value: fn(&Sample) -> Option<f64>| Line {
        name,
        values: samples.iter().map(value).collect(),
    };
    let plot = |title, unit, lines| Plot { title, unit, lines };
    let figures = Figures {
        samples_max: FIGURES_MAX,
        plots: vec![
            plot(
                "Locks",
                "/s",
                vec![
                    line("granted", |sample| Some(sample.grants)),
                    line("released", |sample| Some(sample.releases)),
                ],
            ),
            plot("Refused", "/s", vec![line("refused", |sample| Some(sample.refusals))]),
            plot(
                "In line",
                "",
                vec![line("waiting", |sample| Some(sample.waiters as f64))],
            ),
            plot(
                "Wait until the grant",
                "s",
                vec![line("mean", |sample| sample.wait_seconds)],
            ),
            plot("Operations a batch", "", vec![line("mean", |sample| sample.batch)]),
            plot(
                "Commit",
                "ms",
                vec![line("mean", |sample| {
                    sample.commit_seconds.map(|seconds| seconds * 1000.0)
                })],
            ),
        ],
    };
    Page {
        status: StatusCode::OK,
        body: serde_json::to_string(&figures).expect("numbers and names can be written"),
        headers: vec![(CONTENT_TYPE, HeaderValue::from_static("application/json"))],
    }
}
