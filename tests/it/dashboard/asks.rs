//! What the page asks: when a button is pressed, when a stream ends, and when it is refused.

use serde_json::json;

use super::canned::{Answers, Canned, SERVICE, drain, endpoint, record, service, with};

/// One browser for all of it: its start is what takes time.
#[test]
fn buttons_and_troubles_do_what_they_say() {
    let drained = json!({"admin_state": {"state": "drain", "by": "ada"}});
    let endpoints = [
        endpoint(1, Some([true, true, false]), true),
        with(endpoint(2, Some([true, true, false]), false), drained),
    ];
    let answers = Answers {
        services: [service(SERVICE, 1, 2)].into(),
        endpoints: endpoints.into(),
        drains: [drain(2)].into(),
        records: Vec::new(),
    };
    let Some(mut page) = Canned::open(&answers) else { return };
    page.browser.until("endpoints are shown", "document.querySelectorAll('td.action button').length === 2");
    a_drain_is_confirmed(&mut page);
    a_drain_that_is_refused_is_said(&mut page);
    an_undrain_is_asked_for_once(&mut page);
    a_refusal_stays_to_be_read(&mut page);
    the_stream_is_begun_anew(&mut page);
    too_many_followers_look_now_and_then(&mut page);
    a_look_that_failed_is_made_again(&mut page);
    a_late_refusal_is_no_word_on_a_new_token(&mut page);
    assert_eq!(page.browser.complaints(), [] as [String; 0]);
}

const OPEN: &str = "document.querySelector('#drain-dialog').open";

fn fill(page: &mut Canned, reason: &str, deadline: &str) {
    page.browser.value(&format!("document.querySelector('#drain-reason').value = {reason:?}"));
    page.browser.value(&format!("document.querySelector('#drain-deadline').value = {deadline:?}"));
}

/// Nothing is asked before the dialog is confirmed, and then what it says.
fn a_drain_is_confirmed(page: &mut Canned) {
    let button = "tr:nth-child(1) td.action button";
    page.browser.value(&format!("document.querySelector({button:?}).focus()"));
    page.browser.click(button);
    assert_eq!(page.browser.value(OPEN), json!(true));
    assert_eq!(page.browser.text("#drain-name"), "10.0.0.1:80, default/web-1");
    fill(page, "mistaken", "10m");
    page.browser.click("#drain-cancel");
    page.let_turns_pass();
    assert_eq!(page.browser.value(OPEN), json!(false));
    assert_eq!(page.posted(), json!([]), "it was cancelled");
    let back = format!("document.activeElement === document.querySelector({button:?})");
    assert_eq!(page.browser.value(&back), json!(true), "the focus is where it was");

    let mut expected = Vec::new();
    for (reason, deadline, milliseconds) in [
        ("", "", None),
        ("its disk", "500ms", Some(500)),
        (" ", "1.5s", Some(1_500)),
        ("", " 10m ", Some(600_000)),
        ("", "2h", Some(7_200_000)),
    ] {
        page.browser.click(button);
        let kept =
            "document.querySelector('#drain-reason').value + document.querySelector('#drain-deadline').value";
        assert_eq!(page.browser.value(kept), json!(""), "nothing is left from before");
        fill(page, reason, deadline);
        page.browser.click("#drain-send");
        page.browser.until("it is done", &format!("!{OPEN}"));
        page.until_said("10.0.0.1:80 gets no new flows");
        let mut body = json!({"service": "default/web", "endpoint": "10.0.0.1:80", "by": "dashboard"});
        if !reason.trim().is_empty() {
            body["reason"] = json!(reason);
        }
        if let Some(milliseconds) = milliseconds {
            body["deadline_ms"] = json!(milliseconds);
        }
        expected.push(json!(["/v1/drain", body]));
        assert_eq!(page.posted(), json!(expected));
    }
    let kinds = "window.asked.filter((it) => it.method === 'POST').every((it) => \
                 it.headers['content-type'] === 'application/json')";
    assert_eq!(page.browser.value(kinds), json!(true));
    page.browser.value("window.asked = []");
}

