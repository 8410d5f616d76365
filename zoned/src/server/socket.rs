//! The socket, and that one zoned alone is at it.

use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// Name of the socket in the run folder.
pub(super) const SOCKET: &str = "zoned.sock";

/// Why there is no socket to listen on.
#[derive(Debug, thiserror::Error)]
pub(super) enum SocketError {
    #[error("make {}", path.display())]
    Folder {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("another zoned has {}", path.display())]
    Taken { path: PathBuf },
    #[error("lock {}", path.display())]
    Lock {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("listen at {}", path.display())]
    Listen {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("take the socket of the service manager")]
    Activation {
        #[source]
        source: io::Error,
    },
}

/// The run folder, open to all: the rights are the socket's.
pub(super) fn make_run(run: &Path) -> Result<(), SocketError> {
    let wrong = |source| SocketError::Folder { path: run.to_owned(), source };
    std::fs::DirBuilder::new().recursive(true).mode(0o755).create(run).map_err(wrong)
}

/// Claims a folder for this process; the kernel gives it back however it ends.
pub(super) fn lock(folder: &Path) -> Result<Flock<File>, SocketError> {
    let path = folder.join("zoned.lock");
    let wrong = |source| SocketError::Lock { path: path.clone(), source };
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(wrong)?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        Errno::EWOULDBLOCK => SocketError::Taken { path: folder.to_owned() },
        errno => wrong(errno.into()),
    })
}

/// The service manager's socket, or one of our own in `run`.
pub(super) fn listen(run: &Path) -> Result<UnixListener, SocketError> {
    let passed =
        crate::sys::activation::listening_socket().map_err(|source| SocketError::Activation { source })?;
    let listener = match passed {
        Some(socket) => UnixListener::from(socket),
        None => bind(&run.join(SOCKET))?,
    };
    listener
        .set_nonblocking(true)
        .map_err(|source| SocketError::Listen { path: run.join(SOCKET), source })?;
    Ok(listener)
}

fn bind(path: &Path) -> Result<UnixListener, SocketError> {
    let wrong = |source| SocketError::Listen { path: path.to_owned(), source };
    // A socket that nobody listens on stays behind when a zoned is killed.
    match UnixStream::connect(path) {
        Ok(_) => return Err(SocketError::Taken { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            if std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket()) {
                std::fs::remove_file(path).map_err(wrong)?;
            }
        }
        Err(_) => {}
    }
    let listener = UnixListener::bind(path).map_err(wrong)?;
    // Everyone may connect: what they may do is decided by their credentials.
    std::fs::set_permissions(path, Permissions::from_mode(0o666)).map_err(wrong)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_left_behind_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(SOCKET);
        drop(UnixListener::bind(&path).unwrap());
        let live = bind(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666);
        assert!(matches!(bind(&path), Err(SocketError::Taken { .. })));
        drop(live);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "a file of somebody's").unwrap();
        assert!(matches!(bind(&path), Err(SocketError::Listen { .. })));
        assert!(path.is_file());
    }

    #[test]
    fn a_folder_is_claimed_once() {
        let dir = tempfile::tempdir().unwrap();
        let claim = lock(dir.path()).unwrap();
        assert!(matches!(lock(dir.path()), Err(SocketError::Taken { .. })));
        drop(claim);
        lock(dir.path()).unwrap();
    }
}
