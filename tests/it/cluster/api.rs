//! A client of the API server, as the kubeconfig says: TLS, tokens, certificates.

use std::path::Path;

use hyper::Request;
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::Value;
use tidegate_tests::support::DEADLINE;
use tokio::{runtime::Runtime, time::timeout};

/// The API server.
pub(super) struct RealApi {
    runtime: Runtime,
    client: Client,
}

impl RealApi {
    #[track_caller]
    pub(super) fn connect(kubeconfig: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = runtime.block_on(async {
            let read = Kubeconfig::read_from(kubeconfig).expect("the kubeconfig can be read");
            let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await;
            Client::try_from(config.expect("the kubeconfig is complete"))
                .expect("its credentials can be used")
        });
        Self { runtime, client }
    }

    #[track_caller]
    pub(super) fn get(&self, path: &str) -> Value {
        self.send("GET", path, "application/json", &Value::Null)
    }

    #[track_caller]
    pub(super) fn create(&self, path: &str, object: &Value) -> Value {
        self.send("POST", path, "application/json", object)
    }

    #[track_caller]
    pub(super) fn merge(&self, path: &str, patch: &Value) -> Value {
        self.send("PATCH", path, "application/merge-patch+json", patch)
    }

    /// Deletes, whatever becomes of it: this is also called while a failed test is being left.
    pub(super) fn delete(&self, path: &str) {
        if let Err(error) = self.try_send("DELETE", path, "application/json", &Value::Null) {
            eprintln!("cannot delete {path}: {error}");
        }
    }

    #[track_caller]
    fn send(&self, method: &str, path: &str, kind: &str, body: &Value) -> Value {
        match self.try_send(method, path, kind, body) {
            Ok(object) => object,
            Err(error) => panic!("{method} {path}: {error}"),
        }
    }

    fn try_send(&self, method: &str, path: &str, kind: &str, body: &Value) -> Result<Value, String> {
        let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let request = Request::builder().method(method).uri(path).header("content-type", kind).body(bytes);
        let request = request.map_err(|error| error.to_string())?;
        self.runtime.block_on(async {
            match timeout(DEADLINE, self.client.request(request)).await {
                Ok(answer) => answer.map_err(|error| error.to_string()),
                Err(_) => Err(format!("no answer within {DEADLINE:?}")),
            }
        })
    }
}
