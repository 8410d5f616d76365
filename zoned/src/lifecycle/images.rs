//! Images: what comes in, what goes, what is damaged, and zones that are made from them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zone_api::{
    ApiError, Edit, ErrorKind, Image, ImageDamage, ImageDetails, ImageStep, Progress, Pruned, VerifiedImages,
    VerifyImages,
};

use super::host::RootSpec;
use super::install::Filled;
use super::stack::ROOT;
use super::{Zones, because, room};
use crate::config;
use crate::image::{self, Execution, ImageError, ImageName, Imported, Source};
use crate::pull::Puller;
use crate::state::{Change, Record};
use crate::storage::{LayerId, Pin, Stack, View};

/// An image on its way into a zone: its layers are held until the zone's record names them.
pub(super) struct Layered {
    /// The topmost first.
    pub(super) layers: Vec<LayerId>,
    /// Their folders.
    trees: Vec<PathBuf>,
    /// What the image says its programs are for.
    machine: Option<&'static str>,
    pub(super) execution: Execution,
    _pin: Pin,
}

pub(super) fn failed(what: impl Into<String>, error: &ImageError) -> ApiError {
    let plain = because(what, error);
    ApiError { kind: error.kind(), hint: error.hint().map(str::to_owned), ..plain }
}

pub(super) fn no_such_image(what: impl Into<String>, name: &str) -> ApiError {
    ApiError::new(ErrorKind::NotFound, what, format!("there is no image {name}"))
        .hint("zonectl image list shows them")
}

impl Zones {
    /// Zones by the layers that they or their snapshots need.
    pub(super) fn layers_of_zones(&self) -> BTreeMap<LayerId, BTreeSet<String>> {
        let mut used: BTreeMap<LayerId, BTreeSet<String>> = BTreeMap::new();
        for (name, entry) in &self.lock().zones {
            for layer in entry.layers() {
                used.entry(layer).or_default().insert(name.clone());
            }
        }
        used
    }

    /// Whether an image, a zone or a snapshot is made of it.
    fn is_used(&self, id: &LayerId) -> bool {
        self.images.used_layers().contains(id) || self.used_layers().contains(id)
    }

    /// Images by name.
    pub fn images(&self) -> Vec<Image> {
        let all = self.images.all();
        let used = self.layers_of_zones();
        all.iter().map(|(name, image)| self.describe(name, image, &all, &used)).collect()
    }

    fn describe(
        &self,
        name: &ImageName,
        image: &image::Image,
        all: &BTreeMap<ImageName, image::Image>,
        used: &BTreeMap<LayerId, BTreeSet<String>>,
    ) -> Image {
        let disk = |layer: &LayerId| self.layers.meta(layer).map_or(0, |meta| meta.disk);
        let others = all.values().filter(|other| other.manifest != image.manifest);
        let others: BTreeSet<LayerId> = others.flat_map(image::Image::stack).collect();
        let stack = image.stack();
        let zones = stack.first().and_then(|top| used.get(top)).cloned().unwrap_or_default();
        Image {
            name: name.to_string(),
            digest: image.manifest.to_string(),
            arch: image.machine().to_owned(),
            created: image.created.clone(),
            imported: image.imported,
            layers: image.layers.iter().map(ToString::to_string).collect(),
            size: stack.iter().map(disk).sum(),
            unique: stack.iter().filter(|layer| !others.contains(layer)).map(disk).sum(),
            zones: zones.into_iter().collect(),
        }
    }

