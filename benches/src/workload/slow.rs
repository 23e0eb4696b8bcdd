//! Slow readers: endpoints send as fast as they may, clients take 64 KiB fifty times a second each. What a proxy
//! holds for a flow whose receiver is behind, and what it spends on it, once all buffers on the way are full.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::{Figure, Layout, Load, Part};
use crate::endpoints::Kind;
use crate::endpoints::bulk::head;
use crate::load::{Clients, Fault, end};
use crate::measure::{Per, Subject};
use crate::pattern;
use crate::report::Reading;
use crate::usage::machine;

/// Slow clients.
const FLOWS: usize = 64;

/// Every client reads once in that time.
const TURN: Duration = Duration::from_millis(20);

/// Bytes of one read.
const READ: usize = 64 * 1024;

/// A turn has so many steps, and a share of the clients in each.
const STEPS: usize = 4;

/// The receive buffer that a client asks for: what is in flight is then in the proxy and not at its client.
const RECEIVE: u32 = 128 * 1024;

/// What a client asks its endpoint for: more than it ever reads.
const WANTED: u64 = 1 << 40;

/// How often it is looked whether the buffers still grow, by how much they may in that time, and how often at most.
const LOOK: Duration = Duration::from_millis(100);
const GROWTH: u64 = 1 << 20;
const LOOKS: usize = 100;

/// The load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slow {
    pub(super) flows: usize,
}

pub(super) fn parts() -> Vec<Part> {
    let title = format!("{FLOWS} slow readers");
    vec![Part {
        layout: Layout::plain(Kind::Bulk),
        figures: vec![
            Figure::new(format!("{title}: bytes read"), "CPU-s/GB", Some("GB/s")),
            Figure::new(format!("{title}: resident memory of the proxy"), "KiB/flow", None),
            Figure::new(format!("{title}: socket buffers, both ends' included"), "KiB/flow", None),
        ],
        load: Load::Slow(Slow { flows: FLOWS }),
    }]
}

impl Slow {
    pub(super) async fn measure(self, subject: &Subject<'_>) -> anyhow::Result<Vec<Reading>> {
        let clients = subject.clients();
        let (resident, buffers) = (subject.resident()?, machine::socket_buffers()?);
        let mut readers = self.open(&clients).await;
        full().await?;
        let load = async || {
            readers.run(&clients, subject.run()).await;
            Instant::now()
        };
        let mut spent = subject.metered(Per::Gigabyte, &clients, load).await?;
        let (resident_then, buffers_then) = (subject.resident()?, machine::socket_buffers()?);
        drop(readers);
        subject.all_closed(&clients).await;

        spent.faults = clients.faults();
        let each = |before: u64, after: u64| after.saturating_sub(before) as f64 / 1024.0 / self.flows as f64;
        let reading = |cost| Reading { cost, faults: spent.faults.clone(), ..Reading::default() };
        let resident = resident.zip(resident_then).map(|(before, after)| each(before, after));
        let readings = [reading(resident), reading(Some(each(buffers, buffers_then)))];
        Ok([vec![spent], readings.to_vec()].concat())
    }

    /// Connects all and asks for more than they will take.
    pub(super) async fn open(self, clients: &Arc<Clients>) -> Readers {
        let mut readers = Vec::new();
        for _ in 0..self.flows {
            let open = async {
                let mut stream = clients.connect(Some(RECEIVE)).await?;
                let asked = stream.write_all(&head(0, WANTED)).await;
                asked.map_err(|error| Fault::new("request", error))?;
                Ok::<_, Fault>(Reader { stream, position: 0 })
            };
            match open.await {
                Ok(reader) => readers.push(reader),
                Err(fault) => clients.fault(fault),
            }
            if clients.gives_up() {
                break;
            }
        }
        Readers { readers, buffer: vec![0; READ] }
    }
}

/// Waits until what endpoints send has filled the buffers on its way.
async fn full() -> anyhow::Result<()> {
    let mut before = machine::socket_buffers()?;
    for _ in 0..LOOKS {
        tokio::time::sleep(LOOK).await;
        let after = machine::socket_buffers()?;
        if after < before + GROWTH {
            break;
        }
        before = after;
    }
    Ok(())
}

/// All slow clients; they close when this is dropped.
pub(super) struct Readers {
    readers: Vec<Reader>,
    buffer: Vec<u8>,
}

struct Reader {
    stream: TcpStream,
    position: u64,
}

impl Readers {
    /// Reads for as long as `run` says. A client that finds nothing reads later; one that finds a fault no more.
    pub(super) async fn run(&mut self, clients: &Clients, run: Duration) {
        let until = end(run);
        let mut step = tokio::time::interval(TURN / STEPS as u32);
        step.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for turn in 0.. {
            step.tick().await;
            let mut broken = Vec::new();
            for at in (turn % STEPS..self.readers.len()).step_by(STEPS) {
                match self.readers[at].read(&mut self.buffer) {
                    Ok(read) => clients.count(read),
                    Err(fault) => {
                        clients.fault(fault);
                        broken.push(at);
                    }
                }
            }
            for at in broken.into_iter().rev() {
                self.readers.remove(at);
            }
            if self.readers.is_empty() || Instant::now() >= until {
                return;
            }
        }
    }
}

impl Reader {
    fn read(&mut self, buffer: &mut [u8]) -> Result<u64, Fault> {
        match self.stream.try_read(buffer) {
            Ok(0) => Err(Fault::end("slow read")),
            Ok(len) if !pattern::is_at(self.position, &buffer[..len]) => Err(Fault::wrong_byte("slow read")),
            Ok(len) => {
                self.position += len as u64;
                Ok(len as u64)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(Fault::new("slow read", error)),
        }
    }
}
