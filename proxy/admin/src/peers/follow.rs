//! What another instance knows of a pod, followed: asked again where that breaks off.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use tidegate_core::GateFacts;
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

use super::{Exchange, Peers, late};
use crate::gate::FeedLine;

/// How long it may be silent: longer than its heartbeat, shorter than it is waited for.
const SILENCE: Duration = Duration::from_millis(2_500);
/// How soon it is asked again.
const RETRY: Duration = Duration::from_millis(200);
/// No line is longer.
const LINE_LIMIT: usize = 4 * 1024;

/// What was heard of another instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// What it knows.
    Facts(GateFacts),
    /// It cannot be reached, or does not say it; why.
    Silent(String),
    /// It is this process.
    Own,
}

impl Peers {
    /// Follows what an instance knows of a pod, until nobody wants to know it or it is this process.
    pub(crate) async fn follow(
        self: Arc<Self>,
        address: SocketAddr,
        uid: &str,
        index: usize,
        news: &mpsc::Sender<(usize, Seen)>,
    ) {
        let path = format!("/v1/peer/gate?uid={}", encode(uid));
        loop {
            let why = match timeout(SILENCE, self.open(address, Method::GET, &path, None)).await {
                Err(_) => late(SILENCE),
                Ok(Err(error)) => error,
                // It is there and has no place for another question: what it knows is waited for.
                Ok(Ok(exchange)) if exchange.status == StatusCode::SERVICE_UNAVAILABLE => {
                    if news.send((index, Seen::Facts(GateFacts::default()))).await.is_err() {
                        return;
                    }
                    sleep(RETRY).await;
                    continue;
                }
                Ok(Ok(exchange)) => match self.listen(exchange, index, news).await {
                    Ok(()) => return,
                    Err(error) => error,
                },
            };
            if news.send((index, Seen::Silent(why.to_string()))).await.is_err() {
                return;
            }
            sleep(RETRY).await;
        }
    }

    /// Listens until it breaks off.
    async fn listen(
        &self,
        mut exchange: Exchange,
        index: usize,
        news: &mpsc::Sender<(usize, Seen)>,
    ) -> io::Result<()> {
        if exchange.status != StatusCode::OK {
            let why = match exchange.status {
                StatusCode::UNAUTHORIZED => "it does not take this instance's token (401)".to_owned(),
                status => format!("it answers {status}"),
            };
            return Err(io::Error::other(why));
        }
        let mut text = Vec::new();
        loop {
            let frame = timeout(SILENCE, exchange.body.frame()).await.map_err(|_| late(SILENCE))?;
            let Some(frame) = frame else { return Err(io::Error::other("it stopped to say what it knows")) };
            let Ok(data) = frame.map_err(io::Error::other)?.into_data() else { continue };
            text.extend_from_slice(&data);
            while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                let line: FeedLine = serde_json::from_slice(&text[..end]).map_err(io::Error::other)?;
                text.drain(..=end);
                let is_own = line.process == self.process;
                let seen = if is_own { Seen::Own } else { Seen::Facts(line.facts()) };
                if news.send((index, seen)).await.is_err() || is_own {
                    return Ok(());
                }
            }
            if text.len() > LINE_LIMIT {
                return Err(io::Error::other("what it says is no line of ours"));
            }
        }
    }
}

/// Leaves the unreserved characters of RFC 3986, 2.3, and encodes the rest.
fn encode(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}
