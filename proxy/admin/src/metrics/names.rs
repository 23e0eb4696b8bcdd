//! Every metric: its name, what it means, its labels. Dashboards, alerts and documents use only what is here.
//!
//! Labels are bounded: `service` by the configuration, the others by short lists in the code. Nothing is labelled with an
//! endpoint or a pod: each rollout brings new ones for ever. `/v1/drains` has those.

use prometheus_client::metrics::MetricType;

/// A metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// The name that a query uses.
    pub name: &'static str,
    /// Counter, gauge, histogram or info.
    pub kind: MetricType,
    /// What it means.
    pub help: &'static str,
    /// Its labels.
    pub labels: &'static [&'static str],
}

macro_rules! metrics {
    ($($constant:ident: $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $constant: Metric = Metric {
                name: $name,
                kind: MetricType::$kind,
                help: $help,
                labels: &[$($label),*],
            };
        )*

        /// Every metric, in the order in which they are rendered.
        pub const ALL: &[Metric] = &[$($constant),*];
    };
}

metrics! {
    BUILD: Info "tidegate_build_info" ["version"] "The build that runs; always 1";
    UPTIME: Gauge "tidegate_uptime_seconds" [] "Time since the process started";
    LIFECYCLE: Gauge "tidegate_lifecycle_phase" ["phase"] "1 for the phase between start and end that the process is in";
    READY: Gauge "tidegate_ready" [] "1 where new clients may be sent here: phase ready, source synced, every worker answers";
    FLOW_LIMIT: Gauge "tidegate_flow_limit" [] "Flows that the descriptor limit allows";

    FLOWS_OPENED: Counter "tidegate_flows_opened_total" ["service"] "Flows accepted";
    FLOWS_OPEN: Gauge "tidegate_flows_open" ["service"] "Flows that have not ended";
    FLOWS_TERMINATED: Counter "tidegate_flows_terminated_total" ["service", "by", "phase"] "Flows that ended, by who ended them and how far they had come";
    BYTES: Counter "tidegate_bytes_total" ["service", "direction", "way"] "Bytes delivered, up (to the endpoint) or down, through a buffer (copy) or inside the kernel (splice)";
    CONNECTS: Counter "tidegate_connects_total" ["service"] "Flows that were connected to an endpoint";
    CONNECT_SECONDS: Counter "tidegate_connect_seconds_total" ["service"] "Time that successful connects took, all together";
    CONNECT_FAILURES: Counter "tidegate_connect_failures_total" ["service", "cause"] "Connects that failed; the flow may have gone to another endpoint";
    CONNECT_RETRIES: Counter "tidegate_connect_retries_total" ["service"] "Connects tried beyond a flow's first";

    ENDPOINTS: Gauge "tidegate_endpoints" ["service", "state"] "Endpoints by state: ready, not_ready, draining (flows left), drained, gone (from all slices, flows left)";
    ENDPOINTS_ELIGIBLE: Gauge "tidegate_endpoints_eligible" ["service"] "Endpoints that new flows may go to";
    DRAINING_ENDPOINTS: Gauge "tidegate_draining_endpoints" ["service"] "Endpoints with a drain on and flows left, gone ones included";
    DRAINING_FLOWS: Gauge "tidegate_draining_flows" ["service"] "Flows left on draining endpoints";
    DRAIN_DEADLINE: Gauge "tidegate_drain_deadline_seconds" ["service"] "Time until the first deadline of its draining endpoints, negative where it is over; absent where none has one";
    DRAINING_IDLE: Gauge "tidegate_draining_flows_idle" ["service"] "Flows left on draining endpoints that were silent for drain.quiet or longer; seen by the workers, who look every 10 seconds while a drain is on. Absent where a worker did not say";
    DRAINING_RATE: Gauge "tidegate_draining_bytes_per_second" ["service"] "Bytes that flows left on draining endpoints move in a second, both ways; seen with tidegate_draining_flows_idle";
    DRAINING_OLDEST: Gauge "tidegate_draining_oldest_flow_seconds" ["service"] "Time since the oldest flow left on draining endpoints was accepted; seen with tidegate_draining_flows_idle";
    DRAINING_CUT: Gauge "tidegate_draining_flows_to_be_cut" ["service"] "Flows left on draining endpoints that their deadlines will cut as things stand: the busy ones, and those that drain.maxPerSecond leaves no time for; seen with tidegate_draining_flows_idle. Absent where no deadline will cut";
    DRAINS: Counter "tidegate_drains_total" ["outcome"] "Drains that ended: clean (no flow broken or cut, none came after it began), broken, undone";
    AUDIT_LOST: Counter "tidegate_audit_records_lost_total" [] "Audit records that were not written to audit.file";

    GATE_WAITING: Gauge "tidegate_gate_waiting" [] "Pods that wait at the gate";
    GATE_WAITS: Counter "tidegate_gate_waits_total" ["outcome"] "Questions at the gate that ended: drained, not_terminating, reverted, time_over (with flows left, or an instance that did not say), left (whoever asked went away), stopped (this process ends or hands over), unknown_pod, invalid, busy";
    GATE_WAIT_SECONDS: Histogram "tidegate_gate_wait_seconds" [] "How long those waited at the gate who got an answer";
    GATE_UNREACHABLE: Counter "tidegate_gate_unreachable_instances_total" [] "Instances that could not be reached when a pod at the gate got its answer";
    GATE_PEERS_REFUSED: Counter "tidegate_gate_peers_refused_total" ["why"] "Requests of other instances that were turned away: token (none, or a wrong one), plain_text (instead of TLS), configuration (no peers here, or a token that cannot be read)";

    GENERATION: Gauge "tidegate_generation" [] "Generation of the snapshot published last";
    PUBLISHES: Counter "tidegate_publishes_total" [] "Snapshots published";
    PUBLISH_DELAY: Histogram "tidegate_publish_delay_seconds" [] "From the arrival of a source's event to the publish that contains it";
    SLICE_EVENTS: Counter "tidegate_slice_events_total" ["kind"] "Events from the source of slices";
    SLICE_ENTRIES_IGNORED: Counter "tidegate_slice_entries_ignored_total" [] "Slices, ports and endpoints that are not used: no service label, not TCP, no port number, not an address";
    NOTICES: Counter "tidegate_notices_total" ["kind"] "Changes of state that the log told";
    SOURCE_SYNCED: Gauge "tidegate_source_synced" [] "1 where the source has given a complete list, or no service needs one";
    SOURCE_AGE: Gauge "tidegate_source_age_seconds" [] "Time since something in the source last changed";
    SOURCE_FILES: Gauge "tidegate_source_files" [] "Slice files, valid or not";
    SOURCE_SLICES: Gauge "tidegate_source_slices" [] "Slices known from the source";
    SOURCE_FILES_INVALID: Gauge "tidegate_source_files_invalid" [] "Files whose content is not used; their last good state is";
    SOURCE_INVALID: Counter "tidegate_source_invalid_total" [] "Invalid file contents met";
    WATCH_EVENTS: Counter "tidegate_watch_events_total" ["resource"] "Changes that a watch on the API server told";
    WATCH_OUTDATED: Counter "tidegate_watch_events_outdated_total" ["resource"] "Changes that came twice or late, and were no news";
    WATCH_LISTS: Counter "tidegate_watch_lists_total" ["resource"] "Complete lists, the first one included";
    WATCH_ERRORS: Counter "tidegate_watch_errors_total" ["resource", "cause"] "Requests and watches that failed; what is known stays in force";
    WATCH_UNREADABLE: Counter "tidegate_watch_unreadable_total" ["resource"] "Objects that could not be read and were left out";
    WATCH_OBJECTS: Gauge "tidegate_watch_objects" ["resource"] "Objects that are known";
    WATCH_CONTACT_AGE: Gauge "tidegate_watch_contact_age_seconds" ["resource"] "Time since the API server was last heard on a watch; it sends something about once a minute";
    WRITER_LEADS: Gauge "tidegate_writer_leads" [] "1 where this instance is the one that writes the status of Services; one of all should be";
    WRITER_WRITES: Counter "tidegate_writer_writes_total" ["what"] "Statuses of Services and Events written to the API server";
    WRITER_ERRORS: Counter "tidegate_writer_errors_total" ["cause"] "Requests of the writer that failed, those for the Lease included";
    POD_EVENTS: Counter "tidegate_pod_events_total" ["result"] "Events on pods about their drains, written to the API server or dropped";
    SERVICE_PROBLEMS: Gauge "tidegate_service_problems" ["reason"] "What Services ask for and this instance cannot do; tidegate status names them";
    TRIGGER_DELAY: Counter "tidegate_trigger_delay_seconds_total" [] "From last-change-trigger-time of a slice to its arrival, all together; whole seconds by the API server's clock, at least 0 each";
    TRIGGER_DELAYS: Counter "tidegate_trigger_delays_total" [] "How many durations tidegate_trigger_delay_seconds_total is the sum of";
    CLOCK_SKEW: Gauge "tidegate_clock_skew_seconds" [] "By how much this machine's clock is ahead of the API server's at least; negative where it is behind";
    CONFIG_RELOADS: Counter "tidegate_config_reloads_total" ["result"] "Reloads of the configuration, applied or refused";
    HANDOFFS: Counter "tidegate_handoffs_total" ["result"] "Handoffs that were begun with this process as the predecessor and failed; it went on as before";
    FLOWS_TAKEN_OVER: Counter "tidegate_flows_taken_over_total" [] "Live flows that this process took over from its predecessor";
    STATE_WRITE_ERRORS: Counter "tidegate_state_write_errors_total" [] "Times that the state directory could not be written";

    WORKER_ALIVE: Gauge "tidegate_worker_alive" ["worker"] "1 where the worker answered this scrape in time";
    ACCEPT_PAUSES: Counter "tidegate_accept_pauses_total" [] "Times that accept paused for want of descriptors or memory";
    ACCEPT_ERRORS: Counter "tidegate_accept_errors_total" [] "Connections that were lost between handshake and accept";
    PIPES_MADE: Counter "tidegate_pipes_made_total" [] "Pipes made for splicing";
    PIPES_REFUSED: Counter "tidegate_pipes_refused_total" [] "Pipes that the kernel refused or kept too small; those halves copied";
    PIPES_BUSY: Gauge "tidegate_pipes_busy" [] "Pipes that hold bytes";
    PIPES_POOLED: Gauge "tidegate_pipes_pooled" [] "Empty pipes kept for the next bulk transfer";
    FLOW_LOG_DROPPED: Counter "tidegate_flow_log_dropped_total" [] "Lines of the flow log that were dropped because its reader was behind";
    COMMANDS_DEFERRED: Counter "tidegate_commands_deferred_total" [] "Commands that waited because a worker's channel was full";
    COMMANDS_DROPPED: Counter "tidegate_commands_dropped_total" [] "Commands given up because a worker took none";
}

impl Metric {
    /// The name as the encoder takes it: it adds the suffixes that the kind prescribes.
    pub(crate) fn family(&self) -> &'static str {
        let suffix = match self.kind {
            MetricType::Counter => "_total",
            MetricType::Info => "_info",
            _ => "",
        };
        self.name.strip_suffix(suffix).unwrap_or(self.name)
    }
}

/// All metrics as a table in Markdown.
pub fn table() -> String {
    let mut table = String::from(
        "# Metrics\n\nRendered from `src/metrics/names.rs`; a test compares the two. `/metrics` serves OpenMetrics \
         text on the admin\nlistener and on `metrics.address`. No label names an endpoint or a pod, because each rollout brings new ones and their\n\
         number has no bound; `GET /v1/drains` has what is known of each endpoint that drains.\n\n| name | kind | labels | meaning |\n|---|---|---|---|\n",
    );
    for Metric { name, kind, help, labels } in ALL {
        let labels = labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        table += &format!("| `{name}` | {} | {labels} | {help} |\n", kind.as_str());
    }
    table
}
