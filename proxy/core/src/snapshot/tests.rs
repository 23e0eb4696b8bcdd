use alloc::{format, sync::Arc, vec::Vec};

use proptest::prelude::*;

use crate::{
    Policy, Refusal, ServiceSettings,
    sample::{READY, World, endpoint, slice},
};

const POLICIES: [Policy; 4] = [Policy::LeastFlows, Policy::RoundRobin, Policy::Random, Policy::Maglev];

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    /// D4: under every policy, with or without affinity, trying goes through all endpoints, each once, and then says so.
    #[test]
    fn trying_visits_every_endpoint_once(count in 1_usize..12, policy in 0..4_usize, affinity: bool, client: u32) {
        let settings = ServiceSettings {
            policy: POLICIES[policy],
            affinity_timeout: affinity.then(|| core::time::Duration::from_secs(60)),
            ..Default::default()
        };
        let endpoints = (0..count).map(|i| endpoint(&format!("p{i}"), &format!("10.0.0.{i}"), READY)).collect();
        let mut world = World::with(settings, [slice("a", endpoints)].into());
        let client = format!("{}", core::net::Ipv4Addr::from_bits(client));
        let mut tried = Vec::new();
        for _ in 0..count {
            let permit = world.admit_from(&client, &tried).expect("one is left");
            prop_assert!(!tried.iter().any(|other| Arc::ptr_eq(other, permit.endpoint())));
            tried.push(Arc::clone(permit.endpoint()));
        }
        prop_assert_eq!(world.admit_from(&client, &tried).unwrap_err(), Refusal::AllTried);
        let counted: u64 = tried.iter().map(|endpoint| endpoint.admission().flows()).sum();
        prop_assert_eq!(counted, 0, "a refused or dropped permit leaves nothing behind");
    }
}
