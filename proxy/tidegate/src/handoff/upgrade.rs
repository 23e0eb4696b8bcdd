//! A predecessor that starts its successor itself, because `tidegate upgrade` asks it to.
//!
//! The successor is a child: it has this process's arguments, environment, user, limits and cgroup. Until it is welcomed
//! it writes to a pipe, so that whoever asked can be shown why it did not come; from then on it writes where this
//! process does. A child that did not take over is ended, unless it owns flows.

use std::{
    io::{self, Read as _, Write as _},
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};
use tidegate_handoff::{
    Channel, Message,
    message::{Hello, Report},
};

use super::{
    STEP,
    handover::Handover,
    meeting,
    predecessor::{Predecessor, UNDER_WAY},
};

/// How much of the successor's output is shown to who asked.
const SHOWN: usize = 4096;
/// How long a successor that has given up may take to end.
const GIVEN_UP: Duration = Duration::from_secs(5);

/// A successor that was started.
struct Successor {
    child: Child,
    /// Becomes readable when it has ended.
    ended: OwnedFd,
    output: ChildStderr,
    /// It has not closed its output.
    is_heard: bool,
    /// The end of what it wrote.
    said: Vec<u8>,
}

impl Predecessor {
    /// Starts a successor and hands over to it; tells who asked how that went.
    pub(super) fn upgrade(&self, asker: &Channel, binary: Option<PathBuf>) -> anyhow::Result<Channel> {
        match self.replace(binary) {
            Ok((successor, report)) => {
                let left = self.leave(&report);
                // Whoever asked may have gone; what was asked for is done all the same.
                let _ = asker.say(&Message::Upgraded(report), STEP);
                left.map(|()| successor)
            }
            Err(error) => {
                let _ = asker.say(&Message::Refuse { why: format!("{error:#}") }, STEP);
                Err(error)
            }
        }
    }

    fn replace(&self, binary: Option<PathBuf>) -> anyhow::Result<(Channel, Report)> {
        if std::process::id() == 1 {
            bail!(
                "the running proxy is process 1 of its container: when it ends, the kernel ends every other process there, \
                 a successor among them; start another container on the same handoff.socket, which takes over \
                 (deploy/README.md), or run the proxy under an init"
            );
        }
        if let Some(why) = self.lingering() {
            bail!("{why}");
        }
        let binary = match (binary, &self.binary) {
            (Some(binary), _) => binary,
            (None, Ok(binary)) => binary.clone(),
            (None, Err(error)) => {
                bail!("the running binary's place is not known ({error}); name it with --binary")
            }
        };
        let mut successor = Successor::start(&binary)?;
        let mut may_have_flows = false;
        let outcome = self.await_hello(&mut successor).and_then(|(channel, hello)| {
            let mut handover = Handover::new(self, &channel, &hello);
            handover.is_child = channel.process() == Some(successor.child.id());
            let report = handover.run();
            may_have_flows = handover.may_have_flows();
            Ok((channel, report?))
        });
        successor.pass_output_on();
        outcome.map_err(|error| {
            let said = successor.give_up(may_have_flows);
            if said.is_empty() { error } else { anyhow::anyhow!("{error:#}; it said:\n{said}") }
        })
    }

