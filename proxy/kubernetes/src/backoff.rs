//! How long to wait before asking again: exponential, with full jitter, so that proxies that lost their server at one
//! moment do not come back at one moment. What the server asks for (Retry-After) is waited for, within the limit.

use std::time::Duration;

use tidegate_core::Rng;

/// A growing wait.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    base: Duration,
    limit: Duration,
    failures: u32,
}

impl Backoff {
    pub(crate) fn new(base: Duration, limit: Duration) -> Self {
        Self { base, limit, failures: 0 }
    }

    /// The wait after one more failure: at least half of what the number of failures calls for.
    pub(crate) fn next(&mut self, retry_after: Option<Duration>, rng: &mut Rng) -> Duration {
        let ceiling = self.base.saturating_mul(1 << self.failures.min(16)).min(self.limit);
        self.failures = self.failures.saturating_add(1);
        let half = ceiling / 2;
        let jittered = half + half.mul_f64(fraction(rng));
        // A herd that is told the same second would come back together.
        let asked = retry_after.map(|wait| wait.min(self.limit) + half.mul_f64(fraction(rng)));
        asked.unwrap_or_default().max(jittered)
    }

    /// All is well again.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// A number from 0 to 1.
pub(crate) fn fraction(rng: &mut Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Duration = Duration::from_millis(100);
    const LIMIT: Duration = Duration::from_secs(10);

    #[test]
    fn it_doubles_to_its_limit_and_is_never_below_half() {
        let (mut backoff, mut rng) = (Backoff::new(BASE, LIMIT), Rng::new(1));
        for failures in 0..40 {
            let ceiling = BASE.saturating_mul(1 << failures.min(16)).min(LIMIT);
            let wait = backoff.next(None, &mut rng);
            assert!(wait >= ceiling / 2 && wait <= ceiling, "{failures}: {wait:?} of {ceiling:?}");
        }
        backoff.reset();
        assert!(backoff.next(None, &mut rng) <= BASE);
    }

    #[test]
    fn two_proxies_do_not_wait_alike() {
        let wait = |seed| Backoff::new(BASE, LIMIT).next(None, &mut Rng::new(seed));
        assert_ne!(wait(1), wait(2));
    }

    #[test]
    fn what_the_server_asks_for_is_waited_for_within_the_limit() {
        let mut rng = Rng::new(1);
        let mut wait = |asked| Backoff::new(BASE, LIMIT).next(Some(Duration::from_secs(asked)), &mut rng);
        assert!(wait(3) >= Duration::from_secs(3));
        assert!(wait(3600) <= LIMIT + BASE, "a server cannot make the proxy blind for an hour");
    }
}
