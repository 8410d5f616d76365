//! Layers of images: their marks, what is hostile in them, and their archives given back.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use super::super::layer::{self, Told};
use super::*;
use crate::storage::Layers;

/// A store beside which nothing may change.
struct Store {
    dir: tempfile::TempDir,
    layers: Arc<Layers>,
}

impl Store {
    fn new() -> Self {
        // On a file system where files have attributes of users.
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        fs::write(dir.path().join("sentinel"), "untouched").unwrap();
        let layers = Layers::new(dir.path());
        layers.recover().unwrap();
        Self { dir, layers }
    }

    fn import_as(&self, bytes: Vec<u8>, told: &Told) -> Result<Digest, ImageError> {
        let came = layer::import(&self.layers, "the layer", Cursor::new(bytes), told, &|_| ());
        assert_eq!(fs::read_to_string(self.dir.path().join("sentinel")).unwrap(), "untouched");
        let left = fs::read_dir(self.dir.path().join("images/tmp")).unwrap().count();
        assert_eq!(left, 0, "a draft was left");
        if came.is_err() {
            assert_eq!(self.layers.all().unwrap().len(), 0, "a layer was left");
        }
        came.map(|came| came.archive)
    }

    fn import(&self, bytes: Vec<u8>) -> Result<Digest, ImageError> {
        self.import_as(bytes, &Told::default())
    }

    /// Imports, and sees that the very same bytes come back.
    fn keep(&self, bytes: Vec<u8>) -> PathBuf {
        let digest = self.import(bytes.clone()).unwrap();
        assert_eq!(digest, Digest::of(&bytes));
        let folder = self.layers.folder(&digest.layer());
        let mut back = Vec::new();
        LayerTar::read(&folder).unwrap().read_to_end(&mut back).unwrap();
        assert!(back == bytes, "{} bytes came back of {}", back.len(), bytes.len());
        assert_eq!(LayerTar::length(&folder).unwrap(), bytes.len() as u64);
        verify_layer(&self.layers, &digest.layer(), &mut |_| {}).unwrap();
        folder.join("fs")
    }

    fn refusal(&self, tar: Tar) -> String {
        self.import(tar.end()).unwrap_err().to_string()
    }
}

fn opaque(path: &Path) -> bool {
    is_opaque(std::os::fd::AsFd::as_fd(&fs::File::open(path).unwrap()))
}

fn is_whiteout(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_char_device() && found.rdev() == 0)
}

#[test]
fn whiteouts_become_those_of_an_overlay() {
    let store = Store::new();
    let file = |tar: Tar, name: &[u8]| tar.add(name, b'0', b"", b"");
    let mut tar = Tar::default().add(b"etc/", b'5', b"", b"");
    for name in
        [&b"etc/.wh.gone"[..], b"etc/.wh.stays", b"etc/stays", b"new", b".wh.new", b"dir/x", b".wh.dir"]
    {
        tar = file(tar, name);
    }
    tar = file(tar, b".wh.later").add(b"later/", b'5', b"", b"").add(b"later/y", b'0', b"", b"y");
    let root = store.keep(tar.end());
    assert!(is_whiteout(&root.join("etc/gone")));
    // What the layer has itself it does not hide; a folder of its own hides what was in the lower one.
    assert!(root.join("etc/stays").is_file() && root.join("new").is_file());
    assert!(root.join("dir/x").is_file() && opaque(&root.join("dir")));
    assert!(root.join("later/y").is_file() && opaque(&root.join("later")));
    assert!(!opaque(&root.join("etc")));
}

