//! Answers of the admin API as tables for people.

mod grid;
pub(crate) mod progress;

use std::fmt::Write as _;

use tidegate_admin::api;

pub(crate) use grid::wrap;
use grid::{Row, noted, table};

/// The process, its listeners and its services.
pub(crate) fn status(status: &api::Status) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "tidegate {}  {}  up {}  generation {}  flows {} of {}",
        status.version,
        status.phase,
        seconds(status.uptime_seconds),
        status.generation,
        status.flows,
        status.flow_limit
    );
    for reason in &status.not_ready {
        let _ = writeln!(text, "not ready: {reason}");
    }
    let silent: Vec<_> = status.workers.iter().filter(|worker| !worker.alive).collect();
    let _ = writeln!(text, "workers {}, silent {}", status.workers.len(), silent.len());
    if let Some(source) = &status.source {
        let _ = writeln!(
            text,
            "source {} {}: {}, {} files, {} slices, {} events, last change {}",
            source.kind,
            source.path,
            if source.synced { "synced" } else { "not synced" },
            source.files,
            source.slices,
            source.events,
            source.age_seconds.map_or_else(|| "never".to_owned(), |age| format!("{} ago", seconds(age)))
        );
        for watch in &source.watches {
            let age = watch
                .contact_age_seconds
                .map_or_else(|| "never".to_owned(), |age| format!("{} ago", seconds(age)));
            let _ = writeln!(
                text,
                "watch {}: {} objects, {} changes, {} lists, {} errors, heard {age}",
                watch.resource, watch.objects, watch.events, watch.lists, watch.errors
            );
            if let Some(trouble) = &watch.trouble {
                let _ = writeln!(text, "watch {} trouble: {trouble}", watch.resource);
            }
        }
        if let Some(writer) = &source.writer {
            let leads =
                if writer.leads { "this instance writes" } else { "another instance writes, or none" };
            let _ = writeln!(
                text,
                "status of Services: {leads}; {} statuses, {} events, {} errors",
                writer.statuses, writer.events, writer.errors
            );
            if let Some(trouble) = &writer.trouble {
                let _ = writeln!(text, "status of Services trouble: {trouble}");
            }
        }
        if let Some(events) = &source.pod_events {
            let _ = writeln!(text, "events on pods: {} written, {} dropped", events.written, events.dropped);
            if let Some(trouble) = &events.trouble {
                let _ = writeln!(text, "events on pods trouble: {trouble}");
            }
        }
        for problem in &source.problems {
            let port = problem.port.map_or_else(String::new, |port| format!(" port {port}"));
            let _ =
                writeln!(text, "service {}{port}: {}: {}", problem.service, problem.reason, problem.message);
        }
        if let Some(trouble) = source.trouble.as_ref().filter(|_| source.watches.is_empty()) {
            let _ = writeln!(text, "source trouble: {trouble}");
        }
        for invalid in &source.invalid_files {
            let _ = writeln!(text, "invalid file {}: {}", invalid.file, invalid.error);
        }
    }
    if let Some(reload) = &status.last_reload {
        let outcome = reload.error.as_deref().unwrap_or("applied");
        let _ = writeln!(text, "last reload {}: {outcome}", reload.at);
    }
    let listeners = status.listeners.iter().map(|listener| {
        let state = if listener.accepting { "accepting" } else { "waiting for the source" };
        vec![listener.name.clone(), listener.address.clone(), listener.service.clone(), state.to_owned()]
    });
    text.push('\n');
    text.push_str(&table(&["LISTENER", "ADDRESS", "SERVICE", "STATE"], listeners));
    let services = status.services.iter().map(|service| {
        let eligible = format!("{}/{}", service.eligible, service.total);
        let mut notes = Vec::new();
        if service.last_resort {
            notes.push("none ready: serving and terminating ones take new flows");
        } else if service.eligible == 0 && service.configured {
            notes.push("no endpoint: new flows are refused");
        }
        if !service.configured {
            notes.push("not configured any more");
        }
        vec![
            service.service.clone(),
            eligible,
            service.draining.to_string(),
            service.flows.to_string(),
            notes.join("; "),
        ]
    });
    text.push('\n');
    text.push_str(&table(&["SERVICE", "ELIGIBLE", "DRAINING", "FLOWS", ""], services));
    text
}

