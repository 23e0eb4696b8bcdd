use super::*;
use crate::{
    Options,
    rig::{Exchange, Rig, pace, within},
    status::AnnouncerReport,
};

fn announcement(number: usize) -> Announcement {
    Announcement {
        pod: format!("default/web-{number}").into(),
        uid: format!("uid-{number}").into(),
        reason: "DrainBegan",
        is_warning: false,
        note: "5 flows go on to their end".to_owned(),
        at: SystemTime::now(),
    }
}

async fn announcing(pace: Pace) -> Rig {
    let options = Options { announcing: Some("tidegate-a".to_owned()), ..Options::default() };
    Rig::start_with(options, pace, &["events.k8s.io"]).await
}

fn report(rig: &Rig) -> AnnouncerReport {
    rig.follower.status().report().announcer.expect("Events are written")
}

async fn until(rig: &Rig, what: impl Fn(&AnnouncerReport) -> bool) {
    within(async {
        while !what(&report(rig)) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// The next request, which has to create an Event on this pod.
async fn created(rig: &Rig, number: usize) -> Exchange {
    let exchange = rig.next().await;
    assert_eq!(exchange.target, "/apis/events.k8s.io/v1/namespaces/default/events");
    assert!(exchange.head.starts_with("POST "), "{}", exchange.head);
    assert_eq!(exchange.body["regarding"]["name"], format!("web-{number}"));
    exchange
}

async fn accept(exchange: Exchange) {
    let body = exchange.body.to_string();
    exchange.answer("201 Created", "", &body).await;
}

#[tokio::test]
async fn what_is_announced_is_written_in_order() {
    let rig = announcing(pace()).await;
    for number in 0..3 {
        rig.follower.announce(announcement(number));
    }
    for number in 0..3 {
        let exchange = created(&rig, number).await;
        assert_eq!(exchange.body["regarding"]["uid"], format!("uid-{number}"));
        assert_eq!(exchange.body["reportingInstance"], "tidegate-a");
        accept(exchange).await;
    }
    let began = Instant::now();
    rig.follower.announced().await;
    assert!(began.elapsed() < LAST / 2, "nothing is left to wait for: {:?}", began.elapsed());
    assert_eq!(report(&rig), AnnouncerReport { written_total: 3, ..AnnouncerReport::default() });
}

/// A server that is away is asked again for the same Event, which it may have taken already.
#[tokio::test]
async fn what_may_pass_is_tried_again_under_the_same_name() {
    let rig = announcing(pace()).await;
    rig.follower.announce(announcement(1));
    let first = created(&rig, 1).await;
    let name = first.body["metadata"]["name"].clone();
    first.refuse(503, "the server is starting").await;
    let again = created(&rig, 1).await;
    assert_eq!(again.body["metadata"]["name"], name);
    assert!(report(&rig).trouble.is_some_and(|why| why.contains("503")));
    again.refuse(409, "it is there already").await;
    until(&rig, |report| report.written_total == 1).await;
    assert_eq!((report(&rig).trouble, report(&rig).dropped_total), (None, 0));
}

/// A right that is missing is said with its remedy; each Event is tried once.
#[tokio::test]
async fn a_right_that_is_missing_costs_each_event_one_try() {
    let rig = announcing(pace()).await;
    rig.follower.announce(announcement(1));
    rig.follower.announce(announcement(2));
    created(&rig, 1).await.refuse(403, "events is forbidden").await;
    let second = created(&rig, 2).await;
    let why = report(&rig).trouble.expect("it is said");
    for part in
        ["may not create events", "give the verb `create` on `events` of events.k8s.io", "podEvents: false"]
    {
        assert!(why.contains(part), "{why}");
    }
    // Nobody waits at the end of the process where it is of no use.
    let began = Instant::now();
    rig.follower.announced().await;
    assert!(began.elapsed() < LAST / 2, "{:?}", began.elapsed());
    accept(second).await;
    until(&rig, |report| report.written_total == 1).await;
    assert_eq!((report(&rig).trouble, report(&rig).dropped_total), (None, 1));
}

/// A namespace that is being deleted takes nothing new, which is no missing right; nor is one that has gone.
#[tokio::test]
async fn a_pod_whose_namespace_goes_is_not_told_of() {
    let rig = announcing(pace()).await;
    rig.follower.announce(announcement(1));
    rig.follower.announce(announcement(2));
    rig.follower.announce(announcement(3));
    let body = r#"{"kind":"Status","code":403,"reason":"Forbidden","message":"it is being terminated",
        "details":{"causes":[{"reason":"NamespaceTerminating","field":"metadata.namespace"}]}}"#;
    created(&rig, 1).await.answer("403 Forbidden", "", body).await;
    created(&rig, 2).await.refuse(404, "namespaces \"default\" not found").await;
    let third = created(&rig, 3).await;
    assert_eq!(report(&rig), AnnouncerReport::default());
    accept(third).await;
}

/// A server that takes none: what waits is bounded, what is more is dropped and counted, and nobody waits.
#[tokio::test]
async fn what_waits_is_bounded() {
    let rig = announcing(pace()).await;
    rig.follower.announce(announcement(0));
    let held = created(&rig, 0).await;
    for number in 1..=WAITING + 7 {
        rig.follower.announce(announcement(number));
    }
    assert_eq!(report(&rig).dropped_total, 7);
    rig.follower.missed(3);
    assert_eq!(report(&rig).dropped_total, 10);
    accept(held).await;
    // The first ones stay, and the last are dropped.
    accept(created(&rig, 1).await).await;
}

/// The end of the process waits for what is being written, and for a server that does not answer no longer than it has to.
#[tokio::test]
async fn the_end_waits_for_the_last_event_for_a_while() {
    let rig = announcing(pace()).await;
    rig.follower.announce(announcement(0));
    let held = created(&rig, 0).await;
    let early = timeout(Duration::from_millis(20), rig.follower.announced()).await;
    assert!(early.is_err(), "it is not written yet");
    let began = Instant::now();
    rig.follower.announced().await;
    assert!(began.elapsed() >= Duration::from_secs(1) && began.elapsed() < LAST + Duration::from_secs(3));
    accept(held).await;
    rig.follower.announced().await;
    assert_eq!(report(&rig).written_total, 1);
}

#[tokio::test]
async fn without_a_name_nothing_is_written() {
    let rig = Rig::start_with(Options::default(), pace(), &["events.k8s.io", "endpointslices"]).await;
    rig.follower.announce(announcement(0));
    rig.follower.missed(1);
    rig.follower.announced().await;
    assert!(!rig.follower.announces());
    assert_eq!(rig.follower.status().report().announcer, None);
    rig.expect("list endpointslices").await.list(1, None, &[]).await;
    rig.expect("watch endpointslices").await;
}

#[test]
fn a_burst_is_saved_up_and_then_paid_for() {
    let begin = Instant::now() + Duration::from_secs(3_600);
    let mut rate = Rate::new(begin);
    let burst = (0..BURST).filter(|_| rate.next(begin) <= begin).count();
    assert_eq!(burst, BURST as usize);
    assert_eq!(rate.next(begin), begin + EVERY);
    assert_eq!(rate.next(begin), begin + EVERY * 2);
    let later = begin + EVERY * (BURST * 40);
    let burst = (0..2 * BURST).filter(|_| rate.next(later) <= later).count();
    assert_eq!(burst, BURST as usize, "no more is saved up than that");
}

/// An Event is in the namespace of its pod.
#[tokio::test]
async fn an_event_is_written_beside_its_pod() {
    let rig = announcing(pace()).await;
    rig.follower.announce(Announcement { pod: "prod/web-1".into(), ..announcement(1) });
    let exchange = rig.next().await;
    assert_eq!(exchange.target, "/apis/events.k8s.io/v1/namespaces/prod/events");
    assert_eq!(exchange.body["metadata"]["namespace"], "prod");
    assert_eq!(exchange.body["regarding"]["namespace"], "prod");
}

/// A writer of its own beside the source's.
async fn writer(rig: &Rig, backoff: Backoff) -> Writer {
    Writer {
        api: rig.api().await,
        instance: "tidegate-a".to_owned(),
        status: rig.follower.status(),
        rate: Rate::new(Instant::now()),
        backoff,
        rng: Rng::new(1),
    }
}

/// What comes after a burst waits for its turn.
#[tokio::test]
async fn nothing_is_written_faster_than_the_rate() {
    let rig = announcing(pace()).await;
    let mut writer = writer(&rig, Backoff::new(Duration::ZERO, Duration::ZERO)).await;
    writer.rate.paid += EVERY * BURST * 1_000;
    let waiting = Waiting { announcement: announcement(0), since: Instant::now() };
    let asked = async {
        tokio::select! {
            exchange = rig.next() => exchange.target,
            () = writer.say(&waiting) => "nobody, and said it".to_owned(),
        }
    };
    let asked = timeout(Duration::from_millis(100), asked).await;
    assert!(asked.is_err(), "it does not wait: {}", asked.expect("it does not wait"));
}

/// A wait that has grown is over with a success.
#[tokio::test]
async fn after_a_success_the_wait_is_short_again() {
    let rig = announcing(pace()).await;
    let base = Duration::from_secs(10);
    let mut writer = writer(&rig, Backoff::new(base, base * 1_000)).await;
    while writer.backoff.next(None, &mut writer.rng) <= base {}
    let waiting = Waiting { announcement: announcement(0), since: Instant::now() };
    tokio::join!(writer.say(&waiting), async { accept(created(&rig, 0).await).await });
    assert!(writer.backoff.next(None, &mut writer.rng) <= base);
}

/// What is too late is not said.
#[tokio::test]
async fn nobody_is_told_hours_later() {
    let rig = announcing(pace()).await;
    let mut writer = writer(&rig, Backoff::new(Duration::ZERO, Duration::ZERO)).await;
    let since = Instant::now().checked_sub(WORTH).expect("this machine runs longer than that");
    writer.say(&Waiting { announcement: announcement(0), since }).await;
    assert_eq!(report(&rig).dropped_total, 1);
}
