//! Flows that are moved to other endpoints.

use tidegate_core::Rebalance;

use super::{
    sheds::{Next, let_one_go, millis, next},
    *,
};

impl Rig {
    /// The endpoint is to keep so many flows, and to give so many away.
    fn rebalance(&self, keep: u64, surplus: u64) -> Arc<Rebalance> {
        let parts = [(Arc::clone(&self.pinned), keep, surplus)];
        let run = Rebalance::new(self.listener.service, millis(20), 10, parts, self.now());
        let run = Arc::new(run);
        (0..2).for_each(|worker| self.tell(worker, Command::Rebalance(Some(Arc::clone(&run)))));
        run
    }
}

/// The surplus goes and no more; each that has gone is counted out for the next one.
#[test]
fn the_surplus_goes_one_by_one() {
    let mut rig = Rig::new();
    let mut flows: Vec<_> = (0..4).map(|_| rig.connect()).collect();
    let run = rig.rebalance(1, 3);
    for (mut client, mut endpoint) in flows.drain(..3) {
        assert_eq!((next(&mut client), next(&mut endpoint)), (Next::Fin, Next::Fin));
    }
    let soon = rig.now().after(millis(500));
    rig.wait_until(soon);
    assert_eq!((rig.flows(0).len(), run.moved()), (1, 3));
    drop(flows);
    rig.await_no_flows();
    assert_eq!(rig.ended(Party::Rebalance), 3);
}

/// Whoever is told and stays leaves its turn to another one, and is told again once it is quiet.
#[test]
fn who_is_told_and_stays_leaves_its_turn_to_another() {
    let mut rig = Rig::new();
    let held_up: Vec<_> = (0..2).map(|_| rig.half_closed_and_held_up()).collect();
    let (mut client, endpoint) = rig.connect();
    let run = rig.rebalance(1, 2);
    assert_eq!(next(&mut client), Next::Fin, "the two have taken all turns");
    drop((client, endpoint));
    let_one_go(held_up);
    rig.await_no_flows();
    assert_eq!((rig.ended(Party::Rebalance), run.moved()), (2, 2));
}
