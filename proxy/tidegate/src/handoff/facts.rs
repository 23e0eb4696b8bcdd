//! What one process tells the other in the forms of the messages: counted numbers, and clients with their endpoints.

use tidegate_admin::metrics::{Total, Totals};
use tidegate_control::{KnownClient, ServiceClients};
use tidegate_handoff::{
    Message,
    message::{Count, Facts, Value},
};
use tokio::runtime::Runtime;

use crate::{admin, proxy::Shared};

/// A client in the bytes behind the message: its hash, its endpoint's place, when it was seen.
const CLIENT: usize = 20;

/// What no source can tell, as it is by now.
pub(super) fn gather(shared: &Shared, ask: &Runtime) -> anyhow::Result<Facts> {
    Ok(Facts {
        operators: ask.block_on(shared.handle.facts())?,
        gates: ask.block_on(shared.handle.gated())?,
        drains: ask.block_on(shared.handle.drains_so_far())?,
        counts: counts(&admin::totals(shared)),
    })
}

/// Counted numbers for the message.
pub(super) fn counts(totals: &Totals) -> Vec<Count> {
    let count = |(name, labels, total): (&str, &[String], Total)| Count {
        name: name.to_owned(),
        labels: labels.to_vec(),
        value: match total {
            Total::Whole(number) => Value::Whole(number),
            Total::Real(number) => Value::Real(number),
        },
    };
    totals.iter().map(count).collect()
}

/// Counted numbers from the message.
pub(super) fn totals(counts: Vec<Count>) -> Totals {
    let mut totals = Totals::default();
    for Count { name, labels, value } in counts {
        let total = match value {
            Value::Whole(number) => Total::Whole(number),
            Value::Real(number) => Total::Real(number),
        };
        totals.put(name, labels, total);
    }
    totals
}

/// A service's clients: the message, and the bytes behind it.
pub(super) fn tell_clients(known: ServiceClients) -> (Message, Vec<u8>) {
    let ServiceClients { service, endpoints, clients } = known;
    let mut bytes = Vec::with_capacity(clients.len() * CLIENT);
    for client in clients {
        bytes.extend(client.hash.to_be_bytes());
        bytes.extend(client.endpoint.to_be_bytes());
        bytes.extend(client.seen.to_be_bytes());
    }
    (Message::Clients { service, endpoints }, bytes)
}

/// The clients in the bytes behind a message; bytes that make no whole client are none.
pub(super) fn read_clients(bytes: &[u8]) -> Vec<KnownClient> {
    let number = |bytes: &[u8]| bytes.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    let client = |bytes: &[u8]| KnownClient {
        hash: number(&bytes[..8]),
        endpoint: number(&bytes[8..12]) as u32,
        seen: number(&bytes[12..]),
    };
    bytes.chunks_exact(CLIENT).map(client).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_come_back_from_their_bytes() {
        let clients: Vec<_> =
            (1..200).map(|n| KnownClient { hash: u64::MAX / n, endpoint: n as u32, seen: n << 40 }).collect();
        let known = ServiceClients { clients: clients.clone(), ..ServiceClients::default() };
        let (_, mut bytes) = tell_clients(known);
        assert_eq!(read_clients(&bytes), clients);
        bytes.truncate(CLIENT + 7);
        assert_eq!(read_clients(&bytes), clients[..1]);
    }
}
