//! Flows that are told to go.

use std::io::ErrorKind;

use tidegate_core::{
    AdmissionMode, Conditions, DrainPlan, Slice, SliceEndpoint, SliceName, SlicePort, WhenNoneReady,
};

use super::*;

pub(super) fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// What a stream's other end does next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Fin,
    Reset,
}

pub(super) fn next(stream: &mut TcpStream) -> Next {
    match stream.read(&mut [0; 1]) {
        Ok(0) => Next::Fin,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Next::Reset,
        other => panic!("neither a FIN nor a reset: {other:?}"),
    }
}

/// The flow carries a byte.
pub(super) fn exchange(client: &mut TcpStream, endpoint: &mut TcpStream) {
    client.write_all(b"x").unwrap();
    endpoint.read_exact(&mut [0; 1]).expect("the flow goes on");
}

impl Rig {
    pub(super) fn now(&self) -> Timestamp {
        Timestamp::default().after(self.origin.elapsed())
    }

    /// The endpoint takes no new flows, and what is left has until then.
    fn drain(&self, deadline: Timestamp, max_per_second: u32) {
        self.pinned.admission().set_mode(AdmissionMode::Closed);
        let began = self.now();
        self.plan(Some(DrainPlan { began, deadline, window: None, quiet: millis(20), max_per_second }));
    }

    fn plan(&self, plan: Option<DrainPlan>) {
        for worker in 0..2 {
            let endpoint = Arc::clone(&self.pinned);
            self.tell(worker, Command::PlanDrain { endpoint, service: self.listener.service, plan });
        }
    }

    pub(super) fn wait_until(&self, moment: Timestamp) {
        while self.now() < moment {
            std::thread::yield_now();
        }
    }

    /// The service has one endpoint, not the one that the flows have, which is as its conditions say.
    fn list(&mut self, conditions: Conditions) {
        let address = self.endpoint.local_addr().unwrap();
        let endpoint = SliceEndpoint {
            address: address.ip(),
            conditions,
            pod_uid: Some("another".into()),
            pod_name: None,
            node: None,
            zone: None,
            zone_hints: Vec::new(),
            node_hints: Vec::new(),
        };
        let service = self.listener.port.service.clone();
        let settings = ServiceSettings {
            when_none_ready: WhenNoneReady::ServingTerminating,
            ..ServiceSettings::default()
        };
        self.learn(Event::ServicesConfigured(vec![ServiceConfig {
            port: self.listener.port.clone(),
            settings,
            fixed: None,
        }]));
        self.learn(Event::SlicesListed(vec![Slice {
            name: SliceName { namespace: "default".into(), name: "web-1".into() },
            service: Some(service),
            generation: 0,
            ports: vec![SlicePort { name: "http".into(), number: address.port() }],
            endpoints: vec![endpoint],
            ignored_ports: 0,
            ignored_endpoints: 0,
            is_fqdn: false,
        }]));
    }

    /// A flow whose client has sent its FIN and does not take what the endpoint sends: it is never quiet.
    pub(super) fn half_closed_and_held_up(&mut self) -> (TcpStream, TcpStream) {
        let (client, mut endpoint) = self.connect();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(next(&mut endpoint), Next::Fin);
        endpoint.set_write_timeout(Some(millis(300))).unwrap();
        let chunk = vec![7; 1 << 20];
        while endpoint.write(&chunk).is_ok() {}
        (client, endpoint)
    }
}

/// One of those who are held up has taken all that it was sent, so that its flow ends; the others end with their streams.
pub(super) fn let_one_go(mut held_up: Vec<(TcpStream, TcpStream)>) {
    let (mut reader, writer) = held_up.pop().unwrap();
    let reading = std::thread::spawn(move || io::copy(&mut reader, &mut io::sink()));
    reading.join().unwrap().unwrap();
    drop((writer, held_up));
}

/// A deadline that has passed already: whoever is quiet gets a FIN all the same.
#[test]
fn a_deadline_that_is_over_still_leaves_a_fin() {
    let mut rig = Rig::new();
    let flows: Vec<_> = (0..5).map(|_| rig.connect()).collect();
    while rig.flows(0).iter().any(|flow| rig.now().since(flow.active) < millis(100)) {
        std::thread::yield_now();
    }
    rig.drain(rig.now(), 1_000);
    for (mut client, mut endpoint) in flows {
        assert_eq!((next(&mut client), next(&mut endpoint)), (Next::Fin, Next::Fin));
    }
    rig.await_no_flows();
    assert_eq!((rig.ended(Party::Shed), rig.ended(Party::Cut)), (5, 0));
}

