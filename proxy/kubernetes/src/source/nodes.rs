//! The watch of nodes: this node's zone, and which nodes are leaving.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use tidegate_core::Event;
use tokio::sync::{mpsc, watch};

use crate::{
    api::Resource,
    follow::{Follow, Gone, Read},
    intern::Intern,
    meta::Key,
    node::{self, Node},
};

/// The watch of nodes.
pub(super) struct NodeFollow {
    here: Arc<str>,
    /// The zone that the configuration gives.
    fixed_zone: Option<Arc<str>>,
    zone: watch::Sender<Option<Arc<str>>>,
    known: watch::Sender<bool>,
    events: mpsc::Sender<(Event, Instant)>,
    nodes: BTreeMap<Arc<str>, Node>,
    intern: Intern,
}

impl NodeFollow {
    pub(super) fn new(
        here: Arc<str>,
        fixed_zone: Option<Arc<str>>,
        zone: watch::Sender<Option<Arc<str>>>,
        known: watch::Sender<bool>,
        events: mpsc::Sender<(Event, Instant)>,
    ) -> Self {
        Self { here, fixed_zone, zone, known, events, nodes: BTreeMap::new(), intern: Intern::default() }
    }

    /// Tells what follows from the nodes.
    async fn tell(&mut self, arrived: Instant) -> Result<(), Gone> {
        let label = self.nodes.get(&self.here).and_then(|node| node.zone.clone());
        let zone = self.fixed_zone.clone().or(label);
        let is_known = *self.known.borrow();
        if !is_known || *self.zone.borrow() != zone {
            self.zone.send_replace(zone.clone());
            let event = Event::NodeIs { name: Some(Arc::clone(&self.here)), zone };
            self.events.send((event, arrived)).await.map_err(|_| Gone)?;
        }
        self.known.send_replace(true);
        Ok(())
    }
}

impl Follow for NodeFollow {
    type Object = Node;

    const RESOURCE: Resource = Resource { group: "", version: "v1", plural: "nodes" };

    fn read(&mut self, json: &str, _: Option<Instant>) -> Result<Read<Node>, String> {
        node::read(json, &mut self.intern)
    }

    async fn listed(&mut self, objects: Vec<(Key, Node)>, _: Vec<Key>, arrived: Instant) -> Result<(), Gone> {
        self.nodes = objects.into_iter().map(|(key, node)| (key.name, node)).collect();
        self.tell(arrived).await
    }

    async fn applied(&mut self, key: Key, node: Node, arrived: Instant) -> Result<(), Gone> {
        self.nodes.insert(key.name, node);
        self.tell(arrived).await
    }

    async fn deleted(&mut self, key: Key, arrived: Instant) -> Result<(), Gone> {
        self.nodes.remove(&key.name);
        self.tell(arrived).await
    }

    /// Slices do not wait for a zone that may never be known: without one, hints are ignored.
    async fn failed(&mut self) -> Result<(), Gone> {
        self.known.send_replace(true);
        Ok(())
    }
}
