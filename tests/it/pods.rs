//! `drain.deadline: pod`: the API server says when a pod is killed, and its endpoint's flows are gone by then.

use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use tidegate_control::clock::rfc3339;
use tidegate_tests::{
    apiserver::{ApiServer, Calls, Fault, PODS, SERVICES, Verb},
    rights::Rights,
    support::{Connection, Endpoint, Gate, Proxy, Slice, api, until, unused_address},
};

use crate::setup;

/// An API server with two pods, a proxy that follows it, and flows on the first pod.
struct Cluster {
    api: ApiServer,
    endpoints: Vec<Endpoint>,
    proxy: Proxy,
    gate: Gate,
    flows: Vec<Connection>,
}

impl Cluster {
    /// With this drain block for the service.
    fn new(drain: &Value, flows: usize) -> Self {
        Self::with(ApiServer::start(), &json!({ "drain": drain }), flows)
    }

    fn with(api: ApiServer, settings: &Value, flows: usize) -> Self {
        let endpoints = Endpoint::greeting_group(2);
        for number in 0..2 {
            put_pod(&api, number, &format!("uid-{number}"), None);
        }
        let setup = setup().web(settings.clone());
        let kubeconfig = api.write_kubeconfig(setup.directory());
        let gate = unused_address();
        let cluster = setup.config(|config| {
            config.set("source", json!({"kubernetes": {"kubeconfig": kubeconfig}}));
            config.set("gate", json!({"address": gate.to_string()}));
        });
        api.put(&slice(&endpoints, [true, false]));
        let proxy = cluster.start();
        proxy.wait_for_eligible(1);
        let flows = (0..flows).map(|_| proxy.connect_greeted().0).collect();
        Self { api, endpoints, proxy, gate: Gate(gate), flows }
    }

    /// The first pod is deleted, to be killed in so many seconds; the second one takes over.
    fn delete(&self, seconds: i64) -> Instant {
        self.delete_at(&time(seconds))
    }

    fn delete_at(&self, killed: &str) -> Instant {
        let began = Instant::now();
        put_pod(&self.api, 0, "uid-0", Some(killed));
        self.terminate();
        began
    }

    /// The slice says that the first pod terminates.
    fn terminate(&self) {
        self.api.put(&slice(&self.endpoints, [false, true]));
    }

    /// The slice, with a node for each pod.
    fn on_nodes(&self, ready: [bool; 2]) -> Value {
        let mut slice = slice(&self.endpoints, ready);
        slice["endpoints"][0]["nodeName"] = json!("node-1");
        slice["endpoints"][1]["nodeName"] = json!("node-2");
        slice
    }

    /// Both pods are ready, and the first one's node goes away.
    fn take_the_first_ones_node(&self) -> Instant {
        self.api.put(&self.on_nodes([true, true]));
        self.proxy.wait_for_eligible(2);
        let taint = json!([{"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}]);
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}, "spec": {"taints": taint}});
        let began = Instant::now();
        self.api.put(&node);
        until("it drains", || self.drain().is_some_and(|drain| drain.why == "node node-1 is leaving"));
        began
    }

    fn drain(&self) -> Option<api::Drain> {
        self.proxy.endpoint(&self.endpoints[0])?.drain
    }

    /// The deadline of the first pod's drain.
    fn deadline(&self) -> Option<String> {
        self.drain()?.deadline
    }

    #[track_caller]
    fn wait_for_deadline(&self) -> String {
        until("there is a deadline", || self.deadline().is_some());
        self.deadline().expect("it stays")
    }

    #[track_caller]
    fn wait_until_shed(&self, count: u64) {
        until("they are shed", || self.proxy.terminated("shed", "data") == count);
        assert_eq!(self.proxy.terminated("cut", "data"), 0);
    }

    /// Everybody is still served, and nobody was told to go.
    #[track_caller]
    fn expect_all_served(&mut self) {
        for flow in &mut self.flows {
            flow.exchange(b"still here");
        }
        assert_eq!(self.proxy.terminated("shed", "data") + self.proxy.terminated("cut", "data"), 0);
    }

