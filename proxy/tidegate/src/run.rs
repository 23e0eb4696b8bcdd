//! `tidegate run`: the proxy, until it is told to end.

use std::process::ExitCode;

use crate::{
    cli,
    overrides::Overrides,
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
    let ended = Proxy::start(loaded.configuration, following)?.wait()?;
    tracing::info!(flows_cut = ended.flows_cut, forced = ended.forced, "ended");
    Ok(ExitCode::SUCCESS)
}

/// A variable of the environment that says something.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
