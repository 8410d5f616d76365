//! Single entries, most of them hostile.

use super::*;

#[test]
fn names_that_leave_the_root_are_refused() {
    for name in [&b"../x"[..], b"a/../../x", b"..", b"/../x", b"a/.."] {
        let said = refusal(Tar::root().add(name, b'0', b"", b"x"));
        assert!(said.contains("leads outside the root") && said.contains("entry"), "{said}");
    }
    let said = refusal(Tar::root().add(b"in", b'1', b"../../sentinel", b""));
    assert_eq!(said, "entry in: what it links to leads outside the root by ..");
}

#[test]
fn links_are_kept_and_lead_nowhere_outside() {
    let place = Place::new();
    let outside = place.outer.path().as_os_str().as_bytes();
    let tar = Tar::root()
        .add(b"abs", b'2', outside, b"")
        .add(b"up", b'2', b"../..", b"")
        .add(b"etc/mtab", b'2', b"/proc/self/mounts", b"")
        .add(b"up/sentinel", b'0', b"", b"inside")
        .add(b"lib", b'5', b"", b"")
        .add(b"lib64", b'2', b"/lib", b"")
        .add(b"lib64/libc.so", b'0', b"", b"libc");
    place.install(tar.end()).unwrap();
    assert_eq!(fs::read_link(place.root().join("abs")).unwrap().as_os_str().as_bytes(), outside);
    assert_eq!(fs::read_link(place.root().join("etc/mtab")).unwrap(), PathBuf::from("/proc/self/mounts"));
    assert_eq!(place.text("sentinel"), "inside");
    assert_eq!(place.text("lib/libc.so"), "libc");
}

#[test]
fn writing_through_a_link_is_not_possible() {
    let place = Place::new();
    let sentinel = place.outer.path().join("sentinel");
    let tar = Tar::root()
        .add(b"f", b'2', sentinel.as_os_str().as_bytes(), b"")
        .add(b"f", b'0', b"", b"mine")
        .add(b"g", b'2', sentinel.as_os_str().as_bytes(), b"")
        .add(b"g", b'5', b"", b"");
    place.install(tar.end()).unwrap();
    assert_eq!(place.text("f"), "mine");
    assert!(fs::symlink_metadata(place.root().join("g")).unwrap().is_dir());
    // Through a link to a folder of the host: found inside the root, where there is none.
    let said = refusal(Tar::root().add(b"d", b'2', b"/etc/apt", b"").add(b"d/x", b'0', b"", b"x"));
    assert_eq!(said, "entry d/x: a link on its way leads nowhere");
    let said = refusal(
        Tar::root().add(b"a", b'2', b"b", b"").add(b"b", b'2', b"a", b"").add(b"a/x", b'0', b"", b""),
    );
    assert!(said.contains("in a circle"), "{said}");
    let said = refusal(Tar::root().add(b"bin/sh/x", b'0', b"", b""));
    assert!(said.contains("is no folder"), "{said}");
}

#[test]
fn hard_links_stay_inside() {
    let place = Place::new();
    let tar = Tar::root()
        .add(b"a", b'0', b"", b"text")
        .add(b"b", b'1', b"a", b"")
        .add(b"c", b'1', b"/a", b"")
        .add(b"d/e", b'1', b"./a", b"")
        .add(b"a", b'1', b"a", b"");
    let installed = place.install(tar.end()).unwrap();
    assert_eq!(fs::metadata(place.root().join("a")).unwrap().nlink(), 4);
    assert!(
        installed.notes.iter().any(|note| note.starts_with("1 name began with /")),
        "{:?}",
        installed.notes
    );
    let said = refusal(Tar::root().add(b"p", b'1', b"/etc/passwd", b""));
    assert_eq!(said, "entry p: it links to etc/passwd, which is not there");
    // By a link of the archive's own the way is found inside the root too.
    let said = refusal(Tar::root().add(b"e", b'2', b"/etc", b"").add(b"p", b'1', b"e/passwd", b""));
    assert!(said.contains("which is not there"), "{said}");
    assert!(refusal(Tar::root().add(b"l", b'1', b"bin", b"")).contains("hard link to a folder"));
}

#[test]
fn absolute_names_are_taken_as_beneath() {
    let place = Place::new();
    let installed = place.install(Tar::root().add(b"/etc/issue", b'0', b"", b"hi").end()).unwrap();
    assert_eq!(place.text("etc/issue"), "hi");
    assert_eq!(installed.notes, ["1 name began with /: taken as beneath the zone's root"]);
}

#[test]
fn device_nodes_are_left_out_and_counted() {
    let place = Place::new();
    let mut tar = Tar::root();
    for n in 0..7 {
        tar = tar.add(format!("dev/tty{n}").as_bytes(), if n % 2 == 0 { b'3' } else { b'4' }, b"", b"");
    }
    let tar = tar.add(b"dev/tty", b'1', b"dev/tty0", b"").add(b"dev/initctl", b'6', b"", b"");
    let installed = place.install(tar.end()).unwrap();
    assert_eq!(installed.notes, ["8 device nodes left out: the zone's /dev has its own"]);
    let dev: Vec<_> = fs::read_dir(place.root().join("dev")).unwrap().map(Result::unwrap).collect();
    assert!(dev.len() == 1 && dev[0].file_type().unwrap().is_fifo());
}

