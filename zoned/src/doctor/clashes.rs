//! Settings of a host that get between zones and their programs: formats that it runs itself, and ids that it
//! gives to others.

use std::fs;
use std::path::Path;

use zone_api::{Finding, Verdict};

use super::{finding, line, ok_or};
use crate::config::daemon::{IDS_PER_ZONE, Settings};

pub(super) fn examine(settings: &Settings) -> Vec<Finding> {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let ranges = [("/etc/subuid", text("/etc/subuid")), ("/etc/subgid", text("/etc/subgid"))];
    let users = [("/etc/passwd", text("/etc/passwd")), ("/etc/group", text("/etc/group"))];
    vec![formats(&entries(Path::new("/proc/sys/fs/binfmt_misc"))), ids(settings, &ranges, &users)]
}

/// Name and text of every entry of binfmt_misc. None where all of it is off.
fn entries(folder: &Path) -> Vec<(String, String)> {
    if line(folder.join("status")).as_deref() == Some("disabled") {
        return Vec::new();
    }
    let all = fs::read_dir(folder).into_iter().flatten().flatten();
    let entry = |entry: fs::DirEntry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let text = fs::read_to_string(entry.path()).ok()?;
        (!matches!(&name[..], "status" | "register")).then_some((name, text))
    };
    let mut found: Vec<_> = all.filter_map(entry).collect();
    found.sort();
    found
}

/// First bytes of what guests execute (elf.h, a.out.h).
fn heads() -> [(&'static str, Vec<u8>); 5] {
    let elf = |class: u8, kind: u8, machine: u8| {
        let mut head = vec![0; 64];
        head[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, 1, 1]);
        (head[16], head[18], head[20]) = (kind, machine, 1);
        head
    };
    [
        ("programs of i386", elf(1, 2, 3)),
        ("programs of x86_64", elf(2, 2, 62)),
        ("position-independent programs of x86_64", elf(2, 3, 62)),
        ("a.out programs", [&[0xcc, 0, 0x64, 0][..], &[0; 60]].concat()),
        ("scripts", [&b"#!/bin/sh\n"[..], &[0; 54]].concat()),
    ]
}

/// Whether an entry of binfmt_misc (admin-guide/binfmt-misc.rst) takes a file with this beginning.
fn takes(entry: &str, head: &[u8]) -> bool {
    let field = |key: &str| entry.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    let bytes = |hex: &str| -> Option<Vec<u8>> {
        let pairs = hex.as_bytes().chunks(2);
        pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
    };
    let (Some("enabled"), Some(magic)) = (entry.lines().next(), field("magic").and_then(bytes)) else {
        return false;
    };
    let offset = field("offset").and_then(|offset| offset.parse().ok()).unwrap_or(0usize);
    let mask = field("mask").and_then(bytes).unwrap_or_default();
    let Some(there) = head.get(offset..).and_then(|head| head.get(..magic.len())) else { return false };
    let same = |(i, (a, b)): (usize, (&u8, &u8))| (a ^ b) & mask.get(i).unwrap_or(&0xff) == 0;
    there.iter().zip(&magic).enumerate().all(same)
}

fn formats(entries: &[(String, String)]) -> Finding {
    let heads = heads();
    let caught = |(name, entry): &(String, String)| {
        let what = heads.iter().filter(|(_, head)| takes(entry, head)).map(|(what, _)| *what);
        let what = what.collect::<Vec<_>>().join(", ");
        (!what.is_empty()).then(|| format!("{name} takes {what}"))
    };
    let caught: Vec<_> = entries.iter().filter_map(caught).collect();
    let found = match (caught.as_slice(), entries.len()) {
        ([], 0) => "none".to_owned(),
        ([], n) => format!("{n} of other formats"),
        (caught, _) => caught.join("; "),
    };
    let why = "interpreters of the host's binfmt_misc run programs in zones too: echo -1 > /proc/sys/fs/binfmt_misc/NAME";
    finding("foreign formats", ok_or(caught.is_empty(), Verdict::Missing), found, why)
}

