//! Queries speak of metrics that exist, with labels that they have; the PodMonitor finds the pods and their port.

use std::collections::{BTreeMap, BTreeSet};

use promql_parser::parser::{self, Expr, LabelModifier};
use serde_json::Value;

use crate::manifests::{at, kustomize, object, read, root};

/// Labels that Prometheus gives every target of the PodMonitor; not the pod's, which the PodMonitor takes away.
const TARGET: [&str; 6] = ["job", "instance", "namespace", "container", "node", "endpoint"];

/// Metrics of Prometheus itself.
const PROMETHEUS: [&str; 1] = ["up"];

/// What the metrics' document says: labels by name. A histogram is three series.
fn metrics() -> BTreeMap<String, BTreeSet<String>> {
    let path = root().join("proxy/admin/METRICS.md");
    let text = std::fs::read_to_string(&path).expect("it can be read");
    let mut known = BTreeMap::new();
    for row in text.lines().filter(|line| line.starts_with("| `tidegate_")) {
        let cells: Vec<_> = row.split('|').map(|cell| cell.trim().replace('`', "")).collect();
        let (name, kind) = (&cells[1], cells[2].as_str());
        let labels: BTreeSet<String> =
            cells[3].split(", ").filter(|label| !label.is_empty()).map(str::to_owned).collect();
        if kind == "histogram" {
            let with_bounds = labels.iter().cloned().chain(["le".to_owned()]).collect();
            known.insert(format!("{name}_bucket"), with_bounds);
            known.insert(format!("{name}_sum"), labels.clone());
            known.insert(format!("{name}_count"), labels);
        } else {
            known.insert(name.clone(), labels);
        }
    }
    assert!(known.contains_key("tidegate_flows_open"), "METRICS.md has another form: {known:?}");
    known
}

/// What a query uses: its metrics with the labels that they are selected by, and the labels that it joins or sums by.
#[derive(Default)]
struct Used {
    selected: Vec<(String, BTreeSet<String>)>,
    grouped: BTreeSet<String>,
}

impl Used {
    fn look(&mut self, expression: &Expr) {
        match expression {
            Expr::VectorSelector(selector) => {
                let labels = selector.matchers.matchers.iter().map(|matcher| matcher.name.clone());
                self.selected.push((selector.name.clone().unwrap_or_default(), labels.collect()));
            }
            Expr::MatrixSelector(matrix) => self.look(&Expr::VectorSelector(matrix.vs.clone())),
            Expr::Aggregate(aggregate) => {
                if let Some(LabelModifier::Include(labels) | LabelModifier::Exclude(labels)) =
                    &aggregate.modifier
                {
                    self.grouped.extend(labels.labels.iter().cloned());
                }
                self.look(&aggregate.expr);
            }
            Expr::Binary(binary) => {
                let matching = binary.modifier.as_ref().and_then(|modifier| modifier.matching.as_ref());
                if let Some(LabelModifier::Include(labels) | LabelModifier::Exclude(labels)) = matching {
                    self.grouped.extend(labels.labels.iter().cloned());
                }
                self.look(&binary.lhs);
                self.look(&binary.rhs);
            }
            Expr::Call(call) => call.args.args.iter().for_each(|argument| self.look(argument)),
            Expr::Paren(paren) => self.look(&paren.expr),
            Expr::Unary(unary) => self.look(&unary.expr),
            Expr::Subquery(subquery) => self.look(&subquery.expr),
            Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => {}
        }
    }
}

