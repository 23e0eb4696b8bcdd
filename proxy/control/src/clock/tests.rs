use super::*;

fn at(seconds: u64, millis: u64) -> String {
    rfc3339(UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_millis(millis))
}

#[test]
fn wall_time_is_rfc3339_with_milliseconds() {
    assert_eq!(at(0, 0), "1970-01-01T00:00:00.000Z");
    assert_eq!(at(951_782_399, 999), "2000-02-28T23:59:59.999Z");
    assert_eq!(at(951_782_400, 0), "2000-02-29T00:00:00.000Z");
    assert_eq!(at(1_709_251_200, 7), "2024-03-01T00:00:00.007Z");
    assert_eq!(at(4_107_542_400, 0), "2100-03-01T00:00:00.000Z");
    assert_eq!(at(1_798_761_599, 1), "2026-12-31T23:59:59.001Z");
}

#[test]
fn a_timestamp_counts_from_the_origin() {
    let origin = Instant::now();
    let clock = Clock::new(origin, UNIX_EPOCH + Duration::from_secs(100));
    let later = clock.timestamp(origin + Duration::from_millis(1_500));
    assert_eq!(later, Timestamp::from_millis(1_500));
    assert_eq!(clock.rfc3339(later), "1970-01-01T00:01:41.500Z");
}

/// What a predecessor's clock calls a moment, its successor's calls it too; the two processes began at different ones.
#[test]
fn a_successors_clock_goes_on() {
    let origin = Instant::now();
    let hour = Duration::from_secs(3_600);
    let before = Clock::new(origin, UNIX_EPOCH + Duration::from_secs(7_200));
    let now = Timestamp::default().after(hour);
    let after = Clock::going_on(now);
    assert_eq!((before.started(), after.started()), (Timestamp::default(), now));
    assert!(after.now().since(now) < hour, "{:?}", after.now());
    assert!(after.now() >= now);
}

#[test]
fn a_moment_before_the_origin_is_the_origin() {
    let now = Instant::now();
    let clock = Clock::new(now + Duration::from_secs(5), UNIX_EPOCH);
    assert_eq!(clock.timestamp(now), Timestamp::default());
}
