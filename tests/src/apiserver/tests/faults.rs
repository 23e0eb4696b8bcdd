//! Faults, as tests ask for them.

use std::{
    io::ErrorKind,
    time::{Duration, Instant},
};

use super::{
    super::{Calls, ENDPOINT_SLICES, Fault, SERVICES, Verb},
    SLICES, names, slice, with_slices,
};

fn lists() -> Calls {
    Calls::of(Verb::List, ENDPOINT_SLICES)
}

#[test]
fn refusals_are_for_the_requests_that_are_meant() {
    let (server, client) = with_slices(1);
    server.fail(lists(), 2, Fault::RefuseFor(429, 7));
    server.fail(lists(), 1, Fault::Refuse(503));
    assert_eq!(client.get("/api/v1/services").status, 200);
    for _ in 0..2 {
        let answer = client.get(SLICES);
        assert_eq!((answer.status, answer.head["retry-after"].as_str()), (429, "7"));
    }
    assert_eq!(client.get(SLICES).json()["reason"], "ServiceUnavailable");
    assert_eq!(client.get(SLICES).status, 200);
    assert_eq!(server.calls_of(Verb::List, ENDPOINT_SLICES).len(), 4);
    server.fail_always(Calls::about(SERVICES), Fault::Refuse(403));
    assert_eq!(client.get("/api/v1/services").status, 403);
    server.heal();
    assert_eq!(client.get("/api/v1/services").status, 200);
}

#[test]
fn an_answer_can_be_torn_or_never_come() {
    let (server, client) = with_slices(3);
    let send = || client.try_send("GET", SLICES, "", None);
    server.fail(lists(), 1, Fault::Disconnect);
    assert_eq!(send().err().unwrap().kind(), ErrorKind::UnexpectedEof);
    server.fail(lists(), 1, Fault::CutBody);
    let torn = send().unwrap();
    assert_eq!(torn.status, 200);
    assert_eq!(torn.whole().unwrap_err().kind(), ErrorKind::UnexpectedEof);
    server.fail(lists(), 1, Fault::Garbage);
    let garbage = send().unwrap().whole().unwrap();
    assert!(serde_json::from_str::<serde_json::Value>(&garbage.body).is_err());
    server.fail(lists(), 1, Fault::Trickle(100, Duration::from_millis(1)));
    assert_eq!(names(&client.get(SLICES).json()).len(), 3);
    server.fail(lists(), 1, Fault::Late(Duration::from_millis(50)));
    let began = Instant::now();
    assert_eq!(client.get(SLICES).status, 200);
    assert!(began.elapsed() >= Duration::from_millis(50));
}

#[test]
fn an_older_state_can_be_listed() {
    let (server, client) = with_slices(1);
    let old = server.revision();
    server.put(&slice("web-1", "10.0.0.1"));
    server.fail(lists(), 1, Fault::Older(old));
    let list = client.get(SLICES).json();
    assert_eq!(
        (names(&list).len(), list["metadata"]["resourceVersion"].as_str()),
        (1, Some(old.to_string().as_str()))
    );
    assert_eq!(names(&client.get(SLICES).json()).len(), 2);
}

#[test]
fn the_server_goes_away_and_comes_back_as_it_was() {
    let (server, client) = with_slices(1);
    let mut watch = client.watch(&format!("{SLICES}?watch=1&resourceVersion={}", server.revision()));
    server.wait_for_streams(ENDPOINT_SLICES, 1);
    server.go_away();
    assert!(watch.try_line().is_err());
    let refused = client.try_send("GET", SLICES, "", None).err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    server.come_back();
    assert_eq!(names(&client.get(SLICES).json()), ["web-0"]);
}