/// What is wrong with a query, and the labels that its result may have.
fn judge(query: &str, known: &BTreeMap<String, BTreeSet<String>>) -> (Vec<String>, BTreeSet<String>) {
    // Grafana's own variables in place of a duration.
    let query = query.replace("$__rate_interval", "1m").replace("$__range", "1h");
    let mut faults = Vec::new();
    let expression = match parser::parse(&query) {
        Ok(expression) => expression,
        Err(error) => return (vec![format!("{query}: {error}")], BTreeSet::new()),
    };
    let mut used = Used::default();
    used.look(&expression);
    let mut there: BTreeSet<String> = TARGET.map(str::to_owned).into();
    for (name, labels) in &used.selected {
        let own = match known.get(name) {
            Some(own) => own.clone(),
            None if PROMETHEUS.contains(&name.as_str()) => BTreeSet::new(),
            None => {
                faults.push(format!("{query}: there is no metric {name:?}"));
                continue;
            }
        };
        there.extend(own.iter().cloned());
        let strange =
            labels.iter().filter(|label| !own.contains(*label) && !TARGET.contains(&label.as_str()));
        faults.extend(strange.map(|label| format!("{query}: {name} has no label {label}")));
    }
    if used.selected.is_empty() {
        faults.push(format!("{query}: it asks for nothing"));
    }
    let strange = used.grouped.iter().filter(|label| !there.contains(*label));
    faults.extend(strange.map(|label| format!("{query}: nothing in it has the label {label}")));
    // A sum has the labels that it is by.
    let result = if used.grouped.is_empty() { there } else { used.grouped };
    (faults, result)
}

/// The words between these two marks, such as labels in `{{label}}`.
fn between<'a>(text: &'a str, open: &'a str, close: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(open).skip(1).filter_map(move |rest| rest.split(close).next()).map(str::trim)
}

fn dashboard() -> Value {
    serde_json::from_str(&read("observability/dashboard.json")).expect("the dashboard is JSON")
}

#[test]
fn the_dashboard_asks_for_metrics_that_exist() {
    let (known, dashboard) = (metrics(), dashboard());
    let mut faults = Vec::new();
    let (mut ids, mut count) = (BTreeSet::new(), 0);
    for panel in at(&dashboard, "/panels").as_array().expect("a list") {
        let title = panel["title"].as_str().expect("a title");
        assert!(ids.insert(panel["id"].as_u64().expect("a number")), "two panels have the id of {title}");
        if panel["type"] == "row" {
            continue;
        }
        assert!(panel["description"].is_string(), "{title} says nothing about itself");
        for target in panel["targets"].as_array().expect("a panel has queries") {
            count += 1;
            let (found, labels) = judge(target["expr"].as_str().expect("a query"), &known);
            faults.extend(found.iter().map(|fault| format!("{title}: {fault}")));
            let legend = target["legendFormat"].as_str().expect("a legend");
            let strange = between(legend, "{{", "}}").filter(|label| !labels.contains(*label));
            faults.extend(
                strange.map(|label| format!("{title}: its legend shows {label}, which is summed away")),
            );
        }
    }
    for variable in at(&dashboard, "/templating/list").as_array().expect("a list") {
        let Some(query) = variable["definition"].as_str() else { continue };
        let inner = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')).expect(query);
        let (metric, label) = inner.rsplit_once(',').expect(query);
        let (found, labels) = judge(metric, &known);
        faults.extend(found);
        if !labels.contains(label.trim()) {
            faults.push(format!("{query}: there is no label {label}"));
        }
    }
    assert!(faults.is_empty(), "proxy/admin/METRICS.md has what there is:\n{}\n", faults.join("\n"));
    assert!(count > 15, "only {count} queries were found");
}

