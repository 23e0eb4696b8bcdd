//! Flows that have grown old.

use tidegate_core::LifetimeSettings;

use super::{
    sheds::{Next, exchange, let_one_go, millis, next},
    *,
};

impl Rig {
    /// From here on flows of this age are old, and one in a second may be told so, if it is silent for so long.
    fn limit_age(&mut self, max: Duration, quiet: Duration) {
        let mut settings = ServiceSettings {
            lifetime: LifetimeSettings { max: Some(max), jitter: 0 },
            ..ServiceSettings::default()
        };
        (settings.drain.quiet, settings.drain.max_per_second) = (quiet, 1);
        let address = self.endpoint.local_addr().unwrap();
        let fixed = Some(vec![FixedEndpoint { address, weight: 1 }]);
        let port = self.listener.port.clone();
        self.learn(Event::ServicesConfigured(vec![ServiceConfig { port, settings, fixed }]));
    }
}

/// Whoever is old, is told and stays costs nobody a turn, and is told again once it is quiet.
#[test]
fn who_is_old_and_stays_gives_its_turn_back_and_is_told_again() {
    let mut rig = Rig::new();
    let held_up: Vec<_> = (0..5).map(|_| rig.half_closed_and_held_up()).collect();
    let (mut client, endpoint) = rig.connect();
    // Long enough for all of them to have had their look of when they are a second old.
    rig.wait_until(rig.now().after(millis(2_100)));
    let began = rig.now();
    rig.limit_age(millis(1), millis(20));
    assert_eq!(next(&mut client), Next::Fin);
    // Within a second workers follow the limit, and the five are told first.
    assert!(rig.now().since(began) < millis(4_500), "five turns at one in a second were lost");
    drop((client, endpoint));
    let_one_go(held_up);
    rig.await_no_flows();
    assert_eq!(rig.ended(Party::Lifetime), 2);
}

/// Whoever has moved bytes a moment ago is not told, however old it is.
#[test]
fn who_is_old_and_not_silent_is_not_told() {
    let mut rig = Rig::new();
    let (mut client, mut endpoint) = rig.connect();
    rig.limit_age(millis(1), PATIENCE * 3);
    // Within a second workers follow the limit.
    rig.wait_until(rig.now().after(millis(1_500)));
    exchange(&mut client, &mut endpoint);
    assert_eq!(rig.ended(Party::Lifetime), 0);
}
