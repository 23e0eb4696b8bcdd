//! One handover: what the predecessor says, and waits for, in which order.
//!
//! Until a batch is committed its flows are this process's, and until the doors are, everything else is. So whatever
//! happens to the successor, this process goes on with the rest. After the doors are committed nothing is taken back from
//! a successor that lives: it may be slow, and then two would serve.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use tidegate_handoff::{
    Channel, ChannelError, Message,
    flow::Batch,
    message::{Door, Hello, Left, Report, Welcome},
};
use tokio::runtime::Runtime;

use super::{
    STEP, asker, facts, fault, lend, own_pod,
    pauses::Pauses,
    predecessor::{LOOK_EVERY, Predecessor},
};
use crate::signals;

/// How many flows of each worker are frozen at once: few enough that none waits long, enough to fill a message.
const FREEZE: usize = 60;
/// How long flows that are on their way out are waited for. Those that take longer end here.
const SETTLE: Duration = Duration::from_secs(1);
/// How long it may take to say that a handover is over before its end.
const ABORT: Duration = Duration::from_millis(100);

/// A handover to a successor that has said hello.
pub(super) struct Handover<'a> {
    predecessor: &'a Predecessor,
    channel: &'a Channel,
    hello: &'a Hello,
    /// It was started by this process, and is given its log.
    pub(super) is_child: bool,
    /// It has the listeners, and may accept.
    gave_listeners: bool,
    /// The number of the last batch.
    batch: u64,
    pauses: Pauses,
}

impl<'a> Handover<'a> {
    pub(super) fn new(predecessor: &'a Predecessor, channel: &'a Channel, hello: &'a Hello) -> Self {
        let pauses = Pauses::default();
        Self { predecessor, channel, hello, is_child: false, gave_listeners: false, batch: 0, pauses }
    }

    /// The successor may have flows, also where the rest did not move.
    pub(super) fn may_have_flows(&self) -> bool {
        self.gave_listeners
    }

    /// Hands everything over. After an error this process has what it had, but for flows that were committed.
    pub(super) fn run(&mut self) -> anyhow::Result<Report> {
        fault::at("hello-heard");
        if let Some(why) = self.predecessor.refusal(self.hello) {
            let _ = self.channel.say(&Message::Refuse { why: why.clone() }, STEP);
            bail!("{why}");
        }
        let ask = asker()?;
        self.hand_over(&ask).inspect_err(|error| {
            let abort = Message::Abort { why: format!("{error:#}") };
            let told = self.channel.say(&abort, ABORT);
            if self.gave_listeners {
                // It must not take the end of the channel for this process's.
                let untold = matches!(told, Err(ChannelError::Silent(_))).then_some(abort);
                let followed = self.channel.try_clone().map_err(anyhow::Error::from);
                if let Err(error) = followed.and_then(|channel| self.predecessor.follow_half(channel, untold))
                {
                    tracing::warn!("flows of the successor's are not counted: {error:#}");
                }
            }
            // Gates open again, also where nothing was given up yet.
            let _ = ask.block_on(self.predecessor.shared.handle.take_back_listeners());
        })
    }

    fn hand_over(&mut self, ask: &Runtime) -> anyhow::Result<Report> {
        let begun = Instant::now();
        let listeners_only = self.welcome()?;
        fault::at("welcomed");
        let timeout = self.predecessor.handoff.timeout + STEP;
        self.await_word(&Message::Ready, timeout, "the successor did not get ready")?;
        fault::at("ready-heard");
        self.gave_listeners = true;
        let lent = lend::give_listeners(self.predecessor, self.channel, ask)?;
        fault::at("gave-listeners");
        let taken = match self.channel.hear(STEP).context("the successor did not take the listeners")?.message
        {
            Message::Accepting { taken } => taken,
            other => return Err(broken(other)),
        };
        fault::at("accepting-heard");
        let gives_all = lent.iter().all(|address| taken.contains(address));
        let handle = &self.predecessor.shared.handle;
        let_go(&ask.block_on(handle.give_up_listeners(taken))?)?;
        fault::at("gave-up");
        let moves = !listeners_only && self.has_room();
        if moves {
            self.give_flows(ask, gives_all)?;
        }
        if !gives_all {
            // Until here clients of listeners that the successor does not have were served here; who came last moves last.
            let_go(&ask.block_on(handle.close_rest())?)?;
            if moves {
                self.give_flows(ask, true)?;
            }
        }
        self.predecessor.admin.pause();
        fault::at("paused");
        if let Err(error) = self.give_doors(ask) {
            self.predecessor.admin.answer(&self.predecessor.shared)?;
            return Err(error);
        }
        Ok(Report {
            process: self.channel.process().unwrap_or_default(),
            build: self.hello.build.clone(),
            moved: self.pauses.0.len() as u64,
            left: self.predecessor.flows(),
            linger: self.predecessor.handoff.linger,
            pause_p50: self.pauses.percentile(50),
            pause_p99: self.pauses.percentile(99),
            took: begun.elapsed(),
        })
    }

