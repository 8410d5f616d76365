//! Streams of zones. The sums in an input are made right first, since nobody guesses them.
#![no_main]

use std::io::{self, Cursor, Read};
use std::sync::{Arc, Mutex};

use libfuzzer_sys::fuzz_target;
use sha2::{Digest, Sha256};
use tokio::runtime::{Builder, Runtime};
use zoned::server::fuzz::Api;
use zoned::storage::stream::Receiver;

const MAGIC: &[u8] = b"zones stream 1\n";

/// The frames with right sums in those that have one; what is no frame stays as it is.
fn mended(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut rest = bytes.strip_prefix(MAGIC)?;
    let mut out = MAGIC.to_vec();
    let mut layer = Sha256::new();
    while let [kind, a, b, c, d, after @ ..] = rest {
        let len = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
        let Some(body) = after.get(..len) else { break };
        let sum = match kind {
            b'Z' if len == 32 => Some(Sha256::digest(&out)),
            b'E' if len == 32 => Some(std::mem::take(&mut layer).finalize()),
            _ => None,
        };
        if *kind == b'D' {
            layer.update(body);
        }
        out.extend_from_slice(&rest[..5]);
        out.extend_from_slice(sum.as_deref().unwrap_or(body));
        rest = &after[len..];
    }
    out.extend_from_slice(rest);
    Some(out)
}

fn read(bytes: &[u8]) -> io::Result<()> {
    let (receiver, _) = Receiver::begin(Cursor::new(bytes.to_vec()))?;
    let receiver = Arc::new(Mutex::new(receiver));
    loop {
        let next = receiver.lock().expect("no thread died").next_layer()?;
        let Some(_) = next else { return Ok(()) };
        io::copy(&mut Receiver::archive(&receiver).take(1 << 20), &mut io::sink())?;
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("make a runtime")
}

fuzz_target!(|bytes: &[u8]| {
    let _ = read(bytes);
    let Some(bytes) = mended(bytes) else { return };
    // Only what begins like a stream is worth a whole zoned.
    if Receiver::begin(&bytes[..]).is_err() {
        return;
    }
    zones_fuzz::caged();
    let runtime = runtime();
    let _entered = runtime.enter();
    let api = Api::new();
    if api.zones().receive("a", false, Box::new(Cursor::new(bytes)), &|_| ()).is_err() {
        assert!(api.zones().zone("a").is_err(), "a zone is left of a stream that was refused");
    }
    runtime.shutdown_background();
});
