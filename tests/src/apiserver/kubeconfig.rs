//! A kubeconfig file that leads to the server.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

/// How a client proves who it is.
pub(super) enum Credentials<'a> {
    /// Not at all.
    None,
    /// With the token in this file.
    TokenFile(&'a Path),
}

/// Writes the file into a directory, and the certificate authority that it names beside it.
pub(super) fn write(
    directory: &Path,
    address: SocketAddr,
    authority: Option<&str>,
    credentials: &Credentials<'_>,
) -> PathBuf {
    let user: Value = match credentials {
        Credentials::None => json!({}),
        Credentials::TokenFile(path) => json!({"tokenFile": path}),
    };
    let cluster = match authority {
        None => json!({"server": format!("http://{address}")}),
        Some(authority) => {
            let path = directory.join("ca.pem");
            fs::write(&path, authority).expect("the test's directory can be written to");
            json!({"server": format!("https://{address}"), "certificate-authority": path})
        }
    };
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "double", "cluster": cluster}],
        "users": [{"name": "double", "user": user}],
        "contexts": [{"name": "double", "context": {"cluster": "double", "user": "double"}}],
        "current-context": "double",
    });
    let path = directory.join("kubeconfig");
    fs::write(&path, config.to_string()).expect("the test's directory can be written to");
    path
}
