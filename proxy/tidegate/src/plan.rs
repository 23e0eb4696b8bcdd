//! `tidegate plan drain`: what a drain would do, from live flows.

use std::{fmt::Write as _, process::ExitCode};

use tidegate_admin::{AllPlans, api};

use crate::{cli, client::AdminClient, commands::show, instances, tables};

pub(crate) fn run(options: &cli::Plan) -> anyhow::Result<ExitCode> {
    let cli::PlanCommand::Drain(options) = &options.command;
    let endpoints = (!options.endpoints.is_empty()).then(|| options.endpoints.join(","));
    let deadline = options.deadline.map(|time| time.as_millis().to_string());
    let query = [
        ("service", options.service.as_deref()),
        ("endpoints", endpoints.as_deref()),
        ("node", options.node.as_deref()),
        ("deadline_ms", deadline.as_deref()),
    ];
    let cli::Asking { output, .. } = options.asking;
    let client = AdminClient::new(&options.asking)?;
    let path = instances::path_of(options.all, "/v1/plan", &query);
    if options.all {
        let plans: AllPlans = client.get(&path)?;
        show(output, &plans, |plans| {
            let each = instances::text(&plans.all, |_, plan| text(plan));
            format!("{each}{}nothing was changed\n", totals(&plans.totals))
        })?;
        return Ok(instances::status(&plans.all));
    }
    let plan: api::Plan = client.get(&path)?;
    show(output, &plan, |plan| {
        format!(
            "{}of the flows of this instance alone: {}; nothing was changed\n",
            text(plan),
            client.address()
        )
    })
}

fn text(plan: &api::Plan) -> String {
    let mut text = String::new();
    for service in &plan.services {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}: {}", service.service, summary(service));
        text.push_str(&tables::planned(service));
        text.push('\n');
    }
    for worker in &plan.silent_workers {
        let _ =
            writeln!(text, "worker {worker} did not answer; its flows are missing in what is idle or busy");
    }
    text
}

fn summary(plan: &api::ServicePlan) -> String {
    let mut words = format!("{} flows would have to move", plan.flows_to_move);
    match (plan.deadline_seconds, plan.window_seconds, plan.reconnects_per_second) {
        (Some(deadline), Some(window), Some(rate)) => {
            let latest = plan.endpoints.iter().filter_map(|endpoint| endpoint.deadline_seconds);
            let _ = write!(
                words,
                " within {}, at most {rate} reconnects per second while they are shed, which takes {}",
                tables::range(deadline, latest.fold(deadline, f64::max)),
                tables::seconds(window)
            );
        }
        _ if plan.deadline_by == "pod" => words.push_str(
            " before their pods are killed: when that is (drain.deadline: pod) is known once they terminate; \
             --deadline shows what a given time would come to",
        ),
        _ => words.push_str(", each when it closes by itself: no deadline"),
    }
    if let Some(cut) = plan.will_be_cut {
        let _ = write!(words, "; {cut} would be cut as things stand");
    }
    if plan.nobody_left {
        words.push_str("; no endpoint would be left for new flows");
    }
    words
}

/// What several instances say together.
fn totals(totals: &[api::PlanTotal]) -> String {
    let mut text = String::new();
    for total in totals {
        let instances =
            if total.instances == 1 { "1 instance" } else { &format!("{} instances", total.instances) };
        let mut words = format!("{} flows would have to move", total.flows_to_move);
        if let Some(rate) = total.reconnects_per_second {
            let _ = write!(words, ", {rate} reconnects per second while all shed");
        }
        if let Some(cut) = total.will_be_cut {
            let _ = write!(words, "; {cut} would be cut as things stand");
        }
        if total.nobody_left > 0 {
            let _ = write!(words, "; on {} no endpoint would be left for new flows", total.nobody_left);
        }
        let _ = writeln!(text, "{}, {instances} together: {words}", total.service);
        text.push_str(&tables::total_loads(&total.others));
        text.push('\n');
    }
    text
}
