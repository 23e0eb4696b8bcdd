//! How drains that are on come along: what is left, how busy it is, when it will have ended, how much will be cut.
//!
//! Two kinds of facts. Counts are in the admissions, and the controller notes them once a second while a drain is on;
//! from these it is judged when a drain will end. How busy the flows are only workers know, and they are asked only
//! when an operator asks; and now and then for metrics (`looks`).
//!
//! **The estimated end** is a range from two readings of the last [`LOOK_BACK`]. Flows go on to close as many a second
//! as they did: then the last one ends after `left / rate`. Or each flow is as likely to close in the next second as
//! flows were: then fewer close the fewer there are, and the last of n ends after `(1 + 1/2 + ... + 1/n) / likelihood`,
//! which is never sooner. A deadline bounds both. Where none has closed in that time and there is no deadline, nothing
//! is known and nothing is said.

mod looks;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tidegate_core::{
    DrainPlan, DrainRecord, EndpointId, ServicePort, ServiceSettings, Survey, SurveyOf, Timestamp,
    table::{EndpointView, ServiceView},
};

use crate::{
    AuditRecord, Command, Controller,
    request::{Purpose, Surveyor},
};

pub use looks::DrainingFlows;
pub(crate) use looks::Looks;

/// How far back closing is looked at.
pub const LOOK_BACK: Duration = Duration::from_secs(30);
/// From a worker's first look to its second.
const SURVEY_OVER: Duration = Duration::from_millis(250);
/// How long a drain that is over is still told.
const TOLD_FOR: Duration = Duration::from_secs(10);
/// What is further away than this is as good as unknown.
const HORIZON: Duration = Duration::from_secs(365 * 24 * 3600);

/// How a drain comes along.
#[derive(Clone, Debug)]
pub struct Progress {
    /// The service.
    pub service: ServicePort,
    /// The endpoint with its drain.
    pub view: EndpointView,
    /// How its flows are doing; `None` where no worker answered.
    pub survey: Option<Survey>,
    /// No endpoint is ready: sheds and the deadline's cut wait.
    pub waits: bool,
    /// The deadline is over and was put off, because no endpoint was ready for a while: who is left is shed from then on.
    pub put_off: bool,
    /// When shedding begins; `None` without a deadline.
    pub sheds_from: Option<Timestamp>,
    /// When the last flow will have ended, at the earliest and at the latest; `None` where nothing is known.
    pub ends: Option<(Timestamp, Timestamp)>,
    /// Flows that the deadline will cut as things stand; `None` where nothing is known, or nobody is cut.
    pub will_be_cut: Option<u64>,
}

/// Every drain that is on.
#[derive(Clone, Debug)]
pub struct ProgressAnswer {
    /// The drains that are on, by service and address.
    pub drains: Vec<Progress>,
    /// Those that ended in the last ten seconds.
    pub over: Vec<AuditRecord>,
    /// Workers that did not answer in time; their flows are missing in what only workers know.
    pub silent: Vec<usize>,
    /// The controller's time of this answer.
    pub now: Timestamp,
}

/// A drain at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Point {
    at: Timestamp,
    /// Flows that had ended.
    ended: u64,
    /// Flows that were left.
    left: u64,
}

/// What the drains that are on came to, second by second.
#[derive(Debug, Default)]
pub(crate) struct Paces(BTreeMap<EndpointId, VecDeque<Point>>);

impl Paces {
    /// Takes the drains that are on, once a second.
    pub(crate) fn note(&mut self, drains: &[DrainRecord], now: Timestamp) {
        let mut before = std::mem::take(&mut self.0);
        for drain in drains {
            let mut points = before.remove(&drain.endpoint.id()).unwrap_or_else(|| {
                VecDeque::from([Point { at: drain.began, ended: 0, left: drain.flows_at_start }])
            });
            points.push_back(Point { at: now, ended: drain.ends.total(), left: drain.flows_left });
            // One that lies before the time looked at is its beginning.
            while points.get(1).is_some_and(|second| now.since(second.at) >= LOOK_BACK) {
                points.pop_front();
            }
            self.0.insert(drain.endpoint.id(), points);
        }
    }

