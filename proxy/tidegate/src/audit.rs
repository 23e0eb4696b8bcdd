//! `tidegate audit`: what every drain came to, and the exit status for a pipeline.

use std::{process::ExitCode, time::Duration};

use tidegate_admin::{All, api};

use crate::{
    cli::{self, Expectation},
    client::AdminClient,
    instances, tables,
};

pub(crate) fn run(options: &cli::Audit) -> anyhow::Result<ExitCode> {
    let since = options.since.map(|since| since.as_millis().to_string());
    let query = [("since_ms", since.as_deref()), ("service", options.service.as_deref())];
    let client = AdminClient::new(&options.asking)?;
    let audits: All<api::Audit> = instances::get(&client, options.all, "/v1/audit", &query)?;
    let status = instances::print(options.asking.output, options.all, &audits, tables::audit)?;
    let Some(expectation) = options.expect else { return Ok(status) };
    let mut all_faults = Vec::new();
    for it in &audits.instances {
        let found = match &it.answer {
            Some(audit) => faults(audit, options.since, expectation),
            None => vec![instances::error_of(it).to_owned()],
        };
        let of = instances::prefix(&it.instance);
        all_faults.extend(found.into_iter().map(|fault| format!("{of}{fault}")));
    }
    for fault in &all_faults {
        eprintln!("not as expected: {fault}");
    }
    let mut known = audits.instances.iter().filter_map(|it| it.answer.as_ref());
    if known.all(|audit| audit.records.is_empty()) {
        eprintln!("no drain in that time: nothing was broken, and nothing was proved");
    }
    Ok(if all_faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What speaks against the expectation, in words.
fn faults(audit: &api::Audit, since: Option<Duration>, expectation: Expectation) -> Vec<String> {
    let mut faults = Vec::new();
    for record in &audit.records {
        let name = format!("{} {}", record.service, record.endpoint);
        if !record.broke_nothing() {
            faults.push(format!(
                "{name}: {} broken, {} cut, {} came after the drain began",
                record.broken, record.cut, record.flows_after_start
            ));
        }
        if record.ended.is_none() && expectation == Expectation::ZeroBrokenAndDone {
            faults.push(format!("{name}: still drains, with {} flows left", record.flows_left));
        }
    }
    if audit.dropped > 0 {
        faults.push(format!("{} older records are missing, more than are kept", audit.dropped));
    }
    if let Some(since) = since
        && since > Duration::from_millis(audit.known_ms)
    {
        faults.push(format!(
            "the process was started {} s ago and knows nothing of the time before; ask for less with --since",
            audit.known_ms / 1_000
        ));
    }
    faults
}
