//! What no source can tell a successor: what gates asked for, what drains have come to, and which client went to which
//! endpoint.
//!
//! Both processes have the same clock, so moments are told as they are. What a build does not know of another one's
//! words is left out; a record that cannot be read costs that record.

use std::{collections::BTreeMap, mem, net::SocketAddr, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tidegate_core::{
    AdmissionMode, AffinityEntry, DrainCause, DrainCauses, DrainRecord, Endpoint, EndpointId,
    EndpointIdentity, Ends, FlowEnd, ServiceName, ServicePort, Timestamp, table::DrainSoFar,
};

use crate::{Controller, audit::AuditRecord};

/// A service's name as words: namespace, name, port name.
type Port = (String, String, Option<String>);

/// Which endpoint the clients of a service went to last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceClients {
    /// The service: namespace, name, port name.
    pub service: (String, String, Option<String>),
    /// The endpoints: address, and the pod's uid where there is one.
    pub endpoints: Vec<(SocketAddr, Option<String>)>,
    /// The clients.
    pub clients: Vec<KnownClient>,
}

/// A client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownClient {
    /// Its hash.
    pub hash: u64,
    /// The place of its endpoint in the list.
    pub endpoint: u32,
    /// When its last flow began, in nanoseconds.
    pub seen: u64,
}

/// Records that go in one message: so many, or until they are about so many bytes.
const RECORDS: usize = 4_096;
const RECORDS_BYTES: usize = 4 << 20;

/// Pods whose gates a successor is told of.
const GATED: usize = 16_384;
/// No uid is longer.
const UID: usize = 128;

/// All that is known of drains, but for records that were told ahead.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Drains {
    /// Those that are over.
    over: Vec<Told>,
    /// Those that are on.
    on: Vec<Told>,
    /// Records that were dropped.
    dropped: u64,
    /// When the last of those drains ended.
    dropped_until: Option<u64>,
}

/// What one drain has come to.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    service: Port,
    address: SocketAddr,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pod_uid: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pod: Option<String>,
    /// Why: kind and object of each cause.
    #[serde(default)]
    causes: Vec<(String, Option<String>)>,
    began: u64,
    ended: u64,
    #[serde(default)]
    undone: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deadline: Option<u64>,
    flows_at_start: u64,
    flows_left: u64,
    /// How flows ended, by the word of the end.
    ends: BTreeMap<String, u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    published_after: Option<Duration>,
}

impl Told {
    fn of(AuditRecord { drain, published_after, .. }: &AuditRecord) -> Self {
        let endpoint = &drain.endpoint;
        let ends = FlowEnd::ALL.map(|end| (end.word().to_owned(), drain.ends.of(end)));
        Self {
            service: words(endpoint.service()),
            address: endpoint.address(),
            pod_uid: endpoint.identity().pod_uid.as_deref().map(str::to_owned),
            pod: drain.pod.as_deref().map(str::to_owned),
            causes: drain.causes.iter().map(|it| (it.kind().to_owned(), it.object())).collect(),
            began: drain.began.as_nanos(),
            ended: drain.ended.as_nanos(),
            undone: drain.undone,
            deadline: drain.deadline.map(Timestamp::as_nanos),
            flows_at_start: drain.flows_at_start,
            flows_left: drain.flows_left,
            ends: ends.into_iter().filter(|(_, count)| *count > 0).collect(),
            published_after: *published_after,
        }
    }

    /// About how long it is in words.
    fn length(&self) -> usize {
        let (namespace, name, port) = &self.service;
        let texts = [Some(namespace), Some(name), port.as_ref(), self.pod_uid.as_ref(), self.pod.as_ref()];
        let causes = self.causes.iter().flat_map(|(kind, object)| [Some(kind), object.as_ref()]);
        texts.into_iter().chain(causes).flatten().map(String::len).sum::<usize>() + 512
    }

    fn port(&self) -> ServicePort {
        port(&self.service)
    }

    fn identity(&self) -> EndpointIdentity {
        EndpointIdentity { pod_uid: self.pod_uid.as_deref().map(Arc::from), address: self.address }
    }

    /// A kind that this build does not know is left out.
    fn causes(&self) -> DrainCauses {
        self.causes.iter().filter_map(|(kind, object)| DrainCause::of(kind, object.as_deref())).collect()
    }

    fn ends(&self) -> Ends {
        Ends::of_each(|end| self.ends.get(end.word()).copied().unwrap_or_default())
    }

    /// Its process has died, and so many of its flows are here: the others are broken, and if none is, it is over.
    fn lose_all_but(&mut self, came: u64, now: Timestamp) {
        let moved = self.ends().of(FlowEnd::Elsewhere);
        let lost = (mem::take(&mut self.flows_left) + moved).saturating_sub(came);
        *self.ends.entry(FlowEnd::Broken.word().to_owned()).or_default() += lost;
        self.ended = now.as_nanos();
    }

    /// Nothing drains its endpoint here, to which so many of its flows have come.
    fn undo(&mut self, came: u64, now: Timestamp) {
        let moved = self.ends.entry(FlowEnd::Elsewhere.word().to_owned()).or_default();
        let back = came.min(*moved);
        *moved -= back;
        self.flows_left += back;
        (self.undone, self.ended) = (true, now.as_nanos());
    }

