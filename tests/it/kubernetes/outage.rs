//! B3, B6: what the API server's failures do to traffic, which is nothing, and how patiently it is asked again.

use std::time::Duration;

use tidegate_tests::{
    apiserver::{ApiServer, Call, Calls, ENDPOINT_SLICES, Fault, Verb},
    support::{Connection, Endpoint, Slice, until},
};

use super::{Clients, following, lists, put, trouble, wait_for_another_list, with_ready};

/// B3: the API server goes away and comes back. Meanwhile flows that exist go on, new ones come and go, the proxy stays
/// ready; afterwards what has changed meanwhile is in force.
#[test]
fn outage_changes_no_routing() {
    let endpoints = Endpoint::greeting_group(3);
    let (api, proxy) = with_ready(&endpoints[..2]);
    let mut flows: Vec<_> = (0..8).map(|_| proxy.connect_greeted().0).collect();
    let clients = Clients::of(&proxy);
    api.go_away();
    until("the status says so", || trouble(&proxy).is_some());
    clients.wait_for(200);
    let status = proxy.status();
    assert!(status.ready && status.source.unwrap().synced);
    assert_eq!(proxy.get("/readyz").status, 200);
    proxy.wait_for_eligible_to_be(&endpoints[..2]);
    flows.iter_mut().for_each(|flow| flow.exchange(b"meanwhile"));

    put(&api, &Slice::ready("web-1", &endpoints[1..]));
    api.come_back();
    proxy.wait_for_eligible_to_be(&endpoints[1..]);
    until("nothing is wrong", || trouble(&proxy).is_none());
    clients.finish();
    flows.iter_mut().for_each(|flow| flow.exchange(b"afterwards"));
}

/// B3: a proxy whose API server is away does not forget when its configuration is read again.
#[test]
fn reload_during_an_outage_keeps_what_is_known() {
    let endpoints = Endpoint::greeting_group(2);
    let (api, mut proxy) = with_ready(&endpoints);
    let (mut flow, _) = proxy.connect_greeted();
    api.go_away();
    until("the status says so", || trouble(&proxy).is_some());
    proxy.write_config(|config| config.listener("more", "127.0.0.1:0", "default/web"));
    until("the reload is applied", || proxy.status().last_reload.is_some_and(|reload| reload.applied));
    until("the new listener accepts", || {
        proxy.status().listeners.iter().any(|listener| listener.name == "more" && listener.accepting)
    });
    Connection::open(proxy.address("more")).greeting();
    assert_eq!(proxy.spread(8).len(), 2);
    flow.exchange(b"still here");
}

/// B6: an API server that fails is asked again after waits that grow, and jittered: never in a hot loop.
#[test]
fn failing_server_is_asked_less_and_less_often() {
    let endpoint = Endpoint::greeting();
    let (api, proxy) = with_ready([&endpoint]);
    let clients = Clients::of(&proxy);
    let before = api.call_count();
    api.fail_always(Calls::about(ENDPOINT_SLICES), Fault::Refuse(500));
    api.streams(ENDPOINT_SLICES).cut();
    let is_of_slices = |call: &Call| call.target.as_ref().is_some_and(|it| it.resource == ENDPOINT_SLICES);
    until("it was asked five times", || {
        api.calls().into_iter().skip(before).filter(is_of_slices).count() >= 5
    });
    let asked: Vec<_> =
        api.calls().into_iter().skip(before).filter(is_of_slices).map(|call| call.at).collect();
    let waits: Vec<_> = asked.windows(2).map(|two| two[1] - two[0]).collect();
    // The first wait may be any; each of the others is at least half of twice the one before.
    let least = Duration::from_millis(100);
    for (number, wait) in waits.iter().enumerate().skip(1) {
        assert!(*wait >= least * (1 << number.saturating_sub(1)), "wait {number} of {waits:?}");
    }
    assert!(trouble(&proxy).is_some_and(|why| why.contains("500")), "{:?}", trouble(&proxy));
    clients.finish();
}

/// B6: an API server that asks for patience gets it, to the second.
#[test]
fn retry_after_is_waited_for() {
    let endpoint = Endpoint::greeting();
    let (api, proxy) = with_ready([&endpoint]);
    let before = api.call_count();
    api.fail(Calls::of(Verb::Watch, ENDPOINT_SLICES), 1, Fault::RefuseFor(429, 2));
    api.streams(ENDPOINT_SLICES).cut();
    let refused = api.wait_for_call_after(before, "a watch that is refused", |call| call.status == 429);
    let next = api.wait_for_call_after(before, "what comes after it", |call| call.at > refused.at);
    let waited = next.at - refused.at;
    assert!(waited >= Duration::from_secs(2), "{waited:?}");
    assert!(waited < Duration::from_secs(6), "{waited:?}");
    api.wait_for_streams(ENDPOINT_SLICES, 1);
    proxy.expect_all_on(&endpoint);
}

/// B6: a storm of every refusal there is: afterwards the watch goes on, nothing was refused meanwhile, and what
/// happened meanwhile is in force.
#[test]
fn storm_of_refusals_leaves_no_trace() {
    let endpoints = Endpoint::greeting_group(2);
    let (api, proxy) = with_ready([&endpoints[0]]);
    let clients = Clients::of(&proxy);
    let all = || Calls::about(ENDPOINT_SLICES);
    for fault in [Fault::Refuse(503), Fault::RefuseFor(429, 1), Fault::Disconnect, Fault::Refuse(500)] {
        api.fail(all(), 1, fault);
    }
    api.streams(ENDPOINT_SLICES).cut();
    put(&api, &Slice::ready("web-1", [&endpoints[1]]));
    proxy.wait_for_eligible_to_be([&endpoints[1]]);
    clients.finish();
    proxy.expect_all_on(&endpoints[1]);
}

