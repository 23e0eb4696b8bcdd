//! The successor's side: takes listeners, flows and the admin side over from the process that runs.
//!
//! Until it accepts it has bound nothing, and every failure leaves the predecessor as it was. Whether flows that it
//! holds are its own is the predecessor's word (`Commit`), or its death.

use std::{
    collections::VecDeque,
    net::TcpListener,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use tidegate_admin::metrics::Totals;
use tidegate_config::{Configuration, Handoff};
use tidegate_control::{BindFn, BoundListener, Clock, DesiredListener, ServiceClients};
use tidegate_core::Timestamp;
use tidegate_handoff::{
    Channel, ChannelError, Message, Received,
    message::{Door, Facts, Hello, ListenerFacts, Welcome},
};
use tokio::runtime::Runtime;

mod flows;

use self::flows::Over;
use super::{STEP, asker, facts, fault, meeting, own_pod};
use crate::{
    admin::Doors,
    demand,
    park::Superseded,
    proxy::{Shared, desired_listeners},
};

/// How many pods are remembered that have handed over.
const SUPERSEDED: usize = 64;
/// How long the kernel may take to close the sockets of a process that has died.
const DYING: Duration = Duration::from_secs(2);
/// How soon it is looked again.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long the predecessor may be silent before it is said that it is.
const SILENCE: Duration = Duration::from_secs(30);

/// A predecessor that has welcomed this process.
pub(crate) struct Takeover {
    channel: Channel,
    handoff: Handoff,
    begun: Instant,
    /// The predecessor's clock, which this process takes over.
    pub(crate) clock: Clock,
    /// Decides the hash by which clients find their endpoints.
    pub(crate) seed: u64,
    /// Pods that have handed over, up to this process.
    pub(crate) superseded: Vec<String>,
    /// Sockets of the admin side that the predecessor does not have.
    doors: Doors,
}

/// What came of it.
pub(crate) enum Taken {
    /// All of it.
    Whole {
        /// The admin side's sockets.
        doors: Doors,
        /// The socket for the next successor.
        meeting: Option<meeting::Meeting>,
        /// The predecessor, which may have flows left.
        predecessor: Option<Channel>,
        /// What it counted.
        counted: Totals,
    },
    /// The predecessor has taken back what was not committed, and goes on: why, and where it hears of what stays here.
    Part(String, Channel),
}

/// A listener of the predecessor's, with its sockets.
type PassedOn = (ListenerFacts, Vec<TcpListener>);

impl Takeover {
    /// Greets the predecessor, if there is one.
    pub(crate) fn begin(
        handoff: &Handoff,
        configuration: &Configuration,
        flow_limit: u64,
        workers: usize,
    ) -> anyhow::Result<Option<Self>> {
        let begun = Instant::now();
        let Some(mut channel) = meeting::connect(&handoff.socket)? else { return Ok(None) };
        let hello = Hello {
            config: super::hash(configuration),
            workers,
            flow_limit,
            pod_uid: own_pod(),
            ..Hello::of_this_build(env!("CARGO_PKG_VERSION"))
        };
        fault::at("hello");
        let words = || format!("handoff.socket: no handoff with the process on {}", handoff.socket.display());
        let hello = Message::Hello(hello);
        let until = Instant::now() + DYING;
        let answer = loop {
            match channel.ask(&hello, handoff.timeout) {
                // Where it has died, nobody listens any more, or somebody does who was waiting for that.
                Err(ChannelError::Ended) if Instant::now() < until => {
                    std::thread::sleep(LOOK_EVERY);
                    let Some(next) = meeting::connect(&handoff.socket)? else {
                        tracing::warn!(
                            "the running process ended before it said anything; starting without it"
                        );
                        return Ok(None);
                    };
                    channel = next;
                }
                answer => break answer,
            }
        };
        let process = channel.process();
        let Received { message, descriptors, .. } = answer.with_context(words)?;
        fault::at("greeted");
        match message {
            Message::Welcome(Welcome {
                build,
                flows,
                workers,
                listeners_only,
                log,
                clock,
                seed,
                pod_uid,
                superseded,
                doors,
                ..
            }) => {
                if let (true, Some(log)) = (log, descriptors.first()) {
                    rustix::stdio::dup2_stderr(log).context("cannot go on with the running process's log")?;
                }
                tracing::info!(
                    ?process,
                    build,
                    flows,
                    workers,
                    ?listeners_only,
                    "taking over from the running process"
                );
                let clock = Clock::going_on(Timestamp::from_nanos(clock));
                let superseded = supersede(superseded, pod_uid);
                let doors = match Doors::beside(configuration, &doors) {
                    Ok(doors) => doors,
                    Err(error) => {
                        let _ = channel.say(&Message::Refuse { why: format!("{error:#}") }, STEP);
                        return Err(error);
                    }
                };
                let handoff = handoff.clone();
                Ok(Some(Self { channel, handoff, begun, clock, seed, superseded, doors }))
            }
            Message::Superseded { by } => {
                Err(Superseded { pod: own_pod().unwrap_or_default(), by, owner: channel }.into())
            }
            Message::Refuse { why } => bail!("the running process does not hand over: {why}"),
            _ => bail!("{}: it answered something else", words()),
        }
    }

    /// Takes over.
    pub(crate) fn run(
        self,
        shared: &Shared,
        configuration: &Configuration,
        workers: usize,
        bind: &BindFn,
    ) -> anyhow::Result<Taken> {
        let ask = asker()?;
        let timeout = self.handoff.timeout;
        let Ok(wanted) = ask.block_on(demand::await_source(configuration, shared, timeout)) else {
            let why = format!("the source gave no complete list within {timeout:?} (handoff.timeout)");
            let _ = self.channel.say(&Message::Refuse { why: why.clone() }, STEP);
            bail!("{why}; the running process goes on");
        };
        fault::at("ready");
        let desired = desired_listeners(configuration);
        let listeners = match self.channel.say(&Message::Ready, STEP) {
            // It may have said before why it went.
            Ok(()) | Err(ChannelError::Ended) => self.hear_listeners(shared, &ask),
            Err(error) => Err(error),
        };
        let mut taken = Vec::new();
        let (bound, mut facts) = match listeners {
            Ok((mut listeners, facts, clients)) => {
                for known in clients {
                    ask.block_on(shared.handle.take_clients(known))?;
                }
                let offered: Vec<_> = listeners.iter().map(|(listener, _)| listener.address).collect();
                let adopted = adopt(desired, &mut listeners, workers, bind).map(|mut adopted| {
                    adopted.extend(adopt_wanted(wanted, &mut listeners, workers, bind));
                    adopted
                });
                let rest: Vec<_> = listeners.iter().map(|(listener, _)| listener.address).collect();
                taken = offered.into_iter().filter(|address| !rest.contains(address)).collect();
                (adopted, Some(facts))
            }
            Err(ChannelError::Ended) => {
                tracing::warn!("the running process ended before it gave anything up; starting without it");
                let bind = |listener: &DesiredListener| BoundListener::bind(listener.clone(), workers, bind);
                let bound = patiently(|| Ok(desired.iter().map(bind).collect::<Result<_, _>>()?));
                (bound, None)
            }
            Err(error) => return Err(error).context("the running process handed no listeners over"),
        };
        let bound: Vec<BoundListener> = match bound {
            Ok(bound) => bound,
            Err(error) => {
                let _ = self.channel.say(&Message::Refuse { why: format!("{error:#}") }, STEP);
                return Err(error);
            }
        };
        if let Some(facts) = &facts {
            ask.block_on(shared.handle.take_facts(facts.operators.clone()))?;
            ask.block_on(shared.handle.take_gated(facts.gates.clone()))?;
        }
        for bound in &bound {
            tracing::info!(listener = &*bound.desired.name, address = %bound.address(), "listening");
        }
        fault::at("listeners");
        ask.block_on(shared.handle.open_listeners(bound))?;
        fault::at("accepting");
        // Where this fails the predecessor has died, which the next word finds.
        let _ = self.channel.say(&Message::Accepting { taken }, STEP);
        fault::at("accepted");
        let (over, flows) = self.take_flows(shared, &mut facts)?;
        let took = self.begun.elapsed();
        let has_died = matches!(over, Over::Died(_));
        let doors = match over {
            Over::Aborted(why) => return Ok(Taken::Part(why, self.channel)),
            Over::Complete(doors) | Over::Died(Some(doors)) => Some(doors),
            Over::Died(None) => None,
        };
        let Facts { operators, gates, drains, counts } = facts.unwrap_or_default();
        ask.block_on(shared.handle.take_facts(operators))?;
        ask.block_on(shared.handle.take_gated(gates))?;
        ask.block_on(shared.handle.take_drains(drains, has_died))?;
        let counted = facts::totals(counts);
        let counted = if has_died { counted.of_the_past() } else { counted };
        if has_died {
            tracing::warn!(flows, "the running process died; going on with what it had handed over");
        } else {
            tracing::info!(flows, ?took, "taken over");
        }
        let path = &self.handoff.socket;
        // Flows depend on this process by now, so it goes on also where nobody can ask it anything.
        let (doors, meeting) = match doors {
            Some(doors) => {
                let (own, passed_on): (Vec<_>, Vec<_>) =
                    doors.into_iter().partition(|(door, _)| matches!(door, Door::Handoff { .. }));
                let own = own.into_iter().next().context("it passed no handoff.socket on");
                let meeting = own.map(|(_, socket)| meeting::Meeting::passed_on(socket, path));
                (self.doors.with(configuration, passed_on), meeting)
            }
            None => {
                // What it bound itself is bound anew with the rest.
                drop(self.doors);
                (patiently(|| Doors::open(configuration)), patiently(|| meeting::Meeting::open(path)))
            }
        };
        let doors = doors.unwrap_or_else(|error| {
            tracing::error!("no admin side: {error:#}");
            Doors::default()
        });
        let meeting =
            meeting.inspect_err(|error| tracing::error!("no successor can take over: {error:#}")).ok();
        let predecessor = (!has_died).then_some(self.channel);
        Ok(Taken::Whole { doors, meeting, predecessor, counted })
    }

    fn hear_listeners(
        &self,
        shared: &Shared,
        ask: &Runtime,
    ) -> Result<(Vec<PassedOn>, Facts, Vec<ServiceClients>), ChannelError> {
        let (mut all, mut known, mut first) = (Vec::new(), Vec::new(), None);
        loop {
            let Received { message, descriptors, bytes } = self.channel.hear(self.handoff.timeout)?;
            let (listeners, facts, more) = match message {
                Message::Listeners { listeners, facts, more } => (listeners, facts, more),
                Message::Clients { service, endpoints } => {
                    let clients = facts::read_clients(&bytes);
                    known.push(ServiceClients { service, endpoints, clients });
                    continue;
                }
                Message::Abort { why } | Message::Refuse { why } => return Err(other(why)),
                Message::Records { records } => {
                    ask.block_on(shared.handle.take_records(records))
                        .map_err(|error| other(error.to_string()))?;
                    continue;
                }
                _ => return Err(other("it said something else".to_owned())),
            };
            let mut sockets: VecDeque<_> = descriptors.into_iter().map(TcpListener::from).collect();
            for listener in listeners {
                let own: Vec<_> = sockets.drain(..listener.sockets.min(sockets.len())).collect();
                if own.is_empty() {
                    return Err(other(format!("listener {} came without sockets", listener.name)));
                }
                all.push((listener, own));
            }
            // They come with the first message of several.
            let facts = first.get_or_insert(facts);
            if !more {
                return Ok((all, std::mem::take(facts), known));
            }
        }
    }
}

impl Taken {
    /// Tells the predecessor that this process answers, also the service manager.
    pub(crate) fn finish(predecessor: &Channel) {
        fault::at("answering");
        // Where it has died meanwhile, nobody is left to tell.
        let _ = predecessor.say(&Message::Finished, STEP);
        fault::at("finished");
    }
}

/// Tries again for a while: the kernel closes the sockets of a process that was killed one after the other.
fn patiently<T>(mut attempt: impl FnMut() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let until = Instant::now() + STEP;
    loop {
        match attempt() {
            Err(_) if Instant::now() < until => std::thread::sleep(LOOK_EVERY),
            done => return done,
        }
    }
}

/// The pods that handed over, with the predecessor's, unless that is this one. Those of long ago are gone for good.
fn supersede(mut pods: Vec<String>, predecessor: Option<String>) -> Vec<String> {
    let own = own_pod();
    if let Some(pod) = predecessor.filter(|pod| Some(pod) != own.as_ref() && !pods.contains(pod)) {
        pods.push(pod);
    }
    let surplus = pods.len().saturating_sub(SUPERSEDED);
    pods.drain(..surplus);
    pods
}

fn other(why: String) -> ChannelError {
    ChannelError::Io(std::io::Error::other(why))
}

/// The listeners that Services ask for. One that cannot be bound is left to whoever follows what they ask for, which tries
/// again.
fn adopt_wanted(
    wanted: Vec<DesiredListener>,
    passed_on: &mut Vec<PassedOn>,
    workers: usize,
    bind: &BindFn,
) -> Vec<BoundListener> {
    let adopted = wanted.into_iter().map(|wanted| adopt(vec![wanted], passed_on, workers, bind));
    adopted
        .flat_map(|adopted| {
            adopted.unwrap_or_else(|error| {
                tracing::warn!("a Service is not served yet: {error:#}");
                Vec::new()
            })
        })
        .collect()
}

/// The listeners that are wanted, with sockets of the predecessor's where it has that address, else with new ones.
fn adopt(
    desired: Vec<DesiredListener>,
    passed_on: &mut Vec<PassedOn>,
    workers: usize,
    bind: &BindFn,
) -> anyhow::Result<Vec<BoundListener>> {
    let mut find = |wanted: &DesiredListener| {
        let same = |had: &ListenerFacts| had.configured == wanted.address || had.address == wanted.address;
        let named = passed_on.iter().position(|(had, _)| same(had) && *had.name == *wanted.name);
        let at = named.or_else(|| passed_on.iter().position(|(had, _)| same(had)))?;
        Some(passed_on.swap_remove(at).1)
    };
    let mut bound = Vec::new();
    for desired in desired {
        let name = Arc::clone(&desired.name);
        let listener = match find(&desired) {
            // Fewer sockets than workers: some share one. More: some workers have several.
            Some(mut sockets) => {
                let had = sockets.len();
                for at in had..workers {
                    sockets.push(sockets[at % had].try_clone()?);
                }
                BoundListener { desired, sockets }
            }
            None => {
                BoundListener::bind(desired, workers, bind).with_context(|| format!("listener {name:?}"))?
            }
        };
        bound.push(listener);
    }
    Ok(bound)
}
