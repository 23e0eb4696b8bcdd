//! What was counted, remembered and recorded goes on in the successor.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use serde_json::json;
use tidegate_tests::support::{Connection, Endpoint, Proxy, Slice, api, until};

use super::{Successor, setup};

/// Every sample of a counter in a scrape, by its name with its labels.
fn counters(scrape: &str) -> BTreeMap<String, f64> {
    let sample = |line: &str| {
        let (series, value) = line.rsplit_once(' ')?;
        let name = series.split('{').next()?;
        let is_counter = ["_total", "_bucket", "_count", "_sum"].iter().any(|end| name.ends_with(end));
        is_counter.then_some((series.to_owned(), value.parse().ok()?))
    };
    scrape.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect()
}

/// No counter goes back or vanishes from one scrape to the next, while one process after the other takes over; and at the
/// end they say what happened in all of them together.
#[test]
fn totals_never_go_back() {
    let endpoint = Endpoint::greeting();
    let proxy = setup().ready([&endpoint]).start();
    let (mut flow, _) = proxy.connect_greeted();
    let stop = Arc::new(AtomicBool::new(false));
    let scrapes = {
        let (stop, socket) = (Arc::clone(&stop), proxy.directory().join("admin.sock"));
        thread::spawn(move || {
            let admin = tidegate_tests::support::Admin::new(&socket);
            let mut before = BTreeMap::new();
            while !stop.load(Ordering::SeqCst) {
                let now = counters(&admin.get("/metrics").unwrap().body);
                for (series, value) in &before {
                    let later = now.get(series).unwrap_or_else(|| panic!("{series} has vanished"));
                    assert!(later >= value, "{series} went from {value} to {later}");
                }
                before = now;
            }
        })
    };
    let mut connections = 1;
    let mut successors = Vec::new();
    for _ in 0..4 {
        for _ in 0..5 {
            let mut client = proxy.connect_greeted().0;
            client.exchange(b"short");
            client.finish();
            client.expect_end();
            connections += 1;
        }
        let mut successor = Successor::start(&proxy, &[]);
        successor.wait_until_it_has_taken_over();
        flow.exchange(b"still here");
        successors.push(successor);
    }
    stop.store(true, Ordering::SeqCst);
    scrapes.join().expect("no counter went back");
    until("what has ended is counted", || {
        proxy.metrics().total("tidegate_flows_terminated_total") == connections - 1
    });
    let metrics = proxy.metrics();
    assert_eq!(metrics.total("tidegate_flows_opened_total"), connections);
    assert_eq!(metrics.total("tidegate_flows_open"), 1);
    assert_eq!(metrics.total("tidegate_connects_total"), connections);
    assert_eq!(metrics.total("tidegate_flows_taken_over_total"), 4);
}

/// A flow is as old after a handoff as it was before: moments are the same moments in both processes.
#[test]
fn a_flow_keeps_its_age() {
    let endpoint = Endpoint::greeting();
    let proxy = setup().ready([&endpoint]).start();
    let (flow, _) = proxy.connect_greeted();
    until("it has an age", || proxy.flow_of(&flow).age_seconds > 0.3);
    let mut successor = Successor::start(&proxy, &[]);
    successor.wait_until_it_has_taken_over();
    assert!(proxy.flow_of(&flow).age_seconds > 0.3);
    assert!(proxy.status().uptime_seconds < 60.0);
}

/// A client goes on to the endpoint that it had, although there are others by then, and a successor's picks would be
/// others.
#[test]
fn affinity_moves_on() {
    let endpoints = Endpoint::greeting_group(5);
    let affinity = json!({"affinity": {"clientIP": {}}});
    let proxy = setup().web(affinity).ready([&endpoints[0]]).start();
    let sources: Vec<SocketAddr> = (10..40).map(|n| SocketAddr::from(([127, 0, 0, n], 0))).collect();
    let went = |source: SocketAddr| Connection::open_from(source, proxy.address("web")).unwrap().greeting();
    for source in &sources {
        assert_eq!(went(*source), endpoints[0].address());
    }
    proxy.write_slice(&Slice::ready("web-1", &endpoints));
    proxy.wait_for_eligible_to_be(&endpoints);
    let mut successors = Vec::new();
    for _ in 0..2 {
        let mut successor = Successor::start(&proxy, &[]);
        successor.wait_until_it_has_taken_over();
        for source in &sources {
            assert_eq!(went(*source), endpoints[0].address(), "{source}");
        }
        successors.push(successor);
    }
}

fn audit(proxy: &Proxy) -> Vec<api::AuditRecord> {
    proxy.get("/v1/audit").json::<api::Audit>().records
}

/// Milliseconds of the day in an RFC 3339 time.
fn of_day(time: &str) -> i64 {
    let number = |at: usize, length: usize| time[at..at + length].parse::<i64>().unwrap();
    ((number(11, 2) * 60 + number(14, 2)) * 60 + number(17, 2)) * 1_000 + number(20, 3)
}

