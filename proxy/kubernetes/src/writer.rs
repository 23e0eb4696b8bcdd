//! What is written to the API server: the status of Services, and Events.
//!
//! The leader alone writes statuses, and the Events that every instance would write alike; what concerns one node alone
//! (a port that cannot be bound there) that node's instance says. Written is only what differs from what is there.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tidegate_core::{Rng, ServiceName};
use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    api::{Api, Deed, Failure, Resource},
    backoff::Backoff,
    follow::Pace,
    ingress::{load_balancer, says},
    leader::{Candidate, RENEW, micro_time},
    plan::Problem,
    view::SharedView,
};

const SERVICES: Resource = Resource { group: "", version: "v1", plural: "services" };
const EVENTS: Resource = Resource { group: "events.k8s.io", version: "v1", plural: "events" };

/// How long changes are collected before statuses are written.
const COLLECT: Duration = Duration::from_millis(500);

/// The reasons that are found on one node and not on all.
const OF_ONE_NODE: [&str; 2] = ["CannotListen", "PortInUse"];

/// Who writes, and whose status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writing {
    /// The class of load balancer whose Services have their status written.
    pub class: Arc<str>,
    /// The namespace of the Lease.
    pub namespace: String,
    /// This instance among all: its pod's name.
    pub identity: String,
    /// The headless Service of all instances: by its slices it is known which of them are ready.
    pub own: ServiceName,
}

/// Writes for as long as the source runs.
pub(crate) async fn write(api: Arc<Api>, view: SharedView, writing: Writing, pace: Pace, mut rng: Rng) {
    let mut changes = view.any_changes();
    let mut writer = Writer {
        candidate: Candidate::new(
            writing.namespace.clone(),
            writing.own.name().to_owned(),
            writing.identity.clone(),
        ),
        api,
        view,
        writing,
        said: BTreeSet::new(),
        warned: false,
    };
    let mut look = Again::new(pace);
    let mut round = Again::new(pace);
    let mut is_due = true;
    loop {
        let next = if is_due { look.at.min(round.at) } else { look.at };
        tokio::select! {
            () = sleep_until(next) => {}
            changed = changes.changed() => {
                if changed.is_err() {
                    return;
                }
                sleep(COLLECT).await;
                changes.mark_unchanged();
                is_due = true;
            }
        }
        if Instant::now() >= look.at {
            let led = writer.candidate.leads();
            let outcome = writer.candidate.look(&writer.api).await;
            look.after(outcome, RENEW, &mut rng);
            is_due |= led != writer.candidate.leads();
        }
        if is_due && Instant::now() >= round.at {
            let outcome = writer.round().await;
            is_due = outcome.is_err();
            round.after(outcome, Duration::ZERO, &mut rng);
        }
    }
}

/// When something is to be done again.
struct Again {
    at: Instant,
    backoff: Backoff,
    last: Option<String>,
}

impl Again {
    fn new(pace: Pace) -> Self {
        let backoff = Backoff::new(pace.retry, pace.retry_limit);
        Self { at: Instant::now(), backoff, last: None }
    }

    /// After it was done: in `pause`, or, where it failed, after a growing wait. The same failure is said once.
    fn after(&mut self, outcome: Result<(), Failure>, pause: Duration, rng: &mut Rng) {
        let wait = match outcome {
            Ok(()) => {
                self.backoff.reset();
                self.last = None;
                pause
            }
            Err(failure) => {
                let wait = self.backoff.next(failure.retry_after, rng);
                if self.last.as_ref() != Some(&failure.message) {
                    let cause = failure.cause.word();
                    tracing::warn!(cause, ?wait, "writing to the API server: {}", failure.message);
                }
                self.last = Some(failure.message);
                wait
            }
        };
        self.at = Instant::now() + wait;
    }
}

struct Writer {
    api: Arc<Api>,
    view: SharedView,
    writing: Writing,
    candidate: Candidate,
    /// Problems that were said in an Event.
    said: BTreeSet<Problem>,
    /// It was said that no instance is ready.
    warned: bool,
}

