//! Bytes handed from one thread to the next, a few pieces ahead.

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use sha2::{Digest as _, Sha256};

use super::digest::Digest;

const PIECE: usize = 256 << 10;
const AHEAD: usize = 4;

/// The end that bytes are put into.
pub(super) struct Feeder {
    to: SyncSender<io::Result<Vec<u8>>>,
    /// Pieces that were read, to be filled again.
    used: Receiver<Vec<u8>>,
}

/// The end that they are read from.
pub(super) struct Fed {
    from: Receiver<io::Result<Vec<u8>>>,
    used: Sender<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
}

pub(super) fn pipe() -> (Feeder, Fed) {
    let ((to, from), (back, used)) = (sync_channel(AHEAD), channel());
    (Feeder { to, used }, Fed { from, used: back, piece: Vec::new(), at: 0 })
}

impl Read for Fed {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            let Ok(next) = self.from.recv() else { return Ok(0) };
            let old = std::mem::replace(&mut self.piece, next?);
            self.at = 0;
            // Nobody takes it back at the end.
            let _ = self.used.send(old);
        }
        let n = buf.len().min(self.piece.len() - self.at);
        buf[..n].copy_from_slice(&self.piece[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

impl Feeder {
    /// What is read ends in this error, and is so not taken for whole.
    pub(super) fn fail(&self, why: &str) {
        // A taker that is gone needs no word.
        let _ = self.to.send(Err(io::Error::other(why.to_owned())));
    }
}

impl io::Write for &Feeder {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.to.send(Ok(bytes.to_vec())).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What went through.
pub(super) struct Passed {
    pub(super) digest: Digest,
    pub(super) len: u64,
    /// Whether that was all of it.
    pub(super) whole: bool,
}

/// Hashes `from` and hands it on. Where the taker is gone, the rest is only hashed, until `stop`; or, unless it `goes_on`, not read.
/// An error goes to the taker.
pub(super) fn feed(
    mut from: impl Read,
    to: Feeder,
    goes_on: bool,
    stop: &AtomicBool,
    told: &dyn Fn(u64),
) -> Passed {
    let (mut hash, mut len, mut taken) = (Sha256::new(), 0u64, true);
    let end = |hash: Sha256, len, whole| Passed { digest: Digest::end(hash), len, whole };
    loop {
        if stop.load(Ordering::Relaxed) {
            return end(hash, len, false);
        }
        let mut piece = to.used.try_recv().unwrap_or_default();
        piece.resize(PIECE, 0);
        let mut have = 0;
        while have < PIECE {
            match from.read(&mut piece[have..]) {
                Ok(0) => break,
                Ok(n) => have += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    piece.truncate(have);
                    // What came before it may say more than the error.
                    let _ = to.to.send(Ok(piece)).and_then(|()| to.to.send(Err(error)));
                    return end(hash, len, false);
                }
            }
        }
        hash.update(&piece[..have]);
        len += have as u64;
        told(have as u64);
        let last = have < PIECE;
        piece.truncate(have);
        if taken && have > 0 {
            taken = to.to.send(Ok(piece)).is_ok();
        }
        if last || !taken && !goes_on {
            return end(hash, len, last);
        }
    }
}
