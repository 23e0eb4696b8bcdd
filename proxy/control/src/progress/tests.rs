use tidegate_core::{Conditions, Event, Permit, Tier};

use super::*;
use crate::rig::{Manner, Rig, listener, port, slice, sliced};

fn point(seconds: u64, ended: u64, left: u64) -> Point {
    Point { at: Timestamp::from_millis(seconds * 1_000), ended, left }
}

#[test]
fn a_steady_pace_gives_a_range_that_begins_with_what_it_would_take() {
    // 100 flows, ten a second for five seconds.
    let points: Vec<_> = (0..=5).map(|second| point(second, second * 10, 100 - second * 10)).collect();
    let (least, most) = rest(&points).unwrap();
    assert_eq!(least.as_secs_f64(), 5.0);
    // 75 flows lived on average, so each had a likelihood of 10/75 a second; H(50) is 4.499.
    assert!((most.as_secs_f64() - 4.499 * 7.5).abs() < 0.01, "{most:?}");
}

#[test]
fn the_last_flow_is_judged_by_how_likely_flows_close() {
    let points = [point(0, 0, 2), point(10, 1, 1)];
    let (least, most) = rest(&points).unwrap();
    assert_eq!((least.as_secs(), most.as_secs()), (10, 15));
}

#[test]
fn nothing_is_known_before_a_flow_has_closed() {
    assert_eq!(rest(&[]), None);
    assert_eq!(rest(&[point(3, 0, 9)]), None);
    assert_eq!(rest(&[point(3, 0, 9), point(8, 0, 9)]), None);
    assert_eq!(rest(&[point(0, 0, u64::MAX), point(40, 1, u64::MAX - 1)]), None, "beyond the horizon");
}

#[test]
fn harmonic_numbers() {
    assert_eq!(harmonic(0), 0.0);
    assert_eq!(harmonic(2), 1.5);
    let exact: f64 = (1..=1_000).map(|k| 1.0 / f64::from(k)).sum();
    assert!((harmonic(1_000) - exact).abs() < 1e-6);
    assert!((harmonic(33) - harmonic(32) - 1.0 / 33.0).abs() < 1e-4);
}

const PLAN: DrainPlan = DrainPlan {
    began: Timestamp::from_millis(0),
    deadline: Timestamp::from_millis(60_000),
    window: Some(Duration::from_secs(30)),
    quiet: Duration::from_millis(250),
    max_per_second: 10,
};

fn facts() -> Facts {
    Facts {
        now: Timestamp::from_millis(20_000),
        left: 50,
        of_service: 50,
        survey: Some(Survey { flows: 50, idle: 40, bytes: 0, oldest: None }),
        plan: Some(PLAN),
        rest: None,
    }
}

#[test]
fn a_deadline_bounds_the_end() {
    let ms = Timestamp::from_millis;
    assert_eq!(facts().ends(), Some((ms(59_500), ms(60_000))));
    let rest = Some((Duration::from_secs(10), Duration::from_secs(90)));
    assert_eq!(Facts { rest, ..facts() }.ends(), Some((ms(30_000), ms(60_000))));
    let late = Facts { now: ms(61_000), rest, ..facts() };
    assert_eq!(late.ends(), Some((ms(61_000), ms(61_000))), "what is late ends now");
    assert_eq!(Facts { rest, plan: None, ..facts() }.ends(), Some((ms(30_000), ms(110_000))));
    assert_eq!(Facts { plan: None, ..facts() }.ends(), None);
}

#[test]
fn the_busy_ones_are_cut_and_those_for_whom_there_is_no_time() {
    assert_eq!(facts().will_be_cut(), Some(10), "ten are busy, and there is time for forty");
    let short = Facts { now: Timestamp::from_millis(58_000), ..facts() };
    // 1.5 s until the last shed, ten a second.
    assert_eq!(short.will_be_cut(), Some(10 + 25));
    let shared = Facts { of_service: 150, ..short };
    assert_eq!(shared.will_be_cut(), Some(10 + 35), "a third of the cap is its own");
    assert_eq!(Facts { plan: None, ..facts() }.will_be_cut(), None);
    assert_eq!(Facts { survey: None, ..facts() }.will_be_cut(), None);
    let fewer = Facts { left: 3, ..facts() };
    assert_eq!(fewer.will_be_cut(), Some(3), "never more than there are");
}

