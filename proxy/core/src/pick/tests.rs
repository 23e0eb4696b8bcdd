use alloc::{format, sync::Arc, vec, vec::Vec};
use core::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use super::{
    PickSet, PickState, Weighted,
    alias::AliasTable,
    maglev::{Maglev, size_for},
    schedule::Schedule,
};
use crate::{AdmissionMode, Endpoint, EndpointId, EndpointIdentity, Permit, Policy, Rng, Tier, sample::web};

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

fn identity(number: usize) -> EndpointIdentity {
    let address = format!("10.0.{}.{}:80", number / 256, number % 256).parse().expect("an address");
    EndpointIdentity { pod_uid: Some(format!("pod-{number}").into()), address }
}

fn eligible(weights: &[u16]) -> Vec<Weighted> {
    let endpoint = |(number, weight): (usize, &u16)| {
        let id = EndpointId(number as u64 + 1);
        (Endpoint::new(id, Arc::new(web()), identity(number), AdmissionMode::Open), *weight)
    };
    weights.iter().enumerate().map(endpoint).collect()
}

fn shares(set: &PickSet, policy: Policy, count: usize, picks: usize) -> Vec<usize> {
    let (mut state, mut rng) = (PickState::default(), Rng::new(5));
    let mut shares = vec![0; count];
    for number in 0..picks {
        let client = Ipv4Addr::from_bits(number as u32).into();
        let endpoint = set.by_policy(policy, client, 0, &mut state, &mut rng).expect("there is one");
        shares[endpoint.id().0 as usize - 1] += 1;
    }
    shares
}

/// Every policy gives every endpoint the share that its weight says.
#[test]
fn picks_follow_weights() {
    for weights in [&[1, 1, 1, 1][..], &[1, 2, 3, 4], &[10, 1, 1], &[7]] {
        let endpoints = eligible(weights);
        let sum: usize = weights.iter().map(|weight| usize::from(*weight)).sum();
        for policy in [Policy::RoundRobin, Policy::Random, Policy::Maglev] {
            let picks = 20_000;
            let shares = shares(&PickSet::new(&endpoints, policy, false), policy, weights.len(), picks);
            for (share, weight) in shares.iter().zip(weights) {
                let expected = picks * usize::from(*weight) / sum;
                let off = share.abs_diff(expected);
                assert!(off <= picks / 50, "{policy:?} {weights:?}: {share}, expected {expected}");
            }
        }
    }
}

/// With flows that stay, `leastFlows` fills endpoints by their weights, better than chance does.
#[test]
fn least_flows_balances_by_weight() {
    for weights in [&[1, 1, 1, 1, 1][..], &[1, 2, 3], &[1, 1], &[100, 1]] {
        let endpoints = eligible(weights);
        let set = PickSet::new(&endpoints, Policy::LeastFlows, false);
        let (mut state, mut rng) = (PickState::default(), Rng::new(9));
        let mut flows = Vec::new();
        for _ in 0..6_000 {
            let endpoint = set.by_policy(Policy::LeastFlows, CLIENT, 0, &mut state, &mut rng).unwrap();
            flows.push(Permit::enter(endpoint, Tier::Ready).unwrap());
        }
        let sum: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
        for (endpoint, weight) in &endpoints {
            let expected = 6_000 * u64::from(*weight) / sum;
            let off = endpoint.admission().flows().abs_diff(expected);
            assert!(off <= 20 + expected / 100, "{weights:?}: off by {off} of {expected}");
        }
    }
}

/// Of two endpoints the one with fewer flows is always taken: both are looked at.
#[test]
fn of_two_the_less_loaded_is_taken() {
    let endpoints = eligible(&[1, 1]);
    let _flow = Permit::enter(&endpoints[0].0, Tier::Ready);
    let set = PickSet::new(&endpoints, Policy::LeastFlows, false);
    assert_eq!(shares(&set, Policy::LeastFlows, 2, 100), [0, 100]);
}

