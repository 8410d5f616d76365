//! Trees written as archives, read again by GNU tar, by libarchive's bsdtar and by ourselves.

use std::ffi::{CString, OsStr};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

use rustix::fs::{AtFlags, CWD, FileType, Timespec, Timestamps, XattrFlags};

use super::*;

fn write(root: &Path, form: Form) -> (Vec<u8>, Written) {
    write_from(root, form, 0).unwrap()
}

fn write_from(root: &Path, form: Form, ids_from: u32) -> Result<(Vec<u8>, Written), ImageError> {
    let (mut bytes, ticked) = (Vec::new(), std::cell::Cell::new(0));
    let tick = |more| ticked.set(ticked.get() + more);
    let written = write_tree(File::open(root).unwrap().as_fd(), form, ids_from, &mut bytes, &tick)?;
    assert_eq!((written.bytes, ticked.get()), (bytes.len() as u64, bytes.len() as u64));
    Ok((bytes, written))
}

/// Runs it with `bytes` as its input; what it said.
fn fed(command: &mut Command, bytes: &[u8]) -> Vec<u8> {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let bytes = bytes.to_vec();
    let feed = std::thread::spawn(move || stdin.write_all(&bytes));
    let output = child.wait_with_output().unwrap();
    feed.join().unwrap().unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

const READERS: [&str; 3] = ["tar", "bsdtar", "ours"];

/// Has `reader` unpack it; none where it is not installed.
fn read_by(reader: &str, bytes: &[u8]) -> Option<tempfile::TempDir> {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(reader);
    command.arg("-C").arg(dir.path()).env("LC_ALL", "C.UTF-8");
    match reader {
        "ours" => {
            let notes = read_upper("it", Cursor::new(bytes.to_vec()), dir.path(), &|_| ()).unwrap();
            assert!(notes.iter().all(|note| note.contains("device node")), "{notes:?}");
            return Some(dir);
        }
        "tar" => command.args([
            "--xattrs",
            "--xattrs-include=*",
            "--warning=no-timestamp",
            "--warning=no-unknown-keyword",
            "--numeric-owner",
            "-xpf",
            "-",
        ]),
        _ => command.args(["--numeric-owner", "-Pxpf", "-"]),
    };
    if Command::new(reader).arg("--version").output().is_err() {
        skipped("the archive writer", &format!("no {reader}"));
        return None;
    }
    fed(&mut command, bytes);
    Some(dir)
}

/// Every path with all that an archive should keep, and the blocks on disk of files.
fn listing(root: &Path) -> BTreeMap<PathBuf, (String, u64)> {
    let (mut found, mut dirs) = (BTreeMap::new(), vec![root.to_owned()]);
    let mut first: BTreeMap<u64, PathBuf> = BTreeMap::new();
    while let Some(dir) = dirs.pop() {
        let mut paths: Vec<PathBuf> =
            fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        for path in paths.into_iter().chain((dir == root).then(|| dir.clone())) {
            let stat = fs::symlink_metadata(&path).unwrap();
            let short = path.strip_prefix(root).unwrap().to_owned();
            let content = match stat.file_type() {
                kind if kind.is_file() && stat.len() < 1 << 20 => format!("{:?}", fs::read(&path).unwrap()),
                kind if kind.is_symlink() => format!("{:?}", fs::read_link(&path).unwrap()),
                _ => String::new(),
            };
            let same = first.entry(stat.ino()).or_insert(short.clone());
            let size = if stat.is_dir() { 0 } else { stat.len() };
            let line = format!(
                "{:o} {} {} {}.{} {:x} {size} {same:?} {:?} {content}",
                stat.mode(),
                stat.uid(),
                stat.gid(),
                stat.mtime(),
                stat.mtime_nsec(),
                stat.rdev(),
                xattrs(&path)
            );
            if stat.is_dir() && path != root {
                dirs.push(path.clone());
            }
            found.insert(short, (line, stat.blocks()));
        }
    }
    found
}

fn xattrs(path: &Path) -> Vec<(String, Vec<u8>)> {
    let (mut list, mut value) = ([0; 4096], [0; 4096]);
    let Ok(len) = rustix::fs::llistxattr(path, &mut list) else { return Vec::new() };
    let names = list[..len].split(|b| *b == 0).filter(|name| !name.is_empty());
    let mut all: Vec<_> = names
        .map(|name| {
            let len = rustix::fs::lgetxattr(path, CString::new(name).unwrap(), &mut value).unwrap();
            (String::from_utf8_lossy(name).into_owned(), value[..len].to_vec())
        })
        .collect();
    all.sort();
    all
}

fn set_xattr(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()).unwrap();
}

