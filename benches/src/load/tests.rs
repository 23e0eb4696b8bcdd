//! The load against endpoints without a proxy, and against one that is bad on purpose.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::endpoints::{Endpoints, Kind};

const RUN: Duration = Duration::from_millis(20);

/// What the bad proxy does to the connection.
#[derive(Clone, Copy)]
enum Fashion {
    /// Answers with another byte in its place.
    WrongByte,
    /// Closes instead of answering.
    Close,
}

async fn bad(fashion: Fashion) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(misbehave(stream, fashion));
        }
    });
    address
}

async fn misbehave(mut stream: TcpStream, fashion: Fashion) {
    let mut buffer = [0; MESSAGE];
    while let Ok(n @ 1..) = stream.read(&mut buffer).await {
        match fashion {
            Fashion::Close => return,
            Fashion::WrongByte => buffer[n - 1] ^= 1,
        }
        if stream.write_all(&buffer[..n]).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn sound_endpoints_give_no_fault() {
    let endpoints = Endpoints::here().unwrap();
    let supplied = Clients::of(endpoints.addresses(Kind::Supply));
    bulk(&supplied, 2, Duration::ZERO).await;
    assert_eq!(supplied.faults(), Vec::<String>::new());
    assert_eq!(supplied.done() % (16 << 20), 0);
    assert!(supplied.done() > 0);

    let echoed = Clients::of(endpoints.addresses(Kind::Echo));
    trips(&echoed, 4, RUN).await;
    connections(&echoed, 4, RUN).await;
    let mut idle = hold(&echoed, 100).await;
    assert_eq!(endpoints.settle(100, Duration::from_secs(10)).await, 100);
    idle.trip_each(&echoed).await;
    drop(idle);
    assert_eq!(endpoints.settle(0, Duration::from_secs(10)).await, 0);
    assert_eq!(echoed.faults(), Vec::<String>::new());
    assert!(echoed.done() > 100);
}

#[tokio::test]
async fn a_wrong_byte_is_a_fault() {
    let proxy = bad(Fashion::WrongByte).await;
    let clients = Clients::of(&[proxy]);
    trips(&clients, 1, RUN).await;
    bulk(&clients, 1, RUN).await;
    assert_eq!(clients.faults(), ["reply: a wrong byte", "bulk: a wrong byte"]);
    assert_eq!(clients.done(), 0);
}

#[tokio::test]
async fn a_broken_flow_is_a_fault() {
    let proxy = bad(Fashion::Close).await;
    let clients = Clients::of(&[proxy]);
    trips(&clients, 1, RUN).await;
    bulk(&clients, 1, RUN).await;
    hold(&clients, 1).await.trip_each(&clients).await;
    let faults = clients.faults();
    assert_eq!(faults.len(), 3, "{faults:?}");
    assert!(faults[0].starts_with("reply: ") && faults[1].starts_with("bulk: "), "{faults:?}");
}

#[tokio::test]
async fn a_refused_connect_is_a_fault() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let clients = Clients::of(&[address]);
    connections(&clients, 2, Duration::from_secs(10)).await;
    let faults = clients.faults();
    assert!(faults[0].starts_with("connect: "), "{faults:?}");
    assert!(faults.last().unwrap().starts_with("and "), "{faults:?}");
    assert_eq!(clients.done(), 0);
}
