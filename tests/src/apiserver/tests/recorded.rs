//! The double's answers against those of a real control plane, where one was recorded.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    super::{ApiServer, ENDPOINT_SLICES, Recording, fixture},
    SLICES,
    client::{Client, Stream},
};

fn parse(name: &str) -> Value {
    serde_json::from_str(&fixture(name)).expect("the fixture is JSON")
}

fn lines(name: &str) -> Vec<Value> {
    fixture(name).lines().map(|line| serde_json::from_str(line).expect("the fixture is JSON")).collect()
}

fn serving(name: &str) -> (ApiServer, Client, Recording) {
    let (server, recording) = (ApiServer::start(), Recording::load(name));
    server.load(&recording);
    let client = Client::of(&server);
    (server, client, recording)
}

/// So many lines of a stream.
fn take(stream: &mut Stream, count: usize) -> Vec<Value> {
    (0..count).map(|_| stream.line()).collect()
}

/// A list: its metadata, and items without kind and version.
#[test]
fn a_list_is_as_recorded() {
    for (name, file) in
        [("rollout", "endpointslice-list.json"), ("many-slices", "endpointslice-many-slices-list.json")]
    {
        let (_server, client, _) = serving(name);
        assert_eq!(client.get(SLICES).json(), parse(file), "{name}");
    }
}

/// Every line of a watch, replayed event by event.
#[test]
fn a_watch_is_as_recorded() {
    for name in ["rollout", "service-changes", "many-slices", "scale-to-zero"] {
        let (server, client, recording) = serving(name);
        let path = format!("{SLICES}?watch=1&allowWatchBookmarks=1&resourceVersion={}", recording.revision);
        let mut stream = client.watch(&path);
        for line in &recording.lines {
            server.replay(line);
            assert_eq!(stream.line(), *line, "{name}");
        }
    }
}

/// A watch that begins with the state: each object as ADDED, and the bookmark that ends them.
#[test]
fn a_watch_list_is_as_recorded() {
    let recorded = lines("endpointslice-watchlist.jsonl");
    let server = with_objects(&recorded, 1803);
    let path = format!(
        "{SLICES}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=1"
    );
    assert_eq!(take(&mut Client::of(&server).watch(&path), recorded.len()), recorded);
}

/// A watch from 0: the state as ADDED, and no bookmark.
#[test]
fn a_watch_from_0_is_as_recorded() {
    let recorded = lines("endpointslice-watch-from-0.jsonl");
    let server = with_objects(&recorded, 1803);
    let path = format!("{SLICES}?watch=1&resourceVersion=0");
    let mut stream = Client::of(&server).watch(&path);
    assert_eq!(take(&mut stream, recorded.len()), recorded);
    server.streams(ENDPOINT_SLICES).end();
    stream.expect_end();
}

/// A resourceVersion that is forgotten: 200, one ERROR with code 410, the end.
#[test]
fn an_expired_watch_is_as_recorded() {
    let server = with_objects(&[], 1673);
    server.compact();
    let mut stream = Client::of(&server).watch(&format!("{SLICES}?watch=1&resourceVersion=1"));
    assert_eq!(take(&mut stream, 1), lines("endpointslice-watch-expired.jsonl"));
    stream.expect_end();
}

/// An idle watch: bookmarks and nothing else, the last before the end.
#[test]
fn an_idle_watch_is_as_recorded() {
    let recorded = lines("endpointslice-watch-idle.jsonl");
    let server = with_objects(&[], 1873);
    let path = format!("{SLICES}?watch=1&allowWatchBookmarks=1&resourceVersion=1873&timeoutSeconds=1");
    let mut stream = Client::of(&server).watch(&path);
    server.wait_for_streams(ENDPOINT_SLICES, 1);
    server.streams(ENDPOINT_SLICES).bookmark();
    assert_eq!(take(&mut stream, recorded.len()), recorded);
    stream.expect_end();
}

/// A resourceVersion that is no number: HTTP 500.
#[test]
fn a_malformed_watch_is_as_recorded() {
    let server = ApiServer::start();
    let answer = Client::of(&server).get(&format!("{SLICES}?watch=1&resourceVersion=abc"));
    assert_eq!((answer.status, answer.json()), (500, parse("endpointslice-watch-malformed.json")));
}

/// Addresses are moved consistently: each old one to its new one, in the list and in every line.
#[test]
fn a_recording_can_be_moved_to_other_addresses() {
    let recording = Recording::load("named-port").of_service("web");
    let old = recording.endpoints();
    let new =
        |at: usize| format!("127.1.2.{}:{}", at + 1, 1000 + old[at].port()).parse().expect("an address");
    let moves: BTreeMap<_, _> = old.iter().enumerate().map(|(at, from)| (*from, new(at))).collect();
    assert_eq!(moves.len(), 6, "three old pods and three new ones");
    let moved = recording.moved(&moves);
    assert_eq!(moved.endpoints(), old.iter().map(|from| moves[from]).collect::<Vec<_>>());
}

/// A server with the objects of these lines, at a resourceVersion.
fn with_objects(lines: &[Value], revision: u64) -> ApiServer {
    let server = ApiServer::start();
    let items = lines.iter().filter(|line| line["type"] == "ADDED").map(|line| line["object"].clone());
    server.load(&Recording { revision, items: items.collect(), lines: Vec::new() });
    server
}