/// The endpoints; those that drain with how that comes along.
pub(crate) fn endpoints(answer: &api::Endpoints, drains: Option<&api::Drains>) -> String {
    let rows = answer.endpoints.iter().map(|endpoint| {
        let progress = drains.and_then(|all| all.drains.iter().find(|drain| drain.id == endpoint.id));
        let drain = endpoint.drain.as_ref().map_or_else(String::new, |drain| {
            let reason = endpoint.admin_state.reason.as_deref().filter(|reason| !reason.is_empty());
            let why = reason.map_or_else(|| drain.why.clone(), |reason| format!("{}: {reason}", drain.why));
            format!("{}; {why}", of_drain(drain, progress))
        });
        let cells = vec![
            endpoint.service.clone(),
            endpoint.endpoint.clone(),
            endpoint.pod.clone().unwrap_or_default(),
            conditions(endpoint),
            if endpoint.eligible { "yes" } else { "no" }.to_owned(),
            endpoint.admin_state.state.clone(),
            endpoint.flows.to_string(),
        ];
        Row { cells, below: drain, ..Row::default() }
    });
    noted(&["SERVICE", "ENDPOINT", "POD", "CONDITIONS", "NEW FLOWS", "ADMIN", "FLOWS"], rows)
}

/// A drain in words: how it comes along where that is known, and else what the endpoint itself says.
fn of_drain(drain: &api::Drain, progress: Option<&api::DrainProgress>) -> String {
    match (&drain.drained, progress) {
        (Some(drained), _) => format!("drained at {drained}"),
        (None, Some(progress)) => progress::words(progress),
        (None, None) => {
            let until = drain.deadline.as_ref().map_or_else(String::new, |at| format!(" until {at}"));
            let (left, start) = (drain.flows_left, drain.flows_at_start);
            format!("{left} of {start} flows left{until}, drains since {}", drain.since)
        }
    }
}

/// Where what is known of the endpoints comes from.
pub(crate) fn sources(answer: &api::Endpoints) -> String {
    let rows = answer.endpoints.iter().map(|endpoint| {
        let word = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        vec![
            endpoint.service.clone(),
            endpoint.endpoint.clone(),
            word(&endpoint.pod),
            word(&endpoint.node),
            word(&endpoint.zone),
            word(&endpoint.slice),
            word(&endpoint.slice_generation.map(|generation| generation.to_string())),
            conditions(endpoint),
            endpoint.since.clone(),
        ]
    });
    let header = ["SERVICE", "ENDPOINT", "POD", "NODE", "ZONE", "SLICE", "GENERATION", "CONDITIONS", "SINCE"];
    table(&header, rows)
}

fn conditions(endpoint: &api::Endpoint) -> String {
    let Some(conditions) = &endpoint.conditions else { return "gone".to_owned() };
    let words = [
        (conditions.ready, "ready"),
        (conditions.serving, "serving"),
        (conditions.terminating, "terminating"),
    ];
    let words: Vec<_> = words.iter().filter(|(is, _)| *is).map(|(_, word)| *word).collect();
    if words.is_empty() { "not ready".to_owned() } else { words.join(",") }
}

/// Live flows.
pub(crate) fn flows(answer: &api::Flows) -> String {
    let rows = answer.flows.iter().map(|flow| {
        vec![
            flow.id.clone(),
            flow.service.clone(),
            flow.client.clone(),
            flow.endpoint.clone().unwrap_or_default(),
            flow.state.clone(),
            seconds(flow.age_seconds),
            seconds(flow.idle_seconds),
            flow.bytes_up.to_string(),
            flow.bytes_down.to_string(),
        ]
    });
    let header = ["FLOW", "SERVICE", "CLIENT", "ENDPOINT", "STATE", "AGE", "IDLE", "UP", "DOWN"];
    let mut text = table(&header, rows);
    if answer.total > answer.flows.len() || answer.truncated {
        let more = if answer.truncated { "at least " } else { "" };
        let _ = writeln!(text, "{} of {more}{} flows; --limit shows more", answer.flows.len(), answer.total);
    }
    for worker in &answer.silent_workers {
        let _ = writeln!(text, "worker {worker} did not answer; its flows are missing here");
    }
    text
}

/// What a drain or an undrain changed.
pub(crate) fn drain(answer: &api::DrainAnswer) -> String {
    let rows = answer.endpoints.iter().map(|change| {
        let cells = vec![
            change.service.clone(),
            change.endpoint.clone(),
            change.pod.clone().unwrap_or_default(),
            if change.unchanged { format!("{} (as before)", change.state) } else { change.state.clone() },
            if change.eligible { "yes" } else { "no" }.to_owned(),
            change.flows.to_string(),
        ];
        let below = match &change.deadline {
            Some(deadline) if change.earlier_deadline => format!(
                "the deadline stays {deadline}: it was earlier than the one asked for, and only moves earlier until \
                 the drain is taken back"
            ),
            Some(deadline) => format!("deadline {deadline}"),
            None => String::new(),
        };
        Row { cells, below, ..Row::default() }
    });
    noted(&["SERVICE", "ENDPOINT", "POD", "ADMIN", "NEW FLOWS", "FLOWS"], rows)
}