/// The cap holds then too, and what it leaves is cut.
#[test]
fn what_is_left_at_the_deadline_is_cut() {
    let mut rig = Rig::new();
    let flows: Vec<_> = (0..5).map(|_| rig.connect()).collect();
    let deadline = rig.now().after(millis(1_000));
    rig.drain(deadline, 1);
    let ends: Vec<_> = flows.into_iter().map(|(mut client, _)| next(&mut client)).collect();
    assert!(rig.now() >= deadline);
    let resets = ends.iter().filter(|end| **end == Next::Reset).count();
    assert!((3..=4).contains(&resets), "{ends:?}");
    rig.await_no_flows();
    assert_eq!(rig.ended(Party::Cut), resets as u64);
}

/// A flow that comes from elsewhere in the middle of a drain has its deadline.
#[test]
fn a_flow_that_is_taken_over_is_shed() {
    let mut rig = Rig::new();
    let (mut client, mut endpoint) = rig.connect();
    // Counted all the way, as a table counts it: a plan for nobody is forgotten.
    let counted = Permit::pinned(&rig.pinned);
    rig.drain(rig.now().after(millis(4_000)), 1_000);
    rig.move_flows(1);
    assert_eq!(rig.flows(1).len(), 1);
    drop(counted);
    assert_eq!((next(&mut client), next(&mut endpoint)), (Next::Fin, Next::Fin));
    drop((client, endpoint));
    rig.await_no_flows();
    assert_eq!((rig.ended(Party::Shed), rig.ended(Party::Cut)), (1, 0));
}

/// A byte that comes in after the FIN is lost, whichever end it is from: that flow was cut and not shed.
#[test]
fn a_byte_after_the_fin_makes_it_a_cut() {
    let mut rig = Rig::new();
    let of_client = rig.connect();
    let (client, endpoint) = rig.connect();
    rig.drain(rig.now().after(millis(1_000)), 1_000);
    // Nobody answers the FIN but with that byte, so it comes while both ends are waited for.
    for (late, _other) in &mut [of_client, (endpoint, client)] {
        assert_eq!(next(late), Next::Fin);
        late.write_all(b"x").unwrap();
    }
    rig.await_no_flows();
    assert_eq!((rig.ended(Party::Shed), rig.ended(Party::Cut)), (0, 2));
}

/// Ends that do not answer the FIN are left alone after a while, and not reset: they have lost nothing.
#[test]
fn who_does_not_answer_the_fin_is_left_after_a_while() {
    let mut rig = Rig::new();
    let (mut client, mut endpoint) = rig.connect();
    let began = rig.now();
    rig.drain(began.after(millis(1_000)), 1_000);
    assert_eq!((next(&mut client), next(&mut endpoint)), (Next::Fin, Next::Fin));
    rig.await_no_flows();
    assert!(rig.now().since(began) >= millis(2_000), "they had no time to answer");
    for stream in [client, endpoint] {
        assert!(stream.take_error().unwrap().is_none(), "a reset after the FIN");
    }
    assert_eq!((rig.ended(Party::Shed), rig.ended(Party::Cut)), (1, 0));
}

/// Whoever is told and stays is told again, once it is quiet.
#[test]
fn who_is_told_and_stays_is_told_again() {
    let mut rig = Rig::new();
    let mut held_up: Vec<_> = (0..4).map(|_| rig.half_closed_and_held_up()).collect();
    let began = rig.now();
    let plan = DrainPlan {
        began,
        deadline: began.after(millis(9_000)),
        window: Some(millis(9_000)),
        quiet: millis(20),
        max_per_second: 1,
    };
    rig.pinned.admission().set_mode(AdmissionMode::Closed);
    rig.plan(Some(plan));
    // The first one is due by then, and as nobody goes all of them have been told.
    rig.wait_until(began.after(millis(3_500)));
    assert_eq!(rig.flows(0).len(), 4);
    let (mut reader, writer) = held_up.pop().unwrap();
    let reading = std::thread::spawn(move || io::copy(&mut reader, &mut io::sink()));
    reading.join().unwrap().unwrap();
    assert!(rig.now() < plan.deadline, "it had its FIN at the cut only");
    drop((writer, held_up));
    rig.await_no_flows();
    assert_eq!((rig.ended(Party::Shed), rig.ended(Party::Cut)), (1, 0));
}

/// Whoever is told and stays costs nobody a turn, and goes when it can.
#[test]
fn who_is_told_and_stays_gives_its_turn_back() {
    let mut rig = Rig::new();
    let mut held_up: Vec<_> = (0..4).map(|_| rig.half_closed_and_held_up()).collect();
    let (mut client, endpoint) = rig.connect();
    rig.drain(rig.now().after(millis(3_300)), 1);
    assert_eq!(next(&mut client), Next::Fin, "four turns at one in a second would have been too late");
    drop((client, endpoint));
    let (mut reader, writer) = held_up.pop().unwrap();
    let reading = std::thread::spawn(move || io::copy(&mut reader, &mut io::sink()));
    drop(writer);
    reading.join().unwrap().unwrap();
    rig.await_no_flows();
    assert_eq!((rig.ended(Party::Shed), rig.ended(Party::Cut)), (1, 3));
    drop(held_up);
}

