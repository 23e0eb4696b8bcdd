//! The other instances, as a gate that waits knows them.
//!
//! An instance that starts while a gate waits lists the pod afresh and may send flows to it: so the list of instances is
//! read again meanwhile, and who is new is asked. Decided here: when, and who is asked no more. One that has left the
//! list may still have flows: it is waited for until it is done, or has been silent for as long as any other. What
//! follows from what they say is `tidegate_core::gate`'s decision.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};

use tidegate_control::{ControlError, ControlHandle};
use tidegate_core::{GateFacts, Timestamp, gate::PeerState};
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinSet},
    time::Instant,
};

use super::GateInstance;
use crate::{Peers, peers::follow::Seen};

/// How often the list is read again.
const READ_EVERY: Duration = Duration::from_secs(1);

/// All that were found since the wait began.
pub(super) struct Members {
    peers: Option<Arc<Peers>>,
    /// The pod that is asked about.
    uid: Arc<str>,
    all: Vec<Member>,
    /// When the list was read.
    read: Instant,
    /// What followers hear, with the place of whom they follow.
    news: mpsc::Receiver<(usize, Seen)>,
    sender: mpsc::Sender<(usize, Seen)>,
    /// End with the wait.
    followers: JoinSet<()>,
}

/// Another instance, and what it said last.
struct Member {
    address: SocketAddr,
    state: PeerState,
    error: Option<String>,
    /// Who follows it; none where it has left the list and is not waited for.
    follower: Option<AbortHandle>,
}

impl Members {
    /// Those that are in the list at this moment, none of which has said anything.
    pub(super) async fn read(
        peers: Option<Arc<Peers>>,
        uid: Arc<str>,
        control: &ControlHandle,
    ) -> Result<Self, ControlError> {
        let (sender, news) = mpsc::channel(64);
        let (all, followers) = (Vec::new(), JoinSet::new());
        let mut members = Self { peers, uid, all, read: Instant::now(), news, sender, followers };
        members.read_again(control).await?;
        Ok(members)
    }

    /// Reads the list again, and says whether anybody is to be waited for that was not.
    pub(super) async fn read_again(&mut self, control: &ControlHandle) -> Result<bool, ControlError> {
        let Some(peers) = self.peers.clone() else { return Ok(false) };
        let listed = peers.others_lately(control).await?;
        self.read = Instant::now();
        while self.followers.try_join_next().is_some() {}
        let now = control.clock().now();
        self.leave_all_but(&listed, now);
        let mut has_new = false;
        for address in listed.iter().copied() {
            let place = self.all.iter().position(|member| member.address == address);
            if place.is_some_and(|place| self.all[place].follower.is_some()) {
                continue;
            }
            has_new = true;
            let index = place.unwrap_or(self.all.len());
            let (peers, uid, sender) = (Arc::clone(&peers), Arc::clone(&self.uid), self.sender.clone());
            let follower =
                self.followers.spawn(async move { peers.follow(address, &uid, index, &sender).await });
            let member = Member {
                address,
                state: PeerState::Silent { since: now, was_done: false },
                error: Some("it has not answered yet".to_owned()),
                follower: Some(follower),
            };
            match place {
                Some(place) => self.all[place] = member,
                None => self.all.push(member),
            }
        }
        Ok(has_new)
    }

    /// Those that have left the list and that nobody waits for are not asked any more.
    fn leave_all_but(&mut self, listed: &BTreeSet<SocketAddr>, now: Timestamp) {
        for member in self.all.iter_mut().filter(|member| !listed.contains(&member.address)) {
            let is_over = matches!(member.state, PeerState::Silent { was_done: true, .. });
            if (is_over || member.state.is_given_up(now))
                && let Some(follower) = member.follower.take()
            {
                follower.abort();
            }
        }
    }

    /// When the list is to be read again; never where there are no others.
    pub(super) fn reads_at(&self) -> Option<Instant> {
        self.peers.is_some().then(|| self.read + READ_EVERY)
    }

    /// What is known of each.
    pub(super) fn states(&self) -> Vec<PeerState> {
        self.all.iter().map(|member| member.state).collect()
    }

    /// Waits until one of them has said something, or that it cannot be reached was noticed.
    pub(super) async fn hear(&mut self, control: &ControlHandle) {
        if let Some((index, seen)) = self.news.recv().await {
            self.note(index, seen, control.clock().now());
        }
    }

    fn note(&mut self, index: usize, seen: Seen, now: Timestamp) {
        // What somebody said who was left since then is no matter.
        let Some(member) = self.all.get_mut(index).filter(|member| member.follower.is_some()) else { return };
        match seen {
            Seen::Facts(facts) => {
                member.state = PeerState::Facts(facts);
                member.error = None;
            }
            Seen::Silent(why) => {
                if let PeerState::Facts(facts) = member.state {
                    let was_done = facts.is_done() && facts.known;
                    member.state = PeerState::Silent { since: now, was_done };
                }
                member.error = Some(why);
            }
            // It is this one: nothing more is to be waited for.
            Seen::Own => {
                member.state = PeerState::Silent { since: now, was_done: true };
                member.error = None;
            }
        }
    }

    /// What each said last, as it is answered.
    pub(super) fn instances(&self) -> impl Iterator<Item = GateInstance> {
        self.all.iter().filter_map(|member| {
            let (state, flows) = match &member.state {
                PeerState::Facts(facts) => (word(facts), facts.flows),
                PeerState::Silent { was_done: true, .. } if member.error.is_none() => return None,
                PeerState::Silent { was_done: true, .. } => ("done", 0),
                PeerState::Silent { .. } => ("unreachable", 0),
            };
            Some(GateInstance {
                instance: member.address.to_string(),
                state: state.to_owned(),
                flows,
                error: (state == "unreachable").then(|| member.error.clone()).flatten(),
            })
        })
    }
}

/// What an instance knows, in a word.
pub(super) fn word(facts: &GateFacts) -> &'static str {
    match (facts.synced, facts.is_programmed(), facts.flows) {
        (false, _, _) => "not_synced",
        (true, false, _) => "not_programmed",
        (true, true, 1..) => "flows_left",
        (true, true, 0) => "done",
    }
}
