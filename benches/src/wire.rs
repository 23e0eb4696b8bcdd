//! How both sides read: through one buffer for all connections of a thread.
//!
//! A buffer for each connection would be as large as the caches together, and every byte would come from memory
//! twice.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::ready;

use tokio::io::{AsyncRead, ReadBuf};

use crate::pattern::CHUNK;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; CHUNK]);
}

/// Reads once what there is and shows it; no bytes mean the end. The buffer is larger than most messages, so that a
/// short read tells the runtime that the socket is empty, without another call.
pub(crate) async fn read<T>(
    reader: &mut (impl AsyncRead + Unpin),
    show: impl FnOnce(&[u8]) -> T,
) -> io::Result<T> {
    let mut show = Some(show);
    poll_fn(|context| {
        BUFFER.with_borrow_mut(|buffer| {
            let mut filled = ReadBuf::new(buffer);
            ready!(Pin::new(&mut *reader).poll_read(context, &mut filled))?;
            let show = show.take().ok_or(io::ErrorKind::Other)?;
            Ok(show(filled.filled())).into()
        })
    })
    .await
}
