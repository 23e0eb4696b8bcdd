//! A relay that does one thing wrong.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// What a relay does to the bytes of a connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fashion {
    /// Nothing.
    Sound,
    /// Changes one bit of what goes to the client.
    WrongByteDown,
    /// Changes one bit of what goes to the endpoint.
    WrongByteUp,
    /// Leaves out a byte of what goes to the client.
    LoseDown,
    /// Sends a byte to the client twice.
    DoubleDown,
    /// Closes after the first bytes to the client.
    Close,
    /// The same with a reset.
    Reset,
    /// Keeps the first bytes to the client back for so long.
    Stall(Duration),
}

/// Starts a relay to an endpoint.
pub(super) async fn relay(fashion: Fashion, endpoint: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::task::spawn_local(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::task::spawn_local(connection(client, fashion, endpoint));
        }
    });
    address
}

async fn connection(client: TcpStream, fashion: Fashion, endpoint: SocketAddr) {
    let Ok(endpoint) = TcpStream::connect(endpoint).await else { return };
    if fashion == Fashion::Reset {
        let _ = client.set_zero_linger();
    }
    let (client_reader, client_writer) = client.into_split();
    let (endpoint_reader, endpoint_writer) = endpoint.into_split();
    let up = if fashion == Fashion::WrongByteUp { fashion } else { Fashion::Sound };
    let down = if fashion == Fashion::WrongByteUp { Fashion::Sound } else { fashion };
    // The first direction that ends takes the other with it, as a proxy does that breaks a flow.
    tokio::select! {
        () = half(client_reader, endpoint_writer, up) => {}
        () = half(endpoint_reader, client_writer, down) => {}
    }
}

async fn half(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, fashion: Fashion) {
    let mut buffer = vec![0; 16 * 1024];
    let mut is_first = true;
    while let Ok(len @ 1..) = from.read(&mut buffer).await {
        let mut bytes = buffer[..len].to_vec();
        if is_first {
            let middle = len / 2;
            match fashion {
                Fashion::Sound => {}
                Fashion::WrongByteDown | Fashion::WrongByteUp => bytes[len - 1] ^= 1,
                Fashion::LoseDown => drop(bytes.remove(middle)),
                Fashion::DoubleDown => bytes.insert(middle, bytes[middle]),
                Fashion::Close | Fashion::Reset => return,
                // Time is what this is about, and the length of the stall what the test counts on.
                Fashion::Stall(time) => {
                    let _ = tokio::time::timeout(time, std::future::pending::<()>()).await;
                }
            }
        }
        is_first = false;
        if to.write_all(&bytes).await.is_err() {
            return;
        }
    }
}
