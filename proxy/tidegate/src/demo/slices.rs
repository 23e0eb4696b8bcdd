//! The demo's slice file: written beside and renamed, as every slice file should be.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::endpoints::Endpoint;

/// The directory that the proxy follows.
#[derive(Debug)]
pub(super) struct SliceDirectory {
    path: PathBuf,
    generation: u64,
}

impl SliceDirectory {
    pub(super) fn new(path: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { path: path.to_owned(), generation: 0 })
    }

    /// Replaces the slice of `default/web`.
    pub(super) fn write(&mut self, endpoints: &[Endpoint]) -> anyhow::Result<()> {
        self.generation += 1;
        let port = endpoints.first().map_or(80, |endpoint| endpoint.address.port());
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": "web-x7k2p",
                "namespace": "default",
                "generation": self.generation,
                "labels": {"kubernetes.io/service-name": "web"},
            },
            "addressType": "IPv4",
            "ports": [{"name": "http", "protocol": "TCP", "port": port}],
            "endpoints": endpoints.iter().map(describe).collect::<Vec<_>>(),
        });
        let mut beside = tempfile::NamedTempFile::new_in(self.path.parent().unwrap_or(&self.path))?;
        beside.write_all(slice.to_string().as_bytes())?;
        beside.persist(self.path.join("web.json")).context("cannot rename the slice file into place")?;
        Ok(())
    }
}

fn describe(endpoint: &Endpoint) -> Value {
    let (ready, serving, terminating) = endpoint.conditions.triple();
    json!({
        "addresses": [endpoint.address.ip().to_string()],
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
        "targetRef": {
            "kind": "Pod",
            "namespace": "default",
            "name": endpoint.pod,
            "uid": format!("00000000-0000-4000-8000-{:012}", endpoint.number),
        },
    })
}
