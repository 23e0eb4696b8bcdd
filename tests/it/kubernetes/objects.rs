//! B7, B8: what the API server says: bursts, what comes twice or late, what cannot be read, what is new, what is huge.

use serde_json::{Value, json};
use tidegate_tests::{
    apiserver::{ApiServer, ENDPOINT_SLICES, Verb},
    support::{Endpoint, Slice, SliceEndpoint, until},
};

use super::{Clients, following, lists, put, remove, trouble, with_ready};

/// B8: lines that come twice, and lines that are older than what is known, change nothing.
#[test]
fn repeated_and_older_lines_change_nothing() {
    let endpoints = Endpoint::greeting_group(2);
    let (api, proxy) = with_ready([&endpoints[0]]);
    let old = api.get(ENDPOINT_SLICES, "default", "web-1").unwrap();
    put(&api, &Slice::ready("web-1", [&endpoints[1]]));
    proxy.wait_for_eligible_to_be([&endpoints[1]]);
    let new = api.get(ENDPOINT_SLICES, "default", "web-1").unwrap();
    let generation = proxy.status().generation;
    let streams = api.streams(ENDPOINT_SLICES);
    for (kind, object) in [("MODIFIED", &new), ("ADDED", &new), ("MODIFIED", &old), ("DELETED", &old)] {
        streams.say_event(kind, object);
    }
    // What comes after them is in force: so they have been read.
    put(&api, &Slice::named("other").of_service("other"));
    until("the last line was read", || proxy.status().source.unwrap().slices == 2);
    proxy.expect_all_on(&endpoints[1]);
    assert!(proxy.status().generation <= generation + 1, "{} after {generation}", proxy.status().generation);
}

/// B8: fields and kinds of lines that a newer server may know are passed over.
#[test]
fn unknown_fields_and_lines_are_passed_over() {
    let endpoints = Endpoint::greeting_group(2);
    let (api, proxy) = with_ready([&endpoints[0]]);
    let mut slice = Slice::ready("web-1", [&endpoints[1]]).json();
    slice["newField"] = json!({"deep": [1, 2, {"er": null}]});
    slice["metadata"]["newField"] = json!(17);
    slice["endpoints"][0]["conditions"]["newCondition"] = json!(true);
    slice["endpoints"][0]["newField"] = json!(["a"]);
    api.streams(ENDPOINT_SLICES).say_event("NEWKIND", &json!({"kind": "Other", "metadata": {}}));
    api.put(&slice);
    proxy.wait_for_eligible_to_be([&endpoints[1]]);
    assert_eq!(api.calls_of(Verb::Watch, ENDPOINT_SLICES).len(), 1, "the watch was not begun anew");
}

/// B8: one object that cannot be read, in a list or in a watch, is left out and counted, and stops no other.
#[test]
fn object_that_cannot_be_read_stops_no_other() {
    let endpoints = Endpoint::greeting_group(2);
    let api = ApiServer::start();
    let mut bad = Slice::ready("bad", [&endpoints[0]]).json();
    bad["endpoints"] = json!("not a list");
    api.put(&bad);
    put(&api, &Slice::ready("web-1", [&endpoints[0]]));
    let proxy = following(&api).start();
    proxy.expect_all_on(&endpoints[0]);
    until("it is counted", || proxy.metrics().total("tidegate_source_invalid_total") == 1);
    let invalid = proxy.status().source.unwrap().invalid_files;
    assert!(invalid.iter().any(|it| it.error.contains("default/bad")), "{invalid:?}");

    let mut worse = bad.clone();
    worse["metadata"]["name"] = json!("worse");
    worse["ports"] = json!(17);
    api.put(&worse);
    put(&api, &Slice::ready("web-1", &endpoints));
    proxy.wait_for_eligible_to_be(&endpoints);
    until("it is counted", || proxy.metrics().total("tidegate_source_invalid_total") == 2);
    // It is mended, and counts from then on.
    put(&api, &Slice::ready("web-1", [&endpoints[0]]));
    put(&api, &Slice::ready("worse", [&endpoints[1]]));
    proxy.wait_for_eligible_to_be(&endpoints);
    remove(&api, "worse");
    proxy.wait_for_eligible_to_be([&endpoints[0]]);
}

/// B8: an object that could be read once and cannot be read any more leaves its last good state.
#[test]
fn object_that_turns_bad_keeps_its_last_good_state() {
    let endpoint = Endpoint::greeting();
    let (api, proxy) = with_ready([&endpoint]);
    let (mut flow, _) = proxy.connect_greeted();
    api.edit(ENDPOINT_SLICES, "default", "web-1", |slice| slice["endpoints"] = json!({"a": "map"}));
    until("it is counted", || proxy.metrics().total("tidegate_source_invalid_total") == 1);
    proxy.expect_all_on(&endpoint);
    flow.exchange(b"still here");
    put(&api, &Slice::named("web-1"));
    proxy.wait_for_eligible(0);
}

