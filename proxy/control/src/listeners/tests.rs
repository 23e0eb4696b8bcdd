use tidegate_core::ServiceName;

use super::*;

fn wanted(name: &str, address: &str, service: &str) -> DesiredListener {
    DesiredListener {
        name: name.into(),
        address: address.parse().unwrap(),
        port: ServicePort { service: ServiceName::new("default", service), port: None },
    }
}

fn numbered(listeners: &[DesiredListener]) -> Vec<(ListenerId, DesiredListener)> {
    (0..).map(ListenerId).zip(listeners.iter().cloned()).collect()
}

#[test]
fn an_unchanged_listener_is_kept() {
    let list = [wanted("web", "127.0.0.1:80", "web"), wanted("db", "127.0.0.1:81", "db")];
    let plan = plan(&numbered(&list), &list);
    assert_eq!(plan, ListenerPlan { keep: vec![ListenerId(0), ListenerId(1)], ..ListenerPlan::default() });
}

#[test]
fn another_service_on_one_address_keeps_the_sockets() {
    let new = wanted("web", "127.0.0.1:80", "other");
    let plan = plan(&numbered(&[wanted("web", "127.0.0.1:80", "web")]), std::slice::from_ref(&new));
    assert_eq!(plan.retarget, [(ListenerId(0), new)]);
    assert!(plan.bind.is_empty() && plan.close.is_empty());
}

#[test]
fn a_new_name_on_one_address_keeps_the_sockets() {
    let new = wanted("www", "127.0.0.1:80", "web");
    let plan = plan(&numbered(&[wanted("web", "127.0.0.1:80", "web")]), std::slice::from_ref(&new));
    assert_eq!(plan.retarget, [(ListenerId(0), new)]);
}

#[test]
fn a_new_address_is_bound_and_the_old_one_closed() {
    let new = wanted("web", "127.0.0.1:81", "web");
    let plan = plan(&numbered(&[wanted("web", "127.0.0.1:80", "web")]), std::slice::from_ref(&new));
    assert_eq!(plan.bind, [new]);
    assert_eq!(plan.close, [ListenerId(0)]);
}

#[test]
fn two_names_that_swap_addresses_swap_services_and_no_sockets() {
    let plan = plan(
        &numbered(&[wanted("a", "127.0.0.1:80", "a"), wanted("b", "127.0.0.1:81", "b")]),
        &[wanted("a", "127.0.0.1:81", "a"), wanted("b", "127.0.0.1:80", "b")],
    );
    let ids: Vec<_> = plan.retarget.iter().map(|(id, wanted)| (*id, &*wanted.name)).collect();
    assert_eq!(ids, [(ListenerId(1), "a"), (ListenerId(0), "b")]);
    assert!(plan.bind.is_empty() && plan.close.is_empty());
}

#[test]
fn listeners_on_port_zero_are_told_apart_by_name() {
    let plan = plan(
        &numbered(&[wanted("a", "127.0.0.1:0", "a"), wanted("b", "127.0.0.1:0", "b")]),
        &[wanted("b", "127.0.0.1:0", "b"), wanted("c", "127.0.0.1:0", "c"), wanted("d", "127.0.0.1:0", "d")],
    );
    assert_eq!(plan.keep, [ListenerId(1)]);
    assert_eq!(plan.retarget, [(ListenerId(0), wanted("c", "127.0.0.1:0", "c"))]);
    assert_eq!(plan.bind, [wanted("d", "127.0.0.1:0", "d")]);
    assert!(plan.close.is_empty());
}

#[test]
fn binding_says_when_there_are_too_few_sockets() {
    let bind: BindFn = Arc::new(|address, _| Ok(vec![TcpListener::bind(address)?]));
    let error = BoundListener::bind(wanted("web", "127.0.0.1:0", "web"), 2, &bind).unwrap_err();
    assert_eq!(error.to_string(), "1 sockets were given for 2 workers");
}

#[test]
fn a_bound_listener_knows_the_port_that_the_kernel_chose() {
    let bind: BindFn = Arc::new(|address, _| Ok(vec![TcpListener::bind(address)?]));
    let bound = BoundListener::bind(wanted("web", "127.0.0.1:0", "web"), 1, &bind).unwrap();
    assert_ne!(bound.address().port(), 0);
}