    /// Waits until the child says hello, or whom it started.
    fn await_hello(&self, successor: &mut Successor) -> anyhow::Result<(Channel, Hello)> {
        let limit = self.handoff.timeout;
        let until = Instant::now() + limit;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("the successor said nothing within {limit:?} (handoff.timeout) of its start");
            }
            let mut awaited =
                vec![PollFd::new(&self.meeting, PollFlags::IN), PollFd::new(&successor.ended, PollFlags::IN)];
            if successor.is_heard {
                awaited.push(PollFd::new(&successor.output, PollFlags::IN));
            }
            match poll(&mut awaited, Some(&Timespec::try_from(left)?)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("cannot wait for the successor"),
            }
            let (came, ended) = (!awaited[0].revents().is_empty(), !awaited[1].revents().is_empty());
            successor.pass_output_on();
            if ended {
                let status = successor.child.wait().context("cannot ask for the successor's end")?;
                bail!("the successor ended before it took over ({status})");
            }
            if came && let Some(hello) = self.hear_hello(successor.child.id())? {
                return Ok(hello);
            }
        }
    }

    /// What somebody who connects wants: only the successor that was started is spoken with.
    fn hear_hello(&self, child: u32) -> anyhow::Result<Option<(Channel, Hello)>> {
        let stream = self.meeting.accept().context("the handoff's socket cannot accept")?;
        let Ok(channel) = Channel::accepted(stream, meeting::own_user()) else { return Ok(None) };
        match channel.hear(STEP) {
            Ok(heard) => {
                if let Message::Hello(hello) = heard.message
                    && channel.process().is_some_and(|process| descends(process, child))
                {
                    return Ok(Some((channel, hello)));
                }
                let _ = channel.say(&Message::Refuse { why: UNDER_WAY.to_owned() }, STEP);
            }
            Err(error) => tracing::warn!(%error, "somebody connected who is no successor"),
        }
        Ok(None)
    }
}

/// Whether a process is this one, or was started by it, or by one that was.
fn descends(mut process: u32, from: u32) -> bool {
    let parent = |process: u32| {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse::<u32>().ok()
    };
    while process != from {
        match parent(process) {
            Some(parent @ 2..) => process = parent,
            _ => return false,
        }
    }
    true
}

impl Successor {
    fn start(binary: &Path) -> anyhow::Result<Self> {
        // Only the first start of all may have been told not to take over.
        let arguments = std::env::args_os().skip(1).filter(|argument| argument != "--no-handoff");
        let child = Command::new(binary)
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {} as the successor", binary.display()))?;
        tracing::info!(process = child.id(), binary = %binary.display(), "started a successor");
        Self::of(child)
    }

    fn of(mut child: Child) -> anyhow::Result<Self> {
        let watched = || {
            let process = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            let ended = pidfd_open(process.context("it has no number")?, PidfdFlags::empty())?;
            let output = child.stderr.take().context("it has no output")?;
            rustix::io::ioctl_fionbio(output.as_fd(), true)?;
            anyhow::Ok((ended, output))
        };
        let mut watched = watched;
        match watched() {
            Ok((ended, output)) => Ok(Self { child, ended, output, is_heard: true, said: Vec::new() }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error.context("cannot watch the successor"))
            }
        }
    }

    /// Passes on what it has written, and keeps the end of it.
    fn pass_output_on(&mut self) {
        let mut buffer = [0; SHOWN];
        loop {
            let length = match self.output.read(&mut buffer) {
                Ok(0) => {
                    self.is_heard = false;
                    return;
                }
                Ok(length) => length,
                Err(_) => return,
            };
            let _ = io::stderr().write_all(&buffer[..length]);
            self.said.extend(&buffer[..length]);
            let surplus = self.said.len().saturating_sub(SHOWN);
            self.said.drain(..surplus);
        }
    }

    /// It has not taken over. One that may have flows goes on with them; any other is ended where it does not end by
    /// itself.
    fn give_up(mut self, may_have_flows: bool) -> String {
        if may_have_flows {
            // Somebody has to hear of its end.
            let reap = thread::Builder::new().name("reap".to_owned());
            let _ = reap.spawn(move || self.child.wait());
            return String::new();
        }
        let limit = Timespec::try_from(GIVEN_UP).ok();
        let ended = poll(&mut [PollFd::new(&self.ended, PollFlags::IN)], limit.as_ref());
        if !matches!(ended, Ok(1)) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
        self.pass_output_on();
        String::from_utf8_lossy(&self.said).trim().to_owned()
    }
}
