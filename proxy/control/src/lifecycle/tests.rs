use super::*;

const FACTS: Facts = Facts { shutdowns: 0, listeners_held: 0, listeners_closing: 0, flows: 0, workers: 2 };

fn course(grace: Option<Duration>) -> Course {
    let delay = Duration::from_secs(5);
    Course::new(LifecycleSettings { delay, grace, ..LifecycleSettings::default() })
}

/// A course that waits for flows, and the moment at which it began to.
fn waiting(grace: Option<Duration>) -> (Course, Instant) {
    let mut course = course(grace);
    let now = Instant::now();
    let facts = Facts { shutdowns: 1, flows: 3, ..FACTS };
    assert_eq!(course.step(&facts, now), Some(Step::BeginDraining));
    let now = now + Duration::from_secs(5);
    assert_eq!(course.step(&facts, now), Some(Step::CloseListeners));
    assert_eq!(course.step(&facts, now), Some(Step::AwaitFlows));
    assert_eq!(course.step(&facts, now), None);
    (course, now)
}

#[test]
fn ready_once_every_listener_is_given() {
    let mut course = course(None);
    let now = Instant::now();
    assert_eq!(course.step(&Facts { listeners_held: 1, ..FACTS }, now), None);
    assert_eq!(course.lifecycle(), Lifecycle::Starting);
    assert_eq!(course.step(&FACTS, now), Some(Step::BecomeReady));
    assert_eq!(course.step(&FACTS, now), None);
    assert_eq!(course.lifecycle(), Lifecycle::Ready);
}

/// R7: readiness goes first, listeners after the delay, workers after the flows.
#[test]
fn listeners_stay_open_for_the_delay() {
    let mut course = course(None);
    let now = Instant::now();
    let facts = Facts { shutdowns: 1, ..FACTS };
    assert_eq!(course.step(&FACTS, now), Some(Step::BecomeReady));
    assert_eq!(course.step(&facts, now), Some(Step::BeginDraining));
    assert_eq!(course.deadline(), Some(now + Duration::from_secs(5)));
    assert_eq!(course.step(&facts, now + Duration::from_millis(4_999)), None);
    assert_eq!(course.step(&facts, now + Duration::from_secs(5)), Some(Step::CloseListeners));
}

#[test]
fn a_worker_that_does_not_close_its_listener_is_not_waited_for_for_ever() {
    let mut course = course(None);
    let now = Instant::now();
    let facts = Facts { shutdowns: 1, listeners_closing: 1, ..FACTS };
    assert_eq!(course.step(&facts, now), Some(Step::BeginDraining));
    let now = now + Duration::from_secs(5);
    assert_eq!(course.step(&facts, now), Some(Step::CloseListeners));
    assert_eq!(course.step(&facts, now), None);
    assert_eq!(course.step(&facts, now + CLOSING_LIMIT), Some(Step::AwaitFlows));
}

#[test]
fn without_grace_flows_are_waited_for_for_ever() {
    let (mut course, now) = waiting(None);
    let facts = Facts { shutdowns: 1, flows: 3, ..FACTS };
    let much_later = now + Duration::from_secs(86_400);
    assert_eq!(course.step(&facts, much_later), Some(Step::ReportProgress));
    assert_eq!(course.step(&facts, much_later), None);
    let facts = Facts { flows: 0, ..facts };
    assert_eq!(course.step(&facts, much_later), Some(Step::StopWorkers(StopCause::NoFlows)));
}

#[test]
fn the_grace_ends_the_wait() {
    let (mut course, now) = waiting(Some(Duration::from_secs(3)));
    let facts = Facts { shutdowns: 1, flows: 3, ..FACTS };
    assert_eq!(course.step(&facts, now + Duration::from_millis(2_999)), None);
    let end = now + Duration::from_secs(3);
    assert_eq!(course.deadline(), Some(end));
    assert_eq!(course.step(&facts, end), Some(Step::StopWorkers(StopCause::GraceOver)));
    assert_eq!(course.step(&facts, end), None);
    assert_eq!(course.step(&Facts { workers: 0, ..facts }, end), Some(Step::Finish));
    assert_eq!(course.lifecycle(), Lifecycle::Stopped);
}

#[test]
fn a_worker_that_does_not_stop_is_not_waited_for_for_ever() {
    let (mut course, now) = waiting(None);
    let facts = Facts { shutdowns: 1, ..FACTS };
    assert_eq!(course.step(&facts, now), Some(Step::StopWorkers(StopCause::NoFlows)));
    assert_eq!(course.step(&facts, now + STOPPING_LIMIT), Some(Step::Finish));
}

#[test]
fn a_second_request_ends_at_once_from_any_state() {
    let facts = Facts { shutdowns: 2, listeners_held: 1, listeners_closing: 1, flows: 3, workers: 2 };
    let now = Instant::now();
    let stop = Some(Step::StopWorkers(StopCause::SecondRequest));
    assert_eq!(course(None).step(&facts, now), stop);
    let mut draining = course(None);
    assert_eq!(draining.step(&Facts { shutdowns: 1, ..facts }, now), Some(Step::BeginDraining));
    assert_eq!(draining.step(&facts, now), stop);
    let (mut waiting, now) = waiting(None);
    assert_eq!(waiting.step(&facts, now), stop);
    assert_eq!(waiting.step(&facts, now), None);
}

#[test]
fn progress_is_reported_every_ten_seconds() {
    let (mut course, begin) = waiting(None);
    let facts = Facts { shutdowns: 1, flows: 3, ..FACTS };
    let reports = (1..=300)
        .filter(|tenths| {
            let now = begin + Duration::from_millis(tenths * 100);
            course.step(&facts, now) == Some(Step::ReportProgress)
        })
        .count();
    assert_eq!(reports, 3);
}
