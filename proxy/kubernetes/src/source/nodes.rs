//! The watch of nodes: this node's zone, which nodes are leaving, and the view's nodes.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use tidegate_core::Event;
use tokio::sync::{mpsc, watch};

use crate::{
    api::Resource,
    follow::{Follow, Gone, Listing, Read},
    intern::Intern,
    meta::Key,
    node::{self, Node},
    status::ErrorCause,
    view::SharedView,
};

/// The watch of nodes.
pub(super) struct NodeFollow {
    /// This node; `None` where nobody says which it is.
    pub(super) here: Option<Arc<str>>,
    /// The zone that the configuration gives.
    pub(super) fixed_zone: Option<Arc<str>>,
    /// Whether endpoints of leaving nodes are spared.
    pub(super) early_drain: bool,
    pub(super) zone: watch::Sender<Option<Arc<str>>>,
    pub(super) known: watch::Sender<bool>,
    pub(super) events: mpsc::Sender<(Event, Instant)>,
    pub(super) view: SharedView,
    pub(super) leaving: BTreeSet<Arc<str>>,
    pub(super) intern: Intern,
}

impl NodeFollow {
    async fn send(&self, event: Event, arrived: Instant) -> Result<(), Gone> {
        self.events.send((event, arrived)).await.map_err(|_| Gone)
    }

    /// Tells what follows from the nodes.
    async fn tell(&mut self, arrived: Instant) -> Result<(), Gone> {
        let (label, leaving) = {
            let view = self.view.look();
            let here = self.here.as_ref().and_then(|name| view.nodes.get(name));
            let leaving: BTreeSet<Arc<str>> = view
                .nodes
                .iter()
                .filter(|(_, node)| self.early_drain && node.leaving.is_some())
                .map(|(name, _)| Arc::clone(name))
                .collect();
            (here.and_then(|node| node.zone.clone()), leaving)
        };
        let is_known = *self.known.borrow();
        if self.here.is_some() {
            let zone = self.fixed_zone.clone().or(label);
            if !is_known || *self.zone.borrow() != zone {
                self.zone.send_replace(zone.clone());
                self.send(Event::NodeIs { name: self.here.clone(), zone }, arrived).await?;
            }
        }
        if self.leaving != leaving {
            for name in leaving.difference(&self.leaving) {
                tracing::info!(node = &**name, "the node is leaving: its endpoints get no new flows");
            }
            self.leaving.clone_from(&leaving);
            self.send(Event::NodesLeaving(leaving), arrived).await?;
        }
        self.note_known();
        Ok(())
    }

    fn note_known(&self) {
        if !self.known.send_replace(true) {
            self.view.change(|view| !std::mem::replace(&mut view.nodes_known, true));
        }
    }
}

impl Follow for NodeFollow {
    type Object = Node;

    const RESOURCE: Resource = Resource { group: "", version: "v1", plural: "nodes" };

    fn read(&mut self, json: &str, _: Option<Instant>) -> Result<Read<Node>, String> {
        node::read(json, &mut self.intern)
    }

    async fn listed(&mut self, listing: Listing<Node>, arrived: Instant) -> Result<(), Gone> {
        self.view.change(|view| {
            for key in listing.lacking {
                view.nodes.remove(&key.name);
            }
            view.nodes.extend(listing.objects.into_iter().map(|(key, node)| (key.name, node)));
            true
        });
        self.tell(arrived).await
    }

    async fn applied(&mut self, key: Key, node: Node, arrived: Instant) -> Result<(), Gone> {
        // A kubelet writes its Node again and again; most of what it says is not kept.
        self.view.change(|view| view.nodes.insert(key.name, node.clone()).as_ref() != Some(&node));
        self.tell(arrived).await
    }

    async fn deleted(&mut self, key: Key, arrived: Instant) -> Result<(), Gone> {
        self.view.change(|view| view.nodes.remove(&key.name).is_some());
        self.tell(arrived).await
    }

    /// Nobody waits for nodes that may never be known: without them hints are ignored.
    async fn failed(&mut self, _: ErrorCause) -> Result<(), Gone> {
        self.note_known();
        Ok(())
    }
}
