//! Flows that are told to go.

use std::io::ErrorKind;

use tidegate_core::{AdmissionMode, DrainPlan};

use super::*;

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// What a stream's other end does next.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Fin,
    Reset,
}

fn next(stream: &mut TcpStream) -> Next {
    match stream.read(&mut [0; 1]) {
        Ok(0) => Next::Fin,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Next::Reset,
        other => panic!("neither a FIN nor a reset: {other:?}"),
    }
}

impl Rig {
    fn now(&self) -> Timestamp {
        Timestamp::default().after(self.origin.elapsed())
    }

    /// The endpoint takes no new flows, and what is left has until then.
    fn drain(&self, deadline: Timestamp, max_per_second: u32) {
        self.pinned.admission().set_mode(AdmissionMode::Closed);
        let began = self.now();
        self.plan(Some(DrainPlan { began, deadline, window: None, quiet: millis(20), max_per_second }));
    }

    fn plan(&self, plan: Option<DrainPlan>) {
        for worker in 0..2 {
            let endpoint = Arc::clone(&self.pinned);
            self.tell(worker, Command::PlanDrain { endpoint, service: self.listener.service, plan });
        }
    }

    /// A flow whose client has sent its FIN and does not take what the endpoint sends: it is never quiet.
    fn half_closed_and_held_up(&mut self) -> (TcpStream, TcpStream) {
        let (client, mut endpoint) = self.connect();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(next(&mut endpoint), Next::Fin);
        endpoint.set_write_timeout(Some(millis(300))).unwrap();
        let chunk = vec![7; 1 << 20];
        while endpoint.write(&chunk).is_ok() {}
        (client, endpoint)
    }
}

/// A deadline that has passed already: whoever is quiet gets a FIN all the same.
#[test]
fn a_deadline_that_is_over_still_leaves_a_fin() {
    let mut rig = Rig::new();
    let flows: Vec<_> = (0..5).map(|_| rig.connect()).collect();
    while rig.flows(0).iter().any(|flow| rig.now().since(flow.active) < millis(100)) {
        std::thread::yield_now();
    }
    rig.drain(rig.now(), 1_000);
    for (mut client, mut endpoint) in flows {
        assert_eq!((next(&mut client), next(&mut endpoint)), (Next::Fin, Next::Fin));
    }
    rig.await_no_flows();
    assert_eq!((rig.ended(Party::Shed), rig.ended(Party::Cut)), (5, 0));
}

/// The cap holds then too, and what it leaves is cut.
#[test]
fn what_is_left_at_the_deadline_is_cut() {
    let mut rig = Rig::new();
    let flows: Vec<_> = (0..5).map(|_| rig.connect()).collect();
    let deadline = rig.now().after(millis(1_000));
    rig.drain(deadline, 1);
    let ends: Vec<_> = flows.into_iter().map(|(mut client, _)| next(&mut client)).collect();
    assert!(rig.now() >= deadline);
    let resets = ends.iter().filter(|end| **end == Next::Reset).count();
    assert!((3..=4).contains(&resets), "{ends:?}");
    rig.await_no_flows();
    assert_eq!(rig.ended(Party::Cut), resets as u64);
}

/// A flow that comes from elsewhere in the middle of a drain has its deadline.
#[test]
fn a_flow_that_is_taken_over_is_shed() {
    let mut rig = Rig::new();
    let (mut client, mut endpoint) = rig.connect();
    // Counted all the way, as a table counts it: a plan for nobody is forgotten.
    let counted = Permit::pinned(&rig.pinned);
    rig.drain(rig.now().after(millis(4_000)), 1_000);
    rig.move_flows(1);
    assert_eq!(rig.flows(1).len(), 1);
    drop(counted);
    assert_eq!((next(&mut client), next(&mut endpoint)), (Next::Fin, Next::Fin));
    drop((client, endpoint));
    rig.await_no_flows();
    assert_eq!((rig.ended(Party::Shed), rig.ended(Party::Cut)), (1, 0));
}

/// Whoever is told and stays costs nobody a turn, and goes when it can.
#[test]
fn who_is_told_and_stays_gives_its_turn_back() {
    let mut rig = Rig::new();
    let mut held_up: Vec<_> = (0..4).map(|_| rig.half_closed_and_held_up()).collect();
    let (mut client, endpoint) = rig.connect();
    rig.drain(rig.now().after(millis(3_300)), 1);
    assert_eq!(next(&mut client), Next::Fin, "four turns at one in a second would have been too late");
    drop((client, endpoint));
    let (mut reader, writer) = held_up.pop().unwrap();
    let reading = std::thread::spawn(move || io::copy(&mut reader, &mut io::sink()));
    drop(writer);
    reading.join().unwrap().unwrap();
    rig.await_no_flows();
    assert_eq!((rig.ended(Party::Shed), rig.ended(Party::Cut)), (1, 3));
    drop(held_up);
}

/// A plan whose deadline has passed while nobody could go, as a successor gets it: when somebody can, there is no storm.
#[test]
fn a_deadline_that_passed_elsewhere_is_put_off() {
    let mut rig = Rig::new();
    let flows: Vec<_> = (0..12).map(|_| rig.connect()).collect();
    let published = rig.cell.swap(Arc::default());
    let (began, deadline) = (rig.now().before(millis(60_000)), rig.now().before(millis(30_000)));
    rig.pinned.admission().set_mode(AdmissionMode::Closed);
    rig.plan(Some(DrainPlan { began, deadline, window: None, quiet: millis(20), max_per_second: 10 }));
    let soon = rig.now().after(millis(300));
    while rig.now() < soon {
        std::thread::yield_now();
    }
    assert_eq!(rig.flows(0).len(), 12);
    rig.cell.store(published);
    for (mut client, mut endpoint) in flows {
        assert_eq!((next(&mut client), next(&mut endpoint)), (Next::Fin, Next::Fin));
    }
    assert!(rig.now() >= soon.after(millis(800)), "twelve, less what is kept for a moment");
    rig.await_no_flows();
    assert_eq!((rig.ended(Party::Shed), rig.ended(Party::Cut)), (12, 0));
}
