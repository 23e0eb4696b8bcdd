use std::net::SocketAddr;

use tidegate_core::{AdmissionMode, DrainCause, EndpointId, EndpointIdentity, ServiceName, ServicePort};

use super::*;

fn teller() -> Teller {
    Teller { clock: Clock::start(), node: Some("node-1".into()) }
}

fn endpoint(pod_uid: Option<&str>, mode: AdmissionMode) -> Arc<Endpoint> {
    let port = ServicePort { service: ServiceName::new("default", "web"), port: Some("http".into()) };
    let address: SocketAddr = "10.0.0.1:8080".parse().unwrap();
    let identity = EndpointIdentity { pod_uid: pod_uid.map(Arc::from), address };
    Endpoint::new(EndpointId(1), Arc::new(port), identity, mode)
}

fn began(flows: u64) -> DrainBeginning {
    DrainBeginning {
        endpoint: endpoint(Some("uid-1"), AdmissionMode::Closed),
        pod: Some("default/web-0".into()),
        causes: DrainCause::of("slice", Some("default/web-1")).into_iter().collect(),
        flows,
        deadline: None,
    }
}

fn ends(of: &[(FlowEnd, u64)]) -> Ends {
    Ends::of_each(|end| of.iter().filter(|(it, _)| *it == end).map(|(_, count)| count).sum())
}

fn over(flows_at_start: u64, of: &[(FlowEnd, u64)]) -> AuditRecord {
    let began = Timestamp::from_nanos(1_000_000_000);
    AuditRecord {
        over: true,
        published_after: None,
        drain: DrainRecord {
            endpoint: endpoint(Some("uid-1"), AdmissionMode::Closed),
            pod: Some("default/web-0".into()),
            causes: DrainCause::of("operator", Some("ann")).into_iter().collect(),
            began,
            ended: began.after(Duration::from_millis(12_340)),
            undone: false,
            deadline: None,
            flows_at_start,
            flows_left: 0,
            ends: ends(of),
        },
    }
}

#[test]
fn a_beginning_says_where_how_many_why_and_until_when() {
    let teller = teller();
    let said = teller.began(&began(12)).expect("there is something to say");
    assert_eq!((&*said.pod, &*said.uid), ("default/web-0", "uid-1"));
    assert_eq!((said.reason, said.is_warning), ("DrainBegan", false));
    assert_eq!(
        said.note,
        "Service default/web:http, endpoint 10.0.0.1:8080: no new flows through node node-1, 12 flows go on to their \
         end. Why: slice default/web-1 says terminating"
    );
    let deadline = Some(Timestamp::from_nanos(5_000_000_000));
    let note = teller.began(&DrainBeginning { deadline, ..began(1) }).expect("something").note;
    assert!(note.contains(", 1 flow goes on to its end. "), "{note}");
    let time = teller.clock.rfc3339(Timestamp::from_nanos(5_000_000_000));
    assert!(note.ends_with(&format!(". Deadline: {time}")), "{note}");
}

#[test]
fn an_end_says_how_flows_ended_and_how_long_it_took() {
    let said = teller().over(&over(12, &[(FlowEnd::Client, 8), (FlowEnd::Endpoint, 3), (FlowEnd::Shed, 1)]));
    let said = said.expect("there is something to say");
    assert_eq!((said.reason, said.is_warning), ("DrainEnded", false));
    assert_eq!(
        said.note,
        "Service default/web:http, endpoint 10.0.0.1:8080: no flow is left through node node-1 after 12.3 seconds. \
         12 flows at its beginning; ended: 8 by the client, 3 by the endpoint, 1 shed, 0 cut, 0 broken"
    );
}

#[test]
fn what_was_cut_or_broken_is_a_warning() {
    for end in FlowEnd::ALL {
        let said = teller().over(&over(2, &[(end, 1), (FlowEnd::Client, 1)]));
        let is_warning = said.map(|said| said.is_warning);
        let expected = match end {
            FlowEnd::Cut | FlowEnd::Broken => Some(true),
            // The successor tells.
            FlowEnd::Elsewhere => None,
            _ => Some(false),
        };
        assert_eq!(is_warning, expected, "{end:?}");
    }
    let said = teller().over(&over(2, &[(FlowEnd::Elsewhere, 1), (FlowEnd::Broken, 1)])).expect("a warning");
    assert!(said.is_warning && said.note.ends_with("1 broken, 1 moved elsewhere"), "{}", said.note);
}

#[test]
fn an_undone_drain_is_told_of_with_what_stays() {
    let mut record = over(3, &[(FlowEnd::Client, 2)]);
    record.drain.undone = true;
    record.drain.flows_left = 1;
    // What was cut at a deadline is over with the drain.
    record.drain.deadline = Some(Timestamp::from_nanos(5_000_000_000));
    for (mode, words) in [
        (AdmissionMode::Open, "new flows again"),
        (AdmissionMode::Closed, "no drain any more, and no new flows"),
    ] {
        record.drain.endpoint = endpoint(Some("uid-1"), mode);
        let said = teller().over(&record).expect("there is something to say");
        assert_eq!((said.reason, said.is_warning), ("DrainUndone", false));
        let expected = format!("{words} through node node-1 after 12.3 seconds, 1 flow stays. ");
        assert!(said.note.contains(&expected) && !said.note.contains("Deadline"), "{}", said.note);
    }
    // The successor tells of an end of its flows; that it was undone here is told here.
    record.drain.ends = ends(&[(FlowEnd::Elsewhere, 2)]);
    assert!(teller().over(&record).is_some());
}

/// Without flows here there is nothing to say, nor of an endpoint that is no pod.
#[test]
fn where_nothing_happens_nothing_is_said() {
    assert_eq!(teller().began(&began(0)), None);
    assert_eq!(teller().over(&over(0, &[])), None);
    // None at the beginning, and some since, as a last resort.
    assert!(teller().over(&over(0, &[(FlowEnd::Client, 1)])).is_some());
    assert_eq!(teller().began(&DrainBeginning { pod: None, ..began(1) }), None);
    assert_eq!(
        teller().began(&DrainBeginning { endpoint: endpoint(None, AdmissionMode::Closed), ..began(1) }),
        None
    );
}
