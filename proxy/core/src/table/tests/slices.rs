use alloc::{format, sync::Arc, vec, vec::Vec};
use std::string::String;

use crate::{
    Event, FixedEndpoint, ServiceConfig, ServicePort, Slice,
    sample::{LEAVING, READY, World, config, endpoint, of_service, slice, slice_name, web, with_ports},
};

/// A8: an endpoint that moves between slices is one endpoint throughout, in every order of the two updates.
#[test]
fn a_move_between_slices_never_loses_or_doubles_an_endpoint() {
    let full = |name| slice(name, vec![endpoint("p1", "10.0.0.1", READY)]);
    let empty = |name| slice(name, Vec::new());
    for updates in [[full("b"), empty("a")], [empty("a"), full("b")]] {
        let mut world = World::listed(vec![full("a"), empty("b")]);
        let flow = world.admit().unwrap();
        let [first, second] = updates;
        let gap = first.endpoints.is_empty();
        world.apply(first);
        assert_eq!(world.eligible().len(), usize::from(!gap));
        world.apply(second);
        assert_eq!(world.eligible(), ["10.0.0.1:80"]);
        let view = world.view();
        assert_eq!(view.endpoints.len(), 1);
        assert!(Arc::ptr_eq(&view.endpoints[0].endpoint, flow.endpoint()));
        assert_eq!(flow.endpoint().admission().flows(), 1);
    }
}

/// A8: the two updates of a move that come close together are no change at all, in either order.
#[test]
fn a_move_within_one_publish_has_no_gap() {
    let full = |name| Event::SliceApplied(slice(name, vec![endpoint("p1", "10.0.0.1", READY)]));
    let empty = |name| Event::SliceApplied(slice(name, Vec::new()));
    for updates in [[full("b"), empty("a")], [empty("a"), full("b")]] {
        let mut world = World::listed(vec![slice("a", vec![endpoint("p1", "10.0.0.1", READY)])]);
        world.said();
        let generation = world.table.generation();
        world.tell_all(updates);
        assert_eq!(world.table.generation(), generation);
        assert!(world.said().is_empty());
        assert_eq!(world.endpoint("10.0.0.1:80").slice.unwrap().0, slice_name("b"));
    }
}

/// A9: a slice's name may come back with wholly different endpoints and ports.
#[test]
fn a_reused_slice_leaves_nothing_behind() {
    let mut world = World::listed(vec![slice(
        "a",
        vec![endpoint("p1", "10.0.0.1", READY), endpoint("p2", "10.0.0.2", READY)],
    )]);
    world.apply(with_ports(slice("a", vec![endpoint("p3", "10.0.0.3", READY)]), &[("http", 8080)]));
    assert_eq!(world.eligible(), ["10.0.0.3:8080"]);
    assert_eq!(world.view().endpoints.len(), 1);
}

/// A12: a placeholder slice without ports means no endpoints, and no complaint.
#[test]
fn a_slice_without_ports_means_no_endpoints() {
    let mut world = World::listed(vec![with_ports(slice("a", Vec::new()), &[])]);
    assert_eq!(world.eligible(), Vec::<String>::new());
    assert_eq!(world.said(), ["eligible default/web:http 0"]);
    world.apply(slice("a", vec![endpoint("p1", "10.0.0.1", READY)]));
    assert_eq!(world.eligible(), ["10.0.0.1:80"]);
}

/// A13, S1, S6: what cannot be used is ignored, counted, and said once.
#[test]
fn what_cannot_be_used_is_ignored_and_said_once() {
    let mut world = World::listed(vec![slice("good", vec![endpoint("p1", "10.0.0.1", READY)])]);
    world.said();
    let mut orphan = slice("orphan", vec![endpoint("p2", "10.0.0.2", READY)]);
    orphan.service = None;
    let mut names = slice("names", vec![endpoint("p3", "10.0.0.3", READY)]);
    names.is_fqdn = true;
    let mut odd = slice("odd", vec![endpoint("p4", "10.0.0.4", READY)]);
    (odd.ignored_ports, odd.ignored_endpoints) = (2, 3);
    for slice in [orphan, names, odd.clone()] {
        world.apply(slice);
    }
    assert_eq!(world.eligible(), ["10.0.0.1:80", "10.0.0.4:80"]);
    let said = world.said();
    assert_eq!(
        said.iter().filter(|line| line.starts_with("ignored")).collect::<Vec<_>>(),
        [
            "ignored default/orphan 1: it has no label kubernetes.io/service-name",
            "ignored default/names 1: its endpoints are domain names (addressType FQDN)",
            "ignored default/odd 2: ports that are not TCP or have no number",
            "ignored default/odd 3: endpoints without a usable address",
        ]
    );
    odd.endpoints[0].conditions = LEAVING;
    world.apply(odd);
    assert!(!world.said().iter().any(|line| line.starts_with("ignored")));
}

