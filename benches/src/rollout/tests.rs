//! The workload against small proxies of its own, one that is right and some that each do one thing wrong.

mod proxy;

use super::outcome::Misplaced;
use super::*;
use crate::outcomes::Table;
use proxy::{Behaviour, Small};

/// One rollout of two endpoints. What fits ends 240 ms before its endpoint does, however busy the machine is.
const LONG: Plan = Plan { grace: Duration::from_millis(1200), ..SHORT };

/// The same for what is seen at once.
const SHORT: Plan = Plan {
    endpoints: 2,
    rollouts: 1,
    pace: Duration::from_millis(80),
    pre_stop: Duration::from_millis(100),
    grace: Duration::from_millis(300),
    fitting: 10,
    outliving: 4,
    period: Duration::from_millis(10),
    short_per_second: 300,
};

async fn outcome_of(behaviour: Behaviour, plan: Plan) -> Outcome {
    let epoch = Instant::now();
    let mut endpoints = first(plan, epoch).unwrap();
    let pods: Vec<Pod> = endpoints.iter().map(|endpoint| endpoint.pod).collect();
    let mut proxy = Small::start(behaviour, &pods).await;
    let run = Run { proxy: Proxy::Tidegate, plan, epoch, address: proxy.address(), pid: std::process::id() };
    run.measure(&mut endpoints, &mut proxy).await.unwrap()
}

#[tokio::test]
async fn a_correct_proxy_breaks_refuses_and_misplaces_nothing() {
    let outcome = outcome_of(Behaviour::Correct, LONG).await;
    let table = Table(std::slice::from_ref(&outcome)).to_string();
    assert!(outcome.short.are_whole() && outcome.fitting.are_whole(), "{table}");
    assert!(outcome.outliving.are_whole(), "{table}");
    assert!(outcome.outliving.cut > 0, "some outlive their endpoint: {table}");
    assert_eq!((outcome.broken(), outcome.refused()), (0, 0), "{table}");
    assert_eq!((outcome.misplaced.late, outcome.misplaced.early, outcome.unused), (0, 0, 0), "{table}");
    assert_eq!(outcome.faults, [""; 0], "{table}");
}

#[tokio::test]
async fn a_proxy_that_keeps_sending_to_the_old_endpoint_is_seen() {
    let outcome = outcome_of(Behaviour::KeepsSending, SHORT).await;
    let Misplaced { late, after_ms, .. } = outcome.misplaced;
    assert!(late > 10 && after_ms.max > 100.0, "{late}, {after_ms:?}");
    assert!(outcome.old_stops_ms.max > 100.0, "{:?}", outcome.old_stops_ms);
    assert!(outcome.is_valid(), "{:?}", outcome.faults);
}

#[tokio::test]
async fn a_proxy_that_sends_to_endpoints_before_they_are_ready_is_seen() {
    let outcome = outcome_of(Behaviour::SendsEarly, SHORT).await;
    assert!(outcome.misplaced.early > 0, "{:?}", outcome.misplaced);
    assert_eq!(outcome.misplaced.late, 0);
}

#[tokio::test]
async fn a_proxy_that_resets_flows_when_their_endpoint_terminates_is_seen() {
    let outcome = outcome_of(Behaviour::ResetsFlows, SHORT).await;
    assert!(outcome.fitting.broken > 0, "{:?}", outcome.fitting);
    assert!(outcome.words.iter().any(|words| words.contains("terminating for")), "{:?}", outcome.words);
    // A flow that is reset ahead of its first reply counts as refused, so that figure may be anything.
    assert_eq!(outcome.misplaced.late, 0, "{:?}", outcome.words);
}

#[tokio::test]
async fn a_proxy_that_refuses_while_something_terminates_is_seen() {
    let outcome = outcome_of(Behaviour::Refuses, SHORT).await;
    assert!(outcome.short.refused > 10, "{:?}", outcome.short);
    assert_eq!(outcome.misplaced.late, 0);
}

#[tokio::test]
async fn a_proxy_that_mixes_up_replies_makes_the_row_invalid() {
    let outcome = outcome_of(Behaviour::GarblesReplies, SHORT).await;
    assert!(!outcome.is_valid());
    assert!(outcome.faults[0].contains("wrong byte"), "{:?}", outcome.faults);
}

#[tokio::test]
async fn an_operator_that_is_not_heard_is_a_fault_and_ends_the_measurement() {
    let outcome = outcome_of(Behaviour::Deaf, SHORT).await;
    assert!(outcome.faults.iter().any(|fault| fault.contains("not heard")), "{:?}", outcome.faults);
}
