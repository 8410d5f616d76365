//! What a zone of the linux brand boots with.

use crate::level::Level;
use crate::platform::{
    ADDR_NO_RANDOMIZE, Boot, COMPAT_MACHINE, PER_LINUX32, Platform, Request, Vsyscall, is_32bit,
};
use crate::task::World;

use super::era;

/// Flags of personality(2).
const ADDR_COMPAT_LAYOUT: u32 = 0x020_0000;
const ADDR_LIMIT_3GB: u32 = 0x800_0000;

/// The platform for a request.
pub(super) fn platform(request: &Request) -> Platform {
    let level = request.level.as_ref().map(|(level, _)| *level);
    let arch = request.arch.as_deref().unwrap_or("x86_64");
    let bits32 = is_32bit(arch);
    let (release, version) = match &request.level {
        Some((level, release)) => (release.clone(), era::version(*level)),
        None => (request.host_release.clone(), request.host_version.clone()),
    };
    let personality = personality(level, bits32);
    let world = World {
        level,
        release,
        version,
        machine: arch.to_owned(),
        machine32: if bits32 { arch } else { COMPAT_MACHINE }.to_owned(),
        personality,
        strict: request.strict && level.is_some(),
        host: request.host_level(),
        wide_inodes: request.wide_inodes,
        has_quota: request.has_quota,
        rewrites_vsyscall: !bits32 && rewrites_vsyscall(request.vsyscall, level),
    };
    let boot = Boot {
        personality,
        nofile: nofile(level),
        files: files(&world, &request.bootargs),
        sysctls: sysctls(level),
    };
    Platform { world, boot }
}

/// glibc called into the vsyscall page until 2.13 (2011), and static programs of that time do so for
/// ever. Distributions of that time came with Linux up to 3.x; 5.0 (2019) leaves room for their
/// programs on later ones.
fn rewrites_vsyscall(vsyscall: Vsyscall, level: Option<Level>) -> bool {
    match vsyscall {
        Vsyscall::Host => false,
        Vsyscall::RewriteOld => level.is_some_and(|level| level < Level::new(5, 0, 0)),
        Vsyscall::Rewrite => true,
    }
}

/// 32-bit zones are PER_LINUX32, so that uname(2) names their machine, and are not randomised at
/// any level: libc5 wants the break to begin where the program ends, and a modern libc does not
/// mind. Before 2.6 libraries lay above 0x40000000 and the stack below 0xc0000000, and programs
/// took higher pointers for negative numbers; ADDR_COMPAT_LAYOUT and ADDR_LIMIT_3GB give that
/// layout again. On x86_64 the break has been randomised since 2.6.25.
fn personality(level: Option<Level>, bits32: bool) -> u32 {
    let below = |bound| level.is_some_and(|level| level < bound);
    match (bits32, below(Level::new(2, 6, 0))) {
        (true, true) => PER_LINUX32 | ADDR_NO_RANDOMIZE | ADDR_COMPAT_LAYOUT | ADDR_LIMIT_3GB,
        (true, false) => PER_LINUX32 | ADDR_NO_RANDOMIZE,
        (false, _) if below(Level::new(2, 6, 25)) => ADDR_NO_RANDOMIZE,
        (false, _) => 0,
    }
}

/// Programs of the time close every descriptor up to the soft limit one by one, or keep a table of that
/// size, which a limit of 1e9 turns into hours or gigabytes: rpm until 4.14.2 and Python 2 among them, so
/// distributions with kernels up to 4.20 are meant. The limits are process 1's as the kernel makes it
/// (INR_OPEN_CUR and INR_OPEN_MAX); from 3.0 on services ask for more, and get up to systemd's own (v240).
fn nofile(level: Option<Level>) -> Option<(u64, u64)> {
    match level? {
        level if level < Level::new(3, 0, 0) => Some((1024, 4096)),
        level if level < Level::new(5, 0, 0) => Some((1024, 524_288)),
        _ => None,
    }
}

/// Words of a zone's /proc/cmdline before those of its configuration: they tell boot scripts in
/// their own words of what a zone has not got, for which some would wait for ever. SELinux and audit
/// are those of kernel-parameters; fastboot, noresume, nortc and nozswap those of distributions'
/// scripts (no disk to check or resume from, no clock chip, no zram). A script that knows a word not
/// passes over it, as the kernel does.
const LACKS: &str = "selinux=0 audit=0 fastboot noresume nortc nozswap";

fn files(world: &World, bootargs: &[String]) -> Vec<(String, Vec<u8>)> {
    let words: Vec<&str> = std::iter::once(LACKS).chain(bootargs.iter().map(String::as_str)).collect();
    let mut files = vec![line("cmdline", &words.join(" "))];
    if let Some(level) = world.level {
        let (release, version) = (&world.release, &world.version);
        let gcc = era::gcc(level);
        files.push(line(
            "version",
            &format!("Linux version {release} (root@localhost) (gcc version {gcc}) {version}"),
        ));
        files.push(line("sys/kernel/ostype", "Linux"));
        files.push(line("sys/kernel/osrelease", release));
        files.push(line("sys/kernel/version", version));
    }
    files
}

