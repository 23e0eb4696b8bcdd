//! The process's one clock: the core's timestamps, the monotonic clock they come from, and wall time for display.
//!
//! Decisions use the monotonic clock alone. Wall time is read once, at start, and only translates for people.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tidegate_core::Timestamp;

/// One origin on the monotonic clock, and what the wall clock said at that moment.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
    wall: SystemTime,
    /// When this process began; its predecessors' clocks had the same origin.
    started: Timestamp,
}

impl Clock {
    /// A clock whose origin is this moment.
    pub fn start() -> Self {
        Self::new(tokio::time::Instant::now().into_std(), SystemTime::now())
    }

    /// A clock with this origin; `wall` is what the wall clock said then.
    pub const fn new(origin: Instant, wall: SystemTime) -> Self {
        Self { origin, wall, started: Timestamp::from_nanos(0) }
    }

    /// A predecessor's clock, which says that it is `now`: moments that the predecessor knows are the same moments here.
    pub fn going_on(now: Timestamp) -> Self {
        let since = Duration::from_nanos(now.as_nanos());
        let clock = Self::start();
        match (clock.origin.checked_sub(since), clock.wall.checked_sub(since)) {
            (Some(origin), Some(wall)) => Self { origin, wall, started: now },
            _ => clock,
        }
    }

    /// When this process began.
    pub const fn started(&self) -> Timestamp {
        self.started
    }

    /// The origin, for whoever makes timestamps of the same kind.
    pub const fn origin(&self) -> Instant {
        self.origin
    }

    /// This moment. Follows tokio's clock, so that a test that pauses time pauses this too.
    pub fn now(&self) -> Timestamp {
        self.timestamp(tokio::time::Instant::now().into_std())
    }

    /// A moment of the monotonic clock; the origin where it lies before that.
    pub fn timestamp(&self, at: Instant) -> Timestamp {
        Timestamp::default().after(at.saturating_duration_since(self.origin))
    }

    /// What the wall clock said, or will say if nobody sets it.
    pub fn wall(&self, at: Timestamp) -> SystemTime {
        self.wall + Duration::from_nanos(at.as_nanos())
    }

    /// A moment as RFC 3339 in UTC with milliseconds.
    pub fn rfc3339(&self, at: Timestamp) -> String {
        rfc3339(self.wall(at))
    }
}

/// Wall time as RFC 3339 in UTC with milliseconds; the epoch for anything before it.
pub fn rfc3339(at: SystemTime) -> String {
    let since_epoch = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since_epoch.as_secs();
    let (year, month, day) = civil_date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    let millis = since_epoch.subsec_millis();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Year, month and day of a day count since 1970-01-01. Counts in years that begin on 1 March, so that the leap day
/// is a year's last.
fn civil_date(days: u64) -> (u64, u64, u64) {
    const DAYS_0000_03_01_TO_EPOCH: u64 = 719_468;
    const DAYS_IN_400_YEARS: u64 = 146_097;
    let days = days + DAYS_0000_03_01_TO_EPOCH;
    let era = days / DAYS_IN_400_YEARS;
    let day_of_era = days % DAYS_IN_400_YEARS;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests;
