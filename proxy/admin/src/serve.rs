//! Connections: how many at once, for how long, and how slow a client may be.

use std::{io, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::Request};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::{Notify, OwnedSemaphorePermit, Semaphore, watch},
    time::{Instant, sleep, timeout},
};
use tower::Service;

use crate::{
    AdminListener, AdminState,
    access::Peer,
    gate,
    listener::{Audience, Socket},
    router,
};

/// How many connections of operators are served at once; more wait in the kernel's queue.
const CONNECTIONS: usize = 64;
/// How many of scrapers. Their listener is open to the network, and probes come in by it too: silent clients must not
/// keep a probe waiting until it is taken for dead.
const SCRAPERS: usize = 512;
/// How long a scraper may take to send a request's head.
const SCRAPER_HEADER_LIMIT: Duration = Duration::from_secs(1);
/// How long a client may take to send a request's head, also the next one on the same connection.
pub(crate) const HEADER_LIMIT: Duration = Duration::from_secs(5);
/// How large a request's head may be.
const HEAD_LIMIT: usize = 16 * 1024;
/// How long a connection is used; after that it ends with the request it is busy with.
const CONNECTION_AGE: Duration = Duration::from_secs(60);
/// How long that request may still take: its answer, too, has to be read.
const LAST_ANSWER: Duration = Duration::from_secs(15);
/// How long whoever was accepted may take to ask, once no more is served here, and to read the answer. Another process
/// waits for that.
const STOPPING: Duration = Duration::from_millis(500);
/// How long accept rests after an error that concerns the process, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves a listener until the future is dropped. To be called on the admin runtime.
pub async fn serve(listener: AdminListener, state: AdminState) -> io::Result<()> {
    serve_until(listener, state, std::future::pending()).await
}

/// Serves a listener until `stop`, and then what was asked before: another process may accept from here on.
pub async fn serve_until(
    listener: AdminListener,
    state: AdminState,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let (serving, served) = watch::channel(());
    let door = match listener.audience {
        Audience::Pods => return gate::serve(listener.socket, state, stop).await,
        Audience::Operators(access) => Door {
            router: router::operators(state, access),
            slots: Arc::new(Semaphore::new(CONNECTIONS)),
            most: CONNECTIONS,
            header_limit: HEADER_LIMIT,
            served,
        },
        Audience::Scrapers => Door {
            router: router::scrapers(state),
            slots: Arc::new(Semaphore::new(SCRAPERS)),
            most: SCRAPERS,
            header_limit: SCRAPER_HEADER_LIMIT,
            served,
        },
    };
    let accepting = async {
        match listener.socket {
            Socket::Tcp(socket) => serve_tcp(TcpListener::from_std(socket)?, &door).await,
            Socket::Unix(socket, _file) => serve_unix(UnixListener::from_std(socket)?, &door).await,
        }
    };
    tokio::select! {
        ended = accepting => return ended,
        () = stop => {}
    }
    drop(serving);
    let all = u32::try_from(door.most).unwrap_or(u32::MAX);
    // Whoever takes longer is cut.
    let _ = timeout(2 * STOPPING, door.slots.acquire_many(all)).await;
    Ok(())
}

/// What a listener's connections have in common.
struct Door {
    router: Router,
    slots: Arc<Semaphore>,
    header_limit: Duration,
    most: usize,
    /// Closed when no more is served here.
    served: watch::Receiver<()>,
}

async fn serve_tcp(socket: TcpListener, door: &Door) -> io::Result<()> {
    loop {
        let slot = Arc::clone(&door.slots).acquire_owned().await.map_err(io::Error::other)?;
        match socket.accept().await {
            Ok((stream, remote)) => {
                let local = stream.local_addr().ok().map(|local| local.ip());
                begin(stream, door, Peer { name: remote.to_string(), local }, slot);
            }
            Err(error) => rest(&error).await,
        }
    }
}

async fn serve_unix(socket: UnixListener, door: &Door) -> io::Result<()> {
    loop {
        let slot = Arc::clone(&door.slots).acquire_owned().await.map_err(io::Error::other)?;
        match socket.accept().await {
            Ok((stream, _)) => {
                let name = match stream.peer_cred() {
                    Ok(peer) => format!("uid {}", peer.uid()),
                    Err(_) => "unix socket".to_owned(),
                };
                begin(stream, door, Peer { name, local: None }, slot);
            }
            Err(error) => rest(&error).await,
        }
    }
}

fn begin<Stream>(stream: Stream, door: &Door, peer: Peer, slot: OwnedSemaphorePermit)
where
    Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (router, header_limit, served) = (door.router.clone(), door.header_limit, door.served.clone());
    drop(tokio::spawn(async move {
        serve_connection(stream, router, peer, header_limit, served).await;
        drop(slot);
    }));
}

async fn rest(error: &io::Error) {
    tracing::warn!(%error, "admin listener cannot accept");
    sleep(ACCEPT_PAUSE).await;
}

/// What an answer that lasts has to know of its connection.
#[derive(Clone, Debug)]
pub(crate) struct Lasting {
    /// When the connection's time is over.
    pub(crate) until: Instant,
    served: watch::Receiver<()>,
    cut: Arc<Notify>,
}

impl Lasting {
    /// Waits until no more is served here.
    pub(crate) async fn served(&mut self) {
        while self.served.changed().await.is_ok() {}
    }

    /// Ends the connection at once, whatever was not read.
    pub(crate) fn cut(&self) {
        self.cut.notify_one();
    }

    #[cfg(test)]
    pub(crate) fn of_test() -> Self {
        let (serving, served) = watch::channel(());
        std::mem::forget(serving);
        Self { until: Instant::now() + CONNECTION_AGE, served, cut: Arc::default() }
    }
}

/// Serves one connection to its end.
pub(crate) async fn serve_connection<Stream>(
    stream: Stream,
    router: Router,
    peer: Peer,
    header_limit: Duration,
    mut served: watch::Receiver<()>,
) where
    Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (asking, mut asked) = watch::channel(false);
    let until = Instant::now() + CONNECTION_AGE;
    let lasting = Lasting { until, served: served.clone(), cut: Arc::default() };
    let cut = Arc::clone(&lasting.cut);
    let service = service_fn(move |mut request: Request<Incoming>| {
        asking.send_replace(true);
        request.extensions_mut().insert(peer.clone());
        request.extensions_mut().insert(lasting.clone());
        router.clone().call(request.map(Body::new))
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(header_limit).max_buf_size(HEAD_LIMIT);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = cut.notified() => Ok(()),
        () = sleep(CONNECTION_AGE) => {
            connection.as_mut().graceful_shutdown();
            timeout(LAST_ANSWER, connection).await.unwrap_or(Ok(()))
        }
        // Whoever was accepted is answered once; its request may still be on its way.
        () = async {
            let _ = served.changed().await;
            let _ = timeout(STOPPING, asked.wait_for(|asked| *asked)).await;
        } => {
            connection.as_mut().graceful_shutdown();
            timeout(STOPPING, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "admin connection ended early");
    }
}

#[cfg(test)]
mod tests;
