//! What a proxy starts by itself does not outlive the test, also where nobody is left to end it.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use tidegate_tests::support::Proxy;

/// Waits for the end of its input, which is the end of whoever holds the other end, however that came; then ends every
/// proxy that runs with this configuration.
const GUARD: &str = r#"trap "" HUP INT TERM; read -r line; for process in /proc/[0-9]*; do
words=$(tr "\0" "\n" <"$process/cmdline" 2>/dev/null)
if printf "%s" "$words" | grep -qxF -e "$1" && printf "%s" "$words" | grep -qx "run"; then kill -9 "${process#/proc/}"; fi
done"#;

/// Ends what a proxy has started by itself: every process that has the test's configuration among its arguments.
pub(super) struct Offspring {
    config: PathBuf,
    guard: Child,
}

impl Offspring {
    /// Of a proxy with this configuration, and of its successors.
    pub(super) fn of(proxy: &Proxy) -> Self {
        let config = proxy.config_file();
        let mut guard = Command::new("sh");
        // A group of its own: whoever ends the tests as a group does not end this before it has done its work.
        guard.args(["-c", GUARD, "sh"]).arg(&config).stdin(Stdio::piped()).process_group(0);
        let guard = guard.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Self { config, guard }
    }

    /// What happens where the test's process ends before it can clear up.
    pub(super) fn leave_to_the_guard(mut self) {
        drop(self.guard.stdin.take());
        assert!(self.guard.wait().unwrap().success());
    }
}

impl Drop for Offspring {
    fn drop(&mut self) {
        for process in running(&self.config) {
            if let Some(process) = Pid::from_raw(process as i32) {
                let _ = kill_process(process, Signal::KILL);
            }
        }
        let _ = self.guard.kill();
        let _ = self.guard.wait();
    }
}

/// The proxies that run with this configuration.
pub(super) fn running(config: &Path) -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap();
    let all = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let runs = |process: &u32| {
        let line = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
        let mut arguments = line.split(|byte| *byte == 0);
        arguments.any(|argument| argument == b"run")
            && arguments.any(|argument| argument == config.as_os_str().as_encoded_bytes())
    };
    all.filter(runs).collect()
}
