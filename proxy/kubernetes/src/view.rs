//! What is known of Services, Nodes, and where endpoints are ready: what listeners and status follow from.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tidegate_core::{ServiceName, Slice};
use tokio::sync::watch;

use crate::{meta::Key, node::Node, plan::Problem, service::Service};

/// What is known.
#[derive(Debug, Default)]
pub struct View {
    pub(crate) services: BTreeMap<ServiceName, Service>,
    pub(crate) nodes: BTreeMap<Arc<str>, Node>,
    /// For each slice its Service and the nodes on which it has ready endpoints.
    pub(crate) slices: BTreeMap<Key, (ServiceName, BTreeSet<Arc<str>>)>,
    /// Watches of Services that have not listed yet.
    pub(crate) unlisted: usize,
    /// Watches of slices that have not listed yet.
    pub(crate) unlisted_slices: usize,
    /// The Nodes have been listed, or cannot be.
    pub(crate) nodes_known: bool,
    /// What this instance cannot do for a Service; `None` before it has tried.
    pub(crate) problems: Option<Vec<Problem>>,
}

impl View {
    /// All Services are known, and this node's addresses, if they can be.
    pub fn is_complete(&self) -> bool {
        self.unlisted == 0 && self.nodes_known
    }

    /// The nodes on which a Service has ready endpoints.
    pub(crate) fn ready_nodes(&self, service: &ServiceName) -> BTreeSet<&Arc<str>> {
        let slices = self.slices.values().filter(|(name, _)| name == service);
        slices.flat_map(|(_, nodes)| nodes).collect()
    }

    /// Keeps where a slice has ready endpoints, and says whether that is news.
    pub(crate) fn note_slice(&mut self, key: Key, slice: &Slice) -> bool {
        let Some(service) = &slice.service else {
            return self.slices.remove(&key).is_some();
        };
        let ready = slice.endpoints.iter().filter(|endpoint| endpoint.conditions.ready);
        let nodes = ready.filter_map(|endpoint| endpoint.node.clone()).collect();
        let noted = (service.clone(), nodes);
        let is_news = self.slices.get(&key) != Some(&noted);
        if is_news {
            self.slices.insert(key, noted);
        }
        is_news
    }
}

/// The view, shared: the source's thread writes it, whoever plans reads it.
#[derive(Clone, Debug)]
pub struct SharedView {
    view: Arc<Mutex<View>>,
    /// Services and Nodes.
    changed: watch::Sender<u64>,
    /// Anything.
    any: watch::Sender<u64>,
}

impl SharedView {
    pub(crate) fn new(unlisted: usize, unlisted_slices: usize, nodes_known: bool) -> Self {
        let view = View { unlisted, unlisted_slices, nodes_known, ..View::default() };
        let (changed, any) = (watch::Sender::new(0), watch::Sender::new(0));
        Self { view: Arc::new(Mutex::new(view)), changed, any }
    }

    /// The view at this moment. It is held for as long as the answer is, so that must be short.
    pub fn look(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hears of changes of anything.
    pub(crate) fn any_changes(&self) -> watch::Receiver<u64> {
        self.any.subscribe()
    }

    /// Hears of changes of Services and Nodes.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Changes Services or Nodes; says so where `change` does.
    pub(crate) fn change(&self, change: impl FnOnce(&mut View) -> bool) {
        let changed = change(&mut self.look());
        if changed {
            self.changed.send_modify(|number| *number += 1);
            self.any.send_modify(|number| *number += 1);
        }
    }

    /// Changes what listeners do not depend on: where endpoints are ready, and what problems there are.
    pub(crate) fn change_rest(&self, change: impl FnOnce(&mut View) -> bool) {
        let changed = change(&mut self.look());
        if changed {
            self.any.send_modify(|number| *number += 1);
        }
    }
}
