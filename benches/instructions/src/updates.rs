//! What the controller does when one slice has changed: the table takes the fact, joins, settles and publishes.

use std::sync::Arc;

use tidegate_core::{
    Conditions, Event, Output, ServiceConfig, ServiceName, ServicePort, ServiceSettings, Slice,
    SliceEndpoint, SliceName, SlicePort, Snapshot, Table, Timestamp,
};

use crate::picks::address;

/// Endpoints of a slice: as many as Kubernetes puts there by itself.
pub const FULL_SLICE: u32 = 100;

/// How large the table is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Services that are configured.
    pub services: u32,
    /// Slices of each.
    pub slices: u32,
    /// Endpoints of each slice.
    pub endpoints: u32,
}

/// A table, its last snapshot, and a slice that changes.
#[derive(Debug)]
pub struct Updates {
    table: Table,
    published: Arc<Snapshot>,
    slice: Slice,
    now: Timestamp,
}

impl Updates {
    /// A table of this size.
    pub fn new(size: Size) -> Self {
        let mut table = Table::new(7);
        let now = Timestamp::from_millis(1);
        let services = (0..size.services).map(|service| ServiceConfig {
            port: ServicePort { service: name(service), port: Some("http".into()) },
            settings: ServiceSettings::default(),
            fixed: None,
        });
        table.handle_event(Event::ServicesConfigured(services.collect()), now);
        let slices = (0..size.services)
            .flat_map(|service| (0..size.slices).map(move |of_service| slice(service, of_service, size)));
        table.handle_event(Event::SlicesListed(slices.collect()), now);
        let (published, _) = publish(&mut table, now);
        let slice = slice(size.services / 2, size.slices / 2, size);
        Self { table, published: published.expect("a first list is published"), slice, now }
    }

    /// The next change of the slice, as a source would send it: its first endpoint turns from ready to not ready, or
    /// back.
    pub fn next_event(&mut self) -> Event {
        let endpoint = self.slice.endpoints.first_mut().expect("a slice has endpoints");
        endpoint.conditions.ready = !endpoint.conditions.ready;
        self.slice.generation += 1;
        Event::SliceApplied(self.slice.clone())
    }

    /// Takes an event to its last output. Whatever the old snapshot alone still held is freed, as it is when the
    /// last worker has seen the new one.
    ///
    /// # Panics
    ///
    /// If nothing was published.
    pub fn apply(&mut self, event: Event) -> usize {
        self.table.handle_event(event, self.now);
        let (published, outputs) = publish(&mut self.table, self.now);
        self.published = published.expect("a change of readiness is published");
        outputs
    }

    /// The service whose slice changes.
    pub fn changing(&self) -> ServicePort {
        let service = self.slice.service.clone().expect("the slice has a service");
        ServicePort { service, port: Some("http".into()) }
    }

    /// How many endpoints of a service new flows may go to, as published.
    pub fn eligible(&self, port: &ServicePort) -> Option<usize> {
        Some(self.published.service(self.table.service_id(port)?)?.eligible())
    }

    /// The generation that was published last.
    pub fn generation(&self) -> u64 {
        self.published.generation()
    }
}

/// Takes everything that the table puts out: the last snapshot, and how many outputs there were.
pub(crate) fn publish(table: &mut Table, now: Timestamp) -> (Option<Arc<Snapshot>>, usize) {
    let (mut published, mut outputs) = (None, 0);
    while let Some(output) = table.poll_output(now) {
        outputs += 1;
        if let Output::Publish(snapshot) = output {
            published = Some(snapshot);
        }
    }
    (published, outputs)
}

fn name(service: u32) -> ServiceName {
    ServiceName::new("default", format!("web-{service:04}"))
}

fn slice(service: u32, of_service: u32, size: Size) -> Slice {
    let first = (service * size.slices + of_service) * size.endpoints;
    let endpoint = |index: u32| SliceEndpoint {
        address: address(index).ip(),
        conditions: Conditions { ready: true, serving: true, terminating: false },
        pod_uid: Some(format!("0d2f8f34-9c9b-4d7c-a6a4-{index:012}").into()),
        pod_name: Some(format!("default/web-{service:04}-{index:05}").into()),
        node: Some(format!("node-{}", index % 100).into()),
        zone: Some("zone-a".into()),
        zone_hints: Vec::new(),
        node_hints: Vec::new(),
    };
    Slice {
        name: SliceName {
            namespace: "default".into(),
            name: format!("web-{service:04}-{of_service:03}").into(),
        },
        service: Some(name(service)),
        generation: 1,
        ports: vec![SlicePort { name: "http".into(), number: 80 }],
        endpoints: (first..first + size.endpoints).map(endpoint).collect(),
        ignored_ports: 0,
        ignored_endpoints: 0,
        is_fqdn: false,
    }
}