    /// Waits for this word and no other.
    fn await_word(&self, word: &Message, limit: Duration, otherwise: &'static str) -> anyhow::Result<()> {
        match self.channel.hear(limit).context(otherwise)?.message {
            heard if heard == *word => Ok(()),
            other => Err(broken(other)),
        }
    }

    /// Says who this is; whether listeners alone move is decided by then.
    fn welcome(&self) -> anyhow::Result<bool> {
        let Self { predecessor, channel, hello, is_child, .. } = self;
        let flows = predecessor.flows();
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
            same_configuration = hello.config == predecessor.config, ?listeners_only,
            "a successor takes over"
        );
        let is_listeners_only = listeners_only.is_some();
        let welcome = Welcome {
            protocol: hello.protocol().unwrap_or_default(),
            build: env!("CARGO_PKG_VERSION").to_owned(),
            config: predecessor.config,
            workers: predecessor.workers,
            flows,
            clock: predecessor.shared.handle.clock().now().as_nanos(),
            seed: predecessor.seed,
            pod_uid: own_pod(),
            superseded: predecessor.superseded.clone(),
            doors: predecessor.admin.doors().sockets().map(|(door, _)| door).collect(),
            listeners_only,
            log: *is_child,
        };
        let log = io::stderr();
        let log: &[BorrowedFd<'_>] = if *is_child { &[log.as_fd()] } else { &[] };
        channel.say_with(&Message::Welcome(welcome), &[], log, STEP)?;
        Ok(is_listeners_only)
    }

    /// Whether the successor's descriptors allow the flows that there are. There may be more than when it said hello; from
    /// here on only those come that listeners accept which it does not have.
    fn has_room(&self) -> bool {
        let (flows, limit) = (self.predecessor.flows(), self.hello.flow_limit);
        if flows > limit {
            tracing::warn!(
                "there are {flows} flows by now and the successor's descriptor limit allows {limit} (RLIMIT_NOFILE): they stay here"
            );
        }
        flows <= limit
    }

    /// Moves flows until none is left that can move; or, where more of them come, those that are there.
    fn give_flows(&mut self, ask: &Runtime, until_none_is_left: bool) -> anyhow::Result<()> {
        let handle = &self.predecessor.shared.handle;
        let until = Instant::now() + SETTLE;
        let goal = self.pauses.0.len() as u64 + self.predecessor.flows();
        loop {
            if !until_none_is_left && self.pauses.0.len() as u64 >= goal {
                return Ok(());
            }
            let frozen_at = Instant::now();
            let mut frozen = ask.block_on(handle.freeze(FREEZE))?;
            if frozen.is_empty() && !until_none_is_left {
                return Ok(());
            }
            if frozen.is_empty() {
                // What is left is on its way out.
                if self.predecessor.flows() == 0 || Instant::now() >= until {
                    return Ok(());
                }
                thread::sleep(LOOK_EVERY);
                continue;
            }
            while !frozen.is_empty() {
                let given = self.give_batch(ask, Batch::take(&mut frozen), frozen_at);
                if let Err(error) = given {
                    // The others were not even offered.
                    ask.block_on(handle.adopt(frozen))?;
                    return Err(error);
                }
            }
        }
    }

