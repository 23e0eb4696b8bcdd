//! Watches: where they begin, what they say, how they end, and what a test does to them.

use std::{
    io::ErrorKind,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{super::ENDPOINT_SLICES, SLICES, WEB, slice, told, with_slices};

fn from(revision: u64) -> String {
    format!("{SLICES}?watch=1&allowWatchBookmarks=true&resourceVersion={revision}")
}

#[test]
fn changes_after_a_revision_are_told_in_order() {
    let (server, client) = with_slices(1);
    let revision = server.revision();
    server.put(&slice("web-1", "10.0.0.1"));
    let mut watch = client.watch(&from(revision));
    assert_eq!(told(&watch.line()), ("ADDED", "web-1"));
    server.put(&slice("web-1", "10.0.0.9"));
    let line = watch.line();
    assert_eq!(told(&line), ("MODIFIED", "web-1"));
    assert_eq!(line["object"]["endpoints"][0]["addresses"][0], "10.0.0.9");
    // What changes nothing is no event.
    server.put(&slice("web-1", "10.0.0.9"));
    let before = server.revision();
    server.remove(ENDPOINT_SLICES, "default", "web-0");
    let line = watch.line();
    assert_eq!(told(&line), ("DELETED", "web-0"));
    assert_eq!(line["object"]["metadata"]["resourceVersion"], (before + 1).to_string());
    assert_eq!(line["object"]["endpoints"][0]["addresses"][0], "10.0.0.0");
}

#[test]
fn a_watch_of_a_selection_sees_objects_come_and_go() {
    let (server, client) = with_slices(1);
    let mut watch = client
        .watch(&format!("{WEB}?watch=true&resourceVersion={}&labelSelector=tier%3Da", server.revision()));
    let label = |tier: &str| {
        server.edit(ENDPOINT_SLICES, "default", "web-0", |object| {
            object["metadata"]["labels"]["tier"] = json!(tier);
        });
    };
    label("a");
    assert_eq!(told(&watch.line()), ("ADDED", "web-0"));
    label("b");
    let line = watch.line();
    assert_eq!(told(&line), ("DELETED", "web-0"));
    assert_eq!(line["object"]["metadata"]["labels"]["tier"], "a");
    assert_eq!(line["object"]["metadata"]["resourceVersion"], server.revision().to_string());
}

#[test]
fn a_revision_that_was_not_reached_is_silence() {
    let (server, client) = with_slices(1);
    let mut watch = client.watch(&from(server.revision() + 1000));
    server.put(&slice("web-1", "10.0.0.1"));
    server.streams(ENDPOINT_SLICES).bookmark();
    server.streams(ENDPOINT_SLICES).end();
    watch.expect_end();
}

#[test]
fn a_watch_ends_with_its_timeout_and_a_bookmark() {
    let (server, client) = with_slices(1);
    let began = Instant::now();
    let mut watch = client.watch(&format!("{}&timeoutSeconds=1", from(server.revision())));
    assert_eq!(watch.line()["type"], "BOOKMARK");
    watch.expect_end();
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert_eq!(server.streams(ENDPOINT_SLICES).count(), 0);
}

#[test]
fn an_older_server_refuses_a_watch_list() {
    let (server, client) = with_slices(1);
    let path = format!("{SLICES}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan");
    assert_eq!(told(&client.watch(&path).line()), ("ADDED", "web-0"));
    server.without_watch_list();
    let refused = client.get(&path);
    assert_eq!((refused.status, refused.json()["reason"].as_str()), (422, Some("Invalid")));
}

#[test]
fn a_stream_can_be_cut_in_the_middle_of_an_object() {
    let (server, client) = with_slices(1);
    let mut watch = client.watch(&from(server.revision()));
    server.wait_for_streams(ENDPOINT_SLICES, 1);
    server.streams(ENDPOINT_SLICES).cut_in_mid_object("MODIFIED", &slice("web-0", "10.9.9.9"));
    assert_eq!(watch.try_line().unwrap_err().kind(), ErrorKind::UnexpectedEof);
    // The half of it did arrive.
    let rest = watch.rest();
    assert!(rest.starts_with(r#"{"type":"MODIFIED","object":{"#), "{rest}");
    server.wait_for_streams(ENDPOINT_SLICES, 0);
}

#[test]
fn a_held_stream_says_nothing_until_it_is_resumed() {
    let (server, client) = with_slices(1);
    let mut watch = client.watch(&from(server.revision()));
    server.wait_for_streams(ENDPOINT_SLICES, 1);
    let streams = server.streams(ENDPOINT_SLICES);
    streams.hold();
    server.put(&slice("web-1", "10.0.0.1"));
    streams.bookmark();
    streams.say("after this");
    assert_eq!(watch.try_line().unwrap().unwrap(), "after this");
    streams.resume();
    assert_eq!(told(&watch.line()), ("ADDED", "web-1"));
}

#[test]
fn a_trickle_is_the_same_line_in_pieces() {
    let (server, client) = with_slices(1);
    let mut watch = client.watch(&from(server.revision()));
    server.wait_for_streams(ENDPOINT_SLICES, 1);
    server.streams(ENDPOINT_SLICES).trickle(50, Duration::from_millis(1));
    server.put(&slice("web-1", "10.0.0.1"));
    assert_eq!(told(&watch.line()), ("ADDED", "web-1"));
}

#[test]
fn a_compaction_reaches_only_new_watches() {
    let (server, client) = with_slices(1);
    let revision = server.revision();
    let mut running = client.watch(&from(revision));
    server.wait_for_streams(ENDPOINT_SLICES, 1);
    server.put(&slice("web-1", "10.0.0.1"));
    server.compact();
    assert_eq!(told(&running.line()), ("ADDED", "web-1"));
    let mut late = client.watch(&from(revision));
    let line = late.line();
    assert_eq!((&line["type"], &line["object"]["code"]), (&json!("ERROR"), &json!(410)));
    late.expect_end();
}

#[test]
fn bookmarks_come_as_often_as_wanted() {
    let (server, client) = with_slices(1);
    server.send_bookmarks_every(Duration::from_millis(20));
    let mut watch = client.watch(&from(server.revision()));
    let mut without = client.watch(&format!("{SLICES}?watch=1&resourceVersion={}", server.revision()));
    for _ in 0..2 {
        let line = watch.line();
        assert_eq!(
            (told(&line), &line["object"]["metadata"]["resourceVersion"]),
            (("BOOKMARK", ""), &json!(server.revision().to_string()))
        );
    }
    server.streams(ENDPOINT_SLICES).end();
    without.expect_end();
}
