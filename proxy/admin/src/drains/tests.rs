use std::time::Duration;

use tidegate_core::{Conditions, Event, FlowEnd, Permit, Tier};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    sync::watch,
    time::Instant,
};

use super::*;
use crate::{
    access::Peer,
    rig::{Rig, slice},
    serve::{HEADER_LIMIT, serve_connection},
};

/// The second endpoint terminates with so many flows.
async fn draining(flows: usize) -> (Rig, Vec<Permit>) {
    draining_at(Rig::start(false).await, flows).await
}

async fn draining_at(rig: Rig, flows: usize) -> (Rig, Vec<Permit>) {
    let services = rig.state.control.services().await.unwrap().services;
    let enter = |_| Permit::enter(&services[0].endpoints[1].endpoint, Tier::Ready).unwrap();
    let permits = (0..flows).map(enter).collect();
    let mut next = slice(&[("10.0.0.1", "web-0"), ("10.0.0.2", "web-1")]);
    next.endpoints[1].conditions = Conditions::from_api(Some(false), Some(true), Some(true));
    rig.event(Event::SliceApplied(next)).await;
    (rig, permits)
}

async fn now(rig: &Rig, query: &str) -> api::Drains {
    let answer = rig.get(&format!("/v1/drains{query}")).await;
    serde_json::from_str(&answer.text).unwrap_or_else(|_| panic!("{answer:?}"))
}

#[tokio::test(start_paused = true)]
async fn drains_as_json() {
    let (rig, mut permits) = draining(5).await;
    rig.post("/v1/drain", r#"{"service":"default/web","endpoint":"web-1","by":"ada","deadline_ms":60000}"#)
        .await;
    tokio::time::advance(Duration::from_secs(3)).await;
    permits.pop().unwrap().end(FlowEnd::Client);
    rig.state.control.services().await.unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&now(&rig, "").await).unwrap());
}

/// What is told is of after the question: whoever asks while others are being answered is not told what they are.
#[tokio::test(start_paused = true)]
async fn an_answer_is_of_after_its_question() {
    // A worker that is silent makes a look last.
    let (rig, _permits) = draining_at(Rig::start(true).await, 1).await;
    let second = async {
        tokio::time::advance(Duration::from_millis(1)).await;
        now(&rig, "").await
    };
    let (first, second) = tokio::join!(now(&rig, ""), second);
    assert_eq!((first.silent_workers.len(), second.silent_workers.len()), (1, 1));
    assert!(second.at > first.at, "{} and {}", first.at, second.at);
}

#[tokio::test(start_paused = true)]
async fn what_is_over_is_told_for_a_while() {
    let (rig, mut permits) = draining(1).await;
    assert!(now(&rig, "?service=default/other").await.drains.is_empty());
    assert_eq!(now(&rig, "?service=default/web").await.drains.len(), 1);
    permits.pop().unwrap().end(FlowEnd::Endpoint);
    tokio::time::advance(Duration::from_secs(2)).await;
    rig.state.control.services().await.unwrap();
    let drains = now(&rig, "").await;
    assert_eq!((drains.drains.len(), drains.over.len()), (0, 1));
    assert_eq!(drains.over[0].ended_by_endpoint, 1);
    for bad in ["follow=perhaps", "colour=red"] {
        assert_eq!(rig.get(&format!("/v1/drains?{bad}")).await.status, StatusCode::BAD_REQUEST, "{bad}");
    }
}

/// A client of a connection of its own; the server's end with its hand on when no more is served.
fn connect(rig: &Rig, room: usize) -> (DuplexStream, watch::Sender<()>, tokio::task::JoinHandle<()>) {
    let (client, server) = duplex(room);
    let (serving, served) = watch::channel(());
    let peer = Peer { name: "test".to_owned(), local: None };
    let task = tokio::spawn(serve_connection(server, rig.router.clone(), peer, HEADER_LIMIT, served));
    (client, serving, task)
}

