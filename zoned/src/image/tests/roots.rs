//! Whole roots: their programs, real guests, copies, a full disk, a Debian.

use super::*;

#[test]
fn a_root_is_known_by_its_programs() {
    let one = |program: &[u8]| Tar::default().add(b"bin/sh", b'0', b"", program).end();
    assert_eq!(Place::new().install(one(I386)).unwrap().arch, "i686");
    assert_eq!(Place::new().install_as(one(X86_64), Some("x86_64")).unwrap().arch, "x86_64");
    let error = Place::new().install_as(one(X86_64), Some("i686")).unwrap_err();
    assert_eq!(error.to_string(), "its programs are for x86_64, and the zone's arch is i686");
    let error = Place::new().install(one(AARCH64)).unwrap_err();
    assert_eq!(error.to_string(), "its programs are for aarch64, and this host runs i686 and x86_64");
    let error = Place::new().install(one(b"just text")).unwrap_err();
    assert_eq!(error.to_string(), "no program found in it: is this a root file system?");
    // A 64-bit root with some 32-bit programs can be a zone of either.
    let both = Tar::default().add(b"bin/sh", b'0', b"", X86_64).add(b"usr/bin/old", b'0', b"", I386).end();
    assert_eq!(Place::new().install_as(both.clone(), Some("i686")).unwrap().arch, "i686");
    assert_eq!(Place::new().install(both).unwrap().arch, "x86_64");
    let lone = Tar::default().add(b"srv/app/hello", b'0', b"", X86_64).end();
    assert_eq!(Place::new().install(lone).unwrap().arch, "x86_64");
}

#[test]
fn programs_are_found_as_execve_finds_them() {
    let place = Place::new();
    let tar = Tar::root()
        .add(b"bin/x", b'2', b"/bin/busybox", b"")
        .add(b"bin/busybox", b'0', b"", X86_64)
        .add(b"bin/script", b'0', b"", b"#! /bin/x -e\ntrue\n")
        .add(b"bin/loop", b'0', b"", b"#!/bin/loop\n")
        .add(b"bin/lost", b'0', b"", b"#!/usr/bin/perl\n")
        .add(b"bin/aout", b'0', b"", b"\x0b\x01\x64\0")
        .add(b"bin/empty", b'0', b"", b"")
        .add(b"bin/away", b'2', b"/usr/bin/env", b"");
    place.install(tar.end()).unwrap();
    fs::write(place.root().join("bin/data"), X86_64).unwrap();
    fs::set_permissions(place.root().join("bin/data"), fs::Permissions::from_mode(0o644)).unwrap();
    let arch = |path: &str| program_arch(&place.root(), Path::new(path));
    assert_eq!(arch("/bin/sh").unwrap(), Machine::I686);
    assert_eq!(arch("/bin/x").unwrap(), Machine::X86_64);
    assert_eq!(arch("/bin/script").unwrap(), Machine::X86_64);
    let error = |path| arch(path).unwrap_err();
    // The host has it; the root has not.
    assert_eq!(
        (error("/bin/away").status(), error("/bin/away").to_string()),
        (127, "/bin/away is not there".into())
    );
    assert_eq!(error("/bin/lost").to_string(), "/bin/lost is to be run by /usr/bin/perl, which is not there");
    for path in ["/bin/loop", "/bin/aout", "/bin/empty", "/bin/data", "/bin"] {
        assert_eq!(error(path).status(), 126, "{}", error(path));
    }
}

#[test]
fn a_root_that_is_not_empty_is_left_alone() {
    let place = Place::new();
    fs::create_dir(place.root()).unwrap();
    fs::write(place.root().join("mine"), "").unwrap();
    let error = place.install(Tar::root().end()).unwrap_err();
    assert!(matches!(error, ImageError::NotEmpty { .. }));
    assert!(place.root().join("mine").exists());
}