    /// One image, with what it says of itself.
    ///
    /// # Errors
    /// When there is none of that name, or its documents cannot be read.
    pub fn image(&self, name: &str) -> Result<ImageDetails, ApiError> {
        let what = || format!("show image {name}");
        let (found, image) = self.images.find(name).ok_or_else(|| no_such_image(what(), name))?;
        let config = self.images.config(&image).map_err(|error| failed(what(), &error))?;
        let all = self.images.all();
        let named = || all.iter().find(|(_, other)| **other == image).map(|(name, _)| name.clone());
        let name = found.or_else(named).ok_or_else(|| no_such_image(what(), name))?;
        let execution = config.config.unwrap_or_default();
        let history = config.history.unwrap_or_default();
        Ok(ImageDetails {
            image: self.describe(&name, &image, &all, &self.layers_of_zones()),
            entrypoint: execution.entrypoint.unwrap_or_default(),
            cmd: execution.cmd.unwrap_or_default(),
            env: execution.env.unwrap_or_default(),
            user: execution.user.filter(|user| !user.is_empty()),
            workdir: execution.working_dir.filter(|folder| !folder.is_empty()),
            stop_signal: execution.stop_signal,
            labels: execution.labels.unwrap_or_default(),
            history: history
                .into_iter()
                .map(|step| ImageStep {
                    created: step.created,
                    by: step.created_by.or(step.comment).unwrap_or_default(),
                    layer: !step.empty_layer,
                })
                .collect(),
        })
    }

