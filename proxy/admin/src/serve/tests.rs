use std::io::ErrorKind;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    net::{TcpStream, UnixStream},
    time::Instant,
};

use super::*;
use crate::rig::Rig;

/// Nobody stops to serve.
fn for_ever() -> watch::Receiver<()> {
    let (serving, served) = watch::channel(());
    std::mem::forget(serving);
    served
}

fn peer() -> Peer {
    Peer { name: "test".to_owned(), local: None }
}

fn connect(rig: &Rig) -> DuplexStream {
    let (client, server) = duplex(64 * 1024);
    drop(tokio::spawn(serve_connection(server, rig.router.clone(), peer(), HEADER_LIMIT, for_ever())));
    client
}

/// Everything until the connection ends.
async fn until_end(client: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    match client.read_to_end(&mut bytes).await {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => panic!("{error}"),
        _ => String::from_utf8(bytes).unwrap(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_cut() {
    let rig = Rig::start(false).await;
    let begun = Instant::now();
    until_end(&mut connect(&rig)).await;
    assert_eq!(begun.elapsed().as_secs(), HEADER_LIMIT.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_a_byte_a_second_is_cut() {
    let rig = Rig::start(false).await;
    let mut client = connect(&rig);
    let begun = Instant::now();
    for byte in "GET /livez HTTP/1.1\r\nhost: localhost\r\nx-slow: aaaaaaaaaaaa".bytes() {
        if client.write_all(&[byte]).await.is_err() {
            break;
        }
        sleep(Duration::from_secs(1)).await;
    }
    until_end(&mut client).await;
    assert!(begun.elapsed() <= HEADER_LIMIT + Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_cut_after_its_request() {
    let rig = Rig::start(false).await;
    let mut client = connect(&rig);
    let begun = Instant::now();
    client.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let text = until_end(&mut client).await;
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    assert_eq!(begun.elapsed().as_secs(), HEADER_LIMIT.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_not_waited_for_for_ever() {
    let rig = Rig::start(false).await;
    let mut client = connect(&rig);
    let begun = Instant::now();
    let head = "POST /v1/drain HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                content-length: 100\r\n\r\n{";
    client.write_all(head.as_bytes()).await.unwrap();
    let text = until_end(&mut client).await;
    assert!(text.starts_with("HTTP/1.1 408"), "{text}");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_kept_busy_ends_at_its_age() {
    let rig = Rig::start(false).await;
    let mut client = connect(&rig);
    let begun = Instant::now();
    let mut answers = 0;
    while client.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await.is_ok() {
        let mut buffer = [0; 4096];
        match client.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(_) => answers += 1,
        }
        sleep(Duration::from_secs(2)).await;
    }
    let age = begun.elapsed();
    assert!((CONNECTION_AGE..CONNECTION_AGE + LAST_ANSWER).contains(&age), "{age:?} after {answers} answers");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_cut() {
    let rig = Rig::start(false).await;
    let (mut client, server) = duplex(64);
    let connection =
        tokio::spawn(serve_connection(server, rig.router.clone(), peer(), HEADER_LIMIT, for_ever()));
    let begun = Instant::now();
    client.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    connection.await.unwrap();
    assert!(
        begun.elapsed() <= CONNECTION_AGE + LAST_ANSWER + Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn nonsense_is_answered_with_400_and_a_huge_head_with_431() {
    let rig = Rig::start(false).await;
    for nonsense in [
        "\x16\x03\x01\x02\x00\x01\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET / HTTP/1.1\r\n: x\r\n\r\n",
    ] {
        let mut client = connect(&rig);
        client.write_all(nonsense.as_bytes()).await.unwrap();
        let text = until_end(&mut client).await;
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 400"), "{nonsense:?}: {text}");
    }
    let mut client = connect(&rig);
    let head = format!("GET /livez HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "a".repeat(2 * HEAD_LIMIT));
    client.write_all(head.as_bytes()).await.unwrap();
    let text = until_end(&mut client).await;
    assert!(text.starts_with("HTTP/1.1 431"), "{text}");
}

/// One exchange over a real socket.
async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, path: &str, host: &str) -> String {
    let head = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    until_end(&mut stream).await
}

#[tokio::test]
async fn tcp_and_unix_sockets_are_served() {
    let rig = Rig::start(false).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let tcp = AdminListener::tcp("127.0.0.1:0".parse().unwrap(), None).unwrap();
    let metrics = AdminListener::metrics("127.0.0.1:0".parse().unwrap()).unwrap();
    let unix = AdminListener::unix(&path, None).unwrap();
    let (address, scrape_address) = (tcp.local_addr().unwrap(), metrics.local_addr().unwrap());
    for listener in [tcp, metrics, unix] {
        drop(tokio::spawn(serve(listener, rig.state.clone())));
    }
    let connect = async |address| TcpStream::connect(address).await.unwrap();

    let text = exchange(connect(address).await, "/v1/endpoints", "localhost").await;
    assert!(text.starts_with("HTTP/1.1 200") && text.contains("web-0"), "{text}");
    let text = exchange(connect(address).await, "/v1/endpoints", "evil.example").await;
    assert!(text.starts_with("HTTP/1.1 421"), "{text}");
    let text = exchange(UnixStream::connect(&path).await.unwrap(), "/v1/endpoints", "any.example").await;
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    let text = exchange(connect(scrape_address).await, "/metrics", "any.example").await;
    assert!(text.starts_with("HTTP/1.1 200") && text.ends_with("# EOF\n"), "{text}");
    let text = exchange(connect(scrape_address).await, "/v1/endpoints", "localhost").await;
    assert!(text.starts_with("HTTP/1.1 404"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn more_connections_than_slots_wait_their_turn() {
    let rig = Rig::start(false).await;
    let listener = AdminListener::tcp("127.0.0.1:0".parse().unwrap(), None).unwrap();
    let address = listener.local_addr().unwrap();
    drop(tokio::spawn(serve(listener, rig.state.clone())));
    let begun = Instant::now();
    let mut silent = Vec::new();
    for _ in 0..CONNECTIONS {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let last = TcpStream::connect(address).await.unwrap();
    let text = exchange(last, "/livez", "localhost").await;
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    assert!(begun.elapsed() >= HEADER_LIMIT, "the last one is served once a silent one was cut");
}
