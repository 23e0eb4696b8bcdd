//! From an endpoint's number to its place in a pick set, in O(1): what affinity asks for.

use alloc::{boxed::Box, sync::Arc, vec};

use crate::{
    endpoint::{Endpoint, EndpointId},
    rng::mix,
};

/// An open-addressed table of places, at most half full.
#[derive(Debug)]
pub(super) struct Positions {
    /// A place plus one; zero is empty.
    slots: Box<[u32]>,
}

impl Positions {
    pub(super) fn new(endpoints: &[Arc<Endpoint>]) -> Self {
        let mut slots = vec![0_u32; (endpoints.len() * 2).next_power_of_two()].into_boxed_slice();
        for (place, endpoint) in endpoints.iter().enumerate() {
            let free = probe(endpoint.id(), slots.len()).find(|at| slots.get(*at) == Some(&0));
            if let Some(slot) = free.and_then(|at| slots.get_mut(at)) {
                *slot = place as u32 + 1;
            }
        }
        Self { slots }
    }

    pub(super) fn find(&self, id: EndpointId, endpoints: &[Arc<Endpoint>]) -> Option<usize> {
        for at in probe(id, self.slots.len()) {
            let place = self.slots.get(at)?.checked_sub(1)? as usize;
            if endpoints.get(place)?.id() == id {
                return Some(place);
            }
        }
        None
    }
}

/// The slots to look at, in order; `length` is a power of two.
fn probe(id: EndpointId, length: usize) -> impl Iterator<Item = usize> {
    let mask = length.wrapping_sub(1);
    let start = mix(id.0) as usize;
    (0..length).map(move |step| start.wrapping_add(step) & mask)
}
