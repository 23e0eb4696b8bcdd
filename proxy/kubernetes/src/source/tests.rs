mod lease;
mod together;

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use super::*;
use crate::{
    Rules,
    rig::{Rig, line, pace, slice},
    status::{ErrorCause, WatchReport, WatchState},
};

async fn rig() -> Rig {
    Rig::start(Options::default(), pace()).await
}

/// Who writes, in these tests.
fn writing() -> Writing {
    Writing {
        class: "tidegate.io/tidegate".into(),
        namespace: "system".to_owned(),
        identity: "me".to_owned(),
        own: ServiceName::new("system", "tidegate"),
    }
}

/// What the watch of slices says of itself.
fn slices(rig: &Rig) -> WatchReport {
    let report = rig.follower.status().report();
    report.watches.into_iter().find(|watch| watch.resource == "endpointslices").expect("a watch")
}

fn errors(rig: &Rig, cause: ErrorCause) -> u64 {
    slices(rig).errors[cause as usize]
}

/// B2.
#[tokio::test]
async fn a_list_is_told_when_its_last_page_is_there() {
    let mut rig = rig().await;
    let first = rig.expect("list limit=2").await;
    assert!(!first.target.contains("resourceVersion"), "the most recent state: {}", first.target);
    first.list(10, Some("more"), &[("a", 1), ("b", 2)]).await;
    let second = rig.expect("list limit=2 continue=more").await;
    rig.nothing_told();
    second.list(10, None, &[("c", 3)]).await;
    assert_eq!(rig.listed().await, ["default/a", "default/b", "default/c"]);
    let watch = rig.expect("watch allowWatchBookmarks=true resourceVersion=10").await;
    assert!(watch.target.contains("timeoutSeconds="), "{}", watch.target);
}

#[tokio::test]
async fn a_list_that_expires_between_two_pages_is_asked_for_in_one_piece() {
    let mut rig = rig().await;
    rig.expect("list limit=2").await.list(10, Some("more"), &[("a", 1)]).await;
    rig.expect("list continue=more").await.refuse(410, "continue token expired").await;
    let whole = rig.expect("list").await;
    assert!(!whole.target.contains("limit"), "{}", whole.target);
    rig.nothing_told();
    whole.list(12, None, &[("b", 11)]).await;
    assert_eq!(rig.listed().await, ["default/b"]);
}

#[tokio::test]
async fn changes_are_told_one_by_one() {
    let mut rig = rig().await;
    let mut watch = rig.begin(10, &[("a", 1)]).await.stream().await;
    watch.say("MODIFIED", "a", 11).await;
    watch.say("ADDED", "b", 12).await;
    watch.say("DELETED", "a", 13).await;
    assert_eq!([rig.change().await, rig.change().await, rig.change().await], ["+a 11", "+b 12", "-a"]);
}

#[tokio::test]
async fn every_request_says_who_asks() {
    let rig = rig().await;
    let list = rig.expect("list").await;
    let agent = format!("user-agent: tidegate/{}\r\n", env!("CARGO_PKG_VERSION"));
    assert!(list.head.to_lowercase().contains(&agent), "{}", list.head);
}

/// B8.
#[tokio::test]
async fn what_comes_twice_or_late_is_told_once() {
    let mut rig = rig().await;
    let mut watch = rig.begin(10, &[("a", 1)]).await.stream().await;
    for (kind, name, version) in [
        ("ADDED", "a", 1),
        ("MODIFIED", "a", 12),
        ("MODIFIED", "a", 12),
        ("MODIFIED", "a", 11),
        ("DELETED", "a", 13),
        ("DELETED", "a", 13),
        ("MODIFIED", "a", 12),
        ("NEWTYPE", "a", 14),
        ("ADDED", "b", 15),
    ] {
        watch.say(kind, name, version).await;
    }
    assert_eq!([rig.change().await, rig.change().await, rig.change().await], ["+a 12", "-a", "+b 15"]);
    assert_eq!(slices(&rig).outdated_total, 5);
}

