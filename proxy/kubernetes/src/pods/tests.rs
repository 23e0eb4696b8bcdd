use std::time::Duration;

use k8s_openapi::jiff;
use serde_json::{Value, json};

use super::*;
use crate::{
    Options,
    rig::{Exchange, Rig, line, pace},
    status::{WatchReport, WatchState},
};

/// A server, a source that follows it, and what the table asks of it.
struct Pods {
    rig: Rig,
    wanted: watch::Sender<Arc<[PodRef]>>,
    origin: Instant,
}

fn pod(uid: &str) -> PodRef {
    PodRef { name: "default/web-0".into(), uid: uid.into() }
}

impl Pods {
    async fn wanting(pods: &[PodRef]) -> Self {
        Self::at_pace(pods, pace()).await
    }

    async fn at_pace(pods: &[PodRef], pace: Pace) -> Self {
        let (wanted, receiver) = watch::channel(pods.into());
        // A while back, so that times in the past are times too.
        let origin =
            Instant::now().checked_sub(Duration::from_secs(60)).expect("this machine runs longer than that");
        let options = Options { pods: Some(Interest { pods: receiver, origin }), ..Options::default() };
        Self { rig: Rig::start_with(options, pace, &["pods"]).await, wanted, origin }
    }

    /// The next request, which has to be the beginning of a watch by name, of metadata.
    async fn watch(&self) -> Exchange {
        let exchange = self.rig.next().await;
        for part in ["/namespaces/default/pods?", "watch=true", "metadata.name%3Dweb-0", "resourceVersion=0"]
        {
            assert!(exchange.target.contains(part), "{part}: {}", exchange.target);
        }
        assert!(exchange.head.contains("as=PartialObjectMetadata"), "{}", exchange.head);
        exchange
    }

    /// The next request, which has to read the pod's metadata.
    async fn read(&self) -> Exchange {
        let exchange = self.rig.next().await;
        assert_eq!(exchange.target, "/api/v1/namespaces/default/pods/web-0");
        assert!(exchange.head.contains("as=PartialObjectMetadata"), "{}", exchange.head);
        exchange
    }

    /// A watch, and an answer to the read that follows it.
    async fn begin(&self, object: &Value) -> Exchange {
        let stream = self.watch().await.stream().await;
        self.read().await.answer("200 OK", "", &object.to_string()).await;
        stream
    }

    /// The next event about a pod.
    async fn event(&mut self) -> Event {
        loop {
            match self.rig.event().await {
                Event::SlicesListed(_) => {}
                event => return event,
            }
        }
    }

    /// How many seconds from now a pod is killed, as the next event says.
    async fn killed_in(&mut self) -> f64 {
        match self.event().await {
            Event::PodDeadline { namespace, uid, killed } => {
                assert_eq!((&*namespace, &*uid), ("default", "a"));
                killed.as_nanos() as f64 / 1e9 - self.origin.elapsed().as_secs_f64()
            }
            other => panic!("no deadline: {other:?}"),
        }
    }

    async fn gone(&mut self) -> String {
        match self.event().await {
            Event::PodGone { uid } => uid.to_string(),
            other => panic!("it is not gone: {other:?}"),
        }
    }

    fn report(&self) -> WatchReport {
        let report = self.rig.follower.status().report();
        report.watches.into_iter().find(|watch| watch.resource == "pods").expect("pods are followed")
    }
}

fn time(seconds: i64) -> String {
    let at = jiff::Timestamp::now().as_second() + seconds;
    jiff::Timestamp::from_second(at).expect("a time").to_string()
}

fn killed_at(uid: &str, time: &str) -> Value {
    json!({"kind": "PartialObjectMetadata", "metadata": {
        "name": "web-0", "namespace": "default", "uid": uid, "resourceVersion": "7", "deletionTimestamp": time,
    }})
}

fn killed_in(uid: &str, seconds: i64) -> Value {
    killed_at(uid, &time(seconds))
}

