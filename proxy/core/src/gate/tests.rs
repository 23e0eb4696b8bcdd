use alloc::vec::Vec;

use super::*;

const ABSENT: GateFacts =
    GateFacts { synced: true, known: false, terminating: false, programmed: true, flows: 0 };
const READY: GateFacts = GateFacts { known: true, programmed: false, ..ABSENT };
const UNSYNCED: GateFacts = GateFacts { synced: false, ..ABSENT };

fn leaving(flows: u64) -> GateFacts {
    GateFacts { terminating: true, programmed: true, flows, ..READY }
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn wait(phase: GatePhase) -> Judgement {
    Judgement::Wait { phase, again: None }
}

fn silent(since: u64) -> PeerState {
    PeerState::Silent { since: at(since), was_done: false }
}

#[test]
fn the_phases_follow_each_other() {
    let mut gate = Gate::new(at(0));
    let flows = GateFacts { flows: 3, ..READY };
    assert_eq!(gate.judge(&UNSYNCED, &[], at(5_000)), wait(GatePhase::Syncing));
    let first = Judgement::Wait { phase: GatePhase::Terminating, again: Some(at(9_000)) };
    assert_eq!(gate.judge(&flows, &[], at(6_000)), first, "the limit counts from the complete list on");
    let open = GateFacts { terminating: true, ..flows };
    assert_eq!(gate.judge(&open, &[], at(6_100)), wait(GatePhase::Programmed));
    assert_eq!(gate.judge(&leaving(3), &[], at(6_200)), wait(GatePhase::Drained));
    assert_eq!(gate.judge(&leaving(0), &[], at(6_300)), Judgement::Open(GateOutcome::Drained));
}

#[test]
fn a_pod_that_does_not_terminate_is_let_go_after_the_limit() {
    let mut gate = Gate::new(at(0));
    let limit = TERMINATING_LIMIT.as_millis() as u64;
    gate.judge(&READY, &[], at(0));
    assert!(matches!(gate.judge(&READY, &[], at(limit - 1)), Judgement::Wait { .. }));
    assert_eq!(gate.judge(&READY, &[], at(limit)), Judgement::Open(GateOutcome::NotTerminating));
}

/// D8: the gate is told that its drain was undone.
#[test]
fn a_reverted_drain_opens_the_gate_as_such() {
    let mut gate = Gate::new(at(0));
    gate.judge(&leaving(2), &[], at(0));
    let peers = [PeerState::Facts(leaving(1))];
    assert_eq!(gate.judge(&READY, &peers, at(10)), Judgement::Open(GateOutcome::Reverted));
}

/// Another instance may have the news first: then this one's own word is waited for, however long it takes.
#[test]
fn a_peer_that_sees_the_pod_terminating_is_believed() {
    let mut gate = Gate::new(at(0));
    let peers = [PeerState::Facts(leaving(0))];
    assert_eq!(gate.judge(&READY, &peers, at(0)), wait(GatePhase::Programmed));
    assert_eq!(gate.judge(&READY, &peers, at(20_000)), wait(GatePhase::Programmed));
    assert_eq!(gate.judge(&leaving(0), &peers, at(20_001)), Judgement::Open(GateOutcome::Drained));
}

/// D11: nobody routes here is true of all instances, or not said.
#[test]
fn every_instance_counts() {
    let judge = |peer: GateFacts| Gate::new(at(0)).judge(&leaving(0), &[PeerState::Facts(peer)], at(60_000));
    assert_eq!(judge(UNSYNCED), wait(GatePhase::Programmed), "one that has not synced says not yet");
    assert_eq!(judge(READY), wait(GatePhase::Programmed), "one whose slices are behind");
    assert_eq!(judge(leaving(1)), wait(GatePhase::Drained));
    let open = Judgement::Open(GateOutcome::Drained);
    assert_eq!((judge(ABSENT), judge(leaving(0))), (open, open));
    let left = GateFacts { flows: 1, ..ABSENT };
    assert_eq!(judge(left), wait(GatePhase::Drained), "flows count whatever else is known");
}

#[test]
fn a_silent_peer_is_waited_for_up_to_the_limit() {
    let limit = SILENCE_LIMIT.as_millis() as u64;
    let mut gate = Gate::new(at(0));
    let peers = [silent(100), PeerState::Facts(leaving(0))];
    let expected = Judgement::Wait { phase: GatePhase::Programmed, again: Some(at(100 + limit)) };
    assert_eq!(gate.judge(&leaving(0), &peers, at(200)), expected);
    assert!(!peers[0].is_given_up(at(99 + limit)) && peers[0].is_given_up(at(100 + limit)));
    assert_eq!(gate.judge(&leaving(0), &peers, at(100 + limit)), Judgement::Open(GateOutcome::Drained));
    let later = gate.judge(&leaving(1), &peers, at(100 + limit));
    assert_eq!(later, wait(GatePhase::Drained), "it keeps nobody else from being waited for");
    let done = PeerState::Silent { since: at(0), was_done: true };
    assert!(!done.is_given_up(at(60_000)), "what it said last was final");
    assert_eq!(gate.judge(&leaving(0), &[done], at(1)), Judgement::Open(GateOutcome::Drained));
}

/// A gate never opens as drained while any instance that can be reached has a flow, or may get one.
#[test]
fn no_combination_opens_early() {
    let facts: Vec<GateFacts> = (0..32_u32)
        .map(|bits| GateFacts {
            synced: bits & 1 > 0,
            known: bits & 2 > 0,
            terminating: bits & 4 > 0,
            programmed: bits & 8 > 0,
            flows: u64::from(bits & 16 > 0),
        })
        .collect();
    for own in &facts {
        for peer in &facts {
            for was_terminating in [false, true] {
                let mut gate = Gate::new(at(0));
                gate.was_terminating = was_terminating;
                let judged = gate.judge(own, &[PeerState::Facts(*peer)], at(10_000));
                if judged == Judgement::Open(GateOutcome::Drained) {
                    assert!(own.is_done() && peer.is_done(), "{own:?} {peer:?}");
                }
            }
        }
    }
}