/// Of two without flows the one that can take more is taken.
#[test]
fn of_two_empty_ones_the_heavier_is_taken() {
    let set = PickSet::new(&eligible(&[1, 3]), Policy::LeastFlows, false);
    assert_eq!(shares(&set, Policy::LeastFlows, 2, 100), [0, 100]);
}

/// The second candidate is drawn by weight like the first: among many light endpoints the heavy ones meet each other.
#[test]
fn both_candidates_are_drawn_by_weight() {
    let set = PickSet::new(&eligible(&[100, 100, 1, 1, 1, 1, 1, 1, 1, 1]), Policy::LeastFlows, false);
    let mut rng = Rng::new(3);
    let heavy = (0..1_000).filter(|_| set.another(0, &mut rng) == 1).count();
    assert!(heavy > 700, "{heavy} of 1000");
}

/// Further attempts of a client give further endpoints, the same in every process, and spread its neighbours' clients.
#[test]
fn further_attempts_go_elsewhere() {
    let set = PickSet::new(&eligible(&[1; 9]), Policy::Maglev, false);
    let mut second = vec![0; 10];
    for client in (0..4_000).map(|i| Ipv4Addr::from_bits(i).into()) {
        if set.by_client(client, 0).unwrap().id().0 == 1 {
            second[set.by_client(client, 1).unwrap().id().0 as usize] += 1;
        }
    }
    let clients: usize = second.iter().sum();
    assert!(second[1..].iter().all(|others| *others > clients / 20), "{second:?} of {clients}");
}

/// All of an IPv6 address counts: hosts of many networks that number themselves alike are many clients.
#[test]
fn maglev_tells_networks_apart() {
    let set = PickSet::new(&eligible(&[1; 9]), Policy::Maglev, false);
    let picked: alloc::collections::BTreeSet<_> = (0..200_u128)
        .map(|network| core::net::Ipv6Addr::from_bits((0x2001_0db8 << 96) | (network << 64) | 1).into())
        .map(|client| set.by_client(client, 0).unwrap().id())
        .collect();
    assert_eq!(picked.len(), 9);
}

/// Workers that start together do not march in step, and each goes round in turn.
#[test]
fn round_robin_starts_anywhere_and_takes_turns() {
    let endpoints = eligible(&[1; 7]);
    let set = PickSet::new(&endpoints, Policy::RoundRobin, false);
    let walk = |seed| {
        let (mut state, mut rng) = (PickState::default(), Rng::new(seed));
        let mut next = || set.by_policy(Policy::RoundRobin, CLIENT, 0, &mut state, &mut rng).unwrap().id().0;
        (0..7).map(|_| next()).collect::<Vec<_>>()
    };
    let starts: alloc::collections::BTreeSet<u64> = (0..40).map(|seed| walk(seed)[0]).collect();
    assert!(starts.len() >= 6, "{starts:?}");
    for seed in 0..10 {
        let walk = walk(seed);
        assert!(walk.windows(2).all(|pair| pair[1] == pair[0] % 7 + 1), "{walk:?}");
    }
}

/// A heavy endpoint's turns are spread over the round.
#[test]
fn a_schedule_is_smooth_and_bounded() {
    assert_eq!(Schedule::new(&[2, 1, 1]).turns().len(), 4);
    assert_eq!(Schedule::new(&[200, 100]).turns().len(), 3, "weights are reduced");
    let schedule = Schedule::new(&[4, 1, 1]);
    let heavy: Vec<bool> = schedule.turns().iter().map(|index| *index == 0).collect();
    assert!(heavy.windows(3).all(|run| !run.iter().all(|is| *is) || heavy.len() < 6), "{heavy:?}");
    let wild: Vec<u16> = (0..2_000).map(|i| if i % 2 == 0 { u16::MAX } else { 1 }).collect();
    let turns = Schedule::new(&wild);
    assert!(turns.turns().len() <= 9 * wild.len(), "{}", turns.turns().len());
    let mut seen = vec![false; wild.len()];
    turns.turns().iter().for_each(|index| seen[*index as usize] = true);
    assert!(seen.iter().all(|seen| *seen), "everybody has a turn");
}

