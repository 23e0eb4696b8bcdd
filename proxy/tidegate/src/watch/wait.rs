//! What `tidegate drain --wait` waits for: endpoints that have no flows left, on this instance or on all.
//!
//! Decided here: when that is so, for how long an instance that cannot be asked is waited for, and what the wait came to.

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    process::ExitCode,
    time::{Duration, Instant},
};

use tidegate_admin::{All, api};

use super::{drains, view::View};
use crate::{
    cli::Output,
    client::{AdminClient, Followed, PATIENCE},
    instances, tables,
};

/// The exit status where some flows are left after the time that was given.
const SOME_LEFT: u8 = 3;

/// What is waited for, and how that is shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waited<'a> {
    /// On all instances.
    pub(crate) all: bool,
    pub(crate) service: &'a str,
    pub(crate) timeout: Option<Duration>,
    pub(crate) output: Output,
}

/// What has become of drains, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Drained,
    /// An instance cannot be asked.
    Unknown,
    TakenBack,
    Left,
}

/// The endpoints that are meant, by instance.
struct Meant {
    endpoints: BTreeMap<String, Own>,
    /// Instances that cannot be asked, and since when.
    silent: BTreeMap<String, Instant>,
}

/// The endpoints of one instance, as a successor knows them too: it has other numbers for them, and does not know the pod of
/// one that has gone.
struct Own(Vec<api::DrainChange>);

impl Own {
    fn has(&self, service: &str, endpoint: &str, pod: Option<&str>) -> bool {
        let is_same_pod = |known: Option<&str>| known.is_none() || pod.is_none() || known == pod;
        let is_it = |it: &api::DrainChange| it.service == service && it.endpoint == endpoint;
        self.0.iter().any(|it| is_it(it) && is_same_pod(it.pod.as_deref()))
    }
}

/// Waits until these endpoints have no flows left, and shows what became of them.
pub(crate) fn wait(
    client: &AdminClient,
    drained: &All<api::DrainAnswer>,
    waited: &Waited<'_>,
) -> anyhow::Result<ExitCode> {
    let Waited { all, service, timeout, output } = *waited;
    let mut meant = Meant::of(drained);
    let mut view = View::new(output, false);
    let until = timeout.map(|timeout| Instant::now() + timeout);
    let (source, path) = drains(all, Some(service));
    let query = [("service", Some(service))];
    let state = loop {
        let followed = client.follow(source, &path, until, |line| {
            let mut drains: All<api::Drains> = instances::read(all, line)?;
            meant.keep(&mut drains);
            view.draw(&drains);
            let is_left = meant.is_left(&drains, Instant::now());
            Ok(if is_left { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        // A sample may have begun before the drain did, and not know of it: the endpoints have the last word.
        let state = meant.state(&instances::get(client, all, "/v1/endpoints", &query)?);
        if state != State::Left || followed == Followed::Late {
            break state;
        }
    };
    view.finish();
    let mut audits: All<api::Audit> = instances::get(client, all, "/v1/audit", &query)?;
    for it in &mut audits.instances {
        let own = meant.endpoints.get(&it.instance);
        if let Some(audit) = &mut it.answer {
            audit.records.retain(|record| {
                own.is_some_and(|own| own.has(&record.service, &record.endpoint, record.pod.as_deref()))
            });
        }
    }
    instances::print(output, all, &audits, tables::audit)?;
    let never_asked = drained.instances.iter().filter(|it| it.answer.is_none());
    let never_asked: Vec<_> = never_asked.map(|it| it.instance.as_str()).collect();
    Ok(match state {
        State::Drained if never_asked.is_empty() => ExitCode::SUCCESS,
        State::Drained => failed(&format!("not drained on {}", never_asked.join(", "))),
        State::Unknown => failed("not every instance says that no flow is left"),
        State::TakenBack => failed("the drain was taken back while it was waited for"),
        State::Left => {
            eprintln!("some flows are left after the time that was given");
            ExitCode::from(SOME_LEFT)
        }
    })
}

fn failed(why: &str) -> ExitCode {
    eprintln!("{why}");
    ExitCode::FAILURE
}

impl Meant {
    fn of(drained: &All<api::DrainAnswer>) -> Self {
        let own = drained
            .instances
            .iter()
            .filter_map(|it| Some((it.instance.clone(), Own(it.answer.as_ref()?.endpoints.clone()))));
        Self { endpoints: own.collect(), silent: BTreeMap::new() }
    }

    /// Leaves out what is not meant.
    fn keep(&self, drains: &mut All<api::Drains>) {
        for it in &mut drains.instances {
            let own = self.endpoints.get(&it.instance);
            if let Some(drains) = &mut it.answer {
                drains.drains.retain(|drain| {
                    own.is_some_and(|own| own.has(&drain.service, &drain.endpoint, drain.pod.as_deref()))
                });
                drains.over.clear();
            }
        }
    }

    /// Whether there is more to wait for: flows, or an instance that has not been silent for too long.
    fn is_left(&mut self, drains: &All<api::Drains>, now: Instant) -> bool {
        let answers: BTreeMap<&str, &api::Drains> = drains
            .instances
            .iter()
            .filter_map(|it| Some((it.instance.as_str(), it.answer.as_ref()?)))
            .collect();
        let mut is_left = false;
        for instance in self.endpoints.keys() {
            match answers.get(instance.as_str()) {
                Some(drains) => {
                    self.silent.remove(instance);
                    is_left |= !drains.drains.is_empty();
                }
                None => {
                    let since = *self.silent.entry(instance.clone()).or_insert(now);
                    is_left |= now.duration_since(since) < PATIENCE;
                }
            }
        }
        is_left
    }

    /// What has become of the drains. One that is gone from all slices and has no flows is not known any more.
    fn state(&self, endpoints: &All<api::Endpoints>) -> State {
        let answers: BTreeMap<&str, &api::Endpoints> = endpoints
            .instances
            .iter()
            .filter_map(|it| Some((it.instance.as_str(), it.answer.as_ref()?)))
            .collect();
        let of_instance = |(instance, own): (&String, &Own)| match answers.get(instance.as_str()) {
            None => State::Unknown,
            Some(answer) => {
                let is_own = |it: &&api::Endpoint| own.has(&it.service, &it.endpoint, it.pod.as_deref());
                answer.endpoints.iter().filter(is_own).map(of_endpoint).max().unwrap_or(State::Drained)
            }
        };
        self.endpoints.iter().map(of_instance).max().unwrap_or(State::Drained)
    }
}

fn of_endpoint(endpoint: &api::Endpoint) -> State {
    match &endpoint.drain {
        None => State::TakenBack,
        Some(drain) if drain.drained.is_some() || endpoint.flows == 0 => State::Drained,
        Some(_) => State::Left,
    }
}

#[cfg(test)]
mod tests;
