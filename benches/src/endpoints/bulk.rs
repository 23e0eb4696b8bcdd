//! A bulk endpoint: what it is asked for, what it takes, what it checks.
//!
//! A client sends frames. Each begins with two numbers, how many bytes of the [`pattern`] follow in this frame and
//! how many more the endpoint shall send; then come the bytes. A frame of two zeros is the last: the endpoint sends
//! what it still owes, then the number of bytes that it has taken and checked, and waits for the client to close.
//! Both directions run at the same time; neither waits for the other as long as the client asks ahead.

use std::cell::Cell;
use std::io;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::{pattern, wire};

/// Bytes at the head of a frame.
pub(crate) const HEAD: usize = 16;

/// Bytes of the receipt at the end.
pub(crate) const RECEIPT: usize = 8;

/// The head of a frame.
pub(crate) fn head(follow: u64, wanted: u64) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..8].copy_from_slice(&follow.to_le_bytes());
    head[8..].copy_from_slice(&wanted.to_le_bytes());
    head
}

/// Serves one connection; tells of a wrong byte and then ends it.
pub(super) async fn serve(mut stream: TcpStream, fault: impl Fn(String)) -> io::Result<()> {
    let (mut reader, mut writer) = stream.split();
    let frames = Cell::new(Frames::default());
    let news = Notify::new();
    let up = async {
        loop {
            let mut now = frames.get();
            let is_end = wire::read(&mut reader, |bytes| now.take(bytes).map(|()| bytes.is_empty())).await?;
            frames.set(now);
            news.notify_one();
            match is_end {
                Ok(true) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(false) => {}
                Err(position) => {
                    fault(format!("bulk up: a wrong byte near {position}"));
                    return Err::<(), _>(io::ErrorKind::InvalidData.into());
                }
            }
        }
    };
    let down = async {
        let sent = send(&mut writer, &frames, &news).await;
        // The client closes first, and that ends the other direction.
        sent?;
        std::future::pending::<io::Result<()>>().await
    };
    tokio::try_join!(up, down).map(|_| ())
}

async fn send(
    writer: &mut (impl AsyncWrite + Unpin),
    frames: &Cell<Frames>,
    news: &Notify,
) -> io::Result<()> {
    let mut position = 0;
    loop {
        let Frames { wanted, is_last, position: taken, .. } = frames.get();
        if position < wanted {
            let len = usize::try_from(wanted - position).unwrap_or(pattern::CHUNK).min(pattern::CHUNK);
            position += writer.write(pattern::at(position, len)).await? as u64;
        } else if is_last {
            return writer.write_all(&taken.to_le_bytes()).await;
        } else {
            news.notified().await;
        }
    }
}

/// What has come so far.
#[derive(Clone, Copy, Debug, Default)]
struct Frames {
    head: [u8; HEAD],
    /// Bytes of the head that are there.
    have: usize,
    /// Bytes that belong to this frame and have not come.
    left: u64,
    /// Bytes taken and checked.
    position: u64,
    /// Bytes to send, altogether.
    wanted: u64,
    is_last: bool,
}

impl Frames {
    /// Takes what was read; the position of bytes that are wrong is the error.
    fn take(&mut self, mut bytes: &[u8]) -> Result<(), u64> {
        while !bytes.is_empty() {
            if self.is_last {
                return Err(self.position);
            }
            if self.left > 0 {
                let len = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
                let (now, later) = bytes.split_at(len);
                if !pattern::is_at(self.position, now) {
                    return Err(self.position);
                }
                (self.position, self.left) = (self.position + len as u64, self.left - len as u64);
                bytes = later;
                continue;
            }
            let len = bytes.len().min(HEAD - self.have);
            let (now, later) = bytes.split_at(len);
            self.head[self.have..self.have + len].copy_from_slice(now);
            self.have += len;
            bytes = later;
            if self.have == HEAD {
                self.begin();
            }
        }
        Ok(())
    }

    fn begin(&mut self) {
        let number =
            |at: usize| self.head[at..at + 8].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        let (follow, wanted) = (number(0), number(8));
        (self.have, self.left) = (0, follow);
        self.wanted = self.wanted.saturating_add(wanted);
        self.is_last = follow == 0 && wanted == 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_may_be_cut_anywhere() {
        let stream =
            [&head(5, 7)[..], pattern::at(0, 5), &head(3, 0), pattern::at(5, 3), &head(0, 0)].concat();
        for cut in 1..stream.len() {
            let mut frames = Frames::default();
            stream.chunks(cut).for_each(|bytes| assert_eq!(frames.take(bytes), Ok(())));
            assert_eq!((frames.position, frames.wanted, frames.is_last), (8, 7, true));
        }
    }

    #[test]
    fn a_wrong_byte_and_one_too_many_are_told() {
        let mut frames = Frames::default();
        assert_eq!(frames.take(&[&head(4, 0)[..], pattern::at(1, 4)].concat()), Err(0));
        let mut frames = Frames::default();
        assert_eq!(frames.take(&[&head(0, 0)[..], &[1]].concat()), Err(0));
    }
}
