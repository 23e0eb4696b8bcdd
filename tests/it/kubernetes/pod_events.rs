//! Events on pods: when a drain began with flows on an instance, and what it came to.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidegate_control::clock::rfc3339;
use tidegate_tests::{
    apiserver::{ApiServer, Calls, Fault, NEW_EVENTS, Verb},
    rights::Rights,
    support::{Connection, Endpoint, Proxy, Setup, until},
};

use super::following;
use crate::{handoff::Successor, pods::slice};

/// An API server with an endpoint that is ready and one that is not.
fn control_plane() -> (ApiServer, Vec<Endpoint>) {
    let (api, endpoints) = (ApiServer::start(), Endpoint::greeting_group(2));
    api.put(&slice(&endpoints, [true, false]));
    (api, endpoints)
}

/// An instance of this name.
fn instance(api: &ApiServer, pod: &str) -> Setup {
    following(api).environment("POD_NAME", pod).environment("NODE_NAME", format!("node-of-{pod}"))
}

/// The first endpoint drains, and every one of these proxies knows.
fn drain(api: &ApiServer, endpoints: &[Endpoint], proxies: &[&Proxy]) {
    api.put(&slice(endpoints, [false, true]));
    proxies.iter().for_each(|proxy| proxy.wait_for_eligible_to_be([&endpoints[1]]));
}

fn flows(proxy: &Proxy, count: usize) -> Vec<Connection> {
    proxy.wait_for_eligible(1);
    (0..count).map(|_| proxy.connect_greeted().0).collect()
}

/// The Events with this reason, in the order in which they were written.
fn events(api: &ApiServer, reason: &str) -> Vec<Value> {
    let calls = api.calls_of(Verb::Create, NEW_EVENTS).into_iter();
    calls.map(|call| call.body).filter(|event| event["reason"] == reason).collect()
}

/// The one Event with this reason.
#[track_caller]
fn event(api: &ApiServer, reason: &str) -> Value {
    until(&format!("there is a {reason}"), || {
        api.objects(NEW_EVENTS).iter().any(|event| event["reason"] == reason)
    });
    let mut events = events(api, reason);
    assert_eq!(events.len(), 1, "{events:?}");
    events.remove(0)
}

fn note(event: &Value) -> &str {
    event["note"].as_str().expect("a note")
}

fn source(proxy: &Proxy) -> tidegate_tests::support::api::Source {
    proxy.status().source.expect("there is a source")
}

