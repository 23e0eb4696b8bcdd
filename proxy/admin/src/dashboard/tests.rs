use axum::{
    body::Body,
    http::{Request, StatusCode},
};

use super::*;
use crate::{
    access::Access,
    rig::{Rig, ask},
    router,
    token::TokenFile,
};

/// Its own files, its own API, and nobody else's frame.
const ALLOWED: [&str; 8] = [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
];

#[tokio::test(start_paused = true)]
async fn every_part_has_the_policy_and_its_kind() {
    let rig = Rig::start(false).await;
    for (path, kind) in PATHS.into_iter().zip(["text/html", "text/css", "text/javascript", "image/svg+xml"]) {
        let answer = rig.get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        assert!(answer.headers[CONTENT_TYPE].to_str().unwrap().starts_with(kind), "{path}");
        let policy = answer.headers[CONTENT_SECURITY_POLICY].to_str().unwrap();
        let directives: Vec<_> = policy.split("; ").collect();
        assert_eq!(directives, ALLOWED, "{path}");
        assert_eq!(answer.headers["cache-control"], "no-store");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    }
}

/// What would need `unsafe-inline`, or comes from elsewhere, is in none of the parts.
#[test]
fn nothing_is_inline_and_nothing_comes_from_elsewhere() {
    let page = include_str!("../../dashboard/index.html");
    for inline in ["<style", "style=", "onclick=", "onload=", "javascript:"] {
        assert!(!page.contains(inline), "{inline}");
    }
    assert_eq!(page.matches("<script").count(), 1);
    assert!(page.contains(r#"<script type="module" src="/dashboard.js"></script>"#));
    let script = include_str!("../../dashboard/dashboard.js");
    for part in [page, script, include_str!("../../dashboard/dashboard.css")] {
        assert!(!part.contains("http:") && !part.contains("https:") && !part.contains("@import"));
    }
    for danger in ["innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", "document.write"] {
        assert!(!script.contains(danger), "{danger}");
    }
}

/// The page is there without the token, and what it asks is not; a foreign name gets neither.
#[tokio::test(start_paused = true)]
async fn the_page_needs_no_token_and_what_it_asks_does() {
    let rig = Rig::start(false).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    std::fs::write(&path, "correct-horse-battery").unwrap();
    let access = Access {
        address: Some("127.0.0.1:9901".parse().unwrap()),
        token: Some(TokenFile::open(path).unwrap()),
    };
    let router = router::operators(rig.state.clone(), access);
    let get = async |path: &str, host: &str| {
        let request = Request::get(path).header("host", host).body(Body::empty()).unwrap();
        ask(&router, request).await.status
    };
    for path in PATHS {
        assert_eq!(get(path, "localhost").await, StatusCode::OK, "{path}");
        assert_eq!(get(path, "evil.example").await, StatusCode::MISDIRECTED_REQUEST, "{path}");
    }
    for path in ["/v1/status", "/v1/drains", "/metrics", "/dashboard.jsx", "//", "/v1/../"] {
        assert_eq!(get(path, "localhost").await, StatusCode::UNAUTHORIZED, "{path}");
    }
}

/// Scrapers' addresses are open to the network and serve no page.
#[tokio::test(start_paused = true)]
async fn scrapers_get_no_page() {
    let rig = Rig::start(false).await;
    let router = router::scrapers(rig.state.clone());
    for path in PATHS {
        let request = Request::get(path).header("host", "localhost").body(Body::empty()).unwrap();
        assert_eq!(ask(&router, request).await.status, StatusCode::NOT_FOUND, "{path}");
    }
}
