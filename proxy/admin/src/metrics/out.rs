//! The encoder, with metrics that carry their own description.

use std::fmt;

use prometheus_client::{
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet},
    metrics::MetricType,
};
use tidegate_control::Histogram;

use super::{names::Metric, seconds};

/// One line of a metric: its labels' values, in the order of the metric's labels, and its number.
pub(super) type Sample<'a> = (Vec<&'a str>, Number);

/// A number as the encoder takes it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Number {
    Whole(u64),
    Real(f64),
}

/// Where a scrape is written.
pub(super) struct Out<'a>(pub(super) DescriptorEncoder<'a>);

impl Out<'_> {
    /// A metric without labels.
    pub(super) fn one(&mut self, metric: &Metric, number: Number) -> fmt::Result {
        write(&mut self.describe(metric)?, metric.kind, number)
    }

    /// A metric with labels. Without samples it is left out, so that no metric stands there undescribed by numbers.
    pub(super) fn many(&mut self, metric: &Metric, samples: Vec<Sample<'_>>) -> fmt::Result {
        if samples.is_empty() {
            return Ok(());
        }
        let mut encoder = self.describe(metric)?;
        for (values, number) in samples {
            let labels: Vec<(&str, &str)> = metric.labels.iter().copied().zip(values).collect();
            write(&mut encoder.encode_family(&labels.as_slice())?, metric.kind, number)?;
        }
        Ok(())
    }

    /// What the build is.
    pub(super) fn info(&mut self, metric: &Metric, labels: &[(&str, &str)]) -> fmt::Result {
        self.describe(metric)?.encode_info(&labels)
    }

    /// Durations by size.
    pub(super) fn histogram(&mut self, metric: &Metric, histogram: &Histogram) -> fmt::Result {
        let bounds = Histogram::BOUNDS.iter().map(|bound| seconds(*bound)).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(histogram.counts()).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = seconds(histogram.sum());
        self.describe(metric)?.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn describe(&mut self, metric: &Metric) -> Result<MetricEncoder<'_>, fmt::Error> {
        self.0.encode_descriptor(metric.family(), metric.help, None, metric.kind)
    }
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
