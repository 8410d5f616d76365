#![forbid(unsafe_code)]
//! Wire types of zoned's API: HTTP with JSON over a unix socket. Depends on nothing of ours.
//!
//! Programs in a zone (`login`, `run`) and its console are *sessions*: an HTTP request upgraded
//! (status 101, `Upgrade: zones-session`) to a SOCK_STREAM connection that ends in the zone's
//! monitor, so that it outlives zoned. On it travel [`SessionEvent`]s from the monitor and
//! [`SessionInput`]s to it, one JSON document a line. [`SessionEvent::Started`] carries, as
//! SCM_RIGHTS on its first byte, the near ends of the program's descriptors; bytes never pass
//! through zoned or the monitor on their way to a program.

#[cfg(feature = "client")]
pub mod client;
pub mod stat;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where a zone stands; the meaning is that of zones(7) of illumos.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It has a configuration and no root.
    Configured,
    /// An install or uninstall did not finish; only uninstall helps.
    Incomplete,
    /// It has a root and nothing runs.
    Installed,
    /// Its platform is made, init has not started.
    Ready,
    /// Init runs.
    Running,
    /// It was told to end and has not yet.
    ShuttingDown,
    /// Its processes are gone, its platform is being taken down.
    Down,
}

impl State {
    /// The word of the command line: `shutting_down` and so on.
    pub fn word(self) -> &'static str {
        match self {
            Self::Configured => "configured",
            Self::Incomplete => "incomplete",
            Self::Installed => "installed",
            Self::Ready => "ready",
            Self::Running => "running",
            Self::ShuttingDown => "shutting_down",
            Self::Down => "down",
        }
    }
}

/// Kinds of failure; each has its exit code in zonectl.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// It was tried and did not work: exit 1, HTTP 500.
    Failed,
    /// The request makes no sense: exit 2, HTTP 400.
    Invalid,
    /// No such zone: exit 3, HTTP 404.
    NoSuchZone,
    /// No such thing of another kind, an image or a snapshot: exit 1, HTTP 404.
    NotFound,
    /// Not in this state, or another operation is under way: exit 4, HTTP 409.
    WrongState,
    /// zoned does not answer: exit 5; made by the client alone.
    Unreachable,
    /// The caller may not: exit 6, HTTP 403.
    NotPermitted,
}

impl ErrorKind {
    /// zonectl's exit code.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Failed | Self::NotFound => 1,
            Self::Invalid => 2,
            Self::NoSuchZone => 3,
            Self::WrongState => 4,
            Self::Unreachable => 5,
            Self::NotPermitted => 6,
        }
    }
}

/// Body of every answer that is not 2xx.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, thiserror::Error)]
#[error("{what}: {why}")]
pub struct ApiError {
    /// Kind, for programs.
    pub kind: ErrorKind,
    /// What failed: `boot payroll`.
    pub what: String,
    /// Why, lower case, no full stop.
    pub why: String,
    /// What to do about it, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl ApiError {
    /// An error without a hint.
    pub fn new(kind: ErrorKind, what: impl Into<String>, why: impl Into<String>) -> Self {
        Self { kind, what: what.into(), why: why.into(), hint: None }
    }

    /// The same with a hint.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// A zone as `list` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Zone {
    /// Number while it is ready or running; `None` otherwise.
    pub id: Option<u32>,
    /// Name.
    pub name: String,
    /// State.
    pub state: State,
    /// Folder of the zone on the host.
    pub path: String,
    /// Stays with the zone for its life.
    pub uuid: String,
    /// Brand.
    pub brand: String,
    /// Kernel level.
    pub kernel: Option<String>,
    /// `exclusive`, `shared`, `host` or `none`.
    pub ip_type: String,
    /// Verb of the operation under way: `install`, `boot`…
    pub busy: Option<String>,
    /// Why it is in this state, when that was not asked for: "its monitor was killed by signal 9".
    pub reason: Option<String>,
    /// Host pid of its process 1.
    pub init_pid: Option<i32>,
    /// Whether it exists only while its program runs (`zonectl run`).
    pub ephemeral: bool,
    /// Times that its restart policy booted it.
    #[serde(default)]
    pub restarts: u32,
    /// Addresses of its interfaces with their prefixes, while it is ready or running: those that the host
    /// gave it.
    #[serde(default)]
    pub addresses: Vec<String>,
}

