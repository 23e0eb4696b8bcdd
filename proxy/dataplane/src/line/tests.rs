use std::{cell::RefCell, sync::Arc};

use tidegate_core::{
    AdmissionMode, Endpoint, EndpointIdentity, ListenerId, ListenerSpec, Party, PickState, ServiceId,
    ServiceName, ServicePort,
};

use super::*;
use crate::accept::Target;

const QUIET: Duration = Duration::from_millis(100);

/// A worker's flows on one endpoint, in line, and another endpoint.
struct Row {
    flows: Flows,
    target: Rc<Target>,
    endpoints: [Arc<Endpoint>; 2],
    line: Line,
    looks: usize,
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

impl Row {
    /// Flows that moved bytes at these moments, in milliseconds.
    fn new(active: &[u64]) -> Self {
        let port = ServicePort { service: ServiceName::new("default", "web"), port: None };
        let address = ([127, 0, 0, 1], 80).into();
        let endpoint = |id| {
            let identity = EndpointIdentity { pod_uid: None, address };
            Endpoint::new(EndpointId(id), Arc::new(port.clone()), identity, AdmissionMode::Open)
        };
        let endpoints = [endpoint(1), endpoint(2)];
        let spec =
            ListenerSpec { id: ListenerId(1), name: "web".into(), address, service: ServiceId(0), port };
        let target =
            Target { spec, counters: Arc::default(), pick_state: RefCell::new(PickState::default()) };
        let flows = Flows::new(0, Arc::default());
        let mut row =
            Self { flows, target: Rc::new(target), endpoints, line: Line::default(), looks: usize::MAX };
        active.iter().for_each(|active| row.add(*active));
        row
    }

    fn add(&mut self, active: u64) {
        let flow = self.flows.open(&self.target, ([127, 0, 0, 1], 9).into(), at(0));
        flow.state.set(FlowState::Open);
        flow.active.set(at(active));
        *flow.endpoint.borrow_mut() = Some(Arc::clone(&self.endpoints[0]));
        self.line.push(&flow);
    }

    /// The flow that moved bytes then.
    fn flow(&self, active: u64) -> Rc<Flow> {
        let mut found = None;
        self.flows.each(None, |flow| {
            if flow.active.get() == at(active) {
                found = Some(Rc::clone(flow));
            }
        });
        found.unwrap()
    }

    fn next(&mut self, now: u64) -> Option<Rc<Flow>> {
        self.line.next(EndpointId(1), QUIET, &self.flows, at(now), &mut self.looks)
    }

    /// Those who may go now, by when they moved bytes.
    fn all(&mut self, now: u64) -> Vec<u64> {
        let next = std::iter::from_fn(|| self.next(now));
        next.map(|flow| flow.active.get().as_nanos() / 1_000_000).collect()
    }
}

#[test]
fn the_idlest_goes_first_and_nobody_who_is_not_quiet() {
    let mut row = Row::new(&[30, 10, 950, 20, 900]);
    assert_eq!(row.all(1_000), [10, 20, 30, 900]);
    assert_eq!(row.all(1_049), []);
    assert_eq!(row.all(1_050), [950]);
}

#[test]
fn who_has_moved_bytes_since_is_put_in_its_place() {
    let mut row = Row::new(&[10, 20, 30]);
    row.flow(10).active.set(at(25));
    row.flow(20).active.set(at(990));
    assert_eq!(row.all(1_000), [25, 30]);
    assert_eq!(row.all(1_090), [990]);
}

/// Whoever is never quiet, has not begun or goes already holds nobody up, however idle; they are asked after the others.
#[test]
fn who_cannot_go_holds_nobody_up() {
    let mut row = Row::new(&[10, 20, 30, 40, 950]);
    row.flow(10).is_watched.set(true);
    row.flow(20).state.set(FlowState::Connecting);
    row.flow(30).shed.set(Some(Party::Lifetime));
    assert_eq!(row.all(1_000), [40, 10], "whoever is held up is asked in the end: it may be quiet by now");
    assert_eq!(row.all(1_049), [], "the others are asked again after a while");
    row.flow(20).state.set(FlowState::Open);
    row.flow(30).shed.set(None);
    row.flow(950).active.set(at(1_249));
    assert_eq!(row.all(1_249), []);
    assert_eq!(row.all(1_250), [20, 30], "although somebody in line is not quiet");
    assert_eq!(row.all(2_000), [1_249]);
}

/// A flow with one direction ended is watched, and as good as any.
#[test]
fn a_half_closed_flow_has_its_place() {
    let mut row = Row::new(&[10, 20]);
    row.flow(10).is_watched.set(true);
    row.flow(10).state.set(FlowState::ClientClosed);
    assert_eq!(row.all(1_000), [10, 20]);
}

#[test]
fn who_was_told_and_stayed_is_asked_after_the_others() {
    let mut row = Row::new(&[10, 20, 30]);
    for now in [1_000, 1_010] {
        let stays = row.next(now).unwrap();
        row.line.step_aside(&stays, at(now));
    }
    assert_eq!(row.all(1_100), [30]);
    row.add(40);
    assert_eq!(row.all(1_255), [40, 10]);
    row.flow(20).active.set(at(1_200));
    assert_eq!(row.all(1_260), [], "it has moved bytes, and is put in its place");
    row.add(50);
    assert_eq!(row.all(1_300), [50, 1_200]);
}

#[test]
fn who_has_ended_or_is_elsewhere_is_left_out() {
    let mut row = Row::new(&[10, 20, 30, 40]);
    row.flows.remove(&row.flow(10));
    row.flow(20).is_leaving.set(true);
    *row.flow(30).endpoint.borrow_mut() = Some(Arc::clone(&row.endpoints[1]));
    assert_eq!(row.all(1_000), [40]);
    assert_eq!(row.all(9_000), []);
}

/// A tick costs no more than its looks, and the next one goes on.
#[test]
fn looks_are_bounded() {
    let mut row = Row::new(&(0..100).collect::<Vec<_>>());
    (0..100).for_each(|active| row.flow(active).is_watched.set(true));
    row.add(500);
    row.looks = 60;
    assert!(row.next(1_000).is_none());
    assert_eq!(row.looks, 0);
    row.looks = 60;
    assert_eq!(row.next(1_050).unwrap().active.get(), at(500));
    assert_eq!(row.looks, 19);
}