fn set_time(path: &Path, seconds: i64, nanos: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn node(path: &Path, kind: FileType, mode: u32, device: u64) {
    rustix::fs::mknodat(CWD, path, kind, mode.into(), device).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Each `(offset, bytes)` in a file of this size.
fn sparse(path: &Path, size: u64, pieces: &[(u64, &[u8])]) {
    use std::os::unix::fs::FileExt;
    let file = File::create(path).unwrap();
    file.set_len(size).unwrap();
    for (at, bytes) in pieces {
        file.write_all_at(bytes, *at).unwrap();
    }
}

/// cap_net_raw=ep, of version 2 (linux/capability.h).
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// An access list of version 2: the user `id` may read.
fn acl(id: u32) -> Vec<u8> {
    let entry = |tag: u16, may: u16, id: u32| {
        [&tag.to_le_bytes()[..], &may.to_le_bytes(), &id.to_le_bytes()].concat()
    };
    let none = u32::MAX;
    let entries =
        [entry(1, 6, none), entry(2, 4, id), entry(4, 4, none), entry(0x10, 4, none), entry(0x20, 0, none)];
    [&2u32.to_le_bytes()[..], &entries.concat()].concat()
}

/// One of everything.
fn zoo(root: &Path) {
    let path = |name: &str| root.join(name);
    fs::write(path("plain"), "content").unwrap();
    fs::write(path("empty"), "").unwrap();
    fs::create_dir(path("folder")).unwrap();
    fs::create_dir(path("folder.d")).unwrap();
    fs::write(path("folder/inside"), noise(3000)).unwrap();
    for name in ["plain", "folder/inside", "fifo", "link"] {
        if name == "fifo" {
            node(&path(name), FileType::Fifo, 0o640, 0);
        } else if name == "link" {
            std::os::unix::fs::symlink("/etc/passwd", path(name)).unwrap();
        }
        fs::hard_link(path(name), path(&format!("folder/again-{}", name.replace('/', "-")))).unwrap();
    }
    std::os::unix::fs::symlink("x".repeat(300), path("long-link")).unwrap();
    std::os::unix::fs::symlink("grüße", path("foreign-link")).unwrap();
    for name in ["grüße", "two\nlines", "a b", "100% =", "~"] {
        fs::write(path(name), name).unwrap();
    }
    fs::write(root.join(OsStr::from_bytes(b"not-\xff-utf8")), "x").unwrap();
    fs::write(path(&"n".repeat(255)), "long").unwrap();
    let deep = path(&["d".repeat(150), "e".repeat(150), "f".repeat(90)].join("/"));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("bottom"), "x").unwrap();
    node(&path("null"), FileType::CharacterDevice, 0o666, rustix::fs::makedev(1, 3));
    node(&path("loop"), FileType::BlockDevice, 0o660, rustix::fs::makedev(7, 300));
    fs::write(path("ping"), X86_64).unwrap();
    std::os::unix::fs::chown(path("ping"), Some(65535), Some(42)).unwrap();
    fs::set_permissions(path("ping"), fs::Permissions::from_mode(0o6755)).unwrap();
    set_xattr(&path("ping"), "security.capability", &CAPABILITY);
    set_xattr(&path("plain"), "user.binary", &[0, 10, 61, 255]);
    set_xattr(&path("folder"), "user.empty", b"");
    set_xattr(&path("folder.d"), "user.é", b"x");
    fs::set_permissions(path("folder.d"), fs::Permissions::from_mode(0o1777)).unwrap();
    let piece: &[u8] = &[7; 4096];
    sparse(&path("sparse-end"), 3 << 20, &[(0, piece)]);
    sparse(&path("sparse-begin"), (1 << 20) + 4096, &[(1 << 20, piece)]);
    sparse(&path("sparse-middle"), (9 << 30) + 5, &[(0, piece), (1 << 30, piece), (9 << 30, b"12345")]);
    sparse(&path("sparse-all"), 1 << 40, &[]);
    let times = [
        ("plain", 1, 0),
        ("empty", -1, 500_000_000),
        ("ping", 1_700_000_000, 123_456_789),
        ("link", 5, 6),
        ("fifo", -100, 0),
    ];
    for (name, seconds, nanos) in times {
        set_time(&path(name), seconds, nanos);
    }
    set_time(root, 1_600_000_000, 1);
}

#[test]
fn a_tree_comes_back_from_every_reader() {
    let dir = tempfile::tempdir().unwrap();
    zoo(dir.path());
    let listener = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
    set_time(dir.path(), 1_600_000_000, 1);
    let (bytes, written) = write(dir.path(), Form::Plain);
    assert_eq!(written.notes, ["1 socket left out: nothing listens there any more"]);
    assert!(bytes.len() < 1 << 20, "{}", bytes.len());
    drop(listener);
    fs::remove_file(dir.path().join("socket")).unwrap();
    set_time(dir.path(), 1_600_000_000, 1);
    let want = listing(dir.path());
    for reader in READERS {
        let Some(copy) = read_by(reader, &bytes) else { continue };
        let got = listing(copy.path());
        for (path, (line, blocks)) in &want {
            // bsdtar lets the folder be that it unpacks to, and takes -1.5 seconds for -0.5.
            if reader == "bsdtar" && (path == Path::new("") || path == Path::new("empty")) {
                continue;
            }
            // Zones have their own.
            if reader == "ours" && (path.ends_with("null") || path.ends_with("loop")) {
                assert!(!got.contains_key(path));
                continue;
            }
            let (other, taken) = &got[path];
            assert_eq!(line, other, "{reader}: {}", path.display());
            assert!(taken <= &(blocks + 16), "{reader}: {} has {taken} blocks", path.display());
        }
        let devices = if reader == "ours" { 2 } else { 0 };
        assert_eq!(got.len(), want.len() - devices, "{reader}");
    }
}

/// Files and folders of a random tree: a path, and what is there.
fn trees() -> impl Strategy<Value = Vec<(Vec<u8>, u8, u16, i64, u32)>> {
    let part = prop_oneof![
        4 => "[a-c]{1,2}".prop_map(String::into_bytes),
        1 => "[a-zé ./\n-]{1,120}".prop_map(|text| text.replace('/', "_").into_bytes()),
        1 => proptest::collection::vec(1u8..=255, 1..20)
            .prop_map(|bytes| bytes.into_iter().map(|b| if b == b'/' { b'x' } else { b }).collect()),
    ];
    let path = proptest::collection::vec(part, 1..5).prop_map(|parts| parts.join(&b'/'));
    let time = prop_oneof![0i64..2_000_000_000, -2_000_000_000..0i64, Just(9_000_000_000)];
    proptest::collection::vec((path, 0u8..6, 0u16..0o7777, time, 0u32..1_000_000_000), 0..30)
}

fn plant(root: &Path, tree: &[(Vec<u8>, u8, u16, i64, u32)]) {
    let mut last = None;
    for (name, kind, mode, seconds, nanos) in tree {
        let path = root.join(OsStr::from_bytes(name));
        let parts = name.split(|b| *b == b'/');
        if parts.clone().any(|part| matches!(part, b"." | b"..")) || path.symlink_metadata().is_ok() {
            continue;
        }
        if fs::create_dir_all(path.parent().unwrap()).is_err() {
            continue;
        }
        match kind {
            0 => fs::create_dir(&path).unwrap(),
            1 => std::os::unix::fs::symlink(OsStr::from_bytes(name), &path).unwrap(),
            2 => node(&path, FileType::Fifo, 0o600, 0),
            3 if last.is_some() => fs::hard_link(last.as_ref().unwrap(), &path).unwrap(),
            4 => sparse(&path, 1 << 20, &[(u64::from(*mode) << 8, b"data")]),
            _ => fs::write(&path, noise(usize::from(*mode))).unwrap(),
        }
        if *kind != 1 {
            std::os::unix::fs::lchown(&path, Some(u32::from(*mode)), Some(*nanos % 65536)).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(u32::from(*mode))).unwrap();
        }
        // Readers disagree on fractions before 1970.
        set_time(&path, *seconds, if *seconds < 0 { 0 } else { i64::from(*nanos) });
        if *kind != 0 && *kind != 1 {
            last = Some(path);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn random_trees_come_back(tree in trees()) {
        let dir = tempfile::tempdir().unwrap();
        plant(dir.path(), &tree);
        let (bytes, written) = write(dir.path(), Form::Upper);
        prop_assert_eq!(&written.notes, &Vec::<String>::new());
        let lines = |root: &Path| -> Vec<(PathBuf, String)> {
            let all = listing(root).into_iter().filter(|(path, _)| path != Path::new(""));
            all.map(|(path, (line, _))| (path, line)).collect()
        };
        for reader in READERS {
            let Some(copy) = read_by(reader, &bytes) else { continue };
            prop_assert_eq!(lines(dir.path()), lines(copy.path()), "{}", reader);
            // And written again it is the same archive, but for what holes are where.
            if reader != "bsdtar" && !tree.iter().any(|(_, kind, ..)| *kind == 4) {
                prop_assert!(write(copy.path(), Form::Upper).0 == bytes);
            }
        }
    }
}

#[test]
fn the_same_tree_is_the_same_archive_in_whatever_order_it_was_made() {
    let archives = [false, true].map(|turned| {
        let dir = tempfile::tempdir().unwrap();
        let mut names: Vec<String> = (0..500).map(|n| format!("{:x}", n * 7919 % 10007)).collect();
        if turned {
            names.reverse();
        }
        for name in names {
            sparse(&dir.path().join(&name), 100_000, if turned { &[(0, &[0; 100_000])] } else { &[] });
            set_time(&dir.path().join(&name), 1, 2);
        }
        set_time(dir.path(), 3, 4);
        write(dir.path(), Form::Layer).0
    });
    assert!(archives[0] == archives[1]);
    assert!(archives[0].len() > 500 * 100_000);
}

/// Names of entries, by bsdtar.
fn names(bytes: &[u8]) -> Vec<String> {
    let said = fed(Command::new("bsdtar").args(["-tf", "-"]).env("LC_ALL", "C.UTF-8"), bytes);
    String::from_utf8(said).unwrap().lines().map(str::to_owned).collect()
}

/// The upper folder of an overlay that things were removed and replaced in, as the kernel left it.
fn upper() -> Option<tempfile::TempDir> {
    let dir = tempfile::tempdir().unwrap();
    let script = r#"cd "$1" && mkdir lower upper work merged && cd lower &&
        mkdir -p kept replaced gone/deep && touch kept/gone kept/gone2 kept/file replaced/old gone/deep/x && cd .. &&
        mount -t overlay -o userxattr,lowerdir=lower,upperdir=upper,workdir=work overlay merged && cd merged &&
        rm kept/gone kept/gone2 && rm -r gone replaced && mkdir replaced && touch replaced/new &&
        setfattr -n user.mine -v yes kept && chmod 700 kept/file"#;
    let status =
        Command::new("unshare").args(["--mount", "sh", "-ec", script, "sh"]).arg(dir.path()).status();
    if !status.is_ok_and(|status| status.success()) {
        skipped("layers of an overlay", "no unshare, no setfattr or no overlayfs with userxattr here");
        return None;
    }
    Some(dir)
}

#[test]
fn what_overlayfs_marks_is_said_as_layers_of_images_say_it() {
    let Some(dir) = upper() else { return };
    let upper = dir.path().join("upper");
    let (bytes, written) = write(&upper, Form::Layer);
    assert_eq!(written.notes, Vec::<String>::new());
    let want = [
        "./",
        ".wh.gone",
        "kept/",
        "kept/file",
        "kept/.wh.gone",
        "kept/.wh.gone2",
        "replaced/",
        "replaced/.wh..wh..opq",
        "replaced/new",
    ];
    assert_eq!(names(&bytes), want);
    let Some(copy) = read_by("tar", &bytes) else { return };
    assert_eq!(xattrs(&copy.path().join("replaced")), []);
    assert_eq!(xattrs(&copy.path().join("kept")), [("user.mine".to_owned(), b"yes".to_vec())]);
    let gone = fs::metadata(copy.path().join("kept/.wh.gone")).unwrap();
    assert!(gone.is_file() && gone.len() == 0 && gone.nlink() == 1);
}

#[test]
fn another_zoned_gets_the_marks_themselves() {
    let Some(dir) = upper() else { return };
    let upper = dir.path().join("upper");
    // As a guest's own overlay leaves it inside of ours.
    set_xattr(&upper.join("kept"), "user.overlay.overlay.opaque", b"y");
    let (bytes, _) = write(&upper, Form::Upper);
    let copy = read_by("ours", &bytes).unwrap();
    let gone = fs::symlink_metadata(copy.path().join("kept/gone")).unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    assert_eq!(xattrs(&copy.path().join("replaced")), [("user.overlay.opaque".to_owned(), b"y".to_vec())]);
    assert_eq!(
        xattrs(&copy.path().join("kept")),
        [
            ("user.mine".to_owned(), b"yes".to_vec()),
            ("user.overlay.overlay.opaque".to_owned(), b"y".to_vec())
        ]
    );
    assert!(write(copy.path(), Form::Upper).0 == bytes);
    // An ordinary archive must not bring such.
    let place = Place::new();
    let root = Tar(bytes[..bytes.len() - 1024].to_vec()).add(b"bin/sh", b'0', b"", I386).end();
    place.install(root).unwrap();
    assert!(!place.root().join("kept/gone").exists());
    assert_eq!(xattrs(&place.root().join("replaced")), []);
}

#[test]
fn what_a_layer_cannot_say_is_refused_or_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path(".wh.etc"), "").unwrap();
    fs::create_dir(path(".wh..wh..opq")).unwrap();
    fs::write(path(".wh..wh..opq/x"), "").unwrap();
    let (bytes, written) = write(dir.path(), Form::Layer);
    assert_eq!(written.notes, ["2 files left out, whose name begins with .wh. as whiteouts of layers do"]);
    assert_eq!(names(&bytes), ["./"]);
    assert_eq!(write(dir.path(), Form::Upper).1.notes, Vec::<String>::new());
    sparse(&path("hole"), 100 << 30, &[]);
    let error = write_from(dir.path(), Form::Layer, 0).unwrap_err().to_string();
    assert!(error.contains("hole") && error.contains("64 GiB"), "{error}");
    fs::remove_file(path("hole")).unwrap();
    fs::create_dir(path("moved")).unwrap();
    set_xattr(&path("moved"), "user.overlay.redirect", b"elsewhere");
    for form in [Form::Layer, Form::Upper] {
        let error = write_from(dir.path(), form, 0).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("moved") && error.contains("redirect"), "{error}");
    }
    // Outside of overlays it means nothing.
    assert_eq!(write(dir.path(), Form::Plain).1.notes.len(), 1);
}

