//! The socket on which a proxy and its successor meet.

use std::{
    fs, io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{
            fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
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
        check_directory(path)?;
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

    /// A successor has taken it over.
    pub(crate) fn is_passed_on(&self) -> bool {
        !self.is_own.load(Ordering::Relaxed)
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

/// The socket's directory: made for this user alone where it is not there, and refused where others can replace what is in
/// it, because whoever can do that can pretend to be the running process.
fn check_directory(path: &Path) -> anyhow::Result<()> {
    let Some(directory) = path.parent().filter(|it| !it.as_os_str().is_empty()) else { return Ok(()) };
    let named = directory.display();
    match fs::DirBuilder::new().mode(0o700).create(directory) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => {
            return Err(error).with_context(|| {
                format!("handoff.socket: cannot make its directory {named}; make it, owned by the user that runs tidegate")
            });
        }
    }
    let found = fs::metadata(directory).with_context(|| format!("handoff.socket: cannot look at {named}"))?;
    if found.mode() & 0o022 != 0 && found.mode() & STICKY == 0 {
        bail!(
            "handoff.socket: others can write to its directory {named} (mode {:o}), and so pretend to be the running \
             process; take that away (chmod go-w), or use another directory",
            found.mode() & 0o7777
        );
    }
    if found.uid() != own_user() && found.uid() != 0 {
        bail!(
            "handoff.socket: its directory {named} belongs to user {}, this process to user {}; use a directory of its own",
            found.uid(),
            own_user()
        );
    }
    Ok(())
}

/// Only a file's owner can replace it.
const STICKY: u32 = 0o1000;

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
