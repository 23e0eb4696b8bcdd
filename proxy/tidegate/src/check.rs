//! `tidegate check`: says whether a configuration is good, and what it means.

use std::process::ExitCode;

use crate::cli;

/// Checks a configuration. Errors are the caller's to print.
pub(crate) fn check(options: &cli::Check) -> anyhow::Result<ExitCode> {
    let loaded = tidegate_config::load(&options.config)?;
    for warning in &loaded.warnings {
        eprintln!("warning: {}", warning.display(&loaded.origin));
    }
    if options.explain {
        print!("{}", loaded.configuration.explain());
    } else {
        let configuration = &loaded.configuration;
        println!(
            "{} is valid: {} listeners, {} services",
            options.config.display(),
            configuration.listeners.len(),
            configuration.services.len()
        );
    }
    Ok(ExitCode::SUCCESS)
}
