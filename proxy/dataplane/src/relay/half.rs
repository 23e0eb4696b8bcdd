//! One direction of a relay.
//!
//! Small messages are copied through the worker's buffer: two calls for each. A half that moves bulk goes over to
//! splice through a pipe, which costs more calls and no copies, and back when the bulk is over. Whatever was read
//! and could not be written is held here, and nothing more is read until it is gone: that is the back-pressure, and
//! the bound on memory.

mod frozen;

use std::{
    io,
    task::{Context, Poll},
};

use rustix::io::Errno;

use tidegate_sys::{Pipe, socket};

use super::Tools;
use crate::{
    counters::{Direction, ServiceCounters, Way},
    leg::{Leg, Moved},
};

/// A read of this many bytes is bulk.
const BULK: usize = 32 * 1024;

/// So many bulk reads in a row, and the half splices.
const BULK_READS: u8 = 2;

/// So many wake-ups in a row that brought less than [`BULK`], and it copies again.
const QUIET_WAKES: u8 = 3;

/// Moves in one poll before other flows get their turn.
const MOVES_PER_POLL: u32 = 8;

/// A first write up to this size leaves in one segment, with or without Nagle's algorithm: no path has a smaller
/// maximum (RFC 9293, 3.7.1).
const ONE_SEGMENT: usize = 536;

/// Where a half writes, and what that is counted as.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outlet<'a> {
    pub(crate) sink: &'a Leg,
    pub(crate) tools: &'a Tools,
    pub(crate) counters: &'a ServiceCounters,
    pub(crate) direction: Direction,
}

/// One direction of a relay.
#[derive(Debug, Default)]
pub(crate) struct Half {
    pub(crate) state: HalfState,
    /// Bytes written to the sink.
    pub(crate) bytes: u64,
    /// The sink still has Nagle's algorithm on.
    nagle: bool,
    /// The source's FIN was passed on.
    fin_passed: bool,
    /// The source's FIN was read; what is held goes out before the state says so.
    source_ended: bool,
    /// The source's error was read already, which the kernel tells only once: what looks like its FIN is none.
    source_failed: bool,
    mode: Mode,
    held: Held,
}

/// How far a half has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum HalfState {
    /// Bytes may come.
    #[default]
    Open,
    /// The source has sent its FIN, and every byte before it is written.
    Ended,
    /// The source is broken; what was read before may still be held.
    SourceBroken,
    /// The sink takes no more bytes; what was held is lost with it.
    SinkBroken,
    /// The kernel has no memory for more bytes, although both ends are well.
    Starved,
}

/// How bytes are moved at this time.
#[derive(Clone, Copy, Debug)]
enum Mode {
    Copy { bulk_reads: u8 },
    Splice { quiet_wakes: u8, since_wake: u32 },
}

/// Bytes that were read and not yet written.
#[derive(Debug, Default)]
enum Held {
    #[default]
    Nothing,
    Bytes {
        bytes: Box<[u8]>,
        written: usize,
    },
    Pipe(Box<Pipe>),
    /// Bytes that came from elsewhere: first the pipe, then these.
    PipeAndBytes(Box<(Box<Pipe>, Box<[u8]>)>),
}

impl Default for Mode {
    fn default() -> Self {
        Self::Copy { bulk_reads: 0 }
    }
}

/// What a step says about the next one.
enum Step {
    Again,
    Blocked,
}

impl Half {
    /// A half that has moved nothing. `nagle`: its sink has Nagle's algorithm on.
    pub(crate) fn new(nagle: bool) -> Self {
        Self { nagle, ..Self::default() }
    }

    /// Moves bytes until one side has to wait, and sees to it that the task is woken then.
    pub(crate) fn drive(&mut self, cx: &mut Context<'_>, source: &Leg, outlet: &Outlet<'_>) {
        let mut moves = MOVES_PER_POLL;
        while self.state == HalfState::Open {
            if self.is_holding() {
                match self.flush(outlet) {
                    Step::Again => continue,
                    Step::Blocked => match outlet.sink.poll_writable(cx) {
                        Poll::Pending => return,
                        Poll::Ready(Ok(())) => continue,
                        Poll::Ready(Err(error)) => return self.fail_sink(&error, outlet.tools),
                    },
                }
            }
            if self.source_ended {
                self.state = HalfState::Ended;
                return;
            }
            if moves == 0 {
                cx.waker().wake_by_ref();
                return;
            }
            moves -= 1;
            let step = match self.mode {
                Mode::Copy { bulk_reads } => self.copy(bulk_reads, source, outlet),
                Mode::Splice { .. } => self.splice(source, outlet),
            };
            match step {
                Step::Again => {}
                Step::Blocked => match source.poll_readable(cx) {
                    Poll::Pending => return,
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => self.state = HalfState::SourceBroken,
                },
            }
        }
    }

