//! How a drain comes along, in words: the same in `endpoints`, `watch` and `drain --wait`.

use tidegate_admin::api;

use super::{range, seconds};

/// All that is known of it but its causes.
pub(super) fn words(drain: &api::DrainProgress) -> String {
    counts(drain) + &more(drain)
}

/// What changes only when something happens.
pub(crate) fn counts(drain: &api::DrainProgress) -> String {
    let mut words = format!("{} of {} flows left", drain.flows_left, drain.flows_at_start);
    for (count, word) in [(drain.shed, "shed"), (drain.cut, "cut"), (drain.broken, "broken")] {
        if count > 0 {
            words += &format!(", {count} {word}");
        }
    }
    words
}

/// What changes with time.
pub(crate) fn more(drain: &api::DrainProgress) -> String {
    let mut words = format!(", drains for {}", seconds(drain.since_seconds));
    if let Some(left) = drain.deadline_seconds {
        words += &match left >= 0.0 {
            true => format!(", deadline in {}", seconds(left)),
            false => format!(", deadline over for {}", seconds(-left)),
        };
    }
    if let Some(share) = drain.idle_share {
        words += &format!(", {:.0}% idle", share * 100.0);
    }
    if let Some(rate) = drain.bytes_per_second {
        words += &format!(", {}", per_second(rate));
    }
    if let Some(age) = drain.oldest_flow_seconds {
        words += &format!(", oldest {}", seconds(age));
    }
    if let Some(ends) = &drain.ends {
        words += &format!(", ends in {}", range(ends.earliest_seconds, ends.latest_seconds));
    }
    if let Some(cut) = drain.will_be_cut.filter(|cut| *cut > 0) {
        words += &format!(", {cut} to be cut");
    }
    if drain.waits {
        words += ", waits for a ready endpoint";
    }
    if drain.put_off {
        words += ", deadline put off, as no endpoint was ready";
    }
    words
}

fn per_second(bytes: u64) -> String {
    match bytes as f64 {
        b if b < 1e3 => format!("{bytes} B/s"),
        b if b < 1e6 => format!("{:.1} kB/s", b / 1e3),
        b if b < 1e9 => format!("{:.1} MB/s", b / 1e6),
        b => format!("{:.1} GB/s", b / 1e9),
    }
}

#[cfg(test)]
pub(crate) mod tests;
