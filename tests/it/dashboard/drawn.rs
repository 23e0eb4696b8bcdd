//! What the page shows: each fact of the API in its place, in words, and as text whatever it says.

use serde_json::{Value, json};

use super::canned::{Answers, BEGAN, Canned, SERVICE, drain, endpoint, record, service, with};

/// A table as its rows, each as the texts of its cells by the words above them. The first cell is not labelled where the
/// page is narrow; every other one is, with the same word, but for the button's.
const ROWS: &str = "((table) => {
    const heads = [...table.querySelectorAll('thead th')].map((head) => head.textContent);
    return [...table.querySelectorAll('tbody tr')].map((row) => Object.fromEntries([...row.children].map((cell, at) => {
        const label = cell.dataset.label ?? heads[at];
        if (label !== heads[at]) throw new Error(`${label} below ${heads[at]}`);
        const button = cell.querySelector('button');
        return [heads[at], (button ? !button.hidden && button.textContent : cell.textContent)];
    })));
})";

fn rows(page: &mut Canned, table: &str) -> Vec<Value> {
    let rows = page.browser.value(&format!("{ROWS}(document.querySelector({table:?}))"));
    rows.as_array().unwrap().clone()
}

/// One browser for all of it: its start is what takes time.
#[test]
fn everything_stands_in_its_place() {
    let services = Vec::from([
        with(service(SERVICE, 3, 7), json!({"draining": 2, "flows": 1_234})),
        with(service("default/web:admin", 1, 2), json!({"last_resort": true})),
        service("default/empty:http", 0, 1),
        with(service("default/old:http", 0, 1), json!({"configured": false})),
    ]);
    let drained = json!({"admin_state": {"state": "drain", "by": "ada", "reason": "its disk fails"}});
    let endpoints = Vec::from([
        endpoint(1, Some([true, false, false]), false),
        endpoint(2, Some([false, true, false]), false),
        endpoint(3, Some([false, false, true]), false),
        endpoint(4, Some([true, true, false]), true),
        endpoint(5, None, false),
        with(endpoint(6, None, false), drained),
        with(endpoint(7, Some([true, true, false]), true), json!({"service": "default/web:admin"})),
    ]);
    let counts = json!({"flows_at_start": 21, "ended_by_client": 22, "ended_by_endpoint": 23, "shed": 24, "cut": 25,
                        "broken": 26, "ordered": 100, "elsewhere": 7, "flows_left": 27, "flows_after_start": 28, "why": "operator ada"});
    let records = Vec::from([
        with(record(1), json!({"shed": 3})),
        with(record(2), json!({"undone": true})),
        with(record(3), counts),
        with(record(9), json!({"ended": null})),
    ]);
    let Some(mut page) = Canned::open(&Answers { services, endpoints, records, drains: Vec::new() }) else {
        return;
    };
    page.browser.until("the audit is shown", "document.querySelectorAll('#audit tr').length === 3");
    services_are_summed_up(&mut page);
    endpoints_are_in_columns(&mut page);
    the_audit_is_in_columns(&mut page);
    a_drain_is_a_card(&mut page);
    time_alone_moves_deadlines(&mut page);
    ends_are_told_as_they_are(&mut page);
    long_lists_are_shown_in_parts(&mut page);
    names_are_no_markup(&mut page);
    assert_eq!(page.browser.complaints(), [] as [String; 0]);
}

fn services_are_summed_up(page: &mut Canned) {
    let facts = page.browser.value("document.querySelector('#facts').innerText.replace(/\\s+/g, ' ')");
    assert_eq!(facts, json!("version 1.2.3 phase ready up 2 h flows 12,345 generation 77"));
    let summaries = page.browser.value(
        "[...document.querySelectorAll('summary')].map((it) => [...it.children].map((part) => part.textContent))",
    );
    assert_eq!(
        summaries,
        json!([
            [SERVICE, "3 of 7 endpoints for new flows · 1,234 flows", "2 draining"],
            [
                "default/web:admin",
                "1 of 2 endpoints for new flows · 1 flow",
                "none ready: terminating ones take new flows"
            ],
            ["default/empty:http", "0 of 1 endpoint for new flows · 1 flow", "new flows are refused"],
            ["default/old:http", "0 of 1 endpoint for new flows · 1 flow", "not configured any more"],
        ])
    );
}

