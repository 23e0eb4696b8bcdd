//! The predecessor's listeners, given to a successor with their sockets, as many to a message as it takes; with them, what no
//! source can tell.

use std::{net::SocketAddr, os::fd::AsFd as _};

use anyhow::bail;
use tidegate_handoff::{Channel, Message, message::ListenerFacts};
use tidegate_sys::rights::MOST_DESCRIPTORS;
use tokio::runtime::Runtime;

use super::{STEP, facts, predecessor::Predecessor};

/// Gives listeners, and says at which addresses they are.
pub(super) fn give_listeners(
    predecessor: &Predecessor,
    channel: &Channel,
    ask: &Runtime,
) -> anyhow::Result<Vec<SocketAddr>> {
    let shared = &predecessor.shared;
    let lent = ask.block_on(shared.handle.lend_listeners())??;
    for known in ask.block_on(shared.handle.clients())? {
        let (message, bytes) = facts::tell_clients(known);
        channel.say_with(&message, &bytes, &[], STEP)?;
    }
    let mut next = 0;
    while let Some((records, number)) = ask.block_on(shared.handle.records(next))? {
        next = number;
        channel.say(&Message::Records { records }, STEP)?;
    }
    let mut facts = facts::gather(shared, ask)?;
    let mut rest = &lent[..];
    loop {
        let (mut count, mut sockets) = (0, 0);
        while let Some(listener) = rest.get(count)
            && sockets + listener.sockets.len() <= MOST_DESCRIPTORS
        {
            sockets += listener.sockets.len();
            count += 1;
        }
        if count == 0 && !rest.is_empty() {
            bail!("listener {:?} has more sockets than one message takes", rest[0].desired.name);
        }
        let (now, later) = rest.split_at(count);
        rest = later;
        let listeners = now.iter().map(|listener| ListenerFacts {
            name: listener.desired.name.to_string(),
            configured: listener.desired.address,
            address: listener.address,
            sockets: listener.sockets.len(),
        });
        let message = Message::Listeners {
            listeners: listeners.collect(),
            facts: std::mem::take(&mut facts),
            more: !rest.is_empty(),
        };
        let sockets: Vec<_> =
            now.iter().flat_map(|listener| &listener.sockets).map(|socket| socket.as_fd()).collect();
        channel.say_with(&message, &[], &sockets, STEP)?;
        if rest.is_empty() {
            return Ok(lent.iter().map(|listener| listener.address).collect());
        }
    }
}
