//! Descriptors that go from one process to another over a Unix socket (unix(7), SCM_RIGHTS).

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// The most descriptors that the kernel takes with one message (SCM_MAX_FD).
pub const MOST_DESCRIPTORS: usize = 253;

const SPACE: usize = rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS));

/// Sends what fits of `bytes`, and all of `descriptors` with it.
///
/// # Errors
/// sendmsg(2); `InvalidInput` for more descriptors than one message takes, or for descriptors without a byte.
pub fn send_with(socket: &UnixStream, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        let fits = !bytes.is_empty() && descriptors.len() <= MOST_DESCRIPTORS;
        if !fits || !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
    }
    Ok(sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)?)
}

/// Receives bytes, and the descriptors that came with them. `Ok(0)` is the end.
///
/// # Errors
/// recvmsg(2); `InvalidData` where the kernel dropped descriptors, which it does where this process may not have so
/// many (RLIMIT_NOFILE).
pub fn receive_with(
    socket: &UnixStream,
    buffer: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        let why = "descriptors were lost on their way; RLIMIT_NOFILE may be too low";
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    Ok(received.bytes)
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io::{Read, Write},
        os::fd::AsFd,
    };

    use super::*;

    /// Descriptors arrive in their order, as themselves, and close on exec.
    #[test]
    fn descriptors_arrive_in_order() {
        let (here, there) = UnixStream::pair().unwrap();
        let pipes: Vec<_> = (0..100).map(|_| io::pipe().unwrap()).collect();
        let readers: Vec<_> = pipes.iter().map(|(reader, _)| reader.as_fd()).collect();
        assert_eq!(send_with(&here, b"x", &readers).unwrap(), 1);
        let (mut buffer, mut descriptors) = ([0; 8], Vec::new());
        assert_eq!(receive_with(&there, &mut buffer, &mut descriptors).unwrap(), 1);
        assert_eq!(descriptors.len(), 100);
        for (number, ((_, mut writer), reader)) in pipes.into_iter().zip(descriptors).enumerate() {
            assert!(rustix::io::fcntl_getfd(&reader).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
            writer.write_all(&[number as u8]).unwrap();
            let mut byte = [0];
            File::from(reader).read_exact(&mut byte).unwrap();
            assert_eq!(byte, [number as u8]);
        }
    }

    #[test]
    fn too_many_descriptors_are_an_error() {
        let (here, _there) = UnixStream::pair().unwrap();
        let many = vec![here.as_fd(); MOST_DESCRIPTORS + 1];
        assert_eq!(send_with(&here, b"x", &many).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        let most = &many[..MOST_DESCRIPTORS];
        assert_eq!(send_with(&here, b"", most).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(send_with(&here, b"x", most).unwrap(), 1);
    }
}
