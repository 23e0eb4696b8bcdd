//! The API server's clock: whether this machine's differs from it, and what time it is there.
//!
//! An answer's `Date` says in whole seconds when it was begun. That lies between this machine's times of asking and of the
//! answer, or the two clocks differ; by how much at least is certain, however long the answer took. This machine's clock
//! is finer and is believed, unless it differs by [`TOLERATED`] or has been set since. Then the server's is.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use k8s_openapi::jiff::{Timestamp, fmt::rfc2822::DateTimeParser};

use crate::status::SourceStatus;

/// A difference that is left alone. Deadlines have a margin of that size.
const TOLERATED: Duration = Duration::from_secs(2);

/// A Date is cut to the second.
const SECOND: Duration = Duration::from_secs(1);

/// What the answers of an API server have said of its clock.
#[derive(Debug)]
pub(crate) struct ServerClock {
    seen: Mutex<Option<Seen>>,
    status: Arc<SourceStatus>,
}

/// What both clocks said when an answer came.
#[derive(Clone, Copy, Debug)]
struct Seen {
    at: Instant,
    here: SystemTime,
    there: SystemTime,
    differ: bool,
}

impl ServerClock {
    pub(crate) fn new(status: Arc<SourceStatus>) -> Self {
        Self { seen: Mutex::default(), status }
    }

    /// Takes the `Date` of an answer in that was asked for at `asked`, and has come now.
    pub(crate) fn note(&self, date: &str, asked: SystemTime, here: SystemTime, at: Instant) {
        let Ok(there) = DateTimeParser::new().parse_timestamp(date) else { return };
        let there = SystemTime::from(there);
        // At least so much, positive where this machine is ahead.
        let ahead = asked.duration_since(there + SECOND).unwrap_or_default();
        let behind = there.duration_since(here).unwrap_or_default();
        let differ = ahead.max(behind) >= TOLERATED;
        let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        self.status.lock().clock_skew_millis = Some(millis(ahead) - millis(behind));
        let before = self.lock().replace(Seen { at, here, there, differ });
        let differed = before.is_some_and(|before| before.differ);
        if differ && !differed {
            let seconds = ahead.max(behind).as_secs();
            let way = if behind.is_zero() { "ahead of" } else { "behind" };
            tracing::warn!(
                seconds,
                "this machine's clock is {way} the API server's: set one of them right (NTP); pods' deadlines are \
                 counted by the API server's"
            );
        } else if differed && !differ {
            tracing::info!("this machine's clock and the API server's agree again");
        }
    }

    /// The time there at a moment at which this machine's clock says `here`. No later than it is.
    pub(crate) fn there(&self, here: SystemTime, at: Instant) -> SystemTime {
        let Some(seen) = *self.lock() else { return here };
        let since = at.saturating_duration_since(seen.at);
        let expected = seen.here + since;
        let set =
            here.duration_since(expected).or_else(|_| expected.duration_since(here)).unwrap_or_default();
        if seen.differ || set >= TOLERATED { seen.there + SECOND + since } else { here }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A time as Kubernetes writes one.
pub(super) fn read(text: &str) -> Option<SystemTime> {
    text.parse::<Timestamp>().ok().map(SystemTime::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    /// The moment of [`DATE`].
    fn date() -> SystemTime {
        read("1994-11-06T08:49:37Z").expect("a time")
    }

    fn clock() -> (ServerClock, Arc<SourceStatus>) {
        let status = Arc::new(SourceStatus::default());
        (ServerClock::new(Arc::clone(&status)), status)
    }

    #[test]
    fn this_machines_clock_is_believed_while_it_agrees() {
        let (clock, status) = clock();
        let (here, at) = (date() + Duration::from_millis(700), Instant::now());
        assert_eq!(clock.there(here, at), here, "before any answer");
        clock.note(DATE, here, here + Duration::from_millis(20), at);
        let later = here + Duration::from_millis(5_020);
        assert_eq!(clock.there(later, at + seconds(5)), later);
        assert_eq!(status.report().clock_skew_millis, Some(0));
    }

    /// An answer that took long says nothing of the clocks.
    #[test]
    fn a_slow_answer_is_no_difference() {
        for date in [DATE, "Sun, 06 Nov 1994 08:50:07 GMT"] {
            let (clock, status) = clock();
            let asked = self::date();
            clock.note(date, asked, asked + seconds(30), Instant::now());
            assert_eq!(status.report().clock_skew_millis, Some(0), "{date}");
        }
    }

    #[test]
    fn a_clock_that_differs_is_said_and_the_servers_counts() {
        for (here, skew) in [
            (date() + seconds(3_601), 3_600_000),
            (date() - seconds(40), -40_000),
            (date() + seconds(2), 1_000),
        ] {
            let (clock, status) = clock();
            let at = Instant::now();
            clock.note(DATE, here, here, at);
            assert_eq!(status.report().clock_skew_millis, Some(skew));
            let there = clock.there(here + seconds(10), at + seconds(10));
            let expected = if skew == 1_000 { here } else { date() + SECOND };
            assert_eq!(there, expected + seconds(10));
            assert!(there >= date() + seconds(10), "{skew}: no later than it is");
        }
    }

    /// D10: somebody sets this machine's clock between two answers.
    #[test]
    fn a_step_of_this_machines_clock_is_not_followed() {
        let (clock, _) = clock();
        let (here, at) = (date(), Instant::now());
        clock.note(DATE, here, here, at);
        for here in [here + seconds(7_200), here - seconds(7_200)] {
            assert_eq!(clock.there(here, at + seconds(10)), date() + SECOND + seconds(10));
        }
    }

    #[test]
    fn what_is_no_date_says_nothing() {
        let (clock, status) = clock();
        for text in ["", "yesterday", "1994-11-06T08:49:37Z", "Sun, 99 Nov 1994 08:49:37 GMT"] {
            clock.note(text, date(), date(), Instant::now());
        }
        assert_eq!(status.report().clock_skew_millis, None);
        assert_eq!(read("9000-01-01T00:00:00Z").is_some(), read("soon").is_none());
    }
}
