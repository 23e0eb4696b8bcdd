use alloc::{string::ToString as _, sync::Arc, vec, vec::Vec};

use crate::{
    Event, Refusal, ServiceSettings, SliceEndpoint, SourceRanges, WhenNoneReady,
    sample::{LEAVING, READY, World, endpoint, slice},
};

fn zoned(uid: &str, address: &str, zones: &[&str]) -> SliceEndpoint {
    let zone_hints = zones.iter().map(|zone| (*zone).into()).collect();
    SliceEndpoint { zone_hints, ..endpoint(uid, address, READY) }
}

fn at(world: &mut World, node: Option<&str>, zone: Option<&str>) {
    world.tell(Event::NodeIs { name: node.map(Into::into), zone: zone.map(Into::into) });
}

fn hinted() -> Vec<SliceEndpoint> {
    vec![zoned("p1", "10.0.0.1", &["zone-a"]), zoned("p2", "10.0.0.2", &["zone-b"])]
}

/// Zone hints choose the endpoints of this zone, once it is known which zone this is.
#[test]
fn zone_hints_choose_this_zone() {
    let mut world = World::listed(vec![slice("a", hinted())]);
    assert_eq!(world.eligible(), ["10.0.0.1:80", "10.0.0.2:80"], "A19: a node without a zone");
    at(&mut world, Some("node-a"), Some("zone-a"));
    assert_eq!(world.eligible(), ["10.0.0.1:80"]);
    at(&mut world, Some("node-c"), Some("zone-c"));
    assert_eq!(world.eligible(), ["10.0.0.1:80", "10.0.0.2:80"], "no hint names this zone");
}

/// A19: hints that some ready endpoint lacks are ignored.
#[test]
fn partial_hints_are_ignored() {
    let mut endpoints = hinted();
    endpoints.push(zoned("p3", "10.0.0.3", &[]));
    let mut world = World::listed(vec![slice("a", endpoints)]);
    at(&mut world, None, Some("zone-a"));
    assert_eq!(world.eligible().len(), 3);
}

/// A19: a terminating endpoint carries no hints, which does not turn the hints of the ready ones off; nor does it
/// end a flow.
#[test]
fn terminating_endpoints_have_no_say_in_hints() {
    let mut world = World::listed(vec![slice("a", hinted())]);
    at(&mut world, None, Some("zone-a"));
    let flow = world.admit().unwrap();
    let mut endpoints = hinted();
    endpoints.push(zoned("p4", "10.0.0.4", &["zone-a"]));
    endpoints[0] = endpoint("p1", "10.0.0.1", LEAVING);
    world.apply(slice("a", endpoints));
    assert_eq!(world.eligible(), ["10.0.0.4:80"]);
    assert_eq!(flow.endpoint().admission().flows(), 1);
}

/// Node hints come before zone hints.
#[test]
fn node_hints_come_first() {
    let mut endpoints = hinted();
    for (endpoint, node) in endpoints.iter_mut().zip(["node-b", "node-a"]) {
        endpoint.node_hints = vec![node.into()];
    }
    let mut world = World::listed(vec![slice("a", endpoints)]);
    at(&mut world, Some("node-a"), Some("zone-a"));
    assert_eq!(world.eligible(), ["10.0.0.2:80"]);
    at(&mut world, Some("node-x"), Some("zone-a"));
    assert_eq!(world.eligible(), ["10.0.0.1:80"]);
}

/// A26: topology that is turned on while flows live on the excluded zone pins those and moves new ones only.
#[test]
fn flows_on_an_excluded_zone_stay() {
    let mut world = World::listed(vec![slice("a", hinted())]);
    let flows: Vec<_> = (0..20).map(|_| world.admit().unwrap()).collect();
    let excluded = world.endpoint("10.0.0.2:80").endpoint.admission().flows();
    assert!(excluded > 0);
    world.said();
    at(&mut world, None, Some("zone-a"));
    let view = world.endpoint("10.0.0.2:80");
    assert_eq!((view.endpoint.admission().flows(), view.eligible), (excluded, false));
    assert!(view.drain.is_none() && view.conditions == Some(READY));
    assert!(world.said().is_empty(), "nothing has happened to any endpoint");
    for _ in 0..10 {
        assert_eq!(world.admit().unwrap().endpoint().address(), "10.0.0.1:80".parse().unwrap());
    }
    drop(flows);
}