/// A plan whose deadline has passed while nobody could go, as a successor gets it: when somebody can, there is no storm.
#[test]
fn a_deadline_that_passed_elsewhere_is_put_off() {
    let mut rig = Rig::new();
    let flows: Vec<_> = (0..12).map(|_| rig.connect()).collect();
    let published = rig.cell.swap(Arc::default());
    let (began, deadline) = (rig.now().before(millis(60_000)), rig.now().before(millis(30_000)));
    rig.pinned.admission().set_mode(AdmissionMode::Closed);
    rig.plan(Some(DrainPlan { began, deadline, window: None, quiet: millis(20), max_per_second: 10 }));
    let soon = rig.now().after(millis(300));
    rig.wait_until(soon);
    assert_eq!(rig.flows(0).len(), 12);
    rig.cell.store(published);
    for (mut client, mut endpoint) in flows {
        assert_eq!((next(&mut client), next(&mut endpoint)), (Next::Fin, Next::Fin));
    }
    assert!(rig.now() >= soon.after(millis(800)), "twelve, less what is kept for a moment");
    rig.await_no_flows();
    assert_eq!((rig.ended(Party::Shed), rig.ended(Party::Cut)), (12, 0));
}

/// D9: an endpoint that is not ready, or is a last resort, is nobody's refuge: sheds and the cut wait.
#[test]
fn without_a_ready_endpoint_nobody_is_told_to_go() {
    let not_ready = Conditions { ready: false, serving: false, terminating: false };
    let last_resort = Conditions { serving: true, terminating: true, ..not_ready };
    for (conditions, eligible) in [(not_ready, 0), (last_resort, 1)] {
        let mut rig = Rig::new();
        let (mut client, mut endpoint) = rig.connect();
        rig.list(conditions);
        let service = rig.cell.load().service(rig.listener.service).map(|service| service.eligible());
        assert_eq!(service, Some(eligible));
        let deadline = rig.now().after(millis(400));
        rig.drain(deadline, 1_000);
        rig.wait_until(deadline.after(millis(600)));
        exchange(&mut client, &mut endpoint);
        rig.list(Conditions::default());
        assert_eq!((next(&mut client), next(&mut endpoint)), (Next::Fin, Next::Fin));
        drop((client, endpoint));
        rig.await_no_flows();
        assert_eq!((rig.ended(Party::Shed), rig.ended(Party::Cut)), (1, 0));
    }
}

/// D8: a plan that is taken back sheds and cuts nobody, also where the endpoint stays closed; nor does one whose endpoint
/// is open already, before that is told.
#[test]
fn a_plan_that_is_undone_ends_no_flow() {
    let undo: [fn(&Rig); 2] =
        [|rig| rig.plan(None), |rig| _ = rig.pinned.admission().set_mode(AdmissionMode::Open)];
    for undo in undo {
        let mut rig = Rig::new();
        let (mut client, mut endpoint) = rig.connect();
        let deadline = rig.now().after(millis(600));
        rig.drain(deadline, 1_000);
        undo(&rig);
        rig.wait_until(deadline.after(millis(400)));
        exchange(&mut client, &mut endpoint);
        assert_eq!((rig.ended(Party::Shed), rig.ended(Party::Cut)), (0, 0));
    }
}

/// A last resort keeps its plan after the cut, for whoever comes later.
#[test]
fn who_comes_to_a_last_resort_after_the_cut_is_cut_too() {
    let mut rig = Rig::new();
    let (mut second, _endpoint) = rig.connect();
    let elsewhere = rig.freeze(0);
    let (mut first, _endpoint) = rig.connect();
    rig.pinned.admission().set_mode(AdmissionMode::LastResort);
    let (began, deadline) = (rig.now().before(millis(2_000)), rig.now().before(millis(1_000)));
    rig.plan(Some(DrainPlan { began, deadline, window: None, quiet: PATIENCE, max_per_second: 10 }));
    assert_eq!(next(&mut first), Next::Reset);
    elsewhere.into_iter().for_each(|flow| rig.adopt(0, flow));
    assert_eq!(next(&mut second), Next::Reset);
    rig.await_no_flows();
    assert_eq!(rig.ended(Party::Cut), 2);
}

/// A deadline that moves earlier is followed in the middle of a drain.
#[test]
fn an_earlier_deadline_is_followed() {
    let mut rig = Rig::new();
    let (mut client, mut endpoint) = rig.connect();
    let now = rig.now();
    rig.drain(now.after(millis(600_000)), 1_000);
    rig.drain(now.after(millis(600)), 1_000);
    assert_eq!((next(&mut client), next(&mut endpoint)), (Next::Fin, Next::Fin));
    drop((client, endpoint));
    rig.await_no_flows();
    assert_eq!((rig.ended(Party::Shed), rig.ended(Party::Cut)), (1, 0));
}
