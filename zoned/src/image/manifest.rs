//! What an image is said to be: the JSON documents of the OCI image specification and of Docker's schema 2.
//!
//! Only what is used here is read; the documents themselves are kept as they came.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use zone_api::ErrorKind;

use super::digest::Digest;
use super::error::ImageError;

/// No document of an image is larger.
pub(super) const LARGEST: u64 = 4 << 20;
/// As many as Docker takes; the kernel's overlays take 500.
pub(super) const MOST_LAYERS: usize = 127;

pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(super) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// A blob by its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    /// What it holds.
    #[serde(default)]
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// What machine it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Anything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
}

/// A kind of machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Platform {
    /// As Go spells it: `amd64`, `386`.
    pub architecture: String,
    /// `linux`
    pub os: String,
}

/// What a manifest's document may hold: one image, or several to choose from.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    /// 2
    pub schema_version: u32,
    /// Its own kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// Of an image: its configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Descriptor>,
    /// Of an image: its layers, the lowest first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<Descriptor>>,
    /// Of an index: manifests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifests: Option<Vec<Descriptor>>,
}

/// The configuration of an image.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Config {
    /// As Go spells it.
    #[serde(default)]
    pub architecture: String,
    /// `linux`
    #[serde(default)]
    pub os: String,
    /// When it was made (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// How its program is started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Execution>,
    /// Its layers.
    #[serde(default)]
    pub rootfs: RootFs,
    /// How they came to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<Vec<History>>,
}

/// How an image's program is started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Execution {
    /// `USER[:GROUP]`, names or numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// `NAME=VALUE`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<String>>,
    /// Program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Its arguments, or program and arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// Where it starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// Anything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// Signal that it ends on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
}

/// The layers of a configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// `layers`
    #[serde(rename = "type", default)]
    pub kind: String,
    /// Digests of the unpacked layers, the lowest first.
    #[serde(default)]
    pub diff_ids: Vec<Digest>,
}

/// A step of an image's making.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// By what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// What somebody said of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Whether it made no layer.
    #[serde(default)]
    pub empty_layer: bool,
}

/// A document out of bytes of somebody's.
pub(super) fn parse<T: serde::de::DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, ImageError> {
    serde_json::from_slice(bytes).map_err(|error| {
        ImageError::bad_image(
            what,
            format!("it makes no sense: {}", super::error::shown(error.to_string().as_bytes())),
        )
    })
}

/// A manifest's document. What could be read as an image and as an index is refused: two readers would see two
/// things (CVE-2021-41190).
pub(super) fn parse_manifest(what: &str, bytes: &[u8]) -> Result<Manifest, ImageError> {
    let manifest: Manifest = parse(what, bytes)?;
    if manifest.schema_version != 2 {
        return Err(ImageError::bad_image(what, format!("its schema {} is not 2", manifest.schema_version)));
    }
    let is_image = manifest.layers.is_some() || manifest.config.is_some();
    match (is_image, &manifest.manifests) {
        (true, Some(_)) => Err(ImageError::bad_image(what, "it is an image and an index at once")),
        (false, None) => Err(ImageError::bad_image(what, "it is neither an image nor an index")),
        _ => Ok(manifest),
    }
}

impl Config {
    /// As `uname -m` says it.
    pub fn machine(&self) -> Option<&'static str> {
        machine(&self.architecture)
    }

    /// Whether images of it run here, and its layers can be counted.
    pub(super) fn check(&self, what: &str) -> Result<(), ImageError> {
        if !matches!(self.os.as_str(), "linux" | "") {
            let os = super::error::shown(self.os.as_bytes());
            return Err(ImageError::bad_image(what, format!("it is for {os}, and this host runs linux")));
        }
        if self.machine().is_none() && !self.architecture.is_empty() {
            let found = super::error::shown(self.architecture.as_bytes());
            return Err(ImageError::WrongMachine { found });
        }
        if !matches!(self.rootfs.kind.as_str(), "layers" | "") {
            return Err(ImageError::bad_image(what, "its root is not made of layers"));
        }
        match self.rootfs.diff_ids.len() {
            0 => Err(ImageError::bad_image(what, "it has no layers: is it an image of a root?")),
            n if n > MOST_LAYERS => {
                Err(ImageError::bad_image(what, format!("it has {n} layers, {MOST_LAYERS} are the most")))
            }
            _ => Ok(()),
        }
    }
}

/// `uname -m` of what Go calls its architectures.
pub(super) fn machine(architecture: &str) -> Option<&'static str> {
    match architecture {
        "amd64" | "x86_64" => Some("x86_64"),
        "386" | "i386" | "i686" => Some("i686"),
        _ => None,
    }
}

/// Whether a layer of that kind can be unpacked. How it is packed, its own bytes tell.
pub(super) fn check_layer(descriptor: &Descriptor) -> Result<(), ImageError> {
    let kind = descriptor.media_type.as_str();
    let known = [
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.docker.image.rootfs.diff.tar",
        "application/vnd.docker.image.rootfs.foreign.diff.tar",
    ];
    let rest = known.iter().find_map(|known| kind.strip_prefix(known));
    if rest.is_some_and(|rest| matches!(rest, "" | "+gzip" | "+zstd" | ".gzip" | ".zstd")) {
        return Ok(());
    }
    let shown = super::error::shown(kind.as_bytes());
    Err(ImageError::bad_image(
        &format!("layer {}", descriptor.digest),
        format!("its kind {shown:?} is not known"),
    ))
}

impl ImageError {
    pub(super) fn bad_image(what: &str, why: impl Into<String>) -> Self {
        Self::BadImage { what: what.to_owned(), why: why.into(), kind: ErrorKind::Failed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_that_is_two_things_is_refused() {
        let blob = format!(r#"{{"digest":"{}","size":1}}"#, Digest::of(b""));
        let both = format!(r#"{{"schemaVersion":2,"config":{blob},"layers":[],"manifests":[]}}"#);
        let why = parse_manifest("m", both.as_bytes()).unwrap_err().to_string();
        assert_eq!(why, "m: it is an image and an index at once");
        for bad in ["", "[]", "{}", r#"{"schemaVersion":2}"#, r#"{"schemaVersion":1,"manifests":[]}"#] {
            parse_manifest("m", bad.as_bytes()).unwrap_err();
        }
        parse_manifest("m", br#"{"schemaVersion":2,"manifests":[]}"#).unwrap();
    }

    #[test]
    fn kinds_of_layers() {
        let of = |kind: &str| {
            let media_type = kind.to_owned();
            Descriptor { media_type, digest: Digest::of(b""), size: 0, platform: None, annotations: None }
        };
        for kind in [
            "application/vnd.oci.image.layer.v1.tar",
            "application/vnd.oci.image.layer.v1.tar+zstd",
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        ] {
            check_layer(&of(kind)).unwrap();
        }
        for kind in [
            "",
            "text/plain",
            "application/vnd.in-toto+json",
            "application/vnd.oci.image.layer.v1.tar+encrypted",
        ] {
            check_layer(&of(kind)).unwrap_err();
        }
    }
}
