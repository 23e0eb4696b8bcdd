//! The predecessor's side: gives listeners, flows and the admin side to a successor, and takes back what that one did
//! not get.
//!
//! Until a batch is committed its flows are this process's, and until the successor answers everything else is. So
//! whatever happens to the successor, this process goes on with the rest.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd as _, BorrowedFd},
    path::PathBuf,
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use tidegate_config::Handoff;
use tidegate_handoff::{
    Channel, Message,
    flow::Batch,
    message::{Door, Hello, Left, Report, Welcome},
};
use tokio::runtime::Runtime;

use super::{
    STEP, asker,
    facts::{self, Lingering},
    fault, meeting, own_pod,
    parked::Parked,
    pauses::Pauses,
};
use crate::{
    admin::{self, AdminSide},
    proxy::Shared,
    signals,
};

/// How many flows of each worker are frozen at once: few enough that none waits long, enough to fill a message.
const FREEZE: usize = 60;
/// How long flows that are on their way out are waited for. Those that take longer end here.
const SETTLE: Duration = Duration::from_secs(1);
/// How often a process that waits for its last flows tells its successor what it counts.
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// How long a predecessor that has no flows may take to end.
const LEAVING: Duration = Duration::from_secs(2);
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
    /// Where the running binary was started from; an upgrade starts what is there then.
    pub(crate) binary: io::Result<PathBuf>,
    /// Decides the hash by which clients find their endpoints.
    pub(crate) seed: u64,
    /// Pods that have handed over, up to this process.
    pub(crate) superseded: Vec<String>,
    /// Processes of those pods, which take over again when this one ends.
    pub(crate) parked: Parked,
    /// This process's own predecessor, for as long as that one has flows left.
    pub(crate) own_predecessor: Option<Lingering>,
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
            let met = Channel::new(stream, meeting::own_user()).map_err(anyhow::Error::from);
            match met.and_then(|channel| self.meet(channel)) {
                Ok(Some(successor)) => return self.linger(&successor),
                Ok(None) => {}
                Err(error) => {
                    self.shared.handle.counters().handoffs_failed.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!("no handoff, this process goes on: {error:#}");
                }
            }
        }
    }

    /// Tells the successor what this process counts while it has flows, so that it is counted there.
    fn linger(&self, successor: &Channel) {
        loop {
            let is_over = !matches!(self.ended.recv_timeout(COUNT_EVERY), Err(RecvTimeoutError::Timeout));
            let counts = facts::counts(&admin::totals(&self.shared));
            if successor.say(&Message::Counts { counts }, STEP).is_err() || is_over {
                return;
            }
        }
    }

    /// Speaks with whoever has connected; the successor, where one has taken over.
    fn meet(&self, channel: Channel) -> anyhow::Result<Option<Channel>> {
        match channel.hear(STEP).context("nothing came that a successor says")?.message {
            Message::Hello(hello) if self.has_handed_over(&hello) => self.park(&hello, channel),
            Message::Hello(hello) => {
                let mut moved = 0;
                let report = self.meet_successor(&channel, &hello, false, &mut moved)?;
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

    /// Hands over to a successor that has said hello; it is given this process's log where it was started by it. What
    /// has moved is counted in `moved` also where it fails.
    pub(super) fn meet_successor(
        &self,
        channel: &Channel,
        hello: &Hello,
        is_child: bool,
        moved: &mut u64,
    ) -> anyhow::Result<Report> {
        if let Some(why) = self.refusal(hello) {
            let _ = channel.say(&Message::Refuse { why: why.clone() }, STEP);
            bail!("{why}");
        }
        self.hand_over(channel, hello, is_child, moved).inspect_err(|error| {
            let _ = channel.say(&Message::Abort { why: format!("{error:#}") }, Duration::from_millis(100));
            // Gates open again, also where nothing was given up yet.
            let _ = asker().map(|ask| ask.block_on(self.shared.handle.take_back_listeners()));
        })
    }

    /// Ends, once the flows that are left have ended.
    pub(super) fn leave(&self, report: &Report) -> anyhow::Result<()> {
        let Report { moved, left, pause_p50, pause_p99, took, .. } = report;
        tracing::info!(moved, left, ?pause_p50, ?pause_p99, ?took, "handed over");
        signals::resign(&self.shared);
        self.shared.source.resign();
        self.shared.handed_over.store(true, Ordering::Relaxed);
        self.meeting.leave_file();
        self.admin.doors().leave_files();
        asker()?.block_on(self.shared.handle.leave(self.handoff.linger))?;
        Ok(())
    }

    fn refusal(&self, hello: &Hello) -> Option<String> {
        if hello.protocol().is_none() {
            let known = tidegate_handoff::message::PROTOCOLS;
            return Some(format!(
                "this process speaks the protocols {known:?}, its successor {:?}; end this one, then start the other",
                hello.protocols
            ));
        }
        self.lingering()
    }

    /// Why nobody can take over yet, where this process's own predecessor is not gone.
    pub(super) fn lingering(&self) -> Option<String> {
        let predecessor = self.own_predecessor.as_ref()?;
        let until = Instant::now() + LEAVING;
        while predecessor.process().is_some() && Instant::now() < until {
            thread::sleep(LOOK_EVERY);
        }
        let process = predecessor.process()?;
        Some(format!(
            "the predecessor of this process (process {process}) still has flows; it waits for them for at most {:?} \
             (handoff.linger): try again then, or end it",
            self.handoff.linger
        ))
    }

    /// Hands everything over. After an error this process has what it had, but for flows that were committed.
    fn hand_over(
        &self,
        channel: &Channel,
        hello: &Hello,
        is_child: bool,
        moved: &mut u64,
    ) -> anyhow::Result<Report> {
        let begun = Instant::now();
        let ask = &asker()?;
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
            clock: self.shared.handle.clock().now().as_nanos(),
            seed: self.seed,
            pod_uid: own_pod(),
            superseded: self.superseded.clone(),
            doors: self.admin.doors().sockets().map(|(door, _)| door).collect(),
            listeners_only: listeners_only.clone(),
            log: is_child,
        };
        let log = io::stderr();
        let log: &[BorrowedFd<'_>] = if is_child { &[log.as_fd()] } else { &[] };
        channel.say_with(&Message::Welcome(welcome), &[], log, STEP)?;
        fault::at("welcomed");
        match channel.hear(self.handoff.timeout + STEP).context("the successor did not get ready")?.message {
            Message::Ready => {}
            Message::Refuse { why } => bail!("the successor gives up: {why}"),
            _ => bail!("the successor broke the protocol"),
        }
        let lent = self.give_listeners(channel, ask)?;
        fault::at("gave-listeners");
        let taken = match channel.hear(STEP).context("the successor did not take the listeners")?.message {
            Message::Accepting { taken } => taken,
            Message::Refuse { why } => bail!("the successor gives up: {why}"),
            _ => bail!("the successor broke the protocol"),
        };
        let mut pauses = Pauses::default();
        let room = listeners_only.is_none().then_some(hello.flow_limit);
        let given = self.give_the_rest(channel, ask, (&lent, taken), room, &mut pauses);
        *moved = pauses.0.len() as u64;
        if given.is_err() {
            ask.block_on(self.shared.handle.take_back_listeners())?;
        }
        given?;
        Ok(Report {
            process: channel.process().unwrap_or_default(),
            build: hello.build.clone(),
            moved: *moved,
            left: self.flows(),
            linger: self.handoff.linger,
            pause_p50: pauses.percentile(50),
            pause_p99: pauses.percentile(99),
            took: begun.elapsed(),
        })
    }

    fn flows(&self) -> u64 {
        self.shared.workers.iter().map(|worker| worker.flows.get()).sum()
    }

    /// Everything after the successor accepts.
    fn give_the_rest(
        &self,
        channel: &Channel,
        ask: &Runtime,
        (lent, taken): (&[SocketAddr], Vec<SocketAddr>),
        room: Option<u64>,
        pauses: &mut Pauses,
    ) -> anyhow::Result<()> {
        fault::at("accepting-heard");
        let gives_all = lent.iter().all(|address| taken.contains(address));
        let let_go = |silent: Vec<usize>| match silent[..] {
            [] => Ok(()),
            _ => bail!("workers {silent:?} did not let their listeners go"),
        };
        let_go(ask.block_on(self.shared.handle.give_up_listeners(taken))?)?;
        // There may be more of them than when it said hello; from here on only those come that the rest accepts.
        let flows = self.flows();
        let moves = room.is_some_and(|room| flows <= room);
        if let (Some(room), false) = (room, moves) {
            tracing::warn!(
                "there are {flows} flows by now and the successor's descriptor limit allows {room} (RLIMIT_NOFILE): they stay here"
            );
        }
        if moves {
            self.give_flows(channel, ask, gives_all, pauses)?;
        }
        if !gives_all {
            // Until here clients of listeners that the successor does not have were served here; who came last moves last.
            let_go(ask.block_on(self.shared.handle.close_rest())?)?;
            if moves {
                self.give_flows(channel, ask, true, pauses)?;
            }
        }
        self.admin.pause();
        let finished = self.give_doors(channel, ask);
        if let Err(error) = finished {
            self.admin.answer(&self.shared)?;
            return Err(error);
        }
        Ok(())
    }

    /// Moves flows until none is left that can move; or, where more of them come, those that are there.
    fn give_flows(
        &self,
        channel: &Channel,
        ask: &Runtime,
        until_none_is_left: bool,
        pauses: &mut Pauses,
    ) -> anyhow::Result<()> {
        let until = Instant::now() + SETTLE;
        let goal = pauses.0.len() as u64 + self.flows();
        loop {
            if !until_none_is_left && pauses.0.len() as u64 >= goal {
                return Ok(());
            }
            let frozen_at = Instant::now();
            let mut frozen = ask.block_on(self.shared.handle.freeze(FREEZE))?;
            if frozen.is_empty() && !until_none_is_left {
                return Ok(());
            }
            if frozen.is_empty() {
                // What is left is on its way out.
                if self.flows() == 0 || Instant::now() >= until {
                    return Ok(());
                }
                thread::sleep(LOOK_EVERY);
                continue;
            }
            while !frozen.is_empty() {
                let number = pauses.0.len() as u64 + 1;
                let batch = Batch::take(&mut frozen);
                let count = batch.flows.len();
                let mut is_committed = false;
                let given = self.give_batch(channel, ask, number, batch, &mut is_committed);
                if is_committed {
                    pauses.0.extend(std::iter::repeat_n(frozen_at.elapsed(), count));
                }
                if let Err(error) = given {
                    // The others were not even offered.
                    ask.block_on(self.shared.handle.adopt(frozen))?;
                    return Err(error);
                }
            }
        }
    }

    fn give_batch(
        &self,
        channel: &Channel,
        ask: &Runtime,
        number: u64,
        batch: Batch,
        is_committed: &mut bool,
    ) -> anyhow::Result<()> {
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
        *is_committed = true;
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

    fn give_doors(&self, channel: &Channel, ask: &Runtime) -> anyhow::Result<()> {
        let drains = ask.block_on(self.shared.handle.drains_so_far())?;
        let counts = facts::counts(&admin::totals(&self.shared));
        let doors = self.admin.doors();
        let own = (Door::Handoff { path: self.meeting.path().to_owned() }, self.meeting.as_fd());
        let (doors, sockets): (Vec<_>, Vec<BorrowedFd<'_>>) =
            doors.sockets().chain(std::iter::once(own)).unzip();
        let left = Left { flows: self.flows(), linger: self.handoff.linger };
        let message = Message::Doors { doors, counts, drains, left };
        channel.say_with(&message, &[], &sockets, STEP)?;
        fault::at("doors-said");
        match channel.hear(STEP).context("the successor did not answer on the admin side")?.message {
            Message::Finished => Ok(()),
            _ => bail!("the successor broke the protocol"),
        }
    }
}
