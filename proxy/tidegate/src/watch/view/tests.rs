use super::*;
use crate::tables::progress::tests::drain;

#[test]
fn a_drain_is_named_with_its_instance_where_there_are_several() {
    let drain = drain();
    let seen = |instance| Seen { instance, at: "2027-01-15T08:00:30.000Z", drain: &drain };
    assert_eq!(name(&seen("")), "default/web:http 10.0.0.2:80 (default/web-1)");
    assert_eq!(name(&seen("10.0.0.9:9903")), "10.0.0.9:9903: default/web:http 10.0.0.2:80 (default/web-1)");
}
