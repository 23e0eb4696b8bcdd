//! `tidegate run`: the proxy, until it is told to end; and, where it parks, what comes after it has handed over.

use std::{
    process::ExitCode,
    sync::{Arc, atomic::Ordering},
};

use tidegate_config::{Afterwards, Configuration, Loaded};

use crate::{
    cli,
    handoff::parked,
    overrides::Overrides,
    park::{Over, Parking, Superseded},
    probe::{Prober, Stage},
    proxy::{Following, Proxy},
    telemetry,
};

/// Runs the proxy. Nothing is bound before the configuration is known to be good.
pub(crate) fn run(options: &cli::Run) -> anyhow::Result<ExitCode> {
    let overrides = Overrides {
        kubeconfig: options.kubeconfig.clone(),
        context: options.context.clone(),
        node_name: variable("NODE_NAME").map(Into::into),
        pod_namespace: variable("POD_NAMESPACE"),
        pod_name: variable("POD_NAME"),
    };
    let loaded = load(options, &overrides)?;
    telemetry::start(&options.log, "info")?;
    warn(&loaded);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), config = %options.config.display(), "starting");
    let mut configuration = loaded.configuration;
    let mut following = Following {
        config_file: Some(options.config.clone()),
        signals: true,
        overrides,
        takes_over: !options.no_handoff,
        comes_back: false,
    };
    let parks = configuration.handoff.as_ref().is_some_and(|handoff| handoff.afterwards == Afterwards::Park);
    let mut parking = parks.then(Parking::prepare).transpose()?;
    let probe_socket = configuration.handoff.as_ref().and_then(|handoff| handoff.probe_socket.clone());
    let prober = probe_socket.map(|path| Prober::open(&path)).transpose()?;
    let enter = |stage| prober.as_ref().map_or(Ok(()), |prober| prober.enter(stage));
    loop {
        let behind = match Proxy::start(configuration.clone(), following.clone()) {
            Ok(proxy) => {
                let handed_over = Arc::clone(&proxy.handed_over);
                // Flows depend on this process by now: it goes on also where nobody can probe it.
                if proxy.has_taken_its_place()
                    && let Err(error) = enter(Stage::Serving(proxy.handle.clone(), Arc::clone(&handed_over)))
                {
                    tracing::error!("no probe is answered: {error:#}");
                }
                let ended = proxy.wait()?;
                tracing::info!(flows_cut = ended.flows_cut, forced = ended.forced, "ended");
                if !handed_over.load(Ordering::Relaxed) {
                    return Ok(ExitCode::SUCCESS);
                }
                None
            }
            Err(error) => Some(error.downcast::<Superseded>()?),
        };
        let Some(parking) = &mut parking else {
            return behind.map_or(Ok(ExitCode::SUCCESS), |superseded| Err(superseded.into()));
        };
        enter(Stage::HandedOver)?;
        if park(parking, behind, &configuration)? == Over::Told {
            tracing::info!("ended");
            return Ok(ExitCode::SUCCESS);
        }
        enter(Stage::Starting)?;
        (following.takes_over, following.comes_back) = (true, true);
        tracing::warn!("the process that has taken over ends while this one is there: taking over again");
        match load(options, &following.overrides) {
            Ok(loaded) => {
                warn(&loaded);
                configuration = loaded.configuration;
            }
            Err(error) => tracing::error!("going on with the configuration of before: {error:#}"),
        }
    }
}

/// Waits behind the process that has taken over, until this one is told to end or that one ends.
fn park(
    parking: &mut Parking,
    behind: Option<Superseded>,
    configuration: &Configuration,
) -> anyhow::Result<Over> {
    if parking.is_over() {
        return Ok(Over::Told);
    }
    let behind = match (behind, &configuration.handoff) {
        (None, Some(handoff)) => parked::stand_by(handoff, configuration),
        (behind, _) => Ok(behind),
    };
    match behind {
        Ok(Some(behind)) => parking.wait(behind),
        Ok(None) => Ok(Over::OwnerEnds),
        Err(error) => {
            tracing::warn!("parked; the process that has taken over cannot be waited for: {error:#}");
            parking.wait_for_end();
            Ok(Over::Told)
        }
    }
}

fn load(options: &cli::Run, overrides: &Overrides) -> anyhow::Result<Loaded> {
    let mut loaded = tidegate_config::load(&options.config)?;
    overrides.apply(&mut loaded.configuration)?;
    Ok(loaded)
}

fn warn(loaded: &Loaded) {
    for warning in &loaded.warnings {
        tracing::warn!(file = %loaded.origin.display(), line = warning.line, "{}", warning.message);
    }
}

/// A variable of the environment that says something.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
