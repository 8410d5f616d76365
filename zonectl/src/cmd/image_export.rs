//! `zonectl image export`: zoned writes the archive, and the caller's own rights decide where to.

use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde_json::{Value, json};

use super::Context;
use crate::failure::Failure;

/// The longest index of a layout.
const LONGEST_INDEX: u64 = 4 << 20;
const REF: &str = "org.opencontainers.image.ref.name";

/// Where an image goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Dest {
    /// `oci:DIR[:TAG]`
    Layout(PathBuf, Option<String>),
    /// `oci-archive:FILE[:TAG]`, `docker-archive:FILE[:REF]`: kind, file, word.
    Archive(&'static str, PathBuf, Option<String>),
}

impl FromStr for Dest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        let (path, word) = match rest.split_once(':') {
            Some((path, word)) if !word.is_empty() => (path, Some(word.to_owned())),
            Some((path, _)) => (path, None),
            None => (rest, None),
        };
        match kind {
            "oci" | "oci-archive" | "docker-archive" if path.is_empty() => {
                Err("nothing after the colon".to_owned())
            }
            "oci" => Ok(Self::Layout(path.into(), word)),
            "oci-archive" => Ok(Self::Archive("oci", path.into(), word)),
            "docker-archive" => Ok(Self::Archive("docker", path.into(), word)),
            _ => Err("not oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:REF]".to_owned()),
        }
    }
}

pub(crate) fn export(
    name: &str,
    dest: &Dest,
    compression: Option<&str>,
    context: &Context<'_>,
) -> Result<(), Failure> {
    let client = &context.client;
    let fetch = |kind: &str, word: Option<&str>, to: &mut dyn Write| {
        client.export_image(name, kind, word, compression, to)
    };
    match dest {
        Dest::Archive(kind, path, word) if path.as_os_str() == "-" => {
            let mut out = io::stdout().lock();
            if out.is_terminal() {
                let why = "stdout is a terminal: send it to a file or a pipe";
                return Err(Failure::usage(format!("export {name}"), why));
            }
            fetch(kind, word.as_deref(), &mut out)?;
        }
        Dest::Archive(kind, path, word) => {
            let new = Unfinished::beside(path);
            let failed = |e: &io::Error| Failure::local(format!("write {}", path.display()), e);
            let file = File::create_new(&new.0).map_err(|e| failed(&e))?;
            let mut to = BufWriter::with_capacity(128 << 10, file);
            fetch(kind, word.as_deref(), &mut to)?;
            let file = to.into_inner().map_err(|e| failed(e.error()))?;
            file.sync_all().and_then(|()| fs::rename(&new.0, path)).map_err(|e| failed(&e))?;
        }
        Dest::Layout(path, word) => {
            // A layout's images are told apart by their tags.
            let tag = name.rsplit_once(':').map(|(_, tag)| tag).filter(|tag| !tag.contains('/'));
            let word = word.as_deref().or(tag).unwrap_or("latest");
            let (reader, mut writer) =
                io::pipe().map_err(|e| Failure::local(format!("write {}", path.display()), &e))?;
            std::thread::scope(|scope| {
                let unpacking = scope.spawn(move || unpack(reader, path));
                let fetched = fetch("oci", Some(word), &mut writer);
                drop(writer);
                let unpacked = unpacking.join();
                let failed = |e: &io::Error| Failure::local(format!("write {}", path.display()), e);
                let index = match (fetched, unpacked) {
                    // Who cannot write stops to read.
                    (_, Ok(Err(error))) if error.kind() != io::ErrorKind::UnexpectedEof => {
                        return Err(failed(&error));
                    }
                    (Err(error), _) => return Err(error.into()),
                    (Ok(()), Ok(index)) => index.map_err(|e| failed(&e))?,
                    (Ok(()), Err(_)) => return Err(failed(&io::Error::other("it could not be unpacked"))),
                };
                publish(path, &index).map_err(|e| failed(&e))
            })?;
        }
    }
    Ok(())
}