/// `POST /v1/zones`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Create {
    /// Name.
    pub name: String,
    /// A whole configuration as TOML to start from.
    #[serde(default)]
    pub toml: Option<String>,
    /// Changes to apply to it.
    #[serde(default)]
    pub edits: Vec<Edit>,
}

/// One change to a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "op")]
pub enum Edit {
    /// `set NAME KEY=VALUE`; nested keys as `capped-memory.physical`.
    Set {
        /// Key.
        key: String,
        /// Value as typed; lists are comma-separated or TOML arrays.
        value: String,
    },
    /// `unset NAME KEY`
    Unset {
        /// Key.
        key: String,
    },
    /// `add NAME RESOURCE K=V…`
    Add {
        /// net, fs, device, rctl, attr, admin, capped-cpu, capped-memory.
        resource: String,
        /// Its properties.
        properties: BTreeMap<String, String>,
    },
    /// `remove NAME RESOURCE K=V…`
    Remove {
        /// As in `add`.
        resource: String,
        /// What the one to remove must match.
        properties: BTreeMap<String, String>,
    },
}

/// Answer to `PATCH` and `PUT` of a configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Edited {
    /// Keys that took effect in the running zone at once.
    pub live: Vec<String>,
    /// Keys that wait for the next boot.
    pub at_reboot: Vec<String>,
}

/// `POST /v1/zones/{name}/verify` answers this.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Verified {
    /// Whether the zone would boot here.
    pub ok: bool,
    /// Why not, or what to know; one sentence each.
    pub findings: Vec<String>,
}

/// `POST /v1/zones/{name}/install`; the answer is a stream of [`Progress`], one JSON a line.
/// For `tar:-` and the like the request has query parameters and the archive as its body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Install {
    /// As on the command line: `image:NAME`, `oci:PATH[:TAG]`, `docker-archive:PATH[:REF]`, `dir:PATH`, `tar:PATH`,
    /// `debootstrap:SUITE[,arch=…][,variant=…][,include=…][,mirror=…]`.
    pub source: String,
}

/// What a long operation is at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Progress {
    /// A step began.
    Step {
        /// What it is: "unpacking".
        step: String,
        /// Units in all, where known.
        total: Option<u64>,
    },
    /// The step is this far.
    At {
        /// Units done: bytes, or packages.
        done: u64,
    },
    /// A line worth showing: what was chosen, what was left out.
    Note {
        /// The line.
        text: String,
    },
    /// What images were found to be, before `done`.
    Verified(VerifiedImages),
    /// It ended well.
    Done,
    /// It failed.
    Failed {
        /// Why.
        error: ApiError,
    },
}

/// `POST /v1/zones/{name}/boot` and `…/ready`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Boot {
    /// Another init for this boot, as `init =` in the configuration.
    #[serde(default)]
    pub init: Option<String>,
    /// Words for init; `None`: the configuration's `bootargs`.
    #[serde(default)]
    pub args: Option<Vec<String>>,
}

/// `POST /v1/zones/{name}/shutdown`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Shutdown {
    /// Boot it again afterwards.
    #[serde(default)]
    pub reboot: bool,
    /// Seconds before it is halted.
    #[serde(default)]
    pub timeout: Option<u32>,
}

/// `POST /v1/zones/{name}/login`, upgraded to a session.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Login {
    /// User in the zone; root when left out.
    #[serde(default)]
    pub user: Option<String>,
    /// Program and arguments; the user's login shell when empty.
    #[serde(default)]
    pub command: Vec<String>,
    /// The program gets a pty of this size (rows, columns); else three pipes.
    #[serde(default)]
    pub tty: Option<(u16, u16)>,
    /// TERM for a pty.
    #[serde(default)]
    pub term: Option<String>,
}