    /// How long the rest takes at the pace of late, at least and at most.
    fn rest(&self, endpoint: EndpointId, began: Point, now: Point) -> Option<(Duration, Duration)> {
        let noted = self.0.get(&endpoint).into_iter().flatten().copied();
        let before = noted.filter(|point| point.at < now.at);
        let mut points: Vec<_> = before.chain([now]).collect();
        if points.len() == 1 {
            points.insert(0, began);
        }
        rest(&points)
    }
}

/// How long the rest takes, at least and at most, judged by these points, the last of which is this moment.
fn rest(points: &[Point]) -> Option<(Duration, Duration)> {
    let (first, last) = (points.first()?, points.last()?);
    let closed = last.ended.saturating_sub(first.ended) as f64;
    let time = last.at.since(first.at).as_secs_f64();
    if closed == 0.0 || time == 0.0 {
        return None;
    }
    // Flow-seconds: how many flows there were, and for how long.
    let lived: f64 = points
        .windows(2)
        .map(|pair| {
            (pair[0].left as f64 + pair[1].left as f64) / 2.0 * pair[1].at.since(pair[0].at).as_secs_f64()
        })
        .sum();
    let least = last.left as f64 * time / closed;
    let most = harmonic(last.left) * lived / closed;
    let span = |seconds: f64| Duration::try_from_secs_f64(seconds).ok().filter(|span| *span <= HORIZON);
    Some((span(least)?, span(most.max(least))?))
}

/// 1 + 1/2 + ... + 1/n.
fn harmonic(n: u64) -> f64 {
    /// Euler's and Mascheroni's.
    const GAMMA: f64 = 0.577_215_664_901_532_9;
    match n {
        0..=32 => (1..=n).map(|k| 1.0 / k as f64).sum(),
        _ => (n as f64).ln() + GAMMA + 0.5 / n as f64,
    }
}

/// What there is to judge a drain's end by.
#[derive(Clone, Copy, Debug)]
struct Facts {
    now: Timestamp,
    left: u64,
    /// Flows of all draining endpoints of the service.
    of_service: u64,
    survey: Option<Survey>,
    plan: Option<DrainPlan>,
    /// How long the rest takes at the pace of late.
    rest: Option<(Duration, Duration)>,
}

impl Facts {
    /// When the last flow will have ended, at the earliest and at the latest.
    fn ends(&self) -> Option<(Timestamp, Timestamp)> {
        let rest = self.rest.map(|(least, most)| (self.now.after(least), self.now.after(most)));
        let Some(plan) = self.plan else { return rest };
        let deadline = plan.deadline.max(self.now);
        Some(match rest {
            Some((earliest, latest)) => (earliest.min(deadline), latest.min(deadline)),
            None => (plan.last_shed().max(self.now).min(deadline), deadline),
        })
    }

    /// Flows that will be cut: those that are busy, if they stay so, and those for whom there is no time to be shed.
    fn will_be_cut(&self) -> Option<u64> {
        Some(will_be_cut(&self.plan?, &self.survey?, self.left, self.of_service, self.now))
    }
}

/// How many of the `left` flows a deadline will cut as things stand; `of_service` counts those of all draining
/// endpoints of the service.
pub(crate) fn will_be_cut(
    plan: &DrainPlan,
    survey: &Survey,
    left: u64,
    of_service: u64,
    now: Timestamp,
) -> u64 {
    let time = plan.last_shed().since(now.max(plan.begins(of_service)));
    let all = time.as_secs_f64() * f64::from(plan.max_per_second);
    let own = all * left as f64 / of_service.max(1) as f64;
    let busy = survey.flows.saturating_sub(survey.idle);
    (busy + survey.idle.saturating_sub(own.ceil() as u64)).min(left)
}

impl Controller {
    /// Notes what drains have come to. Once a second.
    pub(crate) fn note_paces(&mut self) {
        let now = self.clock.now();
        let drains = self.table.drains(now);
        self.paces.note(&drains, now);
        if self.looks.is_due(&drains, now) {
            self.begin_progress(Surveyor::Looks);
        }
    }

