//! Where the API server is and who asks: a kubeconfig, or the service account of the pod.
//!
//! What is wrong here is wrong with the configuration and does not heal by waiting, so it ends the start. Whether the
//! server answers is another question, and `api`'s.

use std::path::PathBuf;

use hyper::header::{HeaderValue, USER_AGENT};
use hyper_util::{client::legacy, rt::TokioExecutor};
use kube::{
    Client, Config,
    client::ConfigExt as _,
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
};
use tower::{BoxError, ServiceBuilder};

/// Who asks, as an API server's audit log has it.
const AGENT: &str = concat!("tidegate/", env!("CARGO_PKG_VERSION"));

/// How the API server is found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// A kubeconfig. Left out: the pod's service account where this runs in a pod, else what `KUBECONFIG` names.
    pub kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig other than its current one.
    pub context: Option<String>,
}

/// Why the API server cannot be found.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// Nothing says where it is.
    #[error(
        "no API server is configured: this is no pod (KUBERNETES_SERVICE_HOST is not set) and KUBECONFIG is not set; \
         give `source.kubernetes.kubeconfig`, --kubeconfig or KUBECONFIG"
    )]
    Nowhere,
    /// The kubeconfig cannot be used.
    #[error("kubeconfig {file} cannot be used")]
    Kubeconfig {
        /// Which.
        file: String,
        /// Why.
        #[source]
        source: Box<KubeconfigError>,
    },
    /// The pod's service account cannot be used.
    #[error("the pod's service account cannot be used; does the pod mount its token?")]
    ServiceAccount(#[source] kube::config::InClusterError),
    /// Neither TLS nor credentials can be made of it.
    #[error("the API server's certificate authority or the credentials for it cannot be used")]
    Credentials(#[source] Box<kube::Error>),
}

/// Which of the ways is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Way {
    File(PathBuf),
    ServiceAccount,
    Environment,
}

impl Access {
    fn way(&self, in_pod: bool, environment: bool) -> Result<Way, AccessError> {
        match (&self.kubeconfig, in_pod, environment) {
            (Some(file), ..) => Ok(Way::File(file.clone())),
            // A context is a kubeconfig's: whoever names one means a kubeconfig.
            (None, true, _) if self.context.is_none() || !environment => Ok(Way::ServiceAccount),
            (None, _, true) => Ok(Way::Environment),
            (None, _, false) => Err(AccessError::Nowhere),
        }
    }

    /// Reads what is needed to ask: the server's address, its certificate authority, credentials.
    pub(crate) async fn load(&self) -> Result<Config, AccessError> {
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let (file, kubeconfig) = match self.way(is_set("KUBERNETES_SERVICE_HOST"), is_set("KUBECONFIG"))? {
            Way::ServiceAccount => return Config::incluster().map_err(AccessError::ServiceAccount),
            Way::File(path) => (path.display().to_string(), Kubeconfig::read_from(&path)),
            Way::Environment => {
                let file = std::env::var("KUBECONFIG").unwrap_or_default();
                let read = Kubeconfig::from_env();
                (file, read.and_then(|read| read.ok_or(KubeconfigError::FindPath)))
            }
        };
        let wrong = |source: KubeconfigError| AccessError::Kubeconfig {
            file: file.clone(),
            source: Box::new(source),
        };
        let kubeconfig = kubeconfig.map_err(wrong)?;
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(wrong)
    }

    /// A client. It is made of layers here and not by kube's own builder, which logs every 5xx as an error and asks
    /// again by itself: how often a server is asked, and what is said about it, is decided in one place.
    pub(crate) async fn connect(&self) -> Result<Client, AccessError> {
        let mut config = self.load().await?;
        config.headers.push((USER_AGENT, HeaderValue::from_static(AGENT)));
        let wrong = |source: kube::Error| AccessError::Credentials(Box::new(source));
        let connector = config.rustls_https_connector().map_err(wrong)?;
        let service = ServiceBuilder::new()
            .layer(config.base_uri_layer())
            .option_layer(config.auth_layer().map_err(wrong)?)
            .layer(config.extra_headers_layer().map_err(wrong)?)
            .map_err(BoxError::from)
            .service(legacy::Client::builder(TokioExecutor::new()).build(connector));
        Ok(Client::new(service, config.default_namespace))
    }

    /// What is read, for people.
    pub(crate) fn describe(&self) -> String {
        let in_pod = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
        match (&self.kubeconfig, in_pod) {
            (Some(path), _) => path.display().to_string(),
            (None, true) => "in-cluster".to_owned(),
            (None, false) => "KUBECONFIG".to_owned(),
        }
    }
}

/// An error with its causes, where it does not name them itself.
pub(crate) fn said(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let deeper = error.to_string();
        if !text.contains(&deeper) {
            text = format!("{text}: {deeper}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