/// `ranges` have lines of subuid(5), `users` of passwd(5) or group(5).
fn ids(settings: &Settings, ranges: &[(&str, String)], users: &[(&str, String)]) -> Finding {
    let first = u64::from(settings.id_base);
    let end = first + u64::from(settings.id_slots) * u64::from(IDS_PER_ZONE);
    let of = |line: &str, start: usize| -> Option<(String, u64, Option<u64>)> {
        let fields: Vec<_> = line.split(':').collect();
        let number = |at: usize| fields.get(at)?.trim().parse::<u64>().ok();
        Some(((*fields.first()?).to_owned(), number(start)?, number(start + 1)))
    };
    let mut clashes = Vec::new();
    for (file, text) in ranges {
        for (name, start, count) in text.lines().filter_map(|line| of(line, 1)) {
            let count = count.unwrap_or(0);
            if start < end && start.saturating_add(count) > first {
                let last = start.saturating_add(count).saturating_sub(1);
                clashes.push(format!("{file} gives {name} {start} to {last}"));
            }
        }
    }
    for (file, text) in users {
        for (name, id, _) in text.lines().filter_map(|line| of(line, 2)) {
            if (first..end).contains(&id) {
                clashes.push(format!("{file} has {name} as {id}"));
            }
        }
    }
    let found = match clashes.as_slice() {
        [] => format!("{first} to {} are the zones' alone", end - 1),
        [clash] => clash.clone(),
        [clash, rest @ ..] => format!("{clash}; {} more", rest.len()),
    };
    let why = "whoever has an id of a zone may signal its processes and change its files: take that range away, or set id-base in zoned.toml";
    finding("ids of zones", ok_or(clashes.is_empty(), Verdict::Missing), found, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, lines: &str) -> (String, String) {
        (name.to_owned(), lines.to_owned())
    }

    #[test]
    fn formats_that_guests_use_are_told_from_others() {
        // As qemu-user-static of Debian 12 registers them.
        let arm = "enabled\ninterpreter /usr/libexec/qemu-binfmt/arm-binfmt-P\nflags: POCF\noffset 0\n\
                   magic 7f454c4601010100000000000000000002002800\nmask ffffffffffffff00fffffffffffffffffeffffff\n";
        let i386 = "enabled\ninterpreter /usr/libexec/qemu-binfmt/i386-binfmt-P\nflags: POCF\noffset 0\n\
                    magic 7f454c4601010100000000000000000002000300\nmask fffffffffffefe00fffffffffffffffffeffffff\n";
        let java = "enabled\ninterpreter /usr/bin/jexec\nflags: \noffset 0\nmagic cafebabe\n";
        let dotted = "enabled\ninterpreter /usr/bin/wine\nflags: \nextension .exe\n";
        let harmless = [entry("arm", arm), entry("exe", dotted), entry("jar", java)];
        assert_eq!(formats(&harmless).verdict, Verdict::Ok);
        assert_eq!(formats(&harmless).found, "3 of other formats");
        let found = formats(&[entry("arm", arm), entry("qemu-i386", i386)]);
        assert_eq!((found.verdict, &found.found[..]), (Verdict::Missing, "qemu-i386 takes programs of i386"));
        let off = i386.replace("enabled", "disabled");
        assert_eq!(formats(&[entry("qemu-i386", &off)]).verdict, Verdict::Ok);
        // Without a mask all bytes count; an offset moves them.
        assert!(takes("enabled\noffset 1\nmagic 454c46\n", &heads()[1].1));
        assert!(!takes("enabled\noffset 0\nmagic 454c46\n", &heads()[1].1));
        assert!(!takes("enabled\noffset 62\nmagic 00000000\n", &heads()[1].1));
        assert!(!takes("enabled\nmagic zz\n", &heads()[1].1) && !takes("", &heads()[1].1));
    }

    #[test]
    fn ids_given_to_others_are_told() {
        let settings = Settings { id_base: 1 << 20, id_slots: 4, ..Settings::default() };
        let (first, end) = (1u64 << 20, (1u64 << 20) + 4 * 65536);
        let check =
            |range: String, user: String| ids(&settings, &[("/etc/subuid", range)], &[("/etc/passwd", user)]);
        let beside = format!("a:{}:65536\nb:{end}:65536\n# none\nc:x:y\n", first - 65536);
        let users = format!("root:x:0:0::/:/bin/sh\nlast:x:{}:0::/:\n", first - 1);
        assert_eq!(check(beside.clone(), users.clone()).verdict, Verdict::Ok);
        let found = check(format!("{beside}d:{}:1\n", end - 1), users.clone());
        assert_eq!(found.verdict, Verdict::Missing);
        assert_eq!(found.found, format!("/etc/subuid gives d {0} to {0}", end - 1));
        let found = check(format!("a:{}:65537\nd:{first}:9\n", first - 65536), users);
        assert!(found.found.ends_with("; 1 more"), "{}", found.found);
        let found = check(String::new(), format!("eve:x:{first}:0::/:/bin/sh\n"));
        assert_eq!(found.found, format!("/etc/passwd has eve as {first}"));
    }
}
