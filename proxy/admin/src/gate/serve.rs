//! The gate's listener: plain HTTP for pods, TLS or plain HTTP for other instances, one request per connection.
//!
//! A TLS client speaks first, and its first byte is no letter: so both find the same port.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{
        HeaderValue, Method, StatusCode, Uri,
        header::{CACHE_CONTROL, WWW_AUTHENTICATE},
    },
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};
use tower::Service;

use super::{GateContext, PeerRefusal, feed, wait};
use crate::{
    AdminState, Peers,
    access::{Peer, bearer},
    audit, change, drains,
    listener::Socket,
    plan,
    refusal::Refusal,
    router::bound,
    view,
};

/// The most connections, and the fewest; between them an eighth of the flows that the descriptor limit allows.
const CONNECTIONS: (u64, u64) = (64, 4_096);
/// How long a caller may take to say what it wants.
const HEADER_LIMIT: Duration = Duration::from_secs(5);
/// How large a request's head may be.
const HEAD_LIMIT: usize = 16 * 1024;
/// How long accept rests after an error that concerns the process.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long the last answers may take.
const LAST_ANSWER: Duration = Duration::from_secs(1);
/// The first byte of a TLS handshake.
const HANDSHAKE: u8 = 0x16;

/// A connection's other end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    pub(crate) address: IpAddr,
    is_encrypted: bool,
}

/// Serves until `stop`; then whoever waits is told to ask again.
pub(crate) async fn serve(
    socket: Socket,
    state: AdminState,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let Socket::Tcp(socket) = socket else { return Err(io::Error::other("a gate has a TCP address")) };
    let socket = TcpListener::from_std(socket)?;
    let most = usize::try_from((state.flow_limit / 8).clamp(CONNECTIONS.0, CONNECTIONS.1)).unwrap_or(64);
    let slots = Arc::new(Semaphore::new(most));
    let (serving, served) = watch::channel(());
    let peers = state.peers.clone();
    let router = router(GateContext::new(state, most, served));
    let accepting = async {
        loop {
            let slot = Arc::clone(&slots).acquire_owned().await.map_err(io::Error::other)?;
            match socket.accept().await {
                Ok((stream, remote)) => {
                    let (router, peers) = (router.clone(), peers.clone());
                    drop(tokio::spawn(async move {
                        begin(stream, remote, router, peers.as_deref()).await;
                        drop(slot);
                    }));
                }
                Err(error) => {
                    tracing::warn!(%error, "the gate cannot accept");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        ended = accepting => return ended,
        () = stop => {}
    }
    drop(serving);
    let all = u32::try_from(most).unwrap_or(u32::MAX);
    // Whoever takes longer is cut, and asks again.
    let _ = timeout(LAST_ANSWER, slots.acquire_many(all)).await;
    Ok(())
}

async fn begin(stream: TcpStream, remote: SocketAddr, router: Router, peers: Option<&Peers>) {
    let mut first = [0];
    let Ok(Ok(1..)) = timeout(HEADER_LIMIT, stream.peek(&mut first)).await else { return };
    let caller = |is_encrypted| Caller { address: remote.ip().to_canonical(), is_encrypted };
    if first[0] != HANDSHAKE {
        return exchange(stream, router, caller(false)).await;
    }
    let Some(acceptor) = peers.and_then(Peers::acceptor) else {
        tracing::debug!(%remote, "a caller at the gate speaks TLS, and there is no peers.tls");
        return;
    };
    match timeout(HEADER_LIMIT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => exchange(stream, router, caller(true)).await,
        Ok(Err(error)) => tracing::debug!(%remote, %error, "no TLS with a caller at the gate"),
        Err(_) => {}
    }
}

/// One request and its answer.
async fn exchange<Stream>(stream: Stream, router: Router, caller: Caller)
where
    Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |mut request: Request<Incoming>| {
        let peer = Peer { name: format!("instance {}", caller.address), local: None };
        request.extensions_mut().insert(caller);
        request.extensions_mut().insert(peer);
        router.clone().call(request.map(Body::new))
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_LIMIT).max_buf_size(HEAD_LIMIT);
    let connection = builder.keep_alive(false).serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection at the gate ended early");
    }
}

/// What is asked here, and nothing else.
fn router(context: GateContext) -> Router {
    let questions = Router::new()
        .route("/v1/peer/drain", post(change::drain))
        .route("/v1/peer/undrain", post(change::undrain))
        .route("/v1/peer/audit", get(audit::audit))
        .route("/v1/peer/drains", get(drains::once))
        .route("/v1/peer/endpoints", get(view::endpoints))
        .route("/v1/peer/plan", get(plan::plan))
        .with_state(context.state.clone())
        .layer(from_fn(bound));
    let feeds = Router::new().route("/v1/peer/gate", get(feed::feed)).with_state(context.clone());
    let instances = feeds.merge(questions).layer(from_fn_with_state(context.clone(), only_peers));
    Router::new()
        .route("/v1/gate", get(wait::gate))
        .with_state(context)
        .merge(instances)
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn(uncached))
}

async fn uncached(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Lets other instances through, and nobody else.
async fn only_peers(State(context): State<GateContext>, request: Request, next: Next) -> Response {
    match judge(context.state.peers.as_deref(), &request) {
        Ok(()) => next.run(request).await,
        Err(refusal) => {
            context.state.gate.peer_refused(PeerRefusal::of(refusal.status));
            let is_unknown = refusal.status == StatusCode::UNAUTHORIZED;
            let mut response = refusal.into_response();
            if is_unknown {
                response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            response
        }
    }
}

fn judge(peers: Option<&Peers>, request: &Request) -> Result<(), Refusal> {
    let Some(peers) = peers else {
        return Err(Refusal::new(StatusCode::NOT_FOUND, "this instance has no peers")
            .remedy("set `peers` in its configuration"));
    };
    let is_encrypted = request.extensions().get::<Caller>().is_some_and(|caller| caller.is_encrypted);
    if peers.has_tls() && !is_encrypted {
        return Err(Refusal::new(StatusCode::FORBIDDEN, "instances speak TLS with this one")
            .remedy("set the same `peers.tls` on all instances"));
    }
    match bearer(request.headers()).map(|given| peers.token().admits(given)) {
        Some(Ok(true)) => Ok(()),
        None | Some(Ok(false)) => Err(Refusal::new(StatusCode::UNAUTHORIZED, "a bearer token is needed")
            .remedy("the token in peers.tokenFile is the same on all instances")),
        Some(Err(error)) => {
            let file = peers.token().path().display();
            tracing::warn!(%file, %error, "the peers' token cannot be read; no instance is let in");
            Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the instance cannot read its token")
                .remedy("see its log"))
        }
    }
}

async fn unknown_path(uri: Uri) -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, format!("there is no `{}` here", uri.path()))
        .remedy("a gate answers GET /v1/gate, with uid, timeout_ms and follow")
}

async fn wrong_method(method: Method, uri: Uri) -> Refusal {
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, format!("`{}` does not take {method}", uri.path()))
}

#[cfg(test)]
mod tests;