#[tokio::test]
async fn a_watch_that_ends_goes_on_from_its_bookmark() {
    let mut rig = rig().await;
    let mut watch = rig.begin(10, &[]).await.stream().await;
    watch.bookmark(50).await;
    watch.finish().await;
    let mut watch = rig.expect("watch resourceVersion=50").await.stream().await;
    watch.say("ADDED", "a", 51).await;
    assert_eq!(rig.change().await, "+a 51");
    drop(watch);
    rig.expect("watch resourceVersion=51").await;
}

#[tokio::test]
async fn a_watch_that_is_cut_in_an_object_goes_on_before_it() {
    let mut rig = rig().await;
    let mut watch = rig.begin(10, &[]).await.stream().await;
    watch.say("ADDED", "a", 11).await;
    let whole = line("ADDED", &slice("b", 12));
    watch.chunk(&whole[..whole.len() - 5]).await;
    assert_eq!(rig.change().await, "+a 11");
    drop(watch);
    let mut watch = rig.expect("watch resourceVersion=11").await.stream().await;
    rig.nothing_told();
    assert_eq!(errors(&rig, ErrorCause::Cut), 1);
    watch.say("ADDED", "b", 12).await;
    assert_eq!(rig.change().await, "+b 12");
}

/// B1.
#[tokio::test]
async fn an_expired_watch_is_listed_again_and_swapped_whole() {
    let mut rig = rig().await;
    let mut watch = rig.begin(10, &[("a", 1), ("b", 2)]).await.stream().await;
    watch.expired().await;
    let first = rig.expect("list").await;
    rig.nothing_told();
    first.list(20, Some("more"), &[("b", 2)]).await;
    let second = rig.expect("list continue=more").await;
    rig.nothing_told();
    second.list(20, None, &[("c", 19)]).await;
    assert_eq!(rig.together().await, ["+c 19", "-a"], "what has not changed is not told again");
    rig.expect("watch resourceVersion=20").await;
    assert_eq!(errors(&rig, ErrorCause::Expired), 1);
}

/// B4.
#[tokio::test]
async fn a_list_that_is_older_than_what_is_known_is_not_believed() {
    let mut rig = rig().await;
    let mut watch = rig.begin(10, &[("a", 1)]).await.stream().await;
    watch.say("ADDED", "b", 30).await;
    watch.expired().await;
    assert_eq!(rig.change().await, "+b 30");
    rig.expect("list").await.list(20, None, &[("a", 1)]).await;
    let again = rig.expect("list").await;
    rig.nothing_told();
    assert_eq!(errors(&rig, ErrorCause::Stale), 1);
    again.list(30, None, &[("a", 1), ("b", 30)]).await;
    rig.expect("watch resourceVersion=30").await;
    rig.nothing_told();
}

#[tokio::test]
async fn a_store_that_was_restored_from_a_backup_is_believed_in_the_end() {
    let mut rig = Rig::start(Options::default(), Pace { stale_limit: Duration::ZERO, ..pace() }).await;
    let mut watch = rig.begin(100, &[("a", 90)]).await.stream().await;
    watch.expired().await;
    rig.expect("list").await.list(20, None, &[("old", 7)]).await;
    assert_eq!(rig.listed().await, ["default/old"]);
    let mut watch = rig.expect("watch resourceVersion=20").await.stream().await;
    watch.say("ADDED", "a", 21).await;
    assert_eq!(rig.change().await, "+a 21");
}

#[tokio::test]
async fn a_watch_that_says_nothing_is_listed_again() {
    let mut rig = Rig::start(Options::default(), Pace { silence: Duration::from_millis(50), ..pace() }).await;
    let silent = rig.begin(10, &[("a", 1)]).await.stream().await;
    rig.expect("list").await.list(12, None, &[("a", 11)]).await;
    assert_eq!(rig.listed().await, ["default/a"]);
    assert_eq!(errors(&rig, ErrorCause::Silent), 1);
    drop(silent);
}

