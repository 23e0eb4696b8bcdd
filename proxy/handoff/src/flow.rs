//! A frozen flow, taken apart: facts for the message, bytes behind it, descriptors with it; and put together again.
//!
//! Descriptors of a flow, in order: the client's socket, the endpoint's where it is connected, then for each half that has a pipe its reader
//! and its writer.

use std::{net::SocketAddr, os::fd::OwnedFd, time::Duration};

use serde::{Deserialize, Serialize};
use tidegate_sys::{FrozenFlow, FrozenHalf, FrozenPipe, rights::MOST_DESCRIPTORS};

use crate::frame::{BYTES_LIMIT, JSON_LIMIT};

/// What is known of a flow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FlowFacts {
    /// The listener it was accepted on, by name.
    pub listener: String,
    /// Its service: namespace, name, port name.
    pub service: (String, String, Option<String>),
    /// The client's address.
    pub client_address: SocketAddr,
    /// The endpoint's address.
    pub endpoint_address: SocketAddr,
    /// The endpoint's pod, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<String>,
    /// Client to endpoint.
    pub up: HalfFacts,
    /// Endpoint to client.
    pub down: HalfFacts,
    /// How long ago it was accepted.
    pub age: Duration,
    /// How long ago bytes last moved.
    pub idle: Duration,
    /// Connects that were tried.
    pub attempts: u32,
    /// It has no endpoint yet: there is no socket of one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub connecting: bool,
}

/// What is known of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HalfFacts {
    /// Bytes that were read and not written.
    pub pending: usize,
    /// Bytes in its pipe, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipe: Option<usize>,
    /// The source has sent its FIN.
    pub source_ended: bool,
    /// The FIN was passed on.
    pub sink_ended: bool,
    /// Bytes moved so far.
    pub bytes: u64,
}

/// Flows as they are sent in one message.
#[derive(Debug, Default)]
pub struct Batch {
    /// What is known of them.
    pub flows: Vec<FlowFacts>,
    /// What they hold.
    pub bytes: Vec<u8>,
    /// Their descriptors.
    pub descriptors: Vec<OwnedFd>,
}

/// Why a message's flows cannot be put together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a batch of flows is malformed: {0}")]
pub struct Malformed(&'static str);

/// A pipe cannot hold more: the kernel counts it in an int.
const PIPE_LIMIT: usize = i32::MAX as usize;
/// No flow's facts are longer as JSON: names are bounded by the configuration.
const FACTS_LIMIT: usize = 4096;

impl Batch {
    /// Takes flows apart, as many from the front as one message takes; the others stay.
    pub fn take(flows: &mut Vec<FrozenFlow>) -> Self {
        let mut batch = Self::default();
        let mut taken = 0;
        for flow in &*flows {
            let descriptors = batch_descriptors(flow);
            let held = flow.up.pending.len() + flow.down.pending.len();
            let fits = taken * FACTS_LIMIT < JSON_LIMIT
                && batch.descriptors_of(&flows[..taken]) + descriptors <= MOST_DESCRIPTORS
                && flows[..taken].iter().map(held_bytes).sum::<usize>() + held <= BYTES_LIMIT;
            if !fits {
                break;
            }
            taken += 1;
        }
        for flow in flows.drain(..taken) {
            batch.push(flow);
        }
        batch
    }

    fn descriptors_of(&self, flows: &[FrozenFlow]) -> usize {
        flows.iter().map(batch_descriptors).sum()
    }

    fn push(&mut self, flow: FrozenFlow) {
        let FrozenFlow { client, endpoint, up, down, .. } = flow;
        let connecting = endpoint.is_none();
        self.descriptors.extend([client].into_iter().chain(endpoint));
        let (up, down) = (self.push_half(up), self.push_half(down));
        self.flows.push(FlowFacts {
            listener: flow.listener,
            service: flow.service,
            client_address: flow.client_address,
            endpoint_address: flow.endpoint_address,
            pod_uid: flow.pod_uid,
            up,
            down,
            age: flow.age,
            idle: flow.idle,
            attempts: flow.attempts,
            connecting,
        });
    }

    fn push_half(&mut self, half: FrozenHalf) -> HalfFacts {
        let FrozenHalf { pending, pipe, source_ended, sink_ended, bytes } = half;
        self.bytes.extend(&pending);
        let length = pipe.as_ref().map(|pipe| pipe.length);
        if let Some(FrozenPipe { reader, writer, .. }) = pipe {
            self.descriptors.extend([reader, writer]);
        }
        HalfFacts { pending: pending.len(), pipe: length, source_ended, sink_ended, bytes }
    }

    /// Puts the flows together again. Bytes and descriptors must be exactly those that the facts name.
    pub fn into_flows(self) -> Result<Vec<FrozenFlow>, Malformed> {
        let mut rest = Rest { bytes: &self.bytes, descriptors: self.descriptors.into_iter() };
        let mut flows = Vec::with_capacity(self.flows.len());
        for facts in self.flows {
            let client = rest.descriptor()?;
            let endpoint = if facts.connecting { None } else { Some(rest.descriptor()?) };
            let (up, down) = (rest.half(&facts.up)?, rest.half(&facts.down)?);
            flows.push(FrozenFlow {
                listener: facts.listener,
                service: facts.service,
                client_address: facts.client_address,
                endpoint_address: facts.endpoint_address,
                pod_uid: facts.pod_uid,
                client,
                endpoint,
                up,
                down,
                age: facts.age,
                idle: facts.idle,
                attempts: facts.attempts,
            });
        }
        if rest.bytes.is_empty() && rest.descriptors.next().is_none() {
            Ok(flows)
        } else {
            Err(Malformed("it has more than its flows name"))
        }
    }
}

fn batch_descriptors(flow: &FrozenFlow) -> usize {
    1 + usize::from(flow.endpoint.is_some())
        + 2 * (usize::from(flow.up.pipe.is_some()) + usize::from(flow.down.pipe.is_some()))
}

fn held_bytes(flow: &FrozenFlow) -> usize {
    flow.up.pending.len() + flow.down.pending.len()
}

/// What is not used yet.
struct Rest<'a> {
    bytes: &'a [u8],
    descriptors: std::vec::IntoIter<OwnedFd>,
}

impl Rest<'_> {
    fn descriptor(&mut self) -> Result<OwnedFd, Malformed> {
        self.descriptors.next().ok_or(Malformed("it has fewer descriptors than its flows name"))
    }

    fn half(&mut self, facts: &HalfFacts) -> Result<FrozenHalf, Malformed> {
        let (pending, rest) = self
            .bytes
            .split_at_checked(facts.pending)
            .ok_or(Malformed("it has fewer bytes than its flows name"))?;
        self.bytes = rest;
        let pipe = match facts.pipe {
            Some(length) if length > PIPE_LIMIT => return Err(Malformed("a pipe holds more than pipes do")),
            Some(length) => {
                Some(FrozenPipe { reader: self.descriptor()?, writer: self.descriptor()?, length })
            }
            None => None,
        };
        Ok(FrozenHalf {
            pending: pending.to_vec(),
            pipe,
            source_ended: facts.source_ended,
            sink_ended: facts.sink_ended,
            bytes: facts.bytes,
        })
    }
}

#[cfg(test)]
mod tests;
