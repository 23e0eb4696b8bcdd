//! What a proxy is started with.

use std::{
    ffi::OsString,
    fs,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::Arc,
};

use serde_json::Value;
use tempfile::TempDir;

use super::{Config, Endpoint, Proxy, Slice, SliceDirectory, run};

/// A directory, a configuration in it, slice files, and how the binary is started.
#[derive(Debug)]
pub struct Setup {
    pub(super) binary: PathBuf,
    pub(super) directory: Arc<TempDir>,
    pub(super) config: Config,
    pub(super) environment: Vec<(String, OsString)>,
    pub(super) descriptor_limit: Option<u64>,
    pub(super) inherited: Option<OwnedFd>,
    pub(super) launcher: Vec<String>,
}

impl Setup {
    /// A setup for the binary at this path.
    pub fn new(binary: impl AsRef<Path>) -> Self {
        let directory = tempfile::Builder::new().prefix("tidegate-it-").tempdir().unwrap();
        fs::create_dir(directory.path().join("endpoints")).unwrap();
        Self {
            binary: binary.as_ref().to_owned(),
            directory: Arc::new(directory),
            config: Config::default(),
            environment: Vec::new(),
            descriptor_limit: None,
            inherited: None,
            launcher: Vec::new(),
        }
    }

    /// The directory of everything.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Changes the configuration.
    pub fn config(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// Settings of `default/web`.
    pub fn web(self, settings: Value) -> Self {
        self.config(|config| config.service("default/web", settings))
    }

    /// Writes a slice file.
    pub fn slice(self, slice: &Slice) -> Self {
        SliceDirectory::new(self.directory.path().join("endpoints")).write(slice);
        self
    }

    /// Writes one slice with these endpoints, ready.
    pub fn ready<'a>(self, endpoints: impl IntoIterator<Item = &'a Endpoint>) -> Self {
        self.slice(&Slice::ready("web-1", endpoints))
    }

    /// Sets an environment variable.
    pub fn environment(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// Starts the process with a limit on descriptors.
    pub fn descriptor_limit(mut self, limit: u64) -> Self {
        self.descriptor_limit = Some(limit);
        self
    }

    /// Starts the process by another program, which gets its command line as arguments.
    pub fn under(mut self, launcher: &[&str]) -> Self {
        self.launcher = launcher.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Passes a socket on as a service manager does (sd_listen_fds(3)).
    pub fn inheriting(mut self, socket: impl Into<OwnedFd>) -> Self {
        self.inherited = Some(socket.into());
        self
    }

    /// Starts the proxy and waits until it is ready.
    #[track_caller]
    pub fn start(self) -> Proxy {
        let proxy = self.spawn();
        proxy.wait_until_ready();
        proxy
    }

    /// Starts the proxy.
    #[track_caller]
    pub fn spawn(self) -> Proxy {
        Proxy::spawn(self)
    }

    /// Runs the proxy where it is expected to end by itself.
    #[track_caller]
    pub fn run_to_end(self) -> Output {
        self.write_config();
        run(&mut self.command())
    }

    /// Writes the configuration. It has a directory of its own: whatever is written elsewhere is no news to who
    /// watches it.
    pub(super) fn write_config(&self) {
        let file = self.config_file();
        fs::create_dir_all(file.parent().expect("it is in a directory")).unwrap();
        fs::write(&file, self.config.text()).unwrap();
    }

    /// Where the configuration is.
    pub fn config_file(&self) -> PathBuf {
        self.directory.path().join("conf").join("tidegate.yaml")
    }

    /// `tidegate run`, through a shell where something has to be arranged between fork and exec.
    pub(super) fn command(&self) -> Command {
        let mut script = String::new();
        if let Some(limit) = self.descriptor_limit {
            script += &format!("ulimit -n {limit}; ");
        }
        if self.inherited.is_some() {
            script += "export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$@\" 3<&0 </dev/null";
        } else {
            script += "exec \"$@\"";
        }
        let mut command = Command::new("sh");
        command.args(["-c", &script, "sh"]);
        command.args(&self.launcher).arg(&self.binary).args(["run", "--config"]).arg(self.config_file());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.env_remove("TIDEGATE_LOG").env_remove("TIDEGATE_LOG_FORMAT");
        command.stdin(match &self.inherited {
            Some(socket) => Stdio::from(socket.try_clone().unwrap()),
            None => Stdio::null(),
        });
        command
    }
}
