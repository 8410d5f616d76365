//! commit: what a zone wrote becomes a layer of an image; export: an image goes out.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use zone_api::{ApiError, CommitZone, ErrorKind, Progress};

use super::images::{failed, no_such_image};
use super::{Zones, because, room};
use crate::config::{Config, Init};
use crate::image::export::{self, Export, Kind, Packed};
use crate::image::{self, Commit, Execution, ImageName};
use crate::state::Verb;
use crate::storage::{LayerId, Pin};

/// A commit whose layers are held, and that can run wherever threads may block.
pub struct CommitJob {
    zones: Arc<Zones>,
    zone: String,
    /// `ZONE[@SNAP]`
    from: String,
    name: ImageName,
    comment: Option<String>,
    /// The topmost first.
    layers: Vec<LayerId>,
    config: Config,
    arch: Option<String>,
    _pin: Pin,
}

impl Zones {
    /// Takes what a zone's root is now, or was at a snapshot.
    ///
    /// # Errors
    /// When there is no such zone or snapshot, or the zone has no root.
    pub fn begin_commit(self: &Arc<Self>, zone: &str, commit: &CommitZone) -> Result<CommitJob, ApiError> {
        let from = match &commit.snapshot {
            Some(snap) => format!("{zone}@{snap}"),
            None => zone.to_owned(),
        };
        let what = || format!("commit {from}");
        self.known(zone, "commit")?;
        let name = commit.image.parse::<ImageName>();
        let name = name.map_err(|why| ApiError::new(ErrorKind::Invalid, what(), why))?;
        let config = self.config(zone)?;
        let (layers, pin, arch) = match &commit.snapshot {
            Some(snap) => {
                let (snapshot, pin) = self.pinned(zone, snap)?;
                (snapshot.layers, pin, snapshot.arch)
            }
            None => {
                let _claim = self.claim(zone, Verb::Snapshot)?;
                let taken = self.capture(zone)?;
                (taken.layers, taken._pin, None)
            }
        };
        let arch = config.arch.clone().or(arch);
        let (zones, zone, comment) = (Arc::clone(self), zone.to_owned(), commit.comment.clone());
        Ok(CommitJob { zones, zone, from, name, comment, layers, config, arch, _pin: pin })
    }

    /// The image whose layers those are, the topmost first: all of them, or the upper ones, which hide the others.
    fn image_of(&self, layers: &[LayerId]) -> Option<image::Image> {
        let all = self.images.all();
        let of = all.values().filter(|image| !layers.is_empty() && image.stack().starts_with(layers));
        of.min_by_key(|image| (image.layers.len(), std::cmp::Reverse(image.imported))).cloned()
    }
}

impl CommitJob {
    /// Makes the image.
    ///
    /// # Errors
    /// There is then none of that name, or the one that there was.
    pub fn run(self, progress: &(dyn Fn(Progress) + Sync)) -> Result<(), ApiError> {
        let zones = Arc::clone(&self.zones);
        let made = self.make(progress);
        // What was made a layer of for the image alone.
        zones.sweep_layers();
        made
    }

    fn make(self, progress: &(dyn Fn(Progress) + Sync)) -> Result<(), ApiError> {
        let what = || format!("commit {}", self.from);
        let zones = &self.zones;
        let own = self.layers.iter().rposition(|id| matches!(id, LayerId::Own(_))).map_or(0, |at| at + 1);
        let (own, of_image) = self.layers.split_at(own);
        let base = zones.image_of(of_image);
        if base.is_none() && !of_image.is_empty() {
            let text = format!(
                "the image that {} comes of has no name any more: only its layers are carried over",
                self.zone
            );
            progress(Progress::Note { text });
        }
        let digest = |id: &LayerId| id.to_string().parse::<image::Digest>().ok();
        let commit = Commit {
            below: of_image.iter().rev().filter_map(digest).collect(),
            trees: own.iter().rev().map(|id| zones.layers.tree(id)).collect(),
            architecture: if self.arch.as_deref() == Some("x86_64") { "amd64" } else { "386" },
            by: format!("zonectl commit {} {}", self.from, self.name),
            comment: self.comment.clone(),
            base: base.as_ref(),
        };
        let change = |execution: &mut Execution| carry_over(&self.config, execution);
        let made = image::commit(&zones.images, commit, change, progress);
        let made = made.map_err(|error| failed(what(), &error))?;
        let [manifest, config] = &made.documents;
        zones.images.keep(&self.name, &made.image, &[manifest, config]).map_err(|error| {
            because(format!("keep image {}", self.name), &room(zones.layers.images(), error))
        })?;
        drop(made.pin);
        for text in made.notes {
            progress(Progress::Note { text });
        }
        let text = format!("{} is {}", self.name, made.image.manifest);
        zones.note(&self.zone, &format!("{} committed: {text}", self.from));
        progress(Progress::Note { text });
        Ok(())
    }
}