async fn say(stream: &mut Exchange, kind: &str, object: &Value) {
    stream.chunk(&format!("{}\n", line(kind, &object.to_string()))).await;
}

/// A time in whole seconds, which may be read up to a second later than it was meant.
fn assert_about(found: f64, meant: f64) {
    assert!(found <= meant && found > meant - 2.5, "{found} where {meant} was meant");
}

/// A18: it follows the pod, to earlier times alone, until the pod is gone.
#[tokio::test]
async fn a_pods_deadline_is_read_and_followed() {
    let mut pods = Pods::wanting(&[pod("a")]).await;
    let mut stream = pods.begin(&killed_in("a", 300)).await;
    assert_about(pods.killed_in().await, 300.0);
    say(&mut stream, "ADDED", &killed_in("a", 300)).await;
    say(&mut stream, "MODIFIED", &killed_in("a", 600)).await;
    let contact = pods.report().last_contact;
    say(&mut stream, "BOOKMARK", &json!({"metadata": {"resourceVersion": "9"}})).await;
    say(&mut stream, "MODIFIED", &killed_in("a", 30)).await;
    assert_about(pods.killed_in().await, 30.0);
    assert_eq!(pods.report().state, WatchState::Following);
    assert_eq!(pods.report().bookmarks_total, 1);
    assert!(pods.report().last_contact > contact, "it was heard from");
    say(&mut stream, "DELETED", &killed_in("a", 30)).await;
    assert_eq!(pods.gone().await, "a");
    pods.rig.nothing_told();
}

/// A pod that is not terminating has no deadline yet; its watch tells when it has.
#[tokio::test]
async fn a_pod_that_is_not_terminating_yet_is_waited_for() {
    let mut pods = Pods::wanting(&[pod("a")]).await;
    let mut stream =
        pods.begin(&json!({"metadata": {"name": "web-0", "uid": "a", "deletionTimestamp": null}})).await;
    say(&mut stream, "MODIFIED", &killed_in("a", 30)).await;
    assert_about(pods.killed_in().await, 30.0);
}

#[tokio::test]
async fn a_pod_that_is_not_there_is_gone() {
    let mut pods = Pods::wanting(&[pod("a")]).await;
    let _stream = pods.watch().await.stream().await;
    pods.read().await.refuse(404, "pods \"web-0\" not found").await;
    assert_eq!(pods.gone().await, "a");
}

/// Another pod of its name: what is said of that one is never taken for this one's.
#[tokio::test]
async fn a_pod_whose_name_is_another_ones_is_gone() {
    let mut pods = Pods::wanting(&[pod("a")]).await;
    let _stream = pods.begin(&killed_in("b", 5)).await;
    assert_eq!(pods.gone().await, "a");
    pods.rig.nothing_told();
}

/// A watch may be from a replica that is behind, or ahead: whose name it is, the read decides.
#[tokio::test]
async fn another_uid_on_the_watch_is_looked_into() {
    let mut pods = Pods::wanting(&[pod("a")]).await;
    let mut stream = pods.begin(&killed_in("a", 300)).await;
    assert_about(pods.killed_in().await, 300.0);
    say(&mut stream, "DELETED", &killed_in("z", 1)).await;
    say(&mut stream, "ADDED", &killed_in("b", 1)).await;
    let _stream = pods.begin(&killed_in("a", 30)).await;
    assert_about(pods.killed_in().await, 30.0);
}

/// A watch that ends is begun anew, and what was missed is read.
#[tokio::test]
async fn a_watch_that_ends_is_begun_anew() {
    let mut pods = Pods::wanting(&[pod("a")]).await;
    pods.begin(&killed_in("a", 300)).await.finish().await;
    assert_about(pods.killed_in().await, 300.0);
    let mut stream = pods.begin(&killed_in("a", 200)).await;
    assert_about(pods.killed_in().await, 200.0);
    stream.expired().await;
    let _stream = pods.begin(&killed_in("a", 100)).await;
    assert_about(pods.killed_in().await, 100.0);
    assert_eq!(pods.report().errors[ErrorCause::Expired as usize], 1);
}