#[test]
fn owners_outside_a_zone_are_refused() {
    let place = Place::new();
    place.install(Tar::root().owned(b"most", 65535, 65534).end()).unwrap();
    let most = fs::metadata(place.root().join("most")).unwrap();
    assert_eq!((most.uid(), most.gid()), (65535, 65534));
    let said = refusal(Tar::root().owned(b"home/u", 70000, 0));
    assert_eq!(said, "entry home/u: its owner 70000 is outside 0 to 65535, the ids of a zone");
    assert!(refusal(Tar::root().owned(b"u", 0, 65536)).contains("65536"));
    assert!(refusal(Tar::root().owned(b"u", u64::MAX >> 8, 0)).contains("outside 0 to 65535"));
    assert!(refusal(Tar::root().pax(&[("uid", b"4294967296")]).owned(b"u", 0, 0)).contains("4294967296"));
}

#[test]
fn later_entries_win() {
    let place = Place::new();
    let tar = Tar::root()
        .add(b"a", b'0', b"", b"first")
        .add(b"b", b'1', b"a", b"")
        .add(b"a", b'0', b"", b"second")
        .add(b"d/deep/x", b'0', b"", b"x")
        .add(b"d", b'0', b"", b"file now")
        .add(b"e", b'0', b"", b"e")
        .add(b"e/", b'5', b"", b"")
        .add(b"e/x", b'0', b"", b"in e")
        .add(b"f", b'6', b"", b"")
        .add(b"f", b'2', b"a", b"");
    place.install(tar.end()).unwrap();
    assert_eq!(place.text("a"), "second");
    // What had the other name keeps what it had: the file is replaced, not written over.
    assert_eq!(place.text("b"), "first");
    assert_eq!(place.text("d"), "file now");
    assert_eq!(place.text("e/x"), "in e");
    assert_eq!(fs::read_link(place.root().join("f")).unwrap(), PathBuf::from("a"));
}

#[test]
fn odd_names_are_kept_and_impossible_ones_refused() {
    let place = Place::new();
    let long = vec![b'n'; 255];
    let tar = Tar::root()
        .add(b"new\nline", b'0', b"", b"1")
        .add(b"\xff\xfe", b'0', b"", b"2")
        .add(&long, b'0', b"", b"3")
        .add(b".//./a//b/./c", b'0', b"", b"4")
        .add(b"l", b'2', &[b"x/".repeat(1000), b"y".to_vec()].concat(), b"");
    place.install(tar.end()).unwrap();
    for name in [&b"new\nline"[..], b"\xff\xfe", &long, b"a/b/c"] {
        assert!(place.root().join(std::ffi::OsStr::from_bytes(name)).is_file());
    }
    assert!(refusal(Tar::root().add(&b"d/".repeat(5000), b'5', b"", b"")).contains("longer than 4095 bytes"));
    assert!(refusal(Tar::root().add(&[b'n'; 256], b'0', b"", b"")).contains("longer than 255 bytes"));
    assert!(refusal(Tar::root().add(b"", b'0', b"", b"")).contains("no name"));
    assert!(refusal(Tar::root().pax(&[("path", b"a\0b")]).add(b"x", b'0', b"", b"")).contains("zero byte"));
    assert!(refusal(Tar::root().add(b".", b'0', b"", b"")).contains("only a folder"));
    assert!(refusal(Tar::root().add(b"x", b'2', b"", b"")).contains("says no name"));
}

/// By links an archive of short names makes a tree that no path reaches the end of.
#[test]
fn deep_trees_can_be_made_and_removed() {
    let place = Place::new();
    let step = b"d/".repeat(1000);
    let mut tar = Tar::root().add(&step, b'5', b"", b"").add(b"l1", b'2', &step, b"");
    for n in 1..5 {
        tar = tar.add(&[format!("l{n}/").as_bytes(), &step].concat(), b'5', b"", b"");
        tar = tar.add(
            format!("l{}", n + 1).as_bytes(),
            b'2',
            &[format!("l{n}/").as_bytes(), &step].concat(),
            b"",
        );
    }
    place.install(tar.end()).unwrap();
    let copy = Place::new();
    install(&Source::Dir(place.root()), &copy.root(), None, None, &|_| ()).unwrap();
    empty(&place.root()).unwrap();
    remove(&copy.root()).unwrap();
    assert!(place.root().exists() && !copy.root().exists());
}

