use axum::{
    body::Body,
    http::{Request, header::CONTENT_TYPE},
};
use tidegate_control::Lifecycle;
use tidegate_core::{Conditions, Event, Permit, Tier};

use super::*;
use crate::{
    api,
    body::BODY_LIMIT,
    rig::{Answer, Rig, slice},
};

fn error(answer: &Answer) -> api::Error {
    serde_json::from_str(&answer.text).unwrap_or_else(|_| panic!("{answer:?}"))
}

#[tokio::test(start_paused = true)]
async fn unknown_paths_and_wrong_methods_are_json() {
    let rig = Rig::start(false).await;
    let answer = rig.get("/v2/status").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert_eq!(error(&answer).error, "there is no `/v2/status` here");
    let answer = rig.get("/v1/drain").await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(error(&answer).error, "`/v1/drain` does not take GET");
    let answer = rig.post("/v1/status", "{}").await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
}

/// A23.
#[tokio::test(start_paused = true)]
async fn a_services_health_is_its_local_ready_endpoints() {
    let rig = Rig::start(false).await;
    let path = "/healthz/services/default/web";
    let answer = rig.get(path).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "nobody said which node this is");
    rig.event(Event::NodeIs { name: Some("node-a".into()), zone: None }).await;
    let answer = rig.get(path).await;
    assert_eq!(answer.status, StatusCode::OK);
    let expected =
        r#"{"service":{"namespace":"default","name":"web"},"localEndpoints":2,"serviceProxyHealthy":true}"#;
    assert_eq!(answer.text, expected);
    let mut leaving = slice(&[("10.0.0.1", "web-0")]);
    leaving.endpoints[0].conditions = Conditions::from_api(Some(false), Some(true), Some(true));
    rig.event(Event::SliceApplied(leaving)).await;
    let answer = rig.get(path).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.text.contains("\"localEndpoints\":0"), "{}", answer.text);
    assert_eq!(rig.get("/healthz/services/default/other").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(start_paused = true)]
async fn a_service_is_not_healthy_where_the_proxy_is_not() {
    let rig = Rig::start(true).await;
    rig.event(Event::NodeIs { name: Some("node-a".into()), zone: None }).await;
    let answer = rig.get("/healthz/services/default/web").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.text.contains("\"localEndpoints\":2,\"serviceProxyHealthy\":false"), "{}", answer.text);
}