#[track_caller]
pub(super) fn expect_same_moment(one: &str, other: &str) {
    let apart = (of_day(one) - of_day(other)).abs();
    assert!(apart.min(86_400_000 - apart) < 500, "{one} and {other}");
}

/// A drain that was over, one that is on and one whose endpoint has gone: the successor has their records, and those that
/// are on go on with their beginning, their deadline, and what they had come to.
#[test]
fn drains_and_their_records_move_on() {
    let endpoints = Endpoint::greeting_group(4);
    let deadline = json!({"drain": {"deadline": "30m"}});
    let proxy = setup().web(deadline).ready(&endpoints).start();
    let mut flows: Vec<Vec<Connection>> = endpoints.iter().map(|_| Vec::new()).collect();
    while flows.iter().any(|own| own.len() < 3) {
        let (flow, used) = proxy.connect_greeted();
        let at = endpoints.iter().position(|endpoint| endpoint.address() == used).unwrap();
        flows[at].push(flow);
    }
    let count: Vec<u64> = flows.iter().map(|own| own.len() as u64).collect();
    let port = endpoints[0].address().port();
    let terminating = |all: &[usize]| {
        let slice = Slice::named("web-1").with_port(port).with(endpoints[3].in_slice().ready());
        all.iter().fold(slice, |slice, at| slice.with(endpoints[*at].in_slice().terminating()))
    };
    // The first one's drain is over, the third one has gone.
    proxy.write_slice(&terminating(&[0, 1, 2]));
    proxy.wait_for_eligible_to_be([&endpoints[3]]);
    flows[0].clear();
    proxy.write_slice(&terminating(&[1]));
    flows[1].pop();
    flows[2].pop();
    let record = |at: usize| {
        let address = endpoints[at].address().to_string();
        audit(&proxy).into_iter().find(|record| record.endpoint == address)
    };
    until("the first drain is over", || record(0).is_some_and(|it| it.ended.is_some()));
    until("a flow of the others has ended", || {
        [1, 2].iter().all(|at| record(*at).is_some_and(|it| it.ended_by_client == 1))
    });
    let before: Vec<_> = (0..3).map(|at| record(at).unwrap()).collect();

    let mut successor = Successor::start(&proxy, &[]);
    successor.wait_until_it_has_taken_over();
    for (at, before) in before.iter().enumerate() {
        let after = record(at).unwrap_or_else(|| panic!("the record of {at} is missing"));
        expect_same_moment(&before.began, &after.began);
        expect_same_moment(before.deadline.as_ref().unwrap(), after.deadline.as_ref().unwrap());
        let counts = |it: &api::AuditRecord| {
            (
                it.flows_at_start,
                it.flows_left,
                it.flows_after_start,
                it.ended_by_client,
                it.elsewhere,
                it.ended.is_some(),
            )
        };
        assert_eq!(counts(&after), counts(before), "{at}: {after:?}");
        assert_eq!(
            (&after.pod, before.published_after_us.is_some()),
            (&before.pod, after.published_after_us.is_some())
        );
        assert_eq!((&after.causes, &after.why), (&before.causes, &before.why));
    }
    let mut last = Successor::start(&proxy, &[]);
    last.wait_until_it_has_taken_over();
    flows[1].clear();
    flows[2].clear();
    for at in [1, 2] {
        until("the drain is over", || record(at).is_some_and(|it| it.ended.is_some()));
        let over = record(at).unwrap();
        assert_eq!((over.flows_at_start, over.ended_by_client), (count[at], count[at]), "{over:?}");
        assert!(over.broke_nothing() && over.flows_left == 0 && over.elsewhere == 0, "{over:?}");
        expect_same_moment(&before[at].began, &over.began);
    }
    assert_eq!(record(0).unwrap().ended_by_client, count[0]);
    assert!(proxy.command(&["audit", "--expect", "zero-broken"]).status.success());
}

/// D2: the deadline of an endpoint that has gone, too, is the successor's to keep: it sheds what it was given.
#[test]
fn successor_sheds_by_the_deadline_of_an_endpoint_that_has_gone() {
    let endpoints = Endpoint::greeting_group(2);
    // Time enough for the handoff ahead of the window.
    let drain = json!({"deadline": "10s", "window": "2s", "quiet": "20ms"});
    let proxy = setup().web(json!({ "drain": drain })).ready([&endpoints[0]]).start();
    let (mut flow, _) = proxy.connect_greeted();
    let port = endpoints[0].address().port();
    let slice = Slice::named("web-1").with_port(port).with(endpoints[1].in_slice().ready());
    proxy.write_slice(&slice.clone().with(endpoints[0].in_slice().terminating()));
    proxy.wait_for_eligible_to_be([&endpoints[1]]);
    proxy.write_slice(&slice);
    until("it is gone", || proxy.endpoint(&endpoints[0]).is_some_and(|row| row.conditions.is_none()));
    let mut successor = Successor::start(&proxy, &[]);
    successor.wait_until_it_has_taken_over();
    flow.exchange(b"still here");
    flow.expect_end();
    drop(flow);
    until("it is counted as shed", || proxy.terminated("shed", "data") == 1);
    until("its drain is over", || audit(&proxy).iter().any(|record| record.ended.is_some()));
    let record = &audit(&proxy)[0];
    assert_eq!((record.flows_at_start, record.shed, record.cut), (1, 1, 0), "{record:?}");
}

