//! What Services of an API server ask for, put together with the configuration.
//!
//! Decided here: whose word counts (the file's entry of a service before its annotations, those before the defaults),
//! and when it is applied (a moment after the last change, and again where an address could not be bound). Which
//! Service is served where is `tidegate_kubernetes::plan`'s business.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};

use tidegate_config::{AdminAddress, Configuration};
use tidegate_control::{ControlError, Desired, DesiredListener, ReloadOutcome};
use tidegate_core::{ServiceConfig, ServicePort, ServiceSettings};
use tidegate_kubernetes::{Follower, Problem, Rules, Treatment, plan, treatment};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout_at},
};

use crate::{
    proxy::{Shared, desired, desired_listeners},
    source::Source,
};

/// How long news of Services are collected before they are applied.
const COLLECT: Duration = Duration::from_millis(20);
/// How soon an address that could not be bound is tried again.
const RETRY: Duration = Duration::from_secs(10);
/// How soon what could not be applied during a handoff is tried again.
const RETRY_SOON: Duration = Duration::from_secs(1);

/// Waits for all that the source has to say at the start, and has the controller know its services; gives the listeners that
/// Services ask for.
pub(crate) async fn await_source(
    configuration: &Configuration,
    shared: &Shared,
    limit: Duration,
) -> Result<Vec<DesiredListener>, ControlError> {
    let until = Instant::now() + limit;
    let mut demand = Demand::new(&shared.source);
    let late = |_| ControlError::Deadline(limit);
    let (desired, _) =
        timeout_at(until, demand.complete(configuration, &shared.source)).await.map_err(late)?;
    let wanted = desired.wanted.clone();
    shared.handle.configure(desired).await?;
    shared.handle.source_is_complete(until.saturating_duration_since(Instant::now())).await?;
    Ok(wanted)
}

/// What Services ask for, followed.
pub(crate) struct Demand {
    follower: Option<Arc<Follower>>,
    changes: Option<watch::Receiver<u64>>,
    /// When to look next, where there is something to look at.
    due: Option<Instant>,
    applied: Option<Desired>,
    /// What could not be, as it was said last; `None` before the first time.
    problems: Option<Vec<Problem>>,
}

impl Demand {
    pub(crate) fn new(source: &Source) -> Self {
        let follower = match source {
            Source::Kubernetes(follower) => Some(Arc::clone(follower)),
            Source::None | Source::Files(_) => None,
        };
        let changes = follower.as_ref().map(|follower| follower.view().changes());
        // What is known already counts as a change.
        let due = follower.is_some().then(Instant::now);
        Self { follower, changes, due, applied: None, problems: None }
    }

    /// Waits until there is something to apply. May be dropped and called again without losing anything.
    pub(crate) async fn changed(&mut self) {
        loop {
            let Some(changes) = &mut self.changes else { return std::future::pending().await };
            tokio::select! {
                () = sleep_until(self.due.unwrap_or_else(Instant::now)), if self.due.is_some() => {
                    self.due = None;
                    return;
                }
                changed = changes.changed() => match changed {
                    Ok(()) => {
                        let soon = Instant::now() + COLLECT;
                        self.due = Some(self.due.map_or(soon, |due| due.min(soon)));
                    }
                    // The source has ended, and with it the process.
                    Err(_) => self.changes = None,
                },
            }
        }
    }

    /// The same as [`Demand::desired`], once it is known which listeners Services ask for.
    async fn complete(&mut self, configuration: &Configuration, source: &Source) -> (Desired, Vec<Problem>) {
        loop {
            let (desired, problems) = self.desired(configuration, source);
            if !desired.awaits_wanted {
                return (desired, problems);
            }
            self.changed().await;
        }
    }

    /// What the configuration and the Services ask for together, and what of it cannot be.
    pub(crate) fn desired(&self, configuration: &Configuration, source: &Source) -> (Desired, Vec<Problem>) {
        let mut desired = desired(configuration, source.zone(), desired_listeners(configuration));
        let (Some(follower), Some(tidegate_config::Source::Kubernetes(kubernetes))) =
            (&self.follower, &configuration.source)
        else {
            return (desired, Vec::new());
        };
        let rules = Rules {
            class: kubernetes.load_balancer_class.as_deref().map(Into::into),
            addresses: kubernetes.addresses.clone(),
            node: configuration.node.name.clone(),
        };
        let view = follower.view();
        let view = view.look();
        let tidegate_kubernetes::Plan { listeners, mut problems } =
            plan(&view, &rules, &taken(configuration));
        let external: BTreeSet<ServicePort> = listeners.iter().map(|it| it.port.clone()).collect();
        for port in &external {
            if !desired.services.iter().any(|service| service.port == *port) {
                let entry = configuration.service(&port.service);
                desired.services.push(ServiceConfig {
                    port: port.clone(),
                    settings: entry.map_or(&configuration.defaults, |entry| &entry.settings).clone(),
                    fixed: entry.and_then(|entry| entry.fixed.clone()),
                });
            }
        }
        for service in desired.services.iter_mut().filter(|service| service.fixed.is_none()) {
            let name = &service.port.service;
            let Some(treatment) = treatment(&view, name, external.contains(&service.port)) else { continue };
            let given = configuration.service(name).map(|entry| &entry.given);
            let is_given = |field: &str| given.is_some_and(|given| given.contains(field));
            for message in apply(&mut service.settings, treatment, is_given) {
                let problem =
                    Problem { service: name.clone(), port: None, reason: "InvalidAnnotation", message };
                if !problems.contains(&problem) {
                    problems.push(problem);
                }
            }
        }
        desired.wanted = listeners
            .into_iter()
            .map(|it| DesiredListener { name: it.name, address: it.address, port: it.port })
            .collect();
        desired.awaits_wanted = rules.class.is_some() && !view.is_complete();
        (desired, problems)
    }

