//! The Lease at the end of the process.

use serde_json::{Value, json};

use super::*;
use crate::rig::{Exchange, within};

const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/system/leases/tidegate";

fn lease(holder: &str) -> Value {
    json!({
        "metadata": {"name": "tidegate", "namespace": "system", "resourceVersion": "7", "labels": {"kept": "yes"}},
        "spec": {"holderIdentity": holder, "renewTime": "2026-01-01T00:00:00.000000Z", "leaseDurationSeconds": 15},
    })
}

/// An instance that has looked at a Lease of this holder, and taken or renewed it where it may.
async fn instance(holder: &str) -> Rig {
    let options = Options { writing: Some(writing()), ..Options::default() };
    let rig = Rig::start_with(options, pace(), &["leases"]).await;
    rig.next().await.answer("200 OK", "", &lease(holder).to_string()).await;
    if holder == "me" {
        let renewed = rig.next().await;
        assert!(renewed.head.starts_with("PUT "), "{}", renewed.head);
        renewed.answer("200 OK", "", &lease("me").to_string()).await;
        within(async {
            while !leads(&rig) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
    rig
}

fn leads(rig: &Rig) -> bool {
    rig.follower.status().report().writer.is_some_and(|writer| writer.leads)
}

/// Asked to end, the instance that holds the Lease looks at it first.
async fn resigning(rig: &Rig) -> Exchange {
    rig.follower.resign();
    let looked = rig.next().await;
    assert!(looked.head.starts_with("GET ") && looked.target == LEASE, "{}", looked.head);
    looked
}

/// What is given back is what was read, of nobody, and so new that whoever waits sees it; then nothing is asked any more.
#[tokio::test]
async fn the_lease_is_given_back_as_it_was_read() {
    let rig = instance("me").await;
    resigning(&rig).await.answer("200 OK", "", &lease("me").to_string()).await;
    let given_back = rig.next().await;
    assert!(given_back.head.starts_with("PUT ") && given_back.target == LEASE, "{}", given_back.head);
    let mut body = given_back.body.clone();
    let renewed = body["spec"]["renewTime"].take();
    assert!(renewed.as_str().is_some_and(|time| time > "2026-01-01T00:00:00.000000Z"), "{renewed}");
    let mut expected = lease("me");
    expected["spec"]["holderIdentity"] = Value::Null;
    expected["spec"]["renewTime"] = Value::Null;
    assert_eq!(body, expected);
    given_back.answer("200 OK", "", "{}").await;
    within(rig.follower.resigned()).await;
    assert!(!leads(&rig));
}

/// Another instance took it meanwhile, or a successor of this name renewed it: that one keeps it.
#[tokio::test]
async fn a_lease_that_another_one_took_is_left_to_it() {
    let mut renewed = lease("me");
    renewed["metadata"]["resourceVersion"] = json!("8");
    for found in [lease("other"), renewed] {
        let rig = instance("me").await;
        resigning(&rig).await.answer("200 OK", "", &found.to_string()).await;
        within(rig.follower.resigned()).await;
        assert!(!leads(&rig));
        nothing_more(&rig).await;
    }
}

/// Whoever never held it asks nobody at its end.
#[tokio::test]
async fn who_does_not_hold_the_lease_gives_nothing_back() {
    let rig = instance("other").await;
    rig.follower.resign();
    within(rig.follower.resigned()).await;
    nothing_more(&rig).await;
}

/// An API server that does not answer is waited for no longer than agreed.
#[tokio::test]
async fn the_end_does_not_wait_for_a_server_that_says_nothing() {
    let rig = instance("me").await;
    let _unanswered = resigning(&rig).await;
    within(rig.follower.resigned()).await;
    assert!(!leads(&rig));
}

async fn nothing_more(rig: &Rig) {
    let more = tokio::time::timeout(Duration::from_millis(50), rig.next()).await;
    assert!(more.is_err(), "nobody asks: {}", more.expect("a request").head);
}

/// A process that takes over from another one does not touch the Lease before it has.
#[tokio::test]
async fn who_waits_for_its_turn_asks_for_no_lease() {
    let options = Options { writing: Some(writing()), waits_to_write: true, ..Options::default() };
    let rig = Rig::start_with(options, pace(), &["leases"]).await;
    nothing_more(&rig).await;
    rig.follower.begin_to_write();
    assert_eq!(rig.next().await.target, LEASE);
}
