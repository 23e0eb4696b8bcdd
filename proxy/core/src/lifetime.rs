//! How old a flow may get: when it is to be shed, from when it began and a random number.

use crate::{settings::LifetimeSettings, time::Timestamp};

/// When a flow that was accepted then has reached its lifetime; `None` for never. `random` decides how much of the
/// jitter it gets: the same number gives the same moment, and even numbers spread evenly.
pub fn end_of_life(settings: LifetimeSettings, opened: Timestamp, random: u64) -> Option<Timestamp> {
    let max = settings.max?;
    let nanos = u128::from(u64::try_from(max.as_nanos()).unwrap_or(u64::MAX));
    let jitter = nanos * u128::from(settings.jitter.min(100)) / 100;
    let shorter = (jitter * u128::from(random)) >> 64;
    let nanos = u64::try_from(nanos - shorter).unwrap_or(u64::MAX);
    Some(Timestamp::from_nanos(opened.as_nanos().saturating_add(nanos)))
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn settings(seconds: u64, jitter: u8) -> LifetimeSettings {
        LifetimeSettings { max: Some(Duration::from_secs(seconds)), jitter }
    }

    #[test]
    fn without_a_limit_a_flow_lives_for_ever() {
        assert_eq!(end_of_life(LifetimeSettings::default(), Timestamp::from_millis(5), 7), None);
    }

    #[test]
    fn without_jitter_all_live_alike() {
        for random in [0, 1, u64::MAX] {
            let end = end_of_life(settings(10, 0), Timestamp::from_millis(5), random);
            assert_eq!(end, Some(Timestamp::from_millis(10_005)));
        }
    }

    /// Flows that began together end one after the other, over as much of the limit as the jitter says.
    #[test]
    fn jitter_spreads_the_ends() {
        let end = |random| end_of_life(settings(1_000, 10), Timestamp::default(), random).unwrap().as_secs();
        assert_eq!([0, u64::MAX / 2, u64::MAX].map(end), [1_000, 950, 900]);
    }

    #[test]
    fn an_absurd_limit_is_never_reached() {
        let end = end_of_life(
            LifetimeSettings { max: Some(Duration::MAX), jitter: 0 },
            Timestamp::from_millis(5),
            0,
        );
        assert_eq!(end, Some(Timestamp::from_nanos(u64::MAX)));
    }

    proptest! {
        /// D10: by the moments that it is told, and no other clock. Never longer than the limit, never shorter than the jitter allows, and in the order of the random numbers.
        #[test]
        fn jitter_only_shortens(seconds in 1_u64..100_000, jitter in 0_u8..=100, random: u64, other: u64) {
            let opened = Timestamp::from_millis(123);
            let end = |random| end_of_life(settings(seconds, jitter), opened, random).unwrap();
            let lives = end(random).since(opened);
            let max = Duration::from_secs(seconds);
            prop_assert!(lives <= max && lives >= max * (100 - u32::from(jitter)) / 100);
            prop_assert_eq!(end(random) <= end(other), random >= other || end(random) == end(other));
        }
    }
}