    /// Bytes were read that the sink has not taken.
    pub(crate) fn is_holding(&self) -> bool {
        !matches!(self.held, Held::Nothing)
    }

    /// It does not look at its source: it waits for its sink, or the source has sent its FIN and may still reset.
    pub(crate) fn is_deaf(&self) -> bool {
        self.is_holding() || self.state == HalfState::Ended
    }

    /// The sink has its FIN.
    pub(crate) fn is_fin_passed(&self) -> bool {
        self.fin_passed
    }

    /// Sends the FIN that belongs after everything this half has written, once.
    pub(crate) fn pass_fin(&mut self, sink: &Leg) {
        if self.state == HalfState::Ended && !self.fin_passed {
            self.fin_passed = true;
            if socket::send_fin(sink.socket()).is_err() {
                self.state = HalfState::SinkBroken;
            }
        }
    }

    /// Writes what is held, whatever the state: what was read from a source that broke is still owed to the sink.
    /// Ready when nothing is held any more, or the sink takes no more.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>, outlet: &Outlet<'_>) -> Poll<()> {
        while self.is_holding() {
            if let Step::Blocked = self.flush(outlet) {
                match outlet.sink.poll_writable(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => self.fail_sink(&error, outlet.tools),
                }
            }
        }
        Poll::Ready(())
    }

    /// Gives its pipe back to the pool, when the flow is over.
    pub(crate) fn discard(&mut self, tools: &Tools) {
        match std::mem::take(&mut self.held) {
            Held::Pipe(pipe) => tools.pipes.give_back(pipe),
            Held::PipeAndBytes(both) => tools.pipes.give_back(both.0),
            Held::Nothing | Held::Bytes { .. } => {}
        }
    }

    fn fail_sink(&mut self, error: &io::Error, tools: &Tools) {
        self.discard(tools);
        // A connection that has failed says so to its reader too, which ends the other half. These it does not.
        self.state = match Errno::from_io_error(error) {
            Some(Errno::NOBUFS | Errno::NOMEM) => HalfState::Starved,
            _ => HalfState::SinkBroken,
        };
    }

    fn copy(&mut self, bulk_reads: u8, source: &Leg, outlet: &Outlet<'_>) -> Step {
        let mut buffer = outlet.tools.buffer.borrow_mut();
        let read = match source.receive(&mut buffer) {
            Ok(Moved::Bytes(read)) => read,
            Ok(Moved::Blocked) => return Step::Blocked,
            Ok(Moved::End) if !self.source_failed => {
                self.source_ended = true;
                return Step::Again;
            }
            Ok(Moved::End) | Err(_) => {
                self.state = HalfState::SourceBroken;
                return Step::Again;
            }
        };
        self.mode = if read < BULK {
            Mode::Copy { bulk_reads: 0 }
        } else if bulk_reads + 1 < BULK_READS || source.is_urgent() {
            Mode::Copy { bulk_reads: (bulk_reads + 1).min(BULK_READS) }
        } else {
            Mode::Splice { quiet_wakes: 0, since_wake: 0 }
        };
        self.end_nagle(outlet.sink, read);
        let written = match outlet.sink.transmit(&buffer[..read]) {
            Ok(Moved::Bytes(written)) => written,
            Ok(Moved::Blocked | Moved::End) => 0,
            Err(error) => {
                self.fail_sink(&error, outlet.tools);
                return Step::Again;
            }
        };
        self.count(written, outlet, Way::Copy);
        if written < read {
            self.held = Held::Bytes { bytes: buffer[written..read].into(), written: 0 };
        }
        Step::Again
    }

    fn splice(&mut self, source: &Leg, outlet: &Outlet<'_>) -> Step {
        let Some(mut pipe) = outlet.tools.pipes.take() else {
            self.mode = Mode::default();
            return Step::Again;
        };
        match source.fill(&mut pipe) {
            Ok(Moved::Bytes(read)) => {
                if let Mode::Splice { since_wake, .. } = &mut self.mode {
                    *since_wake = since_wake.saturating_add(u32::try_from(read).unwrap_or(u32::MAX));
                }
                self.end_nagle(outlet.sink, read);
                self.held = Held::Pipe(pipe);
                self.flush_pipe(outlet)
            }
            Ok(Moved::Blocked) => {
                outlet.tools.pipes.give_back(pipe);
                self.note_quiet(source);
                Step::Blocked
            }
            // A splice stops at urgent data, and says "end" there once the peer has closed, or the peer's error; a
            // plain read gets what is behind.
            Ok(Moved::End) => {
                outlet.tools.pipes.give_back(pipe);
                self.mode = Mode::default();
                Step::Again
            }
            Err(_) => {
                outlet.tools.pipes.give_back(pipe);
                self.mode = Mode::default();
                self.source_failed = true;
                Step::Again
            }
        }
    }

    /// The source is empty for now: is the bulk over?
    fn note_quiet(&mut self, source: &Leg) {
        let Mode::Splice { quiet_wakes, since_wake } = self.mode else {
            return;
        };
        if since_wake == 0 {
            // The task was woken for something else.
            return;
        }
        let quiet_wakes = if since_wake as usize >= BULK { 0 } else { quiet_wakes + 1 };
        self.mode = if quiet_wakes >= QUIET_WAKES || source.is_urgent() {
            Mode::default()
        } else {
            Mode::Splice { quiet_wakes, since_wake: 0 }
        };
    }

    /// Writes some of what is held.
    fn flush(&mut self, outlet: &Outlet<'_>) -> Step {
        match &mut self.held {
            Held::Nothing => Step::Again,
            Held::Pipe(_) | Held::PipeAndBytes(..) => self.flush_pipe(outlet),
            Held::Bytes { bytes, written } => match outlet.sink.transmit(&bytes[*written..]) {
                Ok(Moved::Bytes(moved)) => {
                    *written += moved;
                    if *written == bytes.len() {
                        self.held = Held::Nothing;
                    }
                    self.count(moved, outlet, Way::Copy);
                    Step::Again
                }
                Ok(Moved::Blocked | Moved::End) => Step::Blocked,
                Err(error) => {
                    self.fail_sink(&error, outlet.tools);
                    Step::Again
                }
            },
        }
    }

    fn flush_pipe(&mut self, outlet: &Outlet<'_>) -> Step {
        let pipe = match &mut self.held {
            Held::Pipe(pipe) => pipe,
            Held::PipeAndBytes(both) => &mut both.0,
            Held::Nothing | Held::Bytes { .. } => return Step::Again,
        };
        let moved = match outlet.sink.drain(pipe) {
            Ok(Moved::Bytes(moved)) => moved,
            Ok(Moved::Blocked | Moved::End) => return Step::Blocked,
            Err(error) => {
                self.fail_sink(&error, outlet.tools);
                return Step::Again;
            }
        };
        if pipe.is_empty() {
            match std::mem::take(&mut self.held) {
                Held::Pipe(pipe) => outlet.tools.pipes.give_back(pipe),
                Held::PipeAndBytes(both) => {
                    let (pipe, bytes) = *both;
                    outlet.tools.pipes.give_back(pipe);
                    self.held = Held::Bytes { bytes, written: 0 };
                }
                Held::Nothing | Held::Bytes { .. } => {}
            }
        }
        self.count(moved, outlet, Way::Splice);
        Step::Again
    }

    /// Turns Nagle's algorithm off on the sink before the first write that it could delay. A short connection that
    /// sends one small request never needs the call.
    fn end_nagle(&mut self, sink: &Leg, size: usize) {
        if self.nagle && (self.bytes > 0 || size > ONE_SEGMENT) {
            self.nagle = false;
            // A refusal costs latency and not a byte; the connection is good.
            let _ = socket::set_nodelay(sink.socket());
        }
    }

    fn count(&mut self, moved: usize, outlet: &Outlet<'_>, way: Way) {
        self.bytes += moved as u64;
        outlet.counters.bytes(outlet.direction, way).add(moved as u64);
    }
}
