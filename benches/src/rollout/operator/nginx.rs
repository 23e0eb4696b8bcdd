//! nginx: a configuration with the endpoints that are ready, and SIGHUP.
//!
//! A reload starts new workers and lets the old ones live until their flows have ended, which no
//! `worker_shutdown_timeout` shortens here: that would break them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

use super::{Operator, Setting, Start, ready, replace};
use crate::rollout::endpoint::{Phase, Pod};

const STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// Where the list of endpoints stands in the configuration.
const ENDPOINTS: &str = "{{endpoints}}";

/// Rewrites the configuration and reloads.
#[derive(Debug)]
pub(in crate::rollout) struct Nginx {
    template: String,
    configuration: PathBuf,
    pid: PathBuf,
}

impl Start for Nginx {
    fn prepare(setting: &Setting<'_>, pods: &[Pod], command: &mut Command) -> anyhow::Result<Self> {
        let folder = setting.directory.join("nginx");
        fs::create_dir(&folder)?;
        // A package that has the module built in has no file for it.
        let module =
            if Path::new(STREAM).exists() { format!("load_module {STREAM};") } else { String::new() };
        let template =
            setting.fill(include_str!("../../../peers/rollout-nginx.conf"), &[("module", &module)]);
        let nginx = Self {
            template,
            configuration: folder.join("nginx.conf"),
            pid: setting.directory.join("nginx.pid"),
        };
        nginx.write(pods)?;
        command.arg("-e").arg("stderr").arg("-p").arg(setting.directory).arg("-c").arg(&nginx.configuration);
        Ok(nginx)
    }
}

impl Nginx {
    fn write(&self, pods: &[Pod]) -> anyhow::Result<Instant> {
        let servers: Vec<String> = ready(pods).map(|pod| format!("server {};", pod.address)).collect();
        replace(&self.configuration, &self.template.replace(ENDPOINTS, &servers.join("\n        ")))
    }

    fn reload(&self) -> anyhow::Result<Instant> {
        let text = fs::read_to_string(&self.pid).context("nginx has no pid file")?;
        let pid = text.trim().parse().ok().and_then(Pid::from_raw).context("nginx's pid file has no pid")?;
        kill_process(pid, Signal::HUP).context("cannot signal nginx")?;
        Ok(Instant::now())
    }
}

impl Operator for Nginx {
    async fn apply(&mut self, pods: &[Pod], changed: Pod) -> anyhow::Result<Instant> {
        match changed.phase {
            Phase::Ready | Phase::Terminating => {
                self.write(pods)?;
                self.reload()
            }
            // It is not in the configuration, before or after.
            Phase::Unborn | Phase::Starting | Phase::Gone => Ok(Instant::now()),
        }
    }
}
