//! The successor takes flows, batch by batch, and the doors as the last one.
//!
//! Decided here: whose a batch is that this process holds. The predecessor says so, or its death does.

use std::{
    os::{fd::OwnedFd, unix::net::UnixStream},
    sync::atomic::Ordering,
    time::Instant,
};

use tidegate_handoff::{
    ChannelError, Message, Received,
    flow::Batch,
    message::{Door, Facts},
};
use tidegate_sys::FrozenFlow;

use super::{DYING, LOOK_EVERY, SILENCE, STEP, Takeover, asker, fault};
use crate::proxy::Shared;

/// How the predecessor let go.
pub(super) enum Over {
    Complete(PassedDoors),
    /// It died, perhaps after it had given the doors.
    Died(Option<PassedDoors>),
    Aborted(String),
}

/// Whose a batch is.
enum Verdict {
    /// This process's.
    Committed,
    /// This process's, because the other one has died.
    Died,
    Aborted(String),
}

type PassedDoors = Vec<(Door, OwnedFd)>;

impl Takeover {
    /// Takes flows until the predecessor is done, or dead; what it tells at the end replaces what it told before.
    pub(super) fn take_flows(
        &self,
        shared: &Shared,
        told: &mut Option<Facts>,
    ) -> anyhow::Result<(Over, u64)> {
        let ask = asker()?;
        let mut taken = 0;
        let mut adopt = |flows: Vec<FrozenFlow>| {
            let count = flows.len() as u64;
            taken += count;
            shared.handle.counters().flows_taken_over.fetch_add(count, Ordering::Relaxed);
            ask.block_on(shared.handle.adopt(flows)).map(|silent| {
                if !silent.is_empty() {
                    tracing::warn!(workers = ?silent, "workers were slow to take flows over");
                }
            })
        };
        loop {
            let Received { message, bytes, descriptors } = match self.wait() {
                Ok(received) => received,
                Err(ChannelError::Ended) => return Ok((Over::Died(None), taken)),
                Err(ChannelError::Torn) if self.has_died() => return Ok((Over::Died(None), taken)),
                Err(error) => {
                    let why = error.to_string();
                    let _ = self.channel.say(&Message::Refuse { why: why.clone() }, STEP);
                    return Ok((Over::Aborted(why), taken));
                }
            };
            match message {
                Message::Offer { batch, flows } => {
                    let flows = match (Batch { flows, bytes, descriptors }).into_flows() {
                        Ok(flows) => flows,
                        Err(error) => {
                            let _ = self.channel.say(&Message::Refuse { why: error.to_string() }, STEP);
                            return Ok((Over::Aborted(error.to_string()), taken));
                        }
                    };
                    fault::at("offered");
                    let _ = self.channel.say(&Message::Held { batch }, STEP);
                    fault::at("held");
                    match self.verdict(batch) {
                        Verdict::Committed => {
                            fault::at("committed");
                            adopt(flows)?;
                            let _ = self.channel.say(&Message::Started { batch }, STEP);
                            fault::at("started");
                        }
                        Verdict::Died => {
                            adopt(flows)?;
                            return Ok((Over::Died(None), taken));
                        }
                        Verdict::Aborted(why) => return Ok((Over::Aborted(why), taken)),
                    }
                }
                Message::Doors { batch, doors, left, facts } => {
                    fault::at("doors");
                    let doors = doors.into_iter().zip(descriptors).collect();
                    let _ = self.channel.say(&Message::Held { batch }, STEP);
                    fault::at("doors-taken");
                    let over = match self.verdict(batch) {
                        Verdict::Committed => Over::Complete(doors),
                        Verdict::Died => Over::Died(Some(doors)),
                        Verdict::Aborted(why) => return Ok((Over::Aborted(why), taken)),
                    };
                    fault::at("doors-owned");
                    *told = Some(facts);
                    if left.flows > 0 {
                        tracing::info!(flows = left.flows, linger = ?left.linger, "flows stay with the predecessor");
                    }
                    return Ok((over, taken));
                }
                Message::Abort { why } => return Ok((Over::Aborted(why), taken)),
                _ => return Ok((Over::Aborted("it broke the protocol".to_owned()), taken)),
            }
        }
    }

    /// Waits until it is decided whose a batch is that is held here.
    fn verdict(&self, batch: u64) -> Verdict {
        match self.wait() {
            Ok(Received { message: Message::Commit { batch: committed }, .. }) if committed == batch => {
                Verdict::Committed
            }
            Err(ChannelError::Ended) => Verdict::Died,
            Ok(Received { message: Message::Abort { why }, .. }) => Verdict::Aborted(why),
            Ok(_) => Verdict::Aborted("it broke the protocol".to_owned()),
            Err(error) => Verdict::Aborted(error.to_string()),
        }
    }

    /// Whether a predecessor that stopped in the middle of a word has died. One that lives has given up, because nothing was
    /// taken here for too long, and has taken back what it was about to offer. But then it listens.
    fn has_died(&self) -> bool {
        let until = Instant::now() + DYING;
        while UnixStream::connect(&self.handoff.socket).is_ok() {
            if Instant::now() >= until {
                return false;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        true
    }

    /// Waits for the next word. Only the predecessor can say that it is over, so its silence is waited out.
    fn wait(&self) -> Result<Received, ChannelError> {
        loop {
            match self.channel.hear(SILENCE) {
                Err(ChannelError::Silent(time)) => {
                    tracing::warn!(?time, "the running process says nothing; end it if it hangs");
                }
                heard => return heard,
            }
        }
    }
}
