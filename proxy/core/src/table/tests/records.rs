use alloc::{string::ToString, sync::Arc, vec, vec::Vec};

use crate::{
    DrainRecord, EndpointIdentity, Event, FlowEnd, Notice, Output, ServiceSettings, WhenNoneReady,
    sample::{LEAVING, NOT_READY, READY, World, endpoint, slice, web},
};

fn says(conditions: crate::Conditions) -> crate::Slice {
    slice("a", vec![endpoint("p1", "10.0.0.1", conditions)])
}

fn records(world: &mut World) -> Vec<DrainRecord> {
    let record = |output: Output| match output {
        Output::Notice(Notice::Drained { record } | Notice::DrainUndone { record }) => Some(*record),
        _ => None,
    };
    core::mem::take(&mut world.outputs).into_iter().filter_map(record).collect()
}

/// The table looks at all counts.
fn look(world: &mut World) {
    world.table.handle_tick(world.now);
    world.poll();
}

fn counts(record: &DrainRecord) -> Vec<(&'static str, u64)> {
    let all = FlowEnd::ALL.into_iter().map(|end| (end.word(), record.ends.of(end)));
    all.filter(|(_, count)| *count > 0).collect()
}

/// Each flow that was there is in the record exactly once; those that ended before are not.
#[test]
fn a_record_tells_how_every_flow_ended() {
    let mut world = World::listed(vec![says(READY)]);
    let mut flows: Vec<_> = (0..9).map(|_| world.admit().unwrap()).collect();
    flows.pop().unwrap().end(FlowEnd::Broken);
    world.apply(says(LEAVING));
    let began = world.now;
    let id = flows[0].endpoint().id();
    let ends = FlowEnd::ALL.into_iter().chain([FlowEnd::Client]);
    let last: Vec<bool> = flows.drain(..).zip(ends).map(|(flow, end)| flow.end(end)).collect();
    assert_eq!(last.iter().filter(|last| **last).count(), 1);
    world.wait_millis(70);
    world.tell(Event::EndpointEmptied(id));
    let records = records(&mut world);
    assert_eq!(records.len(), 1);
    let record = &records[0];
    assert_eq!((record.began, record.ended, record.undone), (began, world.now, false));
    assert_eq!((record.flows_at_start, record.flows_left, record.flows_after_start()), (8, 0, 0));
    assert_eq!(
        counts(record),
        [
            ("client", 2),
            ("endpoint", 1),
            ("shed", 1),
            ("cut", 1),
            ("broken", 1),
            ("ordered", 1),
            ("elsewhere", 1)
        ]
    );
    assert_eq!(record.causes.to_string(), "slice default/a says terminating");
    assert_eq!(record.pod.as_deref(), Some("default/p1"));
}

/// An endpoint that was closed before it drained: who left in between is not the drain's.
#[test]
fn flows_that_left_between_the_close_and_the_drain_are_not_in_it() {
    let mut world = World::listed(vec![says(READY)]);
    let (first, second) = (world.admit().unwrap(), world.admit().unwrap());
    world.apply(says(NOT_READY));
    first.end(FlowEnd::Client);
    world.apply(says(LEAVING));
    assert_eq!(world.endpoint("10.0.0.1:80").drain.unwrap().flows_at_start, 1);
    let id = second.endpoint().id();
    second.end(FlowEnd::Endpoint);
    world.tell(Event::EndpointEmptied(id));
    assert_eq!(counts(&records(&mut world)[0]), [("endpoint", 1)]);
}

#[test]
fn an_undone_drain_has_a_record_too() {
    let mut world = World::listed(vec![says(READY)]);
    let (first, second) = (world.admit().unwrap(), world.admit().unwrap());
    world.apply(says(LEAVING));
    first.end(FlowEnd::Client);
    world.apply(says(READY));
    let records = records(&mut world);
    assert!(records[0].undone);
    assert_eq!((records[0].flows_at_start, records[0].flows_left), (2, 1));
    drop(second);
}

/// Flows that came as a last resort are told apart from those that were there.
#[test]
fn flows_of_the_last_resort_are_counted_as_later_ones() {
    let settings =
        ServiceSettings { when_none_ready: WhenNoneReady::ServingTerminating, ..Default::default() };
    let mut world = World::with(settings, vec![says(READY)]);
    let first = world.admit().unwrap();
    world.apply(says(LEAVING));
    let later = world.admit().unwrap();
    let id = first.endpoint().id();
    first.end(FlowEnd::Client);
    later.end(FlowEnd::Client);
    world.tell(Event::EndpointEmptied(id));
    let record = &records(&mut world)[0];
    assert_eq!((record.flows_at_start, record.flows_after_start()), (1, 1));
}

/// R4: flows that come from a predecessor were there when the drain began, and are none that came after it.
#[test]
fn flows_from_another_process_are_in_the_record_from_its_start() {
    let mut world = World::listed(vec![says(LEAVING)]);
    let drained = records(&mut world);
    assert_eq!(drained[0].flows_at_start, 0, "nobody is there yet");
    let address = "10.0.0.1:80".parse().unwrap();
    let identity = EndpointIdentity { pod_uid: Some("p1".into()), address };
    let flows: Vec<_> = (0..2).map(|_| world.table.pin(&web(), identity.clone(), world.now)).collect();
    world.poll();
    let id = flows[0].endpoint().id();
    for flow in flows {
        let _ = flow.end(FlowEnd::Client);
    }
    world.tell(Event::EndpointEmptied(id));
    let record = &records(&mut world)[0];
    assert_eq!((record.flows_at_start, record.flows_after_start()), (2, 0), "{record:?}");
}

/// A worker counts its flow out and then says how it ended. A drain that begins in between waits for that, and has the
/// flow in its record.
#[test]
fn a_flow_that_has_not_said_how_it_ended_is_waited_for() {
    let mut world = World::listed(vec![says(READY)]);
    let flow = world.admit().unwrap();
    let endpoint = Arc::clone(flow.endpoint());
    world.apply(says(NOT_READY));
    core::mem::forget(flow);
    assert_eq!(endpoint.admission().leave(), Some(1));
    world.apply(says(LEAVING));
    look(&mut world);
    assert!(records(&mut world).is_empty());
    endpoint.tally().add(FlowEnd::Broken);
    look(&mut world);
    let records = records(&mut world);
    assert_eq!((records.len(), records[0].flows_at_start), (1, 1));
    assert_eq!(counts(&records[0]), [("broken", 1)]);
}

/// A flow that leaves while its endpoint is open is nobody's to record.
#[test]
fn a_flow_that_leaves_an_open_endpoint_is_not_tallied() {
    let mut world = World::listed(vec![says(READY)]);
    let flow = world.admit().unwrap();
    let endpoint = Arc::clone(flow.endpoint());
    flow.end(FlowEnd::Client);
    assert_eq!(endpoint.tally().read().total(), 0);
}