    /// Whether this was applied already, and could be.
    pub(crate) fn is_applied(&self, desired: &Desired) -> bool {
        self.applied.as_ref() == Some(desired)
    }

    /// The configuration has changed in a way that only this can see.
    pub(crate) fn look_again(&mut self) {
        self.due = self.follower.is_some().then(Instant::now);
    }

    /// Notes what was applied, and says what could not be.
    pub(crate) fn note(&mut self, desired: Desired, mut problems: Vec<Problem>, outcome: &ReloadOutcome) {
        for unbound in &outcome.unbound {
            let wanted = desired.wanted.iter().find(|wanted| wanted.name == unbound.listener);
            let Some(wanted) = wanted else { continue };
            problems.push(Problem {
                service: wanted.port.service.clone(),
                port: Some(wanted.address.port()),
                reason: "CannotListen",
                message: unbound.why.clone(),
            });
        }
        if outcome.unbound.is_empty() {
            self.applied = Some(desired);
        } else {
            self.applied = None;
            self.due = Some(Instant::now() + RETRY);
        }
        self.note_problems(problems);
    }

    /// What was to be applied could not be at this moment; it is tried again.
    pub(crate) fn try_again(&mut self) {
        self.due = Some(Instant::now() + RETRY_SOON);
    }

    /// Says what cannot be, where it was not said before.
    pub(crate) fn note_problems(&mut self, mut problems: Vec<Problem>) {
        problems.sort();
        let said = self.problems.as_deref().unwrap_or_default();
        for problem in problems.iter().filter(|problem| !said.contains(problem)) {
            let Problem { service, port, reason, message } = problem;
            tracing::warn!(%service, port, reason, "{message}");
        }
        if self.problems.as_ref() != Some(&problems) {
            if let Some(follower) = &self.follower {
                follower.report(problems.clone());
            }
            self.problems = Some(problems);
        }
    }
}

/// Puts what a Service wants into settings; gives what of it means nothing.
fn apply(
    settings: &mut ServiceSettings,
    treatment: Treatment,
    is_given: impl Fn(&str) -> bool,
) -> Vec<String> {
    let Treatment { affinity, local_only, source_ranges, overrides } = treatment;
    settings.local_only = local_only;
    settings.source_ranges = source_ranges.map(Arc::new);
    if !is_given("affinity") && affinity.is_some() {
        settings.affinity_timeout = affinity;
    }
    let mut wrong = Vec::new();
    for (field, text) in overrides.into_iter().filter(|(field, _)| !is_given(field)) {
        if let Err(why) = tidegate_config::annotate(settings, &field, &text) {
            wrong.push(format!("annotation tidegate.io/{field} is ignored: {why}"));
        }
    }
    wrong
}

/// The addresses that the configuration uses itself.
fn taken(configuration: &Configuration) -> Vec<SocketAddr> {
    let admin = configuration.admin.as_ref().and_then(|admin| match admin.address {
        AdminAddress::Tcp(address) => Some(address),
        AdminAddress::Unix(_) => None,
    });
    let listeners = configuration.listeners.iter().map(|listener| listener.address);
    let rest = configuration.metrics.into_iter().chain(configuration.gate);
    listeners.chain(admin).chain(rest).filter(|address| address.port() != 0).collect()
}

#[cfg(test)]
mod tests {
    use tidegate_core::{Policy, SourceRanges};

    use super::*;

    #[test]
    fn a_field_of_the_file_beats_an_annotation_and_an_invalid_one_is_said() {
        let treatment = || Treatment {
            affinity: Some(Duration::from_secs(60)),
            local_only: true,
            source_ranges: Some(SourceRanges::nobody()),
            overrides: [("policy", "maglev"), ("idleTimeout", "soon"), ("onRemoval", "close")]
                .map(|(field, text)| (field.to_owned(), text.to_owned()))
                .into(),
        };
        let mut settings = ServiceSettings::default();
        let wrong = apply(&mut settings, treatment(), |field| field == "onRemoval" || field == "affinity");
        assert_eq!(wrong.len(), 1);
        assert!(
            wrong[0].starts_with("annotation tidegate.io/idleTimeout is ignored: `soon` is not"),
            "{wrong:?}"
        );
        let expected = ServiceSettings {
            policy: Policy::Maglev,
            local_only: true,
            source_ranges: Some(Arc::new(SourceRanges::nobody())),
            ..ServiceSettings::default()
        };
        assert_eq!(settings, expected);
        apply(&mut settings, treatment(), |_| false);
        assert_eq!(settings.affinity_timeout, Some(Duration::from_secs(60)));
    }
}