#[test]
fn opaque_folders_are_so_wherever_the_mark_stands() {
    let store = Store::new();
    let root = store.keep(
        Tar::default()
            .add(b"a/.wh..wh..opq", b'0', b"", b"")
            .add(b"a/x", b'0', b"", b"x")
            .add(b"b/x", b'0', b"", b"x")
            .add(b"b/.wh..wh..opq", b'0', b"", b"")
            .add(b"b/", b'5', b"", b"")
            .add(b"c/d/.wh..wh..opq", b'0', b"", b"")
            .end(),
    );
    for name in ["a", "b", "c/d"] {
        assert!(opaque(&root.join(name)), "{name}");
    }
    assert!(!opaque(&root) && !opaque(&root.join("c")));
    assert_eq!(fs::metadata(root.join("c")).unwrap().permissions().mode() & 0o777, 0o755);
    let root = store.keep(Tar::default().add(b".wh..wh..opq", b'0', b"", b"").end());
    assert!(opaque(&root));
}

#[test]
fn marks_that_are_none_are_refused_or_left_out() {
    let store = Store::new();
    let empty = |name: &[u8]| Tar::default().add(name, b'0', b"", b"");
    for name in [&b".wh."[..], b"a/.wh..", b"a/.wh...", b".wh./"] {
        let said = store.refusal(empty(name));
        assert!(said.contains("whiteout of no name"), "{said}");
    }
    let said = store.refusal(empty(b"a/.wh.b/c"));
    assert!(said.contains("as a whiteout is"), "{said}");
    for name in [&b"../.wh.x"[..], b"a/../../.wh.x", b"../.wh..wh..opq"] {
        let said = store.refusal(empty(name));
        assert!(said.contains("outside the root"), "{said}");
    }
    let aufs = empty(b".wh..wh.plnk/x").add(b".wh..wh.aufs", b'0', b"", b"data").add(b"y", b'0', b"", b"y");
    let root = store.keep(aufs.end());
    assert_eq!(fs::read_dir(&root).unwrap().count(), 1);
}

#[test]
fn links_lead_whiteouts_nowhere_outside() {
    let store = Store::new();
    let outside = store.dir.path().display().to_string();
    let root = store.keep(
        Tar::default()
            .add(b"up", b'2', outside.as_bytes(), b"")
            .add(b"rel", b'2', b"../../../..", b"")
            .add(b"rel/.wh.sentinel", b'0', b"", b"")
            .add(b"rel/.wh..wh..opq", b'0', b"", b"")
            .end(),
    );
    assert!(is_whiteout(&root.join("sentinel")) && opaque(&root));
    let said = Store::new().import(
        Tar::default()
            .add(b"up", b'2', outside.as_bytes(), b"")
            .add(b"up/.wh.sentinel", b'0', b"", b"")
            .end(),
    );
    assert!(said.unwrap_err().to_string().contains("leads nowhere"));
}

#[test]
fn devices_stay_and_forged_marks_do_not() {
    let store = Store::new();
    let device = |tar: Tar, name: &[u8], kind: u8, major: u32, minor: u32| {
        let mut header = Tar::header(name, kind, b"", 0);
        header.set_device_major(major).unwrap();
        header.set_device_minor(minor).unwrap();
        header.set_cksum();
        tar.put(&header, b"")
    };
    let tar = device(Tar::default(), b"dev/sda", b'4', 8, 0);
    let tar = device(tar, b"dev/null", b'3', 1, 3);
    let tar = device(tar, b"dev/hidden", b'3', 0, 0);
    let tar = tar
        .add(b"dev/disk", b'1', b"dev/sda", b"")
        .pax(&[
            ("SCHILY.xattr.user.overlay.opaque", b"y"),
            ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
            ("SCHILY.xattr.user.mine", b"1"),
        ])
        .add(b"forged/", b'5', b"", b"")
        .pax(&[("SCHILY.xattr.user.overlay.metacopy", b"")])
        .add(b"forged/file", b'0', b"", b"x");
    let root = store.keep(tar.end());
    let found = |name: &str| fs::symlink_metadata(root.join(name)).unwrap();
    assert!(
        found("dev/sda").file_type().is_block_device() && found("dev/disk").ino() == found("dev/sda").ino()
    );
    assert_eq!(found("dev/null").rdev(), rustix::fs::makedev(1, 3));
    assert!(!root.join("dev/hidden").exists() && !opaque(&root.join("forged")));
    let mut value = [0; 8];
    assert_eq!(rustix::fs::getxattr(root.join("forged"), "user.mine", &mut value).unwrap(), 1);
    rustix::fs::getxattr(root.join("forged/file"), "user.overlay.metacopy", &mut value).unwrap_err();
}

