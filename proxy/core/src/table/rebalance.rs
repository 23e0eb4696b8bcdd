//! When flows are moved to endpoints that were added, and of which service: one at a time.
//!
//! Decided here: that a service's endpoints have to stay as they are for a while first (a rollout adds and takes away for
//! minutes), whose turn it is, and when it is over. A service whose endpoints clients are bound to (affinity, maglev) is
//! left out: whoever is told to go would come back to the same endpoint. How many go is `crate::rebalance`'s business.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    vec::Vec,
};
use core::time::Duration;

use super::{Table, service::Service};
use crate::{
    admission::Tier,
    endpoint::{Endpoint, EndpointId},
    name::ServicePort,
    output::{Notice, Output},
    pick::PickSet,
    rebalance::{Load, Rebalance, fair_shares, surplus},
    settings::{Policy, RebalanceSettings, ServiceSettings},
    snapshot::ServiceSnapshot,
    time::Timestamp,
};

/// A service has so much more time than its surplus needs at the cap, before the next one has its turn: flows that are
/// never quiet are not waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// The services that wait, and the one whose turn it is.
#[derive(Debug, Default)]
pub(super) struct Rebalances {
    /// Services to which endpoints were added; since when their endpoints are as they are.
    waiting: BTreeMap<ServicePort, Timestamp>,
    active: Option<Active>,
}

#[derive(Debug)]
struct Active {
    port: ServicePort,
    run: Arc<Rebalance>,
    until: Timestamp,
    /// Nobody is told to go any more, and why.
    ending: Option<&'static str>,
}

impl Rebalances {
    /// A service's part of the snapshot changes.
    pub(super) fn note(
        &mut self,
        port: &ServicePort,
        before: Option<&ServiceSnapshot>,
        after: Option<&ServiceSnapshot>,
        now: Timestamp,
    ) {
        let Some(after) = after.filter(|after| settings(&after.settings).is_some()) else {
            self.waiting.remove(port);
            return self.end(port, "it is not asked for any more");
        };
        let ids = |service: &ServiceSnapshot| -> BTreeSet<EndpointId> {
            service.endpoints().map(|endpoint| endpoint.id()).collect()
        };
        let (old, new) = (before.map(ids).unwrap_or_default(), ids(after));
        if old == new {
            return;
        }
        self.end(port, "its endpoints have changed");
        let was_ended = self.active.as_ref().is_some_and(|active| active.port == *port);
        let is_more = !old.is_empty() && after.tier == Tier::Ready && !new.is_subset(&old);
        if is_more || was_ended || self.waiting.contains_key(port) {
            self.waiting.insert(port.clone(), now);
        }
    }

    fn end(&mut self, port: &ServicePort, why: &'static str) {
        if let Some(active) = self.active.as_mut().filter(|active| active.port == *port) {
            active.end(why);
        }
    }
}

impl Active {
    fn end(&mut self, why: &'static str) {
        self.run.stop();
        self.ending.get_or_insert(why);
    }
}

impl Table {
    /// Goes on with the service whose turn it is, or takes the next one.
    pub(super) fn rebalance(&mut self, now: Timestamp) {
        if let Some(active) = &mut self.rebalances.active {
            match self.services.get(&active.port).and_then(|service| service.published.as_deref()) {
                None => active.end("it is not configured any more"),
                Some(published) => {
                    for (endpoint, share) in shares(published) {
                        active.run.keep(endpoint, share);
                    }
                }
            }
            if active.run.is_done() {
                active.end("no endpoint has more than its fair share");
            } else if now >= active.until {
                active.end("its flows were not quiet for too long");
            }
            // A worker that is lost settles nothing.
            let is_settled = active.run.is_settled() || now >= active.until.after(PATIENCE);
            let Some(why) = active.ending.filter(|_| is_settled) else { return };
            let (service, moved) = (active.port.clone(), active.run.moved());
            self.outputs.push_back(Output::Rebalance(None));
            self.outputs.push_back(Output::Notice(Notice::RebalanceEnded { service, moved, why }));
            self.rebalances.active = None;
        }
        let ready = |(port, since): (&ServicePort, &Timestamp)| {
            let published = self.services.get(port)?.published.as_deref()?;
            let settings = settings(&published.settings)?;
            (now.since(*since) >= settings.delay).then(|| port.clone())
        };
        let ready: Vec<ServicePort> = self.rebalances.waiting.iter().filter_map(ready).collect();
        for port in ready {
            self.rebalances.waiting.remove(&port);
            let Some(run) = self.services.get(&port).and_then(|service| begin(service, now)) else {
                continue;
            };
            let (run, surplus, until) = run;
            let run = Arc::new(run);
            self.outputs.push_back(Output::Rebalance(Some(Arc::clone(&run))));
            let notice = Notice::RebalanceBegan { service: port.clone(), surplus };
            self.outputs.push_back(Output::Notice(notice));
            self.rebalances.active = Some(Active { port, run, until, ending: None });
            return;
        }
    }
}

/// What a service asks for, where it could have an effect.
fn settings(settings: &ServiceSettings) -> Option<RebalanceSettings> {
    let is_by_client = settings.affinity_timeout.is_some() || settings.policy == Policy::Maglev;
    settings.rebalance.filter(|_| !is_by_client)
}

/// A family's endpoints and what they carry. Each family's flows are balanced among its own.
fn loads(set: &PickSet) -> Vec<Load> {
    let load = |(endpoint, weight): (&Arc<Endpoint>, &u16)| Load {
        flows: endpoint.admission().flows(),
        weight: *weight,
    };
    set.endpoints().iter().zip(set.weights()).map(load).collect()
}

fn shares(service: &ServiceSnapshot) -> Vec<(EndpointId, u64)> {
    let of = |set: &PickSet| {
        let ids = set.endpoints().iter().map(|endpoint| endpoint.id());
        ids.zip(fair_shares(&loads(set))).collect::<Vec<_>>()
    };
    [of(&service.v4), of(&service.v6)].concat()
}

/// The service's turn, how many flows are to move, and until when; `None` where all is balanced.
fn begin(service: &Service, now: Timestamp) -> Option<(Rebalance, u64, Timestamp)> {
    let published = service.published.as_deref().filter(|published| published.tier == Tier::Ready)?;
    let settings = settings(&published.settings)?;
    let mut parts = Vec::new();
    for set in [&published.v4, &published.v6] {
        let loads = loads(set);
        let (shares, surplus) = (fair_shares(&loads), surplus(&loads, settings.tolerance));
        for ((endpoint, share), surplus) in set.endpoints().iter().zip(shares).zip(surplus) {
            if surplus > 0 {
                parts.push((Arc::clone(endpoint), share, surplus));
            }
        }
    }
    let surplus: u64 = parts.iter().map(|(_, _, surplus)| surplus).sum();
    let seconds = surplus / u64::from(settings.max_per_second.max(1));
    let until = now.after(Duration::from_secs(seconds)).after(PATIENCE);
    let quiet = published.settings.drain.quiet;
    let run = Rebalance::new(service.slot, quiet, settings.max_per_second, parts, now);
    (surplus > 0).then_some((run, surplus, until))
}
