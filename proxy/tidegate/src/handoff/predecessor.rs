//! The predecessor's side: gives listeners, flows and the admin side to a successor, and takes back what that one did
//! not get.
//!
//! Until a batch is committed its flows are this process's, and until the successor answers everything else is. So
//! whatever happens to the successor, this process goes on with the rest.

use std::{
    os::fd::{AsFd as _, BorrowedFd},
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use tidegate_config::Handoff;
use tidegate_handoff::{
    Channel, Message,
    flow::Batch,
    message::{Door, Facts, Hello, Left, ListenerFacts, Report, Welcome},
};
use tidegate_sys::{rights::MOST_DESCRIPTORS, socket};
use tokio::runtime::Runtime;

use super::{STEP, asker, fault, meeting};
use crate::{admin::AdminSide, proxy::Shared};

/// How many flows of each worker are frozen at once: few enough that none waits long, enough to fill a message.
const FREEZE: usize = 60;
/// How long flows that connect, or end, are waited for. Longer than a connect usually takes with all its attempts.
const SETTLE: Duration = Duration::from_secs(8);
/// How soon it is looked again.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What a predecessor needs.
pub(crate) struct Predecessor {
    pub(crate) meeting: Arc<meeting::Meeting>,
    pub(crate) shared: Shared,
    pub(crate) admin: Arc<AdminSide>,
    pub(crate) handoff: Handoff,
    pub(crate) config: u64,
    pub(crate) workers: usize,
    /// This process's own predecessor, for as long as that one has flows left.
    pub(crate) own_predecessor: Option<Channel>,
}

/// How long flows were frozen.
#[derive(Default)]
struct Pauses(Vec<Duration>);

impl Predecessor {
    /// Waits for a successor on a thread of its own, until one has taken over.
    pub(crate) fn serve(self) -> anyhow::Result<()> {
        thread::Builder::new().name("handoff".to_owned()).spawn(move || self.run())?;
        Ok(())
    }

    fn run(mut self) {
        loop {
            let stream = match self.meeting.accept() {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::warn!(%error, "the handoff's socket cannot accept");
                    thread::sleep(Duration::from_millis(100));
                    continue;
                }
            };
            let met = Channel::new(stream, meeting::own_user()).map_err(anyhow::Error::from);
            match met.and_then(|channel| self.meet(&channel)) {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    self.shared.handle.counters().handoffs_failed.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!("no handoff, this process goes on: {error:#}");
                }
            }
        }
    }

    /// Speaks with whoever has connected. True where it has taken over.
    fn meet(&mut self, channel: &Channel) -> anyhow::Result<bool> {
        let heard = channel.hear(STEP).context("nothing came that a successor says")?;
        let Message::Hello(hello) = heard.message else {
            let _ = channel.say(&Message::Refuse { why: "a successor says hello first".to_owned() }, STEP);
            bail!("it did not say hello");
        };
        if let Some(why) = self.refusal(&hello) {
            let _ = channel.say(&Message::Refuse { why: why.clone() }, STEP);
            bail!("{why}");
        }
        let ask = asker()?;
        let report = match self.hand_over(channel, &hello, &ask) {
            Ok(report) => report,
            Err(error) => {
                let _ =
                    channel.say(&Message::Abort { why: format!("{error:#}") }, Duration::from_millis(100));
                return Err(error);
            }
        };
        let Report { moved, left, pause_p50, pause_p99, took, .. } = report;
        tracing::info!(moved, left, ?pause_p50, ?pause_p99, ?took, "handed over");
        self.meeting.leave_file();
        self.admin.doors().leave_files();
        ask.block_on(self.shared.handle.leave(self.handoff.linger))?;
        Ok(true)
    }

    fn refusal(&mut self, hello: &Hello) -> Option<String> {
        if hello.protocol().is_none() {
            let known = tidegate_handoff::message::PROTOCOLS;
            return Some(format!(
                "this process speaks the protocols {known:?}, its successor {:?}",
                hello.protocols
            ));
        }
        let lingering = self.own_predecessor.take().filter(|channel| {
            // At its end its socket ends too; until then there is nothing to read.
            !matches!(socket::peek(channel.socket()), Ok(0))
        });
        self.own_predecessor = lingering;
        let process = self.own_predecessor.as_ref()?.process();
        Some(format!(
            "the predecessor of this process (process {process:?}) still has flows; it waits for them for at most {:?} \
             (handoff.linger): try again then, or end it",
            self.handoff.linger
        ))
    }

    /// Hands everything over. After an error this process has what it had, but for flows that were committed.
    fn hand_over(&self, channel: &Channel, hello: &Hello, ask: &Runtime) -> anyhow::Result<Report> {
        let begun = Instant::now();
        let flows = self.flows();
        let listeners_only = if !hello.reads_flows() {
            Some(format!("the successor reads flows of the forms {:?}", hello.flow_forms))
        } else if flows > hello.flow_limit {
            let limit = hello.flow_limit;
            Some(format!(
                "there are {flows} flows and the successor's descriptor limit allows {limit} (RLIMIT_NOFILE)"
            ))
        } else {
            None
        };
        tracing::info!(
            process = ?channel.process(), build = hello.build, workers = hello.workers, flows,
            same_configuration = hello.config == self.config, ?listeners_only,
            "a successor takes over"
        );
        let welcome = Welcome {
            protocol: hello.protocol().unwrap_or_default(),
            build: env!("CARGO_PKG_VERSION").to_owned(),
            config: self.config,
            workers: self.workers,
            flows,
            listeners_only: listeners_only.clone(),
        };
        channel.say(&Message::Welcome(welcome), STEP)?;
        fault::at("welcomed");
        match channel.hear(self.handoff.timeout + STEP).context("the successor did not get ready")?.message {
            Message::Ready => {}
            Message::Refuse { why } => bail!("the successor gives up: {why}"),
            _ => bail!("the successor broke the protocol"),
        }
        self.give_listeners(channel, ask)?;
        fault::at("gave-listeners");
        match channel.hear(STEP).context("the successor did not take the listeners")?.message {
            Message::Accepting => {}
            Message::Refuse { why } => bail!("the successor gives up: {why}"),
            _ => bail!("the successor broke the protocol"),
        }
        let given = self.give_the_rest(channel, ask, listeners_only.is_some());
        if given.is_err() {
            ask.block_on(self.shared.handle.take_back_listeners())?;
        }
        let (moved, mut pauses) = given?;
        Ok(Report {
            process: channel.process().unwrap_or_default(),
            build: hello.build.clone(),
            moved,
            left: self.flows(),
            pause_p50: pauses.percentile(50),
            pause_p99: pauses.percentile(99),
            took: begun.elapsed(),
        })
    }

    fn flows(&self) -> u64 {
        self.shared.workers.iter().map(|worker| worker.flows.get()).sum()
    }

    fn give_listeners(&self, channel: &Channel, ask: &Runtime) -> anyhow::Result<()> {
        let lent = ask.block_on(self.shared.handle.lend_listeners())??;
        let mut facts = Facts { operators: ask.block_on(self.shared.handle.facts())? };
        let mut rest = &lent[..];
        loop {
            let (mut count, mut sockets) = (0, 0);
            while let Some(listener) = rest.get(count)
                && sockets + listener.sockets.len() <= MOST_DESCRIPTORS
            {
                sockets += listener.sockets.len();
                count += 1;
            }
            if count == 0 && !rest.is_empty() {
                bail!("listener {:?} has more sockets than one message takes", rest[0].desired.name);
            }
            let (now, later) = rest.split_at(count);
            rest = later;
            let listeners = now.iter().map(|listener| ListenerFacts {
                name: listener.desired.name.to_string(),
                configured: listener.desired.address,
                address: listener.address,
                sockets: listener.sockets.len(),
            });
            let message = Message::Listeners {
                listeners: listeners.collect(),
                facts: std::mem::take(&mut facts),
                more: !rest.is_empty(),
            };
            let sockets: Vec<_> =
                now.iter().flat_map(|listener| &listener.sockets).map(|socket| socket.as_fd()).collect();
            channel.say_with(&message, &[], &sockets, STEP)?;
            if rest.is_empty() {
                return Ok(());
            }
        }
    }

    /// Everything after the successor accepts.
    fn give_the_rest(
        &self,
        channel: &Channel,
        ask: &Runtime,
        listeners_only: bool,
    ) -> anyhow::Result<(u64, Pauses)> {
        fault::at("accepting-heard");
        let silent = ask.block_on(self.shared.handle.give_up_listeners())?;
        if !silent.is_empty() {
            bail!("workers {silent:?} did not let their listeners go");
        }
        let mut pauses = Pauses::default();
        if !listeners_only {
            self.give_flows(channel, ask, &mut pauses)?;
        }
        let moved = pauses.0.len() as u64;
        self.admin.pause();
        let finished = self.give_doors(channel);
        if let Err(error) = finished {
            self.admin.answer(&self.shared)?;
            return Err(error);
        }
        Ok((moved, pauses))
    }

    /// Moves flows until none is left that can move.
    fn give_flows(&self, channel: &Channel, ask: &Runtime, pauses: &mut Pauses) -> anyhow::Result<()> {
        let until = Instant::now() + SETTLE;
        let mut number = 0;
        loop {
            let frozen_at = Instant::now();
            let mut frozen = ask.block_on(self.shared.handle.freeze(FREEZE))?;
            if frozen.is_empty() {
                // What is left connects or ends; it can move when it is connected.
                if self.flows() == 0 || Instant::now() >= until {
                    return Ok(());
                }
                thread::sleep(LOOK_EVERY);
                continue;
            }
            while !frozen.is_empty() {
                number += 1;
                let batch = Batch::take(&mut frozen);
                let count = batch.flows.len();
                if let Err(error) = self.give_batch(channel, ask, number, batch) {
                    // The others were not even offered.
                    ask.block_on(self.shared.handle.adopt(frozen))?;
                    return Err(error);
                }
                pauses.0.extend(std::iter::repeat_n(frozen_at.elapsed(), count));
            }
        }
    }

    fn give_batch(&self, channel: &Channel, ask: &Runtime, number: u64, batch: Batch) -> anyhow::Result<()> {
        let offer = Message::Offer { batch: number, flows: batch.flows.clone() };
        let descriptors: Vec<_> = batch.descriptors.iter().map(|descriptor| descriptor.as_fd()).collect();
        let held = channel.say_with(&offer, &batch.bytes, &descriptors, STEP).and_then(|()| {
            fault::at("offer-said");
            channel.hear(STEP)
        });
        let failure = match held {
            Ok(held) if held.message == (Message::Held { batch: number }) => None,
            Ok(held) => match held.message {
                Message::Refuse { why } => Some(anyhow::anyhow!("the successor refuses a batch: {why}")),
                _ => Some(anyhow::anyhow!("the successor broke the protocol")),
            },
            Err(error) => Some(anyhow::Error::from(error).context("the successor did not take a batch")),
        };
        if let Some(failure) = failure {
            // It is told first: until it is, it may think that this process died, and go on with them itself.
            let _ = channel.say(&Message::Abort { why: failure.to_string() }, Duration::from_millis(100));
            let flows = batch.into_flows()?;
            tracing::warn!(flows = flows.len(), "taking flows back");
            ask.block_on(self.shared.handle.adopt(flows))?;
            return Err(failure);
        }
        fault::at("held-heard");
        let count = batch.flows.len();
        // Whose they are is decided by this word alone. The copies go after it: if it cannot be said, the successor has
        // died without it, and nobody but this process has them.
        if let Err(error) = channel.say(&Message::Commit { batch: number }, STEP) {
            let flows = batch.into_flows()?;
            ask.block_on(self.shared.handle.adopt(flows))?;
            return Err(
                anyhow::Error::from(error).context("the successor died with a batch that it did not own")
            );
        }
        fault::at("commit-said");
        drop(batch);
        fault::at("dropped");
        match channel.hear(STEP) {
            Ok(started) if started.message == (Message::Started { batch: number }) => Ok(()),
            Ok(_) => bail!("the successor broke the protocol"),
            Err(error) => {
                Err(anyhow::Error::from(error).context(format!("the successor got {count} flows and went")))
            }
        }
    }

    fn give_doors(&self, channel: &Channel) -> anyhow::Result<()> {
        let doors = self.admin.doors();
        let own = (Door::Handoff { path: self.meeting.path().to_owned() }, self.meeting.as_fd());
        let (doors, sockets): (Vec<_>, Vec<BorrowedFd<'_>>) =
            doors.sockets().chain(std::iter::once(own)).unzip();
        let left = Left { flows: self.flows(), linger: self.handoff.linger };
        let message = Message::Doors { doors, counts: Vec::new(), left };
        channel.say_with(&message, &[], &sockets, STEP)?;
        fault::at("doors-said");
        match channel.hear(STEP).context("the successor did not answer on the admin side")?.message {
            Message::Finished => Ok(()),
            _ => bail!("the successor broke the protocol"),
        }
    }
}

impl Pauses {
    /// So many of 100 flows were frozen for no longer than this.
    fn percentile(&mut self, percent: usize) -> Duration {
        self.0.sort_unstable();
        let at = (self.0.len() * percent).div_ceil(100).max(1) - 1;
        self.0.get(at).copied().unwrap_or_default()
    }
}
