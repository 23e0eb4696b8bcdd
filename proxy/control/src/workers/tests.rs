use tidegate_core::ListenerId;

use super::*;

fn workers(count: usize, capacity: usize) -> (Workers, Vec<mpsc::Receiver<Command>>) {
    let (senders, receivers) = (0..count).map(|_| mpsc::channel(capacity)).unzip();
    (Workers::new(senders, Arc::default()), receivers)
}

fn stop_accepting(request: u64) -> Command {
    Command::StopAccepting { listener: ListenerId(0), request }
}

fn requests(receiver: &mut mpsc::Receiver<Command>) -> Vec<u64> {
    let mut requests = Vec::new();
    while let Ok(command) = receiver.try_recv() {
        match command {
            Command::StopAccepting { request, .. } | Command::Ping { request } => requests.push(request),
            other => panic!("{other:?}"),
        }
    }
    requests
}

#[test]
fn a_full_channel_keeps_the_order_and_loses_nothing() {
    let (mut workers, mut receivers) = workers(1, 2);
    for request in 0..5 {
        workers.tell(0, stop_accepting(request));
    }
    let mut seen = requests(&mut receivers[0]);
    while workers.deadline(Instant::now()).is_some() {
        workers.flush();
        seen.extend(requests(&mut receivers[0]));
    }
    assert_eq!(seen, [0, 1, 2, 3, 4]);
}

#[test]
fn a_backlog_is_bounded() {
    let (mut workers, _receivers) = workers(1, 1);
    for request in 0..=BACKLOG_LIMIT as u64 + 3 {
        workers.tell(0, stop_accepting(request));
    }
    assert_eq!(workers.lines[0].backlog.len(), BACKLOG_LIMIT);
    assert_eq!(workers.counters.commands_dropped.load(Ordering::Relaxed), 3);
}

#[test]
fn a_worker_that_vanished_is_lost_until_it_was_told_to_stop() {
    let (mut workers, mut receivers) = workers(2, 1);
    drop(receivers.remove(1));
    assert_eq!(workers.lost(), [1]);
    assert_eq!(workers.running(), 1);
    workers.stop();
    assert!(workers.lost().is_empty());
    workers.stopped(0);
    assert_eq!(workers.running(), 0);
}

#[test]
fn a_question_closes_with_the_last_answer() {
    let (mut workers, mut receivers) = workers(2, 8);
    let mut questions = Questions::new();
    let deadline = Instant::now() + Duration::from_secs(1);
    let asked = questions.ask(&mut workers, 1, deadline, Vec::new(), |request, _| Command::Ping { request });
    assert!(asked.is_none());
    let first = requests(&mut receivers[0])[0];
    let second = requests(&mut receivers[1])[0];
    assert_ne!(first, second);
    assert!(questions.answered(second, Vec::push).is_none());
    assert!(questions.answered(second, Vec::push).is_none(), "answered twice");
    let closed = questions.answered(first, Vec::push).unwrap();
    assert_eq!(closed.purpose, [1, 0]);
    assert!(closed.silent.is_empty());
    assert_eq!(questions.deadline(), None);
}

#[test]
fn a_question_that_expires_names_the_silent_and_ignores_late_answers() {
    let (mut workers, mut receivers) = workers(2, 8);
    let mut questions = Questions::new();
    let deadline = Instant::now() + Duration::from_secs(1);
    questions.ask(&mut workers, 2, deadline, (), |request, _| Command::Ping { request });
    for request in requests(&mut receivers[0]) {
        assert!(questions.answered(request, |(), _| ()).is_none());
    }
    assert!(questions.expired(Instant::now()).is_none());
    let closed = questions.expired(deadline).unwrap();
    assert_eq!(closed.silent, [1]);
    for request in requests(&mut receivers[1]) {
        assert!(questions.answered(request, |(), _| ()).is_none());
    }
    assert!(questions.requests.is_empty());
}

#[test]
fn a_question_to_nobody_closes_at_once() {
    let (mut workers, _) = workers(0, 1);
    let mut questions = Questions::new();
    let closed =
        questions.ask(&mut workers, 1, Instant::now(), "ping", |request, _| Command::Ping { request });
    assert_eq!(closed.unwrap().purpose, "ping");
}