/// An endpoint is found by its number, and only if it is in the set.
#[test]
fn endpoints_are_found_by_number() {
    let endpoints = eligible(&[1; 100]);
    let set = PickSet::new(&endpoints[..60], Policy::LeastFlows, true);
    for (at, (endpoint, _)) in endpoints.iter().enumerate() {
        assert_eq!(set.find(endpoint.id()).is_some_and(|found| Arc::ptr_eq(found, endpoint)), at < 60);
    }
    assert!(PickSet::new(&[], Policy::LeastFlows, true).find(EndpointId(1)).is_none());
}

/// A client's endpoint depends on identities alone: not on the numbers that a process gave, nor on how the client's
/// address was written.
#[test]
fn maglev_is_the_same_in_every_process() {
    let here = eligible(&[1; 9]);
    let there: Vec<Weighted> = here
        .iter()
        .map(|(endpoint, weight)| {
            let id = EndpointId(endpoint.id().0 + 1_000);
            (Endpoint::new(id, Arc::new(web()), endpoint.identity().clone(), AdmissionMode::Open), *weight)
        })
        .collect();
    let [here, there] = [here, there].map(|endpoints| PickSet::new(&endpoints, Policy::Maglev, false));
    for number in 0..500_u32 {
        let client = Ipv4Addr::from_bits(number.wrapping_mul(2_654_435_761));
        let first = here.by_client(client.into(), 0).unwrap();
        assert_eq!(first.identity(), there.by_client(client.into(), 0).unwrap().identity());
        let mapped = here.by_client(client.to_ipv6_mapped().into(), 0).unwrap();
        assert!(Arc::ptr_eq(first, mapped));
    }
    // Pinned, so that an upgrade that would move clients does not go unnoticed.
    let pinned: Vec<u64> =
        (0..12_u32).map(|i| here.by_client(Ipv4Addr::from_bits(i).into(), 0).unwrap().id().0).collect();
    assert_eq!(pinned, [7, 2, 2, 9, 1, 8, 1, 6, 3, 5, 8, 5]);
}

/// Table sizes follow from how many endpoints there are, by weight, and do not grow without bound with weights.
#[test]
fn a_maglev_table_grows_late_and_stays_small() {
    for weights in [&[1][..], &[1; 655], &[7; 655], &[u16::MAX, 1], &[200, 200, 1]] {
        assert_eq!(size_for(weights), 65_537, "{} endpoints", weights.len());
    }
    assert_eq!(size_for(&[1; 656]), 655_373);
    let by_weight: Vec<u16> = (0..300).map(|i| if i == 0 { 1 } else { 3 }).collect();
    assert_eq!(size_for(&by_weight), 655_373);
}

/// Tables of every size give everybody their slots. Prints how long they take to build: what a publish may cost.
#[test]
fn a_maglev_table_is_built_for_few_and_for_many() {
    for count in [10, 600, 10_000] {
        let identities: Vec<_> = (0..count).map(identity).collect();
        let start = std::time::Instant::now();
        let table = Maglev::new(&identities.iter().collect::<Vec<_>>(), &vec![1; count]);
        std::println!("{count} endpoints: built in {:?}", start.elapsed());
        let mut slots = vec![0_usize; count];
        table.slots().into_iter().for_each(|place| slots[place] += 1);
        let share = table.slots().len() / count;
        assert!(slots.iter().all(|slots| slots.abs_diff(share) <= 1), "{count} endpoints");
    }
}

