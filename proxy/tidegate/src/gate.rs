//! `tidegate gate wait`: a pod's preStop, which ends when no flow is pinned to the pod any more.
//!
//! It must not keep a pod from ending: where no proxy answers it gives up soon, and whatever happens it ends at its
//! timeout.

use std::{
    cell::Cell,
    fs::{self, File},
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    pin::pin,
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use tidegate_admin::gate::{GateAnswer, GateLine, GateProgress};
use tokio::{
    net::{TcpStream, lookup_host},
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::{
    cli::{GateCommand, GateWait, Output},
    commands::with_query,
};

/// How long this takes where nobody says so: less than a pod's usual 30 s until it is killed.
const TIMEOUT: Duration = Duration::from_secs(25);
/// How long one connect may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);
/// How soon it is tried again.
const RETRY: Duration = Duration::from_millis(200);
/// How much longer than the timeout the proxy's last word may take.
const LAST_WORD: Duration = Duration::from_secs(1);
/// A refusal is short, and so is a line.
const ANSWER_LIMIT: usize = 1024 * 1024;

/// The exit status where flows are left, or an instance could not be asked.
const FLOWS_LEFT: u8 = 1;
/// The exit status where the proxy does not take the request.
const REFUSED: u8 = 3;
/// The exit status where no proxy answers.
const AWAY: u8 = 4;

/// What an attempt came to.
enum Attempt {
    Answer(GateAnswer),
    /// It will not do any better.
    Refused(String),
    /// It was reached, and is to be asked again.
    Again(String),
    /// It was not reached.
    Away(String),
}

pub(crate) fn run(command: &GateCommand) -> anyhow::Result<ExitCode> {
    match command {
        GateCommand::Wait(options) => wait(options),
        GateCommand::Install { path } => install(path),
    }
}

/// Copies this program beside an application. Whoever runs it meanwhile has the old one or the new one.
fn install(path: &Path) -> anyhow::Result<ExitCode> {
    let words = || format!("cannot copy this program to {}", path.display());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut beside = tempfile::NamedTempFile::new_in(folder).with_context(words)?;
    std::io::copy(&mut File::open("/proc/self/exe").with_context(words)?, &mut beside).with_context(words)?;
    fs::set_permissions(beside.path(), fs::Permissions::from_mode(0o755)).with_context(words)?;
    beside.persist(path).with_context(words)?;
    println!("{}", path.display());
    Ok(ExitCode::SUCCESS)
}

fn wait(options: &GateWait) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(ask_until(options))
}

async fn ask_until(options: &GateWait) -> anyhow::Result<ExitCode> {
    let begun = Instant::now();
    let end = End { at: Cell::new(begun + options.timeout.unwrap_or(TIMEOUT)), is_told: Cell::new(false) };
    let mut away_since = None;
    loop {
        match attempt_until(options, begun, &end).await {
            Attempt::Answer(answer) => return show(options, &answer, begun),
            Attempt::Refused(why) => {
                eprintln!("tidegate: {why}");
                return Ok(ExitCode::from(REFUSED));
            }
            Attempt::Again(why) => {
                away_since = None;
                say(options, begun, &format!("asking again: {why}"));
            }
            Attempt::Away(why) => {
                let since = *away_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= options.when_away {
                    eprintln!(
                        "tidegate: no proxy answers at {}: {why}; going on without one after {:?} (--when-away)",
                        options.address, options.when_away
                    );
                    return Ok(ExitCode::from(AWAY));
                }
            }
        }
        if Instant::now() + RETRY >= end.at.get() {
            eprintln!("tidegate: the time is over, and it is not known whether flows are left");
            return Ok(ExitCode::from(FLOWS_LEFT));
        }
        sleep(RETRY).await;
    }
}

/// When this ends.
struct End {
    at: Cell<Instant>,
    /// The proxy has said when.
    is_told: Cell<bool>,
}

impl End {
    /// Takes over when the proxy answers, where this was not told on the command line.
    fn hear(&self, options: &GateWait, progress: &GateProgress) {
        if options.timeout.is_none() && progress.ends_after_ms > 0 {
            let left = progress.ends_after_ms.saturating_sub(progress.waited_ms);
            self.at.set(Instant::now() + Duration::from_millis(left));
            self.is_told.set(true);
        }
    }
}

/// One attempt, for no longer than the end and a last word.
async fn attempt_until(options: &GateWait, begun: Instant, end: &End) -> Attempt {
    let mut attempt = pin!(attempt(options, begun, end));
    loop {
        let limit = end.at.get() + LAST_WORD;
        tokio::select! {
            attempt = &mut attempt => return attempt,
            () = sleep_until(limit) => {
                // It may have been put off meanwhile.
                if end.at.get() + LAST_WORD <= limit {
                    return Attempt::Again("the proxy said nothing in the end".to_owned());
                }
            }
        }
    }
}

async fn attempt(options: &GateWait, begun: Instant, end: &End) -> Attempt {
    let connected = timeout(CONNECT_LIMIT, connect(&options.address)).await;
    let stream = match connected {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Attempt::Away(format!("{error:#}")),
        Err(_) => return Attempt::Away(format!("no connect within {CONNECT_LIMIT:?}")),
    };
    match exchange(stream, options, begun, end).await {
        Ok(attempt) => attempt,
        Err(error) => Attempt::Away(format!("{error:#}")),
    }
}

async fn connect(address: &str) -> anyhow::Result<TcpStream> {
    Ok(match socket_address(address) {
        Some(address) => TcpStream::connect(address).await?,
        None => {
            let found: Vec<_> = lookup_host(address)
                .await
                .with_context(|| format!("`{address}` is no HOST:PORT, or its host is not known"))?
                .collect();
            TcpStream::connect(found.as_slice()).await?
        }
    })
}

/// An address with its port. An IPv6 address needs no brackets here: `$(HOST_IP)` has none.
fn socket_address(text: &str) -> Option<SocketAddr> {
    text.parse().ok().or_else(|| {
        let (ip, port) = text.rsplit_once(':')?;
        Some(SocketAddr::new(ip.parse().ok()?, port.parse().ok()?))
    })
}

/// One request, its progress, and its answer.
async fn exchange(
    stream: TcpStream,
    options: &GateWait,
    begun: Instant,
    end: &End,
) -> anyhow::Result<Attempt> {
    let left = end.at.get().saturating_duration_since(Instant::now()).as_millis().max(1).to_string();
    // Whoever is asked first says when it ends; whoever is asked again is told what is left of that.
    let is_known = options.timeout.is_some() || end.is_told.get();
    let limit = is_known.then_some(left.as_str());
    let query = [("uid", options.pod_uid.as_deref()), ("timeout_ms", limit), ("follow", Some("true"))];
    let request = Request::get(with_query("/v1/gate", &query))
        .header(HOST, options.address.as_str())
        .body(Empty::<Bytes>::new())?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status();
    if status != StatusCode::OK {
        let text = Limited::new(response.into_body(), ANSWER_LIMIT).collect().await;
        let why = text.map_or_else(
            |_| format!("the gate answered {status}"),
            |text| crate::client::refusal(status, &text.to_bytes()),
        );
        connection.abort();
        return Ok(match status {
            StatusCode::SERVICE_UNAVAILABLE => Attempt::Again(why),
            _ => Attempt::Refused(why),
        });
    }
    let (mut body, mut text) = (response.into_body(), Vec::new());
    while let Some(frame) = body.frame().await {
        // Who has answered was there, and another one may be by now.
        let Ok(frame) = frame else { break };
        let Ok(data) = frame.into_data() else { continue };
        text.extend_from_slice(&data);
        anyhow::ensure!(text.len() <= ANSWER_LIMIT, "this is no gate of a Tidegate");
        while let Some(length) = text.iter().position(|byte| *byte == b'\n') {
            let line = serde_json::from_slice(&text[..length]);
            text.drain(..=length);
            match line.context("the gate answers with something else than this version expects")? {
                GateLine::Progress(progress) => {
                    end.hear(options, &progress);
                    say(options, begun, &words(&progress));
                }
                GateLine::Answer(answer) => return Ok(Attempt::Answer(answer)),
                GateLine::Again(why) => return Ok(Attempt::Again(why)),
            }
        }
    }
    Ok(Attempt::Again("the answer broke off".to_owned()))
}

/// A line of progress: on standard error where standard output is for programs.
fn say(options: &GateWait, begun: Instant, words: &str) {
    let seconds = begun.elapsed().as_secs_f64();
    match options.output {
        Output::Table => println!("{seconds:5.1} s  {words}"),
        Output::Json => eprintln!("{seconds:5.1} s  {words}"),
    }
}

fn words(progress: &GateProgress) -> String {
    let instances = progress.instances.join(", ");
    match progress.phase.as_str() {
        "syncing" => "waiting for the proxy's first complete list".to_owned(),
        "terminating" => "waiting for the pod to be terminating".to_owned(),
        "programmed" => format!("waiting until no new flows are sent: {instances}"),
        _ => format!("{} flows left: {instances}", progress.flows),
    }
}

fn show(options: &GateWait, answer: &GateAnswer, begun: Instant) -> anyhow::Result<ExitCode> {
    if let Output::Json = options.output {
        println!("{}", serde_json::to_string_pretty(answer)?);
    }
    let unreachable = || answer.instances.iter().filter(|instance| instance.state == "unreachable");
    for instance in unreachable() {
        let why = instance.error.as_deref().unwrap_or("it did not answer");
        eprintln!("tidegate: {} could not be asked: {why}", instance.instance);
    }
    let (words, is_fine) = match answer.outcome.as_str() {
        "drained" => ("drained: no flow is left".to_owned(), unreachable().next().is_none()),
        "not_terminating" => ("the pod is not terminating: nothing to wait for".to_owned(), true),
        "reverted" => ("the pod does not terminate any more".to_owned(), true),
        _ => {
            let left: Vec<_> = answer
                .instances
                .iter()
                .filter(|it| it.state != "done")
                .map(|it| format!("{} ({}, {} flows)", it.instance, it.state.replace('_', " "), it.flows))
                .collect();
            (format!("the time is over: {}", left.join(", ")), false)
        }
    };
    if let Output::Table = options.output {
        say(options, begun, &words);
    }
    Ok(if is_fine { ExitCode::SUCCESS } else { ExitCode::from(FLOWS_LEFT) })
}

#[cfg(test)]
mod tests {
    use super::socket_address;

    #[test]
    fn an_address_needs_no_brackets() {
        for (text, expected) in [
            ("192.0.2.1:9903", Some("192.0.2.1:9903")),
            ("[2001:db8::1]:9903", Some("[2001:db8::1]:9903")),
            ("2001:db8::1:9903", Some("[2001:db8::1]:9903")),
            ("node-a:9903", None),
        ] {
            assert_eq!(socket_address(text), expected.map(|address| address.parse().unwrap()), "{text}");
        }
    }
}
