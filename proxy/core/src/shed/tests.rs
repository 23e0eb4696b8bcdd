use std::vec::Vec;

use proptest::prelude::*;

use super::*;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn plan(deadline: u64, window: Option<u64>, max_per_second: u32) -> DrainPlan {
    DrainPlan {
        began: at(1_000),
        deadline: at(deadline),
        window: window.map(Duration::from_millis),
        quiet: Duration::from_millis(250),
        max_per_second,
    }
}

/// What one worker with all the flows sheds, looking every `step` milliseconds: (millisecond, how many).
fn shed(plan: DrainPlan, flows: u64, step: u64) -> (Vec<(u64, u64)>, u64) {
    let mut schedule = Schedule::new(plan);
    let mut allowance = Allowance::new(at(1_000));
    let (mut left, mut sheds, mut now) = (flows, Vec::new(), 1_000);
    while left > 0 && !schedule.is_over(at(now)) {
        allowance.earn(plan.max_per_second, left, left, at(now));
        let count = schedule.due(left, left, at(now)).min(allowance.allows());
        (0..count).for_each(|_| allowance.spend());
        left -= count;
        if count > 0 {
            sheds.push((now, count));
        }
        now += step;
    }
    (sheds, left)
}

#[test]
fn without_a_window_the_last_half_of_the_time_is_used() {
    let plan = plan(61_000, None, 1_000);
    assert_eq!(plan.begins(10), at(31_000));
    assert_eq!(plan.last_shed(), at(60_500));
}

#[test]
fn a_window_longer_than_the_time_is_all_of_it() {
    assert_eq!(plan(11_000, Some(60_000), 1_000).begins(10), at(1_000));
}

#[test]
fn a_deadline_in_the_past_is_over_at_once_and_everything_is_due() {
    let plan = plan(500, Some(10_000), 10);
    let mut schedule = Schedule::new(plan);
    assert!(schedule.is_over(at(1_000)));
    assert_eq!(schedule.due(7, 7, at(1_000)), 7);
}

#[test]
fn where_the_cap_needs_more_time_the_window_begins_earlier() {
    // 8000 flows at 200 in a second take 40 s.
    assert_eq!(plan(61_000, Some(10_000), 200).begins(8_000), at(20_500));
}

#[test]
fn eight_thousand_flows_in_thirty_seconds_go_evenly() {
    let (sheds, left) = shed(plan(31_000, Some(30_000), 1_000), 8_000, 50);
    assert_eq!(left, 0);
    let per_second = |second: u64| -> u64 {
        let of = |(at, _): &&(u64, u64)| (second * 1_000..(second + 1) * 1_000).contains(at);
        sheds.iter().filter(of).map(|(_, count)| count).sum()
    };
    let even = 8_000.0 / 29.5;
    for second in 1..30 {
        let ratio = per_second(second) as f64 / even;
        assert!((0.9..=1.1).contains(&ratio), "second {second}: {ratio}");
    }
    assert!(sheds.last().unwrap().0 < 31_000);
}

#[test]
fn after_a_wait_the_rest_is_spread_over_the_rest_of_the_time() {
    let plan = plan(21_000, Some(20_000), 1_000);
    let mut schedule = Schedule::new(plan);
    assert_eq!(schedule.due(1_000, 1_000, at(1_000)), 0);
    schedule.restart(plan);
    // Half the time went by without a shed; nothing is due at once.
    assert_eq!(schedule.due(1_000, 1_000, at(11_000)), 0);
    assert!((50..=60).contains(&schedule.due(1_000, 1_000, at(11_500))));
}

#[test]
fn a_worker_with_few_of_many_flows_still_sheds() {
    let mut allowance = Allowance::new(at(0));
    allowance.earn(10, 1, 1_000_000, at(1_000));
    assert_eq!(allowance.allows(), 1);
}

#[test]
fn allowance_is_not_saved_up_for_a_burst() {
    let mut allowance = Allowance::new(at(0));
    allowance.earn(100, 5, 5, at(60_000));
    assert_eq!(allowance.allows(), 20);
}

proptest! {
    /// Even, bounded, never early, never late, never more than there are.
    #[test]
    fn sheds_are_even_capped_in_time_and_complete(
        flows in 1u64..10_000,
        seconds in 1u64..60,
        window in proptest::option::of(0u64..70_000),
        cap in 1u32..5_000,
        step in 20u64..200,
    ) {
        let plan = plan(1_000 + seconds * 1_000, window, cap);
        let (sheds, left) = shed(plan, flows, step);
        let begins = plan.begins(flows);
        let total: u64 = sheds.iter().map(|(_, count)| count).sum();
        prop_assert_eq!(total + left, flows);
        for (now, _) in &sheds {
            prop_assert!(at(*now) >= begins && at(*now) < plan.deadline);
        }
        // The cap holds over every stretch of time, but for what may be saved up.
        let burst = u64::from(cap) * 200 / 1_000 + 2;
        for (first, (from, _)) in sheds.iter().enumerate() {
            let second = sheds[first..].iter().take_while(|(now, _)| *now < from + 1_000);
            let within: u64 = second.map(|(_, count)| count).sum();
            prop_assert!(within <= u64::from(cap) + burst, "{within} in a second");
        }
        // Where the cap leaves room and time is looked at often enough, all are shed, and evenly.
        let span = plan.last_shed().since(begins);
        let needed = Duration::from_millis(flows * 1_000 / u64::from(cap));
        let lead = plan.deadline.since(plan.last_shed());
        if needed * 2 < span && lead > Duration::from_millis(2 * step) {
            prop_assert_eq!(left, 0);
            let mut done = 0;
            for (now, count) in &sheds {
                done += count;
                let even = flows as f64 * at(*now).since(begins).as_secs_f64() / span.as_secs_f64();
                let slack = flows as f64 * 2.0 * step as f64 / span.as_millis() as f64 + 2.0;
                prop_assert!((done as f64 - even).abs() <= slack, "{done} at {now}, even would be {even}");
            }
        }
    }
}
