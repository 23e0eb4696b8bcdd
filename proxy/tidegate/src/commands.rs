//! The commands that ask a running proxy. With `-o json` they print the API's answer as it is.

use std::{process::ExitCode, time::Duration};

use serde::Serialize;
use tidegate_admin::{All, InstanceAnswer, api};

use crate::{
    cli::{self, Output},
    client::AdminClient,
    tables, watch,
};

pub(crate) fn status(asking: &cli::Asking) -> anyhow::Result<ExitCode> {
    let status: api::Status = AdminClient::new(asking)?.get("/v1/status")?;
    show(asking.output, &status, tables::status)
}

pub(crate) fn endpoints(options: &cli::Endpoints) -> anyhow::Result<ExitCode> {
    let path = with_query("/v1/endpoints", &[("service", options.service.as_deref())]);
    let client = AdminClient::new(&options.asking)?;
    let endpoints: api::Endpoints = client.get(&path)?;
    if options.sources {
        return show(options.asking.output, &endpoints, tables::sources);
    }
    let is_draining =
        |endpoint: &api::Endpoint| endpoint.drain.as_ref().is_some_and(|it| it.drained.is_none());
    // Only where something drains is there more to know, and nothing else needs to wait for it.
    let drains: Option<api::Drains> =
        match endpoints.endpoints.iter().any(is_draining) && options.asking.output == Output::Table {
            true => client.get("/v1/drains").ok(),
            false => None,
        };
    show(options.asking.output, &endpoints, |endpoints| tables::endpoints(endpoints, drains.as_ref()))
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
    let request = request(&options.endpoint, options.deadline);
    if *all {
        return change_all(&client, "/v1/all/drain", &request, asking.output);
    }
    let answer = change(&client, "/v1/drain", &request)?;
    if !options.wait {
        return show(asking.output, &answer, |answer| changed(answer, &client));
    }
    if asking.output == Output::Table {
        print!("{}", changed(&answer, &client));
    }
    watch::wait(&client, &answer, service, options.timeout, asking.output)
}

pub(crate) fn undrain(options: &cli::DrainArgs) -> anyhow::Result<ExitCode> {
    let client = AdminClient::new(&options.asking)?;
    let (request, output) = (request(options, None), options.asking.output);
    if options.all {
        return change_all(&client, "/v1/all/undrain", &request, output);
    }
    let answer = change(&client, "/v1/undrain", &request)?;
    show(output, &answer, |answer| changed(answer, &client))
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

fn change(client: &AdminClient, path: &str, request: &api::DrainRequest) -> anyhow::Result<api::DrainAnswer> {
    let answer: api::DrainAnswer = client.post(path, request)?;
    warn_unkept("", Some(&answer));
    Ok(answer)
}

fn change_all(
    client: &AdminClient,
    path: &str,
    request: &api::DrainRequest,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let answers: All<api::DrainAnswer> = client.post(path, request)?;
    for InstanceAnswer { instance, answer, .. } in &answers.instances {
        warn_unkept(&format!("{instance}: "), answer.as_ref());
    }
    show_all(output, &answers, tables::drain)
}

fn changed(answer: &api::DrainAnswer, client: &AdminClient) -> String {
    format!("{}on this instance alone: {}\n", tables::drain(answer), client.address())
}

fn warn_unkept(of: &str, answer: Option<&api::DrainAnswer>) {
    if let Some(error) = answer.and_then(|answer| answer.kept_error.as_ref()) {
        eprintln!("warning: {of}in force, but it will not survive a restart: {error}");
    }
}

/// Every instance's answer. The exit status is 1 where one has none.
pub(crate) fn show_all<T: Serialize>(
    output: Output,
    answers: &All<T>,
    table: impl Fn(&T) -> String,
) -> anyhow::Result<ExitCode> {
    show(output, answers, |answers| {
        let row = |it: &InstanceAnswer<T>| match (&it.answer, &it.error) {
            (Some(answer), _) => format!("{}:\n{}", it.instance, table(answer)),
            (None, error) => format!("{}: {}\n", it.instance, error.as_deref().unwrap_or("no answer")),
        };
        answers.instances.iter().map(row).collect()
    })?;
    let is_whole = answers.instances.iter().all(|it| it.answer.is_some());
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
