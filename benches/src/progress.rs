//! What is seen while a run goes on: a bar in a terminal, a line for each measurement anywhere else.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

/// How far a run is. The bar goes when this is dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    all: u64,
    done: u64,
}

impl Progress {
    /// Of so many measurements.
    pub(crate) fn new(all: u64) -> Self {
        let template = "{bar:30} {pos}/{len} {elapsed_precise}, about {eta} left: {msg}";
        let bar = std::io::stderr().is_terminal().then(|| {
            let style =
                ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(all).with_style(style)
        });
        Self { bar, all, done: 0 }
    }

    /// The next measurement begins.
    pub(crate) fn next(&mut self, what: &str) {
        match &self.bar {
            Some(bar) => {
                bar.set_position(self.done);
                bar.set_message(what.to_owned());
            }
            None => eprintln!("{}/{}: {what}", self.done + 1, self.all),
        }
        self.done += 1;
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