    fn give_batch(&mut self, ask: &Runtime, batch: Batch, frozen_at: Instant) -> anyhow::Result<()> {
        self.batch += 1;
        let (number, count) = (self.batch, batch.flows.len());
        let offer = Message::Offer { batch: number, flows: batch.flows.clone() };
        let descriptors: Vec<_> = batch.descriptors.iter().map(|descriptor| descriptor.as_fd()).collect();
        let offered = self.channel.say_with(&offer, &batch.bytes, &descriptors, STEP);
        let held = offered.map_err(anyhow::Error::from).and_then(|()| {
            fault::at("offer-said");
            self.await_word(&Message::Held { batch: number }, STEP, "the successor did not take a batch")
        });
        if let Err(failure) = held {
            // It is told first: until it is, it may think that this process died, and go on with them itself.
            let _ = self.channel.say(&Message::Abort { why: format!("{failure:#}") }, ABORT);
            self.take_back(ask, batch)?;
            return Err(failure);
        }
        fault::at("held-heard");
        // Whose they are is decided by this word alone. The copies go after it: if it cannot be said, the successor has
        // died without it, and nobody but this process has them.
        if let Err(error) = self.channel.say(&Message::Commit { batch: number }, STEP) {
            self.take_back(ask, batch)?;
            return Err(
                anyhow::Error::from(error).context("the successor died with a batch that it did not own")
            );
        }
        fault::at("commit-said");
        drop(batch);
        fault::at("dropped");
        let started = self.await_word(
            &Message::Started { batch: number },
            STEP,
            "the successor got flows and did not say that it goes on with them",
        );
        self.pauses.0.extend(std::iter::repeat_n(frozen_at.elapsed(), count));
        started?;
        fault::at("started-heard");
        Ok(())
    }

    fn take_back(&self, ask: &Runtime, batch: Batch) -> anyhow::Result<()> {
        let flows = batch.into_flows()?;
        tracing::warn!(flows = flows.len(), "taking flows back");
        ask.block_on(self.predecessor.shared.handle.adopt(flows))?;
        Ok(())
    }

    /// Gives the last batch: the sockets on which this process is asked, and what no source can tell.
    fn give_doors(&mut self, ask: &Runtime) -> anyhow::Result<()> {
        let predecessor = self.predecessor;
        self.batch += 1;
        let (batch, facts) = (self.batch, facts::gather(&predecessor.shared, ask)?);
        {
            let doors = predecessor.admin.doors();
            let meeting = &predecessor.meeting;
            let own = (Door::Handoff { path: meeting.path().to_owned() }, meeting.as_fd());
            let (doors, sockets): (Vec<_>, Vec<BorrowedFd<'_>>) =
                doors.sockets().chain(std::iter::once(own)).unzip();
            let left = Left { flows: predecessor.flows(), linger: predecessor.handoff.linger };
            self.channel.say_with(&Message::Doors { batch, doors, facts, left }, &[], &sockets, STEP)?;
        }
        fault::at("doors-said");
        self.await_word(&Message::Held { batch }, STEP, "the successor did not take the admin side")?;
        fault::at("doors-held");
        self.channel.say(&Message::Commit { batch }, STEP).context("the successor died before the end")?;
        fault::at("doors-committed");
        predecessor.turn_away(self.hello);
        match self.channel.hear(STEP) {
            Ok(heard) if heard.message == Message::Finished => {}
            // Nobody else has anything by now.
            Err(ChannelError::Ended) => {
                // It may have told the service manager that it is the main process.
                signals::take_the_place(&predecessor.shared);
                bail!("the successor died at the end");
            }
            // It has everything, and may be slow to say so.
            Ok(_) | Err(_) => tracing::warn!("the successor has everything and does not say that it answers"),
        }
        fault::at("finished-heard");
        Ok(())
    }
}

/// What comes of a word that is not the one that was waited for.
fn broken(heard: Message) -> anyhow::Error {
    match heard {
        Message::Refuse { why } => anyhow::anyhow!("the successor gives up: {why}"),
        _ => anyhow::anyhow!("the successor broke the protocol"),
    }
}

/// Workers that did not let their listeners go in time still have them.
fn let_go(silent: &[usize]) -> anyhow::Result<()> {
    if !silent.is_empty() {
        bail!("workers {silent:?} did not let their listeners go");
    }
    Ok(())
}
