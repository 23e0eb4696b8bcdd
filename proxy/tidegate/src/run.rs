//! `tidegate run`: the proxy, until it is told to end.

use std::process::ExitCode;

use crate::{
    cli,
    proxy::{Following, Proxy},
    telemetry,
};

/// Runs the proxy. Nothing is bound before the configuration is known to be good.
pub(crate) fn run(options: &cli::Run) -> anyhow::Result<ExitCode> {
    let loaded = tidegate_config::load(&options.config)?;
    telemetry::start(&options.log, "info")?;
    for warning in &loaded.warnings {
        tracing::warn!(file = %loaded.origin.display(), line = warning.line, "{}", warning.message);
    }
    tracing::info!(version = env!("CARGO_PKG_VERSION"), config = %options.config.display(), "starting");
    let following = Following { config_file: Some(options.config.clone()), signals: true };
    let ended = Proxy::start(loaded.configuration, following)?.wait()?;
    tracing::info!(flows_cut = ended.flows_cut, forced = ended.forced, "ended");
    Ok(ExitCode::SUCCESS)
}
