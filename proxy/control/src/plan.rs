//! What a drain would do: how many flows would have to move, how fast, where to, and which would be cut.
//!
//! Nothing is changed for it. It is judged from live flows as they are at this moment, as if every client whose flow
//! ends came back at once: to the endpoints that new flows would go to then, in the way that the service's policy
//! shares them out.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use tidegate_core::{
    DrainDeadline, DrainPlan, EndpointId, Policy, ServiceName, ServicePort, Survey, SurveyOf, Timestamp,
    table::{EndpointView, ServiceView},
};

use crate::{
    ControlError, Controller,
    drains::{pod_name, unknown_endpoint},
    progress::will_be_cut,
    request::{Reply, Surveyor},
};

/// Which drain is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlanFilter {
    /// Endpoints of this Service alone.
    pub service: Option<ServiceName>,
    /// These of them: an address with port, a pod's name or an endpoint's number, each.
    pub endpoints: Vec<String>,
    /// Those on this node.
    pub node: Option<String>,
    /// The deadline that it would have; what the service's settings say otherwise.
    pub deadline: Option<Duration>,
}

/// What a drain would do.
#[derive(Clone, Debug)]
pub struct PlanAnswer {
    /// For each service that has an endpoint that is meant.
    pub services: Vec<ServicePlan>,
    /// Workers that did not answer in time; their flows are missing in what is idle or busy.
    pub silent: Vec<usize>,
    /// The controller's time of this answer.
    pub now: Timestamp,
}

/// What a drain would do to a service.
#[derive(Clone, Debug)]
pub struct ServicePlan {
    /// Which.
    pub port: ServicePort,
    /// How new flows are shared out.
    pub policy: Policy,
    /// The endpoints that are meant.
    pub drained: Vec<EndpointPlan>,
    /// The endpoints that new flows would go to.
    pub others: Vec<LoadAfter>,
    /// Flows that would have to move.
    pub flows: u64,
    /// How long the first of them would have; `None` where one has as long as it likes, and where a pod's end is not known
    /// yet.
    pub deadline: Option<Duration>,
    /// Who says so.
    pub deadline_by: DeadlineBy,
    /// From the first shed to the last; `None` without `deadline`.
    pub window: Option<Duration>,
    /// Clients that would have to connect again, per second, while most are shed; `None` without `deadline`.
    pub reconnects_per_second: Option<f64>,
    /// Flows that the deadlines would cut as things stand; `None` without `deadline`, or where no worker answered.
    pub will_be_cut: Option<u64>,
}

/// Who says how long the flows would have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadlineBy {
    /// Nobody: they have as long as they like.
    Nobody,
    /// Whoever asks.
    Asker,
    /// The service's settings.
    Service,
    /// The pods: when each is killed. That is known once it terminates and not before, because the grace period may be
    /// another one then.
    Pod,
}

/// An endpoint that would be drained.
#[derive(Clone, Debug)]
pub struct EndpointPlan {
    /// It, as it is.
    pub view: EndpointView,
    /// How its flows are doing; `None` where no worker answered.
    pub survey: Option<Survey>,
    /// How long they would have: as it drains already, or as it would. `None` as in [`ServicePlan::deadline`].
    pub deadline: Option<Duration>,
    /// Those of them that the deadline would cut as things stand; `None` without one, or where no worker answered.
    pub will_be_cut: Option<u64>,
}

/// An endpoint that would take what moves.
#[derive(Clone, Debug)]
pub struct LoadAfter {
    /// Its address.
    pub address: SocketAddr,
    /// Its pod, as namespace/name.
    pub pod: Option<Arc<str>>,
    /// Its node.
    pub node: Option<Arc<str>>,
    /// Its share of new flows.
    pub weight: u16,
    /// Its flows.
    pub flows: u64,
    /// Its flows afterwards, about.
    pub flows_after: u64,
}

/// How many flows each endpoint would have after `moved` more were shared out; endpoints are weights with their flows.
pub fn spread(policy: Policy, endpoints: &[(u16, u64)], moved: u64) -> Vec<u64> {
    match policy {
        Policy::LeastFlows => level(endpoints, moved),
        // By weight, whatever they have. Maglev is so on average: whoever has few clients may have another share.
        Policy::RoundRobin | Policy::Random | Policy::Maglev => {
            let weights: f64 = endpoints.iter().map(|(weight, _)| f64::from(*weight)).sum();
            let shares = endpoints.iter().map(|(weight, _)| moved as f64 * f64::from(*weight) / weights);
            let more = whole(&shares.collect::<Vec<_>>(), moved);
            endpoints.iter().zip(more).map(|((_, flows), more)| flows + more).collect()
        }
    }
}

