//! Deadlines: when the flows of a draining endpoint are brought to their end, and which pods have a say in that.
//!
//! Decided here, from the service's settings, the operator's request and what is known of the pod. A deadline only ever
//! moves earlier while its drain lasts: flows that were told to hurry cannot be told to wait. How the time until then
//! is used is `shed`'s business.
//!
//! Pods are asked for by name, and only while it matters: their endpoint terminates or has gone, flows are left on it or
//! its pod waits at a gate, and its service takes its deadline from the pod. So a source reads few pods, and none where
//! nobody wants that.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    vec::Vec,
};
use core::{mem, time::Duration};

use super::{Table, entry::Entry, service::Service};
use crate::{
    endpoint::OperatorRequest,
    event::PodRef,
    name::ServicePort,
    output::Output,
    settings::{DrainDeadline, DrainSettings},
    shed::DrainPlan,
    snapshot::ServiceId,
    time::Timestamp,
};

/// What a deadline that is over when it becomes known, or is at that very moment, still leaves: those who are quiet get a
/// FIN and not a reset.
const HASTE: Duration = Duration::from_secs(1);

/// When the processes of terminating pods are killed, by the pod's uid.
#[derive(Debug, Default)]
pub(super) struct PodDeadlines(BTreeMap<Arc<str>, Timestamp>);

/// The pods whose deadlines matter.
#[derive(Debug, Default)]
pub(super) struct WantedPods {
    /// Those of drains, for each service that has any.
    draining: BTreeMap<ServicePort, BTreeSet<PodRef>>,
    /// What the source was told last.
    told: Arc<[PodRef]>,
}

impl PodDeadlines {
    pub(super) fn of(&self, entry: &Entry) -> Option<Timestamp> {
        self.0.get(entry.endpoint.identity().pod_uid.as_ref()?).copied()
    }
}

impl WantedPods {
    /// Looks at a service again.
    pub(super) fn look(&mut self, port: &ServicePort, service: &Service) {
        let pods: BTreeSet<PodRef> = service.pods_wanted().collect();
        if pods.is_empty() {
            self.draining.remove(port);
        } else {
            self.draining.insert(port.clone(), pods);
        }
    }

    /// Forgets services that are no more.
    pub(super) fn forget(&mut self, services: &BTreeMap<ServicePort, Service>) {
        self.draining.retain(|port, _| services.contains_key(port));
    }
}

impl Entry {
    /// Brings the plan into line with what is known; `Some` where the workers have to be told.
    pub(super) fn plan_drain(
        &mut self,
        settings: &DrainSettings,
        operator: Option<&OperatorRequest>,
        pods: &PodDeadlines,
        service: ServiceId,
        now: Timestamp,
    ) -> Option<Output> {
        if self.drain.is_none() && self.planned.is_none() {
            return None;
        }
        let pod = pods.of(self);
        let plan = self.drain.as_mut().and_then(|drain| {
            let by_settings = match settings.deadline {
                DrainDeadline::None => None,
                DrainDeadline::After(time) => Some(drain.since.after(time)),
                DrainDeadline::Pod => pod.map(|killed| killed.before(settings.margin)),
            };
            let by_operator =
                operator.and_then(|request| request.deadline.map(|time| request.at.after(time)));
            let asked = [by_settings, by_operator].into_iter().flatten().min();
            let asked = asked.map(|asked| if asked <= now { now.after(HASTE) } else { asked });
            drain.deadline = [drain.deadline, asked].into_iter().flatten().min();
            let DrainSettings { window, quiet, max_per_second, .. } = *settings;
            drain.deadline.map(|deadline| DrainPlan {
                began: drain.since,
                deadline,
                window,
                quiet,
                max_per_second,
            })
        });
        let is_known = !mem::take(&mut self.is_plan_forgotten) || plan.is_none();
        if is_known && plan.as_ref() == self.planned.as_deref() {
            return None;
        }
        self.planned = plan.map(Box::new);
        Some(Output::DrainPlanned { endpoint: Arc::clone(&self.endpoint), service, plan })
    }

    /// Its pod, where flows are left that a drain counts down.
    fn draining_pod(&self) -> Option<PodRef> {
        self.drain.as_ref().filter(|drain| drain.drained.is_none())?;
        self.pod()
    }

    /// Its pod, where its slice names one.
    pub(super) fn pod(&self) -> Option<PodRef> {
        let name = Arc::clone(self.facts.pod()?);
        Some(PodRef { name, uid: self.endpoint.identity().pod_uid.clone()? })
    }
}

impl Service {
    fn has_pod(&self, uid: &str) -> bool {
        let is_of = |entry: &Entry| entry.endpoint.identity().pod_uid.as_deref() == Some(uid);
        self.present.values().chain(self.gone.values()).any(is_of)
    }

    /// It takes its deadlines from pods.
    pub(super) fn asks_for_pods(&self) -> bool {
        self.settings.drain.deadline == DrainDeadline::Pod
    }

    /// The pods whose deadlines matter to it.
    fn pods_wanted(&self) -> impl Iterator<Item = PodRef> {
        let terminating = self.present.values().filter(|entry| entry.facts.conditions.terminating);
        let entries = self.asks_for_pods().then(|| terminating.chain(self.gone.values()));
        entries.into_iter().flatten().filter_map(Entry::draining_pod)
    }
}

impl Table {
    pub(super) fn pod_deadline(&mut self, namespace: &str, uid: Arc<str>, killed: Timestamp) {
        let known = self.pod_deadlines.0.get(&uid);
        if known.is_some_and(|known| *known <= killed) {
            return;
        }
        for (port, service) in &self.services {
            if port.service.namespace() == namespace && service.has_pod(&uid) {
                self.touched.entry(port.clone()).or_default().choice = true;
            }
        }
        self.pod_deadlines.0.insert(uid, killed);
    }

    pub(super) fn pod_gone(&mut self, uid: &str) {
        self.pod_deadlines.0.remove(uid);
    }

    /// Says which pods' deadlines matter, where those are others than before.
    pub(super) fn want_pods(&mut self) {
        let WantedPods { draining, told } = &mut self.wanted_pods;
        let draining = draining.values().flatten().cloned();
        let wanted: BTreeSet<PodRef> = draining.chain(self.gates.pods_wanted(&self.services)).collect();
        if !wanted.iter().eq(told.iter()) {
            *told = wanted.into_iter().collect::<Vec<_>>().into();
            self.outputs.push_back(Output::PodsWanted(Arc::clone(told)));
        }
    }
}
