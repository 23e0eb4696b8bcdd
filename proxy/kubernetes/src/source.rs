//! The source: a thread that follows what the API server has, and tells the table.
//!
//! Decided here: what is watched, and that nothing is told of slices before all of them were listed, nor before this
//! node's zone is known (or cannot be). An API server that is away is asked again for ever, and what is known stays.

mod nodes;
mod services;
mod slices;

use std::{
    collections::BTreeSet,
    io,
    rc::Rc,
    sync::{Arc, mpsc as std_mpsc},
    thread,
    time::Instant,
};

use tidegate_core::{Event, Rng, ServiceName};
use tokio::{
    runtime::{Builder, LocalOptions},
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};

use self::{nodes::NodeFollow, services::ServiceFollow, slices::SliceFollow};
use crate::{
    access::{Access, AccessError},
    announce::{self, Announcement, Announcements},
    api::Api,
    follow::{Pace, Scope},
    intern::Intern,
    plan::Problem,
    pods::{self, Interest},
    status::SourceStatus,
    view::SharedView,
    watch::Watch,
    writer::{self, Desk, Turn, Writing},
};

/// What is followed.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How the API server is found.
    pub access: Access,
    /// The namespaces whose objects are followed; all where it is empty.
    pub namespaces: Vec<String>,
    /// Services whose slices are followed also where their namespace is none of those: those of the instances.
    pub own: Vec<ServiceName>,
    /// This node's name, for its zone.
    pub node: Option<Arc<str>>,
    /// The zone that the configuration gives; it comes before the node's label.
    pub zone: Option<Arc<str>>,
    /// Endpoints of nodes that are going away take no new flows.
    pub early_drain: bool,
    /// The pods whose deadlines matter; `None` for none, ever.
    pub pods: Option<Interest>,
    /// Whose status is written, and by whom; `None` to write nothing.
    pub writing: Option<Writing>,
    /// Nothing is written before [`Follower::begin_to_write`]: another process does, as the same instance or as another.
    pub waits_to_write: bool,
    /// In whose name Events on pods are written: this instance's; `None` to write none.
    pub announcing: Option<String>,
    /// Decides the jitter.
    pub seed: u64,
    /// What the thread does first.
    pub begin: Option<fn()>,
}

impl Options {
    /// The namespaces, each by its own watch, or all of them in one.
    fn scopes(&self) -> Vec<Scope> {
        match self.namespaces.as_slice() {
            [] => vec![Scope::All],
            some => some.iter().cloned().map(Scope::Namespace).collect(),
        }
    }

    /// The Services whose slices are in none of the namespaces.
    fn beside(&self) -> BTreeSet<&ServiceName> {
        let is_beside = |service: &&ServiceName| {
            !self.namespaces.is_empty() && !self.namespaces.iter().any(|it| it == service.namespace())
        };
        self.own.iter().filter(is_beside).collect()
    }
}