#[test]
fn a_hard_link_into_a_lower_layer_is_refused_with_a_sentence() {
    let store = Store::new();
    let said = store.refusal(Tar::default().add(b"b", b'1', b"a", b""));
    assert_eq!(said, "entry b: it links to a, which is not there in the same layer");
    let said = store.refusal(Tar::default().add(b"b", b'1', b"../a", b""));
    assert!(said.contains("outside the root"), "{said}");
    let said = store.refusal(Tar::default().owned(b"b", 65536, 0));
    assert!(said.contains("outside 0 to 65535"), "{said}");
}

#[test]
fn digests_are_checked_both_of_them() {
    let tar = Tar::root().end();
    let packed = {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(&tar).unwrap();
        packed.finish().unwrap()
    };
    let (blob, archive) = (Digest::of(&packed), Digest::of(&tar));
    let (wrong, len) = (Digest::of(b"wrong"), packed.len() as u64);
    let told = |blob: &Digest, len, archive: &Digest| Told {
        blob: Some((blob.clone(), len)),
        archive: Some(archive.clone()),
    };
    let store = Store::new();
    for (told, want) in [
        (told(&wrong, len, &archive), "the layer is damaged: its digest is"),
        (told(&blob, len, &wrong), "the layer, unpacked, is damaged: its digest is"),
        (told(&blob, len + 1, &archive), "it is shorter than"),
        (told(&blob, len - 1, &archive), "it is longer than"),
    ] {
        let said = store.import_as(packed.clone(), &told).unwrap_err().to_string();
        assert!(said.contains(want), "{said}");
    }
    // A bit that fell over: the digest says more than the decoder.
    let mut bad = packed.clone();
    bad[20] ^= 4;
    let said = store.import_as(bad, &told(&blob, len, &archive)).unwrap_err().to_string();
    assert!(said.contains("its digest is"), "{said}");
    let cut = packed[..packed.len() / 2].to_vec();
    let said = store.import_as(cut, &told(&blob, len, &archive)).unwrap_err().to_string();
    assert!(said.contains("it is shorter than"), "{said}");
    store.import_as(packed, &told(&blob, len, &archive)).unwrap();
}

#[test]
fn what_later_entries_take_the_place_of_comes_back_too() {
    let store = Store::new();
    let data = noise(100_000);
    let mut sparse = Tar::header(b"holes", b'S', b"", 512);
    sparse.as_gnu_mut().unwrap().set_real_size(8192);
    sparse.as_gnu_mut().unwrap().sparse[0].set_offset(4096);
    sparse.as_gnu_mut().unwrap().sparse[0].set_length(512);
    sparse.set_cksum();
    let tar = Tar::default()
        .add(b"a", b'0', b"", &data)
        .add(b"linked", b'1', b"a", b"")
        .add(b"a", b'0', b"", b"second")
        .add(b"d/x", b'0', b"", &data)
        .add(b"d/y", b'0', b"", b"y")
        .add(b"d", b'2', b"/etc", b"")
        .add(b"e", b'2', b"f", b"")
        .add(b"f/", b'5', b"", b"")
        .add(b"e/x", b'0', b"", b"through a link")
        .add(b"e", b'0', b"", b"no link any more")
        .put(&sparse, &[7; 512])
        .add(b".wh.a", b'0', b"", b"data of a whiteout");
    let mut bytes = tar.end();
    // What follows the end mark is part of the digest, too.
    bytes.extend_from_slice(b"trailing");
    let root = store.keep(bytes);
    assert_eq!(fs::read(root.join("a")).unwrap(), b"second");
    assert_eq!(fs::read(root.join("linked")).unwrap(), data);
    assert_eq!(fs::read(root.join("f/x")).unwrap(), b"through a link");
    assert_eq!(fs::metadata(root.join("holes")).unwrap().len(), 8192);
    assert!(!root.parent().unwrap().join("lost").exists());
}