    /// What is wrong with the pods.
    fn trouble(&self) -> Option<String> {
        let watches = self.proxy.status().source.expect("there is a source").watches;
        watches.into_iter().find(|watch| watch.resource == "pods")?.trouble
    }

    fn reads(&self) -> usize {
        self.api.calls_of(Verb::Get, PODS).len()
    }
}

/// A time so many seconds from now, in whole seconds, as the API server writes one.
fn time(seconds: i64) -> String {
    let span = Duration::from_secs(seconds.unsigned_abs());
    let at = if seconds < 0 { SystemTime::now() - span } else { SystemTime::now() + span };
    format!("{}Z", &rfc3339(at)[..19])
}

fn put_pod(api: &ApiServer, number: usize, uid: &str, killed: Option<&str>) {
    let mut metadata = json!({"name": format!("web-{number}"), "namespace": "default", "uid": uid});
    if let Some(killed) = killed {
        metadata["deletionTimestamp"] = json!(killed);
    }
    let spec = json!({"containers": [{"name": "web", "env": [{"name": "SECRET", "value": "x"}]}]});
    api.put(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}));
}

/// Both pods: each is ready, or not; the first one terminates where it is not.
pub(crate) fn slice(endpoints: &[Endpoint], ready: [bool; 2]) -> Value {
    let [first, second] = [0, 1].map(|number: usize| {
        endpoints[number].in_slice().pod(&format!("web-{number}"), &format!("uid-{number}"))
    });
    let first = if ready[0] { first.ready() } else { first.terminating() };
    let second = if ready[1] { second.ready() } else { second.not_ready() };
    Slice::named("web-1").with_port(endpoints[0].address().port()).with(first).with(second).json()
}

/// D2: flows are shed within the window, all of them before the pod is killed, and nobody is read but that pod.
#[test]
fn idle_flows_are_gone_before_their_pod_is_killed() {
    let mut cluster = Cluster::new(&json!({"deadline": "pod", "window": "1500ms", "quiet": "50ms"}), 20);
    assert_eq!(cluster.reads(), 0, "nobody terminates");
    let began = cluster.delete(6);
    for flow in &mut cluster.flows {
        flow.expect_end();
    }
    // Whole seconds: the pod is killed five to six seconds from then, and two before that its flows are gone.
    let took = began.elapsed();
    assert!(took > Duration::from_millis(1_500), "{took:?}");
    assert!(took < Duration::from_millis(4_300), "{took:?}");
    cluster.wait_until_shed(20);
    let calls = cluster.api.calls();
    let of_pods = calls.iter().filter(|call| call.is(Verb::Get, PODS) || call.is(Verb::Watch, PODS));
    for call in of_pods {
        let is_of_the_pod =
            call.name() == "web-0" || call.parameter("fieldSelector") == "metadata.name=web-0";
        assert!(is_of_the_pod, "{call:?}");
    }
    assert_eq!(cluster.api.calls_of(Verb::List, PODS).len(), 0);
    // The base's rules have nothing for that; the one that is added where it is wanted does.
    let missing: Vec<_> = Rights::of_the_deployment().missing(&calls).into_iter().collect();
    assert_eq!(missing, ["get pods of \"\" in default", "watch pods of \"\" in default"]);
    assert_eq!(Rights::with_pod_deadlines().missing(&calls).len(), 0);
    // It does not matter any more, and nobody watches it.
    cluster.flows.clear();
    cluster.api.wait_for_streams(PODS, 0);
}

/// A18: a second delete with less grace moves the deadline to an earlier time; nothing moves it to a later one.
#[test]
fn a_deadline_only_moves_earlier() {
    let mut cluster = Cluster::new(&json!({"deadline": "pod", "quiet": "50ms"}), 5);
    cluster.delete(600);
    let first = cluster.wait_for_deadline();
    cluster.api.wait_for_streams(PODS, 1);
    put_pod(&cluster.api, 0, "uid-0", Some(&time(3_600)));
    put_pod(&cluster.api, 0, "uid-0", Some(&time(300)));
    until("the deadline is earlier", || cluster.deadline().is_some_and(|deadline| deadline < first));
    cluster.expect_all_served();
    put_pod(&cluster.api, 0, "uid-0", Some(&time(4)));
    for flow in &mut cluster.flows {
        flow.expect_end();
    }
    cluster.wait_until_shed(5);
}

