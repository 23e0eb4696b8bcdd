//! `tidegate run`: the proxy, until it is told to end.

use std::{
    process::ExitCode,
    sync::{Arc, atomic::Ordering},
};

use tidegate_config::Afterwards;

use crate::{
    cli,
    overrides::Overrides,
    park::{Parking, Superseded},
    probe::{Prober, Stage},
    proxy::{Following, Proxy},
    telemetry,
};

/// Runs the proxy. Nothing is bound before the configuration is known to be good.
pub(crate) fn run(options: &cli::Run) -> anyhow::Result<ExitCode> {
    let mut loaded = tidegate_config::load(&options.config)?;
    let overrides = Overrides {
        kubeconfig: options.kubeconfig.clone(),
        context: options.context.clone(),
        node_name: variable("NODE_NAME").map(Into::into),
        pod_namespace: variable("POD_NAMESPACE"),
        pod_name: variable("POD_NAME"),
    };
    overrides.apply(&mut loaded.configuration)?;
    telemetry::start(&options.log, "info")?;
    for warning in &loaded.warnings {
        tracing::warn!(file = %loaded.origin.display(), line = warning.line, "{}", warning.message);
    }
    tracing::info!(version = env!("CARGO_PKG_VERSION"), config = %options.config.display(), "starting");
    let following = Following {
        config_file: Some(options.config.clone()),
        signals: true,
        overrides,
        takes_over: !options.no_handoff,
    };
    let handoff = loaded.configuration.handoff.clone();
    let parks = handoff.as_ref().is_some_and(|handoff| handoff.afterwards == Afterwards::Park);
    let parking = parks.then(Parking::prepare).transpose()?;
    let prober =
        handoff.and_then(|handoff| handoff.probe_socket).map(|path| Prober::open(&path)).transpose()?;
    let enter = |stage| prober.as_ref().map_or(Ok(()), |prober| prober.enter(stage));
    let proxy = match Proxy::start(loaded.configuration, following) {
        Err(error) if error.is::<Superseded>() && parking.is_some() => {
            enter(Stage::HandedOver)?;
            parking.into_iter().for_each(|parking| parking.wait(&format!("{error}")));
            return Ok(ExitCode::SUCCESS);
        }
        started => started?,
    };
    let handed_over = Arc::clone(&proxy.handed_over);
    // Flows depend on this process by now: it goes on also where nobody can probe it.
    if proxy.has_taken_its_place()
        && let Err(error) = enter(Stage::Serving(proxy.handle.clone(), Arc::clone(&handed_over)))
    {
        tracing::error!("no probe is answered: {error:#}");
    }
    let ended = proxy.wait()?;
    tracing::info!(flows_cut = ended.flows_cut, forced = ended.forced, "ended");
    if handed_over.load(Ordering::Relaxed) {
        parking.into_iter().for_each(|parking| parking.wait("another process has taken over"));
    }
    Ok(ExitCode::SUCCESS)
}

/// A variable of the environment that says something.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
