//! `tidegate watch`, and what `tidegate drain --wait` waits for.

mod view;

use std::{
    io::Write as _,
    ops::ControlFlow,
    process::ExitCode,
    time::{Duration, Instant},
};

use tidegate_admin::api;

use crate::{
    cli::{self, Output},
    client::{AdminClient, Followed},
    commands::{show, with_query},
    tables,
};

use view::View;

/// The exit status where some flows are left after the time that was given.
const SOME_LEFT: u8 = 3;

pub(crate) fn run(options: &cli::Watch) -> anyhow::Result<ExitCode> {
    let client = AdminClient::new(&options.asking)?;
    let path = path(options.service.as_deref());
    if options.asking.output == Output::Json {
        client.follow(&path, None, |line| {
            let mut out = std::io::stdout().lock();
            // Whoever reads this may have had enough.
            let written = out.write_all(line).and_then(|()| out.flush());
            Ok(if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut view = View::new(Output::Table, true);
    client.follow(&path, None, |line| {
        view.draw(&serde_json::from_slice(line)?);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Waits until these endpoints have no flows left, and shows what became of them.
pub(crate) fn wait(
    client: &AdminClient,
    drained: &api::DrainAnswer,
    service: &str,
    timeout: Option<Duration>,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let meant = Meant(&drained.endpoints);
    let mut view = View::new(output, false);
    let until = timeout.map(|timeout| Instant::now() + timeout);
    let state = loop {
        let followed = client.follow(&path(Some(service)), until, |line| {
            let mut drains: api::Drains = serde_json::from_slice(line)?;
            drains.drains.retain(|it| meant.has(&it.service, &it.endpoint, it.pod.as_deref()));
            drains.over.clear();
            view.draw(&drains);
            Ok(if drains.drains.is_empty() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        // A sample may have begun before the drain did, and not know of it: the endpoints have the last word.
        let state = look(client, service, meant)?;
        if state != State::Left || followed == Followed::Late {
            break state;
        }
    };
    view.finish();
    let mut audit: api::Audit = client.get(&with_query("/v1/audit", &[("service", Some(service))]))?;
    audit.records.retain(|it| meant.has(&it.service, &it.endpoint, it.pod.as_deref()));
    show(output, &audit, tables::audit)?;
    Ok(match state {
        State::Drained => ExitCode::SUCCESS,
        State::TakenBack => {
            eprintln!("the drain was taken back while it was waited for");
            ExitCode::FAILURE
        }
        State::Left => {
            eprintln!("some flows are left after the time that was given");
            ExitCode::from(SOME_LEFT)
        }
    })
}

/// The endpoints that were drained, as a successor knows them too: it has other numbers for them, and does not know the pod
/// of one that has gone.
#[derive(Clone, Copy)]
struct Meant<'a>(&'a [api::DrainChange]);

impl Meant<'_> {
    fn has(self, service: &str, endpoint: &str, pod: Option<&str>) -> bool {
        let is_same_pod = |known: Option<&str>| known.is_none() || pod.is_none() || known == pod;
        self.0
            .iter()
            .any(|it| it.service == service && it.endpoint == endpoint && is_same_pod(it.pod.as_deref()))
    }
}

fn path(service: Option<&str>) -> String {
    with_query("/v1/drains", &[("follow", Some("true")), ("service", service)])
}

/// What has become of drains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Drained,
    TakenBack,
    Left,
}

/// What has become of the drains of these endpoints. One that is gone from all slices and has no flows is not known
/// any more.
fn look(client: &AdminClient, service: &str, meant: Meant<'_>) -> anyhow::Result<State> {
    let endpoints: api::Endpoints =
        client.get(&with_query("/v1/endpoints", &[("service", Some(service))]))?;
    let is_meant = |it: &&api::Endpoint| meant.has(&it.service, &it.endpoint, it.pod.as_deref());
    let states = endpoints.endpoints.iter().filter(is_meant).map(|endpoint| match &endpoint.drain {
        None => State::TakenBack,
        Some(drain) if drain.drained.is_some() || endpoint.flows == 0 => State::Drained,
        Some(_) => State::Left,
    });
    let states: Vec<_> = states.collect();
    let worst = [State::Left, State::TakenBack].into_iter().find(|state| states.contains(state));
    Ok(worst.unwrap_or(State::Drained))
}
