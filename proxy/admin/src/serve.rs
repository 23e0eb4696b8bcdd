//! Connections: how many at once, for how long, and how slow a client may be.

use std::{io, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::Request};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tower::Service;

use crate::{
    AdminListener, AdminState,
    access::Peer,
    listener::{Audience, Socket},
    router,
};

/// How many connections are served at once; more wait in the kernel's queue.
const CONNECTIONS: usize = 64;
/// How long a client may take to send a request's head, also the next one on the same connection.
pub(crate) const HEADER_LIMIT: Duration = Duration::from_secs(5);
/// How large a request's head may be.
const HEAD_LIMIT: usize = 16 * 1024;
/// How long a connection is used; after that it ends with the request it is busy with.
const CONNECTION_AGE: Duration = Duration::from_secs(60);
/// How long that request may still take: its answer, too, has to be read.
const LAST_ANSWER: Duration = Duration::from_secs(15);
/// How long accept rests after an error that concerns the process, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves a listener until the future is dropped. To be called on the admin runtime.
pub async fn serve(listener: AdminListener, state: AdminState) -> io::Result<()> {
    let router = match listener.audience {
        Audience::Operators(access) => router::operators(state, access),
        Audience::Scrapers => router::scrapers(state),
    };
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    match listener.socket {
        Socket::Tcp(socket) => serve_tcp(TcpListener::from_std(socket)?, router, slots).await,
        Socket::Unix(socket, _file) => serve_unix(UnixListener::from_std(socket)?, router, slots).await,
    }
}

async fn serve_tcp(socket: TcpListener, router: Router, slots: Arc<Semaphore>) -> io::Result<()> {
    loop {
        let slot = Arc::clone(&slots).acquire_owned().await.map_err(io::Error::other)?;
        match socket.accept().await {
            Ok((stream, remote)) => {
                let local = stream.local_addr().ok().map(|local| local.ip());
                begin(stream, router.clone(), Peer { name: remote.to_string(), local }, slot);
            }
            Err(error) => rest(&error).await,
        }
    }
}

async fn serve_unix(socket: UnixListener, router: Router, slots: Arc<Semaphore>) -> io::Result<()> {
    loop {
        let slot = Arc::clone(&slots).acquire_owned().await.map_err(io::Error::other)?;
        match socket.accept().await {
            Ok((stream, _)) => {
                let name = match stream.peer_cred() {
                    Ok(peer) => format!("uid {}", peer.uid()),
                    Err(_) => "unix socket".to_owned(),
                };
                begin(stream, router.clone(), Peer { name, local: None }, slot);
            }
            Err(error) => rest(&error).await,
        }
    }
}

fn begin<Stream>(stream: Stream, router: Router, peer: Peer, slot: OwnedSemaphorePermit)
where
    Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    drop(tokio::spawn(async move {
        serve_connection(stream, router, peer).await;
        drop(slot);
    }));
}

async fn rest(error: &io::Error) {
    tracing::warn!(%error, "admin listener cannot accept");
    sleep(ACCEPT_PAUSE).await;
}

/// Serves one connection to its end.
pub(crate) async fn serve_connection<Stream>(stream: Stream, router: Router, peer: Peer)
where
    Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        router.clone().call(request.map(Body::new))
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_LIMIT).max_buf_size(HEAD_LIMIT);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = sleep(CONNECTION_AGE) => {
            connection.as_mut().graceful_shutdown();
            timeout(LAST_ANSWER, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "admin connection ended early");
    }
}

#[cfg(test)]
mod tests;
