//! Archives as a whole: their packing, their end, and damage.

use super::*;

#[test]
fn what_is_no_archive_is_told() {
    for (bytes, why) in [
        (vec![], "it is empty"),
        (vec![0; 10240], "it holds nothing"),
        (b"hello".to_vec(), "too short"),
        (vec![b'x'; 4096], "not a header"),
        (b"\x5d\0\0\x80\0".to_vec(), "lzma"),
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

fn bz2(bytes: &[u8]) -> Vec<u8> {
    let mut packed = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

fn zst(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

#[test]
fn every_packing_is_unpacked_and_its_cut_noticed() {
    let tar = Tar::root().add(b"noise", b'0', b"", &noise(300_000)).add(b"last", b'0', b"", b"").end();
    let (front, back) = tar.split_at(100_000);
    let parts = |pack: fn(&[u8]) -> Vec<u8>| [pack(front), pack(back)].concat();
    for (name, packed) in [
        ("plain", tar.clone()),
        ("gz", parts(gzip)),
        ("xz", parts(xz)),
        ("zst", parts(zst)),
        ("bz2", parts(bz2)),
    ] {
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
