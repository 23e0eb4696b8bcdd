//! One scrape: every number, gathered and encoded.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, atomic::AtomicU64, atomic::Ordering},
    time::Duration,
};

use prometheus_client::{collector::Collector, encoding::DescriptorEncoder};
use tidegate_control::{
    ControlCounters, DrainingFlows, EventKind, Lifecycle, NoticeKind, ServicesAnswer, Status,
};
use tidegate_core::{
    Party, Phase, ServicePort, Termination, Timestamp,
    table::{EndpointView, ServiceView},
};
use tidegate_dataplane::{ConnectFailure, Counter, Direction, ServiceCounters, Way, WorkerCounters};

use super::{
    names::{self, Metric},
    out::{Number, Out},
    seconds,
    totals::Totals,
};
use crate::{
    AdminState, SourceReport, WatchReport,
    gate::{GateCounters, GateEnd, PeerRefusal},
    view::is_draining,
};

/// What a scrape shows.
#[derive(Debug)]
pub(crate) struct Scrape {
    version: &'static str,
    flow_limit: u64,
    now: Timestamp,
    started: Timestamp,
    lifecycle: Lifecycle,
    workers: Vec<Arc<WorkerCounters>>,
    control: Arc<ControlCounters>,
    source: Option<SourceReport>,
    /// How long ago the source last changed.
    source_age: Option<Duration>,
    /// How long ago the API server was last heard on each of the source's watches.
    contact_ages: Vec<Option<Duration>>,
    /// `None` where the controller did not answer; what it knows alone is missing then.
    status: Option<Status>,
    services: Option<ServicesAnswer>,
    gate: Arc<GateCounters>,
    carried: Arc<Totals>,
}

/// The states that an endpoint is counted under, each endpoint under one.
const STATES: [&str; 5] = ["ready", "not_ready", "draining", "drained", "gone"];

/// The event kinds that come from a source.
const SLICE_EVENTS: [EventKind; 4] =
    [EventKind::SlicesListed, EventKind::SlicesChanged, EventKind::SliceApplied, EventKind::SliceDeleted];

impl Scrape {
    pub(crate) fn new(state: &AdminState, status: Option<Status>, services: Option<ServicesAnswer>) -> Self {
        let source = (state.source)();
        let clock = state.control.clock();
        let now = clock.now();
        Self {
            version: state.version,
            flow_limit: state.flow_limit,
            now,
            started: clock.started(),
            lifecycle: state.control.lifecycle(),
            workers: state.workers.clone(),
            control: Arc::clone(state.control.counters()),
            source_age: source
                .as_ref()
                .and_then(|source| source.last_event)
                .map(|at| now.since(clock.timestamp(at))),
            contact_ages: source
                .iter()
                .flat_map(|source| &source.watches)
                .map(|watch| Some(now.since(clock.timestamp(watch.last_contact?))))
                .collect(),
            source,
            status,
            services,
            gate: Arc::clone(&state.gate),
            carried: state.carried.get(),
        }
    }