/// Limits of System V shared memory were 32 MiB a segment up to 3.15 (include/uapi/linux/shm.h), and installers
/// compute with them in a shell's numbers; process numbers were below 32768 unless somebody raised them, and old
/// daemons keep them in a short.
fn sysctls(level: Option<Level>) -> Vec<(&'static str, &'static str)> {
    let Some(level) = level else { return Vec::new() };
    let mut out = vec![("kernel/pid_max", "32768")];
    if level < Level::new(3, 16, 0) {
        out.extend([("kernel/shmmax", "33554432"), ("kernel/shmall", "2097152")]);
    }
    out
}

fn line(path: &str, text: &str) -> (String, Vec<u8>) {
    (path.to_owned(), format!("{text}\n").into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(level: Option<&str>, arch: Option<&str>) -> Platform {
        platform(&Request {
            level: level.map(|text| Level::parse_release(text).unwrap()),
            arch: arch.map(str::to_owned),
            host_release: "6.18.2-host".to_owned(),
            host_version: "#7 SMP".to_owned(),
            bootargs: vec!["root=/dev/zone".to_owned(), "ro".to_owned()],
            ..Request::default()
        })
    }

    #[test]
    fn zones_of_old_programs_have_their_vsyscalls_rewritten() {
        let rewrites = |vsyscall, level: Option<&str>, arch: &str| {
            let request = Request {
                level: level.and_then(|text| Level::parse_release(text).ok()),
                arch: Some(arch.to_owned()),
                vsyscall,
                ..Request::default()
            };
            platform(&request).world.rewrites_vsyscall
        };
        for level in [None, Some("2.6.32"), Some("4.18"), Some("5.0")] {
            let old = matches!(level, Some("2.6.32" | "4.18"));
            assert!(!rewrites(Vsyscall::Host, level, "x86_64"), "{level:?}");
            assert_eq!(rewrites(Vsyscall::RewriteOld, level, "x86_64"), old, "{level:?}");
            assert!(rewrites(Vsyscall::Rewrite, level, "x86_64"), "{level:?}");
            assert!(!rewrites(Vsyscall::Rewrite, level, "i686"), "{level:?}");
        }
    }

    #[test]
    fn personalities() {
        for (level, arch, personality) in [
            (None, None, 0),
            (None, Some("i686"), 0x4_0008),
            (Some("2.0.36"), Some("i386"), 0x824_0008),
            (Some("2.4.37"), Some("i686"), 0x824_0008),
            (Some("2.6.0"), Some("i686"), 0x4_0008),
            (Some("6.1"), Some("i686"), 0x4_0008),
            (Some("2.6.24"), None, 0x4_0000),
            (Some("2.6.25"), Some("x86_64"), 0),
        ] {
            let platform = at(level, arch);
            assert_eq!(platform.boot.personality, personality, "{level:?} {arch:?}");
            assert_eq!(platform.world.personality, personality);
        }
    }

    #[test]
    fn nofile_is_as_programs_of_the_time_can_bear() {
        assert_eq!(at(Some("2.6.39"), None).boot.nofile, Some((1024, 4096)));
        for level in ["3.0", "4.18"] {
            assert_eq!(at(Some(level), None).boot.nofile, Some((1024, 524_288)));
        }
        assert_eq!(at(Some("5.0"), None).boot.nofile, None);
        assert_eq!(at(None, None).boot.nofile, None);
    }

    #[test]
    fn files_tell_what_uname_tells() {
        let platform = at(Some("2.6.18-398.el5"), None);
        let file = |path: &str| {
            let found = platform.boot.files.iter().find(|(at, _)| at == path);
            String::from_utf8(found.unwrap().1.clone()).unwrap()
        };
        let version = "#1 SMP Wed Sep 20 00:00:00 UTC 2006";
        assert_eq!(platform.world.version, version);
        assert_eq!(file("sys/kernel/osrelease"), "2.6.18-398.el5\n");
        assert_eq!(file("sys/kernel/version"), format!("{version}\n"));
        assert_eq!(file("sys/kernel/ostype"), "Linux\n");
        assert_eq!(
            file("version"),
            format!("Linux version 2.6.18-398.el5 (root@localhost) (gcc version 4.1.2) {version}\n")
        );
        assert_eq!(file("cmdline"), format!("{LACKS} root=/dev/zone ro\n"));
    }

    #[test]
    fn without_a_level_only_the_command_line_differs_from_the_host() {
        let platform = at(None, None);
        assert_eq!(platform.world.release, "6.18.2-host");
        assert_eq!(platform.world.version, "#7 SMP");
        let paths: Vec<_> = platform.boot.files.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(paths, ["cmdline"]);
    }
}