#[test]
fn ids_are_shifted_in_all_places_that_have_them() {
    const FROM: u32 = 1 << 30;
    let (dir, plain) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for (root, from) in [(dir.path(), FROM), (plain.path(), 0)] {
        let file = root.join("file");
        fs::write(&file, "x").unwrap();
        std::os::unix::fs::chown(&file, Some(from + 7), Some(from + 65535)).unwrap();
        std::os::unix::fs::chown(root, Some(from), Some(from)).unwrap();
        set_xattr(&file, "system.posix_acl_access", &acl(from + 5));
        let mut capability = CAPABILITY.to_vec();
        if from != 0 {
            capability[3] = 3;
            capability.extend_from_slice(&from.to_le_bytes());
        }
        set_xattr(&file, "security.capability", &capability);
        set_time(&file, 1, 0);
        set_time(root, 1, 0);
    }
    let (bytes, _) = write_from(dir.path(), Form::Layer, FROM).unwrap();
    assert!(bytes == write(plain.path(), Form::Layer).0);
    let error = write_from(plain.path(), Form::Layer, FROM).unwrap_err();
    assert!(matches!(error, ImageError::IdOutside { .. }), "{error}");
}

#[test]
fn depth_is_no_matter() {
    let dir = tempfile::tempdir().unwrap();
    let mut here: std::os::fd::OwnedFd = File::open(dir.path()).unwrap().into();
    for _ in 0..10_000 {
        rustix::fs::mkdirat(&here, "d", rustix::fs::Mode::RWXU).unwrap();
        here = tree::open_folder(here.as_fd(), c"d", false).unwrap();
    }
    fs::write(dir.path().join("last"), "x").unwrap();
    let (bytes, written) = write(dir.path(), Form::Upper);
    assert_eq!(written.notes, ["1 file left out, whose path is too long for any program to name"]);
    let copy = read_by("ours", &bytes).unwrap();
    assert!(copy.path().join("last").exists());
    drop(here);
    empty(dir.path()).unwrap();
    empty(copy.path()).unwrap();
}

