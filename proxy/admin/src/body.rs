//! The JSON body of a change: bounded, declared as JSON, and nothing but what was asked for.
//!
//! A browser cannot send this content type to a foreign site without asking first, and nobody here answers that
//! question with yes: the second line of defence against forged requests, after the check of Origin.

use axum::{
    body::to_bytes,
    extract::{FromRequest, Request},
    http::{StatusCode, header::CONTENT_TYPE},
};
use serde::de::DeserializeOwned;

use crate::refusal::Refusal;

/// The longest body that is read.
pub(crate) const BODY_LIMIT: usize = 64 * 1024;

/// A body of JSON.
#[derive(Debug)]
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let declared = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type = declared.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
        if !media_type.eq_ignore_ascii_case("application/json") {
            return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body is not declared as JSON")
                .remedy("send `content-type: application/json`"));
        }
        let bytes = to_bytes(request.into_body(), BODY_LIMIT).await.map_err(|error| {
            let is_long =
                std::error::Error::source(&error).is_some_and(|source| source.to_string().contains("limit"));
            if is_long {
                Refusal::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    format!("the body is longer than {BODY_LIMIT} bytes"),
                )
            } else {
                Refusal::new(StatusCode::BAD_REQUEST, "the body broke off")
            }
        })?;
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, format!("the body: {error}")))
    }
}
