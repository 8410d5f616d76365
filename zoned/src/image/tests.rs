//! Whole installs: hostile archives made here, guests that are real, and copies of them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::Mutex;

use proptest::prelude::*;

use super::*;

/// Enough of an ELF header to be an i386 program.
const I386: &[u8] = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x03\0\x01\0\0\0";
const X86_64: &[u8] = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0";
const AARCH64: &[u8] = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xb7\0\x01\0\0\0";

/// An archive in the making.
#[derive(Default, Clone)]
struct Tar(Vec<u8>);

impl Tar {
    /// With a program, so that it is a root.
    fn root() -> Self {
        Self::default().add(b"bin/sh", b'0', b"", I386)
    }

    fn header(name: &[u8], kind: u8, link: &[u8], len: u64) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        header.set_size(len);
        header.as_mut_bytes()[156] = kind;
        let (name, link) = (&name[..name.len().min(100)], &link[..link.len().min(100)]);
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link);
        header.set_cksum();
        header
    }

    fn put(mut self, header: &tar::Header, data: &[u8]) -> Self {
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn add(self, name: &[u8], kind: u8, link: &[u8], data: &[u8]) -> Self {
        let mut tar = self;
        for (long, text) in [(b'L', name), (b'K', link)] {
            if text.len() > 100 {
                let text = [text, b"\0"].concat();
                tar = tar.put(&Self::header(b"././@LongLink", long, b"", text.len() as u64), &text);
            }
        }
        tar.put(&Self::header(name, kind, link, data.len() as u64), data)
    }

    fn owned(self, name: &[u8], uid: u64, gid: u64) -> Self {
        let mut header = Self::header(name, b'0', b"", 0);
        header.set_uid(uid);
        header.set_gid(gid);
        header.set_cksum();
        self.put(&header, b"")
    }

    fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut data = Vec::new();
        for (key, value) in records {
            let rest = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
            let mut len = rest.len() + 1;
            while len.to_string().len() + rest.len() != len {
                len += 1;
            }
            data.extend_from_slice(len.to_string().as_bytes());
            data.extend_from_slice(&rest);
        }
        self.put(&Self::header(b"pax", b'x', b"", data.len() as u64), &data)
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

/// A folder in a folder, so that there is an outside to watch: it must stay empty but for `sentinel`.
struct Place {
    outer: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let outer = tempfile::tempdir().unwrap();
        fs::write(outer.path().join("sentinel"), "untouched").unwrap();
        fs::create_dir(outer.path().join("zone")).unwrap();
        Self { outer }
    }

    fn root(&self) -> PathBuf {
        self.outer.path().join("zone/root")
    }

    fn install(&self, bytes: Vec<u8>) -> Result<Installed, ImageError> {
        self.install_as(bytes, None)
    }

    fn install_as(&self, bytes: Vec<u8>, want: Option<&str>) -> Result<Installed, ImageError> {
        let result =
            install(&Source::Stream, &self.root(), Some(Box::new(Cursor::new(bytes))), want, &|_| ());
        self.check();
        result
    }

    fn check(&self) {
        assert_eq!(fs::read_to_string(self.outer.path().join("sentinel")).unwrap(), "untouched");
        let count = |dir: PathBuf| fs::read_dir(dir).unwrap().count();
        assert_eq!(count(self.outer.path().to_owned()), 2);
        assert_eq!(count(self.outer.path().join("zone")), 1);
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.root().join(path)).unwrap()
    }
}

/// The error that `tar` gives, as a sentence.
fn refusal(tar: Tar) -> String {
    refusal_of(tar.end())
}

