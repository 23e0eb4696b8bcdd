//! Small worlds for tests: a table with one service, and short ways to say what its slices hold.

use alloc::{format, sync::Arc, vec, vec::Vec};
use core::net::{IpAddr, SocketAddr};
use std::string::{String, ToString};

use crate::{
    AdminState, Conditions, Endpoint, EndpointSelector, Event, FlowKey, Notice, Output, Permit, PickState,
    Refusal, Rng, ServiceConfig, ServiceName, ServicePort, ServiceSettings, Slice, SliceEndpoint, SliceName,
    SlicePort, Snapshot, Table, Timestamp,
    table::{EndpointView, ServiceView},
};

pub(crate) const READY: Conditions = Conditions { ready: true, serving: true, terminating: false };
pub(crate) const NOT_READY: Conditions = Conditions { ready: false, serving: false, terminating: false };
/// Serving and terminating: what a drain looks like.
pub(crate) const LEAVING: Conditions = Conditions { ready: false, serving: true, terminating: true };
/// Terminating, and failing its probe.
pub(crate) const FAILING: Conditions = Conditions { ready: false, serving: false, terminating: true };

pub(crate) fn web() -> ServicePort {
    port_of("web")
}

pub(crate) fn port_of(name: &str) -> ServicePort {
    ServicePort { service: ServiceName::new("default", name), port: Some("http".into()) }
}

pub(crate) fn config(port: ServicePort) -> ServiceConfig {
    ServiceConfig { port, settings: ServiceSettings::default(), fixed: None }
}

/// An endpoint whose pod is named after its uid.
pub(crate) fn endpoint(uid: &str, address: &str, conditions: Conditions) -> SliceEndpoint {
    SliceEndpoint {
        address: address.parse().expect("an address"),
        conditions,
        pod_uid: Some(uid.into()),
        pod_name: Some(format!("default/{uid}").into()),
        node: None,
        zone: None,
        zone_hints: Vec::new(),
        node_hints: Vec::new(),
    }
}

/// A slice of `default/web` whose port `http` is 80.
pub(crate) fn slice(name: &str, endpoints: Vec<SliceEndpoint>) -> Slice {
    Slice {
        name: slice_name(name),
        service: Some(ServiceName::new("default", "web")),
        generation: 0,
        ports: vec![SlicePort { name: "http".into(), number: 80 }],
        endpoints,
        ignored_ports: 0,
        ignored_endpoints: 0,
        is_fqdn: false,
    }
}

pub(crate) fn slice_name(name: &str) -> SliceName {
    SliceName { namespace: "default".into(), name: name.into() }
}

pub(crate) fn with_ports(mut slice: Slice, ports: &[(&str, u16)]) -> Slice {
    slice.ports =
        ports.iter().map(|(name, number)| SlicePort { name: (*name).into(), number: *number }).collect();
    slice
}

pub(crate) fn of_service(mut slice: Slice, service: &str) -> Slice {
    slice.service = Some(ServiceName::new("default", service));
    slice
}

/// A table, its clock, and everything it has put out.
pub(crate) struct World {
    pub(crate) table: Table,
    pub(crate) now: Timestamp,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) outputs: Vec<Output>,
    pub(crate) publishes: usize,
    pub(crate) rng: Rng,
}

impl World {
    pub(crate) fn of(services: Vec<ServiceConfig>) -> Self {
        let mut world = Self {
            table: Table::new(7),
            now: Timestamp::from_millis(1_000),
            snapshot: Arc::default(),
            outputs: Vec::new(),
            publishes: 0,
            rng: Rng::new(11),
        };
        world.tell(Event::ServicesConfigured(services));
        world
    }

    /// With `default/web:http` under these settings, and one list.
    pub(crate) fn with(settings: ServiceSettings, slices: Vec<Slice>) -> Self {
        let mut world = Self::of(vec![ServiceConfig { settings, ..config(web()) }]);
        world.tell(Event::SlicesListed(slices));
        world
    }

    /// With `default/web:http` and one list.
    pub(crate) fn listed(slices: Vec<Slice>) -> Self {
        Self::with(ServiceSettings::default(), slices)
    }

    pub(crate) fn tell(&mut self, event: Event) {
        self.tell_all([event]);
    }

    /// Several events, then one look at the outputs.
    pub(crate) fn tell_all(&mut self, events: impl IntoIterator<Item = Event>) {
        for event in events {
            self.table.handle_event(event, self.now);
        }
        self.poll();
    }

    pub(crate) fn poll(&mut self) {
        while let Some(output) = self.table.poll_output(self.now) {
            if let Output::Publish(snapshot) = &output {
                assert_eq!(snapshot.generation(), self.snapshot.generation() + 1, "one generation a publish");
                self.snapshot = Arc::clone(snapshot);
                self.publishes += 1;
            } else {
                self.outputs.push(output);
            }
        }
    }