/// A13: a slice whose ports are all nameless or of another name, or zero, gives nothing and breaks nothing.
#[test]
fn a_port_joins_by_its_name() {
    let only = |ports: &[(&str, u16)]| with_ports(slice("a", vec![endpoint("p1", "10.0.0.1", READY)]), ports);
    for ports in [&[("", 80)][..], &[("https", 443)], &[("http", 0)], &[]] {
        assert_eq!(World::listed(vec![only(ports)]).eligible(), Vec::<String>::new(), "{ports:?}");
    }
    assert_eq!(World::listed(vec![only(&[("https", 443), ("http", 80)])]).eligible(), ["10.0.0.1:80"]);
}

fn any_port() -> ServicePort {
    ServicePort { port: None, ..web() }
}

/// S5: without a port name the Service's only port is meant, whatever its name; with several there is nobody, and
/// it is said once. Known endpoints stay known: choosing for new flows never unpins old ones.
#[test]
fn a_port_left_out_is_the_only_one() {
    let mut world = World::of(vec![config(any_port())]);
    let one = || with_ports(slice("a", vec![endpoint("p1", "10.0.0.1", READY)]), &[("web", 8080)]);
    world.tell(Event::SlicesListed(vec![one()]));
    assert_eq!(world.eligible_of(&any_port()), ["10.0.0.1:8080"]);
    world.said();
    world.apply(with_ports(
        slice("b", vec![endpoint("p1", "10.0.0.1", READY)]),
        &[("admin", 9), ("web", 8080)],
    ));
    assert_eq!(world.eligible_of(&any_port()), Vec::<String>::new());
    assert_eq!(world.said(), ["ambiguous default/web admin,web", "eligible default/web 0"]);
    assert_eq!(world.table.services()[0].endpoints.len(), 1);
    world.apply(with_ports(
        slice("b", vec![endpoint("p2", "10.0.0.2", READY)]),
        &[("admin", 9), ("web", 8080)],
    ));
    assert!(!world.said().iter().any(|line| line.starts_with("ambiguous")));
    world.tell(Event::SliceDeleted(slice_name("b")));
    assert_eq!(world.eligible_of(&any_port()), ["10.0.0.1:8080"]);
}

/// S5: the only port may change its name.
#[test]
fn the_only_port_may_change_its_name() {
    let mut world = World::of(vec![config(any_port())]);
    let named = |name| with_ports(slice("a", vec![endpoint("p1", "10.0.0.1", READY)]), &[(name, 80)]);
    world.tell(Event::SlicesListed(vec![named("web")]));
    let before = world.table.generation();
    world.apply(named("http"));
    assert_eq!(world.eligible_of(&any_port()), ["10.0.0.1:80"]);
    assert_eq!(world.table.generation(), before, "the same endpoints as before");
}

/// A14: more than a thousand endpoints over many slices; a shuffled rewrite of one is no change at all.
#[test]
fn a_shuffled_slice_is_no_change() {
    let many = |at: u32| {
        let endpoints = (0..100).map(|i| endpoint(&format!("p{at}-{i}"), &format!("10.1.{at}.{i}"), READY));
        slice(&format!("s{at}"), endpoints.collect())
    };
    let mut world = World::listed((0..12).map(many).collect());
    assert_eq!(world.eligible().len(), 1200);
    let flow = world.admit().unwrap();
    let generation = world.table.generation();
    world.said();
    let before: Vec<_> = world.view().endpoints.iter().map(|view| Arc::clone(&view.endpoint)).collect();
    let mut shuffled = many(3);
    shuffled.endpoints.reverse();
    shuffled.generation = 9;
    world.apply(shuffled);
    assert_eq!(world.table.generation(), generation);
    assert!(world.said().is_empty());
    let after = world.view().endpoints;
    assert!(before.iter().zip(&after).all(|(before, after)| Arc::ptr_eq(before, &after.endpoint)));
    assert_eq!(flow.endpoint().admission().flows(), 1);
}

/// S8, B7: slices of a service that nobody configured are kept, because a reload may want it.
#[test]
fn slices_wait_for_their_service() {
    let mut world =
        World::listed(vec![of_service(slice("x", vec![endpoint("p1", "10.0.0.1", READY)]), "api")]);
    let api = crate::sample::port_of("api");
    world.tell(Event::ServicesConfigured(vec![config(web()), config(api.clone())]));
    assert_eq!(world.eligible_of(&api), ["10.0.0.1:80"]);
}

