//! A host without zones, for tests: monitors are entries in a map, roots a few files.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use zone_api::{ApiError, Boot, Brand, ErrorKind, Finding, Progress, SessionEvent, State, Verdict, Verified};

use super::host::*;
use super::{Paths, Zones};
use crate::config::Config;
use crate::config::daemon::Settings;

/// Holds whoever passes while it is closed.
#[derive(Default)]
pub(crate) struct Gate {
    closed: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    pub(crate) fn close(&self) {
        *self.closed.lock().unwrap() = true;
    }

    pub(crate) fn open(&self) {
        *self.closed.lock().unwrap() = false;
        self.opened.notify_all();
    }

    fn pass(&self) {
        let closed = self.closed.lock().unwrap();
        let (closed, _) =
            self.opened.wait_timeout_while(closed, Duration::from_secs(20), |closed| *closed).unwrap();
        assert!(!*closed, "a gate was never opened");
    }
}

#[derive(Default)]
pub(crate) struct Fake {
    pub(crate) monitors: Mutex<HashMap<String, Arc<FakeMonitor>>>,
    pub(crate) starts: Gate,
    pub(crate) installs: Gate,
    pub(crate) fail_start: AtomicBool,
    pub(crate) fail_empty: AtomicBool,
    pub(crate) fail_teardown: AtomicBool,
    pub(crate) torn_down: Mutex<Vec<String>>,
}

impl Fake {
    pub(crate) fn monitor(&self, name: &str) -> Arc<FakeMonitor> {
        Arc::clone(&self.monitors.lock().unwrap()[name])
    }

    fn error(what: &str) -> ApiError {
        ApiError::new(ErrorKind::Failed, what, "the test wants it so")
    }
}

/// A monitor as it would be found by a new zoned too.
pub(crate) struct FakeMonitor {
    pub(crate) status: Mutex<MonitorStatus>,
    pub(crate) events: Mutex<Option<UnboundedSender<MonitorEvent>>>,
    /// Does what it is told and says nothing.
    pub(crate) mute: AtomicBool,
    pub(crate) deaf: AtomicBool,
    pub(crate) updates: Mutex<Vec<Vec<String>>>,
    pub(crate) boots: Mutex<Vec<Boot>>,
    pub(crate) run_dir: std::path::PathBuf,
}

impl FakeMonitor {
    pub(crate) fn tell(&self, event: MonitorEvent) {
        if !self.mute.load(Ordering::SeqCst)
            && let Some(events) = &*self.events.lock().unwrap()
        {
            events.send(event).ok();
        }
    }

    pub(crate) fn end(&self, how: Ended, reason: Option<&str>) {
        std::fs::remove_dir_all(&self.run_dir).ok();
        self.tell(MonitorEvent::Ended { how, reason: reason.map(str::to_owned), clean: false });
    }

    fn hears(&self) -> Result<(), ApiError> {
        if self.deaf.load(Ordering::SeqCst) { Err(Fake::error("ask the monitor")) } else { Ok(()) }
    }

    fn set(&self, state: State) {
        let mut status = self.status.lock().unwrap();
        status.state = state;
        status.init_pid = (state == State::Running).then(|| status.init_pid.unwrap_or(1000) + 1);
    }
}

fn say(conn: &mut UnixStream, event: &SessionEvent) {
    let mut line = serde_json::to_vec(event).unwrap();
    line.push(b'\n');
    conn.write_all(&line).ok();
}

impl Control for FakeMonitor {
    fn status(&self) -> Result<MonitorStatus, ApiError> {
        self.hears()?;
        Ok(self.status.lock().unwrap().clone())
    }

    fn halt(&self) -> Result<(), ApiError> {
        self.hears()?;
        self.end(Ended::Halted, None);
        Ok(())
    }

    fn shutdown(&self, timeout: Duration, reboot: bool) -> Result<(), ApiError> {
        self.hears()?;
        self.tell(MonitorEvent::State(State::ShuttingDown));
        if reboot {
            self.set(State::Running);
            self.tell(MonitorEvent::Rebooted);
        } else if timeout.is_zero() {
            self.end(Ended::Halted, None);
        }
        Ok(())
    }

