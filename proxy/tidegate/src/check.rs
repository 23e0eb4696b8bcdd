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
        let listeners = count(configuration.listeners.len(), "listener");
        let services = count(configuration.services.len(), "service");
        println!("{} is valid: {listeners}, {services}", options.config.display());
    }
    Ok(ExitCode::SUCCESS)
}

fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
