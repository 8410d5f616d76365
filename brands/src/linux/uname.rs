//! uname(2) and its two elders of i386.

use nix::errno::Errno;

use crate::call::{Answered, Call, Reply};
use crate::platform::is_linux32;
use crate::task::Task;

/// Fills `struct new_utsname`: six fields of 65 bytes. Since Linux 1.2 with `domainname`.
pub(super) fn uname(task: &mut dyn Task, call: &Call) -> Answered {
    let fields = Fields::of(task)?;
    let mut out = vec![0; 6 * 65];
    for (slot, text) in out.chunks_exact_mut(65).zip(fields.texts()) {
        put(slot, text);
    }
    task.write(call.ptr(0), &out)?;
    Ok(Reply::Value(0))
}

/// Fills `struct old_utsname`: the same without `domainname`. i386 only.
pub(super) fn olduname(task: &mut dyn Task, call: &Call) -> Answered {
    old(task, call, 65)
}

/// Fills `struct oldold_utsname`: five fields of nine bytes, eight letters and a NUL. i386 only.
pub(super) fn oldolduname(task: &mut dyn Task, call: &Call) -> Answered {
    old(task, call, 9)
}

fn old(task: &mut dyn Task, call: &Call, width: usize) -> Answered {
    let fields = Fields::of(task)?;
    let mut out = vec![0; 5 * width];
    for (slot, text) in out.chunks_exact_mut(width).zip(fields.texts()) {
        put(slot, text);
    }
    // Both calls have said EFAULT for NULL since they began, as a write there does.
    task.write(call.ptr(0), &out)?;
    Ok(Reply::Value(0))
}

/// Cuts `text` so that a NUL follows it.
fn put(slot: &mut [u8], text: &[u8]) {
    let len = text.len().min(slot.len() - 1);
    slot[..len].copy_from_slice(&text[..len]);
}

struct Fields {
    nodename: Vec<u8>,
    release: String,
    version: String,
    machine: String,
    domainname: Vec<u8>,
}

impl Fields {
    fn of(task: &mut dyn Task) -> Result<Self, Errno> {
        let (nodename, domainname) = task.names()?;
        let linux32 = is_linux32(task.personality()?);
        let world = task.world();
        let machine = if linux32 { &world.machine32 } else { &world.machine };
        Ok(Self {
            nodename,
            release: world.release.clone(),
            version: world.version.clone(),
            machine: machine.clone(),
            domainname,
        })
    }

    fn texts(&self) -> [&[u8]; 6] {
        [
            b"Linux",
            &self.nodename,
            self.release.as_bytes(),
            self.version.as_bytes(),
            self.machine.as_bytes(),
            &self.domainname,
        ]
    }
}
