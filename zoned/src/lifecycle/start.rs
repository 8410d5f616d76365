//! boot and ready.

use std::sync::Arc;

use zone_api::{ApiError, Boot, ErrorKind, State};

use super::Zones;
use super::host::{MonitorSpec, Summary};
use super::registry::{Claim, Live};
use crate::config;
use crate::state::Verb;

impl Zones {
    /// Starts a zone's init, and makes its platform where it is not ready.
    ///
    /// # Errors
    /// The zone is then installed, or still running where it ran.
    pub fn boot(self: &Arc<Self>, name: &str, boot: Boot) -> Result<(), ApiError> {
        let claim = self.claim(name, Verb::Boot)?;
        check_boot(name, &boot)?;
        let Some(live) = self.live(name) else { return self.start(&claim, boot, false) };
        // Its state is ready: the table lets boot through in no other live one.
        live.control.boot(boot)?;
        self.note(name, "booted");
        self.look_again(name, live.epoch, false);
        Ok(())
    }

    /// Makes a zone's platform and does not start its init.
    ///
    /// # Errors
    /// The zone is then installed.
    pub fn ready(self: &Arc<Self>, name: &str, boot: Boot) -> Result<(), ApiError> {
        let claim = self.claim(name, Verb::Ready)?;
        check_boot(name, &boot)?;
        self.start(&claim, boot, true)
    }

    pub(super) fn start(
        self: &Arc<Self>,
        claim: &Claim,
        boot: Boot,
        ready_only: bool,
    ) -> Result<(), ApiError> {
        let name = &claim.name;
        let config = self.config(name)?;
        let (id_slot, uuid, dirty) = match self.lock().zones.get(name) {
            Some(entry) => (entry.record.id_slot, entry.record.uuid.to_string(), entry.dirty),
            None => return Err(super::no_such_zone(format!("boot {name}"), name)),
        };
        if dirty {
            self.host.teardown(name)?;
        }
        let root = self.ready_root(name)?;
        self.limit_disk(name, &config)?;
        let spec = MonitorSpec {
            config,
            boot,
            ready_only,
            id: self.take_id(),
            id_slot,
            uuid,
            zone_dir: self.data(name),
            run_dir: self.paths.run.join(name),
            root,
            binds: Vec::new(),
            ephemeral: false,
            marks: None,
            session: None,
        };
        // A mount of an overlay makes files, and removes them.
        self.store.lend_reserve(|| self.launch(name, spec))?;
        self.save_reason(name, None).unwrap_or_else(|error| {
            // It runs; an old reason in its record is no cause to say that it does not.
            tracing::warn!(zone = name, %error, "its state cannot be kept");
        });
        self.no_restart(name);
        self.note(name, if ready_only { "ready" } else { "booted" });
        Ok(())
    }

    /// Starts a monitor and takes its zone for live; frees the id where that fails.
    pub(super) fn launch(self: &Arc<Self>, name: &str, spec: MonitorSpec) -> Result<(), ApiError> {
        let id = spec.id;
        let summary = Summary::from(&spec.config);
        let begun = if spec.ready_only { State::Ready } else { State::Running };
        let handle = match self.host.start_monitor(spec) {
            Ok(handle) => handle,
            Err(error) => {
                let left = self.host.teardown(name);
                let mut halted = false;
                if let Some(entry) = self.lock().zones.get_mut(name) {
                    entry.dirty = left.is_err();
                    halted = entry.overridden;
                }
                let error =
                    if halted { ApiError::new(error.kind, error.what, "it was halted") } else { error };
                if let Err(left) = left {
                    tracing::error!(zone = name, error = %left, "something of it is left");
                }
                self.free_id(id);
                self.note(name, &format!("boot failed: {error}"));
                return Err(error);
            }
        };
        let init_pid = handle.init_pid;
        self.go_live(name, handle, |epoch, control| Live {
            control,
            epoch,
            id,
            state: begun,
            init_pid,
            summary,
            since: std::time::Instant::now(),
            reboots: 0,
            asked: false,
            ending: false,
        });
        Ok(())
    }
}

fn check_boot(name: &str, boot: &Boot) -> Result<(), ApiError> {
    config::check_init(boot.init.as_deref().unwrap_or("auto"), boot.args.as_deref().unwrap_or(&[]))
        .map_err(|why| ApiError::new(ErrorKind::Invalid, format!("boot {name}"), why))
}