#[test]
fn a_layer_that_changes_nothing_is_one() {
    let store = Store::new();
    store.keep(vec![0; 1024]);
    // As umoci writes them: no end mark, and no padding.
    let tar = Tar::default().add(b"a", b'0', b"", b"abc").0;
    store.keep(tar[..512 + 3].to_vec());
}

#[test]
fn a_file_that_was_changed_is_found() {
    let store = Store::new();
    let tar = Tar::root().add(b"etc/x", b'0', b"", b"right").end();
    let root = store.keep(tar.clone());
    let id = Digest::of(&tar).layer();
    fs::write(root.join("etc/x"), "wrong").unwrap();
    assert!(verify_layer(&store.layers, &id, &mut |_| {}).unwrap_err().contains("a file in it was changed"));
    fs::remove_file(root.join("etc/x")).unwrap();
    assert!(verify_layer(&store.layers, &id, &mut |_| {}).unwrap_err().contains("etc/x"));
    std::os::unix::fs::symlink("/etc/passwd", root.join("etc/x")).unwrap();
    verify_layer(&store.layers, &id, &mut |_| {}).unwrap_err();
    fs::write(root.parent().unwrap().join("split.zst"), "nonsense").unwrap();
    verify_layer(&store.layers, &id, &mut |_| {}).unwrap_err();
}

/// One entry of an archive that was made at random.
fn entry() -> impl Strategy<Value = (usize, usize, usize, Vec<u8>)> {
    (0usize..9, 0usize..8, 0usize..8, prop::collection::vec(any::<u8>(), 0..1500))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever comes in comes out, to the byte, or does not come in.
    #[test]
    fn archives_come_back(entries in prop::collection::vec(entry(), 0..14), tail in prop::collection::vec(any::<u8>(), 0..40)) {
        const NAMES: [&[u8]; 8] = [b"a", b"b", b"a/b", b"b/a", b"a/b/c", b"c", b"./a/", b"c/.wh.a"];
        let mut tar = Tar::default();
        for (kind, name, link, data) in entries {
            let (name, link) = (NAMES[name], NAMES[link]);
            tar = match kind {
                0..4 => tar.add(name, b'0', b"", &data),
                4 => tar.add(name, b'5', b"", b""),
                5 => tar.add(name, b'1', link, b""),
                6 => tar.add(name, b'2', link, b""),
                7 => tar.pax(&[("path", name), ("SCHILY.xattr.user.a", &data)]).add(b"x", b'0', b"", &data),
                _ => tar.add(b".wh.a", b'0', b"", &data),
            };
        }
        let mut bytes = tar.end();
        bytes.extend_from_slice(&tail);
        let store = Store::new();
        if let Ok(digest) = store.import(bytes.clone()) {
            prop_assert_eq!(&digest, &Digest::of(&bytes));
            let mut back = Vec::new();
            LayerTar::read(&store.layers.folder(&digest.layer())).unwrap().read_to_end(&mut back).unwrap();
            prop_assert!(back == bytes);
        }
    }

    #[test]
    fn damaged_splits_are_errors(flips in prop::collection::vec((0usize..4000, any::<u8>()), 1..6)) {
        let store = Store::new();
        let tar = Tar::root().add(b"etc/x", b'0', b"", &noise(5000)).end();
        let root = store.keep(tar.clone());
        let split = root.parent().unwrap().join("split.zst");
        let mut raw = zstd::decode_all(fs::File::open(&split).unwrap()).unwrap();
        for (at, to) in flips {
            let at = at % raw.len();
            raw[at] = to;
        }
        fs::write(&split, zstd::encode_all(&*raw, 1).unwrap()).unwrap();
        let _ = verify_layer(&store.layers, &Digest::of(&tar).layer(), &mut |_| {});
    }
}