/// Cuts a file off, or lets it grow, as soon as so much was written.
struct Meddler<'a> {
    bytes: Vec<u8>,
    path: &'a Path,
    len: u64,
}

impl Write for Meddler<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(buf);
        if self.bytes.len() > 300_000 {
            fs::OpenOptions::new().write(true).open(self.path).unwrap().set_len(self.len).unwrap();
        }
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_file_that_changes_keeps_the_size_that_was_told() {
    for len in [1000, 3_000_000] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, noise(1_000_000)).unwrap();
        fs::write(dir.path().join("next"), "x").unwrap();
        let mut to = Meddler { bytes: Vec::new(), path: &path, len };
        let written =
            write_tree(File::open(dir.path()).unwrap().as_fd(), Form::Upper, 0, &mut to, &|_| ()).unwrap();
        assert_eq!(written.notes, ["1 file was written to while it was read"]);
        let copy = read_by("tar", &to.bytes).unwrap();
        assert_eq!(fs::metadata(copy.path().join("file")).unwrap().len(), 1_000_000);
        assert_eq!(fs::read_to_string(copy.path().join("next")).unwrap(), "x");
    }
}

#[test]
fn a_full_pipe_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (reader, mut writer) = io::pipe().unwrap();
    drop(reader);
    let error = write_tree(File::open(dir.path()).unwrap().as_fd(), Form::Plain, 0, &mut writer, &|_| ());
    assert_eq!(error.unwrap_err().to_string(), "write the archive");
}