fn endpoints_are_in_columns(page: &mut Canned) {
    let row = |id: u64, words: [&str; 4], admin: &str, action: Value| {
        json!({
            "Endpoint": format!("10.0.0.{id}:80default/web-{id} · node-a · zone-1"), "Ready": words[0], "Serving": words[1],
            "Terminating": words[2], "New flows": words[3], "Admin state": admin, "Flows": format!("1,00{id}"),
            "Action": action,
        })
    };
    let gone = ["gone", "gone", "gone", "no"];
    let expected = [
        row(1, ["yes", "no", "no", "no"], "in service", json!("Drain")),
        row(2, ["no", "yes", "no", "no"], "in service", json!("Drain")),
        row(3, ["no", "no", "yes", "no"], "in service", json!("Drain")),
        row(4, ["yes", "yes", "no", "yes"], "in service", json!("Drain")),
        row(5, gone, "in service", json!(false)),
        row(6, gone, "drain, by adaits disk fails", json!("Undrain")),
    ];
    assert_eq!(rows(page, "details:nth-child(1) table"), expected);
    let others = rows(page, "details:nth-child(2) table");
    assert_eq!(others, [row(7, ["yes", "yes", "no", "yes"], "in service", json!("Drain"))]);
}

fn the_audit_is_in_columns(page: &mut Canned) {
    let ended = page.browser.value("new Date('2026-01-01T10:00:05.000Z').toLocaleTimeString('en-GB')");
    let row = |id: u64, outcome: &str, counts: [u64; 9]| {
        let mut row = json!({
            "Endpoint": format!("10.0.0.{id}:80default/web · default/web-{id}operator ada"), "Outcome": outcome,
            "Ended": ended, "Took": "5.0 s",
        });
        let heads =
            ["Flows", "By client", "By endpoint", "Shed", "Cut", "Broken", "Other", "Left", "New after"];
        for (head, count) in heads.into_iter().zip(counts) {
            row[head] = json!(count.to_string());
        }
        row
    };
    // The latest first, and none that is on.
    let expected = [
        row(3, "broken", [21, 22, 23, 24, 25, 26, 107, 27, 28]),
        row(2, "undone", [40, 0, 0, 0, 0, 0, 0, 0, 0]),
        row(1, "clean", [40, 0, 0, 3, 0, 0, 0, 0, 0]),
    ];
    assert_eq!(rows(page, "#audit-scroll table"), expected);
    assert_eq!(page.browser.value("document.querySelector('#no-audit').checkVisibility()"), json!(false));
}