/// Places are kept in 16 bits where they fit, which makes no difference to who is picked.
#[test]
fn a_maglev_table_is_narrow_where_places_fit() {
    let slots = || vec![0, 65_534, 7];
    let [narrow, wide] = [65_535, 65_536].map(|endpoints| Maglev::packed(slots(), endpoints));
    assert!(matches!(narrow, Maglev::Narrow(_)) && matches!(wide, Maglev::Wide(_)));
    for hash in [0, u64::MAX / 2, u64::MAX] {
        assert!(narrow.position(hash).is_some());
        assert_eq!(narrow.position(hash), wide.position(hash));
    }
    let last = Maglev::packed(vec![65_535], 65_536);
    assert_eq!(last.position(0), Some(65_535));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// The alias table gives every index exactly its share.
    #[test]
    fn an_alias_table_is_exact(weights in proptest::collection::vec(1_u16.., 1..80)) {
        let table = AliasTable::new(&weights);
        for (index, weight) in weights.iter().enumerate() {
            prop_assert_eq!(table.mass(index), u64::from(*weight) * weights.len() as u64);
        }
    }

    /// Maglev: slots are shared by weight.
    #[test]
    fn maglev_shares_slots_by_weight(weights in proptest::collection::vec(1_u16..6, 1..40)) {
        let identities: Vec<_> = (0..weights.len()).map(identity).collect();
        let table = Maglev::new(&identities.iter().collect::<Vec<_>>(), &weights);
        let sum: usize = weights.iter().map(|weight| usize::from(*weight)).sum();
        for (index, weight) in weights.iter().enumerate() {
            let slots = table.slots().iter().filter(|slot| **slot == index).count();
            let expected = table.slots().len() * usize::from(*weight) / sum;
            prop_assert!(slots.abs_diff(expected) <= 2 + expected / 50, "{} of {}", slots, expected);
        }
    }

    /// Maglev: one endpoint more or one less moves little more than that endpoint's share of clients.
    #[test]
    fn maglev_moves_few_when_one_comes_or_goes(count in 1_usize..=200, at in 0_usize..=200) {
        let all: Vec<_> = (0..=count).map(identity).collect();
        let at = at % all.len();
        let fewer: Vec<_> = all.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, identity)| identity).collect();
        let with = Maglev::new(&all.iter().collect::<Vec<_>>(), &vec![1; count + 1]).slots();
        let without = Maglev::new(&fewer, &vec![1; count]).slots();
        prop_assert_eq!(with.len(), without.len());
        let moved = with.iter().zip(&without).filter(|(with, without)| all[**with] != *fewer[**without]);
        // Coming and going are the same two tables, so the same number of slots.
        let (moved, share) = (moved.count(), with.len() / (count + 1));
        let seen = || format!("{moved} moved where {share} is the share of one of {}", count + 1);
        // What the others lose to each other is about half a per cent of all clients, however many endpoints there are:
        // nothing to speak of beside the share of one of ten, half as much again beside the share of one of eighty.
        prop_assert!(moved <= share + with.len() / 100, "{}", seen());
        prop_assert!(count > 60 || moved * 2 <= share * 3, "{}", seen());
    }

    /// No set of weights makes a pick fail or leave the set.
    #[test]
    fn a_pick_is_always_possible(
        weights in proptest::collection::vec(any::<u16>(), 1..20),
        seed: u64,
        client: u128,
    ) {
        let endpoints = eligible(&weights);
        let client = core::net::Ipv6Addr::from_bits(client).into();
        for policy in [Policy::LeastFlows, Policy::RoundRobin, Policy::Random, Policy::Maglev] {
            let set = PickSet::new(&endpoints, policy, true);
            let (mut state, mut rng) = (PickState::default(), Rng::new(seed));
            for attempt in 0..4 {
                prop_assert!(set.by_policy(policy, client, attempt, &mut state, &mut rng).is_some());
                prop_assert!(set.by_client(client, attempt).is_some());
            }
        }
    }
}