    /// Asks the workers how the flows of draining endpoints are doing.
    pub(crate) fn begin_progress(&mut self, by: Surveyor) {
        let of: Vec<_> = self
            .table
            .services()
            .iter()
            .flat_map(|service| {
                let quiet = service.settings.drain.quiet;
                let draining = service.endpoints.iter().filter(|view| is_on(view));
                draining.map(move |view| SurveyOf { endpoint: view.endpoint.id(), quiet })
            })
            .collect();
        self.begin_survey(of, by);
    }

    /// Asks the workers about these endpoints; nobody is asked about none.
    pub(crate) fn begin_survey(&mut self, of: Vec<SurveyOf>, by: Surveyor) {
        let rounds = usize::from(!of.is_empty());
        let of: Arc<[SurveyOf]> = of.into();
        let purpose = Purpose::Survey { surveys: BTreeMap::new(), by };
        self.ask(rounds, purpose, |request, _| Command::Survey {
            request,
            of: Arc::clone(&of),
            over: SURVEY_OVER,
        });
    }

    /// What the drains have come to, with what the workers said.
    pub(crate) fn progress(
        &self,
        surveys: &BTreeMap<EndpointId, Survey>,
        silent: Vec<usize>,
    ) -> ProgressAnswer {
        let now = self.clock.now();
        let none_answered = silent.len() == self.workers.count();
        let services = self.table.services();
        let of_service = |service: &ServiceView| {
            let draining = service.endpoints.iter().filter(|view| is_on(view));
            draining.map(|view| view.endpoint.admission().flows()).sum()
        };
        let drains = services
            .iter()
            .flat_map(|service| {
                let of_service = of_service(service);
                service
                    .endpoints
                    .iter()
                    .filter(|view| is_on(view))
                    .map(move |view| (service, of_service, view))
            })
            .filter_map(|(service, of_service, view)| {
                let survey = surveys.get(&view.endpoint.id()).copied();
                let survey = if none_answered { None } else { Some(survey.unwrap_or_default()) };
                self.of_drain(service, of_service, view, survey, now)
            })
            .collect();
        let over = self.audit.since(now.before(TOLD_FOR)).cloned().collect();
        ProgressAnswer { drains, over, silent, now }
    }

    fn of_drain(
        &self,
        service: &ServiceView,
        of_service: u64,
        view: &EndpointView,
        survey: Option<Survey>,
        now: Timestamp,
    ) -> Option<Progress> {
        let drain = view.drain.as_ref()?;
        let left = view.endpoint.admission().flows();
        let waits = drain.deadline.is_some() && (service.eligible == 0 || service.last_resort);
        let plan = drain.deadline.map(|deadline| plan(drain.since, deadline, &service.settings));
        let put_off = !waits && left > 0 && drain.deadline.is_some_and(|deadline| deadline <= now);
        let began = Point { at: drain.since, ended: 0, left: drain.flows_at_start };
        let point = Point { at: now, ended: drain.ends.total(), left };
        let facts = Facts {
            now,
            left,
            of_service,
            survey,
            // Whoever waits for a ready endpoint is not ended by the deadline, nor who did until a moment ago: each worker puts
            // it off for its own flows.
            plan: plan.filter(|_| !waits && !put_off),
            rest: self.paces.rest(view.endpoint.id(), began, point),
        };
        Some(Progress {
            service: service.port.clone(),
            view: view.clone(),
            survey,
            waits,
            put_off,
            sheds_from: plan.map(|plan| plan.begins(of_service)),
            ends: facts.ends(),
            will_be_cut: facts.will_be_cut(),
        })
    }
}

/// The plan that workers follow for a drain.
pub(crate) fn plan(began: Timestamp, deadline: Timestamp, settings: &ServiceSettings) -> DrainPlan {
    let drain = &settings.drain;
    DrainPlan {
        began,
        deadline,
        window: drain.window,
        quiet: drain.quiet,
        max_per_second: drain.max_per_second,
    }
}

/// What was moved while workers looked, as so much a second.
pub fn per_second(bytes: u64) -> f64 {
    bytes as f64 / SURVEY_OVER.as_secs_f64()
}

/// A drain is on and flows are left.
fn is_on(view: &EndpointView) -> bool {
    view.drain.as_ref().is_some_and(|drain| drain.drained.is_none())
}

#[cfg(test)]
mod tests;