#[test]
fn alerts_ask_for_metrics_that_exist() {
    let known = metrics();
    let Some(objects) = kustomize("observability") else { return };
    let groups = at(object(&objects, "PrometheusRule tidegate"), "/spec/groups").as_array().expect("a list");
    let mut faults = Vec::new();
    let mut names = BTreeSet::new();
    for rule in groups.iter().flat_map(|group| group["rules"].as_array().expect("a list")) {
        let name = rule["alert"].as_str().expect("a name");
        assert!(names.insert(name), "two alerts are called {name}");
        let (found, labels) = judge(rule["expr"].as_str().expect("a query"), &known);
        faults.extend(found.iter().map(|fault| format!("{name}: {fault}")));
        assert!(
            ["critical", "warning", "info"].map(Value::from).contains(&rule["labels"]["severity"]),
            "{name}"
        );
        for annotation in ["summary", "description"] {
            let text =
                rule["annotations"][annotation].as_str().unwrap_or_else(|| panic!("{name}: {annotation}"));
            let strange = between(text, "$labels.", " ").map(|label| label.trim_end_matches('}'));
            let strange = strange.filter(|label| !labels.contains(*label));
            faults.extend(strange.map(|label| format!("{name} speaks of {label}, which is summed away")));
        }
    }
    assert!(faults.is_empty(), "proxy/admin/METRICS.md has what there is:\n{}\n", faults.join("\n"));
    assert!(names.len() > 10);
}

/// The test itself: what is not there is seen, in every place where a query can name it.
#[test]
fn a_misspelt_query_is_seen() {
    let known = metrics();
    for (query, word) in [
        ("tidegate_flows_opened", "no metric"),
        ("sum(rate(tidegate_flows_open_total[5m]))", "no metric"),
        ("tidegate_publish_delay_seconds > 1", "no metric"),
        ("tidegate_flows_open{servce=\"x\"}", "no label servce"),
        ("sum by (kind) (tidegate_flows_open)", "the label kind"),
        ("tidegate_ready unless on (phase) tidegate_flow_limit", "the label phase"),
        ("sum(tidegate_flows_open", "sum("),
        ("1 + 1", "nothing"),
    ] {
        let (faults, _) = judge(query, &known);
        assert!(faults.len() == 1 && faults[0].contains(word), "{query}: {faults:?}");
    }
    let (faults, labels) = judge("sum by (service) (tidegate_flows_open{job=\"x\"})", &known);
    assert!(faults.is_empty() && labels == BTreeSet::from(["service".to_owned()]));
}

#[test]
fn prometheus_finds_every_pod_once() {
    let (Some(objects), Some(base)) = (kustomize("observability"), kustomize("kubernetes")) else { return };
    let (monitor, daemon_set) =
        (object(&objects, "PodMonitor tidegate"), object(&base, "DaemonSet tidegate"));
    assert_eq!(at(monitor, "/metadata/namespace"), at(daemon_set, "/metadata/namespace"));
    assert_eq!(at(monitor, "/spec/selector"), at(daemon_set, "/spec/selector"));
    let endpoints = at(monitor, "/spec/podMetricsEndpoints").as_array().expect("a list");
    assert_eq!(endpoints.len(), 1);
    // A port by name or number keeps only targets of declared ports, and the pods declare none.
    let port = at(object(&base, "Service tidegate"), "/spec/ports/0/port");
    let addresses: Vec<_> = at(&endpoints[0], "/relabelings")
        .as_array()
        .expect("a list")
        .iter()
        .filter(|relabeling| relabeling["targetLabel"] == "__address__")
        .map(|relabeling| relabeling["replacement"].as_str().expect("a text").to_owned())
        .collect();
    assert_eq!(addresses, [format!("$1:{port}"), format!("[$1]:{port}")]);
    // Two pods of a node have one address. Targets whose labels are the same are one, so none may tell the pods apart.
    let relabelings = at(&endpoints[0], "/relabelings").as_array().expect("a list");
    let pod_at = relabelings.iter().position(|it| it["action"] == "labeldrop" && it["regex"] == "pod");
    assert_eq!(pod_at, Some(relabelings.len() - 1), "nothing puts it back");
    // The operator names the job so, and an alert asks for it.
    let job = format!("{}/tidegate", at(monitor, "/metadata/namespace").as_str().expect("a text"));
    assert!(read("observability/alerts.yaml").contains(&format!("up{{job=\"{job}\"}}")));
}