/// `POST /v1/run`, upgraded to a session: a zone that exists while its program runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Run {
    /// Changes to the default configuration: brand, kernel, strict and KEY=VALUE.
    pub edits: Vec<Edit>,
    /// `SOURCE` or a folder; the host's own files, read-only, when left out.
    #[serde(default)]
    pub root: Option<String>,
    /// `SRC[:DST]`
    #[serde(default)]
    pub binds: Vec<String>,
    /// The program.
    pub login: Login,
    /// Tell at the end what the start and the end of the zone took, step by step.
    #[serde(default)]
    pub timings: bool,
}

/// When a step of a zone's start or end was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Mark {
    /// The step.
    pub step: String,
    /// Nanoseconds of CLOCK_REALTIME (clock_gettime(2)), the one clock that zones have no own of.
    pub at: u64,
}

/// From the monitor to the client of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum SessionEvent {
    /// The program runs. Descriptors come along: a pty's master alone, or the near ends of
    /// stdin, stdout and stderr; for a console one stream socket.
    Started {
        /// Zone that it runs in.
        zone: String,
        /// Whether the one descriptor is a pty.
        tty: bool,
    },
    /// It did not start, the session was refused, or nobody knows how it ended.
    Refused {
        /// Why.
        error: ApiError,
        /// Exit status to pass on: 126 not executable, 127 not found; else the kind's own.
        status: Option<u8>,
    },
    /// It ended by itself.
    Exited {
        /// Its status.
        status: u8,
    },
    /// Of a strict run: calls that it made and its level did not have. Comes before the program's
    /// end, in several events where they are many, and once where there are none.
    Younger {
        /// The level.
        level: String,
        /// The lowest level that has all that this run asked for.
        lowest: String,
        /// Calls; those of all such events together.
        entries: Vec<LedgerEntry>,
    },
    /// A signal ended it, or the end of its zone.
    Killed {
        /// Signal number.
        signal: u8,
    },
    /// Of a run that asked for them: the steps of its zone. The last event, after the program's end.
    Timings {
        /// In their order.
        marks: Vec<Mark>,
    },
    /// The console's zone changed state.
    State {
        /// The new state.
        state: State,
    },
}

/// From the client of a session to the monitor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "input")]
pub enum SessionInput {
    /// Send a signal to the program.
    Signal {
        /// Its number.
        signal: u8,
    },
    /// The terminal has a new size; for consoles, a login's client sets it on the master itself.
    Resize {
        /// Rows.
        rows: u16,
        /// Columns.
        columns: u16,
    },
}

/// A brand as `brand list` and `brand show` tell it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Brand {
    /// Name.
    pub name: String,
    /// One line.
    pub summary: String,
    /// Lowest and highest level, where it has levels.
    pub levels: Option<(String, String)>,
    /// Its table.
    pub rows: Vec<BrandRow>,
}

/// A row of a brand's table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BrandRow {
    /// System call.
    pub call: String,
    /// ABIs that it is for: `x86_64`, `i386`.
    pub abis: Vec<String>,
    /// `emulate`, `succeed`, `refuse ENOSYS`.
    pub answer: String,
    /// Condition on the arguments.
    pub when: Option<String>,
    /// Releases that it is for.
    pub levels: Option<String>,
    /// Why it is there.
    pub why: String,
    /// What it does not cover.
    pub gaps: Option<String>,
}

/// A line of `doctor`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// What was looked at: "overlay in a user namespace".
    pub what: String,
    /// How it stands.
    pub verdict: Verdict,
    /// What was found: "mode xonly".
    pub found: String,
    /// Why it matters, and what to do where it is missing.
    pub why: String,
}

/// Verdict of a [`Finding`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// There.
    Ok,
    /// Not there, and zones get by.
    Missing,
    /// Not there, and zones cannot run.
    Fatal,
}

