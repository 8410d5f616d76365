//! The process that speaks to registries, `zoned pull`: it has no rights but to write to one folder.

use std::io::{ErrorKind as IoKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::socket::MsgFlags;
use nix::unistd::{Gid, Uid};
use serde::{Deserialize, Serialize};

use super::fault::Fault;
use super::layout::{Layout, hex};
use super::reference::is_digest;
use super::registry::{Registry, is_enough, limited, patiently, pause};
use super::wire::{LONGEST_REQUEST, News, Request};
use crate::sys::scm;

/// No document is larger.
const LARGEST_DOCUMENT: u64 = 4 << 20;
/// As many as Docker takes.
const MOST_LAYERS: usize = 127;
/// What must come before a cut connection counts as a new first try.
const PROGRESS: u64 = 64 << 10;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    platform: Option<Platform>,
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    annotations: serde_json::Map<String, serde_json::Value>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Platform {
    architecture: String,
    os: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    variant: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document {
    schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    media_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    config: Option<Descriptor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    layers: Option<Vec<Descriptor>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    manifests: Option<Vec<Descriptor>>,
}

impl Document {
    /// One out of a registry's answer.
    pub(super) fn parse(bytes: &[u8], digest: &str) -> Result<Self, Fault> {
        let document: Self = serde_json::from_slice(bytes)
            .map_err(|error| Fault::new(format!("the manifest {digest} makes no sense: {error}")))?;
        if document.schema_version != 2 {
            return Err(Fault::new("its manifest is of schema 1, which was given up in 2017"));
        }
        let is_image = document.config.is_some() || document.layers.is_some();
        // Two readers would see two things (CVE-2021-41190).
        if is_image == document.manifests.is_some() {
            return Err(Fault::new(format!("the manifest {digest} must be an image or an index")));
        }
        Ok(document)
    }

    /// The configuration and the layers of an image, before anything that they name is asked for.
    fn image(&self) -> Result<(&Descriptor, &[Descriptor]), Fault> {
        let (Some(config), Some(layers)) = (&self.config, &self.layers) else {
            return Err(Fault::new("it holds no image, but another index"));
        };
        check(config, layers)?;
        Ok((config, layers))
    }

    /// Looks at all of one that is looked at before more is asked for.
    #[cfg(fuzzing)]
    pub(super) fn is_sound(&self, architectures: &[String]) -> Result<(), Fault> {
        match &self.manifests {
            Some(manifests) => choose(manifests.clone(), architectures).map(drop),
            None => self.image().map(drop),
        }
    }
}

/// Gives up every right, and what there is to be had from this process.
fn confine(id: u32) -> nix::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    for (what, most) in
        [(Resource::RLIMIT_CORE, 0), (Resource::RLIMIT_NOFILE, 64), (Resource::RLIMIT_AS, 2 << 30)]
    {
        setrlimit(what, most, most)?;
    }
    let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
    nix::unistd::setgroups(&[])?;
    nix::unistd::setresgid(gid, gid, gid)?;
    // The capabilities go with it (capabilities(7)).
    nix::unistd::setresuid(uid, uid, uid)?;
    prctl::set_no_new_privs()?;
    prctl::set_dumpable(false)?;
    // A change of ids undoes it (PR_SET_PDEATHSIG in prctl(2)).
    prctl::set_pdeathsig(Signal::SIGKILL)
}

/// Does what the one at the other end of `control` asks for, as user and group `id`.
///
/// # Errors
/// When it cannot give up its rights, or nobody is at the other end. That nothing could be pulled is told there.
pub fn run(control: UnixStream, id: u32) -> std::io::Result<()> {
    confine(id)?;
    let (bytes, fds) = scm::receive(&control, LONGEST_REQUEST, MsgFlags::empty())?;
    let request: Request = serde_json::from_slice(&bytes)?;
    let folder = fds.into_iter().next().ok_or(IoKind::InvalidInput)?;
    let mut pull = Pull { control, told: Instant::now(), done: 0 };
    let news = match pull.all(request, folder) {
        Ok(digest) => News::Done(digest),
        Err(fault) => News::Failed { kind: fault.kind, why: fault.why, hint: fault.hint.map(str::to_owned) },
    };
    pull.tell(&news);
    Ok(())
}

struct Pull {
    control: UnixStream,
    told: Instant,
    /// Bytes of blobs.
    done: u64,
}

impl Pull {
    fn tell(&mut self, news: &News) {
        let Ok(mut line) = serde_json::to_vec(news) else { return };
        line.push(b'\n');
        if self.control.write_all(&line).is_err() {
            // Nobody wants it any more.
            std::process::exit(1);
        }
    }

    fn tell_progress(&mut self) {
        if self.told.elapsed() >= Duration::from_millis(100) {
            self.told = Instant::now();
            self.tell(&News::At(self.done));
        }
    }

    fn all(&mut self, request: Request, folder: OwnedFd) -> Result<String, Fault> {
        let layout = Layout::open(folder)?;
        let reference: super::Reference = request.reference.parse().map_err(Fault::new)?;
        let (wanted, tag) = (reference.wanted().to_owned(), reference.tag.clone());
        self.tell(&News::Step { step: format!("asking {}", reference.host), total: None });
        let mut registry = Registry::connect(reference, request.may_be_plain, request.login)?;
        let mut top = Self::document(&mut registry, &layout, &wanted)?;
        if let Some(manifests) = top.document.manifests.take() {
            let chosen = choose(manifests, &request.architectures)?;
            top = Self::document(&mut registry, &layout, &chosen.digest)?;
        }
        let (config, layers) = top.document.image()?;
        let mut blobs: Vec<&Descriptor> = layers.iter().chain([config]).collect();
        blobs.sort_by(|a, b| a.digest.cmp(&b.digest));
        blobs.dedup_by(|a, b| a.digest == b.digest);
        let total = blobs.iter().fold(0u64, |sum, blob| sum.saturating_add(blob.size));
        // What it is for is known before the large ones come.
        self.blob(&mut registry, &layout, config)?;
        self.check_machine(&layout, config, &request.architectures)?;
        self.tell(&News::Step { step: "pulling".to_owned(), total: Some(total) });
        for blob in layers {
            if blobs.iter().any(|left| left.digest == blob.digest) && blob.digest != config.digest {
                blobs.retain(|left| left.digest != blob.digest);
                self.blob(&mut registry, &layout, blob)?;
            }
        }
        self.tell(&News::At(self.done));
        let mut annotations = serde_json::Map::new();
        if let Some(tag) = tag {
            annotations.insert("org.opencontainers.image.ref.name".to_owned(), tag.into());
        }
        let manifest = Descriptor {
            media_type: top.kind,
            digest: top.digest.clone(),
            size: top.len,
            platform: None,
            annotations,
        };
        let index = Document {
            schema_version: 2,
            media_type: Some(INDEX.to_owned()),
            config: None,
            layers: None,
            manifests: Some(vec![manifest]),
        };
        let index = serde_json::to_vec(&index).map_err(|e| Fault::new(e.to_string()))?;
        layout.write("index.json", &index)?;
        layout.write("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        Ok(top.digest)
    }

    /// A manifest or an index, which is kept among the blobs too.
    fn document(registry: &mut Registry, layout: &Layout, wanted: &str) -> Result<Found, Fault> {
        let accept = [MANIFEST, DOCKER_MANIFEST, INDEX, DOCKER_INDEX].join(", ");
        let (bytes, content_type) = patiently(|| {
            let answer = registry.get(&format!("manifests/{wanted}"), &accept, 0)?;
            let kind = answer.headers().get("Content-Type").and_then(|kind| kind.to_str().ok());
            let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_owned();
            let bytes = limited(answer, LARGEST_DOCUMENT)
                .map_err(|why| Fault::passing(format!("the manifest: {why}")))?;
            Ok((bytes, kind))
        })?;
        let mut hash = <sha2::Sha256 as sha2::Digest>::new();
        sha2::Digest::update(&mut hash, &bytes);
        let hex = hex(hash);
        let digest = format!("sha256:{hex}");
        if is_digest(wanted) && wanted != digest {
            return Err(Fault::new(format!("the registry gave {digest} for the manifest {wanted}")));
        }
        let document = Document::parse(&bytes, &digest)?;
        let said = document.media_type.clone().unwrap_or(content_type);
        let known =
            if document.manifests.is_none() { [MANIFEST, DOCKER_MANIFEST] } else { [INDEX, DOCKER_INDEX] };
        let kind = known.into_iter().find(|kind| *kind == said).unwrap_or(known[0]).to_owned();
        layout.write(&format!("blobs/sha256/{hex}"), &bytes)?;
        Ok(Found { document, digest, kind, len: bytes.len() as u64 })
    }

    /// Has a blob in the layout.
    fn blob(&mut self, registry: &mut Registry, layout: &Layout, blob: &Descriptor) -> Result<(), Fault> {
        let hex = blob.digest.trim_start_matches("sha256:");
        if layout.len(hex) == Some(blob.size) {
            self.done += blob.size;
            self.tell_progress();
            return Ok(());
        }
        let before = self.done;
        let mut part = layout.partial(hex)?;
        // Of a part that an earlier pull left nobody knows yet whether it is right.
        let mut is_resumed = part.len > 0;
        let (mut tries, mut mark) = (0, part.len);
        loop {
            if part.len > blob.size {
                part.clear()?;
            }
            self.done = before + part.len;
            let result = if part.len == blob.size { Ok(()) } else { self.more(registry, blob, &mut part) };
            match result {
                Ok(()) => {
                    if layout.finish(part)? {
                        return Ok(());
                    }
                    if !std::mem::take(&mut is_resumed) {
                        return Err(Fault::new(format!(
                            "the registry gave something else for {}",
                            blob.digest
                        ))
                        .hint("it, or something on the way to it, is broken or hostile: nothing was kept"));
                    }
                    (part, mark) = (layout.partial(hex)?, 0);
                }
                Err(fault) if fault.is_passing => {
                    if part.len >= mark.saturating_add(PROGRESS) {
                        tries = 0;
                    }
                    mark = part.len;
                    tries += 1;
                    if is_enough(tries) {
                        return Err(fault);
                    }
                    self.tell(&News::Note(format!("{}; trying again", fault.why)));
                    pause(tries, &fault);
                }
                Err(fault) => return Err(fault),
            }
        }
    }

    /// Goes on with a blob to its end, or to the end of the connection.
    fn more(
        &mut self,
        registry: &mut Registry,
        blob: &Descriptor,
        part: &mut super::layout::Partial,
    ) -> Result<(), Fault> {
        let answer = registry.get(&format!("blobs/{}", blob.digest), "*/*", part.len)?;
        let begins = answer
            .headers()
            .get("Content-Range")
            .and_then(|range| range.to_str().ok()?.strip_prefix("bytes ")?.split('-').next()?.parse().ok());
        // Not every registry knows how to go on.
        let begin = if answer.status().as_u16() == 206 { begins } else { Some(0u64) };
        if answer.status().as_u16() == 416 || begin != Some(part.len) {
            self.done -= part.len.min(self.done);
            part.clear()?;
            if begin != Some(0) || answer.status().as_u16() == 416 {
                return Err(Fault::passing(format!("the registry does not go on with {}", blob.digest)));
            }
        }
        let mut body = answer.into_body().into_reader();
        let mut buf = vec![0; 128 << 10];
        loop {
            let n = match body.read(&mut buf) {
                Ok(n) => n,
                Err(error) if error.kind() == IoKind::Interrupted => continue,
                Err(error) => {
                    let why = crate::causes::chain(&error);
                    return Err(Fault::passing(format!(
                        "the connection broke at byte {} of {}: {why}",
                        part.len, blob.digest
                    )));
                }
            };
            if n as u64 > blob.size - part.len {
                return Err(Fault::new(format!("{} is longer than the manifest says", blob.digest)));
            }
            if n == 0 {
                return match part.len == blob.size {
                    true => Ok(()),
                    false => Err(Fault::passing(format!(
                        "the connection ended at byte {} of {}",
                        part.len, blob.digest
                    ))),
                };
            }
            part.push(&buf[..n])?;
            self.done += n as u64;
            self.tell_progress();
        }
    }

    /// Whether this host can run it.
    fn check_machine(&self, layout: &Layout, config: &Descriptor, wanted: &[String]) -> Result<(), Fault> {
        #[derive(Deserialize)]
        struct Config {
            #[serde(default)]
            architecture: String,
            #[serde(default)]
            os: String,
        }
        let bytes = layout.read(config.digest.trim_start_matches("sha256:"), LARGEST_DOCUMENT)?;
        let config: Config = serde_json::from_slice(&bytes)
            .map_err(|error| Fault::new(format!("its configuration makes no sense: {error}")))?;
        let is_for = |text: &str| text == config.architecture;
        if !matches!(&*config.os, "linux" | "")
            || !config.architecture.is_empty() && !wanted.iter().any(|w| is_for(w))
        {
            let (os, architecture) = (config.os, config.architecture);
            return Err(Fault::new(format!(
                "it is for {os}/{architecture}, not for linux/{}",
                wanted.join(" or ")
            )));
        }
        Ok(())
    }
}

struct Found {
    document: Document,
    digest: String,
    kind: String,
    len: u64,
}

fn check(config: &Descriptor, layers: &[Descriptor]) -> Result<(), Fault> {
    if layers.len() > MOST_LAYERS {
        return Err(Fault::new(format!("it has {} layers, {MOST_LAYERS} are the most", layers.len())));
    }
    if config.size > LARGEST_DOCUMENT {
        return Err(Fault::new("its configuration has more than 4 MiB"));
    }
    match layers.iter().chain([config]).find(|blob| !is_digest(&blob.digest)) {
        Some(_) => Err(Fault::new("it names a blob by something else than a sha256 digest")),
        None => Ok(()),
    }
}

/// The image for this machine.
fn choose(manifests: Vec<Descriptor>, architectures: &[String]) -> Result<Descriptor, Fault> {
    let platforms: Vec<String> = manifests
        .iter()
        .filter_map(|found| found.platform.as_ref())
        .filter(|platform| platform.os != "unknown")
        .map(|platform| format!("{}/{}", platform.os, platform.architecture))
        .take(20)
        .collect();
    let rank = |found: &Descriptor| {
        let platform = found.platform.as_ref()?;
        let at = architectures.iter().position(|wanted| *wanted == platform.architecture)?;
        // amd64 has variants for newer processors.
        let is_plain = matches!(platform.variant.as_deref(), None | Some("" | "v1"));
        (platform.os == "linux").then_some((at, !is_plain))
    };
    let is_alone = manifests.len() == 1 && manifests[0].platform.is_none();
    let chosen = manifests
        .into_iter()
        .filter_map(|found| Some((if is_alone { (0, false) } else { rank(&found)? }, found)))
        .min_by_key(|(rank, _)| *rank)
        .map(|(_, found)| found);
    match chosen {
        Some(found) if is_digest(&found.digest) => Ok(found),
        Some(_) => Err(Fault::new("it names a manifest by something else than a sha256 digest")),
        None => Err(Fault::new(format!(
            "there is none for linux/{}, but for {}",
            architectures.join(" or "),
            platforms.join(", ")
        ))),
    }
}
