//! The watches of slices, one for each namespace that is followed, told to the table as one source.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use tidegate_core::{Event, Slice, SliceName};
use tokio::sync::{mpsc, watch};

use crate::{
    api::Resource,
    follow::{Follow, Gone, Listing, Read},
    intern::Intern,
    meta::Key,
    slice::{self, Trimmed},
    status::{ErrorCause, SourceStatus},
    view::SharedView,
};

/// What the watches of slices have in common.
pub(super) struct Gather {
    events: mpsc::Sender<(Event, Instant)>,
    /// Whether this node's zone is known, or cannot be.
    node_known: watch::Receiver<bool>,
    status: Arc<SourceStatus>,
    view: SharedView,
    /// How many watches there are.
    watches: usize,
    stage: RefCell<Stage>,
}

/// How far the first complete list is.
enum Stage {
    /// It is not complete.
    Waiting(Waiting),
    /// The table knows it.
    Told,
}

/// What was listed so far, and how many watches have not listed.
struct Waiting {
    slices: BTreeMap<Key, Slice>,
    left: usize,
}

impl Gather {
    pub(super) fn new(
        watches: usize,
        events: mpsc::Sender<(Event, Instant)>,
        node_known: watch::Receiver<bool>,
        status: Arc<SourceStatus>,
        view: SharedView,
    ) -> Self {
        let stage = RefCell::new(Stage::Waiting(Waiting { slices: BTreeMap::new(), left: watches }));
        Self { events, node_known, status, view, watches, stage }
    }

    async fn send(&self, event: Event, arrived: Instant) -> Result<(), Gone> {
        {
            let mut status = self.status.lock();
            status.events_total += 1;
            status.last_event = Some(arrived);
        }
        self.events.send((event, arrived)).await.map_err(|_| Gone)
    }

    /// Whether the change was put to what waits for the first complete list.
    fn waiting(&self, change: impl FnOnce(&mut Waiting)) -> bool {
        match &mut *self.stage.borrow_mut() {
            Stage::Waiting(waiting) => {
                change(waiting);
                true
            }
            Stage::Told => false,
        }
    }

    /// The first complete list, once nothing is missing from it.
    async fn tell_all(&self, arrived: Instant) -> Result<(), Gone> {
        let mut known = self.node_known.clone();
        // Its sender goes with the watch of nodes; then there is nothing to wait for either.
        let _ = known.wait_for(|known| *known).await;
        let slices = match self.stage.replace(Stage::Told) {
            Stage::Waiting(waiting) => waiting.slices.into_values().collect(),
            Stage::Told => return Ok(()),
        };
        self.send(Event::SlicesListed(slices), arrived).await
    }
}

/// One watch of slices.
pub(super) struct SliceFollow {
    gather: Rc<Gather>,
    intern: Intern,
    /// The first complete list waits for it.
    is_awaited: bool,
    /// Its slices are no endpoints that flows go to: where they may not be read, nobody waits for them.
    is_beside: bool,
}

impl SliceFollow {
    pub(super) fn new(gather: Rc<Gather>, is_beside: bool) -> Self {
        Self { gather, intern: Intern::default(), is_awaited: true, is_beside }
    }

    fn note_trigger(&self, trigger: Option<&str>) {
        let Some(began) = trigger.and_then(|text| text.parse::<k8s_openapi::jiff::Timestamp>().ok()) else {
            return;
        };
        let took = SystemTime::now().duration_since(SystemTime::from(began));
        let mut status = self.gather.status.lock();
        let report = &mut status.trigger_to_arrival;
        report.count += 1;
        report.clamped += u64::from(took.is_err());
        report.sum += took.unwrap_or(Duration::ZERO);
    }
}

impl Follow for SliceFollow {
    type Object = Slice;

    const RESOURCE: Resource =
        Resource { group: "discovery.k8s.io", version: "v1", plural: "endpointslices" };

    fn read(&mut self, json: &str, arrived: Option<Instant>) -> Result<Read<Slice>, String> {
        let Read { key, version, object: Trimmed { slice, trigger } } = slice::read(json, &mut self.intern)?;
        if arrived.is_some() {
            self.note_trigger(trigger.as_deref());
        }
        Ok(Read { key, version, object: slice })
    }

    async fn listed(&mut self, listing: Listing<Slice>, arrived: Instant) -> Result<(), Gone> {
        let Listing { objects, lacking, keeps } = listing;
        let is_first = std::mem::take(&mut self.is_awaited);
        self.gather.view.change_rest(|view| {
            for key in &lacking {
                view.slices.remove(key);
            }
            for (key, slice) in &objects {
                view.note_slice(key.clone(), slice);
            }
            view.unlisted_slices -= usize::from(is_first);
            true
        });
        let mut objects = Some(objects);
        let mut left = 0;
        self.gather.waiting(|waiting| {
            for key in &lacking {
                waiting.slices.remove(key);
            }
            waiting.slices.extend(objects.take().into_iter().flatten());
            waiting.left -= usize::from(is_first);
            left = waiting.left;
        });
        let Some(objects) = objects else {
            return if left == 0 { self.gather.tell_all(arrived).await } else { Ok(()) };
        };
        let applied = objects.into_iter().map(|(_, slice)| slice).collect();
        // Another namespace's slices are none of this list's business, nor are those that have not changed.
        let event = if self.gather.watches == 1 && !keeps {
            Event::SlicesListed(applied)
        } else {
            Event::SlicesChanged { applied, deleted: lacking.into_iter().map(name).collect() }
        };
        match &event {
            Event::SlicesChanged { applied, deleted } if applied.is_empty() && deleted.is_empty() => Ok(()),
            _ => self.gather.send(event, arrived).await,
        }
    }

    async fn applied(&mut self, key: Key, slice: Slice, arrived: Instant) -> Result<(), Gone> {
        self.gather.view.change_rest(|view| view.note_slice(key.clone(), &slice));
        let mut slice = Some(slice);
        self.gather.waiting(|waiting| waiting.slices.extend(slice.take().map(|slice| (key, slice))));
        match slice {
            Some(slice) => self.gather.send(Event::SliceApplied(slice), arrived).await,
            None => Ok(()),
        }
    }

    async fn deleted(&mut self, key: Key, arrived: Instant) -> Result<(), Gone> {
        self.gather.view.change_rest(|view| view.slices.remove(&key).is_some());
        if self.gather.waiting(|waiting| drop(waiting.slices.remove(&key))) {
            return Ok(());
        }
        self.gather.send(Event::SliceDeleted(name(key)), arrived).await
    }

    async fn failed(&mut self, cause: ErrorCause) -> Result<(), Gone> {
        if !self.is_beside || cause != ErrorCause::Forbidden || !std::mem::take(&mut self.is_awaited) {
            return Ok(());
        }
        self.gather.view.change_rest(|view| {
            view.unlisted_slices -= 1;
            true
        });
        let mut is_last = false;
        self.gather.waiting(|waiting| {
            waiting.left -= 1;
            is_last = waiting.left == 0;
        });
        if is_last { self.gather.tell_all(Instant::now()).await } else { Ok(()) }
    }
}

fn name(Key { namespace, name }: Key) -> SliceName {
    SliceName { namespace, name }
}
