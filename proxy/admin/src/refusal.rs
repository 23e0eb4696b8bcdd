//! Refusals: a status, what is wrong, and what to do about it, as JSON.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use tidegate_control::ControlError;

use crate::api;

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) error: String,
    pub(crate) remedy: Option<String>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, error: error.into(), remedy: None }
    }

    pub(crate) fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = api::Error { error: self.error, remedy: self.remedy };
        (self.status, Json(body)).into_response()
    }
}

impl From<ControlError> for Refusal {
    fn from(error: ControlError) -> Self {
        let status = match &error {
            ControlError::UnknownService { .. }
            | ControlError::UnknownEndpoint { .. }
            | ControlError::NoSuchEndpoint(_)
            | ControlError::UnknownNode { .. }
            | ControlError::UnknownFlow(_) => StatusCode::NOT_FOUND,
            ControlError::TooManyDrains(_) => StatusCode::CONFLICT,
            ControlError::Deadline(_) | ControlError::WorkersSilent(_) => StatusCode::GATEWAY_TIMEOUT,
            ControlError::Gone | ControlError::TooManyGates(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        // The first part says what is wrong, what follows says what to do.
        match error.to_string().split_once("; ") {
            Some((error, remedy)) => Self::new(status, error).remedy(remedy),
            None => Self::new(status, error.to_string()),
        }
    }
}
