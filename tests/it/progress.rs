//! How drains come along: what is left of each, how busy it is, when it will have ended; once and as a stream.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    thread,
    time::Duration,
};

use serde_json::json;
use tidegate_tests::support::{Endpoint, Proxy, api, eventually, until};

use crate::{draining, setup};

fn drains(proxy: &Proxy) -> api::Drains {
    proxy.get("/v1/drains").json()
}

/// What workers know is told: which flows are idle, how many bytes they move, how old they are.
#[test]
fn a_drain_is_told_with_what_its_flows_do() {
    let (endpoints, proxy, mut flows) = draining(&json!({"deadline": "10m", "window": "1m"}), 4);
    let mut busy = flows.pop().unwrap();
    let mut sender = busy.share();
    // Until the proxy ends, or the test.
    drop(thread::spawn(move || while sender.write_all(&[7; 1024]).is_ok() {}));
    drop(thread::spawn(move || {
        let mut bytes = [0; 4096];
        while busy.read(&mut bytes).is_ok_and(|read| read > 0) {}
    }));
    let drain = eventually("one of four flows is busy", || {
        let drain = drains(&proxy).drains.pop()?;
        (drain.idle_share == Some(0.75)).then_some(drain)
    });
    assert_eq!((drain.flows_at_start, drain.flows_left), (4, 4));
    assert_eq!(drain.endpoint, endpoints[0].address().to_string());
    assert!(drain.bytes_per_second > Some(1024), "{drain:?}");
    assert!(drain.oldest_flow_seconds > Some(0.0), "{drain:?}");
    assert_eq!((drain.will_be_cut, drain.waits), (Some(1), false), "{drain:?}");
    let deadline = drain.deadline_seconds.unwrap();
    assert!((500.0..600.0).contains(&deadline), "{drain:?}");
    let ends = drain.ends.expect("there is a deadline");
    assert!(ends.latest_seconds <= deadline && ends.earliest_seconds > deadline - 1.0, "{ends:?}");
    assert_eq!(drain.causes[0].kind, "slice");
    assert!(drain.causes[0].object.ends_with("/web-1"), "{:?}", drain.causes);
}

/// Metrics have what workers know of draining flows, though nobody asks for drains; and no more of it once none is on.
#[test]
fn metrics_tell_what_draining_flows_do() {
    let (_endpoints, proxy, flows) = draining(&json!({"deadline": "10m", "quiet": "1ms"}), 3);
    let idle = || proxy.metrics().total("tidegate_draining_flows_idle");
    until("workers have looked", || idle() == 3);
    drop(flows);
    until("the drain is over", || idle() == 0);
}

/// Without a deadline the end is judged by how flows close, and before any has closed nothing is said.
#[test]
fn an_end_is_estimated_from_how_flows_close() {
    let (_endpoints, proxy, mut flows) = draining(&json!({}), 12);
    let drain = drains(&proxy).drains.remove(0);
    assert_eq!((drain.ends, drain.will_be_cut, drain.deadline), (None, None, None));
    flows.truncate(6);
    let drain = eventually("six flows have closed", || {
        let drain = drains(&proxy).drains.pop()?;
        (drain.flows_left == 6 && drain.ended_by_themselves == 6).then_some(drain)
    });
    let ends = drain.ends.expect("flows have closed");
    assert!(ends.earliest_seconds > 0.0 && ends.latest_seconds >= ends.earliest_seconds, "{ends:?}");
    drop(flows);
    until("it is over and told so", || {
        let now = drains(&proxy);
        now.drains.is_empty() && now.over.len() == 1 && now.over[0].flows_at_start == 12
    });
}

/// A follower reads a line a second, and each says what was so then.
#[test]
fn a_follower_sees_flows_fall() {
    let (_endpoints, proxy, mut flows) = draining(&json!({}), 5);
    let mut lines = follow(&proxy);
    let left = |line: &api::Drains| line.drains.iter().map(|drain| drain.flows_left).sum::<u64>();
    assert_eq!(left(&lines()), 5);
    while flows.pop().is_some() {
        let wanted = flows.len() as u64;
        until("the stream says so", || left(&lines()) == wanted);
    }
    proxy.terminate();
    assert!(proxy.wait_for_end().status.success(), "a follower holds nobody up");
}

