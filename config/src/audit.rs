//! The audit: where the records of drains go, and how many are kept in memory.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    leaf::Field,
    values::{FilePath, Whole},
};

/// How many records are kept where the file does not say.
const KEEP: usize = 4_096;

/// Where the records of drains go: what became of every flow that an endpoint had when its drain began.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "a map such as `{file: PATH}`")]
#[schemars(rename = "Audit")]
pub(crate) struct AuditBlock {
    /// A file to which each record is appended when its drain is over, as a line of JSON; `-` for standard output. It is
    /// opened again on SIGHUP, and when it was renamed. Without it records are kept in memory alone.
    pub(crate) file: Option<Field<FilePath>>,
    /// How many records of drains that are over are kept in memory for `tidegate audit`: 1 to 1000000. Default: 4096.
    pub(crate) keep: Option<Field<Whole<1, 1_000_000>>>,
}

/// Where the records of drains go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// What they are appended to; `None` for nothing.
    pub file: Option<AuditFile>,
    /// How many are kept in memory.
    pub keep: usize,
}

impl Default for Audit {
    fn default() -> Self {
        Self { file: None, keep: KEEP }
    }
}

/// What records are appended to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditFile {
    /// A file.
    Path(PathBuf),
    /// Standard output.
    StandardOutput,
}

impl std::fmt::Display for AuditFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::StandardOutput => f.write_str("-"),
        }
    }
}
