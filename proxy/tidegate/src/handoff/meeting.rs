//! The socket on which a proxy and its successor meet.

use std::{
    fs, io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{
            fs::{FileTypeExt as _, PermissionsExt as _},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::{Context as _, bail};
use tidegate_handoff::{Channel, ChannelError};

/// The socket that this process listens on.
#[derive(Debug)]
pub(crate) struct Meeting {
    socket: UnixListener,
    path: PathBuf,
    /// The file is this process's; a successor's otherwise.
    is_own: AtomicBool,
}

impl Meeting {
    /// Listens, for this user alone. A file that a dead process left is replaced.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let words = || format!("handoff.socket: cannot listen on {}", path.display());
        if let Ok(found) = fs::symlink_metadata(path) {
            if !found.file_type().is_socket() {
                bail!(
                    "handoff.socket: {} is there and is no socket; remove it, or use another path",
                    path.display()
                );
            }
            match UnixStream::connect(path) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    fs::remove_file(path).with_context(words)?;
                }
                _ => bail!(
                    "handoff.socket: another process listens on {}; let it hand over (without --no-handoff), stop it, \
                     or use another path",
                    path.display()
                ),
            }
        }
        let socket = UnixListener::bind(path).with_context(words)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).with_context(words)?;
        Ok(Self { socket, path: path.to_owned(), is_own: AtomicBool::new(true) })
    }

    /// Goes on with a predecessor's socket.
    pub(crate) fn passed_on(socket: OwnedFd, path: &Path) -> Self {
        Self { socket: socket.into(), path: path.to_owned(), is_own: AtomicBool::new(true) }
    }

    /// Waits for a connection.
    pub(crate) fn accept(&self) -> io::Result<UnixStream> {
        Ok(self.socket.accept()?.0)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The file is a successor's from here on.
    pub(crate) fn leave_file(&self) {
        self.is_own.store(false, Ordering::Relaxed);
    }

    /// Removes the file where it is this process's.
    pub(crate) fn remove_file(&self) {
        if self.is_own.load(Ordering::Relaxed) {
            // It may have been removed by hand.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl AsFd for Meeting {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// This process's user.
pub(crate) fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Connects to whoever listens; `None` where nobody does.
pub(crate) fn connect(path: &Path) -> anyhow::Result<Option<Channel>> {
    match Channel::connect(path, own_user()) {
        Ok(channel) => Ok(Some(channel)),
        Err(ChannelError::Io(error))
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
        {
            Ok(None)
        }
        Err(error) => Err(error).with_context(|| {
            format!(
                "handoff.socket: cannot speak with the process that listens on {}; run as the same user, or use another \
                 path",
                path.display()
            )
        }),
    }
}
