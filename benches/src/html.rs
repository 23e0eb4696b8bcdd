//! A report as one page for people: `report.html`, self-contained, with nothing that is fetched.
//!
//! Decided here: what the page says, in which order. Not decided here: figures (functions of the [`Report`]), how a
//! plot is drawn (`plot`). The page is well-formed XML as well as HTML, which is how its test reads it; every text
//! that comes from elsewhere goes through `mark_up::text`.

mod mark_up;
mod plot;
mod tables;

use self::mark_up::{number, text};
use self::plot::{Bar, Point};
use crate::outcomes::{self, Outcome};
use crate::peers::Proxy;
use crate::report::{Ratio, Report, Row, Table};

const STYLE: &str = include_str!("html/style.css");

/// The page.
pub(crate) fn render(report: &Report) -> String {
    let tables: String =
        report.tables.iter().enumerate().map(|(index, table)| figure(index, table)).collect();
    format!(
        r#"<!DOCTYPE html>
<html lang="en" xmlns="http://www.w3.org/1999/xhtml">
<head>
<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'"/>
<title>Tidegate beside other proxies, {date}</title>
<style>
{STYLE}</style>
</head>
<body>
<header>
<h1>Tidegate beside other proxies</h1>
{facts}
</header>
<main>
{invalid}{summary}{rollouts}{handoffs}{tables}</main>
</body>
</html>
"#,
        date = text(&report.run.date),
        facts = tables::facts(report),
        invalid = invalid(report),
        summary = summary(report),
        rollouts = measured_once("rollout", "Endpoints replaced under load", &report.rollouts),
        handoffs = measured_once("handoff", "Proxies replaced under load", &report.handoffs),
    )
}

/// What cannot be used is said first.
fn invalid(report: &Report) -> String {
    let rows = report.tables.iter().flat_map(|table| table.rows.iter().map(move |row| (table, row)));
    let named: String = rows
        .filter(|(_, row)| !row.is_valid())
        .map(|(table, row)| format!("<li>{}: {}</li>\n", text(&table.title), text(&row.proxy.to_string())))
        .collect();
    let named = named + &invalid_outcomes(&report.rollouts) + &invalid_outcomes(&report.handoffs);
    if named.is_empty() {
        return String::new();
    }
    format!(
        "<section class=\"warning\">\n<h2>Rows that are invalid</h2>\n<p>Something went wrong while these were \
         measured. The figure below each says what.</p>\n<ul>\n{named}</ul>\n</section>\n"
    )
}

/// Tidegate's costs by those of the best peer, all figures under each other.
fn summary(report: &Report) -> String {
    let best =
        |table: &Table| table.ratios().into_iter().max_by(|a, b| a.ratio.median.total_cmp(&b.ratio.median));
    let of_all: Vec<(&Table, Ratio)> =
        report.tables.iter().filter_map(|table| Some((table, best(table)?))).collect();
    if of_all.is_empty() {
        return String::new();
    }
    let points: Vec<Point> = of_all
        .iter()
        .map(|(table, best)| Point {
            name: table.title.clone(),
            beside: format!("{:.2} of {}", best.ratio.median, best.to),
            spread: best.ratio,
        })
        .collect();
    format!(
        "<section>\n<h2>Tidegate and the best of the others</h2>\n<p>What Tidegate spends, as a share of what the peer \
         spends that spends least. Left of the line at 1, Tidegate spends less. A dot is the median of the rounds' \
         ratios, a line goes from the least to the most.</p>\n<figure>\n{}</figure>\n{}</section>\n",
        plot::ratios("summary", "Cost of Tidegate by that of the best peer", &points),
        tables::ratios(report),
    )
}

fn invalid_outcomes<O: Outcome>(all: &[O]) -> String {
    let invalid = all.iter().filter(|outcome| !outcome.is_valid());
    let line = |it: &O| format!("<li>{}: {}</li>\n", text(&it.title()), text(&it.proxy().to_string()));
    invalid.map(line).collect()
}

/// A section with what was measured once for each proxy.
fn measured_once<O: Outcome>(id: &str, heading: &str, all: &[O]) -> String {
    if all.is_empty() {
        return String::new();
    }
    let tables: String = outcomes::tables(all)
        .map(|outcomes::Table(measured)| {
            let title = measured.first().map(O::title).unwrap_or_default();
            format!("<p class=\"note\">{}</p>\n{}", text(&title), tables::outcomes(measured))
        })
        .collect();
    let faults = faults(all.iter().flat_map(|outcome| {
        outcome.words().iter().chain(outcome.faults()).map(move |words| (outcome.proxy(), words))
    }));
    format!("<section id=\"{id}\">\n<h2>{heading}</h2>\n{tables}{faults}</section>\n")
}

/// One figure: its plots, its table, what went wrong.
fn figure(index: usize, table: &Table) -> String {
    let id = format!("figure-{index}");
    let mut plots = String::new();
    let costs = bars(table, |row| (row.readings.iter().filter_map(|reading| reading.cost).collect(), ""));
    if costs.iter().any(|bar| bar.spread.is_some()) {
        plots +=
            &plot::bars(&format!("{id}-cost"), "What the proxy spent; less is better", &table.unit, &costs);
    }
    let rates = bars(table, |row| {
        let mark = if row.is_load_bound() { "load-bound" } else { "" };
        (row.readings.iter().filter_map(|reading| reading.rate).collect(), mark)
    });
    if let Some(unit) = table.rate_unit.as_ref().filter(|_| rates.iter().any(|bar| bar.spread.is_some())) {
        plots += &plot::bars(&format!("{id}-rate"), "Rate; more is better", unit, &rates);
    }
    if table.rows.iter().any(|row| row.is_valid() && row.p50().is_some()) {
        plots += &plot::latencies(&format!("{id}-latency"), table);
    }
    let faults = faults(table.rows.iter().flat_map(|row| row.faults().map(move |fault| (row.proxy, fault))));
    format!(
        "<section id=\"{id}\">\n<h2>{title}</h2>\n<p class=\"note\">Workload <code>{workload}</code></p>\n<figure>\n\
         {plots}</figure>\n{rows}{faults}</section>\n",
        title = text(&table.title),
        workload = text(&table.workload),
        rows = tables::rows(table),
    )
}

/// What went wrong, and with which proxy; nothing where nothing did.
fn faults(all: impl Iterator<Item = (Proxy, impl AsRef<str>)>) -> String {
    let items: String = all
        .map(|(proxy, words)| {
            format!("<li><strong>{}</strong> {}</li>\n", text(&proxy.to_string()), text(words.as_ref()))
        })
        .collect();
    if items.is_empty() {
        return items;
    }
    format!("<h3>What went wrong</h3>\n<ul class=\"faults\">\n{items}</ul>\n")
}

/// A bar for each row; an invalid one has no length.
fn bars(table: &Table, values: impl Fn(&Row) -> (Vec<f64>, &'static str)) -> Vec<Bar> {
    let bar = |row: &Row| {
        let (readings, mark) = values(row);
        let (readings, mark) = if row.is_valid() { (readings, mark) } else { (Vec::new(), "invalid") };
        let spread = crate::report::Spread::of(readings.iter().copied());
        Bar {
            name: row.proxy.to_string(),
            is_ours: row.proxy == Proxy::Tidegate,
            beside: spread.map(|spread| number(spread.median)).unwrap_or_default(),
            mark,
            readings,
            spread,
        }
    };
    table.rows.iter().map(bar).filter(|bar| bar.spread.is_some() || bar.mark == "invalid").collect()
}

#[cfg(test)]
mod tests;
