//! Scans of real programs, of trees and archives made here, and of damaged files.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;

use scan::{Kind, Linkage, Program, read, scan};

fn own() -> Vec<u8> {
    fs::read("/bin/sh").unwrap()
}

fn libc() -> (Vec<u8>, Program) {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let path = maps.lines().find(|l| l.ends_with("libc.so.6")).unwrap().split_whitespace().last().unwrap();
    let bytes = fs::read(path).unwrap();
    let program = read(&bytes, "libc.so.6").unwrap();
    (bytes, program)
}

#[test]
fn a_program_of_this_host_is_understood() {
    let shell = read(&own(), "sh").unwrap();
    assert_eq!((&shell.abi[..], shell.linkage), ("amd64", Linkage::Dynamic));
    assert!(shell.interpreter.unwrap().ends_with("ld-linux-x86-64.so.2"));
    assert_eq!(shell.libc.unwrap().name, "glibc");
    assert!(shell.needed.contains(&"libc.so.6".to_owned()));
    assert!(shell.symbols["GLIBC"].level() >= "2.2.5".parse().unwrap(), "{:?}", shell.symbols);
    assert!(shell.kernel.unwrap().level() >= "2.6.0".parse().unwrap());
}

#[test]
fn a_c_library_says_its_version() {
    let (_, program) = libc();
    let found = program.libc.unwrap();
    let output = std::process::Command::new("getconf").arg("GNU_LIBC_VERSION").output().unwrap();
    let want = String::from_utf8(output.stdout).unwrap();
    assert_eq!(format!("glibc {}", found.version.unwrap()), want.trim());
    assert!(found.own && program.linkage == Linkage::Library);
}

#[test]
fn truncated_and_flipped_files_are_survived() {
    let bytes = own();
    for len in (0..2048).chain((2048..bytes.len()).step_by(4099)) {
        let _ = read(&bytes[..len], "sh");
    }
    let mut seed = 1u64;
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize
    };
    // The headers and the tables that they lead to are what is read with understanding.
    for round in 0..400 {
        let mut damaged = bytes.clone();
        for _ in 0..8 {
            let at = next() % if round % 2 == 0 { 1024 } else { damaged.len() };
            damaged[at] ^= 1 << (next() % 8);
        }
        let _ = read(&damaged, "libc.so.6");
    }
}

fn tree(root: &Path) {
    fs::create_dir_all(root.join("bin")).unwrap();
    fs::create_dir_all(root.join("etc")).unwrap();
    fs::write(root.join("bin/sh"), own()).unwrap();
    fs::write(root.join("bin/script"), "#!/bin/sh -e\n").unwrap();
    fs::write(root.join("bin/old"), [0x0b, 1, 100, 0, 0, 0, 0, 0]).unwrap();
    fs::write(root.join("bin/broken"), b"\x7fELF\x02\x01").unwrap();
    fs::write(root.join("etc/redhat-release"), "CentOS release 5.11 (Final)\n").unwrap();
    symlink("/usr", root.join("out")).unwrap();
    symlink("/bin/ls", root.join("bin/ls")).unwrap();
    symlink(".", root.join("loop")).unwrap();
}

fn check(report: &scan::Report) {
    assert_eq!((report.abis["amd64"], report.scripts, report.aout.count), (1, 1, 1), "{report:?}");
    assert_eq!((report.damaged.count, report.files), (1, 5));
    let fit = report.fit.as_ref().unwrap();
    assert_eq!((fit.distribution, &fit.kernel[..]), (Some("el5"), "2.6.18-398.el5"));
    assert_eq!(fit.by, "/etc/redhat-release (CentOS release 5.11 (Final))");
    assert!(report.lacks.iter().any(|lack| lack.what == "a.out programs"));
}

#[test]
fn a_root_is_past_the_vsyscall_page_by_its_c_library() {
    let dir = tempfile::tempdir().unwrap();
    let is_past = || scan::is_past_vsyscall(dir.path()).unwrap();
    assert!(!is_past(), "an empty root says nothing");
    fs::create_dir_all(dir.path().join("lib64")).unwrap();
    fs::create_dir_all(dir.path().join("lib")).unwrap();
    let (bytes, _) = libc();
    fs::write(dir.path().join("lib64/libc.so.6"), &bytes).unwrap();
    assert!(is_past());
    let at = bytes.windows(13).position(|w| w == b"GNU C Library").unwrap();
    let version = at + bytes[at..].windows(8).position(|w| w == b"version ").unwrap() + 8;
    let mut old = bytes;
    old[version..version + 4].copy_from_slice(b"2.12");
    fs::write(dir.path().join("lib/libc.so.6"), old).unwrap();
    assert!(!is_past(), "one of its libraries is old");
    assert!(scan::is_past_vsyscall(&dir.path().join("nothing")).is_err());
}

#[test]
fn a_tree_and_archives_of_it_come_to_the_same_and_links_are_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    tree(&root);
    let report = scan(&root, &mut |_| {}).unwrap();
    check(&report);
    assert_eq!(scan::fit(&root).unwrap().unwrap().kernel, "2.6.18-398.el5");

    let mut builder = tar::Builder::new(Vec::new());
    builder.follow_symlinks(false);
    builder.append_dir_all(".", &root).unwrap();
    let plain = builder.into_inner().unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 0);
    xz.write_all(&plain).unwrap();
    let zstd = zstd::encode_all(&plain[..], 1).unwrap();
    let file = dir.path().join("archive");
    for packed in [plain.clone(), gzip.finish().unwrap(), xz.finish().unwrap(), zstd] {
        fs::write(&file, &packed).unwrap();
        check(&scan(&file, &mut |_| {}).unwrap());
        fs::write(&file, &packed[..packed.len() / 2]).unwrap();
        assert!(scan(&file, &mut |_| {}).is_err(), "an archive that is cut off");
    }
}

#[test]
fn a_file_is_told_by_itself_and_nonsense_is_refused() {
    let report = scan(Path::new("/bin/sh"), &mut |_| {}).unwrap();
    assert!(matches!(report.program, Some(Kind::Elf(_))) && report.kind == "file");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x");
    for nonsense in ["", "hello", "\x7fELF"] {
        fs::write(&file, nonsense).unwrap();
        assert!(scan(&file, &mut |_| {}).is_err(), "{nonsense}");
    }
    assert!(scan(Path::new("/dev/zero"), &mut |_| {}).is_err());
    assert!(scan(Path::new("/no/such/file"), &mut |_| {}).is_err());
}
