//! The workers as the controller sees them: one line of commands each, and questions that are out.
//!
//! A worker that takes no commands never stops the controller. What does not fit into its channel waits in a backlog
//! and is offered again; a question that is not answered by its deadline is closed with that worker's number.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::mpsc::{self, error::TrySendError},
    time::Instant,
};

use crate::{Command, ControlCounters};

/// How many commands wait for one worker before new ones are given up. Far more than a rollout of the largest Service
/// causes; a worker that is this far behind will not come back.
const BACKLOG_LIMIT: usize = 16_384;
/// How soon a full channel is tried again.
const RETRY_EVERY: Duration = Duration::from_millis(5);

/// The lines to all workers.
#[derive(Debug)]
pub(crate) struct Workers {
    lines: Vec<Line>,
    counters: Arc<ControlCounters>,
}

#[derive(Debug)]
struct Line {
    sender: mpsc::Sender<Command>,
    backlog: VecDeque<Command>,
    /// It said that it stopped.
    stopped: bool,
    /// It was told to stop.
    told_to_stop: bool,
    /// Its end without having been told to was logged.
    mourned: bool,
}

impl Workers {
    pub(crate) fn new(senders: Vec<mpsc::Sender<Command>>, counters: Arc<ControlCounters>) -> Self {
        let line = |sender| Line {
            sender,
            backlog: VecDeque::new(),
            stopped: false,
            told_to_stop: false,
            mourned: false,
        };
        Self { lines: senders.into_iter().map(line).collect(), counters }
    }

    pub(crate) fn count(&self) -> usize {
        self.lines.len()
    }

    /// Workers that have not stopped.
    pub(crate) fn running(&self) -> usize {
        self.lines.iter().filter(|line| line.is_running()).count()
    }

    /// Workers whose channel is closed although nobody told them to stop.
    pub(crate) fn lost(&self) -> Vec<usize> {
        let lost = |line: &Line| !line.told_to_stop && line.sender.is_closed();
        self.lines.iter().enumerate().filter(|(_, line)| lost(line)).map(|(worker, _)| worker).collect()
    }

    /// Gives a command to one worker; it waits in the backlog where the channel is full.
    pub(crate) fn tell(&mut self, worker: usize, command: Command) {
        let line = &mut self.lines[worker];
        line.told_to_stop |= matches!(command, Command::Stop);
        line.backlog.push_back(command);
        if line.flush() {
            return;
        }
        self.counters.commands_deferred.fetch_add(1, Ordering::Relaxed);
        if line.backlog.len() > BACKLOG_LIMIT {
            line.backlog.pop_back();
            if self.counters.commands_dropped.fetch_add(1, Ordering::Relaxed) == 0 {
                tracing::warn!(worker, limit = BACKLOG_LIMIT, "worker takes no commands; giving new ones up");
            }
        }
    }

    /// Gives each worker a command.
    pub(crate) fn tell_all(&mut self, mut command: impl FnMut(usize) -> Command) {
        for worker in 0..self.lines.len() {
            self.tell(worker, command(worker));
        }
    }

    /// Drops what waits and tells each worker to stop.
    pub(crate) fn stop(&mut self) {
        for line in &mut self.lines {
            line.backlog.clear();
        }
        self.tell_all(|_| Command::Stop);
    }

    /// Offers what waits again, and says once which workers are lost.
    pub(crate) fn flush(&mut self) {
        for (worker, line) in self.lines.iter_mut().enumerate() {
            line.flush();
            if !line.told_to_stop && !line.mourned && line.sender.is_closed() {
                line.mourned = true;
                tracing::error!(worker, "worker ended without having been told to; restart the process");
            }
        }
    }

    /// When to call [`Workers::flush`] again.
    pub(crate) fn deadline(&self, now: Instant) -> Option<Instant> {
        self.lines.iter().any(|line| !line.backlog.is_empty()).then(|| now + RETRY_EVERY)
    }