fn a_drain_that_is_refused_is_said(page: &mut Canned) {
    page.refuse("/v1/drain", 409);
    page.browser.click("tr:nth-child(1) td.action button");
    page.browser.click("#drain-send");
    let said = "document.querySelector('#drain-wrong').textContent === 'it may not be; ask ada'";
    page.browser.until("it is said", said);
    assert_eq!(page.browser.value(OPEN), json!(true));
    page.refuse("/v1/drain", 0);
    page.browser.click("#drain-send");
    let said = "document.querySelector('#drain-wrong').textContent === 'The proxy does not answer.'";
    page.browser.until("it is said", said);
    page.refuse_nothing();
    page.browser.click("#drain-cancel");
    page.browser.value("window.asked = []");
}

/// A second press while the first is under way is not another request; and the focus stays on the button.
fn an_undrain_is_asked_for_once(page: &mut Canned) {
    page.hold("/v1/undrain");
    let button = "tr:nth-child(2) td.action button";
    page.browser.value(&format!("document.querySelector({button:?}).focus()"));
    page.browser.click(button);
    page.browser.click(button);
    page.let_turns_pass();
    let expected =
        json!([["/v1/undrain", {"service": "default/web", "endpoint": "10.0.0.2:80", "by": "dashboard"}]]);
    assert_eq!(page.posted(), expected);
    let busy = format!("document.querySelector({button:?}).ariaDisabled");
    assert_eq!(page.browser.value(&busy), json!("true"));
    page.let_go("/v1/undrain");
    page.until_said("10.0.0.2:80 is no longer drained by operators");
    page.browser.until("it may be pressed again", &format!("{busy} === null"));
    let focus = format!("document.activeElement === document.querySelector({button:?})");
    assert_eq!(page.browser.value(&focus), json!(true));

    // A card that goes takes its button away; whoever was there stays in the list.
    page.browser.value("document.querySelector('.card .undrain').focus()");
    page.browser.click(".card .undrain");
    let done = "window.asked.filter((it) => it.method === 'POST').length === 2";
    page.browser.until("it is asked for", done);
    assert_eq!(page.posted()[1], expected[0]);
    page.tell(&[], &[with(record(2), json!({"undone": true}))]);
    page.browser.until("the card is gone", "document.querySelectorAll('.card').length === 0");
    assert_eq!(page.browser.value("document.activeElement.id"), json!("drains"));
}

const BANNER: &str = "document.querySelector('#trouble').checkVisibility()";

/// What the next looks find does not hide that an operator was refused, for ten seconds.
fn a_refusal_stays_to_be_read(page: &mut Canned) {
    page.refuse("/v1/undrain", 404);
    page.browser.click("tr:nth-child(2) td.action button");
    page.browser.until("it is said", BANNER);
    assert_eq!(page.browser.text("#trouble"), "it may not be; ask ada");
    page.refuse_nothing();
    page.tell(&[], &[]);
    page.let_turns_pass();
    assert_eq!(page.browser.value(BANNER), json!(true));
    page.browser.value("window.passed += 10001");
    page.browser.until("it goes", &format!("!{BANNER}"));
}

