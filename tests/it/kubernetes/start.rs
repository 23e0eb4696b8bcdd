//! B5, B2: nothing is accepted before everything is known.

use tidegate_tests::{
    apiserver::{ApiServer, Call, Calls, ENDPOINT_SLICES, Fault, Verb},
    support::{Connection, Endpoint, Proxy, Slice, until},
};

use super::{following, lists, put, trouble};

fn slice_lists() -> Calls {
    Calls::of(Verb::List, ENDPOINT_SLICES)
}

/// It lives, is not ready, and no client is taken in: one that connects waits in the kernel's queue.
#[track_caller]
fn expect_waiting(proxy: &Proxy) -> Connection {
    until("the proxy answers", || proxy.admin().get("/livez").is_ok_and(|answer| answer.status == 200));
    let status = proxy.status();
    assert!(!status.ready && !status.source.unwrap().synced);
    assert!(status.listeners.iter().all(|listener| !listener.accepting), "{:?}", status.listeners);
    assert_eq!(proxy.get("/readyz").status, 503);
    assert_eq!(proxy.metrics().total("tidegate_flows_opened_total"), 0);
    proxy.connect()
}

/// B5: the API server is not there at the start. The proxy waits for it, and its first client is routed.
#[test]
fn api_server_that_is_away_at_the_start_is_waited_for() {
    let endpoint = Endpoint::greeting();
    let api = ApiServer::start();
    put(&api, &Slice::ready("web-1", [&endpoint]));
    api.go_away();
    let proxy = following(&api).spawn();
    let mut early = expect_waiting(&proxy);
    until("the status says why", || trouble(&proxy).is_some_and(|why| why.contains("reached")));
    api.come_back();
    proxy.wait_until_ready();
    assert_eq!(early.greeting(), endpoint.address());
    assert_eq!(proxy.connect_greeted().1, endpoint.address());
    assert_eq!(proxy.terminated("no_endpoint", "pick"), 0);
}

/// B5: the first lists fail in every way there is; each is tried again, and nothing is accepted before one is whole.
#[test]
fn first_list_is_waited_for_whatever_happens_to_it() {
    let endpoint = Endpoint::greeting();
    let api = ApiServer::start();
    put(&api, &Slice::ready("web-1", [&endpoint]));
    for fault in [Fault::Refuse(503), Fault::Disconnect, Fault::CutBody, Fault::Garbage] {
        api.fail(slice_lists(), 1, fault);
    }
    api.fail_always(slice_lists(), Fault::Refuse(500));
    let proxy = following(&api).spawn();
    until("every fault has been met", || lists(&api) > 4);
    let mut early = expect_waiting(&proxy);
    api.heal();
    proxy.wait_until_ready();
    assert_eq!(early.greeting(), endpoint.address());
}

/// D11: a proxy that starts asks for what is newest, and not for what some replica happens to have.
#[test]
fn first_list_is_a_fresh_one() {
    let endpoint = Endpoint::greeting();
    let (api, _proxy) = super::with_ready([&endpoint]);
    let list = api.wait_for_call("a list", |call| call.is(Verb::List, ENDPOINT_SLICES));
    assert_eq!(list.parameter("resourceVersion"), "");
    let watch = api.wait_for_call("a watch", |call| call.is(Verb::Watch, ENDPOINT_SLICES));
    assert_eq!(watch.parameter("resourceVersion"), api.revision().to_string());
}

/// B5, A12: a complete list without a slice is an answer: the proxy is ready, and refuses clients.
#[test]
fn empty_list_is_complete() {
    let api = ApiServer::start();
    let proxy = following(&api).start();
    proxy.expect_refusal();
    let endpoint = Endpoint::greeting();
    put(&api, &Slice::ready("web-1", [&endpoint]));
    proxy.wait_for_eligible(1);
    proxy.expect_all_on(&endpoint);
}

/// B2: a list of several pages counts when its last one has arrived: while one is missing nothing is accepted, and
/// once the proxy is ready every endpoint is known.
#[test]
fn list_of_many_pages_counts_when_it_is_whole() {
    let endpoints = Endpoint::greeting_group(2);
    let api = ApiServer::start();
    put(&api, &Slice::ready("a-first", [&endpoints[0]]));
    put(&api, &Slice::ready("z-last", [&endpoints[1]]));
    for number in 0..1200 {
        put(&api, &Slice::named(&format!("other-{number:04}")).of_service("other"));
    }
    api.fail_always(slice_lists().continued(), Fault::Refuse(503));
    let proxy = following(&api).spawn();
    let is_later_page =
        |call: &Call| call.is(Verb::List, ENDPOINT_SLICES) && !call.parameter("continue").is_empty();
    api.wait_for_call("a later page", is_later_page);
    let mut early = expect_waiting(&proxy);
    api.heal();
    proxy.wait_until_ready();
    early.greeting();
    let status = proxy.status();
    assert_eq!((status.services[0].eligible, status.source.unwrap().slices), (2, 1202));
    assert!(api.calls().into_iter().filter(is_later_page).count() > 2, "the list had three pages");
}

/// B2, B1: a list's token expires between two pages: the list begins anew, and counts when that is whole.
#[test]
fn list_whose_pages_expire_begins_anew() {
    let endpoints = Endpoint::greeting_group(2);
    let api = ApiServer::start();
    put(&api, &Slice::ready("a-first", [&endpoints[0]]));
    put(&api, &Slice::ready("z-last", [&endpoints[1]]));
    for number in 0..600 {
        put(&api, &Slice::named(&format!("other-{number:04}")).of_service("other"));
    }
    api.fail(slice_lists().continued(), 2, Fault::Refuse(410));
    let proxy = following(&api).start();
    proxy.wait_for_eligible_to_be(&endpoints);
    assert_eq!(proxy.status().source.unwrap().slices, 602);
}

/// B5: an answer that comes slowly, a few bytes at a time, is waited for and not taken for the end.
#[test]
fn slow_answer_is_read_to_its_end() {
    let endpoint = Endpoint::greeting();
    let api = ApiServer::start();
    put(&api, &Slice::ready("web-1", [&endpoint]));
    api.fail(slice_lists(), 1, Fault::Trickle(16, std::time::Duration::from_millis(20)));
    let proxy = following(&api).start();
    assert_eq!(proxy.connect_greeted().1, endpoint.address());
    assert_eq!(lists(&api), 1);
}