/// A pod that is not there any more has no deadline, nor has one whose name another pod bears.
#[test]
fn a_pod_that_is_gone_or_another_one_gives_no_deadline() {
    for uid in [None, Some("uid-of-another")] {
        let mut cluster = Cluster::new(&json!({"deadline": "pod", "quiet": "20ms"}), 2);
        match uid {
            None => cluster.api.remove(PODS, "default", "web-0"),
            Some(uid) => put_pod(&cluster.api, 0, uid, Some(&time(1))),
        }
        cluster.terminate();
        until("it is read", || cluster.reads() == 1);
        cluster.api.wait_for_streams(PODS, 0);
        assert_eq!(cluster.deadline(), None);
        cluster.expect_all_served();
        assert_eq!(cluster.trouble(), None);
        assert_eq!(cluster.reads(), 1, "it is not asked for again");
    }
}

/// The pod goes while its flows have a deadline: that stays.
#[test]
fn a_deadline_outlives_its_pod() {
    let mut cluster = Cluster::new(&json!({"deadline": "pod", "window": "1s", "quiet": "20ms"}), 3);
    cluster.delete(6);
    let deadline = cluster.wait_for_deadline();
    cluster.api.wait_for_streams(PODS, 1);
    cluster.api.remove(PODS, "default", "web-0");
    cluster.api.wait_for_streams(PODS, 0);
    // Another pod of its name: none of this endpoint's business.
    put_pod(&cluster.api, 0, "uid-9", Some(&time(1)));
    assert_eq!(cluster.deadline(), Some(deadline));
    for flow in &mut cluster.flows {
        flow.expect_end();
    }
    cluster.wait_until_shed(3);
}

/// D6: a gate whose caller names no end goes by the pod's deadline, and else by whichever is earlier.
#[test]
fn a_gate_goes_by_the_pods_deadline() {
    let cluster = Cluster::new(&json!({"deadline": "pod"}), 1);
    let ends_after = |limit: Option<u64>| {
        let mut gated = cluster.gate.follow_for("uid-0", limit.map(Duration::from_secs));
        gated.until(|it| it.ends_after_ms > 0).ends_after_ms
    };
    assert_eq!(ends_after(None) / 1_000, 24, "nothing is known: 25 s from when it was asked");
    cluster.delete(300);
    cluster.wait_for_deadline();
    let ends = [ends_after(None), ends_after(Some(5))];
    assert!((200_000..298_000).contains(&ends[0]) && (4_000..=5_000).contains(&ends[1]), "{ends:?}");
}

/// Without the right to read pods there is no deadline, the remedy is said, and everything else goes on.
#[test]
fn a_right_that_is_missing_is_said_and_costs_nothing_else() {
    let mut cluster = Cluster::new(&json!({"deadline": "pod", "quiet": "20ms"}), 3);
    cluster.api.fail_always(Calls::about(PODS), Fault::Refuse(403));
    cluster.delete(600);
    until("it is said", || cluster.trouble().is_some());
    let trouble = cluster.trouble().expect("it stays");
    assert!(trouble.contains("needs `get` and `watch` on pods"), "{trouble}");
    cluster.proxy.wait_for_log("`drain.deadline: pod` needs `get` and `watch` on pods");
    until("it is tried again", || cluster.api.calls_of(Verb::Watch, PODS).len() > 3);
    assert_eq!(cluster.proxy.log().matches("pods' deadlines: ").count(), 1, "{}", cluster.proxy.log());
    cluster.expect_all_served();
    assert_eq!(cluster.deadline(), None);
    cluster.proxy.expect_all_on(&cluster.endpoints[1]);
    assert_eq!(cluster.proxy.status().source.expect("there is one").slices, 1);
    cluster.api.heal();
    cluster.wait_for_deadline();
    until("all is well", || cluster.trouble().is_none());
}

