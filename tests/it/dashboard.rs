//! The dashboard in a real browser. Here with a real proxy: what it shows, what its buttons do, what it asks for, and
//! nothing from elsewhere. In the modules below with an API that is written by the test, so that each fact and each
//! trouble can be had at will.

use std::net::TcpStream;

use serde::Serialize;
use serde_json::{Value, json};
use tidegate_tests::support::{
    Answer, Browser, Connection, DEADLINE, Endpoint, Proxy, Setup, api, eventually, until,
};

mod access;
mod asks;
mod canned;
mod drawn;

use crate::setup;

/// A proxy whose admin API is where a browser can reach it, and that address.
struct Served {
    _proxy: Proxy,
    address: String,
    token: Option<&'static str>,
}

impl Served {
    fn start(setup: Setup, token: Option<&'static str>) -> Self {
        let proxy = setup.spawn();
        let address = eventually("the admin API's address is logged", || {
            let log = proxy.log();
            let line = log.lines().find(|line| line.contains("admin API listening"))?;
            let address = line.rsplit_once("address=")?.1.to_owned();
            log.contains("ready listeners=1").then_some(address)
        });
        Self { _proxy: proxy, address, token }
    }

    fn page(&self) -> String {
        format!("http://{}/", self.address)
    }

    fn ask(&self, head: &str, body: &str) -> Answer {
        let token = self.token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
        let request = format!(
            "{head} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n{token}content-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Answer::to(&mut stream, request.as_bytes()).unwrap()
    }

    fn post(&self, path: &str, body: &impl Serialize) {
        let answer = self.ask(&format!("POST {path}"), &serde_json::to_string(body).unwrap());
        assert_eq!(answer.status, 200, "{}", answer.body);
    }

    fn endpoint(&self, endpoint: &Endpoint) -> api::Endpoint {
        let rows: api::Endpoints = self.ask("GET /v1/endpoints", "").json();
        let address = endpoint.address().to_string();
        rows.endpoints.into_iter().find(|row| row.endpoint == address).unwrap()
    }

    /// Flows that are greeted by this endpoint.
    fn flows(&self, count: usize) -> Vec<Connection> {
        let status: api::Status = self.ask("GET /v1/status", "").json();
        let address = status.listeners[0].address.parse().unwrap();
        let greeted = |_| {
            let mut flow = Connection::open(address);
            flow.greeting();
            flow
        };
        (0..count).map(greeted).collect()
    }
}

fn on_tcp(endpoints: &[Endpoint]) -> Setup {
    setup().config(|config| config.set("admin", json!({"address": "127.0.0.1:0"}))).ready(endpoints)
}

fn drain(endpoint: &Endpoint) -> Value {
    json!({"service": "default/web", "endpoint": endpoint.address().to_string(), "by": "ada", "deadline_ms": 600_000})
}

/// Flows fall while they are watched, the deadline counts down, and the button takes the drain back.
#[test]
fn a_drain_is_watched_and_taken_back() {
    let Some(mut browser) = Browser::start() else { return };
    let endpoints = Endpoint::greeting_group(1);
    let served = Served::start(on_tcp(&endpoints), None);
    let mut flows = served.flows(3);
    browser.open(&served.page());
    browser.until("it is live", "document.querySelector('#live').dataset.state === 'live'");
    browser.until("nothing drains", "!document.querySelector('#no-drains').hidden");
    browser.until("the endpoint is ready", "document.querySelector('.chip.ready')?.innerText === 'yes'");
    served.post("/v1/drain", &drain(&endpoints[0]));
    browser.until("three flows are left", "document.querySelector('.card .flows')?.innerText === '3'");
    let card = browser.text(".card");
    for words in [&*endpoints[0].address().to_string(), "of 3 flows left", "operator ada", "in 10 min"] {
        assert!(card.contains(words), "{words}: {card}");
    }
    flows.pop();
    browser.until("two are left", "document.querySelector('.card .flows')?.innerText === '2'");
    let bar =
        "[document.querySelector('.card progress').value, document.querySelector('.card progress').max]";
    assert_eq!(browser.value(bar), json!([1, 3]));

    browser.click(".card .undrain");
    until("it takes new flows again", || served.endpoint(&endpoints[0]).eligible);
    browser.until("nothing drains", "!document.querySelector('#no-drains').hidden");
    browser.until("it is in the audit", "document.querySelector('#audit .chip')?.innerText === 'undone'");
    for flow in &mut flows {
        flow.exchange(b"still here");
    }

    // And by its own button a drain begins, with a deadline.
    browser.until("it may be drained", "document.querySelector('td.action button').innerText === 'Drain'");
    browser.click("td.action button");
    assert_eq!(browser.value("document.querySelector('#drain-dialog').open"), json!(true));
    browser.value("document.querySelector('#drain-deadline').value = 'soon'");
    browser.click("#drain-send");
    browser.until("a wrong time is said", "document.querySelector('#drain-wrong').innerText.includes('90s')");
    browser.value("document.querySelector('#drain-deadline').value = '10m'");
    browser.value("document.querySelector('#drain-reason').value = '<img src=x onerror=alert(1)>'");
    browser.click("#drain-send");
    browser.until("it drains", "document.querySelector('.card .flows')?.innerText === '2'");
    let row = served.endpoint(&endpoints[0]);
    assert_eq!(row.admin_state.by.as_deref(), Some("dashboard"));
    assert!(row.drain.unwrap().deadline.is_some());
    expect_nothing_foreign(&mut browser, &served);
}

/// With a token the page asks for it, says when it is wrong, and keeps it in the tab alone.
#[test]
fn a_wrong_token_is_said_to_be_wrong() {
    let Some(mut browser) = Browser::start() else { return };
    let endpoints = Endpoint::greeting_group(1);
    let token = "correct-horse-battery";
    let setup = on_tcp(&endpoints);
    std::fs::write(setup.directory().join("token"), token).unwrap();
    let admin = json!({"address": "127.0.0.1:0", "tokenFile": "../token"});
    let served = Served::start(setup.config(|config| config.set("admin", admin)), Some(token));
    browser.open(&served.page());
    browser.until("it asks for the token", "document.querySelector('#token-dialog').open");
    assert_eq!(browser.text("#token-why"), "");
    let give = |browser: &mut Browser, token: &str| {
        browser.value(&format!("document.querySelector('#token').value = {token:?}"));
        browser.click("#token-send");
    };
    give(&mut browser, "wrong-horse-battery");
    let said = "document.querySelector('#token-why').innerText.includes('not accepted')";
    browser.until("it says that it was wrong", said);
    assert_eq!(browser.value("document.querySelector('#token-dialog').open"), json!(true));
    assert_eq!(browser.value("sessionStorage.length"), json!(0), "a wrong token is not kept");
    give(&mut browser, token);
    browser.until("it is live", "document.querySelector('#live').dataset.state === 'live'");
    browser.until("endpoints are shown", "document.querySelectorAll('tbody .chip.ready').length === 1");
    assert_eq!(browser.value("[localStorage.length, document.cookie]"), json!([0, ""]));
    assert!(!browser.value("document.documentElement.outerHTML").to_string().contains(token));
    browser.click("#forget");
    browser.until("it asks again", "document.querySelector('#token-dialog')?.open === true");
}

/// Whatever was asked for was asked of this proxy, and the browser had nothing to refuse.
#[track_caller]
fn expect_nothing_foreign(browser: &mut Browser, served: &Served) {
    let page = served.page();
    let foreign: Vec<_> =
        browser.requests().iter().filter(|url| !url.starts_with(&page) && *url != "about:blank").collect();
    assert!(foreign.is_empty(), "{foreign:?}");
    assert!(browser.requests().iter().any(|url| url.ends_with("/v1/drains?follow=true")));
    assert_eq!(browser.complaints(), [] as [String; 0]);
}
