//! What the core's decisions take, by the clock: picks, admissions, changes of the table.
//!
//! `cargo bench -p tidegate-benches`; a word after `--` is a filter. Bounded to about a second each. What one operation
//! is, and around which table, is in `tidegate-instructions`, which counts instructions of the same.

use std::{hint::black_box, time::Duration};

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use tidegate_core::Policy;
use tidegate_instructions::{
    picks::{Entrance, PickBy, Picks},
    updates::{FULL_SLICE, Size, Updates},
};

/// A pick has to take as long among ten thousand endpoints as among ten.
const ENDPOINTS: [u32; 3] = [10, 1000, 10_000];

/// One new flow's decision and the end of the flow: snapshot, pick, enter, leave.
fn pick(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pick");
    for by in PickBy::ALL {
        for endpoints in ENDPOINTS {
            let mut picks = Picks::new(by, endpoints);
            group.bench_function(BenchmarkId::new(by.name(), endpoints), |bencher| {
                bencher.iter(|| picks.decide());
            });
        }
    }
    group.finish();
}

/// The parts of that decision which are no pick.
fn accept(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("accept");
    let picks = Picks::new(PickBy::Even(Policy::LeastFlows), 10);
    group.bench_function("load-snapshot", |bencher| bencher.iter(|| black_box(picks.load())));
    let entrance = Entrance::default();
    group.bench_function("enter-and-leave", |bencher| bencher.iter(|| black_box(entrance.pass())));
    group.finish();
}

/// One endpoint of one slice turns ready or not ready: from the fact to the last output, the freeing of what the
/// snapshot before held included.
fn update(criterion: &mut Criterion) {
    let sizes = [
        ("1-service", Size { services: 1, slices: 1, endpoints: 10 }),
        ("1000-services", Size { services: 1000, slices: 1, endpoints: 10 }),
    ];
    changes(criterion, "publish", sizes.into());
    let of_slices = |slices| Size { services: 1, slices, endpoints: FULL_SLICE };
    let sizes = [1, 10, 100].map(|slices| (slices, of_slices(slices)));
    changes(criterion, "join-full-slices", sizes.map(|(slices, size)| (slices.to_string(), size)).into());
}

fn changes<Name: Into<String>>(criterion: &mut Criterion, group: &str, sizes: Vec<(Name, Size)>) {
    let mut group = criterion.benchmark_group(group);
    for (name, size) in sizes {
        let updates = std::cell::RefCell::new(Updates::new(size));
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || updates.borrow_mut().next_event(),
                |event| updates.borrow_mut().apply(event),
                // Events made ahead of a batch are applied in the order in which they were made.
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .without_plots()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .sample_size(30)
        .nresamples(2000);
    targets = pick, accept, update
}
criterion_main!(benches);