/// A line of `log`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogLine {
    /// Seconds since 1970.
    pub time: u64,
    /// What happened: "booted", "state installed: its monitor was killed by signal 9".
    pub text: String,
}

/// An event of `GET /v1/events`, whose answer is one of them a line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ZoneEvent {
    /// Seconds since 1970.
    pub time: f64,
    /// Zone; empty for `lost`.
    pub zone: String,
    /// `state`, `boot`, `reboot`, `halt`, `failure`, `oom`, `limit`, `config`, `note`; `lost`: the client read too slowly.
    pub kind: String,
    /// What happened; of `state` the new state.
    pub text: String,
}

/// An entry of `ledger`: what a zone's brand did with a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LedgerEntry {
    /// System call; its number where it has no name, and `others` for numbers that are counted
    /// together.
    pub call: String,
    /// `x86_64` or `i386`.
    pub abi: String,
    /// `emulated`, `refused`, `masked` (younger than the level), `unknown`, or `passed` on to the
    /// host's kernel.
    pub done: String,
    /// How often.
    pub count: u64,
    /// For `masked`: the first release that has the call, or the flag that was used.
    pub needs: Option<String>,
    /// The program that made it first, as it calls itself; what cannot be shown is escaped.
    pub program: String,
    /// When, in seconds since 1970.
    pub first: u64,
}

/// `POST /v1/zones/{name}/snapshots`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewSnapshot {
    /// As a zone's name is.
    pub name: String,
}

/// `POST /v1/zones/{name}/clone`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CloneZone {
    /// Name of the new zone.
    pub to: String,
    /// Snapshot that it begins as; none: as the zone is now.
    #[serde(default)]
    pub snapshot: Option<String>,
}

/// What came of a clone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Cloned {
    /// What the operator should know: what the new zone does not have.
    pub notes: Vec<String>,
}

/// `GET /v1/du`; bytes of disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DiskUse {
    /// By zone.
    pub zones: Vec<ZoneDisk>,
    /// Layers that several zones, or a zone and an image, are made of.
    pub shared: u64,
    /// Layers that only images are made of.
    pub images: u64,
    /// Layers that nobody uses: `image prune` removes them.
    pub unused: u64,
    /// The sum: what the zones have as their own and alone, and each of the others once.
    pub total: u64,
}

/// What a zone takes, in bytes of disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ZoneDisk {
    /// Its name.
    pub name: String,
    /// Its own folder: what it wrote, its root where that is no layer, its logs.
    pub own: u64,
    /// Layers that only it and its snapshots are made of.
    pub layers: u64,
    /// Layers that others are made of too.
    pub shared: u64,
}

/// `POST /v1/zones/{name}/move`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Move {
    /// Absolute; it is made, or is empty.
    pub path: String,
}

/// `POST /v1/zones/{name}/attach`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Attach {
    /// Folder of a detached zone, absolute.
    pub path: String,
    /// Only tell what differs.
    #[serde(default)]
    pub dry: bool,
    /// Attach it though it would not boot here.
    #[serde(default)]
    pub force: bool,
}

/// What `attach` found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Attached {
    /// What of this host is not as on the one that the zone was detached on.
    pub differences: Vec<String>,
    /// Why it would not boot here.
    pub findings: Vec<String>,
}

/// A zone's root at one instant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Snapshot {
    /// Its name, without the zone's.
    pub name: String,
    /// When, in seconds since 1970.
    pub made: u64,
    /// The snapshot that the zone stood on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Whether the zone stands on it: it was the last to be made or rolled back to.
    pub current: bool,
    /// What it is made of, the topmost layer first.
    pub layers: Vec<String>,
    /// Microseconds for which the zone was held still; none where it did not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_us: Option<u64>,
}

