//! `/metrics`: OpenMetrics text, read from the counters at the moment of the scrape.
//!
//! Nothing is counted twice: workers and controller keep their own plain numbers, and a scrape adds them up.

pub mod names;
mod out;
mod scrape;
mod totals;

use std::{fmt, time::Duration};

use axum::{
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
};
use prometheus_client::{encoding::text, registry::Registry};

use crate::{AdminState, refusal::Refusal};

use scrape::Scrape;
pub use totals::{Carried, Total, Totals};

/// What OpenMetrics text is called.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// `GET /metrics`.
pub(crate) async fn render(State(state): State<AdminState>) -> Result<impl IntoResponse, Refusal> {
    // A scrape without the controller's answer still has all counters: they matter most when something is wrong.
    let status = state.control.status().await.ok();
    let services = state.control.services().await.ok();
    let text = encode(Scrape::new(&state, status, services))
        .map_err(|_| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be rendered"))?;
    Ok(([(CONTENT_TYPE, OPENMETRICS)], text))
}

/// Everything that this process and its predecessors counted, for its successor.
pub fn totals(state: &AdminState) -> Totals {
    Scrape::new(state, None, None).totals()
}

fn encode(scrape: Scrape) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(scrape));
    let mut text = String::new();
    text::encode(&mut text, &registry)?;
    Ok(text)
}

/// Seconds as metrics have them.
fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

#[cfg(test)]
mod tests;