/// B1: what a complete list lacks is gone; what it has stays as it was.
#[test]
fn a_list_replaces_everything() {
    let mut world = World::listed(vec![
        slice("a", vec![endpoint("p1", "10.0.0.1", READY)]),
        slice("b", vec![endpoint("p2", "10.0.0.2", READY)]),
    ]);
    world.tell(Event::SlicesListed(vec![slice("b", vec![endpoint("p2", "10.0.0.2", READY)])]));
    assert_eq!(world.eligible(), ["10.0.0.2:80"]);
    assert_eq!(world.table.slice_count(), 1);
}

/// A fixed list is synced from the start, has its weights, and shadows slices, which is said once.
#[test]
fn a_fixed_list_shadows_slices() {
    let fixed = |list: &[(&str, u16)]| {
        let list = list
            .iter()
            .map(|(address, weight)| FixedEndpoint { address: address.parse().unwrap(), weight: *weight });
        ServiceConfig { fixed: Some(list.collect()), ..config(web()) }
    };
    let mut world = World::of(vec![fixed(&[("10.9.0.1:1", 1), ("10.9.0.2:1", 3), ("10.9.0.2:1", 9)])]);
    assert_eq!(world.eligible(), ["10.9.0.1:1", "10.9.0.2:1"]);
    let flow = world.admit().expect("no list is needed");
    assert_eq!(world.endpoint("10.9.0.2:1").weight, 3);
    world.said();
    world.apply(slice("a", vec![endpoint("p1", "10.0.0.1", READY)]));
    world.apply(slice("b", vec![endpoint("p2", "10.0.0.2", READY)]));
    assert_eq!(world.said(), ["shadowed default/web"]);
    assert_eq!(world.eligible(), ["10.9.0.1:1", "10.9.0.2:1"]);
    let address = std::string::ToString::to_string(&flow.endpoint().address());
    // Taken out of the list by a reload: not chosen any more, but nothing has happened to it.
    world.tell(Event::ServicesConfigured(vec![fixed(&[("10.9.0.3:1", 1)])]));
    assert!(!world.said().iter().any(|line| line.starts_with("gone")));
    assert_eq!(world.endpoint(&address).conditions, None);
    world.tell(Event::ServicesConfigured(vec![config(web())]));
    assert_eq!(world.eligible(), ["10.0.0.1:80", "10.0.0.2:80"]);
    assert_eq!(world.admit().unwrap_err(), crate::Refusal::NotSynced, "slices need a complete list");
}

fn fixed(list: &[(&str, u16)]) -> Event {
    let list = list
        .iter()
        .map(|(address, weight)| FixedEndpoint { address: address.parse().unwrap(), weight: *weight });
    Event::ServicesConfigured(vec![ServiceConfig { fixed: Some(list.collect()), ..config(web()) }])
}

/// A weight that changes is published.
#[test]
fn a_changed_weight_is_published() {
    let mut world = World::of(Vec::new());
    world.tell(fixed(&[("10.9.0.1:1", 1), ("10.9.0.2:1", 1)]));
    let before = world.table.generation();
    world.tell(fixed(&[("10.9.0.1:1", 1), ("10.9.0.2:1", 5)]));
    assert_eq!(world.table.generation(), before + 1);
    assert_eq!(world.endpoint("10.9.0.2:1").weight, 5);
}

/// What configuration takes out, from slices or from a list, is not gone: nothing is armed, so nothing is undone when
/// it is back.
#[test]
fn a_reload_is_neither_gone_nor_back() {
    let mut world = World::listed(vec![slice("a", vec![endpoint("p1", "10.0.0.1", READY)])]);
    let _flow = world.admit().unwrap();
    world.said();
    world.tell(fixed(&[("10.9.0.1:1", 1)]));
    let _flow = world.admit().unwrap();
    world.tell(Event::ServicesConfigured(vec![config(web())]));
    world.tell(fixed(&[("10.9.0.1:1", 1)]));
    let said = world.said();
    assert!(!said.iter().any(|line| line.starts_with("gone") || line.starts_with("back")), "{said:?}");
    assert_eq!(world.endpoint("10.9.0.1:1").endpoint.admission().flows(), 1);
}

