//! Which core does what: the proxy has one to itself.

use anyhow::Context;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::{Deserialize, Serialize};

/// Cores for each part. Client and endpoints share one where there are not enough.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cores {
    /// One for each worker of the proxy, as far as there are enough.
    pub(crate) proxy: Vec<usize>,
    pub(crate) load: usize,
    pub(crate) endpoints: usize,
}

impl Cores {
    /// Chooses among the cores this process may use, for a proxy with so many workers.
    pub(crate) fn choose(workers: usize) -> anyhow::Result<Self> {
        let allowed = sched_getaffinity(None).context("cannot read the allowed cores")?;
        let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect();
        Self::among(&cores, workers).context("no core is allowed")
    }

    fn among(cores: &[usize], workers: usize) -> Option<Self> {
        let load = *cores.first()?;
        // The load's core is the first, so the proxy has the last ones, and the endpoints what is left between.
        let count = workers.clamp(1, (cores.len() - 1).max(1));
        let (rest, proxy) = cores.split_at(cores.len() - count);
        let endpoints = rest.get(1).copied().unwrap_or(load);
        Some(Self { proxy: proxy.to_vec(), load, endpoints })
    }

    /// Whether the proxy shares its core with the load, which makes its figures worse than they are.
    pub(crate) fn are_shared(&self) -> bool {
        self.proxy.contains(&self.load)
    }
}

/// Binds the calling thread, and what it starts from now on, to these cores.
pub(crate) fn pin(cores: &[usize]) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core);
    }
    sched_setaffinity(None, &set).with_context(|| format!("cannot run on core {cores:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cores(proxy: &[usize], load: usize, endpoints: usize) -> Option<Cores> {
        Some(Cores { proxy: proxy.to_vec(), load, endpoints })
    }

    #[test]
    fn the_proxy_has_its_own_cores_where_there_are_enough() {
        assert_eq!(Cores::among(&[], 1), None);
        assert!(Cores::among(&[3], 1).unwrap().are_shared());
        assert_eq!(Cores::among(&[0, 1], 1), cores(&[1], 0, 0));
        assert_eq!(Cores::among(&[0, 1], 2), cores(&[1], 0, 0));
        assert_eq!(Cores::among(&[2, 4, 6], 1), cores(&[6], 2, 4));
        assert_eq!(Cores::among(&[2, 4, 6], 2), cores(&[4, 6], 2, 2));
        assert_eq!(Cores::among(&[0, 1, 2, 3], 2), cores(&[2, 3], 0, 1));
    }
}
