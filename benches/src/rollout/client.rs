//! The clients: long-lived flows that talk all the time, and short connections.
//!
//! A client ends its own flow: at the end of its planned life it says so (FIN) and waits for the other end to say the
//! same. Everything else that ends a flow is written down with the moment and the words; who is to blame is decided in
//! [`super::outcome`].

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, timeout};

use super::message::{MESSAGE, Message};
use super::plan::Plan;

/// A connect, a reply or a close that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(5);

/// Clients come from that many loopback addresses, so that resting ports do not run out.
const ADDRESSES: u32 = 64;

/// Short connections that are open at a time; a proxy that answers none is not given more.
const SHORT: usize = 256;

/// What kind of flow it is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Class {
    /// Connect, one request, close.
    Short,
    /// Long-lived, and its life fits in the grace of an endpoint that terminates.
    Fitting,
    /// Long-lived, and it does not.
    Outliving,
}

/// One flow, from the client's first step to its last.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    pub(super) class: Class,
    pub(super) endpoint: Option<u32>,
    pub(super) ended: Instant,
    pub(super) end: End,
}

/// How a flow ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum End {
    /// The client ended it.
    Own,
    /// Before the first reply: refused, reset, closed or silent.
    Refused(String),
    /// After the first reply and before its own end.
    Broken(String),
    /// Something came that is no reply, or another endpoint's.
    Wrong(String),
}

/// Why a flow did not come to its own end.
enum Fault {
    Broken(String),
    Wrong(&'static str),
}

/// All clients of one proxy.
#[derive(Debug)]
pub(super) struct Clients {
    proxy: SocketAddr,
    plan: Plan,
    epoch: Instant,
    opened: AtomicU64,
    flows: Mutex<Vec<Flow>>,
    ending: watch::Sender<bool>,
}

impl Clients {
    pub(super) fn new(proxy: SocketAddr, plan: Plan, epoch: Instant) -> Arc<Self> {
        Arc::new(Self {
            proxy,
            plan,
            epoch,
            opened: AtomicU64::new(0),
            flows: Mutex::default(),
            ending: watch::Sender::new(false),
        })
    }

    /// Starts them all.
    pub(super) fn start(self: &Arc<Self>) -> JoinSet<()> {
        let mut clients = JoinSet::new();
        for number in 0..self.plan.fitting {
            clients.spawn(self.clone().keep_one_open(Class::Fitting, number as u64));
        }
        for number in 0..self.plan.outliving {
            clients.spawn(self.clone().keep_one_open(Class::Outliving, number as u64));
        }
        clients.spawn(self.clone().open_short_ones());
        clients
    }

    /// Opens no more flows; those that are open come to their own ends at once.
    pub(super) fn finish(&self) {
        self.ending.send_replace(true);
    }

    /// What there was.
    pub(super) fn flows(&self) -> Vec<Flow> {
        self.flows.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is_ending(&self) -> bool {
        *self.ending.borrow()
    }

    async fn keep_one_open(self: Arc<Self>, class: Class, client: u64) {
        let all = (self.plan.fitting + self.plan.outliving) as u64;
        let mut number = client;
        while !self.is_ending() {
            // A proxy that refuses is not asked again in the same instant.
            if !self.open(class, self.plan.life(class == Class::Fitting, number)).await {
                tokio::time::sleep(self.plan.period).await;
            }
            number += all;
        }
    }

    async fn open_short_ones(self: Arc<Self>) {
        let mut due = tokio::time::interval(Duration::from_secs(1) / self.plan.short_per_second.max(1));
        // Ticks that were missed are made up for, so that every proxy gets as many.
        due.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut open = JoinSet::new();
        while !self.is_ending() {
            due.tick().await;
            while open.try_join_next().is_some() {}
            if open.len() < SHORT {
                let clients = self.clone();
                open.spawn(async move { clients.open(Class::Short, Duration::ZERO).await });
            }
        }
        while open.join_next().await.is_some() {}
    }

    /// One flow, written down at its end; whether it came to its own.
    async fn open(&self, class: Class, life: Duration) -> bool {
        let number = self.opened.fetch_add(1, Ordering::Relaxed);
        let mut endpoint = None;
        let end = match self.converse(number, life, &mut endpoint).await {
            Ok(()) => End::Own,
            Err(Fault::Wrong(what)) => End::Wrong(what.to_owned()),
            Err(Fault::Broken(words)) if endpoint.is_none() => End::Refused(words),
            Err(Fault::Broken(words)) => End::Broken(words),
        };
        let is_own = end == End::Own;
        let flow = Flow { class, endpoint, ended: Instant::now(), end };
        self.flows.lock().unwrap_or_else(PoisonError::into_inner).push(flow);
        is_own
    }

    async fn converse(&self, flow: u64, life: Duration, endpoint: &mut Option<u32>) -> Result<(), Fault> {
        let began = Instant::now();
        let begun = u64::try_from(began.duration_since(self.epoch).as_nanos()).unwrap_or(u64::MAX);
        let mut stream = within("connect", self.connect(flow)).await?;
        let mut ending = self.ending.subscribe();
        for sequence in 0.. {
            let message = Message { flow, sequence, begun };
            let mut reply = [0; MESSAGE];
            within("request", stream.write_all(&message.request())).await?;
            within("reply", stream.read_exact(&mut reply)).await?;
            let answered = message.answered_by(&reply).ok_or(Fault::Wrong("a wrong byte in a reply"))?;
            if endpoint.replace(answered).is_some_and(|before| before != answered) {
                return Err(Fault::Wrong("a flow has changed its endpoint"));
            }
            let left = life.saturating_sub(began.elapsed());
            if left.is_zero() || *ending.borrow_and_update() {
                break;
            }
            // What happens in a pause is seen when it happens, and not with the next request.
            let mut nothing = [0; 1];
            tokio::select! {
                () = tokio::time::sleep(left.min(self.plan.period)) => {}
                _ = ending.changed() => {}
                read = stream.read(&mut nothing) => return Err(match read {
                    Ok(0) => Fault::Broken("pause: closed by the other end".to_owned()),
                    Ok(_) => Fault::Wrong("bytes that nobody asked for"),
                    Err(error) => Fault::Broken(format!("pause: {error}")),
                }),
            }
        }
        within("close", stream.shutdown()).await?;
        match within("close", stream.read(&mut [0; 1])).await? {
            0 => Ok(()),
            _ => Err(Fault::Wrong("bytes that nobody asked for")),
        }
    }

    async fn connect(&self, flow: u64) -> io::Result<TcpStream> {
        let from = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 0, 0, 2)) + flow as u32 % ADDRESSES);
        let socket = TcpSocket::new_v4()?;
        socket.set_nodelay(true)?;
        socket.bind(SocketAddr::from((from, 0)))?;
        socket.connect(self.proxy).await
    }
}

async fn within<T>(step: &str, what: impl Future<Output = io::Result<T>>) -> Result<T, Fault> {
    match timeout(PATIENCE, what).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Fault::Broken(format!("{step}: {error}"))),
        Err(_) => Err(Fault::Broken(format!("{step}: nothing for {} s", PATIENCE.as_secs()))),
    }
}