/// B6: the token is replaced and the old one is not accepted any more: the file is read again, and the watch goes on.
#[test]
fn replaced_token_is_read_again() {
    let endpoints = Endpoint::greeting_group(2);
    let api = ApiServer::start();
    put(&api, &Slice::ready("web-1", [&endpoints[0]]));
    api.accept_tokens(&["first"]);
    let setup = following(&api);
    let token = setup.directory().join("token");
    std::fs::write(&token, "first").unwrap();
    api.write_kubeconfig_with_token(setup.directory(), &token);
    let proxy = setup.start();
    api.wait_for_streams(ENDPOINT_SLICES, 1);
    let clients = Clients::of(&proxy);

    api.accept_tokens(&["second"]);
    api.streams(ENDPOINT_SLICES).cut();
    api.wait_for_call("a refusal", |call| call.status == 401);
    until("the status says so", || trouble(&proxy).is_some_and(|why| why.contains("credentials")));
    put(&api, &Slice::ready("web-1", [&endpoints[1]]));
    std::fs::write(&token, "second").unwrap();
    proxy.wait_for_eligible_to_be([&endpoints[1]]);
    api.wait_for_call("the new token", |call| call.authorization == "Bearer second");
    clients.finish();
    assert!(!proxy.log().contains("first") && !proxy.log().contains("Bearer"), "a token is in the log");
}

/// B6: the API server has a certificate of another authority. It is not spoken to until the kubeconfig names that one;
/// then the watch goes on. Routing is as it was throughout.
#[test]
fn changed_certificate_authority_is_read_again() {
    let endpoints = Endpoint::greeting_group(2);
    let api = ApiServer::start_with_tls();
    put(&api, &Slice::ready("web-1", [&endpoints[0]]));
    let setup = following(&api);
    let directory = setup.directory().to_owned();
    let proxy = setup.start();
    api.wait_for_streams(ENDPOINT_SLICES, 1);
    let clients = Clients::of(&proxy);

    api.go_away();
    api.change_authority();
    put(&api, &Slice::ready("web-1", [&endpoints[1]]));
    let calls = api.call_count();
    api.come_back();
    until("the status says so", || trouble(&proxy).is_some_and(|why| why.contains("certificate")));
    proxy.wait_for_eligible_to_be([&endpoints[0]]);
    assert_eq!(api.call_count(), calls, "nothing was asked of a server that nobody vouches for");
    api.write_kubeconfig(&directory);
    proxy.wait_for_eligible_to_be([&endpoints[1]]);
    clients.finish();
}

/// B6: what the proxy may not do is said with the rule that is missing, and nothing else stops.
#[test]
fn forbidden_watch_is_told_with_its_remedy() {
    let endpoint = Endpoint::greeting();
    let (api, proxy) = with_ready([&endpoint]);
    api.fail_always(Calls::of(Verb::Watch, ENDPOINT_SLICES), Fault::Refuse(403));
    api.streams(ENDPOINT_SLICES).cut();
    until("the status says what is missing", || {
        trouble(&proxy).is_some_and(|why| why.contains("watch") && why.contains("endpointslices"))
    });
    proxy.expect_all_on(&endpoint);
    api.heal();
    api.wait_for_streams(ENDPOINT_SLICES, 1);
}

/// B3: a server that accepts connections and answers nothing is an outage like another.
#[test]
fn silent_server_is_an_outage() {
    let endpoints = Endpoint::greeting_group(2);
    let (api, proxy) = with_ready([&endpoints[0]]);
    let calls = api.call_count();
    api.fail(Calls::of(Verb::Watch, ENDPOINT_SLICES), 1, Fault::Silent);
    api.streams(ENDPOINT_SLICES).cut();
    api.wait_for_call_after(calls, "a watch that hears nothing", |call| {
        call.is(Verb::Watch, ENDPOINT_SLICES)
    });
    proxy.expect_all_on(&endpoints[0]);
    // The server ends what it had kept open, and is as before.
    api.go_away();
    put(&api, &Slice::ready("web-1", [&endpoints[1]]));
    api.come_back();
    proxy.wait_for_eligible_to_be([&endpoints[1]]);
    proxy.expect_all_on(&endpoints[1]);
}

/// B1, B6: a server whose every watch expires at once (as one that has just started) is listed with pauses, and no
/// list takes an endpoint away.
#[test]
fn watches_that_expire_at_once_are_no_hot_loop() {
    let endpoint = Endpoint::greeting();
    let (api, proxy) = with_ready([&endpoint]);
    let clients = Clients::of(&proxy);
    let (before, began) = (lists(&api), std::time::Instant::now());
    api.fail(Calls::of(Verb::Watch, ENDPOINT_SLICES), 4, Fault::Refuse(410));
    api.streams(ENDPOINT_SLICES).expire();
    until("it was listed five times", || lists(&api) >= before + 5);
    // 100, 100, 200, 400 and 800 ms at least lie between the lists.
    assert!(began.elapsed() >= Duration::from_millis(1000), "{:?}", began.elapsed());
    wait_for_another_list(&api, before);
    clients.finish();
}
