//! Images: the documents alone, and then as a layout or an archive of docker save that is taken in.
//!
//! The input is documents, in which `@0` to `@9` are the digests of the later ones, `@L` and `@D` those of a layer that is
//! there, and `#0` to `#9` their lengths.
#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use zoned::image::{Digest, Images, Source, fuzz, import};
use zoned::storage::Layers;

/// An archive with a folder and a file in it.
static LAYER: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let block = |name: &[u8], kind: u8, size: &[u8]| {
        let mut header = [0; 512];
        header[..name.len()].copy_from_slice(name);
        header[100..108].copy_from_slice(b"0000755\0");
        header[108..124].copy_from_slice(b"0000000\x000000000\0");
        header[124..136].copy_from_slice(size);
        header[136..148].copy_from_slice(b"00000000000\0");
        header[148..156].copy_from_slice(b"        ");
        header[156] = kind;
        header[257..265].copy_from_slice(b"ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        header
    };
    let (folder, file) = (block(b"bin/", b'5', b"00000000000\0"), block(b"bin/sh", b'0', b"00000000001\0"));
    let mut data = [0; 512];
    data[0] = b'x';
    [&folder[..], &file, &data, &[0; 1024]].concat()
});

fn digest(bytes: &[u8]) -> String {
    Digest::of(bytes).to_string()
}

/// The documents with what they say of each other put in, the last first.
fn filled(text: &str) -> Vec<String> {
    let mut done: Vec<String> = Vec::new();
    let documents: Vec<&str> = text.split(zones_fuzz::BETWEEN).take(10).collect();
    let layer = digest(&LAYER);
    for (at, document) in documents.iter().enumerate().rev() {
        let mut document = document.replace("@L", &layer).replace("@D", &layer);
        document = document.replace("#L", &LAYER.len().to_string());
        for (back, known) in done.iter().enumerate() {
            let number = documents.len() - 1 - back;
            debug_assert!(number > at);
            document = document.replace(&format!("@{number}"), &digest(known.as_bytes()));
            document = document.replace(&format!("#{number}"), &known.len().to_string());
        }
        done.push(document);
    }
    done.reverse();
    done
}

fn write(folder: &Path, name: &str, bytes: &[u8]) {
    let path = folder.join(name);
    if path.parent().is_some_and(|parent| std::fs::create_dir_all(parent).is_ok()) {
        let _ = std::fs::write(path, bytes);
    }
}

fuzz_target!(|text: &str| {
    let documents = filled(text);
    for document in &documents {
        fuzz::document(document.as_bytes());
    }
    let [first, rest @ ..] = &documents[..] else { return };
    // Documents of neither kind are read above.
    if !matches!(first.trim_start().as_bytes().first(), Some(b'{' | b'[')) {
        return;
    }
    let folder = zones_fuzz::scratch();
    let source = folder.join("source");
    for bytes in rest.iter().map(String::as_bytes).chain([&LAYER[..]]) {
        let digest = Digest::of(bytes);
        write(&source, &format!("blobs/sha256/{}", digest.hex()), bytes);
    }
    write(&source, "index.json", first.as_bytes());
    write(&source, "manifest.json", first.as_bytes());
    write(&source, "repositories", first.as_bytes());
    for (at, bytes) in rest.iter().enumerate() {
        write(&source, &format!("{}.json", at + 1), bytes.as_bytes());
    }
    write(&source, "layer.tar", &LAYER);
    let store = folder.join("store");
    std::fs::create_dir(&store).expect("make a folder");
    let layers = Layers::new(&store);
    layers.recover().expect("make a store");
    let images = Images::new(layers);
    images.recover().expect("make a store");
    for from in [
        Source::Oci { path: source.clone(), tag: None },
        Source::Oci { path: source.clone(), tag: Some("a".to_owned()) },
        Source::DockerArchive { path: source.clone(), reference: None },
        Source::DockerArchive { path: source, reference: Some("a:b".to_owned()) },
    ] {
        if let Ok(found) = import(&images, &from, None, None, &|_| ()) {
            let name = found.name.unwrap_or_else(|| "a:latest".parse().expect("a name"));
            let documents: Vec<&[u8]> = found.documents.iter().map(Vec::as_slice).collect();
            images.keep(&name, &found.image, &documents).expect("keep it");
            images.config(&found.image).expect("read what was kept");
        }
    }
});
