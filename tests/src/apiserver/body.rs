//! The body of an answer: whole, or line by line, or torn.

use std::{
    convert::Infallible,
    error::Error,
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use http_body_util::{Either, Full};
use hyper::body::{Body, Bytes, Frame};
use tokio::sync::mpsc;

/// An answer's body.
pub(super) type AnswerBody = Either<Full<Bytes>, Streamed>;

/// The connection is to be closed in the middle of an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut;

/// A body that comes piece by piece.
#[derive(Debug)]
pub(super) struct Streamed {
    pieces: mpsc::Receiver<Result<Bytes, Cut>>,
    is_cut: bool,
}

impl Streamed {
    /// A body, and what feeds it.
    pub(super) fn new() -> (mpsc::Sender<Result<Bytes, Cut>>, Self) {
        let (sender, pieces) = mpsc::channel(16);
        (sender, Self { pieces, is_cut: false })
    }
}

impl Body for Streamed {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if self.is_cut {
            return Poll::Ready(Some(Err(Cut)));
        }
        match self.pieces.poll_recv(context) {
            Poll::Ready(Some(Err(Cut))) => {
                // What came before has to leave first: the connection flushes whenever its body has nothing.
                self.is_cut = true;
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(piece) => Poll::Ready(piece.map(|piece| piece.map(Frame::data))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cut by the test")
    }
}

impl Error for Cut {}

impl From<Infallible> for Cut {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}