#[test]
fn attributes_come_along() {
    let place = Place::new();
    let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let mut setuid = Tar::header(b"bin/su", b'0', b"", 0);
    setuid.set_mode(0o104755);
    setuid.set_uid(0);
    setuid.set_gid(42);
    setuid.set_cksum();
    let mut folder = Tar::header(b"tmp", b'5', b"", 0);
    folder.set_mode(0o1777);
    folder.set_cksum();
    let tar = Tar::root()
        .put(&folder, b"")
        .add(b"tmp/later", b'0', b"", b"")
        .put(&setuid, b"")
        .pax(&[
            ("mtime", b"-1.5"),
            ("SCHILY.xattr.user.mime", b"a\nb"),
            ("SCHILY.xattr.security.capability", capability),
            ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
            ("SCHILY.xattr.user.overlay.opaque", b"y"),
            ("SCHILY.acl.access", b"user::rwx"),
        ])
        .add(b"bin/ping", b'0', b"", b"ping");
    let installed = place.install(tar.end()).unwrap();
    let stat = |path: &str| fs::symlink_metadata(place.root().join(path)).unwrap();
    assert_eq!((stat("bin/su").mode() & 0o7777, stat("bin/su").gid()), (0o4755, 42));
    assert_eq!((stat("tmp").mode() & 0o7777, stat("tmp").mtime()), (0o1777, 1_000_000_000));
    assert_eq!((stat("bin/ping").mtime(), stat("bin/ping").mtime_nsec()), (-2, 500_000_000));
    // Folders that only follow from a name, and the root itself, are everybody's to enter.
    assert_eq!((stat("bin").mode() & 0o7777, stat("").mode() & 0o7777), (0o755, 0o755));
    let ping = place.root().join("bin/ping");
    let mut value = [0; 64];
    let read = rustix::fs::getxattr(&ping, "security.capability", &mut value);
    assert_eq!(read.map(|n| value[..n].to_vec()), Ok(capability.to_vec()));
    let user = rustix::fs::getxattr(&ping, "user.mime", &mut value).is_ok();
    rustix::fs::getxattr(&ping, "trusted.overlay.opaque", &mut value).unwrap_err();
    rustix::fs::getxattr(&ping, "user.overlay.opaque", &mut value).unwrap_err();
    let refused = if user { "2 extended attributes" } else { "3 extended attributes" };
    assert!(installed.notes[0].starts_with(refused), "{:?}", installed.notes);
    assert!(installed.notes[1].starts_with("1 access control list"), "{:?}", installed.notes);
}

#[test]
fn sparse_files_of_every_kind_have_their_holes() {
    let place = Place::new();
    let data = [[b'a'; 512], [b'b'; 512]].concat();
    let mut old = Tar::header(b"old", b'S', b"", 1024);
    {
        let gnu = old.as_gnu_mut().unwrap();
        gnu.set_real_size(1 << 20);
        for (piece, (at, len)) in gnu.sparse.iter_mut().zip([(4096, 512), (65536, 512), (1 << 20, 0)]) {
            piece.set_offset(at);
            piece.set_length(len);
        }
    }
    old.set_cksum();
    let mut map = b"2\n4096\n512\n65536\n512\n".to_vec();
    map.resize(512, 0);
    let tar = Tar::root()
        .put(&old, &data)
        .pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", b"one"),
            ("GNU.sparse.realsize", b"1048576"),
        ])
        .add(b"GNUSparseFile.0/one", b'0', b"", &[map, data.clone()].concat())
        .pax(&[
            ("GNU.sparse.size", b"1048576"),
            ("GNU.sparse.name", b"nought"),
            ("GNU.sparse.map", b"4096,512,65536,512"),
        ])
        .add(b"x", b'0', b"", &data)
        .add(b"zeros", b'0', b"", &vec![0; 1 << 20]);
    place.install(tar.end()).unwrap();
    for name in ["old", "one", "nought", "zeros"] {
        let bytes = fs::read(place.root().join(name)).unwrap();
        assert_eq!(bytes.len(), 1 << 20, "{name}");
        if name != "zeros" {
            assert!(bytes[4096..4608] == data[..512] && bytes[65536..66048] == data[512..], "{name}");
        }
        let blocks = fs::metadata(place.root().join(name)).unwrap().blocks();
        assert!(blocks <= 64, "{name} has {blocks} blocks");
    }
    let said = refusal(Tar::root().pax(&[("GNU.sparse.size", b"10"), ("GNU.sparse.map", b"4096,512")]).add(
        b"x",
        b'0',
        b"",
        &data[..512],
    ));
    assert!(said.contains("damaged after bin/sh: the map"), "{said}");
}

#[test]
fn a_root_is_open_to_its_users() {
    let place = Place::new();
    let mut root = Tar::header(b"./", b'5', b"", 0);
    root.set_mode(0o700);
    root.set_cksum();
    let installed = place.install(Tar::root().put(&root, b"").end()).unwrap();
    assert_eq!(fs::metadata(place.root()).unwrap().mode() & 0o7777, 0o755);
    assert_eq!(installed.notes, ["the root folder had mode 0700, and was opened to all: 0755"]);
}
