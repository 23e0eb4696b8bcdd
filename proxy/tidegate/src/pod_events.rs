//! Events on pods: when a drain began with flows on this instance, and what it came to.
//!
//! Decided here: which drains are told of, and in which words. An instance without a flow on the endpoint says nothing:
//! every instance sees every drain, and a hundred of them would say a hundred times that nothing happens. Where flows
//! went on in a successor, the successor tells what the drain came to; what broke or was cut before that, this process
//! tells. How Events are written, and at which rate, is decided in `tidegate_kubernetes`.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use tidegate_control::{AuditRecord, Clock, ControlHandle, DrainBeginning, DrainNews};
use tidegate_core::{AdmissionMode, DrainRecord, Endpoint, Ends, FlowEnd, Timestamp};
use tidegate_kubernetes::{Announcement, Follower};
use tokio::{sync::broadcast::error::RecvError, task::JoinHandle, time::timeout};

/// How long the end of the process waits for the last news.
const LAST_NEWS: Duration = Duration::from_secs(1);

/// Says what becomes of drains, until the controller has ended.
#[derive(Default)]
pub(crate) struct PodEvents(Option<(JoinHandle<()>, Arc<Follower>)>);

impl PodEvents {
    /// Starts to follow the news. To be called on the control runtime.
    pub(crate) fn start(handle: &ControlHandle, follower: Arc<Follower>, node: Option<Arc<str>>) -> Self {
        let news = handle.drain_news().filter(|_| follower.announces());
        let Some(mut news) = news else { return Self::default() };
        let teller = Teller { clock: handle.clock(), node };
        let announcing = Arc::clone(&follower);
        let passing_on = tokio::spawn(async move {
            loop {
                let announcement = match news.recv().await {
                    Ok(DrainNews::Began(began)) => teller.began(&began),
                    Ok(DrainNews::Over(record)) => teller.over(&record),
                    Err(RecvError::Lagged(missed)) => {
                        // There may have been nothing to say of it: more than was dropped, never less.
                        announcing.missed(missed);
                        None
                    }
                    Err(RecvError::Closed) => return,
                };
                if let Some(announcement) = announcement {
                    announcing.announce(announcement);
                }
            }
        });
        Self(Some((passing_on, follower)))
    }

    /// Waits until the last Events are written, for a while. For the end of the process, when the controller has ended.
    pub(crate) async fn finish(self) {
        if let Some((passing_on, follower)) = self.0 {
            let _ = timeout(LAST_NEWS, passing_on).await;
            follower.announced().await;
        }
    }
}

/// What there is to say of a drain.
struct Teller {
    clock: Clock,
    node: Option<Arc<str>>,
}

impl Teller {
    fn began(&self, began: &DrainBeginning) -> Option<Announcement> {
        let DrainBeginning { endpoint, pod, causes, flows, deadline } = began;
        if *flows == 0 {
            return None;
        }
        let go_on = counted(*flows, "goes on to its end", "go on to their end");
        let mut note = format!("{}: no new flows{}, {go_on}. Why: {causes}", of(endpoint), self.here());
        self.add_deadline(&mut note, *deadline);
        self.announcement(endpoint, pod.as_ref(), "DrainBegan", false, note, self.clock.now())
    }

    fn over(&self, AuditRecord { drain, .. }: &AuditRecord) -> Option<Announcement> {
        let DrainRecord { endpoint, pod, began, ended, undone, deadline, flows_left, ends, .. } = drain;
        if drain.flows_at_start + ends.total() == 0 {
            return None;
        }
        let is_warning = ends.of(FlowEnd::Cut) + ends.of(FlowEnd::Broken) > 0;
        if ends.of(FlowEnd::Elsewhere) > 0 && !is_warning && !undone {
            return None;
        }
        let (endpoint_words, here, took) = (of(endpoint), self.here(), ended.since(*began).as_secs_f64());
        let mut note = if *undone {
            let stay = counted(*flows_left, "stays", "stay");
            // An endpoint that has gone meanwhile is not opened again.
            let is_open = endpoint.admission().mode() == AdmissionMode::Open;
            let what = if is_open { "new flows again" } else { "no drain any more, and no new flows" };
            format!("{endpoint_words}: {what}{here} after {took:.1} seconds, {stay}")
        } else {
            format!("{endpoint_words}: no flow is left{here} after {took:.1} seconds")
        };
        let _ = write!(
            note,
            ". {} at its beginning; ended: {}",
            counted(drain.flows_at_start, "", ""),
            how(ends)
        );
        if !undone {
            self.add_deadline(&mut note, *deadline);
        }
        let reason = if *undone { "DrainUndone" } else { "DrainEnded" };
        self.announcement(endpoint, pod.as_ref(), reason, is_warning, note, *ended)
    }

    fn announcement(
        &self,
        endpoint: &Endpoint,
        pod: Option<&Arc<str>>,
        reason: &'static str,
        is_warning: bool,
        note: String,
        at: Timestamp,
    ) -> Option<Announcement> {
        let (pod, uid) = (Arc::clone(pod?), endpoint.identity().pod_uid.clone()?);
        Some(Announcement { pod, uid, reason, is_warning, note, at: self.clock.wall(at) })
    }

    fn here(&self) -> String {
        self.node.as_ref().map(|node| format!(" through node {node}")).unwrap_or_default()
    }

    fn add_deadline(&self, note: &mut String, deadline: Option<Timestamp>) {
        if let Some(deadline) = deadline {
            let _ = write!(note, ". Deadline: {}", self.clock.rfc3339(deadline));
        }
    }
}

fn of(endpoint: &Endpoint) -> String {
    format!("Service {}, endpoint {}", endpoint.service(), endpoint.address())
}

fn counted(flows: u64, one: &str, many: &str) -> String {
    let (noun, verb) = if flows == 1 { ("flow", one) } else { ("flows", many) };
    format!("{flows} {noun} {verb}").trim_end().to_owned()
}

/// How flows ended: what an operator looks for is said also where it is none.
fn how(ends: &Ends) -> String {
    let words = |end| match end {
        FlowEnd::Client => "by the client",
        FlowEnd::Endpoint => "by the endpoint",
        FlowEnd::Shed => "shed",
        FlowEnd::Cut => "cut",
        FlowEnd::Broken => "broken",
        FlowEnd::Ordered => "on order",
        FlowEnd::Elsewhere => "moved elsewhere",
    };
    let is_told = |end: &FlowEnd| ends.of(*end) > 0 || !matches!(end, FlowEnd::Ordered | FlowEnd::Elsewhere);
    let told = FlowEnd::ALL.into_iter().filter(is_told);
    told.map(|end| format!("{} {}", ends.of(end), words(end))).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