/// Every path with all that a copy should keep.
fn listing(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for path in fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).chain([dir.clone()]) {
            let stat = fs::symlink_metadata(&path).unwrap();
            let content = match stat.file_type() {
                kind if kind.is_file() => format!("{:?}", fs::read(&path).unwrap()),
                kind if kind.is_symlink() => format!("{:?}", fs::read_link(&path).unwrap()),
                _ => String::new(),
            };
            let links = if stat.is_dir() { 0 } else { stat.nlink() };
            let mut value = [0; 256];
            let capability = rustix::fs::lgetxattr(&path, "security.capability", &mut value).unwrap_or(0);
            let line = format!(
                "{:o} {} {} {}.{} {links} {:?} {content}",
                stat.mode(),
                stat.uid(),
                stat.gid(),
                stat.mtime(),
                stat.mtime_nsec(),
                &value[..capability]
            );
            if stat.is_dir() && path != dir {
                dirs.push(path.clone());
            }
            found.insert(path.strip_prefix(root).unwrap().to_owned(), line);
        }
    }
    found
}

#[test]
fn guests_install_and_copies_of_them_are_the_same() {
    let guests: Vec<PathBuf> = match std::env::var_os("ZONES_GUESTS").map(fs::read_dir) {
        Some(Ok(dir)) => {
            dir.map(|entry| entry.unwrap().path()).filter(|p| p.to_string_lossy().contains(".tar")).collect()
        }
        _ => Vec::new(),
    };
    if guests.is_empty() {
        skipped("guests_install_and_copies_of_them_are_the_same", "ZONES_GUESTS names no archives");
    }
    for guest in guests {
        let place = Place::new();
        let told = Mutex::new(Vec::new());
        let tell = |progress| told.lock().unwrap().push(progress);
        let installed = install(&Source::Tar(guest.clone()), &place.root(), None, None, &tell).unwrap();
        eprintln!("{}: {installed:?}", guest.display());
        let told = told.into_inner().unwrap();
        let size = fs::metadata(&guest).unwrap().len();
        assert!(
            matches!(&told[0], Progress::Step { step, total: Some(n) } if step == "unpacking" && *n == size)
        );
        let copy = Place::new();
        let copied = install(&Source::Dir(place.root()), &copy.root(), None, None, &|_| ()).unwrap();
        assert_eq!((copied.arch, copied.notes), (installed.arch, vec![]));
        let (one, other) = (listing(&place.root()), listing(&copy.root()));
        assert_eq!(one.len(), other.len());
        for (path, line) in &one {
            assert_eq!(Some(line), other.get(path), "{}", path.display());
        }
    }
}

#[test]
fn copies_keep_odd_files_and_leave_out_what_is_the_hosts() {
    let place = Place::new();
    let from = tempfile::tempdir().unwrap();
    let path = |name: &str| from.path().join(name);
    fs::write(path("program"), X86_64).unwrap();
    fs::write(path("sparse"), "x").unwrap();
    fs::OpenOptions::new().write(true).open(path("sparse")).unwrap().set_len(1 << 30).unwrap();
    let listener = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        path("null"),
        rustix::fs::FileType::CharacterDevice,
        0o600.into(),
        0x103,
    )
    .unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, path("fifo"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", path("out")).unwrap();
    let installed =
        install(&Source::Dir(from.path().to_owned()), &place.root(), None, None, &|_| ()).unwrap();
    drop(listener);
    assert_eq!(installed.notes.len(), 2, "{:?}", installed.notes);
    let sparse = fs::metadata(place.root().join("sparse")).unwrap();
    assert!(sparse.len() == 1 << 30 && sparse.blocks() < 64);
    assert_eq!(fs::read_link(place.root().join("out")).unwrap(), PathBuf::from("/etc/passwd"));
    assert!(fs::metadata(place.root().join("fifo")).unwrap().file_type().is_fifo());
    assert!(!place.root().join("null").exists() && !place.root().join("socket").exists());
}

