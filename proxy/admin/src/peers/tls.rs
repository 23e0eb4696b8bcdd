//! Certificates of instances: read again when their files change, as a Secret's do.

use std::{
    fs, io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use tokio::net::TcpStream;
use tokio_rustls::{
    TlsAcceptor, TlsConnector,
    client::TlsStream,
    rustls::{
        self, ClientConfig, RootCertStore, ServerConfig,
        crypto::ring::default_provider,
        pki_types::{
            CertificateDer, InvalidDnsNameError, PrivateKeyDer, ServerName,
            pem::{self, PemObject},
        },
    },
};

/// The files, and the name that certificates hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// This instance's certificate, with what leads to its authority, in PEM.
    pub certificate: PathBuf,
    /// Its key, in PEM.
    pub key: PathBuf,
    /// The authority of all certificates, in PEM.
    pub authority: PathBuf,
    /// The name that all certificates hold.
    pub server_name: String,
}

/// Why the files are of no use.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or holds nothing of the kind.
    #[error("{}: {cause}; a PEM file is expected", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        cause: pem::Error,
    },
    /// A certificate, or its key, is not one that can be used.
    #[error("{}: {cause}", path.display())]
    Certificate {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        cause: rustls::Error,
    },
    /// The name is none.
    #[error("serverName: {0}; a DNS name is expected")]
    Name(#[from] InvalidDnsNameError),
}

/// TLS between instances.
#[derive(Debug)]
pub(crate) struct Tls {
    files: TlsFiles,
    name: ServerName<'static>,
    current: Mutex<(Vec<Option<SystemTime>>, Sides)>,
}

/// What the two ends of a connection need.
#[derive(Clone, Debug)]
struct Sides {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Tls {
    pub(crate) fn read(files: TlsFiles) -> Result<Self, TlsError> {
        let name = ServerName::try_from(files.server_name.clone())?;
        let (stamps, sides) = (stamps(&files), sides(&files)?);
        Ok(Self { files, name, current: Mutex::new((stamps, sides)) })
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.sides().server)
    }

    pub(crate) async fn connect(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        TlsConnector::from(self.sides().client).connect(self.name.clone(), stream).await
    }

    /// What the files say at this moment; what they said last, where they are of no use.
    fn sides(&self) -> Sides {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let now = stamps(&self.files);
        if current.0 != now {
            current.0 = now;
            match sides(&self.files) {
                Ok(sides) => current.1 = sides,
                Err(error) => {
                    tracing::warn!(%error, "peers.tls has changed and is of no use; what it was stays in force");
                }
            }
        }
        current.1.clone()
    }
}

/// When the files were written.
fn stamps(files: &TlsFiles) -> Vec<Option<SystemTime>> {
    let stamp = |path: &PathBuf| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    [&files.certificate, &files.key, &files.authority].map(stamp).into()
}

fn sides(files: &TlsFiles) -> Result<Sides, TlsError> {
    let unreadable = |path: &PathBuf| {
        let path = path.clone();
        move |cause| TlsError::File { path, cause }
    };
    let certificates = |path: &PathBuf| -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let found: Result<Vec<_>, _> =
            CertificateDer::pem_file_iter(path).map_err(unreadable(path))?.collect();
        match found.map_err(unreadable(path))? {
            none if none.is_empty() => Err(unreadable(path)(pem::Error::NoItemsFound)),
            some => Ok(some),
        }
    };
    let unusable = |path: &PathBuf| {
        let path = path.clone();
        move |cause| TlsError::Certificate { path, cause }
    };
    let chain = certificates(&files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(unreadable(&files.key))?;
    let mut roots = RootCertStore::empty();
    for authority in certificates(&files.authority)? {
        roots.add(authority).map_err(unusable(&files.authority))?;
    }
    let provider = Arc::new(default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(unusable(&files.certificate))?;
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable(&files.authority))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Sides { server: Arc::new(server), client: Arc::new(client) })
}
