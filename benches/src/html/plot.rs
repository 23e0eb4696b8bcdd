//! Plots as SVG, drawn by hand: bars with whiskers and dots, ratios, percentiles.
//!
//! A plot has a title and a description for those who do not see it, and no colour that says something alone. Its
//! colours are the page's, by class.

use super::mark_up::{number, text};
use crate::report::{Spread, Table};

/// Where the columns of a plot are: names end at `LEFT`, the plot itself is between `LEFT` and `RIGHT`, figures begin
/// after `RIGHT`.
const WIDTH: f64 = 760.0;
const LEFT: f64 = 150.0;
const RIGHT: f64 = 560.0;

/// Height of a row, and of what is above and below all rows.
const ROW: f64 = 30.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 26.0;

/// One bar: the median, with the spread and every reading on it.
#[derive(Debug)]
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) is_ours: bool,
    pub(super) readings: Vec<f64>,
    pub(super) spread: Option<Spread>,
    /// The figure, in digits.
    pub(super) beside: String,
    /// A word on it.
    pub(super) mark: &'static str,
}

/// One ratio.
#[derive(Debug)]
pub(super) struct Point {
    pub(super) name: String,
    pub(super) beside: String,
    pub(super) spread: Spread,
}

/// A horizontal bar chart from zero.
pub(super) fn bars(id: &str, title: &str, unit: &str, bars: &[Bar]) -> String {
    let most = bars.iter().filter_map(|bar| Some(bar.spread?.most)).fold(0.0, f64::max);
    let ticks = ticks(most);
    let end = ticks.last().copied().unwrap_or(1.0);
    let x = |value: f64| LEFT + (RIGHT - LEFT) * value / end;
    let mut body = grid(&ticks, x, bars.len());
    let mut told = Vec::new();
    for (index, bar) in bars.iter().enumerate() {
        let y = middle(index);
        let class = if bar.is_ours { "bar ours" } else { "bar" };
        body += &name(&bar.name, y);
        if let Some(spread) = bar.spread {
            body += &format!(
                "<rect class=\"{class}\" x=\"{LEFT}\" y=\"{:.1}\" width=\"{:.1}\" height=\"16\"/>\n",
                y - 8.0,
                x(spread.median) - LEFT
            );
            body += &whisker(x(spread.least), x(spread.most), y);
            for reading in &bar.readings {
                body += &format!(
                    "<circle class=\"reading\" cx=\"{:.1}\" cy=\"{y:.1}\" r=\"2.5\"/>\n",
                    x(*reading)
                );
            }
        }
        let shown = [bar.beside.as_str(), bar.mark].join(" ");
        body += &beside(&bar.beside, bar.mark, y);
        told.push(format!("{}: {}", bar.name, shown.trim()));
    }
    let description = format!(
        "Medians in {unit}. {}. Lines go from the least to the most of the rounds, dots are single readings.",
        told.join("; ")
    );
    svg(id, &format!("{title} ({unit})"), &description, bars.len(), &body)
}

/// Ratios on a scale on which half and double are equally far from one.
pub(super) fn ratios(id: &str, title: &str, points: &[Point]) -> String {
    let all = || points.iter().flat_map(|point| [point.spread.least, point.spread.most]);
    let (least, most) = (all().fold(0.5, f64::min).max(0.01), all().fold(2.0, f64::max));
    let steps = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0];
    let first = steps.into_iter().rfind(|step| *step <= least).unwrap_or(steps[0]);
    let last = steps.into_iter().find(|step| *step >= most).unwrap_or(steps[steps.len() - 1]);
    let ticks: Vec<f64> = steps.into_iter().filter(|step| (first..=last).contains(step)).collect();
    // Names of figures are long here, so they stand above their rows.
    let x =
        |value: f64| 20.0 + (RIGHT - 20.0) * (value.clamp(first, last) / first).ln() / (last / first).ln();
    let mut body = grid(&ticks, x, points.len() * 2);
    let (top, bottom) = (TOP, TOP + ROW * 2.0 * points.len() as f64);
    body +=
        &format!("<line class=\"one\" x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"{top}\" y2=\"{bottom}\"/>\n", x(1.0));
    let mut told = Vec::new();
    for (index, point) in points.iter().enumerate() {
        let y = middle(index * 2 + 1) - 6.0;
        let Spread { least, median, most } = point.spread;
        body +=
            &format!("<text class=\"name\" x=\"20\" y=\"{:.1}\">{}</text>\n", y - 20.0, text(&point.name));
        body += &whisker(x(least), x(most), y);
        body += &format!("<circle class=\"median\" cx=\"{:.1}\" cy=\"{y:.1}\" r=\"5\"/>\n", x(median));
        body += &beside(&point.beside, "", y);
        told.push(format!("{}: {}", point.name, point.beside));
    }
    svg(id, title, &format!("{}.", told.join("; ")), points.len() * 2, &body)
}

