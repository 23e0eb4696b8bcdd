//! Log lines: to standard error, as text or JSON.

use anyhow::Context as _;
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::cli::{LogArgs, LogFormat};

/// Starts writing log lines; those at `level` where the command line does not say which.
pub(crate) fn start(log: &LogArgs, level: &str) -> anyhow::Result<()> {
    let filter = log.log.as_deref().unwrap_or(level);
    let filter = EnvFilter::try_new(filter).with_context(|| {
        format!("--log {filter:?} is not a filter: expected a level, or target=level pairs with commas")
    })?;
    let registry = tracing_subscriber::registry().with(filter);
    // Where nobody reads standard error any more, the line is lost; saying so there would be a panic.
    let lines = fmt::layer().with_writer(std::io::stderr).log_internal_errors(false);
    match log.log_format {
        LogFormat::Text => {
            let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
            registry.with(lines.with_ansi(ansi)).try_init()
        }
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    }
    .context("cannot start logging")
}