/// What a drain would do to a service's endpoints.
pub(crate) fn planned(plan: &api::ServicePlan) -> String {
    let known = |number: Option<u64>| number.map_or_else(|| "?".to_owned(), |number| number.to_string());
    let drained = plan.endpoints.iter().map(|endpoint| {
        vec![
            endpoint.endpoint.clone(),
            endpoint.pod.clone().unwrap_or_default(),
            endpoint.flows.to_string(),
            known(endpoint.idle),
            known(endpoint.busy),
            known(endpoint.bytes_per_second),
            endpoint.deadline_seconds.map_or_else(|| "-".to_owned(), |time| format!("in {}", seconds(time))),
            endpoint.will_be_cut.map_or_else(|| "-".to_owned(), |cut| cut.to_string()),
            if endpoint.draining { "drains already" } else { "" }.to_owned(),
        ]
    });
    let header = ["DRAINED", "POD", "FLOWS", "IDLE", "BUSY", "BYTES/S", "DEADLINE", "CUT", ""];
    let mut text = table(&header, drained);
    let others = plan.others.iter();
    text.push_str(&loads(
        others.map(|other| (&*other.endpoint, other.pod.as_deref(), other.flows, other.flows_after)),
    ));
    text
}

/// What the endpoints that stay would have of several instances.
pub(crate) fn total_loads(others: &[api::TotalLoad]) -> String {
    loads(others.iter().map(|load| (&*load.endpoint, load.pod.as_deref(), load.flows, load.flows_after)))
}

/// Endpoints with their pods, their flows, and those that they would have.
fn loads<'a>(others: impl Iterator<Item = (&'a str, Option<&'a str>, u64, u64)>) -> String {
    let rows = others.map(|(endpoint, pod, flows, after)| {
        vec![
            endpoint.to_owned(),
            pod.unwrap_or_default().to_owned(),
            flows.to_string(),
            format!("{after} (+{})", after.saturating_sub(flows)),
        ]
    });
    table(&["OTHERS", "POD", "FLOWS", "AFTERWARDS"], rows)
}

/// What drains came to. FLOWS and AFTER are as many as CLIENT to LEFT together; `tidegate audit --help` explains each.
pub(crate) fn audit(audit: &api::Audit) -> String {
    let rows = audit.records.iter().map(|record| {
        let state = match (&record.ended, record.undone) {
            (None, _) => "still drains",
            (Some(_), true) => "undone",
            (Some(_), false) => "drained",
        };
        let pod = record.pod.as_ref().map_or_else(String::new, |pod| format!(" ({pod})"));
        let (service, endpoint) = (&record.service, &record.endpoint);
        let counts = [
            record.flows_at_start,
            record.flows_after_start,
            record.ended_by_client,
            record.ended_by_endpoint,
            record.shed,
            record.cut,
            record.broken,
            record.ordered + record.elsewhere,
            record.flows_left,
        ];
        let published = record
            .published_after_us
            .map_or_else(|| "-".to_owned(), |micros| format!("{:.1}ms", micros as f64 / 1_000.0));
        let mut cells = vec![seconds(record.took_ms as f64 / 1_000.0), published];
        cells.extend(counts.map(|count| count.to_string()));
        Row {
            above: format!("{service} {endpoint}{pod} {state}, began {}: {}", record.began, record.why),
            cells,
            ..Row::default()
        }
    });
    let header =
        ["TOOK", "PUBLISH", "FLOWS", "AFTER", "CLIENT", "ENDPOINT", "SHED", "CUT", "BROKEN", "OTHER", "LEFT"];
    noted(&header, rows)
}

/// A time span for people.
pub(crate) fn seconds(seconds: f64) -> String {
    match seconds {
        s if s < 10.0 => format!("{s:.1}s"),
        s if s < 120.0 => format!("{s:.0}s"),
        s if s < 7200.0 => format!("{:.0}m", s / 60.0),
        s if s < 172_800.0 => format!("{:.0}h", s / 3600.0),
        s => format!("{:.0}d", s / 86_400.0),
    }
}

/// Two time spans as one.
pub(crate) fn range(least: f64, most: f64) -> String {
    let (least, most) = (seconds(least.max(0.0)), seconds(most.max(0.0)));
    if least == most { least } else { format!("{least} to {most}") }
}

#[cfg(test)]
mod tests;