const FOLLOW: &[u8] = b"GET /v1/drains?follow=true HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// Reads until so many lines of JSON have come.
async fn lines(client: &mut DuplexStream, count: usize) -> Vec<api::Drains> {
    let mut text = String::new();
    loop {
        let found: Vec<api::Drains> =
            text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        if found.len() >= count {
            return found;
        }
        let mut bytes = [0; 4096];
        let read = client.read(&mut bytes).await.unwrap();
        assert!(read > 0, "the stream ended after {found:?}");
        text += std::str::from_utf8(&bytes[..read]).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_follower_sees_flows_fall_and_its_stream_ends_cleanly() {
    let (rig, mut permits) = draining(3).await;
    let (mut client, _serving, task) = connect(&rig, 64 * 1024);
    let began = Instant::now();
    client.write_all(FOLLOW).await.unwrap();
    let first = lines(&mut client, 1).await;
    assert_eq!(first[0].drains[0].flows_left, 3);
    permits.pop().unwrap().end(FlowEnd::Client);
    let next = lines(&mut client, 2).await;
    assert_eq!(next[1].drains[0].flows_left, 2);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let began = Instant::now();
    lines(&mut client, 4).await;
    assert!(began.elapsed() > Duration::from_secs(3), "one a second: {:?}", began.elapsed());
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.unwrap();
    assert!(rest.ends_with(b"0\r\n\r\n"), "the last chunk says that it is the last");
    assert!(began.elapsed() <= Duration::from_secs(70), "{:?}", began.elapsed());
    task.await.unwrap();
}

/// A follower that asks for one service hears of no other.
#[tokio::test(start_paused = true)]
async fn a_follower_of_a_service_hears_of_that_one() {
    let (rig, _permits) = draining(1).await;
    let (mut client, _serving, _task) = connect(&rig, 64 * 1024);
    let head = b"GET /v1/drains?follow=true&service=default/other HTTP/1.1\r\nhost: localhost\r\n\r\n";
    client.write_all(head).await.unwrap();
    assert_eq!(lines(&mut client, 1).await[0].drains, []);
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_when_no_more_is_served() {
    let (rig, _permits) = draining(1).await;
    let (mut client, serving, _task) = connect(&rig, 64 * 1024);
    client.write_all(FOLLOW).await.unwrap();
    lines(&mut client, 1).await;
    let began = Instant::now();
    drop(serving);
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.unwrap();
    assert!(rest.ends_with(b"0\r\n\r\n"), "{}", String::from_utf8_lossy(&rest));
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_does_not_read_is_cut_off() {
    let (rig, _permits) = draining(1).await;
    let (mut client, _serving, task) = connect(&rig, 256);
    let began = Instant::now();
    client.write_all(FOLLOW).await.unwrap();
    task.await.unwrap();
    // Until lines fill what hyper holds; then the patience.
    assert!(began.elapsed() < Duration::from_secs(50), "{:?}", began.elapsed());
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.unwrap();
    assert!(!rest.ends_with(b"0\r\n\r\n"), "it was cut");
}

#[tokio::test(start_paused = true)]
async fn followers_are_bounded() {
    let (rig, _permits) = draining(1).await;
    let mut followers = Vec::new();
    for _ in 0..sampler::FOLLOWERS {
        let (mut client, serving, task) = connect(&rig, 64 * 1024);
        client.write_all(FOLLOW).await.unwrap();
        lines(&mut client, 1).await;
        followers.push((client, serving, task));
    }
    assert_eq!(rig.get("/v1/drains?follow=true").await.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(now(&rig, "").await.drains.len(), 1, "asking once needs no place");
    let (client, _, task) = followers.pop().unwrap();
    drop(client);
    task.await.unwrap();
    tokio::time::advance(Duration::from_secs(2)).await;
    let (mut client, _serving, _task) = connect(&rig, 64 * 1024);
    client.write_all(FOLLOW).await.unwrap();
    lines(&mut client, 1).await;
}