/// B1, B8: an object that is bad in a list, and was good before, leaves its last good state, while what the list has and
/// what it lacks counts.
#[test]
fn object_that_is_bad_in_a_new_list_keeps_its_last_good_state() {
    let endpoints = Endpoint::greeting_group(3);
    let (api, proxy) = with_ready([&endpoints[0]]);
    put(&api, &Slice::ready("web-2", [&endpoints[1]]));
    proxy.wait_for_eligible_to_be([&endpoints[0], &endpoints[1]]);
    let (mut flow, _) = proxy.connect_greeted();
    let before = lists(&api);
    api.go_away();
    api.edit(ENDPOINT_SLICES, "default", "web-1", |slice| slice["endpoints"] = json!({"a": "map"}));
    remove(&api, "web-2");
    put(&api, &Slice::ready("web-3", [&endpoints[2]]));
    api.compact();
    api.come_back();
    super::wait_for_another_list(&api, before);
    proxy.wait_for_eligible_to_be([&endpoints[0], &endpoints[2]]);
    until("it is counted", || proxy.metrics().total("tidegate_source_invalid_total") == 1);
    flow.exchange(b"still here");
    put(&api, &Slice::named("web-1"));
    proxy.wait_for_eligible_to_be([&endpoints[2]]);
}

/// B8: a line that is no JSON ends the watch, which begins anew and misses nothing.
#[test]
fn garbage_in_the_stream_is_survived() {
    let endpoints = Endpoint::greeting_group(2);
    let (api, proxy) = with_ready([&endpoints[0]]);
    let clients = Clients::of(&proxy);
    for garbage in ["{\"type\":\"MODIFIED\",", "\u{0}\u{1}\u{2}", "[]", "\"text\"", "{}"] {
        let calls = api.call_count();
        api.streams(ENDPOINT_SLICES).say(garbage);
        put(&api, &Slice::ready("web-1", [&endpoints[1]]));
        proxy.wait_for_eligible_to_be([&endpoints[1]]);
        put(&api, &Slice::ready("web-1", [&endpoints[0]]));
        proxy.wait_for_eligible_to_be([&endpoints[0]]);
        assert!(api.call_count() >= calls);
    }
    clients.finish();
}

/// B7: ten thousand updates of a service in one burst: they are coalesced, clients are served meanwhile, and the last
/// one is in force.
#[test]
fn burst_of_updates_is_coalesced() {
    const UPDATES: usize = 10_000;
    const SLICES: usize = 200;
    let endpoints = Endpoint::greeting_group(2);
    let (api, proxy) = with_ready([&endpoints[0]]);
    let states =
        [false, true].map(|serving| (0..SLICES).map(|number| filler(number, serving)).collect::<Vec<_>>());
    states[0].iter().for_each(|slice| put(&api, slice));
    until("the whole service is known", || proxy.endpoints().len() == SLICES * ENDPOINTS + 1);
    let (clients, before) = (Clients::of(&proxy), proxy.status().generation);
    for update in 0..UPDATES {
        put(&api, &states[(update / SLICES + 1) % 2][update % SLICES]);
    }
    put(&api, &Slice::ready("web-1", [&endpoints[1]]));
    proxy.wait_for_eligible_to_be([&endpoints[1]]);
    let publishes = proxy.status().generation - before;
    assert!(publishes < UPDATES as u64 / 2, "{publishes} publishes for {UPDATES} updates");
    clients.finish();
    proxy.expect_all_on(&endpoints[1]);
}

/// How many endpoints a filler has.
const ENDPOINTS: usize = 5;

/// One of many slices of `web`, with endpoints that are not ready; serving or not.
fn filler(number: usize, serving: bool) -> Slice {
    (0..ENDPOINTS).fold(Slice::named(&format!("filler-{number}")).with_port(9), |slice, endpoint| {
        let address = format!("198.18.{number}.{endpoint}").parse().unwrap();
        let line = SliceEndpoint::at(address)
            .pod(&format!("pod-{number}-{endpoint}"), &format!("{number}-{endpoint}"));
        slice.with(line.conditions([Some(false), Some(serving), Some(false)]))
    })
}

/// B8: an object as large as the API server stores them, with all that is of no use here.
#[test]
fn huge_object_is_read() {
    let endpoint = Endpoint::greeting();
    let (api, proxy) = with_ready([&endpoint]);
    let mut huge = filler(0, true).json();
    huge["metadata"]["annotations"] = json!({"filling": "x".repeat(250 * 1024)});
    huge["metadata"]["managedFields"] =
        json!([{"manager": "m", "fieldsV1": {"f:filling": "y".repeat(1024 * 1024)}}]);
    let lines = huge["endpoints"].as_array().unwrap().clone();
    huge["endpoints"] = Value::Array((0..200).flat_map(|_| lines.clone()).collect());
    api.put(&huge);
    until("it is known", || proxy.status().source.unwrap().slices == 2);
    proxy.expect_all_on(&endpoint);
    assert_eq!((lists(&api), trouble(&proxy)), (1, None));
}