/// B6.
#[tokio::test]
async fn a_server_that_asks_for_patience_gets_it() {
    let mut rig = rig().await;
    let busy = rig.expect("list").await;
    let asked = Instant::now();
    busy.answer("429 Too Many Requests", "Retry-After: 1\r\n", "{}").await;
    let again = rig.expect("list").await;
    assert!(asked.elapsed() >= Duration::from_secs(1), "{:?}", asked.elapsed());
    assert_eq!(errors(&rig, ErrorCause::Throttled), 1);
    again.refuse(503, "shutting down").await;
    rig.expect("list").await.list(10, None, &[]).await;
    assert_eq!(rig.listed().await, [""; 0]);
    assert_eq!(errors(&rig, ErrorCause::Server), 1);
}

/// B3.
#[tokio::test]
async fn an_outage_tells_nothing_and_the_watch_goes_on_after_it() {
    let mut rig = rig().await;
    let mut watch = rig.begin(10, &[("a", 1)]).await.stream().await;
    watch.bookmark(15).await;
    drop(watch);
    for _ in 0..5 {
        rig.expect("watch resourceVersion=15").await.refuse(500, "etcd is away").await;
    }
    let back = rig.expect("watch resourceVersion=15").await;
    rig.nothing_told();
    assert!(matches!(&slices(&rig).state, WatchState::Failing(why) if why.contains("etcd is away")));
    // Kept until the end: a stream that is dropped is a watch that was cut.
    let mut back = back.stream().await;
    back.say("MODIFIED", "a", 16).await;
    assert_eq!(rig.change().await, "+a 16");
    assert_eq!(slices(&rig).state, WatchState::Following);
    drop(back);
}

/// B6.
#[tokio::test]
async fn a_token_that_is_not_accepted_is_read_again() {
    let rig = rig().await;
    let refused = rig.expect("list").await;
    assert!(refused.head.to_lowercase().contains("authorization: bearer first\r\n"), "{}", refused.head);
    fs::write(rig.folder.path().join("token"), "second").expect("a token");
    refused.refuse(401, "token has expired").await;
    let again = rig.expect("list").await;
    assert!(again.head.to_lowercase().contains("authorization: bearer second\r\n"), "{}", again.head);
    let WatchState::Failing(why) = slices(&rig).state else { panic!("it fails") };
    assert!(why.contains("has the token expired?"), "{why}");
}

#[tokio::test]
async fn a_right_that_is_missing_is_named() {
    let rig = rig().await;
    rig.expect("list").await.refuse(403, "User x cannot list").await;
    let _again = rig.expect("list").await;
    let report = slices(&rig);
    let WatchState::Failing(why) = &report.state else { panic!("{report:?}") };
    let expected = "may not list endpointslices: give the verb `list` on `endpointslices` of discovery.k8s.io by RBAC \
                    (User x cannot list)";
    assert_eq!(why, expected);
}

#[tokio::test]
async fn an_object_that_cannot_be_read_spoils_no_other() {
    let mut rig = rig().await;
    let bad =
        "{\"metadata\":{\"name\":\"bad\",\"namespace\":\"default\"},\"addressType\":\"MAC\"}".to_owned();
    rig.expect("list").await.items(10, None, &[slice("a", 1), bad.clone()]).await;
    assert_eq!(rig.listed().await, ["default/a"]);
    let mut watch = rig.expect("watch").await.stream().await;
    watch.chunk(&format!("{}\n", line("MODIFIED", &bad))).await;
    watch.say("MODIFIED", "a", 12).await;
    assert_eq!(rig.change().await, "+a 12");
    let report = slices(&rig);
    assert_eq!(report.unreadable_total, 2);
    let why = report.last_unreadable.unwrap_or_default();
    assert!(why.starts_with("default/bad: its addressType is \"MAC\""), "{why}");
}

