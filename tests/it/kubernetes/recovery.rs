//! B1, B4: how a watch that broke is taken up again, and that nothing goes back in time.

use std::time::Duration;

use tidegate_tests::{
    apiserver::{Calls, ENDPOINT_SLICES, Fault, Verb},
    support::{Endpoint, Slice, until},
};

use super::{Clients, lists, put, remove, wait_for_another_list, with_ready};

/// B1: the watch ends with 410 and a slice was deleted meanwhile, whose deletion nobody will ever tell. The new list
/// takes the old one's place at once: what is missing from it is gone, what stays was never away, and flows stay.
#[test]
fn expired_watch_is_listed_anew_without_a_dip() {
    let endpoints = Endpoint::greeting_group(3);
    let (api, proxy) = with_ready([&endpoints[0]]);
    put(&api, &Slice::ready("web-2", [&endpoints[1]]));
    proxy.wait_for_eligible_to_be(&endpoints[..2]);
    let ids = |of: &Endpoint| proxy.endpoint(of).map(|row| row.id);
    let (kept, mut flows) =
        (ids(&endpoints[0]), (0..8).map(|_| proxy.connect_greeted().0).collect::<Vec<_>>());
    let clients = Clients::of(&proxy);
    let before = lists(&api);
    api.streams(ENDPOINT_SLICES).hold();
    remove(&api, "web-2");
    put(&api, &Slice::ready("web-3", [&endpoints[2]]));
    api.compact();
    api.streams(ENDPOINT_SLICES).expire();
    wait_for_another_list(&api, before);
    proxy.wait_for_eligible_to_be([&endpoints[0], &endpoints[2]]);
    assert_eq!(ids(&endpoints[0]), kept);
    clients.finish();
    flows.iter_mut().for_each(|flow| flow.exchange(b"still here"));
    // What was listed away has a place only for as long as it has flows.
    drop(flows);
    until("the removed one is gone", || ids(&endpoints[1]).is_none());
}

/// B1, B2: while the new list is being read, page by page and slowly, what was known is in force.
#[test]
fn list_in_progress_takes_nothing_away() {
    let endpoints = Endpoint::greeting_group(2);
    let (api, proxy) = with_ready([&endpoints[0]]);
    let clients = Clients::of(&proxy);
    for number in 0..600 {
        put(&api, &Slice::named(&format!("other-{number:04}")).of_service("other"));
    }
    put(&api, &Slice::ready("z-last", [&endpoints[1]]));
    proxy.wait_for_eligible_to_be(&endpoints);
    let before = lists(&api);
    api.fail(Calls::of(Verb::List, ENDPOINT_SLICES).continued(), 2, Fault::Refuse(503));
    api.streams(ENDPOINT_SLICES).expire();
    until("pages are asked for in vain", || lists(&api) >= before + 3);
    proxy.wait_for_eligible_to_be(&endpoints);
    wait_for_another_list(&api, before);
    proxy.wait_for_eligible_to_be(&endpoints);
    clients.finish();
}

/// B8, S9: a connection that is cut in the middle of an object costs nothing: the half is not used, and the watch goes
/// on from the last whole one, without a list.
#[test]
fn watch_that_is_cut_in_mid_object_goes_on() {
    let endpoints = Endpoint::greeting_group(2);
    let (api, proxy) = with_ready([&endpoints[0]]);
    let clients = Clients::of(&proxy);
    let (before, revision) = (lists(&api), api.revision());
    for round in 0..3 {
        let calls = api.call_count();
        api.streams(ENDPOINT_SLICES).cut_in_mid_object("MODIFIED", &Slice::ready("web-1", []).json());
        api.wait_for_call_after(calls, "another watch", |call| call.is(Verb::Watch, ENDPOINT_SLICES));
        api.wait_for_streams(ENDPOINT_SLICES, 1);
        put(&api, &Slice::ready("web-1", [&endpoints[round % 2]]));
        proxy.wait_for_eligible_to_be([&endpoints[round % 2]]);
    }
    assert_eq!(lists(&api), before);
    let last = api.calls_of(Verb::Watch, ENDPOINT_SLICES).pop().unwrap();
    assert!(last.parameter("resourceVersion").parse::<u64>().unwrap() >= revision, "{last:?}");
    clients.finish();
}