    fn ctrl_alt_del(&self) -> Result<(), ApiError> {
        self.hears()
    }

    fn reboot(&self) -> Result<(), ApiError> {
        self.hears()?;
        self.set(State::Running);
        self.tell(MonitorEvent::Rebooted);
        Ok(())
    }

    fn boot(&self, boot: Boot) -> Result<(), ApiError> {
        self.hears()?;
        self.boots.lock().unwrap().push(boot);
        self.set(State::Running);
        self.tell(MonitorEvent::State(State::Running));
        Ok(())
    }

    fn session(&self, session: Session, request: SessionRequest) -> Result<(), ApiError> {
        self.hears()?;
        let mut conn = UnixStream::from(session.conn);
        let zone = match request {
            SessionRequest::Login(login) => login.command.join(" "),
            SessionRequest::Console => "console".into(),
        };
        say(&mut conn, &SessionEvent::Started { zone, tty: false });
        // What came with the request and after it goes back, so that a test sees both.
        conn.write_all(&session.leftover).ok();
        std::thread::spawn(move || {
            let mut buffer = [0; 64];
            while let Ok(count @ 1..) = conn.read(&mut buffer) {
                conn.write_all(&buffer[..count]).ok();
            }
        });
        Ok(())
    }

    fn ledger(&self, _reset: bool) -> Result<(), ApiError> {
        self.hears()
    }

    fn restack(&self, _: &[std::path::PathBuf]) -> Result<(), ApiError> {
        self.hears()
    }

    fn update(&self, _: &Config, live: &[String]) -> Result<(), ApiError> {
        self.hears()?;
        self.updates.lock().unwrap().push(live.to_vec());
        Ok(())
    }
}

impl Host for Fake {
    fn start_monitor(&self, spec: MonitorSpec) -> Result<MonitorHandle, ApiError> {
        self.starts.pass();
        std::fs::create_dir_all(&spec.run_dir).unwrap();
        if self.fail_start.load(Ordering::SeqCst) {
            return Err(Self::error("start init"));
        }
        let (sender, events) = unbounded_channel();
        let name = spec.config.name.clone();
        let init_pid = (!spec.ready_only).then_some(1000);
        let monitor = Arc::new(FakeMonitor {
            status: Mutex::new(MonitorStatus {
                state: if spec.ready_only { State::Ready } else { State::Running },
                id: spec.id,
                id_slot: spec.id_slot,
                init_pid,
                ephemeral: spec.ephemeral,
                summary: Summary::from(&spec.config),
            }),
            events: Mutex::new(Some(sender)),
            mute: AtomicBool::new(false),
            deaf: AtomicBool::new(false),
            updates: Mutex::default(),
            boots: Mutex::new(vec![spec.boot]),
            run_dir: spec.run_dir,
        });
        self.monitors.lock().unwrap().insert(name, Arc::clone(&monitor));
        if let Some((session, login)) = spec.session {
            let mut conn = UnixStream::from(session.conn);
            say(&mut conn, &SessionEvent::Started { zone: login.command.join(" "), tty: false });
            say(&mut conn, &SessionEvent::Exited { status: 0 });
            monitor.end(Ended::Halted, None);
        }
        Ok(MonitorHandle { control: monitor, init_pid, events })
    }

    fn adopt(&self, name: &str) -> Option<MonitorHandle> {
        let monitor = self.monitors.lock().unwrap().get(name).cloned()?;
        let (sender, events) = unbounded_channel();
        *monitor.events.lock().unwrap() = Some(sender);
        Some(MonitorHandle { control: monitor, init_pid: None, events })
    }

    fn teardown(&self, name: &str) -> Result<(), ApiError> {
        self.torn_down.lock().unwrap().push(name.to_owned());
        if let Some(monitor) = self.monitors.lock().unwrap().remove(name) {
            std::fs::remove_dir_all(&monitor.run_dir).ok();
        }
        if self.fail_teardown.load(Ordering::SeqCst) { Err(Self::error("tear down")) } else { Ok(()) }
    }

