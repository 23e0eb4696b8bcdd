//! What flows carry: requests of 64 bytes with a sequence number, replies that name the endpoint.

/// The size of a request and of a reply.
pub(super) const MESSAGE: usize = 64;

/// Where a reply has the endpoint's number, and a request nothing.
const ENDPOINT: std::ops::Range<usize> = 24..28;

/// A request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Message {
    /// The flow's number.
    pub(super) flow: u64,
    /// The request's number within the flow, from 0.
    pub(super) sequence: u64,
    /// When the client began to connect, in nanoseconds since the measurement began.
    pub(super) begun: u64,
}

impl Message {
    /// As a client sends it. No other request has the same bytes.
    pub(super) fn request(self) -> [u8; MESSAGE] {
        let mut bytes = [0x5a; MESSAGE];
        bytes[..8].copy_from_slice(&self.flow.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.begun.to_le_bytes());
        bytes[ENDPOINT].copy_from_slice(&[0; 4]);
        bytes[MESSAGE - 8..].copy_from_slice(&(self.flow ^ self.sequence.rotate_left(32)).to_le_bytes());
        bytes
    }

    /// As an endpoint answers it.
    pub(super) fn reply(self, endpoint: u32) -> [u8; MESSAGE] {
        let mut bytes = self.request();
        bytes[ENDPOINT].copy_from_slice(&endpoint.to_le_bytes());
        bytes
    }

    /// What an endpoint has read, if it is a request.
    pub(super) fn parse(bytes: &[u8; MESSAGE]) -> Option<Self> {
        let number = |at: usize| Some(u64::from_le_bytes(bytes[at..at + 8].try_into().ok()?));
        let message = Self { flow: number(0)?, sequence: number(8)?, begun: number(16)? };
        (message.request() == *bytes).then_some(message)
    }

    /// Which endpoint has answered, if this is the reply to the request.
    pub(super) fn answered_by(self, reply: &[u8; MESSAGE]) -> Option<u32> {
        let endpoint = u32::from_le_bytes(reply[ENDPOINT].try_into().ok()?);
        (self.reply(endpoint) == *reply).then_some(endpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_told_from_every_other() {
        let message = Message { flow: 7, sequence: 3, begun: 99 };
        assert_eq!(Message::parse(&message.request()), Some(message));
        assert_eq!(message.answered_by(&message.reply(12)), Some(12));
        let next = Message { sequence: 4, ..message };
        assert_eq!(next.answered_by(&message.reply(12)), None);
        let mut wrong = message.request();
        wrong[40] ^= 1;
        assert_eq!(Message::parse(&wrong), None);
        assert_eq!(message.answered_by(&wrong), None);
    }
}
