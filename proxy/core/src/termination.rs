//! How a flow ended: who ended it, in which phase. Two letters, as in HAProxy's log.

use core::fmt;

/// Who ended a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Party {
    /// Nobody broke it: both ends closed.
    Normal,
    /// The client reset, or vanished.
    Client,
    /// The endpoint reset, refused, or vanished.
    Endpoint,
    /// Tidegate refused it, because there was no endpoint for it.
    NoEndpoint,
    /// Tidegate refused it, because the service does not take this client (loadBalancerSourceRanges).
    Denied,
    /// Tidegate, for want of a local resource (descriptors, ports, memory).
    Resource,
    /// A timeout that was configured (idle).
    Timeout,
    /// Configuration asked for it (onRemoval).
    Removal,
    /// Tidegate ended it gently ahead of its endpoint's deadline, at a quiet moment: no byte was lost.
    Shed,
    /// Tidegate ended it at its endpoint's deadline, or a byte came in after it was shed, for whichever reason.
    Cut,
    /// Tidegate ended it gently because it was older than maxLifetime: no byte was lost.
    Lifetime,
    /// Tidegate ended it gently because its endpoint had more than its fair share (rebalance): no byte was lost.
    Rebalance,
    /// An operator closed it.
    Operator,
    /// The process ended (shutdown.grace).
    Shutdown,
}

/// How far a flow had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// Before an endpoint was picked.
    Pick,
    /// While connecting to an endpoint.
    Connect,
    /// While both directions were open.
    Data,
    /// After one direction had ended.
    LastData,
    /// After both directions had ended.
    Finished,
}

/// Who ended a flow, and in which phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Termination {
    /// Who.
    pub by: Party,
    /// When, in the flow's life.
    pub phase: Phase,
}

impl Party {
    /// Every party, in the order of [`Party::index`].
    pub const ALL: [Self; 14] = [
        Self::Normal,
        Self::Client,
        Self::Endpoint,
        Self::NoEndpoint,
        Self::Denied,
        Self::Resource,
        Self::Timeout,
        Self::Removal,
        Self::Shed,
        Self::Cut,
        Self::Lifetime,
        Self::Rebalance,
        Self::Operator,
        Self::Shutdown,
    ];

    /// A small number for counters.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The letter in the flow log.
    pub const fn letter(self) -> char {
        match self {
            Self::Normal => '-',
            Self::Client => 'C',
            Self::Endpoint => 'S',
            Self::NoEndpoint => 'N',
            Self::Denied => 'P',
            Self::Resource => 'R',
            Self::Timeout => 'T',
            Self::Removal => 'D',
            Self::Shed => 'G',
            Self::Cut => 'L',
            Self::Lifetime => 'A',
            Self::Rebalance => 'B',
            Self::Operator => 'K',
            Self::Shutdown => 'X',
        }
    }

    /// The word in metrics and JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Client => "client",
            Self::Endpoint => "endpoint",
            Self::NoEndpoint => "no_endpoint",
            Self::Denied => "denied",
            Self::Resource => "resource",
            Self::Timeout => "timeout",
            Self::Removal => "removal",
            Self::Shed => "shed",
            Self::Cut => "cut",
            Self::Lifetime => "lifetime",
            Self::Rebalance => "rebalance",
            Self::Operator => "operator",
            Self::Shutdown => "shutdown",
        }
    }
}

impl Phase {
    /// Every phase, in the order of [`Phase::index`].
    pub const ALL: [Self; 5] = [Self::Pick, Self::Connect, Self::Data, Self::LastData, Self::Finished];

    /// A small number for counters.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The letter in the flow log.
    pub const fn letter(self) -> char {
        match self {
            Self::Pick => 'P',
            Self::Connect => 'C',
            Self::Data => 'D',
            Self::LastData => 'L',
            Self::Finished => '-',
        }
    }

    /// The word in metrics and JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pick => "pick",
            Self::Connect => "connect",
            Self::Data => "data",
            Self::LastData => "last_data",
            Self::Finished => "finished",
        }
    }
}

impl Termination {
    /// A flow whose two ends closed it.
    pub const NORMAL: Self = Self { by: Party::Normal, phase: Phase::Finished };
}

impl fmt::Display for Termination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.by.letter(), self.phase.letter())
    }
}
