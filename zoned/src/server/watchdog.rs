//! systemd's watchdog (sd_watchdog_enabled(3)): it is told that zoned is well when zoned answers.

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// A request that passes the event loop, a thread that may block, and the table of zones; no zone has
/// that name.
const REQUEST: &[u8] = b"GET /v1/zones/global HTTP/1.1\r\nHost: zoned\r\nConnection: close\r\n\r\n";

/// Asks zoned over its own socket, as often as the service manager wants; where it wants nothing, never.
pub(super) fn begin(run: &Path) {
    let mut micros = 0;
    if !sd_notify::watchdog_enabled(false, &mut micros) {
        return;
    }
    // Half of the time is what the manual page advises; an answer that takes longer is none.
    let each = Duration::from_micros(micros / 2);
    let run = run.to_owned();
    let watch = move || {
        loop {
            match ask(&run, each) {
                Ok(()) => {
                    sd_notify::notify(false, &[sd_notify::NotifyState::Watchdog]).ok();
                }
                Err(error) => tracing::error!(%error, "zoned does not answer itself"),
            }
            std::thread::sleep(each);
        }
    };
    let begun = std::thread::Builder::new().name("watchdog".into()).spawn(watch);
    if let Err(error) = begun {
        tracing::error!(%error, "nobody tells the watchdog that zoned is well");
    }
}

/// Whether an answer comes within that time.
fn ask(run: &Path, longest: Duration) -> io::Result<()> {
    // Through a descriptor, since the path of a socket is at most 107 bytes long (unix(7)).
    let folder = std::fs::File::open(run)?;
    let mut stream =
        UnixStream::connect(format!("/proc/self/fd/{}/{}", folder.as_raw_fd(), super::socket::SOCKET))?;
    stream.set_read_timeout(Some(longest))?;
    stream.set_write_timeout(Some(longest))?;
    stream.write_all(REQUEST)?;
    let mut begun = [0; 9];
    stream.read_exact(&mut begun)?;
    if &begun == b"HTTP/1.1 " { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_one_that_comes_in_time() {
        let folder = tempfile::tempdir().unwrap();
        let longest = Duration::from_millis(200);
        assert!(ask(folder.path(), longest).is_err());
        let listener = std::os::unix::net::UnixListener::bind(folder.path().join("zoned.sock")).unwrap();
        let kind = ask(folder.path(), longest).unwrap_err().kind();
        assert_eq!(kind, io::ErrorKind::WouldBlock, "a zoned that is stuck accepts and says nothing");
        let answers = std::thread::spawn(move || {
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().unwrap();
                stream.write_all(b"HTTP/1.1 404 Not Found\r\n").ok();
            }
        });
        ask(folder.path(), longest).unwrap();
        drop(answers);
    }
}