/// S6: a client is served by its own address family; where the service has one family only, by that.
#[test]
fn a_client_is_served_by_its_own_family() {
    let v4 = || slice("a", vec![endpoint("p1", "10.0.0.1", READY)]);
    let v6 = |conditions| slice("b", vec![endpoint("p1", "2001:db8::1", conditions)]);
    let mut world = World::listed(vec![v4()]);
    assert!(world.admit_from("2001:db8::9", &[]).is_ok());
    world.apply(v6(READY));
    for (client, expected) in [
        ("192.0.2.1", "10.0.0.1:80"),
        ("2001:db8::9", "[2001:db8::1]:80"),
        ("::ffff:192.0.2.1", "10.0.0.1:80"),
    ] {
        let permit = world.admit_from(client, &[]).unwrap();
        assert_eq!(permit.endpoint().address(), expected.parse().unwrap());
    }
    world.apply(v6(LEAVING));
    assert!(
        world.admit_from("2001:db8::9", &[]).is_err(),
        "the family is there, though nobody of it is ready"
    );
    world.apply(slice("b", Vec::new()));
    assert!(world.admit_from("2001:db8::9", &[]).is_ok());
}

/// S6: a service of IPv6 alone serves IPv4 clients too.
#[test]
fn a_service_of_one_family_serves_the_other() {
    let mut world = World::listed(vec![slice("b", vec![endpoint("p1", "2001:db8::1", READY)])]);
    assert_eq!(
        world.admit_from("192.0.2.1", &[]).unwrap().endpoint().address(),
        "[2001:db8::1]:80".parse().unwrap()
    );
}

/// A change of IPv6 endpoints alone is published.
#[test]
fn a_change_of_one_family_is_published() {
    let v6 = |conditions| {
        slice("b", vec![endpoint("p1", "2001:db8::1", READY), endpoint("p2", "2001:db8::2", conditions)])
    };
    let mut world = World::listed(vec![slice("a", vec![endpoint("p1", "10.0.0.1", READY)]), v6(READY)]);
    world.apply(v6(LEAVING));
    assert_eq!(world.eligible(), ["10.0.0.1:80", "[2001:db8::1]:80"]);
}

/// Hints of one family are judged apart from the other's, as its slices are.
#[test]
fn families_have_hints_of_their_own() {
    let mut world = World::listed(vec![
        slice("a", hinted()),
        slice("b", vec![endpoint("p1", "2001:db8::1", READY), endpoint("p2", "2001:db8::2", READY)]),
    ]);
    at(&mut world, None, Some("zone-a"));
    assert_eq!(world.eligible(), ["10.0.0.1:80", "[2001:db8::1]:80", "[2001:db8::2]:80"]);
}

/// The last resort has no topology: terminating endpoints carry stale hints or none.
#[test]
fn the_last_resort_ignores_hints() {
    let settings =
        ServiceSettings { when_none_ready: WhenNoneReady::ServingTerminating, ..Default::default() };
    let leaving =
        hinted().into_iter().map(|endpoint| SliceEndpoint { conditions: LEAVING, ..endpoint }).collect();
    let mut world = World::with(settings, vec![slice("a", leaving)]);
    at(&mut world, None, Some("zone-a"));
    assert_eq!(world.eligible().len(), 2);
}

/// Hints that change are followed, though nothing else has changed.
#[test]
fn changed_hints_are_followed() {
    let mut world = World::listed(vec![slice("a", hinted())]);
    at(&mut world, Some("node-a"), Some("zone-a"));
    let mut endpoints = hinted();
    endpoints[0].zone_hints = vec!["zone-b".into()];
    endpoints[1].zone_hints = vec!["zone-a".into()];
    world.apply(slice("a", endpoints.clone()));
    assert_eq!(world.eligible(), ["10.0.0.2:80"]);
    endpoints[0].node_hints = vec!["node-a".into()];
    endpoints[1].node_hints = vec!["node-b".into()];
    world.apply(slice("a", endpoints.clone()));
    assert_eq!(world.eligible(), ["10.0.0.1:80"]);
}

fn on(node: &str, uid: &str, address: &str) -> SliceEndpoint {
    SliceEndpoint { node: Some(node.into()), ..endpoint(uid, address, READY) }
}

fn leaving(world: &mut World, nodes: &[&str]) {
    world.tell(Event::NodesLeaving(nodes.iter().map(|node| (*node).into()).collect()));
}

/// A25: a node that is going away gets no new flows although its slices still say ready, and keeps those it has.
#[test]
fn endpoints_of_a_leaving_node_take_no_new_flows() {
    let mut world =
        World::listed(vec![slice("a", vec![on("n1", "p1", "10.0.0.1"), on("n2", "p2", "10.0.0.2")])]);
    let flows: Vec<_> = (0..20).map(|_| world.admit().unwrap()).collect();
    leaving(&mut world, &["n1", "elsewhere"]);
    assert_eq!(world.eligible(), ["10.0.0.2:80"]);
    assert!(flows.iter().any(|flow| flow.endpoint().address().to_string() == "10.0.0.1:80"));
    leaving(&mut world, &[]);
    assert_eq!(world.eligible(), ["10.0.0.1:80", "10.0.0.2:80"]);
}

