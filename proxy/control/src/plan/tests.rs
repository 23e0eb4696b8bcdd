use tidegate_core::{Event, Permit, Tier};

use super::*;
use crate::rig::{Manner, Rig, listener, slice, sliced};

#[test]
fn water_fills_the_lowest_first() {
    assert_eq!(spread(Policy::LeastFlows, &[(1, 10), (1, 0), (1, 4)], 6), [10, 5, 5]);
    assert_eq!(spread(Policy::LeastFlows, &[(1, 10), (1, 0), (1, 4)], 46), [20, 20, 20]);
    assert_eq!(spread(Policy::LeastFlows, &[(1, 0), (3, 0)], 8), [2, 6], "by weight");
    assert_eq!(spread(Policy::LeastFlows, &[(1, 7), (1, 7)], 0), [7, 7]);
    assert_eq!(spread(Policy::LeastFlows, &[], 9), [] as [u64; 0]);
}

#[test]
fn other_policies_share_out_by_weight_whatever_there_is() {
    for policy in [Policy::RoundRobin, Policy::Random, Policy::Maglev] {
        assert_eq!(spread(policy, &[(1, 10), (1, 0)], 6), [13, 3]);
        assert_eq!(spread(policy, &[(1, 0), (3, 0)], 8), [2, 6]);
        assert_eq!(spread(policy, &[], 3), [] as [u64; 0]);
    }
}

/// No flow is lost or made up in sharing out, and nobody has fewer than before.
#[test]
fn shares_add_up() {
    let mut rng = tidegate_core::Rng::new(5);
    for _ in 0..2_000 {
        let mut number = |below: usize| rng.below(below);
        let endpoints: Vec<_> = (0..=number(6)).map(|_| (1 + number(9) as u16, number(50) as u64)).collect();
        let moved = number(200) as u64;
        for policy in [Policy::LeastFlows, Policy::RoundRobin] {
            let after = spread(policy, &endpoints, moved);
            let before: u64 = endpoints.iter().map(|(_, flows)| flows).sum();
            assert_eq!(after.iter().sum::<u64>(), before + moved, "{policy:?} {endpoints:?} {moved}");
            let grown = endpoints.iter().zip(&after).all(|((_, before), after)| after >= before);
            assert!(grown, "{policy:?} {endpoints:?} {moved}: {after:?}");
        }
    }
}

async fn rig() -> (Rig, Vec<Permit>) {
    rig_with(DrainDeadline::None).await
}

async fn rig_with(deadline: DrainDeadline) -> (Rig, Vec<Permit>) {
    let mut service = sliced("web");
    service.settings.drain.deadline = deadline;
    let desired = crate::Desired {
        services: vec![service],
        listeners: vec![listener("web", "web")],
        ..crate::Desired::default()
    };
    let rig = Rig::start(desired, &[Manner::Willing, Manner::Willing], None);
    let mut all = slice("web", &[("10.0.0.1", "a"), ("10.0.0.2", "b"), ("10.0.0.3", "c")]);
    all.endpoints[1].node = Some("node-b".into());
    rig.event(Event::SlicesListed(vec![all])).await;
    rig.settled().await;
    let services = rig.handle.services().await.unwrap().services;
    let enter = |at: usize| Permit::enter(&services[0].endpoints[at].endpoint, Tier::Ready).unwrap();
    let permits = (0..60).map(|_| enter(1)).chain((0..2).map(|_| enter(0))).collect();
    (rig, permits)
}

/// What is asked for is said, and nothing is changed for it.
#[tokio::test(start_paused = true)]
async fn a_drain_is_planned_and_not_begun() {
    let (rig, _permits) = rig().await;
    let filter = PlanFilter {
        service: Some(ServiceName::new("default", "web")),
        endpoints: vec!["b".to_owned()],
        deadline: Some(Duration::from_secs(61)),
        ..PlanFilter::default()
    };
    let answer = rig.handle.plan(filter).await.unwrap();
    let [plan] = &*answer.services else { panic!("{answer:?}") };
    assert_eq!((plan.flows, plan.drained.len()), (60, 1));
    let after: Vec<_> = plan.others.iter().map(|other| (other.flows, other.flows_after)).collect();
    assert_eq!(after, [(2, 31), (0, 31)]);
    // The last half of 61 s, less the lead.
    assert_eq!(plan.window, Some(Duration::from_secs(30)));
    assert_eq!(plan.reconnects_per_second, Some(2.0));
    // The played workers see 6 flows, 2 of them idle.
    assert_eq!(plan.will_be_cut, Some(4));
    let endpoint = &plan.drained[0];
    assert_eq!((endpoint.deadline, endpoint.will_be_cut), (plan.deadline, Some(4)));
    let now = rig.handle.services().await.unwrap().services;
    assert!(now[0].endpoints.iter().all(|view| view.drain.is_none() && view.eligible));
}

#[tokio::test(start_paused = true)]
async fn a_node_is_planned_for_and_what_is_unknown_is_said() {
    let (rig, _permits) = rig().await;
    let node = |name: &str| PlanFilter { node: Some(name.to_owned()), ..PlanFilter::default() };
    let answer = rig.handle.plan(node("node-b")).await.unwrap();
    let plan = &answer.services[0];
    assert_eq!((plan.flows, plan.deadline, plan.will_be_cut), (60, None, None));
    assert_eq!(plan.deadline_by, DeadlineBy::Nobody);
    let error = rig.handle.plan(node("node-z")).await.unwrap_err().to_string();
    assert_eq!(error, "no endpoint is on node `node-z`; there are: node-b");
    let filter = PlanFilter { endpoints: vec!["zz".to_owned()], ..PlanFilter::default() };
    assert!(matches!(rig.handle.plan(filter).await, Err(ControlError::NoSuchEndpoint(_))));
}

