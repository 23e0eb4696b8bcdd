use alloc::vec::Vec;
use core::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use super::{AffinityTable, WAYS};
use crate::{EndpointId, Timestamp};

const HOUR: Duration = Duration::from_secs(3600);

fn client(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(number).into()
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// An entry is good for less than its timeout after the client's last flow began.
#[test]
fn an_entry_ends_with_its_timeout() {
    let table = AffinityTable::new(1, 64);
    table.record(client(1), EndpointId(5), at(1_000));
    let second = Duration::from_secs(1);
    assert_eq!(table.find(client(1), second, at(1_999)), Some(EndpointId(5)));
    assert_eq!(table.find(client(1), second, at(2_000)), None);
    assert_eq!(table.find(client(2), second, at(1_000)), None);
    table.record(client(1), EndpointId(6), at(2_000));
    assert_eq!(table.find(client(1), second, at(2_999)), Some(EndpointId(6)));
    assert_eq!(table.entries().count(), 1, "one entry a client");
}

/// A client is the same whether its IPv4 address came mapped or not.
#[test]
fn a_mapped_address_is_the_same_client() {
    let table = AffinityTable::new(1, 64);
    table.record("192.0.2.1".parse().unwrap(), EndpointId(5), at(0));
    assert_eq!(table.find("::ffff:192.0.2.1".parse().unwrap(), HOUR, at(1)), Some(EndpointId(5)));
    assert_eq!(table.find("2001:db8::c000:201".parse().unwrap(), HOUR, at(1)), None);
}

/// A full set gives up the entry that was seen longest ago; a table never grows.
#[test]
fn the_oldest_makes_room() {
    let table = AffinityTable::new(1, WAYS);
    for number in 0..WAYS as u32 {
        table.record(client(number), EndpointId(1), at(u64::from(number) * 10));
    }
    // The first one is seen again, so that the second is the oldest.
    table.record(client(0), EndpointId(1), at(500));
    table.record(client(99), EndpointId(2), at(501));
    assert_eq!(table.find(client(1), HOUR, at(502)), None);
    for number in [0, 2, 3, 99] {
        assert!(table.find(client(number), HOUR, at(502)).is_some(), "{number}");
    }
    assert_eq!(table.entries().count(), WAYS);
}

/// A forgotten client makes room before anybody else.
#[test]
fn a_forgotten_client_makes_room_first() {
    let table = AffinityTable::new(1, WAYS);
    for number in 0..WAYS as u32 {
        table.record(client(number), EndpointId(1), at(u64::from(number)));
    }
    table.forget(client(2));
    assert_eq!(table.find(client(2), HOUR, at(9)), None);
    table.record(client(50), EndpointId(1), at(10));
    assert!([0, 1, 3, 50].into_iter().all(|number| table.find(client(number), HOUR, at(11)).is_some()));
}

/// What one table gives, another with the same seed can go on with.
#[test]
fn entries_can_be_taken_over() {
    let (old, new) = (AffinityTable::new(3, 256), AffinityTable::new(3, 256));
    for number in 0..40 {
        old.record(client(number), EndpointId(u64::from(number) + 1), at(7));
    }
    let entries: Vec<_> = old.entries().collect();
    entries.iter().for_each(|entry| new.restore(*entry));
    for number in 0..40 {
        assert_eq!(new.find(client(number), HOUR, at(8)), old.find(client(number), HOUR, at(8)));
    }
}

/// The table holds about as many clients as it has entries, spread over all of it.
#[test]
fn clients_spread_over_the_table() {
    let table = AffinityTable::new(1, 1024);
    for number in 0..1024 {
        table.record(client(number), EndpointId(1), at(1));
    }
    let kept = (0..1024).filter(|number| table.find(client(*number), HOUR, at(2)).is_some()).count();
    assert!(kept > 750, "{kept} of 1024");
}

/// All of an IPv6 address counts.
#[test]
fn hosts_of_two_networks_are_two_clients() {
    let table = AffinityTable::new(1, 64);
    table.record("2001:db8:1::1".parse().unwrap(), EndpointId(5), at(0));
    assert_eq!(table.find("2001:db8:2::1".parse().unwrap(), HOUR, at(1)), None);
}

/// Which clients meet in one set depends on the seed, so that nobody outside can choose them.
#[test]
fn a_hash_depends_on_the_seed() {
    let hash = |seed| {
        let table = AffinityTable::new(seed, 64);
        table.record(client(1), EndpointId(5), at(0));
        table.entries().next().unwrap().client
    };
    assert_eq!(hash(1), hash(1));
    assert_ne!(hash(1), hash(2));
}

/// A client that is seen again keeps its one entry, also when another entry of its set is free.
#[test]
fn a_client_never_has_two_entries() {
    let table = AffinityTable::new(1, WAYS);
    for number in 0..3 {
        table.record(client(1), EndpointId(number), at(number));
    }
    assert_eq!(table.entries().count(), 1);
}
