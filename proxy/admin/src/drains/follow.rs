//! The stream for followers: a sample a second, each a line of JSON.
//!
//! It ends by itself with its connection's time, when the process hands over or ends, and when its reader goes: a
//! follower asks again. At most one line waits for a reader; whoever leaves it lying is cut off.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody},
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use hyper::body::Frame;
use tokio::{
    sync::mpsc,
    time::{sleep_until, timeout},
};

use super::{
    of_service,
    sampler::{FOLLOWERS, Following, Sampler},
};
use crate::{refusal::Refusal, serve::Lasting};

/// How long a line waits for its reader.
const PATIENCE: Duration = Duration::from_secs(5);
/// What the stream is called.
const JSON_LINES: HeaderValue = HeaderValue::from_static("application/x-ndjson");

/// A stream for one follower.
pub(super) fn follow(
    sampler: &Sampler,
    service: Option<String>,
    lasting: Lasting,
) -> Result<Response, Refusal> {
    let following = sampler.follow().ok_or_else(|| {
        Refusal::new(StatusCode::TOO_MANY_REQUESTS, format!("{FOLLOWERS} follow the drains already"))
            .remedy("end one of them, or ask without follow")
    })?;
    let (sender, lines) = mpsc::channel(1);
    drop(tokio::spawn(feed(following, service, lasting, sender)));
    let mut response = Body::new(Lines(lines)).into_response();
    response.headers_mut().insert(CONTENT_TYPE, JSON_LINES);
    Ok(response)
}

async fn feed(
    mut following: Following,
    service: Option<String>,
    mut lasting: Lasting,
    lines: mpsc::Sender<Bytes>,
) {
    loop {
        tokio::select! {
            changed = following.samples.changed() => if changed.is_err() {
                return;
            },
            () = sleep_until(lasting.until) => return,
            () = lasting.served() => return,
            () = lines.closed() => return,
        }
        let Some(sample) = following.samples.borrow_and_update().clone() else { return };
        let Ok(mut line) = serde_json::to_vec(&of_service(&sample, service.as_deref())) else { return };
        line.push(b'\n');
        match timeout(PATIENCE, lines.send(line.into())).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return,
            Err(_) => {
                tracing::debug!("a follower of drains does not read and is cut off");
                lasting.cut();
                return;
            }
        }
    }
}

/// Lines as a body.
struct Lines(mpsc::Receiver<Bytes>);

impl HttpBody for Lines {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(cx).map(|line| line.map(|line| Ok(Frame::data(line))))
    }
}