/// Where no service asks for it, no pod is ever read.
#[test]
fn nobody_reads_pods_who_does_not_ask() {
    let mut cluster = Cluster::new(&json!({"deadline": "1500ms", "quiet": "20ms"}), 3);
    cluster.delete(600);
    for flow in &mut cluster.flows {
        flow.expect_end();
    }
    cluster.wait_until_shed(3);
    assert!(cluster.api.calls().iter().all(|call| !call.path.contains("/pods")));
}

/// A deadline that is over when it becomes known: a FIN for those who are quiet, and not a reset.
#[test]
fn a_deadline_in_the_past_leaves_a_moment_for_a_fin() {
    let mut cluster = Cluster::new(&json!({"deadline": "pod", "quiet": "20ms"}), 10);
    let began = cluster.delete(-3_600);
    for flow in &mut cluster.flows {
        flow.expect_end();
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    cluster.wait_until_shed(10);
}

/// A time that is none, and one that nobody lives to see.
#[test]
fn absurd_times_do_no_harm() {
    let mut cluster = Cluster::new(&json!({"deadline": "pod", "quiet": "20ms"}), 2);
    cluster.delete_at("tomorrow, perhaps");
    let counts = || cluster.proxy.metrics().sum("tidegate_watch_unreadable_total", &[("resource", "pods")]);
    until("it is counted", || counts() > 0);
    assert_eq!(cluster.deadline(), None);
    put_pod(&cluster.api, 0, "uid-0", Some("9000-01-01T00:00:00Z"));
    cluster.wait_for_deadline();
    cluster.expect_all_served();
}

/// A window that is longer than the time left is all of the time left: sheds begin at once, and are spread.
#[test]
fn a_window_longer_than_the_time_left_begins_at_once() {
    let mut cluster = Cluster::new(&json!({"deadline": "pod", "window": "1h", "quiet": "20ms"}), 30);
    let began = cluster.delete(6);
    let ends: Vec<Duration> = {
        let flows = std::mem::take(&mut cluster.flows);
        let ends = flows.into_iter().map(|mut flow| {
            std::thread::spawn(move || {
                flow.expect_end();
                Instant::now()
            })
        });
        let ends: Vec<_> = ends.collect();
        ends.into_iter().map(|end| end.join().expect("it ended by a FIN") - began).collect()
    };
    let (first, last) = (ends.iter().min().expect("some"), ends.iter().max().expect("some"));
    assert!(*first < Duration::from_millis(1_500), "{first:?}");
    assert!(*last - *first > Duration::from_millis(1_500), "spread: {ends:?}");
    assert!(*last < Duration::from_millis(4_300), "{last:?}");
    cluster.wait_until_shed(30);
}

/// A Service says it of itself; a word in the file comes before that.
#[test]
fn an_annotation_asks_for_it() {
    let service = |deadline: &str| {
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {
                "name": "web", "namespace": "default",
                "annotations": {"tidegate.io/drain.deadline": deadline, "tidegate.io/drain.quiet": "20ms"},
            },
            "spec": {"type": "ClusterIP", "ports": [{"name": "http", "protocol": "TCP", "port": 80}]},
        })
    };
    let api = ApiServer::start();
    api.put(&service("pod"));
    let mut cluster = Cluster::with(api, &json!({"drain": {"margin": "1s"}}), 3);
    cluster.delete(600);
    cluster.wait_for_deadline();
    cluster.expect_all_served();
    cluster.api.put(&service("1500ms"));
    for flow in &mut cluster.flows {
        flow.expect_end();
    }
    cluster.wait_until_shed(3);
    cluster.api.put(&service("soon"));
    cluster
        .proxy
        .wait_for_log("annotation tidegate.io/drain.deadline is ignored: `soon` is not a drain's deadline");
    assert_eq!(cluster.api.calls_of(Verb::Patch, SERVICES).len(), 0);
}