fn of_pods(pods: &[&str]) -> PlanFilter {
    PlanFilter { endpoints: pods.iter().map(|pod| (*pod).to_owned()).collect(), ..PlanFilter::default() }
}

/// Whoever asks knows better than the service, and the service better than nobody.
#[tokio::test(start_paused = true)]
async fn a_plan_says_who_sets_its_deadline() {
    let (rig, _permits) = rig_with(DrainDeadline::After(Duration::from_secs(40))).await;
    let plan = rig.handle.plan(of_pods(&["b"])).await.unwrap().services.remove(0);
    assert_eq!((plan.deadline, plan.deadline_by), (Some(Duration::from_secs(40)), DeadlineBy::Service));
    let filter = PlanFilter { deadline: Some(Duration::from_secs(7)), ..of_pods(&["b"]) };
    let plan = rig.handle.plan(filter).await.unwrap().services.remove(0);
    assert_eq!((plan.deadline, plan.deadline_by), (Some(Duration::from_secs(7)), DeadlineBy::Asker));
}

/// The first pod's end counts where all ends are known. Where one is not, none is made up for it.
#[tokio::test(start_paused = true)]
async fn the_end_of_pods_is_known_once_all_terminate() {
    let (rig, _permits) = rig_with(DrainDeadline::Pod).await;
    let mut all = slice("web", &[("10.0.0.1", "a"), ("10.0.0.2", "b"), ("10.0.0.3", "c")]);
    all.endpoints.iter_mut().take(2).for_each(|endpoint| {
        endpoint.conditions = tidegate_core::Conditions::from_api(Some(false), Some(true), Some(true));
    });
    rig.event(Event::SliceApplied(all)).await;
    rig.settled().await;
    let deadline = async |pods: &[&str]| {
        let plan = rig.handle.plan(of_pods(pods)).await.unwrap().services.remove(0);
        assert_eq!(plan.deadline_by, DeadlineBy::Pod);
        plan.deadline.map(|time| time.as_secs_f64().ceil() as u64)
    };
    assert_eq!(deadline(&["a", "b"]).await, None, "nobody has said when");
    for (pod, seconds) in [("a", 92), ("b", 62)] {
        let killed = rig.handle.clock().now().after(Duration::from_secs(seconds));
        let uid = format!("uid-{pod}").into();
        rig.event(Event::PodDeadline { namespace: "default".into(), uid, killed }).await;
    }
    rig.settled().await;
    // A margin of 2 s before the pod is killed; to ask takes a moment.
    assert!(matches!(deadline(&["a"]).await, Some(88..=90)));
    assert!(matches!(deadline(&["a", "b"]).await, Some(58..=60)));
    assert_eq!(deadline(&["b", "c"]).await, None, "c does not terminate");

    // Each endpoint has its own pod's end, and what that cuts of its flows.
    let plan = rig.handle.plan(of_pods(&["a", "b", "c"])).await.unwrap().services.remove(0);
    let of_each: Vec<_> = plan.drained.iter().map(|it| (it.deadline.map(ceil), it.will_be_cut)).collect();
    let [(Some(a), Some(cut)), (Some(b), Some(_)), (None, None)] = *of_each else { panic!("{of_each:?}") };
    assert!((88..=90).contains(&a) && (58..=60).contains(&b), "{of_each:?}");
    // The played workers say of each that 4 of 6 flows are busy; a has two at all.
    assert_eq!(cut, 2);
    assert_eq!((plan.will_be_cut, plan.window), (None, None), "nobody knows c's end");
    // An earlier one that is asked for holds for all, a later one for none of those that drain.
    let ask = async |seconds: u64| {
        let filter = PlanFilter { deadline: Some(Duration::from_secs(seconds)), ..of_pods(&["a", "b", "c"]) };
        let plan = rig.handle.plan(filter).await.unwrap().services.remove(0);
        assert!(plan.will_be_cut.is_some() && plan.window.is_some(), "{plan:?}");
        plan.drained.iter().map(|it| it.deadline.map_or(0, ceil)).collect::<Vec<_>>()
    };
    assert_eq!(ask(10).await, [10, 10, 10]);
    assert!(matches!(ask(300).await[..], [88..=90, 58..=60, 300]));
}

fn ceil(time: Duration) -> u64 {
    time.as_secs_f64().ceil() as u64
}

/// Endpoints with other deadlines are shed at other times, and what both take in the same second is added.
#[test]
fn the_most_reconnects_are_those_of_who_is_shed_at_once() {
    let at = Timestamp::from_millis;
    let shed = |begins, ends, per_second| Shedding { begins: at(begins), ends: at(ends), per_second };
    let apart = [shed(1_000, 2_000, 3.0), shed(5_000, 9_000, 2.0)];
    assert_eq!((most_per_second(&apart), window(&apart)), (3.0, Some(Duration::from_secs(8))));
    let together = [shed(1_000, 6_000, 3.0), shed(5_000, 9_000, 2.0)];
    assert_eq!(most_per_second(&together), 5.0);
    assert_eq!((most_per_second(&[]), window(&[])), (0.0, None));
}
