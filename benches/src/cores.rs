//! Which core does what: the proxy has one to itself.

use anyhow::Context;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::Serialize;

/// A core for each part. Client and endpoints share one where there are only two.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Cores {
    pub(crate) proxy: usize,
    pub(crate) load: usize,
    pub(crate) endpoints: usize,
}

impl Cores {
    /// Chooses among the cores this process may use.
    pub(crate) fn choose() -> anyhow::Result<Self> {
        let allowed = sched_getaffinity(None).context("cannot read the allowed cores")?;
        let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect();
        Self::among(&cores).context("no core is allowed")
    }

    fn among(cores: &[usize]) -> Option<Self> {
        let load = *cores.first()?;
        let proxy = *cores.last()?;
        let endpoints = if cores.len() > 2 { cores[1] } else { load };
        Some(Self { proxy, load, endpoints })
    }

    /// Whether the proxy shares its core with the load, which makes its figures worse than they are.
    pub(crate) fn are_shared(self) -> bool {
        self.proxy == self.load
    }
}

/// Binds the calling thread, and what it starts from now on, to one core.
pub(crate) fn pin(core: usize) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).with_context(|| format!("cannot run on core {core}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proxy_has_its_own_core_where_there_are_two() {
        assert_eq!(Cores::among(&[]), None);
        assert!(Cores::among(&[3]).unwrap().are_shared());
        assert_eq!(Cores::among(&[0, 1]), Some(Cores { proxy: 1, load: 0, endpoints: 0 }));
        assert_eq!(Cores::among(&[2, 4, 6]), Some(Cores { proxy: 6, load: 2, endpoints: 4 }));
    }
}