/// A watch that the server ends as agreed goes on from where it was, bookmarks included, and is no trouble.
#[test]
fn watch_that_ends_as_agreed_goes_on_from_its_bookmark() {
    let endpoint = Endpoint::greeting();
    let (api, proxy) = with_ready([&endpoint]);
    let before = lists(&api);
    // Written elsewhere; the bookmark brings the watch past it.
    for _ in 0..5 {
        api.put(&serde_json::json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "other", "annotations": {"at": api.revision().to_string()}},
        }));
    }
    let revision = api.revision();
    let calls = api.call_count();
    api.streams(ENDPOINT_SLICES).bookmark();
    api.streams(ENDPOINT_SLICES).end();
    let watch =
        api.wait_for_call_after(calls, "the next watch", |call| call.is(Verb::Watch, ENDPOINT_SLICES));
    assert_eq!(watch.parameter("resourceVersion"), revision.to_string());
    assert_eq!(watch.parameter("allowWatchBookmarks"), "true");
    assert!(!watch.parameter("timeoutSeconds").is_empty());
    assert_eq!((lists(&api), super::trouble(&proxy)), (before, None));
}

/// B4: after an expiry the list comes from a replica that is behind: what it says is older than what is known, and is
/// not believed; the newer state stays in force until a list that has it.
#[test]
fn older_list_does_not_bring_the_past_back() {
    let endpoints = Endpoint::greeting_group(2);
    let (api, proxy) = with_ready([&endpoints[0]]);
    let past = api.revision();
    put(&api, &Slice::ready("web-1", [&endpoints[1]]));
    proxy.wait_for_eligible_to_be([&endpoints[1]]);
    let clients = Clients::of(&proxy);
    let before = lists(&api);
    api.fail(Calls::of(Verb::List, ENDPOINT_SLICES), 3, Fault::Older(past));
    api.streams(ENDPOINT_SLICES).expire();
    until("the older state was listed", || lists(&api) >= before + 3);
    proxy.wait_for_eligible_to_be([&endpoints[1]]);
    wait_for_another_list(&api, before);
    proxy.expect_all_on(&endpoints[1]);
    // It is not stuck there.
    put(&api, &Slice::ready("web-1", &endpoints));
    proxy.wait_for_eligible_to_be(&endpoints);
    clients.finish();
    let generation = proxy.status().generation;
    assert!(generation < 20, "the past was published in between: {generation} generations");
}

/// B4: a slice that was deleted does not come back with an older list.
#[test]
fn older_list_does_not_bring_a_deleted_slice_back() {
    let endpoints = Endpoint::greeting_group(2);
    let (api, proxy) = with_ready([&endpoints[0]]);
    put(&api, &Slice::ready("web-2", [&endpoints[1]]));
    proxy.wait_for_eligible_to_be(&endpoints);
    let past = api.revision();
    remove(&api, "web-2");
    proxy.wait_for_eligible_to_be([&endpoints[0]]);
    let before = lists(&api);
    api.fail(Calls::of(Verb::List, ENDPOINT_SLICES), 2, Fault::Older(past));
    api.streams(ENDPOINT_SLICES).expire();
    until("the older state was listed", || lists(&api) >= before + 2);
    wait_for_another_list(&api, before);
    proxy.expect_all_on(&endpoints[0]);
}

/// B8: a stream that comes a few bytes at a time is read as it is.
#[test]
fn slow_stream_is_read_line_by_line() {
    let endpoints = Endpoint::greeting_group(2);
    let (api, proxy) = with_ready([&endpoints[0]]);
    api.streams(ENDPOINT_SLICES).trickle(64, Duration::from_millis(5));
    put(&api, &Slice::ready("web-1", [&endpoints[1]]));
    proxy.wait_for_eligible_to_be([&endpoints[1]]);
    assert_eq!(api.calls_of(Verb::Watch, ENDPOINT_SLICES).len(), 1);
}
