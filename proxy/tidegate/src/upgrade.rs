//! `tidegate upgrade`: asks the running proxy to start its successor, and says how that went.

use std::{fmt::Write as _, path::Path, process::ExitCode, time::Duration};

use anyhow::{Context as _, bail};
use serde::Serialize;
use tidegate_handoff::{Channel, ChannelError, Message, message::Report};

use crate::{cli, commands::show, handoff::meeting};

/// How long the proxy may take to hear what is asked.
const STEP: Duration = Duration::from_secs(10);
/// How often it is said that the outcome is not known yet.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// What came of it. Times are in microseconds.
#[derive(Debug, Serialize)]
struct Upgraded {
    process: u32,
    version: String,
    flows_moved: u64,
    flows_left: u64,
    linger_us: u64,
    pause_p50_us: u64,
    pause_p99_us: u64,
    took_us: u64,
}

pub(crate) fn run(options: &cli::Upgrade) -> anyhow::Result<ExitCode> {
    let socket = match (&options.socket, &options.config) {
        (Some(socket), _) => socket.clone(),
        (None, Some(config)) => {
            let handoff = tidegate_config::load(config)?.configuration.handoff;
            handoff.map(|handoff| handoff.socket).with_context(|| {
                format!(
                    "{} has no handoff.socket, and without it nothing can take over; add it and restart the proxy once",
                    config.display()
                )
            })?
        }
        (None, None) => bail!("--socket or --config says where the running proxy is"),
    };
    let Some(channel) = meeting::connect(&socket)? else {
        bail!(
            "no proxy listens on {}: start one with `tidegate run`, or name the socket of the one that runs (--socket)",
            socket.display()
        );
    };
    let binary = options.binary.as_deref().map(std::path::absolute).transpose()?;
    match channel.say(&Message::Upgrade { binary }, STEP) {
        // It may have said before why it does not listen.
        Ok(()) | Err(ChannelError::Ended) => {}
        Err(error) => return Err(error).context("cannot ask the running proxy"),
    }
    let outcome = Upgraded::of(&outcome(&channel, &socket)?);
    show(options.output, &outcome, table)
}

fn outcome(channel: &Channel, socket: &Path) -> anyhow::Result<Report> {
    loop {
        match channel.hear(SAY_EVERY).map(|heard| heard.message) {
            Ok(Message::Upgraded(report)) => return Ok(report),
            Ok(Message::Refuse { why }) => bail!("{why}\nThe running proxy goes on."),
            Ok(_) => bail!(
                "{}: the proxy answered something else; is it another version? Its log says what it did",
                socket.display()
            ),
            Err(ChannelError::Silent(_)) => eprintln!("waiting for the successor to take over"),
            Err(ChannelError::Ended) => bail!(
                "the running proxy ended before it said how it went; `tidegate status` says whether its successor serves"
            ),
            Err(error) => return Err(error).context("the running proxy cannot be heard"),
        }
    }
}

impl Upgraded {
    fn of(report: &Report) -> Self {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Self {
            process: report.process,
            version: report.build.clone(),
            flows_moved: report.moved,
            flows_left: report.left,
            linger_us: micros(report.linger),
            pause_p50_us: micros(report.pause_p50),
            pause_p99_us: micros(report.pause_p99),
            took_us: micros(report.took),
        }
    }
}

fn table(outcome: &Upgraded) -> String {
    let millis = |micros: u64| format!("{}.{} ms", micros / 1_000, micros % 1_000 / 100);
    let mut text = format!(
        "process {} (version {}) has taken over in {}\n",
        outcome.process,
        outcome.version,
        millis(outcome.took_us)
    );
    let _ = write!(text, "flows moved: {}", outcome.flows_moved);
    if outcome.flows_moved > 0 {
        let (p50, p99) = (millis(outcome.pause_p50_us), millis(outcome.pause_p99_us));
        let _ = write!(text, ", each paused for {p50} (p50), {p99} (p99)");
    }
    text.push('\n');
    if outcome.flows_left > 0 {
        let _ = writeln!(
            text,
            "flows left with the old process: {}; it waits for them for at most {} s (handoff.linger)",
            outcome.flows_left,
            outcome.linger_us / 1_000_000
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_said() {
        let mut report = Report {
            process: 4711,
            build: "0.1.0".to_owned(),
            moved: 4_000,
            pause_p50: Duration::from_micros(3_140),
            pause_p99: Duration::from_micros(11_900),
            took: Duration::from_millis(319),
            ..Report::default()
        };
        expect_words(&report, &["process 4711", "319.0 ms", "moved: 4000", "3.1 ms (p50), 11.9 ms (p99)"]);
        assert!(!table(&Upgraded::of(&report)).contains("left"));
        (report.left, report.linger) = (3, Duration::from_secs(3_600));
        expect_words(&report, &["left with the old process: 3", "3600 s"]);
    }

    #[track_caller]
    fn expect_words(report: &Report, words: &[&str]) {
        let text = table(&Upgraded::of(report));
        for word in words {
            assert!(text.contains(word), "{word}: {text}");
        }
    }
}
