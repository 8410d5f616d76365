//! Two network namespaces of a test's own: one that stands for the host, and the outside that it is
//! connected to.

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sched::{CloneFlags, setns};

use crate::proxy::Proxy;
use crate::zoned::{How, Zoned};

/// The namespaces; gone with the value. Drop its zoneds first.
#[derive(Debug)]
pub struct Lab {
    host: String,
    outside: String,
}

/// The outside's addresses, and the host's there.
const OUTSIDE: [&str; 2] = ["192.0.2.2/24", "2001:db8::2/64"];
const HOST: [&str; 2] = ["192.0.2.1/24", "2001:db8::1/64"];

impl Lab {
    /// A host with one interface, `up0`, that leads to the outside.
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("zt{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let lab = Self { host: format!("{name}-host"), outside: format!("{name}-out") };
        let (host, outside) = (&*lab.host, &*lab.outside);
        for words in [
            &["netns", "add", host][..],
            &["netns", "add", outside],
            &["-n", host, "link", "set", "lo", "up"],
            &["-n", outside, "link", "set", "lo", "up"],
            &["-n", host, "link", "add", "up0", "type", "veth", "peer", "name", "out0", "netns", outside],
            &["-n", host, "addr", "add", HOST[0], "dev", "up0"],
            &["-n", host, "addr", "add", HOST[1], "dev", "up0", "nodad"],
            &["-n", outside, "addr", "add", OUTSIDE[0], "dev", "out0"],
            &["-n", outside, "addr", "add", OUTSIDE[1], "dev", "out0", "nodad"],
            &["-n", host, "link", "set", "up0", "up"],
            &["-n", outside, "link", "set", "out0", "up"],
            &["-n", host, "route", "add", "default", "via", "192.0.2.2"],
            &["-n", host, "-6", "route", "add", "default", "via", "2001:db8::2"],
        ] {
            let output = Command::new("ip").args(words).output().expect("run ip");
            assert!(output.status.success(), "ip {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        lab
    }

    /// A zoned of this host.
    pub fn zoned(&self) -> Zoned {
        self.zoned_with("")
    }

    /// The same with a zoned.toml.
    pub fn zoned_with(&self, settings: &str) -> Zoned {
        self.zoned_as(How { settings: settings.into(), ..How::default() })
    }

    /// The same as told.
    pub fn zoned_as(&self, how: How) -> Zoned {
        Zoned::start_as(How { netns: Some(self.host.clone()), ..how })
    }

    fn command(namespace: &str, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{namespace}")).args(words);
        command
    }

    fn run(namespace: &str, words: &[&str]) -> Output {
        Self::command(namespace, words).output().unwrap_or_else(|e| panic!("run {words:?}: {e}"))
    }

    /// Runs a program on the host; asserts that it succeeds and gives what it printed.
    #[track_caller]
    pub fn host(&self, words: &[&str]) -> String {
        let output = Self::run(&self.host, words);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?} on the host: {complaint}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What a program of the host printed, unless it failed.
    pub fn try_host(&self, words: &[&str]) -> Option<String> {
        let output = Self::run(&self.host, words);
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// What a program outside printed, unless it failed.
    pub fn try_outside(&self, words: &[&str]) -> Option<String> {
        let output = Self::run(&self.outside, words);
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Starts a program on the host.
    pub fn start_on_host(&self, words: &[&str]) -> Child {
        Self::start(&self.host, Stdio::null(), words)
    }

    /// Starts a program outside, to which its input is open.
    pub fn start_outside(&self, words: &[&str]) -> Child {
        Self::start(&self.outside, Stdio::piped(), words)
    }

    fn start(namespace: &str, input: Stdio, words: &[&str]) -> Child {
        let mut command = Self::command(namespace, words);
        command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::null());
        command.spawn().unwrap_or_else(|e| panic!("start {words:?}: {e}"))
    }

    /// Moves the calling thread to the host.
    pub fn enter_host(&self) {
        let path = format!("/run/netns/{}", self.host);
        let namespace = std::fs::File::open(&path).unwrap_or_else(|e| panic!("open {path}: {e}"));
        setns(namespace, CloneFlags::CLONE_NEWNET).unwrap_or_else(|e| panic!("enter {path}: {e}"));
    }

    /// A way from the outside to the Debian mirror: an HTTP proxy at the outside's address, port 3128.
    pub fn proxy(&self) -> Proxy {
        let namespace = PathBuf::from(format!("/run/netns/{}", self.outside));
        let at = "192.0.2.2:3128".parse().expect("an address");
        Proxy::start(&namespace, at).unwrap_or_else(|e| panic!("start the proxy: {e:#}"))
    }

    /// A UDP socket of the outside.
    pub fn outside_socket(&self, at: &str) -> std::net::UdpSocket {
        let path = format!("/run/netns/{}", self.outside);
        let (path, at) = (path.as_str(), at);
        // On a thread of its own: a socket stays where it was made.
        std::thread::scope(|scope| {
            let make = || {
                let namespace = std::fs::File::open(path).unwrap_or_else(|e| panic!("open {path}: {e}"));
                setns(namespace, CloneFlags::CLONE_NEWNET).unwrap_or_else(|e| panic!("enter {path}: {e}"));
                std::net::UdpSocket::bind(at).unwrap_or_else(|e| panic!("bind {at}: {e}"))
            };
            scope.spawn(make).join().expect("a socket of the outside")
        })
    }

    /// The interfaces of the host and its rules, to be the same before and after; not who has how many connections.
    pub fn census(&self) -> String {
        let links = self.host(&["ip", "-brief", "link"]);
        let mut names: Vec<_> = links.lines().filter_map(|l| l.split([' ', '@']).next()).collect();
        names.sort_unstable();
        let rules = self.host(&["nft", "list", "ruleset"]);
        let (mut set, mut elements) = (false, false);
        let is_a_rule = |line: &&str| {
            let line = line.trim();
            set = line.starts_with("set ") || set && line != "}";
            elements = set && (elements || line.starts_with("elements"));
            !elements
        };
        let rules: Vec<_> = rules.lines().filter(is_a_rule).collect();
        format!("{}\n{}\n", names.join(" "), rules.join("\n"))
    }
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for name in [&self.host, &self.outside] {
            let _ = Command::new("ip").args(["netns", "delete", name]).status();
        }
    }
}