fn the_stream_is_begun_anew(page: &mut Canned) {
    const FOLLOW: &str = "/v1/drains?follow=true";
    let state = "document.querySelector('#live').dataset.state + ' ' + document.querySelector('#live-text').textContent";
    // As agreed: at once.
    let before = page.times(FOLLOW);
    page.browser.value("window.stream.close()");
    let again = |more: u64| {
        format!("window.asked.filter((it) => it.address === {FOLLOW:?}).length >= {}", before + more)
    };
    page.browser.until("it is followed again", &again(1));
    // Cut, and nothing answers: it is said, and asked again until something does.
    for address in [FOLLOW, "/v1/status", "/v1/audit"] {
        page.refuse(address, 0);
    }
    page.browser.value("window.stream.error(new TypeError('network error'))");
    page.browser.until("it is said", &format!("{BANNER} && {state} === 'lost not connected'"));
    assert!(page.browser.text("#trouble").starts_with("The proxy does not answer."));
    page.browser.until("it is asked again and again", &again(4));
    page.refuse_nothing();
    page.browser.until("it is live again", &format!("!{BANNER} && {state} === 'live live'"));
    page.tell(&[drain(1), drain(2)], &[]);
    page.until_said("10.0.0.1:80 is draining, 10 flows left");
}

/// Where the stream is refused because too many follow, the drains are looked at from time to time.
fn too_many_followers_look_now_and_then(page: &mut Canned) {
    page.refuse("/v1/drains?follow=true", 429);
    page.answer(&Answers {
        drains: [drain(4)].into(),
        services: [service(SERVICE, 1, 2)].into(),
        ..Answers::default()
    });
    page.browser.value("window.stream.error(new TypeError('network error'))");
    page.browser.until("it is shown", "document.querySelector('.card h3')?.textContent === '10.0.0.4:80'");
    page.refuse_nothing();
    page.let_turns_pass();
    page.tell(&[drain(5)], &[]);
    page.browser.until("it is followed", "document.querySelector('.card h3')?.textContent === '10.0.0.5:80'");
}

/// A refused look is said in the proxy's words; the next one that goes well takes them away.
fn a_look_that_failed_is_made_again(page: &mut Canned) {
    for address in ["/v1/status", "/v1/audit"] {
        page.refuse(address, 503);
        let said = "document.querySelector('#trouble').textContent === 'it may not be; ask ada'";
        page.browser.until("it is said", &format!("{BANNER} && {said}"));
        // What else goes well does not take it away in between.
        page.browser.value(
            "{ window.went = 0; const seen = new MutationObserver(() => { window.went += 1; }); \
             seen.observe(document.querySelector('#trouble'), { attributes: true, attributeFilter: ['hidden'] }); }",
        );
        page.tell(&[], &[]);
        page.let_turns_pass();
        assert_eq!(page.browser.value("window.went"), json!(0), "the banner flickers");
        page.refuse_nothing();
        page.browser.until("it goes", &format!("!{BANNER}"));
        let before = page.times(address);
        let again = format!("window.asked.filter((it) => it.address === {address:?}).length > {before}");
        page.browser.until("it is asked for again", &again);
    }
}

/// The page asks for several things at a time. What was asked without a token, and is refused after one was given, does
/// not make the page forget it.
fn a_late_refusal_is_no_word_on_a_new_token(page: &mut Canned) {
    let is_asked = "document.querySelector('#token-dialog').open";
    page.hold("/v1/audit");
    let before = page.times("/v1/audit");
    let held = format!("window.asked.filter((it) => it.address === '/v1/audit').length > {before}");
    page.browser.until("it waits for the audit", &held);
    page.browser.value("window.secret = 'correct-horse'");
    page.browser.until("the token is asked for", is_asked);
    page.browser.value("document.querySelector('#token').value = 'correct-horse'");
    page.browser.click("#token-send");
    let before = page.times("/v1/status");
    let taken = format!("window.asked.filter((it) => it.address === '/v1/status').length > {before} + 1");
    page.browser.until("it is taken", &taken);
    page.let_go("/v1/audit");
    page.let_turns_pass();
    assert_eq!(page.browser.value(is_asked), json!(false), "it was given");
    assert_eq!(page.browser.value("sessionStorage.getItem('tidegate-token')"), json!("correct-horse"));
    let sent = "window.asked.at(-1).headers.authorization";
    assert_eq!(page.browser.value(sent), json!("Bearer correct-horse"));
}
