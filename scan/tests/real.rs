//! Scans of programs that other tool chains make, where these are installed, and of guests' archives, where
//! there are any.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use scan::{Kind, Linkage, Program, read, scan};

const C: &str =
    "#include <stdio.h>\n#include <string.h>\nint main(int n, char **v) { return puts(strerror(n)) < 0; }\n";

/// Builds a program by `words`, to which the source and the output are added; none, and it is said so, where the
/// compiler is not there.
fn built(name: &str, source: &str, words: &[&str]) -> Option<Program> {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join(name), dir.path().join("program"));
    fs::write(&from, source).unwrap();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).arg("-o").arg(&to).arg(&from);
    command.env("HOME", dir.path()).env("CGO_ENABLED", "0").current_dir(dir.path());
    let output = match command.output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("SKIPPED: {} is not installed", words[0]);
            return None;
        }
        output => output.unwrap(),
    };
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(program(&to))
}

fn program(path: &Path) -> Program {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    read(&fs::read(path).unwrap(), &name).unwrap()
}

fn libc_of(program: &Program) -> Option<&'static str> {
    program.libc.as_ref().map(|libc| libc.name)
}

#[test]
fn dietlibc() {
    let Some(found) = built("a.c", C, &["diet", "gcc"]) else { return };
    assert_eq!(
        (&found.abi[..], found.linkage, libc_of(&found)),
        ("amd64", Linkage::Static, Some("dietlibc"))
    );
    assert!(found.needed.is_empty() && found.interpreter.is_none() && found.kernel.is_none(), "{found:?}");
}

#[test]
fn musl() {
    let Some(found) = built("a.c", C, &["musl-gcc"]) else { return };
    assert_eq!((found.linkage, libc_of(&found)), (Linkage::Dynamic, Some("musl")));
    assert_eq!(found.interpreter.as_deref(), Some("/lib/ld-musl-x86_64.so.1"));
    assert_eq!(found.needed, ["libc.so"]);
    let found = built("a.c", C, &["musl-gcc", "-static"]).unwrap();
    assert_eq!((found.linkage, libc_of(&found)), (Linkage::Static, Some("musl")));
    let calls = found.calls.unwrap();
    // What its start and its stdio make in any case.
    for call in ["arch_prctl", "set_tid_address", "exit_group", "ioctl"] {
        assert!(calls.known.contains(call), "{call} not in {:?}", calls.known);
    }
}

#[test]
fn glibc_made_static() {
    let Some(found) = built("a.c", C, &["gcc", "-static"]) else { return };
    assert_eq!((found.linkage, libc_of(&found)), (Linkage::Static, Some("glibc")));
    assert!(found.kernel.is_some(), "glibc has an ABI tag");
    assert!(found.calls.unwrap().known.contains("exit_group"));
}

#[test]
fn go() {
    const SOURCE: &str = "package main\n\nfunc main() { println(\"hello\") }\n";
    let Some(found) = built("a.go", SOURCE, &["go", "build"]) else { return };
    assert_eq!((&found.abi[..], found.linkage, libc_of(&found)), ("amd64", Linkage::Static, Some("Go")));
    let told = Command::new("go").args(["env", "GOVERSION"]).env("HOME", "/tmp").output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    let version = found.libc.unwrap().version.unwrap();
    assert_eq!(format!("go{version}"), told.trim());
    let calls = found.calls.unwrap();
    for call in ["clone", "futex", "mmap", "rt_sigaction", "exit_group"] {
        assert!(calls.known.contains(call), "{call} not in {:?}", calls.known);
    }
}

#[test]
fn klibc() {
    let path = Path::new("/usr/lib/klibc/bin/cat");
    if !path.exists() {
        return eprintln!("SKIPPED: klibc-utils is not installed");
    }
    let found = program(path);
    assert_eq!((found.linkage, libc_of(&found)), (Linkage::Dynamic, Some("klibc")));
    assert!(found.needed.is_empty() && found.interpreter.unwrap().starts_with("/lib/klibc-"));
}

