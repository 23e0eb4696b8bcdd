//! A worker's empty pipes, kept for the next half that moves bulk.

use std::{cell::RefCell, sync::Arc, time::Instant};

use tidegate_sys::Pipe;

use crate::counters::WorkerCounters;

/// Empty pipes that are kept; a pipe that is given back beyond that is closed. Each holds up to 1 MiB worth of slots
/// (16 KiB of kernel memory) but no pages.
const KEPT: usize = 64;

/// After the kernel refused a pipe, halves copy for this long before it is asked again: asking costs several calls.
const BACK_OFF_MILLIS: u128 = 1000;

#[derive(Debug)]
pub(crate) struct Pipes {
    /// Boxed, because a half keeps a pointer where it would otherwise have room for a pipe that it rarely holds.
    #[expect(clippy::vec_box, reason = "taking one must not allocate")]
    empty: RefCell<Vec<Box<Pipe>>>,
    refused: RefCell<Option<Instant>>,
    /// How many there may be, busy or kept.
    most: u64,
    counters: Arc<WorkerCounters>,
}

impl Pipes {
    pub(crate) fn new(counters: Arc<WorkerCounters>, most: u64) -> Self {
        Self { empty: RefCell::default(), refused: RefCell::default(), most, counters }
    }

    /// An empty pipe; `None` where the kernel has none to give, or enough of them are in use.
    pub(crate) fn take(&self) -> Option<Box<Pipe>> {
        let pipe = match self.empty.borrow_mut().pop() {
            Some(pipe) => {
                self.counters.pipes_pooled.sub(1);
                pipe
            }
            // Slow receivers hold pipes for long. The kernel's own limit (pipe(7), pipe-user-pages-soft) does not hold
            // for a privileged process, and descriptors are for flows.
            None if self.counters.pipes_busy.get() >= self.most => {
                self.counters.pipes_refused.add(1);
                return None;
            }
            None => self.make()?,
        };
        self.counters.pipes_busy.add(1);
        Some(pipe)
    }

    /// Takes a pipe back. One that still holds bytes is closed: they are another flow's.
    pub(crate) fn give_back(&self, pipe: Box<Pipe>) {
        self.counters.pipes_busy.sub(1);
        let mut empty = self.empty.borrow_mut();
        if pipe.is_empty() && empty.len() < KEPT {
            self.counters.pipes_pooled.add(1);
            empty.push(pipe);
        }
    }

    /// Counts a pipe that came from elsewhere (a frozen flow) as one that is in use.
    pub(crate) fn adopt(&self) {
        self.counters.pipes_busy.add(1);
    }

    /// Counts a pipe that leaves with its flow.
    pub(crate) fn release(&self) {
        self.counters.pipes_busy.sub(1);
    }

    fn make(&self) -> Option<Box<Pipe>> {
        let mut refused = self.refused.borrow_mut();
        if refused.is_some_and(|at| at.elapsed().as_millis() < BACK_OFF_MILLIS) {
            self.counters.pipes_refused.add(1);
            return None;
        }
        match Pipe::new() {
            Ok(pipe) => {
                *refused = None;
                self.counters.pipes_made.add(1);
                Some(Box::new(pipe))
            }
            Err(error) => {
                if refused.is_none() {
                    tracing::warn!(%error, "no pipe for splice, copying instead");
                }
                *refused = Some(Instant::now());
                self.counters.pipes_refused.add(1);
                None
            }
        }
    }
}
