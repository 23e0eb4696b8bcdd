use std::{vec, vec::Vec};

use proptest::prelude::*;

use super::*;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

#[test]
fn a_turn_that_comes_to_nothing_is_somebody_elses() {
    let pace = Pace::new(at(1_000));
    for _ in 0..100 {
        assert!(pace.take(1, at(1_000)));
        assert!(!pace.take(1, at(1_500)));
        pace.give_back(1);
    }
    assert!(pace.take(1, at(1_000)));
    assert!(!pace.take(1, at(1_999)) && pace.take(1, at(2_000)));
}

#[test]
fn turns_are_not_saved_up_for_a_burst() {
    let pace = Pace::new(at(0));
    let turns = (0..1_000).filter(|_| pace.take(100, at(60_000))).count();
    assert_eq!(turns, 21, "what is kept, and the one that is due");
    (0..1_000).for_each(|_| pace.give_back(100));
    let turns = (0..1_000).filter(|_| pace.take(100, at(60_000))).count();
    assert_eq!(turns, 21, "whatever comes back");
}

#[test]
fn an_absurd_pace_is_one_in_a_second_or_every_nanosecond() {
    assert_eq!((interval(0), interval(1)), (1_000_000_000, 1_000_000_000));
    assert_eq!((interval(3), interval(u32::MAX)), (333_333_334, 1));
}

proptest! {
    /// However often workers ask, in no time there are more than the cap allows, but for those that were kept. A turn
    /// that came back is as one that was never taken.
    #[test]
    fn turns_never_come_faster_than_the_cap(
        rate in 1_u32..2_000,
        asks in prop::collection::vec((0_u64..300, any::<u8>()), 1..200),
    ) {
        let pace = Pace::new(at(1_000));
        let (mut now, mut granted) = (1_000, vec![]);
        for (wait, used) in asks {
            now += wait;
            for ask in 0..8 {
                if pace.take(rate, at(now)) {
                    if used >> ask & 1 == 0 { pace.give_back(rate) } else { granted.push(now) }
                }
            }
        }
        let kept = KEPT.as_millis() as u64;
        for (first, begin) in granted.iter().enumerate() {
            for (count, end) in granted[first..].iter().enumerate() {
                let most = (end - begin + kept) * u64::from(rate) / 1_000 + 1;
                prop_assert!(count as u64 <= most, "{} from {begin} to {end}, and {most} are allowed", count + 1);
            }
        }
    }
}

/// Workers that ask at once get no turn twice.
#[test]
fn a_turn_is_one_workers() {
    let pace = Pace::new(at(1_000));
    let ask = || (0..10_000).filter(|_| pace.take(1_000, at(2_000))).count();
    let turns: Vec<usize> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    assert_eq!(turns.iter().sum::<usize>(), 201);
}