fn a_drain_is_a_card(page: &mut Canned) {
    assert!(page.browser.text("#no-drains").contains("No endpoint with flows is draining"));
    let many = json!({
        "why": "slice default/web-abc says terminating", "causes": [{"kind": "slice", "object": "default/web-abc"}],
        "waits": true, "flows_at_start": 1_200, "flows_left": 300, "idle_share": 0.25, "bytes_per_second": 2_500_000,
        "oldest_flow_seconds": 7_300.0, "shed": 4, "cut": 5, "broken": 6, "will_be_cut": 7,
        "ends": {"earliest": BEGAN, "latest": BEGAN, "earliest_seconds": 60.0, "latest_seconds": 600.0},
    });
    page.tell(&[with(drain(1), many), drain(2)], &[]);
    page.browser.until("two are shown", "document.querySelectorAll('.card').length === 2");
    assert_eq!(page.browser.text("#drains-count"), "2");
    let hidden = "document.querySelector('#no-drains').checkVisibility()";
    assert_eq!(page.browser.value(hidden), json!(false));
    let card = "[...document.querySelectorAll('.card')].map((card) => ({
        name: card.querySelector('h3').textContent, where: card.querySelector('.where').textContent,
        left: card.querySelector('.left').textContent, why: card.querySelector('.why').textContent,
        bar: [card.querySelector('progress').value, card.querySelector('progress').max],
        facts: [...card.querySelectorAll('dl div')].map((it) => it.textContent),
        urgent: card.classList.contains('urgent'), undrain: !card.querySelector('button').hidden,
    }))";
    let place = |id: u64| format!("{SERVICE} · default/web-{id} · node-a");
    assert_eq!(
        page.browser.value(card),
        json!([
            {"name": "10.0.0.1:80", "where": place(1), "left": "300 of 1,200 flows left", "bar": [900, 1_200],
             "why": "slice default/web-abc says terminating; waits for a ready endpoint",
             "facts": ["Draining for60 s", "Deadlinenone", "Ends in, about60 s to 10 min", "Idle25 %", "Moving2.5 MB/s",
                       "Oldest flow2 h", "Shed, cut, broken4 / 5 / 6, 7 to be cut"],
             "urgent": true, "undrain": false},
            {"name": "10.0.0.2:80", "where": place(2), "left": "10 of 40 flows left", "bar": [30, 40],
             "why": "operator ada",
             "facts": ["Draining for60 s", "Deadlinenone", "Ends in, aboutnot known", "Idlenot known", "Movingnot known",
                       "Oldest flownone", "Shed, cut, broken0 / 0 / 0"],
             "urgent": false, "undrain": true},
        ])
    );
}

/// Between two samples, and when none comes any more, the clock goes on.
fn time_alone_moves_deadlines(page: &mut Canned) {
    let ends = json!({"earliest": BEGAN, "latest": BEGAN, "earliest_seconds": 50.0, "latest_seconds": 90.0});
    page.tell(&[with(drain(2), json!({"deadline": BEGAN, "deadline_seconds": 90.0, "ends": ends}))], &[]);
    for (passed, deadline, ends) in [
        (0, "in 90 s (", "50 s to 90 s"),
        (30_000, "in 60 s (", "20 s to 60 s"),
        (85_500, "in 4.5 s (", "0.0 s to 4.5 s"),
        (92_000, "over for 2.0 s", "0.0 s"),
    ] {
        page.browser.value(&format!("window.passed = {passed}"));
        let said = format!("document.querySelector('.card .deadline')?.textContent.startsWith({deadline:?})");
        page.browser.until(deadline, &said);
        assert_eq!(page.browser.text(".card .ends"), ends);
    }
    assert_eq!(page.browser.text(".card .since"), "3 min");
    page.browser.value("window.passed = 0");
    page.tell(&[with(drain(2), json!({"deadline": BEGAN, "deadline_seconds": -90.0, "put_off": true}))], &[]);
    let put_off =
        "document.querySelector('.card .deadline').textContent === 'put off, as no endpoint was ready'";
    page.browser.until("it is put off, and not over", put_off);
}

/// A drain that is over is not always one that has done what it was for.
fn ends_are_told_as_they_are(page: &mut Canned) {
    let undone = |id| with(record(id), json!({"undone": true}));
    page.tell(&[1, 2, 3, 4, 5, 6].map(drain), &[]);
    page.until_said("10.0.0.6:80 is draining, 10 flows left");
    page.tell(&[1, 2, 3, 4, 5].map(drain), &[record(6)]);
    page.until_said("10.0.0.6:80 is drained");
    page.tell(&[1, 2, 3, 5].map(drain), &[undone(4)]);
    page.until_said("10.0.0.4:80 takes new flows again");
    page.tell(&[1, 2, 5].map(drain), &[undone(3)]);
    page.until_said("10.0.0.3:80 is not draining any more, and gets no new flows for another reason");
    page.tell(&[1, 2].map(drain), &[undone(5)]);
    page.until_said(
        "10.0.0.5:80 is not draining any more; it has gone, and its flows go on to their own end",
    );
    // Another drain of it is over, and this one may be another process's.
    page.tell(&[drain(1)], &[with(record(2), json!({"began": "2026-01-01T09:59:55.000Z"}))]);
    page.until_said("10.0.0.2:80 is not draining any more");
    page.tell(&[], &[]);
    page.browser.until("no card is left", "document.querySelectorAll('.card').length === 0");
    assert_eq!(page.browser.text("#drains-count"), "0");
}

