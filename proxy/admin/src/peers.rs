//! The other instances: where they are, and how they are asked.
//!
//! They are asked on their gate's listener, with a bearer token and, where there is a certificate, over TLS. Decided
//! here: who is another instance and who is this one, and how long one that does not answer is waited for. `follow`
//! is what a gate asks; `all` is what `--all` asks.

pub(crate) mod all;
pub(crate) mod follow;
mod tls;

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use axum::http::{
    Method, Request, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST},
};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    body::{Bytes, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use tidegate_control::{ControlError, ControlHandle};
use tidegate_core::{ServiceName, table::Instance};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::Mutex,
    task::AbortHandle,
    time::{Instant, timeout},
};
use tokio_rustls::TlsAcceptor;

use self::tls::{Tls, TlsError};
pub use self::{
    all::{All, AllPlans, InstanceAnswer},
    tls::TlsFiles,
};
use crate::token::{TokenError, TokenFile};

/// How long a connect, and the TLS on it, may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// How long an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(6);
/// How old a list of them may be that a gate is judged by.
const LATELY: Duration = Duration::from_millis(100);
/// An answer larger than this is not one of ours.
const ANSWER_LARGEST: usize = 64 * 1024 * 1024;

/// Where the instances are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Members {
    /// Where the slices of this Service say.
    Service(ServiceName),
    /// Here.
    Addresses(Vec<SocketAddr>),
}

/// What is configured of the other instances.
#[derive(Clone, Debug)]
pub struct PeerOptions {
    /// Where the instances are, this one among them or not.
    pub members: Members,
    /// The file with the token that they show each other.
    pub token_file: PathBuf,
    /// How what they say is encrypted.
    pub tls: Option<TlsFiles>,
    /// Where this one answers.
    pub own: SocketAddr,
}

/// Why the other instances cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum PeersError {
    /// The token's file gives none.
    #[error("peers.tokenFile {}: {cause}", path.display())]
    Token {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        cause: TokenError,
    },
    /// The files for TLS are of no use.
    #[error("peers.tls: {0}")]
    Tls(#[from] TlsError),
}

/// The other instances.
#[derive(Debug)]
pub struct Peers {
    members: Members,
    token: TokenFile,
    tls: Option<Tls>,
    own: SocketAddr,
    /// Tells this process from all others.
    process: String,
    /// Where the others were when that was read last.
    lately: Mutex<Option<(Instant, Arc<BTreeSet<SocketAddr>>)>>,
}

/// A request that is being answered. Its connection ends with it.
pub(crate) struct Exchange {
    pub(crate) status: StatusCode,
    pub(crate) body: Incoming,
    _connection: Connection,
}

struct Connection(AbortHandle);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Peers {
    /// Reads the token and the files for TLS, which have to be there.
    pub fn new(options: PeerOptions) -> Result<Self, PeersError> {
        let PeerOptions { members, token_file: path, tls, own } = options;
        let token = TokenFile::open(path.clone()).map_err(|cause| PeersError::Token { path, cause })?;
        if tls.is_none() {
            tracing::warn!(
                "instances speak to each other in plain text, and their token with it; set peers.tls, or keep the \
                 network between them to yourself"
            );
        }
        let tls = tls.map(Tls::read).transpose()?;
        Ok(Self { members, token, tls, own, process: process_name(), lately: Mutex::default() })
    }

    /// Tells this process from all others.
    pub(crate) fn process(&self) -> &str {
        &self.process
    }

    pub(crate) fn token(&self) -> &TokenFile {
        &self.token
    }

    pub(crate) fn has_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// What accepts TLS, where there is a certificate.
    pub(crate) fn acceptor(&self) -> Option<TlsAcceptor> {
        self.tls.as_ref().map(Tls::acceptor)
    }