    /// What a successor goes on counting from.
    pub(super) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        // Nothing here can fail but an encoder.
        let _ = self.write(&mut Out::totals(&mut totals, &self.carried));
        totals
    }

    fn write(&self, out: &mut Out<'_>) -> fmt::Result {
        self.process(out)?;
        self.flows(out)?;
        self.endpoints(out)?;
        self.drains(out)?;
        self.gate(out)?;
        self.control(out)?;
        self.workers(out)
    }

    fn process(&self, out: &mut Out<'_>) -> fmt::Result {
        out.info(&names::BUILD, &[("version", self.version)])?;
        out.one(&names::UPTIME, Number::Real(seconds(self.now.since(self.started))))?;
        out.many(&names::LIFECYCLE, vec![(vec![self.lifecycle.word()], Number::Whole(1))])?;
        if let Some(status) = &self.status {
            let is_ready = status.lifecycle == Lifecycle::Ready
                && status.synced
                && status.workers.iter().all(|worker| worker.generation.is_some());
            out.one(&names::READY, Number::Whole(is_ready.into()))?;
        }
        out.one(&names::FLOW_LIMIT, Number::Whole(self.flow_limit))
    }

    fn flows(&self, out: &mut Out<'_>) -> fmt::Result {
        let services = self.flow_counters();
        let sum = |metric: &Metric, out: &mut Out<'_>, read: &dyn Fn(&ServiceCounters) -> u64| {
            let samples = services.iter().map(|(service, counters)| {
                (vec![service.as_str()], Number::Whole(counters.iter().map(|counters| read(counters)).sum()))
            });
            out.many(metric, samples.collect())
        };
        sum(&names::FLOWS_OPENED, out, &|counters| counters.opened.get())?;
        sum(&names::FLOWS_OPEN, out, &ServiceCounters::open)?;
        let mut terminated = Vec::new();
        let mut bytes = Vec::new();
        let mut seconds = Vec::new();
        let mut failures = Vec::new();
        for (service, counters) in &services {
            let total = |read: &dyn Fn(&ServiceCounters) -> &Counter| -> u64 {
                counters.iter().map(|counters| read(counters).get()).sum()
            };
            for (by, phase) in Party::ALL.into_iter().flat_map(|by| Phase::ALL.map(|phase| (by, phase))) {
                let termination = Termination { by, phase };
                let count = total(&|counters| counters.terminated(termination));
                // Most of the 45 combinations never happen, and each would be a line per service.
                if count > 0 || termination == Termination::NORMAL {
                    terminated.push((vec![service.as_str(), by.word(), phase.word()], Number::Whole(count)));
                }
            }
            for (direction, way) in Direction::ALL.into_iter().flat_map(|it| Way::ALL.map(|way| (it, way))) {
                let count = total(&|counters| counters.bytes(direction, way));
                bytes.push((vec![service.as_str(), direction.word(), way.word()], Number::Whole(count)));
            }
            let nanos = total(&|counters| &counters.connect_nanos);
            seconds.push((vec![service.as_str()], Number::Real(nanos as f64 / 1e9)));
            for cause in ConnectFailure::ALL {
                let count = total(&|counters| counters.connect_failures(cause));
                failures.push((vec![service.as_str(), cause.word()], Number::Whole(count)));
            }
        }
        out.many(&names::FLOWS_TERMINATED, terminated)?;
        out.many(&names::BYTES, bytes)?;
        sum(&names::CONNECTS, out, &|counters| counters.connected.get())?;
        out.many(&names::CONNECT_SECONDS, seconds)?;
        out.many(&names::CONNECT_FAILURES, failures)?;
        sum(&names::CONNECT_RETRIES, out, &|counters| counters.retries.get())
    }

    fn gate(&self, out: &mut Out<'_>) -> fmt::Result {
        let gate = &self.gate;
        if !gate.is_served() {
            return Ok(());
        }
        out.one(&names::GATE_WAITING, Number::Whole(gate.waiting()))?;
        let ended = GateEnd::ALL.map(|end| (vec![end.word()], Number::Whole(gate.ended(end))));
        out.many(&names::GATE_WAITS, ended.to_vec())?;
        out.histogram(&names::GATE_WAIT_SECONDS, gate.waits())?;
        out.one(&names::GATE_UNREACHABLE, Number::Whole(gate.unreachable()))?;
        let refused = PeerRefusal::ALL.map(|why| (vec![why.word()], Number::Whole(gate.peers_refused(why))));
        out.many(&names::GATE_PEERS_REFUSED, refused.to_vec())
    }

    /// Every worker's counters, by service.
    fn flow_counters(&self) -> BTreeMap<String, Vec<Arc<ServiceCounters>>> {
        let mut services: BTreeMap<String, Vec<_>> = BTreeMap::new();
        let all = self.workers.iter().flat_map(|worker| worker.services());
        for (port, counters) in all {
            services.entry(port.to_string()).or_default().push(counters);
        }
        services
    }

    fn endpoints(&self, out: &mut Out<'_>) -> fmt::Result {
        let Some(ServicesAnswer { services, .. }) = &self.services else {
            return Ok(());
        };
        let names: Vec<String> = services.iter().map(|view| view.port.to_string()).collect();
        let mut by_state = Vec::new();
        for (service, name) in services.iter().zip(&names) {
            for state in STATES {
                let count = service.endpoints.iter().filter(|view| endpoint_state(view) == state).count();
                by_state.push((vec![name.as_str(), state], Number::Whole(count as u64)));
            }
        }
        out.many(&names::ENDPOINTS, by_state)?;
        let each = |metric: &Metric, out: &mut Out<'_>, read: &dyn Fn(&ServiceView) -> u64| {
            let named = services.iter().zip(&names);
            let samples = named.map(|(service, name)| (vec![name.as_str()], Number::Whole(read(service))));
            out.many(metric, samples.collect())
        };
        each(&names::ENDPOINTS_ELIGIBLE, out, &|service| service.eligible as u64)?;
        each(&names::DRAINING_ENDPOINTS, out, &|service| draining(service).count() as u64)?;
        each(&names::DRAINING_FLOWS, out, &|service| {
            draining(service).map(|view| view.endpoint.admission().flows()).sum()
        })?;
        let deadlines = services.iter().zip(&names).filter_map(|(service, name)| {
            let first = draining(service).filter_map(|view| view.drain.as_ref()?.deadline).min()?;
            let left = seconds(first.since(self.now)) - seconds(self.now.since(first));
            Some((vec![name.as_str()], Number::Real(left)))
        });
        out.many(&names::DRAIN_DEADLINE, deadlines.collect())?;
        self.draining_flows(out)
    }

    /// How flows of draining endpoints were doing when workers looked last.
    fn draining_flows(&self, out: &mut Out<'_>) -> fmt::Result {
        let Some(ServicesAnswer { services, draining: seen, .. }) = &self.services else {
            return Ok(());
        };
        // A drain may have ended since they looked.
        let is_on = |port: &ServicePort| {
            services.iter().any(|service| service.port == *port && draining(service).count() > 0)
        };
        let seen: Vec<_> =
            seen.iter().filter(|of| is_on(&of.service)).map(|of| (of.service.to_string(), of)).collect();
        let mut each = |metric: &Metric, read: &dyn Fn(&DrainingFlows) -> Option<Number>| {
            let samples = seen.iter().filter_map(|(name, of)| Some((vec![name.as_str()], read(of)?)));
            out.many(metric, samples.collect())
        };
        each(&names::DRAINING_IDLE, &|of| Some(Number::Whole(of.idle)))?;
        each(&names::DRAINING_RATE, &|of| Some(Number::Real(of.bytes_per_second)))?;
        each(&names::DRAINING_OLDEST, &|of| Some(Number::Real(seconds(self.now.since(of.oldest?)))))?;
        each(&names::DRAINING_CUT, &|of| Some(Number::Whole(of.will_be_cut?)))
    }

    fn drains(&self, out: &mut Out<'_>) -> fmt::Result {
        let control = &self.control;
        let outcomes = [
            (vec!["clean"], whole(&control.drains_clean)),
            (vec!["broken"], whole(&control.drains_broken)),
            (vec!["undone"], whole(&control.drains_undone)),
        ];
        out.many(&names::DRAINS, outcomes.into())?;
        out.one(&names::AUDIT_LOST, whole(&control.audit_lost))
    }

    fn control(&self, out: &mut Out<'_>) -> fmt::Result {
        let control = &self.control;
        out.one(&names::GENERATION, whole(&control.generation))?;
        out.one(&names::PUBLISHES, whole(&control.publishes))?;
        out.histogram(&names::PUBLISH_DELAY, &control.arrival_to_publish)?;
        let kinds = SLICE_EVENTS.map(|kind| (vec![kind.word()], whole(control.events(kind))));
        out.many(&names::SLICE_EVENTS, kinds.into())?;
        out.one(&names::SLICE_ENTRIES_IGNORED, whole(&control.slice_entries_ignored))?;
        let kinds = NoticeKind::ALL.map(|kind| (vec![kind.word()], whole(control.notices(kind))));
        out.many(&names::NOTICES, kinds.into())?;
        self.source(out)?;
        let results = [
            (vec!["applied"], whole(&control.reloads_applied)),
            (vec!["refused"], whole(&control.reloads_refused)),
        ];
        out.many(&names::CONFIG_RELOADS, results.into())?;
        out.many(&names::HANDOFFS, vec![(vec!["failed"], whole(&control.handoffs_failed))])?;
        out.one(&names::FLOWS_TAKEN_OVER, whole(&control.flows_taken_over))?;
        out.one(&names::STATE_WRITE_ERRORS, whole(&control.state_errors))
    }

    fn source(&self, out: &mut Out<'_>) -> fmt::Result {
        if let Some(status) = &self.status {
            out.one(&names::SOURCE_SYNCED, Number::Whole(status.synced.into()))?;
        }
        let Some(source) = &self.source else {
            return Ok(());
        };
        if let Some(age) = self.source_age {
            out.one(&names::SOURCE_AGE, Number::Real(seconds(age)))?;
        }
        out.one(&names::SOURCE_FILES, Number::Whole(source.files as u64))?;
        out.one(&names::SOURCE_SLICES, Number::Whole(source.slices as u64))?;
        out.one(&names::SOURCE_FILES_INVALID, Number::Whole(source.invalid.len() as u64))?;
        out.one(&names::SOURCE_INVALID, Number::Whole(source.invalid_total))?;
        self.watches(source, out)
    }

    fn watches(&self, source: &SourceReport, out: &mut Out<'_>) -> fmt::Result {
        let mut each = |metric: &Metric, read: &dyn Fn(&WatchReport) -> Number| {
            let sample = |watch| (vec![WatchReport::resource(watch)], read(watch));
            out.many(metric, source.watches.iter().map(sample).collect())
        };
        each(&names::WATCH_EVENTS, &|watch| Number::Whole(watch.events))?;
        each(&names::WATCH_OUTDATED, &|watch| Number::Whole(watch.outdated))?;
        each(&names::WATCH_LISTS, &|watch| Number::Whole(watch.lists))?;
        each(&names::WATCH_UNREADABLE, &|watch| Number::Whole(watch.unreadable))?;
        each(&names::WATCH_OBJECTS, &|watch| Number::Whole(watch.objects as u64))?;
        let errors = source.watches.iter().flat_map(|watch| {
            let sample =
                |(cause, count): &(&'static str, u64)| (vec![watch.resource(), cause], Number::Whole(*count));
            watch.errors.iter().map(sample)
        });
        out.many(&names::WATCH_ERRORS, errors.collect())?;
        let ages = source
            .watches
            .iter()
            .zip(&self.contact_ages)
            .filter_map(|(watch, age)| Some((vec![watch.resource()], Number::Real(seconds((*age)?)))));
        out.many(&names::WATCH_CONTACT_AGE, ages.collect())?;
        if let Some(writer) = &source.writer {
            out.one(&names::WRITER_LEADS, Number::Whole(writer.leads.into()))?;
            let writes = [("status", writer.statuses), ("event", writer.events)];
            let writes = writes.map(|(what, count)| (vec![what], Number::Whole(count)));
            out.many(&names::WRITER_WRITES, writes.into())?;
            let errors = writer.errors.iter().map(|(cause, count)| (vec![*cause], Number::Whole(*count)));
            out.many(&names::WRITER_ERRORS, errors.collect())?;
            let mut problems = BTreeMap::<&str, u64>::new();
            for problem in &source.problems {
                *problems.entry(problem.reason).or_default() += 1;
            }
            let problems = problems.into_iter().map(|(reason, count)| (vec![reason], Number::Whole(count)));
            out.many(&names::SERVICE_PROBLEMS, problems.collect())?;
        }
        if let Some(events) = &source.pod_events {
            let results = [("written", events.written), ("dropped", events.dropped)];
            let results = results.map(|(result, count)| (vec![result], Number::Whole(count)));
            out.many(&names::POD_EVENTS, results.into())?;
        }
        if let Some(delay) = source.trigger_delay {
            out.one(&names::TRIGGER_DELAY, Number::Real(seconds(delay.sum)))?;
            out.one(&names::TRIGGER_DELAYS, Number::Whole(delay.count))?;
        }
        if let Some(millis) = source.clock_skew_millis {
            out.one(&names::CLOCK_SKEW, Number::Real(millis as f64 / 1_000.0))?;
        }
        Ok(())
    }

    fn workers(&self, out: &mut Out<'_>) -> fmt::Result {
        if let Some(status) = &self.status {
            let numbers: Vec<String> =
                status.workers.iter().map(|worker| worker.worker.to_string()).collect();
            let alive = status.workers.iter().zip(&numbers).map(|(worker, number)| {
                (vec![number.as_str()], Number::Whole(worker.generation.is_some().into()))
            });
            out.many(&names::WORKER_ALIVE, alive.collect())?;
        }
        let mut sum = |metric: &Metric, read: &dyn Fn(&WorkerCounters) -> &Counter| {
            let total = self.workers.iter().map(|worker| read(worker).get()).sum();
            out.one(metric, Number::Whole(total))
        };
        sum(&names::ACCEPT_PAUSES, &|worker| &worker.accept_pauses)?;
        sum(&names::ACCEPT_ERRORS, &|worker| &worker.accept_errors)?;
        sum(&names::PIPES_MADE, &|worker| &worker.pipes_made)?;
        sum(&names::PIPES_REFUSED, &|worker| &worker.pipes_refused)?;
        sum(&names::PIPES_BUSY, &|worker| &worker.pipes_busy)?;
        sum(&names::PIPES_POOLED, &|worker| &worker.pipes_pooled)?;
        sum(&names::FLOW_LOG_DROPPED, &|worker| &worker.reports_dropped)?;
        out.one(&names::COMMANDS_DEFERRED, whole(&self.control.commands_deferred))?;
        out.one(&names::COMMANDS_DROPPED, whole(&self.control.commands_dropped))
    }
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.write(&mut Out::text(encoder, &self.carried))
    }
}

fn whole(counter: &AtomicU64) -> Number {
    Number::Whole(counter.load(Ordering::Relaxed))
}

fn draining(service: &ServiceView) -> impl Iterator<Item = &EndpointView> {
    service.endpoints.iter().filter(|view| is_draining(view))
}

fn endpoint_state(view: &EndpointView) -> &'static str {
    match (view.conditions, &view.drain) {
        (None, _) => "gone",
        (Some(_), Some(drain)) if drain.drained.is_some() => "drained",
        (Some(_), Some(_)) => "draining",
        (Some(conditions), None) if conditions.ready => "ready",
        (Some(_), None) => "not_ready",
    }
}
