//! The commands that ask a running proxy. With `-o json` they print the API's answer as it is.

use std::{collections::BTreeMap, process::ExitCode, time::Duration};

use serde::Serialize;
use tidegate_admin::{All, InstanceAnswer, api};

use crate::{
    cli::{self, Output},
    client::AdminClient,
    instances, tables, watch,
};

pub(crate) fn status(asking: &cli::Asking) -> anyhow::Result<ExitCode> {
    let status: api::Status = AdminClient::new(asking)?.get("/v1/status")?;
    show(asking.output, &status, tables::status)
}

pub(crate) fn endpoints(options: &cli::Endpoints) -> anyhow::Result<ExitCode> {
    let cli::Endpoints { service, sources, all, asking } = options;
    let query = [("service", service.as_deref())];
    let client = AdminClient::new(asking)?;
    let endpoints: All<api::Endpoints> = instances::get(&client, *all, "/v1/endpoints", &query)?;
    if *sources {
        return instances::print(asking.output, *all, &endpoints, tables::sources);
    }
    let is_draining =
        |endpoint: &api::Endpoint| endpoint.drain.as_ref().is_some_and(|it| it.drained.is_none());
    let mut rows =
        endpoints.instances.iter().filter_map(|it| it.answer.as_ref()).flat_map(|it| &it.endpoints);
    // Only where something drains is there more to know, and nothing else needs to wait for it.
    let drains: Option<All<api::Drains>> = match rows.any(is_draining) && asking.output == Output::Table {
        true => instances::get(&client, *all, "/v1/drains", &query).ok(),
        false => None,
    };
    let drains = drains.iter().flat_map(|all| &all.instances);
    let drains: BTreeMap<&str, &api::Drains> =
        drains.filter_map(|it| Some((it.instance.as_str(), it.answer.as_ref()?))).collect();
    instances::print_each(asking.output, *all, &endpoints, |instance, endpoints| {
        tables::endpoints(endpoints, drains.get(instance).copied())
    })
}

pub(crate) fn flows(options: &cli::Flows) -> anyhow::Result<ExitCode> {
    let limit = options.limit.to_string();
    let query = [
        ("limit", Some(limit.as_str())),
        ("service", options.service.as_deref()),
        ("endpoint", options.endpoint.as_deref()),
    ];
    let flows: api::Flows = AdminClient::new(&options.asking)?.get(&with_query("/v1/flows", &query))?;
    show(options.asking.output, &flows, tables::flows)
}

pub(crate) fn drain(options: &cli::Drain) -> anyhow::Result<ExitCode> {
    let cli::DrainArgs { all, asking, service, .. } = &options.endpoint;
    let client = AdminClient::new(asking)?;
    let answers = change(&client, *all, "/v1/drain", &request(&options.endpoint, options.deadline))?;
    if !options.wait {
        return changed(&client, *all, &answers, asking.output);
    }
    if asking.output == Output::Table {
        changed(&client, *all, &answers, asking.output)?;
    }
    let waited = watch::Waited { all: *all, service, timeout: options.timeout, output: asking.output };
    watch::wait(&client, &answers, &waited)
}

pub(crate) fn undrain(options: &cli::DrainArgs) -> anyhow::Result<ExitCode> {
    let client = AdminClient::new(&options.asking)?;
    let answers = change(&client, options.all, "/v1/undrain", &request(options, None))?;
    changed(&client, options.all, &answers, options.asking.output)
}

fn request(options: &cli::DrainArgs, deadline: Option<Duration>) -> api::DrainRequest {
    api::DrainRequest {
        service: options.service.clone(),
        endpoint: options.endpoint.clone(),
        reason: (!options.reason.is_empty()).then(|| options.reason.clone()),
        by: Some(user()),
        deadline_ms: deadline.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
    }
}

/// Asks for a change of one instance or of all.
fn change(
    client: &AdminClient,
    all: bool,
    path: &str,
    request: &api::DrainRequest,
) -> anyhow::Result<All<api::DrainAnswer>> {
    let path = instances::path_of(all, path, &[]);
    let answers =
        if all { client.post(&path, request)? } else { instances::alone(client.post(&path, request)?) };
    for InstanceAnswer { instance, answer, .. } in &answers.instances {
        if let Some(error) = answer.as_ref().and_then(|answer: &api::DrainAnswer| answer.kept_error.as_ref())
        {
            let of = instances::prefix(instance);
            eprintln!("warning: {of}in force, but it will not survive a restart: {error}");
        }
    }
    Ok(answers)
}

/// Prints what was changed.
fn changed(
    client: &AdminClient,
    all: bool,
    answers: &All<api::DrainAnswer>,
    output: Output,
) -> anyhow::Result<ExitCode> {
    instances::print(output, all, answers, |answer| match all {
        true => tables::drain(answer),
        false => format!("{}on this instance alone: {}\n", tables::drain(answer), client.address()),
    })
}

/// Who is asking, for other operators.
fn user() -> String {
    let named = ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    named
        .filter(|user| !user.is_empty())
        .unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
}

pub(crate) fn close(options: &cli::Close) -> anyhow::Result<ExitCode> {
    let request = api::CloseRequest { flow: options.flow.clone() };
    let answer: api::CloseAnswer = AdminClient::new(&options.asking)?.post("/v1/flows/close", &request)?;
    show(options.asking.output, &answer, |answer| format!("flow {} is closed\n", answer.flow))
}

pub(crate) fn show<T: Serialize>(
    output: Output,
    answer: &T,
    table: impl Fn(&T) -> String,
) -> anyhow::Result<ExitCode> {
    match output {
        Output::Table => print!("{}", table(answer)),
        Output::Json => println!("{}", serde_json::to_string_pretty(answer)?),
    }
    Ok(ExitCode::SUCCESS)
}

/// A path with those parameters that have a value.
pub(crate) fn with_query(path: &str, parameters: &[(&str, Option<&str>)]) -> String {
    let given = parameters.iter().filter_map(|(name, value)| Some((*name, (*value)?)));
    let pairs: Vec<_> = given.map(|(name, value)| format!("{name}={}", percent_encode(value))).collect();
    if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) }
}

/// Leaves the unreserved characters of RFC 3986, 2.3, and encodes the rest.
fn percent_encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
