//! Processes that are parked behind the one that serves, and take over again when that one ends.
//!
//! A pod that has handed over stays until the kubelet ends it. Where the pod that took over is the one that ends (a rollback,
//! a probe that failed, a crash), the parked one is the only one left on the node. So it keeps a connection to the process
//! that serves, which holds it for as long as it means to go on. Nothing is said on it: its end is the news.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use anyhow::{Context as _, bail};
use tidegate_config::{Configuration, Handoff};
use tidegate_control::{ControlHandle, Lifecycle};
use tidegate_handoff::{
    Channel, ChannelError, Message,
    message::{Hello, PROTOCOLS},
};

use super::{STEP, asker, meeting, own_pod, predecessor::Predecessor};
use crate::park::Superseded;

/// How many connections are held. A container that is started again and again leaves one each time.
const MOST: usize = 64;

/// Who is parked behind this process.
#[derive(Clone, Debug)]
pub(crate) struct Parked(Arc<Mutex<Option<VecDeque<Channel>>>>);

impl Parked {
    /// Holds them until this process begins to end, or another one has taken over.
    pub(crate) fn behind(handle: &ControlHandle) -> anyhow::Result<Self> {
        let parked = Self(Arc::new(Mutex::new(Some(VecDeque::new()))));
        let (held, mut lifecycle, waiter) = (parked.clone(), handle.subscribe(), asker()?);
        let serves = |lifecycle: &Lifecycle| matches!(lifecycle, Lifecycle::Starting | Lifecycle::Ready);
        thread::Builder::new().name("parked".to_owned()).spawn(move || {
            // Where the controller has gone this process is about to.
            let _ = waiter.block_on(lifecycle.wait_for(|now| !serves(now)));
            *held.lock() = None;
        })?;
        Ok(parked)
    }

    /// This process goes on, and whoever has handed over is to wait.
    fn are_held(&self) -> bool {
        self.lock().is_some()
    }

    /// Holds one, if this process goes on.
    fn hold(&self, channel: Channel) {
        if let Some(held) = &mut *self.lock() {
            if held.len() == MOST {
                // The oldest, who is gone, or comes again.
                held.pop_front();
            }
            held.push_back(channel);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<VecDeque<Channel>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Predecessor {
    /// It has handed over and is to wait, for as long as this process goes on.
    pub(super) fn has_handed_over(&self, hello: &Hello) -> bool {
        let is_known = hello.pod_uid.as_ref().is_some_and(|pod| self.superseded.contains(pod));
        hello.waits || (is_known && self.parked.are_held())
    }

    /// Tells it so. Where this process ends, it hears that, and comes again to take over.
    pub(super) fn park(&self, hello: &Hello, channel: Channel) -> anyhow::Result<Option<Channel>> {
        if self.parked.are_held() {
            tracing::info!(
                pod = hello.pod_uid,
                "a process that has handed over waits for the end of this one"
            );
            let by = own_pod().unwrap_or_default();
            channel.say(&Message::Superseded { by }, STEP)?;
            self.parked.hold(channel);
        }
        Ok(None)
    }
}

/// Goes behind the process that has taken over from this one; none where that one is ending already.
pub(crate) fn stand_by(
    handoff: &Handoff,
    configuration: &Configuration,
) -> anyhow::Result<Option<Superseded>> {
    let Some(owner) = meeting::connect(&handoff.socket)? else { return Ok(None) };
    let hello = Hello {
        protocols: PROTOCOLS.to_vec(),
        config: super::hash(configuration),
        pod_uid: own_pod(),
        waits: true,
        ..Hello::default()
    };
    owner.say(&Message::Hello(hello), STEP)?;
    match owner.hear(handoff.timeout).map(|heard| heard.message) {
        Ok(Message::Superseded { by }) => {
            Ok(Some(Superseded { pod: own_pod().unwrap_or_default(), by, owner }))
        }
        Err(ChannelError::Ended) => Ok(None),
        Ok(_) => bail!("it said something else"),
        Err(error) => Err(error).context("it did not answer"),
    }
}