/// Without the right to watch, what may be read is read; the remedy is said.
#[tokio::test]
async fn a_right_that_is_missing_is_said_with_its_remedy() {
    let mut pods = Pods::wanting(&[pod("a")]).await;
    pods.watch().await.refuse(403, "pods is forbidden").await;
    pods.read().await.answer("200 OK", "", &killed_in("a", 30).to_string()).await;
    assert_about(pods.killed_in().await, 30.0);
    let again = pods.watch().await;
    let WatchState::Failing(why) = pods.report().state else { panic!("it fails") };
    for part in
        ["may not watch pods", "`drain.deadline: pod` needs `get` and `watch` on pods", "deploy/README.md"]
    {
        assert!(why.contains(part), "{why}");
    }
    let stream = again.stream().await;
    pods.read().await.refuse(403, "pods \"web-0\" is forbidden").await;
    let last = pods.watch().await;
    let WatchState::Failing(why) = pods.report().state else { panic!("it fails") };
    assert!(why.contains("may not get pods"), "{why}");
    assert_eq!(pods.report().errors[ErrorCause::Forbidden as usize], 2);
    drop(stream);
    // With the right it is followed, and nothing is said to be wrong.
    let _stream = last.stream().await;
    pods.read().await.answer("200 OK", "", &killed_in("a", 20).to_string()).await;
    assert_about(pods.killed_in().await, 20.0);
    let following = async {
        while pods.report().state != WatchState::Following {
            tokio::task::yield_now().await;
        }
    };
    crate::rig::within(following).await;
}

/// A pod is looked for in its own namespace, and told of as there.
#[tokio::test]
async fn a_pod_is_followed_in_its_namespace() {
    let mut pods = Pods::wanting(&[PodRef { name: "prod/web-0".into(), uid: "a".into() }]).await;
    let watch = pods.rig.next().await;
    assert!(watch.target.starts_with("/api/v1/namespaces/prod/pods?"), "{}", watch.target);
    let _stream = watch.stream().await;
    let read = pods.rig.next().await;
    assert_eq!(read.target, "/api/v1/namespaces/prod/pods/web-0");
    read.answer("200 OK", "", &killed_in("a", 30).to_string()).await;
    assert!(matches!(pods.event().await, Event::PodDeadline { namespace, .. } if &*namespace == "prod"));
}

/// A watch that has begun is no request that is under way: more pods are watched than requests are made at a time.
#[tokio::test]
async fn watches_that_last_hold_up_no_request() {
    let many: Vec<_> = (0..REQUESTS + 2)
        .map(|number| PodRef { name: format!("default/pod-{number}").into(), uid: "a".into() })
        .collect();
    let pods = Pods::wanting(&many).await;
    let mut streams = Vec::new();
    while streams.len() < many.len() {
        let exchange = pods.rig.next().await;
        if exchange.is_watch() {
            streams.push(exchange.stream().await);
        } else {
            exchange.answer("200 OK", "", &killed_in("a", 300).to_string()).await;
        }
    }
}

/// A watch that breaks off is an error, where one that ends as agreed is none.
#[tokio::test]
async fn a_watch_that_is_cut_is_counted_as_such() {
    let mut pods = Pods::wanting(&[pod("a")]).await;
    let stream = pods.begin(&killed_in("a", 300)).await;
    assert_about(pods.killed_in().await, 300.0);
    drop(stream);
    let stream = pods.begin(&killed_in("a", 300)).await;
    assert_eq!(pods.report().errors[ErrorCause::Cut as usize], 1);
    stream.finish().await;
    let _stream = pods.begin(&killed_in("a", 300)).await;
    assert_eq!(pods.report().errors[ErrorCause::Cut as usize], 1);
}

