use alloc::{sync::Arc, vec, vec::Vec};
use core::time::Duration;

use crate::{
    Claim, Event, Output, Permit, Policy, Rebalance, RebalanceSettings, ServiceConfig, ServiceSettings,
    Slice, SliceEndpoint,
    sample::{READY, World, config, endpoint, of_service, port_of, slice, web},
};

const DELAY: u64 = 30_000;

fn settings() -> ServiceSettings {
    let rebalance =
        RebalanceSettings { max_per_second: 10, tolerance: 10, delay: Duration::from_millis(DELAY) };
    ServiceSettings { rebalance: Some(rebalance), ..ServiceSettings::default() }
}

fn endpoints(count: u8) -> Vec<SliceEndpoint> {
    let one = |number: u8| endpoint(&alloc::format!("p{number}"), &alloc::format!("10.0.0.{number}"), READY);
    (1..=count).map(one).collect()
}

fn with(count: u8) -> Slice {
    slice("a", endpoints(count))
}

/// One more endpoint than there was, and 60 flows on the others.
fn scaled_up(settings: ServiceSettings) -> (World, Vec<Permit>) {
    let mut world = World::with(settings, vec![with(2)]);
    let flows = (0..60).map(|_| world.admit().unwrap()).collect();
    world.apply(with(3));
    world.outputs.clear();
    (world, flows)
}

fn tick(world: &mut World, millis: u64) {
    world.wait_millis(millis);
    world.table.handle_tick(world.now);
    world.poll();
}

/// What the workers were told, since the last call.
fn told(world: &mut World) -> Vec<Option<Arc<Rebalance>>> {
    let run = |output: &Output| match output {
        Output::Rebalance(run) => Some(run.clone()),
        _ => None,
    };
    let told = world.outputs.iter().filter_map(run).collect();
    world.outputs.retain(|output| run(output).is_none());
    told
}

fn run(world: &mut World) -> Arc<Rebalance> {
    told(world).remove(0).expect("it begins")
}

/// Moves everybody that may be moved, one every 100 ms; says how many.
fn carry_out(world: &mut World, run: &Rebalance, flows: &mut Vec<Permit>) -> usize {
    let before = flows.len();
    for _ in 0..1_000 {
        world.wait_millis(100);
        let now = world.now;
        let Some(at) = flows.iter().position(|flow| run.claim(flow.endpoint().id(), now) == Claim::Granted)
        else {
            break;
        };
        let endpoint = flows.swap_remove(at).endpoint().id();
        run.left(endpoint);
    }
    before - flows.len()
}

#[test]
fn a_surplus_is_moved_when_the_endpoints_have_stayed_for_a_while() {
    let (mut world, mut flows) = scaled_up(settings());
    tick(&mut world, DELAY - 1);
    assert!(told(&mut world).is_empty());
    tick(&mut world, 1);
    let run = run(&mut world);
    assert_eq!(world.said(), ["rebalance of default/web:http began: 20"]);
    assert_eq!(carry_out(&mut world, &run, &mut flows), 20);
    for address in ["10.0.0.1:80", "10.0.0.2:80"] {
        assert!(world.endpoint(address).endpoint.admission().flows() >= 20);
    }
    tick(&mut world, 1_000);
    assert!(told(&mut world)[0].is_none());
    let ended = "rebalance of default/web:http ended after 20: no endpoint has more than its fair share";
    assert_eq!(world.said(), [ended]);
    tick(&mut world, DELAY * 2);
    assert!(told(&mut world).is_empty(), "once");
}

/// The first endpoints of all are no scale-up, nor is one that goes; and without the setting nothing is.
#[test]
fn only_an_endpoint_that_is_added_begins_it() {
    let mut world = World::with(settings(), vec![with(3)]);
    let mut flows: Vec<_> = (0..90).map(|_| world.admit().unwrap()).collect();
    flows.retain(|flow| flow.endpoint().address().ip().is_ipv4());
    world.apply(with(2));
    tick(&mut world, DELAY * 2);
    assert!(told(&mut world).is_empty());
    let (mut world, _flows) = scaled_up(ServiceSettings::default());
    tick(&mut world, DELAY * 2);
    assert!(told(&mut world).is_empty());
}

/// Clients that are bound to an endpoint would only come back to it.
#[test]
fn services_whose_clients_are_bound_are_left_out() {
    let affinity = ServiceSettings { affinity_timeout: Some(Duration::from_secs(60)), ..settings() };
    for settings in [affinity, ServiceSettings { policy: Policy::Maglev, ..settings() }] {
        let mut world = World::with(settings, vec![with(2)]);
        let _flows: Vec<_> = (0..60_u8)
            .map(|number| world.admit_from(&alloc::format!("192.0.2.{number}"), &[]).unwrap())
            .collect();
        world.apply(with(3));
        tick(&mut world, DELAY * 2);
        assert!(told(&mut world).is_empty());
    }
}

