//! Envoy: endpoint discovery (EDS) from a file that is moved into place.
//!
//! A new endpoint comes in when it is ready, as control planes do it. One that terminates has the health status
//! `DRAINING`: no new flows, those that exist are left alone. When its pod is gone it is removed.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};

use super::{Operator, Setting, Start, replace};
use crate::rollout::endpoint::{Phase, Pod};

/// Writes the file.
#[derive(Debug)]
pub(in crate::rollout) struct Envoy {
    file: PathBuf,
    version: u64,
}

impl Start for Envoy {
    fn prepare(setting: &Setting<'_>, pods: &[Pod], command: &mut Command) -> anyhow::Result<Self> {
        let folder = setting.directory.join("eds");
        fs::create_dir(&folder)?;
        let mut envoy = Self { file: folder.join("endpoints.json"), version: 0 };
        envoy.write(pods)?;
        let path = setting.write(include_str!("../../../peers/rollout-envoy.yaml"), &[])?;
        command.arg("-c").arg(path).args(["--concurrency", "1", "--disable-hot-restart", "-l", "error"]);
        Ok(envoy)
    }
}

impl Envoy {
    fn write(&mut self, pods: &[Pod]) -> anyhow::Result<Instant> {
        self.version += 1;
        replace(&self.file, &discovery(pods, self.version).to_string())
    }
}

impl Operator for Envoy {
    async fn apply(&mut self, pods: &[Pod], changed: Pod) -> anyhow::Result<Instant> {
        match changed.phase {
            Phase::Unborn | Phase::Starting => Ok(Instant::now()),
            Phase::Ready | Phase::Terminating | Phase::Gone => self.write(pods),
        }
    }
}

fn discovery(pods: &[Pod], version: u64) -> Value {
    json!({
        "version_info": version.to_string(),
        "resources": [{
            "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            "cluster_name": "bench",
            "endpoints": [{"lb_endpoints": pods.iter().filter_map(describe).collect::<Vec<_>>()}],
        }],
    })
}

fn describe(pod: &Pod) -> Option<Value> {
    let health = match pod.phase {
        Phase::Ready => "HEALTHY",
        Phase::Terminating => "DRAINING",
        Phase::Unborn | Phase::Starting | Phase::Gone => return None,
    };
    let address = json!({"address": pod.address.ip().to_string(), "port_value": pod.address.port()});
    Some(json!({
        "health_status": health,
        "endpoint": {"address": {"socket_address": address}},
    }))
}
