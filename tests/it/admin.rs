//! The admin API refuses what it should, and whatever is done to it, the data plane does not notice.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use serde_json::json;
use tidegate_tests::support::{Answer, DEADLINE, Endpoint, Proxy, eventually};

use crate::setup;

/// A proxy whose admin API is on a TCP port, where browsers could reach it, and that port's address.
fn on_tcp(endpoint: &Endpoint) -> (Proxy, String) {
    let proxy = setup()
        .config(|config| config.set("admin", json!({"address": "127.0.0.1:0"})))
        .ready([endpoint])
        .spawn();
    let address = eventually("the admin API's address is logged", || {
        let log = proxy.log();
        let line = log.lines().find(|line| line.contains("admin API listening"))?;
        let address = line.rsplit_once("address=")?.1;
        log.contains("ready listeners=1").then(|| address.to_owned())
    });
    (proxy, address)
}

/// A Host or an Origin that is not its own is refused (DNS rebinding, forged requests), and so is a change that is not
/// declared as JSON.
#[test]
fn foreign_hosts_and_origins_are_refused() {
    let endpoint = Endpoint::greeting();
    let (_proxy, address) = on_tcp(&endpoint);
    let cases = [
        (format!("GET /v1/status HTTP/1.1\r\nhost: {address}\r\n"), 200),
        ("GET /v1/status HTTP/1.1\r\nhost: localhost\r\n".to_owned(), 200),
        ("GET /v1/status HTTP/1.1\r\nhost: evil.example\r\n".to_owned(), 421),
        (format!("GET /v1/status HTTP/1.1\r\nhost: {address}\r\norigin: http://evil.example\r\n"), 403),
        (format!("GET /v1/status HTTP/1.1\r\nhost: {address}\r\nhost: {address}\r\n"), 400),
        ("GET /v1/status HTTP/1.1\r\n".to_owned(), 400),
        (format!("POST /v1/drain HTTP/1.1\r\nhost: {address}\r\ncontent-type: text/plain\r\n"), 415),
        (format!("GET /v1/drain HTTP/1.1\r\nhost: {address}\r\n"), 405),
        (format!("GET /v2/status HTTP/1.1\r\nhost: {address}\r\n"), 404),
    ];
    for (head, status) in cases {
        let request = format!("{head}connection: close\r\n\r\n");
        assert_eq!(ask(&address, request.as_bytes()).map(|answer| answer.status), Some(status), "{head}");
    }
}

/// Requests that are malformed, huge or slow are refused or cut, while a flow goes on and the API keeps answering.
#[test]
fn hostile_requests_do_not_disturb_a_flow() {
    let endpoint = Endpoint::greeting();
    let proxy = setup().ready([&endpoint]).start();
    let (mut flow, _) = proxy.connect_greeted();
    // Slow ones: a head that does not end, on more connections than are served at once.
    let slow: Vec<_> = (0..100)
        .map(|_| {
            let mut stream = proxy.admin().connect().unwrap();
            stream.write_all(b"GET /v1/status HTTP/1.1\r\nhost: local").unwrap();
            stream
        })
        .collect();
    flow.exchange(b"slow heads");
    for request in [
        b"\0\0\0\0\r\n\r\n".to_vec(),
        b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        [b"GET / HTTP/1.1\r\nhost: localhost\r\nx: ".as_slice(), &[b'x'; 1 << 20], b"\r\n\r\n"].concat(),
        [b"GET /".as_slice(), &[b'x'; 1 << 20], b" HTTP/1.1\r\nhost: localhost\r\n\r\n"].concat(),
        post_of(1 << 20),
    ] {
        let mut stream = proxy.admin().connect().unwrap();
        // Cut without an answer is fine as well.
        if let Ok(answer) = Answer::to(&mut stream, &request) {
            assert!((400..500).contains(&answer.status), "{answer:?}");
        }
        flow.exchange(b"hostile request");
    }
    // The slow ones are cut by the proxy itself.
    for mut stream in slow {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        assert!(bytes.is_empty() || bytes.starts_with(b"HTTP/1.1 4"), "{bytes:?}");
    }
    flow.exchange(b"still here");
    assert_eq!(proxy.status().flows, 1);
    proxy.expect_all_on(&endpoint);
}

/// Unknown members and wrong types in a change are refused, and change nothing.
#[test]
fn malformed_changes_are_refused() {
    let endpoint = Endpoint::greeting();
    let proxy = setup().ready([&endpoint]).start();
    let address = endpoint.address().to_string();
    for body in [
        json!({"service": "default/web", "endpoint": address, "force": true}),
        json!({"service": "default/web"}),
        json!({"service": 7, "endpoint": address}),
        json!({"service": "no-namespace", "endpoint": address}),
        json!([]),
    ] {
        let answer = proxy.post("/v1/drain", &body);
        assert_eq!(answer.status, 400, "{body}: {}", answer.body);
        assert!(answer.body.contains("error"), "{}", answer.body);
    }
    assert_eq!(proxy.get("/v1/flows?limit=0").status, 400);
    assert_eq!(proxy.get("/v1/flows?colour=red").status, 400);
    proxy.expect_all_on(&endpoint);
}

/// The scrapers' address serves metrics and probes, and nothing of the operators' API.
#[test]
fn scrapers_see_metrics_and_probes_alone() {
    let endpoint = Endpoint::greeting();
    let proxy = setup()
        .config(|config| config.set("metrics", json!({"address": "127.0.0.1:0"})))
        .ready([&endpoint])
        .start();
    let log = proxy.log();
    let line = log.lines().find(|line| line.contains("metrics listening")).unwrap();
    let address = line.rsplit_once("address=").unwrap().1;
    for (path, status) in [
        ("/metrics", 200),
        ("/livez", 200),
        ("/readyz", 200),
        // Nobody says which node this is, so that nothing is local.
        ("/healthz/services/default/web", 503),
        ("/healthz/services/default/other", 404),
        ("/v1/status", 404),
        ("/v1/flows", 404),
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: any.example\r\nconnection: close\r\n\r\n");
        assert_eq!(ask(address, request.as_bytes()).map(|answer| answer.status), Some(status), "{path}");
    }
}

fn ask(address: &str, request: &[u8]) -> Option<Answer> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    Answer::to(&mut stream, request).ok()
}

fn post_of(length: usize) -> Vec<u8> {
    let head = format!(
        "POST /v1/drain HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n"
    );
    [head.into_bytes(), vec![b' '; length]].concat()
}
