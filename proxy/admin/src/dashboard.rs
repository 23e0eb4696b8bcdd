//! The dashboard: one page with its style, its script and its picture, all of them in the binary.
//!
//! They are for whoever can reach the listener and names it rightly, without a token: a browser cannot send one when
//! it opens a page, and nothing in them is a secret. What the page then asks, it asks with the token.

use axum::{
    http::{
        HeaderName, HeaderValue,
        header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY},
    },
    response::IntoResponse,
};

/// Everything from here and nothing from elsewhere, nothing inline, and in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The paths that are served without a token.
pub(crate) const PATHS: [&str; 4] = ["/", "/dashboard.css", "/dashboard.js", "/dashboard.svg"];

pub(crate) async fn page() -> impl IntoResponse {
    part("text/html; charset=utf-8", include_str!("../dashboard/index.html"))
}

pub(crate) async fn style() -> impl IntoResponse {
    part("text/css; charset=utf-8", include_str!("../dashboard/dashboard.css"))
}

pub(crate) async fn script() -> impl IntoResponse {
    part("text/javascript; charset=utf-8", include_str!("../dashboard/dashboard.js"))
}

pub(crate) async fn picture() -> impl IntoResponse {
    part("image/svg+xml", include_str!("../dashboard/dashboard.svg"))
}

fn part(kind: &'static str, text: &'static str) -> impl IntoResponse {
    let headers: [(HeaderName, HeaderValue); 3] = [
        (CONTENT_TYPE, HeaderValue::from_static(kind)),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (headers, text)
}

#[cfg(test)]
mod tests;
