//! What zoned and a monitor say to each other: one JSON document a SOCK_SEQPACKET message, a
//! client's connection beside it as a descriptor where a session is handed over.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::socket::MsgFlags;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zone_api::{ApiError, Boot, Login, Mark, State};

use crate::config::Config;
use crate::confine::root::{Bind, RootSpec};
use crate::network::Place;
use crate::sys::scm;

/// Name of a monitor's socket in its run folder.
pub const SOCKET: &str = "monitor.sock";

/// Longest message: a configuration and some command lines.
pub const MAX: usize = 192 * 1024;

/// Everything that a monitor has to know of its zone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// Configuration, as read when the zone was booted.
    pub config: Config,
    /// The file that it came from, read again when the guest reboots.
    pub config_path: Option<PathBuf>,
    /// What this boot changes of it.
    pub boot: Boot,
    /// Whether to stop at `ready`.
    pub ready_only: bool,
    /// Zone id.
    pub id: u32,
    /// Host id of its root.
    pub id_base: u32,
    /// The zone's folder.
    pub zone_dir: PathBuf,
    /// The monitor's folder.
    pub run_dir: PathBuf,
    /// The daemon's own folder.
    pub hide: PathBuf,
    /// Name of its control groups.
    pub cgroup_key: String,
    /// Where its files come from.
    pub root: RootSpec,
    /// Host paths shown in it beside those of the configuration.
    pub binds: Vec<Bind>,
    /// `uname -m`, as found in its programs; the configuration's `arch` goes first.
    pub arch: Option<String>,
    /// Where its interfaces are made. Monitors of earlier zoneds know of none.
    #[serde(default)]
    pub network: Option<Network>,
    /// The program of a zone that exists while it runs.
    pub run: Option<Login>,
    /// What was already read from the connection of that program's client.
    pub run_input: Vec<u8>,
    /// What zoned did for a run that wants to know what took how long.
    #[serde(default)]
    pub marks: Option<Vec<Mark>>,
}

/// What a monitor has to know for its zone's interfaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// zoned's.
    pub place: Place,
    /// The zone's uuid.
    pub uuid: String,
}

/// What zoned asks of a monitor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Make the zone; the first request, once. With `run`, the client's connection comes along.
    Start(Box<Spec>),
    /// How does it stand?
    Status,
    /// Go on from `ready`.
    Boot(Boot),
    /// End it now.
    Halt,
    /// Ask it to end, and end it after so many seconds.
    Shutdown {
        /// Seconds.
        timeout: u32,
        /// Boot it again afterwards.
        reboot: bool,
    },
    /// End it now and boot it again.
    Reboot,
    /// Press Ctrl-Alt-Del.
    CtrlAltDel,
    /// Start a program for the client whose connection comes along, with what was already read
    /// from it.
    Login(Login, Vec<u8>),
    /// Show the console to the client whose connection comes along.
    Console(Vec<u8>),
    /// Change limits in place.
    Limit(Box<Config>),
    /// Its root is these layers from its next boot on, the topmost first.
    Restack(Vec<PathBuf>),
    /// Write the ledger to the zone's folder.
    Ledger {
        /// Forget everything first.
        reset: bool,
    },
}

/// How a zone stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// `ready`, `running`, `shutting_down` or `down`.
    pub state: State,
    /// Host pid of process 1.
    pub init_pid: Option<i32>,
    /// What it was made from.
    pub spec: Box<Spec>,
}

/// What a monitor says unasked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The zone changed state.
    State {
        /// To this.
        state: State,
        /// Host pid of process 1.
        init_pid: Option<i32>,
    },
    /// The guest rebooted.
    Rebooted,
    /// Something that an administrator may want to know.
    Noted(String),
    /// The zone is no more and the monitor goes.
    Ended {
        /// In which way.
        how: How,
        /// Why: "powered off by the guest".
        reason: String,
        /// What could not be taken down, if anything.
        left: Option<String>,
    },
}

/// How a zone ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// The guest powered off.
    PoweredOff,
    /// It was told to, or its program ended.
    Halted,
    /// It could not go on.
    Failed,
}

/// What a monitor answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// To [`Request::Start`], done.
    Started {
        /// Host pid of process 1.
        init_pid: Option<i32>,
    },
    /// It is done.
    Done,
    /// To [`Request::Status`].
    Status(Status),
    /// It could not be done.
    Failed(ApiError),
}

/// A request with its number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// Given back with the reply.
    pub number: u64,
    /// The request.
    pub request: Request,
}

/// A message of a monitor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// The first word of a monitor; its pidfd comes along.
    Hello,
    /// To the request of that number.
    Reply(u64, Reply),
    /// Unasked.
    Event(Event),
}

/// Sends one message. EMSGSIZE: it is longer than the other side takes, which would end the
/// connection.
pub fn send(socket: impl AsFd, message: &impl Serialize, fd: Option<&OwnedFd>) -> Result<(), Errno> {
    let bytes = serde_json::to_vec(message).map_err(|_| Errno::EINVAL)?;
    if bytes.len() > MAX {
        return Err(Errno::EMSGSIZE);
    }
    let fds: Vec<_> = fd.iter().map(|fd| fd.as_fd()).collect();
    scm::send(socket, &bytes, &fds).map(drop)
}

/// Receives one message; `None` is the end of the connection. EBADMSG: it made no sense.
pub fn receive<T: DeserializeOwned>(
    socket: impl AsFd,
    flags: MsgFlags,
) -> Result<Option<(T, Option<OwnedFd>)>, Errno> {
    let (bytes, mut fds) = scm::receive(socket, MAX, flags)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let message = serde_json::from_slice(&bytes).map_err(|_| Errno::EBADMSG)?;
    Ok(Some((message, fds.pop())))
}
