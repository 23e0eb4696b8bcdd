//! The gate's address, and the other instances.

use std::{collections::BTreeSet, net::SocketAddr};

use super::Check;
use crate::{
    configuration::{Kubernetes, PeerMembers, PeerTls, Peers, Source},
    document::{Document, PeerTlsBlock, PeersBlock},
    leaf::Located,
};

/// The name in instances' certificates where the file gives none.
const SERVER_NAME: &str = "tidegate";

impl Check<'_> {
    pub(super) fn gate(&mut self, document: &Document) -> Option<SocketAddr> {
        let Located { value: block, place } = document.gate.as_ref()?;
        let remedy = "`address: IP:port` under `gate`";
        let address = self.required(&block.address, *place, "gate.address", remedy)?;
        self.bind(address, "gate.address", block.address.as_ref());
        Some(address)
    }

    pub(super) fn peers(&mut self, document: &Document, source: Option<&Source>) -> Option<Peers> {
        let Located { value: block, place } = document.peers.as_ref()?;
        if document.gate.is_none() {
            let message = "instances answer each other on `gate.address`: add `gate: {address: IP:port}`";
            self.error(*place, "peers", message);
        }
        let remedy = "`tokenFile: PATH` under `peers`";
        let token_file = self.required(&block.token_file, *place, "peers.tokenFile", remedy);
        let members = self.members(block, *place, source);
        let tls = block.tls.as_ref().map(|block| self.peer_tls(block));
        Some(Peers {
            members: members?,
            token_file: self.resolve(&token_file?),
            tls: match tls {
                Some(tls) => Some(tls?),
                None => None,
            },
        })
    }

    fn members(
        &mut self,
        block: &PeersBlock,
        place: crate::leaf::Place,
        source: Option<&Source>,
    ) -> Option<PeerMembers> {
        let service = self.value(&block.service, "peers.service");
        let mut addresses = BTreeSet::new();
        for (index, field) in block.addresses.iter().flatten().enumerate() {
            let at = format!("peers.addresses[{index}]");
            match &field.read {
                Err(message) => self.error(field.place, at, message),
                Ok(address) if address.port() == 0 || address.ip().is_unspecified() => {
                    let message =
                        format!("`{address}` is nothing to connect to: give an address and its port");
                    self.error(field.place, at, message);
                }
                Ok(address) if !addresses.insert(*address) => {
                    self.error(field.place, at, format!("`{address}` is listed already: list it once"));
                }
                Ok(_) => {}
            }
        }
        match (&block.service, &block.addresses, source) {
            (Some(field), Some(_), _) => {
                let message = "there is one list of instances: remove this or `addresses`";
                self.error(field.place, "peers.service", message);
                None
            }
            (Some(_), None, _) => service.map(PeerMembers::Service),
            (None, Some(_), _) => Some(PeerMembers::Addresses(addresses.into_iter().collect())),
            (None, None, Some(Source::Kubernetes(Kubernetes { own_service, .. }))) => {
                Some(own_service.clone().map_or(PeerMembers::Own, PeerMembers::Service))
            }
            (None, None, _) => {
                let message =
                    "missing: add `service: NAMESPACE/NAME` or `addresses: [IP:port]` under `peers`";
                self.error(place, "peers", message);
                None
            }
        }
    }

    fn peer_tls(&mut self, Located { value: block, place }: &Located<PeerTlsBlock>) -> Option<PeerTls> {
        let mut file = |field, name: &str| {
            let remedy = format!("`{name}: PATH` under `peers.tls`");
            self.required(field, *place, format!("peers.tls.{name}"), &remedy)
        };
        let certificate = file(&block.certificate_file, "certificateFile");
        let key = file(&block.key_file, "keyFile");
        let authority = file(&block.authority_file, "authorityFile");
        let server_name = self.value(&block.server_name, "peers.tls.serverName");
        Some(PeerTls {
            certificate_file: self.resolve(&certificate?),
            key_file: self.resolve(&key?),
            authority_file: self.resolve(&authority?),
            server_name: server_name.map_or_else(|| SERVER_NAME.to_owned(), |name| name.0),
        })
    }
}
