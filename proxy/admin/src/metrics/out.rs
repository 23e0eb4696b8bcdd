//! Where a scrape goes: into the encoder, with metrics that carry their own description; or into totals for a successor.
//! Both have the predecessors' numbers added.

use std::{collections::BTreeMap, fmt, sync::Arc};

use prometheus_client::{
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet},
    metrics::MetricType,
};
use tidegate_control::Histogram;

use super::{
    names::Metric,
    seconds,
    totals::{Total, Totals, add, is_carried},
};

/// One line of a metric: its labels' values, in the order of the metric's labels, and its number.
pub(super) type Sample<'a> = (Vec<&'a str>, Number);

/// A number as the encoder takes it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Number {
    Whole(u64),
    Real(f64),
}

/// Where a scrape is written.
pub(super) struct Out<'a> {
    to: To<'a>,
    carried: Arc<Totals>,
}

enum To<'a> {
    Text(DescriptorEncoder<'a>),
    Totals(&'a mut Totals),
}

/// The label value under which a histogram's sum is carried; its buckets are carried under their numbers.
const SUM: &str = "sum";

impl<'a> Out<'a> {
    pub(super) fn text(encoder: DescriptorEncoder<'a>, carried: &Arc<Totals>) -> Self {
        Self { to: To::Text(encoder), carried: Arc::clone(carried) }
    }

    pub(super) fn totals(totals: &'a mut Totals, carried: &Arc<Totals>) -> Self {
        Self { to: To::Totals(totals), carried: Arc::clone(carried) }
    }

    /// A metric without labels.
    pub(super) fn one(&mut self, metric: &Metric, number: Number) -> fmt::Result {
        self.many(metric, vec![(Vec::new(), number)])
    }

    /// A metric with labels. Without samples it is left out, so that no metric stands there undescribed by numbers.
    pub(super) fn many(&mut self, metric: &Metric, samples: Vec<Sample<'_>>) -> fmt::Result {
        let carried = Arc::clone(&self.carried);
        let mut samples: Vec<Sample<'_>> = samples;
        let mut before = if is_carried(metric) { carried.of(metric.name) } else { BTreeMap::new() };
        for (values, number) in &mut samples {
            if let Some(carried) = before.remove(&*values) {
                *number = add(*number, carried);
            }
        }
        samples.extend(before.into_iter().map(|(values, carried)| (values, carried.into())));
        if samples.is_empty() {
            return Ok(());
        }
        match &mut self.to {
            To::Totals(totals) if is_carried(metric) => {
                for (values, number) in samples {
                    let values = values.into_iter().map(str::to_owned).collect();
                    totals.put(metric.name.to_owned(), values, number.into());
                }
            }
            To::Totals(_) => {}
            To::Text(encoder) => {
                let mut encoder = describe(encoder, metric)?;
                for (values, number) in samples {
                    let labels: Vec<(&str, &str)> = metric.labels.iter().copied().zip(values).collect();
                    match labels.as_slice() {
                        [] => write(&mut encoder, metric.kind, number)?,
                        labels => write(&mut encoder.encode_family(&labels)?, metric.kind, number)?,
                    }
                }
            }
        }
        Ok(())
    }

    /// What the build is.
    pub(super) fn info(&mut self, metric: &Metric, labels: &[(&str, &str)]) -> fmt::Result {
        match &mut self.to {
            To::Text(encoder) => describe(encoder, metric)?.encode_info(&labels),
            To::Totals(_) => Ok(()),
        }
    }

    /// Durations by size.
    pub(super) fn histogram(&mut self, metric: &Metric, histogram: &Histogram) -> fmt::Result {
        let all = Arc::clone(&self.carried);
        let before = all.of(metric.name);
        let carried = |label: &str| before.get([label].as_slice()).copied();
        let counts = histogram.counts().enumerate().map(|(bucket, count)| {
            let before = carried(&bucket.to_string());
            count + before.map_or(0, |before| if let Total::Whole(before) = before { before } else { 0 })
        });
        let counts: Vec<u64> = counts.collect();
        let before =
            carried(SUM).map_or(0.0, |before| if let Total::Real(before) = before { before } else { 0.0 });
        let sum = seconds(histogram.sum()) + before;
        match &mut self.to {
            To::Totals(totals) => {
                for (bucket, count) in counts.into_iter().enumerate() {
                    totals.put(metric.name.to_owned(), vec![bucket.to_string()], Total::Whole(count));
                }
                totals.put(metric.name.to_owned(), vec![SUM.to_owned()], Total::Real(sum));
                Ok(())
            }
            To::Text(encoder) => {
                let bounds = histogram.bounds().iter().map(|bound| seconds(*bound)).chain([f64::INFINITY]);
                let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
                let count = buckets.iter().map(|(_, count)| count).sum();
                describe(encoder, metric)?.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
            }
        }
    }
}

fn describe<'e>(
    encoder: &'e mut DescriptorEncoder<'_>,
    metric: &Metric,
) -> Result<MetricEncoder<'e>, fmt::Error> {
    encoder.encode_descriptor(metric.family(), metric.help, None, metric.kind)
}

fn write(encoder: &mut MetricEncoder<'_>, kind: MetricType, number: Number) -> fmt::Result {
    match (kind, number) {
        (MetricType::Counter, Number::Whole(number)) => {
            encoder.encode_counter::<NoLabelSet, _, u64>(&number, None)
        }
        (MetricType::Counter, Number::Real(number)) => {
            encoder.encode_counter::<NoLabelSet, _, f64>(&number, None)
        }
        (_, Number::Whole(number)) => encoder.encode_gauge(&number),
        (_, Number::Real(number)) => encoder.encode_gauge(&number),
    }
}
