//! Placeholder until the admin API's types are there.

use std::process::ExitCode;

use crate::{cli, client::AdminClient};

pub(crate) fn status(asking: &cli::Asking) -> anyhow::Result<ExitCode> {
    let _: serde_json::Value = AdminClient::new(asking)?.get("/v1/status")?;
    Ok(ExitCode::SUCCESS)
}
pub(crate) fn endpoints(options: &cli::Endpoints) -> anyhow::Result<ExitCode> {
    let _ = &options.service;
    status(&options.asking)
}
pub(crate) fn flows(options: &cli::Flows) -> anyhow::Result<ExitCode> {
    status(&options.asking)
}
pub(crate) fn drain(options: &cli::DrainArgs) -> anyhow::Result<ExitCode> {
    let _: serde_json::Value = AdminClient::new(&options.asking)?.post("/v1/drain", &())?;
    Ok(ExitCode::SUCCESS)
}
pub(crate) fn undrain(options: &cli::DrainArgs) -> anyhow::Result<ExitCode> {
    drain(options)
}
pub(crate) fn close(options: &cli::Close) -> anyhow::Result<ExitCode> {
    status(&options.asking)
}
