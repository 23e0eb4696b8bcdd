//! An endpoint as one slice has it, kept as a place in that slice and not as a copy: there may be very many of them, and
//! each says much.

use alloc::{boxed::Box, sync::Arc, vec};

use super::slices::Arrived;
use crate::{
    name::SliceName,
    slice::{Slice, SliceEndpoint},
};

/// An endpoint as one slice has it.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    arrived: Arc<Arrived>,
    index: u32,
}

impl Listed {
    /// The endpoint at this place of a slice.
    pub(super) fn at(arrived: &Arc<Arrived>, index: usize) -> Self {
        Self { arrived: Arc::clone(arrived), index: u32::try_from(index).unwrap_or(u32::MAX) }
    }

    /// The slice.
    pub(super) fn slice(&self) -> &Slice {
        &self.arrived.slice
    }

    /// What the slice says of it.
    pub(super) fn endpoint(&self) -> Option<&SliceEndpoint> {
        self.arrived.slice.endpoints.get(self.index as usize)
    }

    /// When the slice first had this pod at this address.
    pub(super) fn arrival(&self) -> u64 {
        self.arrived.arrivals.get(self.index as usize).copied().unwrap_or_default()
    }

    /// The same without the rest of the slice, for an endpoint that outlives it: each of those that go from a slice one
    /// after another would keep a whole version of it.
    pub(super) fn alone(&self) -> Self {
        let Slice { name, service, generation, .. } = self.slice();
        let slice = Slice {
            name: SliceName::clone(name),
            service: service.clone(),
            generation: *generation,
            ports: vec::Vec::new(),
            endpoints: self.endpoint().cloned().into_iter().collect(),
            ignored_ports: 0,
            ignored_endpoints: 0,
            is_fqdn: false,
        };
        let arrivals = Box::new([self.arrival()]);
        Self { arrived: Arc::new(Arrived { slice, arrivals }), index: 0 }
    }
}
