//! `tidegate demo`: a rolling update under load, on loopback, with a verdict.
//!
//! The proxy is the real one, started from a configuration file in a temporary directory and fed by a slice file
//! there. The endpoints, the clients and the "Deployment" that rewrites the slice file are this module's.

mod clients;
mod endpoints;
mod rollout;
mod slices;
mod verdict;
mod view;

use std::{process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use tidegate_core::Rng;
use tokio_util::sync::CancellationToken;

use crate::{
    cli,
    proxy::{Following, Proxy},
};
use clients::{Load, Tally};
use rollout::Rollout;
use verdict::Verdict;
use view::View;

/// Runs the demo and prints its verdict.
pub(crate) fn run(options: &cli::Demo) -> anyhow::Result<ExitCode> {
    crate::telemetry::start(&options.log, "error")?;
    tidegate_sys::raise_descriptor_limit();
    let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
    let config = directory.path().join("tidegate.yaml");
    std::fs::write(&config, CONFIGURATION).context("cannot write the demo's configuration")?;
    let listeners = endpoints::listen(2 * rollout::REPLICAS)?;
    let mut slices = slices::SliceDirectory::new(&directory.path().join("endpoints"))?;
    slices.write(&rollout::first_endpoints(&listeners))?;

    let configuration = tidegate_config::load(&config)?.configuration;
    let proxy = Proxy::start(configuration, Following::default())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let verdict = runtime.block_on(play(options, &proxy, slices, listeners))?;
    // Nobody is connected any more, so there is nothing to wait for.
    proxy.handle.shutdown();
    proxy.handle.shutdown();
    proxy.wait()?;

    match options.output {
        cli::Output::Table => print!("{verdict}"),
        cli::Output::Json => println!("{}", serde_json::to_string_pretty(&verdict)?),
    }
    Ok(if verdict.holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The demo's configuration: nothing in it is special, but that the kernel chooses the port.
const CONFIGURATION: &str = "\
apiVersion: tidegate.io/v1alpha1
kind: ProxyConfiguration
workers: auto
source:
  endpointSliceDirectory: ./endpoints
listeners:
- name: web
  address: 127.0.0.1:0
  service: default/web
  port: http
shutdown: {delay: 0s}
";

/// Clients and the rolling update, until both are done.
async fn play(
    options: &cli::Demo,
    proxy: &Proxy,
    slices: slices::SliceDirectory,
    listeners: Vec<(std::net::SocketAddr, std::net::TcpListener)>,
) -> anyhow::Result<Verdict> {
    let address = proxy.listeners.first().context("the demo's listener is missing")?.1;
    let length = Duration::from_secs(options.seconds.into());
    let load = Load {
        proxy: address,
        tally: Arc::new(Tally::default()),
        closed: endpoints::Closed::default(),
        ending: CancellationToken::new(),
    };
    let view = View::new(options.output);
    view.say(&format!(
        "proxy on {address}; {} long-lived flows, {} short ones per second; replacing {} endpoints",
        options.flows,
        options.rate,
        rollout::REPLICAS
    ));
    let rollout = Rollout::new(proxy.handle.clone(), slices, listeners, load.closed.clone(), length)?;
    rollout.wait_until_ready().await?;

    let mut clients = tokio::task::JoinSet::new();
    let mut rng = Rng::new(u64::from(options.flows));
    // Long enough that a drain is seen, short enough that it ends within the demo.
    let life = length / 5;
    for _ in 0..options.flows {
        clients.spawn(load.clone().keep_one_open(life, rng.next_u64()));
    }
    clients.spawn(load.clone().open_short_ones(options.rate));

    let outcome = rollout.run(&view, &load).await?;
    load.ending.cancel();
    while clients.join_next().await.is_some() {}
    view.finish();
    Ok(Verdict::new(&load.tally, &outcome))
}
