//! Asking a running proxy: one HTTP request to its admin API, over TCP or a Unix socket.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context as _, bail};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tidegate_config::AdminAddress;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};

use crate::cli::Asking;

mod stream;

pub(crate) use stream::{Followed, Source};

/// Where the admin API is, where nothing says otherwise.
const DEFAULT_ADDRESS: &str = "127.0.0.1:9901";

/// How long an answer may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// An answer larger than this is not one of ours.
const MAX_ANSWER: usize = 256 * 1024 * 1024;

/// A running proxy's admin API.
#[derive(Debug)]
pub(crate) struct AdminClient {
    address: AdminAddress,
    token: Option<String>,
}

impl AdminClient {
    /// Finds the admin API by flag, environment or configuration.
    pub(crate) fn new(asking: &Asking) -> anyhow::Result<Self> {
        let configured = match (&asking.admin, &asking.config) {
            (None, Some(path)) => tidegate_config::load(path)?.configuration.admin,
            _ => None,
        };
        let address = match (&asking.admin, &configured) {
            (Some(text), _) => parse_address(text)?,
            (None, Some(admin)) => admin.address.clone(),
            (None, None) if asking.config.is_some() => {
                bail!("the configuration has no admin.address: the proxy cannot be asked")
            }
            (None, None) => parse_address(DEFAULT_ADDRESS)?,
        };
        let token_file = asking.token_file.clone().or_else(|| configured.and_then(|admin| admin.token_file));
        let token = token_file.map(|path| read_token(&path)).transpose()?;
        Ok(Self { address, token })
    }

    /// GET; the answer's JSON.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.ask(Method::GET, path, None)
    }

    /// POST of a JSON body; the answer's JSON.
    pub(crate) fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> anyhow::Result<T> {
        self.ask(Method::POST, path, Some(serde_json::to_vec(body)?))
    }

    fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> anyhow::Result<T> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (status, answer) = runtime
            .block_on(async {
                let exchange = async { whole(self.exchange(method, path, body).await?).await };
                tokio::time::timeout(PATIENCE, exchange).await
            })
            .with_context(|| format!("{} did not answer within {} s", self.address, PATIENCE.as_secs()))?
            .with_context(|| self.unreachable())?;
        if status != StatusCode::OK {
            bail!("{}", refusal(status, &answer));
        }
        serde_json::from_slice(&answer).with_context(|| {
            format!("{} answered with something else than this version expects", self.address)
        })
    }

    /// Where it is.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    fn unreachable(&self) -> String {
        format!(
            "cannot ask the proxy at {}: is it running, and is this its admin.address? \
             (--admin, TIDEGATE_ADMIN or --config name another one)",
            self.address
        )
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> anyhow::Result<Response<Incoming>> {
        match &self.address {
            AdminAddress::Tcp(address) => {
                self.speak(TcpStream::connect(address).await?, &address.to_string(), method, path, body).await
            }
            AdminAddress::Unix(socket) => {
                self.speak(UnixStream::connect(socket).await?, "localhost", method, path, body).await
            }
        }
    }

    async fn speak(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        host: &str,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> anyhow::Result<Response<Incoming>> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // It ends with the answer, or with this runtime.
        drop(tokio::spawn(connection));
        let mut request = Request::builder().method(method).uri(path).header(HOST, host);
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Full::new(Bytes::from(body.unwrap_or_default())))?;
        Ok(sender.send_request(request).await?)
    }
}

/// A whole answer.
async fn whole(response: Response<Incoming>) -> anyhow::Result<(StatusCode, Bytes)> {
    let status = response.status();
    let answer = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
    let answer = answer.map_err(|error| anyhow::anyhow!("the answer broke off: {error}"))?.to_bytes();
    Ok((status, answer))
}

/// What a refused request says, in the API's own words where it has some.
pub(crate) fn refusal(status: StatusCode, answer: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Refusal {
        error: String,
        remedy: Option<String>,
    }
    match serde_json::from_slice(answer) {
        Ok(Refusal { error, remedy: Some(remedy) }) => format!("{error}; {remedy}"),
        Ok(Refusal { error, remedy: None }) => error,
        Err(_) => format!("the proxy answered {status}"),
    }
}

fn parse_address(text: &str) -> anyhow::Result<AdminAddress> {
    if let Some(path) = text.strip_prefix("unix:") {
        return Ok(AdminAddress::Unix(PathBuf::from(path)));
    }
    let address: SocketAddr = text.parse().map_err(|_| {
        anyhow::anyhow!("`{text}` is no address of an admin API: expected IP:PORT, [IP]:PORT or unix:/PATH")
    })?;
    Ok(AdminAddress::Tcp(address))
}

fn read_token(path: &std::path::Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the token file {}", path.display()))?;
    Ok(text.trim().to_owned())
}
