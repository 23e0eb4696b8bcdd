//! The listeners that a configuration names, bound and as the controller is to know them.

use std::sync::Arc;

use anyhow::Context as _;
use tidegate_config::Configuration;
use tidegate_control::{BindFn, BoundListener, DesiredListener};

/// Binds them all, or says which one could not be.
pub(super) fn bind_listeners(
    configuration: &Configuration,
    workers: usize,
    bind: &BindFn,
) -> anyhow::Result<Vec<BoundListener>> {
    configuration
        .listeners
        .iter()
        .map(|listener| {
            let bound = BoundListener::bind(desired_listener(listener), workers, bind)
                .with_context(|| format!("listener {:?}", &*listener.name))?;
            tracing::info!(
                listener = &*listener.name, address = %bound.address(), service = %listener.service, workers,
                "listening"
            );
            Ok(bound)
        })
        .collect()
}

fn desired_listener(listener: &tidegate_config::Listener) -> DesiredListener {
    DesiredListener {
        name: Arc::clone(&listener.name),
        address: listener.address,
        port: listener.service.clone(),
    }
}

/// The listeners that a reload asks for.
pub(crate) fn desired_listeners(configuration: &Configuration) -> Vec<DesiredListener> {
    configuration.listeners.iter().map(desired_listener).collect()
}