/// A file of a zone's root that install changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProfileChange {
    /// Its path in the zone.
    pub file: String,
    /// `hostname`, `hosts`, `name-servers`, `disks`, `serial-lines`, `network`.
    pub hooks: Vec<String>,
    /// Why, a reason for each.
    pub why: Vec<String>,
    /// What was there; none: no such file.
    pub before: Option<String>,
    /// What install wrote.
    pub after: String,
}

/// An image of `GET /v1/images`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Image {
    /// `NAME:TAG`
    pub name: String,
    /// Of its manifest.
    pub digest: String,
    /// `x86_64` or `i686`.
    pub arch: String,
    /// When it was made (RFC 3339), where it says so.
    pub created: Option<String>,
    /// Seconds since 1970 at which it came.
    pub imported: u64,
    /// Its layers, the lowest first.
    pub layers: Vec<String>,
    /// Bytes of disk that its layers take.
    pub size: u64,
    /// Bytes of those that no other image has.
    pub unique: u64,
    /// Zones that were made from it.
    pub zones: Vec<String>,
}

/// `GET /v1/images/{name}` answers this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImageDetails {
    /// The image.
    pub image: Image,
    /// Program.
    pub entrypoint: Vec<String>,
    /// Its arguments, or program and arguments.
    pub cmd: Vec<String>,
    /// `NAME=VALUE`
    pub env: Vec<String>,
    /// Who the program runs as: `USER[:GROUP]`.
    pub user: Option<String>,
    /// Where it starts.
    pub workdir: Option<String>,
    /// Signal that it ends on.
    pub stop_signal: Option<String>,
    /// Anything else that it says of itself.
    pub labels: BTreeMap<String, String>,
    /// How it was made.
    pub history: Vec<ImageStep>,
}

/// A step of an image's making.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImageStep {
    /// When (RFC 3339).
    pub created: Option<String>,
    /// By what.
    pub by: String,
    /// Whether it made a layer.
    pub layer: bool,
}

/// `POST /v1/images`; the answer is a stream of [`Progress`], one JSON a line. For an archive that is sent along the request
/// has these as query parameters and the archive as its body.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImportImage {
    /// `oci:PATH[:TAG]`, `docker-archive:PATH[:REF]`, `docker://[HOST[:PORT]/]NAME[:TAG]`, `tar:PATH`, `dir:PATH`, `debootstrap:SUITE`.
    pub source: String,
    /// `NAME[:TAG]`; the one that it comes with when left out.
    #[serde(default)]
    pub name: Option<String>,
}

/// `POST /v1/zones/{name}/commit`; the answer is a stream of [`Progress`], one JSON a line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CommitZone {
    /// `NAME[:TAG]` that the image gets.
    pub image: String,
    /// Snapshot; the zone as it is now when left out.
    #[serde(default)]
    pub snapshot: Option<String>,
    /// What the image's history is to say of it.
    #[serde(default)]
    pub comment: Option<String>,
}

/// `POST /v1/prune-images` answers this: what was removed, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pruned {
    /// Layers.
    pub layers: Vec<String>,
    /// Manifests and configurations.
    pub blobs: Vec<String>,
    /// Bytes of disk that the layers took.
    pub bytes: u64,
}

/// `POST /v1/verify-images`; the answer is a stream of [`Progress`], one JSON a line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VerifyImages {
    /// One image; all when left out.
    #[serde(default)]
    pub name: Option<String>,
    /// Move away what is damaged and nobody needs.
    #[serde(default)]
    pub repair: bool,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VerifiedImages {
    /// Layers that were looked at.
    pub layers: usize,
    /// Manifests and configurations that were.
    pub blobs: usize,
    /// What is damaged.
    pub damage: Vec<ImageDamage>,
}

/// A layer or a document of an image that is not what its digest says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImageDamage {
    /// `layer` or `blob`.
    pub kind: String,
    /// Its digest.
    pub digest: String,
    /// What is wrong.
    pub why: String,
    /// Images that need it.
    pub images: Vec<String>,
    /// Zones that do.
    pub zones: Vec<String>,
    /// Whether it was moved away.
    pub repaired: bool,
}