/// A controller tells the drains that are on, with the pace of the time before, and what is over for a while.
#[tokio::test(start_paused = true)]
async fn drains_that_are_on_are_told() {
    let desired = crate::Desired {
        services: vec![sliced("web")],
        listeners: vec![listener("web", "web")],
        ..crate::Desired::default()
    };
    let rig = Rig::start(desired, &[Manner::Willing, Manner::Willing], None);
    rig.event(Event::SlicesListed(vec![slice("web", &[("10.0.0.1", "a"), ("10.0.0.2", "b")])])).await;
    rig.settled().await;
    let services = rig.handle.services().await.unwrap().services;
    let mut flows: Vec<_> =
        (0..8).map(|_| Permit::enter(&services[0].endpoints[0].endpoint, Tier::Ready).unwrap()).collect();
    assert!(rig.handle.progress().await.unwrap().drains.is_empty());
    assert!(!rig.told().iter().any(|told| told.contains("survey")), "nobody is asked about nothing");

    let mut leaving = slice("web", &[("10.0.0.1", "a"), ("10.0.0.2", "b")]);
    leaving.endpoints[0].conditions = Conditions::from_api(Some(false), Some(true), Some(true));
    rig.event(Event::SliceApplied(leaving)).await;
    rig.settled().await;
    // Also before it was looked at for the first time.
    tokio::time::advance(Duration::from_millis(100)).await;
    flows.pop().unwrap().end(tidegate_core::FlowEnd::Client);
    assert!(rig.handle.progress().await.unwrap().drains[0].ends.is_some());
    for _ in 0..4 {
        tokio::time::advance(Duration::from_secs(1)).await;
        let permit = flows.pop().unwrap();
        assert!(!permit.end(tidegate_core::FlowEnd::Client));
        rig.settled().await;
    }
    let answer = rig.handle.progress().await.unwrap();
    assert_eq!(answer.drains.len(), 1);
    let drain = &answer.drains[0];
    assert_eq!((drain.service.clone(), drain.waits, drain.will_be_cut), (port("web"), false, None));
    assert_eq!(drain.survey.unwrap().flows, 6, "three of each played worker");
    let (earliest, latest) = drain.ends.expect("flows have closed");
    assert!(earliest > answer.now && latest > earliest, "{earliest:?} {latest:?}");

    for permit in flows {
        permit.end(tidegate_core::FlowEnd::Endpoint);
    }
    tokio::time::advance(Duration::from_secs(1)).await;
    rig.settled().await;
    let answer = rig.handle.progress().await.unwrap();
    assert!(answer.drains.is_empty());
    assert_eq!(answer.over.len(), 1);
    tokio::time::advance(TOLD_FOR + Duration::from_secs(2)).await;
    assert!(rig.handle.progress().await.unwrap().over.is_empty());
}

/// Workers that say nothing are named, and what only they know is missing.
#[tokio::test(start_paused = true)]
async fn silent_workers_are_named() {
    let desired = crate::Desired {
        services: vec![sliced("web")],
        listeners: vec![listener("web", "web")],
        ..crate::Desired::default()
    };
    let rig = Rig::start(desired, &[Manner::Silent], None);
    rig.event(Event::SlicesListed(vec![slice("web", &[("10.0.0.1", "a")])])).await;
    rig.settled().await;
    let services = rig.handle.services().await.unwrap().services;
    let _flow = Permit::enter(&services[0].endpoints[0].endpoint, Tier::Ready).unwrap();
    rig.event(Event::SlicesListed(Vec::new())).await;
    rig.settled().await;
    let mut leaving = slice("web", &[("10.0.0.1", "a")]);
    leaving.endpoints[0].conditions = Conditions::from_api(Some(false), Some(true), Some(true));
    rig.event(Event::SlicesListed(vec![leaving])).await;
    rig.settled().await;
    let answer = rig.handle.progress().await.unwrap();
    assert_eq!(answer.silent, [0]);
    assert_eq!(answer.drains[0].survey, None);
}

/// Flows that are left after the deadline are those for whom it was put off: nobody says that they are about to be cut.
#[tokio::test(start_paused = true)]
async fn a_deadline_that_was_put_off_is_told_so() {
    let mut service = sliced("web");
    service.settings.drain.deadline = tidegate_core::DrainDeadline::After(Duration::from_secs(2));
    let desired = crate::Desired {
        services: vec![service],
        listeners: vec![listener("web", "web")],
        ..crate::Desired::default()
    };
    let rig = Rig::start(desired, &[Manner::Willing], None);
    rig.event(Event::SlicesListed(vec![slice("web", &[("10.0.0.1", "a")])])).await;
    rig.settled().await;
    let services = rig.handle.services().await.unwrap().services;
    let _flow = Permit::enter(&services[0].endpoints[0].endpoint, Tier::Ready).unwrap();
    let says = |ready: bool| {
        let mut all = slice("web", &[("10.0.0.1", "a"), ("10.0.0.2", "b")]);
        all.endpoints[0].conditions = Conditions::from_api(Some(false), Some(true), Some(true));
        all.endpoints[1].conditions.ready = ready;
        Event::SliceApplied(all)
    };
    let told = async || {
        let drain = rig.handle.progress().await.unwrap().drains.remove(0);
        (drain.waits, drain.put_off, drain.ends.is_some(), drain.will_be_cut.is_some())
    };
    rig.event(says(true)).await;
    rig.settled().await;
    assert_eq!(told().await, (false, false, true, true));
    rig.event(says(false)).await;
    rig.settled().await;
    tokio::time::advance(Duration::from_secs(3)).await;
    assert_eq!(told().await, (true, false, false, false));
    rig.event(says(true)).await;
    rig.settled().await;
    assert_eq!(told().await, (false, true, false, false));
}
