//! TLS as an API server has it: a certificate for its address, of an authority that clients are told of.

use std::{net::IpAddr, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring::default_provider, pki_types::PrivateKeyDer},
};

/// An authority, and what a certificate of its own lets a server accept.
pub(super) struct Identity {
    /// The authority's certificate, in PEM.
    pub(super) authority: String,
    pub(super) acceptor: TlsAcceptor,
}

impl Identity {
    /// A new authority, and a certificate for a server at this address.
    pub(super) fn make(address: IpAddr) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "the double's authority");
        let key = KeyPair::generate().expect("a key can be made");
        let authority = params.self_signed(&key).expect("an authority can be made").pem();
        let issuer = Issuer::new(params, key);

        let key = KeyPair::generate().expect("a key can be made");
        let params = CertificateParams::new(vec![address.to_string()]).expect("an address is a name");
        let certificate = params.signed_by(&key, &issuer).expect("a certificate can be made");
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has the default versions")
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).expect("a key that was just made"),
            );
        let acceptor = TlsAcceptor::from(Arc::new(config.expect("the key is the certificate's")));
        Self { authority, acceptor }
    }
}