/// A change of the endpoints begins the wait anew, and ends what is under way.
#[test]
fn a_change_of_the_endpoints_begins_anew() {
    let (mut world, flows) = scaled_up(settings());
    tick(&mut world, DELAY / 2);
    world.apply(with(4));
    tick(&mut world, DELAY / 2);
    assert!(told(&mut world).is_empty());
    tick(&mut world, DELAY / 2);
    let first = run(&mut world);
    world.apply(with(3));
    let now = world.now;
    assert!(flows.iter().all(|flow| first.claim(flow.endpoint().id(), now) == Claim::NotHere));
    tick(&mut world, 1_000);
    assert!(told(&mut world)[0].is_none());
    tick(&mut world, DELAY);
    let second = run(&mut world);
    assert_eq!(second.endpoints().count(), 2);
}

/// Flows that end by themselves meanwhile make every share smaller, and those who stay count.
#[test]
fn shares_follow_the_flows() {
    let (mut world, mut flows) = scaled_up(settings());
    tick(&mut world, DELAY);
    let run = run(&mut world);
    // Of the first endpoint's all but 12 have ended.
    let first = world.endpoint("10.0.0.1:80").endpoint.id();
    let mut kept = 0;
    flows.retain(|flow| {
        kept += usize::from(flow.endpoint().id() == first);
        flow.endpoint().id() != first || kept <= 12
    });
    tick(&mut world, 1_000);
    let second = flows.len() as u64 - 12;
    let share = (second + 12).div_ceil(3);
    carry_out(&mut world, &run, &mut flows);
    let flows_of = |world: &World, address: &str| world.endpoint(address).endpoint.admission().flows();
    assert!(flows_of(&world, "10.0.0.2:80") >= share, "{} of {second}", flows_of(&world, "10.0.0.2:80"));
    assert!(flows_of(&world, "10.0.0.1:80") >= share.min(12));
}

/// Flows that come meanwhile make every share larger: who has no more than that any longer keeps them all.
#[test]
fn shares_grow_with_the_flows() {
    let (mut world, mut flows) = scaled_up(settings());
    tick(&mut world, DELAY);
    let run = run(&mut world);
    flows.extend((0..90).map(|_| world.admit().unwrap()));
    tick(&mut world, 1_000);
    assert_eq!(carry_out(&mut world, &run, &mut flows), 0);
}

/// A run that is ended is over when those who were told to go have gone.
#[test]
fn a_run_is_over_when_all_who_were_told_have_gone() {
    let (mut world, flows) = scaled_up(settings());
    tick(&mut world, DELAY);
    let run = run(&mut world);
    let told_to_go = flows[0].endpoint().id();
    assert_eq!(run.claim(told_to_go, world.now), Claim::Granted);
    world.apply(with(4));
    tick(&mut world, 1_000);
    assert!(told(&mut world).is_empty(), "one is on its way");
    run.left(told_to_go);
    tick(&mut world, 1_000);
    assert!(told(&mut world)[0].is_none());
}

/// A run whose flows are never quiet makes room for the next service.
#[test]
fn services_have_their_turn_one_after_the_other() {
    let other = port_of("other");
    let configs = [web(), other.clone()].map(|port| ServiceConfig { settings: settings(), ..config(port) });
    let mut world = World::of(configs.into());
    let others = |count| Slice { name: crate::sample::slice_name("b"), ..of_service(with(count), "other") };
    world.tell(Event::SlicesListed(vec![with(2), others(2)]));
    let mut flows = Vec::new();
    for port in [web(), other] {
        let id = world.table.service_id(&port).unwrap();
        let service = Arc::clone(world.snapshot.service(id).unwrap());
        let key = crate::FlowKey { client: [192, 0, 2, 1].into() };
        let mut state = crate::PickState::default();
        flows.extend(
            (0..60).map(|_| service.admit(&key, &[], &mut state, &mut world.rng, world.now).unwrap()),
        );
    }
    world.apply(with(3));
    world.apply(others(3));
    world.outputs.clear();
    tick(&mut world, DELAY);
    let first = run(&mut world);
    tick(&mut world, 30_000);
    assert!(told(&mut world).is_empty(), "it is still the first one's turn");
    tick(&mut world, 40_000);
    let told = told(&mut world);
    assert!(told[0].is_none());
    let second = told[1].clone().expect("the next one begins");
    assert_ne!(first.service(), second.service());
    let ends = world.said().iter().filter(|said| said.contains("not quiet")).count();
    assert_eq!(ends, 1);
}

#[test]
fn a_service_that_is_given_up_ends_its_turn() {
    let (mut world, _flows) = scaled_up(settings());
    tick(&mut world, DELAY);
    let run = run(&mut world);
    world.tell(Event::ServicesConfigured(Vec::new()));
    tick(&mut world, 1_000);
    assert!(told(&mut world)[0].is_none());
    assert_eq!(run.moved(), 0);
}

/// An endpoint that goes is no reason to move flows: nobody new is there to take them.
#[test]
fn an_endpoint_that_goes_moves_nobody() {
    let mut world = World::with(settings(), vec![with(3)]);
    let mut flows: Vec<Permit> = (0..60).map(|_| world.admit().unwrap()).collect();
    let quiet = world.endpoint("10.0.0.1:80").endpoint.id();
    flows.retain(|flow| flow.endpoint().id() != quiet);
    world.apply(with(2));
    tick(&mut world, DELAY + 1_000);
    assert!(told(&mut world).is_empty(), "though one has 20 flows and the other none");
}
