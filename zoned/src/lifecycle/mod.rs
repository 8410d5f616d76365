//! The verbs on zones, one file each, over a registry of where every zone stands.
//!
//! A verb first *claims* its zone: from then on no second one can begin on it. The durable part of
//! a zone's state is in its record; the live part is what its monitor says.

mod autoboot;
mod bus;
mod clone;
mod commit;
mod console;
mod create;
mod delete;
mod du;
mod edit;
mod events;
mod halt;
pub mod host;
mod images;
mod install;
mod ledger;
mod log;
mod login;
mod order;
mod profile;
mod reboot;
mod receive;
mod recover;
mod registry;
mod relocate;
mod restart;
mod run;
mod send;
mod shutdown;
mod slots;
mod snapshot;
mod stack;
mod start;
mod stat;
mod trash;
mod uninstall;
mod verify;

#[cfg(any(test, fuzzing))]
#[cfg_attr(fuzzing, allow(dead_code, reason = "the tests need more of it"))]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
pub(crate) mod fake;
#[cfg(test)]
mod keeping;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use zone_api::{ApiError, ErrorKind};

use crate::causes::chain;

pub use commit::{CommitJob, ExportJob};
pub use host::Host;
pub use images::ImportJob;
pub use install::InstallJob;
pub use registry::Zones;
pub use run::RunJob;
pub use send::SendJob;

/// Where things are.
#[derive(Debug, Clone)]
pub struct Paths {
    /// `--root`: zones/ and ephemeral/ are here.
    pub root: PathBuf,
    /// `--run`.
    pub run: PathBuf,
    /// `--zones`: NAME.toml.
    pub configs: PathBuf,
}

/// An error with the whole chain of its causes.
pub(crate) fn because(what: impl Into<String>, error: &dyn Error) -> ApiError {
    ApiError::new(ErrorKind::Failed, what, chain(error))
}

/// Says where there is no room, where that is why; `folder` is on that file system.
fn room(folder: &Path, error: io::Error) -> io::Error {
    let kind = error.kind();
    match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            io::Error::new(kind, crate::image::no_room(folder))
        }
        _ => error,
    }
}

fn no_such_zone(what: impl Into<String>, name: &str) -> ApiError {
    ApiError::new(ErrorKind::NoSuchZone, what, format!("there is no zone {name}"))
}
