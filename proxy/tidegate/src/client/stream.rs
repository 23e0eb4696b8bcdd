//! Following a stream of the admin API: a line of JSON after the other, for as long as it takes.
//!
//! A stream ends now and then by itself, with its connection or its process; then it is asked for again.

use std::{
    ops::ControlFlow,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use http_body_util::BodyExt as _;
use hyper::{Method, StatusCode};

use super::{AdminClient, MAX_ANSWER, PATIENCE, refusal, whole};

/// How long between two attempts.
const BETWEEN: Duration = Duration::from_millis(200);

/// What is done with a line.
type Take<'a> = &'a mut dyn FnMut(&[u8]) -> anyhow::Result<ControlFlow<()>>;

/// How following came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Followed {
    /// Whoever took the lines has had enough.
    Enough,
    /// The time is over.
    Late,
}

impl AdminClient {
    /// Follows a stream until `take` has enough, or until `until`.
    pub(crate) fn follow(
        &self,
        path: &str,
        until: Option<Instant>,
        mut take: impl FnMut(&[u8]) -> anyhow::Result<ControlFlow<()>>,
    ) -> anyhow::Result<Followed> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let following = self.follow_on(path, &mut take);
            match until {
                None => following.await,
                Some(until) => {
                    let outcome = tokio::time::timeout_at(until.into(), following).await;
                    outcome.unwrap_or(Ok(Followed::Late))
                }
            }
        })
    }

    async fn follow_on(&self, path: &str, take: Take<'_>) -> anyhow::Result<Followed> {
        let mut heard = false;
        let mut lost = Instant::now();
        loop {
            match self.follow_once(path, &mut heard, take).await? {
                Once::Enough => return Ok(Followed::Enough),
                Once::Ended => lost = Instant::now(),
                Once::Lost(error) if !heard || lost.elapsed() > PATIENCE => {
                    return Err(error.context(self.unreachable()));
                }
                Once::Lost(_) => {}
            }
            tokio::time::sleep(BETWEEN).await;
        }
    }

    async fn follow_once(&self, path: &str, heard: &mut bool, take: Take<'_>) -> anyhow::Result<Once> {
        let asked = tokio::time::timeout(PATIENCE, self.exchange(Method::GET, path, None)).await;
        let response = match asked.context("no answer in time").flatten() {
            Ok(response) => response,
            Err(error) => return Ok(Once::Lost(error)),
        };
        if response.status() != StatusCode::OK {
            let (status, answer) = whole(response).await?;
            bail!("{}", refusal(status, &answer));
        }
        let mut body = response.into_body();
        let mut text = Vec::new();
        loop {
            let frame = match tokio::time::timeout(PATIENCE, body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => return Ok(Once::Lost(error.into())),
                Ok(None) => return Ok(Once::Ended),
                Err(_) => return Ok(Once::Lost(anyhow::anyhow!("nothing came any more"))),
            };
            text.extend_from_slice(frame.data_ref().map_or(&[], |bytes| bytes));
            if text.len() > MAX_ANSWER {
                bail!("{} sends a line that does not end", self.address);
            }
            while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = text.drain(..=end).collect();
                *heard = true;
                if take(&line)?.is_break() {
                    return Ok(Once::Enough);
                }
            }
        }
    }
}

/// How one connection came to its end.
enum Once {
    Enough,
    /// Cleanly, after which there is more to ask for.
    Ended,
    Lost(anyhow::Error),
}