/// Percentiles of a figure's rows, on a logarithmic scale.
pub(super) fn latencies(id: &str, table: &Table) -> String {
    let rows: Vec<(String, [f64; 3])> = table
        .rows
        .iter()
        .filter(|row| row.is_valid())
        .filter_map(|row| {
            Some((row.proxy.to_string(), [row.p50()?.median, row.p99()?.median, row.p999()?.median]))
        })
        .collect();
    let all = || rows.iter().flat_map(|(_, values)| values.iter().copied()).filter(|value| *value > 0.0);
    let low = 10_f64.powf(all().fold(f64::INFINITY, f64::min).log10().floor());
    let high = 10_f64.powf(all().fold(0.0, f64::max).log10().ceil());
    let (low, high) = if low.is_finite() && low < high { (low, high) } else { (1.0, 10.0) };
    let decades = (high / low).log10().round() as i32;
    let ticks: Vec<f64> = (0..=decades).map(|decade| low * 10_f64.powi(decade)).collect();
    let x = |value: f64| LEFT + (RIGHT - LEFT) * (value.clamp(low, high) / low).ln() / (high / low).ln();
    let mut body = grid(&ticks, x, rows.len());
    let mut told = Vec::new();
    for (index, (proxy, [p50, p99, p999])) in rows.iter().enumerate() {
        let y = middle(index);
        body += &name(proxy, y);
        body += &whisker(x(*p50), x(*p999), y);
        body += &format!("<circle class=\"median\" cx=\"{:.1}\" cy=\"{y:.1}\" r=\"5\"/>\n", x(*p50));
        body += &format!(
            "<rect class=\"median\" x=\"{:.1}\" y=\"{:.1}\" width=\"8\" height=\"8\"/>\n",
            x(*p99) - 4.0,
            y - 4.0
        );
        let (at, above, below) = (x(*p999), y - 6.0, y + 5.0);
        body += &format!(
            "<polygon class=\"median\" points=\"{:.1},{below:.1} {:.1},{below:.1} {at:.1},{above:.1}\"/>\n",
            at - 6.0,
            at + 6.0
        );
        let figures = [p50, p99, p999].map(|value| number(*value)).join(" / ");
        body += &beside(&figures, "", y);
        told.push(format!("{proxy}: {figures}"));
    }
    let description = format!("Median, 99th and 99.9th percentile in microseconds. {}.", told.join("; "));
    let title = "Latency (us): circle p50, square p99, triangle p99.9; less is better";
    svg(id, title, &description, rows.len(), &body)
}

fn svg(id: &str, title: &str, description: &str, rows: usize, body: &str) -> String {
    let height = TOP + ROW * rows as f64 + BOTTOM;
    let (title, description) = (text(title), text(description));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-labelledby=\"{id}-title \
         {id}-text\">\n<title id=\"{id}-title\">{title}</title>\n<desc id=\"{id}-text\">{description}</desc>\n<text \
         class=\"title\" x=\"0\" y=\"16\">{title}</text>\n{body}</svg>\n"
    )
}

/// The middle of a row.
fn middle(row: usize) -> f64 {
    TOP + ROW * (row as f64 + 0.5)
}

fn grid(ticks: &[f64], x: impl Fn(f64) -> f64, rows: usize) -> String {
    let bottom = TOP + ROW * rows as f64;
    let line = |tick: &f64| {
        format!(
            "<line class=\"grid\" x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>\n<text class=\"tick\" \
             x=\"{0:.1}\" y=\"{1}\">{2}</text>\n",
            x(*tick),
            bottom + 16.0,
            tick_label(*tick)
        )
    };
    ticks.iter().map(line).collect()
}

/// A tick in as few digits as it has.
fn tick_label(tick: f64) -> String {
    if tick >= 1000.0 {
        return number(tick);
    }
    let digits = format!("{tick:.4}");
    digits.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn name(name: &str, y: f64) -> String {
    let (x, y) = (LEFT - 10.0, y + 4.5);
    format!("<text class=\"name end\" x=\"{x}\" y=\"{y:.1}\">{}</text>\n", text(name))
}

fn beside(figure: &str, mark: &str, y: f64) -> String {
    let (x, y) = (RIGHT + 14.0, y + 4.5);
    let gap = if figure.is_empty() { "" } else { " " };
    let mark = match mark {
        "" => String::new(),
        mark => format!("{gap}<tspan class=\"mark\">{}</tspan>", text(mark)),
    };
    format!("<text class=\"value\" x=\"{x}\" y=\"{y:.1}\">{}{mark}</text>\n", text(figure))
}

fn whisker(from: f64, to: f64, y: f64) -> String {
    let (above, below) = (y - 4.0, y + 4.0);
    format!(
        "<path class=\"whisker\" d=\"M{from:.1} {y:.1}H{to:.1}M{from:.1} {above:.1}V{below:.1}M{to:.1} {above:.1}V{below:.1}\"/>\n"
    )
}

/// Round steps from zero to at least `most`.
fn ticks(most: f64) -> Vec<f64> {
    if !most.is_finite() || most <= 0.0 {
        return vec![0.0, 1.0];
    }
    let rough = most / 5.0;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|step| *step >= rough);
    let step = step.unwrap_or(10.0 * power);
    (0..=(most / step).ceil() as u32).map(|number| f64::from(number) * step).collect()
}
