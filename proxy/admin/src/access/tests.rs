use std::{fs, io::Write, path::Path};

use axum::{body::Body, http::Request};

use super::*;
use crate::{
    rig::{Rig, ask},
    router,
};

fn request(host: &str) -> Request<Body> {
    Request::get("/v1/endpoints").header("host", host).body(Body::empty()).unwrap()
}

fn from_origin(host: &str, origin: &str) -> Request<Body> {
    let mut request = request(host);
    request.headers_mut().insert(ORIGIN, origin.parse().unwrap());
    request
}

#[tokio::test(start_paused = true)]
async fn only_own_names_are_answered() {
    let rig = Rig::start(false).await;
    for own in ["127.0.0.1:9901", "127.0.0.1", "localhost", "LOCALHOST:1", "[::1]:9901", "127.9.9.9:80"] {
        assert_eq!(rig.ask(request(own)).await.status, StatusCode::OK, "{own}");
    }
    for foreign in
        ["evil.example", "localhost.evil.example:9901", "192.0.2.1", "127.0.0.1.nip.io", "[2001:db8::1]"]
    {
        assert_eq!(rig.ask(request(foreign)).await.status, StatusCode::MISDIRECTED_REQUEST, "{foreign}");
    }
    for malformed in ["", "a b", "user@127.0.0.1", "127.0.0.1/x"] {
        assert_eq!(rig.ask(request(malformed)).await.status, StatusCode::BAD_REQUEST, "{malformed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_has_exactly_one_host() {
    let rig = Rig::start(false).await;
    let none = Request::get("/livez").body(Body::empty()).unwrap();
    assert_eq!(rig.ask(none).await.status, StatusCode::BAD_REQUEST);
    let two = Request::get("/livez").header("host", "localhost").header("host", "localhost");
    assert_eq!(rig.ask(two.body(Body::empty()).unwrap()).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test(start_paused = true)]
async fn the_target_is_no_way_around_the_host() {
    let rig = Rig::start(false).await;
    let absolute = Request::get("http://evil.example/livez").header("host", "localhost");
    let answer = rig.ask(absolute.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::MISDIRECTED_REQUEST);
}

#[tokio::test(start_paused = true)]
async fn requests_from_other_sites_are_refused() {
    let rig = Rig::start(false).await;
    let own = from_origin("localhost:9901", "http://localhost:9901");
    assert_eq!(rig.ask(own).await.status, StatusCode::OK);
    for foreign in
        ["http://evil.example", "null", "http://localhost:3000", "https://localhost:9901", "file://"]
    {
        let answer = rig.ask(from_origin("localhost:9901", foreign)).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{foreign}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_address_that_was_asked_is_an_own_name() {
    let rig = Rig::start(false).await;
    let access = Access { address: Some("0.0.0.0:9901".parse().unwrap()), token: None };
    let mut asked = request("192.0.2.1:9901");
    asked.extensions_mut().insert(Peer { name: String::new(), local: Some("192.0.2.1".parse().unwrap()) });
    assert_eq!(access.judge(&asked), Ok(()));
    asked.extensions_mut().insert(Peer { name: String::new(), local: Some("192.0.2.2".parse().unwrap()) });
    assert_eq!(access.judge(&asked).unwrap_err().status, StatusCode::MISDIRECTED_REQUEST);
    drop(rig);
}

fn token_file(path: &Path, token: &str) {
    let mut file = fs::File::create(path).unwrap();
    writeln!(file, "{token}").unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_token_is_asked_for_and_may_be_rotated() {
    let rig = Rig::start(false).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    token_file(&path, "correct-horse-battery");
    let token = Some(TokenFile::open(path.clone()).unwrap());
    let access = Access { address: Some("127.0.0.1:9901".parse().unwrap()), token };
    let router = router::operators(rig.state.clone(), access);
    let with = async |value: &str| {
        let mut request = request("127.0.0.1");
        request.headers_mut().insert(AUTHORIZATION, value.parse().unwrap());
        ask(&router, request).await
    };

    let without = ask(&router, request("127.0.0.1")).await;
    assert_eq!(without.status, StatusCode::UNAUTHORIZED);
    assert_eq!(without.headers[WWW_AUTHENTICATE], "Bearer");
    assert_eq!(with("Bearer correct-horse-battery").await.status, StatusCode::OK);
    assert_eq!(with("bearer correct-horse-battery").await.status, StatusCode::OK);
    for wrong in [
        "Bearer",
        "Bearer ",
        "Bearer correct-horse-batterx",
        "Basic correct-horse-battery",
        "correct-horse-battery",
    ] {
        assert_eq!(with(wrong).await.status, StatusCode::UNAUTHORIZED, "{wrong}");
    }

    token_file(&path, "another-long-enough-token");
    assert_eq!(with("Bearer correct-horse-battery").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(with("Bearer another-long-enough-token").await.status, StatusCode::OK);

    token_file(&path, "");
    let empty = with("Bearer ").await;
    assert_eq!(empty.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!empty.text.contains(&*path.to_string_lossy()), "{}", empty.text);
}
