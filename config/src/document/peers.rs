//! The gate's address, and the other instances.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_core::ServiceName;

use crate::{
    leaf::{Field, Located},
    values::{FilePath, Name},
};

/// Where pods wait until no flow is pinned to them any more.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "a map with `address`")]
#[schemars(rename = "Gate")]
pub(crate) struct GateBlock {
    /// An IP address with a port that pods and other instances reach. It serves nothing but /v1/gate, and /v1/peer where
    /// there are `peers`. A change needs a restart.
    #[schemars(required)]
    pub(crate) address: Option<Field<SocketAddr>>,
}

/// The other instances: a gate opens when none of them has a flow left, and `--all` asks them.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "a map with `tokenFile`")]
#[schemars(rename = "Peers")]
pub(crate) struct PeersBlock {
    /// The Service of all instances, as `namespace/name`: its slices say where they are. The port is that of
    /// `gate.address`, or the slices' port `gate`. Default with `source.kubernetes`: its `ownService`.
    pub(crate) service: Option<Field<ServiceName>>,
    /// Instead of a Service: the `gate.address` of each instance, this one among them or not.
    pub(crate) addresses: Option<Vec<Field<SocketAddr>>>,
    /// A file with the bearer token that instances show each other; the same on all of them.
    #[schemars(required)]
    pub(crate) token_file: Option<Field<FilePath>>,
    /// Encryption between instances. Without it the token can be read on the way.
    pub(crate) tls: Option<Located<PeerTlsBlock>>,
}

/// Encryption between instances. Files that change are read again.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    expecting = "a map with `certificateFile`, `keyFile` and `authorityFile`"
)]
#[schemars(rename = "PeerTls")]
pub(crate) struct PeerTlsBlock {
    /// This instance's certificate, with what leads to its authority, in PEM.
    #[schemars(required)]
    pub(crate) certificate_file: Option<Field<FilePath>>,
    /// The certificate's private key, in PEM.
    #[schemars(required)]
    pub(crate) key_file: Option<Field<FilePath>>,
    /// The authority of all instances' certificates, in PEM.
    #[schemars(required)]
    pub(crate) authority_file: Option<Field<FilePath>>,
    /// The name that every instance's certificate holds, whatever its address. Default: tidegate.
    pub(crate) server_name: Option<Field<Name>>,
}
