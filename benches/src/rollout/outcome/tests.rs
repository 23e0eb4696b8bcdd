use super::*;
use crate::outcomes::{Outcome as _, Table};

/// Moments of a measurement, in milliseconds.
struct Moments(Instant);

impl Moments {
    fn at(&self, ms: u64) -> Instant {
        self.0 + Duration::from_millis(ms)
    }

    fn flow(&self, class: Class, endpoint: Option<u32>, ended: u64, end: End) -> Flow {
        Flow { class, endpoint, ended: self.at(ended), end }
    }
}

fn outcome(epoch: Instant, flows: &[Flow], records: &[Record]) -> Outcome {
    let look = |count, memory, cpu| Look { count, memory, cpu: Duration::from_millis(cpu) };
    let seen = Seen {
        flows,
        records,
        epoch,
        first: look(1, 1000, 50),
        before: look(2, 2000, 100),
        most: look(9, 9000, 0),
        left: look(3, 3000, 550),
        wall: Duration::from_secs(2),
    };
    count(Proxy::Nginx, Plan::QUICK, &seen, Vec::new())
}

fn broken() -> End {
    End::Broken("reply: reset".into())
}

#[test]
fn a_break_is_blamed_on_the_proxy_unless_the_endpoint_has_ended_and_the_flow_would_have_outlived_it() {
    let t = Moments(Instant::now());
    let ended = Record { terminating: Some(t.at(100)), ended: Some(t.at(500)), ..Record::default() };
    let records = [ended, Record::default()];
    let flows = [
        t.flow(Class::Outliving, Some(0), 500, broken()),
        t.flow(Class::Outliving, Some(0), 499, broken()),
        t.flow(Class::Outliving, Some(1), 600, broken()),
        t.flow(Class::Fitting, Some(0), 501, broken()),
        t.flow(Class::Fitting, Some(0), 501, End::Own),
        t.flow(Class::Short, Some(1), 10, End::Own),
        t.flow(Class::Short, None, 10, End::Refused("connect: refused".into())),
    ];
    let outcome = outcome(t.0, &flows, &records);
    assert_eq!(outcome.outliving, Ends { opened: 3, cut: 1, broken: 2, ..Ends::default() });
    assert_eq!(outcome.fitting, Ends { opened: 2, own: 1, broken: 1, ..Ends::default() });
    assert_eq!(outcome.short, Ends { opened: 1, own: 1, refused: 1, ..Ends::default() });
    assert_eq!((outcome.broken(), outcome.refused()), (3, 1));
    assert_eq!(
        outcome.words,
        [
            "0.499 s: outliving flow at endpoint 0, terminating for 399.0 ms broken: reply: reset",
            "0.600 s: outliving flow at endpoint 1, which was ready broken: reply: reset",
            "0.501 s: fitting flow at endpoint 0, 1.0 ms after its end broken: reply: reset",
            "0.010 s: short flow refused: connect: refused",
        ]
    );
    assert!(outcome.is_valid());
}

#[test]
fn a_wrong_byte_is_a_fault() {
    let t = Moments(Instant::now());
    let flows = [t.flow(Class::Short, Some(0), 1, End::Wrong("a wrong byte in a reply".into()))];
    assert_eq!(outcome(t.0, &flows, &[]).faults, ["a wrong byte in a reply"]);
    assert!(!outcome(t.0, &[], &[Record { wrong: 2, ..Record::default() }]).is_valid());
}

#[test]
fn connections_begun_after_the_change_are_misplaced_and_those_on_their_way_are_not() {
    let t = Moments(Instant::now());
    let old = Record {
        terminating: Some(t.at(100)),
        begun: [50, 99, 100, 103, 110].map(|ms| t.at(ms)).to_vec(),
        accepted: [51, 101, 102, 104, 111].map(|ms| t.at(ms)).to_vec(),
        ..Record::default()
    };
    let quiet = Record { terminating: Some(t.at(200)), accepted: vec![t.at(150)], ..Record::default() };
    let new = Record {
        readying: Some(t.at(80)),
        ready: Some(t.at(82)),
        accepted: [70, 81, 90].map(|ms| t.at(ms)).to_vec(),
        ..Record::default()
    };
    let later = Record { accepted: vec![t.at(89)], ..new.clone() };
    let never = Record { accepted: vec![], ..new.clone() };
    let outcome = outcome(t.0, &[], &[old, quiet, new, later, never]);
    let after_ms = Spread { p50: 3.0, p99: 10.0, max: 10.0 };
    assert_eq!(outcome.misplaced, Misplaced { late: 2, after_ms, early: 1 });
    assert_eq!(outcome.old_stops_ms, Spread { p50: 0.0, p99: 11.0, max: 11.0 });
    assert_eq!(outcome.new_starts_ms, Spread { p50: 0.0, p99: 7.0, max: 7.0 });
    assert_eq!(outcome.unused, 1);
}

#[test]
fn what_the_processes_took_is_a_course() {
    let outcome = outcome(Instant::now(), &[], &[]);
    assert_eq!(outcome.processes, Course { before: 2, most: 9, left: 3 });
    assert_eq!(outcome.memory_kib, Course { before: 2000, most: 9000, left: 3000 });
    assert_eq!((outcome.cpu_seconds, outcome.wall_seconds), (0.5, 2.0));
}

#[test]
fn a_report_can_be_read_again() {
    let t = Moments(Instant::now());
    let outcome = outcome(t.0, &[t.flow(Class::Fitting, Some(0), 1, broken())], &[]);
    let text = serde_json::to_string(&outcome).unwrap();
    assert_eq!(serde_json::from_str::<Outcome>(&text).unwrap(), outcome);
}

#[test]
fn the_table_has_a_column_for_each_proxy_and_says_what_is_invalid() {
    let t = Moments(Instant::now());
    let mut first = outcome(t.0, &[], &[]);
    first.proxy = Proxy::Tidegate;
    let mut second = outcome(t.0, &[t.flow(Class::Short, Some(0), 1, broken())], &[]);
    second.faults.push("a fault".into());
    let table = Table(&[first, second]).to_string();
    let row = |name: &str| {
        let line = table.lines().find(|line| line.trim_start().starts_with(name));
        line.map(|line| line[NAME + 2..].split_whitespace().collect::<Vec<_>>().join(" "))
    };
    assert_eq!(row("broken before their own end").as_deref(), Some("0 1"), "{table}");
    assert_eq!(row("processes").as_deref(), Some("2 / 9 / 3 2 / 9 / 3"), "{table}");
    assert!(table.contains("nginx INVALID: a fault") && table.contains("tidegate"), "{table}");
    assert_eq!(Table::<Outcome>(&[]).to_string(), "");
}

/// The width of the figures' names in the table.
const NAME: usize = 48;
