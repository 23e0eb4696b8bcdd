use tidegate_core::{AdminState, EndpointSelector, Event, Permit, ServiceName, Tier};

use super::*;
use crate::rig::{Manner, Rig, listener, port, slice, sliced};

/// A proxy with a drain on, and its flows.
async fn draining(manners: &[Manner], deadline: Option<Duration>) -> (Rig, Vec<Permit>) {
    let desired = crate::Desired {
        services: vec![sliced("web")],
        listeners: vec![listener("web", "web")],
        ..crate::Desired::default()
    };
    let rig = Rig::start(desired, manners, None);
    rig.event(Event::SlicesListed(vec![slice("web", &[("10.0.0.1", "a"), ("10.0.0.2", "b")])])).await;
    rig.settled().await;
    let services = rig.handle.services().await.unwrap().services;
    let enter = |at: usize| Permit::enter(&services[0].endpoints[at].endpoint, Tier::Ready).unwrap();
    let flows = (0..8).map(|_| enter(0)).collect();
    rig.event(Event::AdminStateRequested {
        endpoints: EndpointSelector::Pod { service: ServiceName::new("default", "web"), pod: "a".into() },
        state: AdminState::Drain,
        by: String::new(),
        reason: String::new(),
        deadline,
    })
    .await;
    rig.settled().await;
    rig.told();
    (rig, flows)
}

/// Lets so many seconds go by, one after the other, with a scrape in each.
async fn scraped(rig: &Rig, seconds: usize) -> Arc<[DrainingFlows]> {
    for _ in 0..seconds {
        tokio::time::advance(Duration::from_secs(1)).await;
        rig.settled().await;
        rig.handle.services().await.unwrap();
    }
    rig.handle.services().await.unwrap().draining
}

fn surveys(rig: &Rig) -> usize {
    rig.told().iter().filter(|words| words.contains("survey")).count()
}

#[tokio::test(start_paused = true)]
async fn workers_look_now_and_then_however_often_is_scraped() {
    let (rig, flows) = draining(&[Manner::Willing, Manner::Willing], None).await;
    let seen = scraped(&rig, 2).await;
    // Each of two played workers says 3 flows, 1 of them idle, and 100 bytes.
    let expected = DrainingFlows {
        service: port("web"),
        idle: 2,
        bytes_per_second: 800.0,
        oldest: None,
        will_be_cut: None,
    };
    assert_eq!(*seen, [expected]);
    rig.told();
    scraped(&rig, 40).await;
    assert!((6..=10).contains(&surveys(&rig)), "two workers, every ten seconds");
    // An operator who asks makes it news, too.
    rig.handle.progress().await.unwrap();
    assert_eq!(surveys(&rig), 2);
    scraped(&rig, 8).await;
    assert_eq!(surveys(&rig), 0);
    drop(flows);
    assert!(scraped(&rig, 2).await.is_empty(), "no drain is on");
    assert_eq!(surveys(&rig), 0);
}

#[tokio::test(start_paused = true)]
async fn what_will_be_cut_is_counted_where_there_is_a_deadline() {
    let (rig, _flows) = draining(&[Manner::Willing], Some(Duration::from_secs(600))).await;
    assert_eq!(scraped(&rig, 2).await[0].will_be_cut, Some(2), "two of three are busy");
}

/// What not all workers said is not the whole, and is not told as such.
#[tokio::test(start_paused = true)]
async fn without_a_workers_part_there_is_no_sum() {
    let (rig, _flows) = draining(&[Manner::Willing, Manner::Silent], None).await;
    assert!(scraped(&rig, 5).await.is_empty());
}