/// S5: a port without a number is none, and a port is there as long as one slice has it.
#[test]
fn the_only_port_is_counted_over_all_slices() {
    let of =
        |name, ports: &[(&str, u16)]| with_ports(slice(name, vec![endpoint(name, "10.0.0.1", READY)]), ports);
    let mut world = World::of(vec![config(any_port())]);
    world.tell(Event::SlicesListed(vec![of("a", &[("web", 80), ("none", 0)]), of("b", &[("web", 80)])]));
    assert_eq!(world.eligible_of(&any_port()), ["10.0.0.1:80"]);
    world.tell(Event::SliceDeleted(slice_name("b")));
    world.apply(of("c", &[("admin", 9)]));
    assert_eq!(world.eligible_of(&any_port()), Vec::<String>::new(), "web is still there");
}

/// A service that has a fixed list again shadows its slices again, which is said again.
#[test]
fn shadowing_is_said_each_time_it_begins() {
    let mut world = World::listed(vec![slice("a", vec![endpoint("p1", "10.0.0.1", READY)])]);
    for _ in 0..2 {
        world.said();
        world.tell(fixed(&[("10.9.0.1:1", 1)]));
        world.tell(fixed(&[("10.9.0.2:1", 1)]));
        assert_eq!(world.said().iter().filter(|line| line.starts_with("shadowed")).count(), 1);
        world.tell(Event::ServicesConfigured(vec![config(web())]));
    }
}

/// An endpoint that goes while it has flows is kept, and of its slice nothing else: pods that go from a slice one after
/// another would each keep a version of it otherwise.
#[test]
fn an_endpoint_that_goes_keeps_no_more_of_its_slice_than_itself() {
    let endpoints = |from: u32| {
        (from..4).map(|i| endpoint(&format!("p{i}"), &format!("10.0.0.{i}"), READY)).collect::<Vec<_>>()
    };
    let mut world = World::listed(vec![slice("a", endpoints(0))]);
    let _flows: Vec<_> = (0..40).map(|_| world.admit().unwrap()).collect();
    for gone in 1..4 {
        let slices = &world.table.slices;
        let version = Arc::downgrade(slices.get(&slice_name("a")).unwrap());
        world.apply(slice("a", endpoints(gone)));
        assert!(version.upgrade().is_none(), "a version outlives its successor");
        let view = world.endpoint(&format!("10.0.0.{}:80", gone - 1));
        assert_eq!(view.conditions, None);
        assert_eq!(view.pod.as_deref(), Some(&*format!("default/p{}", gone - 1)));
        assert_eq!(view.slice.unwrap().0, slice_name("a"));
    }
}

/// A slice that is written again without a change of its endpoints takes the place of what it was.
#[test]
fn a_rewritten_slice_is_what_its_endpoints_come_from() {
    let said = |generation| {
        let slice = slice("a", vec![endpoint("p1", "10.0.0.1", READY)]);
        Slice { generation, ..slice }
    };
    let mut world = World::listed(vec![said(1)]);
    let version = Arc::downgrade(world.table.slices.get(&slice_name("a")).unwrap());
    let generation = world.table.generation();
    world.apply(said(2));
    assert_eq!(world.endpoint("10.0.0.1:80").slice.unwrap().1, 2);
    assert!(version.upgrade().is_none(), "the old one is not kept");
    assert_eq!(world.table.generation(), generation, "for new flows nothing has changed");
}

/// Slices that come and go together are acted upon together: what is gone does so after what has come.
#[test]
fn several_slices_change_together() {
    let mut world = World::listed(vec![slice("a", vec![endpoint("p1", "10.0.0.1", READY)])]);
    let flow = world.admit().unwrap();
    let publishes = world.publishes;
    world.said();
    let moved = slice("b", vec![endpoint("p1", "10.0.0.1", READY), endpoint("p2", "10.0.0.2", READY)]);
    let deleted = vec![slice_name("a")];
    world.tell(Event::SlicesChanged { applied: vec![moved], deleted });
    assert_eq!(world.eligible(), ["10.0.0.1:80", "10.0.0.2:80"]);
    assert_eq!(world.publishes, publishes + 1);
    assert_eq!(world.said(), ["added 10.0.0.2:80"], "the one that moved was never gone");
    assert_eq!(flow.endpoint().id(), world.endpoint("10.0.0.1:80").endpoint.id());
}

/// What the first list of very many endpoints needed is given back.
#[test]
fn room_for_many_outputs_is_not_kept() {
    let many = (0..4_000_u32).map(|i| {
        let address = format!("10.0.{}.{}", i / 256, i % 256);
        endpoint(&format!("p{i}"), &address, READY)
    });
    let mut world = World::listed(vec![slice("a", many.collect())]);
    assert!(world.said().len() >= 4_000);
    assert!(world.table.outputs.capacity() <= crate::table::OUTPUTS_KEPT);
}