/// A 32-bit program as libc5's linker made it: elf.h, by hand.
fn libc5() -> Vec<u8> {
    const BASE: u32 = 0x0804_8000;
    const LOADER: &[u8] = b"/lib/ld-linux.so.1\0";
    const STRINGS: &[u8] = b"\0libc.so.5\0libm.so.5\0";
    let (loader, strings) = (52 + 3 * 32, 52 + 3 * 32 + LOADER.len() as u32);
    let dynamic = (strings + STRINGS.len() as u32).next_multiple_of(4);
    // DT_NEEDED, DT_NEEDED, DT_STRTAB, DT_STRSZ, DT_NULL
    let entries = [1, 1, 1, 11, 5, BASE + strings, 10, STRINGS.len() as u32, 0, 0];
    let end = dynamic + 4 * entries.len() as u32;
    let mut out = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let half = |out: &mut Vec<u8>, values: &[u16]| values.iter().for_each(|v| out.extend(v.to_le_bytes()));
    let word = |out: &mut Vec<u8>, values: &[u32]| values.iter().for_each(|v| out.extend(v.to_le_bytes()));
    half(&mut out, &[2, 3]);
    word(&mut out, &[1, BASE, 52, 0, 0]);
    half(&mut out, &[52, 32, 3, 0, 0, 0]);
    // PT_INTERP, PT_LOAD, PT_DYNAMIC
    word(
        &mut out,
        &[3, loader, BASE + loader, BASE + loader, LOADER.len() as u32, LOADER.len() as u32, 4, 1],
    );
    word(&mut out, &[1, 0, BASE, BASE, end, end, 5, 4096]);
    word(&mut out, &[2, dynamic, BASE + dynamic, BASE + dynamic, end - dynamic, end - dynamic, 6, 4]);
    out.extend_from_slice(LOADER);
    out.extend_from_slice(STRINGS);
    out.resize(dynamic as usize, 0);
    word(&mut out, &entries);
    out
}

#[test]
fn libc5_is_told_by_its_loader_and_its_names() {
    let found = read(&libc5(), "ls").unwrap();
    assert_eq!((&found.abi[..], found.linkage, libc_of(&found)), ("i386", Linkage::Dynamic, Some("libc5")));
    assert_eq!(found.interpreter.as_deref(), Some("/lib/ld-linux.so.1"));
    assert_eq!(found.needed, ["libc.so.5", "libm.so.5"]);
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("bin")).unwrap();
    fs::write(dir.path().join("bin/sh"), libc5()).unwrap();
    let report = scan(dir.path(), &mut |_| {}).unwrap();
    let level: brands::level::Level = report.fit.unwrap().kernel.split('-').next().unwrap().parse().unwrap();
    assert!(level < "2.4.0".parse().unwrap(), "{level}");
}

/// An archive of the folder that ZONES_GUESTS names.
fn guest(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var_os("ZONES_GUESTS")?).join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!("SKIPPED: there is no {}", path.display());
    None
}

#[test]
fn guests_of_uclibc() {
    for (name, abi, least) in [("buildroot-2014.tar", "amd64", 25), ("cirros-0.4-i386.tar.xz", "i386", 100)] {
        let Some(path) = guest(name) else { continue };
        let report = scan(&path, &mut |_| {}).unwrap();
        assert!(report.abis[abi] >= least && report.abis.len() == 1, "{name}: {:?}", report.abis);
        let text = format!("{report:?}");
        assert!(
            text.contains("uClibc") && !text.contains("\"glibc\"") && !text.contains("\"musl\""),
            "{name}"
        );
        assert_eq!(report.damaged.count, 0, "{name}");
    }
}

#[test]
fn a_file_alone_is_what_it_is_in_a_tree() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ls");
    fs::write(&file, libc5()).unwrap();
    let report = scan(&file, &mut |_| {}).unwrap();
    let Some(Kind::Elf(found)) = report.program else { panic!("{report:?}") };
    assert_eq!(*found, read(&libc5(), "ls").unwrap());
}
