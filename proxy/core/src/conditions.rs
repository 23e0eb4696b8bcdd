//! The three EndpointSlice conditions, with the defaults that Kubernetes documents for absent ones.

/// An endpoint's conditions (KEP-1672).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conditions {
    /// May take new flows. True for a terminating endpoint only under `publishNotReadyAddresses`.
    pub ready: bool,
    /// Answers its readiness probe, also while it terminates.
    pub serving: bool,
    /// Its pod has a deletionTimestamp.
    pub terminating: bool,
}

impl Conditions {
    /// The conditions as a slice carries them, each possibly absent.
    ///
    /// `ready` absent means true (C1); `serving` absent follows `ready` (C2); `terminating` absent means false (C3).
    pub fn from_api(ready: Option<bool>, serving: Option<bool>, terminating: Option<bool>) -> Self {
        let ready = ready.unwrap_or(true);
        Self { ready, serving: serving.unwrap_or(ready), terminating: terminating.unwrap_or(false) }
    }

    /// A drain is on: terminating and not ready. Ready and terminating (C4) is none.
    pub fn is_draining(self) -> bool {
        self.terminating && !self.ready
    }

    /// May take new flows where no endpoint is ready and the service says `servingTerminating` (KEP-1669).
    pub fn is_last_resort(self) -> bool {
        self.serving && self.terminating && !self.ready
    }
}

impl Default for Conditions {
    fn default() -> Self {
        Self::from_api(None, None, None)
    }
}
