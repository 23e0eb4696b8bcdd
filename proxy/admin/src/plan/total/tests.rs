use super::*;

/// A service's plan: flows to move, the rate, those that are cut, and the others with their flows.
fn plan(flows: u64, rate: Option<f64>, cut: Option<u64>, others: &[(&str, u64, u64)]) -> api::ServicePlan {
    let load = |(endpoint, flows, flows_after): &(&str, u64, u64)| api::LoadAfter {
        endpoint: (*endpoint).to_owned(),
        pod: None,
        node: None,
        weight: 1,
        flows: *flows,
        flows_after: *flows_after,
    };
    api::ServicePlan {
        service: "default/web:http".to_owned(),
        policy: "leastFlows".to_owned(),
        flows_to_move: flows,
        deadline_seconds: rate.map(|_| 30.0),
        deadline_by: if rate.is_some() { "asker" } else { "nobody" }.to_owned(),
        window_seconds: rate.map(|_| 15.0),
        reconnects_per_second: rate,
        will_be_cut: cut,
        nobody_left: others.is_empty(),
        endpoints: Vec::new(),
        others: others.iter().map(load).collect(),
    }
}

fn answer(services: Vec<api::ServicePlan>) -> InstanceAnswer<api::Plan> {
    let plan = api::Plan { at: String::new(), services, silent_workers: Vec::new() };
    InstanceAnswer { instance: "this".to_owned(), answer: Some(plan), error: None }
}

fn silent() -> InstanceAnswer<api::Plan> {
    InstanceAnswer { instance: "10.0.0.9:9903".to_owned(), answer: None, error: Some("away".to_owned()) }
}

#[test]
fn what_instances_say_is_added_up() {
    let first = plan(10, Some(1.1), Some(2), &[("10.0.0.2:80", 5, 12), ("10.0.0.3:80", 7, 10)]);
    let second = plan(4, Some(0.2), Some(1), &[("10.0.0.3:80", 1, 5)]);
    let other = api::ServicePlan { service: "default/api:http".to_owned(), ..plan(3, None, None, &[]) };
    let totals = totals(&[answer(vec![first, other]), silent(), answer(vec![second])]);
    let names: Vec<_> = totals.iter().map(|total| &*total.service).collect();
    assert_eq!(names, ["default/api:http", "default/web:http"]);
    let web = &totals[1];
    assert_eq!((web.instances, web.flows_to_move, web.nobody_left), (2, 14, 0));
    assert_eq!((web.reconnects_per_second, web.will_be_cut), (Some(1.3), Some(3)));
    let loads = web.others.iter().map(|load| (&*load.endpoint, load.flows, load.flows_after));
    assert_eq!(loads.collect::<Vec<_>>(), [("10.0.0.2:80", 5, 12), ("10.0.0.3:80", 8, 15)]);
    assert_eq!((totals[0].instances, totals[0].nobody_left, totals[0].others.len()), (1, 1, 0));
}

/// A sum of which a part is not known would be too small a number to trust.
#[test]
fn what_one_cannot_tell_is_no_total() {
    let totals = totals(&[
        answer(vec![plan(10, Some(1.0), None, &[])]),
        answer(vec![plan(1, None, Some(1), &[("10.0.0.2:80", 0, 1)])]),
    ]);
    assert_eq!((totals[0].flows_to_move, totals[0].nobody_left), (11, 1));
    assert_eq!((totals[0].reconnects_per_second, totals[0].will_be_cut), (None, None));
}

#[test]
fn where_nobody_answers_there_is_no_total() {
    assert_eq!(totals(&[silent()]), []);
}
