//! The arithmetic of a table.

use super::*;

fn reading(cost: f64) -> Reading {
    Reading { cost, rate: 10.0, busy: 0.95, faults: Vec::new() }
}

fn table(rows: &[(Proxy, &[f64])]) -> Table {
    let mut table = Table::new(Figure::BulkOneFlow);
    for (proxy, costs) in rows {
        for cost in *costs {
            table.add(*proxy, reading(*cost));
        }
    }
    table
}

#[test]
fn medians_and_spread() {
    assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
    assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), 2.5);
    assert_eq!(spread([3.0, 1.0, 2.0].into_iter()), (1.0, 3.0));
}

#[test]
fn the_ratio_is_to_the_best_haproxy_row_and_to_nginx() {
    let text = table(&[
        (Proxy::Tidegate, &[0.3, 0.2, 0.25]),
        (Proxy::Haproxy, &[0.9, 0.9, 0.9]),
        (Proxy::HaproxySplice1m, &[0.3, 0.2, 0.5]),
        (Proxy::Nginx, &[1.0, 1.0, 1.0]),
    ])
    .to_string();
    assert!(text.contains("tidegate / haproxy-splice-1m: 1.00 (0.50 to 1.00)"), "{text}");
    assert!(text.contains("tidegate / nginx: 0.25 (0.20 to 0.30)"), "{text}");
    assert!(!text.contains("load-bound"), "{text}");
}

#[test]
fn a_fault_makes_the_row_invalid_and_is_told() {
    let mut table = table(&[(Proxy::Tidegate, &[0.3]), (Proxy::Nginx, &[1.0])]);
    table.add(Proxy::Nginx, Reading { faults: vec!["reply: a wrong byte".to_owned()], ..reading(0.1) });
    let text = table.to_string();
    assert!(text.contains("INVALID\n    reply: a wrong byte"), "{text}");
    assert!(!text.contains("tidegate /"), "{text}");
}

#[test]
fn a_rate_with_an_idle_core_is_marked() {
    let mut table = Table::new(Figure::Trips);
    table.add(Proxy::Nginx, Reading { busy: 0.5, ..reading(15.0) });
    assert!(table.to_string().contains("50%  load-bound"));
}
