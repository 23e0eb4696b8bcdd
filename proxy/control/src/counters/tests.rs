use super::*;

#[test]
fn a_duration_on_a_bound_is_in_that_bucket() {
    let histogram = Histogram::default();
    histogram.record(Duration::from_micros(25));
    histogram.record(Duration::from_nanos(25_001));
    histogram.record(Duration::from_secs(3_600));
    let counts: Vec<_> = histogram.counts().collect();
    assert_eq!(counts[0], 1);
    assert_eq!(counts[1], 1);
    assert_eq!(counts[histogram.bounds().len()], 1);
    assert_eq!(histogram.sum(), Duration::from_nanos(25_000 + 25_001 + 3_600_000_000_000));
}

#[test]
fn bounds_ascend() {
    assert!(Histogram::SHORT.is_sorted_by(|a, b| a < b));
}

#[test]
fn every_kind_has_a_counter_of_its_own() {
    let counters = ControlCounters::default();
    for (count, kind) in EventKind::ALL.into_iter().enumerate() {
        counters.events(kind).fetch_add(count as u64, Ordering::Relaxed);
    }
    for (count, kind) in EventKind::ALL.into_iter().enumerate() {
        assert_eq!(counters.events(kind).load(Ordering::Relaxed), count as u64, "{}", kind.word());
    }
    for (count, kind) in NoticeKind::ALL.into_iter().enumerate() {
        assert_eq!(kind as usize, count, "{}", kind.word());
    }
}
