//! Round trips at a fixed rate: requests leave when they are due, whether or not earlier ones are answered. Latency
//! counts from when a request was due and not from when it was sent, so that a proxy which stalls answers for all
//! the requests that its stall has held up.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::{Figure, Layout, Load, Part};
use crate::endpoints::Kind;
use crate::load::{Clients, Fault, Message, SMALL};
use crate::measure::{Per, Subject};
use crate::report::Reading;
use crate::wire;

const CONNECTIONS: usize = 64;

/// The load; the rate is the command line's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    pub(super) connections: usize,
}

pub(super) fn parts() -> Vec<Part> {
    let title = format!("64-byte round trips at a fixed rate, {CONNECTIONS} kept connections");
    vec![Part {
        layout: Layout::plain(Kind::Echo),
        figures: vec![Figure::new(title, "CPU-us/trip", Some("trips/s"))],
        load: Load::Rate(Rate { connections: CONNECTIONS }),
    }]
}

impl Rate {
    pub(super) async fn measure(self, subject: &Subject<'_>) -> anyhow::Result<Vec<Reading>> {
        let rate = subject.rate();
        let load = async |clients: &Arc<Clients>, run| self.run(clients, rate, run).await;
        // The load waits by looking at the clock, so what the whole machine spent says nothing.
        Ok(vec![Reading { machine: None, ..subject.spent(Per::Item, load).await? }])
    }

    /// Sends `rate` requests a second for as long as `run` says, and waits for the replies.
    pub(super) async fn run(self, clients: &Arc<Clients>, rate: u64, run: Duration) {
        let mut set = JoinSet::new();
        let mut lines = Vec::new();
        for number in 0..self.connections as u64 {
            match clients.connect(None).await {
                Ok(stream) => {
                    let (reader, writer) = stream.into_split();
                    let line = Rc::new(Line::default());
                    set.spawn_local(read(Arc::clone(clients), reader, Rc::clone(&line), number));
                    lines.push((writer, line));
                }
                Err(fault) => return clients.fault(fault),
            }
        }
        if let Err(fault) = send(&mut lines, rate, run).await {
            clients.fault(fault);
        }
        for (_, line) in &lines {
            line.is_last.set(true);
            line.news.notify_one();
        }
        clients.join(set, run).await;
    }
}

/// What one connection waits for.
#[derive(Default)]
struct Line {
    /// When the requests that are not answered were due.
    due: RefCell<VecDeque<Instant>>,
    is_last: Cell<bool>,
    news: Notify,
}

impl Line {
    /// Whether everything that was sent is answered, and there is no more.
    fn is_over(&self) -> bool {
        self.is_last.get() && self.due.borrow().is_empty()
    }
}

async fn send(lines: &mut [(OwnedWriteHalf, Rc<Line>)], rate: u64, run: Duration) -> Result<(), Fault> {
    let began = Instant::now();
    let count = lines.len() as u64;
    let mut messages: Vec<Message> = (0..count).map(|number| Message::new(number, SMALL)).collect();
    let all = u64::try_from(u128::from(rate) * run.as_nanos() / 1_000_000_000).unwrap_or(u64::MAX).max(1);
    for number in 0..all {
        let due = began + Duration::from_nanos(number * 1_000_000_000 / rate);
        // The runtime's timers are true to a millisecond, which is more than a trip takes; and a core that sleeps
        // between two requests wakes late. So the wait is a look at the clock, and in between others have their turn.
        while Instant::now() < due {
            tokio::task::yield_now().await;
        }
        let (trip, at) = (number / count, number % count);
        let (message, (writer, line)) = (&mut messages[at as usize], &mut lines[at as usize]);
        message.number(at, trip);
        line.due.borrow_mut().push_back(due);
        writer.write_all(message.bytes()).await.map_err(|error| Fault::new("request", error))?;
    }
    Ok(())
}

async fn read(
    clients: Arc<Clients>,
    mut reader: OwnedReadHalf,
    line: Rc<Line>,
    number: u64,
) -> Result<(), Fault> {
    let mut message = Message::new(number, SMALL);
    let (mut trip, mut have) = (0, 0);
    while !line.is_over() {
        let read = wire::read(&mut reader, |mut bytes| {
            let now = Instant::now();
            if bytes.is_empty() {
                return Err(Fault::end("reply"));
            }
            while !bytes.is_empty() {
                let (these, later) = bytes.split_at(bytes.len().min(SMALL - have));
                if *these != message.bytes()[have..have + these.len()] {
                    return Err(Fault::wrong_byte("reply"));
                }
                (bytes, have) = (later, have + these.len());
                if have == SMALL {
                    let due = line.due.borrow_mut().pop_front().ok_or_else(|| Fault::wrong_byte("reply"))?;
                    clients.count_one(now.saturating_duration_since(due));
                    (trip, have) = (trip + 1, 0);
                    message.number(number, trip);
                }
            }
            Ok(())
        });
        tokio::select! {
            read = read => read.map_err(|error| Fault::new("reply", error))??,
            () = line.news.notified() => {}
        }
    }
    Ok(())
}
