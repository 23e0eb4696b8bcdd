//! Running a command to its end, within the deadline.

use std::{
    io::Read,
    process::{Child, Command, Output, Stdio},
    thread::{self, JoinHandle},
};

use super::eventually;

/// A child that does not outlive the test, whatever becomes of that.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a command that is expected to end by itself, and returns what it printed.
#[track_caller]
pub fn run(command: &mut Command) -> Output {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut running = Running(child);
    let stdout = read(running.0.stdout.take());
    let stderr = read(running.0.stderr.take());
    let status = eventually(&format!("{command:?} has ended"), || running.0.try_wait().unwrap());
    Output { status, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
}

/// Reads on a thread, so that a child that prints much is not held up.
fn read(from: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut from) = from {
            // What there is when the other end goes is all there is.
            let _ = from.read_to_end(&mut bytes);
        }
        bytes
    })
}