/// Beyond so many watches, pods are read, again and again, until a place is free.
#[tokio::test]
async fn a_pod_without_a_place_to_be_watched_is_read_again_and_again() {
    let few = Pace { pod_watches: 1, read_again: Duration::from_millis(5), ..pace() };
    let mut pods = Pods::at_pace(&[pod("a")], few).await;
    let stream = pods.begin(&killed_in("a", 300)).await;
    assert_about(pods.killed_in().await, 300.0);
    let other = PodRef { name: "default/web-1".into(), uid: "b".into() };
    pods.wanted.send_replace([pod("a"), other.clone()].into());
    for _ in 0..3 {
        let exchange = pods.rig.next().await;
        assert_eq!(exchange.target, "/api/v1/namespaces/default/pods/web-1");
        exchange.answer("200 OK", "", &killed_in("b", 300).to_string()).await;
    }
    // What it says is told once.
    assert!(matches!(pods.event().await, Event::PodDeadline { uid, .. } if &*uid == "b"));
    pods.rig.nothing_told();
    pods.wanted.send_replace([other].into());
    drop(stream);
    loop {
        let exchange = pods.rig.next().await;
        if exchange.is_watch() {
            assert!(exchange.target.contains("metadata.name%3Dweb-1"), "{}", exchange.target);
            break;
        }
        exchange.answer("200 OK", "", &killed_in("b", 300).to_string()).await;
    }
}

/// A pod that finds no place to be watched is read at once all the same: it may be killed soon.
#[tokio::test]
async fn a_pod_without_a_place_is_read_at_once() {
    let few = Pace { pod_watches: 1, read_again: Duration::from_secs(3_600), ..pace() };
    let mut pods = Pods::at_pace(&[pod("a")], few).await;
    let _stream = pods.begin(&killed_in("a", 300)).await;
    assert_about(pods.killed_in().await, 300.0);
    let other = PodRef { name: "default/web-1".into(), uid: "b".into() };
    pods.wanted.send_replace([pod("a"), other].into());
    let exchange = pods.rig.next().await;
    assert_eq!(exchange.target, "/api/v1/namespaces/default/pods/web-1");
}

/// No bookmark either: a watch that says nothing is begun anew.
#[tokio::test]
async fn a_watch_that_says_nothing_is_begun_anew() {
    let pods = Pods::at_pace(&[pod("a")], Pace { silence: Duration::from_millis(20), ..pace() }).await;
    let _silent = pods.begin(&killed_in("a", 300)).await;
    let _again = pods.begin(&killed_in("a", 300)).await;
}

/// A server that ends watches at once is not hurried.
#[tokio::test]
async fn a_watch_that_ends_at_once_is_not_begun_at_once() {
    let slow = Pace { retry: Duration::from_secs(3_600), ..pace() };
    let mut pods = Pods::at_pace(&[pod("a")], slow).await;
    pods.begin(&killed_in("a", 300)).await.finish().await;
    assert_about(pods.killed_in().await, 300.0);
    let more = timeout(Duration::from_millis(50), pods.rig.next()).await;
    assert!(more.is_err(), "nobody asks: {}", more.expect("a request").target);
}

/// A line that no pod's metadata can be is left out, and what comes after it is read.
#[tokio::test]
async fn a_line_that_is_too_long_is_left_out() {
    let mut pods = Pods::wanting(&[pod("a")]).await;
    let mut stream = pods.begin(&killed_in("a", 300)).await;
    assert_about(pods.killed_in().await, 300.0);
    stream.chunk(&"x".repeat(MAX_OBJECT_BYTES + 1)).await;
    stream.chunk("\n").await;
    say(&mut stream, "MODIFIED", &killed_in("a", 30)).await;
    assert_about(pods.killed_in().await, 30.0);
    assert_eq!(pods.report().unreadable_total, 1);
}

