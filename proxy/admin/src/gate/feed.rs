//! `GET /v1/peer/gate`: what this instance knows of a pod, to another one: a line now, with every change, and once a
//! second, so that whoever reads knows that this instance is there.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::Body,
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use hyper::body::{Bytes, Frame};
use serde::{Deserialize, Serialize};
use tokio::{sync::mpsc, time::timeout};

use super::{FeedLine, GateContext};
use crate::refusal::Refusal;

/// How often a line comes though nothing has changed.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(1);
/// How long a reader may take for a line.
const READER_LIMIT: Duration = Duration::from_secs(10);

/// What it takes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FeedQuery {
    uid: String,
}

/// A body of lines that are made while it is read.
pub(super) struct Lines(mpsc::Receiver<Bytes>);

/// Where the lines come from.
#[derive(Clone)]
pub(super) struct Writer(mpsc::Sender<Bytes>);

/// The reader has gone, or takes nothing.
#[derive(Debug)]
pub(super) struct ReaderGone;

/// A body, and where its lines come from.
pub(super) fn lines() -> (Writer, Response) {
    let (sender, receiver) = mpsc::channel(4);
    let mut response = Body::new(Lines(receiver)).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    (Writer(sender), response)
}

impl Writer {
    /// Writes a line.
    pub(super) async fn write(&self, line: &impl Serialize) -> Result<(), ReaderGone> {
        let mut bytes = serde_json::to_vec(line).map_err(|_| ReaderGone)?;
        bytes.push(b'\n');
        match timeout(READER_LIMIT, self.0.send(bytes.into())).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(ReaderGone),
        }
    }

    /// Waits until the reader has gone.
    pub(super) async fn closed(&self) {
        self.0.closed().await;
    }
}

impl hyper::body::Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|line| line.map(|line| Ok(Frame::data(line))))
    }
}

pub(crate) async fn feed(
    State(context): State<GateContext>,
    query: Result<Query<FeedQuery>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(FeedQuery { uid }) =
        query.map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, error.body_text()))?;
    let permit = context.feeds.clone().try_acquire_owned().map_err(|_| {
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "too many gates are followed here").remedy("ask again")
    })?;
    let mut gate = context.state.control.gate(uid.into()).await?;
    let process = context.state.peers.as_ref().map(|peers| peers.process().to_owned()).unwrap_or_default();
    let (writer, response) = lines();
    drop(tokio::spawn(async move {
        let _permit = permit;
        loop {
            let line = FeedLine::new(&process, &gate.borrow_and_update().facts());
            if writer.write(&line).await.is_err() {
                return;
            }
            tokio::select! {
                changed = timeout(HEARTBEAT, gate.changed()) => if let Ok(Err(_)) = changed {
                    return;
                },
                () = context.stopped() => return,
                () = writer.closed() => return,
            }
        }
    }));
    Ok(response)
}