    /// Brings an image in, and gives it a name.
    ///
    /// # Errors
    /// It has no name then. Layers that came in whole stay until the next prune, so that trying again is cheaper.
    pub fn import_image(
        &self,
        source: &str,
        name: Option<&str>,
        archive: Option<Box<dyn Read + Send>>,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<(), ApiError> {
        let what = || format!("import {source}");
        let invalid = |why: String| ApiError::new(ErrorKind::Invalid, what(), why);
        let name = name.map(str::parse::<ImageName>).transpose().map_err(invalid)?;
        let parsed: Source = source.parse().map_err(|error| failed(what(), &error))?;
        let found = self.bring_in(&parsed, archive, None, &what, progress)?;
        let name = name.or(found.name).ok_or_else(|| {
            ApiError::new(ErrorKind::Invalid, what(), "the image comes without a name")
                .hint("give one: import SOURCE NAME")
        })?;
        let [manifest, config] = &found.documents;
        self.images
            .keep(&name, &found.image, &[manifest, config])
            .map_err(|error| because(format!("keep image {name}"), &room(self.layers.images(), error)))?;
        drop(found.pin);
        for text in found.notes {
            progress(Progress::Note { text });
        }
        let text = format!("{name} is {}", found.image.manifest);
        tracing::info!("{text}");
        progress(Progress::Note { text });
        Ok(())
    }

    /// Brings the layers of an image into the store, out of a registry where it is there.
    fn bring_in(
        &self,
        source: &Source,
        archive: Option<Box<dyn Read + Send>>,
        want_arch: Option<&str>,
        what: &dyn Fn() -> String,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Imported, ApiError> {
        let import = |source: &Source, archive| {
            let found = image::import(&self.images, source, archive, want_arch, progress);
            found.map_err(|error| failed(what(), &error))
        };
        let Source::Registry(reference) = source else { return import(source, archive) };
        let pulled = self.puller().pull(reference, want_arch, progress)?;
        let layout = Source::Oci { path: pulled.layout.clone(), tag: None };
        let found = import(&layout, None);
        // What does not come in now never does, and a full disk is better with it gone.
        if let Err(error) = pulled.discard() {
            tracing::warn!(%error, "what was pulled is still there");
        }
        found.map(|found| Imported { name: reference.name().and_then(|name| name.parse().ok()), ..found })
    }

    fn puller(&self) -> Puller {
        let id = match self.settings.id_base {
            // 65535 is what 16-bit ids say "none" by.
            0..=65_536 => 65_534,
            base => base - 1,
        };
        Puller {
            program: self.host.puller(),
            folder: self.layers.images().join("pull"),
            id,
            insecure: self.settings.images.insecure_registries.clone(),
            auth_file: self.settings.images.auth_file.as_ref().map(PathBuf::from),
        }
    }

    /// Takes an image's name away. Zones that were made from it do not mind.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn remove_image(&self, name: &str) -> Result<(), ApiError> {
        let what = || format!("remove image {name}");
        let parsed: ImageName =
            name.parse().map_err(|why: String| ApiError::new(ErrorKind::Invalid, what(), why))?;
        match self.images.forget(&parsed) {
            Ok(true) => Ok(()),
            Ok(false) => Err(no_such_image(what(), name)),
            Err(error) => Err(because(what(), &room(self.layers.images(), error))),
        }
    }

    /// Removes layers and documents that no image and no zone needs; with `dry` only tells which.
    ///
    /// # Errors
    /// Some may be gone then.
    pub fn prune_images(&self, dry: bool) -> Result<Pruned, ApiError> {
        let wrong = |error: io::Error| because("prune images", &room(self.layers.images(), error));
        if self.is_unsure() {
            let why = "the record of a zone, or of a snapshot, could not be read, and with it what it needs";
            return Err(ApiError::new(ErrorKind::Failed, "prune images", why)
                .hint("the log of zoned says which; mend or remove it, and start zoned again"));
        }
        let mut pruned = Pruned::default();
        for id in self.layers.all().map_err(wrong)? {
            // Those of zones go with the zones and snapshots that they came of.
            if matches!(id, LayerId::Own(_)) || self.is_used(&id) {
                continue;
            }
            let disk = self.layers.meta(&id).map_or(0, |meta| meta.disk);
            if dry || self.remove_layer(&id, || self.is_used(&id)).map_err(wrong)? {
                pruned.layers.push(id.to_string());
                pruned.bytes += disk;
            }
        }
        pruned.bytes += self.store.with_reserve(|| self.puller().prune(dry)).map_err(wrong)?;
        let blobs = self.store.with_reserve(|| self.images.prune_blobs(dry)).map_err(wrong)?;
        pruned.blobs = blobs.iter().map(ToString::to_string).collect();
        Ok(pruned)
    }

    /// Holds layers and documents against their digests: those of one image, or all.
    ///
    /// # Errors
    /// When there is no such image, or something cannot be moved away.
    pub fn verify_images(
        &self,
        verify: &VerifyImages,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<VerifiedImages, ApiError> {
        let what = || "verify images".to_owned();
        let all = self.images.all();
        let chosen: Vec<image::Image> = match &verify.name {
            Some(name) => vec![self.images.find(name).ok_or_else(|| no_such_image(what(), name))?.1],
            None => all.values().cloned().collect(),
        };
        let mut layers: BTreeSet<LayerId> = chosen.iter().flat_map(image::Image::stack).collect();
        let mut blobs: BTreeSet<image::Digest> =
            chosen.iter().flat_map(|image| [image.manifest.clone(), image.config.clone()]).collect();
        if verify.name.is_none() {
            let found = self.layers.all().map_err(|error| because(what(), &error))?;
            layers.extend(found.into_iter().filter(|id| matches!(id, LayerId::Digest(_))));
            blobs.extend(self.images.prune_blobs(true).map_err(|error| because(what(), &error))?);
        }
        let used = self.layers_of_zones();
        let mut verified = VerifiedImages { layers: layers.len(), blobs: blobs.len(), damage: Vec::new() };
        // An archive is about as long as the files that came of it.
        let length = |id: &LayerId| self.layers.meta(id).map_or(0, |meta| meta.disk);
        let (total, mut done) = (layers.iter().map(length).sum(), 0);
        progress(Progress::Step { step: "reading layers".to_owned(), total: Some(total) });
        for id in layers {
            let _pin = self.layers.pin([id.clone()]);
            let (before, length) = (done, length(&id));
            done += length;
            let held = image::verify_layer(&self.layers, &id, &mut |read| {
                progress(Progress::At { done: before + read.min(length) });
            });
            progress(Progress::At { done });
            let Err(why) = held else { continue };
            let named = all.iter().filter(|(_, image)| image.stack().contains(&id));
            let zones = used.get(&id).cloned().unwrap_or_default();
            let images: Vec<String> = named.map(|(name, _)| name.to_string()).collect();
            let mut damage = ImageDamage {
                kind: "layer".to_owned(),
                digest: id.to_string(),
                why,
                images,
                zones: zones.into_iter().collect(),
                repaired: false,
            };
            drop(_pin);
            if verify.repair && damage.images.is_empty() && damage.zones.is_empty() {
                let removed = self.remove_layer(&id, || self.is_used(&id));
                damage.repaired = removed.map_err(|error| because(what(), &error))?;
            }
            verified.damage.push(damage);
        }
        for digest in blobs {
            let Err(error) = self.images.blob(&digest) else { continue };
            let named = all.iter().filter(|(_, image)| image.manifest == digest || image.config == digest);
            let images: Vec<String> = named.map(|(name, _)| name.to_string()).collect();
            let repaired = verify.repair && images.is_empty();
            if repaired {
                self.images.discard_blob(&digest).map_err(|error| because(what(), &error))?;
            }
            verified.damage.push(ImageDamage {
                kind: "blob".to_owned(),
                digest: digest.to_string(),
                why: because("", &error).why,
                images,
                zones: Vec::new(),
                repaired,
            });
        }
        Ok(verified)
    }

    /// The layers for a zone that is installed from an image; what is not in the store is brought there.
    pub(super) fn layered(
        &self,
        source: &Source,
        archive: Option<Box<dyn Read + Send>>,
        want_arch: Option<&str>,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Layered, ApiError> {
        let what = || format!("install from {source}");
        let (image, config, pin, notes) = if let Source::Image(name) = source {
            let (_, image) = self.images.find(name).ok_or_else(|| no_such_image(what(), name))?;
            let pin = self.layers.pin(image.stack());
            if let Some(missing) = image.stack().iter().find(|layer| !self.layers.has(layer)) {
                let why = format!("layer {missing} of it is not there");
                return Err(ApiError::new(ErrorKind::Failed, what(), why).hint("import the image again"));
            }
            let config = self.images.config(&image).map_err(|error| failed(what(), &error))?;
            (image, config, pin, Vec::new())
        } else {
            let found = self.bring_in(source, archive, want_arch, &what, progress)?;
            if let Some(name) = &found.name {
                let [manifest, config] = &found.documents;
                self.images.keep(name, &found.image, &[manifest, config]).map_err(|error| {
                    because(format!("keep image {name}"), &room(self.layers.images(), error))
                })?;
            }
            (found.image, found.config, found.pin, found.notes)
        };
        for text in notes {
            progress(Progress::Note { text });
        }
        let mut layers = image.stack();
        let stack = Stack::open(&self.trees(&layers)).map_err(|error| because(what(), &error))?;
        layers.truncate(stack.depth());
        let (trees, machine) = (self.trees(&layers), config.machine());
        Ok(Layered { layers, trees, machine, execution: config.config.unwrap_or_default(), _pin: pin })
    }
}

/// An import that can run wherever threads may block.
pub struct ImportJob {
    /// The images are its.
    pub zones: Arc<Zones>,
    /// Where it comes from.
    pub source: String,
    /// Its name, where one was given.
    pub name: Option<String>,
}

impl ImportJob {
    /// Does it.
    ///
    /// # Errors
    /// As for [`Zones::import_image`].
    pub fn run(
        self,
        archive: Option<Box<dyn Read + Send>>,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<(), ApiError> {
        self.zones.import_image(&self.source, self.name.as_deref(), archive, progress)
    }
}

/// Shells that somebody was to sit at: a zone has its own way to do that.
const SHELLS: [&str; 9] = ["sh", "bash", "ash", "dash", "zsh", "ksh", "busybox", "fish", "login"];

/// Whether the words start a shell that waits for a person.
fn is_interactive(words: &[String]) -> bool {
    let Some((program, rest)) = words.split_first() else { return true };
    let base = |word: &str| word.rsplit('/').next().unwrap_or(word).trim_start_matches('-').to_owned();
    let rest = match base(program).as_str() {
        "busybox" if rest.first().is_some_and(|word| SHELLS.contains(&base(word).as_str())) => &rest[1..],
        _ => rest,
    };
    SHELLS.contains(&base(program).as_str())
        && rest.iter().all(|word| matches!(word.as_str(), "-i" | "-l" | "--login" | "-il" | "-li"))
}

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// An absolute path without `.` and `..`.
fn plain(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Where `word` is found that an image calls its program; links stay as they are, since programs look at their name.
fn program(stack: &Stack, word: &str, env: &[String], workdir: &str) -> Option<String> {
    let is_there = |path: &String| stack.find(Path::new(path)).is_some_and(|found| found.is_program());
    if word.contains('/') {
        let path = if word.starts_with('/') { plain(word) } else { plain(&format!("{workdir}/{word}")) };
        return Some(path).filter(is_there);
    }
    let path = env.iter().find_map(|variable| variable.strip_prefix("PATH=")).unwrap_or(PATH);
    path.split(':')
        .filter(|folder| folder.starts_with('/'))
        .map(|folder| plain(&format!("{folder}/{word}")))
        .find(is_there)
}

/// A list as `set` takes it.
fn list(words: &[String]) -> String {
    words.iter().collect::<toml_edit::Array>().to_string()
}

impl Zones {
    /// Fills a zone from an image: its record gets the layers, or its root what they come to.
    pub(super) fn install_layers(
        &self,
        name: &str,
        source: &Source,
        archive: Option<Box<dyn Read + Send>>,
        want_arch: Option<&str>,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Filled, ApiError> {
        let what = || format!("install from {source}");
        let layered = self.layered(source, archive, want_arch, progress)?;
        let folder = self.data(name);
        let root = folder.join(ROOT);
        if self.host.stacks_layers() {
            // From here on a crash is made good by its record.
            let change = Some(Change::Replace(layered.layers.clone()));
            self.save(name, |record| Record { change, ..record.clone() })?;
            self.finish_change(name)?;
        } else {
            progress(Progress::Step { step: "putting its layers together".to_owned(), total: None });
            std::fs::create_dir(&root)
                .and_then(|()| crate::storage::flatten(&layered.trees, &root))
                .map_err(|error| because(what(), &room(&folder, error)))?;
            self.make_upper(name, &[])?;
        }
        self.host.prepare(&folder)?;
        let looked = self.in_root(name, |root, _| Ok(image::root_arch(root, want_arch)));
        let arch = match looked.map_err(|error| because(what(), &room(&folder, error)))? {
            Ok(arch) => Some(arch),
            Err(ImageError::NoProgram) => layered.machine,
            Err(error) => return Err(failed(what(), &error)),
        };
        self.adapt(name, progress);
        super::install::settle(&folder)?;
        Ok(Filled { arch: arch.map(str::to_owned), layered: Some(layered) })
    }

    /// What a zone that exists while its program runs has of an image: its files, and its variables.
    pub(super) fn image_to_run(
        &self,
        name: &str,
        zone_dir: &Path,
        source: &Source,
        config: &mut config::Config,
    ) -> Result<RootSpec, ApiError> {
        let what = || format!("run over {source}");
        let layered = self.layered(source, None, config.arch.as_deref(), &|_| {})?;
        let root = zone_dir.join(ROOT);
        let looked = if self.host.stacks_layers() {
            let layers = layered.layers.clone();
            // Of this zone there is no record on disk; it is what keeps the layers.
            self.save(name, |record| Record { layers, ..record.clone() })?;
            let view = View::of(&layered.trees).map_err(|error| because(what(), &error))?;
            image::root_arch(&view.path(), config.arch.as_deref())
        } else {
            std::fs::create_dir(&root)
                .and_then(|()| crate::storage::flatten(&layered.trees, &root))
                .map_err(|error| because(what(), &room(zone_dir, error)))?;
            image::root_arch(&root, config.arch.as_deref())
        };
        let arch = match looked {
            Ok(arch) => Some(arch),
            Err(ImageError::NoProgram) => layered.machine,
            Err(error) => return Err(failed(what(), &error)),
        };
        config.arch = config.arch.take().or(arch.map(str::to_owned));
        if config.env.is_empty() {
            let env = layered.execution.env.clone().unwrap_or_default();
            config.env = env.into_iter().filter(|one| config::check_variable(one).is_ok()).collect();
        }
        let stacks = self.host.stacks_layers();
        Ok(if stacks { RootSpec::Layered(layered.trees.clone()) } else { RootSpec::Installed })
    }

    /// What an image says of its program as changes of the zone's configuration, and in words; keys that are set stay as they are.
    pub(super) fn execution_told(&self, name: &str, layered: &Layered) -> (Vec<Edit>, String) {
        match self.execution_edits(name, layered) {
            Ok((edits, _)) if edits.is_empty() => Default::default(),
            Ok((edits, said)) => (edits, format!("from the image: {}", said.join(", "))),
            Err(why) => (Vec::new(), format!("the image's program was not configured: {why}")),
        }
    }

    fn execution_edits(&self, name: &str, layered: &Layered) -> Result<(Vec<Edit>, Vec<String>), String> {
        let Execution { user, env, entrypoint, cmd, working_dir, labels, stop_signal } =
            layered.execution.clone();
        let text = self.config_text(name).map_err(|error| error.to_string())?;
        let document: toml_edit::DocumentMut = text.parse().map_err(|_| "its file is no TOML".to_owned())?;
        let (mut edits, mut said) = (Vec::new(), Vec::new());
        let mut set = |key: &str, value: String| {
            if !document.contains_key(key) {
                edits.push(Edit::Set { key: key.to_owned(), value });
                said.push(key.to_owned());
            }
        };
        // One that no configuration can hold is left out, not the others with it.
        let env: Vec<String> = env.unwrap_or_default();
        let (mut env, odd): (Vec<_>, Vec<_>) =
            env.into_iter().partition(|one| config::check_variable(one).is_ok());
        let workdir = working_dir.filter(|folder| !folder.is_empty() && folder != "/");
        let workdir = workdir.map(|folder| plain(&folder));
        let words: Vec<String> = entrypoint.into_iter().flatten().chain(cmd.into_iter().flatten()).collect();
        let is_program = !is_interactive(&words) && !document.contains_key("init");
        if is_program {
            let stack = Stack::open(&layered.trees).map_err(|error| error.to_string())?;
            let found = program(&stack, &words[0], &env, workdir.as_deref().unwrap_or("/"));
            let found = found.ok_or_else(|| format!("{:?} is not in it", words[0]))?;
            set("init", found);
            if words.len() > 1 {
                set("bootargs", list(&words[1..]));
            }
            // It is no init, and knows of no poweroff(8).
            set("stop-signal", stop_signal.unwrap_or_else(|| "SIGTERM".to_owned()));
        }
        let is_root =
            user.as_deref().is_none_or(|user| matches!(user, "" | "0" | "root" | "0:0" | "root:root"));
        if is_program && is_root && !env.iter().any(|variable| variable.starts_with("HOME=")) {
            // As the programs of images have it; the kernel gives process 1 another.
            env.push("HOME=/root".to_owned());
        }
        if !env.is_empty() {
            set("env", list(&env));
        }
        if let Some(user) = user.filter(|_| !is_root) {
            set("user", user);
        }
        if let Some(workdir) = workdir {
            set("workdir", workdir);
        }
        let attr = |name: String, value: String| {
            let properties = [("name", name), ("type", "string".to_owned()), ("value", value)];
            let properties = properties.map(|(key, value)| (key.to_owned(), value)).into();
            Edit::Add { resource: "attr".to_owned(), properties }
        };
        let labels =
            labels.unwrap_or_default().into_iter().map(|(key, value)| (format!("label.{key}"), value));
        let known: BTreeSet<String> = document
            .get("attr")
            .and_then(|item| item.as_array_of_tables())
            .into_iter()
            .flatten()
            .filter_map(|table| table.get("name")?.as_str().map(str::to_owned))
            .collect();
        let attrs: Vec<_> = labels
            .filter(|(key, value)| !known.contains(key) && !(key.clone() + value).contains(['\0', '\n']))
            .collect();
        if !attrs.is_empty() {
            said.push(format!("{} attributes", attrs.len()));
            edits.extend(attrs.into_iter().map(|(key, value)| attr(key, value)));
        }
        if !odd.is_empty() {
            said.push(format!("{} variables left out that are not NAME=VALUE", odd.len()));
        }
        Ok((edits, said))
    }
}