/// Many services are closed, and nothing is asked of a closed one; of many endpoints the first are shown.
fn long_lists_are_shown_in_parts(page: &mut Canned) {
    let many = (1..=250).map(|id| endpoint(id, Some([true, true, false]), true)).collect();
    let names = ["a", "b", "c", "d", "web"].map(|name| service(&format!("default/{name}:http"), 1, 1));
    page.answer(&Answers { services: names.into(), endpoints: many, ..Answers::default() });
    page.browser.until("they are closed", "document.querySelectorAll('details:not([open])').length === 5");
    let before = page.times("/v1/endpoints?service=default%2Fweb");
    page.let_turns_pass();
    assert_eq!(page.times("/v1/endpoints?service=default%2Fweb"), before, "it is closed");
    page.browser.click("details:last-child summary");
    page.browser
        .until("it is open", "document.querySelectorAll('details:last-child tbody tr').length === 200");
    assert!(page.times("/v1/endpoints?service=default%2Fweb") > before);
    assert_eq!(page.times("/v1/endpoints?service=default%2Fa"), 0, "nobody opened it");
    let more = "document.querySelector('details:last-child .more button').checkVisibility()";
    assert_eq!(page.browser.value(more), json!(true));
    page.browser.click("details:last-child .more button");
    page.browser
        .until("all are shown", "document.querySelectorAll('details:last-child tbody tr').length === 250");
    assert_eq!(page.browser.value(more), json!(false));
    // A page that nobody looks at asks nothing.
    page.browser.value("window.away = true");
    page.let_turns_pass();
    let before = page.times("/v1/status");
    page.let_turns_pass();
    assert_eq!(page.times("/v1/status"), before);
    page.browser.value("window.away = false");
}

/// Whatever a pod, a node, a service or an operator is called.
fn names_are_no_markup(page: &mut Canned) {
    let evil = r#"<img src="/nothing" onerror="hit()"><b>x</b>"#;
    let service_name = format!("{evil}:http");
    let names = json!({"service": service_name, "endpoint": evil, "pod": evil, "node": evil, "zone": evil, "why": evil,
                       "admin_state": {"state": "drain", "by": evil, "reason": evil}});
    let of = |object: Value| {
        let known: Vec<_> =
            names.as_object().unwrap().iter().filter(|(name, _)| !object[&**name].is_null()).collect();
        let known = known.into_iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        with(object, Value::Object(known))
    };
    page.answer(&Answers {
        services: [service(&service_name, 1, 1)].into(),
        endpoints: [of(endpoint(1, Some([true, true, false]), true))].into(),
        records: [of(record(1))].into(),
        drains: Vec::new(),
    });
    page.tell(&[of(drain(1))], &[]);
    let shown = "['.card h3', '.card .where', '.card .why', 'summary strong', 'details tbody code', 'details tbody .sub', \
                 '.chip.admin', '.reason', '#audit code', '#audit .sub'].every((it) => \
                 document.querySelector(it)?.textContent.includes('<img'))";
    page.browser.until("all of it is shown as it is", shown);
    page.browser.click(".card .undrain");
    page.browser
        .until("it is said as it is", "document.querySelector('#said').textContent.includes('<b>x</b>')");
    let made = "[document.querySelectorAll('main img, main b, #said *, #trouble *').length, window.hits]";
    assert_eq!(page.browser.value(made), json!([0, 0]));
    let asked = page.browser.requests().iter().any(|url| url.ends_with("/nothing"));
    assert!(!asked, "a name became an image");
}