    /// A record of a drain that is over. Its endpoint may be unknown here, and then has no number.
    fn into_record(self, endpoint: Option<Arc<Endpoint>>) -> AuditRecord {
        let endpoint = endpoint.unwrap_or_else(|| {
            Endpoint::new(EndpointId(0), Arc::new(self.port()), self.identity(), AdmissionMode::Closed)
        });
        AuditRecord {
            over: true,
            published_after: self.published_after,
            drain: DrainRecord {
                endpoint,
                ends: self.ends(),
                pod: self.pod.as_deref().map(Arc::from),
                causes: self.causes(),
                began: Timestamp::from_nanos(self.began),
                ended: Timestamp::from_nanos(self.ended),
                undone: self.undone,
                deadline: self.deadline.map(Timestamp::from_nanos),
                flows_at_start: self.flows_at_start,
                flows_left: self.flows_left,
            },
        }
    }
}

impl Controller {
    /// The pods that gates keep new flows from.
    pub(super) fn gated(&self) -> Vec<String> {
        self.table.gated().take(GATED).map(ToString::to_string).collect()
    }

    /// Goes on with what a predecessor's gates asked for.
    pub(super) fn take_gated(&mut self, uids: Vec<String>) {
        let is_uid = |uid: &String| (1..=UID).contains(&uid.len());
        let uids = uids.into_iter().filter(is_uid).take(GATED).map(Arc::from);
        self.table.go_on_with_gates(uids);
        self.gates.is_stale = true;
        self.carry_out_all();
    }

    /// Records from a number on, as many as go in one message, and the number to go on with.
    pub(super) fn records(&mut self, from: u64) -> Option<(serde_json::Value, u64)> {
        let (rest, end) = self.audit.starting_at(from);
        let mut length = 0;
        let told = rest.take(RECORDS).map(|record| Told::of(record)).take_while(|told| {
            let is_first = length == 0;
            length += told.length();
            is_first || length <= RECORDS_BYTES
        });
        let told: Vec<_> = told.collect();
        // Those that were dropped meanwhile are not told.
        let first = end - self.audit.starting_at(from).0.count() as u64;
        self.handoff.told = first + told.len() as u64;
        (!told.is_empty()).then(|| (serde_json::to_value(told).unwrap_or_default(), self.handoff.told))
    }

    /// Keeps a predecessor's records.
    pub(super) fn take_records(&mut self, records: serde_json::Value) {
        match serde_json::from_value::<Vec<Told>>(records) {
            Ok(told) => {
                let records = self.audit_records(told);
                self.handoff.records.extend(records);
            }
            Err(error) => tracing::error!(%error, "a predecessor's records of drains cannot be read"),
        }
    }

    /// What drains have come to, for a successor that has their flows.
    pub(super) fn drains_so_far(&self) -> serde_json::Value {
        let answer = self.audit_answer();
        let (rest, _) = self.audit.starting_at(self.handoff.told);
        let told = self.audit.starting_at(0).0.count() - rest.count();
        let is_over = |record: &&AuditRecord| record.over && !self.has_moved(&record.drain);
        let (over, on): (Vec<_>, Vec<_>) = answer.records.iter().skip(told).partition(is_over);
        let drains = Drains {
            over: over.into_iter().map(Told::of).collect(),
            on: on.into_iter().map(Told::of).collect(),
            dropped: answer.dropped,
            dropped_until: answer.dropped_until.map(Timestamp::as_nanos),
        };
        serde_json::to_value(drains).unwrap_or_default()
    }

    /// Remembers which drains are on: those that end by a handoff are not over.
    pub(super) fn remember_drains(&mut self) {
        let drains = self.table.drains(self.clock.now()).into_iter();
        self.handoff.drains_on =
            drains.map(|drain| (drain.endpoint.id(), drain.ends.of(FlowEnd::Elsewhere))).collect();
    }

    /// A drain that was on, and whose flows have moved to the successor.
    fn has_moved(&self, drain: &DrainRecord) -> bool {
        let before = self.handoff.drains_on.get(&drain.endpoint.id());
        before.is_some_and(|before| drain.ends.of(FlowEnd::Elsewhere) > *before)
    }