/// Before a pod terminates nobody knows when it will be killed, and a plan says so; afterwards it goes by that.
#[test]
fn a_plan_knows_when_a_pod_is_killed_once_it_terminates() {
    let cluster = Cluster::new(&json!({"deadline": "pod", "margin": "1s"}), 4);
    let address = cluster.endpoints[0].address().to_string();
    let plan = |more: &[&str]| {
        let arguments = [&["plan", "drain", "default/web", &address], more].concat();
        String::from_utf8(cluster.proxy.command(&arguments).stdout).expect("text")
    };
    let planned = || -> api::ServicePlan {
        let mut plan: api::Plan = serde_json::from_str(&plan(&["-o", "json"])).expect("a plan");
        plan.services.remove(0)
    };
    let before = planned();
    assert_eq!((before.deadline_seconds, &*before.deadline_by), (None, "pod"));
    let text = plan(&[]);
    assert!(text.contains("4 flows would have to move before their pods are killed"), "{text}");
    assert!(text.contains("drain.deadline: pod") && text.contains("--deadline"), "{text}");
    let text = plan(&["--deadline", "90s"]);
    assert!(text.contains("4 flows would have to move within 90s, "), "{text}");
    cluster.delete(600);
    let deadline = cluster.wait_for_deadline();
    let after = planned();
    let left = after.deadline_seconds.expect("it is known");
    assert!((500.0..600.0).contains(&left) && after.will_be_cut.is_some(), "{after:?}");
    assert_eq!((&*after.deadline_by, &after.endpoints[0].deadline), ("pod", &Some(deadline)));
}

/// An API server whose clock is an hour behind: its times are counted by its clock, and the difference is said.
#[test]
fn a_clock_that_differs_is_said_and_does_not_matter() {
    let api = ApiServer::start();
    api.set_clock_behind(3_600);
    let mut cluster =
        Cluster::with(api, &json!({"drain": {"deadline": "pod", "window": "1s", "quiet": "20ms"}}), 5);
    cluster.proxy.wait_for_log("this machine's clock is ahead of the API server's");
    let skew = cluster.proxy.metrics().total("tidegate_clock_skew_seconds");
    assert!((3_590..=3_600).contains(&skew), "{skew}");
    let began = cluster.delete(8 - 3_600);
    for flow in &mut cluster.flows {
        flow.expect_end();
    }
    let took = began.elapsed();
    assert!(took > Duration::from_secs(2) && took < Duration::from_millis(6_300), "{took:?}");
    cluster.wait_until_shed(5);
}

/// A25: a node that goes away takes its endpoints out of service before their slices say so, and their drains have the
/// deadline that the service gives; the endpoint that vanishes after that keeps it.
#[test]
fn a_node_that_goes_away_drains_with_a_deadline() {
    let mut cluster = Cluster::new(&json!({"deadline": "3s", "window": "1s", "quiet": "20ms"}), 4);
    let began = cluster.take_the_first_ones_node();
    cluster.wait_for_deadline();
    let mut rest = cluster.on_nodes([true, true]);
    rest["endpoints"].as_array_mut().expect("a list").remove(0);
    cluster.api.put(&rest);
    for flow in &mut cluster.flows {
        flow.expect_end();
    }
    let took = began.elapsed();
    assert!(took > Duration::from_secs(2) && took < Duration::from_millis(3_300), "{took:?}");
    cluster.wait_until_shed(4);
}

/// A25: on a node that goes away a pod has no deadline of its own before it is deleted, and nobody reads it; from then on
/// it has, and is followed.
#[test]
fn a_pod_of_a_node_that_goes_away_is_followed_once_it_is_deleted() {
    let mut cluster = Cluster::new(&json!({"deadline": "pod", "window": "1s", "quiet": "20ms"}), 4);
    cluster.take_the_first_ones_node();
    cluster.proxy.expect_all_on(&cluster.endpoints[1]);
    assert_eq!((cluster.reads(), cluster.deadline()), (0, None));
    put_pod(&cluster.api, 0, "uid-0", Some(&time(600)));
    cluster.api.put(&cluster.on_nodes([false, true]));
    let first = cluster.wait_for_deadline();
    cluster.api.wait_for_streams(PODS, 1);
    cluster.expect_all_served();
    put_pod(&cluster.api, 0, "uid-0", Some(&time(5)));
    until("the deadline is earlier", || cluster.deadline().is_some_and(|deadline| deadline < first));
    for flow in &mut cluster.flows {
        flow.expect_end();
    }
    cluster.wait_until_shed(4);
}
