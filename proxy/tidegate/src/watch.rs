//! `tidegate watch`; and in `wait` what `tidegate drain --wait` waits for.

mod view;
mod wait;

use std::{io::Write as _, ops::ControlFlow, process::ExitCode};

use crate::{
    cli::{self, Output},
    client::{AdminClient, Source},
    instances,
};

pub(crate) use wait::{Waited, wait};

use view::View;

pub(crate) fn run(options: &cli::Watch) -> anyhow::Result<ExitCode> {
    let client = AdminClient::new(&options.asking)?;
    let (source, path) = drains(options.all, options.service.as_deref());
    if options.asking.output == Output::Json {
        client.follow(source, &path, None, |line| {
            let mut out = std::io::stdout().lock();
            // Whoever reads this may have had enough.
            let written = out.write_all(line).and_then(|()| out.flush());
            Ok(if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut view = View::new(Output::Table, true);
    client.follow(source, &path, None, |line| {
        view.draw(&instances::read(options.all, line)?);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(ExitCode::SUCCESS)
}

/// What tells how drains come along: a stream of one instance, answers of all.
fn drains(all: bool, service: Option<&str>) -> (Source, String) {
    let follow = (!all).then_some("true");
    let path = instances::path_of(all, "/v1/drains", &[("follow", follow), ("service", service)]);
    (if all { Source::Answers } else { Source::Stream }, path)
}