    fn install(
        &self,
        source: &str,
        dir: &Path,
        archive: Option<Box<dyn Read + Send>>,
        _: Option<&str>,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Installed, ApiError> {
        progress(Progress::Step { step: "unpacking".into(), total: Some(2) });
        std::fs::write(dir.join("passwd"), "root").unwrap();
        if let Some(text) = source.strip_prefix("debian:") {
            std::fs::create_dir(dir.join("etc")).unwrap();
            std::fs::write(dir.join("etc/debian_version"), text).unwrap();
        }
        self.installs.pass();
        if source == "fail" {
            return Err(Self::error("unpack"));
        }
        if let Some(mut archive) = archive {
            let mut bytes = Vec::new();
            archive
                .read_to_end(&mut bytes)
                .map_err(|error| ApiError::new(ErrorKind::Failed, "read the archive", error.to_string()))?;
            std::fs::write(dir.join("archive"), bytes).unwrap();
        }
        progress(Progress::Note { text: "no init".into() });
        Ok(Installed { arch: "i686".into() })
    }

    fn prepare(&self, _: &Path) -> Result<(), ApiError> {
        Ok(())
    }

    fn hold(&self, _name: &str, _still: bool) -> Result<(), ApiError> {
        Ok(())
    }

    fn empty(&self, dir: &Path) -> std::io::Result<()> {
        if self.fail_empty.load(Ordering::SeqCst) {
            return Err(std::io::Error::other("it was made to fail"));
        }
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }.unwrap();
        }
        Ok(())
    }

    fn doctor(&self) -> Vec<Finding> {
        let text = |text: &str| text.to_owned();
        vec![Finding { what: text("userns"), verdict: Verdict::Ok, found: text("on"), why: text("zones") }]
    }

    fn verify(&self, config: &Config) -> Verified {
        Verified { ok: config.kernel.is_none(), findings: Vec::new() }
    }

    fn usage(
        &self,
        zones: &[(String, Option<i32>, bool)],
    ) -> (zone_api::stat::HostUsage, Vec<zone_api::stat::ZoneUsage>) {
        let used = |(name, ..): &(String, Option<i32>, bool)| zone_api::stat::ZoneUsage {
            name: name.clone(),
            cpu_seconds: Some(1.5),
            ..Default::default()
        };
        (zone_api::stat::HostUsage::default(), zones.iter().map(used).collect())
    }

    fn brands(&self) -> Vec<Brand> {
        vec![Brand { name: "linux".into(), summary: "old".into(), levels: None, rows: Vec::new() }]
    }
}

/// A private daemon's zones in a temporary folder.
pub(crate) struct Place {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) fake: Arc<Fake>,
    pub(crate) zones: Arc<Zones>,
}

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("run")).unwrap();
        let fake = Arc::new(Fake::default());
        let zones = Self::daemon(&dir, &fake);
        Self { dir, fake, zones }
    }

    fn daemon(dir: &tempfile::TempDir, fake: &Arc<Fake>) -> Arc<Zones> {
        let path = dir.path();
        let paths = Paths { root: path.join("root"), run: path.join("run"), configs: path.join("etc") };
        let host: Arc<dyn Host> = Arc::clone(fake) as _;
        let settings = Settings { id_slots: 5, ..Settings::default() };
        let zones = Zones::new(host, paths, settings, tokio::runtime::Handle::current());
        zones.recover().unwrap();
        zones
    }

    /// Another zoned over the same folders; the old one's watchers hear no more.
    pub(crate) fn restart(&mut self) {
        self.zones = Self::daemon(&self.dir, &self.fake);
    }

    pub(crate) fn installed(&self, name: &str) {
        self.zones.create(&zone_api::Create { name: name.into(), ..zone_api::Create::default() }).unwrap();
        self.zones.begin_install(name, "dir:/x").unwrap().run(None, &|_| {}).unwrap();
    }

    pub(crate) fn state(&self, name: &str) -> State {
        self.zones.zone(name).unwrap().state
    }

    /// Waits for what an event brings about.
    pub(crate) fn until(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let end = std::time::Instant::now() + Duration::from_secs(10);
        while !done(self) {
            assert!(std::time::Instant::now() < end, "never came: {what}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}