#[test]
fn a_folder_is_not_copied_into_itself() {
    let place = Place::new();
    fs::create_dir(place.root()).unwrap();
    for from in [place.outer.path().to_owned(), place.root(), PathBuf::from("/")] {
        let error = install(&Source::Dir(from), &place.root(), None, None, &|_| ()).unwrap_err();
        assert!(matches!(error, ImageError::Overlap { .. }), "{error}");
    }
    let error = install(&Source::Dir("/no/such".into()), &place.root(), None, None, &|_| ()).unwrap_err();
    assert_eq!(error.to_string(), "open /no/such");
}

/// In a mount namespace of its own, where `/small` of the folder given is a file system of 1 MiB.
#[test]
fn a_full_disk_is_told() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("small")).unwrap();
    let big = Tar::root().add(b"big", b'0', b"", &noise(4 << 20)).end();
    fs::write(dir.path().join("big.tar"), big).unwrap();
    let script = r#"mount -t tmpfs -o size=1m small "$1/small" && exec "$2" --exact image::tests::roots::full_disk_child --nocapture"#;
    let output = std::process::Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh"])
        .args([dir.path(), &std::env::current_exe().unwrap()])
        .env("ZONES_TEST_FULL", dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("no space left on the file system of ") && said.contains(" MiB more"), "{said}");
}

/// The part of `a_full_disk_is_told` that runs where the disk is small.
#[test]
fn full_disk_child() {
    let Some(dir) = std::env::var_os("ZONES_TEST_FULL").map(PathBuf::from) else { return };
    let root = dir.join("small/root");
    let from = dir.join("from");
    for source in [Source::Tar(dir.join("big.tar")), Source::Dir(from.clone())] {
        fs::create_dir_all(&from).unwrap();
        fs::write(from.join("big"), noise(4 << 20)).unwrap();
        let error = install(&source, &root, None, None, &|_| ()).unwrap_err();
        assert!(matches!(error, ImageError::NoSpace { .. }), "{error:?}");
        assert!(error.hint().is_some());
        eprintln!("{error}");
        empty(&root).unwrap();
    }
}

/// Takes half a minute and a mirror, which ZONES_TEST_MIRROR names.
#[test]
fn a_debian_root_is_made_and_the_host_is_left_as_it_was() {
    let mirror = std::env::var("ZONES_TEST_MIRROR").unwrap_or_default();
    if mirror.is_empty() || bootstrap_program().is_none() {
        skipped("a_debian_root_is_made", "no ZONES_TEST_MIRROR or no mmdebstrap");
        return;
    }
    let place = Place::new();
    // Others may mount and unmount meanwhile; what would be left of this stands in its folder.
    let mounts = || {
        let all = fs::read_to_string("/proc/self/mountinfo").unwrap();
        all.lines().filter(|line| line.contains(place.root().to_str().unwrap())).count()
    };
    let told = Mutex::new(Vec::new());
    let tell = |progress| told.lock().unwrap().push(progress);
    let source = format!("debootstrap:bullseye,arch=i386,variant=minbase,mirror={mirror}").parse().unwrap();
    let installed = install(&source, &place.root(), None, None, &tell).unwrap();
    place.check();
    assert_eq!((installed.arch, mounts()), ("i686", 0));
    assert!(installed.files > 5000 && installed.bytes > 100 << 20, "{installed:?}");
    assert!(!place.root().join("etc/resolv.conf").exists() && !place.root().join("etc/hostname").exists());
    assert_eq!(fs::metadata(place.root().join("etc/shadow")).unwrap().gid(), 42);
    let ended =
        |total: u64| Progress::Step { step: "installing essential packages".to_owned(), total: Some(total) };
    assert!(told.into_inner().unwrap().iter().any(|told| (20..200).any(|n| *told == ended(n))));
    let source = format!("debootstrap:nosuch,mirror={mirror}").parse().unwrap();
    let error = install(&source, &Place::new().root(), None, None, &|_| ()).unwrap_err();
    assert!(matches!(&error, ImageError::Bootstrap { said, .. } if said.contains("Release")), "{error}");
}
