//! What `defaults` and services have in common.

use std::time::Duration;

use tidegate_core::{
    DrainDeadline, DrainSettings, Keepalive, LifetimeSettings, OnRemoval, Policy, RebalanceSettings,
    ServiceName, ServiceSettings,
};

use super::Check;
use crate::document::{AffinityBlock, DefaultsBlock, DrainBlock, KeepaliveBlock, RebalanceBlock, Settings};

/// What Kubernetes takes where a ClientIP affinity has no timeout of its own.
const DEFAULT_AFFINITY_TIMEOUT: Duration = Duration::from_secs(10_800);

impl Check<'_> {
    pub(super) fn defaults(&mut self, block: Option<&DefaultsBlock>) -> ServiceSettings {
        let builtin = ServiceSettings::default();
        match block {
            Some(block) => self.settings(block.settings(), "defaults", &builtin),
            None => builtin,
        }
    }

    /// The settings of a block; what it leaves out is as in `base`.
    pub(super) fn settings(
        &mut self,
        block: Settings<'_>,
        at: &str,
        base: &ServiceSettings,
    ) -> ServiceSettings {
        ServiceSettings {
            policy: self.value(block.policy, format!("{at}.policy")).unwrap_or(base.policy),
            when_none_ready: self
                .value(block.when_none_ready, format!("{at}.whenNoneReady"))
                .unwrap_or(base.when_none_ready),
            on_removal: self.value(block.on_removal, format!("{at}.onRemoval")).unwrap_or(base.on_removal),
            connect_timeout: self
                .value(block.connect_timeout, format!("{at}.connectTimeout"))
                .and_then(|timeout| timeout.0)
                .unwrap_or(base.connect_timeout),
            connect_attempts: self
                .value(block.connect_attempts, format!("{at}.connectAttempts"))
                .map_or(base.connect_attempts, |attempts| attempts.0),
            idle_timeout: self
                .value(block.idle_timeout, format!("{at}.idleTimeout"))
                .map_or(base.idle_timeout, |timeout| timeout.0),
            affinity_timeout: self.affinity(block.affinity.as_ref(), at, base.affinity_timeout),
            keepalive: self.keepalive(block.keepalive.as_ref(), at, base.keepalive),
            user_timeout: self
                .value(block.user_timeout, format!("{at}.userTimeout"))
                .map_or(base.user_timeout, |timeout| timeout.0),
            dead_peer_timeout: self
                .value(block.dead_peer_timeout, format!("{at}.deadPeerTimeout"))
                .map_or(base.dead_peer_timeout, |timeout| timeout.0),
            drain: self.drain(block.drain.as_ref(), at, base.drain),
            lifetime: LifetimeSettings {
                max: self
                    .value(block.max_lifetime, format!("{at}.maxLifetime"))
                    .map_or(base.lifetime.max, |max| max.0),
                jitter: self
                    .value(block.max_lifetime_jitter, format!("{at}.maxLifetimeJitter"))
                    .map_or(base.lifetime.jitter, |jitter| jitter.0),
            },
            rebalance: self.rebalance(block.rebalance.as_ref().map(|block| &block.value), at, base.rebalance),
            // Services ask for these, not the file.
            local_only: base.local_only,
            source_ranges: base.source_ranges.clone(),
        }
    }

    /// Says what of a block is without effect: what the service or the source is like makes it so.
    pub(super) fn warn_of_idle(
        &mut self,
        block: Settings<'_>,
        at: &str,
        name: Option<&ServiceName>,
        settings: &ServiceSettings,
        has_kubernetes: bool,
    ) {
        let deadline = block.drain.as_ref().and_then(|drain| drain.deadline.as_ref());
        if let Some(deadline) = deadline
            && settings.drain.deadline == DrainDeadline::Pod
            && !has_kubernetes
        {
            self.warn(
                deadline.place,
                format!("{at}.drain.deadline"),
                "has no effect without `source.kubernetes`, which alone knows when a pod is killed: set a time such \
                 as `10m`",
            );
        }
        let removal = block.on_removal.as_ref().map(|field| (field.place, "onRemoval"));
        let place = removal.or(deadline.map(|field| (field.place, "drain.deadline")));
        if let Some((place, field)) = place
            && settings.on_removal == OnRemoval::Deadline
            && settings.drain.deadline == DrainDeadline::Pod
            && has_kubernetes
        {
            let of = name.map_or_else(|| "a service's".to_owned(), |name| format!("`{name}`'s"));
            self.warn(
                place,
                format!("{at}.{field}"),
                format!(
                    "`onRemoval: deadline` with `drain.deadline: pod` mostly has no effect: {of} endpoints that vanish \
                     without having been terminating mostly have pods that do not terminate, whose end nobody knows: set \
                     `drain.deadline` to a time such as `10m`, or `onRemoval` to `keep` or `close`"
                ),
            );
        }
        let is_by_client = settings.affinity_timeout.is_some() || settings.policy == Policy::Maglev;
        if let Some(rebalance) = block.rebalance
            && settings.rebalance.is_some()
            && is_by_client
        {
            self.warn(
                rebalance.place,
                format!("{at}.rebalance"),
                "has no effect with `affinity` or `policy: maglev`: clients would come back to the same endpoint",
            );
        }
    }

    fn drain(&mut self, block: Option<&DrainBlock>, at: &str, base: DrainSettings) -> DrainSettings {
        let Some(block) = block else { return base };
        DrainSettings {
            deadline: self.value(&block.deadline, format!("{at}.drain.deadline")).unwrap_or(base.deadline),
            margin: self
                .value(&block.margin, format!("{at}.drain.margin"))
                .and_then(|margin| margin.0)
                .unwrap_or(base.margin),
            window: self
                .value(&block.window, format!("{at}.drain.window"))
                .map_or(base.window, |window| window.0),
            quiet: self
                .value(&block.quiet, format!("{at}.drain.quiet"))
                .and_then(|quiet| quiet.0)
                .unwrap_or(base.quiet),
            max_per_second: self
                .value(&block.max_per_second, format!("{at}.drain.maxPerSecond"))
                .map_or(base.max_per_second, |most| most.0),
        }
    }

    fn rebalance(
        &mut self,
        block: Option<&RebalanceBlock>,
        at: &str,
        base: Option<RebalanceSettings>,
    ) -> Option<RebalanceSettings> {
        let Some(block) = block else { return base };
        let values = base.unwrap_or_default();
        let rebalance = RebalanceSettings {
            max_per_second: self
                .value(&block.max_per_second, format!("{at}.rebalance.maxPerSecond"))
                .map_or(values.max_per_second, |most| most.0),
            tolerance: self
                .value(&block.tolerance, format!("{at}.rebalance.tolerance"))
                .map_or(values.tolerance, |tolerance| tolerance.0),
            delay: self
                .value(&block.delay, format!("{at}.rebalance.delay"))
                .and_then(|delay| delay.0)
                .unwrap_or(values.delay),
        };
        let enabled = self.value(&block.enabled, format!("{at}.rebalance.enabled")).unwrap_or(true);
        enabled.then_some(rebalance)
    }

    fn affinity(
        &mut self,
        block: Option<&AffinityBlock>,
        at: &str,
        base: Option<Duration>,
    ) -> Option<Duration> {
        let Some(client_ip) = block.and_then(|block| block.client_ip.as_ref()) else {
            return base;
        };
        match self.value(&client_ip.timeout, format!("{at}.affinity.clientIP.timeout")) {
            Some(timeout) => timeout.0,
            None => base.or(Some(DEFAULT_AFFINITY_TIMEOUT)),
        }
    }

    fn keepalive(
        &mut self,
        block: Option<&KeepaliveBlock>,
        at: &str,
        base: Option<Keepalive>,
    ) -> Option<Keepalive> {
        let Some(block) = block else { return base };
        let values = base.unwrap_or_default();
        let keepalive = Keepalive {
            idle: self
                .value(&block.idle, format!("{at}.keepalive.idle"))
                .and_then(|idle| idle.0)
                .unwrap_or(values.idle),
            interval: self
                .value(&block.interval, format!("{at}.keepalive.interval"))
                .and_then(|interval| interval.0)
                .unwrap_or(values.interval),
            probes: self
                .value(&block.probes, format!("{at}.keepalive.probes"))
                .map_or(values.probes, |probes| probes.0),
        };
        let enabled = self.value(&block.enabled, format!("{at}.keepalive.enabled")).unwrap_or(base.is_some());
        if !enabled {
            for (given, name) in [
                (block.idle.as_ref().map(|field| field.place), "idle"),
                (block.interval.as_ref().map(|field| field.place), "interval"),
                (block.probes.as_ref().map(|field| field.place), "probes"),
            ] {
                if let Some(place) = given {
                    self.warn(
                        place,
                        format!("{at}.keepalive.{name}"),
                        "has no effect while keepalive is off: set `enabled: true` or remove it",
                    );
                }
            }
        }
        enabled.then_some(keepalive)
    }
}
