//! Probes, as plain text.

use axum::{extract::State, http::StatusCode, response::IntoResponse};
use tidegate_control::NotReady;

use crate::AdminState;

/// Whether the process works at all.
pub(crate) async fn livez(State(state): State<AdminState>) -> impl IntoResponse {
    answer("alive", state.control.alive().await)
}

/// Whether new clients may be sent here: the workers' own answer.
pub(crate) async fn readyz(State(state): State<AdminState>) -> impl IntoResponse {
    answer("ready", state.control.ready().await)
}

fn answer(word: &str, outcome: Result<(), NotReady>) -> (StatusCode, String) {
    match outcome {
        Ok(()) => (StatusCode::OK, format!("{word}\n")),
        Err(NotReady(reasons)) => (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n"),
    }
}
