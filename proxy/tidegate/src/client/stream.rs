//! Following the admin API: a line of JSON after the other, for as long as it takes.
//!
//! A stream ends now and then by itself, with its connection or its process; then it is asked for again. Where there is
//! no stream, an answer a second is one.

use std::{
    ops::ControlFlow,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use http_body_util::BodyExt as _;
use hyper::{Method, StatusCode};

use super::{AdminClient, MAX_ANSWER, PATIENCE, refusal, whole};

/// How long between two attempts to have a stream.
const BETWEEN: Duration = Duration::from_millis(200);
/// How long between two answers, where there is no stream.
const EVERY: Duration = Duration::from_secs(1);

/// What is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A stream of lines.
    Stream,
    /// An answer, asked for again and again.
    Answers,
}

/// What is done with a line.
type Take<'a> = &'a mut dyn FnMut(&[u8]) -> anyhow::Result<ControlFlow<()>>;

/// When something was heard last.
type Heard<'a> = &'a mut Option<Instant>;

/// How following came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Followed {
    /// Whoever took the lines has had enough.
    Enough,
    /// The time is over.
    Late,
}

impl AdminClient {
    /// Follows a path until `take` has enough, or until `until`. What `take` gets ends with a newline.
    pub(crate) fn follow(
        &self,
        source: Source,
        path: &str,
        until: Option<Instant>,
        mut take: impl FnMut(&[u8]) -> anyhow::Result<ControlFlow<()>>,
    ) -> anyhow::Result<Followed> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let following = self.follow_on(source, path, &mut take);
            match until {
                None => following.await,
                Some(until) => {
                    let outcome = tokio::time::timeout_at(until.into(), following).await;
                    outcome.unwrap_or(Ok(Followed::Late))
                }
            }
        })
    }

    async fn follow_on(&self, source: Source, path: &str, take: Take<'_>) -> anyhow::Result<Followed> {
        let mut heard = None;
        loop {
            let once = match source {
                Source::Stream => self.follow_once(path, &mut heard, take).await?,
                Source::Answers => self.ask_once(path, &mut heard, take).await?,
            };
            match once {
                Once::Enough => return Ok(Followed::Enough),
                Once::Lost(error) if heard.is_none_or(|at: Instant| at.elapsed() > PATIENCE) => {
                    return Err(error.context(self.unreachable()));
                }
                Once::Ended | Once::Lost(_) => {}
            }
            tokio::time::sleep(if source == Source::Stream { BETWEEN } else { EVERY }).await;
        }
    }

    async fn follow_once(&self, path: &str, heard: Heard<'_>, take: Take<'_>) -> anyhow::Result<Once> {
        let response = match in_time(self.exchange(Method::GET, path, None)).await {
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
                *heard = Some(Instant::now());
                if take(&line)?.is_break() {
                    return Ok(Once::Enough);
                }
            }
        }
    }

    async fn ask_once(&self, path: &str, heard: Heard<'_>, take: Take<'_>) -> anyhow::Result<Once> {
        let asked = async { whole(self.exchange(Method::GET, path, None).await?).await };
        let (status, answer) = match in_time(asked).await {
            Ok(answer) => answer,
            Err(error) => return Ok(Once::Lost(error)),
        };
        if status != StatusCode::OK {
            bail!("{}", refusal(status, &answer));
        }
        *heard = Some(Instant::now());
        let line = [&answer, b"\n".as_slice()].concat();
        Ok(if take(&line)?.is_break() { Once::Enough } else { Once::Ended })
    }
}

async fn in_time<T>(asked: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::time::timeout(PATIENCE, asked).await.context("no answer in time").flatten()
}

/// How one connection came to its end.
enum Once {
    Enough,
    /// Cleanly, after which there is more to ask for.
    Ended,
    Lost(anyhow::Error),
}
