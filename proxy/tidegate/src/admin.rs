//! The admin side: its sockets, and the thread that answers on them.

use tidegate_config::Configuration;

use crate::proxy::Shared;

/// Bound sockets of the admin API and of the scrapers' address.
pub(crate) struct Doors;

/// Stops answering when it is dropped.
pub(crate) struct Answering;

impl Doors {
    pub(crate) fn open(_configuration: &Configuration) -> anyhow::Result<Self> {
        Ok(Self)
    }

    pub(crate) fn serve(self, _shared: Shared) -> anyhow::Result<Answering> {
        Ok(Answering)
    }
}
