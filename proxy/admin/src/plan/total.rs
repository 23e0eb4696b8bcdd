//! What a drain would do on several instances together: sums, and nothing where one of them cannot tell.

use std::collections::BTreeMap;

use crate::{api, peers::InstanceAnswer};

/// The plans of those that answered, by service.
pub(crate) fn totals(instances: &[InstanceAnswer<api::Plan>]) -> Vec<api::PlanTotal> {
    let mut services: BTreeMap<&str, Vec<&api::ServicePlan>> = BTreeMap::new();
    for plan in instances.iter().filter_map(|it| it.answer.as_ref()).flat_map(|plan| &plan.services) {
        services.entry(&plan.service).or_default().push(plan);
    }
    services.into_iter().map(|(service, plans)| total(service, &plans)).collect()
}

fn total(service: &str, plans: &[&api::ServicePlan]) -> api::PlanTotal {
    let rate: Option<f64> = plans.iter().map(|plan| plan.reconnects_per_second).sum();
    api::PlanTotal {
        service: service.to_owned(),
        instances: plans.len(),
        flows_to_move: plans.iter().map(|plan| plan.flows_to_move).sum(),
        // Sums of tenths have more digits than they are worth.
        reconnects_per_second: rate.map(|rate| (rate * 10.0).round() / 10.0),
        will_be_cut: plans.iter().map(|plan| plan.will_be_cut).sum(),
        nobody_left: plans.iter().filter(|plan| plan.nobody_left).count(),
        others: loads(plans),
    }
}

fn loads(plans: &[&api::ServicePlan]) -> Vec<api::TotalLoad> {
    let mut loads: BTreeMap<&str, api::TotalLoad> = BTreeMap::new();
    for other in plans.iter().flat_map(|plan| &plan.others) {
        let load = loads.entry(&other.endpoint).or_insert_with(|| api::TotalLoad {
            endpoint: other.endpoint.clone(),
            pod: other.pod.clone(),
            flows: 0,
            flows_after: 0,
        });
        load.flows += other.flows;
        load.flows_after += other.flows_after;
    }
    loads.into_values().collect()
}

#[cfg(test)]
mod tests;