#[tokio::test(start_paused = true)]
async fn a_change_is_declared_as_json() {
    let rig = Rig::start(false).await;
    let body = r#"{"service":"default/web","endpoint":"web-0"}"#;
    for declared in
        [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("application/jsonx")]
    {
        let mut request =
            Request::post("/v1/drain").header("host", "localhost").body(Body::from(body)).unwrap();
        if let Some(declared) = declared {
            request.headers_mut().insert(CONTENT_TYPE, declared.parse().unwrap());
        }
        let answer = rig.ask(request).await;
        assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{declared:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn bodies_are_bounded_and_strict() {
    let rig = Rig::start(false).await;
    let huge =
        format!(r#"{{"service":"default/web","endpoint":"web-0","reason":"{}"}}"#, "x".repeat(BODY_LIMIT));
    assert_eq!(rig.post("/v1/drain", &huge).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    for malformed in [
        "",
        "{",
        "[]",
        r#"{"service":"default/web"}"#,
        r#"{"service":"default/web","endpoint":"web-0","x":1}"#,
    ] {
        assert_eq!(rig.post("/v1/drain", malformed).await.status, StatusCode::BAD_REQUEST, "{malformed}");
    }
    for (service, endpoint) in [
        ("web", "web-0"),
        ("default/web", ""),
        ("default/web", "10.0.0.1"),
        ("default/web", "other/web-0"),
        ("default/web", "A B"),
    ] {
        let json = serde_json::json!({ "service": service, "endpoint": endpoint }).to_string();
        let answer = rig.post("/v1/drain", &json).await;
        let expected = if endpoint == "10.0.0.1" { StatusCode::NOT_FOUND } else { StatusCode::BAD_REQUEST };
        assert_eq!(answer.status, expected, "{json}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_and_its_undoing() {
    let rig = Rig::start(false).await;
    let json = r#"{"service":"default/web","endpoint":"10.0.0.2:80","reason":"disk","by":"ada"}"#;
    let answer = rig.post("/v1/drain", json).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let answer: api::DrainAnswer = serde_json::from_str(&answer.text).unwrap();
    assert!(!answer.kept);
    assert_eq!((&*answer.endpoints[0].state, answer.endpoints[0].eligible), ("drain", false));

    let json = r#"{"service":"default/web","endpoint":"default/web-1"}"#;
    let answer = rig.post("/v1/undrain", json).await;
    let answer: api::DrainAnswer = serde_json::from_str(&answer.text).unwrap();
    assert_eq!((&*answer.endpoints[0].state, answer.endpoints[0].eligible), ("in_service", true));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_endpoint_names_the_known_ones() {
    let rig = Rig::start(false).await;
    let answer = rig.post("/v1/drain", r#"{"service":"default/web","endpoint":"web-9"}"#).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    let error = error(&answer);
    assert_eq!(error.error, "service `default/web` has no endpoint `web-9`");
    assert_eq!(error.remedy.unwrap(), "it has: 10.0.0.1:80 (web-0), 10.0.0.2:80 (web-1)");
}

#[tokio::test(start_paused = true)]
async fn flows_are_closed_by_the_number_that_is_shown() {
    let rig = Rig::start(false).await;
    assert_eq!(rig.post("/v1/flows/close", r#"{"flow":"2a"}"#).await.status, StatusCode::OK);
    assert_eq!(rig.post("/v1/flows/close", r#"{"flow":"2b"}"#).await.status, StatusCode::NOT_FOUND);
    assert_eq!(rig.post("/v1/flows/close", r#"{"flow":"zz"}"#).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test(start_paused = true)]
async fn flows_name_the_worker_that_is_silent() {
    let rig = Rig::start(true).await;
    let answer = rig.get("/v1/flows?limit=5&service=default/web").await;
    let flows: api::Flows = serde_json::from_str(&answer.text).unwrap();
    assert_eq!(flows.silent_workers, [1]);
    assert_eq!((&*flows.flows[0].id, &*flows.flows[0].state), ("100", "connecting"));
    for bad in ["limit=0", "limit=10001", "limit=x", "limit=-1", "service=web", "colour=red"] {
        let answer = rig.get(&format!("/v1/flows?{bad}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{bad}: {}", answer.text);
        error(&answer);
    }
    assert_eq!(rig.get("/v1/flows?endpoint=web-9").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(start_paused = true)]
async fn readiness_is_false_when_a_worker_does_not_answer() {
    let rig = Rig::start(false).await;
    let answer = rig.get("/readyz").await;
    assert_eq!((answer.status, &*answer.text), (StatusCode::OK, "ready\n"));
    let rig = Rig::start(true).await;
    let answer = rig.get("/readyz").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.text, "worker 1 did not answer within 1s\n");
    assert_eq!(rig.get("/livez").await.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_is_not_ready_and_alive_until_its_end() {
    let rig = Rig::start(false).await;
    rig.state.control.shutdown();
    let mut lifecycle = rig.state.control.subscribe();
    lifecycle.wait_for(|lifecycle| *lifecycle == Lifecycle::Draining).await.unwrap();
    assert_eq!(rig.get("/readyz").await.text, "the process is draining\n");
    assert_eq!(rig.get("/livez").await.status, StatusCode::OK);
    rig.state.control.shutdown();
    while lifecycle.changed().await.is_ok() {}
    assert_eq!(rig.get("/livez").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(rig.get("/v1/status").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(rig.get("/metrics").await.status, StatusCode::OK, "counters outlive the controller");
}

#[tokio::test(start_paused = true)]
async fn answers_are_kept_out_of_caches() {
    let rig = Rig::start(false).await;
    let answer = rig.get("/v1/status").await;
    assert_eq!(answer.headers[CACHE_CONTROL], "no-store");
}

#[tokio::test(start_paused = true)]
async fn endpoints_as_json() {
    let rig = Rig::start(false).await;
    let services = rig.state.control.services().await.unwrap().services;
    let _permit = Permit::enter(&services[0].endpoints[0].endpoint, Tier::Ready).unwrap();
    let _another = Permit::enter(&services[0].endpoints[1].endpoint, Tier::Ready).unwrap();
    tokio::time::advance(Duration::from_millis(1_500)).await;
    rig.post("/v1/drain", r#"{"service":"default/web","endpoint":"web-0","reason":"disk"}"#).await;
    let mut next = slice(&[("10.0.0.1", "web-0"), ("10.0.0.3", "web-2")]);
    next.endpoints[1].conditions = Conditions::from_api(Some(false), Some(true), Some(true));
    tokio::time::advance(Duration::from_millis(2_000)).await;
    rig.event(Event::SliceApplied(next)).await;
    let answer = rig.get("/v1/endpoints").await;
    let endpoints: api::Endpoints = serde_json::from_str(&answer.text).unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&endpoints).unwrap());
}

#[tokio::test(start_paused = true)]
async fn status_as_json() {
    let rig = Rig::start(true).await;
    rig.state.control.reload_refused("line 3: no such policy".to_owned());
    let answer = rig.get("/v1/status").await;
    let status: api::Status = serde_json::from_str(&answer.text).unwrap();
    let address = status.listeners[0].address.clone();
    let text = serde_json::to_string_pretty(&status).unwrap().replace(&address, "127.0.0.1:PORT");
    insta::assert_snapshot!(text);
}