/// What was known of an object stays in force when a list has it in a form that cannot be read, and what the list lacks
/// goes all the same.
#[tokio::test]
async fn an_object_that_becomes_unreadable_in_a_list_stays_as_it_was() {
    let mut rig = rig().await;
    let mut watch = rig.begin(10, &[("a", 1), ("b", 2), ("c", 3)]).await.stream().await;
    watch.expired().await;
    let bad = slice("b", 15).replace("IPv4", "MAC");
    rig.expect("list").await.items(20, None, &[slice("a", 12), bad]).await;
    assert_eq!(rig.together().await, ["+a 12", "-c"]);
    assert_eq!(slices(&rig).unreadable_total, 1);
    let mut watch = rig.expect("watch resourceVersion=20").await.stream().await;
    watch.say("MODIFIED", "b", 21).await;
    assert_eq!(rig.change().await, "+b 21");
    watch.say("DELETED", "b", 22).await;
    assert_eq!(rig.change().await, "-b");
}

#[tokio::test]
async fn an_answer_that_is_no_list_is_tried_again() {
    let mut rig = rig().await;
    rig.expect("list").await.answer("200 OK", "", "<html>not what you want</html>").await;
    rig.expect("list").await.list(10, None, &[("a", 1)]).await;
    assert_eq!(rig.listed().await, ["default/a"]);
    assert_eq!(errors(&rig, ErrorCause::Malformed), 1);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_no_error_of_the_start() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("kubeconfig");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{{name: c, cluster: {{server: \"http://{address}\"}}}}]\n\
         contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\nusers: [{{name: u, user: {{}}}}]\n"
    );
    fs::write(&path, text).expect("a kubeconfig");
    drop(listener);
    let (events, mut told) = mpsc::channel(8);
    let options = Options { access: Access { kubeconfig: Some(path), context: None }, ..Options::default() };
    let follower = follow_at(options, events, pace()).expect("a source");
    crate::rig::within(async {
        loop {
            let errors = follower.status().report().watches.first().map_or(0, |watch| watch.errors[0]);
            if errors >= 3 {
                return;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(told.try_recv().is_err());
}

#[tokio::test]
async fn recorded_watches_are_told_as_they_were_recorded() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures");
    let read = |name: &str| fs::read_to_string(folder.join(name)).expect("a recording");
    for name in ["rollout", "force-delete", "named-port", "service-changes", "many-slices", "readiness-flap"]
    {
        let list = match name {
            "rollout" => read("endpointslice-list.json"),
            name => read(&format!("endpointslice-{name}-list.json")),
        };
        let mut rig = rig().await;
        rig.expect("list").await.answer("200 OK", "", &list).await;
        assert!(!rig.listed().await.is_empty());
        let mut watch = rig.expect("watch").await.stream().await;
        for text in read(&format!("endpointslice-{name}.jsonl")).lines() {
            // In chunks that end anywhere, as a network has them.
            for part in text.as_bytes().chunks(1000) {
                watch.chunk(std::str::from_utf8(part).expect("recorded in ASCII")).await;
            }
            watch.chunk("\n").await;
            let line: serde_json::Value = serde_json::from_str(text).expect("JSON");
            let object = &line["object"];
            let told = match line["type"].as_str() {
                Some("DELETED") => format!("-{}", object["metadata"]["name"].as_str().expect("a name")),
                _ => {
                    let slice = tidegate_files::slice::from_json(object).expect("a slice");
                    format!("+{} {}", slice.name.name, slice.generation)
                }
            };
            assert_eq!(rig.change().await, told, "{name}");
        }
    }
}

#[tokio::test]
async fn a_source_ends_when_it_is_dropped() {
    let rig = rig().await;
    let watch = rig.expect("list").await;
    let status = Arc::downgrade(&rig.follower.status());
    drop(rig);
    crate::rig::within(async {
        while status.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(watch);
}