/// A Service's status that is to be written.
type Due = (ServiceName, Value);

impl Writer {
    /// Writes what is due.
    async fn round(&mut self) -> Result<(), Failure> {
        let leads = self.candidate.leads();
        let (due, problems) = self.due(leads);
        for (service, status) in due {
            // Each write may take its time.
            if !self.candidate.leads() {
                return Ok(());
            }
            self.write_status(&service, &status).await?;
        }
        for (problem, uid) in problems {
            self.write_event(&problem, &uid).await?;
            self.said.insert(problem);
        }
        Ok(())
    }

    /// What is to be written: statuses, and problems with their Services' uids.
    fn due(&mut self, leads: bool) -> (Vec<Due>, Vec<(Problem, Arc<str>)>) {
        let view = self.view.look();
        // Before everything was listed and tried, half of it would be written.
        let Some(problems) = view.problems.as_deref().filter(|_| view.is_complete()) else {
            return (Vec::new(), Vec::new());
        };
        self.said.retain(|problem| problems.contains(problem));
        let Writing { class, own, .. } = &self.writing;
        let mut due = Vec::new();
        let is_blind = view.unlisted_slices == 0 && view.ready_nodes(own).is_empty();
        if leads && is_blind && !self.warned {
            tracing::warn!(
                service = %own,
                "no instance is ready by the slices of this Service, so that no status is written: is \
                 source.kubernetes.ownService right?"
            );
        }
        self.warned = leads && is_blind;
        if leads {
            for (name, service) in &view.services {
                let Some(wanted) = load_balancer(&view, name, class, own) else { continue };
                if !says(&service.status, &wanted) {
                    due.push((name.clone(), wanted));
                }
            }
        }
        let is_due = |problem: &&Problem| {
            (leads || OF_ONE_NODE.contains(&problem.reason)) && !self.said.contains(*problem)
        };
        let uid = |problem: &Problem| Some(Arc::clone(&view.services.get(&problem.service)?.uid));
        let problems = problems.iter().filter(is_due).filter_map(|it| Some((it.clone(), uid(it)?))).collect();
        (due, problems)
    }

    async fn write_status(&self, service: &ServiceName, status: &Value) -> Result<(), Failure> {
        let path = format!("{}/{}/status", SERVICES.path(Some(service.namespace())), service.name());
        let body = json!({ "status": { "loadBalancer": status } });
        let deed = Deed { verb: "patch", resource: "services/status", group: SERVICES.group };
        match self.api.ask("PATCH", &path, Some(("application/merge-patch+json", body)), deed).await {
            Ok(_) => {
                tracing::info!(%service, %status, "wrote the status of a Service");
                Ok(())
            }
            // Deleted meanwhile, or changed: the watch will say.
            Err(failure) if matches!(failure.code, Some(404 | 409)) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    async fn write_event(&self, problem: &Problem, uid: &str) -> Result<(), Failure> {
        let Problem { service, reason, message, .. } = problem;
        let body = json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": { "generateName": "tidegate-", "namespace": service.namespace() },
            "eventTime": micro_time(),
            "reportingController": "tidegate.io/tidegate",
            "reportingInstance": self.writing.identity,
            "action": "Serve",
            "reason": reason,
            "type": "Warning",
            "note": message,
            "regarding": {
                "apiVersion": "v1", "kind": "Service", "namespace": service.namespace(), "name": service.name(),
                "uid": uid,
            },
        });
        let path = EVENTS.path(Some(service.namespace()));
        let deed = Deed { verb: "create", resource: EVENTS.plural, group: EVENTS.group };
        match self.api.ask("POST", &path, Some(("application/json", body)), deed).await {
            Err(failure) if !matches!(failure.code, Some(404 | 409 | 422)) => Err(failure),
            _ => Ok(()),
        }
    }
}