/// A predecessor is killed, with nothing moved, with all flows moved, or with everything given and not committed: what
/// operators asked for, what drains had come to, records and counters were told before the first flow moved, and hold.
/// Flows that went down with it are on record as broken, and no others.
#[test]
fn facts_survive_a_predecessor_that_is_killed() {
    for (point, survives) in [("gave-up", false), ("started-heard", true), ("doors-held", true)] {
        let endpoints = Endpoint::greeting_group(3);
        let fault = format!("kill:{point}");
        let proxy = setup().environment("TIDEGATE_HANDOFF_FAULT", fault).ready(&endpoints).start();
        let mut flows: Vec<Vec<Connection>> = endpoints.iter().map(|_| Vec::new()).collect();
        while flows.iter().any(|own| own.len() < 3) {
            let (flow, used) = proxy.connect_greeted();
            flows[endpoints.iter().position(|it| it.address() == used).unwrap()].push(flow);
        }
        let opened = flows.iter().map(|own| own.len() as u64).sum::<u64>();
        for at in [0, 1] {
            let address = endpoints[at].address().to_string();
            let request = json!({
                "service": "default/web", "endpoint": address, "by": "ada", "reason": "disk", "deadline_ms": 600_000,
            });
            assert_eq!(proxy.post("/v1/drain", &request).status, 200);
        }
        flows[0].clear();
        flows[1].pop();
        let record = |at: usize| {
            let address = endpoints[at].address().to_string();
            audit(&proxy).into_iter().find(|record| record.endpoint == address).expect("it is on record")
        };
        until("one drain is over", || record(0).ended.is_some());
        until("a flow of the other has ended", || record(1).ended_by_client == 1);
        let before = [record(0), record(1)];

        let _successor = Successor::start(&proxy, &[]);
        assert!(!proxy.wait_for_end().status.success());
        until("the successor answers", || {
            proxy.admin().get("/readyz").is_ok_and(|answer| answer.status == 200)
        });
        proxy.wait_for_eligible_to_be([&endpoints[2]]);
        let state = proxy.endpoint(&endpoints[0]).unwrap().admin_state;
        assert_eq!((state.by.as_deref(), state.reason.as_deref()), (Some("ada"), Some("disk")), "{point}");
        let (own, left) = (flows[1].len() as u64, opened - before[0].flows_at_start - 1);
        let lost = if survives { 0 } else { own };
        until("what was lost is on record", || record(1).broken == lost);
        for (at, before) in before.iter().enumerate() {
            let after = record(at);
            expect_same_moment(&before.began, &after.began);
            expect_same_moment(before.deadline.as_ref().unwrap(), after.deadline.as_ref().unwrap());
            assert_eq!(
                (after.flows_at_start, after.ended_by_client, after.elsewhere),
                (before.flows_at_start, before.ended_by_client, 0),
                "{point}: {after:?}"
            );
        }
        let metrics = proxy.metrics();
        assert_eq!(metrics.total("tidegate_flows_opened_total"), opened, "{point}");
        assert_eq!(metrics.total("tidegate_flows_terminated_total"), before[0].flows_at_start + 1, "{point}");
        assert_eq!(metrics.total("tidegate_flows_open"), if survives { left } else { 0 }, "{point}");
        let is_clean = proxy.command(&["audit", "--expect", "zero-broken"]).status.success();
        assert_eq!(is_clean, survives, "{point}");
        if survives {
            flows[1].clear();
            until("the drain is over", || record(1).ended.is_some());
            let over = record(1);
            assert_eq!((over.ended_by_client, over.flows_left, over.broken), (own + 1, 0, 0), "{over:?}");
        }
    }
}

/// Which clients went where is told before the first flow moves, too.
#[test]
fn affinity_survives_a_predecessor_that_is_killed() {
    let endpoints = Endpoint::greeting_group(5);
    let fault = "kill:accepting-heard";
    let setup =
        setup().environment("TIDEGATE_HANDOFF_FAULT", fault).web(json!({"affinity": {"clientIP": {}}}));
    let proxy = setup.ready([&endpoints[0]]).start();
    let address = proxy.address("web");
    let went =
        |n: u8| Connection::open_from(SocketAddr::from(([127, 0, 0, n], 0)), address).unwrap().greeting();
    assert!((10..40).all(|n| went(n) == endpoints[0].address()));
    proxy.write_slice(&Slice::ready("web-1", &endpoints));
    proxy.wait_for_eligible_to_be(&endpoints);
    let _successor = Successor::start(&proxy, &[]);
    assert!(!proxy.wait_for_end().status.success());
    until("the successor answers", || proxy.admin().get("/readyz").is_ok_and(|answer| answer.status == 200));
    for n in 10..40 {
        assert_eq!(went(n), endpoints[0].address(), "{n}");
    }
}
