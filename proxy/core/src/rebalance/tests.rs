use alloc::vec;
use std::thread;

use proptest::prelude::*;

use super::*;
use crate::{
    admission::{AdmissionMode, Permit, Tier},
    endpoint::EndpointIdentity,
    sample::web,
};

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn endpoint(id: u64) -> Arc<Endpoint> {
    let address = ([10, 0, 0, id as u8], 80).into();
    let identity = EndpointIdentity { pod_uid: None, address };
    Endpoint::new(EndpointId(id), Arc::new(web()), identity, AdmissionMode::Open)
}

fn enter(endpoint: &Arc<Endpoint>, flows: u64) -> Vec<Permit> {
    (0..flows).map(|_| Permit::enter(endpoint, Tier::Ready).unwrap()).collect()
}

fn one(endpoint: &Arc<Endpoint>, keep: u64, surplus: u64, rate: u32) -> Rebalance {
    let part = (Arc::clone(endpoint), keep, surplus);
    Rebalance::new(ServiceId(0), Duration::from_millis(250), rate, [part], at(1_000))
}

#[test]
fn a_new_endpoint_makes_a_surplus_of_the_others() {
    let loads = [(40, 1), (40, 1), (0, 1)].map(|(flows, weight)| Load { flows, weight });
    assert_eq!(fair_shares(&loads), [27, 27, 27]);
    assert_eq!(surplus(&loads, 10), [13, 13, 0]);
}

#[test]
fn weights_count() {
    let loads = [(60, 3), (20, 1), (0, 4)].map(|(flows, weight)| Load { flows, weight });
    assert_eq!(surplus(&loads, 10), [30, 10, 0]);
}

#[test]
fn what_is_within_the_tolerance_is_left_alone() {
    let loads = [(109, 1), (91, 1)].map(|(flows, weight)| Load { flows, weight });
    assert_eq!(surplus(&loads, 10), [0, 0]);
    assert_eq!(surplus(&loads, 5), [9, 0]);
    assert_eq!(surplus(&[], 5), vec![]);
}

#[test]
fn an_endpoint_gives_its_surplus_away_and_no_more() {
    let endpoint = endpoint(1);
    let mut flows = enter(&endpoint, 10);
    let rebalance = one(&endpoint, 6, 4, 1_000_000);
    let now = at(2_000);
    for _ in 0..4 {
        assert_eq!(rebalance.claim(endpoint.id(), now), Claim::Granted);
    }
    assert_eq!(rebalance.claim(endpoint.id(), now), Claim::NotHere, "told, though still counted");
    flows.truncate(6);
    (0..4).for_each(|_| rebalance.left(endpoint.id()));
    assert_eq!(rebalance.claim(endpoint.id(), now), Claim::NotHere);
    assert!(rebalance.is_done());
    assert_eq!(rebalance.moved(), 4);
}

#[test]
fn flows_that_end_by_themselves_count_against_the_surplus() {
    let endpoint = endpoint(1);
    let mut flows = enter(&endpoint, 10);
    let rebalance = one(&endpoint, 6, 4, 1_000_000);
    flows.truncate(7);
    assert_eq!(rebalance.claim(endpoint.id(), at(2_000)), Claim::Granted);
    assert_eq!(rebalance.claim(endpoint.id(), at(2_000)), Claim::NotHere);
    rebalance.stays(endpoint.id());
    assert_eq!(rebalance.moved(), 0);
    assert_eq!(rebalance.claim(endpoint.id(), at(2_000)), Claim::Granted, "the one that stayed");
}

#[test]
fn a_claim_too_early_costs_nothing() {
    let endpoint = endpoint(1);
    let _flows = enter(&endpoint, 10);
    let rebalance = one(&endpoint, 6, 4, 1);
    assert_eq!(rebalance.claim(endpoint.id(), at(1_000)), Claim::Granted);
    for _ in 0..10 {
        assert_eq!(rebalance.claim(endpoint.id(), at(1_999)), Claim::NotNow);
    }
    for second in 2..5 {
        assert_eq!(rebalance.claim(endpoint.id(), at(second * 1_000)), Claim::Granted);
    }
    rebalance.stop();
    assert!(!rebalance.is_settled(), "four are on their way");
    rebalance.stays(endpoint.id());
    assert_eq!(rebalance.claim(endpoint.id(), at(9_000)), Claim::NotHere, "not any more");
    (0..3).for_each(|_| rebalance.left(endpoint.id()));
    assert!(rebalance.is_settled());
    assert_eq!(rebalance.claim(EndpointId(9), at(9_000)), Claim::NotHere, "not one of those");
}

/// Several workers at once: the endpoint still keeps its share.
#[test]
fn workers_together_stay_above_the_share() {
    let endpoint = endpoint(1);
    let rebalance = Arc::new(one(&endpoint, 500, 1_000, 1_000_000_000));
    // All flows are there before the first worker looks.
    let own: Vec<_> = (0..4).map(|_| enter(&endpoint, 250)).collect();
    let workers = own.into_iter().map(|mut flows| {
        let (endpoint, rebalance) = (Arc::clone(&endpoint), Arc::clone(&rebalance));
        thread::spawn(move || {
            for _ in 0..250 {
                if rebalance.claim(endpoint.id(), at(2_000)) == Claim::Granted {
                    drop(flows.pop());
                    rebalance.left(endpoint.id());
                }
                assert!(endpoint.admission().flows() >= 500);
            }
            flows
        })
    });
    let flows: Vec<_> =
        workers.collect::<Vec<_>>().into_iter().map(|worker| worker.join().unwrap()).collect();
    assert_eq!(flows.iter().map(Vec::len).sum::<usize>(), 500);
}

proptest! {
    /// Never below the fair share, nothing where all is balanced, and with the surplus gone nobody has more than that.
    #[test]
    fn a_surplus_is_what_is_above_the_fair_share(
        loads in prop::collection::vec((0_u64..10_000, 1_u16..100), 0..20),
        tolerance in 0_u8..=100,
    ) {
        let loads: Vec<_> = loads.into_iter().map(|(flows, weight)| Load { flows, weight }).collect();
        let (shares, surplus) = (fair_shares(&loads), surplus(&loads, tolerance));
        let weights: f64 = loads.iter().map(|load| f64::from(load.weight)).sum();
        let flows: u64 = loads.iter().map(|load| load.flows).sum();
        prop_assert!(shares.iter().sum::<u64>() >= flows, "the shares hold all flows");
        for ((load, share), surplus) in loads.iter().zip(&shares).zip(&surplus) {
            let exact = flows as f64 * f64::from(load.weight) / weights;
            prop_assert!((*share as f64 - exact) < 1.001 && *share as f64 > exact - 0.001);
            prop_assert!(load.flows - surplus >= (*share).min(load.flows));
        }
        let beyond = loads.iter().zip(&shares).any(|(load, share)| load.flows * 100 > share * (100 + u64::from(tolerance)));
        prop_assert_eq!(surplus.iter().any(|surplus| *surplus > 0), beyond);
    }
}
