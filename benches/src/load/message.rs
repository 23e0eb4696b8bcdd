//! What a client sends and wants back: no other connection and no other trip has the same.

use crate::pattern;

/// A message whose first and last bytes are its numbers, as far as it has room for them.
#[derive(Clone, Debug)]
pub(crate) struct Message(Vec<u8>);

impl Message {
    /// The first message of a connection.
    pub(crate) fn new(connection: u64, len: usize) -> Self {
        let mut message = Self(pattern::at(connection.wrapping_mul(4099), len).to_vec());
        if len >= 16 {
            message.0[..8].copy_from_slice(&connection.to_le_bytes());
        }
        message.number(connection, 0);
        message
    }

    /// Makes it the message of another trip.
    pub(crate) fn number(&mut self, connection: u64, trip: u64) {
        let len = self.0.len();
        match len {
            16.. => self.0[len - 8..].copy_from_slice(&trip.to_le_bytes()),
            _ => self.0.fill((connection.wrapping_mul(31).wrapping_add(trip) % 251) as u8),
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_are_alike() {
        for len in [1, 15, 16, 64, 65_536] {
            let mut message = Message::new(3, len);
            assert_eq!(message.bytes().len(), len);
            let first = message.clone();
            message.number(3, 1);
            assert_ne!(first.bytes(), message.bytes());
            assert_ne!(first.bytes(), Message::new(4, len).bytes());
        }
    }
}
