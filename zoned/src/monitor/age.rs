//! Which systemd a guest has: old ones know control groups by other names.

use std::os::fd::AsFd;

use super::Monitor;
use crate::confine::login;

/// Places of the program, before and after /usr was merged.
const PLACES: [&str; 3] = ["lib/systemd/systemd", "usr/lib/systemd/systemd", "bin/systemd"];
/// The first release that takes the magic number of a v2 hierarchy for what it is (CGROUP2_SUPER_MAGIC of linux/magic.h).
/// Releases 226 to 229 end at once where they meet it, and older ones when they cannot make links in it.
const KNOWS_V2: u32 = 230;
/// Longest part of its greeting between its two known ends: the release.
const LONGEST_RELEASE: usize = 64;

impl Monitor {
    /// Whether the guest has a systemd that wants a v1 hierarchy by the name of systemd.
    pub(super) fn wants_named_hierarchy(&self) -> bool {
        if self.spec.run.is_some() {
            return false;
        }
        let folders = self.folders();
        let mut programs =
            folders.iter().flat_map(|folder| PLACES.map(|place| login::guest_bytes(folder.as_fd(), place)));
        let program = programs.find_map(|program| program);
        program.and_then(|program| release(&program)).is_some_and(|release| release < KNOWS_V2)
    }
}

/// The release in systemd's greeting, `systemd 204 running in %s mode`: the one text of it that every release has.
fn release(program: &[u8]) -> Option<u32> {
    const START: &[u8] = b"systemd ";
    const END: &[u8] = b" running in ";
    let mut rest = program;
    while let Some(at) = rest.iter().position(|&b| b == START[0]) {
        rest = &rest[at..];
        let Some(after) = rest.strip_prefix(START) else {
            rest = &rest[1..];
            continue;
        };
        let digits = after.iter().take_while(|b| b.is_ascii_digit()).count();
        let near = &after[..after.len().min(digits + LONGEST_RELEASE)];
        let text = near.split(|&b| b == 0).next().unwrap_or_default();
        if digits > 0 && text.windows(END.len()).any(|window| window == END) {
            return std::str::from_utf8(&after[..digits]).ok()?.parse().ok();
        }
        rest = after;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_is_read_from_the_greeting() {
        for (program, expected) in [
            (&b"\x7fELF\0systemd 99 has\0systemd 204 running in %s mode. (+PAM)\0"[..], Some(204)),
            (b"systemd systemd 44 running in system mode\0", Some(44)),
            (b"\0systemd 247.3-7+deb11u5 running in %ssystem mode. (%s)\0", Some(247)),
            (b"\0systemd 257~rc1-1 running in %ssystem mode", Some(257)),
            (b"systemd 229\0 running in ", None),
            (b"systemd 99999999999 running in ", None),
            (b"systemd ", None),
            (b"", None),
        ] {
            assert_eq!(release(program), expected, "{}", String::from_utf8_lossy(program));
        }
    }
}
