use serde_json::{Value, json};
use tidegate_admin::InstanceAnswer;

use super::*;

fn answers<T>(rows: Vec<(&str, Option<T>)>) -> All<T> {
    let row = |(instance, answer): (&str, Option<T>)| InstanceAnswer {
        instance: instance.to_owned(),
        error: answer.is_none().then(|| "away".to_owned()),
        answer,
    };
    All { instances: rows.into_iter().map(row).collect() }
}

/// Two instances whose endpoint 10.0.0.1 was drained, and one that could not be asked.
fn meant() -> Meant {
    let change = json!({"service": "default/web", "endpoint": "10.0.0.1:80", "id": 1, "pod": null, "state": "drain",
        "unchanged": false, "eligible": false, "flows": 3});
    let answer: api::DrainAnswer =
        serde_json::from_value(json!({"endpoints": [change], "kept": false})).expect("an answer");
    Meant::of(&answers(vec![("this", Some(answer.clone())), ("b", Some(answer)), ("c", None)]))
}

/// The drains that are on, by the last part of their endpoints' addresses. A successor has other numbers for them.
fn drains(hosts: &[u8]) -> api::Drains {
    let drain = |host: &u8| {
        json!({"service": "default/web", "endpoint": format!("10.0.0.{host}:80"), "id": 5, "since": "", "why": "", "causes": [],
            "waits": false, "flows_at_start": 3, "flows_left": 3, "ended_by_themselves": 0, "shed": 0, "cut": 0,
            "broken": 0})
    };
    let drains: Vec<Value> = hosts.iter().map(drain).collect();
    let sample = json!({"at": "", "drains": drains, "over": [], "silent_workers": []});
    serde_json::from_value(sample).expect("a sample")
}

#[test]
fn another_instances_flows_are_waited_for() {
    let (mut meant, now) = (meant(), Instant::now());
    let mut is_left = |this: &[u8], other: &[u8]| {
        let mut all = answers(vec![("this", Some(drains(this))), ("b", Some(drains(other)))]);
        meant.keep(&mut all);
        meant.is_left(&all, now)
    };
    assert!(is_left(&[1], &[1]));
    assert!(is_left(&[], &[1]));
    assert!(!is_left(&[7], &[8]), "other endpoints' drains are none of it");
}

/// Whoever cannot be asked is waited for, and not for ever; if it comes back, it counts again.
#[test]
fn a_silent_instance_is_waited_for_up_to_a_limit() {
    let (mut meant, began) = (meant(), Instant::now());
    let silent = || answers(vec![("this", Some(drains(&[]))), ("b", None)]);
    assert!(meant.is_left(&silent(), began));
    assert!(meant.is_left(&silent(), began + PATIENCE - Duration::from_millis(1)));
    assert!(!meant.is_left(&silent(), began + PATIENCE));
    let back = answers(vec![("this", Some(drains(&[]))), ("b", Some(drains(&[1])))]);
    assert!(meant.is_left(&back, began + PATIENCE));
    assert!(meant.is_left(&silent(), began + 2 * PATIENCE), "its silence begins anew");
    // One that is in no list any more is as silent.
    let gone = answers(vec![("this", Some(drains(&[])))]);
    assert!(!meant.is_left(&gone, began + 3 * PATIENCE));
}

/// An endpoint: whether a drain is on, and its flows.
fn endpoint(drains: bool, flows: u64) -> api::Endpoints {
    let drain = drains.then(|| json!({"since": "", "why": "", "flows_at_start": 3, "flows_left": flows}));
    let row = json!({"service": "default/web", "endpoint": "10.0.0.1:80", "id": 1, "eligible": !drains,
        "admin_state": {"state": "drain"}, "drain": drain, "flows": flows, "weight": 1, "since": ""});
    serde_json::from_value(json!({"generation": 1, "endpoints": [row]})).expect("endpoints")
}

#[test]
fn the_worst_of_all_instances_is_what_became_of_it() {
    let meant = meant();
    let gone = api::Endpoints { generation: 1, endpoints: Vec::new() };
    for (other, expected) in [
        (Some(endpoint(true, 0)), State::Drained),
        (Some(gone), State::Drained),
        (None, State::Unknown),
        (Some(endpoint(false, 2)), State::TakenBack),
        (Some(endpoint(true, 2)), State::Left),
    ] {
        let all = answers(vec![("this", Some(endpoint(true, 0))), ("b", other)]);
        assert_eq!(meant.state(&all), expected);
    }
}
