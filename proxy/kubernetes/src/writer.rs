//! What is written to the API server: the status of Services, and Events.
//!
//! The leader alone writes statuses, and the Events that every instance would write alike; what concerns one node alone
//! (a port that cannot be bound there) that node's instance says. Written is only what differs from what is there.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};
use tidegate_core::{Rng, ServiceName};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::{
    api::{Api, Deed, Failure, Resource},
    backoff::Backoff,
    event::Event,
    follow::Pace,
    ingress::{Speaker, load_balancer, says},
    leader::{Candidate, RENEW},
    plan::Problem,
    status::SourceStatus,
    view::SharedView,
};

const SERVICES: Resource = Resource { group: "", version: "v1", plural: "services" };

/// How long changes are collected before statuses are written.
const COLLECT: Duration = Duration::from_millis(500);

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

/// How long giving the Lease back may take.
const RELEASE: Duration = Duration::from_secs(2);

/// Whether it is this process's turn to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Not yet.
    Waits,
    /// It writes where it leads.
    Writes,
    /// It shall stop.
    Resigns,
}

/// What a writer works with.
pub(crate) struct Desk {
    pub(crate) api: Arc<Api>,
    pub(crate) view: SharedView,
    pub(crate) status: Arc<SourceStatus>,
    pub(crate) writing: Writing,
    /// The node that this instance runs on.
    pub(crate) here: Option<Arc<str>>,
    pub(crate) turn: watch::Receiver<Turn>,
    /// That it has stopped.
    pub(crate) resigned: watch::Sender<bool>,
}

/// Writes when it may, until it is asked to stop or the source ends; then another instance may.
pub(crate) async fn write(desk: Desk, pace: Pace, mut rng: Rng) {
    let Desk { api, view, status, writing, here, mut turn, resigned } = desk;
    // That nobody can say it any more is the end.
    let _ = turn.wait_for(|turn| *turn != Turn::Waits).await;
    let (namespace, name) = (writing.namespace.clone(), writing.own.name().to_owned());
    let candidate = Candidate::new(namespace, name, writing.identity.clone());
    let mut writer =
        Writer { candidate, api, view, status, writing, here, said: BTreeSet::new(), warned: false };
    tokio::select! {
        () = writer.work(pace, &mut rng) => {}
        // That nobody can ask any more is as good.
        _ = turn.wait_for(|turn| *turn == Turn::Resigns) => {}
    }
    let released = timeout(RELEASE, writer.candidate.release(&writer.api)).await;
    if let Ok(Err(failure)) = released {
        tracing::debug!("the Lease was not given back and will run out: {}", failure.message);
    }
    writer.status.note_writer(|report| report.leads = false);
    resigned.send_replace(true);
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
    fn after(&mut self, outcome: Result<(), Failure>, pause: Duration, rng: &mut Rng, status: &SourceStatus) {
        let wait = match outcome {
            Ok(()) => {
                self.backoff.reset();
                self.last = None;
                pause
            }
            Err(failure) => {
                let wait = self.backoff.next(failure.retry_after, rng);
                status.note_writer(|report| report.errors[failure.cause as usize] += 1);
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
    status: Arc<SourceStatus>,
    writing: Writing,
    /// The node that this instance runs on.
    here: Option<Arc<str>>,
    candidate: Candidate,
    /// Problems that were said in an Event.
    said: BTreeSet<Problem>,
    /// It was said that no instance is ready.
    warned: bool,
}

/// A Service's status that is to be written.
type Due = (ServiceName, Value);

impl Writer {
    /// Looks at the Lease again and again, and writes what is due.
    async fn work(&mut self, pace: Pace, rng: &mut Rng) {
        let mut changes = self.view.any_changes();
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
                let led = self.candidate.leads();
                let outcome = self.candidate.look(&self.api).await;
                look.after(outcome, RENEW, rng, &self.status);
                is_due |= led != self.candidate.leads();
            }
            if is_due && Instant::now() >= round.at {
                let outcome = self.round(rng).await;
                is_due = outcome.is_err();
                round.after(outcome, Duration::ZERO, rng, &self.status);
            }
            self.status.note_writer(|report| {
                report.leads = self.candidate.leads();
                report.trouble = look.last.clone().or_else(|| round.last.clone());
            });
        }
    }

    /// Writes what is due.
    async fn round(&mut self, rng: &mut Rng) -> Result<(), Failure> {
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
            self.write_event(&problem, &uid, rng).await?;
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
        let speaker = Speaker { class, own, here: self.here.as_deref() };
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
                let Some(wanted) = load_balancer(&view, name, speaker) else { continue };
                if !says(&service.status, &wanted) {
                    due.push((name.clone(), wanted));
                }
            }
        }
        let is_due =
            |problem: &&Problem| (leads || problem.is_of_one_node()) && !self.said.contains(*problem);
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
                self.status.note_writer(|report| report.statuses_total += 1);
                Ok(())
            }
            // Deleted meanwhile, or changed: the watch will say.
            Err(failure) if matches!(failure.code, Some(404 | 409)) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    async fn write_event(&self, problem: &Problem, uid: &str, rng: &mut Rng) -> Result<(), Failure> {
        let Problem { service, reason, message, .. } = problem;
        let event = Event {
            instance: &self.writing.identity,
            regarding: ["Service", service.namespace(), service.name(), uid],
            action: "Serve",
            reason,
            is_warning: true,
            note: message,
            at: SystemTime::now(),
        };
        if event.write(&self.api, rng.next_u64()).await? {
            self.status.note_writer(|report| report.events_total += 1);
        }
        Ok(())
    }
}
