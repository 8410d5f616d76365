//! run: a zone that exists while its program runs.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;
use zone_api::{ApiError, Boot, ErrorKind, Login, Mark, Run};

use super::host::{MonitorSpec, RootSpec, Session};
use super::login::refuse;
use super::registry::Claim;
use super::{Zones, because};
use crate::config::{Config, edit};
use crate::image::Source;
use crate::marks;
use crate::state::{Durable, Record, Verb};

/// Names of these zones: this and eight hex digits.
const PREFIX: &str = "run-";

/// Whether a zone of that name can be one of these.
pub(super) fn is_run_name(name: &str) -> bool {
    name.strip_prefix(PREFIX)
        .is_some_and(|rest| rest.len() == 8 && rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// A zone that has a name and a place, and waits for its client's connection.
pub struct RunJob {
    /// Gives the zone up when it is dropped before the zone lives.
    zone: Unborn,
    config: Config,
    root: Root,
    binds: Vec<(PathBuf, PathBuf)>,
    login: Login,
    marks: Option<Vec<Mark>>,
}

enum Root {
    Spec(RootSpec),
    /// To be installed first.
    Source(String),
    /// To be brought in first.
    Image(Source),
}

struct Unborn {
    claim: Claim,
    born: bool,
}

impl Drop for Unborn {
    fn drop(&mut self) {
        if !self.born {
            self.claim.zones.forget_ephemeral(&self.claim.name);
        }
    }
}

impl Zones {
    /// Makes the zone of a `run`, all but its monitor.
    ///
    /// # Errors
    /// When the request makes no sense.
    pub fn begin_run(self: &Arc<Self>, run: Run) -> Result<RunJob, ApiError> {
        let mut marks = run.timings.then(|| vec![marks::now("zoned was asked")]);
        let invalid = |why: String| ApiError::new(ErrorKind::Invalid, "run", why);
        if run.login.command.is_empty() {
            return Err(invalid("no program was named".into()));
        }
        let name = format!("{PREFIX}{:08x}", Uuid::new_v4().as_fields().0);
        let text = edit::rename("", &name).map_err(|error| error.to_api())?;
        let (_, config) =
            edit::apply(&text, &run.edits, "run").map_err(|error| error.of_request("run").to_api())?;
        let root = match run.root.as_deref() {
            None => Root::Spec(RootSpec::Host),
            Some(source) => match source.strip_prefix("dir:").unwrap_or(source) {
                folder if folder.starts_with('/') => {
                    let folder = PathBuf::from(folder);
                    if !folder.is_dir() {
                        return Err(invalid(format!("root {} is not a folder", folder.display())));
                    }
                    Root::Spec(RootSpec::Dir(folder))
                }
                _ if source.contains(':') && !source.ends_with(":-") => match source.parse::<Source>() {
                    Ok(image) if image.is_stream() => {
                        return Err(invalid(format!("root {source:?} is stdin")));
                    }
                    Ok(image) if image.is_image() => Root::Image(image),
                    _ => Root::Source(source.to_owned()),
                },
                _ => return Err(invalid(format!("root {source:?} is no absolute path and no source"))),
            },
        };
        let binds = run.binds.iter().map(|bind| parse_bind(bind)).collect::<Result<_, _>>();
        let binds = binds.map_err(invalid)?;
        let record = |slot| Record::new(slot).to(Durable::Installed, None, None);
        let claim = self.claim_new(&name, record, Verb::Run, true)?;
        marks.iter_mut().for_each(|marks| marks.push(marks::now("configure the zone")));
        Ok(RunJob { zone: Unborn { claim, born: false }, config, root, binds, login: run.login, marks })
    }

    /// Removes what a `run` zone left.
    pub(super) fn forget_ephemeral(&self, name: &str) {
        // Without the trash: what a crash leaves of these is removed by the next zoned.
        let folder = self.paths.root.join("ephemeral").join(name);
        if folder.exists()
            && let Err(error) = self.empty_bin(&folder)
        {
            tracing::warn!(zone = name, %error, "its folder cannot be removed");
        }
        self.host.forget(name);
        self.lock().remove(name);
        self.changed.notify_all();
    }
}

impl RunJob {
    /// Name of the zone.
    pub fn name(&self) -> &str {
        &self.zone.claim.name
    }

    /// Starts the zone with its program on the client's connection.
    ///
    /// # Errors
    /// The client was told.
    pub fn run(self, session: Session) -> Result<(), ApiError> {
        let client = session.conn.try_clone();
        if let (Ok(held), Some(entry)) =
            (session.conn.try_clone(), self.zone.claim.zones.lock().zones.get_mut(self.name()))
        {
            entry.client = Some(held);
        }
        self.start(session).inspect_err(|error| refuse(client, error))
    }

    fn start(mut self, session: Session) -> Result<(), ApiError> {
        let zones = Arc::clone(&self.zone.claim.zones);
        let name = self.zone.claim.name.clone();
        self.marks.iter_mut().for_each(|marks| marks.push(marks::now("take over the connection")));
        let zone_dir = zones.data(&name);
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&zone_dir)
            .map_err(|error| because(format!("make {}", zone_dir.display()), &error))?;
        let root = match self.root {
            Root::Spec(spec) => spec,
            Root::Image(source) => zones.image_to_run(&name, &zone_dir, &source, &mut self.config)?,
            Root::Source(source) => {
                let root = zone_dir.join("root");
                std::fs::DirBuilder::new()
                    .mode(0o755)
                    .create(&root)
                    .map_err(|error| because(format!("make {}", root.display()), &error))?;
                let found = zones.host.install(&source, &root, None, self.config.arch.as_deref(), &|_| {})?;
                self.config.arch.get_or_insert(found.arch);
                RootSpec::Installed
            }
        };
        let record = zones.lock().zones.get(&name).map(|entry| entry.record.clone());
        let id_slot = record.as_ref().map_or(0, |record| record.id_slot);
        let uuid = record.map_or_else(String::new, |record| record.uuid.to_string());
        let spec = MonitorSpec {
            config: self.config,
            boot: Boot::default(),
            ready_only: false,
            id: zones.take_id(),
            id_slot,
            uuid,
            zone_dir,
            run_dir: zones.paths.run.join(&name),
            root,
            binds: self.binds,
            ephemeral: true,
            marks: self.marks,
            session: Some((session, self.login)),
        };
        zones.launch(&name, spec)?;
        self.zone.born = true;
        Ok(())
    }
}

/// `SRC[:DST]`, both absolute and without `..`.
fn parse_bind(bind: &str) -> Result<(PathBuf, PathBuf), String> {
    let (source, target) = bind.split_once(':').unwrap_or((bind, bind));
    for path in [source, target] {
        let path = Path::new(path);
        if !path.is_absolute() || path.components().any(|part| part == Component::ParentDir) {
            return Err(format!("bind {bind:?} is not SRC[:DST] with absolute paths"));
        }
    }
    if Path::new(target) == Path::new("/") {
        return Err(format!("bind {bind:?} would hide the whole root"));
    }
    if !Path::new(source).exists() {
        return Err(format!("bind {bind:?}: {source} does not exist"));
    }
    Ok((source.into(), target.into()))
}