/// A file that goes unless it got its name.
struct Unfinished(PathBuf);

impl Unfinished {
    fn beside(path: &Path) -> Self {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".new-{}", std::process::id()));
        Self(name.into())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // It has its name, or there was none.
        let _ = fs::remove_file(&self.0);
    }
}

fn write_whole(path: &Path, from: &mut dyn Read) -> io::Result<()> {
    let new = Unfinished::beside(path);
    let mut file = File::create_new(&new.0)?;
    io::copy(from, &mut file)?;
    file.sync_all()?;
    fs::rename(&new.0, path)
}

/// Puts the blobs into the layout; its index.
fn unpack(from: impl Read, layout: &Path) -> io::Result<Value> {
    fs::create_dir_all(layout.join("blobs/sha256"))?;
    let mut archive = tar::Archive::new(from);
    let mut index = None;
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if name == "index.json" {
            let mut bytes = Vec::new();
            entry.by_ref().take(LONGEST_INDEX).read_to_end(&mut bytes)?;
            index = Some(serde_json::from_slice(&bytes)?);
        } else if let Some(hex) = name.strip_prefix("blobs/sha256/")
            && hex.len() == 64
            && hex.bytes().all(|b| b.is_ascii_hexdigit())
        {
            let path = layout.join("blobs/sha256").join(hex);
            // One that is there has the same bytes, unless it is not whole.
            if !fs::metadata(&path).is_ok_and(|found| found.len() == entry.size()) {
                write_whole(&path, &mut entry)?;
            }
        }
    }
    index.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// Adds the image to those that the layout has; one of the same tag gives way.
fn publish(layout: &Path, new: &Value) -> io::Result<()> {
    let path = layout.join("index.json");
    let mut index: Value = match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            json!({"schemaVersion": 2, "mediaType": new["mediaType"], "manifests": []})
        }
        Err(error) => return Err(error),
    };
    let odd = || io::Error::new(io::ErrorKind::InvalidData, "its index.json is none");
    let entries = index["manifests"].as_array_mut().ok_or_else(odd)?;
    for entry in new["manifests"].as_array().ok_or_else(odd)? {
        entries.retain(|old| old["annotations"][REF] != entry["annotations"][REF]);
        entries.push(entry.clone());
    }
    let marker = layout.join("oci-layout");
    if !marker.exists() {
        write_whole(&marker, &mut &br#"{"imageLayoutVersion":"1.0.0"}"#[..])?;
    }
    write_whole(&path, &mut serde_json::to_vec(&index)?.as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_read() {
        let word = |text: &str| Some(text.to_owned());
        for (text, want) in [
            ("oci:a", Dest::Layout("a".into(), None)),
            ("oci:/a:12", Dest::Layout("/a".into(), word("12"))),
            ("oci-archive:-", Dest::Archive("oci", "-".into(), None)),
            ("docker-archive:a.tar:debian:12", Dest::Archive("docker", "a.tar".into(), word("debian:12"))),
        ] {
            assert_eq!(text.parse(), Ok(want));
        }
        for text in ["", "oci", "oci:", "a.tar", "tar:a", "docker-archive::x"] {
            assert!(text.parse::<Dest>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_layout_keeps_its_other_images() {
        let dir = std::env::temp_dir().join(format!("zonectl-layout-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let index = |tag: &str, digest: &str| json!({"schemaVersion": 2, "manifests": [{"digest": digest, "annotations": {REF: tag}}]});
        for (tag, digest) in [("a", "1"), ("b", "2"), ("a", "3")] {
            publish(&dir, &index(tag, digest)).unwrap();
        }
        let found: Value = serde_json::from_slice(&fs::read(dir.join("index.json")).unwrap()).unwrap();
        let digests: Vec<_> = found["manifests"].as_array().unwrap().iter().map(|m| &m["digest"]).collect();
        assert_eq!(digests, ["2", "3"]);
        fs::remove_dir_all(dir).unwrap();
    }
}