fn refusal_of(bytes: Vec<u8>) -> String {
    Place::new().install(bytes).unwrap_err().to_string()
}

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
fn what_is_no_archive_is_told() {
    for (bytes, why) in [
        (vec![], "it is empty"),
        (vec![0; 10240], "it holds nothing"),
        (b"hello".to_vec(), "too short"),
        (vec![b'x'; 4096], "not a header"),
        (b"BZh91AY&SY".to_vec(), "bzip2"),
        (b"PK\x03\x04....".to_vec(), "zip"),
        (b"070701000".to_vec(), "cpio"),
    ] {
        let said = refusal_of(bytes);
        assert!(said.starts_with("the archive is not a tar archive: ") && said.contains(why), "{said}");
    }
    assert!(refusal_of(gzip(b"hello")).contains("too short"));
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut packed = liblzma::write::XzEncoder::new(Vec::new(), 1);
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

fn zst(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

fn noise(len: usize) -> Vec<u8> {
    let mut state = 1u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

#[test]
fn every_packing_is_unpacked_and_its_cut_noticed() {
    let tar = Tar::root().add(b"noise", b'0', b"", &noise(300_000)).add(b"last", b'0', b"", b"").end();
    let (front, back) = tar.split_at(100_000);
    let parts = |pack: fn(&[u8]) -> Vec<u8>| [pack(front), pack(back)].concat();
    for (name, packed) in
        [("plain", tar.clone()), ("gz", parts(gzip)), ("xz", parts(xz)), ("zst", parts(zst))]
    {
        let place = Place::new();
        place.install(packed.clone()).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(fs::read(place.root().join("noise")).unwrap(), noise(300_000), "{name}");
        for end in [600, 50_000, 100_100, 250_000, packed.len() - 3] {
            // The plain one's last bytes are zeros that say nothing more.
            if name == "plain" && end == packed.len() - 3 {
                continue;
            }
            let said = refusal_of(packed[..end].to_vec());
            assert!(said.contains("the archive is cut off"), "{name} at {end}: {said}");
        }
    }
    // Cut between two entries, plain: nothing but the missing end mark tells.
    assert_eq!(refusal_of(tar[..1024].to_vec()), "the archive is cut off after bin/sh");
    // Packed whole: the packing vouches for it.
    let installed = Place::new().install(gzip(&tar[..1024])).unwrap();
    assert_eq!(installed.notes, ["the archive has no end mark"]);
    // A bit that fell over after the last entry is noticed too.
    let mut bad = gzip(&tar);
    let at = bad.len() - 6;
    bad[at] ^= 1;
    assert!(matches!(Place::new().install(bad), Err(ImageError::Read { .. })));
}

#[test]
fn huge_sizes_are_no_trouble() {
    for size in [1u64 << 40, 1 << 59, 1 << 62, u64::MAX] {
        for kind in [b'0', b'5', b'L', b'x', b'S', b'V'] {
            let mut header = Tar::header(b"big", kind, b"", 0);
            header.set_size(size);
            header.set_cksum();
            let said = refusal(Tar::root().put(&header, b""));
            assert!(said.contains("cut off") || said.contains("damaged"), "{said}");
        }
    }
    let said = refusal(Tar::root().pax(&[("size", b"18446744073709551615")]).add(b"x", b'0', b"", b""));
    assert!(said.contains("beyond any disk"), "{said}");
}

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
        eprintln!("SKIPPED guests_install_and_copies_of_them_are_the_same: ZONES_GUESTS names no archives");
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
    let script = r#"mount -t tmpfs -o size=1m small "$1/small" && exec "$2" --exact image::tests::full_disk_child --nocapture"#;
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

fn any_archive() -> Vec<u8> {
    let mut sparse = Tar::header(b"holes", b'S', b"", 512);
    sparse.as_gnu_mut().unwrap().set_real_size(8192);
    sparse.as_gnu_mut().unwrap().sparse[0].set_offset(4096);
    sparse.as_gnu_mut().unwrap().sparse[0].set_length(512);
    sparse.set_cksum();
    Tar::root()
        .add(b"up", b'2', b"../../..", b"")
        .add(b"up/sentinel", b'0', b"", b"x")
        .add(b"hard", b'1', b"bin/sh", b"")
        .add(b"d/", b'5', b"", b"")
        .put(&sparse, &[7; 512])
        .pax(&[("path", b"sentinel"), ("uid", b"12"), ("SCHILY.xattr.user.a", b"b")])
        .add(b"p", b'0', b"", b"data")
        .add(&[b'l'; 200], b'2', &[b'm'; 200], b"")
        .end()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever bytes fall over, with checksums made right again: no panic, nothing outside.
    #[test]
    fn damaged_archives_do_no_harm(flips in prop::collection::vec((0usize..12_000, any::<u8>()), 1..12), sums in any::<bool>()) {
        let mut bytes = any_archive();
        for (at, to) in flips {
            let at = at % bytes.len();
            bytes[at] = to;
        }
        if sums {
            for block in bytes.chunks_exact_mut(512) {
                if block[257..262] == *b"ustar" {
                    let mut header = tar::Header::from_byte_slice(block).clone();
                    header.set_cksum();
                    block.copy_from_slice(header.as_bytes());
                }
            }
        }
        let place = Place::new();
        let _ = place.install(bytes);
        empty(&place.root()).unwrap();
    }

    #[test]
    fn noise_is_no_archive(bytes in prop::collection::vec(any::<u8>(), 0..2048), magic in 0usize..4) {
        let magic: &[u8] = [&b""[..], b"\x1f\x8b\x08", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"][magic];
        let place = Place::new();
        prop_assert!(place.install([magic, &bytes].concat()).is_err());
    }
}

/// Takes half a minute and a mirror, which ZONES_TEST_MIRROR names.
#[test]
fn a_debian_root_is_made_and_the_host_is_left_as_it_was() {
    let mirror = std::env::var("ZONES_TEST_MIRROR").unwrap_or_default();
    if mirror.is_empty() || bootstrap_program().is_none() {
        eprintln!("SKIPPED a_debian_root_is_made: no ZONES_TEST_MIRROR or no mmdebstrap");
        return;
    }
    let mounts = || fs::read_to_string("/proc/self/mountinfo").unwrap().lines().count();
    let before = mounts();
    let place = Place::new();
    let told = Mutex::new(Vec::new());
    let tell = |progress| told.lock().unwrap().push(progress);
    let source = format!("debootstrap:bullseye,arch=i386,mirror={mirror}").parse().unwrap();
    let installed = install(&source, &place.root(), None, None, &tell).unwrap();
    place.check();
    assert_eq!((installed.arch, mounts()), ("i686", before));
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
