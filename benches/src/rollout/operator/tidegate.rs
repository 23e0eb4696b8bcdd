//! Tidegate: an EndpointSlice file, written beside and renamed.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};

use super::{Operator, Setting, Start, replace};
use crate::rollout::endpoint::{Phase, Pod};

/// Writes the slice as Kubernetes 1.36 was seen to in a rolling update.
#[derive(Debug)]
pub(in crate::rollout) struct Tidegate {
    slice: PathBuf,
    generation: u64,
}

impl Start for Tidegate {
    fn prepare(setting: &Setting<'_>, pods: &[Pod], command: &mut Command) -> anyhow::Result<Self> {
        let slices = setting.directory.join("slices");
        fs::create_dir(&slices)?;
        let mut tidegate = Self { slice: slices.join("bench.json"), generation: 0 };
        tidegate.write(pods)?;
        let path = setting.write(include_str!("../../../peers/rollout-tidegate.yaml"), &[])?;
        command.arg("run").arg("--config").arg(path);
        Ok(tidegate)
    }
}

impl Tidegate {
    fn write(&mut self, pods: &[Pod]) -> anyhow::Result<Instant> {
        self.generation += 1;
        replace(&self.slice, &slice(pods, self.generation).to_string())
    }
}

impl Operator for Tidegate {
    async fn apply(&mut self, pods: &[Pod], _: Pod) -> anyhow::Result<Instant> {
        self.write(pods)
    }
}

fn slice(pods: &[Pod], generation: u64) -> Value {
    let port = pods.first().map_or(0, |pod| pod.address.port());
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "endpoints-x7k2p",
            "namespace": "bench",
            "generation": generation,
            "labels": {"kubernetes.io/service-name": "endpoints"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "bench", "protocol": "TCP", "port": port}],
        "endpoints": pods.iter().filter_map(describe).collect::<Vec<_>>(),
    })
}

/// An endpoint's entry; those that are not there yet, or no more, have none.
fn describe(pod: &Pod) -> Option<Value> {
    let (ready, serving, terminating) = match pod.phase {
        Phase::Unborn | Phase::Gone => return None,
        Phase::Starting => (false, false, false),
        Phase::Ready => (true, true, false),
        Phase::Terminating => (false, true, true),
    };
    Some(json!({
        "addresses": [pod.address.ip().to_string()],
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
        "targetRef": {
            "kind": "Pod",
            "namespace": "bench",
            "name": format!("endpoint-{}", pod.number),
            "uid": format!("00000000-0000-4000-8000-{:012}", pod.number),
        },
    }))
}