/// What the zone's configuration says of its program, over what its image said.
fn carry_over(config: &Config, execution: &mut Execution) {
    if let Init::Path(init) = &config.init {
        let words = || execution.entrypoint.iter().flatten().chain(execution.cmd.iter().flatten());
        // An image may name its program as a shell would.
        let is_same = words().next().is_some_and(|word| {
            init == word
                || !word.starts_with('/') && init.ends_with(&format!("/{}", word.trim_start_matches("./")))
        }) && words().skip(1).eq(&config.bootargs);
        if !is_same {
            execution.entrypoint = Some(vec![init.clone()]);
            execution.cmd = (!config.bootargs.is_empty()).then(|| config.bootargs.clone());
        }
    }
    if !config.env.is_empty() {
        // What install adds is the zone's own.
        let has_home = execution.env.iter().flatten().any(|variable| variable.starts_with("HOME="));
        let own = config.env.iter().filter(|variable| has_home || *variable != "HOME=/root");
        execution.env = Some(own.cloned().collect());
    }
    for (own, its) in [(&config.user, &mut execution.user), (&config.workdir, &mut execution.working_dir)] {
        if own.is_some() {
            its.clone_from(own);
        }
    }
    let label =
        |attr: &crate::config::Attr| Some((attr.name.strip_prefix("label.")?.to_owned(), attr.value.clone()));
    let labels: BTreeMap<String, String> = config.attr.iter().filter_map(label).collect();
    if !labels.is_empty() {
        execution.labels = Some(labels);
    }
    if config
        .stop_signal
        .as_deref()
        .is_some_and(|signal| signal != "SIGTERM" || execution.stop_signal.is_some())
    {
        execution.stop_signal.clone_from(&config.stop_signal);
    }
}

/// An export that can run wherever threads may block; its layers are held.
pub struct ExportJob {
    zones: Arc<Zones>,
    image: image::Image,
    reference: String,
    kind: Kind,
    packed: Packed,
    _pin: Pin,
}

impl Zones {
    /// Finds an image that is to go out, as `kind`, `oci` or `docker`, with its layers packed by `compression`: `none`, `gzip`,
    /// `zstd`.
    ///
    /// # Errors
    /// When there is no such image, or not all of it is there.
    pub fn begin_export(
        self: &Arc<Self>,
        name: &str,
        reference: Option<&str>,
        kind: &str,
        compression: Option<&str>,
    ) -> Result<ExportJob, ApiError> {
        let what = || format!("export {name}");
        let invalid = |why: String| ApiError::new(ErrorKind::Invalid, what(), why);
        let kind = match kind {
            "oci" => Kind::Oci,
            "docker" => Kind::Docker,
            other => return Err(invalid(format!("no kind of archive {other:?}: oci and docker are known"))),
        };
        let packed = match (compression, kind) {
            (None, Kind::Oci) | (Some("gzip"), _) => Packed::Gzip,
            // Older Dockers load nothing else.
            (None, Kind::Docker) | (Some("none"), _) => Packed::Plain,
            (Some("zstd"), Kind::Oci) => Packed::Zstd,
            (Some("zstd"), Kind::Docker) => {
                return Err(invalid("docker load knows no zstd: gzip and none are left".to_owned()));
            }
            (Some(other), _) => {
                return Err(invalid(format!("no compression {other:?}: gzip, zstd and none are known")));
            }
        };
        let (found, image) = self.images.find(name).ok_or_else(|| no_such_image(what(), name))?;
        let pin = self.layers.pin(image.stack());
        if let Some(missing) = image.stack().iter().find(|layer| !self.layers.has(layer)) {
            let why = format!("layer {missing} of it is not there");
            return Err(ApiError::new(ErrorKind::Failed, what(), why).hint("import the image again"));
        }
        let reference = match (reference, found) {
            (Some(reference), _) if reference.len() > 512 || reference.chars().any(char::is_control) => {
                return Err(invalid("that is no name for an image in an archive".to_owned()));
            }
            (Some(reference), _) if kind == Kind::Docker => {
                reference.parse::<ImageName>().map_err(invalid)?.to_string()
            }
            (Some(reference), _) => reference.to_owned(),
            (None, Some(name)) => name.to_string(),
            (None, None) => "latest".to_owned(),
        };
        Ok(ExportJob { zones: Arc::clone(self), image, reference, kind, packed, _pin: pin })
    }
}

impl ExportJob {
    /// Writes it.
    ///
    /// # Errors
    /// What was written until then is no whole archive.
    pub fn run(&self, to: &mut dyn Write) -> Result<(), ApiError> {
        let Self { image, reference, kind, packed, .. } = self;
        let export = Export { image, reference, kind: *kind, packed: *packed };
        export::export(&self.zones.images, &export, to)
            .map_err(|error| failed(format!("export {reference}"), &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Option<Vec<String>> {
        Some(words.iter().map(|word| (*word).to_owned()).collect())
    }

    #[test]
    fn an_images_program_stays_unless_the_zone_has_another() {
        let config =
            |text: &str| Config::parse(&format!("name = \"z\"\nbrand = \"linux\"\n{text}"), "z").unwrap();
        let of_image = || Execution {
            entrypoint: words(&["nginx"]),
            cmd: words(&["-g", "daemon off;"]),
            env: words(&["A=1"]),
            user: Some("www".to_owned()),
            ..Execution::default()
        };
        let mut same = of_image();
        let text = r#"init = "/usr/sbin/nginx"
            bootargs = ["-g", "daemon off;"]
            stop-signal = "SIGTERM"
            env = ["A=1", "HOME=/root"]"#;
        carry_over(&config(text), &mut same);
        assert_eq!(same, of_image());
        let mut other = of_image();
        let text = r#"init = "/bin/own"
            env = ["A=2"]
            workdir = "/srv"
            attr = [{name = "label.a", type = "string", value = "b"}, {name = "note", type = "string", value = "c"}]"#;
        carry_over(&config(text), &mut other);
        assert_eq!((other.entrypoint, other.cmd), (words(&["/bin/own"]), None));
        assert_eq!((other.env, other.working_dir), (words(&["A=2"]), Some("/srv".to_owned())));
        assert_eq!(other.user.as_deref(), Some("www"));
        assert_eq!(other.labels, Some([("a".to_owned(), "b".to_owned())].into()));
    }
}