/// A25: where every node is going away, the endpoints are better than none; each family on its own.
#[test]
fn leaving_nodes_are_not_left_where_nothing_else_is() {
    let mut world = World::listed(vec![
        slice("a", vec![on("n1", "p1", "10.0.0.1"), on("n2", "p2", "10.0.0.2")]),
        slice("b", vec![on("n1", "p3", "fd00::1")]),
    ]);
    leaving(&mut world, &["n1", "n2"]);
    assert_eq!(world.eligible(), ["10.0.0.1:80", "10.0.0.2:80", "[fd00::1]:80"]);
    leaving(&mut world, &["n1"]);
    assert_eq!(world.eligible(), ["10.0.0.2:80", "[fd00::1]:80"]);
}

/// Traffic policy Local: this node's endpoints, and where none of them is ready, nobody else's either.
#[test]
fn local_means_this_node() {
    let settings = ServiceSettings { local_only: true, ..ServiceSettings::default() };
    let endpoints = || vec![on("n1", "p1", "10.0.0.1"), on("n2", "p2", "10.0.0.2")];
    let mut world = World::with(settings, vec![slice("a", endpoints())]);
    assert_eq!(world.eligible(), [""; 0], "it is not known which node this is");
    at(&mut world, Some("n2"), None);
    assert_eq!(world.eligible(), ["10.0.0.2:80"]);
    leaving(&mut world, &["n2"]);
    assert_eq!(world.eligible(), ["10.0.0.2:80"], "there is no other");
    let mut moved = endpoints();
    moved[1].node = Some("n3".into());
    world.apply(slice("a", moved));
    assert_eq!(world.eligible(), [""; 0]);
}

/// A23: what a health check is told: the ready endpoints of this node, those that only terminate left out, and whoever an
/// operator drains.
#[test]
fn local_endpoints_are_counted_while_they_are_ready() {
    let local = |world: &World| world.table.services()[0].local;
    let said = |conditions| {
        let here = SliceEndpoint { conditions, ..on("n1", "p1", "10.0.0.1") };
        vec![here, on("n1", "p2", "10.0.0.2"), on("n2", "p3", "10.0.0.3")]
    };
    let settings =
        ServiceSettings { when_none_ready: WhenNoneReady::ServingTerminating, ..ServiceSettings::default() };
    let mut world = World::with(settings, vec![slice("a", said(READY))]);
    assert_eq!(local(&world), 0, "it is not known which node this is");
    at(&mut world, Some("n1"), None);
    assert_eq!(local(&world), 2);
    world.apply(slice("a", said(LEAVING)));
    assert_eq!(local(&world), 1);
    world.apply(slice("a", said(LEAVING)[..1].to_vec()));
    assert_eq!(
        (local(&world), world.eligible().len()),
        (0, 1),
        "the last resort is nothing to send clients for"
    );
}

/// A23: none ready here, one serving and terminating here.
#[test]
fn the_last_resort_of_local_is_local() {
    let settings = ServiceSettings {
        local_only: true,
        when_none_ready: WhenNoneReady::ServingTerminating,
        ..ServiceSettings::default()
    };
    let here = SliceEndpoint { conditions: LEAVING, ..on("n1", "p1", "10.0.0.1") };
    let mut world = World::with(settings, vec![slice("a", vec![here, on("n2", "p2", "10.0.0.2")])]);
    at(&mut world, Some("n1"), None);
    assert_eq!(world.eligible(), ["10.0.0.1:80"]);
}

/// A22.
#[test]
fn a_client_outside_the_ranges_is_not_taken() {
    let ranges = SourceRanges::of(["192.0.2.0/24".parse().unwrap()]);
    let settings = ServiceSettings { source_ranges: Some(Arc::new(ranges)), ..ServiceSettings::default() };
    let mut world = World::with(settings, vec![slice("a", vec![on("n1", "p1", "10.0.0.1")])]);
    assert!(world.admit_from("192.0.2.77", &[]).is_ok());
    assert_eq!(world.admit_from("198.51.100.1", &[]).unwrap_err(), Refusal::NotAllowed);
    assert_eq!(world.admit_from("::ffff:198.51.100.1", &[]).unwrap_err(), Refusal::NotAllowed);
}
