use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::{Rng, pace::Pace};

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
    let pace = Pace::new(at(1_000));
    let (mut left, mut sheds, mut now) = (flows, Vec::new(), 1_000);
    while left > 0 && !schedule.is_over(at(now)) {
        let due = 0..schedule.due(left, left, at(now));
        let count = due.take_while(|_| pace.take(plan.max_per_second, at(now))).count() as u64;
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
    assert_eq!(plan(61_000, Some(10_000), 1).begins(8_000), at(1_000), "with the drain at the earliest");
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
    schedule.resume(at(1_050), 1_000, at(11_000));
    assert_eq!(schedule.plan(), &plan, "there is time enough");
    // Half the time went by without a shed; nothing is due at once.
    assert_eq!(schedule.due(1_000, 1_000, at(11_000)), 0);
    assert!((50..=60).contains(&schedule.due(1_000, 1_000, at(11_500))));
}

/// D9: those who waited past their deadline are shed at the cap, and not cut at once.
#[test]
fn a_wait_past_the_deadline_puts_it_off() {
    let after = |flows, cap, since, now| {
        let mut schedule = Schedule::new(plan(21_000, None, cap));
        schedule.resume(at(since), flows, at(now));
        assert_eq!(schedule.plan().began, at(1_000));
        (schedule.plan().deadline, schedule.due(flows, flows, at(now)))
    };
    assert_eq!(
        after(1_500, 100, 1_000, 61_000),
        (at(76_500), 1_500),
        "what they take at the cap, and the lead"
    );
    assert_eq!(
        after(4_000, 100, 1_000, 61_000),
        (at(81_000), 4_000),
        "no more than they had; the cap has to do"
    );
    assert_eq!(after(4, 100, 1_000, 61_000), (at(62_000), 0), "a second at least");
    assert_eq!(after(4_000, 100, 20_000, 25_000).0, at(26_000), "no more than the wait took");
    assert_eq!(after(4_000, 100, 20_500, 20_800).0, at(21_300), "also where it was over in time");
    assert_eq!(after(4, 100, 1_000, 19_000), (at(21_000), 0), "not where there is time enough");
}

#[test]
fn a_deadline_that_was_put_off_stays_so_until_an_earlier_one_is_told() {
    let told = plan(21_000, None, 100);
    let mut schedule = Schedule::new(told);
    schedule.resume(at(1_000), 4_000, at(61_000));
    schedule.follow(DrainPlan { max_per_second: 200, ..told });
    assert_eq!(schedule.plan(), &DrainPlan { deadline: at(81_000), max_per_second: 200, ..told });
    schedule.resume(at(80_000), 4, at(90_000));
    assert_eq!(schedule.plan().deadline, at(91_000), "once more");
    schedule.follow(DrainPlan { deadline: at(20_000), ..told });
    assert_eq!(schedule.plan().deadline, at(20_000));

    let mut schedule = Schedule::new(told);
    schedule.follow(DrainPlan { deadline: at(11_000), ..told });
    assert_eq!(schedule.plan().deadline, at(11_000), "nothing was put off");
}

#[test]
fn a_short_wait_takes_nothing_of_what_a_long_one_gave() {
    let mut schedule = Schedule::new(plan(21_000, None, 100));
    schedule.resume(at(1_000), 4_000, at(61_000));
    assert_eq!(schedule.plan().deadline, at(81_000));
    schedule.resume(at(62_000), 4, at(62_050));
    assert_eq!(schedule.plan().deadline, at(81_000));
}

#[test]
fn who_has_time_until_later_does_not_hurry_others() {
    let now = at(1_000);
    let drains = [(100, at(11_000)), (50, at(11_000)), (8_000, at(101_000))];
    let mut demand = Demand::default();
    drains.iter().for_each(|(flows, deadline)| demand.add(*flows, *deadline, now));
    let wanted = drains.map(|(flows, deadline)| demand.next(flows, deadline, now));
    // Of the last one's, a tenth is due by the others' deadline.
    assert!(wanted.iter().zip([950, 950, 8_150]).all(|(is, exact)| exact - is <= 1), "{wanted:?}");
    let over = Demand::default().next(7, at(500), now);
    assert_eq!(over, 7, "also where it has passed");
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

    /// Workers share the cap: together they are no faster, none earlier or later, and where there is time nobody is left,
    /// however the flows are spread over them and however long those who were told take to go.
    #[test]
    fn workers_together_keep_to_the_cap_and_are_done_by_the_deadline(
        own in prop::collection::vec(0_u64..400, 1..9),
        cap in prop_oneof![1_u32..20, 20_u32..1_000],
        window in prop::option::of(1_000_u64..10_000),
        spare in 0_u64..3_000,
        going in 0_u64..2_000,
        seed: u64,
    ) {
        let flows: u64 = own.iter().sum();
        let needed = flows * 1_000 / u64::from(cap);
        // Time enough, with the lead and a window that workers look at more than once.
        let plan = plan(3_500 + needed + spare, window, cap);
        let (pace, mut rng) = (Pace::default(), Rng::new(seed));
        let mut workers: Vec<_> = own.iter().map(|own| (*own, Schedule::new(plan), rng.below(50) as u64)).collect();
        // When each flow that was told to go is told, in the order of time.
        let mut told: Vec<u64> = Vec::new();
        for now in 1_000..plan.deadline.as_nanos() / 1_000_000 {
            for (left, schedule, tick) in &mut workers {
                if now % 50 != *tick {
                    continue;
                }
                let gone = told.partition_point(|told| told + going <= now) as u64;
                let due = schedule.due(*left, flows - gone, at(now));
                for _ in 0..due {
                    if !pace.take(cap, at(now)) {
                        break;
                    }
                    *left -= 1;
                    told.push(now);
                }
            }
        }
        prop_assert_eq!(told.len() as u64, flows, "with {:?}", plan);
        prop_assert!(told.first().is_none_or(|first| at(*first) >= plan.begins(flows)));
        for (first, from) in told.iter().enumerate() {
            let within = told[first..].iter().take_while(|to| **to < from + 1_000).count() as u64;
            prop_assert!(within <= u64::from(cap) * 12 / 10 + 1, "{within} in a second");
        }
    }
}
