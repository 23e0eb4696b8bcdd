//! The predecessor's side: waits for a successor, and ends when one has taken over.
//!
//! Decided here: who is spoken with, one at a time. What is handed over in which order is `handover`'s business.

use std::{
    cell::RefCell,
    io,
    path::PathBuf,
    sync::{Arc, atomic::Ordering, mpsc::Receiver},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tidegate_config::Handoff;
use tidegate_handoff::{
    Channel, ChannelError, Message,
    message::{Hello, Report},
};

use super::{
    STEP, asker,
    handover::Handover,
    lingering::{self, Lingering},
    meeting,
    parked::Parked,
};
use crate::{admin::AdminSide, proxy::Shared, signals};

/// How long a predecessor that has no flows may take to end.
const LEAVING: Duration = Duration::from_secs(2);
/// How long it may take to turn somebody away.
const TURN_AWAY: Duration = Duration::from_millis(100);
/// What is said to whoever comes while another one takes over.
pub(super) const UNDER_WAY: &str = "a handoff is under way; try again when it is over";
/// How soon it is looked again.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What a predecessor needs.
pub(crate) struct Predecessor {
    pub(crate) meeting: Arc<meeting::Meeting>,
    pub(crate) shared: Shared,
    pub(crate) admin: Arc<AdminSide>,
    pub(crate) handoff: Handoff,
    pub(crate) config: u64,
    pub(crate) workers: usize,
    /// Where the running binary was started from; an upgrade starts what is there then.
    pub(crate) binary: io::Result<PathBuf>,
    /// Decides the hash by which clients find their endpoints.
    pub(crate) seed: u64,
    /// Pods that have handed over, up to this process.
    pub(crate) superseded: Vec<String>,
    /// Processes of those pods, which take over again when this one ends.
    pub(crate) parked: Parked,
    /// This process's own predecessor, and successors that were given flows and not the rest: those that may have flows
    /// left.
    pub(crate) others: RefCell<Vec<Lingering>>,
    /// Disconnected when the last flow of this process has ended.
    pub(crate) ended: Receiver<()>,
}

impl Predecessor {
    /// Waits for a successor on a thread of its own, until one has taken over and has heard what this process counts to
    /// its end.
    pub(crate) fn serve(self) -> anyhow::Result<JoinHandle<()>> {
        Ok(thread::Builder::new().name("handoff".to_owned()).spawn(move || self.run())?)
    }

    fn run(self) {
        loop {
            let stream = match self.meeting.accept() {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::warn!(%error, "the handoff's socket cannot accept");
                    thread::sleep(Duration::from_millis(100));
                    continue;
                }
            };
            let met = Channel::accepted(stream, meeting::own_user()).map_err(anyhow::Error::from);
            match met.and_then(|channel| self.meet(channel)) {
                Ok(Some(successor)) => return lingering::count_for(&successor, &self.shared, &self.ended),
                Ok(None) => {}
                Err(error) => {
                    self.shared.handle.counters().handoffs_failed.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!("no handoff, this process goes on: {error:#}");
                }
            }
        }
    }

    /// Speaks with whoever has connected; the successor, where one has taken over.
    fn meet(&self, channel: Channel) -> anyhow::Result<Option<Channel>> {
        let heard = match channel.hear(STEP) {
            // It wanted to know whether somebody listens.
            Err(ChannelError::Ended) => return Ok(None),
            heard => heard.context("nothing came that a successor says")?,
        };
        match heard.message {
            Message::Hello(hello) if self.has_handed_over(&hello) => self.park(&hello, channel),
            Message::Hello(hello) => {
                let report = Handover::new(self, &channel, &hello).run()?;
                self.leave(&report)?;
                Ok(Some(channel))
            }
            Message::Upgrade { binary } => self.upgrade(&channel, binary).map(Some),
            _ => {
                let why = "a successor says hello first".to_owned();
                let _ = channel.say(&Message::Refuse { why }, STEP);
                bail!("it did not say hello");
            }
        }
    }

    /// Ends, once the flows that are left have ended.
    pub(super) fn leave(&self, report: &Report) -> anyhow::Result<()> {
        let Report { moved, left, pause_p50, pause_p99, took, .. } = report;
        tracing::info!(moved, left, ?pause_p50, ?pause_p99, ?took, "handed over");
        signals::resign(&self.shared);
        // The successor may write from here on, and shall not have to wait until it may.
        self.shared.source.resign();
        self.shared.handed_over.store(true, Ordering::Relaxed);
        self.meeting.leave_file();
        self.admin.doors().leave_files();
        asker()?.block_on(self.shared.handle.leave(self.handoff.linger))?;
        Ok(())
    }

    /// Why this successor cannot take over.
    pub(super) fn refusal(&self, hello: &Hello) -> Option<String> {
        if hello.protocol().is_none() {
            let known = tidegate_handoff::message::PROTOCOLS;
            return Some(format!(
                "this process speaks the protocols {known:?}, its successor {:?}; end this one, then start the other",
                hello.protocols
            ));
        }
        self.lingering()
    }

    /// Why nobody can take over yet, where another process still has flows.
    pub(super) fn lingering(&self) -> Option<String> {
        let until = Instant::now() + LEAVING;
        let named = loop {
            let named = self.others.borrow().iter().find_map(Lingering::named)?;
            if Instant::now() >= until {
                break named;
            }
            thread::sleep(LOOK_EVERY);
        };
        Some(format!(
            "{named} still has flows, from a handoff before this one; it waits for them for at most {:?} \
             (handoff.linger): try again then, or end it",
            self.handoff.linger
        ))
    }

    /// A successor has some of the flows, or has accepted some, and not the rest: until it has ended its flows are counted
    /// here, and nobody else takes over.
    pub(super) fn follow_half(&self, successor: Channel, untold: Option<Message>) -> anyhow::Result<()> {
        let before = self.shared.counted.carried.get();
        let half = Lingering::follow(successor, &self.shared, (*before).clone(), untold)?;
        self.others.borrow_mut().push(half);
        Ok(())
    }

    /// Flows of this process.
    pub(super) fn flows(&self) -> u64 {
        self.shared.workers.iter().map(|worker| worker.flows.get()).sum()
    }

    /// Tells all who wait to be heard that somebody else was quicker. A pod that has handed over goes behind that one.
    pub(super) fn turn_away(&self, successor: &Hello) {
        let at_once = Timespec::default();
        while let Ok(1) = poll(&mut [PollFd::new(&self.meeting, PollFlags::IN)], Some(&at_once)) {
            let Ok(stream) = self.meeting.accept() else { return };
            let Ok(channel) = Channel::accepted(stream, meeting::own_user()) else { continue };
            let hello = channel.hear(TURN_AWAY).ok().map(|heard| heard.message);
            let goes_behind = |hello: &Hello| {
                hello.waits || hello.pod_uid.as_ref().is_some_and(|pod| self.superseded.contains(pod))
            };
            let word = match hello {
                Some(Message::Hello(hello)) if goes_behind(&hello) => {
                    Message::Superseded { by: successor.pod_uid.clone().unwrap_or_default() }
                }
                _ => Message::Refuse { why: UNDER_WAY.to_owned() },
            };
            let _ = channel.say(&word, TURN_AWAY);
        }
    }
}