    pub(crate) fn stopped(&mut self, worker: usize) {
        if let Some(line) = self.lines.get_mut(worker) {
            line.stopped = true;
        }
    }
}

impl Line {
    fn is_running(&self) -> bool {
        !self.stopped && !self.sender.is_closed()
    }

    /// True where nothing is left to send.
    fn flush(&mut self) -> bool {
        while let Some(command) = self.backlog.pop_front() {
            match self.sender.try_send(command) {
                Ok(()) => {}
                Err(TrySendError::Full(command)) => {
                    self.backlog.push_front(command);
                    return false;
                }
                Err(TrySendError::Closed(_)) => self.backlog.clear(),
            }
        }
        true
    }
}

/// Questions that are out, each to one or more workers, each with a deadline.
#[derive(Debug)]
pub(crate) struct Questions<P> {
    next_request: u64,
    /// Which question a request belongs to, and whom it was sent to.
    requests: HashMap<u64, (u64, usize)>,
    open: BTreeMap<u64, Question<P>>,
}

#[derive(Debug)]
struct Question<P> {
    deadline: Instant,
    /// Requests without an answer.
    waiting: BTreeSet<u64>,
    purpose: P,
}

/// A question that is over: all have answered, or its deadline has passed.
#[derive(Debug)]
pub(crate) struct Closed<P> {
    pub(crate) purpose: P,
    /// Workers that did not answer.
    pub(crate) silent: Vec<usize>,
}

impl<P> Questions<P> {
    pub(crate) fn new() -> Self {
        Self { next_request: 1, requests: HashMap::new(), open: BTreeMap::new() }
    }

    /// Asks every worker each of `commands` times; `command` makes the command from the request's number and the
    /// round. Gives the question back at once where there is nobody to ask.
    pub(crate) fn ask(
        &mut self,
        workers: &mut Workers,
        rounds: usize,
        deadline: Instant,
        purpose: P,
        mut command: impl FnMut(u64, usize) -> Command,
    ) -> Option<Closed<P>> {
        let question = self.next_request;
        let mut waiting = BTreeSet::new();
        for round in 0..rounds {
            for worker in 0..workers.count() {
                let request = self.next_request;
                self.next_request += 1;
                self.requests.insert(request, (question, worker));
                waiting.insert(request);
                workers.tell(worker, command(request, round));
            }
        }
        if waiting.is_empty() {
            return Some(Closed { purpose, silent: Vec::new() });
        }
        self.open.insert(question, Question { deadline, waiting, purpose });
        None
    }

    /// Takes an answer in; `note` keeps what it says. Gives the question back where it was the last one. Answers that
    /// come after the deadline are ignored.
    pub(crate) fn answered(&mut self, request: u64, note: impl FnOnce(&mut P, usize)) -> Option<Closed<P>> {
        let (id, worker) = self.requests.remove(&request)?;
        let question = self.open.get_mut(&id)?;
        question.waiting.remove(&request);
        note(&mut question.purpose, worker);
        if !question.waiting.is_empty() {
            return None;
        }
        let question = self.open.remove(&id)?;
        Some(Closed { purpose: question.purpose, silent: Vec::new() })
    }

    /// A question whose deadline has passed.
    pub(crate) fn expired(&mut self, now: Instant) -> Option<Closed<P>> {
        let id = *self.open.iter().find(|(_, question)| question.deadline <= now)?.0;
        let question = self.open.remove(&id)?;
        let silent: BTreeSet<usize> = question
            .waiting
            .iter()
            .filter_map(|request| self.requests.remove(request))
            .map(|(_, worker)| worker)
            .collect();
        Some(Closed { purpose: question.purpose, silent: silent.into_iter().collect() })
    }

    /// The earliest deadline.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.open.values().map(|question| question.deadline).min()
    }

    /// The purposes of the questions that are out.
    pub(crate) fn purposes(&self) -> impl Iterator<Item = &P> {
        self.open.values().map(|question| &question.purpose)
    }
}

#[cfg(test)]
mod tests;