/// A drain's begin and its end are on the pod, in the name of the instance that has the flows; an instance that has none
/// says nothing.
#[test]
fn a_pod_is_told_when_its_drain_begins_and_how_it_ends() {
    let (api, endpoints) = control_plane();
    let deadline = json!({"drain": {"deadline": "600s", "quiet": "20ms"}});
    let proxy = instance(&api, "tidegate-a").web(deadline.clone()).start();
    let idle = instance(&api, "tidegate-b").web(deadline).start();
    let mut clients = flows(&proxy, 3);
    idle.wait_for_eligible(1);
    let before = rfc3339(std::time::SystemTime::now());
    drain(&api, &endpoints, &[&proxy, &idle]);
    let began = event(&api, "DrainBegan");
    let pod =
        json!({"apiVersion": "v1", "kind": "Pod", "namespace": "default", "name": "web-0", "uid": "uid-0"});
    assert_eq!(began["regarding"], pod);
    assert_eq!(began["metadata"]["namespace"], "default");
    assert_eq!((&began["type"], &began["reportingInstance"]), (&json!("Normal"), &json!("tidegate-a")));
    assert!(began["eventTime"].as_str().is_some_and(|time| time[..19] >= before[..19]), "{began}");
    let endpoint = endpoints[0].address();
    let words = [
        format!(
            "Service default/web:http, endpoint {endpoint}: no new flows through node node-of-tidegate-a, "
        ),
        "3 flows go on to their end. Why: slice default/web-1 says terminating. Deadline: ".to_owned(),
    ];
    assert!(words.iter().all(|words| note(&began).contains(words)), "{began}");

    clients.remove(0).finish();
    clients.clear();
    let ended = event(&api, "DrainEnded");
    assert_eq!(ended["regarding"], pod);
    assert_eq!((&ended["type"], &ended["reportingInstance"]), (&json!("Normal"), &json!("tidegate-a")));
    let words = [
        "no flow is left through node node-of-tidegate-a after ",
        "3 flows at its beginning; ended: 3 by the client, 0 by the endpoint, 0 shed, 0 cut, 0 broken. Deadline: ",
    ];
    assert!(words.iter().all(|words| note(&ended).contains(words)), "{ended}");
    assert!(ended["eventTime"].as_str() > began["eventTime"].as_str(), "{ended}");
    until("the instance knows", || source(&proxy).pod_events.expect("they are written").written == 2);
    assert_eq!(proxy.metrics().sum("tidegate_pod_events_total", &[("result", "written")]), 2);
    let shown = proxy.command(&["status"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("events on pods: 2 written, 0 dropped\n"), "{shown}");

    // The other one knows of both as well, and wrote neither.
    idle.wait_for_log("drained: no flows left");
    assert_eq!(source(&idle).pod_events.expect("they would be written").written, 0);
    assert_eq!(api.objects(NEW_EVENTS).len(), 2);
    let missing = Rights::of_the_deployment().missing(&api.calls());
    assert!(missing.is_empty(), "deploy/kubernetes/rbac.yaml does not grant:\n{missing:#?}");
}

/// Flows that were cut are a warning.
#[test]
fn a_drain_that_cut_flows_is_a_warning() {
    let (api, endpoints) = control_plane();
    let drain_by = json!({"drain": {"deadline": "600ms", "window": "100ms", "quiet": "1h"}});
    let proxy = instance(&api, "tidegate-a").web(drain_by).start();
    let clients = flows(&proxy, 2);
    drain(&api, &endpoints, &[&proxy]);
    let ended = event(&api, "DrainEnded");
    assert_eq!(ended["type"], "Warning");
    assert!(note(&ended).contains("0 shed, 2 cut, 0 broken"), "{ended}");
    drop(clients);
}

/// A drain that is taken back, with what stays.
#[test]
fn a_drain_that_is_undone_is_told_of() {
    let (api, endpoints) = control_plane();
    let proxy = instance(&api, "tidegate-a").start();
    let mut clients = flows(&proxy, 2);
    drain(&api, &endpoints, &[&proxy]);
    event(&api, "DrainBegan");
    clients.pop();
    until("one is left", || proxy.endpoint(&endpoints[0]).is_some_and(|endpoint| endpoint.flows == 1));
    api.put(&slice(&endpoints, [true, false]));
    let undone = event(&api, "DrainUndone");
    assert!(
        note(&undone).contains("seconds, 1 flow stays. 2 flows at its beginning; ended: 1 by the client"),
        "{undone}"
    );
    assert!(events(&api, "DrainEnded").is_empty());
}

/// Without the right to write Events everything else goes on, and the remedy is said once.
#[test]
fn a_right_that_is_missing_is_said_with_its_remedy() {
    let (api, endpoints) = control_plane();
    api.fail_always(Calls::about(NEW_EVENTS), Fault::Refuse(403));
    let proxy = instance(&api, "tidegate-a").start();
    let clients = flows(&proxy, 1);
    drain(&api, &endpoints, &[&proxy]);
    let trouble = || source(&proxy).pod_events.expect("they would be written").trouble;
    until("it is said", || trouble().is_some());
    let words = "give the verb `create` on `events` of events.k8s.io by RBAC";
    assert!(trouble().is_some_and(|why| why.contains(words) && why.contains("podEvents: false")));
    proxy.expect_all_on(&endpoints[1]);
    drop(clients);
    until("the second one is dropped as well", || {
        proxy.metrics().sum("tidegate_pod_events_total", &[("result", "dropped")]) == 2
    });
    assert_eq!(proxy.log().matches("an Event on a pod was not written").count(), 1, "{}", proxy.log());
    api.heal();
    let clients = {
        api.put(&slice(&endpoints, [true, false]));
        proxy.wait_for_eligible_to_be([&endpoints[0]]);
        flows(&proxy, 1)
    };
    drain(&api, &endpoints, &[&proxy]);
    until("it is written as soon as it may", || trouble().is_none());
    drop(clients);
}

/// An API server that takes no Event and gives no answer holds nobody up: not the table, and not the end of the process.
#[test]
fn a_server_that_says_nothing_is_waited_for_by_nobody() {
    let (api, endpoints) = control_plane();
    api.fail_always(Calls::about(NEW_EVENTS), Fault::Silent);
    let proxy = instance(&api, "tidegate-a").start();
    for ready in [false, true, false] {
        let clients = flows(&proxy, 1);
        api.put(&slice(&endpoints, [ready, !ready]));
        proxy.wait_for_eligible_to_be([&endpoints[usize::from(!ready)]]);
        drop(clients);
    }
    api.wait_for_call("one is tried", |call| call.is(Verb::Create, NEW_EVENTS));
    proxy.expect_all_on(&endpoints[1]);
    proxy.terminate();
    assert!(proxy.wait_for_end().status.success());
}

/// Turned off, or outside of a pod, nothing is written.
#[test]
fn nothing_is_written_where_it_is_not_wanted() {
    let (api, endpoints) = control_plane();
    let setup = instance(&api, "tidegate-a");
    let kubeconfig = api.write_kubeconfig(setup.directory());
    let off = json!({"kubernetes": {"kubeconfig": kubeconfig, "podEvents": false}});
    let off = setup.config(|config| config.set("source", off)).start();
    let outside = following(&api).start();
    let proxies = [&off, &outside];
    let clients: Vec<_> = proxies.iter().flat_map(|proxy| flows(proxy, 1)).collect();
    drain(&api, &endpoints, &proxies);
    drop(clients);
    for proxy in proxies {
        proxy.wait_for_log("drained: no flows left");
        assert_eq!(source(proxy).pod_events, None);
        proxy.terminate();
        assert!(proxy.wait_for_end().status.success());
    }
    assert_eq!(api.calls_of(Verb::Create, NEW_EVENTS).len(), 0);
}

/// A successor says what the drain came to, with what the predecessor knew of it, and not once more that it began.
#[test]
fn a_drain_that_goes_on_in_a_successor_is_told_of_once() {
    let (api, endpoints) = control_plane();
    let setup = instance(&api, "tidegate-old");
    let handoff = json!({"socket": "../handoff.sock"});
    let proxy = setup.config(|config| config.set("handoff", handoff)).start();
    let mut clients = flows(&proxy, 3);
    drain(&api, &endpoints, &[&proxy]);
    event(&api, "DrainBegan");
    clients.pop();
    until("two are left", || proxy.endpoint(&endpoints[0]).is_some_and(|endpoint| endpoint.flows == 2));
    let own = [("POD_NAME", "tidegate-new"), ("NODE_NAME", "node-of-tidegate-new")];
    let mut successor = Successor::start(&proxy, &own);
    successor.wait_until_it_has_taken_over();
    assert!(proxy.wait_for_end().status.success());
    for client in &mut clients {
        client.exchange(b"still here");
    }
    drop(clients);
    let ended = event(&api, "DrainEnded");
    assert_eq!(ended["reportingInstance"], "tidegate-new");
    assert!(note(&ended).contains("3 flows at its beginning; ended: 3 by the client"), "{ended}");
    assert_eq!(events(&api, "DrainBegan").len(), 1);
}

/// The last flow's end is the end of a process that was told to end: the Event is written first.
#[test]
fn the_last_event_is_written_before_the_process_ends() {
    let (api, endpoints) = control_plane();
    let patience = json!({"delay": "0s", "grace": "600s"});
    let proxy = instance(&api, "tidegate-a").config(|config| config.set("shutdown", patience)).start();
    let clients = flows(&proxy, 2);
    drain(&api, &endpoints, &[&proxy]);
    event(&api, "DrainBegan");
    // A server that takes its time is waited for.
    let slow = Duration::from_secs(1);
    api.fail_always(Calls::about(NEW_EVENTS), Fault::Late(slow));
    proxy.terminate();
    proxy.wait_for_log("shutting down");
    let began = Instant::now();
    drop(clients);
    proxy.wait_for_end();
    assert!(began.elapsed() >= slow, "it ended after {:?}", began.elapsed());
    let ended = events(&api, "DrainEnded");
    assert!(ended.first().is_some_and(|ended| note(ended).contains("ended: 2 by the client")), "{ended:?}");
}