    pub(crate) fn apply(&mut self, slice: Slice) {
        self.tell(Event::SliceApplied(slice));
    }

    pub(crate) fn wait_millis(&mut self, millis: u64) {
        self.now = self.now.after(core::time::Duration::from_millis(millis));
    }

    pub(crate) fn ask(&mut self, state: AdminState, endpoints: EndpointSelector) {
        self.tell(Event::AdminStateRequested {
            endpoints,
            state,
            by: "ann".into(),
            reason: "test".into(),
            deadline: None,
        });
    }

    /// The addresses that new flows of `default/web:http` may go to.
    pub(crate) fn eligible(&self) -> Vec<String> {
        self.eligible_of(&web())
    }

    pub(crate) fn eligible_of(&self, port: &ServicePort) -> Vec<String> {
        let Some(service) = self.table.service_id(port).and_then(|id| self.snapshot.service(id)) else {
            return Vec::new();
        };
        service.endpoints().map(|endpoint| endpoint.address().to_string()).collect()
    }

    pub(crate) fn admit(&mut self) -> Result<Permit, Refusal> {
        self.admit_from("192.0.2.1", &[])
    }

    pub(crate) fn admit_from(&mut self, client: &str, tried: &[Arc<Endpoint>]) -> Result<Permit, Refusal> {
        let client: IpAddr = client.parse().expect("an address");
        let id = self.table.service_id(&web()).expect("it is configured");
        let service = Arc::clone(self.snapshot.service(id).expect("it is published"));
        service.admit(&FlowKey { client }, tried, &mut PickState::default(), &mut self.rng, self.now)
    }

    pub(crate) fn view(&self) -> ServiceView {
        self.table.services().into_iter().find(|view| view.port == web()).expect("the service is there")
    }

    /// The view of the endpoint at an address; of two, the present one.
    pub(crate) fn endpoint(&self, address: &str) -> EndpointView {
        self.find(address).expect("the endpoint is there")
    }

    pub(crate) fn find(&self, address: &str) -> Option<EndpointView> {
        let address: SocketAddr = address.parse().expect("an address");
        let services = self.table.services();
        let mut endpoints =
            services.into_iter().filter(|view| view.port == web()).flat_map(|view| view.endpoints);
        endpoints.find(|view| view.endpoint.address() == address)
    }

    /// Takes the outputs so far, as short words.
    pub(crate) fn said(&mut self) -> Vec<String> {
        self.outputs.drain(..).map(|output| words(&output)).collect()
    }
}

fn words(output: &Output) -> String {
    match output {
        Output::Publish(snapshot) => format!("publish {}", snapshot.generation()),
        Output::EndpointGone { endpoint, was_terminating, .. } => {
            format!("gone {} terminating={was_terminating}", endpoint.address())
        }
        Output::EndpointBack { endpoint, .. } => format!("back {}", endpoint.address()),
        Output::DrainPlanned { endpoint, plan, .. } => {
            let what = if plan.is_some() { "plan" } else { "no plan" };
            format!("{what} {}", endpoint.address())
        }
        Output::PodsWanted(pods) => format!("{} pods wanted", pods.len()),
        Output::Rebalance(run) => format!("rebalance {}", run.is_some()),
        Output::Notice(notice) => match notice {
            Notice::EndpointAdded { endpoint, .. } => format!("added {}", endpoint.address()),
            Notice::ConditionsChanged { endpoint, .. } => format!("changed {}", endpoint.address()),
            Notice::DrainBegan { endpoint, causes, flows, .. } => {
                format!("drain {} {flows} flows: {causes}", endpoint.address())
            }
            Notice::DrainUndone { record } => {
                format!("undone {} {} flows", record.endpoint.address(), record.flows_left)
            }
            Notice::Drained { record } => {
                let took = record.ended.since(record.began).as_millis();
                format!("drained {} after {took} ms", record.endpoint.address())
            }
            Notice::EndpointRemoved { endpoint, flows, .. } => {
                format!("removed {} {flows} flows", endpoint.address())
            }
            Notice::Eligibility { service, eligible } => format!("eligible {service} {eligible}"),
            Notice::AmbiguousPort { service, ports } => format!("ambiguous {service} {ports}"),
            Notice::SliceIgnored { slice, why, count } => format!("ignored {slice} {count}: {why}"),
            Notice::RebalanceBegan { service, surplus } => format!("rebalance of {service} began: {surplus}"),
            Notice::RebalanceEnded { service, moved, why } => {
                format!("rebalance of {service} ended after {moved}: {why}")
            }
            Notice::SlicesShadowed { service } => format!("shadowed {service}"),
        },
    }
}
