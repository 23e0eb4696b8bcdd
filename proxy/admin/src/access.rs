//! Who is let in: the checks that come before any handler.
//!
//! A browser on the operator's machine reaches loopback too. Two checks keep the pages it shows out: a name that
//! somebody points at 127.0.0.1 (DNS rebinding) arrives as a foreign Host, and a request from another site carries a
//! foreign Origin. Off loopback a bearer token comes on top.

use std::net::{IpAddr, SocketAddr};

use axum::{
    extract::{Request, State},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{AUTHORIZATION, HOST, ORIGIN, WWW_AUTHENTICATE},
        uri::Authority,
    },
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::{dashboard, refusal::Refusal, token::TokenFile};

/// Who may ask on a listener of operators.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    /// The configured address; `None` on a Unix socket, which no browser reaches.
    pub(crate) address: Option<SocketAddr>,
    /// Where the bearer token is.
    pub(crate) token: Option<TokenFile>,
}

/// A connection as the handlers know it.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Who asks: an address, or what stands for one on a Unix socket.
    pub(crate) name: String,
    /// The address that was asked; `None` on a Unix socket.
    pub(crate) local: Option<IpAddr>,
}

/// Lets a request through or refuses it.
pub(crate) async fn check(State(access): State<Access>, request: Request, next: Next) -> Response {
    match access.judge(&request) {
        Ok(()) => next.run(request).await,
        Err(refusal) => {
            tracing::debug!(status = refusal.status.as_u16(), error = refusal.error, "admin request refused");
            let is_unknown = refusal.status == StatusCode::UNAUTHORIZED;
            let mut response = refusal.into_response();
            if is_unknown {
                response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            response
        }
    }
}

impl Access {
    fn judge(&self, request: &Request) -> Result<(), Refusal> {
        let host = host(request.headers())?;
        let local = request.extensions().get::<Peer>().and_then(|peer| peer.local);
        for named in [Some(&host), request.uri().authority()].into_iter().flatten() {
            if !self.is_own(named, local) {
                return Err(Refusal::new(
                    StatusCode::MISDIRECTED_REQUEST,
                    format!("`{}` is not a name of this proxy", named.host()),
                )
                .remedy("ask by a loopback address, `localhost`, or the address in admin.address"));
            }
        }
        if let Some(origin) = request.headers().get(ORIGIN)
            && !is_same_origin(origin, &host)
        {
            return Err(Refusal::new(StatusCode::FORBIDDEN, "requests from other sites are not accepted"));
        }
        if dashboard::PATHS.contains(&request.uri().path()) {
            return Ok(());
        }
        self.check_token(request.headers())
    }

    /// Whether a Host names this listener.
    fn is_own(&self, named: &Authority, local: Option<IpAddr>) -> bool {
        let Some(address) = self.address else {
            return true;
        };
        let host = named.host();
        let Ok(ip) = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() else {
            return host.eq_ignore_ascii_case("localhost");
        };
        let ip = ip.to_canonical();
        ip.is_loopback()
            || ip == address.ip().to_canonical()
            || local.is_some_and(|local| ip == local.to_canonical())
    }

    fn check_token(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(file) = &self.token else {
            return Ok(());
        };
        let unknown = || {
            Refusal::new(StatusCode::UNAUTHORIZED, "a bearer token is needed")
                .remedy("send `authorization: Bearer TOKEN` with the token in admin.tokenFile")
        };
        match file.admits(bearer(headers).ok_or_else(unknown)?) {
            Ok(true) => Ok(()),
            Ok(false) => Err(unknown()),
            Err(error) => {
                tracing::warn!(file = %file.path().display(), %error, "the admin token cannot be read; nobody is let in");
                Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the proxy cannot read its token")
                    .remedy("see the proxy's log"))
            }
        }
    }
}

/// The one bearer token of a request.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let (Some(given), None) = (given.next(), given.next()) else { return None };
    let (scheme, token) = given.as_bytes().split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

/// The one Host of a request.
fn host(headers: &HeaderMap) -> Result<Authority, Refusal> {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "a request has exactly one Host header"));
    };
    let authority = Authority::try_from(host.as_bytes()).ok();
    authority
        .filter(|authority| !authority.as_str().contains('@'))
        .ok_or_else(|| Refusal::new(StatusCode::BAD_REQUEST, "the Host header is malformed"))
}

/// Whether an Origin is the site that was asked.
fn is_same_origin(origin: &HeaderValue, host: &Authority) -> bool {
    let authority = origin.to_str().ok().and_then(|origin| origin.strip_prefix("http://"));
    authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host.as_str()))
}

#[cfg(test)]
mod tests;