/// Several failures at one moment are one to the wait; and after a success the wait is short again.
#[tokio::test]
async fn the_wait_grows_once_for_all_and_begins_anew_after_a_success() {
    let pods = Pods::wanting(&[]).await;
    let status = pods.rig.follower.status();
    let api = pods.rig.api().await;
    let (events, _told) = mpsc::channel(1);
    let base = Duration::from_secs(10);
    let pace = Pace { retry: base, retry_limit: base * 1_000, ..pace() };
    let rng = RefCell::new(Rng::new(1));
    let shared = Shared::new(&api, &events, &status, pace, pods.origin, rng);
    let failure = Failure::new(ErrorCause::Server, "it does not work");
    for _ in 0..8 {
        shared.failed(&failure);
    }
    assert!(shared.waits() <= base, "{:?}", shared.waits());
    assert_eq!(pods.report().errors[ErrorCause::Server as usize], 8);
    shared.succeeded();
    assert_eq!(shared.waits(), Duration::ZERO);
    shared.failed(&failure);
    assert!(!shared.waits().is_zero() && shared.waits() <= base, "{:?}", shared.waits());
}

/// Failures are the server's and not a pod's: all pods wait, and none asks on its own.
#[tokio::test]
async fn all_pods_wait_where_one_fails() {
    let slow = Pace { retry: Duration::from_secs(3_600), retry_limit: Duration::from_secs(3_600), ..pace() };
    let many: Vec<_> = (0..50)
        .map(|number| PodRef {
            name: format!("default/pod-{number}").into(),
            uid: format!("{number}").into(),
        })
        .collect();
    let pods = Pods::at_pace(&many, slow).await;
    for _ in 0..REQUESTS {
        pods.rig.next().await.refuse(500, "it does not work").await;
    }
    let failing = async {
        while pods.report().errors[ErrorCause::Server as usize] < REQUESTS as u64 {
            tokio::task::yield_now().await;
        }
    };
    crate::rig::within(failing).await;
    let more = timeout(Duration::from_millis(50), pods.rig.next()).await;
    assert!(more.is_err(), "nobody asks: {}", more.expect("a request").target);
}

/// What matters no more is not followed any more.
#[tokio::test]
async fn a_pod_that_does_not_matter_any_more_is_let_go() {
    let mut pods = Pods::wanting(&[]).await;
    pods.wanted.send_replace([pod("a")].into());
    let _stream = pods.begin(&killed_in("a", 300)).await;
    assert_about(pods.killed_in().await, 300.0);
    assert_eq!(pods.report().objects, 1);
    pods.wanted.send_replace([pod("b")].into());
    assert_eq!(pods.gone().await, "a");
    let _stream = pods.begin(&killed_in("b", 300)).await;
}

/// Times that are over, far away or none.
#[tokio::test]
async fn absurd_times_do_no_harm() {
    let mut pods = Pods::wanting(&[pod("a")]).await;
    let mut stream = pods.begin(&killed_at("a", "soon")).await;
    say(&mut stream, "MODIFIED", &killed_at("a", "9000-01-01T00:00:00Z")).await;
    assert!(pods.killed_in().await > 1e9);
    assert_eq!(pods.report().unreadable_total, 1);
    say(&mut stream, "MODIFIED", &killed_in("a", -30)).await;
    assert_about(pods.killed_in().await, -30.0);
    say(&mut stream, "MODIFIED", &killed_at("a", "1970-01-01T00:00:00Z")).await;
    match pods.event().await {
        Event::PodDeadline { killed, .. } => assert_eq!(killed, Timestamp::default()),
        other => panic!("no deadline: {other:?}"),
    }
}

/// An hour between the two clocks: the server's decides, because its clock wrote the time.
#[tokio::test]
async fn a_clock_that_differs_is_not_what_a_pod_is_killed_by() {
    let mut pods = Pods::wanting(&[pod("a")]).await;
    let _stream = pods.watch().await.stream().await;
    let there = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second() - 3_600).expect("a time");
    let date = there.strftime("%a, %d %b %Y %H:%M:%S GMT");
    let object = killed_in("a", 30 - 3_600).to_string();
    pods.read().await.answer("200 OK", &format!("Date: {date}\r\n"), &object).await;
    assert_about(pods.killed_in().await, 30.0);
    let skew = pods.rig.follower.status().report().clock_skew_millis.expect("it is known");
    assert!((3_597_000..3_601_000).contains(&skew), "{skew}");
}
