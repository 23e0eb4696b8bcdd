//! Why a watch stopped, and so how it goes on.

use hyper::Request;

use crate::{api::Failure, follow::Gone, status::ErrorCause};

/// Why a watch stopped.
pub(super) enum Stop {
    /// Nobody listens.
    Gone,
    /// The server ended it as agreed.
    Ended,
    /// It failed, and goes on from the last version.
    Failed(Failure),
    /// It failed, and everything has to be listed.
    Lost(Failure),
}

impl From<Gone> for Stop {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

impl Stop {
    /// What follows from a failure: a version that is too old cannot be gone on from.
    pub(super) fn of(failure: Failure) -> Self {
        if failure.cause == ErrorCause::Expired { Self::Lost(failure) } else { Self::Failed(failure) }
    }
}

/// A request that could be made.
pub(super) fn built(
    request: Result<Request<Vec<u8>>, kube::core::request::Error>,
) -> Result<Request<Vec<u8>>, Stop> {
    request.map_err(|error| {
        Stop::Failed(Failure::new(ErrorCause::Malformed, format!("no request can be made: {error}")))
    })
}