/// New flows go where there are fewest for the weight, so they fill up the lowest first, like water.
fn level(endpoints: &[(u16, u64)], moved: u64) -> Vec<u64> {
    let load = |(weight, flows): &(u16, u64)| *flows as f64 / f64::from((*weight).max(1));
    let mut order: Vec<usize> = (0..endpoints.len()).collect();
    order.sort_by(|a, b| load(&endpoints[*a]).total_cmp(&load(&endpoints[*b])));
    let (mut weights, mut flows, mut surface) = (0.0, 0.0, 0.0);
    for (place, at) in order.iter().enumerate() {
        weights += f64::from(endpoints[*at].0.max(1));
        flows += endpoints[*at].1 as f64;
        surface = (flows + moved as f64) / weights;
        if order.get(place + 1).is_none_or(|next| surface <= load(&endpoints[*next])) {
            break;
        }
    }
    let shares: Vec<f64> = endpoints
        .iter()
        .map(|(weight, flows)| (surface * f64::from((*weight).max(1)) - *flows as f64).max(0.0))
        .collect();
    let more = whole(&shares, moved);
    endpoints.iter().zip(more).map(|((_, flows), more)| flows + more).collect()
}

/// Shares as whole numbers that add up to `total`: those with the largest rest get one more.
fn whole(shares: &[f64], total: u64) -> Vec<u64> {
    let mut whole: Vec<u64> = shares.iter().map(|share| share.floor() as u64).collect();
    let mut by_rest: Vec<usize> = (0..shares.len()).collect();
    by_rest.sort_by(|a, b| shares[*b].fract().total_cmp(&shares[*a].fract()));
    let missing = total.saturating_sub(whole.iter().sum());
    for at in by_rest.into_iter().cycle().take(usize::try_from(missing).unwrap_or(0).min(shares.len())) {
        whole[at] += 1;
    }
    whole
}

/// What draining these endpoints of a service would do.
fn of_service(
    service: &ServiceView,
    meant: &BTreeSet<EndpointId>,
    surveys: Option<&BTreeMap<EndpointId, Survey>>,
    asked: Option<Duration>,
    now: Timestamp,
) -> ServicePlan {
    let is_meant = |view: &&EndpointView| meant.contains(&view.endpoint.id());
    let flows = |view: &EndpointView| view.endpoint.admission().flows();
    let drained: Vec<_> = service.endpoints.iter().filter(is_meant).collect();
    let moved = drained.iter().map(|view| flows(view)).sum();
    let staying: Vec<_> = service.endpoints.iter().filter(|view| view.eligible && !is_meant(view)).collect();
    let loads: Vec<_> = staying.iter().map(|view| (view.weight, flows(view))).collect();
    let after = spread(service.settings.policy, &loads, moved);
    let others = staying.iter().zip(after).map(|(view, flows_after)| LoadAfter {
        address: view.endpoint.address(),
        pod: view.pod.clone(),
        node: view.node.clone(),
        weight: view.weight,
        flows: flows(view),
        flows_after,
    });
    let (time, deadline_by) = match (asked, service.settings.drain.deadline) {
        (Some(time), _) => (Some(time), DeadlineBy::Asker),
        (None, DrainDeadline::After(time)) => (Some(time), DeadlineBy::Service),
        (None, DrainDeadline::Pod) => (None, DeadlineBy::Pod),
        (None, DrainDeadline::None) => (None, DeadlineBy::Nobody),
    };
    let plans: Vec<_> = drained.iter().map(|view| plan_of(service, view, time, now)).collect();
    let endpoints: Vec<_> = drained
        .into_iter()
        .zip(&plans)
        .map(|(view, plan)| {
            let survey = surveys.map(|all| all.get(&view.endpoint.id()).copied().unwrap_or_default());
            let cut =
                |(plan, survey): (DrainPlan, Survey)| will_be_cut(&plan, &survey, flows(view), moved, now);
            EndpointPlan {
                view: view.clone(),
                survey,
                deadline: plan.map(|plan| plan.deadline.since(now)),
                will_be_cut: plan.zip(survey).map(cut),
            }
        })
        .collect();
    // What one endpoint has no deadline for is known of none together.
    let sheds: Option<Vec<Shedding>> = plans
        .iter()
        .zip(&endpoints)
        .map(|(plan, endpoint)| Some(Shedding::of(plan.as_ref()?, flows(&endpoint.view), moved, now)))
        .collect();
    let deadlines = endpoints.iter().map(|endpoint| endpoint.deadline);
    ServicePlan {
        port: service.port.clone(),
        policy: service.settings.policy,
        others: others.collect(),
        flows: moved,
        deadline: deadlines.collect::<Option<Vec<_>>>().and_then(|all| all.into_iter().min()),
        deadline_by,
        window: sheds.as_deref().and_then(window),
        reconnects_per_second: sheds.as_deref().map(most_per_second),
        will_be_cut: endpoints.iter().map(|endpoint| endpoint.will_be_cut).sum(),
        drained: endpoints,
    }
}

/// What workers would follow for this endpoint if it drained from now on with so much time; what they follow already,
/// where that ends earlier.
fn plan_of(
    service: &ServiceView,
    view: &EndpointView,
    time: Option<Duration>,
    now: Timestamp,
) -> Option<DrainPlan> {
    let began = view.drain.as_ref().map_or(now, |drain| drain.since);
    // One that has passed was put off: nobody knows until when.
    let holds = view.drain.as_ref().and_then(|drain| drain.deadline).filter(|at| *at > now);
    let deadline = [holds, time.map(|time| now.after(time))].into_iter().flatten().min()?;
    Some(crate::progress::plan(began, deadline, &service.settings))
}