/// Reads a stream's lines, one at a call.
fn follow(proxy: &Proxy) -> impl FnMut() -> api::Drains {
    let mut stream: UnixStream = proxy.admin().connect().unwrap();
    stream.write_all(b"GET /v1/drains?follow=true HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines();
    move || {
        loop {
            let line = lines.next().expect("the stream goes on").unwrap();
            if line.starts_with('{') {
                return serde_json::from_str(&line).unwrap();
            }
        }
    }
}

/// `endpoints` shows how a drain comes along below its endpoint, in lines that fit a terminal.
#[test]
fn endpoints_show_how_drains_come_along() {
    let (endpoints, proxy, _flows) = draining(&json!({"deadline": "10m"}), 2);
    let output = proxy.command(&["endpoints", "default/web"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines = text.lines().skip_while(|line| !line.contains(&endpoints[0].address().to_string()));
    lines.next().expect("its own line");
    let below: Vec<_> = lines.take_while(|line| line.starts_with("  ")).collect();
    assert!(below.iter().all(|line| line.chars().count() < 80), "{text}");
    let below: Vec<_> = below.iter().map(|line| line.trim()).collect();
    let below = below.join(" ");
    for words in [
        "2 of 2 flows left",
        "drains for",
        "deadline in 10m",
        "% idle",
        "B/s",
        "oldest",
        "ends in",
        "/web-1 says terminating",
    ] {
        assert!(below.contains(words), "{words}: {text}");
    }
    let output = proxy.command(&["endpoints", "default/other"]);
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 1, "the heading alone");
}

/// `drain --wait` ends when no flow is left, with what became of them.
#[test]
fn a_drain_can_be_waited_for() {
    let endpoints = Endpoint::greeting_group(2);
    let proxy = setup().ready([&endpoints[0]]).start();
    let flows: Vec<_> = (0..3).map(|_| proxy.connect_greeted().0).collect();
    let address = endpoints[0].address().to_string();
    let late = proxy.command(&["drain", "default/web", &address, "--wait", "--timeout", "300ms"]);
    let said = String::from_utf8_lossy(&late.stderr).into_owned();
    assert_eq!(late.status.code(), Some(3), "{late:?}");
    assert!(said.contains("some flows are left"), "{said}");

    thread::scope(|scope| {
        let waiting =
            scope.spawn(|| proxy.command(&["drain", "default/web", &address, "--wait", "-o", "json"]));
        until("somebody waits", || !waiting.is_finished() && drains(&proxy).drains.len() == 1);
        drop(flows);
        let output = waiting.join().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let audit: api::Audit = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((audit.records.len(), audit.records[0].ended_by_client), (1, 3), "{audit:?}");
    });
}

/// A drain that is taken back while it is waited for is no success.
#[test]
fn a_drain_that_is_taken_back_fails_who_waits() {
    let endpoints = Endpoint::greeting_group(2);
    let proxy = setup().ready([&endpoints[0]]).start();
    let _flow = proxy.connect_greeted();
    let address = endpoints[0].address().to_string();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| proxy.command(&["drain", "default/web", &address, "--wait"]));
        until("the drain is on", || drains(&proxy).drains.len() == 1);
        let output = proxy.command(&["undrain", "default/web", &address]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("on this instance alone: unix:/"), "{text}");
        let output = waiting.join().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("taken back"), "{output:?}");
    });
}

/// A follower that does not read is cut off, and others are told as before.
#[test]
fn a_slow_follower_disturbs_nobody() {
    let (_endpoints, proxy, _flows) = draining(&json!({}), 1);
    let mut slow = proxy.admin().connect().unwrap();
    slow.write_all(b"GET /v1/drains?follow=true HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut lines = follow(&proxy);
    for _ in 0..3 {
        assert_eq!(lines().drains.len(), 1);
    }
    slow.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut byte = [0; 1];
    slow.read_exact(&mut byte).unwrap();
}
