//! The page's tables: what the plots show, in figures.

use super::mark_up::{number, text};
use crate::outcomes::Outcome;
use crate::report::{Report, Row, Spread, Table};

/// Machine, run and proxies.
pub(super) fn facts(report: &Report) -> String {
    let (machine, run) = (&report.machine, &report.run);
    let gib = machine.memory as f64 / f64::from(1 << 30);
    let cores: Vec<String> = run.cores.proxy.iter().map(usize::to_string).collect();
    let mut facts = vec![
        (
            "Machine",
            format!("{}, {} processors ({}), {gib:.0} GiB", machine.kernel, machine.processors, machine.cpu),
        ),
        (
            "Cores",
            format!(
                "proxy: {} worker(s) on {}; clients on {}; endpoints on {}",
                run.workers,
                cores.join(", "),
                run.cores.load,
                run.cores.endpoints
            ),
        ),
        ("Measured", format!("{}; {} rounds, {} s of load each", run.date, run.rounds, run.seconds)),
    ];
    facts.extend(run.commit.iter().map(|commit| ("Sources", commit.clone())));
    let mut rows: String =
        facts.iter().map(|(name, fact)| format!("<dt>{name}</dt><dd>{}</dd>\n", text(fact))).collect();
    rows += &format!("<dt>Command</dt><dd><code>{}</code></dd>\n", text(&run.command));
    for peer in &report.peers {
        rows += &format!("<dt>{}</dt><dd>{}</dd>\n", text(&peer.proxy.to_string()), text(&peer.version));
    }
    for skipped in &report.skipped {
        rows += &format!("<dt>Not measured</dt><dd>{}</dd>\n", text(skipped));
    }
    format!("<dl>\n{rows}</dl>")
}

/// Tidegate by each peer, for every figure that has a ratio.
pub(super) fn ratios(report: &Report) -> String {
    let rows: String = report
        .tables
        .iter()
        .flat_map(|table| table.ratios().into_iter().map(move |ratio| (table, ratio)))
        .map(|(table, ratio)| {
            let Spread { least, median, most } = ratio.ratio;
            format!(
                "<tr><th scope=\"row\">{}</th><td class=\"word\">{}</td><td>{median:.2}</td><td>{least:.2} to {most:.2}</td></tr>\n",
                text(&table.title),
                text(&ratio.to.to_string()),
            )
        })
        .collect();
    format!(
        "<div class=\"wide\"><table>\n<caption>Cost of Tidegate by that of each other proxy; of HAProxy's rows, by the \
         best one</caption>\n<thead><tr><th scope=\"col\">figure</th><th scope=\"col\" class=\"word\">by</th><th \
         scope=\"col\">median</th><th scope=\"col\">least to most</th></tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n"
    )
}

/// What became of flows, figures down and proxies across.
pub(super) fn outcomes<O: Outcome>(outcomes: &[O]) -> String {
    let head: String = outcomes
        .iter()
        .map(|outcome| format!("<th scope=\"col\">{}</th>", text(&outcome.proxy().to_string())))
        .collect();
    let rows: String = O::FIGURES
        .iter()
        .map(|(name, figure)| {
            let class = if name.starts_with(' ') { " class=\"part\"" } else { "" };
            let cells: String =
                outcomes.iter().map(|outcome| format!("<td>{}</td>", text(&figure(outcome)))).collect();
            format!("<tr><th scope=\"row\"{class}>{}</th>{cells}</tr>\n", text(name.trim()))
        })
        .collect();
    format!(
        "<div class=\"wide\"><table>\n<caption>Each proxy once</caption>\n<thead><tr><th scope=\"col\">figure</th>{head}</tr></thead>\n\
         <tbody>\n{rows}</tbody>\n</table></div>\n"
    )
}

/// One column of a figure's table.
struct Column {
    head: String,
    cell: fn(&Row) -> String,
}

/// Every row of a figure.
pub(super) fn rows(table: &Table) -> String {
    let has = |what: fn(&Row) -> Option<Spread>| table.rows.iter().any(|row| what(row).is_some());
    let column = |head: String, cell| Column { head, cell };
    let mut columns = Vec::new();
    if has(Row::cost) {
        columns.push(column(table.unit.clone(), |row| median(row.cost())));
        columns.push(column("least to most".into(), |row| range(row.cost())));
    }
    if has(Row::machine) {
        columns.push(column(format!("whole machine, {}", table.unit), |row| median(row.machine())));
    }
    if let Some(unit) = &table.rate_unit {
        columns.push(column(unit.clone(), |row| median(row.rate())));
        columns.push(column("busy".into(), |row| {
            row.busy().map(|busy| format!("{:.0} %", busy.median * 100.0)).unwrap_or_default()
        }));
    }
    if has(Row::p50) {
        columns.push(column("p50, us".into(), |row| median(row.p50())));
        columns.push(column("p99, us".into(), |row| median(row.p99())));
        columns.push(column("p99.9, us".into(), |row| median(row.p999())));
    }
    let head: String =
        columns.iter().map(|column| format!("<th scope=\"col\">{}</th>", text(&column.head))).collect();
    let rows: String = table.rows.iter().map(|row| line(row, &columns)).collect();
    format!(
        "<div class=\"wide\"><table>\n<caption>Medians of the rounds</caption>\n<thead><tr><th \
         scope=\"col\">proxy</th>{head}<th scope=\"col\" class=\"word\">mark</th></tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n"
    )
}

fn line(row: &Row, columns: &[Column]) -> String {
    let name = text(&row.proxy.to_string());
    if !row.is_valid() {
        let width = columns.len();
        return format!(
            "<tr><th scope=\"row\" class=\"name\">{name}</th><td colspan=\"{width}\"></td><td class=\"word invalid\">invalid</td></tr>\n"
        );
    }
    let cells: String = columns.iter().map(|column| format!("<td>{}</td>", (column.cell)(row))).collect();
    let mark = if row.is_load_bound() { "load-bound" } else { "" };
    format!("<tr><th scope=\"row\" class=\"name\">{name}</th>{cells}<td class=\"word\">{mark}</td></tr>\n")
}

fn median(spread: Option<Spread>) -> String {
    spread.map(|spread| number(spread.median)).unwrap_or_default()
}

fn range(spread: Option<Spread>) -> String {
    spread.map(|spread| format!("{} to {}", number(spread.least), number(spread.most))).unwrap_or_default()
}