/// The flows of one endpoint as they would be shed.
#[derive(Clone, Copy, Debug)]
struct Shedding {
    begins: Timestamp,
    ends: Timestamp,
    per_second: f64,
}

impl Shedding {
    /// Of `flows`, beside all those `of_service`.
    fn of(plan: &DrainPlan, flows: u64, of_service: u64, now: Timestamp) -> Self {
        let ends = plan.last_shed().max(now);
        let begins = plan.begins(of_service).max(now).min(ends);
        let time = ends.since(begins).as_secs_f64();
        // At once is within a second.
        Self { begins, ends, per_second: flows as f64 / if time > 0.0 { time } else { 1.0 } }
    }
}

/// From the first shed to the last.
fn window(sheds: &[Shedding]) -> Option<Duration> {
    let begins = sheds.iter().map(|shed| shed.begins).min()?;
    Some(sheds.iter().map(|shed| shed.ends).max()?.since(begins))
}

/// How many are shed in a second while most are: at one of the moments when another endpoint's flows begin to be.
fn most_per_second(sheds: &[Shedding]) -> f64 {
    let at = |moment: Timestamp| {
        let on = sheds.iter().filter(|shed| shed.begins <= moment && moment <= shed.ends);
        on.map(|shed| shed.per_second).sum::<f64>()
    };
    sheds.iter().map(|shed| at(shed.begins)).fold(0.0, f64::max)
}

impl Controller {
    /// Asks the workers about the endpoints that are meant.
    pub(crate) fn begin_plan(&mut self, filter: &PlanFilter, reply: Reply<Result<PlanAnswer, ControlError>>) {
        let services = self.table.services();
        let meant = match meant(&services, filter) {
            Ok(meant) => meant,
            Err(error) => {
                let _ = reply.send(Err(error));
                return;
            }
        };
        let views = services.iter().flat_map(|of| of.endpoints.iter().map(move |view| (of, view)));
        let of = views
            .filter(|(_, view)| meant.contains(&view.endpoint.id()))
            .map(|(of, view)| SurveyOf { endpoint: view.endpoint.id(), quiet: of.settings.drain.quiet })
            .collect();
        self.begin_survey(of, Surveyor::Plan { meant, deadline: filter.deadline, reply });
    }

    /// What draining these endpoints would do, with what the workers said.
    pub(crate) fn plan(
        &self,
        meant: &BTreeSet<EndpointId>,
        deadline: Option<Duration>,
        surveys: &BTreeMap<EndpointId, Survey>,
        silent: Vec<usize>,
    ) -> PlanAnswer {
        let surveys = (silent.len() < self.workers.count()).then_some(surveys);
        let services = self.table.services();
        let is_of = |of: &&ServiceView| of.endpoints.iter().any(|view| meant.contains(&view.endpoint.id()));
        let now = self.clock.now();
        let plans = services.iter().filter(is_of).map(|of| of_service(of, meant, surveys, deadline, now));
        PlanAnswer { services: plans.collect(), silent, now }
    }
}

/// The endpoints that are meant, at least one.
fn meant(services: &[ServiceView], filter: &PlanFilter) -> Result<BTreeSet<EndpointId>, ControlError> {
    let is_of = |of: &&ServiceView| filter.service.as_ref().is_none_or(|name| of.port.service == *name);
    if let Some(service) = &filter.service
        && !services.iter().any(|of| is_of(&of))
    {
        return Err(unknown_endpoint(services, service, String::new()));
    }
    let views: Vec<_> = services.iter().filter(is_of).flat_map(|of| &of.endpoints).collect();
    let mut meant = BTreeSet::new();
    if let Some(node) = &filter.node {
        let on_node = views.iter().filter(|view| view.node.as_deref() == Some(node));
        meant.extend(on_node.map(|view| view.endpoint.id()));
        if meant.is_empty() {
            let known: BTreeSet<_> = views.iter().filter_map(|view| view.node.as_deref()).collect();
            return Err(ControlError::UnknownNode {
                node: node.clone(),
                known: known.into_iter().map(str::to_owned).collect(),
            });
        }
    }
    for wanted in &filter.endpoints {
        let is_wanted = |view: &&&EndpointView| {
            let pod = view.pod.as_deref();
            view.endpoint.address().to_string() == *wanted
                || view.endpoint.id().to_string() == *wanted
                || pod.is_some_and(|pod| pod == wanted || pod_name(pod) == wanted)
        };
        let before = meant.len();
        meant.extend(views.iter().filter(is_wanted).map(|view| view.endpoint.id()));
        if meant.len() == before && !views.iter().any(|view| is_wanted(&view)) {
            return Err(match &filter.service {
                Some(service) => unknown_endpoint(services, service, wanted.clone()),
                None => ControlError::NoSuchEndpoint(wanted.clone()),
            });
        }
    }
    Ok(meant)
}

#[cfg(test)]
mod tests;