    /// Takes in what drains came to in the predecessor. Where that one has died, it told so before its flows came: what it
    /// had and what is not here went down with it.
    pub(super) fn take_drains(&mut self, drains: serde_json::Value, has_died: bool) {
        let told = Option::<Drains>::deserialize(drains);
        let Drains { mut over, mut on, dropped, dropped_until } = match told {
            // Nothing, where it died before it told.
            Ok(drains) => drains.unwrap_or_default(),
            Err(error) => {
                tracing::error!(%error, "what drains came to in the predecessor cannot be read");
                return;
            }
        };
        let known = self.known();
        let find = |told: &Told| known.get(&(told.port(), told.identity())).cloned();
        let came =
            |told: &Told| find(told).map_or(0, |it| it.admission().flows() + it.tally().read().total());
        let now = self.clock.now();
        if has_died {
            let (mut here, mut gone) = (Vec::new(), Vec::new());
            for mut told in on {
                let came = came(&told);
                told.lose_all_but(came, now);
                (if came > 0 { &mut here } else { &mut gone }).push(told);
            }
            on = here;
            over.append(&mut gone);
        }
        let mut published = Vec::new();
        for mut told in on {
            let endpoint = find(&told);
            let so_far = DrainSoFar {
                began: Timestamp::from_nanos(told.began),
                causes: told.causes(),
                deadline: told.deadline.map(Timestamp::from_nanos),
                flows_at_start: told.flows_at_start.saturating_sub(told.flows_left),
                ends: told.ends(),
            };
            if self.table.go_on_with_drain(&told.port(), &told.identity(), &so_far) {
                told.undo(came(&told), now);
                over.push(told);
            } else if let Some(endpoint) = endpoint {
                published.push((endpoint.id(), told.published_after));
            }
        }
        let mut records = mem::take(&mut self.handoff.records);
        records.extend(self.audit_records(over));
        self.audit.go_on_from(records, dropped, dropped_until.map(Timestamp::from_nanos));
        for (endpoint, after) in published {
            self.audit.goes_on(endpoint, after);
        }
        self.carry_out_all();
    }

    /// Every endpoint of the table.
    fn known(&self) -> BTreeMap<(ServicePort, EndpointIdentity), Arc<Endpoint>> {
        let views = self.table.services().into_iter().flat_map(|service| service.endpoints);
        let named = |endpoint: &Endpoint| (endpoint.service().clone(), endpoint.identity().clone());
        views.map(|view| (named(&view.endpoint), view.endpoint)).collect()
    }

    fn audit_records(&self, told: Vec<Told>) -> Vec<AuditRecord> {
        let known = self.known();
        let record = |told: Told| {
            let endpoint = known.get(&(told.port(), told.identity())).cloned();
            told.into_record(endpoint)
        };
        told.into_iter().map(record).collect()
    }

    /// Which clients went to which endpoint, of each service that remembers it.
    pub(super) fn clients(&self) -> Vec<ServiceClients> {
        let now = self.clock.now();
        let snapshot = self.table.snapshot();
        let mut all = Vec::new();
        for service in self.table.services() {
            let slot = self.table.service_id(&service.port);
            let found = slot.and_then(|slot| snapshot.service(slot)?.affinity().map(Arc::clone));
            let (Some(table), Some(timeout)) = (found, service.settings.affinity_timeout) else { continue };
            let endpoints: Vec<_> = service.endpoints.iter().map(|view| &view.endpoint).collect();
            let places: BTreeMap<EndpointId, u32> =
                endpoints.iter().zip(0..).map(|(endpoint, place)| (endpoint.id(), place)).collect();
            let clients =
                table.entries().filter(|entry| now.since(entry.seen) < timeout).filter_map(|entry| {
                    let endpoint = *places.get(&entry.endpoint)?;
                    Some(KnownClient { hash: entry.client, endpoint, seen: entry.seen.as_nanos() })
                });
            let identities = endpoints.iter().map(|endpoint| {
                let EndpointIdentity { pod_uid, address } = endpoint.identity();
                (*address, pod_uid.as_deref().map(str::to_owned))
            });
            all.push(ServiceClients {
                service: words(&service.port),
                endpoints: identities.collect(),
                clients: clients.collect(),
            });
        }
        all
    }

    /// Remembers what a predecessor did of a service's clients. Endpoints that are not known here are left out.
    pub(super) fn take_clients(&mut self, told: &ServiceClients) {
        let port = port(&told.service);
        let slot = self.table.service_id(&port);
        let Some(table) = slot.and_then(|slot| self.table.snapshot().service(slot)?.affinity()) else {
            return;
        };
        let services = self.table.services();
        let own =
            services.iter().filter(|service| service.port == port).flat_map(|service| &service.endpoints);
        let numbers: BTreeMap<_, _> =
            own.map(|view| (view.endpoint.identity().clone(), view.endpoint.id())).collect();
        let numbers: Vec<Option<EndpointId>> = told
            .endpoints
            .iter()
            .map(|(address, pod_uid)| {
                let pod_uid = pod_uid.as_deref().map(Arc::from);
                numbers.get(&EndpointIdentity { pod_uid, address: *address }).copied()
            })
            .collect();
        for client in &told.clients {
            if let Some(Some(endpoint)) = numbers.get(client.endpoint as usize) {
                let seen = Timestamp::from_nanos(client.seen);
                table.restore(AffinityEntry { client: client.hash, endpoint: *endpoint, seen });
            }
        }
    }
}

fn words(port: &ServicePort) -> Port {
    let ServicePort { service, port } = port;
    (service.namespace().to_owned(), service.name().to_owned(), port.as_deref().map(str::to_owned))
}

fn port((namespace, name, port): &Port) -> ServicePort {
    let service = ServiceName::new(namespace.as_str(), name.as_str());
    ServicePort { service, port: port.as_deref().map(Into::into) }
}
