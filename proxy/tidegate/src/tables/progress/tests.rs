use super::*;

/// A drain of which everything is known.
pub(crate) fn drain() -> api::DrainProgress {
    api::DrainProgress {
        service: "default/web:http".to_owned(),
        endpoint: "10.0.0.2:80".to_owned(),
        id: 3,
        pod: Some("default/web-1".to_owned()),
        node: None,
        since: "2027-01-15T08:00:00.000Z".to_owned(),
        since_seconds: 30.0,
        why: "operator ada".to_owned(),
        causes: Vec::new(),
        deadline: Some("2027-01-15T08:01:00.000Z".to_owned()),
        deadline_seconds: Some(30.0),
        sheds_from: None,
        waits: false,
        put_off: false,
        flows_at_start: 20,
        flows_left: 12,
        idle_share: Some(0.83),
        bytes_per_second: Some(1_250_000),
        oldest_flow_seconds: Some(300.0),
        ended_by_themselves: 5,
        shed: 3,
        cut: 0,
        broken: 0,
        ends: Some(api::EndsBetween {
            earliest: String::new(),
            latest: String::new(),
            earliest_seconds: 12.0,
            latest_seconds: 30.0,
        }),
        will_be_cut: Some(2),
    }
}

#[test]
fn everything_is_said_in_one_line() {
    let drain = drain();
    assert_eq!(
        words(&drain),
        "12 of 20 flows left, 3 shed, drains for 30s, deadline in 30s, 83% idle, 1.2 MB/s, oldest 5m, \
         ends in 12s to 30s, 2 to be cut"
    );
    let late = api::DrainProgress {
        deadline_seconds: Some(-4.0),
        waits: true,
        idle_share: None,
        ends: None,
        will_be_cut: None,
        bytes_per_second: None,
        oldest_flow_seconds: None,
        ..drain
    };
    assert_eq!(more(&late), ", drains for 30s, deadline over for 4.0s, waits for a ready endpoint");
    let put_off = api::DrainProgress { waits: false, put_off: true, ..late };
    assert!(more(&put_off).ends_with(", deadline put off, as no endpoint was ready"), "{}", more(&put_off));
}

#[test]
fn rates_have_the_unit_that_fits() {
    assert_eq!(
        [9, 1_200, 3_000_000, 2_500_000_000].map(per_second),
        ["9 B/s", "1.2 kB/s", "3.0 MB/s", "2.5 GB/s"]
    );
}