/// Why nothing can be followed: the configuration is wrong.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The API server cannot be found.
    #[error("source.kubernetes")]
    Access(#[from] AccessError),
    /// There is no thread for it.
    #[error("cannot start the thread that follows the API server")]
    Thread(#[source] io::Error),
}

/// An API server that is being followed, until this is dropped.
#[derive(Debug)]
pub struct Follower {
    status: Arc<SourceStatus>,
    zone: watch::Receiver<Option<Arc<str>>>,
    view: SharedView,
    turn: watch::Sender<Turn>,
    resigned: watch::Receiver<bool>,
    announcements: Option<Announcements>,
    _stop: oneshot::Sender<()>,
}

impl Follower {
    /// What the source can say of itself.
    pub fn status(&self) -> Arc<SourceStatus> {
        Arc::clone(&self.status)
    }

    /// What Services, Nodes and slices say of listeners.
    pub fn view(&self) -> SharedView {
        self.view.clone()
    }

    /// What this instance cannot do for Services, as it was noted last.
    pub fn problems(&self) -> Vec<Problem> {
        self.view.look().problems.clone().unwrap_or_default()
    }

    /// Notes what this instance cannot do for Services, so that it is said in their status and in Events.
    pub fn report(&self, problems: Vec<Problem>) {
        self.view.change_rest(|view| {
            let problems = Some(problems);
            let is_news = view.problems != problems;
            view.problems = problems;
            is_news
        });
    }

    /// Writes from here on, where it waited for that.
    pub fn begin_to_write(&self) {
        self.turn.send_if_modified(|turn| {
            let waits = *turn == Turn::Waits;
            if waits {
                *turn = Turn::Writes;
            }
            waits
        });
    }

    /// Writes nothing more to the API server from here on: the process is about to end, and another instance shall not
    /// have to wait until the Lease has run out.
    pub fn resign(&self) {
        self.turn.send_replace(Turn::Resigns);
    }

    /// Waits until nothing is written any more, where that was asked for; no longer than the API server is given to take
    /// the Lease back.
    pub async fn resigned(&self) {
        if *self.turn.borrow() == Turn::Resigns {
            // An error is the end of the source.
            let _ = self.resigned.clone().wait_for(|resigned| *resigned).await;
        }
    }

    /// Whether Events on pods are written.
    pub fn announces(&self) -> bool {
        self.announcements.is_some()
    }

    /// Says something of a pod, in an Event on it, when its turn comes. Never waits.
    pub fn announce(&self, announcement: Announcement) {
        if let Some(announcements) = &self.announcements {
            announcements.announce(announcement);
        }
    }

    /// So much that was to be announced was missed, because there was too much at once.
    pub fn missed(&self, count: u64) {
        if let Some(announcements) = &self.announcements {
            announcements.dropped(count);
        }
    }

    /// Waits until everything that was announced is written, for a while. For the end of the process.
    pub async fn announced(&self) {
        if let Some(announcements) = &self.announcements {
            announcements.finish().await;
        }
    }

    /// This node's zone, as its label says.
    pub fn zone(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.zone.clone()
    }
}

/// Follows an API server: sends one [`Event::SlicesListed`] with all slices once all are known, then what changes,
/// each with the moment when the news arrived.
///
/// The source ends when the [`Follower`] is dropped or nobody receives any more.
///
/// # Errors
///
/// [`StartError`] where the configuration is wrong. That the server cannot be reached is none: it is tried again.
pub fn follow(options: Options, events: mpsc::Sender<(Event, Instant)>) -> Result<Follower, StartError> {
    follow_at(options, events, Pace::default())
}

pub(crate) fn follow_at(
    options: Options,
    events: mpsc::Sender<(Event, Instant)>,
    pace: Pace,
) -> Result<Follower, StartError> {
    let status = Arc::new(SourceStatus::default());
    status.lock().origin = options.access.describe();
    if options.writing.is_some() {
        // Before anything is known of it there is a writer all the same.
        status.note_writer(|_| {});
    }
    let (stop, stopped) = oneshot::channel();
    let (zone_sender, zone) = watch::channel(options.zone.clone());
    let scopes = options.scopes().len();
    let view = SharedView::new(scopes, scopes + options.beside().len(), false);
    let (turn, own_turn) = watch::channel(if options.waits_to_write { Turn::Waits } else { Turn::Writes });
    let (resigned_sender, resigned) = watch::channel(options.writing.is_none());
    let (announcements, line) = match &options.announcing {
        Some(_) => Some(announce::line(Arc::clone(&status))).unzip(),
        None => (None, None),
    };
    let shared = Shared {
        status: Arc::clone(&status),
        zone: zone_sender,
        view: view.clone(),
        turn: own_turn,
        resigned: resigned_sender,
        line,
    };
    let (begun_sender, begun) = std_mpsc::channel();
    thread::Builder::new()
        .name("kubernetes".to_owned())
        .spawn(move || {
            if let Some(begin) = options.begin {
                begin();
            }
            let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
            let runtime = match runtime {
                Ok(runtime) => runtime,
                Err(error) => return drop(begun_sender.send(Err(StartError::Thread(error)))),
            };
            runtime.block_on(async move {
                match Api::new(options.access.clone(), pace.patience, Arc::clone(&shared.status)).await {
                    Err(error) => drop(begun_sender.send(Err(error.into()))),
                    Ok(api) => {
                        let _ = begun_sender.send(Ok(()));
                        tokio::select! {
                            () = run(options, Arc::new(api), events, pace, shared) => {}
                            // Dropped, which is an error to the channel and the end to this.
                            _ = stopped => {}
                        }
                    }
                }
            });
        })
        .map_err(StartError::Thread)?;
    begun.recv().unwrap_or_else(|_| Err(StartError::Thread(io::Error::other("it ended at once"))))?;
    Ok(Follower { status, zone, view, turn, resigned, announcements, _stop: stop })
}

/// What the source's thread has in common with its [`Follower`].
struct Shared {
    status: Arc<SourceStatus>,
    zone: watch::Sender<Option<Arc<str>>>,
    view: SharedView,
    turn: watch::Receiver<Turn>,
    resigned: watch::Sender<bool>,
    line: Option<announce::Line>,
}

async fn run(
    options: Options,
    api: Arc<Api>,
    events: mpsc::Sender<(Event, Instant)>,
    pace: Pace,
    shared: Shared,
) {
    let Shared { status, zone, view, turn, resigned, line } = shared;
    let mut rng = Rng::new(options.seed);
    let mut seed = || Rng::new(rng.next_u64());
    let (node_known, known) = watch::channel(false);
    let mut watches = JoinSet::new();
    let follow = NodeFollow {
        here: options.node.clone(),
        fixed_zone: options.zone.clone(),
        early_drain: options.early_drain,
        zone,
        known: node_known,
        events: events.clone(),
        view: view.clone(),
        leaving: BTreeSet::new(),
        intern: Intern::default(),
    };
    let watch = Watch::new(Arc::clone(&api), Scope::All, follow, pace, Arc::clone(&status), seed());
    watches.spawn_local(watch.run());
    if let Some(interest) = options.pods.clone() {
        let (api, events, status) = (Arc::clone(&api), events.clone(), Arc::clone(&status));
        watches.spawn_local(pods::follow(api, interest, events, pace, status, seed()));
    }
    if let (Some(instance), Some(line)) = (options.announcing.clone(), line) {
        let status = Arc::clone(&status);
        watches.spawn_local(announce::write(Arc::clone(&api), line, instance, pace, status, seed()));
    }
    let scopes = options.scopes();
    let beside: Vec<_> = options.beside().into_iter().cloned().map(Scope::Service).collect();
    let count = scopes.len() + beside.len();
    let gather = Rc::new(slices::Gather::new(count, events, known, Arc::clone(&status), view.clone()));
    for scope in beside {
        let follow = SliceFollow::new(Rc::clone(&gather), true);
        let watch = Watch::new(Arc::clone(&api), scope, follow, pace, Arc::clone(&status), seed());
        watches.spawn_local(watch.run());
    }
    for scope in scopes {
        let follow = SliceFollow::new(Rc::clone(&gather), false);
        let watch = Watch::new(Arc::clone(&api), scope.clone(), follow, pace, Arc::clone(&status), seed());
        watches.spawn_local(watch.run());
        let follow = ServiceFollow::new(view.clone());
        let watch = Watch::new(Arc::clone(&api), scope, follow, pace, Arc::clone(&status), seed());
        watches.spawn_local(watch.run());
    }
    if let Some(writing) = options.writing.clone() {
        let here = options.node.clone();
        let desk = Desk { api: Arc::clone(&api), view, status, writing, here, turn, resigned };
        watches.spawn_local(writer::write(desk, pace, seed()));
    }
    // A watch ends only when nobody listens any more; a panic of one is not to be hidden by the others.
    while let Some(ended) = watches.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a watch ended without having been told to; restart the process");
        }
    }
}

#[cfg(test)]
mod tests;