    /// Where the other instances are at this moment, each once: two pods on their node's network, one of which has
    /// handed over to the other, answer at one address.
    pub(crate) async fn others(&self, control: &ControlHandle) -> Result<BTreeSet<SocketAddr>, ControlError> {
        let port = self.own.port();
        let mut all: BTreeSet<SocketAddr> = match &self.members {
            Members::Addresses(addresses) => addresses.iter().copied().collect(),
            Members::Service(service) => {
                let instances = control.instances(service.clone()).await?;
                let address = |it: Instance| SocketAddr::new(it.address, it.port.unwrap_or(port));
                instances.into_iter().map(address).collect()
            }
        };
        all.retain(|address| !self.is_own(*address));
        Ok(all)
    }

    /// Where they were a moment ago, at most: however many gates wait, the list is read a few times a second.
    pub(crate) async fn others_lately(
        &self,
        control: &ControlHandle,
    ) -> Result<Arc<BTreeSet<SocketAddr>>, ControlError> {
        let mut lately = self.lately.lock().await;
        if let Some((read, others)) = &*lately
            && read.elapsed() < LATELY
        {
            return Ok(Arc::clone(others));
        }
        let others = Arc::new(self.others(control).await?);
        *lately = Some((Instant::now(), Arc::clone(&others)));
        Ok(others)
    }

    /// Whether this instance answers there.
    fn is_own(&self, address: SocketAddr) -> bool {
        let own = self.own;
        if own.port() != address.port() {
            return false;
        }
        own.ip() == address.ip() || (own.ip().is_unspecified() && is_local(address.ip()))
    }

    /// Asks one instance and reads the whole answer.
    pub(crate) async fn ask(
        &self,
        address: SocketAddr,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> io::Result<(StatusCode, Bytes)> {
        let asked = async {
            let exchange = self.open(address, method, path, body).await?;
            let answer = Limited::new(exchange.body, ANSWER_LARGEST).collect().await;
            Ok((exchange.status, answer.map_err(io::Error::other)?.to_bytes()))
        };
        timeout(ANSWER_LIMIT, asked).await.unwrap_or_else(|_| Err(late(ANSWER_LIMIT)))
    }

    /// Asks one instance; its answer has begun.
    pub(crate) async fn open(
        &self,
        address: SocketAddr,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> io::Result<Exchange> {
        let token = self.token.read().map_err(io::Error::other)?;
        let mut value = b"Bearer ".to_vec();
        value.extend(token);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, address.to_string())
            .header(AUTHORIZATION, value);
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request =
            request.body(Full::new(Bytes::from(body.unwrap_or_default()))).map_err(io::Error::other)?;
        let stream = timeout(CONNECT_LIMIT, TcpStream::connect(address))
            .await
            .unwrap_or_else(|_| Err(late(CONNECT_LIMIT)))?;
        stream.set_nodelay(true)?;
        match &self.tls {
            None => exchange(stream, request).await,
            Some(tls) => {
                let encrypted = timeout(CONNECT_LIMIT, tls.connect(stream)).await;
                exchange(encrypted.unwrap_or_else(|_| Err(late(CONNECT_LIMIT)))?, request).await
            }
        }
    }
}

async fn exchange<Stream>(stream: Stream, request: Request<Full<Bytes>>) -> io::Result<Exchange>
where
    Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let connection = Connection(tokio::spawn(connection).abort_handle());
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    let (head, body) = response.into_parts();
    Ok(Exchange { status: head.status, body, _connection: connection })
}

fn late(limit: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("it did not answer within {limit:?}"))
}

/// Whether this host has the address: the kernel then sends from it to itself. (That it can be bound would say
/// nothing where `ip_nonlocal_bind` is set.) Nothing is sent.
fn is_local(address: IpAddr) -> bool {
    let any = match address {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let source = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((address, 9))?;
        socket.local_addr()
    });
    source.is_ok_and(|source| source.ip() == address)
}

/// A name that no other process has.
fn process_name() -> String {
    use std::hash::{BuildHasher as _, RandomState};
    format!("{:016x}{:016x}", RandomState::new().hash_one(0_u64), RandomState::new().hash_one(1_u64))
}

#[cfg(test)]
mod tests;
